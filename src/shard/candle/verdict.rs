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
    /// A trade as old as some that are no longer kept, so that nobody can say whether it is one of them.
    Unverifiable,
    /// A trade of an interval whose bar is a vendor's: that has it, or should.
    Backfilled,
    /// An aggregated trade of a symbol that has plain ones, or what else `bars.rank` puts behind.
    Outranked,
    /// A vendor's bar of a length that is no timeframe here.
    NoTimeframe,
    /// A vendor's bar that contradicts itself: not aligned to its length, its low above its high, or sums out of all proportion.
    BadBar,
    /// Half of a vendor's bar without the other.
    HalfBar,
    /// A vendor's bar of an interval that is not over.
    NotOver,
    /// A gap that ends where it begins, or before.
    EmptyGap,
}

/// How many [`Refusal`]s there are.
pub const REFUSALS: usize = 15;

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
        "unverifiable",
        "backfilled",
        "outranked",
        "no_timeframe",
        "bad_bar",
        "half_bar",
        "not_over",
        "empty_gap",
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
    /// Bars that closed, those that were filled among them.
    pub closed: u64,
    /// Bars made for intervals without trades.
    pub filled: u64,
    /// How often a timeframe of a symbol was filled no further, for there had been too many such bars in a row.
    pub fills_stopped: u64,
    /// Revisions.
    pub revised: u64,
    /// Bars sealed before their time, for want of memory.
    pub sealed_early: u64,
    /// Trades dropped from the log, for want of memory.
    pub trades_evicted: u64,
    /// Known gaps, and how many of them had to be made one with a neighbour, for want of memory.
    pub gaps: u64,
    /// See `gaps`.
    pub gaps_merged: u64,
    /// Sealed bars that a gap concerns and that can no longer say so.
    pub gaps_sealed: u64,
    /// Holes in numbers that a venue gives without one: found, and given up as gaps.
    pub holes: u64,
    /// See `holes`.
    pub holes_given_up: u64,
    /// Numbers that came in a hole.
    pub holes_filled: u64,
    /// Numbers that went back without a hole there, and how often that was a venue that began anew.
    pub numbers_back: u64,
    /// See `numbers_back`.
    pub numbers_restarted: u64,
    /// Symbols whose bars another kind of tick builds from now on.
    pub promoted: u64,
    /// Trades that a symbol's bars are not built from, as `bars.rank` says; they are published all the same.
    pub beside_bars: u64,
    /// Vendors' bars that count as bars.
    pub upstream_built: u64,
    /// Vendors' bars in the place of one of ours, or where we had none.
    pub upstream_healed: u64,
    /// Forming bars of vendors that were not needed.
    pub upstream_unused: u64,
    /// Halves of vendors' bars that wait for the other.
    pub halves_waiting: u64,
    /// Vendors' bars beside ours.
    pub audit: Audit,
}

/// What vendors' bars say of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Compared field by field, and of these without a difference.
    pub compared: u64,
    /// See `compared`.
    pub same: u64,
    /// Opens that differ.
    pub open: u64,
    /// Highs that differ.
    pub high: u64,
    /// Lows that differ.
    pub low: u64,
    /// Closes that differ.
    pub close: u64,
    /// Volumes that differ.
    pub volume: u64,
    /// Counts of trades that differ, where the vendor counts them.
    pub trades: u64,
    /// Ours does not exist.
    pub missing: u64,
    /// Ours is known to be incomplete.
    pub incomplete: u64,
    /// Ours is no longer kept.
    pub forgotten: u64,
    /// Compared before late trades had their time, for want of memory.
    pub early: u64,
}

impl Tallies {
    /// What is known of gaps, and of vendors' bars, by name.
    pub(crate) fn known(&self, mut count: impl FnMut(&'static str, u64)) {
        let Self { audit, .. } = self;
        for (name, value) in [
            ("gaps_known", self.gaps),
            ("gaps_merged", self.gaps_merged),
            ("gaps_sealed", self.gaps_sealed),
            ("holes", self.holes),
            ("holes_filled", self.holes_filled),
            ("holes_given_up", self.holes_given_up),
            ("numbers_back", self.numbers_back),
            ("numbers_restarted", self.numbers_restarted),
            ("promoted", self.promoted),
            ("trades_beside_bars", self.beside_bars),
            ("upstream_built", self.upstream_built),
            ("upstream_healed", self.upstream_healed),
            ("upstream_unused", self.upstream_unused),
            ("half_bars_waiting", self.halves_waiting),
            ("audit.compared", audit.compared),
            ("audit.same", audit.same),
            ("audit.open", audit.open),
            ("audit.high", audit.high),
            ("audit.low", audit.low),
            ("audit.close", audit.close),
            ("audit.volume", audit.volume),
            ("audit.trades", audit.trades),
            ("audit.missing", audit.missing),
            ("audit.incomplete", audit.incomplete),
            ("audit.forgotten", audit.forgotten),
            ("audit.early", audit.early),
        ] {
            count(name, value);
        }
    }
}
