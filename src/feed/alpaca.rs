//! Alpaca, US stocks and crypto: JSON arrays of objects, one array a message, whose type is `T`.
//!
//! Field names, codes and units: <https://docs.alpaca.markets/docs/real-time-stock-pricing-data>. Times are RFC 3339 with up to nine
//! places. `t` trades, `q` quotes (of stocks, sizes are round lots, as the vendor has them), `c` corrections and `x` cancels of trades
//! by their ids, `s` trading statuses that halt or resume. `b` (a minute, closed), `u` (that minute again, with what came
//! late) and `d` (the day so far, not closed) are bars; a day has 86,400 s here, whatever the clocks of New York did on it.
//! Exchanges and conditions are letters; `@` and a space are a regular sale and take no place. The rest is skipped by type;
//! what an `error` says is noted.

use crate::model::{Price, Size, Tick, TradeId, UnixNanos, Venue};

use super::bar::{self, BarFields};
use super::dialect::Dialect;
use super::field::{Context, notional};
use super::json::{Fault, Field, Json, Scalar, Value, required};
use super::parts;
use super::reject::Reason;
use super::rfc3339;

const MINUTE_S: u32 = 60;
const DAY_S: u32 = 86_400;

/// The dialect.
#[derive(Default)]
pub struct Alpaca {
    json: Json,
}

impl Dialect for Alpaca {
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) {
        self.json.read(line, cx, &mut |value, cx| {
            if let Err((reason, what)) = event(value, cx, out) {
                cx.tallies.reject(reason, what.show().as_bytes(), cx.now);
            }
        });
    }
}

#[derive(Default)]
struct Fields<'t, 'i> {
    kind: Field<'i>,
    symbol: Field<'i>,
    t: Field<'i>,
    i: Field<'i>,
    x: Field<'i>,
    z: Field<'i>,
    p: Field<'i>,
    s: Field<'i>,
    bx: Field<'i>,
    bp: Field<'i>,
    bs: Field<'i>,
    ax: Field<'i>,
    ap: Field<'i>,
    r#as: Field<'i>,
    o: Field<'i>,
    h: Field<'i>,
    l: Field<'i>,
    v: Field<'i>,
    vw: Field<'i>,
    n: Field<'i>,
    original_id: Field<'i>,
    corrected_id: Field<'i>,
    corrected_price: Field<'i>,
    corrected_size: Field<'i>,
    corrected_conditions: Option<Value<'t, 'i>>,
    status: Field<'i>,
    code: Field<'i>,
    msg: Field<'i>,
    /// Conditions of a trade or a quote, close of a bar.
    c: Option<Value<'t, 'i>>,
}

/// One event: its ticks, or a skip by its type.
fn event<'i>(value: Value<'_, 'i>, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> Result<(), Fault<'i>> {
    let mut f = Fields::default();
    let is_object = value.fields(|key, value| {
        let slot = match key {
            "T" => &mut f.kind,
            "S" => &mut f.symbol,
            "t" => &mut f.t,
            "i" => &mut f.i,
            "x" => &mut f.x,
            "z" => &mut f.z,
            "p" => &mut f.p,
            "s" => &mut f.s,
            "bx" => &mut f.bx,
            "bp" => &mut f.bp,
            "bs" => &mut f.bs,
            "ax" => &mut f.ax,
            "ap" => &mut f.ap,
            "as" => &mut f.r#as,
            "o" => &mut f.o,
            "h" => &mut f.h,
            "l" => &mut f.l,
            "v" => &mut f.v,
            "vw" => &mut f.vw,
            "n" => &mut f.n,
            "oi" => &mut f.original_id,
            "ci" => &mut f.corrected_id,
            "cp" => &mut f.corrected_price,
            "cs" => &mut f.corrected_size,
            "sc" => &mut f.status,
            "code" => &mut f.code,
            "msg" => &mut f.msg,
            "c" => {
                f.c = Some(value);
                return;
            }
            "cc" => {
                f.corrected_conditions = Some(value);
                return;
            }
            _ => return,
        };
        *slot = value.field();
    });
    if !is_object {
        return Err((Reason::WrongType, value.scalar()));
    }
    let tick = match required(f.kind, "T")?.text()? {
        "t" => trade(&f, cx)?,
        "q" => quote(&f, cx)?,
        "b" | "u" => return aggregate(&f, (MINUTE_S, true), cx, out),
        "d" => return aggregate(&f, (DAY_S, false), cx, out),
        "c" => correction(&f, cx)?,
        "x" => cancel(&f, cx)?,
        "s" => match status(&f, cx)? {
            Some(tick) => tick,
            None => return Ok(()),
        },
        "error" => {
            cx.tallies.skip("error");
            let show = |field: Field<'_>| field.map(Scalar::show).unwrap_or_default();
            let what = format!("{}: {}", show(f.code), show(f.msg));
            cx.tallies.note(cx.now, "vendor error", what.as_bytes());
            return Ok(());
        }
        other => {
            cx.tallies.skip(other);
            return Ok(());
        }
    };
    cx.tallies.accept(&tick);
    out.push(tick);
    Ok(())
}

