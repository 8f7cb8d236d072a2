//! Bars in which something is missing say so: `incomplete` is what the symbol's gaps and holes are now, never a mark that is only set.

use crate::model::{BarFlags, Reason, Tick, UnixNanos};

use super::super::missing::Opener;
use super::super::record::{Record, Vendor};
use super::{Candles, Nanos, Refusal, Sink, Verdict};

impl Candles {
    /// Ticks of the symbol are missing in an interval, or from a time on until a later gap ends it.
    pub(super) fn gap(&mut self, symbol: u32, tick: &Tick, sink: &mut impl Sink) -> Verdict {
        if tick.gap_start() >= tick.ts_event {
            return Verdict::Refused(Refusal::EmptyGap);
        }
        self.tallies.gaps += 1;
        self.mark_gap(symbol, tick, Opener::Symbol, sink);
        Verdict::Accepted
    }

    /// Ticks of every symbol are missing: one tick that marks them all, and those that are first seen before it ends.
    pub fn gap_everywhere(&mut self, tick: &Tick, sink: &mut impl Sink) -> Verdict {
        let (from, to) = (tick.gap_start(), tick.ts_event);
        let verdict = if from >= to { Verdict::Refused(Refusal::EmptyGap) } else { Verdict::Accepted };
        self.count(verdict, 1);
        if verdict == Verdict::Accepted {
            self.tallies.gaps += 1;
            self.everyone_missing =
                if to == UnixNanos::MAX { from.min(self.everyone_missing) } else { UnixNanos::MAX };
            (0..self.symbols.len() as u32)
                .for_each(|symbol| self.mark_gap(symbol, tick, Opener::Everyone, sink));
        }
        verdict
    }

    fn mark_gap(&mut self, symbol: u32, tick: &Tick, opener: Opener, sink: &mut impl Sink) {
        let (from, to) = (tick.gap_start(), tick.ts_event);
        let state = &mut self.symbols[symbol as usize];
        let holes = state.numbers.gap(from, to).unwrap_or((from, to));
        let merged = if to == UnixNanos::MAX {
            state.missing.open(opener, from)
        } else {
            match state.missing.close(opener, to) {
                // What was filled since it opened stays filled.
                Some(since) if since <= from => 0,
                _ => state.missing.add(from, to),
            }
        };
        self.tallies.gaps_merged += merged as u64;
        let sealed_to = state.levels[0].sealed_to;
        self.tallies.gaps_sealed += u64::from(from < sealed_to && from > UnixNanos::MIN);
        self.review(symbol, from.min(holes.0), to.max(holes.1), sink);
    }

    /// Whether something is missing, or still to come, in the interval of `level` that begins at `start`.
    pub(super) fn incomplete(&self, symbol: u32, level: usize, start: UnixNanos) -> BarFlags {
        let state = &self.symbols[symbol as usize];
        let end = self.grid(symbol).end(level, start);
        let missing = state.missing.overlaps(level, start, end) || state.numbers.overlaps(start, end);
        if missing { BarFlags::INCOMPLETE } else { BarFlags::default() }
    }

    /// As [`Self::incomplete`], of a bar: what a vendor gave as a whole lacks nothing.
    #[inline]
    pub(super) fn is_incomplete(&self, symbol: u32, level: usize, record: &Record) -> BarFlags {
        let state = &self.symbols[symbol as usize];
        if (state.missing.is_empty() && state.numbers.holes() == 0) || record.vendor.has(Vendor::WHOLE) {
            return BarFlags::default();
        }
        self.incomplete(symbol, level, record.bar.start)
    }

    /// Revises the closed bars that overlap `[from, to)` and say something else of themselves than is known now, finest first.
    pub(super) fn review(&mut self, symbol: u32, from: UnixNanos, to: UnixNanos, sink: &mut impl Sink) {
        for level in 0..self.options.timeframes.len() {
            let grid = self.grid(symbol);
            let at = &self.symbols[symbol as usize].levels[level];
            let unsealed = self.arena.backward(&at.bars).take(at.unsealed as usize);
            let reached = unsealed.take_while(|(_, record)| grid.end(level, record.bar.start) > from);
            let mut next = reached.last().map(|(place, _)| place);
            while let Some(place) = next {
                let record = self.arena.get(place);
                if record.bar.start >= to {
                    break;
                }
                let incomplete = self.is_incomplete(symbol, level, record);
                if record.flags.has(BarFlags::INCOMPLETE) != incomplete.has(BarFlags::INCOMPLETE) {
                    self.revise_at(symbol, level, place, Reason::Gap, sink, |record| {
                        record.flags = record.flags.without(BarFlags::INCOMPLETE).with(incomplete);
                    });
                }
                next = self.arena.after(&self.symbols[symbol as usize].levels[level].bars, place);
            }
        }
    }

    /// Forgets gaps once the longest bar that they are in can no longer change.
    pub(super) fn forget_gaps(&mut self, symbol: u32, clock: UnixNanos) {
        let missing = &mut self.symbols[symbol as usize].missing;
        if !missing.is_empty() && clock != UnixNanos::MAX {
            let longest = self.options.timeframes.iter().last().map_or(Nanos::ZERO, |last| last.nanos());
            missing.forget(clock.minus(self.options.seal_after).minus(longest).minus(longest));
        }
    }
}
