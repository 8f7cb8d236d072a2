//! Binance's `kline`: a bar of 1 s to 1 d with the venue's own exact notional, closed where `x` says so.
//!
//! Weeks and months are skipped, and so is an interval without a trade, whose kline repeats the price before.

use crate::model::{Tick, UnixNanos};

use super::bar::{self, BarFields};
use super::field::Context;
use super::json::{Fault, Field, Scalar, Value, required};
use super::parts;
use super::reject::Reason;

/// Seconds of an interval that bars may have; longer ones are weeks and months of the vendor's own.
fn interval_seconds(name: &str) -> Option<u32> {
    Some(match name {
        "1s" => 1,
        "1m" => 60,
        "3m" => 180,
        "5m" => 300,
        "15m" => 900,
        "30m" => 1_800,
        "1h" => 3_600,
        "2h" => 7_200,
        "4h" => 14_400,
        "6h" => 21_600,
        "8h" => 28_800,
        "12h" => 43_200,
        "1d" => 86_400,
        _ => return None,
    })
}

#[derive(Default)]
struct Kline<'i> {
    start: Field<'i>,
    symbol: Field<'i>,
    interval: Field<'i>,
    open: Field<'i>,
    high: Field<'i>,
    low: Field<'i>,
    close: Field<'i>,
    volume: Field<'i>,
    quote_volume: Field<'i>,
    trades: Field<'i>,
    closed: Field<'i>,
}

/// The bar of the `k` of an event, which came at `received`, or a skip.
///
/// # Errors
/// Where it cannot be one.
pub fn kline<'i>(
    value: Value<'_, 'i>,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> Result<(), Fault<'i>> {
    let mut k = Kline::default();
    let is_object = value.fields(|key, value| {
        let slot = match key {
            "t" => &mut k.start,
            "s" => &mut k.symbol,
            "i" => &mut k.interval,
            "o" => &mut k.open,
            "h" => &mut k.high,
            "l" => &mut k.low,
            "c" => &mut k.close,
            "v" => &mut k.volume,
            "q" => &mut k.quote_volume,
            "n" => &mut k.trades,
            "x" => &mut k.closed,
            _ => return,
        };
        *slot = value.field();
    });
    if !is_object {
        return Err((Reason::WrongType, value.scalar()));
    }
    let interval = required(k.interval, "i")?.text()?;
    let Some(seconds) = interval_seconds(interval) else {
        cx.tallies.skip_part("kline", interval);
        return Ok(());
    };
    let trades = required(k.trades, "n")?.int::<u32>()?;
    if trades == 0 {
        cx.tallies.skip_part("kline", "empty");
        return Ok(());
    }
    let name = required(k.symbol, "s")?.text()?;
    let start = parts::time_ms(k.start, "t", cx)?;
    let fields = BarFields {
        open: (k.open, "o"),
        high: (k.high, "h"),
        low: (k.low, "l"),
        close: (k.close, "c"),
        volume: (k.volume, "v"),
        decimal_volume: None,
        read: Scalar::decimal,
    };
    let mut bar = fields.bar(start, cx)?;
    let q = required(k.quote_volume, "q")?;
    bar.notional = cx.notional(q.decimal()?).map_err(|reason| (reason, q))?;
    bar.trades = u64::from(trades);
    let closed = required(k.closed, "x")?.bool()?;
    bar::settle(bar, (seconds, closed, true), name, received, cx, out)
}
