//! Holes in a venue's own numbers: bars next to one say so when they close, or once nobody expects it to be filled any more.

use crate::model::{Nanos, Tick, UnixNanos};

use super::super::numbers::{Hole, Said};
use super::{Candles, Refusal, Sink, Verdict, When};

impl Candles {
    /// Takes the number of a trade that is about to be added. Returns the hole that it was in.
    #[inline]
    pub(super) fn number(
        &mut self,
        symbol: u32,
        tick: &Tick,
        when: When,
        sink: &mut impl Sink,
    ) -> Option<Hole> {
        let hot = &mut self.hot[symbol as usize];
        if tick.rank() as u32 == hot.expected {
            hot.expected = hot.expected.wrapping_add(1);
            return None;
        }
        self.number_off(symbol, tick, when, sink)
    }

    #[cold]
    fn number_off(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Option<Hole> {
        let clock = self.clock_of(symbol, when);
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        // Where trades are not kept, the newest of all is the best that is known of the one before.
        let before = self.log.newest(&hot.trades).map_or(hot.newest(), |last| last.ts_event);
        let before = if before == UnixNanos::MIN { tick.ts_event } else { before };
        let said = state.numbers.take(tick.rank(), hot.expected, (before, tick.ts_event), clock);
        hot.expected = state.numbers.expected();
        match said {
            Said::InOrder => {}
            Said::Opened(given_up) => {
                self.tallies.holes += 1;
                if let Some(hole) = given_up {
                    self.give_up(symbol, hole, sink);
                }
                self.set_deadline(symbol);
                self.schedule(symbol, when.offset);
            }
            Said::Filled(hole) => {
                self.tallies.holes_filled += 1;
                return Some(hole);
            }
            Said::Back => self.tallies.numbers_back += 1,
            Said::Restarted => {
                self.tallies.numbers_restarted += 1;
                while let Some(hole) = self.symbols[symbol as usize].numbers.give_up(UnixNanos::MAX) {
                    self.give_up(symbol, hole, sink);
                }
            }
        }
        None
    }

    /// A trade came that was in `hole`: closed bars that lacked nothing else are whole now. If it was refused it is missing for good,
    /// unless that was because a vendor's bar has it.
    #[cold]
    pub(super) fn settle_hole(
        &mut self,
        symbol: u32,
        hole: Hole,
        ts: UnixNanos,
        verdict: Verdict,
        sink: &mut impl Sink,
    ) {
        if !matches!(verdict, Verdict::Accepted | Verdict::Refused(Refusal::Backfilled)) {
            let missing = &mut self.symbols[symbol as usize].missing;
            self.tallies.gaps_merged += missing.add(ts, UnixNanos(ts.0.saturating_add(1))) as u64;
        }
        self.review(symbol, hole.from, hole.to, sink);
    }

    /// Nobody expects it to be filled any more.
    fn give_up(&mut self, symbol: u32, hole: Hole, sink: &mut impl Sink) {
        self.tallies.holes_given_up += 1;
        let missing = &mut self.symbols[symbol as usize].missing;
        self.tallies.gaps_merged += missing.add(hole.from, hole.to) as u64;
        self.review(symbol, hole.from, hole.to, sink);
    }

    /// Gives up holes that late trades have had their time to fill; at the end of input all of them.
    #[cold]
    pub(super) fn give_up_holes(&mut self, symbol: u32, clock: UnixNanos, sink: &mut impl Sink) {
        let patience = if clock == UnixNanos::MAX { Nanos::ZERO } else { self.options.late_tolerance };
        while let Some(hole) = self.symbols[symbol as usize].numbers.give_up(clock.minus(patience)) {
            self.give_up(symbol, hole, sink);
        }
    }
}
