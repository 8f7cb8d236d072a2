//! The candle: integer sums that are exact in any order.

use bytemuck::{Pod, Zeroable};

use super::price::{Notional, Price, Size, Volume};
use super::time::UnixNanos;

/// Open, high, low, close and sums of the trades in `[start, start + timeframe)`. 80 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Bar {
    /// Sum of sizes, 1e-8.
    pub volume: Volume,
    /// Sum of price times size, 1e-17.
    pub notional: Notional,
    /// When it begins.
    pub start: UnixNanos,
    /// Price of the least trade by (`ts_event`, venue sequence, arrival).
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of the greatest trade by (`ts_event`, venue sequence, arrival).
    pub close: Price,
    /// How many trades, or quotes where it is built from quotes. A vendor's bar may have volume and no count: 0.
    pub trades: u64,
}

const _: () = assert!(size_of::<Bar>() == 80);

impl Bar {
    /// Volume-weighted average price to 9 places, half to even; `None` without volume, or where a vendor's bar does not say it
    /// and the notional is 0.
    pub fn vwap(&self) -> Option<Price> {
        if self.notional.0 == 0 { None } else { self.notional.vwap(self.volume) }
    }

    /// Adds what one trade contributes regardless of order.
    #[inline(always)]
    pub fn add_unordered(&mut self, price: Price, size: Size) {
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.volume.0 += u128::from(size.0);
        self.notional.0 += price.times(size).0;
        self.trades += 1;
    }
}

/// What is known to be odd about a bar.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct BarFlags(pub u8);

impl BarFlags {
    /// Ticks are known to be missing: a gap, or the feed was joined midway.
    pub const INCOMPLETE: Self = Self(1);
    /// Made to fill an interval without trades.
    pub const SYNTHETIC: Self = Self(2);
    /// Trading was halted for some of it.
    pub const HALTED: Self = Self(4);
    /// A cancel, correction or late tick for it was refused.
    pub const REFUSED: Self = Self(8);

    /// Asked of the vendor while no connection brought ticks: its numbers are the vendor's, for the time being.
    pub const POLLED: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::INCOMPLETE, "incomplete"),
        (Self::SYNTHETIC, "synthetic"),
        (Self::HALTED, "halted"),
        (Self::REFUSED, "refused"),
        (Self::POLLED, "polled"),
    ];

    /// Both sets of flags.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but for `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// Where a bar is in its life.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarState {
    /// Still open: a state, replaced by the next.
    Forming = 0,
    /// Closed: a fact, revision 0.
    Closed = 1,
    /// Changed after it closed: a fact, revision 1 and up.
    Revised = 2,
}

/// Why a closed bar changed.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It did not.
    None = 0,
    /// A trade came after the bar had closed.
    Late = 1,
    /// A trade was taken back.
    Cancel = 2,
    /// A trade's price or size was corrected.
    Correct = 3,
    /// Missing trades were fetched afterwards.
    Backfill = 4,
    /// Only flags changed: it became known that trades are missing, that none are, or that dealing was halted.
    Gap = 5,
}

impl Reason {
    /// As the protocols spell it; `None` where there is no reason.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Late => Some("late"),
            Self::Cancel => Some("cancel"),
            Self::Correct => Some("correct"),
            Self::Backfill => Some("backfill"),
            Self::Gap => Some("gap"),
        }
    }
}
