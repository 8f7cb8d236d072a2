//! Bars under calendars as the clock moves: days that are not 24 hours long, fill, halts, and market status.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use tickwire::model::calendar::{Anchor, CalendarRules, Grid, Open, Pick, Standing, built_in};
use tickwire::model::{
    Ask, BarFlags, Event, EventKind, Interest, Nanos, Price, Size, SymbolId, SymbolTable, Tick, Timeframes,
    Topic, TradeId, UnixNanos,
};
use tickwire::runtime::{Bell, Stage, ring};
use tickwire::shard::{
    BarClock, CandleOptions, Candles, Fill, Link, Patience, Shard, ShardOptions, Sink, Verdict, When,
};

const S: i64 = 1_000_000_000;

/// `2026-03-08 09:30:00` on New York's clocks.
fn new_york(text: &str) -> UnixNanos {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    UnixNanos(civil.in_tz("America/New_York").unwrap().timestamp().as_nanosecond() as i64)
}

/// Every fact in the order in which it came, by level.
#[derive(Default)]
struct Facts(BTreeMap<usize, Vec<Event>>);

impl Sink for Facts {
    fn fact(&mut self, _symbol: u32, event: &Event) {
        let facts = self.0.entry(event.topic.level()).or_default();
        assert_eq!(event.sequence, facts.len() as u64 + 1, "facts are numbered without a hole");
        facts.push(*event);
    }
}

impl Facts {
    /// The last revision of each bar: (start, close, trades, flags).
    fn bars(&self, level: usize) -> Vec<(UnixNanos, i64, u64, BarFlags)> {
        let mut bars = BTreeMap::new();
        for event in self.0.get(&level).into_iter().flatten() {
            let bar = event.as_bar();
            bars.insert(bar.start, (bar.start, bar.close.0, bar.trades, event.flags));
        }
        bars.into_values().collect()
    }

    fn last(&self, level: usize) -> Event {
        *self.0[&level].last().unwrap()
    }
}

struct World {
    candles: Candles,
    facts: Facts,
    ids: u64,
}

impl World {
    fn new(timeframes: &str, calendar: &str, fill: Option<Fill>) -> Self {
        let calendars = CalendarRules::all(built_in(calendar).unwrap(), Anchor::Session);
        let live = CandleOptions::live(Timeframes::parse(timeframes).unwrap());
        let candles = Candles::new(CandleOptions { joined_midway: false, calendars, fill, ..live });
        Self { candles, facts: Facts::default(), ids: 0 }
    }

    fn trade(&mut self, at: UnixNanos, now: UnixNanos, price: i64) -> Verdict {
        self.ids += 1;
        let tick = Tick::trade(SymbolId(0), at, now, Price(price), Size(100_000_000));
        self.apply(&tick.with_id(TradeId::from_u64(self.ids)), now)
    }

    fn apply(&mut self, tick: &Tick, now: UnixNanos) -> Verdict {
        let symbol = self.candles.local(tick.symbol);
        self.candles.apply(symbol, tick, When { now, offset: Nanos::ZERO }, &mut self.facts)
    }

    /// The clock moves on to `to`, from timer to timer.
    fn until(&mut self, to: UnixNanos) {
        while let Some(due) = self.candles.next_timer().filter(|&due| due <= to) {
            self.candles.fire(due, |_| Nanos::ZERO, &mut self.facts);
        }
    }
}

#[test]
fn a_day_of_23_hours_closes_at_its_own_end_and_says_so() {
    let mut world = World::new("1m,1h,1d", "us-equities", None);
    let trade = new_york("2026-03-08 01:30");
    world.trade(trade, trade, 5);
    let end = new_york("2026-03-09 00:00");
    world.until(end + Nanos(249_000_000));
    assert!(!world.facts.0.contains_key(&2));
    world.until(end + Nanos(250_000_000));
    let day = world.facts.last(2);
    assert_eq!(day.as_bar().start, new_york("2026-03-08 00:00"));
    assert_eq!(day.bar_end(Nanos(86_400 * S)), end);
    assert_eq!(end.since(day.as_bar().start), Nanos(23 * 3_600 * S));
    assert_eq!(world.candles.next_timer(), None);
    // What is asked for later says the same.
    let mut replayed = Vec::new();
    assert!(world.candles.replay_bars(0, 2, 0, &mut replayed));
    assert_eq!(replayed[0].bar_end(Nanos(86_400 * S)), end);
    assert_eq!(world.candles.newest_closed(0, 2).unwrap().bar_end(Nanos(86_400 * S)), end);
}

