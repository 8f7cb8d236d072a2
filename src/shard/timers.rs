//! One deadline per symbol in an indexed binary heap: changing one moves it in place, so nothing stale piles up.

use crate::model::UnixNanos;

const ABSENT: u32 = u32::MAX;

/// The deadlines of a shard's symbols.
#[derive(Default)]
pub struct Timers {
    heap: Vec<(UnixNanos, u32)>,
    places: Vec<u32>,
}

impl Timers {
    /// Makes room for one more symbol.
    pub fn add_symbol(&mut self) {
        self.places.push(ABSENT);
        self.heap.reserve(self.places.len() - self.heap.len());
    }

    /// The earliest deadline.
    pub fn first(&self) -> Option<UnixNanos> {
        self.heap.first().map(|&(at, _)| at)
    }

    /// Takes out the symbol with the earliest deadline, if that is not after `now`.
    pub fn pop_due(&mut self, now: UnixNanos) -> Option<u32> {
        let &(at, symbol) = self.heap.first()?;
        (at <= now).then(|| {
            self.remove(symbol);
            symbol
        })
    }

    /// Sets a symbol's deadline, moved or new.
    pub fn set(&mut self, symbol: u32, at: UnixNanos) {
        let place = self.places[symbol as usize];
        let place = if place == ABSENT {
            self.heap.push((at, symbol));
            self.places[symbol as usize] = self.heap.len() as u32 - 1;
            self.heap.len() - 1
        } else {
            self.heap[place as usize].0 = at;
            place as usize
        };
        let place = self.rise(place);
        self.sink(place);
    }

    /// Takes a symbol's deadline away.
    pub fn remove(&mut self, symbol: u32) {
        let place = std::mem::replace(&mut self.places[symbol as usize], ABSENT);
        if place == ABSENT {
            return;
        }
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.places[self.heap[place].1 as usize] = place as u32;
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = place * 2 + 1;
            let Some(&(left_at, _)) = self.heap.get(left) else { return };
            let right_is_less = self.heap.get(left + 1).is_some_and(|&(at, _)| at < left_at);
            let child = left + usize::from(right_is_less);
            if self.heap[place].0 <= self.heap[child].0 {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.places[self.heap[a].1 as usize] = a as u32;
        self.places[self.heap[b].1 as usize] = b as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn deadlines_come_out_in_order_however_they_were_moved() {
        let mut timers = Timers::default();
        let mut model: BTreeMap<u32, i64> = BTreeMap::new();
        (0..64).for_each(|_| timers.add_symbol());
        let mut state = 7u64;
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let symbol = (state >> 33) as u32 % 64;
            let at = (state >> 40) as i64 % 1_000;
            match (state >> 60) % 4 {
                0 => {
                    timers.remove(symbol);
                    model.remove(&symbol);
                }
                1 => {
                    let due = timers.pop_due(UnixNanos(at));
                    let least = model.values().min().copied();
                    match due {
                        Some(symbol) => assert_eq!(model.remove(&symbol), least),
                        None => assert!(least.is_none_or(|least| least > at)),
                    }
                }
                _ => {
                    timers.set(symbol, UnixNanos(at));
                    model.insert(symbol, at);
                }
            }
            assert_eq!(timers.first().map(|at| at.0), model.values().min().copied());
        }
    }
}
