//! Gaps: which bars say that they are incomplete, and which no longer.

use tickwire::model::{Bar, BarFlags, BarOrigin, EventKind, Reason, SymbolId, UnixNanos};
use tickwire::shard::{CandleOptions, Refusal, Verdict};

use super::model::{MS, Random, SECOND, START, Trade, World, group, options, vendors};
use super::rules::filled;

const OPEN: i64 = UnixNanos::MAX.0;

fn trade(ms: i64, id: u64) -> Trade {
    Trade { symbol: 0, ts: START + ms * MS, id, price: 5, size: 7, venue: 0, contiguous: false }
}

impl World {
    fn trade(&mut self, trade: &Trade) -> Verdict {
        self.pass_to(trade.ts);
        let tick = trade.tick(0, self.now);
        self.apply(&tick)
    }

    fn forming(&self, level: usize) -> Vec<&'static str> {
        self.candles.forming(0, level).unwrap().flags.names().collect()
    }
}

#[test]
fn a_gap_marks_open_bars_and_closed_ones_and_those_that_open_before_it_ends() {
    let mut world = World::new(options("1s,5s"));
    for (ms, id) in [(500, 1), (1_500, 2), (2_500, 3)] {
        world.trade(&trade(ms, id));
    }
    world.pass_to(START + 2_600 * MS);
    // 0 is closed and before it, 1 closed and in it, 2 open.
    assert_eq!(world.gap(SymbolId(0), START + 1_700 * MS, OPEN), Verdict::Accepted);
    assert_eq!(world.follower.names(0, 0, START), [""; 0]);
    assert_eq!(world.follower.names(0, 0, START + SECOND), ["incomplete"]);
    let revision = world.follower.facts.last().unwrap();
    assert_eq!((revision.kind(), revision.reason()), (EventKind::BarRevised, Reason::Gap));
    assert_eq!((world.forming(0), world.forming(1)), (vec!["incomplete"], vec!["incomplete"]));
    world.trade(&trade(3_500, 4));
    // Said twice it changes nothing.
    let facts = world.follower.facts.len();
    world.gap(SymbolId(0), START + 1_700 * MS, OPEN);
    assert_eq!(world.follower.facts.len(), facts);
    world.gap(SymbolId(0), START + 1_700 * MS, START + 4_100 * MS);
    world.trade(&trade(5_500, 5));
    world.pass_to(START + 20 * SECOND);
    for (level, second, incomplete) in
        [(0, 2, true), (0, 3, true), (0, 5, false), (1, 0, true), (1, 5, false)]
    {
        let names = world.follower.names(0, level, START + second * SECOND);
        assert_eq!(!names.is_empty(), incomplete, "level {level} at {second}: {names:?}");
    }
    world.check_ledger();
}

#[test]
fn a_gap_of_everyone_marks_symbols_that_are_first_seen_before_it_ends() {
    let mut world = World::new(options("1s"));
    world.gap(SymbolId::ANY, START, OPEN);
    world.trade(&trade(500, 1));
    world.pass_to(START + 2 * SECOND);
    assert_eq!(world.follower.names(0, 0, START), ["incomplete"]);
    world.gap(SymbolId::ANY, START, START + 2 * SECOND);
    world.trade(&trade(2_500, 2));
    world.trade(&Trade { symbol: 1, ..trade(2_500, 2) });
    world.pass_to(START + 4 * SECOND);
    assert_eq!(world.follower.names(0, 0, START + 2 * SECOND), [""; 0]);
    assert_eq!(world.follower.names(1, 0, START + 2 * SECOND), [""; 0]);
    assert_eq!(world.gap(SymbolId::ANY, 5, 5), Verdict::Refused(Refusal::EmptyGap));
    world.check_ledger();
}

