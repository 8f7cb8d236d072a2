//! A vendor's bar out of its fields: every number exact, its four prices in order, then two ticks.

use crate::model::{Bar, BarOrigin, Nanos, Notional, Tick, UnixNanos, UpstreamBar};

use super::field::{Context, Number, bar_notional};
use super::json::{Fault, Field, Scalar, required};
use super::parts;
use super::reject::Reason;

/// The numbers of a bar as a message has them.
#[derive(Clone, Copy)]
pub struct BarFields<'i> {
    /// Price of the first trade, its name in the message beside it.
    pub open: (Field<'i>, &'static str),
    /// Highest price.
    pub high: (Field<'i>, &'static str),
    /// Lowest price.
    pub low: (Field<'i>, &'static str),
    /// Price of the last trade.
    pub close: (Field<'i>, &'static str),
    /// Sum of sizes.
    pub volume: (Field<'i>, &'static str),
    /// The same as decimal text, which wins where both are there.
    pub decimal_volume: Field<'i>,
    /// How a price or the volume is written: as a JSON number, or as decimal text.
    pub read: fn(Scalar<'i>) -> Result<Number<'i>, Fault<'i>>,
}

impl<'i> BarFields<'i> {
    /// The bar that begins at `start`, its notional and its trades not yet known.
    ///
    /// # Errors
    /// Where a number is missing, is none, or cannot belong to the others.
    pub fn bar(&self, start: UnixNanos, cx: &mut Context<'_>) -> Result<Bar, Fault<'i>> {
        let mut price = |(field, name)| {
            let field = required(field, name)?;
            cx.price((self.read)(field)?).map_err(|reason| (reason, field))
        };
        let (open, high) = (price(self.open)?, price(self.high)?);
        let (low, close) = (price(self.low)?, price(self.close)?);
        if low > open.min(close) || high < open.max(close) {
            return Err((Reason::BarRange, self.high.0.unwrap_or(Scalar::Null)));
        }
        let (written, number) = match self.decimal_volume {
            Some(text) => (text, text.decimal()?),
            None => {
                let written = required(self.volume.0, self.volume.1)?;
                (written, (self.read)(written)?)
            }
        };
        let volume = cx.volume(number).map_err(|reason| (reason, written))?;
        Ok(Bar { volume, notional: Notional(0), start, open, high, low, close, trades: 0 })
    }
}

/// How many whole seconds a bar is long, at least one.
pub fn seconds(start: UnixNanos, end: UnixNanos) -> Option<u32> {
    let (length, second) = ((end - start).0, Nanos::from_secs(1).0);
    let whole = length > 0 && length % second == 0;
    whole.then(|| u32::try_from(length / second).ok()).flatten()
}

/// Adds what a JSON number says the average price of the bar's trades was. Returns whether there was one.
///
/// # Errors
/// Where it is no price, or price times volume is past what sums can hold.
pub fn add_vwap<'i>(bar: &mut Bar, vwap: Field<'i>, cx: &mut Context<'_>) -> Result<bool, Fault<'i>> {
    let Some(written) = vwap else { return Ok(false) };
    let vwap = cx.side_price(written.number()?).map_err(|reason| (reason, written))?;
    bar.notional = bar_notional(vwap, bar.volume).map_err(|reason| (reason, written))?;
    Ok(true)
}

/// A streamed bar's verdict and its two ticks.
///
/// # Errors
/// Where its symbol is none.
pub fn settle<'i>(
    bar: Bar,
    (seconds, closed, has_notional): (u32, bool, bool),
    name: &'i str,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> Result<(), Fault<'i>> {
    let symbol = parts::symbol(name, cx)?;
    let (source, origin) = (cx.source, BarOrigin::Live);
    let bar = UpstreamBar { symbol, source, origin, seconds, closed, has_notional, ts_recv: received, bar };
    let ticks = bar.to_ticks();
    cx.tallies.accept(&ticks[0]);
    out.extend(ticks);
    Ok(())
}
