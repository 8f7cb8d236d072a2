//! Vendors' bars among the market's rules: days with sums of their own, fill, halts, days that are not 24 hours long.

use std::collections::BTreeMap;

use tickwire::model::calendar::{Anchor, CalendarRules, built_in};
use tickwire::model::{Bar, BarOrigin, Price, Reason, Size, SymbolId, Tick, TradeId, UnixNanos, Volume};
use tickwire::shard::conditions::{Choice, Coding, Conditions};
use tickwire::shard::{CandleOptions, Fill, Refusal, Verdict};

use super::model::{MS, Random, SECOND, START, Trade, World, flat, options, vendors};

const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;

fn with_conditions(list: &str) -> CandleOptions {
    let table = Choice::find("us-equities").unwrap();
    let conditions = Conditions::new(&[table], &[("feed", Some(Coding::Massive))]).unwrap();
    CandleOptions { conditions: Some(conditions), ..options(list) }
}

pub fn filled(list: &str) -> CandleOptions {
    let calendars = CalendarRules::all(built_in("crypto-24x7").unwrap(), Anchor::Epoch);
    CandleOptions { calendars, fill: Some(Fill::default()), ..options(list) }
}

/// What each interval brings to the day: its trades' volume, or a vendor's.
fn volume(trades: &[Trade], vendors: &BTreeMap<i64, Bar>, len: i64) -> u128 {
    let counts = |trade: &&Trade| !vendors.contains_key(&(trade.ts.div_euclid(len) * len));
    let ours: u128 = trades.iter().filter(counts).map(|trade| u128::from(trade.size)).sum();
    ours + vendors.values().map(|bar| bar.volume.0).sum::<u128>()
}

#[test]
fn a_day_with_sums_of_its_own_takes_a_vendors_bar_for_all_trades_of_its_interval() {
    for seed in 0..60 {
        let mut random = Random(seed * 2 + 1);
        let mut world = World::new(with_conditions(["1s,1m,1d", "1m,5m,1d", "1m,1d"][seed as usize % 3]));
        let days = world.levels() - 1;
        let (mut trades, mut theirs): (Vec<Trade>, BTreeMap<i64, Bar>) = Default::default();
        for minute in 0..40 {
            let start = START + minute * MINUTE;
            for at in 0..random.below(6) as i64 {
                world.pass_to(start + at * 9 * SECOND + random.below(5_000) as i64 * MS);
                let trade = Trade::random(&mut random, 0, world.now, trades.len() as u64 + 1);
                let mut tick = trade.tick(0, world.now);
                // Average price trades: of a bar only the volume, of a day too.
                tick.conditions = [[2, 0, 0, 0], [0; 4]][random.below(2) as usize];
                assert_eq!(world.apply(&tick), Verdict::Accepted);
                trades.push(trade);
            }
            if random.one_in(3) && world.now > start {
                world.gap(SymbolId(0), start + SECOND, start + 2 * SECOND);
                world.pass_to(start + (1 + random.below(3) as i64) * MINUTE + SECOND);
                let bar = flat(start, 1 + random.below(1_000) as i64);
                let asked = vendors(0, BarOrigin::Backfill, 60, bar);
                assert_eq!(world.upstream(&asked), Verdict::Accepted);
                theirs.insert(start, bar);
                let late = Trade::random(&mut random, 0, start + 7 * SECOND, 1_000 + minute as u64);
                world.now = world.now.max(start + MINUTE);
                let late = world.apply(&late.tick(0, world.now));
                assert_ne!(late, Verdict::Accepted, "the vendor's bar has it");
            }
        }
        world.pass_to(world.now + 20 * MINUTE);
        let begins = START - START.rem_euclid(DAY);
        let forming = world.candles.forming(0, days).map(|event| event.as_bar().volume.0);
        let expected = volume(&trades, &theirs, MINUTE);
        if let Some(forming) = forming {
            assert_eq!(forming, expected, "seed {seed}, before the day is over");
        }
        world.pass_to(begins + DAY + MINUTE);
        let day = world.follower.bars(0, days);
        if day.is_empty() {
            assert!(theirs.is_empty());
            continue;
        }
        let day = day[&begins];
        assert_eq!(day.volume.0, expected, "seed {seed}");
        assert_eq!(day.trades, {
            let counts = |trade: &&Trade| !theirs.contains_key(&(trade.ts.div_euclid(MINUTE) * MINUTE));
            trades.iter().filter(counts).count() as u64 + theirs.len() as u64
        });
        world.check_ledger();
    }
}

