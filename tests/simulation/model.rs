//! What must come out, from the rules alone: which trades count, and the bars of those that do. It shares no code with the engine.

use std::collections::{BTreeMap, HashSet};

/// A row of the feed as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub symbol: &'static str,
    /// ns.
    pub ts: i64,
    /// 1e-9.
    pub price: i64,
    /// 1e-8.
    pub size: u64,
    /// 0: none.
    pub id: u64,
}

/// A bar as its text says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelBar {
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: i128,
    pub vwap: Option<i128>,
    pub trades: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub finest: i64,
    pub grace: i64,
    pub tolerance: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub duplicate: u64,
    pub too_late: u64,
    /// Cancels and corrections.
    pub taken_back: u64,
}

pub struct Model {
    rules: Rules,
    pub counts: Counts,
    counted: BTreeMap<&'static str, Vec<Row>>,
    /// Facts of the trades topic, and the price of the newest trade: neither is undone by a cancel.
    facts: BTreeMap<&'static str, u64>,
    last: BTreeMap<&'static str, i64>,
    ids: HashSet<(&'static str, i64, u64)>,
    /// The finest interval that a tick touched last, of those that were open then.
    current: BTreeMap<&'static str, i64>,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            counts: Counts::default(),
            counted: BTreeMap::new(),
            facts: BTreeMap::new(),
            last: BTreeMap::new(),
            ids: HashSet::new(),
            current: BTreeMap::new(),
        }
    }

    /// A trade reaches its shard at `now`, when every timer due by then has fired.
    pub fn trade(&mut self, row: &Row, now: i64) {
        let key = (row.symbol, row.ts.div_euclid(86_400_000_000_000), row.id);
        if row.id != 0 && self.ids.contains(&key) {
            self.counts.duplicate += 1;
            return;
        }
        let start = row.ts.div_euclid(self.rules.finest) * self.rules.finest;
        let is_over = start + self.rules.finest + self.rules.grace <= now;
        if is_over && row.ts < now - self.rules.tolerance {
            self.counts.too_late += 1;
            return;
        }
        if !is_over {
            self.current.insert(row.symbol, start);
        }
        self.ids.insert(key);
        self.count(row.clone());
    }

    /// A trade that is known to count.
    pub fn count(&mut self, row: Row) {
        self.counts.accepted += 1;
        *self.facts.entry(row.symbol).or_default() += 1;
        self.last.insert(row.symbol, row.price);
        self.counted.entry(row.symbol).or_default().push(row);
    }

    /// The finest interval that must be forming at `now`, if its end has not come.
    pub fn forming(&self, symbol: &str, now: i64) -> Option<i64> {
        let over = |start: i64| start + self.rules.finest + self.rules.grace <= now;
        self.current.get(symbol).copied().filter(|&start| !over(start))
    }

    pub fn last_price(&self, symbol: &str) -> Option<i64> {
        self.last.get(symbol).copied()
    }

    /// How many facts its trades topic has had.
    pub fn trades(&self, symbol: &str) -> u64 {
        self.facts.get(symbol).copied().unwrap_or(0)
    }

    /// A trade that can be taken back and leaves no bar empty: that a bar is gone no message can say.
    pub fn takeable(&self, symbol: &str, nth: u64) -> Option<&Row> {
        let rows = self.counted.get(symbol)?;
        let row = &rows[nth as usize % rows.len()];
        let bar = |row: &Row| row.ts.div_euclid(self.rules.finest);
        let has_company = rows.iter().filter(|other| bar(other) == bar(row)).count() > 1;
        (row.id != 0 && has_company).then_some(row)
    }

    /// A cancel, or a correction to this price and size.
    pub fn take_back(&mut self, old: &Row, to: Option<(i64, u64)>) {
        let rows = self.counted.entry(old.symbol).or_default();
        rows.retain(|row| row.id != old.id);
        if let Some((price, size)) = to {
            // Among trades of one moment it is the latest now.
            rows.push(Row { price, size, ..old.clone() });
        }
        *self.facts.entry(old.symbol).or_default() += 1;
        self.counts.taken_back += 1;
    }

    pub fn symbols(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.counted.keys().copied()
    }

    /// All bars of a symbol in one timeframe, by start in ns.
    pub fn bars(&self, symbol: &str, len: i64) -> BTreeMap<i64, ModelBar> {
        let mut groups: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
        for row in self.counted.get(symbol).into_iter().flatten() {
            groups.entry(row.ts.div_euclid(len) * len).or_default().push(row);
        }
        let bar = |mut rows: Vec<&Row>| {
            // Stable: trades of one moment stay in the order in which they came.
            rows.sort_by_key(|row| row.ts);
            let prices = rows.iter().map(|row| i128::from(row.price));
            let volume: i128 = rows.iter().map(|row| i128::from(row.size)).sum();
            let notional: i128 = rows.iter().map(|row| i128::from(row.price) * i128::from(row.size)).sum();
            ModelBar {
                open: i128::from(rows[0].price),
                high: prices.clone().max().unwrap_or(0),
                low: prices.min().unwrap_or(0),
                close: i128::from(rows[rows.len() - 1].price),
                volume,
                vwap: (volume > 0).then(|| half_even(notional, volume)),
                trades: rows.len() as u64,
            }
        };
        groups.into_iter().map(|(start, rows)| (start, bar(rows))).collect()
    }
}

fn half_even(a: i128, b: i128) -> i128 {
    let (whole, rest) = (a.div_euclid(b), a.rem_euclid(b));
    let up = rest * 2 > b || (rest * 2 == b && whole % 2 != 0);
    whole + i128::from(up)
}