#[test]
fn a_bar_that_forms_on_a_day_of_25_hours_ends_with_it() {
    let mut world = World::new("1m,1h,1d", "us-equities", None);
    let trade = new_york("2026-11-01 12:00");
    world.trade(trade, trade, 5);
    let forming = world.candles.forming(0, 2).unwrap();
    assert_eq!(forming.bar_end(Nanos(86_400 * S)), new_york("2026-11-02 00:00"));
    assert_eq!(forming.bar_end(Nanos::ZERO).since(forming.as_bar().start), Nanos(25 * 3_600 * S));
}

#[test]
fn a_quiet_session_is_filled_on_time_and_ends_with_the_half_day() {
    let mut world = World::new("1m,15m,1h,1d", "us-equities", Some(Fill::default()));
    let trade = new_york("2026-11-27 12:40:10");
    world.trade(trade, trade, 7);
    world.until(new_york("2026-11-27 12:42:00") + Nanos(249_000_000));
    assert_eq!(world.facts.bars(0).len(), 1);
    world.until(new_york("2026-11-27 12:42:00") + Nanos(250_000_000));
    assert_eq!(world.facts.bars(0)[1], (new_york("2026-11-27 12:41"), 7, 0, BarFlags::SYNTHETIC));
    world.until(new_york("2026-11-30 09:30"));
    let minutes = world.facts.bars(0);
    assert_eq!(minutes.len(), 20, "12:40 to 13:00 and no more, over a weekend");
    assert_eq!(minutes.last().unwrap().0, new_york("2026-11-27 12:59"));
    assert_eq!(world.facts.bars(1).len(), 2);
    assert_eq!(world.facts.bars(2).len(), 1);
    assert_eq!(world.facts.bars(3).len(), 1);
    // Monday goes on from its first minute.
    world.until(new_york("2026-11-30 09:31:01"));
    let monday = world.facts.last(0);
    assert_eq!(monday.as_bar().start, new_york("2026-11-30 09:30"));
    assert_eq!((monday.as_bar().close, monday.as_bar().vwap()), (Price(7), None));
    assert_eq!(world.candles.tallies().filled, 19 + 1 + 1);
}

#[test]
fn a_symbol_silent_for_days_is_filled_so_far_and_no_further() {
    let fill = Fill { open: Open::Regular, bars_max: 30 };
    let mut world = World::new("1s,1m", "crypto-24x7", Some(fill));
    let trade = new_york("2026-11-27 12:40:00");
    world.trade(trade, trade, 7);
    world.until(trade + Nanos(5 * 86_400 * S));
    assert_eq!((world.facts.bars(0).len(), world.facts.bars(1).len()), (31, 31));
    assert_eq!((world.candles.tallies().filled, world.candles.tallies().fills_stopped), (60, 2));
    assert_eq!(world.candles.next_timer(), None);
    let trade = trade + Nanos(6 * 86_400 * S);
    world.trade(trade, trade, 8);
    world.until(trade + Nanos(3 * S));
    assert_eq!(world.facts.bars(0).len(), 31 + 2, "the trade, and it goes on from there");
}

#[test]
fn a_late_trade_makes_a_filled_bar_real_and_moves_those_filled_after_it() {
    let mut world = World::new("1s,1m", "crypto-24x7", Some(Fill::default()));
    let first = new_york("2026-11-27 12:40:00");
    let at = |s: i64| first + Nanos(s * S);
    world.trade(first, first, 7);
    world.until(at(6) + Nanos(S / 2));
    assert_eq!(world.facts.bars(0).len(), 6);
    assert_eq!(world.trade(at(3), at(6) + Nanos(S / 2), 9), Verdict::Accepted);
    let synthetic = BarFlags::SYNTHETIC;
    let wanted = [
        (at(0), 7, 1, BarFlags::default()),
        (at(1), 7, 0, synthetic),
        (at(2), 7, 0, synthetic),
        (at(3), 9, 1, BarFlags::default()),
        (at(4), 9, 0, synthetic),
        (at(5), 9, 0, synthetic),
    ];
    assert_eq!(world.facts.bars(0), wanted);
    assert_eq!(world.facts.last(0).kind(), EventKind::BarRevised);
    // Taken back, it is as if it had never been.
    let cancel = Tick::cancel(SymbolId(0), at(6), at(7), TradeId::from_u64(2));
    assert_eq!(world.apply(&cancel, at(7)), Verdict::Accepted);
    assert!(world.facts.bars(0).iter().all(|&(_, close, ..)| close == 7));
    assert_eq!(world.facts.bars(0)[3].3, synthetic);
}