#[test]
fn streamed_bars_make_a_day_with_sums_of_its_own_while_they_form_and_when_they_change() {
    let mut world = World::new(with_conditions("1s,1m,5m,1d"));
    let mut theirs = BTreeMap::new();
    for minute in 0..30 {
        let start = START + minute * MINUTE;
        world.pass_to(start + 30 * SECOND);
        let mut bar = vendors(0, BarOrigin::Live, 60, flat(start, 5 + minute));
        bar.closed = false;
        world.upstream(&bar);
        let forming = world.candles.forming(0, 3).unwrap().as_bar();
        assert_eq!(forming.volume.0, volume(&[], &theirs, MINUTE) + 100_000_000);
        world.pass_to(start + MINUTE + SECOND);
        bar.closed = true;
        world.upstream(&bar);
        theirs.insert(start, bar.bar);
        if minute % 3 == 1 {
            let at = start - MINUTE;
            let again = Bar { volume: Volume(7), ..flat(at, 40) };
            assert_eq!(world.upstream(&vendors(0, BarOrigin::Live, 60, again)), Verdict::Accepted);
            theirs.insert(at, again);
        }
    }
    let begins = START - START.rem_euclid(DAY);
    world.pass_to(begins + DAY + MINUTE);
    let day = world.follower.bars(0, 3)[&begins];
    assert_eq!(day.volume.0, volume(&[], &theirs, MINUTE));
    assert_eq!((day.open, day.high, day.close), (Price(40), Price(40), Price(34)));
    world.check_ledger();
}

#[test]
fn a_bar_that_was_asked_for_is_followed_by_the_flat_bars_after_it() {
    let mut world = World::new(filled("1m,5m"));
    world.pass_to(START + 500 * MS);
    let trade = Trade { symbol: 0, ts: world.now, id: 1, price: 5, size: 7, venue: 0, contiguous: false };
    world.apply(&trade.tick(0, world.now));
    world.gap(SymbolId(0), START + 6 * MINUTE, START + 7 * MINUTE);
    world.pass_to(START + 13 * MINUTE);
    let closes = |world: &World, level| -> Vec<i64> {
        world.follower.bars(0, level).values().map(|bar| bar.close.0).collect()
    };
    assert_eq!(closes(&world, 0), [5; 12]);
    assert_eq!(world.follower.names(0, 0, START + 6 * MINUTE), ["incomplete", "synthetic"]);
    let asked = vendors(0, BarOrigin::Backfill, 60, flat(START + 6 * MINUTE, 9));
    assert_eq!(world.upstream(&asked), Verdict::Accepted);
    assert_eq!(closes(&world, 0), [5, 5, 5, 5, 5, 5, 9, 9, 9, 9, 9, 9]);
    assert_eq!(closes(&world, 1), [5, 9]);
    assert!(world.follower.names(0, 0, START + 6 * MINUTE).is_empty());
    assert!(world.follower.names(0, 1, START + 5 * MINUTE).is_empty());
    assert_eq!(world.follower.names(0, 0, START + 7 * MINUTE), ["synthetic"]);
    // Filled without a known gap: the vendor saw trades that we know nothing of.
    let asked = vendors(0, BarOrigin::Backfill, 60, flat(START + 8 * MINUTE, 3));
    assert_eq!(world.upstream(&asked), Verdict::Accepted);
    assert_eq!(world.candles.tallies().audit.missing, 1);
    assert_eq!(closes(&world, 0)[7..], [9, 3, 3, 3, 3]);
    world.pass_to(START + 20 * MINUTE);
    assert_eq!(closes(&world, 0)[12..], [3; 7]);
    assert_eq!(closes(&world, 1), [5, 3, 3]);
    // By now there are longer flat bars to follow it, too.
    let asked = vendors(0, BarOrigin::Backfill, 60, flat(START + 9 * MINUTE, 4));
    assert_eq!(world.upstream(&asked), Verdict::Accepted);
    assert_eq!(closes(&world, 0)[9..], [4; 10]);
    assert_eq!(closes(&world, 1), [5, 4, 4]);
    world.check_ledger();
}

