//! The life of a bar against the most obvious model: a list of the trades that count, grouped anew every time it is asked.

use std::collections::BTreeMap;

use tickwire::model::{
    Bar, Day, Event, EventKind, Nanos, Price, Size, SymbolId, Tick, Timeframes, TradeId, UnixNanos,
};
use tickwire::shard::{BarClock, CandleOptions, Candles, KeepTrades, Refusal, Sink, Verdict, When};

use crate::by_hand::add;

const TIMEFRAMES: &str = "1s,5s,10s,15s,1m,1h";
const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// A trade that counts, as the model remembers it.
#[derive(Clone, Copy)]
struct Counted {
    ts: i64,
    sequence: u64,
    arrival: u64,
    price: i64,
    size: u64,
    id: u64,
}

/// All bars of the model's trades in one timeframe, by start.
fn group(trades: &[Counted], len: Nanos) -> BTreeMap<i64, Bar> {
    let mut sorted = trades.to_vec();
    sorted.sort_by_key(|trade| (trade.ts, trade.sequence, trade.arrival));
    let mut bars = BTreeMap::new();
    for trade in sorted {
        add(&mut bars, len.0, (trade.ts, trade.price, trade.size));
    }
    bars
}

/// Every fact in the order in which it came, per level of each symbol.
#[derive(Default)]
struct Facts {
    events: BTreeMap<(u32, usize), Vec<Event>>,
    /// Closed finest bars of each symbol, by start.
    finest: BTreeMap<u32, BTreeMap<i64, Bar>>,
    day: Option<Event>,
}

impl Sink for Facts {
    fn fact(&mut self, symbol: u32, event: &Event) {
        self.events.entry((symbol, event.topic.level())).or_default().push(*event);
        self.check_day(symbol, event);
    }

    fn wants_day(&self, _symbol: u32, _level: usize) -> bool {
        true
    }

    fn day(&mut self, _symbol: u32, event: &Event) {
        assert!(self.day.replace(*event).is_none(), "a day without its fact");
    }
}

const DAY: i64 = 86_400_000_000_000;

impl Facts {
    /// Each fact comes right after its day, which is the sum of the closed finest bars of the newest day.
    fn check_day(&mut self, symbol: u32, event: &Event) {
        let finest = self.finest.entry(symbol).or_default();
        if event.topic.level() == 0 {
            finest.insert(event.as_bar().start.0, event.as_bar());
        }
        let said = self.day.take().expect("a fact without its day");
        assert_eq!((said.topic, said.sequence), (event.topic, event.sequence));
        let said = said.as_day();
        let Some((&newest, _)) = finest.last_key_value() else { return };
        let today = newest.div_euclid(DAY) * DAY;
        if event.as_bar().start.0 < today {
            assert_eq!(said, Day::default(), "of a day that is over nothing is said");
            return;
        }
        let bars = || finest.range(today..).map(|(_, bar)| bar);
        assert_eq!(said.volume.0, bars().map(|bar| bar.volume.0).sum::<u128>());
        assert_eq!(said.notional.0, bars().map(|bar| bar.notional.0).sum::<i128>());
        // The first bar may have lost all its trades since.
        if let Some(first) = bars().next().filter(|bar| bar.trades > 0) {
            assert_eq!(said.open, first.open);
        }
    }
}

impl Facts {
    /// What a client holds that applied them all; checks sequences and revisions on the way.
    fn held(&self, symbol: u32, level: usize) -> BTreeMap<i64, Bar> {
        let mut bars: BTreeMap<i64, (u32, Bar)> = BTreeMap::new();
        for (n, event) in self.events.get(&(symbol, level)).into_iter().flatten().enumerate() {
            assert_eq!(event.sequence, n as u64 + 1, "a gap in the sequence");
            let bar = event.as_bar();
            let before = bars.insert(bar.start.0, (event.rev, bar));
            match (event.kind(), before) {
                (EventKind::BarClosed, None) => assert_eq!(event.rev, 0),
                (EventKind::BarRevised, Some((rev, _))) => assert_eq!(event.rev, rev + 1),
                other => {
                    for e in &self.events[&(symbol, level)] {
                        eprintln!(
                            "L{level} {:?} seq {} rev {} start {} trades {} reason {:?} flags {:?}",
                            e.kind(),
                            e.sequence,
                            e.rev,
                            e.as_bar().start.0 / 1_000_000_000,
                            e.as_bar().trades,
                            e.reason(),
                            e.flags
                        );
                    }
                    panic!("{other:?} at revision {}", event.rev)
                }
            }
        }
        bars.into_iter()
            .filter(|(_, (_, bar))| bar.trades > 0)
            .map(|(start, (_, bar))| (start, bar))
            .collect()
    }
}

