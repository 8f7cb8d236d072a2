//! What is true: a bar of each second out of every sale that was due, and the file of those sales.
//!
//! Worked out from the sales alone, by sums of whole numbers, and with none of the engine's code: it is what the engine is
//! held against.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::decimal;
use crate::event::{Sale, Symbols};

/// ms of the finest bar.
pub const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 86_400_000;

/// A bar: prices and volumes in billionths, sums of products in 1e-18.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Of its interval, ms since 1970.
    pub start_ms: i64,
    /// First price.
    pub open: i128,
    /// Highest price.
    pub high: i128,
    /// Lowest price.
    pub low: i128,
    /// Last price.
    pub close: i128,
    /// Sum of sizes.
    pub volume: i128,
    /// Sum of price times size.
    pub notional: i128,
    /// Of both, what buyers took.
    pub bought: (i128, i128),
    /// How many sales.
    pub trades: u64,
    first: (i64, u64),
    last: (i64, u64),
}

impl Bar {
    fn of(sale: &Sale, start_ms: i64) -> Self {
        let order = (sale.at_ms, sale.sequence);
        let product = sale.price * sale.size;
        Self {
            start_ms,
            open: sale.price,
            high: sale.price,
            low: sale.price,
            close: sale.price,
            volume: sale.size,
            notional: product,
            bought: if sale.buyer_is_maker { (0, 0) } else { (sale.size, product) },
            trades: 1,
            first: order,
            last: order,
        }
    }

    fn join(&mut self, other: &Self) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last >= self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.volume += other.volume;
        self.notional += other.notional;
        self.bought.0 += other.bought.0;
        self.bought.1 += other.bought.1;
        self.trades += other.trades;
    }

    /// The mean price by volume, with so many decimals (9 to 18); `None` without volume.
    pub fn vwap(&self, decimals: u32) -> Option<String> {
        (self.volume > 0).then(|| decimal::ratio(self.notional, self.volume, decimals))
    }
}

/// All bars, and the file.
#[derive(Default)]
pub struct Truth {
    seconds: Vec<BTreeMap<i64, Bar>>,
    days: Vec<Option<Bar>>,
    file: Option<BufWriter<File>>,
    /// Sales that were due.
    pub sales: u64,
}

