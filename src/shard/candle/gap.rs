//! Known gaps: bars in which something is missing say so.

use crate::model::BarFlags;

use super::{Candles, NO_START};

impl Candles {
    /// A source lost ticks, and nobody knows whose: one accepted tick that marks every symbol.
    pub fn gap_everywhere(&mut self) {
        (0..self.symbols.len() as u32).for_each(|symbol| self.mark_gap(symbol));
        self.tallies.accepted += 1;
    }

    pub(super) fn mark_gap(&mut self, symbol: u32) {
        let state = &mut self.symbols[symbol as usize];
        if state.current.bar.start == NO_START && state.others.is_empty() {
            state.next_flags = state.next_flags.with(BarFlags::INCOMPLETE);
        }
        for record in state.others.iter_mut().chain([&mut state.current]) {
            if record.bar.start != NO_START {
                record.flags = record.flags.with(BarFlags::INCOMPLETE);
            }
        }
    }
}
