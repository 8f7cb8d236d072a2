//! Lists of records in chunks of one shared arena under one byte budget. The oldest chunk of all is the first to go.

use bytemuck::Pod;

use crate::runtime::memory::{prefetch, stream, touch};

/// No chunk, or no place.
pub const NONE: u32 = u32::MAX;

/// About how much is allocated at a time. The system gives a page of it when it is first written to.
const SLAB_BYTES: usize = 32 << 20;

/// Storage of `N`-record chunks, shared by many [`List`]s.
pub struct Arena<T, const N: usize> {
    slabs: Vec<Box<[T]>>,
    links: Vec<Links>,
    chunks_max: usize,
    free: u32,
    free_chunks: usize,
    oldest: u32,
    newest: u32,
}

/// One chunk's neighbours: in its list, and in the order of allocation.
#[derive(Clone, Copy)]
struct Links {
    previous: u32,
    next: u32,
    older: u32,
    newer: u32,
    owner: u32,
}

/// A list's ends. All chunks between them are full. It owns nothing: its records live in the arena.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// The place after the last record; at the beginning of a chunk there is none yet for what comes next.
    end: u32,
    len: u32,
    head: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, end: 0, len: 0 }
    }
}

impl List {
    /// How many records it has.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the next record begins a chunk of `N`.
    #[inline(always)]
    pub const fn is_chunk_full<const N: usize>(&self) -> bool {
        self.end.is_multiple_of(N as u32)
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: Pod, const N: usize> Arena<T, N> {
    /// A list counts within a chunk in 16 bits.
    const CHUNK: u32 = {
        assert!(N > 0 && N < u16::MAX as usize);
        N as u32
    };
    const SLAB: usize = (SLAB_BYTES / (size_of::<T>() * N)).next_power_of_two() * N;

    /// An arena of at most `bytes_max`, at least two chunks.
    pub fn new(bytes_max: usize) -> Self {
        // Places are numbered by u32 and the last number means none.
        let most = (NONE as usize - 1) / N;
        let chunks_max = (bytes_max / (size_of::<T>() * N)).clamp(2, most);
        Self {
            slabs: Vec::new(),
            links: Vec::new(),
            chunks_max,
            free: NONE,
            free_chunks: 0,
            oldest: NONE,
            newest: NONE,
        }
    }

    /// How many records fit at most.
    pub fn capacity(&self) -> usize {
        self.chunks_max * N
    }

    /// Bytes in use so far.
    pub fn bytes(&self) -> usize {
        self.links.len() * N * size_of::<T>()
    }

    /// Whether the next chunk needs an eviction first.
    pub fn is_exhausted(&self) -> bool {
        self.free == NONE && self.links.len() >= self.chunks_max
    }

    /// Has the system give all memory now, so that no page is touched for the first time under load.
    pub fn preallocate(&mut self) {
        while self.slabs.len() * Self::SLAB < self.capacity() {
            self.add_slab();
        }
        self.slabs.iter_mut().for_each(|slab| touch(slab));
        self.links.reserve_exact(self.chunks_max - self.links.len());
    }

    fn add_slab(&mut self) {
        let records = (self.capacity() - self.slabs.len() * Self::SLAB).min(Self::SLAB);
        self.slabs.push(bytemuck::zeroed_slice_box(records));
    }

    /// How many chunks can be had without an eviction.
    pub fn spare_chunks(&self) -> usize {
        self.chunks_max - self.links.len() + self.free_chunks
    }

    /// Whether a push onto `list` needs the oldest chunk evicted first.
    #[inline(always)]
    pub fn must_evict(&self, list: &List) -> bool {
        list.is_chunk_full::<N>() && self.is_exhausted()
    }

    /// Who owns the oldest chunk.
    pub fn oldest_owner(&self) -> Option<u32> {
        self.links.get(self.oldest as usize).map(|links| links.owner)
    }

    /// Appends a record and returns its place. Without room (see [`Self::must_evict`]) it returns `None`.
    #[inline]
    pub fn push(&mut self, list: &mut List, owner: u32, record: &T) -> Option<u32> {
        let place = self.claim(list, owner)?;
        *self.get_mut(place) = *record;
        Some(place)
    }

    /// [`Self::push`] past the caches, for a record that is rarely read again.
    #[inline(always)]
    pub fn push_streamed(&mut self, list: &mut List, owner: u32, record: &T) -> Option<u32> {
        let place = self.claim(list, owner)?;
        stream(self.get_mut(place), record);
        Some(place)
    }

    #[inline(always)]
    fn claim(&mut self, list: &mut List, owner: u32) -> Option<u32> {
        if list.is_chunk_full::<N>() {
            self.grow(list, owner)?;
        }
        let place = list.end;
        list.end += 1;
        list.len += 1;
        Some(place)
    }

    #[cold]
    fn grow(&mut self, list: &mut List, owner: u32) -> Option<()> {
        let chunk = self.take_chunk()?;
        let tail = self.back(list).map_or(NONE, |last| last / Self::CHUNK);
        self.links[chunk as usize] =
            Links { previous: tail, next: NONE, older: self.newest, newer: NONE, owner };
        if self.newest == NONE {
            self.oldest = chunk;
        } else {
            self.links[self.newest as usize].newer = chunk;
        }
        self.newest = chunk;
        if tail == NONE {
            list.head = chunk;
        } else {
            self.links[tail as usize].next = chunk;
        }
        list.end = chunk * Self::CHUNK;
        Some(())
    }

    fn take_chunk(&mut self) -> Option<u32> {
        if self.free != NONE {
            let chunk = self.free;
            self.free = self.links[chunk as usize].next;
            self.free_chunks -= 1;
            return Some(chunk);
        }
        if self.is_exhausted() {
            return None;
        }
        if self.links.len() * N >= self.slabs.len() * Self::SLAB {
            self.add_slab();
        }
        self.links.push(Links { previous: NONE, next: NONE, older: NONE, newer: NONE, owner: NONE });
        Some(self.links.len() as u32 - 1)
    }

    /// The records of its first chunk.
    pub fn head(&self, list: &List) -> &[T] {
        let Some(first) = self.front(list).map(|place| place as usize) else { return &[] };
        let at = first % Self::SLAB;
        &self.slabs[first / Self::SLAB][at..at + self.head_len(list)]
    }

    /// Removes the first chunk, whole.
    pub fn drop_head(&mut self, list: &mut List) {
        if list.is_empty() {
            return;
        }
        list.len -= self.head_len(list) as u32;
        self.release_head(list);
    }

    /// Asks for the memory of the oldest chunk of all, which is the next to go.
    pub fn foresee_oldest(&self) {
        if self.oldest != NONE {
            let first = self.oldest as usize * N;
            let at = first % Self::SLAB;
            self.slabs[first / Self::SLAB][at..at + N].iter().for_each(prefetch);
        }
    }

    fn release_head(&mut self, list: &mut List) {
        let chunk = list.head;
        let Links { next, older, newer, .. } = self.links[chunk as usize];
        match older {
            NONE => self.oldest = newer,
            _ => self.links[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => self.links[newer as usize].older = older,
        }
        self.links[chunk as usize].next = self.free;
        self.free = chunk;
        self.free_chunks += 1;
        if next == NONE {
            *list = List::default();
        } else {
            self.links[next as usize].previous = NONE;
            list.head = next;
        }
    }

    /// How many records its first chunk holds.
    pub fn head_len(&self, list: &List) -> usize {
        list.len().min(N)
    }

    /// The place of the first record.
    pub fn front(&self, list: &List) -> Option<u32> {
        (list.len > 0).then(|| list.head * Self::CHUNK)
    }

    /// The place of the last record.
    #[inline]
    pub fn back(&self, list: &List) -> Option<u32> {
        (list.len > 0).then(|| list.end - 1)
    }

    /// The place before `place` in `list`.
    #[inline]
    pub fn before(&self, place: u32) -> Option<u32> {
        if !place.is_multiple_of(Self::CHUNK) {
            return Some(place - 1);
        }
        match self.links[(place / Self::CHUNK) as usize].previous {
            NONE => None,
            previous => Some(previous * N as u32 + N as u32 - 1),
        }
    }

    /// The place after `place` in `list`.
    pub fn after(&self, list: &List, place: u32) -> Option<u32> {
        let next = place + 1;
        if next == list.end {
            return None;
        }
        if !next.is_multiple_of(Self::CHUNK) {
            return Some(next);
        }
        match self.links[(place / Self::CHUNK) as usize].next {
            NONE => None,
            chunk => Some(chunk * Self::CHUNK),
        }
    }

    /// The record at a place that one of the lists holds.
    #[inline]
    pub fn get(&self, place: u32) -> &T {
        &self.slabs[place as usize / Self::SLAB][place as usize % Self::SLAB]
    }

    /// The record at a place that one of the lists holds, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, place: u32) -> &mut T {
        &mut self.slabs[place as usize / Self::SLAB][place as usize % Self::SLAB]
    }

    /// The list's records, last first, with their places.
    #[inline]
    pub fn backward<'a>(&'a self, list: &'a List) -> impl Iterator<Item = (u32, &'a T)> + 'a {
        std::iter::successors(self.back(list), move |&place| self.before(place))
            .map(move |place| (place, self.get(place)))
    }

