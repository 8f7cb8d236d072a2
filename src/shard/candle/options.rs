//! The rules of a shard's bars.

use crate::model::calendar::CalendarRules;
use crate::model::{Nanos, Tick, TickKind, Timeframes};

use super::super::conditions::Conditions;
use super::fill::Fill;

/// What moves a symbol's time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarClock {
    /// The wall clock, corrected by the feed's measured offset.
    Live,
    /// The symbol's own newest event time. The result depends on the ticks alone.
    Event,
}

/// Which prices make the bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarsFrom {
    /// Trades.
    Trades,
    /// The bid of each quote.
    Bid,
    /// The ask of each quote.
    Ask,
    /// The midpoint of each quote that has both sides.
    Mid,
}

/// What a symbol's bars are built from. Trades of either sort have the number of their [`TickKind`], and no other has one of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BuiltBy {
    /// Nothing yet.
    #[default]
    Nothing = 0,
    /// Bars that a vendor made.
    Bars = u8::MAX,
    /// Trades that tell several fills as one.
    Aggregated = TickKind::AggregatedTrade as u8,
    /// Trades.
    Trades = TickKind::Trade as u8,
    /// Quotes, as `bars.from` says.
    Quotes = u8::MAX - 1,
}

impl BuiltBy {
    /// Whether it is trades, of the sort that `tick` is.
    #[inline]
    pub fn is_of(self, tick: &Tick) -> bool {
        self as u8 == tick.kind_number()
    }
}

/// Which trades are kept until they are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepTrades {
    /// All: duplicates are found, cancels and corrections applied, the trades topic replayed.
    All,
    /// Those with an id: for files, where duplicates matter and nobody asks for a replay.
    WithId,
    /// None.
    No,
}

impl KeepTrades {
    /// Whether a trade is kept.
    #[inline]
    pub fn keeps(self, tick: &Tick) -> bool {
        match self {
            Self::All => true,
            Self::WithId => tick.has_id(),
            Self::No => false,
        }
    }
}

/// The rules of a shard's bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandleOptions {
    /// Which timeframes.
    pub timeframes: Timeframes,
    /// Which symbols follow which calendar; their timeframes nest under each.
    pub calendars: CalendarRules,
    /// Whether and how intervals without trades are filled.
    pub fill: Option<Fill>,
    /// What closes bars.
    pub clock: BarClock,
    /// How long after its end a bar stays open. 250 ms covers what a consolidated feed delays.
    pub grace: Nanos,
    /// How far behind the clock a tick for a closed bar may be.
    pub late_tolerance: Nanos,
    /// How long after its end a bar can still be revised.
    pub seal_after: Nanos,
    /// What makes the bars.
    pub bars_from: BarsFrom,
    /// Which trades move what; without, every trade moves everything.
    pub conditions: Option<Conditions>,
    /// Which trades are kept.
    pub keep_trades: KeepTrades,
    /// Memory for closed bars, bytes.
    pub history_bytes_max: usize,
    /// Memory for kept trades, bytes.
    pub trades_bytes_max: usize,
    /// Has the system give both at start, in huge pages if it has them, so that none is touched for the first time under load.
    pub preallocate: bool,
    /// Trades kept of one symbol, and up to a chunk of 32 more: the oldest go first.
    pub trades_per_symbol_max: usize,
    /// Keeps replaced revisions, so that facts can be replayed one by one.
    pub replayable: bool,
    /// A symbol's first bar is marked incomplete: live, its beginning was missed.
    pub joined_midway: bool,
    /// What builds a symbol's bars where it has several: the first of these that it has. What is not listed builds none.
    pub rank: Vec<BuiltBy>,
    /// How long after its end a coarse bar waits for the last of the vendor's bars that it is made of.
    pub upstream_wait: Nanos,
    /// Vendors' bars that wait to be compared with ours; with more, the oldest are compared at once.
    pub audit_bars_max: usize,
    /// Open bars of the finest timeframe that a symbol may have at once; ticks dated further ahead are refused.
    pub open_bars_max: usize,
    /// Open bars that all symbols together may have before those with more than a few get no further ones.
    pub open_bars_total_max: usize,
}

impl CandleOptions {
    /// The defaults of a live engine.
    pub fn live(timeframes: Timeframes) -> Self {
        Self {
            timeframes,
            calendars: CalendarRules::default(),
            fill: None,
            clock: BarClock::Live,
            grace: Nanos::from_millis(250),
            late_tolerance: Nanos::from_secs(15),
            seal_after: Nanos::from_secs(15 * 60),
            bars_from: BarsFrom::Trades,
            conditions: None,
            keep_trades: KeepTrades::All,
            history_bytes_max: 256 << 20,
            trades_bytes_max: 256 << 20,
            preallocate: false,
            // The bytes are the bound: a busy symbol may need more trades to revise a bar than many quiet ones.
            trades_per_symbol_max: usize::MAX,
            replayable: true,
            joined_midway: true,
            rank: vec![BuiltBy::Trades, BuiltBy::Aggregated, BuiltBy::Bars],
            // Vendors send a bar about a second after its end.
            upstream_wait: Nanos::from_secs(3),
            // 6 MiB: 15 s of bars of one second of 2,000 symbols, or of a minute of all.
            audit_bars_max: 1 << 15,
            // An hour of seconds: what a tick may be ahead at most.
            open_bars_max: 3_604,
            // 36 MiB.
            open_bars_total_max: 1 << 18,
        }
    }

    /// The defaults of a file that is read to its end: no tick is too late and nothing is sealed.
    pub fn file(timeframes: Timeframes) -> Self {
        Self {
            clock: BarClock::Event,
            late_tolerance: Nanos::MAX,
            seal_after: Nanos::MAX,
            keep_trades: KeepTrades::WithId,
            history_bytes_max: usize::MAX,
            trades_bytes_max: 1 << 30,
            replayable: false,
            joined_midway: false,
            open_bars_max: usize::MAX,
            open_bars_total_max: usize::MAX,
            ..Self::live(timeframes)
        }
    }
}
