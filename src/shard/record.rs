//! A bar as the shard keeps it: the candle with the ranks of its open and close, and its place in the topic's facts.
//!
//! Most trades move every field of a bar. Those whose sale condition forbids it leave some alone, so a bar knows which of its fields
//! nothing has moved yet; one without a price is kept, for its volume counts in coarser bars, and not published.

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

/// A set of a bar's fields.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Fields(pub u8);

impl Fields {
    /// None.
    pub const NONE: Self = Self(0);
    /// The open; and the close of a bar in which no trade may close.
    pub const OPEN: Self = Self(1);
    /// The close.
    pub const CLOSE: Self = Self(2);
    /// High and low.
    pub const HIGH_LOW: Self = Self(4);
    /// Volume, notional and the count of trades.
    pub const VOLUME: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// The fields of both.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in `other`.
    #[inline]
    #[must_use]
    pub const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in `other` too.
    #[inline]
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are in it.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
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
    /// What it leaves alone: nothing, but for some sale conditions.
    pub leaves: Fields,
    /// What it leaves alone in daily bars.
    pub leaves_daily: Fields,
}

impl Sample {
    /// The same as a daily bar sees it.
    #[must_use]
    pub fn daily(self) -> Self {
        Self { leaves: self.leaves_daily, ..self }
    }
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

/// A bar of the shard, 144 bytes. What most trades change is its end, from `ts_recv` on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Record {
    /// Which trade opened it.
    pub opened: Rank,
    /// The fact that published it, 0 while it is open.
    pub sequence: u64,
    /// Its revision.
    pub rev: u32,
    /// What is odd about it.
    pub flags: BarFlags,
    /// The [`crate::model::Reason`] of its last revision, as a number.
    pub reason: u8,
    /// The fields that no trade has moved. They hold nothing of meaning; without a close, that is the open.
    pub lacks: Fields,
    /// What of it is a vendor's.
    pub vendor: Vendor,
    /// Trades in it that its own count leaves out.
    pub uncounted: u32,
    reserved: [u8; 4],
    /// When the newest trade in it was read.
    pub ts_recv: UnixNanos,
    /// The candle itself.
    pub bar: Bar,
    /// Which trade closed it.
    pub closed: Rank,
}

impl Record {
    /// A bar that begins at `start` with one sample.
    #[inline]
    pub fn first(start: UnixNanos, sample: &Sample) -> Self {
        if sample.leaves != Fields::NONE {
            let mut record = Self::empty(start);
            record.add_in_part(sample);
            return record;
        }
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
        if self.lacks.and(sample.leaves) != Fields::NONE {
            return self.add_in_part(sample);
        }
        self.add_whole(sample.rank, sample.price, sample.size, sample.ts_recv);
    }

    /// [`Self::add`] where every field has a value, and the sample moves them all.
    #[inline(always)]
    pub fn add_whole(&mut self, rank: Rank, price: Price, size: Size, ts_recv: UnixNanos) {
        // Ranks compared by hand: the first branch nearly always decides.
        let (at, newest) = (rank.ts_event, self.closed.ts_event);
        if at > newest || (at == newest && rank.sequence >= self.closed.sequence) {
            self.closed = rank;
            self.bar.close = price;
        } else if rank < self.opened {
            self.opened = rank;
            self.bar.open = price;
        }
        self.bar.add_unordered(price, size);
        if ts_recv > self.ts_recv {
            self.ts_recv = ts_recv;
        }
    }

    /// [`Self::add`] where a field has no value yet, or where the sample leaves one alone.
    #[inline(never)]
    fn add_in_part(&mut self, sample: &Sample) {
        let moves = Fields::ALL.but(sample.leaves);
        if moves.has(Fields::OPEN) && (self.lacks.has(Fields::OPEN) || sample.rank < self.opened) {
            (self.opened, self.bar.open) = (sample.rank, sample.price);
        }
        if moves.has(Fields::CLOSE) && (self.lacks.has(Fields::CLOSE) || sample.rank >= self.closed) {
            (self.closed, self.bar.close) = (sample.rank, sample.price);
        }
        if moves.has(Fields::HIGH_LOW) {
            let (high, low) = self.range();
            (self.bar.high, self.bar.low) = (high.max(sample.price), low.min(sample.price));
        }
        if moves.has(Fields::VOLUME) {
            self.bar.volume.0 += u128::from(sample.size.0);
            self.bar.notional.0 += sample.price.times(sample.size).0;
            self.bar.trades += 1;
        } else {
            self.uncounted = self.uncounted.saturating_add(1);
        }
        self.lacks = self.lacks.common(sample.leaves);
        self.close_by_open();
        self.ts_recv = self.ts_recv.max(sample.ts_recv);
    }

    /// Highest and lowest price, or what any price replaces.
    fn range(&self) -> (Price, Price) {
        if self.lacks.has(Fields::HIGH_LOW) {
            (Price(i64::MIN), Price(i64::MAX))
        } else {
            (self.bar.high, self.bar.low)
        }
    }

    /// A bar of trades that may only be the first: the first is its close as well.
    fn close_by_open(&mut self) {
        if self.lacks.has(Fields::CLOSE) && !self.lacks.has(Fields::OPEN) {
            (self.closed, self.bar.close) = (self.opened, self.bar.open);
        }
    }

