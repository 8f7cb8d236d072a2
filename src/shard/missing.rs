//! What is known to be missing of a symbol: spans of time, each with the timeframes in which it still is.

use crate::model::{Nanos, UnixNanos};

/// A symbol's spans, beyond which the two that are nearest to each other become one, over what is between them too: rather a bar too
/// many that says it is incomplete than one too few.
pub const SPANS_MAX: usize = 64;

/// Every timeframe, bit by level.
pub const ALL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: UnixNanos,
    to: UnixNanos,
    /// Of which levels, bit by level; never none.
    levels: u32,
}

/// Who opened a span that has no end yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The symbol itself: all before its first tick.
    Joined = 0,
    /// A gap of this symbol.
    Symbol = 1,
    /// A gap of all symbols.
    Everyone = 2,
}

/// The spans of one symbol.
#[derive(Debug, Clone)]
pub struct Missing {
    /// By time; they do not overlap.
    spans: Vec<Span>,
    /// By [`Opener`]: since when there is a span without an end; `MAX` where there is none.
    open: [UnixNanos; 3],
}

impl Default for Missing {
    fn default() -> Self {
        Self { spans: Vec::new(), open: [UnixNanos::MAX; 3] }
    }
}

impl Missing {
    /// Whether nothing is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether something of `[start, end)` is missing in the timeframe of `level`.
    #[inline]
    pub fn overlaps(&self, level: usize, start: UnixNanos, end: UnixNanos) -> bool {
        self.spans.iter().any(|span| span.levels & (1 << level) != 0 && span.from < end && span.to > start)
    }

    /// From `from` on everything is, until [`Self::close`].
    pub fn open(&mut self, opener: Opener, from: UnixNanos) -> usize {
        let open = &mut self.open[opener as usize];
        *open = from.min(*open);
        self.add(from, UnixNanos::MAX)
    }

    /// Ends what this opener opened: nothing is missing from `to` on, unless another opener says so. Returns since when it was open.
    pub fn close(&mut self, opener: Opener, to: UnixNanos) -> Option<UnixNanos> {
        let from = std::mem::replace(&mut self.open[opener as usize], UnixNanos::MAX);
        if from == UnixNanos::MAX {
            return None;
        }
        if self.open == [UnixNanos::MAX; 3] {
            self.cut(to, UnixNanos::MAX, ALL);
        }
        Some(from)
    }

    /// `[from, to)` is missing in every timeframe. Returns how many spans had to become one with their neighbours.
    pub fn add(&mut self, from: UnixNanos, to: UnixNanos) -> usize {
        self.split(from);
        self.split(to);
        let mut cursor = from;
        let mut at = self.spans.partition_point(|span| span.to <= from);
        while cursor < to {
            match self.spans.get_mut(at) {
                Some(span) if span.from <= cursor => {
                    span.levels = ALL;
                    cursor = span.to;
                }
                next => {
                    let until = next.map_or(to, |span| span.from.min(to));
                    self.spans.insert(at, Span { from: cursor, to: until, levels: ALL });
                    cursor = until;
                }
            }
            at += 1;
        }
        self.tidy()
    }

    /// `[from, to)` is no longer missing in these timeframes.
    pub fn cut(&mut self, from: UnixNanos, to: UnixNanos, levels: u32) -> usize {
        self.split(from);
        self.split(to);
        for span in &mut self.spans {
            if span.from >= from && span.to <= to {
                span.levels &= !levels;
            }
        }
        self.tidy()
    }

    /// Forgets what ended before `before`.
    pub fn forget(&mut self, before: UnixNanos) {
        self.spans.retain(|span| span.to > before);
    }

    fn split(&mut self, at: UnixNanos) {
        let place = self.spans.partition_point(|span| span.to <= at);
        if let Some(span) = self.spans.get_mut(place)
            && span.from < at
        {
            let first = Span { to: at, ..*span };
            span.from = at;
            self.spans.insert(place, first);
        }
    }

