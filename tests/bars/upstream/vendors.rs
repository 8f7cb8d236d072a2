//! Vendors' bars: which build, which stand in, which are only compared.

use std::collections::BTreeMap;

use tickwire::model::{Bar, BarOrigin, Price, Reason, SymbolId, UnixNanos, Volume};
use tickwire::shard::{BuiltBy, CandleOptions, Refusal, Verdict};

use super::model::{MS, Random, SECOND, START, Trade, World, flat, group, options, roll_up, vendors};

const MINUTE: i64 = 60 * SECOND;

fn trade(ms: i64, id: u64) -> Trade {
    Trade { symbol: 0, ts: START + ms * MS, id, price: 5, size: 7, venue: 0, contiguous: false }
}

#[test]
fn streamed_bars_of_a_symbol_without_trades_build_and_roll_up_whatever_their_order() {
    for seed in 0..40 {
        let mut random = Random(seed * 2 + 1);
        let mut world = World::new(options("1s,1m,5m,15m"));
        let mut model: BTreeMap<i64, Bar> = BTreeMap::new();
        for minute in 0..60 {
            let start = START + minute * MINUTE;
            world.pass_to(start + MINUTE + random.below(5_000) as i64 * MS);
            // Some come minutes late, some are missing, some come again with other numbers.
            let behind = if random.one_in(4) { random.below(6) as i64 } else { 0 };
            let at = (start - behind * MINUTE).max(START);
            let bar = flat(at, 1 + random.below(1_000) as i64);
            if !random.one_in(8) {
                assert_eq!(world.upstream(&vendors(0, BarOrigin::Live, 60, bar)), Verdict::Accepted);
                model.insert(at, bar);
            }
        }
        world.pass_to(START + 70 * MINUTE);
        assert_eq!(world.follower.bars(0, 1), model);
        for level in [2, 3] {
            assert_eq!(world.follower.bars(0, level), roll_up(&model, world.len(level)), "seed {seed}");
        }
        assert!(world.follower.bars(0, 0).is_empty(), "there are no seconds");
        world.check_ledger();
    }
}

#[test]
fn a_coarse_bar_closes_with_the_last_of_its_parts_or_when_the_wait_is_over() {
    let mut world = World::new(options("1m,5m"));
    for minute in 0..5 {
        world.pass_to(START + (minute + 1) * MINUTE + 1_500 * MS);
        assert!(world.follower.bars(0, 1).is_empty());
        world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START + minute * MINUTE, 9)));
    }
    assert_eq!(world.follower.bars(0, 1).len(), 1);
    world.pass_to(START + 6 * MINUTE);
    world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START + 5 * MINUTE, 9)));
    world.pass_to(START + 10 * MINUTE + 2_999 * MS);
    assert_eq!(world.follower.bars(0, 1).len(), 1);
    world.pass_to(START + 10 * MINUTE + 3_000 * MS);
    assert_eq!(world.follower.bars(0, 1).len(), 2);
}

#[test]
fn a_bar_that_is_not_over_forms_at_its_level_and_above() {
    let mut world = World::new(options("1s,1m,5m"));
    world.pass_to(START + 10 * SECOND);
    let mut open = vendors(0, BarOrigin::Live, 60, flat(START, 9));
    open.closed = false;
    for price in [9, 12] {
        open.bar = flat(START, price);
        assert_eq!(world.upstream(&open), Verdict::Accepted);
        for level in [1, 2] {
            assert_eq!(world.candles.forming(0, level).unwrap().as_bar(), flat(START, price));
        }
        assert!(world.candles.forming(0, 0).is_none());
    }
    // Its end comes without its last word: closed in time, and said to be incomplete.
    world.pass_to(START + MINUTE + 3_000 * MS);
    assert_eq!(world.follower.names(0, 1, START), ["incomplete"]);
    open.closed = true;
    open.bar = flat(START, 15);
    world.upstream(&open);
    assert_eq!(world.follower.bars(0, 1)[&START], flat(START, 15));
    assert!(world.follower.names(0, 1, START).is_empty());
    world.check_ledger();
}

