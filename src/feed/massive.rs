//! Massive (once Polygon.io), US stocks: JSON arrays of events, one array a message. `T` and `Q` become ticks, `A` and `AM` bars;
//! times are in ms.
//!
//! Field names and units: <https://massive.com/docs/websocket/stocks/trades>, `…/quotes`, `…/aggregates-per-second`, `…/luld`, and
//! the vendor's own client (`massive-com/client-go`, `websocket/models/models.go`). The decimal size `ds` wins over `s`, and a bar's
//! decimal volume `dv`, a text, over `v`. A bar's notional is `vw` times its volume. Condition code 0 is a regular sale and takes no place.
//!
//! `LULD` becomes a halt or its end by the indicators 17 (halt or pause) and 18 (reopening) of
//! <https://massive.com/glossary/us/stocks/conditions-indicators>, which Nasdaq-listed stocks alone have; every other
//! `LULD` tells of price bands. Its time is called ms and its sample shows ns, so both are read. `status` and the rest are skipped
//! by type; a status that tells of trouble is noted.
//!
//! This is the general way; trades and quotes in their usual form are read by [`massive_scan`].

use crate::model::{Tick, TradeId, UnixNanos, Venue};

use super::bar::{self, BarFields};
use super::dialect::Dialect;
use super::field::{Context, Number, notional};
use super::json::{Fault, Field, Json, Scalar, Value, required};
use super::massive_scan;
use super::parts;
use super::reject::Reason;
use super::scan::Spare;

/// LULD indicator: the stock is halted or paused.
const LULD_HALTED: u64 = 17;
/// LULD indicator: it trades again.
const LULD_REOPENED: u64 = 18;
/// Times from here on are in ns: as ms they would be past the year 33,000.
const NANOS_FROM: i64 = 1_000_000_000_000_000;

/// The dialect.
#[derive(Default)]
pub struct Massive {
    json: Json,
    spare: Spare,
}

impl Dialect for Massive {
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) {
        if massive_scan::scan(line, &mut self.spare, cx, out) {
            return;
        }
        self.json.read(line, cx, &mut |value, cx| {
            if let Err((reason, what)) = event(value, cx, out) {
                cx.tallies.reject(reason, what.show().as_bytes(), cx.now);
            }
        });
    }
}

#[derive(Default)]
struct Fields<'t, 'i> {
    ev: Field<'i>,
    sym: Field<'i>,
    ticker: Field<'i>,
    p: Field<'i>,
    s: Field<'i>,
    ds: Field<'i>,
    t: Field<'i>,
    q: Field<'i>,
    x: Field<'i>,
    z: Field<'i>,
    trfi: Field<'i>,
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
    dv: Field<'i>,
    vw: Field<'i>,
    n: Field<'i>,
    e: Field<'i>,
    status: Field<'i>,
    message: Field<'i>,
    /// Conditions of a trade or a quote, close of a bar.
    c: Option<Value<'t, 'i>>,
    /// Id of a trade, indicators of a quote or an LULD.
    i: Option<Value<'t, 'i>>,
}

