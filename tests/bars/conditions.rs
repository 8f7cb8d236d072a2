//! Bars under sale conditions against the most obvious model: every trade that counts in a list, each bar read off it anew, by rules
//! that are written out here a second time.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::collections::BTreeMap;

use tickwire::model::{
    Bar, Event, EventKind, Nanos, Notional, Price, Size, SymbolId, Tick, Timeframes, TradeId, UnixNanos,
    Volume,
};
use tickwire::shard::conditions::{Choice, Coding, Conditions};
use tickwire::shard::{CandleOptions, Candles, KeepTrades, Sink, Verdict, When};

const TIMEFRAMES: &str = "1s,5s,1m,1h,1d";
const DAY: Nanos = Nanos::from_secs(86_400);
/// 2023-11-14 14:30 UTC, the open in New York; and midnight UTC of the 15th, in extended hours.
const OPEN: i64 = 1_699_972_200_000_000_000;
const MIDNIGHT: i64 = 1_700_006_400_000_000_000;

/// What a trade may do to open and close.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ends {
    No,
    First,
    Yes,
}

/// Massive's codes as the model understands them: ends, high and low, volume.
fn rule(code: u8, daily: bool, regular: bool) -> (Ends, bool, bool) {
    match code {
        2 | 37 => (Ends::No, false, true),
        10 | 22 if daily => (Ends::First, true, true),
        10 | 22 => (Ends::No, false, true),
        12 if daily || regular => (Ends::No, false, true),
        15 => (Ends::No, false, false),
        38 if daily => (Ends::Yes, true, false),
        38 => (Ends::No, false, false),
        _ => (Ends::Yes, true, true),
    }
}

#[derive(Clone, Copy)]
struct Counted {
    ts: i64,
    sequence: u64,
    arrival: u64,
    price: i64,
    size: u64,
    id: u64,
    codes: [u8; 2],
    /// What it had before any correction.
    first_codes: [u8; 2],
}

impl Counted {
    fn rule(&self, daily: bool) -> (Ends, bool, bool) {
        let regular = (OPEN..OPEN + 23_400_000_000_000).contains(&self.ts);
        self.codes.iter().filter(|&&code| code != 0).fold((Ends::Yes, true, true), |all, &code| {
            let one = rule(code, daily, regular);
            (all.0.min(one.0), all.1 && one.1, all.2 && one.2)
        })
    }
}

/// The bar of some trades, or none.
fn bar_of(start: i64, trades: &[Counted], daily: bool) -> Option<Bar> {
    let mut sorted = trades.to_vec();
    sorted.sort_by_key(|trade| (trade.ts, trade.sequence, trade.arrival));
    let ruled: Vec<_> = sorted.iter().map(|trade| (trade, trade.rule(daily))).collect();
    let ends = |least| ruled.iter().filter(move |(_, rule)| rule.0 >= least).map(|(trade, _)| trade.price);
    let open = ends(Ends::First).next()?;
    let close = ends(Ends::Yes).next_back().unwrap_or(open);
    let range = || ruled.iter().filter(|(_, rule)| rule.1).map(|(trade, _)| trade.price);
    let counted: Vec<_> = ruled.iter().filter(|(_, rule)| rule.2).map(|(trade, _)| trade).collect();
    if counted.is_empty() {
        return None;
    }
    Some(Bar {
        start: UnixNanos(start),
        open: Price(open),
        high: Price(range().max()?),
        low: Price(range().min()?),
        close: Price(close),
        volume: Volume(counted.iter().map(|trade| u128::from(trade.size)).sum()),
        notional: Notional(counted.iter().map(|t| i128::from(t.price) * i128::from(t.size)).sum()),
        trades: counted.len() as u64,
    })
}

fn group(trades: &[Counted], len: Nanos) -> BTreeMap<i64, Bar> {
    let mut groups: BTreeMap<i64, Vec<Counted>> = BTreeMap::new();
    for trade in trades {
        groups.entry(trade.ts.div_euclid(len.0) * len.0).or_default().push(*trade);
    }
    let bar = |(start, trades): (i64, Vec<Counted>)| Some((start, bar_of(start, &trades, len == DAY)?));
    groups.into_iter().filter_map(bar).collect()
}

#[derive(Default)]
struct Facts(BTreeMap<usize, Vec<Event>>);

impl Sink for Facts {
    fn fact(&mut self, _symbol: u32, event: &Event) {
        self.0.entry(event.topic.level()).or_default().push(*event);
    }
}

impl Facts {
    /// The bars that a client holds who took every fact in turn.
    fn held(&self, level: usize) -> BTreeMap<i64, Bar> {
        let mut bars: BTreeMap<i64, (u32, Bar)> = BTreeMap::new();
        for (n, event) in self.0.get(&level).into_iter().flatten().enumerate() {
            assert_eq!(event.sequence, n as u64 + 1, "a gap in the sequence");
            let before = bars.insert(event.as_bar().start.0, (event.rev, event.as_bar()));
            match before {
                None => assert_eq!((event.kind(), event.rev), (EventKind::BarClosed, 0)),
                Some((rev, _)) => assert_eq!((event.kind(), event.rev), (EventKind::BarRevised, rev + 1)),
            }
        }
        let shown = bars.into_iter().map(|(start, (_, bar))| (start, bar));
        shown.filter(|(_, bar)| bar.trades > 0).collect()
    }
}