struct World {
    candles: Candles,
    facts: Facts,
    model: Vec<Vec<Counted>>,
    now: UnixNanos,
    arrival: u64,
    next_id: u64,
    random: Random,
}

impl World {
    fn new(seed: u64, options: CandleOptions) -> Self {
        Self {
            candles: Candles::new(options),
            facts: Facts::default(),
            model: vec![Vec::new(); 3],
            now: START,
            arrival: 0,
            next_id: 1,
            random: Random(seed * 2 + 1),
        }
    }

    fn when(&self) -> When {
        When { now: self.now, offset: Nanos::ZERO }
    }

    fn apply(&mut self, tick: &Tick) -> (u32, Verdict) {
        let symbol = self.candles.local(tick.symbol);
        let when = self.when();
        (symbol, self.candles.apply(symbol, tick, when, &mut self.facts))
    }

    fn trade(&mut self, spread_ms: u64) {
        let symbol = SymbolId(self.random.below(3) as u32 * 7);
        let behind = if self.random.below(8) == 0 { self.random.below(spread_ms) as i64 } else { 0 };
        // Whole and half seconds often, so that ticks meet the edges of bars and tie in time.
        let step = [1, 500, 1_000][self.random.below(3) as usize];
        let ts = (self.now.0 / 1_000_000 - behind) / step * step * 1_000_000;
        let price = 1 + self.random.below(50) as i64 * 10_000_000;
        let size = self.random.below(4) * 50_000_000;
        let sequence = if self.random.below(2) == 0 { 0 } else { self.random.below(5) };
        let id = self.next_id;
        self.next_id += 1;
        let mut tick = Tick::trade(symbol, UnixNanos(ts), self.now, Price(price), Size(size))
            .with_id(TradeId::from_u64(id));
        if sequence > 0 {
            tick = tick.with_sequence(sequence);
        }
        let (local, verdict) = self.apply(&tick);
        self.arrival += 1;
        if verdict == Verdict::Accepted {
            let trade = Counted { ts, sequence, arrival: self.arrival, price, size, id };
            self.model[local as usize].push(trade);
            if self.random.below(4) == 0 {
                assert_eq!(self.apply(&tick).1, Verdict::Refused(Refusal::Duplicate));
            }
        }
    }

    /// Cancels or corrects some trade of some symbol.
    fn take_back(&mut self) {
        let local = self.random.below(3) as usize;
        if local >= self.candles.symbols() || self.model[local].is_empty() {
            return;
        }
        let at = self.random.below(self.model[local].len() as u64) as usize;
        let old = self.model[local][at];
        let (symbol, id) = (self.candles.symbol_id(local as u32), TradeId::from_u64(old.id));
        self.arrival += 1;
        if self.random.below(2) == 0 {
            let cancel = Tick::cancel(symbol, UnixNanos(old.ts), self.now, id);
            if self.apply(&cancel).1 == Verdict::Accepted {
                self.model[local].remove(at);
            }
            return;
        }
        let (price, size) =
            (1 + self.random.below(50) as i64 * 10_000_000, self.random.below(4) * 50_000_000);
        let new_id = if self.random.below(2) == 0 { 0 } else { self.next_id };
        self.next_id += 1;
        let to = (Price(price), Size(size));
        let correction = Tick::correction(symbol, UnixNanos(old.ts), self.now, id, new_id, to);
        if self.apply(&correction).1 == Verdict::Accepted {
            let id = if new_id == 0 { old.id } else { new_id };
            self.model[local][at] = Counted { price, size, arrival: self.arrival, id, ..old };
        }
    }

