//! The symbols of a feed whose every connection is down, and when each is asked for next.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Nanos, SymbolId, UnixNanos};

use super::queue::Span;

/// How far back the first question goes: a session takes no longer to find that its connection is dead.
const BACK: Nanos = Nanos::from_secs(60);

/// One polled symbol.
#[derive(Debug, Clone, Copy)]
struct Polled {
    /// Where the first bar begins that it still has to get.
    from: UnixNanos,
    /// When it is asked for; `None` while it is.
    due: Option<UnixNanos>,
}

/// The polled symbols of one feed.
#[derive(Debug)]
pub struct Polls {
    symbols: BTreeMap<SymbolId, Polled>,
    due: BTreeSet<(UnixNanos, SymbolId)>,
    length: Nanos,
    every: Nanos,
    settle: Nanos,
}

impl Polls {
    /// None. Bars have the given length; each symbol is asked for `every` so often, and for nothing before it is `settle` old.
    pub const fn new(length: Nanos, every: Nanos, settle: Nanos) -> Self {
        Self { symbols: BTreeMap::new(), due: BTreeSet::new(), length, every, settle }
    }

    /// From now on; what is on stays as it is.
    pub fn on(&mut self, symbol: SymbolId, now: UnixNanos) {
        if !self.symbols.contains_key(&symbol) {
            let from = now.minus(BACK).floor(self.length);
            self.symbols.insert(symbol, Polled { from, due: Some(now) });
            self.due.insert((now, symbol));
        }
    }

    /// No longer.
    pub fn off(&mut self, symbol: SymbolId) {
        if let Some(Polled { due: Some(at), .. }) = self.symbols.remove(&symbol) {
            self.due.remove(&(at, symbol));
        }
    }

    /// Takes the symbol that has waited longest, with the bars that ended since it was last asked for. It is not asked for again
    /// before [`Polls::answered`].
    pub fn next(&mut self, now: UnixNanos) -> Option<Span> {
        while let Some(&(at, symbol)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(polled) = self.symbols.get_mut(&symbol) else { continue };
            let (from, to) = (polled.from, now.minus(self.settle).floor(self.length));
            if from < to {
                polled.due = None;
                return Some(Span { symbol, from, to });
            }
            let at = from + self.length + self.settle;
            polled.due = Some(at);
            self.due.insert((at, symbol));
        }
        None
    }

    /// A question is over; `done` is where the bars end that came, the beginning of its span where none did.
    pub fn answered(&mut self, symbol: SymbolId, done: UnixNanos, now: UnixNanos) {
        let Some(polled) = self.symbols.get_mut(&symbol) else { return };
        polled.from = polled.from.max(done);
        // It may have been turned off and on meanwhile.
        if polled.due.is_none() {
            let at = now + self.every;
            polled.due = Some(at);
            self.due.insert((at, symbol));
        }
    }

    /// When the next is to be asked for.
    pub fn deadline(&self) -> Option<UnixNanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many symbols are polled.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::from_secs(1);
    const ONE: SymbolId = SymbolId(1);

    fn at(s: i64) -> UnixNanos {
        UnixNanos(1_700_000_040_000_000_000) + Nanos::from_secs(s)
    }

    fn polls(length_s: i64) -> Polls {
        Polls::new(Nanos::from_secs(length_s), Nanos::from_secs(5), Nanos::from_secs(2))
    }

    #[test]
    fn a_symbol_is_asked_for_the_bars_that_closed_since_and_for_nothing_when_none_did() {
        let mut polls = polls(60);
        polls.on(ONE, at(0));
        let first = polls.next(at(2));
        assert_eq!(first, Some(Span { symbol: ONE, from: at(-60), to: at(0) }));
        assert_eq!(polls.next(at(3)), None, "while it is being asked for");
        polls.answered(ONE, at(0), at(3));
        assert_eq!(polls.next(at(8)), None, "no bar has closed");
        assert_eq!(polls.deadline(), Some(at(62)));
        assert_eq!(polls.next(at(62)), Some(Span { symbol: ONE, from: at(0), to: at(60) }));
    }

    #[test]
    fn what_did_not_come_is_asked_for_again_with_what_follows() {
        let mut polls = polls(1);
        polls.on(ONE, at(0));
        let Some(first) = polls.next(at(0)) else { panic!("nothing to ask for") };
        polls.answered(ONE, first.from, at(1));
        assert_eq!(polls.deadline(), Some(at(6)));
        assert_eq!(polls.next(at(6)), Some(Span { to: at(4), ..first }));
    }

    #[test]
    fn all_have_their_turn_however_few_may_be_asked_for() {
        let mut polls = polls(1);
        (0..10).for_each(|n| polls.on(SymbolId(n), at(0)));
        let mut asked = [0; 10];
        for n in 0..100 {
            let now = at(n);
            if let Some(span) = polls.next(now) {
                asked[span.symbol.index()] += 1;
                polls.answered(span.symbol, span.to, now);
            }
        }
        assert_eq!(asked, [10; 10]);
    }

    #[test]
    fn a_symbol_turned_off_is_asked_for_no_more_and_one_turned_on_again_once() {
        let mut polls = polls(1);
        polls.on(ONE, at(0));
        polls.next(at(0));
        polls.off(ONE);
        polls.answered(ONE, at(0), at(0) + SECOND);
        assert_eq!((polls.next(at(99)), polls.deadline(), polls.is_empty()), (None, None, true));
        polls.on(ONE, at(100));
        polls.on(ONE, at(101));
        let asked: Vec<_> = std::iter::from_fn(|| polls.next(at(102))).collect();
        assert_eq!((asked.len(), polls.len()), (1, 1));
    }
}
