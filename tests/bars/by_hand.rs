//! What all the models do to a bar with a trade.

use std::collections::BTreeMap;

use tickwire::model::{Bar, Notional, Price, UnixNanos, Volume};

/// Adds a trade, its time, price and size, to its bar of a timeframe. Trades are told in order.
pub fn add(bars: &mut BTreeMap<i64, Bar>, len: i64, (ts, price, size): (i64, i64, u64)) {
    let start = ts.div_euclid(len) * len;
    let bar = bars.entry(start).or_insert(Bar {
        start: UnixNanos(start),
        open: Price(price),
        high: Price(price),
        low: Price(price),
        ..Bar::default()
    });
    bar.high = Price(bar.high.0.max(price));
    bar.low = Price(bar.low.0.min(price));
    bar.close = Price(price);
    bar.volume = Volume(bar.volume.0 + u128::from(size));
    bar.notional = Notional(bar.notional.0 + i128::from(price) * i128::from(size));
    bar.trades += 1;
}
