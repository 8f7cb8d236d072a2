//! What becomes of a tick, and the totals of it.

/// What became of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted,
    /// It was refused; the reason is counted.
    Refused(Refusal),
}

/// Why a shard refuses a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A trade with this id was already counted.
    Duplicate,
    /// Its bar is closed, and the tick is further behind than `late_tolerance`.
    TooLate,
    /// Its bar is sealed.
    Sealed,
    /// It is dated so far ahead that too many bars would be open.
    TooFarAhead,
    /// A cancel or correction of a trade that is not kept.
    UnknownTrade,
    /// A cancel or correction in a bar of which some trades are no longer kept.
    TradesEvicted,
    /// A kind that this shard has no rule for.
    Unsupported,
}

/// How many [`Refusal`]s there are.
pub const REFUSALS: usize = 7;

impl Refusal {
    /// As counters name it.
    pub const NAMES: [&'static str; REFUSALS] = [
        "duplicate",
        "too_late",
        "sealed",
        "too_far_ahead",
        "unknown_trade",
        "trades_evicted",
        "unsupported",
    ];
}

/// Totals of one shard.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    /// Ticks that count.
    pub accepted: u64,
    /// Ticks refused, by [`Refusal`].
    pub refused: [u64; REFUSALS],
    /// Trades with a condition that no table knows; they count in full.
    pub unknown_conditions: u64,
    /// Trades that revised a closed bar.
    pub late: u64,
    /// Bars that closed.
    pub closed: u64,
    /// Revisions.
    pub revised: u64,
    /// Bars sealed before their time, for want of memory.
    pub sealed_early: u64,
    /// Trades dropped from the log, for want of memory.
    pub trades_evicted: u64,
}