    fn check(&mut self) {
        let timeframes = self.candles.options().timeframes.clone();
        for local in 0..self.candles.symbols() as u32 {
            for (level, timeframe) in timeframes.iter().enumerate() {
                let want = group(&self.model[local as usize], timeframe.nanos());
                let held = self.facts.held(local, level);
                // What is still open must be found forming, what is closed must be right.
                let mut open = want.clone();
                for (start, bar) in &held {
                    assert_eq!(open.remove(start).as_ref(), Some(bar), "{timeframe} of symbol {local}");
                }
                if let Some(forming) = self.candles.forming(local, level) {
                    let bar = forming.as_bar();
                    assert_eq!(open.get(&bar.start.0), Some(&bar), "forming {timeframe} of symbol {local}");
                }
                self.check_replay(local, level);
            }
        }
    }

    fn check_replay(&mut self, local: u32, level: usize) {
        let facts = self.facts.events.get(&(local, level)).map_or(&[][..], Vec::as_slice);
        let since = self.random.below(facts.len() as u64 + 1);
        let mut replayed = Vec::new();
        if self.candles.replay_bars(local, level, since, &mut replayed) {
            let missed = &facts[since as usize..];
            assert_eq!(replayed.len(), missed.len());
            for (a, b) in replayed.iter().zip(missed) {
                // A refusal that came since is shown; nothing else may differ.
                let mut a = *a;
                a.flags = b.flags;
                assert_eq!(
                    bytemuck::bytes_of(&a),
                    bytemuck::bytes_of(b),
                    "a replayed fact differs from what was sent"
                );
            }
        } else {
            assert!(
                self.candles.options().history_bytes_max < 1 << 20 || facts.len() > 64,
                "nothing was evicted"
            );
        }
    }

    fn finish(mut self) {
        self.candles.close_all(&mut self.facts);
        self.check();
        let timeframes = self.candles.options().timeframes.clone();
        for local in 0..self.candles.symbols() as u32 {
            for (level, timeframe) in timeframes.iter().enumerate() {
                assert_eq!(
                    self.facts.held(local, level),
                    group(&self.model[local as usize], timeframe.nanos())
                );
            }
        }
    }
}

fn timeframes() -> Timeframes {
    Timeframes::parse(TIMEFRAMES).expect("a constant")
}

#[test]
fn a_file_in_any_order_gives_the_bars_of_its_trades() {
    for seed in 0..200 {
        let options = CandleOptions {
            keep_trades: KeepTrades::All,
            replayable: true,
            ..CandleOptions::file(timeframes())
        };
        let mut world = World::new(seed, options);
        for step in 0..300 {
            let ahead = world.random.below(3_000) as i64;
            world.now += Nanos::from_millis(ahead);
            match world.random.below(12) {
                0 => world.take_back(),
                _ => world.trade(200_000),
            }
            if step % 37 == 0 {
                world.check();
            }
        }
        world.finish();
    }
}

#[test]
fn a_live_shard_that_seals_and_forgets_publishes_no_wrong_bar() {
    for seed in 0..200 {
        let small = seed % 2 == 0;
        let options = CandleOptions {
            late_tolerance: Nanos::from_secs(15),
            seal_after: Nanos::from_secs([0, 5, 60][seed as usize % 3]),
            history_bytes_max: if small { 144 * 8 * 48 } else { 64 << 20 },
            trades_bytes_max: if small { 64 * 32 * 6 } else { 64 << 20 },
            open_bars_max: 4,
            joined_midway: false,
            ..CandleOptions::live(timeframes())
        };
        let mut world = World::new(seed, options);
        for step in 0..400 {
            let ahead = world.random.below(2_000) as i64;
            world.now += Nanos::from_millis(ahead);
            match world.random.below(12) {
                0 => world.take_back(),
                1..=4 => {
                    let now = world.now;
                    world.candles.fire(now, |_| Nanos::ZERO, &mut world.facts);
                }
                _ => world.trade(20_000),
            }
            if step % 41 == 0 {
                world.check();
            }
        }
        world.finish();
    }
}

fn trade_at(ms: i64, price: i64) -> Tick {
    let at = UnixNanos(START.0 + ms * 1_000_000);
    Tick::trade(SymbolId(0), at, at, Price(price), Size(100_000_000))
}

