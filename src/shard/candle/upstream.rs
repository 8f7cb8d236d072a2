//! Bars that a vendor made. Streamed ones build at the level of their length where nothing better does, and roll up from there; those
//! that were asked for stand in for ours where something is missing. The rest is compared with ours. A bar that was asked for and is all
//! zeros says that nothing was traded.
//!
//! An interval that a vendor's bar stands for is closed, and trades of it no longer count.

use crate::model::calendar::Interval;
use crate::model::{Bar, BarFlags, BarOrigin, Nanos, Reason, Tick, UnixNanos, UpstreamBar};

use super::super::missing::ALL;
use super::super::record::{Fields, Rank, Record, Vendor};
use super::close::bits;
use super::{BarClock, BarsFrom, BuiltBy, Candles, NO_START, Refusal, Sink, Verdict, When};

/// How far ahead of our clock a vendor's bar may end: as much as a feed's clock is believed to be off by default.
const AHEAD_MAX: Nanos = Nanos::from_secs(5);
const SECOND: Nanos = Nanos::from_secs(1);
const DAY: Nanos = Nanos::from_secs(86_400);
/// The greatest volume of a bar, 1e-8: 2^80, thousands of times what all markets together trade in a day. Sums of bars stay far within
/// their types.
const VOLUME_MAX: u128 = 1 << 80;
/// The greatest notional of a bar, 1e-17.
const NOTIONAL_MAX: i128 = 1 << 112;

/// Whether a vendor who was asked says that nothing was traded: then nothing is missing either.
fn is_nothing(bar: &UpstreamBar) -> bool {
    bar.origin != BarOrigin::Live && bar.bar == Bar { start: bar.bar.start, ..Bar::default() }
}

/// Whether a bar's numbers agree with each other.
fn is_sound(bar: &Bar) -> bool {
    let within = |price| bar.low <= price && price <= bar.high;
    bar.low.0 > 0
        && within(bar.open)
        && within(bar.close)
        && bar.volume.0 <= VOLUME_MAX
        && (0..=NOTIONAL_MAX).contains(&bar.notional.0)
}

impl Candles {
    /// The first half of a bar waits for the second, which is the next tick of its source.
    pub(super) fn first_half(&mut self, tick: &Tick) -> Verdict {
        match self.halves.iter_mut().find(|half| half.source == tick.source) {
            Some(half) => {
                *half = *tick;
                self.count(Verdict::Refused(Refusal::HalfBar), 1);
            }
            None => {
                self.halves.push(*tick);
                self.tallies.halves_waiting += 1;
            }
        }
        Verdict::Accepted
    }

    /// Both halves are counted alike.
    pub(super) fn second_half(
        &mut self,
        symbol: u32,
        tick: &Tick,
        when: When,
        sink: &mut impl Sink,
    ) -> Verdict {
        let half = self.halves.iter().position(|half| half.source == tick.source);
        let half = half.map(|at| self.halves.swap_remove(at));
        self.tallies.halves_waiting -= u64::from(half.is_some());
        let ticks = 1 + u64::from(half.is_some());
        let verdict = match half.and_then(|half| UpstreamBar::from_ticks(&half, tick)) {
            Some(bar) => self.upstream(symbol, &bar, when, sink),
            None => Verdict::Refused(Refusal::HalfBar),
        };
        self.count(verdict, ticks);
        verdict
    }

    /// The end of input: no second half will come.
    pub(super) fn finish_halves(&mut self) {
        let waiting = self.halves.len() as u64;
        self.halves.clear();
        self.tallies.halves_waiting = 0;
        self.count(Verdict::Refused(Refusal::HalfBar), waiting);
    }

