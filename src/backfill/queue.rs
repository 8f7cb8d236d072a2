//! Intervals that wait to be asked for: in order of arrival once they are over, merged where they overlap, bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Nanos, SymbolId, UnixNanos};

/// Intervals of one symbol, `[from, to)`, both multiples of the bars' length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Whose.
    pub symbol: SymbolId,
    /// Where the first begins.
    pub from: UnixNanos,
    /// Where the last ends.
    pub to: UnixNanos,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It waits for its turn.
    Queued,
    /// Some of it, or all, waits already: it is asked for once.
    Merged,
    /// There is no room: it is left out.
    Full,
}

/// The queue of one feed.
#[derive(Debug)]
pub struct Queue {
    spans: BTreeMap<u64, Span>,
    /// Those that are not over, by when they will be.
    unripe: BTreeSet<(UnixNanos, u64)>,
    /// Those that are, in order of arrival.
    ripe: BTreeSet<u64>,
    by_symbol: HashMap<SymbolId, Vec<u64>>,
    arrivals: u64,
    spans_max: usize,
    settle: Nanos,
}

impl Queue {
    /// An empty one that holds `spans_max`, each until `settle` after its end.
    pub fn new(spans_max: usize, settle: Nanos) -> Self {
        Self {
            spans: BTreeMap::new(),
            unripe: BTreeSet::new(),
            ripe: BTreeSet::new(),
            by_symbol: HashMap::new(),
            arrivals: 0,
            spans_max,
            settle,
        }
    }

    /// Adds intervals. What overlaps with intervals that wait is asked for with them, but nothing waits longer for that: of
    /// two that are not over, the one that ends first keeps its end.
    pub fn add(&mut self, wish: Span, now: UnixNanos) -> Added {
        let Span { symbol, mut from, mut to } = wish;
        let mut merged = false;
        let mut place = None;
        let waiting = self.by_symbol.get(&symbol).into_iter().flatten();
        let mut waiting: Vec<(u64, Span)> =
            waiting.filter_map(|order| self.spans.get(order).map(|span| (*order, *span))).collect();
        waiting.sort_unstable_by_key(|(_, span)| span.from);
        for (order, there) in waiting {
            let overlaps = there.from < to && from < there.to;
            let touches = there.from <= to && from <= there.to;
            let both_over = to.max(there.to) + self.settle <= now;
            merged |= overlaps;
            if overlaps && there.from <= from && to <= there.to {
                return Added::Merged;
            } else if touches && (both_over || overlaps && to == there.to) {
                (from, to) = (from.min(there.from), to.max(there.to));
                place = Some(place.map_or(order, |place: u64| place.min(order)));
                self.remove(order);
            } else if overlaps && there.to < to {
                self.spans.insert(order, Span { from: from.min(there.from), ..there });
                from = there.to;
            } else if overlaps {
                to = there.from;
            }
        }
        if from < to {
            if self.spans.len() >= self.spans_max {
                return Added::Full;
            }
            let order = place.unwrap_or(self.arrivals);
            self.arrivals += u64::from(place.is_none());
            self.insert(order, Span { symbol, from, to });
        }
        if merged { Added::Merged } else { Added::Queued }
    }

    /// Takes the first intervals that are over, at most `width` of time.
    pub fn next(&mut self, width: Nanos, now: UnixNanos) -> Option<Span> {
        while let Some(&(at, order)) = self.unripe.first()
            && at <= now
        {
            self.unripe.pop_first();
            self.ripe.insert(order);
        }
        let order = *self.ripe.first()?;
        let whole = self.spans.get(&order).copied()?;
        if whole.to.since(whole.from) > width {
            let cut = whole.from + width;
            self.spans.insert(order, Span { from: cut, ..whole });
            return Some(Span { to: cut, ..whole });
        }
        self.remove(order);
        Some(whole)
    }

