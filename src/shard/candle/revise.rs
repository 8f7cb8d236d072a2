//! Changing what is closed: late ticks, cancels and corrections, down to where bars are sealed.

use crate::model::calendar::Interval;
use crate::model::{BarFlags, Reason, Tick, TickKind, UnixNanos};

use super::super::record::{Record, Sample};
use super::{BuiltBy, Candles, NO_START, Refusal, SUPERSEDED_MAX, Sink, Verdict, When};

impl Candles {
    /// A tick of a closed finest bar: it revises every closed bar that it belongs to, finest first.
    pub(super) fn add_late(
        &mut self,
        symbol: u32,
        sample: &Sample,
        when: When,
        sink: &mut impl Sink,
    ) -> Verdict {
        let ts = sample.rank.ts_event;
        let clock = self.clock_of(symbol, when);
        self.make_room();
        let refusal = if ts < clock.minus(self.options.late_tolerance) {
            Some(Refusal::TooLate)
        } else if self.is_sealed(symbol, ts) {
            Some(Refusal::Sealed)
        } else if self.is_vendors(symbol, ts) {
            return Verdict::Refused(Refusal::Backfilled);
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.flag_refused(symbol, ts);
            return Verdict::Refused(refusal);
        }
        self.add_late_daily(symbol, sample);
        for level in 0..self.options.timeframes.len() {
            let interval = self.grid(symbol).interval(level, ts);
            let start = interval.start;
            if start < self.symbols[symbol as usize].levels[level].closed_to {
                let incomplete = self.incomplete(symbol, level, start);
                let sample = &self.sample_for(level, sample);
                self.revise(
                    symbol,
                    level,
                    start,
                    Reason::Late,
                    sink,
                    |record| {
                        record.add(sample);
                        record.flags = record.flags.without(BarFlags::INCOMPLETE).with(incomplete);
                    },
                    |start| Record::first(start, sample),
                );
            } else {
                self.expect_parent(symbol, level, interval);
            }
        }
        self.tallies.late += 1;
        self.set_deadline(symbol);
        self.schedule(symbol, when.offset);
        Verdict::Accepted
    }

    /// Frees a chunk for every level first, so that nothing that a tick is about to revise is evicted halfway.
    pub(super) fn make_room(&mut self) {
        while self.arena.spare_chunks() < self.levels && self.evict_oldest() {}
    }

    /// Some closed bar that a tick at `ts` belongs to can no longer be revised.
    fn is_sealed(&self, symbol: u32, ts: UnixNanos) -> bool {
        let (levels, grid) = (&self.symbols[symbol as usize].levels, self.grid(symbol));
        levels.iter().enumerate().any(|(level, at)| grid.interval(level, ts).start < at.sealed_to)
    }

    pub(super) fn flag_refused(&mut self, symbol: u32, ts: UnixNanos) {
        let start = self.grid(symbol).interval(0, ts).start;
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        if let Some(open) =
            state.others.iter_mut().chain([&mut hot.current]).find(|record| record.bar.start == start)
        {
            open.flags = open.flags.with(BarFlags::REFUSED);
        }
        for level in 0..self.levels {
            let start = self.grid(symbol).interval(level, ts).start;
            let bars = &self.symbols[symbol as usize].levels[level].bars;
            let newer = self.arena.backward(bars).skip_while(|(_, record)| record.bar.start > start);
            let found = newer.take(1).find(|(_, record)| record.bar.start == start).map(|(place, _)| place);
            if let Some(place) = found {
                let flags = &mut self.arena.get_mut(place).flags;
                *flags = flags.with(BarFlags::REFUSED);
            }
        }
    }

