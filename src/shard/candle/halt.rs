//! Halts: bars of which some part fell into one say so.

use std::collections::VecDeque;

use crate::model::calendar::Interval;
use crate::model::{BarFlags, Reason, Tick, UnixNanos};

use super::{Candles, NO_START, Sink};

/// How many halts of a symbol are remembered: more than one symbol has had in a day.
const HALTS_MAX: usize = 32;

/// When dealing in a symbol was stopped, oldest first; the last may go on.
#[derive(Default)]
pub(super) struct Halts(VecDeque<Interval>);

impl Halts {
    /// What a bar of this interval is to be flagged with.
    #[inline]
    pub(super) fn flags(&self, interval: Interval) -> BarFlags {
        let overlaps = |halt: &Interval| halt.start < interval.end && interval.start < halt.end;
        if self.0.iter().any(overlaps) { BarFlags::HALTED } else { BarFlags::default() }
    }

    /// Since when dealing has been stopped.
    fn since(&self) -> Option<UnixNanos> {
        self.0.back().filter(|halt| halt.end == UnixNanos::MAX).map(|halt| halt.start)
    }

    fn begin(&mut self, at: UnixNanos) {
        if self.0.len() == HALTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Interval { start: at, end: UnixNanos::MAX });
    }

    fn end(&mut self, at: UnixNanos) {
        if let Some(halt) = self.0.back_mut() {
            halt.end = at.max(halt.start);
        }
    }
}

impl Candles {
    /// Dealing was stopped, or goes on. Open bars that it concerns are flagged, closed ones revised.
    pub(super) fn halt(&mut self, symbol: u32, tick: &Tick, sink: &mut impl Sink) {
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        match (tick.is_halted(), state.halts.since()) {
            (true, None) => state.halts.begin(tick.ts_event),
            (false, Some(_)) => return state.halts.end(tick.ts_event),
            // Said twice.
            _ => return,
        }
        let grid = &self.grids[usize::from(state.grid)];
        for record in state.others.iter_mut().chain([&mut hot.current]) {
            if record.bar.start != NO_START {
                record.flags = record.flags.with(state.halts.flags(grid.interval(0, record.bar.start)));
            }
        }
        for level in 0..self.options.timeframes.len() {
            self.flag_halted(symbol, level, tick.ts_event, sink);
        }
    }

    /// The halt was told late: bars that ended after it began are closed already.
    fn flag_halted(&mut self, symbol: u32, level: usize, since: UnixNanos, sink: &mut impl Sink) {
        loop {
            let (at, grid) = (&self.symbols[symbol as usize].levels[level], self.grid(symbol));
            let newest = self.arena.backward(&at.bars).take(at.unsealed as usize);
            let concerned = newest
                .filter(|(_, record)| record.sequence > 0)
                .take_while(|(_, record)| grid.end(level, record.bar.start) > since);
            let first = concerned.filter(|(_, record)| !record.flags.has(BarFlags::HALTED)).last();
            let Some((place, _)) = first else { return };
            self.revise_at(symbol, level, place, Reason::Gap, sink, |record| {
                record.flags = record.flags.with(BarFlags::HALTED);
            });
        }
    }

    /// Since when dealing in a symbol has been stopped; `None`: it is not.
    pub fn halted_since(&self, symbol: u32) -> Option<UnixNanos> {
        self.symbols[symbol as usize].halts.since()
    }
}