#[test]
fn bars_of_a_halt_say_so_whether_they_have_trades_or_were_filled() {
    let mut world = World::new("1s,10s,1m", "us-equities", Some(Fill::default()));
    let first = new_york("2026-11-27 10:00:00");
    let at = |s: i64| first + Nanos(s * S);
    world.trade(at(0), at(0), 7);
    world.trade(at(12), at(12), 8);
    world.apply(&Tick::halt(SymbolId(0), at(12) + Nanos(S / 2), at(13), true), at(13));
    assert_eq!(world.candles.halted_since(0), Some(at(12) + Nanos(S / 2)));
    world.until(at(15));
    world.apply(&Tick::halt(SymbolId(0), at(15), at(15), false), at(15));
    world.until(at(25));
    let halted = |level: usize| -> Vec<i64> {
        let bars = world.facts.bars(level).into_iter().filter(|bar| bar.3.has(BarFlags::HALTED));
        bars.map(|bar| bar.0.since(first).0 / S).collect()
    };
    assert_eq!(halted(0), [12, 13, 14]);
    assert_eq!(halted(1), [10]);
    world.until(at(61));
    assert_eq!(world.facts.bars(2)[0].3, BarFlags::HALTED);
    // A halt that is told after the bars have closed revises them.
    world.apply(&Tick::halt(SymbolId(0), at(59), at(62), true), at(62));
    let last = world.facts.bars(0);
    assert!(last.iter().filter(|bar| bar.0 >= at(59)).all(|bar| bar.3.has(BarFlags::HALTED)));
    assert!(
        last.iter().filter(|bar| bar.0 < at(59) && bar.0 > at(14)).all(|bar| !bar.3.has(BarFlags::HALTED))
    );
}

/// Random trades, late and cancelled ones among them: fill is what a slow model makes of the trades that count.
#[test]
fn whatever_is_late_or_taken_back_the_filled_series_is_that_of_a_slow_model() {
    for seed in 1..=40u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut world = World::new("1m,15m,1h,1d", "us-equities", Some(Fill::default()));
        let begin = new_york(if seed % 2 == 0 { "2026-11-27 12:00" } else { "2026-11-25 15:00" });
        let mut now = begin;
        let mut counted: BTreeMap<u64, (UnixNanos, i64)> = BTreeMap::new();
        for _ in 0..120 {
            now += Nanos(below(240) as i64 * S);
            world.until(now);
            let at = now.minus(Nanos(below(14) as i64 * S));
            let price = 5 + below(5) as i64;
            assert_eq!(world.trade(at, now, price), Verdict::Accepted);
            counted.insert(world.ids, (at, price));
            // One of the last trades that can still be revised. The first bar of all stays: before it there is no price.
            let recent = |(_, (at, _)): &(&u64, &(UnixNanos, i64))| now.since(*at) < Nanos(600 * S);
            let back = below(5) as usize;
            let late: Vec<_> = counted.iter().skip(10).filter(recent).map(|(&id, _)| id).collect();
            let chosen = late.iter().rev().nth(back).copied();
            if let Some(id) = chosen.filter(|_| below(3) == 0) {
                let cancel = Tick::cancel(SymbolId(0), counted[&id].0, now, TradeId::from_u64(id));
                assert_eq!(world.apply(&cancel, now), Verdict::Accepted);
                counted.remove(&id);
            }
        }
        let end = now + Nanos(20 * 60 * S);
        world.until(end);
        let timeframes = Timeframes::parse("1m,15m,1h,1d").unwrap();
        let calendar = Arc::new(built_in("us-equities").unwrap());
        let grid = Grid::new(&timeframes, Arc::clone(&calendar), Anchor::Session).unwrap();
        for level in 0..timeframes.len() {
            let mut real: BTreeMap<UnixNanos, Vec<(UnixNanos, u64, i64)>> = BTreeMap::new();
            for (&id, &(at, price)) in &counted {
                real.entry(grid.interval(level, at).start).or_default().push((at, id, price));
            }
            let mut wanted = Vec::new();
            let mut close = 0;
            let (mut at, _) = real.first_key_value().map(|(&at, _)| (at, ())).unwrap();
            while grid.end(level, at) + Nanos(S / 4) <= end {
                let next = grid.end(level, at);
                if let Some(trades) = real.get(&at) {
                    close = trades.iter().max().unwrap().2;
                    wanted.push((at, close, trades.len() as u64, BarFlags::default()));
                } else if grid.next_open(at, Open::Regular).unwrap().start < next {
                    wanted.push((at, close, 0, BarFlags::SYNTHETIC));
                }
                at = next;
            }
            let mut got = world.facts.bars(level);
            // A bar outside the sessions whose every trade was taken back is none.
            got.retain(|bar| bar.2 > 0 || bar.3.has(BarFlags::SYNTHETIC));
            assert_eq!(got, wanted, "seed {seed}, level {level}");
        }
    }
}

