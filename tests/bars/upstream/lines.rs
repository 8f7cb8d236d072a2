//! Two lines of the same trades, of which one may be dead: every trade counts exactly once.

use std::collections::{BTreeMap, HashSet, VecDeque};

use tickwire::model::{BarFlags, Nanos, SymbolId};
use tickwire::shard::{CandleOptions, Refusal, Verdict};

use super::model::{MS, Random, SECOND, START, Trade, World, group, options};

const SYMBOLS: u32 = 3;
/// How far a line lags at most; the tolerance is 15 s.
const LAG_MAX: i64 = 12 * SECOND;

#[derive(Default)]
struct Line {
    alive: bool,
    since: i64,
    lag: i64,
    /// In flight: when it arrives, and what.
    flight: VecDeque<(i64, Trade)>,
    deaths: u32,
}

/// Trades of three symbols: one numbered without a hole, one of two venues with ids of their own, one whose ids ascend.
struct Market {
    random: Random,
    next: BTreeMap<(u32, u8), u64>,
    made: Vec<Trade>,
}

impl Market {
    fn make(&mut self, now: i64) -> Trade {
        let random = &mut self.random;
        let symbol = random.below(u64::from(SYMBOLS)) as u32;
        let venue = if symbol == 1 { random.below(2) as u8 } else { 0 };
        let id = self.next.entry((symbol, venue)).or_insert(1);
        let mut trade = Trade::random(random, symbol, now, *id);
        *id += 1;
        (trade.venue, trade.contiguous) = (venue, symbol == 2);
        self.made.push(trade);
        trade
    }
}

struct Run {
    world: World,
    market: Market,
    accepted: HashSet<(u32, u8, u64)>,
    deaths: u32,
}

/// Lets either line die and come back until both have died so often.
fn run(seed: u64, options: CandleOptions, deaths: u32) -> Run {
    let random = Random(seed * 2 + 1);
    let mut run = Run {
        world: World::new(options),
        market: Market { random, next: BTreeMap::new(), made: Vec::new() },
        accepted: HashSet::new(),
        deaths: 0,
    };
    let mut lines = [Line { alive: true, since: START - LAG_MAX, ..Line::default() }, Line::default()];
    let mut now = START;
    while lines.iter().any(|line| line.deaths < deaths) {
        now += run.market.random.below(300) as i64 * MS;
        fail(&mut lines, now, &mut run.market.random);
        for _ in 0..run.market.random.below(4) {
            let trade = run.market.make(now);
            for line in lines.iter_mut().filter(|line| line.alive) {
                // A line keeps its order.
                let last = line.flight.back().map_or(0, |(at, _)| *at);
                line.flight.push_back(((now + line.lag).max(last), trade));
            }
        }
        arrive(&mut run, &mut lines, now);
    }
    arrive(&mut run, &mut lines, now + 2 * LAG_MAX);
    run.deaths = lines.iter().map(|line| line.deaths).sum();
    // Past the patience for holes, and every close.
    run.world.pass_to(now + 120 * SECOND);
    run.world.check_ledger();
    run
}

/// A line dies only once the other has had all that is in flight on it.
fn fail(lines: &mut [Line; 2], now: i64, random: &mut Random) {
    for at in 0..2 {
        let other_is_sure = lines[1 - at].alive && lines[1 - at].since + LAG_MAX < now;
        let line = &mut lines[at];
        if line.alive && other_is_sure && random.one_in(20) {
            // Now and then what was in flight arrives all the same.
            if !random.one_in(3) {
                line.flight.clear();
            }
            line.alive = false;
            line.deaths += 1;
        } else if !line.alive && random.one_in(20) {
            (line.alive, line.since) = (true, now);
            // Which of them is behind, and how far, is another matter each time.
            for line in lines.iter_mut() {
                let lag = random.below(LAG_MAX as u64 / 1_000) as i64 * 1_000;
                line.lag = if random.one_in(2) { 0 } else { lag };
            }
        }
    }
}

fn arrive(run: &mut Run, lines: &mut [Line; 2], now: i64) {
    loop {
        let next = |line: &Line| line.flight.front().map_or(i64::MAX, |(at, _)| *at);
        let at = usize::from(next(&lines[1]) < next(&lines[0]));
        if next(&lines[at]) > now {
            break;
        }
        let (arrives, trade) = lines[at].flight.pop_front().unwrap();
        run.world.pass_to(arrives);
        let verdict = run.world.apply(&trade.tick(at as u8, arrives));
        let key = (trade.symbol, trade.venue, trade.id);
        if verdict == Verdict::Accepted {
            assert!(run.accepted.insert(key), "{trade:?} counted twice");
        }
    }
    run.world.pass_to(now);
}

