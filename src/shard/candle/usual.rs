//! The short way of a trade with nothing odd about it: the open bar that was touched last takes it, and its number and id are new.
//!
//! It looks at everything before it changes anything, in the cache lines of [`Hot`](super::state::Hot).
//! What is odd in any way takes the long way, [`Candles::trade`], which does the same to a usual trade, in more steps.

use crate::model::Tick;

use super::super::record::{Fields, Rank};
use super::{BarClock, Candles};

impl Candles {
    /// Takes a trade if nothing about it is odd. If it says `false` nothing has happened.
    #[inline(always)]
    pub(super) fn take_usual(&mut self, symbol: u32, tick: &Tick) -> bool {
        let Some(hot) = self.hot.get_mut(symbol as usize) else { return false };
        let ts = tick.ts_event;
        let rank = Rank { ts_event: ts, sequence: tick.rank() };
        let newest = hot.newest.max(ts);
        let is_usual = self.is_plain
            && hot.built_by.is_of(tick)
            && ts >= hot.current.bar.start
            && ts < hot.current_end
            && (newest < hot.deadline || self.options.clock == BarClock::Live)
            && hot.is_of_day(ts)
            && hot.current.lacks == Fields::NONE
            && (rank.sequence as u32 == hot.expected || !tick.is_contiguous());
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
        hot.newest = newest;
        hot.expected = hot.expected.wrapping_add(u32::from(tick.is_contiguous()));
        hot.source = tick.source;
        hot.last = tick.price;
        hot.day_volume.0 += u128::from(tick.size.0);
        self.tallies.accepted += 1;
        true
    }
}
