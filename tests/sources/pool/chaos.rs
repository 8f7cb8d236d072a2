//! Two hundred cycles of what goes wrong with feeds, from a seed, with the promises checked from outside at every step.

use std::collections::BTreeMap;

use tickwire::feed::{Loss, Order};
use tickwire::model::Nanos;

use super::venue::{Door, World, options, seconds, symbols};

const CYCLES: usize = 200;
const SYMBOLS: usize = 24;
/// Survivors serve everything within this.
const TAKEOVER_MS: i64 = 2_000;
/// A subscription without an answer is asked for again after this.
const ASK_AGAIN_MS: i64 = 3_000;
/// A symbol is subscribed to at two places until the old one was heard again, for which it is pinged after 2 s of silence.
const OVERLAP_MS: i64 = 2_500;
/// How wide a gap may be beyond what was truly not served: a margin and two latencies at each side.
const SLACK_MS: i64 = 100;
const COOLDOWN_S: i64 = 40;

/// What the checker knows of one pool, from orders and the venue alone.
#[derive(Default)]
struct Seen {
    /// Since when each (symbol) is subscribed to twice.
    twice: BTreeMap<(usize, String), i64>,
    /// How much of the log was read.
    read: usize,
    attempts: BTreeMap<(usize, usize), Vec<i64>>,
}

struct Chaos {
    world: World,
    seen: Seen,
    /// Since when some member of each line has been able to serve.
    able: Vec<Option<i64>>,
    deaf_until: i64,
    /// Since when a symbol is not served.
    unserved: BTreeMap<usize, i64>,
    lines: usize,
    /// How often a member was put out.
    put_out: usize,
}

impl Chaos {
    fn new(seed: u64, lines: usize, members: usize) -> Self {
        let pools = (0..lines)
            .map(|line| {
                let mut it = options(["a", "b"][line], members, symbols(SYMBOLS));
                it.limits.gap_margin = Nanos::from_millis(25);
                it.limits.eviction_cooldown = seconds(COOLDOWN_S);
                it
            })
            .collect();
        Self {
            world: World::new(seed, pools),
            seen: Seen::default(),
            able: vec![None; lines],
            deaf_until: 0,
            unserved: BTreeMap::new(),
            lines,
            put_out: 0,
        }
    }

    /// Lets time pass in small steps with trades in every one, and checks after each.
    fn pass(&mut self, ms: i64) {
        let until = self.world.now + ms;
        while self.world.now < until {
            let step = 20 + self.world.random.below(60) as i64;
            let next = (self.world.now + step).min(until);
            self.world.run(next);
            for _ in 0..3 {
                let symbol = self.world.random.below(SYMBOLS as u64) as usize;
                self.world.trade(symbol);
            }
            self.check();
        }
    }

    fn check(&mut self) {
        let now = self.world.now;
        // What lives serves.
        let alive = self.world.alive();
        for line in 0..self.lines {
            let lives = alive.iter().any(|wire| self.world.wires[*wire].line == line);
            let since = self.able[line].take().filter(|_| lives).or(lives.then_some(now));
            self.able[line] = since;
        }
        // Who gets no answer asks again after `subscribe_max`.
        if !self.world.answers_subscriptions {
            self.deaf_until = now + ASK_AGAIN_MS;
        }
        let able = self.able.iter().flatten().min().map(|since| *since.max(&self.deaf_until));
        for symbol in 0..SYMBOLS {
            if self.world.is_served(symbol) {
                self.unserved.remove(&symbol);
                continue;
            }
            let unserved = *self.unserved.entry(symbol).or_insert(now);
            if let Some(able) = able {
                let since = able.max(unserved);
                assert!(
                    now - since <= TAKEOVER_MS,
                    "S{symbol} is not served from {since} to {now} though a line lives"
                );
            }
        }
        // Nothing is asked for twice for long, of connections that live.
        let mut count: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for wire in alive.iter().map(|wire| &self.world.wires[*wire]) {
            for param in &wire.subscribed {
                *count.entry((wire.line, param.clone())).or_default() += 1;
            }
        }
        self.seen.twice.retain(|key, _| count.get(key).is_some_and(|n| *n > 1));
        for (key, _) in count.into_iter().filter(|(_, n)| *n > 1) {
            let since = *self.seen.twice.entry(key.clone()).or_insert(now);
            assert!(now - since <= OVERLAP_MS, "{key:?} twice from {since} to {now}");
        }
        // Nobody is fought over a place, and attempts are spaced.
        for (ms, line, order) in &self.world.log[self.seen.read..] {
            if let Order::Connect { slot } = order {
                self.seen.attempts.entry((*line, *slot)).or_default().push(*ms);
            }
        }
        self.seen.read = self.world.log.len();
    }

