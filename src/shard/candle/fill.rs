//! Intervals without trades inside sessions: flat bars at the last close, so that a series has no hole.
//!
//! Each timeframe is filled by itself: an interval in which its market is open, and of which no bar was published by the time it is
//! over, gets a bar of volume 0 with the flag `synthetic`. Filling begins with a symbol's first bar and goes on for so many bars in a
//! row ([`Fill::bars_max`]); then the timeframe stays silent until the next trade. A trade that comes late makes its bar a real one,
//! and those that were filled after it are revised to the new price. During a halt bars are filled, and flagged `halted` too.

use crate::model::calendar::{Grid, Interval, Open};
use crate::model::{BarFlags, Reason, UnixNanos};

use super::super::record::{Fields, Rank, Record};
use super::{BarClock, Candles, Sink};

/// How intervals without trades are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// In which sessions.
    pub open: Open,
    /// So many bars of a timeframe in a row.
    pub bars_max: u32,
}

impl Fill {
    /// A thousand bars: more than two sessions of minutes, 16 minutes of seconds, and four years of days.
    pub const BARS_MAX: u32 = 1_000;
}

impl Default for Fill {
    fn default() -> Self {
        Self { open: Open::Regular, bars_max: Self::BARS_MAX }
    }
}

/// How far a symbol's timeframes are filled; nothing where none is.
#[derive(Default)]
pub(super) struct Filling {
    levels: Box<[FillLevel]>,
}

struct FillLevel {
    /// Everything before has its bar, or gets none.
    filled_to: UnixNanos,
    /// What is to be filled next; never: nothing.
    next: Interval,
    /// The stretch of dealing that was looked up last.
    open: Interval,
    /// Filled since the last real bar.
    run: u32,
}

impl Filling {
    pub(super) fn new(levels: usize, on: bool) -> Self {
        let level =
            || FillLevel { filled_to: UnixNanos::MIN, next: Interval::NEVER, open: Interval::NEVER, run: 0 };
        Self { levels: (0..if on { levels } else { 0 }).map(|_| level()).collect() }
    }

    /// When the next interval to fill is over.
    #[inline]
    pub(super) fn due(&self) -> UnixNanos {
        self.levels.iter().map(|level| level.next.end).min().unwrap_or(UnixNanos::MAX)
    }

    /// A bar was published. Returns whether that used up the last of a run.
    fn note(&mut self, level: usize, record: &Record, grid: &Grid, fill: Option<Fill>) -> bool {
        let (Some(at), Some(fill)) = (self.levels.get_mut(level), fill) else { return false };
        let end = grid.end(level, record.bar.start);
        if end <= at.filled_to {
            return false;
        }
        at.filled_to = end;
        at.run = if record.flags.has(BarFlags::SYNTHETIC) { at.run + 1 } else { 0 };
        at.look_ahead(level, grid, fill);
        at.run == fill.bars_max
    }
}

impl FillLevel {
    fn look_ahead(&mut self, level: usize, grid: &Grid, fill: Fill) {
        if self.run >= fill.bars_max {
            self.next = Interval::NEVER;
            return;
        }
        if !self.open.has(self.filled_to) {
            self.open = grid.next_open(self.filled_to, fill.open).unwrap_or(Interval::NEVER);
        }
        self.next = match self.open {
            Interval::NEVER => Interval::NEVER,
            open => grid.interval(level, self.filled_to.max(open.start)),
        };
    }
}

impl Record {
    /// A bar without trades that begins at `start` at the last one's close.
    fn flat(start: UnixNanos, last: &Self, flags: BarFlags) -> Self {
        let mut record = Self::empty(start);
        (record.ts_recv, record.flags) = (last.ts_recv, flags);
        record.flatten(last);
        record
    }

    /// Shows it at the last one's close: it has no trade, or none that makes a bar. What its trades did move stays.
    fn flatten(&mut self, last: &Self) {
        let (start, close) = (self.bar.start, last.bar.close);
        self.flags = self.flags.with(BarFlags::SYNTHETIC);
        if self.lacks.has(Fields::OPEN) {
            (self.bar.open, self.bar.close) = (close, close);
            self.opened = Rank { ts_event: start, sequence: 0 };
            self.closed = self.opened;
        }
        if self.lacks.has(Fields::HIGH_LOW) {
            (self.bar.high, self.bar.low) = (close, close);
        }
    }
}

impl Candles {
    /// Fills every timeframe up to `limit`, as far as the clock that closes bars has come.
    #[inline]
    pub(super) fn fill_all(&mut self, symbol: u32, limit: UnixNanos, sink: &mut impl Sink) {
        if self.options.fill.is_none() {
            return;
        }
        // At the end of the input nothing comes after the last bar.
        let limit = match self.options.clock {
            BarClock::Live => limit,
            BarClock::Event => limit.min(self.hot[symbol as usize].newest()),
        };
        for level in 0..self.options.timeframes.len() {
            self.fill(symbol, level, limit, sink);
        }
    }

