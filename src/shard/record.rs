//! A bar as the shard keeps it: the candle with the ranks of its open and close, and its place in the topic's facts.

use bytemuck::{Pod, Zeroable};

use crate::model::{Bar, BarFlags, Notional, Price, Size, UnixNanos, Volume};

/// Where a trade stands: by time, then by the venue's own sequence. Equal ranks keep the order of arrival.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Pod, Zeroable)]
pub struct Rank {
    /// When it happened.
    pub ts_event: UnixNanos,
    /// The venue's sequence, 0 where there is none.
    pub sequence: u64,
}

/// What one trade (or quote) brings to a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Its place in time.
    pub rank: Rank,
    /// Its price.
    pub price: Price,
    /// Its size; 0 adds no volume.
    pub size: Size,
    /// When it was read.
    pub ts_recv: UnixNanos,
}

/// What of a bar is a vendor's.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Vendor(pub u8);

impl Vendor {
    /// Something of it.
    pub const PART: Self = Self(1);
    /// All of it: the vendor gave it as it is, and trades do not count beside it.
    pub const WHOLE: Self = Self(2);
    /// The notional of a part of it is not known.
    pub const NO_NOTIONAL: Self = Self(4);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it says all of `other`.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What it makes of a bar that it is merged into.
    const fn as_part(self) -> Self {
        Self(self.0 & !Self::WHOLE.0)
    }
}

/// A bar of the shard, 144 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Record {
    /// The candle itself.
    pub bar: Bar,
    /// Which trade opened it.
    pub opened: Rank,
    /// Which trade closed it.
    pub closed: Rank,
    /// When the newest trade in it was read.
    pub ts_recv: UnixNanos,
    /// The fact that published it, 0 while it is open.
    pub sequence: u64,
    /// Its revision.
    pub rev: u32,
    /// What is odd about it.
    pub flags: BarFlags,
    /// The [`crate::model::Reason`] of its last revision, as a number.
    pub reason: u8,
    /// What of it is a vendor's.
    pub vendor: Vendor,
    reserved: [u8; 9],
}

impl Record {
    /// A bar that begins at `start` with one sample.
    #[inline]
    pub fn first(start: UnixNanos, sample: &Sample) -> Self {
        Self {
            bar: Bar {
                volume: Volume(u128::from(sample.size.0)),
                notional: Notional(sample.price.times(sample.size).0),
                start,
                open: sample.price,
                high: sample.price,
                low: sample.price,
                close: sample.price,
                trades: 1,
            },
            opened: sample.rank,
            closed: sample.rank,
            ts_recv: sample.ts_recv,
            ..Self::zeroed()
        }
    }

    /// Adds a sample that arrived after all those in it.
    #[inline]
    pub fn add(&mut self, sample: &Sample) {
        if self.is_empty() {
            *self = Self { ts_recv: self.ts_recv.max(sample.ts_recv), ..self.refilled(sample) };
            return;
        }
        if sample.rank >= self.closed {
            self.closed = sample.rank;
            self.bar.close = sample.price;
        } else if sample.rank < self.opened {
            self.opened = sample.rank;
            self.bar.open = sample.price;
        }
        self.bar.add_unordered(sample.price, sample.size);
        self.ts_recv = self.ts_recv.max(sample.ts_recv);
    }

    /// What it becomes when a sample comes after all its trades were cancelled.
    fn refilled(&self, sample: &Sample) -> Self {
        let Self { sequence, rev, flags, reason, .. } = *self;
        Self { sequence, rev, flags, reason, ..Self::first(self.bar.start, sample) }
    }

    /// Whether nothing was traded in it. A vendor's bar may have volume without a count of trades.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bar.trades == 0 && self.vendor.0 == 0
    }

    /// The candle as it is published.
    #[inline]
    pub fn published(&self) -> Bar {
        let mut bar = self.bar;
        if self.vendor.has(Vendor::NO_NOTIONAL) {
            bar.notional = Notional(0);
        }
        bar
    }

    /// Adds a bar of a shorter timeframe inside this one. The intervals of merged bars never overlap, so ranks
    /// never tie. Emptied bars add nothing but their flags.
    #[inline]
    pub fn merge(&mut self, part: &Self) {
        self.flags = self.flags.with(part.flags);
        if part.is_empty() {
            return;
        }
        let vendor = self.vendor.with(part.vendor.as_part());
        if self.is_empty() {
            let Self { sequence, rev, flags, reason, .. } = *self;
            let bar = Bar { start: self.bar.start, ..part.bar };
            *self = Self { bar, sequence, rev, flags, reason, vendor, ..*part };
            return;
        }
        self.vendor = vendor;
        if part.closed > self.closed {
            self.closed = part.closed;
            self.bar.close = part.bar.close;
        }
        if part.opened < self.opened {
            self.opened = part.opened;
            self.bar.open = part.bar.open;
        }
        self.bar.high = self.bar.high.max(part.bar.high);
        self.bar.low = self.bar.low.min(part.bar.low);
        self.bar.volume.0 += part.bar.volume.0;
        self.bar.notional.0 += part.bar.notional.0;
        self.bar.trades += part.bar.trades;
        self.ts_recv = self.ts_recv.max(part.ts_recv);
    }

    /// An empty bar to merge parts into.
    pub fn empty(start: UnixNanos) -> Self {
        Self { bar: Bar { start, ..Bar::default() }, ..Self::zeroed() }
    }

    /// Takes the candle of `fresh`, keeping its own place among the facts.
    pub fn replace(&mut self, fresh: &Self) {
        if fresh.is_empty() {
            // No price is left to show; the old ones stand beside a count and volume of 0.
            self.bar.volume = Volume(0);
            self.bar.notional = Notional(0);
            self.bar.trades = 0;
            self.vendor = Vendor::default();
        } else {
            self.bar = Bar { start: self.bar.start, ..fresh.bar };
            self.opened = fresh.opened;
            self.closed = fresh.closed;
            self.vendor = fresh.vendor;
        }
        self.ts_recv = self.ts_recv.max(fresh.ts_recv);
        self.flags = self.flags.with(fresh.flags);
    }
}