fn live(list: &str) -> Candles {
    Candles::new(CandleOptions {
        joined_midway: false,
        ..CandleOptions::live(Timeframes::parse(list).expect("a constant"))
    })
}

fn at(ms: i64) -> UnixNanos {
    UnixNanos(START.0 + ms * 1_000_000)
}

fn apply(candles: &mut Candles, facts: &mut Facts, tick: &Tick, now_ms: i64) -> Verdict {
    let symbol = candles.local(tick.symbol);
    candles.apply(symbol, tick, When { now: at(now_ms), offset: Nanos::ZERO }, facts)
}

#[test]
fn a_quiet_symbols_minute_closes_at_its_end_plus_grace_without_a_next_tick() {
    // START is 20 s into a minute.
    let (mut candles, mut facts) = (live("1m"), Facts::default());
    apply(&mut candles, &mut facts, &trade_at(0, 5), 0);
    assert_eq!(candles.next_timer(), Some(at(40_250)));
    candles.fire(at(40_249), |_| Nanos::ZERO, &mut facts);
    assert!(facts.events.is_empty());
    candles.fire(at(40_250), |_| Nanos::ZERO, &mut facts);
    assert_eq!(facts.held(0, 0).len(), 1);
    assert_eq!(candles.next_timer(), None);
}

