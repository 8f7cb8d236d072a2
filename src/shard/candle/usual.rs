//! The short way of a trade with nothing odd about it: the open bar that was touched last takes it, and its number and id are new.
//!
//! It looks at everything before it changes anything, and only in the cache lines of [`Hot`](super::state::Hot). What is odd in any way
//! takes the long way, [`Candles::trade`], which does the same to a usual trade, in more steps, and then notes which ones are usual.

use crate::model::{Tick, UnixNanos};

use super::super::record::{Fields, Rank};
use super::{BarClock, Candles};

impl Candles {
    /// Takes a trade if nothing about it is odd. If it says `false` nothing has happened.
    #[inline(always)]
    pub(super) fn take_usual(&mut self, symbol: u32, tick: &Tick) -> bool {
        let Some(hot) = self.hot.get_mut(symbol as usize) else { return false };
        let rank = Rank { ts_event: tick.ts_event, sequence: tick.rank() };
        let is_contiguous = tick.is_contiguous();
        let is_usual = rank.ts_event >= hot.current.bar.start
            && rank.ts_event < hot.usual_until
            && tick.form() == hot.form
            && (rank.sequence as u32 == hot.expected || !is_contiguous);
        if !is_usual {
            return false;
        }
        if self.options.keep_trades.keeps(tick) {
            if !self.log.append_new(symbol, &mut hot.trades, tick) {
                return false;
            }
            if self.log.exceeds(&hot.trades, self.options.trades_per_symbol_max) {
                self.tallies.trades_evicted += self.log.evict(&mut hot.trades) as u64;
            }
        } else {
            self.log.skip(&mut hot.trades);
        }
        hot.current.add_whole(rank, tick.price, tick.size, tick.ts_recv);
        hot.newest = hot.newest.max(rank.ts_event);
        hot.expected = hot.expected.wrapping_add(u32::from(is_contiguous));
        hot.source = tick.source;
        hot.last = tick.price;
        hot.day_volume.0 += u128::from(tick.size.0);
        self.tallies.accepted += 1;
        true
    }

    /// After a trade took the long way: says which of the next ones are usual.
    pub(super) fn expect_usual(&mut self, symbol: u32, tick: &Tick) {
        let (hot, state) = (&mut self.hot[symbol as usize], &self.symbols[symbol as usize]);
        let start = hot.current.bar.start;
        let builds = self.is_plain && hot.built_by.is_of(tick);
        // By the event clock a trade past the deadline closes bars.
        let deadline = if self.options.clock == BarClock::Event { hot.deadline } else { UnixNanos::MAX };
        let is_whole = hot.current.lacks == Fields::NONE && state.day.has(start) && hot.newest < deadline;
        let ids = hot.trades.ascending_in();
        hot.form = tick.form();
        hot.usual_until = if builds && is_whole && ids.start <= start {
            hot.current_end.min(state.day.end).min(ids.end).min(deadline)
        } else {
            UnixNanos::MIN
        };
    }
}