#[test]
fn a_hole_in_the_numbers_marks_its_bars_until_it_is_filled_or_for_good() {
    for filled in [true, false] {
        let mut world = World::new(options("1s,5s"));
        let numbered = |ms, id| Trade { contiguous: true, ..trade(ms, id) };
        world.trade(&numbered(500, 10));
        // 11 and 12 are missing; second 0 is closed by the time that is known.
        world.trade(&numbered(2_500, 13));
        world.trade(&numbered(3_500, 14));
        world.pass_to(START + 5_300 * MS);
        let marked = |world: &World| {
            let bars = [(0, 0), (0, 2), (0, 3), (1, 0)];
            bars.map(|(level, second)| !world.follower.names(0, level, START + second * SECOND).is_empty())
        };
        assert_eq!(marked(&world), [false, true, false, true], "closed before, in it, after, above");
        if filled {
            for (ms, id) in [(700, 11), (1_500, 12)] {
                let tick = numbered(ms, id).tick(1, world.now);
                assert_eq!(world.apply(&tick), Verdict::Accepted);
            }
            assert_eq!(marked(&world), [false; 4]);
            assert_eq!(world.candles.tallies().holes_filled, 2);
        }
        world.pass_to(START + 30 * SECOND);
        let want = if filled { [false; 4] } else { [true, true, false, true] };
        assert_eq!(marked(&world), want);
        assert_eq!(world.candles.tallies().holes_given_up, u64::from(!filled));
        world.check_ledger();
    }
}

#[test]
fn a_hole_across_a_gap_is_that_gaps_and_heals_with_it() {
    // The symbol's next trade comes before the gap is told, as a dead connection is found late, when others have long taken over;
    // before its bars come; or after them. And there may be another hole, which stays one.
    for (next_trade, another) in (0..3).flat_map(|next| [(next, false), (next, true)]) {
        let mut world = World::new(options("1s,5s,1m"));
        let numbered = |ms, id| Trade { contiguous: true, ..trade(ms, id) };
        let minute = START + 60 * SECOND;
        let after = [numbered(61_500, 10), numbered(64_200, 14), numbered(64_800, 15)];
        let late = |id: u64| numbered(64_000, id);
        world.trade(&after[0]);
        // Numbers 11 to 13 are of a second that nobody was sent.
        let gap = |world: &mut World| {
            world.pass_to(world.now.max(minute + 3_300 * MS));
            if next_trade > 0 {
                world.gap(SymbolId(0), minute + 2_700 * MS, OPEN);
            }
            world.gap(SymbolId(0), minute + 2_700 * MS, minute + 3_900 * MS);
        };
        let missed = [numbered(62_800, 11), numbered(62_900, 12), numbered(63_100, 13)];
        let bars = group(&missed, SECOND);
        let backfill = |world: &mut World| {
            world.pass_to(world.now.max(minute + 4_500 * MS));
            for bar in bars.values() {
                let verdict = world.upstream(&vendors(0, BarOrigin::Backfill, 1, *bar));
                assert_eq!(verdict, Verdict::Accepted);
            }
        };
        let trades = |world: &mut World| {
            world.trade(&after[1]);
            world.trade(&after[2]);
            if another {
                world.trade(&numbered(65_100, 18));
            }
            world.pass_to(minute + 6_300 * MS);
        };
        for step in 0..3 {
            if step == next_trade {
                trades(&mut world);
            }
            match step {
                0 => gap(&mut world),
                1 => backfill(&mut world),
                _ => {}
            }
        }
        // One of them comes yet: the vendor's bar has it.
        let tick = Trade { ts: missed[1].ts, ..late(12) }.tick(1, world.now);
        assert_eq!(world.apply(&tick), Verdict::Refused(Refusal::Backfilled));
        world.pass_to(START + 200 * SECOND);
        let of = |level, second: i64| world.follower.names(0, level, START + second * SECOND);
        let want: &[&str] = if another { &["incomplete"] } else { &[] };
        assert_eq!([of(0, 61), of(0, 62), of(0, 63)], [[""; 0]; 3]);
        assert_eq!([of(0, 64), of(1, 60), of(2, 60)], [want, want, want], "{next_trade} {another}");
        world.check_ledger();
    }
}

/// Trades of ten minutes, of which those in some intervals are lost, and what the shard is told of that.
struct Lossy {
    world: World,
    all: Vec<Trade>,
    lost: Vec<(i64, i64)>,
}

fn lossy(seed: u64, list: &str) -> Lossy {
    lossy_under(seed, options(list), 900)
}