    /// The list's records in order.
    pub fn forward<'a>(&'a self, list: &'a List) -> impl Iterator<Item = &'a T> + 'a {
        std::iter::successors(self.front(list), move |&place| self.after(list, place))
            .map(move |place| self.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn lists_in_one_arena_behave_like_queues_of_their_own() {
        let mut arena: Arena<u64, 4> = Arena::new(4 * 8 * 64);
        let mut lists = [List::default(); 5];
        let mut models: [VecDeque<u64>; 5] = Default::default();
        let mut state = 1u64;
        for step in 0..20_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let which = (state >> 40) as usize % 5;
            if (state >> 33).is_multiple_of(9) {
                let gone = arena.head_len(&lists[which]);
                assert!(arena.head(&lists[which]).iter().copied().eq(models[which].drain(..gone)));
                arena.drop_head(&mut lists[which]);
            } else if !arena.must_evict(&lists[which]) {
                assert!(arena.push(&mut lists[which], which as u32, &step).is_some());
                models[which].push_back(step);
            } else {
                assert!(arena.push(&mut lists[which], which as u32, &step).is_none());
                // The oldest chunk belongs to a list whose head it is.
                let owner = arena.oldest_owner().unwrap() as usize;
                models[owner].drain(..arena.head_len(&lists[owner]));
                arena.drop_head(&mut lists[owner]);
                assert!(!arena.must_evict(&lists[which]));
            }
            assert_eq!(lists[which].len(), models[which].len());
            assert!(arena.forward(&lists[which]).eq(&models[which]));
            assert!(arena.backward(&lists[which]).map(|(_, v)| v).eq(models[which].iter().rev()));
        }
    }
}