    fn cycle(&mut self) {
        let alive = self.world.alive();
        if !alive.is_empty() {
            let victim = alive[self.world.random.below(alive.len() as u64) as usize];
            match self.world.random.below(8) {
                0 => self.world.cut(victim, Loss::Reset),
                1 => self.world.cut(victim, Loss::Closed { code: Some(1012), reason: "restart".to_owned() }),
                // A message that stops half way is silence, until the pool gives the connection up.
                2 | 3 => self.world.wires[victim].stalled = true,
                4 => {
                    // A storm: every connection is lost, and whoever comes back is thrown out or kept waiting.
                    for wire in self.world.alive() {
                        self.world.cut(wire, Loss::Reset);
                    }
                    for _ in 0..4 {
                        let doors = [Door::Refuse, Door::Slam, Door::Silent, Door::Http(503), Door::Open];
                        self.world.door = self.world.random.pick(&doors);
                        let ms = 200 + self.world.random.below(4_000) as i64;
                        self.pass(ms);
                    }
                    self.world.door = Door::Open;
                }
                5 => {
                    // Another program takes one of the account's places, and gives it back later.
                    let up = self.world.alive().len();
                    self.world.places = up.saturating_sub(1);
                    self.put_out += 1;
                    self.world.put_out_the_oldest();
                    let ms = 1_000 + self.world.random.below(6_000) as i64;
                    self.pass(ms);
                    self.world.places = usize::MAX;
                }
                6 => {
                    // The venue restarts one line after the other.
                    for wire in self.world.alive() {
                        self.world.cut(wire, Loss::Closed { code: Some(1001), reason: String::new() });
                        let ms = self.world.random.below(3_000) as i64;
                        self.pass(ms);
                    }
                }
                _ => {
                    self.world.answers_subscriptions = false;
                    self.world.cut(victim, Loss::Reset);
                    // Shorter than the takeover that is promised.
                    self.pass(700);
                    self.world.answers_subscriptions = true;
                }
            }
        }
        let ms = 4_000 + self.world.random.below(14_000) as i64;
        self.pass(ms);
    }

