//! Symbols as dense numbers: one append-only table, and a private map per core in front of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};

/// A symbol's number: dense from 0 in order of first sight.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct SymbolId(pub u32);

impl SymbolId {
    /// Stands for every symbol in a wildcard subscription.
    pub const ANY: Self = Self(u32::MAX);

    /// As an index into per-symbol storage.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The longest symbol name, in bytes.
pub const SYMBOL_BYTES_MAX: usize = 32;

/// A checked symbol name: 1 to 32 printable ASCII bytes without quote, backslash, comma or asterisk, so it needs no escape
/// in JSON, can stand in a list, and is no wildcard, but for [`Symbol::EVERY`], which no record and no client can name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Symbol {
    len: u8,
    bytes: [u8; SYMBOL_BYTES_MAX],
}

/// Why a text is not a symbol, or cannot become one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// No bytes at all.
    #[error("symbol is empty")]
    Empty,
    /// More than [`SYMBOL_BYTES_MAX`] bytes.
    #[error("symbol is longer than 32 bytes")]
    TooLong,
    /// A byte outside printable ASCII, a space, a quote, a backslash, a comma or `*`.
    #[error("symbol has a byte that is not printable ASCII, or a space, quote, backslash, comma or asterisk")]
    Unprintable,
    /// The table already holds `symbols_max` names.
    #[error("symbol table is full")]
    TableFull,
}

impl Symbol {
    /// `*`: what a feed asks a vendor for to be sent every symbol. It has no number of its own.
    pub const EVERY: Self = {
        let mut bytes = [0; SYMBOL_BYTES_MAX];
        bytes[0] = b'*';
        Self { len: 1, bytes }
    };

    /// Checks a name that may be [`Symbol::EVERY`]: of a feed's own lists, and of a vendor's answers to them.
    pub fn or_every(name: &[u8]) -> Result<Self, SymbolError> {
        if name == b"*" { Ok(Self::EVERY) } else { Self::new(name) }
    }