#[test]
fn the_market_status_is_sent_when_it_changes_and_not_before_without_a_tick() {
    let mut rules = CalendarRules::anchored(Anchor::Epoch);
    rules.add(built_in("us-equities").unwrap(), [Pick::Pattern("A*".to_owned())]);
    let candles = CandleOptions { calendars: rules, ..CandleOptions::live(Timeframes::parse("1m").unwrap()) };
    let options = ShardOptions { name: "shard".to_owned(), candles, feed_offset_max: Nanos(5 * S) };
    let (mut ticks, inlet) = ring(64, Bell::silent(), Bell::silent());
    let (events, mut seen) = ring::<Event>(256, Bell::silent(), Bell::silent());
    let (mut asks, interests) = ring::<Interest>(64, Bell::silent(), Bell::silent());
    let link = Link::new(events, interests, Patience { facts_max: Some(64), deadline: Nanos(S) });
    let mut shard = Shard::new(options, vec![inlet], vec![link]);
    let names = SymbolTable::new(64);
    shard.know_names(names.clone());
    let [apple, other, market] = ["AAPL", "BTC", "$market"].map(|name| {
        let mut cache = tickwire::model::SymbolCache::new(names.clone());
        cache.intern(name.as_bytes()).unwrap()
    });
    for (request, symbol) in [(1, apple), (2, other), (3, market)] {
        let ask = Ask::Join { request, since: None };
        assert!(asks.push(Interest { topic: Topic::status(symbol), ask, states: true }).is_ok());
    }
    let mut turn = |shard: &mut Shard, at: UnixNanos| -> Vec<(SymbolId, Standing, bool)> {
        shard.turn(at, &[]);
        let mut statuses = Vec::new();
        while let Some(event) = seen.pop() {
            if event.kind() == EventKind::Status {
                statuses.push((event.topic.symbol, event.as_status().standing(), event.request != 0));
            }
        }
        statuses.sort_by_key(|status| status.0);
        statuses
    };
    let noon = new_york("2026-11-27 12:00");
    let joined = [
        (apple, Standing::Regular, true),
        (other, Standing::Unknown, true),
        (market, Standing::Regular, true),
    ];
    assert_eq!(turn(&mut shard, noon), joined);
    let one = new_york("2026-11-27 13:00");
    assert_eq!(shard.deadline(), Some(one));
    assert_eq!(turn(&mut shard, one.minus(Nanos(1))), []);
    let post = [(apple, Standing::Post, false), (market, Standing::Post, false)];
    assert_eq!(turn(&mut shard, one), post, "and nothing of what has no calendar");
    assert_eq!(turn(&mut shard, one + Nanos(S)), []);
    for (at, halted, standing) in [(2, true, Standing::Halted), (3, false, Standing::Post)] {
        let at = one + Nanos(at * S);
        assert!(ticks.push(Tick::halt(apple, at, at, halted)).is_ok());
        assert_eq!(turn(&mut shard, at), [(apple, standing, false)]);
    }
}

#[test]
fn a_calendar_by_feed_is_chosen_at_the_first_tick() {
    let mut rules = CalendarRules::anchored(Anchor::Epoch);
    rules.add(built_in("us-equities").unwrap(), [Pick::Source(4)]);
    let options = CandleOptions {
        calendars: rules,
        clock: BarClock::Event,
        ..CandleOptions::file(Timeframes::parse("1m,1h,1d").unwrap())
    };
    let mut candles = Candles::new(options);
    candles.know_names(SymbolTable::new(8));
    let mut facts = Facts::default();
    for (symbol, source) in [(0, 4), (1, 5)] {
        let mut tick =
            Tick::trade(SymbolId(symbol), new_york("2026-03-08 12:00"), UnixNanos(0), Price(5), Size(1));
        tick.source = source;
        let local = candles.local(SymbolId(symbol));
        candles.apply(local, &tick, When { now: UnixNanos(0), offset: Nanos::ZERO }, &mut facts);
        let calendar = candles.calendar(local).map(|calendar| calendar.name().to_owned());
        assert_eq!(calendar.is_some(), source == 4);
    }
}
