//! The short way of a trade with nothing odd about it: the open bar that was touched last takes it, and its number and id are new.
//!
//! It looks at everything before it changes anything, and only in the cache lines of [`Hot`](super::state::Hot). What is odd in any way
//! takes the long way, [`Candles::trade`], which does the same to a usual trade, in more steps, and then notes which ones are usual.

use crate::model::{Tick, UnixNanos};

use super::super::record::{Fields, Rank};
use super::super::trades::Way;
use super::{BarClock, Candles};

impl Candles {
    /// Takes a trade if nothing about it is odd. If it says `false` nothing has happened.
    #[inline(always)]
    pub(super) fn take_usual(&mut self, symbol: u32, tick: &Tick) -> bool {
        let Some(hot) = self.hot.get_mut(symbol as usize) else { return false };
        let is_of_bar = tick.ts_event >= hot.current.bar.start && tick.ts_event < hot.usual_until;
        let is_contiguous = tick.is_contiguous();
        let is_out_of_turn = is_contiguous && tick.trade_rank() as u32 != hot.expected;
        if !is_of_bar || is_out_of_turn || tick.form() != hot.form {
            return false;
        }
        let trades = &mut hot.trades;
        let hot = if trades.way() == Way::Ascending {
            if !trades.ascends(tick) {
                return false;
            }
            let hot = if trades.is_chunk_full() {
                self.make_room_for_trades();
                &mut self.hot[symbol as usize]
            } else {
                hot
            };
            self.log.append_ascending(symbol, &mut hot.trades, tick);
            hot
        } else {
            if trades.way() == Way::Skipped {
                self.log.skip(trades);
            } else if !self.log.append_like_last(symbol, trades, tick) {
                return false;
            }
            hot
        };
        if self.log.exceeds(&hot.trades) {
            self.tallies.trades_evicted += self.log.evict(&mut hot.trades) as u64;
        }
        let rank = Rank { ts_event: tick.ts_event, sequence: tick.trade_rank() };
        hot.current.add_whole(rank, tick.price, tick.size, tick.ts_recv);
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
        let deadline = if self.options.clock == BarClock::Event { state.deadline } else { UnixNanos::MAX };
        let is_whole = hot.current.lacks == Fields::NONE && state.day.has(start) && hot.newest() < deadline;
        let ids = hot.trades.ascending_in();
        hot.form = tick.form();
        hot.trades.expect_another(tick, self.options.keep_trades.keeps(tick));
        hot.usual_until = if builds && is_whole && ids.start <= start {
            hot.current_end.min(state.day.end).min(ids.end).min(deadline)
        } else {
            UnixNanos::MIN
        };
    }
}