/// The same under other rules, a trade every `pace_ms` at the latest.
fn lossy_under(seed: u64, options: CandleOptions, pace_ms: u64) -> Lossy {
    let mut random = Random(seed * 2 + 1);
    let mut world = World::new(options);
    let (mut all, mut lost, mut missing) = (Vec::new(), Vec::new(), None);
    let (mut now, mut id, mut heard) = (START, 1, START);
    while now < START + 599 * SECOND {
        now = (now + random.below(pace_ms) as i64 * MS).min(START + 599 * SECOND);
        world.pass_to(now);
        if random.one_in(25) {
            missing = match missing {
                None => {
                    world.gap(SymbolId(0), heard, OPEN);
                    Some(heard)
                }
                Some(from) => {
                    world.gap(SymbolId(0), from, now);
                    lost.push((from, now));
                    None
                }
            };
        }
        let behind = if random.one_in(6) { random.below(4_000) as i64 * MS } else { 0 };
        // Whoever says that a gap began knows of no trade before it that did not come.
        let earliest = missing.unwrap_or(START);
        let trade = Trade::random(&mut random, 0, (now - behind).max(earliest), id);
        id += 1;
        all.push(trade);
        // What comes while there is a gap is lost, and what came before it for its time.
        if missing.is_none() && !lost.iter().any(|&(from, to)| (from..to).contains(&trade.ts)) {
            let tick = trade.tick(0, now);
            assert_eq!(world.apply(&tick), Verdict::Accepted);
            heard = now;
        }
    }
    if let Some(from) = missing {
        world.gap(SymbolId(0), from, now + 1);
        lost.push((from, now + 1));
    }
    world.pass_to(START + 700 * SECOND);
    Lossy { world, all, lost }
}

/// What the vendor has of intervals with something lost, and zeros where he has nothing.
fn answer(all: &[Trade], lost: &[(i64, i64)], len: i64) -> Vec<Bar> {
    let wanted = group(all, len);
    let nothing = |start| Bar { start: UnixNanos(start), ..Bar::default() };
    (0..600 * SECOND / len)
        .map(|n| START + n * len)
        .filter(|start| lost.iter().any(|&(from, to)| from < start + len && to > *start))
        .map(|start| wanted.get(&start).copied().unwrap_or(nothing(start)))
        .collect()
}

#[test]
fn a_vendors_silence_about_quiet_intervals_leaves_no_bar_incomplete_filled_or_not() {
    let (mut flat, mut quiet) = (0, 0);
    for seed in 0..60 {
        let seconds: u32 = if seed % 2 == 0 { 1 } else { 60 };
        let fills = seed % 3 > 0;
        let list = "1s,5s,1m,5m";
        let options = if fills { filled(list) } else { options(list) };
        // A trade every five seconds: most are quiet, and now and then a minute is nearly so.
        let Lossy { mut world, all, lost } = lossy_under(seed + 500, options, 10_000);
        let asked = answer(&all, &lost, i64::from(seconds) * SECOND);
        quiet += asked.iter().filter(|bar| bar.trades == 0).count();
        for bar in &asked {
            let verdict = world.upstream(&vendors(0, BarOrigin::Backfill, seconds, *bar));
            assert_eq!(verdict, Verdict::Accepted);
        }
        // What lies above the last of them is still to close.
        world.pass_to(START + 720 * SECOND);
        for level in (0..world.levels()).filter(|level| world.len(*level) >= i64::from(seconds) * SECOND) {
            let want = group(&all, world.len(level));
            let held = &world.follower.held[&(0, level)];
            let mut close = None;
            for (start, held) in held {
                let names: Vec<_> = held.flags.names().collect();
                match want.get(start) {
                    Some(bar) => assert_eq!((held.bar, &names[..]), (*bar, &[][..]), "{level} at {start}"),
                    None => {
                        flat += 1;
                        assert!(fills, "a bar of nothing at {start}");
                        assert_eq!(names, ["synthetic"], "level {level} at {start} of seed {seed}");
                        assert_eq!(Some(held.bar.close), close, "it goes on at the last close");
                    }
                }
                close = Some(held.bar.close);
            }
            let missing = want.keys().find(|start| !held.contains_key(start));
            assert_eq!(missing, None, "level {level} of seed {seed}");
        }
        world.check_ledger();
    }
    assert!(flat > 1_000 && quiet > 1_000, "{flat} flat bars, {quiet} quiet intervals: nothing was tried");
}

