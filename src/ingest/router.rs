//! Ticks to the shards that own their symbols, and what happens when a ring is full.
//!
//! Within one source and shard ticks keep their order, but for quotes of a live source that met a full ring: of these the
//! latest per symbol waits, as a quote is a state. Facts wait with their reader, which is not read meanwhile.

use std::collections::VecDeque;

use crate::model::{SymbolCache, SymbolId, Tick, TickKind, UnixNanos};
use crate::runtime::{Report, Sender};

/// The sending ends of all shards.
pub struct Router {
    shards: Vec<Shard>,
    /// The shard of each symbol, `UNKNOWN` until it was looked up.
    shard_of: Vec<u16>,
    sent: u64,
    conflated: u64,
    abandoned: u64,
}

struct Shard {
    ring: Sender<Tick>,
    quotes: Quotes,
    /// Refused a tick in this pass: later ones of the pass must not overtake it.
    blocked: bool,
    ended: bool,
}

const UNKNOWN: u16 = u16::MAX;

/// The latest quote of each symbol that met a full ring, in the order of the symbols' first.
#[derive(Default)]
struct Quotes {
    waiting: VecDeque<Tick>,
    /// One more than how many had left when the symbol's quote joined; 0 where none waits.
    place: Vec<u64>,
    /// How many have left.
    left: u64,
}

impl Quotes {
    /// Returns whether an older one was replaced.
    fn put(&mut self, tick: Tick) -> bool {
        let symbol = tick.symbol.index();
        if self.place.len() <= symbol {
            self.place.resize(symbol + 1, 0);
        }
        let there = self.place[symbol].checked_sub(self.left + 1);
        match there.and_then(|at| self.waiting.get_mut(at as usize)) {
            Some(old) => {
                *old = tick;
                true
            }
            None => {
                self.place[symbol] = self.left + self.waiting.len() as u64 + 1;
                self.waiting.push_back(tick);
                false
            }
        }
    }

    fn leave(&mut self) {
        if self.waiting.pop_front().is_some() {
            self.left += 1;
        }
    }
}

impl Router {
    /// At most 65,534 shards.
    pub fn new(shards: Vec<Sender<Tick>>) -> Self {
        let shard = |ring| Shard { ring, quotes: Quotes::default(), blocked: false, ended: false };
        Self {
            shards: shards.into_iter().take(usize::from(UNKNOWN)).map(shard).collect(),
            shard_of: Vec::new(),
            sent: 0,
            conflated: 0,
            abandoned: 0,
        }
    }

    /// Sends what there is room for, in order; what must wait stays in `pending`. A live source's quotes never stay.
    pub fn dispatch(&mut self, pending: &mut Vec<Tick>, symbols: &mut SymbolCache, live: bool) {
        if pending.is_empty() || self.shards.is_empty() {
            pending.clear();
            return;
        }
        // The usual case of one shard with room: nothing has to be decided for any tick.
        if let [shard] = &mut self.shards[..]
            && shard.quotes.waiting.is_empty()
            && shard.ring.push_all(pending)
        {
            self.sent += pending.len() as u64;
            pending.clear();
            return;
        }
        for shard in &mut self.shards {
            shard.blocked = false;
        }
        let Self { shards, shard_of, sent, conflated, abandoned } = self;
        pending.retain(|tick| {
            let at = match shard_of.get(tick.symbol.index()) {
                Some(&at) if at != UNKNOWN => usize::from(at),
                _ => locate(shard_of, tick.symbol, symbols, shards.len()),
            };
            let shard = &mut shards[at];
            let quote = live && tick.kind() == TickKind::Quote;
            if quote && (shard.blocked || !shard.quotes.waiting.is_empty()) {
                *conflated += u64::from(shard.quotes.put(*tick));
                return false;
            }
            if shard.blocked {
                return true;
            }
            // The halves of a bar go side by side, or another reader's tick could come between them.
            let fits = tick.kind() != TickKind::BarHead || shard.ring.room_for(2);
            if fits && shard.ring.push(*tick).is_ok() {
                *sent += 1;
                return false;
            }
            if shard.ring.is_abandoned() {
                // The engine comes down around us; waiting for a shard that is gone would hold it up.
                *abandoned += 1;
                return false;
            }
            shard.blocked = true;
            if quote {
                *conflated += u64::from(shard.quotes.put(*tick));
            }
            !quote
        });
    }

    /// Sends waiting quotes where there is room. Call after the facts of the turn.
    pub fn send_quotes(&mut self) -> usize {
        let before = self.sent;
        for shard in &mut self.shards {
            while let Some(&tick) = shard.quotes.waiting.front() {
                if shard.ring.push(tick).is_err() {
                    if !shard.ring.is_abandoned() {
                        break;
                    }
                    self.abandoned += 1;
                } else {
                    self.sent += 1;
                }
                shard.quotes.leave();
            }
        }
        (self.sent - before) as usize
    }

    /// Tells every shard that the input has ended; `true` once all know.
    pub fn send_end(&mut self) -> bool {
        for shard in &mut self.shards {
            if !shard.ended {
                let pushed = shard.ring.push(Tick::watermark(UnixNanos::MAX)).is_ok();
                shard.ended = pushed || shard.ring.is_abandoned();
            }
        }
        self.shards.iter().all(|shard| shard.ended)
    }