    fn upstream(&mut self, symbol: u32, bar: &UpstreamBar, when: When, sink: &mut impl Sink) -> Verdict {
        let len = Nanos::from_secs(i64::from(bar.seconds));
        let Some(level) = self.options.timeframes.iter().position(|timeframe| timeframe.nanos() == len)
        else {
            return Verdict::Refused(Refusal::NoTimeframe);
        };
        if self.options.bars_from != BarsFrom::Trades {
            return Verdict::Refused(Refusal::Unsupported);
        }
        if self.symbols[symbol as usize].grid_by_source {
            self.settle_grid(symbol);
        }
        let interval = self.grid(symbol).interval(level, bar.bar.start);
        // A day of a calendar may be an hour longer or shorter.
        let is_long = interval.end == bar.end() || len == DAY;
        let is_aligned = interval.start == bar.bar.start && is_long;
        if !is_aligned || !(is_nothing(bar) || is_sound(&bar.bar)) {
            return Verdict::Refused(Refusal::BadBar);
        }
        let seconds = interval.end.since(interval.start).0 / SECOND.0;
        let bar = &UpstreamBar { seconds: seconds as u32, ..*bar };
        if self.options.clock == BarClock::Live && bar.closed && bar.end() > when.feed_clock() + AHEAD_MAX {
            return Verdict::Refused(Refusal::NotOver);
        }
        self.make_room();
        let verdict = match bar.origin {
            BarOrigin::Live => self.streamed(symbol, level, bar, when, sink),
            BarOrigin::Backfill | BarOrigin::Polled => self.asked_for(symbol, level, bar, when, sink),
        };
        self.set_deadline(symbol);
        self.schedule(symbol, when.offset);
        verdict
    }