#[test]
fn of_two_lengths_the_finer_builds_and_the_other_is_compared() {
    let mut world = World::new(options("1s,1m"));
    let mut seconds = BTreeMap::new();
    for second in 0..60 {
        let start = START + second * SECOND;
        world.pass_to(start + SECOND + 900 * MS);
        seconds.insert(start, flat(start, 1 + second));
        world.upstream(&vendors(0, BarOrigin::Live, 1, seconds[&start]));
    }
    let minute = roll_up(&seconds, MINUTE)[&START];
    world.upstream(&vendors(0, BarOrigin::Live, 60, minute));
    world.upstream(&vendors(0, BarOrigin::Live, 60, Bar { close: Price(1), ..minute }));
    world.pass_to(START + 2 * MINUTE);
    assert_eq!(world.follower.bars(0, 1)[&START], minute);
    let audit = world.candles.tallies().audit;
    assert_eq!((audit.compared, audit.same, audit.close), (2, 1, 1));
    world.check_ledger();
}

#[test]
fn beside_trades_bars_are_compared_field_by_field_after_late_ones_had_their_time() {
    let mut world = World::new(options("1s,1m"));
    let trades: Vec<_> = (0..50).map(|n| trade(n * 1_000, n as u64 + 1)).collect();
    for trade in &trades {
        world.pass_to(trade.ts);
        let tick = trade.tick(0, trade.ts);
        world.apply(&tick);
    }
    let ours = group(&trades, MINUTE)[&START];
    let theirs = [
        ours,
        Bar { high: Price(6), ..ours },
        Bar { low: Price(4), open: Price(4), ..ours },
        Bar { volume: Volume(1), trades: 3, ..ours },
        // He does not count.
        Bar { trades: 0, ..ours },
        flat(START - MINUTE, 5),
    ];
    world.pass_to(START + MINUTE + SECOND);
    for bar in theirs {
        assert_eq!(world.upstream(&vendors(0, BarOrigin::Live, 60, bar)), Verdict::Accepted);
    }
    assert_eq!(world.candles.tallies().audit.compared, 0);
    world.pass_to(START + 3 * MINUTE);
    let audit = world.candles.tallies().audit;
    assert_eq!((audit.compared, audit.same, audit.missing), (5, 2, 1), "{audit:?}");
    assert_eq!(
        [audit.open, audit.high, audit.low, audit.close, audit.volume, audit.trades],
        [1, 1, 1, 0, 1, 1]
    );
    let difference = world.candles.take_difference().unwrap().to_string();
    assert!(difference.contains("the vendor's"), "{difference}");
    assert_eq!(world.follower.bars(0, 1)[&START], ours);
    world.check_ledger();
}

#[test]
fn aggregated_trades_build_until_plain_ones_come_and_never_beside_them() {
    let mut world = World::new(options("1s,5s"));
    let aggregated = |ms, id| trade(ms, id).tick(0, START + ms * MS).into_aggregated();
    for (ms, id) in [(100, 1), (1_100, 2), (2_100, 3)] {
        world.pass_to(START + ms * MS);
        assert_eq!(world.apply(&aggregated(ms, id)), Verdict::Accepted);
    }
    // The same number as an aggregated trade's is another trade's.
    world.pass_to(START + 2_200 * MS);
    let plain = trade(2_200, 3).tick(0, world.now);
    assert_eq!(world.apply(&plain), Verdict::Accepted);
    assert_eq!(world.apply(&aggregated(2_300, 4)), Verdict::Refused(Refusal::Outranked));
    let late = trade(1_200, 9).tick(0, world.now);
    assert_eq!(world.apply(&late), Verdict::Refused(Refusal::Backfilled), "its bar was built of the others");
    world.pass_to(START + 10 * SECOND);
    let counts: Vec<_> = world.follower.bars(0, 0).values().map(|bar| bar.trades).collect();
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(world.follower.names(0, 0, START + 2 * SECOND), ["incomplete"]);
    assert_eq!(world.follower.bars(0, 1)[&START].trades, 3);
    world.check_ledger();
}