    /// Checks a name.
    pub fn new(name: &[u8]) -> Result<Self, SymbolError> {
        if name.is_empty() {
            return Err(SymbolError::Empty);
        }
        if name.len() > SYMBOL_BYTES_MAX {
            return Err(SymbolError::TooLong);
        }
        let good = |&b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'*' | b',');
        if !name.iter().all(good) {
            return Err(SymbolError::Unprintable);
        }
        let mut bytes = [0; SYMBOL_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Ok(Self { len: name.len() as u8, bytes })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // Checked to be ASCII in `new`, the only constructor; the one constant is, too.
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Which of `shards` owns this symbol: a hash of the name, so it is the same in every run.
    pub fn shard(&self, shards: usize) -> usize {
        (fnv(self.as_bytes()) % shards.max(1) as u64) as usize
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// FNV-1a with a final mix, which short names need to spread over few shards.
fn fnv(bytes: &[u8]) -> u64 {
    let hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// The hasher of symbol maps. A flood of chosen names is bounded by `symbols_max`, so speed is worth more than keys.
#[derive(Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.0 ^= self.0 >> 29;
    }
    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

/// A map keyed by name.
pub type NameMap<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<NameHasher>>;

/// All symbols of the process, in order of first sight. Cloning shares the table.
#[derive(Clone)]
pub struct SymbolTable {
    shared: Arc<Shared>,
}

struct Shared {
    symbols_max: usize,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    by_name: NameMap<SymbolId>,
    in_order: Vec<Symbol>,
}

impl SymbolTable {
    /// A table that holds at most `symbols_max` names.
    pub fn new(symbols_max: usize) -> Self {
        let symbols_max = symbols_max.min(SymbolId::ANY.index());
        Self { shared: Arc::new(Shared { symbols_max, names: Mutex::default() }) }
    }

    /// The most names it may hold.
    pub fn capacity(&self) -> usize {
        self.shared.symbols_max
    }

    /// How many names it holds.
    pub fn len(&self) -> usize {
        self.lock().in_order.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a name, added if it is new.
    pub fn intern(&self, symbol: &Symbol) -> Result<SymbolId, SymbolError> {
        let mut names = self.lock();
        if let Some(&id) = names.by_name.get(symbol.as_bytes()) {
            return Ok(id);
        }
        if names.in_order.len() >= self.shared.symbols_max {
            return Err(SymbolError::TableFull);
        }
        let id = SymbolId(names.in_order.len() as u32);
        names.in_order.push(*symbol);
        names.by_name.insert(symbol.as_bytes().into(), id);
        Ok(id)
    }

    /// The number of a name that is already known.
    pub fn find(&self, symbol: &Symbol) -> Option<SymbolId> {
        self.lock().by_name.get(symbol.as_bytes()).copied()
    }

    /// The name of a number.
    pub fn name(&self, id: SymbolId) -> Option<Symbol> {
        self.lock().in_order.get(id.index()).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // The table is append-only, so what a panicking holder left behind is whole.
        self.shared.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of at most eight bytes, packed into a word each, and their numbers: open addressing, 0 where a slot is empty.
#[derive(Default)]
struct ShortNames {
    slots: Vec<(u64, SymbolId)>,
    len: usize,
}

/// Slots of the first table of short names.
const SHORT_SLOTS_MIN: usize = 64;

impl ShortNames {
    #[inline(always)]
    fn get(&self, name: u64) -> Option<SymbolId> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = Self::home(name) & mask;
        loop {
            match *self.slots.get(at)? {
                (there, id) if there == name => return (name != 0).then_some(id),
                (0, _) => return None,
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Adds a name that is not there.
    #[cold]
    fn insert(&mut self, name: u64, id: SymbolId) {
        if (self.len + 1) * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(SHORT_SLOTS_MIN);
            let old = std::mem::replace(&mut self.slots, vec![(0, SymbolId(0)); size]);
            old.into_iter().filter(|&(there, _)| there != 0).for_each(|(name, id)| self.put(name, id));
        }
        self.put(name, id);
        self.len += 1;
    }

    fn put(&mut self, name: u64, id: SymbolId) {
        let mask = self.slots.len() - 1;
        let mut at = Self::home(name) & mask;
        while self.slots[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (name, id);
    }

    #[inline]
    fn home(name: u64) -> usize {
        (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
    }
}

/// One core's private view of the table: the lock is taken once per name.
pub struct SymbolCache {
    table: SymbolTable,
    by_name: NameMap<SymbolId>,
    short: ShortNames,
    in_order: Vec<Option<Symbol>>,
    last: Option<(Symbol, SymbolId)>,
}

impl SymbolCache {
    /// An empty view of `table`.
    pub fn new(table: SymbolTable) -> Self {
        let (by_name, short) = (NameMap::default(), ShortNames::default());
        Self { table, by_name, short, in_order: Vec::new(), last: None }
    }

    /// The number of a name, added to the table if it is new there.
    #[inline]
    pub fn intern(&mut self, name: &[u8]) -> Result<SymbolId, SymbolError> {
        if let Some((last, id)) = &self.last
            && last.as_bytes() == name
        {
            return Ok(*id);
        }
        let known = self.by_name.get(name).copied();
        let symbol = Symbol::new(name)?;
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.table.intern(&symbol)?;
                self.by_name.insert(name.into(), id);
                let mut word = [0; 8];
                if let Some(bytes) = word.get_mut(..name.len()) {
                    bytes.copy_from_slice(name);
                    self.short.insert(u64::from_le_bytes(word), id);
                }
                id
            }
        };
        self.last = Some((symbol, id));
        Ok(id)
    }

    /// The number of a name that this core has seen.
    #[inline]
    pub fn known(&self, name: &[u8]) -> Option<SymbolId> {
        self.by_name.get(name).copied()
    }

    /// The number of a name of one to eight bytes that this core has seen, its first byte the lowest of the word and zeros
    /// after its last.
    #[inline(always)]
    pub fn known_short(&self, name: u64) -> Option<SymbolId> {
        self.short.get(name)
    }

    /// The name of a number.
    #[inline]
    pub fn name(&mut self, id: SymbolId) -> Option<Symbol> {
        if let Some(Some(symbol)) = self.in_order.get(id.index()) {
            return Some(*symbol);
        }
        let symbol = self.table.name(id)?;
        if self.in_order.len() <= id.index() {
            self.in_order.resize(id.index() + 1, None);
        }
        self.in_order[id.index()] = Some(symbol);
        Some(symbol)
    }

    /// The table behind this view.
    pub fn table(&self) -> &SymbolTable {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_short_name_is_known_as_a_word_once_it_was_seen(names in prop::collection::vec("[A-D/.]{1,10}", 1..200)) {
            let mut cache = SymbolCache::new(SymbolTable::new(1_000));
            for name in &names {
                let seen = cache.known(name.as_bytes());
                let mut word = [0; 8];
                let short = name.len() <= 8;
                if short {
                    word[..name.len()].copy_from_slice(name.as_bytes());
                    prop_assert_eq!(cache.known_short(u64::from_le_bytes(word)), seen);
                }
                let id = cache.intern(name.as_bytes()).unwrap();
                prop_assert_eq!(cache.known(name.as_bytes()), Some(id));
                prop_assert_eq!(cache.known_short(u64::from_le_bytes(word)), short.then_some(id));
            }
        }
    }
}