    /// What was ordered about a symbol around a time, for whoever looks into a failure.
    fn orders_around(&self, symbol: usize, ms: i64) -> String {
        let param = format!("T.S{symbol}");
        let near = self.world.log.iter().filter(|(at, ..)| (ms - 8_000..ms + 8_000).contains(at));
        let lines = near.filter_map(|(at, line, order)| match order {
            Order::Send { slot, text } => {
                let text = String::from_utf8_lossy(text);
                let named = text.split(['"', ',']).any(|word| word == param);
                named.then(|| format!("{at} {line}/{slot} {}", &text[..24]))
            }
            Order::Ping { .. } => None,
            other => Some(format!("{at} {line} {other:?}")),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Every trade arrived on some connection, or a gap says that it may be missing; and gaps are no wider than they need be.
    fn settle_accounts(&mut self) -> (usize, usize) {
        let gaps: Vec<_> = (0..SYMBOLS).map(|symbol| self.world.gaps(symbol)).collect();
        let first_cover = 3_000;
        let mut lost = 0;
        for (symbol, ms, id) in &self.world.made {
            if *ms < first_cover || *ms > self.world.now - 1_000 || self.world.arrived.contains(id) {
                continue;
            }
            lost += 1;
            let told = gaps[*symbol].iter().any(|(from, to)| from <= ms && ms < to);
            assert!(
                told,
                "trade {id} of S{symbol} at {ms} is missing and no gap says so: {:?}\n{}",
                gaps[*symbol],
                self.orders_around(*symbol, *ms)
            );
        }
        // The other way round: within a gap, but for its edges, nothing arrives.
        for (symbol, ms, id) in &self.world.made {
            let deep = |(from, to): &&(i64, i64)| {
                from.saturating_add(SLACK_MS) < *ms && *ms < to.saturating_sub(SLACK_MS)
            };
            if self.world.arrived.contains(id)
                && let Some(gap) = gaps[*symbol].iter().find(deep)
            {
                panic!("trade {id} of S{symbol} at {ms} arrived in the middle of the gap {gap:?}");
            }
        }
        for tallies in &self.world.tallies {
            assert!(tallies.is_balanced());
        }
        (lost, gaps.iter().map(Vec::len).sum())
    }
}

#[test]
fn whatever_happens_what_is_lost_is_told_and_what_lives_serves() {
    let (mut lost, mut put_out) = (0, 0);
    for (seed, lines, members) in [(1, 1, 3), (2, 1, 1), (3, 2, 1), (4, 2, 2)] {
        let mut chaos = Chaos::new(seed, lines, members);
        chaos.pass(4_000);
        for _ in 0..CYCLES / 4 {
            chaos.cycle();
        }
        // At the end all is well again: everything is served, and no gap is open.
        chaos.pass(20_000);
        // A cooldown may have to pass first.
        chaos.world.run(chaos.world.now + 3_700_000);
        for symbol in 0..SYMBOLS {
            assert!(chaos.world.is_served(symbol), "seed {seed}: S{symbol}");
            assert!(chaos.world.gaps(symbol).iter().all(|gap| gap.1 < i64::MAX), "seed {seed}: S{symbol}");
        }
        let (missing, gaps) = chaos.settle_accounts();
        lost += missing;
        assert!(
            gaps > 0 && missing > 0,
            "seed {seed}: {gaps} gaps, {missing} trades lost: nothing was tried"
        );
        // Orders are bounded: pings every 2 s, subscriptions in proportion to losses, no spinning.
        let hours = chaos.world.now as usize / 1_000;
        let bound = lines * members * hours + 40 * chaos.world.wires.len() + 1_000;
        assert!(
            chaos.world.log.len() < bound,
            "seed {seed}: {} orders, bound {bound}",
            chaos.world.log.len()
        );
        for ((line, slot), attempts) in &chaos.seen.attempts {
            // No burst: in any ten seconds at most the first, the second and two more attempts.
            for window in attempts.windows(8) {
                assert!(window[7] - window[0] > 4_000, "line {line} slot {slot}: {window:?}");
            }
        }
        put_out += chaos.put_out;
    }
    assert!(lost > 100 && put_out > 5, "{lost} trades lost, {put_out} times put out: too little was tried");
}

#[test]
fn while_either_line_lives_every_trade_arrives() {
    // A line is killed or stalled a hundred times; the other one always lives, though it has its own troubles at other times.
    let mut chaos = Chaos::new(11, 2, 1);
    chaos.pass(4_000);
    for round in 0..100 {
        let line = usize::from(chaos.world.random.one_in(2));
        if let Some(&wire) = chaos.world.current.get(&(line, 0)) {
            if round % 3 == 0 {
                chaos.world.wires[wire].stalled = true;
            } else {
                chaos.world.cut(wire, Loss::Reset);
            }
        }
        // Long enough for a stall to be found and the line to be back.
        chaos.pass(11_000);
    }
    let first_cover = 3_000;
    let end = chaos.world.now - 1_000;
    let missing: Vec<_> = chaos
        .world
        .made
        .iter()
        .filter(|(_, ms, id)| *ms > first_cover && *ms < end && !chaos.world.arrived.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for symbol in 0..SYMBOLS {
        assert_eq!(chaos.world.gaps(symbol), []);
    }
}

#[test]
fn the_same_seed_gives_the_same_orders() {
    let run = |seed| {
        let mut chaos = Chaos::new(seed, 1, 3);
        chaos.pass(4_000);
        for _ in 0..10 {
            chaos.cycle();
        }
        chaos.world.log
    };
    let first = run(7);
    assert!(first.len() > 50);
    assert!(first == run(7));
    assert!(first != run(8));
}

#[test]
fn a_symbol_of_a_healthy_member_sees_no_gap_when_another_is_lost() {
    let mut chaos = Chaos::new(5, 1, 3);
    chaos.pass(15_000);
    for _ in 0..20 {
        let wire = chaos.world.current[&(0, 2)];
        chaos.world.cut(wire, Loss::Reset);
        chaos.pass(25_000);
    }
    for symbol in 0..SYMBOLS {
        let gaps = chaos.world.gaps(symbol);
        if symbol % 3 == 2 {
            assert_eq!(gaps.len(), 20, "S{symbol}");
            assert!(gaps.iter().all(|(from, to)| to - from < 500), "{gaps:?}");
        } else {
            assert_eq!(gaps, [], "S{symbol}");
        }
    }
    // The first attempt comes within a second of the loss.
    let attempts = chaos.world.attempts(0, 2);
    assert_eq!(attempts.len(), 21);
    for (n, at) in attempts[1..].iter().enumerate() {
        let lost = 15_000 + 25_000 * n as i64;
        assert!((0..1_000).contains(&(at - lost)), "attempt {n} at {at}, loss at {lost}");
    }
}
