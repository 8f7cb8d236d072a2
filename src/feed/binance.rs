//! Binance, spot and USD-M futures: one JSON object a message, combined (`{"stream","data"}`) or raw, an optional receive
//! time in ns and a space before it. `trade`, `aggTrade` and `bookTicker` become ticks, `kline` bars.
//!
//! Field names: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>. Times are in ms. The ids of a symbol's
//! trades are its sequence too, without a hole, and so are those of its aggregated trades. Spot's `bookTicker` names no event and no
//! time: its time is that of receipt. The one condition code is this engine's own: [`CONDITION_NOT_MARKET`].
//!
//! Answers to requests are skipped; one that tells of an error is noted. This is the general way; trades and best quotes in their
//! usual form are read by [`binance_scan`], klines by [`binance_kline`].

use crate::model::{Price, Size, Tick, TradeId, UnixNanos};

use super::binance_kline;
use super::binance_scan;
use super::dialect::Dialect;
use super::field::{AHEAD_MAX, Context, EARLIEST, Number, notional};
use super::json::{Fault, Field, Json, Scalar, Value, required};
use super::parts;
use super::reject::Reason;
use super::scan::Spare;

/// Condition code of a trade whose type `X` is not `MARKET`: insurance fund, liquidation and the like.
pub const CONDITION_NOT_MARKET: u8 = 1;

/// The dialect.
#[derive(Default)]
pub struct Binance {
    json: Json,
    spare: Spare,
}

impl Dialect for Binance {
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) {
        let (stamp, body_at) = match receive_time(line, cx) {
            Ok(read) => read,
            Err(reason) => {
                cx.tallies.record();
                cx.tallies.reject(reason, line, cx.now);
                return;
            }
        };
        let received = match stamp {
            Some(at) if cx.recorded => at,
            _ => cx.now,
        };
        if binance_scan::scan(&line[body_at..], &mut self.spare, received, cx, out) {
            return;
        }
        self.json.read(&mut line[body_at..], cx, &mut |value, cx| message(value, received, cx, out));
    }
}

/// How many digits of a receive time stand before the message, a space after them; 0 where there is none.
#[inline]
pub fn receive_time_digits(line: &[u8]) -> usize {
    let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    if line.get(digits) == Some(&b' ') { digits } else { 0 }
}

/// The time before the message, if there is one, and where the message begins.
fn receive_time(line: &[u8], cx: &Context<'_>) -> Result<(Option<UnixNanos>, usize), Reason> {
    let digits = receive_time_digits(line);
    if digits == 0 {
        return Ok((None, 0));
    }
    if digits > 19 {
        return Err(Reason::TimeRange);
    }
    let value =
        line[..digits].iter().fold(0u64, |n, &b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0')));
    let at = UnixNanos(i64::try_from(value).map_err(|_| Reason::TimeRange)?);
    if at < EARLIEST {
        return Err(Reason::TimeRange);
    }
    if at > cx.now + AHEAD_MAX {
        return Err(Reason::TimeFuture);
    }
    Ok((Some(at), digits + 1))
}

#[derive(Default)]
struct Fields<'t, 'i> {
    stream: Field<'i>,
    data: Option<Value<'t, 'i>>,
    e: Field<'i>,
    s: Field<'i>,
    id: Field<'i>,
    aggregate_id: Field<'i>,
    ask: Field<'i>,
    p: Field<'i>,
    q: Field<'i>,
    t: Field<'i>,
    event_time: Field<'i>,
    x: Field<'i>,
    u: Field<'i>,
    b: Field<'i>,
    bid_size: Field<'i>,
    ask_size: Field<'i>,
    kline: Option<Value<'t, 'i>>,
    code: Field<'i>,
    msg: Field<'i>,
    error: Option<Value<'t, 'i>>,
    /// It answers a request rather than telling of the market.
    answer: bool,
}

impl<'t, 'i> Fields<'t, 'i> {
    fn of(value: Value<'t, 'i>) -> Option<Self> {
        let mut f = Self::default();
        let is_object = value.fields(|key, value| {
            let slot = match key {
                "stream" => &mut f.stream,
                "e" => &mut f.e,
                "s" => &mut f.s,
                "t" => &mut f.id,
                // `a` is the ask of a bookTicker and the id of an aggTrade.
                "a" => {
                    f.aggregate_id = value.field();
                    &mut f.ask
                }
                "p" => &mut f.p,
                "q" => &mut f.q,
                "T" => &mut f.t,
                "E" => &mut f.event_time,
                "X" => &mut f.x,
                "u" => &mut f.u,
                "b" => &mut f.b,
                "B" => &mut f.bid_size,
                "A" => &mut f.ask_size,
                "code" => &mut f.code,
                "msg" => &mut f.msg,
                "k" => {
                    f.kline = Some(value);
                    return;
                }
                "data" => {
                    f.data = Some(value);
                    return;
                }
                "error" => {
                    f.error = Some(value);
                    return;
                }
                "result" => {
                    f.answer = true;
                    return;
                }
                _ => return,
            };
            *slot = value.field();
        });
        is_object.then_some(f)
    }
}

/// One record: a combined message hands on what it wraps. A list in `data` is a record for each of its elements.
fn message(value: Value<'_, '_>, received: UnixNanos, cx: &mut Context<'_>, out: &mut Vec<Tick>) {
    let Some(f) = Fields::of(value) else {
        return cx.tallies.reject(Reason::WrongType, value.scalar().show().as_bytes(), cx.now);
    };
    let Some(data) = f.data else { return settle(&f, None, received, cx, out) };
    let stream = match f.stream {
        Some(Scalar::Text(name)) => Some(name),
        _ => None,
    };
    let mut one = |data: Value<'_, '_>, cx: &mut Context<'_>| match Fields::of(data) {
        Some(f) => settle(&f, stream, received, cx, out),
        None => cx.tallies.reject(Reason::WrongType, data.scalar().show().as_bytes(), cx.now),
    };
    let mut n = 0;
    let is_list = data.elements(|element| {
        // The message itself was counted as the first.
        if n > 0 {
            cx.tallies.record();
        }
        n += 1;
        one(element, cx);
    });
    if !is_list {
        one(data, cx);
    } else if n == 0 {
        cx.tallies.skip("empty");
    }
}