    /// Adds a bar of a shorter timeframe inside this one. The intervals of merged bars never overlap, so ranks
    /// never tie. Emptied bars add nothing but their flags.
    #[inline]
    pub fn merge(&mut self, part: &Self) {
        // A part that was filled does not make the whole so.
        self.flags = self.flags.with(part.flags.without(BarFlags::SYNTHETIC));
        if self.lacks.and(part.lacks) != Fields::NONE {
            return self.merge_in_part(part);
        }
        self.vendor = self.vendor.with(part.vendor.as_part());
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
        self.uncounted = self.uncounted.saturating_add(part.uncounted);
        self.ts_recv = self.ts_recv.max(part.ts_recv);
    }

    /// A longer bar that begins at `start` and has only this in it yet.
    pub fn as_part(&self, start: UnixNanos) -> Self {
        let mut record = *self;
        record.bar.start = start;
        (record.sequence, record.rev, record.reason) = (0, 0, 0);
        record.flags = self.flags.without(BarFlags::SYNTHETIC);
        record.vendor = self.vendor.as_part();
        record
    }

    /// [`Self::merge`] where either lacks a field, most often as the sum has nothing in it yet.
    fn merge_in_part(&mut self, part: &Self) {
        if part.is_empty() {
            return;
        }
        if self.is_empty() {
            let Self { sequence, rev, flags, reason, .. } = *self;
            *self = Self { sequence, rev, flags, reason, ..part.as_part(self.bar.start) };
            return;
        }
        self.vendor = self.vendor.with(part.vendor.as_part());
        let has = |field| !part.lacks.has(field);
        if has(Fields::OPEN) && (self.lacks.has(Fields::OPEN) || part.opened < self.opened) {
            (self.opened, self.bar.open) = (part.opened, part.bar.open);
        }
        if has(Fields::CLOSE) && (self.lacks.has(Fields::CLOSE) || part.closed > self.closed) {
            (self.closed, self.bar.close) = (part.closed, part.bar.close);
        }
        if has(Fields::HIGH_LOW) {
            let (high, low) = self.range();
            (self.bar.high, self.bar.low) = (high.max(part.bar.high), low.min(part.bar.low));
        }
        self.bar.volume.0 += part.bar.volume.0;
        self.bar.notional.0 += part.bar.notional.0;
        self.bar.trades += part.bar.trades;
        self.uncounted = self.uncounted.saturating_add(part.uncounted);
        self.lacks = self.lacks.common(part.lacks);
        self.close_by_open();
        self.ts_recv = self.ts_recv.max(part.ts_recv);
    }

    /// An empty bar to merge parts into.
    pub fn empty(start: UnixNanos) -> Self {
        Self { bar: Bar { start, ..Bar::default() }, lacks: Fields::ALL, ..Self::zeroed() }
    }

    /// Whether there is no trade in it at all.
    pub fn is_empty(&self) -> bool {
        self.lacks == Fields::ALL && self.uncounted == 0
    }

    /// Whether there is a bar to publish: a price of each kind, and a trade that counts.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.lacks.but(Fields::CLOSE) == Fields::NONE
    }

    /// Whether it is to be seen: whole, or there to fill a hole.
    #[inline]
    pub fn is_published(&self) -> bool {
        self.is_whole() || self.flags.has(BarFlags::SYNTHETIC)
    }

    /// How many trades are in it, whatever they moved.
    pub fn prints(&self) -> u64 {
        self.bar.trades + u64::from(self.uncounted)
    }

    /// The bar as it is published. One that was, and has no price or no trade any more, is shown by a count and volume of 0
    /// beside the prices it had.
    #[inline]
    pub fn shown(&self) -> Bar {
        if self.vendor.has(Vendor::NO_NOTIONAL) {
            return Bar { notional: Notional(0), ..self.bar };
        }
        if self.is_whole() {
            return self.bar;
        }
        let bar = Bar { volume: Volume(0), notional: Notional(0), trades: 0, ..self.bar };
        if !self.flags.has(BarFlags::SYNTHETIC) {
            return bar;
        }
        // A trade that moved only some of its prices is no news of the others.
        Bar { open: bar.close, high: bar.close, low: bar.close, ..bar }
    }

    /// Takes the candle of `fresh`, keeping its own place among the facts. Prices that `fresh` has none for stay.
    pub fn replace(&mut self, fresh: &Self) {
        let old = self.bar;
        let missing = fresh.lacks;
        self.bar = Bar { start: old.start, ..fresh.bar };
        if missing.has(Fields::OPEN) {
            (self.bar.open, self.bar.close) = (old.open, old.close);
        }
        if missing.has(Fields::HIGH_LOW) {
            (self.bar.high, self.bar.low) = (old.high, old.low);
        }
        if !fresh.is_empty() {
            (self.opened, self.closed) = (fresh.opened, fresh.closed);
        }
        (self.lacks, self.uncounted, self.vendor) = (fresh.lacks, fresh.uncounted, fresh.vendor);
        self.ts_recv = self.ts_recv.max(fresh.ts_recv);
        self.flags = self.flags.with(fresh.flags);
    }
}