impl Truth {
    /// With a file of all sales, or without.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let mut truth = Self::default();
        if let Some(path) = path {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(b"symbol,timestamp_ms,price,size,trade_id,exchange,conditions,sent\n")?;
            truth.file = Some(file);
        }
        Ok(truth)
    }

    /// Counts a sale into its second.
    pub fn add(&mut self, sale: &Sale) {
        self.sales += 1;
        if self.seconds.len() <= sale.symbol {
            self.seconds.resize_with(sale.symbol + 1, BTreeMap::new);
            self.days.resize(sale.symbol + 1, None);
        }
        let start = sale.at_ms.div_euclid(SECOND_MS) * SECOND_MS;
        let one = Bar::of(sale, start);
        let today = sale.at_ms.div_euclid(DAY_MS) * DAY_MS;
        match &mut self.days[sale.symbol] {
            Some(day) if day.start_ms >= today => day.join(&one),
            day => *day = Some(Bar { start_ms: today, ..one.clone() }),
        }
        self.seconds[sale.symbol].entry(start).and_modify(|bar| bar.join(&one)).or_insert(one);
    }

    /// The newest UTC day of a symbol so far.
    pub fn day(&self, symbol: usize) -> Option<&Bar> {
        self.days.get(symbol)?.as_ref()
    }

    /// Writes a sale's row; `sent` tells for each connection what it got.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&mut self, sale: &Sale, symbols: &Symbols, sent: &str) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let codes: Vec<_> = sale.conditions.iter().map(u8::to_string).collect();
        writeln!(
            file,
            "{},{},{},{},{},{},{},{}",
            symbols.name(sale.symbol),
            sale.at_ms,
            decimal::text(sale.price),
            decimal::text(sale.size),
            sale.id,
            if sale.venue == 0 { String::new() } else { sale.venue.to_string() },
            codes.join(" "),
            sent.trim_end()
        )
    }

    /// Puts all rows into the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.flush())
    }

    /// The bars of a length, a whole number of seconds, that start in `[from_ms, to_ms)`, oldest first.
    pub fn bars(&self, symbol: usize, length_ms: i64, from_ms: i64, to_ms: i64) -> Vec<Bar> {
        let mut out: Vec<Bar> = Vec::new();
        let Some(seconds) = self.seconds.get(symbol) else { return out };
        let length = length_ms.max(SECOND_MS);
        // A bar that starts in range has its first second there or later, and its last one past the range's end.
        let first = from_ms.div_euclid(length) * length;
        let first = if first < from_ms { first + length } else { first };
        if first >= to_ms {
            return out;
        }
        let last = (to_ms - 1).div_euclid(length) * length + length;
        for (&second, bar) in seconds.range(first..last) {
            let start = second.div_euclid(length) * length;
            match out.last_mut() {
                Some(open) if open.start_ms == start => open.join(bar),
                _ => out.push(Bar { start_ms: start, ..bar.clone() }),
            }
        }
        out
    }

    /// The bar of a symbol that starts then.
    pub fn bar(&self, symbol: usize, length_ms: i64, start_ms: i64) -> Option<Bar> {
        self.bars(symbol, length_ms, start_ms, start_ms + 1).into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::ONE;
    use proptest::prelude::*;

    fn sale(at_ms: i64, sequence: u64, price: i128, size: i128) -> Sale {
        Sale {
            symbol: 0,
            at_ms,
            price,
            size,
            id: sequence.to_string(),
            sequence,
            venue: 0,
            tape: 0,
            conditions: Vec::new(),
            buyer_is_maker: sequence.is_multiple_of(2),
        }
    }

    proptest! {
        #[test]
        fn bars_are_what_sorting_all_sales_gives(
            ticks in prop::collection::vec((0..200_000_i64, 1..500_i128, 0..50_i128), 1..300),
            length_s in 1..90_i64,
        ) {
            let mut truth = Truth::default();
            let mut sales: Vec<_> = ticks.iter().zip(1..).map(|(&(at, price, size), n)| sale(at, n, price, size)).collect();
            sales.iter().for_each(|sale| truth.add(sale));
            sales.sort_by_key(|sale| (sale.at_ms, sale.sequence));
            let length = length_s * SECOND_MS;
            let mut slow: Vec<(i64, [i128; 6], u64)> = Vec::new();
            for sale in &sales {
                let start = sale.at_ms / length * length;
                let (price, size) = (sale.price, sale.size);
                match slow.last_mut() {
                    Some((at, bar, trades)) if *at == start => {
                        bar[1] = bar[1].max(price);
                        bar[2] = bar[2].min(price);
                        bar[3] = price;
                        bar[4] += size;
                        bar[5] += price * size;
                        *trades += 1;
                    }
                    _ => slow.push((start, [price, price, price, price, size, price * size], 1)),
                }
            }
            let fast: Vec<_> = truth.bars(0, length, 0, 1_000_000).into_iter()
                .map(|b| (b.start_ms, [b.open, b.high, b.low, b.close, b.volume, b.notional], b.trades)).collect();
            prop_assert_eq!(fast, slow);
        }
    }

    #[test]
    fn only_bars_that_start_in_the_range_are_told() {
        let mut truth = Truth::default();
        (0..10).for_each(|n| truth.add(&sale(n * 1_000 + 5, n as u64, ONE, ONE)));
        let starts =
            |from, to| truth.bars(0, 2_000, from, to).iter().map(|bar| bar.start_ms).collect::<Vec<_>>();
        assert_eq!(starts(0, 4_000), [0, 2_000]);
        assert_eq!(starts(1, 4_001), [2_000, 4_000]);
        assert_eq!(starts(4_001, 4_002), [0_i64; 0]);
        // Both of its seconds are in it, though the range ends within.
        assert_eq!(truth.bars(0, 2_000, 4_000, 4_001)[0].trades, 2);
    }
}