    /// Wakes the shards that were sent something. Call at the end of a turn.
    pub fn flush(&mut self) {
        for shard in &mut self.shards {
            shard.ring.flush();
        }
    }

    /// Whether quotes wait for room.
    pub fn has_quotes(&self) -> bool {
        self.shards.iter().any(|shard| !shard.quotes.waiting.is_empty())
    }

    /// Whether a ring that was full has room now, or will never have.
    pub fn has_news(&self) -> bool {
        self.shards.iter().any(|shard| shard.ring.has_news() || shard.ring.is_abandoned())
    }

    /// Adds its counters.
    pub fn hand_over(&self, report: &mut Report) {
        report.count("ingest.sent", self.sent);
        report.count("ingest.quotes_conflated", self.conflated);
        report.count("ingest.sent_to_nobody", self.abandoned);
        let waiting = self.shards.iter().map(|shard| shard.quotes.waiting.len() as u64).sum();
        report.count("ingest.quotes_waiting", waiting);
    }
}

#[cold]
fn locate(shard_of: &mut Vec<u16>, symbol: SymbolId, symbols: &mut SymbolCache, shards: usize) -> usize {
    // Every id comes from the table; a mark for all symbols belongs to no shard more than to the first.
    let Some(name) = symbols.name(symbol) else { return 0 };
    let at = name.shard(shards);
    if shard_of.len() <= symbol.index() {
        shard_of.resize(symbol.index() + 1, UNKNOWN);
    }
    shard_of[symbol.index()] = at as u16;
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bar, BarOrigin, Price, Size, SymbolTable, UpstreamBar};
    use crate::runtime::{Bell, ring};

    fn quote(symbol: SymbolId, bid: i64) -> Tick {
        let side = (Price(bid), Size(1));
        Tick::quote(symbol, UnixNanos(bid), UnixNanos(0), side, side)
    }

    fn trade(symbol: SymbolId, price: i64) -> Tick {
        Tick::trade(symbol, UnixNanos(price), UnixNanos(0), Price(price), Size(1))
    }

    #[test]
    fn a_full_ring_keeps_every_trade_in_order_and_the_latest_quote() {
        let mut symbols = SymbolCache::new(SymbolTable::new(10));
        let a = symbols.intern(b"A").unwrap();
        let b = symbols.intern(b"B").unwrap();
        let (tx, mut rx) = ring(2, Bell::silent(), Bell::silent());
        let mut router = Router::new(vec![tx]);
        let mut pending = vec![
            trade(a, 1),
            quote(a, 2),
            quote(a, 3),
            quote(b, 4),
            trade(a, 5),
            quote(a, 6),
            quote(b, 7),
            trade(b, 8),
        ];
        router.dispatch(&mut pending, &mut symbols, true);
        let mut seen = Vec::new();
        for _ in 0..10 {
            rx.drain(10, |tick| seen.push(tick.price.0));
            router.dispatch(&mut pending, &mut symbols, true);
            router.send_quotes();
        }
        assert_eq!(seen, [1, 2, 5, 8, 6, 7]);
        assert_eq!(router.conflated, 2);
        assert!(pending.is_empty() && !router.has_quotes());
    }

    #[test]
    fn the_halves_of_a_bar_stay_together() {
        let mut symbols = SymbolCache::new(SymbolTable::new(10));
        let a = symbols.intern(b"A").unwrap();
        let (tx, mut rx) = ring(3, Bell::silent(), Bell::silent());
        let mut router = Router::new(vec![tx]);
        let bar = UpstreamBar {
            symbol: a,
            source: 1,
            origin: BarOrigin::Live,
            seconds: 60,
            closed: true,
            has_notional: true,
            ts_recv: UnixNanos(1),
            bar: Bar::default(),
        };
        let mut bars: Vec<_> = (0..4).flat_map(|_| bar.to_ticks()).collect();
        let mut seen = Vec::new();
        for n in 0..=20 {
            router.dispatch(&mut bars, &mut symbols, true);
            router.dispatch(&mut vec![trade(a, n)], &mut symbols, true);
            rx.drain(3, |tick| seen.push(tick.kind()));
        }
        assert_eq!(seen.iter().filter(|kind| **kind == TickKind::BarHead).count(), 4);
        for (at, _) in seen.iter().enumerate().filter(|(_, kind)| **kind == TickKind::BarHead) {
            assert_eq!(seen[at + 1], TickKind::BarTail);
        }
    }

    #[test]
    fn a_file_loses_no_quote() {
        let mut symbols = SymbolCache::new(SymbolTable::new(10));
        let a = symbols.intern(b"A").unwrap();
        let (tx, mut rx) = ring(2, Bell::silent(), Bell::silent());
        let mut router = Router::new(vec![tx]);
        let mut pending: Vec<_> = (1..=9).map(|i| quote(a, i)).collect();
        let mut seen = Vec::new();
        while !pending.is_empty() {
            router.dispatch(&mut pending, &mut symbols, false);
            rx.drain(10, |tick| seen.push(tick.price.0));
        }
        assert_eq!(seen, (1..=9).collect::<Vec<_>>());
    }
}
