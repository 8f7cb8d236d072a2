//! Bars of a day where sale conditions give them sums of their own.
//!
//! A trade may move a daily bar otherwise than a shorter one, so a day is then not the sum of its minutes. A base level beside the finest,
//! as long as it and never published, keeps for every finest interval what its trades bring to the day; the daily bar is
//! made from that level instead of from the one below it. It closes, is revised, sealed and evicted in step with the finest.

use crate::model::{Tick, UnixNanos};

use super::super::record::{Fields, Record, Sample};
use super::Candles;

impl Candles {
    /// What a trade brings to bars of a level.
    pub(super) fn sample_for(&self, level: usize, sample: &Sample) -> Sample {
        if self.daily_base.is_some_and(|base| level == base || level == base - 1) {
            sample.daily()
        } else {
            *sample
        }
    }

    /// Adds a trade to what its open finest interval brings to the day.
    #[inline(never)]
    pub(super) fn add_daily(&mut self, symbol: u32, sample: &Sample) {
        let start = self.grid(symbol).interval(0, sample.rank.ts_event).start;
        let sample = sample.daily();
        let open = &mut self.symbols[symbol as usize].open_daily;
        match open.iter().rposition(|record| record.bar.start <= start) {
            Some(at) if open[at].bar.start == start => open[at].add(&sample),
            at => open.insert(at.map_or(0, |at| at + 1), Record::first(start, &sample)),
        }
    }

    /// The finest interval at `start` closed: so does what it brings to the day.
    pub(super) fn close_daily(&mut self, symbol: u32, start: UnixNanos) {
        let Some(base) = self.daily_base else { return };
        let state = &mut self.symbols[symbol as usize];
        state.levels[base].closed_to = self.grids[usize::from(state.grid)].end(base, start);
        // It is the first of the open ones, or was emptied by cancels.
        let is_next = state.open_daily.front().is_some_and(|record| record.bar.start == start);
        if let Some(record) = is_next.then(|| state.open_daily.pop_front()).flatten() {
            self.file(symbol, base, &record);
        }
    }

    /// A trade came for a closed finest interval.
    pub(super) fn add_late_daily(&mut self, symbol: u32, sample: &Sample) {
        let Some(base) = self.daily_base else { return };
        let start = self.grid(symbol).interval(base, sample.rank.ts_event).start;
        match self.find_unsealed(symbol, base, start) {
            Some(place) => self.arena.get_mut(place).add(&sample.daily()),
            None => {
                self.file(symbol, base, &Record::first(start, &sample.daily()));
            }
        }
    }

    /// Puts what a finest interval brings to the day in place, made anew from its trades.
    pub(super) fn rebuild_daily(&mut self, symbol: u32, start: UnixNanos, fresh: &Record) {
        let Some(base) = self.daily_base else { return };
        if start < self.symbols[symbol as usize].levels[base].closed_to {
            match self.find_unsealed(symbol, base, start) {
                Some(place) => self.arena.get_mut(place).replace(fresh),
                None => {
                    self.file(symbol, base, fresh);
                }
            }
            return;
        }
        let open = &mut self.symbols[symbol as usize].open_daily;
        let Some(at) = open.iter().rposition(|record| record.bar.start == start) else { return };
        open[at].replace(fresh);
        if fresh.is_empty() {
            open.remove(at);
        }
    }

    /// Whether something that trades brought to the day in a bar of `level` can no longer be taken out of it.
    pub(super) fn is_daily_sealed(&self, symbol: u32, level: usize, start: UnixNanos) -> bool {
        let brings = |base: &usize| level + 1 < *base;
        let base = self.daily_base.filter(brings);
        base.is_some_and(|base| start < self.symbols[symbol as usize].levels[base].sealed_to)
    }

    /// A vendor's bar of `level` that ends at `end` is all that its interval brings to the day. It stands in the last finest interval,
    /// so that it is sealed no earlier than itself.
    pub(super) fn put_daily(&mut self, symbol: u32, level: usize, end: UnixNanos, vendors: &Record) {
        let Some(base) = self.daily_base.filter(|&base| level + 1 < base) else { return };
        let start = vendors.bar.start;
        let inside = |record: &Record| start <= record.bar.start && record.bar.start < end;
        let at = &self.symbols[symbol as usize].levels[base];
        let mut next = self.arena.back(&at.bars).filter(|_| at.unsealed > 0);
        let mut left = at.unsealed;
        while let Some(place) = next.filter(|&place| left > 0 && self.arena.get(place).bar.start >= start) {
            let record = self.arena.get_mut(place);
            if inside(record) {
                *record = Record::empty(record.bar.start);
            }
            next = self.arena.before(place);
            left -= 1;
        }
        self.symbols[symbol as usize].open_daily.retain(|record| !inside(record));
        let last = self.grid(symbol).interval(base, UnixNanos(end.0 - 1)).start;
        let mut record = *vendors;
        record.bar.start = last;
        match self.find_unsealed(symbol, base, last) {
            Some(place) => *self.arena.get_mut(place) = record,
            None => self.file(symbol, base, &record),
        }
    }

    /// The finest bar at `start` from the kept trades alone, as it is or as it is brought to the day.
    pub(super) fn recompute(&self, symbol: u32, start: UnixNanos, daily: bool) -> Record {
        let end = self.grid(symbol).end(0, start);
        let leaves = |tick: &Tick| {
            let Some(rules) = &self.rules else { return Fields::NONE };
            let leaves = rules.of(tick);
            if daily || self.only_daily { leaves.daily } else { leaves.intraday }
        };
        self.log.recompute(&self.hot[symbol as usize].trades, start, end, leaves)
    }
}