    /// A bar that the vendor streams.
    fn streamed(
        &mut self,
        symbol: u32,
        level: usize,
        bar: &UpstreamBar,
        when: When,
        sink: &mut impl Sink,
    ) -> Verdict {
        let start = bar.bar.start;
        let builds =
            self.hot[symbol as usize].built_by == BuiltBy::Bars || self.promote(symbol, BuiltBy::Bars, start);
        let at = usize::from(self.symbols[symbol as usize].vendor.level);
        // Of several lengths the finest builds: coarser ones are its sums.
        if !builds || level > at {
            if bar.closed {
                self.compare_later(symbol, level, bar, when, sink);
            } else {
                self.tallies.upstream_unused += 1;
            }
            return Verdict::Accepted;
        }
        if level < at {
            self.build_at(symbol, level, start);
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        hot.source = bar.source;
        if start < state.levels[level].sealed_to {
            return Verdict::Refused(Refusal::Sealed);
        }
        if self.is_daily_sealed(symbol, level, start) {
            return Verdict::Refused(Refusal::Sealed);
        }
        let state = &mut self.symbols[symbol as usize];
        let forming = state.vendor.forming.bar.start;
        if forming != NO_START && forming < start {
            // The vendor went on without having closed it.
            self.close_forming(symbol, start, sink);
        }
        let state = &mut self.symbols[symbol as usize];
        if bar.closed {
            if state.vendor.forming.bar.start == start {
                state.vendor.forming = Record::empty(NO_START);
            }
            self.tallies.upstream_built += 1;
            self.put(symbol, level, bar, Reason::Correct, sink);
            self.move_on(symbol, bar.end(), sink);
        } else if start < state.levels[level].closed_to || start < state.vendor.since {
            self.tallies.upstream_unused += 1;
        } else {
            state.vendor.forming = record_of(bar);
        }
        Verdict::Accepted
    }

    /// A finer bar than those that built until now: it builds from here on, and what lies between is missing.
    fn build_at(&mut self, symbol: u32, level: usize, start: UnixNanos) {
        let state = &mut self.symbols[symbol as usize];
        let before = usize::from(state.vendor.level);
        state.vendor.level = level as u8;
        state.vendor.forming = Record::empty(NO_START);
        if let Some(coarse) = state.levels.get(before) {
            let from = coarse.closed_to;
            if from < start {
                self.tallies.gaps_merged += state.missing.add(from, start) as u64;
            }
        }
    }

    /// What is made of bars that end here closes now rather than after the wait for them.
    fn move_on(&mut self, symbol: u32, end: UnixNanos, sink: &mut impl Sink) {
        if self.symbols[symbol as usize].parents_due <= end {
            self.close_parents(symbol, end, sink);
        }
        if self.options.clock == BarClock::Event {
            self.hot[symbol as usize].move_on(end);
            self.set_deadline(symbol);
            self.close_by_event(symbol, sink);
        }
    }

    /// The vendor's forming bar ended at `limit` or before and was never said to be closed: it closes as it is, incomplete.
    pub(super) fn close_forming(&mut self, symbol: u32, limit: UnixNanos, sink: &mut impl Sink) {
        let state = &mut self.symbols[symbol as usize];
        let level = usize::from(state.vendor.level);
        let start = state.vendor.forming.bar.start;
        if level >= self.options.timeframes.len() || start == NO_START {
            return;
        }
        let end = self.grids[usize::from(state.grid)].end(level, start);
        if end > limit {
            return;
        }
        let mut record = std::mem::replace(&mut state.vendor.forming, Record::empty(NO_START));
        // Not the vendor's last word: a bar that comes yet takes its place.
        record.vendor = Vendor(record.vendor.0 & !Vendor::WHOLE.0);
        self.tallies.gaps_merged += state.missing.add(start, end) as u64;
        if self.find_unsealed(symbol, level, start).is_none() {
            self.file_vendors(symbol, level, record, Reason::Late, sink);
        }
    }

    /// A bar that was asked for: it stands in for ours where something is missing.
    fn asked_for(
        &mut self,
        symbol: u32,
        level: usize,
        bar: &UpstreamBar,
        when: When,
        sink: &mut impl Sink,
    ) -> Verdict {
        if !bar.closed {
            self.tallies.upstream_unused += 1;
            return Verdict::Accepted;
        }
        let (start, end) = (bar.bar.start, bar.end());
        let over = end + self.options.grace;
        let hot = &mut self.hot[symbol as usize];
        if self.options.clock == BarClock::Event {
            // Whoever asks knows that it is over.
            hot.move_on(over);
        }
        let from_ticks = !matches!(hot.built_by, BuiltBy::Nothing | BuiltBy::Bars);
        // Whoever asked waited by our clock: what a feed that was held back makes of it may be seconds behind.
        let clock = self.clock_of(symbol, when);
        let clock = if self.options.clock == BarClock::Live { clock.max(when.now) } else { clock };
        if from_ticks && over > clock {
            return Verdict::Refused(Refusal::NotOver);
        }
        if from_ticks && end > self.symbols[symbol as usize].levels[0].closed_to {
            self.close_due(symbol, over, sink);
        }
        let sealed_to = self.symbols[symbol as usize].levels[level].sealed_to;
        let is_sealed = start < sealed_to || self.is_daily_sealed(symbol, level, start);
        if is_sealed || end <= clock.minus(self.options.seal_after) {
            return Verdict::Refused(Refusal::Sealed);
        }
        if is_nothing(bar) {
            // Nor is anything missing in the shorter bars that it spans.
            let missing = &mut self.symbols[symbol as usize].missing;
            self.tallies.gaps_merged += missing.cut(start, end, ALL) as u64;
            self.review(symbol, start, end, sink);
            return Verdict::Accepted;
        }
        let ours = self.find_unsealed(symbol, level, start).map(|place| *self.arena.get(place));
        // One without a price, or that was filled, is none.
        let ours = ours.filter(Record::is_whole);
        let lacks = BarFlags::INCOMPLETE.with(BarFlags::POLLED);
        match ours {
            Some(ours) if ours.flags.without(lacks) == ours.flags => {
                // A vendor's bar stays as it is in a gap that is told later; what is made of it lacks something until now.
                self.heal(symbol, level, (start, end));
                self.review(symbol, start, end, sink);
                self.compare(symbol, level, bar, Some(&ours));
                return Verdict::Accepted;
            }
            Some(_) => {}
            None if self.is_vendors_above(symbol, level, start) => {
                return Verdict::Refused(Refusal::Backfilled);
            }
            None if self.incomplete(symbol, level, start) == BarFlags::default() => {
                self.tallies.audit.missing += 1
            }
            None => {}
        }
        self.tallies.upstream_healed += 1;
        if self.symbols[symbol as usize].vendor.forming.bar.start == start {
            self.symbols[symbol as usize].vendor.forming = Record::empty(NO_START);
        }
        self.put(symbol, level, bar, Reason::Backfill, sink);
        self.move_on(symbol, end, sink);
        Verdict::Accepted
    }

    /// Puts a vendor's bar in its place: nothing of its interval is missing any more at its level and above.
    pub(super) fn put(
        &mut self,
        symbol: u32,
        level: usize,
        bar: &UpstreamBar,
        reason: Reason,
        sink: &mut impl Sink,
    ) {
        let (start, end) = (bar.bar.start, bar.end());
        // Bars that another kind built may still be open; what is put here closes after them.
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let open = state.others.front().map_or(hot.current.bar.start, |other| other.bar.start);
        if open.min(hot.current.bar.start) < end {
            self.close_due(symbol, end + self.grace(symbol), sink);
        }
        self.heal(symbol, level, (start, end));
        self.file_vendors(symbol, level, record_of(bar), reason, sink);
    }

    /// Nothing of an interval is missing any more at a level and above.
    fn heal(&mut self, symbol: u32, level: usize, (start, end): (UnixNanos, UnixNanos)) {
        // Bits of no level go too, or what is left of a span would be one for ever.
        let levels = self.grid(symbol).above(level) as u32 | ALL.unbounded_shl(self.levels as u32);
        let missing = &mut self.symbols[symbol as usize].missing;
        self.tallies.gaps_merged += missing.cut(start, end, levels) as u64;
    }

    /// Files a vendor's record, new or in the place of one that differs, and makes what lies above it anew.
    fn file_vendors(
        &mut self,
        symbol: u32,
        level: usize,
        record: Record,
        reason: Reason,
        sink: &mut impl Sink,
    ) {
        let (start, end) = (record.bar.start, self.grid(symbol).end(level, record.bar.start));
        self.symbols[symbol as usize].vendor.any = true;
        let place = self.find_unsealed(symbol, level, start);
        let before = place.map(|place| *self.arena.get(place));
        if before.is_some_and(|before| is_same(&before, &record)) {
            return self.review(symbol, start, end, sink);
        }
        self.put_daily(symbol, level, end, &record);
        if level > 0 {
            // The day is the sum of finest bars, which has to know before the fact is published.
            let state = &mut self.symbols[symbol as usize];
            let grid = &self.grids[usize::from(state.grid)];
            state.today.heal(before.as_ref(), &record, |at| grid.day(at));
        }
        match place {
            Some(place) => {
                let odd = BarFlags::INCOMPLETE.with(BarFlags::POLLED).with(BarFlags::REFUSED);
                self.revise_at(symbol, level, place, reason, sink, |ours| {
                    ours.replace(&record);
                    ours.flags = ours.flags.without(odd).with(record.flags);
                });
            }
            None => {
                self.fill(symbol, level, start, sink);
                let halted = self.symbols[symbol as usize].halts.flags(Interval { start, end });
                let mut record = record;
                record.flags = record.flags.with(halted);
                self.append(symbol, level, &mut record, sink);
            }
        }
        self.refill(symbol, level, start, reason, sink);
        for part in bits(self.grid(symbol).below(level)).chain(self.daily_base) {
            let closed_to = &mut self.symbols[symbol as usize].levels[part].closed_to;
            *closed_to = end.max(*closed_to);
        }
        self.remake_above(symbol, level, start, record.ts_recv, reason, sink);
    }

    /// Makes the closed bars above `level` anew, and notes those that are still to close.
    fn remake_above(
        &mut self,
        symbol: u32,
        level: usize,
        ts: UnixNanos,
        ts_recv: UnixNanos,
        reason: Reason,
        sink: &mut impl Sink,
    ) {
        for parent in bits(self.grid(symbol).above(level) & !(1 << level)) {
            let interval = self.grid(symbol).interval(parent, ts);
            let start = interval.start;
            if start >= self.symbols[symbol as usize].levels[parent].closed_to {
                self.expect_parent(symbol, parent, interval);
                continue;
            }
            let mut sum = Record::empty(start);
            self.gather(symbol, parent, start, interval.end, &mut sum);
            sum.ts_recv = sum.ts_recv.max(ts_recv);
            let incomplete = self.incomplete(symbol, parent, start);
            match self.find_unsealed(symbol, parent, start) {
                Some(place) => {
                    let ours = self.arena.get(place);
                    let sticky = ours.flags.without(BarFlags::INCOMPLETE).without(BarFlags::POLLED);
                    let flags = sticky.with(sum.flags.without(BarFlags::INCOMPLETE)).with(incomplete);
                    let unchanged = ours.bar == sum.bar && ours.flags == flags;
                    if ours.vendor.has(Vendor::WHOLE) || unchanged {
                        continue;
                    }
                    self.revise_at(symbol, parent, place, reason, sink, |ours| {
                        ours.replace(&sum);
                        ours.flags = flags;
                    });
                }
                // Of a sealed one nothing more can be said.
                None if start < self.symbols[symbol as usize].levels[parent].sealed_to => {}
                None => {
                    sum.flags = sum.flags.with(self.symbols[symbol as usize].halts.flags(interval));
                    self.append(symbol, parent, &mut sum, sink);
                }
            }
            self.refill(symbol, parent, start, reason, sink);
        }
    }

    /// Whether a tick at `ts` belongs to a closed bar that is a vendor's.
    pub(super) fn is_vendors(&self, symbol: u32, ts: UnixNanos) -> bool {
        self.symbols[symbol as usize].vendor.any
            && (0..self.options.timeframes.len()).any(|level| self.is_whole(symbol, level, ts))
    }

    fn is_vendors_above(&self, symbol: u32, level: usize, ts: UnixNanos) -> bool {
        bits(self.grid(symbol).above(level) & !(1 << level)).any(|level| self.is_whole(symbol, level, ts))
    }

    fn is_whole(&self, symbol: u32, level: usize, ts: UnixNanos) -> bool {
        let start = self.grid(symbol).interval(level, ts).start;
        let place = self.find_unsealed(symbol, level, start);
        place.is_some_and(|place| self.arena.get(place).vendor.has(Vendor::WHOLE))
    }
}

/// The record of a vendor's bar. Its open and close stand at its ends.
fn record_of(bar: &UpstreamBar) -> Record {
    let mut record = Record::empty(bar.bar.start);
    record.bar = bar.bar;
    record.lacks = Fields::NONE;
    record.opened = Rank { ts_event: bar.bar.start, sequence: 0 };
    record.closed = Rank { ts_event: UnixNanos(bar.end().0.saturating_sub(1)), sequence: u64::MAX };
    record.ts_recv = bar.ts_recv;
    record.vendor = Vendor::PART.with(Vendor::WHOLE);
    if !bar.has_notional && bar.bar.volume.0 > 0 {
        record.vendor = record.vendor.with(Vendor::NO_NOTIONAL);
    }
    if bar.origin == BarOrigin::Polled {
        record.flags = BarFlags::POLLED;
    }
    record
}

/// Whether a vendor says again what is there: then nothing is revised.
fn is_same(ours: &Record, fresh: &Record) -> bool {
    let odd = BarFlags::INCOMPLETE.with(BarFlags::POLLED);
    ours.bar == fresh.bar
        && ours.vendor == fresh.vendor
        && ours.flags.without(odd).with(fresh.flags) == ours.flags
}
