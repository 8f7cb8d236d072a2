//! Closed bars: published, filed by their start, sealed, and at last given up for want of memory.

use crate::model::{BarFlags, BarState, Event, Reason, Topic, UnixNanos};

use super::super::chunk::NONE;
use super::super::record::Record;
use super::close::bits;
use super::{Candles, Sink};

impl Candles {
    /// Publishes a new closed bar and files it by its start. One without a price is filed only.
    #[inline]
    pub(super) fn append(&mut self, symbol: u32, level: usize, record: &mut Record, sink: &mut impl Sink) {
        let incomplete = self.is_incomplete(symbol, level, record);
        record.flags = record.flags.without(BarFlags::INCOMPLETE).with(incomplete);
        let published = record.is_published();
        if published {
            let at = &mut self.symbols[symbol as usize].levels[level];
            at.sequence += 1;
            record.sequence = at.sequence;
        }
        self.file(symbol, level, record);
        let state = &mut self.symbols[symbol as usize];
        if level == 0 {
            let grid = &self.grids[usize::from(state.grid)];
            state.today.add(record, |at| grid.day(at));
        }
        if published {
            self.tallies.closed += 1;
            self.note_filled(symbol, level, record);
            self.publish(symbol, level, record, sink);
        }
    }

    /// Sends a bar as it now stands, the symbol's day before it where that is wanted.
    #[inline]
    pub(super) fn publish(&mut self, symbol: u32, level: usize, record: &Record, sink: &mut impl Sink) {
        let state = &self.symbols[symbol as usize];
        let length_s = self.grids[usize::from(state.grid)].odd_length_s(level, record.bar.start);
        let event = fact(Topic::bars(state.id, level), record).lasting(length_s);
        if sink.wants_day(symbol, level) {
            sink.day(symbol, &state.today.event(&event));
        }
        sink.fact(symbol, &event);
    }

    /// Files a closed bar by its start.
    #[inline]
    pub(super) fn file(&mut self, symbol: u32, level: usize, record: &Record) {
        while self.arena.must_evict(&self.symbols[symbol as usize].levels[level].bars) {
            if !self.evict_oldest() {
                break;
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let at = &mut state.levels[level];
        let owner = symbol * self.levels as u32 + level as u32;
        let Some(mut place) = self.arena.push(&mut at.bars, owner, record) else { return };
        if at.unsealed == 0 {
            at.unsealed_at = place;
        }
        at.unsealed += 1;
        state.revisable |= 1 << level;
        // Only a late tick's bar has any before it that are newer.
        while let Some(before) = self.arena.before(place) {
            let earlier = self.arena.get(before);
            if earlier.bar.start < record.bar.start {
                break;
            }
            *self.arena.get_mut(place) = *earlier;
            *self.arena.get_mut(before) = *record;
            place = before;
        }
    }

    /// The place of the bar at `start`, if there is one that can still be revised.
    pub(super) fn find_unsealed(&self, symbol: u32, level: usize, start: UnixNanos) -> Option<u32> {
        let at = &self.symbols[symbol as usize].levels[level];
        let mut newer = self
            .arena
            .backward(&at.bars)
            .take(at.unsealed as usize)
            .take_while(|(_, record)| record.bar.start >= start);
        newer.find(|(_, record)| record.bar.start == start).map(|(place, _)| place)
    }

    /// Gives up the oldest chunk of bars. What was still open to revision is sealed first, so parents stay exact.
    pub(super) fn evict_oldest(&mut self) -> bool {
        let Some(owner) = self.arena.oldest_owner() else { return false };
        let (symbol, level) = (owner / self.levels as u32, owner as usize % self.levels);
        let at = &self.symbols[symbol as usize].levels[level];
        let count = self.arena.head_len(&at.bars) as u32;
        let Some(first) = self.arena.front(&at.bars) else { return false };
        // Those that can still be revised are the newest of a list, so the chunk is sealed once they begin after it.
        while self.symbols[symbol as usize].levels[level].is_unsealed_in(first..first + count) {
            self.seal_first(symbol, level);
            self.tallies.sealed_early += 1;
        }
        let at = &mut self.symbols[symbol as usize].levels[level];
        let newest = self.arena.head(&at.bars).iter().map(|gone| gone.sequence).max();
        at.floor = at.floor.max(newest.unwrap_or(0));
        self.arena.drop_head(&mut at.bars);
        true
    }

    /// Moves the first unsealed bar of a level into its parents' prefixes.
    #[inline]
    pub(super) fn seal_first(&mut self, symbol: u32, level: usize) {
        let state = &mut self.symbols[symbol as usize];
        let at = &mut state.levels[level];
        let record = self.arena.get(at.unsealed_at);
        at.unsealed_at = self.arena.after(&at.bars, at.unsealed_at).unwrap_or(NONE);
        at.unsealed -= 1;
        if at.unsealed == 0 {
            state.revisable &= !(1 << level);
        }
        let grid = &self.grids[usize::from(state.grid)];
        at.sealed_to = grid.end(level, record.bar.start);
        for &parent in grid.parents(level) {
            let prefix = &mut state.levels[parent].prefix;
            let (at, begun) = (record.bar.start, prefix.bar.start);
            // Mostly it is the same interval as that of the one before, which needs no division to see.
            if begun == UnixNanos::MIN || begun > at || grid.end(parent, begun) <= at {
                *prefix = record.as_part(grid.interval(parent, at).start);
            } else {
                prefix.merge(record);
            }
        }
    }

    /// Seals what is due, finest first, so that a parent's children are in its prefix before it is sealed itself.
    pub(super) fn seal(&mut self, symbol: u32, clock: UnixNanos) {
        for level in bits(self.symbols[symbol as usize].revisable) {
            let horizon = clock.minus(self.options.seal_after);
            loop {
                let state = &self.symbols[symbol as usize];
                let (at, grid) = (&state.levels[level], &self.grids[usize::from(state.grid)]);
                let ends = |place| grid.end(level, self.arena.get(place).bar.start);
                if at.unsealed == 0 || ends(at.unsealed_at) > horizon {
                    break;
                }
                self.seal_first(symbol, level);
            }
        }
    }
}

/// The event that publishes a closed or revised bar.
#[inline]
pub(super) fn fact(topic: Topic, record: &Record) -> Event {
    let (state, reason) = match (record.rev, record.reason) {
        (0, _) => (BarState::Closed, Reason::None),
        (_, 2) => (BarState::Revised, Reason::Cancel),
        (_, 3) => (BarState::Revised, Reason::Correct),
        (_, 4) => (BarState::Revised, Reason::Backfill),
        (_, 5) => (BarState::Revised, Reason::Gap),
        _ => (BarState::Revised, Reason::Late),
    };
    Event::bar(topic, state, record.sequence, &record.shown())
        .at(record.closed.ts_event, record.ts_recv)
        .revision(record.rev, reason, record.flags)
}
