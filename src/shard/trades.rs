//! The trades of the unsealed window: to find duplicates, to take trades back, and to replay the trades topic.

use crate::model::{IdForm, Tick, TickKind, TradeId, UnixNanos};

use super::chunk::{Arena, List, NONE};
use super::record::{Rank, Record, Sample};

/// Trades per chunk: 2 KiB.
const CHUNK: usize = 32;
const DAY_NS: i64 = 86_400_000_000_000;
/// A correction of a correction is followed so many times.
const CORRECTIONS_MAX: usize = 8;

/// Every kept trade of one shard, per symbol in order of arrival, and an index of their ids.
pub struct TradeLog {
    arena: Arena<Tick, CHUNK>,
    index: Vec<u32>,
    mask: usize,
    indexed: usize,
}

/// One symbol's part of the log.
#[derive(Default, Clone, Copy)]
pub struct SymbolTrades {
    list: List,
    /// The sequence of its newest entry: how many trades, cancels and corrections there were.
    pub sequence: u64,
}

impl SymbolTrades {
    /// Facts up to this sequence can no longer be replayed.
    pub const fn floor(&self) -> u64 {
        self.sequence - self.list.len() as u64
    }
}

impl TradeLog {
    /// A log of at most `bytes_max`, its index included.
    pub fn new(bytes_max: usize) -> Self {
        // An index slot of 4 bytes twice per trade of 64 bytes: one ninth of the whole.
        let arena = Arena::new(bytes_max / 9 * 8);
        Self { arena, index: Vec::new(), mask: 0, indexed: 0 }
    }

    /// Whether an append to `symbol` must be preceded by [`Self::evict`].
    #[inline]
    pub fn must_evict(&self, symbol: &SymbolTrades) -> bool {
        self.arena.must_evict(&symbol.list)
    }

    /// Who would lose its oldest trades.
    pub fn oldest_owner(&self) -> Option<u32> {
        self.arena.oldest_owner()
    }

    /// Drops the oldest chunk, which is `symbol`'s. Returns how many trades went.
    pub fn evict(&mut self, symbol: &mut SymbolTrades) -> usize {
        let n = self.arena.head_len(&symbol.list);
        for _ in 0..n {
            if let Some(place) = self.arena.front(&symbol.list) {
                self.unindex(place);
            }
            self.arena.pop_front(&mut symbol.list);
        }
        n
    }

    /// Appends an entry; its id, if it has one, is found from then on unless an equal one was there before.
    #[inline]
    pub fn append(&mut self, owner: u32, symbol: &mut SymbolTrades, tick: &Tick) {
        symbol.sequence += 1;
        let Some(place) = self.arena.push(&mut symbol.list, owner, *tick) else { return };
        let id = match tick.kind() {
            TickKind::Trade => tick.id(),
            TickKind::Correction => tick.corrected_id(),
            _ => return,
        };
        if id.form == IdForm::None {
            return;
        }
        if (self.indexed + 1) * 2 > self.index.len() {
            self.grow_index();
        }
        let mut slot = hash(tick, id) & self.mask;
        while self.index[slot] != NONE {
            if self.names(self.index[slot], tick, id) {
                return;
            }
            slot = (slot + 1) & self.mask;
        }
        self.index[slot] = place;
        self.indexed += 1;
    }

    /// Counts a fact of a symbol whose trades are not kept.
    pub fn skip(&mut self, symbol: &mut SymbolTrades) {
        symbol.sequence += 1;
    }

