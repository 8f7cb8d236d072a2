//! Whether a symbol's market is open, by the clock and by what halts were told.

use crate::model::calendar::{CalendarRules, MarketStatus, Standing};
use crate::model::{Event, Topic, UnixNanos};

use super::Candles;

/// Some of the markets, bit by the number of their calendar.
#[derive(Debug, Clone, Copy, Default)]
pub struct Markets(u128);

// Calendars, and none.
const _: () = assert!(CalendarRules::MAX < u128::BITS as usize);

impl Candles {
    /// Moves the markets on to `now`. Returns those that do something else than before, to be given to [`Self::is_among`].
    #[inline]
    pub fn move_markets(&mut self, now: UnixNanos) -> Option<Markets> {
        if now >= self.markets_due { self.markets_change(now) } else { None }
    }

    /// Whether a symbol is of one of these markets.
    pub fn is_among(&self, symbol: u32, markets: Markets) -> bool {
        markets.0 >> self.symbols[symbol as usize].grid & 1 == 1
    }

    #[cold]
    fn markets_change(&mut self, now: UnixNanos) -> Option<Markets> {
        // At first nobody has been told anything else.
        let first = self.markets.is_empty();
        let mut changed = std::mem::take(&mut self.regridded);
        let unknown = MarketStatus::new(Standing::Unknown, UnixNanos::MAX);
        self.markets.resize(self.grids.len(), unknown);
        for (number, (market, grid)) in self.markets.iter_mut().zip(&self.grids).enumerate() {
            let newer = grid.calendar().map_or(unknown, |calendar| calendar.status(now));
            changed.0 |= u128::from(newer != *market && !first) << number;
            *market = newer;
        }
        self.markets_due =
            self.markets.iter().map(|market| market.next_change).min().unwrap_or(UnixNanos::MAX);
        Some(changed).filter(|changed| changed.0 != 0)
    }

    /// When a market will do something else.
    pub fn markets_due(&self) -> Option<UnixNanos> {
        Some(self.markets_due).filter(|&due| due < UnixNanos::MAX)
    }

    /// What a symbol's market does, or that dealing in it was stopped.
    pub fn status(&self, symbol: u32, now: UnixNanos) -> Event {
        let state = &self.symbols[symbol as usize];
        let market = self.markets.get(usize::from(state.grid)).copied();
        let market = market.unwrap_or(MarketStatus::new(Standing::Unknown, UnixNanos::MAX));
        let status = match self.halted_since(symbol) {
            Some(since) => market.halted(since),
            None => market,
        };
        Event::status(Topic::status(state.id), &status).at(now, now)
    }

    /// A symbol whose calendar depends on its first tick had none until now.
    pub(super) fn note_grid_change(&mut self, grid: u8) {
        self.markets_due = UnixNanos::MIN;
        self.regridded.0 |= 1 << grid;
    }
}