    fn tidy(&mut self) -> usize {
        self.spans.retain(|span| span.levels != 0);
        self.spans.dedup_by(|next, span| {
            let joins = next.from == span.to && next.levels == span.levels;
            if joins {
                span.to = next.to;
            }
            joins
        });
        let mut merged = 0;
        while self.spans.len() > SPANS_MAX {
            let distance = |pair: &[Span]| pair[1].from.since(pair[0].to);
            let nearest =
                self.spans.windows(2).map(distance).enumerate().min_by_key(|&(_, d): &(_, Nanos)| d);
            let Some((at, _)) = nearest else { break };
            let next = self.spans.remove(at + 1);
            let span = &mut self.spans[at];
            (span.to, span.levels) = (next.to, span.levels | next.levels);
            merged += 1;
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Add(i64, i64),
        Cut(i64, i64, u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let span = || (0..400_i64, 1..12_i64);
        let add = span().prop_map(|(from, len)| Step::Add(from, from + len));
        let cut = (span(), 0..8_u32).prop_map(|((from, len), levels)| Step::Cut(from, from + len, levels));
        proptest::collection::vec(prop_oneof![add, cut], 0..100)
    }

    proptest! {
        #[test]
        fn spans_are_the_moments_that_were_added_and_not_cut(steps in steps()) {
            let mut missing = Missing::default();
            // Which levels are missing at each moment.
            let mut model = [0_u32; 420];
            let mut merged = 0;
            for step in steps {
                match step {
                    Step::Add(from, to) => {
                        merged += missing.add(UnixNanos(from), UnixNanos(to));
                        model[from as usize..to as usize].fill(ALL);
                    }
                    Step::Cut(from, to, levels) => {
                        merged += missing.cut(UnixNanos(from), UnixNanos(to), levels);
                        model[from as usize..to as usize].iter_mut().for_each(|at| *at &= !levels);
                    }
                }
                prop_assert!(missing.spans.len() <= SPANS_MAX);
                // Looked at where it was touched.
                let touched = match step { Step::Add(from, _) | Step::Cut(from, _, _) => from as usize };
                for level in 0..3 {
                    for from in touched.saturating_sub(20)..(touched + 30).min(410) {
                        let want = model[from..from + 5].iter().any(|levels| levels & (1 << level) != 0);
                        let have = missing.overlaps(level, UnixNanos(from as i64), UnixNanos(from as i64 + 5));
                        // What was merged covers too much, never too little.
                        prop_assert!(have == want || (have && merged > 0), "level {level} from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn more_spans_than_are_kept_become_wider_ones() {
        let mut missing = Missing::default();
        let merged: usize = (0..200).map(|n| missing.add(UnixNanos(n * 10), UnixNanos(n * 10 + 1))).sum();
        assert_eq!((missing.spans.len(), merged), (SPANS_MAX, 200 - SPANS_MAX));
        assert!((0..200).all(|n| missing.overlaps(0, UnixNanos(n * 10), UnixNanos(n * 10 + 1))));
    }

    #[test]
    fn an_open_span_ends_when_the_last_opener_closes_it() {
        let mut missing = Missing::default();
        missing.open(Opener::Symbol, UnixNanos(10));
        missing.open(Opener::Everyone, UnixNanos(20));
        assert_eq!(missing.close(Opener::Symbol, UnixNanos(30)), Some(UnixNanos(10)));
        assert!(missing.overlaps(0, UnixNanos(99), UnixNanos(100)));
        assert_eq!(missing.close(Opener::Everyone, UnixNanos(40)), Some(UnixNanos(20)));
        assert!(missing.overlaps(0, UnixNanos(39), UnixNanos(40)));
        assert!(!missing.overlaps(0, UnixNanos(40), UnixNanos(41)));
        assert_eq!(missing.close(Opener::Everyone, UnixNanos(50)), None);
    }
}