    /// The first kept trade of `tick`'s venue, TRF and date with this id.
    #[inline]
    pub fn find(&self, tick: &Tick, id: TradeId) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let mut slot = hash(tick, id) & self.mask;
        while self.index[slot] != NONE {
            if self.names(self.index[slot], tick, id) {
                return Some(self.index[slot]);
            }
            slot = (slot + 1) & self.mask;
        }
        None
    }

    /// The entry that now stands for the trade named by `tick` (a cancel or correction): itself, or what corrected it.
    pub fn find_live(&self, symbol: &SymbolTrades, tick: &Tick) -> Option<u32> {
        let place = self.find(tick, tick.id())?;
        if !self.get(place).is_cancelled() {
            return Some(place);
        }
        let corrects = |entry: &Tick| {
            entry.kind() == TickKind::Correction
                && !entry.is_cancelled()
                && entry.corrected_id() == tick.id()
                && same_market(entry, tick)
        };
        self.arena.backward(&symbol.list).find(|(_, entry)| corrects(entry)).map(|(place, _)| place)
    }

    /// The entry at a place that `find` gave.
    pub fn get(&self, place: u32) -> &Tick {
        self.arena.get(place)
    }

    /// Takes the entry out of every later recomputation, or puts it back.
    pub fn set_cancelled(&mut self, place: u32, cancelled: bool) {
        self.arena.get_mut(place).set_cancelled(cancelled);
    }

    /// What an entry brings to a bar: a correction stands in the place of the trade that it corrects.
    fn sample(&self, entry: &Tick) -> Sample {
        let mut origin = *entry;
        for _ in 0..CORRECTIONS_MAX {
            if origin.kind() != TickKind::Correction {
                break;
            }
            match self.find(&origin, origin.id()) {
                Some(place) if self.get(place) != &origin => origin = *self.get(place),
                _ => break,
            }
        }
        let rank = Rank { ts_event: entry.ts_event, sequence: origin.rank() };
        Sample { rank, price: entry.price, size: entry.size, ts_recv: entry.ts_recv }
    }

    /// The bar of `[start, end)` from the kept trades alone.
    pub fn recompute(&self, symbol: &SymbolTrades, start: UnixNanos, end: UnixNanos) -> Record {
        let mut record = Record::empty(start);
        for entry in self.arena.forward(&symbol.list) {
            let counts =
                matches!(entry.kind(), TickKind::Trade | TickKind::Correction) && !entry.is_cancelled();
            if counts && entry.ts_event >= start && entry.ts_event < end {
                record.add(&self.sample(entry));
            }
        }
        record
    }

    /// The facts after `since`, with their sequences.
    pub fn replay<'a>(
        &'a self,
        symbol: &'a SymbolTrades,
        since: u64,
    ) -> impl Iterator<Item = (u64, &'a Tick)> + 'a {
        let first = symbol.floor() + 1;
        (first..).zip(self.arena.forward(&symbol.list)).skip_while(move |&(sequence, _)| sequence <= since)
    }

    /// The newest fact.
    pub fn newest(&self, symbol: &SymbolTrades) -> Option<&Tick> {
        self.arena.back(&symbol.list).map(|place| self.arena.get(place))
    }

    fn names(&self, place: u32, tick: &Tick, id: TradeId) -> bool {
        let entry = self.arena.get(place);
        let entry_id = if entry.kind() == TickKind::Correction { entry.corrected_id() } else { entry.id() };
        entry_id == id && same_market(entry, tick)
    }

    #[cold]
    fn grow_index(&mut self) {
        let slots = (self.index.len() * 2).max(1024);
        let old = std::mem::replace(&mut self.index, vec![NONE; slots]);
        self.mask = slots - 1;
        for place in old.into_iter().filter(|&place| place != NONE) {
            let mut slot = self.home(place);
            while self.index[slot] != NONE {
                slot = (slot + 1) & self.mask;
            }
            self.index[slot] = place;
        }
    }

    /// The slot where the entry's search begins.
    fn home(&self, place: u32) -> usize {
        let entry = self.arena.get(place);
        let id = if entry.kind() == TickKind::Correction { entry.corrected_id() } else { entry.id() };
        hash(entry, id) & self.mask
    }

    fn unindex(&mut self, place: u32) {
        let entry = self.arena.get(place);
        if self.index.is_empty() || (entry.id().form == IdForm::None && entry.kind() != TickKind::Correction)
        {
            return;
        }
        let mut slot = self.home(place);
        while self.index[slot] != place {
            if self.index[slot] == NONE {
                return;
            }
            slot = (slot + 1) & self.mask;
        }
        self.indexed -= 1;
        // Pulls later entries of the run back, so that no search is cut short by the hole.
        let mut hole = slot;
        loop {
            slot = (slot + 1) & self.mask;
            let next = self.index[slot];
            if next == NONE {
                break;
            }
            let home = self.home(next);
            let distance_to_hole = hole.wrapping_sub(home) & self.mask;
            let distance_to_slot = slot.wrapping_sub(home) & self.mask;
            if distance_to_hole <= distance_to_slot {
                self.index[hole] = next;
                hole = slot;
            }
        }
        self.index[hole] = NONE;
    }
}

fn same_market(a: &Tick, b: &Tick) -> bool {
    a.symbol == b.symbol && a.venue == b.venue && a.trf == b.trf && day(a) == day(b)
}

fn day(tick: &Tick) -> i64 {
    tick.ts_event.0.div_euclid(DAY_NS)
}

#[inline]
fn hash(tick: &Tick, id: TradeId) -> usize {
    let low = id.bits as u64;
    let high = (id.bits >> 64) as u64 ^ (u64::from(tick.venue.0) << 32) ^ (u64::from(tick.trf) << 40);
    let key = low.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (high ^ (u64::from(tick.symbol.0) << 8)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ (day(tick) as u64).wrapping_mul(0x1656_67b1_9e37_79f9);
    (key ^ (key >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as usize >> 20
}