fn trade<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.symbol, "S")?.text()?;
    let (price, size) = sale((f.p, "p"), (f.s, "s"), cx)?;
    let at = time(f, cx)?;
    let id = f.i.map(Scalar::int::<u64>).transpose()?;
    let venue = letter(f.x)?;
    let tape = tape(f.z)?;
    let (conditions, cut) = parts::codes(f.c, condition)?;
    let symbol = parts::symbol(name, cx)?;
    cx.tallies.conditions_cut += u64::from(cut);
    let mut tick = Tick::trade(symbol, at, cx.now, price, size)
        .with_id(id.map_or(TradeId::NONE, TradeId::from_u64))
        .with_tape(tape);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(at_venue(tick, venue))
}

fn quote<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.symbol, "S")?.text()?;
    let [bid, ask] = parts::sides((f.bp, f.bs), (f.ap, f.r#as), cx)?;
    let at = time(f, cx)?;
    let (bid_venue, ask_venue) = (letter(f.bx)?, letter(f.ax)?);
    let tape = tape(f.z)?;
    let (conditions, _) = parts::codes(f.c, condition)?;
    let symbol = parts::symbol(name, cx)?;
    let venues = [bid_venue, ask_venue].map(|venue| Venue(venue.unwrap_or(0)));
    // A quote has no venue of its own; that its two are letters is said where a trade says it.
    let mut tick = Tick::quote(symbol, at, cx.now, bid, ask)
        .with_venue_letter(0)
        .with_quote_venues(venues[0], venues[1])
        .with_tape(tape);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

fn aggregate<'i>(
    f: &Fields<'_, 'i>,
    (seconds, closed): (u32, bool),
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> Result<(), Fault<'i>> {
    let name = required(f.symbol, "S")?.text()?;
    let start = time(f, cx)?;
    let fields = BarFields {
        open: (f.o, "o"),
        high: (f.h, "h"),
        low: (f.l, "l"),
        close: (f.c.and_then(Value::field), "c"),
        volume: (f.v, "v"),
        decimal_volume: None,
        read: Scalar::number,
    };
    let mut bar = fields.bar(start, cx)?;
    let has_notional = bar::add_vwap(&mut bar, f.vw, cx)?;
    bar.trades = f.n.map(Scalar::int::<u32>).transpose()?.map_or(0, u64::from);
    bar::settle(bar, (seconds, closed, has_notional), name, cx.now, cx, out)
}

fn correction<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.symbol, "S")?.text()?;
    let original = required(f.original_id, "oi")?.int::<u64>()?;
    let corrected = required(f.corrected_id, "ci")?.int::<u64>()?;
    let sale = sale((f.corrected_price, "cp"), (f.corrected_size, "cs"), cx)?;
    let at = time(f, cx)?;
    let (venue, tape) = (letter(f.x)?, tape(f.z)?);
    let (conditions, cut) = parts::codes(f.corrected_conditions, condition)?;
    let symbol = parts::symbol(name, cx)?;
    cx.tallies.conditions_cut += u64::from(cut);
    let original = TradeId::from_u64(original);
    let mut tick = Tick::correction(symbol, at, cx.now, original, corrected, sale).with_tape(tape);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(at_venue(tick, venue))
}

