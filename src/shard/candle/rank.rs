//! What builds a symbol's bars: the first kind of `bars.rank` that the symbol has.
//!
//! A symbol is moved up once for each kind, at the first tick of it. Closed bars stay what they were, and trades that belong to them are
//! refused; of what was open the part that the lower kind built goes, and the bar says that it is incomplete.

use crate::model::{TickKind, UnixNanos};

use super::super::missing::Opener;
use super::super::numbers::Numbers;
use super::super::record::Record;
use super::{BuiltBy, Candles, NO_START};

impl Candles {
    /// Whether `kind` builds the bars of this symbol, from its tick at `ts` on if it did not before.
    #[cold]
    pub(super) fn promote(&mut self, symbol: u32, kind: BuiltBy, ts: UnixNanos) -> bool {
        let rank = |kind| self.options.rank.iter().position(|&other| other == kind);
        let builder = self.hot[symbol as usize].built_by;
        // Quotes build only where nothing else may.
        if kind != BuiltBy::Quotes {
            match (rank(kind), rank(builder)) {
                (None, _) => return false,
                (Some(new), Some(old)) if old < new => return false,
                _ => {}
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        hot.built_by = kind;
        state.numbers = Numbers::default();
        hot.expected = 0;
        if builder == BuiltBy::Nothing {
            // A vendor's bar is whole from its beginning; of a first trade's bar nobody knows.
            let known_from = if kind == BuiltBy::Bars { ts } else { UnixNanos(ts.0.saturating_add(1)) };
            state.missing.close(Opener::Joined, known_from);
            return true;
        }
        self.tallies.promoted += 1;
        self.take_over(symbol, ts);
        true
    }

    /// Another kind builds from the interval of `ts` on.
    fn take_over(&mut self, symbol: u32, ts: UnixNanos) {
        let start = self.grid(symbol).interval(0, ts).start;
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        let closed_to = state.levels[0].closed_to;
        let since = start.max(closed_to);
        // Bars of vendors leave no finest ones open.
        let from = if usize::from(state.vendor.level) < self.options.timeframes.len() {
            closed_to.min(since)
        } else {
            since
        };
        state.vendor.since = since;
        state.vendor.level = u8::MAX;
        state.vendor.forming = Record::empty(NO_START);
        let open = state.others.len() + usize::from(hot.current.bar.start != NO_START);
        let current = std::mem::replace(&mut hot.current, Record::empty(NO_START));
        hot.current_end = UnixNanos::MIN;
        state.others.retain(|record| record.bar.start < since);
        if current.bar.start < since {
            let at = state.others.partition_point(|record| record.bar.start < current.bar.start);
            state.others.insert(at, current);
        }
        state.open_daily.retain(|record| record.bar.start < since);
        self.open_bars -= open - state.others.len();
        if from <= ts {
            self.tallies.gaps_merged += state.missing.add(from, UnixNanos(ts.0.saturating_add(1))) as u64;
        }
        self.log.cancel_where(&hot.trades, |entry| {
            entry.kind() == TickKind::AggregatedTrade && entry.ts_event >= since
        });
        self.set_deadline(symbol);
    }
}