#[test]
fn a_tick_three_seconds_late_revises_every_closed_bar_it_belongs_to_in_order() {
    let (mut candles, mut facts) = (live("1s,5s,1m"), Facts::default());
    apply(&mut candles, &mut facts, &trade_at(37_000, 500), 37_000);
    apply(&mut candles, &mut facts, &trade_at(39_900, 700), 39_900);
    candles.fire(at(40_300), |_| Nanos::ZERO, &mut facts);
    let before = facts.events.clone();
    assert_eq!(before.values().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(apply(&mut candles, &mut facts, &trade_at(37_400, 900), 40_400), Verdict::Accepted);
    for level in 0..3 {
        let revision = facts.events[&(0, level)].last().unwrap();
        assert_eq!((revision.kind(), revision.rev), (EventKind::BarRevised, 1));
        assert_eq!(revision.as_bar().high, Price(900));
        facts.held(0, level);
    }
}

#[test]
fn one_tick_dated_an_hour_ahead_moves_nothing_but_itself() {
    let (mut candles, mut facts) = (live("1s,1m"), Facts::default());
    apply(&mut candles, &mut facts, &trade_at(0, 5), 0);
    apply(&mut candles, &mut facts, &trade_at(3_590_000, 9), 10);
    apply(&mut candles, &mut facts, &trade_at(500, 6), 500);
    candles.fire(at(600), |_| Nanos::ZERO, &mut facts);
    assert!(facts.events.is_empty(), "nothing may close early");
    let forming = candles.forming(0, 0).unwrap().as_bar();
    assert_eq!((forming.start, forming.trades), (at(0), 2));
    candles.fire(at(60_000), |_| Nanos::ZERO, &mut facts);
    assert_eq!(facts.held(0, 0).len(), 1);
    assert_eq!(facts.held(0, 1).len(), 1);
    candles.fire(at(3_700_000), |_| Nanos::ZERO, &mut facts);
    assert_eq!(facts.held(0, 0).len(), 2);
}

#[test]
fn a_tick_past_the_tolerance_is_refused_and_its_bar_flagged() {
    let (mut candles, mut facts) = (live("1s,1m"), Facts::default());
    apply(&mut candles, &mut facts, &trade_at(0, 5), 0);
    candles.fire(at(1_300), |_| Nanos::ZERO, &mut facts);
    let verdict = apply(&mut candles, &mut facts, &trade_at(500, 6), 15_501);
    assert_eq!(verdict, Verdict::Refused(Refusal::TooLate));
    let names: Vec<_> = candles.newest_closed(0, 0).unwrap().flags.names().collect();
    assert_eq!(names, ["refused"]);
}

#[test]
fn event_time_closes_bars_however_fast_it_is_read() {
    let options = CandleOptions::file(Timeframes::parse("1s").unwrap());
    assert_eq!(options.clock, BarClock::Event);
    let (mut candles, mut facts) = (Candles::new(options), Facts::default());
    apply(&mut candles, &mut facts, &trade_at(0, 5), 0);
    apply(&mut candles, &mut facts, &trade_at(1_249, 6), 0);
    assert!(facts.events.is_empty());
    apply(&mut candles, &mut facts, &trade_at(1_250, 6), 0);
    assert_eq!(facts.held(0, 0).len(), 1);
}

#[test]
fn a_gap_of_a_whole_source_marks_every_symbol_and_counts_once() {
    let (mut candles, mut facts) = (live("1s"), Facts::default());
    for symbol in [0, 7] {
        let mut tick = trade_at(0, 5);
        tick.symbol = SymbolId(symbol);
        apply(&mut candles, &mut facts, &tick, 0);
    }
    assert_eq!(candles.tallies().accepted, 2);
    let gap = Tick::gap(SymbolId::ANY, at(100), at(200), at(200));
    candles.gap_everywhere(&gap, &mut facts);
    assert_eq!(candles.tallies().accepted, 3);
    for symbol in [0, 1] {
        let flags: Vec<_> = candles.forming(symbol, 0).unwrap().flags.names().collect();
        assert_eq!(flags, ["incomplete"]);
    }
}

#[test]
fn the_last_trades_are_those_that_still_count() {
    let mut candles = Candles::new(CandleOptions::live(Timeframes::parse("1s").unwrap()));
    let (id, mut facts) = (SymbolId(3), Facts::default());
    let symbol = candles.local(id);
    let when = When { now: START, offset: Nanos::ZERO };
    let prices = |candles: &Candles, most: usize| {
        let mut out = vec![];
        candles.last_trades(symbol, most, &mut out);
        out.iter().map(|event| (event.sequence, event.as_trade().price.0)).collect::<Vec<_>>()
    };
    assert!(prices(&candles, 9).is_empty());
    for n in 1..=5 {
        let tick = Tick::trade(id, START, START, Price(n), Size(1)).with_id(TradeId::from_u64(n as u64));
        assert_eq!(candles.apply(symbol, &tick, when, &mut facts), Verdict::Accepted);
    }
    let cancel = Tick::cancel(id, START, START, TradeId::from_u64(4));
    candles.apply(symbol, &cancel, when, &mut facts);
    let fixed = (Price(20), Size(1));
    let correction = Tick::correction(id, START, START, TradeId::from_u64(2), 0, fixed);
    candles.apply(symbol, &correction, when, &mut facts);
    assert_eq!(prices(&candles, 9), [(1, 1), (3, 3), (5, 5), (7, 20)]);
    assert_eq!(prices(&candles, 2), [(5, 5), (7, 20)]);
    assert!(prices(&candles, 0).is_empty());
}

#[test]
fn a_symbol_keeps_so_many_trades_and_refuses_what_would_need_more() {
    let timeframes = Timeframes::parse("1s").unwrap();
    let options = CandleOptions { trades_per_symbol_max: 100, ..CandleOptions::live(timeframes) };
    let mut candles = Candles::new(options);
    let mut facts = Facts::default();
    let when = When { now: START, offset: Nanos::ZERO };
    for (id, most) in [(SymbolId(0), 1_000), (SymbolId(1), 90)] {
        let symbol = candles.local(id);
        let tick =
            |n: u64| Tick::trade(id, START, START, Price(n as i64), Size(1)).with_id(TradeId::from_u64(n));
        for n in 1..=most {
            assert_eq!(candles.apply(symbol, &tick(n), when, &mut facts), Verdict::Accepted);
            let mut kept = vec![];
            candles.last_trades(symbol, usize::MAX, &mut kept);
            let least = n.min(100) as usize;
            assert!((least..least + 32).contains(&kept.len()), "{} of {n}", kept.len());
        }
        // The bar has trades that are gone, so that it cannot be made anew.
        let cancel = Tick::cancel(id, START, START, TradeId::from_u64(most));
        let verdict = candles.apply(symbol, &cancel, when, &mut facts);
        let whole = most < 100;
        let wanted = if whole { Verdict::Accepted } else { Verdict::Refused(Refusal::TradesEvicted) };
        assert_eq!(verdict, wanted);
    }
    assert!(candles.tallies().trades_evicted > 800);
}