    /// Changes a closed bar and publishes the revision, or publishes the bar of an interval that had none.
    #[expect(
        clippy::too_many_arguments,
        reason = "a bar's coordinates, and what to do in each of the two cases"
    )]
    fn revise(
        &mut self,
        symbol: u32,
        level: usize,
        start: UnixNanos,
        reason: Reason,
        sink: &mut impl Sink,
        change: impl FnOnce(&mut Record),
        create: impl FnOnce(UnixNanos) -> Record,
    ) {
        let Some(place) = self.find_unsealed(symbol, level, start) else {
            self.append(symbol, level, &mut create(start), sink);
            self.refill(symbol, level, start, reason, sink);
            return;
        };
        self.revise_at(symbol, level, place, reason, sink, change);
        self.refill(symbol, level, start, reason, sink);
    }

    /// Changes the closed bar at a place of the history and publishes the revision, or the bar where it was not yet.
    pub(super) fn revise_at(
        &mut self,
        symbol: u32,
        level: usize,
        place: u32,
        reason: Reason,
        sink: &mut impl Sink,
        change: impl FnOnce(&mut Record),
    ) {
        let before = *self.arena.get(place);
        let mut record = before;
        change(&mut record);
        if record.is_whole() {
            record.flags = record.flags.without(BarFlags::SYNTHETIC);
        } else {
            self.flatten_emptied(symbol, level, place, &mut record);
        }
        let appears = before.sequence == 0;
        let same = before.shown() == record.shown() && before.flags == record.flags;
        // Without a price there is nothing to publish, and a late trade that moves nothing is no news.
        let is_news = if appears { record.is_published() } else { !(same && reason == Reason::Late) };
        let state = &mut self.symbols[symbol as usize];
        let at = &mut state.levels[level];
        if is_news {
            if self.options.replayable && !appears {
                if at.superseded.len() == SUPERSEDED_MAX
                    && let Some(oldest) = at.superseded.pop_front()
                {
                    at.floor = at.floor.max(oldest.sequence);
                }
                // Once for all, at a topic's first revision.
                at.superseded.reserve_exact(SUPERSEDED_MAX - at.superseded.len());
                at.superseded.push_back(before);
            }
            at.sequence += 1;
            record.sequence = at.sequence;
        }
        if is_news && !appears {
            record.rev += 1;
            record.reason = reason as u8;
            self.tallies.revised += 1;
        }
        if level == 0 {
            state.today.revise(&before, &record);
        }
        *self.arena.get_mut(place) = record;
        if is_news {
            self.tallies.closed += u64::from(appears);
            self.note_filled(symbol, level, &record);
            self.publish(symbol, level, &record, sink);
        }
    }

    /// Applies a cancel or a correction to the trade that it names.
    pub(super) fn take_back(&mut self, symbol: u32, tick: &Tick, sink: &mut impl Sink) -> Verdict {
        let Some(place) = self.log.find_live(&mut self.hot[symbol as usize].trades, tick) else {
            return Verdict::Refused(Refusal::UnknownTrade);
        };
        let ts = self.log.get(place).ts_event;
        self.make_room();
        let standing = self.log.get(place);
        if tick.kind() == TickKind::Correction
            && standing.kind() == TickKind::Correction
            && (standing.price, standing.size) == (tick.price, tick.size)
            && (standing.id(), standing.corrected_id()) == (tick.id(), tick.corrected_id())
        {
            return Verdict::Refused(Refusal::Duplicate);
        }
        let builder = self.hot[symbol as usize].built_by;
        let from_trades = matches!(builder, BuiltBy::Trades | BuiltBy::Aggregated);
        if from_trades && (ts < self.symbols[symbol as usize].vendor.since || self.is_vendors(symbol, ts)) {
            return Verdict::Refused(Refusal::Backfilled);
        }
        if from_trades && self.is_sealed(symbol, ts) {
            self.flag_refused(symbol, ts);
            return Verdict::Refused(Refusal::Sealed);
        }
        self.log.set_cancelled(place, true);
        let start = self.grid(symbol).interval(0, ts).start;
        if from_trades {
            let rest = self.recompute(symbol, start, false);
            if self.finest_prints(symbol, start) != Some(rest.prints() + 1) {
                self.log.set_cancelled(place, false);
                self.flag_refused(symbol, ts);
                return Verdict::Refused(Refusal::TradesEvicted);
            }
        }
        // What stands in the log counts at the time of the trade that it corrects.
        let mut entry = *tick;
        entry.ts_event = ts;
        self.keep(symbol, &entry);
        if from_trades {
            let reason = if tick.kind() == TickKind::Cancel { Reason::Cancel } else { Reason::Correct };
            let mut fresh = self.recompute(symbol, start, false);
            fresh.ts_recv = tick.ts_recv;
            self.rebuild(symbol, ts, &fresh, reason, sink);
        }
        Verdict::Accepted
    }

    /// How many trades the finest bar at `start` has, whatever they moved.
    fn finest_prints(&self, symbol: u32, start: UnixNanos) -> Option<u64> {
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let at = &state.levels[0];
        let mut open = state.others.iter().chain([&hot.current]);
        let mut closed = self.arena.backward(&at.bars).take(at.unsealed as usize).map(|(_, record)| record);
        let found = open.find(|r| r.bar.start == start).or_else(|| closed.find(|r| r.bar.start == start));
        found.map(Record::prints)
    }

    /// Puts a recomputed finest bar in place and makes the closed bars above it anew.
    fn rebuild(&mut self, symbol: u32, ts: UnixNanos, fresh: &Record, reason: Reason, sink: &mut impl Sink) {
        let start = self.grid(symbol).interval(0, ts).start;
        if self.daily_base.is_some() {
            let mut daily = self.recompute(symbol, start, true);
            daily.ts_recv = fresh.ts_recv;
            self.rebuild_daily(symbol, start, &daily);
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        if start >= state.levels[0].closed_to {
            let emptied = fresh.is_empty();
            if hot.current.bar.start == start {
                hot.current.replace(fresh);
                if emptied {
                    self.open_bars -= 1;
                    hot.current = Record::empty(NO_START);
                    hot.current_end = UnixNanos::MIN;
                }
            } else if let Ok(at) = state.others.binary_search_by_key(&start, |record| record.bar.start) {
                state.others[at].replace(fresh);
                if emptied {
                    self.open_bars -= 1;
                    state.others.remove(at);
                }
            }
            return;
        }
        self.revise(symbol, 0, start, reason, sink, |record| record.replace(fresh), |_| *fresh);
        for level in 1..self.options.timeframes.len() {
            let Interval { start, end } = self.grid(symbol).interval(level, ts);
            if start < self.symbols[symbol as usize].levels[level].closed_to {
                let mut sum = Record::empty(start);
                self.gather(symbol, level, start, end, &mut sum);
                sum.ts_recv = sum.ts_recv.max(fresh.ts_recv);
                self.revise(symbol, level, start, reason, sink, |record| record.replace(&sum), |_| sum);
            }
        }
    }
}