struct World {
    candles: Candles,
    facts: Facts,
    model: Vec<Counted>,
    now: UnixNanos,
    arrival: u64,
    random: u64,
}

impl World {
    fn new(seed: u64, timeframes: &str, options: impl Fn(Timeframes) -> CandleOptions) -> Self {
        let choice = Choice::find("us-equities").unwrap();
        let conditions = Conditions::new(&[choice], &[("feed", Some(Coding::Massive))]).unwrap();
        let options = options(Timeframes::parse(timeframes).unwrap());
        let start = if seed.is_multiple_of(2) { OPEN } else { MIDNIGHT };
        Self {
            candles: Candles::new(CandleOptions { conditions: Some(conditions), ..options }),
            facts: Facts::default(),
            model: Vec::new(),
            now: UnixNanos(start - 120_000_000_000),
            arrival: 0,
            random: seed * 2 + 1,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn apply(&mut self, tick: &Tick) -> Verdict {
        let when = When { now: self.now, offset: Nanos::ZERO };
        let symbol = self.candles.local(tick.symbol);
        self.candles.apply(symbol, tick, when, &mut self.facts)
    }

    /// Half of all trades have no condition, so that some bars are plain and some have nothing but what leaves them without a price.
    fn codes(&mut self) -> [u8; 2] {
        const CODES: [u8; 10] = [2, 10, 12, 14, 15, 22, 37, 38, 41, 200];
        let mut code = |often| if self.below(often) == 0 { CODES[self.below(10) as usize] } else { 0 };
        let first = code(2);
        [first, code(4)]
    }

    fn trade(&mut self, spread_ms: u64) {
        let behind = if self.below(8) == 0 { self.below(spread_ms) as i64 } else { 0 };
        let step = [1, 500, 1_000][self.below(3) as usize];
        self.arrival += 1;
        let codes = self.codes();
        let trade = Counted {
            ts: (self.now.0 / 1_000_000 - behind) / step * step * 1_000_000,
            sequence: if self.below(2) == 0 { 0 } else { self.below(5) },
            arrival: self.arrival,
            price: 1 + self.below(50) as i64 * 10_000_000,
            size: self.below(4) * 50_000_000,
            id: self.arrival,
            codes,
            first_codes: codes,
        };
        let at = UnixNanos(trade.ts);
        let mut tick = Tick::trade(SymbolId(7), at, self.now, Price(trade.price), Size(trade.size))
            .with_id(TradeId::from_u64(trade.id));
        if trade.sequence > 0 {
            tick = tick.with_sequence(trade.sequence);
        }
        tick.conditions[..2].copy_from_slice(&trade.codes);
        if self.apply(&tick) == Verdict::Accepted {
            self.model.push(trade);
        }
    }

    fn take_back(&mut self) {
        if self.model.is_empty() {
            return;
        }
        // The newest more often: they can still be taken back.
        let last = self.model.len() - 1;
        let back = self.below(20).min(last as u64) as usize;
        let at = last - back;
        let old = self.model[at];
        self.arrival += 1;
        let (when, id) = (UnixNanos(old.ts), TradeId::from_u64(old.id));
        if self.below(2) == 0 {
            if self.apply(&Tick::cancel(SymbolId(7), when, self.now, id)) == Verdict::Accepted {
                self.model.remove(at);
            }
            return;
        }
        let (price, size) = (1 + self.below(50) as i64 * 10_000_000, self.below(4) * 50_000_000);
        let to = (Price(price), Size(size));
        let mut tick = Tick::correction(SymbolId(7), when, self.now, id, 0, to);
        // One that tells no conditions has those of the trade as it was first told.
        let mut codes = self.codes();
        tick.conditions[..2].copy_from_slice(&codes);
        if codes == [0, 0] {
            codes = old.first_codes;
        }
        if self.apply(&tick) == Verdict::Accepted {
            self.model[at] = Counted { price, size, arrival: self.arrival, codes, ..old };
        }
    }

    fn check(&mut self) {
        if self.candles.symbols() == 0 {
            return;
        }
        let timeframes = self.candles.options().timeframes.clone();
        for (level, timeframe) in timeframes.iter().enumerate() {
            let mut open = group(&self.model, timeframe.nanos());
            for (start, bar) in &self.facts.held(level) {
                assert_eq!(open.remove(start).as_ref(), Some(bar), "{timeframe}");
            }
            if let Some(forming) = self.candles.forming(0, level) {
                let bar = forming.as_bar();
                assert_eq!(open.get(&bar.start.0), Some(&bar), "forming {timeframe}");
            }
            let facts = self.facts.0.get(&level).map_or(&[][..], Vec::as_slice);
            let mut replayed = Vec::new();
            let since = (facts.len() / 2) as u64;
            if self.candles.replay_bars(0, level, since, &mut replayed) {
                let bars = |events: &[Event]| events.iter().map(Event::as_bar).collect::<Vec<_>>();
                assert_eq!(bars(&replayed), bars(&facts[since as usize..]), "replayed {timeframe}");
            }
            let newest = self.candles.newest_closed(0, level).map(|event| event.sequence);
            assert_eq!(newest.unwrap_or(0), if newest.is_some() { facts.len() as u64 } else { 0 });
        }
    }

    fn finish(mut self) {
        self.candles.close_all(&mut self.facts);
        self.check();
        let timeframes = self.candles.options().timeframes.clone();
        for (level, timeframe) in timeframes.iter().enumerate() {
            assert_eq!(self.facts.held(level), group(&self.model, timeframe.nanos()), "{timeframe}");
        }
    }
}

#[test]
fn a_file_in_any_order_gives_the_bars_that_its_conditions_allow() {
    for seed in 0..150 {
        let timeframes = [TIMEFRAMES, "1s,1d", "1d", "1m,1h"][seed as usize % 4];
        let mut world = World::new(seed, timeframes, |timeframes| CandleOptions {
            keep_trades: KeepTrades::All,
            replayable: true,
            ..CandleOptions::file(timeframes)
        });
        for step in 0..300 {
            let ahead = world.below(2_000) as i64;
            world.now += Nanos::from_millis(ahead);
            match world.below(8) {
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
fn a_live_shard_that_seals_and_forgets_holds_back_what_conditions_say() {
    for seed in 0..150 {
        let small = seed % 2 == 0;
        let mut world = World::new(seed, TIMEFRAMES, |timeframes| CandleOptions {
            seal_after: Nanos::from_secs([0, 5, 60][seed as usize % 3]),
            history_bytes_max: if small { 144 * 8 * 48 } else { 64 << 20 },
            trades_bytes_max: if small { 64 * 32 * 6 } else { 64 << 20 },
            open_bars_max: 4,
            joined_midway: false,
            ..CandleOptions::live(timeframes)
        });
        for step in 0..400 {
            let ahead = world.below(1_500) as i64;
            world.now += Nanos::from_millis(ahead);
            match world.below(10) {
                0 => world.take_back(),
                1..=3 => {
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

fn trade(ms: i64, price: i64, code: u8) -> Tick {
    let at = UnixNanos(OPEN + ms * 1_000_000);
    let mut tick =
        Tick::trade(SymbolId(7), at, at, Price(price), Size(100)).with_id(TradeId::from_u64(ms as u64));
    tick.conditions[0] = code;
    tick
}

#[test]
fn an_interval_without_a_price_publishes_no_bar_and_its_volume_counts_above() {
    let mut world = World::new(0, "1s,1m", CandleOptions::file);
    world.apply(&trade(100, 5, 37));
    world.apply(&trade(1_100, 7, 0));
    world.candles.close_all(&mut world.facts);
    let (seconds, minutes) = (world.facts.held(0), world.facts.held(1));
    assert_eq!(seconds.values().map(|bar| (bar.open.0, bar.trades)).collect::<Vec<_>>(), [(7, 1)]);
    assert_eq!(minutes.values().map(|bar| (bar.open.0, bar.volume.0)).collect::<Vec<_>>(), [(7, 200)]);
}

#[test]
fn a_bar_appears_when_its_first_price_comes_late() {
    let mut world = World::new(0, "1s", |timeframes| CandleOptions {
        replayable: true,
        ..CandleOptions::file(timeframes)
    });
    world.apply(&trade(100, 5, 37));
    world.apply(&trade(5_000, 7, 0));
    assert!(world.facts.0.is_empty());
    world.apply(&trade(200, 6, 0));
    let facts = &world.facts.0[&0];
    assert_eq!(facts.iter().map(|e| (e.kind(), e.rev)).collect::<Vec<_>>(), [(EventKind::BarClosed, 0)]);
    assert_eq!((facts[0].as_bar().low, facts[0].as_bar().trades), (Price(6), 2));
    // An official close for it is no news.
    world.apply(&trade(300, 9, 15));
    assert_eq!(world.facts.0[&0].len(), 1);
}

#[test]
fn unknown_codes_are_counted_and_count_in_full() {
    let mut world = World::new(0, "1s", CandleOptions::file);
    world.apply(&trade(100, 5, 200));
    assert_eq!(world.candles.tallies().unknown_conditions, 1);
    assert_eq!(world.candles.forming(0, 0).unwrap().as_bar().open, Price(5));
}

#[test]
fn the_last_sale_and_the_days_volume_beside_a_quote_follow_the_conditions() {
    let mut world = World::new(0, "1s", CandleOptions::file);
    world.apply(&trade(100, 5, 0));
    world.apply(&trade(200, 900, 37));
    world.apply(&trade(300, 800, 15));
    let at = UnixNanos(OPEN + 400_000_000);
    world.apply(&Tick::quote(SymbolId(7), at, at, (Price(4), Size(1)), (Price(6), Size(1))));
    let quote = world.candles.newest_quote(0).unwrap().as_quote();
    assert_eq!((quote.last, quote.volume), (Price(5), Volume(200)));
}
