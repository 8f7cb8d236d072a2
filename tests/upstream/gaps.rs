//! Gaps: which bars say that they are incomplete, and which no longer.

use tickwire::model::{Bar, BarFlags, BarOrigin, EventKind, Reason, SymbolId, UnixNanos};
use tickwire::shard::{Refusal, Verdict};

use super::model::{MS, Random, SECOND, START, Trade, World, group, options, vendors};

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

/// Trades of ten minutes, of which those in some intervals are lost, and what the shard is told of that.
struct Lossy {
    world: World,
    all: Vec<Trade>,
    lost: Vec<(i64, i64)>,
}

fn lossy(seed: u64, list: &str) -> Lossy {
    let mut random = Random(seed * 2 + 1);
    let mut world = World::new(options(list));
    let (mut all, mut lost, mut missing) = (Vec::new(), Vec::new(), None);
    let (mut now, mut id, mut heard) = (START, 1, START);
    while now < START + 599 * SECOND {
        now += random.below(900) as i64 * MS;
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
        // What the vendor has, and zeros where he has nothing.
        let wanted = group(&all, len);
        let nothing = |start| Bar { start: UnixNanos(start), ..Bar::default() };
        let intervals = (0..600 * SECOND / len).map(|n| START + n * len);
        let mut asked: Vec<_> = intervals
            .filter(|start| lost.iter().any(|&(from, to)| from < start + len && to > *start))
            .map(|start| wanted.get(&start).copied().unwrap_or(nothing(start)))
            .collect();
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
