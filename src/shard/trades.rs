//! The trades of the unsealed window: to find duplicates, to take trades back, and to replay the trades topic.
//!
//! Most venues number a symbol's trades upward. As long as they do, a greater id is a new one and nothing is looked up. The first
//! id that is not greater puts that symbol's trades into a shared index, for good.

use crate::model::calendar::Interval;
use crate::model::{IdForm, Tick, TickKind, TradeId, UnixNanos};

use crate::runtime::memory::{prefetch, touch};

use super::chunk::{Arena, List};
use super::record::{Fields, Rank, Record, Sample};

/// Trades per chunk: 2 KiB.
const CHUNK: usize = 32;
const DAY_NS: i64 = 86_400_000_000_000;
/// When the day ends for which an id is unique: 05:00 UTC, midnight in New York in winter. US venues, which begin anew every day, trade
/// from 04:00 to 20:00 there, which in winter is past midnight UTC; others never give an id again.
const DAY_ENDS_NS: i64 = 5 * 3_600_000_000_000;
/// A correction of a correction is followed so many times.
const CORRECTIONS_MAX: usize = 8;
/// An index slot without an entry.
const VACANT: u64 = u64::MAX;

/// Every kept trade of one shard, per symbol in order of arrival, and an index of their ids.
pub struct TradeLog {
    arena: Arena<Tick, CHUNK>,
    /// With so many trades a symbol gives up its oldest chunk.
    symbol_max: usize,
    /// Open addressing: a hash in the upper half, which alone says where its search begins, and a place in the lower.
    index: Vec<u64>,
    mask: usize,
    indexed: usize,
}

/// How the log takes the next trade of a symbol, if it is of the same form as the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// The trade must be looked at from all sides.
    Unknown,
    /// It is not kept.
    Skipped,
    /// It has no id, so it is new.
    WithoutId,
    /// It is new if its id is greater than all before.
    Ascending,
    /// It is new if its id is not in the index.
    Indexed,
}

/// One symbol's part of the log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SymbolTrades {
    way: Way,
    is_indexed: bool,
    /// While ids ascend: the greatest with its day, by their low 64 bits: an id with greater ones is like none before, of whatever market.
    /// Before the first, bits above which there are none.
    greatest_day: i32,
    greatest: u64,
    /// The sequence of its newest entry: how many trades, cancels and corrections there were.
    pub sequence: u64,
    list: List,
    /// When the newest trade with an id happened that is no longer kept.
    forgotten_to: UnixNanos,
}

impl Default for SymbolTrades {
    fn default() -> Self {
        Self {
            list: List::default(),
            sequence: 0,
            greatest: u64::MAX,
            greatest_day: i32::MIN,
            is_indexed: false,
            way: Way::Unknown,
            forgotten_to: UnixNanos::MIN,
        }
    }
}

impl SymbolTrades {
    /// How many bytes of it most trades touch, from its beginning.
    pub const TOUCHED: usize = std::mem::offset_of!(Self, list) + size_of::<u64>();

    /// Facts up to this sequence can no longer be replayed.
    pub const fn floor(&self) -> u64 {
        self.sequence - self.list.len() as u64
    }

    /// Whether its next trade begins a chunk, for which room must be made.
    #[inline(always)]
    pub fn is_chunk_full(&self) -> bool {
        self.list.is_chunk_full::<CHUNK>()
    }

    /// How the next trade is taken if it is of the same form as the one before, and both happened when [`Self::ascending_in`] says.
    #[inline(always)]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Of a trade of the same form: whether its id is greater than all before.
    #[inline(always)]
    pub fn ascends(&self, tick: &Tick) -> bool {
        tick.low_id() > self.greatest
    }

    /// After a trade was appended, or skipped: says how the next one of its form is taken.
    pub fn expect_another(&mut self, tick: &Tick, is_kept: bool) {
        self.way = match (is_kept, tick.has_id()) {
            (false, _) => Way::Skipped,
            (true, false) => Way::WithoutId,
            (true, true) if self.is_indexed => Way::Indexed,
            (true, true) => Way::Ascending,
        };
    }

    /// When a trade must have happened for [`SymbolTrades::way`]: on the day of the greatest id, where that counts.
    pub fn ascending_in(&self) -> Interval {
        if self.is_indexed || self.greatest_day == i32::MIN {
            return Interval { start: UnixNanos::MIN, end: UnixNanos::MAX };
        }
        // A day that reaches past the range is as good as ended.
        let start = i64::from(self.greatest_day).saturating_mul(DAY_NS).saturating_add(DAY_ENDS_NS);
        Interval { start: UnixNanos(start), end: UnixNanos(start.saturating_add(DAY_NS)) }
    }
}