#[test]
fn a_bar_that_lacks_trades_says_so_and_one_that_lacks_none_after_backfill_does_not() {
    for seed in 0..60 {
        // Seconds can be asked for, or only minutes.
        let seconds: u32 = if seed % 2 == 0 { 1 } else { 60 };
        let Lossy { mut world, all, lost } = lossy(seed, "1s,5s,1m,5m");
        let len = i64::from(seconds) * SECOND;
        for level in 0..world.levels() {
            let want = group(&all, world.len(level));
            for (start, held) in world.follower.held.get(&(0, level)).into_iter().flatten() {
                let touched = lost.iter().any(|&(from, to)| from < start + world.len(level) && to > *start);
                assert_eq!(held.flags.has(BarFlags::INCOMPLETE), touched, "level {level} at {start}");
                assert!(touched || held.bar == want[start], "a wrong bar says nothing");
            }
        }
        let mut asked = answer(&all, &lost, len);
        // In about their order, and some of them twice.
        let mut random = Random(seed + 77);
        for at in (1..asked.len()).rev() {
            asked.swap(at, at - random.below(at.min(5) as u64) as usize);
        }
        for bar in asked.iter().chain(asked.iter().take(3)) {
            let verdict = world.upstream(&vendors(0, BarOrigin::Backfill, seconds, *bar));
            assert_eq!(verdict, Verdict::Accepted);
        }
        for level in (0..world.levels()).filter(|&level| world.len(level) >= len) {
            let held = world.follower.held[&(0, level)].clone();
            let want = group(&all, world.len(level));
            for (start, bar) in &want {
                assert_eq!(held[start].bar, *bar, "level {level} at {start} of seed {seed}");
            }
            assert_eq!(held.len(), want.len());
            for (start, held) in &held {
                assert_eq!(held.flags, BarFlags::default(), "level {level} at {start}");
            }
        }
        let healed = world.follower.facts.iter().filter(|fact| fact.reason() == Reason::Backfill).count();
        assert!(asked.is_empty() || healed > 0);
        assert_eq!(world.candles.tallies().gaps_merged, 0);
        world.check_ledger();
    }
}

#[test]
fn a_gap_told_of_what_a_vendor_has_given_is_over_when_he_gives_it_again() {
    for origin in [BarOrigin::Backfill, BarOrigin::Polled] {
        let mut world = World::new(options("1s,5s,1m"));
        world.trade(&trade(4_500, 1));
        world.pass_to(START + 8_000 * MS);
        let bars = group(&[trade(5_200, 2), trade(6_300, 3)], SECOND);
        let of =
            |world: &World, level, second: i64| world.follower.names(0, level, START + second * SECOND).len();
        for (round, origin) in [origin, BarOrigin::Backfill].into_iter().enumerate() {
            // The second is wider than the first, and told when that is filled.
            world.gap(SymbolId(0), START + (5_100 - round as i64 * 50) * MS, START + 6_900 * MS);
            for bar in bars.values() {
                let verdict = world.upstream(&vendors(0, origin, 1, *bar));
                assert_eq!(verdict, Verdict::Accepted);
            }
            world.pass_to(world.now + 70 * SECOND);
            let polled = usize::from(round == 0 && origin == BarOrigin::Polled);
            assert_eq!([of(&world, 0, 5), of(&world, 0, 6), of(&world, 1, 5), of(&world, 2, 0)], [polled; 4]);
        }
        world.check_ledger();
    }
}

#[test]
fn a_late_trade_of_a_backfilled_interval_is_not_counted_twice() {
    let Lossy { mut world, all, lost } = lossy(4, "1s,1m");
    assert!(!lost.is_empty());
    let mut missed = all.iter().filter(|t| lost.iter().any(|&(from, to)| (from..to).contains(&t.ts)));
    let missed = *missed.next_back().unwrap();
    let start = missed.ts.div_euclid(SECOND) * SECOND;
    let bar = group(&all, SECOND)[&start];
    // A world of its own, where the clock is not yet past the tolerance.
    let mut world2 = World::new(options("1s,1m"));
    world2.now = start + 3 * SECOND;
    world2.gap(SymbolId(0), start, start + SECOND);
    assert_eq!(world2.upstream(&vendors(0, BarOrigin::Backfill, 1, bar)), Verdict::Accepted);
    let tick = missed.tick(0, world2.now);
    assert_eq!(world2.apply(&tick), Verdict::Refused(Refusal::Backfilled));
    assert_eq!(world2.follower.bars(0, 0)[&start], bar);
    world2.check_ledger();
    world.pass_to(START + 3_600 * SECOND);
    let sealed = vendors(0, BarOrigin::Backfill, 1, group(&all, SECOND)[&start]);
    assert_eq!(world.upstream(&sealed), Verdict::Refused(Refusal::Sealed));
}