/// One event: its ticks, or a skip by its type.
fn event<'i>(value: Value<'_, 'i>, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> Result<(), Fault<'i>> {
    let mut f = Fields::default();
    let is_object = value.fields(|key, value| {
        let slot = match key {
            "ev" => &mut f.ev,
            "sym" => &mut f.sym,
            "T" => &mut f.ticker,
            "p" => &mut f.p,
            "s" => &mut f.s,
            "ds" => &mut f.ds,
            "t" => &mut f.t,
            "q" => &mut f.q,
            "x" => &mut f.x,
            "z" => &mut f.z,
            "trfi" => &mut f.trfi,
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
            "dv" => &mut f.dv,
            "vw" => &mut f.vw,
            "n" => &mut f.n,
            "e" => &mut f.e,
            "status" => &mut f.status,
            "message" => &mut f.message,
            "c" => {
                f.c = Some(value);
                return;
            }
            "i" => {
                f.i = Some(value);
                return;
            }
            _ => return,
        };
        *slot = value.field();
    });
    if !is_object {
        return Err((Reason::WrongType, value.scalar()));
    }
    let tick = match required(f.ev, "ev")?.text()? {
        "T" => trade(&f, cx)?,
        "Q" => quote(&f, cx)?,
        "A" | "AM" => return aggregate(&f, cx, out),
        "LULD" => match halt(&f, cx)? {
            Some(tick) => tick,
            None => {
                cx.tallies.skip("LULD");
                return Ok(());
            }
        },
        "status" => {
            status(&f, cx);
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

/// A status: skipped by what it says.
fn status(f: &Fields<'_, '_>, cx: &mut Context<'_>) {
    let Some(Scalar::Text(status)) = f.status else { return cx.tallies.skip("status") };
    cx.tallies.skip_part("status", status);
    if !matches!(status, "connected" | "auth_success" | "success") {
        let message = f.message.map(Scalar::show).unwrap_or_default();
        cx.tallies.note(cx.now, "vendor status", format!("{status}: {message}").as_bytes());
    }
}

/// A second's or a minute's bar, as long as its two times say.
fn aggregate<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> Result<(), Fault<'i>> {
    let name = required(f.sym, "sym")?.text()?;
    let (start, end) = (parts::time_ms(f.s, "s", cx)?, parts::time_ms(f.e, "e", cx)?);
    let seconds = bar::seconds(start, end).ok_or((Reason::BarLength, f.e.unwrap_or(Scalar::Null)))?;
    let fields = BarFields {
        open: (f.o, "o"),
        high: (f.h, "h"),
        low: (f.l, "l"),
        close: (f.c.and_then(Value::field), "c"),
        volume: (f.v, "v"),
        // The futures feed has a `dv` that is a number and means something else.
        decimal_volume: f.dv.filter(|dv| matches!(dv, Scalar::Text(_))),
        read: Scalar::number,
    };
    let mut bar = fields.bar(start, cx)?;
    let has_notional = bar::add_vwap(&mut bar, f.vw, cx)?;
    bar.trades = f.n.map(Scalar::int::<u32>).transpose()?.map_or(0, u64::from);
    bar::settle(bar, (seconds, true, has_notional), name, cx.now, cx, out)
}

/// The halt or the reopening that an LULD tells of, if it tells of one.
fn halt<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Option<Tick>, Fault<'i>> {
    let mut halted = None;
    parts::each(f.i, |indicator| {
        match indicator.int::<u64>()? {
            LULD_HALTED => halted = Some(true),
            LULD_REOPENED => halted = Some(false),
            _ => {}
        }
        Ok(())
    })?;
    let Some(halted) = halted else { return Ok(None) };
    let name = required(f.ticker.or(f.sym), "T")?.text()?;
    let t = f.t.ok_or((Reason::TimeMissing, Scalar::Text("t")))?;
    let at = match t.millis()? {
        nanos if nanos >= NANOS_FROM => cx.time(UnixNanos(nanos)),
        millis => cx.time_ms(millis),
    };
    let at = at.map_err(|reason| (reason, t))?;
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::halt(symbol, at, cx.now, halted);
    tick.source = cx.source;
    Ok(Some(tick))
}

fn trade<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.sym, "sym")?.text()?;
    let p = required(f.p, "p")?;
    let price = cx.price(p.number()?).map_err(|reason| (reason, p))?;
    let (s, number) = match f.ds {
        Some(ds) => (ds, Number::Text(ds.text()?.as_bytes())),
        None => {
            let s = required(f.s, "s")?;
            (s, s.number()?)
        }
    };
    let size = cx.size(number).map_err(|reason| (reason, s))?;
    notional(price, size).map_err(|reason| (reason, p))?;
    let at = parts::time_ms(f.t, "t", cx)?;
    let sequence = f.q.map(Scalar::int::<u64>).transpose()?;
    let id = f.i.and_then(Value::field).map(Scalar::text).transpose()?;
    let venue = f.x.map(Scalar::int::<u8>).transpose()?;
    let tape = f.z.map(Scalar::int::<u8>).transpose()?;
    if tape.is_some_and(|tape| tape > 3) {
        return Err((Reason::BadNumber, f.z.unwrap_or(Scalar::Null)));
    }
    let trf = f.trfi.map(Scalar::int::<u8>).transpose()?;
    let (conditions, cut) = parts::codes(f.c, condition)?;
    let symbol = parts::symbol(name, cx)?;
    cx.tallies.conditions_cut += u64::from(cut);
    let mut tick = Tick::trade(symbol, at, cx.now, price, size)
        .with_id(TradeId::from_text(id.unwrap_or("").as_bytes()))
        .with_venue(Venue(venue.unwrap_or(0)))
        .with_tape(tape.unwrap_or(0));
    if let Some(sequence) = sequence {
        tick = tick.with_sequence(sequence);
    }
    tick.trf = trf.unwrap_or(0);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

fn quote<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.sym, "sym")?.text()?;
    let [bid, ask] = parts::sides((f.bp, f.bs), (f.ap, f.r#as), cx)?;
    let at = parts::time_ms(f.t, "t", cx)?;
    let bid_venue = f.bx.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let ask_venue = f.ax.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let tape = f.z.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let (conditions, _) = parts::codes(f.c, condition)?;
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::quote(symbol, at, cx.now, bid, ask)
        .with_quote_venues(Venue(bid_venue), Venue(ask_venue))
        .with_tape(tape);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

/// What a scalar is as a condition; a regular sale is none.
fn condition<'i>(scalar: Scalar<'i>) -> Result<Option<u8>, Fault<'i>> {
    Ok(Some(scalar.int::<u8>()?).filter(|code| *code != 0))
}
