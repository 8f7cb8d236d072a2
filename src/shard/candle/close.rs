//! Closing bars by the clock: the finest first, then those above them, in order of time.

use crate::model::calendar::Interval;
use crate::model::{Nanos, UnixNanos};

use super::super::record::Record;
use super::{BarClock, BuiltBy, Candles, NO_START, Sink};

impl Candles {
    /// Sets the symbol's timer by our own clock. With the event clock there are no timers.
    pub(super) fn schedule(&mut self, symbol: u32, offset: Nanos) {
        if self.options.clock == BarClock::Live {
            match self.symbols[symbol as usize].deadline {
                UnixNanos::MAX => self.timers.remove(symbol),
                deadline => self.timers.set(symbol, deadline.minus(offset)),
            }
        }
    }

    /// Closes everything whose end and grace are past, in order of time, children before parents.
    pub(super) fn close_due(&mut self, symbol: u32, clock: UnixNanos, sink: &mut impl Sink) {
        let limit = clock.minus(self.grace(symbol));
        let grid = self.symbols[symbol as usize].grid;
        if self.symbols[symbol as usize].vendor.forming.bar.start != NO_START {
            self.close_forming(symbol, limit, sink);
        }
        loop {
            let state = &mut self.symbols[symbol as usize];
            let hot = &mut self.hot[symbol as usize];
            let current = hot.current.bar.start;
            let first = state.others.front().map_or(current, |other| other.bar.start.min(current));
            let end = self.grids[usize::from(grid)].end(0, first);
            if first == NO_START || end > limit {
                break;
            }
            if state.parents_due <= first {
                self.close_parents(symbol, first, sink);
            }
            // What is not kept for revisions does not pile up while many close at once. A parent closes before any child of its next interval
            // is sealed: it has one prefix.
            if self.options.seal_after == Nanos::ZERO && self.symbols[symbol as usize].revisable != 0 {
                self.seal(symbol, clock);
            }
            let state = &mut self.symbols[symbol as usize];
            let hot = &mut self.hot[symbol as usize];
            let mut record = if first == current {
                hot.current_end = UnixNanos::MIN;
                std::mem::replace(&mut hot.current, Record::empty(NO_START))
            } else {
                state.others.pop_front().unwrap_or(Record::empty(first))
            };
            self.open_bars -= 1;
            state.levels[0].closed_to = end;
            self.fill(symbol, 0, first, sink);
            self.append(symbol, 0, &mut record, sink);
            self.close_daily(symbol, first);
            for level in bits(self.symbols[symbol as usize].idle_parents) {
                self.expect_parent(symbol, level, self.grids[usize::from(grid)].interval(level, first));
            }
        }
        if self.symbols[symbol as usize].parents_due <= limit {
            self.close_parents(symbol, limit, sink);
        }
        let over = self.grids[usize::from(grid)].interval(0, limit).start;
        for level in [Some(0), self.daily_base].into_iter().flatten() {
            let closed_to = &mut self.symbols[symbol as usize].levels[level].closed_to;
            *closed_to = over.max(*closed_to);
        }
        self.fill_all(symbol, limit, sink);
        if self.symbols[symbol as usize].numbers.holes() > 0 {
            self.give_up_holes(symbol, clock, sink);
        }
        if self.options.seal_after != Nanos::MAX {
            self.seal(symbol, clock);
            self.forget_gaps(symbol, clock);
        }
        self.set_deadline(symbol);
    }

    /// Notes that a coarse interval has data and is to be closed at its end.
    #[inline]
    pub(super) fn expect_parent(&mut self, symbol: u32, level: usize, interval: Interval) {
        if level > 0 && Some(level) != self.daily_base {
            let state = &mut self.symbols[symbol as usize];
            debug_assert!(interval.start >= state.levels[level].closed_to, "a closed interval closes once");
            state.idle_parents &= !(1 << level);
            let pending = &mut state.pending[level];
            if interval.start < pending.start {
                *pending = interval;
            }
            state.parents_due = state.parents_due.min(pending.end);
        }
    }

