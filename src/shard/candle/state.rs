//! What a shard keeps of a symbol: its open bars, and by timeframe what is closed.

use std::collections::VecDeque;

use crate::model::{BarFlags, Nanos, Price, SymbolId, Tick, UnixNanos, Volume};

use super::super::chunk::{List, NONE};
use super::super::record::Record;
use super::super::trades::SymbolTrades;
use super::day::Today;

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
}

/// What every trade touches comes first and fills whole cache lines.
#[repr(C, align(64))]
pub(super) struct SymbolState {
    /// The open bar that was touched last; `bar.start` is [`NO_START`] where there is none.
    pub(super) current: Record,
    pub(super) current_end: UnixNanos,
    pub(super) newest: UnixNanos,
    /// When the next bar is due to close, by the feed's clock.
    pub(super) deadline: UnixNanos,
    pub(super) id: SymbolId,
    pub(super) source: u8,
    /// Flags of the next bar that opens.
    pub(super) next_flags: BarFlags,
    pub(super) trades: SymbolTrades,
    pub(super) day_volume: Volume,
    pub(super) last: Price,
    pub(super) day: UnixNanos,
    // From here on only what opens, closes and revises bars.
    pub(super) parents_due: UnixNanos,
    /// Levels above the finest that expect nothing, and levels that have bars open to revision: bit by level, so that a close
    /// touches only the levels that it concerns.
    pub(super) idle_parents: u64,
    pub(super) revisable: u64,
    /// The other open bars, by start.
    pub(super) others: VecDeque<Record>,
    /// What the open bars bring to the day where that differs, by start.
    pub(super) open_daily: VecDeque<Record>,
    /// By level: start of the first interval that has closed children and is not closed itself.
    pub(super) pending: Box<[UnixNanos]>,
    pub(super) levels: Box<[Level]>,
    pub(super) quote: Option<Tick>,
    /// The day by closed bars.
    pub(super) today: Today,
}

/// The lines of [`SymbolState`] that a trade touches.
pub(super) const TRADE_LINES: usize = 4;
const _: () = assert!(std::mem::offset_of!(SymbolState, parents_due) == TRADE_LINES * 64);

pub(super) struct Spec {
    pub(super) len: Nanos,
    pub(super) child: usize,
    pub(super) parents: Vec<usize>,
}
