//! The model: a list of trades, grouped anew each time; and a follower of facts that checks their order.

use std::collections::BTreeMap;

use tickwire::model::{
    Bar, BarFlags, BarOrigin, Event, EventKind, Nanos, Notional, Price, Size, SymbolId, Tick, Timeframes,
    TradeId, UnixNanos, UpstreamBar, Venue, Volume,
};
use tickwire::shard::{CandleOptions, Candles, Sink, Verdict, When};

use crate::by_hand::add;

/// A full hour, so that intervals of every length begin here.
pub const START: i64 = 1_700_001_600_000_000_000;
pub const MS: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MS;

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    pub symbol: u32,
    pub ts: i64,
    pub id: u64,
    pub price: i64,
    pub size: u64,
    pub venue: u8,
    /// The venue numbers without a hole.
    pub contiguous: bool,
}

impl Trade {
    pub fn random(random: &mut Random, symbol: u32, ts: i64, id: u64) -> Self {
        let (price, size) = (1 + random.below(50) as i64 * 10_000_000, (1 + random.below(4)) * 50_000_000);
        Self { symbol, ts, id, price, size, venue: 0, contiguous: false }
    }

    pub fn tick(&self, source: u8, now: i64) -> Tick {
        let (price, size) = (Price(self.price), Size(self.size));
        let mut tick = Tick::trade(SymbolId(self.symbol), UnixNanos(self.ts), UnixNanos(now), price, size);
        tick = tick.with_id(TradeId::from_u64(self.id)).with_venue(Venue(self.venue));
        tick.source = source;
        if self.contiguous { tick.with_contiguous_sequence(self.id) } else { tick.with_sequence(self.id) }
    }
}

/// The bars of these trades in one timeframe, by start. Trades of one moment are in order of their ids.
pub fn group<'a>(trades: impl IntoIterator<Item = &'a Trade>, len: i64) -> BTreeMap<i64, Bar> {
    let mut sorted: Vec<_> = trades.into_iter().collect();
    sorted.sort_by_key(|trade| (trade.ts, trade.id));
    let mut bars = BTreeMap::new();
    for trade in sorted {
        add(&mut bars, len, (trade.ts, trade.price, trade.size));
    }
    bars
}

/// The bars of shorter bars.
pub fn roll_up(bars: &BTreeMap<i64, Bar>, len: i64) -> BTreeMap<i64, Bar> {
    let mut sums: BTreeMap<i64, Bar> = BTreeMap::new();
    for (start, bar) in bars {
        let at = start.div_euclid(len) * len;
        match sums.get_mut(&at) {
            None => {
                sums.insert(at, Bar { start: UnixNanos(at), ..*bar });
            }
            Some(sum) => {
                sum.high = sum.high.max(bar.high);
                sum.low = sum.low.min(bar.low);
                sum.close = bar.close;
                sum.volume.0 += bar.volume.0;
                sum.notional.0 += bar.notional.0;
                sum.trades += bar.trades;
            }
        }
    }
    sums
}

/// What a client holds of one bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub bar: Bar,
    pub rev: u32,
    pub flags: BarFlags,
}

#[derive(Default)]
pub struct Follower {
    pub held: BTreeMap<(u32, usize), BTreeMap<i64, Held>>,
    sequences: BTreeMap<(u32, usize), u64>,
    pub facts: Vec<Event>,
}

impl Sink for Follower {
    fn fact(&mut self, symbol: u32, event: &Event) {
        let key = (symbol, event.topic.level());
        let sequence = self.sequences.entry(key).or_default();
        *sequence += 1;
        assert_eq!(event.sequence, *sequence, "a gap in the sequence");
        let held = Held { bar: event.as_bar(), rev: event.rev, flags: event.flags };
        let before = self.held.entry(key).or_default().insert(held.bar.start.0, held);
        match (event.kind(), before) {
            (EventKind::BarClosed, None) => assert_eq!(event.rev, 0),
            (EventKind::BarRevised, Some(before)) => {
                assert_eq!(event.rev, before.rev + 1);
                assert!(
                    (before.bar, before.flags) != (held.bar, held.flags),
                    "a revision of nothing: {held:?}"
                );
            }
            other => panic!("{other:?} at {key:?}"),
        }
        self.facts.push(*event);
    }
}