fn settle(
    f: &Fields<'_, '_>,
    stream: Option<&str>,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) {
    if let Err((reason, what)) = event(f, stream, received, cx, out) {
        cx.tallies.reject(reason, what.show().as_bytes(), cx.now);
    }
}

/// One event: its ticks, or a skip by its type.
fn event<'i>(
    f: &Fields<'_, 'i>,
    stream: Option<&str>,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> Result<(), Fault<'i>> {
    let Some(e) = f.e else { return untyped(f, stream, received, cx, out) };
    let tick = match e.text()? {
        "trade" => trade(f, f.id, "t", received, cx)?,
        "aggTrade" => trade(f, f.aggregate_id, "a", received, cx)?.into_aggregated(),
        "bookTicker" => book_ticker(f, received, cx)?,
        "kline" => {
            let value = f.kline.ok_or((Reason::MissingField, Scalar::Text("k")))?;
            return binance_kline::kline(value, received, cx, out);
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

/// What names no event: spot's best quotes and partial books, and answers.
fn untyped<'i>(
    f: &Fields<'_, 'i>,
    stream: Option<&str>,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> Result<(), Fault<'i>> {
    if f.u.is_some() && f.b.is_some() && f.ask.is_some() {
        let tick = book_ticker(f, received, cx)?;
        cx.tallies.accept(&tick);
        out.push(tick);
        return Ok(());
    }
    if f.error.is_some() || (f.code.is_some() && f.msg.is_some()) {
        refused(f, cx);
        return Ok(());
    }
    if f.answer {
        cx.tallies.skip("answer");
        return Ok(());
    }
    // Spot's partial books carry no type; the stream's name does: `btcusdt@depth20@100ms`.
    let kind = stream.and_then(|name| name.split('@').nth(1)).filter(|kind| *kind != "bookTicker");
    let Some(kind) = kind else { return Err((Reason::MissingField, Scalar::Text("e"))) };
    cx.tallies.skip(kind);
    Ok(())
}

/// An answer that refuses a request: `{"code":2,"msg":"…"}`, or the same as `error`.
#[cold]
fn refused(f: &Fields<'_, '_>, cx: &mut Context<'_>) {
    cx.tallies.skip("error");
    let (mut code, mut msg) = (f.code, f.msg);
    if let Some(error) = f.error {
        error.fields(|key, value| match key {
            "code" => code = value.field(),
            "msg" => msg = value.field(),
            _ => {}
        });
    }
    let show = |field: Field<'_>| field.map(Scalar::show).unwrap_or_default();
    cx.tallies.note(cx.now, "vendor error", format!("{}: {}", show(code), show(msg)).as_bytes());
}

fn trade<'i>(
    f: &Fields<'_, 'i>,
    id: Field<'i>,
    id_name: &'static str,
    received: UnixNanos,
    cx: &mut Context<'_>,
) -> Result<Tick, Fault<'i>> {
    let name = required(f.s, "s")?.text()?;
    let p = required(f.p, "p")?;
    let price = cx.price(Number::Text(p.text()?.as_bytes())).map_err(|reason| (reason, p))?;
    let q = required(f.q, "q")?;
    let size = cx.size(Number::Text(q.text()?.as_bytes())).map_err(|reason| (reason, q))?;
    notional(price, size).map_err(|reason| (reason, p))?;
    let at = parts::time_ms(f.t, "T", cx)?;
    let id = required(id, id_name)?.int::<u64>()?;
    let market = match f.x {
        Some(x) => x.text()? == "MARKET",
        None => true,
    };
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::trade(symbol, at, received, price, size)
        .with_id(TradeId::from_u64(id))
        .with_contiguous_sequence(id);
    tick.source = cx.source;
    if !market {
        tick.conditions[0] = CONDITION_NOT_MARKET;
    }
    Ok(tick)
}

fn book_ticker<'i>(f: &Fields<'_, 'i>, received: UnixNanos, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.s, "s")?.text()?;
    let mut side =
        |price: Field<'i>, price_name, size: Field<'i>, size_name| -> Result<(Price, Size), Fault<'i>> {
            let p = required(price, price_name)?;
            let price = cx.side_price(Number::Text(p.text()?.as_bytes())).map_err(|reason| (reason, p))?;
            let s = required(size, size_name)?;
            let size = cx.size(Number::Text(s.text()?.as_bytes())).map_err(|reason| (reason, s))?;
            Ok((price, size))
        };
    let bid = side(f.b, "b", f.bid_size, "B")?;
    let ask = side(f.ask, "a", f.ask_size, "A")?;
    if bid.0 == Price(0) && ask.0 == Price(0) {
        return Err((Reason::PriceZero, f.b.unwrap_or(Scalar::Null)));
    }
    let at = match f.t.or(f.event_time) {
        Some(t) => cx.time_ms(t.millis()?).map_err(|reason| (reason, t))?,
        None => received,
    };
    let symbol = parts::symbol(name, cx)?;
    let mut tick = Tick::quote(symbol, at, received, bid, ask);
    tick.source = cx.source;
    Ok(tick)
}