#[test]
fn either_line_may_die_a_hundred_times_and_every_trade_counts_exactly_once() {
    for seed in 0..6 {
        let Run { world, market, accepted, deaths } = run(seed, options("1s,5s,1m"), 100);
        assert!(deaths >= 200);
        assert_eq!(accepted.len(), market.made.len(), "some trade never counted");
        let tallies = world.candles.tallies();
        let duplicates = tallies.refused[Refusal::Duplicate as usize];
        assert_eq!(tallies.refused.iter().sum::<u64>(), duplicates, "{tallies:?}");
        assert!(duplicates > 1_000 && tallies.holes > 10 && tallies.holes_filled > 100, "{tallies:?}");
        for symbol in 0..SYMBOLS {
            let local = world.candles.find(SymbolId(symbol)).unwrap();
            let own: Vec<_> = market.made.iter().filter(|trade| trade.symbol == symbol).collect();
            // The trades topic says each once.
            assert_eq!(world.candles.trade_sequence(local), own.len() as u64);
            for level in 0..world.levels() {
                let want = group(own.iter().copied(), world.len(level));
                let have = world.follower.bars(local, level);
                for (start, bar) in &have {
                    let (a, b) = (without_order(bar), without_order(&want[start]));
                    assert_eq!(a, b, "level {level} of symbol {symbol} at {start}");
                }
                assert_eq!(have.len(), want.len());
            }
        }
        for (key, held) in world.follower.all() {
            assert_eq!(held.flags, BarFlags::default(), "{key:?} {held:?}");
        }
    }
}

/// Two venues number for themselves: which of two trades of one moment came first is theirs to say, and not tested here.
fn without_order(bar: &tickwire::model::Bar) -> tickwire::model::Bar {
    let mut bar = *bar;
    (bar.open, bar.close) = (bar.low, bar.low);
    bar
}

#[test]
fn a_slow_line_counts_nothing_twice_however_little_is_remembered() {
    let mut unverifiable = 0;
    for seed in 0..12 {
        let small = CandleOptions {
            // Two to six chunks of 32 trades for three symbols.
            trades_bytes_max: 64 * 32 * (3 + seed as usize % 3 * 3),
            late_tolerance: Nanos::from_secs(15),
            ..options("1s,5s,1m")
        };
        let Run { world, market, accepted, .. } = run(seed, small, 20);
        let tallies = world.candles.tallies();
        unverifiable += tallies.refused[Refusal::Unverifiable as usize];
        let counted = market.made.iter().filter(|t| accepted.contains(&(t.symbol, t.venue, t.id)));
        let counted: Vec<_> = counted.collect();
        for symbol in 0..SYMBOLS {
            let local = world.candles.find(SymbolId(symbol)).unwrap();
            for level in 0..world.levels() {
                let own = counted.iter().copied().filter(|trade| trade.symbol == symbol);
                let want = group(own, world.len(level));
                for (start, bar) in world.follower.bars(local, level) {
                    assert_eq!(without_order(&bar), without_order(&want[&start]));
                }
            }
        }
    }
    assert!(unverifiable > 100, "{unverifiable}");
}

#[test]
fn a_trade_is_known_by_its_symbol_venue_trf_date_and_id() {
    // 2026-01-14 00:30 UTC is the evening of the 13th in New York.
    const EVENING: i64 = 1_768_350_600 * SECOND;
    const HOUR: i64 = 3_600 * SECOND;
    let mut world = World::new(CandleOptions { late_tolerance: Nanos::from_secs(86_400), ..options("1s") });
    world.now = EVENING;
    let trade = |ts| Trade { symbol: 0, ts, id: 7, price: 5, size: 1, venue: 1, contiguous: false };
    let with_trf = |mut tick: tickwire::model::Tick, trf| {
        tick.trf = trf;
        tick
    };
    let ticks = [
        trade(EVENING).tick(0, EVENING),
        Trade { venue: 2, ..trade(EVENING) }.tick(0, EVENING),
        with_trf(trade(EVENING).tick(0, EVENING), 9),
        Trade { symbol: 1, ..trade(EVENING) }.tick(0, EVENING),
        // The next day's seventh trade, though the date in UTC is the same.
        trade(EVENING + 14 * HOUR).tick(0, EVENING + 14 * HOUR),
    ];
    for tick in ticks {
        world.pass_to(tick.ts_recv.0);
        assert_eq!(world.apply(&tick), Verdict::Accepted);
        assert_eq!(world.apply(&tick), Verdict::Refused(Refusal::Duplicate));
    }
    // The same evening's, four hours later by the other line.
    let again = trade(EVENING - 4 * HOUR).tick(1, world.now);
    assert_eq!(world.apply(&again), Verdict::Refused(Refusal::Duplicate));
    world.check_ledger();
}