#[test]
fn what_streamed_bars_leave_out_is_filled_and_a_late_one_takes_the_place_of_a_flat_one() {
    let mut world = World::new(filled("1m,5m"));
    for minute in [0, 1, 4, 5, 6] {
        world.pass_to(START + (minute + 1) * MINUTE + SECOND);
        world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START + minute * MINUTE, 10 + minute)));
    }
    let closes =
        |world: &World| -> Vec<i64> { world.follower.bars(0, 0).values().map(|bar| bar.close.0).collect() };
    assert_eq!(closes(&world), [10, 11, 11, 11, 14, 15, 16]);
    world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START + 2 * MINUTE, 50)));
    assert_eq!(closes(&world), [10, 11, 50, 50, 14, 15, 16]);
    assert_eq!(world.follower.bars(0, 1)[&START].high, Price(50));
    world.check_ledger();
}

#[test]
fn a_vendors_bar_of_a_halt_says_so_and_a_halt_told_late_changes_only_a_flag() {
    let mut world = World::new(options("1m,5m"));
    let (from, to) = (UnixNanos(START + MINUTE), UnixNanos(START + 3 * MINUTE));
    world.pass_to(from.0);
    world.apply(&Tick::halt(SymbolId(0), from, from, true));
    world.pass_to(to.0);
    world.apply(&Tick::halt(SymbolId(0), to, to, false));
    for minute in 0..5 {
        world.pass_to(START + (minute + 1) * MINUTE + SECOND);
        world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START + minute * MINUTE, 9)));
    }
    let names = |world: &World, minute| world.follower.names(0, 0, START + minute * MINUTE);
    for minute in 0..5 {
        let expected: &[&str] = if (1..3).contains(&minute) { &["halted"] } else { &[] };
        assert_eq!(names(&world, minute), expected);
    }
    assert_eq!(world.follower.names(0, 1, START), ["halted"]);
    let since = UnixNanos(START + 4 * MINUTE);
    world.apply(&Tick::halt(SymbolId(0), since, since, true));
    assert_eq!(world.follower.facts.last().unwrap().reason(), Reason::Gap);
    assert_eq!(names(&world, 4), ["halted"]);
}

#[test]
fn a_vendors_day_is_as_long_as_the_calendars() {
    // New York's 8 March 2026 has 23 hours: from 05:00 to 04:00 UTC.
    let begins = 1_772_946_000 * SECOND;
    let calendars = CalendarRules::all(built_in("us-equities").unwrap(), Anchor::Session);
    let mut world = World::new(CandleOptions { calendars, ..options("1d") });
    world.pass_to(begins + DAY);
    let day = vendors(0, BarOrigin::Live, 86_400, flat(begins, 9));
    assert_eq!(world.upstream(&day), Verdict::Accepted);
    assert_eq!(world.follower.bars(0, 0)[&begins], flat(begins, 9));
    let next = vendors(0, BarOrigin::Live, 86_400, flat(begins + DAY, 9));
    assert_eq!(world.upstream(&next), Verdict::Refused(Refusal::BadBar), "it begins at 01:00");
    let next = vendors(0, BarOrigin::Live, 86_400, flat(begins + 23 * 3_600 * SECOND, 9));
    world.pass_to(begins + 2 * DAY);
    assert_eq!(world.upstream(&next), Verdict::Accepted);
}

#[test]
fn what_is_still_open_when_a_vendors_bar_comes_closes_before_it() {
    let mut world = World::new(options("1s,1m"));
    world.now = START + 58 * SECOND;
    for (ms, id) in [(58_000, 1), (59_500, 2)] {
        let at = UnixNanos(START + ms * MS);
        let tick = Tick::trade(SymbolId(0), at, at, Price(5), Size(7)).with_id(TradeId::from_u64(id));
        world.pass_to(at.0);
        world.apply(&tick);
    }
    world.gap(SymbolId(0), START + 30 * SECOND, START + 31 * SECOND);
    // No timer ran since.
    world.now = START + MINUTE + SECOND;
    assert_eq!(world.upstream(&vendors(0, BarOrigin::Backfill, 60, flat(START, 9))), Verdict::Accepted);
    world.pass_to(START + 3 * MINUTE);
    assert_eq!(world.follower.bars(0, 0).len(), 2);
    assert_eq!(world.follower.bars(0, 1)[&START], flat(START, 9));
    world.check_ledger();
}