fn cancel<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.symbol, "S")?.text()?;
    let id = required(f.i, "i")?.int::<u64>()?;
    let at = time(f, cx)?;
    let (venue, tape) = (letter(f.x)?, tape(f.z)?);
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::cancel(symbol, at, cx.now, TradeId::from_u64(id)).with_tape(tape);
    tick.source = cx.source;
    Ok(at_venue(tick, venue))
}

/// A status that stops trading or lets it go on; others are skipped. The codes of the two tapes differ and never clash.
fn status<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Option<Tick>, Fault<'i>> {
    let code = required(f.status, "sc")?.text()?;
    let halted = match code {
        // CTA's trading halt, UTP's trading halt and volatility trading pause.
        "2" | "H" | "P" => true,
        // CTA's resume and UTP's trading resumption; its quotation resumption `Q` is no trading yet.
        "3" | "T" => false,
        other => {
            cx.tallies.skip_part("status", other);
            return Ok(None);
        }
    };
    let name = required(f.symbol, "S")?.text()?;
    let at = time(f, cx)?;
    let tape = tape(f.z)?;
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::halt(symbol, at, cx.now, halted).with_tape(tape);
    tick.source = cx.source;
    Ok(Some(tick))
}

/// Price and size of a sale.
fn sale<'i>(
    (price, price_name): (Field<'i>, &'static str),
    (size, size_name): (Field<'i>, &'static str),
    cx: &mut Context<'_>,
) -> Result<(Price, Size), Fault<'i>> {
    let p = required(price, price_name)?;
    let price = cx.price(p.number()?).map_err(|reason| (reason, p))?;
    let s = required(size, size_name)?;
    let size = cx.size(s.number()?).map_err(|reason| (reason, s))?;
    notional(price, size).map_err(|reason| (reason, p))?;
    Ok((price, size))
}

fn time<'i>(f: &Fields<'_, 'i>, cx: &Context<'_>) -> Result<UnixNanos, Fault<'i>> {
    let t = f.t.ok_or((Reason::TimeMissing, Scalar::Text("t")))?;
    let Scalar::Text(text) = t else { return Err((Reason::TimeBad, t)) };
    let at = rfc3339::parse(text.as_bytes()).ok_or((Reason::TimeBad, t))?;
    cx.time(at).map_err(|reason| (reason, t))
}

/// The one ASCII character of an exchange or a condition; empty text is none.
fn letter<'i>(field: Field<'i>) -> Result<Option<u8>, Fault<'i>> {
    let Some(scalar) = field else { return Ok(None) };
    match scalar.text()?.as_bytes() {
        [] => Ok(None),
        [letter @ b' '..=b'~'] => Ok(Some(*letter)),
        _ => Err((Reason::BadNumber, scalar)),
    }
}

/// The tape's number; 0 for those that are not the three of the exchanges.
fn tape<'i>(field: Field<'i>) -> Result<u8, Fault<'i>> {
    Ok(match letter(field)? {
        Some(tape @ b'A'..=b'C') => tape - b'A' + 1,
        _ => 0,
    })
}

fn at_venue(tick: Tick, letter: Option<u8>) -> Tick {
    match letter {
        Some(letter) => tick.with_venue_letter(letter),
        None => tick,
    }
}

/// What a scalar is as a condition; a regular sale is none.
fn condition<'i>(scalar: Scalar<'i>) -> Result<Option<u8>, Fault<'i>> {
    Ok(letter(Some(scalar))?.filter(|code| !matches!(code, b' ' | b'@')))
}