#[test]
fn trades_take_over_from_bars_and_count_nothing_twice() {
    for seed in 0..30 {
        let mut random = Random(seed * 2 + 1);
        let mut world = World::new(options("1s,1m,5m"));
        world.pass_to(START + MINUTE + SECOND);
        world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START, 9)));
        let mut counted = Vec::new();
        for id in 1..200 {
            world.pass_to(world.now + random.below(2_000) as i64 * MS);
            let behind = random.below(8_000) as i64 * MS * i64::from(random.one_in(4));
            let trade = Trade::random(&mut random, 0, world.now - behind, id);
            let tick = trade.tick(0, world.now);
            match world.apply(&tick) {
                Verdict::Accepted => counted.push(trade),
                Verdict::Refused(refusal) => assert_eq!(refusal, Refusal::Backfilled),
            }
            if random.one_in(20) {
                let minute = (world.now - MINUTE).div_euclid(MINUTE) * MINUTE;
                world.upstream(&vendors(0, BarOrigin::Live, 60, flat(minute, 7)));
            }
        }
        world.pass_to(world.now + 10 * MINUTE);
        let mut minutes = group(&counted, MINUTE);
        assert!(!minutes.contains_key(&START), "the vendor's minute has them");
        minutes.insert(START, flat(START, 9));
        assert_eq!(world.follower.bars(0, 1), minutes);
        assert_eq!(world.follower.bars(0, 2), roll_up(&minutes, 5 * MINUTE));
        assert_eq!(world.follower.bars(0, 0), group(&counted, SECOND));
        world.check_ledger();
    }
}

#[test]
fn the_configured_rank_decides_what_builds() {
    let rank = vec![BuiltBy::Bars];
    let mut world = World::new(CandleOptions { rank, ..options("1s,1m") });
    world.pass_to(START + 500 * MS);
    let tick = trade(500, 1).tick(0, world.now);
    assert_eq!(world.apply(&tick), Verdict::Accepted, "it is a fact of the trades topic all the same");
    world.pass_to(START + MINUTE + SECOND);
    world.upstream(&vendors(0, BarOrigin::Live, 60, flat(START, 9)));
    world.pass_to(START + 2 * MINUTE);
    assert!(world.follower.bars(0, 0).is_empty());
    assert_eq!(world.follower.bars(0, 1)[&START], flat(START, 9));
    assert_eq!(world.candles.trade_sequence(0), 1);
    assert_eq!(world.candles.tallies().beside_bars, 1);
}

#[test]
fn polled_bars_stand_in_while_nothing_is_streamed_and_backfill_replaces_them() {
    let mut world = World::new(options("1m,5m"));
    world.pass_to(START + 500 * MS);
    let tick = trade(500, 1).tick(0, world.now);
    world.apply(&tick);
    world.gap(SymbolId(0), START + 600 * MS, UnixNanos::MAX.0);
    for minute in 0..5 {
        world.pass_to(START + (minute + 1) * MINUTE + 2 * SECOND);
        let polled = vendors(0, BarOrigin::Polled, 60, flat(START + minute * MINUTE, 9));
        assert_eq!(world.upstream(&polled), Verdict::Accepted);
        // Asked again, nothing new.
        let facts = world.follower.facts.len();
        world.upstream(&polled);
        assert_eq!(world.follower.facts.len(), facts);
        assert_eq!(world.follower.names(0, 0, START + minute * MINUTE), ["polled"]);
    }
    let five: BTreeMap<_, _> = (0..5).map(|n| (START + n * MINUTE, flat(START + n * MINUTE, 9))).collect();
    assert_eq!(world.follower.bars(0, 1), roll_up(&five, 5 * MINUTE));
    assert_eq!(world.follower.names(0, 1, START), ["polled"]);
    let facts = world.follower.facts.len();
    world.gap(SymbolId(0), START + 600 * MS, world.now);
    assert_eq!(world.follower.facts.len(), facts, "what was filled stays filled");
    for minute in 0..5 {
        let bar = flat(START + minute * MINUTE, 8 + minute);
        assert_eq!(world.upstream(&vendors(0, BarOrigin::Backfill, 60, bar)), Verdict::Accepted);
        assert!(world.follower.names(0, 0, START + minute * MINUTE).is_empty());
    }
    assert!(world.follower.names(0, 1, START).is_empty());
    assert_eq!(world.follower.facts.last().unwrap().reason(), Reason::Backfill);
    // A whole bar is only compared.
    world.upstream(&vendors(0, BarOrigin::Backfill, 60, flat(START, 99)));
    assert_eq!(world.follower.bars(0, 0)[&START], flat(START, 8));
    assert_eq!(world.candles.tallies().audit.open, 1);
    world.check_ledger();
}