    /// Closes the coarse bars that end at `limit` or before, finer ones first.
    pub(super) fn close_parents(&mut self, symbol: u32, limit: UnixNanos, sink: &mut impl Sink) {
        let parents = self.all_parents();
        for level in bits(parents & !self.symbols[symbol as usize].idle_parents) {
            loop {
                let due = self.symbols[symbol as usize].pending[level];
                if due == Interval::NEVER || due.end > limit {
                    break;
                }
                let Interval { start, end } = due;
                let prefix = &self.symbols[symbol as usize].levels[level].prefix;
                let mut record = if prefix.bar.start == start { *prefix } else { Record::empty(start) };
                self.gather_unsealed(symbol, level, start, end, &mut record);
                let next = self.next_pending(symbol, level, end);
                let state = &mut self.symbols[symbol as usize];
                record.flags = record.flags.with(state.halts.flags(due));
                if next == Interval::NEVER {
                    state.idle_parents |= 1 << level;
                }
                state.pending[level] = next;
                state.levels[level].closed_to = end;
                // All its trades may have been cancelled before it closed.
                if !record.is_empty() {
                    self.fill(symbol, level, start, sink);
                    self.append(symbol, level, &mut record, sink);
                }
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let expecting = bits(parents & !state.idle_parents);
        let ends = expecting.map(|level| state.pending[level].end);
        state.parents_due = ends.min().unwrap_or(UnixNanos::MAX);
    }

    /// The first interval of `level` from `from` on that has closed data.
    pub(super) fn next_pending(&self, symbol: u32, level: usize, from: UnixNanos) -> Interval {
        let state = &self.symbols[symbol as usize];
        let below = self.grid(symbol).child(level);
        let (at, child) = (&state.levels[level], &state.levels[below]);
        let newer = self.arena.backward(&child.bars).take(child.unsealed as usize);
        let closed = newer.map(|(_, record)| record.bar.start).take_while(|&start| start >= from).last();
        let sealed = (at.prefix.bar.start >= from).then_some(at.prefix.bar.start);
        let due = Some(state.pending[below].start).filter(|&start| start != NO_START && start >= from);
        let first = [closed, sealed, due].into_iter().flatten().min();
        first.map_or(Interval::NEVER, |start| self.grid(symbol).interval(level, start))
    }

    /// Merges into `sum` everything of `[start, end)` that is not in a closed bar of `level` itself.
    pub(super) fn gather(
        &self,
        symbol: u32,
        level: usize,
        start: UnixNanos,
        end: UnixNanos,
        sum: &mut Record,
    ) {
        let prefix = &self.symbols[symbol as usize].levels[level].prefix;
        if prefix.bar.start >= start && prefix.bar.start < end {
            sum.merge(prefix);
        }
        self.gather_unsealed(symbol, level, start, end, sum);
    }

    /// [`Self::gather`] without what is sealed.
    fn gather_unsealed(&self, symbol: u32, level: usize, start: UnixNanos, end: UnixNanos, sum: &mut Record) {
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let inside = |record: &Record| record.bar.start >= start && record.bar.start < end;
        let forming = usize::from(state.vendor.level);
        // What is not a day's own comes to the day by the level that it is made from.
        let is_part = Some(level) == self.daily_base && forming + 1 < level;
        if (forming == level || is_part) && inside(&state.vendor.forming) {
            sum.merge(&state.vendor.forming);
        }
        if level == 0 {
            state
                .others
                .iter()
                .chain([&hot.current])
                .filter(|record| inside(record))
                .for_each(|r| sum.merge(r));
            return;
        }
        if Some(level) == self.daily_base {
            state.open_daily.iter().filter(|record| inside(record)).for_each(|r| sum.merge(r));
            return;
        }
        let child_level = self.grid(symbol).child(level);
        let child = &state.levels[child_level];
        let newer = self.arena.backward(&child.bars).take(child.unsealed as usize).map(|(_, record)| record);
        for record in newer.skip_while(|r| r.bar.start >= end).take_while(|r| r.bar.start >= start) {
            sum.merge(record);
        }
        // What closes has nothing open below it.
        if child.closed_to < end {
            self.gather(symbol, child_level, start.max(child.closed_to), end, sum);
        }
    }

    pub(super) fn set_deadline(&mut self, symbol: u32) {
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        let current = hot.current.bar.start;
        let first = state.others.front().map_or(current, |other| other.bar.start.min(current));
        let grid = &self.grids[usize::from(state.grid)];
        let open = match first {
            NO_START => UnixNanos::MAX,
            first => grid.end(0, first),
        };
        let forming = match state.vendor.forming.bar.start {
            NO_START => UnixNanos::MAX,
            start => grid.end(usize::from(state.vendor.level), start),
        };
        let due = open.min(state.parents_due).min(state.filling.due()).min(forming) + self.grace(symbol);
        let state = &mut self.symbols[symbol as usize];
        let hole = state.numbers.oldest().map_or(UnixNanos::MAX, |since| since + self.options.late_tolerance);
        state.deadline = due.min(hole);
        self.hot[symbol as usize].usual_until = UnixNanos::MIN;
    }

    /// How long after its end a bar of this symbol stays open.
    pub(super) fn grace(&self, symbol: u32) -> Nanos {
        match self.hot[symbol as usize].built_by {
            BuiltBy::Bars => self.options.upstream_wait,
            _ => self.options.grace,
        }
    }

    /// Closes what is due by the clock: `now`, and each feed's offset by its source number.
    pub fn fire(&mut self, now: UnixNanos, offset_of: impl Fn(u8) -> Nanos, sink: &mut impl Sink) -> usize {
        let mut fired = 0;
        while let Some(symbol) = self.timers.pop_due(now) {
            let hot = &self.hot[symbol as usize];
            let offset = offset_of(hot.source);
            let clock = now + offset;
            if self.symbols[symbol as usize].deadline <= clock {
                self.close_due(symbol, clock, sink);
            }
            self.schedule(symbol, offset);
            fired += 1;
        }
        fired + self.fire_audits(now, sink)
    }

    /// When the next timer is due, by our clock.
    pub fn next_timer(&self) -> Option<UnixNanos> {
        self.timers.first().into_iter().chain(self.audits.due()).min()
    }

    /// The end of input: closes every bar of every symbol.
    pub fn close_all(&mut self, sink: &mut impl Sink) {
        for symbol in 0..self.symbols.len() as u32 {
            self.close_due(symbol, UnixNanos::MAX, sink);
            self.schedule(symbol, Nanos::ZERO);
        }
        self.finish_audits(sink);
        self.finish_halves();
    }
}

/// The levels whose bits are set, finest first.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let level = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (level < 64).then_some(level)
    })
}