impl TradeLog {
    /// A log of at most `bytes_max`, its index included, and of `per_symbol_max` trades of a symbol and up to a chunk more.
    pub fn new(bytes_max: usize, per_symbol_max: usize) -> Self {
        // Two to four index slots of 8 bytes beside each trade of 64.
        let arena = Arena::new(bytes_max / 3 * 2);
        let symbol_max = per_symbol_max.saturating_add(CHUNK);
        Self { arena, symbol_max, index: Vec::new(), mask: 0, indexed: 0 }
    }

    /// Allocates everything now, so that no page is touched for the first time under load.
    pub fn preallocate(&mut self) {
        self.arena.preallocate();
        self.resize_index((self.arena.capacity() * 2).next_power_of_two());
    }

    /// Asks for the line of the index that a trade soon to come will read, if its symbol is in it.
    #[inline]
    pub fn foresee(&self, tick: &Tick) {
        if self.indexed > 0
            && tick.has_id()
            && let Some(slot) = self.index.get(hash(tick, tick.id()) as usize & self.mask)
        {
            prefetch(slot);
        }
    }

    /// Whether a trade that begins a chunk must be preceded by [`Self::evict`].
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.arena.is_exhausted()
    }

    /// Whether there are fewer spare chunks than are made at once: then most trades that begin a chunk find one.
    #[inline]
    pub fn is_short(&self) -> bool {
        let at_once = (self.arena.capacity() / (CHUNK * 256)).clamp(1, 8);
        self.arena.spare_chunks() < at_once
    }

    /// Whether a symbol has as many trades as it may have even without its oldest chunk, which is to go then.
    #[inline(always)]
    pub fn exceeds(&self, symbol: &SymbolTrades) -> bool {
        symbol.list.len() >= self.symbol_max
    }

    /// Who would lose its oldest trades.
    pub fn oldest_owner(&self) -> Option<u32> {
        self.arena.oldest_owner()
    }

    /// Bytes allocated so far.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.index.len() * size_of::<u64>()
    }

    /// Drops `symbol`'s oldest chunk. Returns how many trades went.
    pub fn evict(&mut self, symbol: &mut SymbolTrades) -> usize {
        let gone = self.arena.head(&symbol.list);
        let n = gone.len();
        let newest = gone.iter().filter(|entry| own_id(entry).is_some()).map(|entry| entry.ts_event).max();
        symbol.forgotten_to = symbol.forgotten_to.max(newest.unwrap_or(UnixNanos::MIN));
        if symbol.is_indexed {
            let first = self.arena.front(&symbol.list).unwrap_or(0);
            (first..first + n as u32).for_each(|place| self.unindex(place));
        }
        self.arena.drop_head(&mut symbol.list);
        self.arena.foresee_oldest();
        n
    }

    /// Appends an entry. A trade's id must be new, as [`Self::find`] said.
    #[inline]
    pub fn append(&mut self, owner: u32, symbol: &mut SymbolTrades, tick: &Tick) {
        symbol.sequence += 1;
        let Some(place) = self.arena.push_streamed(&mut symbol.list, owner, tick) else { return };
        match own_id(tick) {
            Some(id) if symbol.is_indexed => self.insert(hash(tick, id), place),
            Some(id) => (symbol.greatest_day, symbol.greatest) = (day(tick), id.bits as u64),
            None => {}
        }
    }

    /// Appends a trade that [`SymbolTrades::ascends`], for which there is room.
    #[inline(always)]
    pub fn append_ascending(&mut self, owner: u32, symbol: &mut SymbolTrades, tick: &Tick) {
        symbol.greatest = tick.low_id();
        symbol.sequence += 1;
        self.arena.push_streamed(&mut symbol.list, owner, tick);
    }

    /// Takes a trade of the same form as the one before without making room. If it says `false` nothing has happened: there is no room, or
    /// its id is not new, or may not be.
    #[inline(never)]
    pub fn append_like_last(&mut self, owner: u32, symbol: &mut SymbolTrades, tick: &Tick) -> bool {
        let slot = match symbol.way {
            Way::WithoutId => None,
            Way::Indexed => {
                let (id, hash) = (tick.id(), hash(tick, tick.id()));
                if (self.indexed + 1) * 2 > self.index.len() || self.may_be_forgotten(symbol, tick) {
                    return false;
                }
                let Err(slot) = self.lookup(tick, id, hash) else { return false };
                Some((slot, hash))
            }
            Way::Unknown | Way::Skipped | Way::Ascending => return false,
        };
        let Some(place) = self.arena.push_streamed(&mut symbol.list, owner, tick) else { return false };
        if let Some((slot, hash)) = slot {
            self.index[slot] = index_entry(hash, place);
            self.indexed += 1;
        }
        symbol.sequence += 1;
        true
    }

    /// Counts a fact of a symbol whose trades are not kept.
    #[inline(always)]
    pub fn skip(&mut self, symbol: &mut SymbolTrades) {
        symbol.sequence += 1;
    }

    /// The kept trade of `tick`'s venue, TRF and date with this id.
    #[inline]
    pub fn find(&mut self, symbol: &mut SymbolTrades, tick: &Tick, id: TradeId) -> Option<u32> {
        if !symbol.is_indexed {
            if (day(tick), id.bits as u64) > (symbol.greatest_day, symbol.greatest) {
                return None;
            }
            self.index_all(symbol);
        }
        self.lookup(tick, id, hash(tick, id)).ok()
    }

    /// After [`Self::find`] found nothing: the trade is as old as some that are no longer kept, and may be one of them. While ids ascend
    /// a greater one is new however little is kept.
    #[inline]
    pub fn may_be_forgotten(&self, symbol: &SymbolTrades, tick: &Tick) -> bool {
        symbol.is_indexed && tick.ts_event <= symbol.forgotten_to
    }

    /// The kept trade with this id, or the slot of the index where it would be.
    #[inline]
    fn lookup(&self, tick: &Tick, id: TradeId, hash: u32) -> Result<u32, usize> {
        let mut slot = hash as usize & self.mask;
        loop {
            let Some(&entry) = self.index.get(slot) else { return Err(slot) };
            if entry == VACANT {
                return Err(slot);
            }
            if (entry >> 32) as u32 == hash {
                let place = entry as u32;
                let kept = self.arena.get(place);
                if own_id(kept) == Some(id) && same_market(kept, tick) {
                    return Ok(place);
                }
            }
            slot = (slot + 1) & self.mask;
        }
    }

    #[cold]
    fn index_all(&mut self, symbol: &mut SymbolTrades) {
        (symbol.is_indexed, symbol.way) = (true, Way::Unknown);
        let mut next = self.arena.front(&symbol.list);
        while let Some(place) = next {
            let entry = *self.arena.get(place);
            if let Some(id) = own_id(&entry) {
                self.insert(hash(&entry, id), place);
            }
            next = self.arena.after(&symbol.list, place);
        }
    }

    /// The entry that now stands for the trade named by `tick` (a cancel or correction): itself, or what corrected it.
    pub fn find_live(&mut self, symbol: &mut SymbolTrades, tick: &Tick) -> Option<u32> {
        if tick.id().form == IdForm::None {
            return None;
        }
        let place = self.find(symbol, tick, tick.id())?;
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

    /// Takes every entry of a symbol that `is` says out of later recomputations.
    pub fn cancel_where(&mut self, symbol: &SymbolTrades, is: impl Fn(&Tick) -> bool) {
        let mut next = self.arena.front(&symbol.list);
        while let Some(place) = next {
            let entry = self.arena.get_mut(place);
            if is(entry) {
                entry.set_cancelled(true);
            }
            next = self.arena.after(&symbol.list, place);
        }
    }

    /// What an entry brings to a bar: a correction stands in the place of the trade that it corrects.
    ///
    /// A correction that tells no conditions has those of the trade as it was first told.
    fn sample(&self, entry: &Tick, leaves: impl Fn(&Tick) -> Fields) -> Sample {
        let mut origin = *entry;
        for _ in 0..CORRECTIONS_MAX {
            if origin.kind() != TickKind::Correction {
                break;
            }
            match self.lookup(&origin, origin.id(), hash(&origin, origin.id())) {
                Ok(place) if self.get(place) != &origin => origin = *self.get(place),
                _ => break,
            }
        }
        let rank = Rank { ts_event: entry.ts_event, sequence: origin.rank() };
        let mut judged = *entry;
        if judged.conditions == [0; 4] {
            judged.conditions = origin.conditions;
            judged = judged.with_tape(if judged.tape() == 0 { origin.tape() } else { 0 });
        }
        let (price, size, ts_recv, leaves) = (entry.price, entry.size, entry.ts_recv, leaves(&judged));
        Sample { rank, price, size, ts_recv, leaves, leaves_daily: leaves }
    }

    /// The bar of `[start, end)` from the kept trades alone, each of which leaves some fields alone.
    pub fn recompute(
        &self,
        symbol: &SymbolTrades,
        start: UnixNanos,
        end: UnixNanos,
        leaves: impl Fn(&Tick) -> Fields,
    ) -> Record {
        let mut record = Record::empty(start);
        for entry in self.arena.forward(&symbol.list) {
            let sale =
                matches!(entry.kind(), TickKind::Trade | TickKind::Correction | TickKind::AggregatedTrade);
            let counts = sale && !entry.is_cancelled();
            if counts && entry.ts_event >= start && entry.ts_event < end {
                record.add(&self.sample(entry, &leaves));
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

    /// All facts that are kept, newest first, with their sequences.
    pub fn backward<'a>(&'a self, symbol: &'a SymbolTrades) -> impl Iterator<Item = (u64, &'a Tick)> + 'a {
        (0..=symbol.sequence).rev().zip(self.arena.backward(&symbol.list).map(|(_, tick)| tick))
    }

    /// The newest fact.
    pub fn newest(&self, symbol: &SymbolTrades) -> Option<&Tick> {
        self.arena.back(&symbol.list).map(|place| self.arena.get(place))
    }

    #[inline]
    fn insert(&mut self, hash: u32, place: u32) {
        if (self.indexed + 1) * 2 > self.index.len() {
            self.resize_index((self.index.len() * 2).max(1024));
        }
        self.place_in_index(index_entry(hash, place));
        self.indexed += 1;
    }

    fn place_in_index(&mut self, entry: u64) {
        let mut slot = (entry >> 32) as usize & self.mask;
        while self.index[slot] != VACANT {
            slot = (slot + 1) & self.mask;
        }
        self.index[slot] = entry;
    }

    #[cold]
    fn resize_index(&mut self, slots: usize) {
        let mut index = bytemuck::zeroed_vec(slots);
        touch(&mut index);
        index.fill(VACANT);
        let old = std::mem::replace(&mut self.index, index);
        self.mask = slots - 1;
        old.into_iter().filter(|&entry| entry != VACANT).for_each(|entry| self.place_in_index(entry));
    }

    fn unindex(&mut self, place: u32) {
        let entry = self.arena.get(place);
        let Some(id) = own_id(entry) else { return };
        let mut slot = hash(entry, id) as usize & self.mask;
        while self.index[slot] as u32 != place {
            if self.index[slot] == VACANT {
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
            if next == VACANT {
                break;
            }
            let home = (next >> 32) as usize & self.mask;
            let distance_to_hole = hole.wrapping_sub(home) & self.mask;
            let distance_to_slot = slot.wrapping_sub(home) & self.mask;
            if distance_to_hole <= distance_to_slot {
                self.index[hole] = next;
                hole = slot;
            }
        }
        self.index[hole] = VACANT;
    }
}

fn index_entry(hash: u32, place: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(place)
}

/// The id by which an entry of the log is found. A correction that keeps its trade's id is found through that trade.
#[inline]
fn own_id(entry: &Tick) -> Option<TradeId> {
    let id = match entry.kind() {
        TickKind::Trade | TickKind::AggregatedTrade => entry.id(),
        TickKind::Correction if entry.corrected_id() != entry.id() => entry.corrected_id(),
        _ => return None,
    };
    (id.form != IdForm::None).then_some(id)
}

fn same_market(a: &Tick, b: &Tick) -> bool {
    // Aggregated trades have numbers of their own.
    let aggregated = |tick: &Tick| tick.kind() == TickKind::AggregatedTrade;
    a.symbol == b.symbol && market(a) == market(b) && day(a) == day(b) && aggregated(a) == aggregated(b)
}

/// The venue and TRF whose ids these are.
#[inline]
fn market(tick: &Tick) -> [u8; 2] {
    [tick.venue.0, tick.trf]
}

#[inline]
fn day(tick: &Tick) -> i32 {
    // At most 106,752 days lie to either side of 1970.
    tick.ts_event.0.saturating_sub(DAY_ENDS_NS).div_euclid(DAY_NS) as i32
}

#[inline]
fn hash(tick: &Tick, id: TradeId) -> u32 {
    let low = id.bits as u64;
    let high = (id.bits >> 64) as u64 ^ (u64::from(tick.venue.0) << 32) ^ (u64::from(tick.trf) << 40);
    let key = low.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (high ^ (u64::from(tick.symbol.0) << 8)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ (i64::from(day(tick)) as u64).wrapping_mul(0x1656_67b1_9e37_79f9);
    ((key ^ (key >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}