    /// Fills one timeframe up to `to`.
    pub(super) fn fill(&mut self, symbol: u32, level: usize, to: UnixNanos, sink: &mut impl Sink) {
        loop {
            let state = &mut self.symbols[symbol as usize];
            let Some(at) = state.filling.levels.get(level) else { return };
            let interval = at.next;
            let bars = self.arena.backward(&state.levels[level].bars);
            let last = bars.map(|(_, record)| *record).find(|record| record.sequence > 0);
            let (Some(last), true) = (last, interval.end <= to) else { return };
            if interval == Interval::NEVER {
                return;
            }
            let closed_to = &mut state.levels[level].closed_to;
            *closed_to = interval.end.max(*closed_to);
            self.put_flat(symbol, level, interval, &last, Reason::Late, sink);
        }
    }

    /// Publishes a flat bar for an interval of which no bar was published.
    fn put_flat(
        &mut self,
        symbol: u32,
        level: usize,
        interval: Interval,
        last: &Record,
        reason: Reason,
        sink: &mut impl Sink,
    ) {
        self.tallies.filled += 1;
        let flags = self.symbols[symbol as usize].halts.flags(interval);
        match self.find_unsealed(symbol, level, interval.start) {
            // Its trades make no bar.
            Some(place) => self.revise_at(symbol, level, place, reason, sink, |record| {
                record.flags = record.flags.with(flags);
                record.flatten(last);
            }),
            None => self.append(symbol, level, &mut Record::flat(interval.start, last, flags), sink),
        }
    }

    /// Notes that a bar was published, for what is to be filled next.
    #[inline]
    pub(super) fn note_filled(&mut self, symbol: u32, level: usize, record: &Record) {
        if self.options.fill.is_some() {
            let state = &mut self.symbols[symbol as usize];
            let grid = &self.grids[usize::from(state.grid)];
            let stopped = state.filling.note(level, record, grid, self.options.fill);
            self.tallies.fills_stopped += u64::from(stopped);
        }
    }

    /// What a closed bar becomes when its last trade was taken back: as if it had been filled.
    pub(super) fn flatten_emptied(&self, symbol: u32, level: usize, place: u32, record: &mut Record) {
        let Some(fill) = self.options.fill.filter(|_| record.sequence > 0) else { return };
        if record.flags.has(BarFlags::SYNTHETIC) {
            return;
        }
        let mut before = std::iter::successors(self.arena.before(place), |&at| self.arena.before(at));
        let Some(last) = before.find(|&at| self.arena.get(at).sequence > 0) else { return };
        let (grid, start) = (self.grid(symbol), record.bar.start);
        let open = grid.next_open(start, fill.open);
        if open.is_some_and(|open| open.start < grid.end(level, start)) {
            record.flatten(self.arena.get(last));
        }
    }

    /// After a bar was revised, or published late: what was filled after it follows its close.
    pub(super) fn refill(
        &mut self,
        symbol: u32,
        level: usize,
        from: UnixNanos,
        reason: Reason,
        sink: &mut impl Sink,
    ) {
        let Some(fill) = self.options.fill else { return };
        let mut start = from;
        for run in 0..fill.bars_max {
            let Some((_, last)) = self.closed_from(symbol, level, start) else { return };
            let grid = self.grid(symbol);
            let end = grid.end(level, start);
            let Some(open) = grid.next_open(end, fill.open) else { return };
            let interval = grid.interval(level, end.max(open.start));
            if interval.end > self.symbols[symbol as usize].filling.levels[level].filled_to {
                // All that follows is still to be filled: the run counts from here.
                let state = &mut self.symbols[symbol as usize];
                let at = &mut state.filling.levels[level];
                if run < at.run {
                    at.run = run;
                    at.look_ahead(level, &self.grids[usize::from(state.grid)], fill);
                }
                return;
            }
            match self.closed_from(symbol, level, end) {
                Some((place, next)) if next.bar.start == interval.start && !next.is_whole() => {
                    if next.bar.close == last.bar.close && next.flags.has(BarFlags::SYNTHETIC) {
                        return;
                    }
                    self.revise_at(symbol, level, place, reason, sink, |record| record.flatten(&last));
                }
                Some((_, next)) if next.bar.start <= interval.start => return,
                _ => self.put_flat(symbol, level, interval, &last, reason, sink),
            }
            start = interval.start;
        }
    }

    /// The first published bar that begins at `from` or later and can still be revised, and its place.
    fn closed_from(&self, symbol: u32, level: usize, from: UnixNanos) -> Option<(u32, Record)> {
        let at = &self.symbols[symbol as usize].levels[level];
        let newest = self.arena.backward(&at.bars).take(at.unsealed as usize);
        let published =
            newest.take_while(|(_, record)| record.bar.start >= from).filter(|(_, r)| r.sequence > 0);
        published.last().map(|(place, record)| (place, *record))
    }
}