    /// When the next intervals are over; in the past where some are.
    pub fn deadline(&self) -> Option<UnixNanos> {
        if self.ripe.is_empty() { self.unripe.first().map(|(at, _)| *at) } else { Some(UnixNanos::MIN) }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn insert(&mut self, order: u64, span: Span) {
        self.spans.insert(order, span);
        self.unripe.insert((span.to + self.settle, order));
        self.by_symbol.entry(span.symbol).or_default().push(order);
    }

    fn remove(&mut self, order: u64) {
        let Some(span) = self.spans.remove(&order) else { return };
        self.unripe.remove(&(span.to + self.settle, order));
        self.ripe.remove(&order);
        if let Some(orders) = self.by_symbol.get_mut(&span.symbol) {
            orders.retain(|there| *there != order);
            if orders.is_empty() {
                self.by_symbol.remove(&span.symbol);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Nanos = Nanos::from_secs(60);
    const SETTLE: Nanos = Nanos::from_secs(5);

    fn minute(n: i64) -> UnixNanos {
        UnixNanos(1_700_000_040_000_000_000).floor(MINUTE) + Nanos(MINUTE.0 * n)
    }

    fn span(symbol: u32, from: i64, to: i64) -> Span {
        Span { symbol: SymbolId(symbol), from: minute(from), to: minute(to) }
    }

    fn all(queue: &mut Queue, now: UnixNanos) -> Vec<Span> {
        std::iter::from_fn(|| queue.next(Nanos::MAX, now)).collect()
    }

    #[test]
    fn nothing_is_asked_for_before_it_is_over_and_settled() {
        let mut queue = Queue::new(9, SETTLE);
        assert_eq!(queue.add(span(1, 0, 1), minute(0)), Added::Queued);
        assert_eq!(queue.deadline(), Some(minute(1) + SETTLE));
        assert_eq!(queue.next(Nanos::MAX, UnixNanos((minute(1) + SETTLE).0 - 1)), None);
        assert_eq!(queue.next(Nanos::MAX, minute(1) + SETTLE), Some(span(1, 0, 1)));
        assert!(queue.is_empty() && queue.deadline().is_none());
    }

    #[test]
    fn a_gap_in_every_minute_never_holds_back_the_minutes_before() {
        let mut queue = Queue::new(99, SETTLE);
        for n in 0..50 {
            queue.add(span(1, n, n + 2), minute(n));
            let done = all(&mut queue, minute(n));
            assert!(n < 3 || done.iter().any(|done| done.to >= minute(n - 1)), "at {n}: {done:?}");
        }
    }

    #[test]
    fn wide_intervals_are_asked_for_piece_by_piece_in_place() {
        let mut queue = Queue::new(9, SETTLE);
        queue.add(span(1, 0, 25), minute(25));
        queue.add(span(2, 0, 1), minute(25));
        let taken: Vec<_> = std::iter::from_fn(|| queue.next(Nanos(MINUTE.0 * 10), minute(99))).collect();
        assert_eq!(taken, [span(1, 0, 10), span(1, 10, 20), span(1, 20, 25), span(2, 0, 1)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_waits_stays() {
        let mut queue = Queue::new(2, SETTLE);
        assert_eq!(queue.add(span(1, 0, 1), minute(0)), Added::Queued);
        assert_eq!(queue.add(span(2, 0, 1), minute(0)), Added::Queued);
        assert_eq!(queue.add(span(3, 0, 1), minute(0)), Added::Full);
        assert_eq!(queue.add(span(2, 0, 1), minute(0)), Added::Merged);
        assert_eq!(all(&mut queue, minute(9)), [span(1, 0, 1), span(2, 0, 1)]);
    }

    proptest! {
        #[test]
        fn every_interval_wished_for_is_asked_for_once_when_it_is_over_and_never_later(
            wishes in prop::collection::vec((0..3_u32, 0..12_i64, 1..5_i64, 0..3_i64), 1..60),
        ) {
            let mut queue = Queue::new(1_000, SETTLE);
            let mut now = minute(4);
            // The model: a list of minutes that are owed, each with the moment from which it could be had.
            let mut owed: BTreeMap<(u32, UnixNanos), UnixNanos> = BTreeMap::new();
            for (symbol, back, length, step) in wishes {
                let from = (now.since(minute(0)).0 / MINUTE.0 - back).max(0);
                let wish = span(symbol, from, from + length);
                queue.add(wish, now);
                for n in from..from + length {
                    // A minute could wait for the end of the wish that it first came with, and for no longer.
                    owed.entry((symbol, minute(n))).or_insert(wish.to + SETTLE);
                }
                now += Nanos(MINUTE.0 * step + SETTLE.0);
                for done in all(&mut queue, now) {
                    let mut at = done.from;
                    while at < done.to {
                        prop_assert!(owed.remove(&(done.symbol.0, at)).is_some(), "{done:?} not owed, or twice");
                        prop_assert!(at + MINUTE + SETTLE <= now, "{done:?} is not over");
                        at += MINUTE;
                    }
                }
                let late = owed.iter().find(|(_, ripe)| **ripe <= now);
                prop_assert!(late.is_none(), "{late:?} still waits at {now}");
            }
            let rest: i64 = all(&mut queue, minute(9_999)).iter().map(|span| span.to.since(span.from).0 / MINUTE.0).sum();
            prop_assert_eq!(rest as usize, owed.len());
        }
    }
}