impl Follower {
    pub fn bars(&self, symbol: u32, level: usize) -> BTreeMap<i64, Bar> {
        let held = self.held.get(&(symbol, level)).into_iter().flatten();
        held.map(|(&start, held)| (start, held.bar)).collect()
    }

    pub fn names(&self, symbol: u32, level: usize, start: i64) -> Vec<&'static str> {
        self.held[&(symbol, level)][&start].flags.names().collect()
    }

    pub fn all(&self) -> impl Iterator<Item = ((u32, usize), Held)> + '_ {
        self.held.iter().flat_map(|(&key, bars)| bars.values().map(move |&held| (key, held)))
    }
}

/// A shard's candles, their follower and a clock.
pub struct World {
    pub candles: Candles,
    pub follower: Follower,
    pub now: i64,
    pub ticks: u64,
}

pub fn options(list: &str) -> CandleOptions {
    let timeframes = Timeframes::parse(list).unwrap();
    CandleOptions { joined_midway: false, ..CandleOptions::live(timeframes) }
}

impl World {
    pub fn new(options: CandleOptions) -> Self {
        Self { candles: Candles::new(options), follower: Follower::default(), now: START, ticks: 0 }
    }

    pub fn apply(&mut self, tick: &Tick) -> Verdict {
        self.ticks += 1;
        if tick.symbol == SymbolId::ANY {
            return self.candles.gap_everywhere(tick, &mut self.follower);
        }
        let symbol = self.candles.local(tick.symbol);
        let when = When { now: UnixNanos(self.now), offset: Nanos::ZERO };
        self.candles.apply(symbol, tick, when, &mut self.follower)
    }

    pub fn upstream(&mut self, bar: &UpstreamBar) -> Verdict {
        let [head, tail] = bar.to_ticks();
        self.apply(&head);
        self.apply(&tail)
    }

    pub fn pass_to(&mut self, now: i64) {
        self.now = self.now.max(now);
        // A call settles a bounded number of comparisons.
        while self.candles.fire(UnixNanos(self.now), |_| Nanos::ZERO, &mut self.follower) > 0 {}
    }

    pub fn gap(&mut self, symbol: SymbolId, from: i64, to: i64) -> Verdict {
        let now = UnixNanos(self.now);
        self.apply(&Tick::gap(symbol, UnixNanos(from), UnixNanos(to), now))
    }

    pub fn len(&self, level: usize) -> i64 {
        self.candles.options().timeframes.get(level).unwrap().nanos().0
    }

    pub fn levels(&self) -> usize {
        self.candles.options().timeframes.len()
    }

    /// Every tick was accepted or refused.
    pub fn check_ledger(&self) {
        let tallies = self.candles.tallies();
        let refused: u64 = tallies.refused.iter().sum();
        assert_eq!(tallies.accepted + refused + tallies.halves_waiting, self.ticks, "{tallies:?}");
    }
}

/// A vendor's bar.
pub fn vendors(symbol: u32, origin: BarOrigin, seconds: u32, bar: Bar) -> UpstreamBar {
    UpstreamBar {
        symbol: SymbolId(symbol),
        source: 3,
        origin,
        seconds,
        closed: true,
        has_notional: true,
        ts_recv: UnixNanos(START),
        bar,
    }
}

pub fn flat(start: i64, price: i64) -> Bar {
    let (open, volume) = (Price(price), Volume(100_000_000));
    let notional = Notional(i128::from(price) * 100_000_000);
    Bar { volume, notional, start: UnixNanos(start), open, high: open, low: open, close: open, trades: 1 }
}