#[test]
fn halves_without_each_other_and_bars_that_contradict_themselves_are_refused_and_counted() {
    let mut world = World::new(options("1s,1m"));
    world.pass_to(START + 2 * MINUTE);
    let good = vendors(0, BarOrigin::Live, 60, flat(START, 9));
    let [head, tail] = good.to_ticks();
    world.apply(&head);
    world.apply(&head);
    assert_eq!(world.apply(&tail), Verdict::Accepted);
    assert_eq!(world.apply(&tail), Verdict::Refused(Refusal::HalfBar));
    // Another source's bar between the halves of this one.
    let mut other = vendors(1, BarOrigin::Live, 60, flat(START, 9));
    other.source = 4;
    world.apply(&vendors(0, BarOrigin::Live, 60, flat(START + MINUTE, 9)).to_ticks()[0]);
    assert_eq!(world.upstream(&other), Verdict::Accepted);
    assert_eq!(
        world.apply(&vendors(0, BarOrigin::Live, 60, flat(START + MINUTE, 9)).to_ticks()[1]),
        Verdict::Accepted
    );
    let bar = flat(START, 9);
    for (seconds, bar, refusal) in [
        (7, bar, Refusal::NoTimeframe),
        (60, Bar { start: UnixNanos(START + 1), ..bar }, Refusal::BadBar),
        (60, Bar { low: Price(10), ..bar }, Refusal::BadBar),
        (60, Bar { close: Price(10), ..bar }, Refusal::BadBar),
        (60, Bar { low: Price(0), ..bar }, Refusal::BadBar),
        (60, Bar { volume: Volume(u128::MAX), ..bar }, Refusal::BadBar),
        (60, flat(START + 600 * MINUTE, 9), Refusal::NotOver),
    ] {
        for origin in [BarOrigin::Live, BarOrigin::Backfill, BarOrigin::Polled] {
            let verdict = world.upstream(&vendors(0, origin, seconds, bar));
            assert_eq!(verdict, Verdict::Refused(refusal), "{bar:?}");
        }
    }
    world.apply(&head);
    world.check_ledger();
    world.candles.close_all(&mut world.follower);
    assert_eq!(world.candles.tallies().halves_waiting, 0);
    world.check_ledger();
}

#[test]
fn a_bar_whose_notional_nobody_says_has_no_vwap_and_neither_has_what_is_made_of_it() {
    let mut world = World::new(options("1m,5m"));
    for minute in 0..5 {
        world.pass_to(START + (minute + 1) * MINUTE + SECOND);
        let mut bar = vendors(0, BarOrigin::Live, 60, flat(START + minute * MINUTE, 9));
        bar.bar.trades = 0;
        if minute == 2 {
            (bar.has_notional, bar.bar.notional.0) = (false, 0);
        }
        world.upstream(&bar);
    }
    let known: Vec<_> = world.follower.bars(0, 0).values().map(|bar| bar.vwap().is_some()).collect();
    assert_eq!(known, [true, true, false, true, true]);
    assert_eq!(world.follower.bars(0, 1)[&START].vwap(), None);
    assert_eq!(world.follower.bars(0, 1)[&START].volume.0, 500_000_000);
}
