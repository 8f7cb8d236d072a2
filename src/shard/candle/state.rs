//! What a shard keeps of a symbol: what each trade touches, its other open bars, and by timeframe what is closed.

use std::collections::VecDeque;
use std::mem::offset_of;

use crate::model::calendar::Interval;
use crate::model::{Price, SymbolId, Tick, UnixNanos, Volume};

use super::super::chunk::{List, NONE};
use super::super::missing::Missing;
use super::super::numbers::Numbers;
use super::super::record::Record;
use super::super::trades::SymbolTrades;
use super::day::Today;
use super::fill::Filling;
use super::halt::Halts;
use super::{BuiltBy, NO_START};

pub(super) struct Level {
    pub(super) bars: List,
    /// Place of the first bar that can still be revised, and how many there are.
    pub(super) unsealed_at: u32,
    pub(super) unsealed: u32,
    /// Sum of the sealed children of the interval that the last of them is in.
    pub(super) prefix: Record,
    /// Everything before is closed, and sealed.
    pub(super) closed_to: UnixNanos,
    pub(super) sealed_to: UnixNanos,
    /// The topic's last fact.
    pub(super) sequence: u64,
    /// Facts up to here can no longer be replayed.
    pub(super) floor: u64,
    pub(super) superseded: VecDeque<Record>,
}

impl Level {
    pub(super) fn new() -> Self {
        Self {
            bars: List::default(),
            unsealed_at: NONE,
            unsealed: 0,
            prefix: Record::empty(UnixNanos::MIN),
            closed_to: UnixNanos::MIN,
            sealed_to: UnixNanos::MIN,
            sequence: 0,
            floor: 0,
            superseded: VecDeque::new(),
        }
    }

    /// Whether the first bar that can still be revised is at one of these places.
    pub(super) fn is_unsealed_in(&self, places: std::ops::Range<u32>) -> bool {
        self.unsealed > 0 && places.contains(&self.unsealed_at)
    }
}

/// What every trade of a symbol touches, in three cache lines apart from all else: those of many symbols lie close together, so they stay in
/// the caches and take few pages. What lies before and after them belongs to the same things and is touched less.
#[repr(C, align(64))]
pub(super) struct Hot {
    pub(super) current_end: UnixNanos,
    /// See [`Self::newest`].
    newest: UnixNanos,
    pub(super) built_by: BuiltBy,
    /// The open bar that was touched last; `bar.start` is [`NO_START`] where there is none.
    pub(super) current: Record,
    /// Before this a trade of the current bar is usual, if it is of the right form and new; [`UnixNanos::MIN`] where none is. It is worked
    /// out after each trade that took the long way; a new deadline undoes it.
    pub(super) usual_until: UnixNanos,
    pub(super) last: Price,
    pub(super) day_volume: Volume,
    /// The low half of the number that the next trade should have, where the venue numbers without a hole.
    pub(super) expected: u32,
    /// Of which form a trade must be to be usual.
    pub(super) form: u16,
    pub(super) source: u8,
    pub(super) trades: SymbolTrades,
}

/// The lines of [`Hot`] that every trade touches.
pub(super) const HOT_LINES: std::ops::Range<usize> = 1..4;
const _: () = {
    let begins = offset_of!(Hot, current) + offset_of!(Record, ts_recv);
    let ends = offset_of!(Hot, trades) + SymbolTrades::TOUCHED;
    assert!(HOT_LINES.start * 64 <= begins && ends <= HOT_LINES.end * 64 && size_of::<Hot>() == 5 * 64);
};

impl Hot {
    pub(super) fn new() -> Self {
        Self {
            current_end: UnixNanos::MIN,
            newest: UnixNanos::MIN,
            built_by: BuiltBy::Nothing,
            current: Record::empty(NO_START),
            usual_until: UnixNanos::MIN,
            last: Price(0),
            day_volume: Volume(0),
            expected: 0,
            form: 0,
            source: 0,
            trades: SymbolTrades::default(),
        }
    }

    /// The newest time of a tick that made a bar.
    pub(super) fn newest(&self) -> UnixNanos {
        // A usual trade notes its time nowhere but in the open bar.
        if self.current.bar.start == NO_START {
            self.newest
        } else {
            self.newest.max(self.current.closed.ts_event)
        }
    }

    /// Says that there was a tick at `ts`. To be called before the open bar is taken away or loses a trade.
    pub(super) fn move_on(&mut self, ts: UnixNanos) {
        self.newest = self.newest().max(ts);
    }
}

/// What opens, closes and revises a symbol's bars.
pub(super) struct SymbolState {
    /// When the next bar is due to close, by the feed's clock.
    pub(super) deadline: UnixNanos,
    pub(super) parents_due: UnixNanos,
    pub(super) id: SymbolId,
    /// What is known to be missing, and what may still come.
    pub(super) missing: Missing,
    pub(super) numbers: Numbers,
    /// What vendors' bars need.
    pub(super) vendor: VendorState,
    /// Levels above the finest that expect nothing, and levels that have bars open to revision: bit by level, so that a close
    /// touches only the levels that it concerns.
    pub(super) idle_parents: u64,
    pub(super) revisable: u64,
    /// The other open bars, by start.
    pub(super) others: VecDeque<Record>,
    /// What the open bars bring to the day where that differs, by start.
    pub(super) open_daily: VecDeque<Record>,
    /// By level: the first interval that has closed children and is not closed itself.
    pub(super) pending: Box<[Interval]>,
    pub(super) levels: Box<[Level]>,
    pub(super) quote: Option<Tick>,
    /// The day of [`Hot::day_volume`].
    pub(super) day: Interval,
    /// The day by closed bars.
    pub(super) today: Today,
    /// Which of the grids it is on, and whether that still depends on where its ticks come from.
    pub(super) grid: u8,
    pub(super) grid_by_source: bool,
    pub(super) filling: Filling,
    pub(super) halts: Halts,
}

/// What a symbol needs for vendors' bars.
pub(super) struct VendorState {
    /// The level at which they build, where they do.
    pub(super) level: u8,
    /// Some bar of the symbol is, or was, a vendor's.
    pub(super) any: bool,
    /// Trades before this are of a time when another kind built.
    pub(super) since: UnixNanos,
    /// The vendor's bar that is not over; `bar.start` is [`NO_START`] where there is none.
    pub(super) forming: Record,
}

impl VendorState {
    pub(super) fn new() -> Self {
        Self { level: u8::MAX, any: false, since: UnixNanos::MIN, forming: Record::empty(NO_START) }
    }
}
