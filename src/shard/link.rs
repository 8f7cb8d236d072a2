//! One gateway as a shard sees it: what it wants, what waits for room in its ring, and what it still has to be told.

use std::collections::VecDeque;

use crate::model::{Ask, Channel, Event, Interest, Nanos, SymbolId, Topic, UnixNanos};
use crate::runtime::{Receiver, Sender};

/// What is wanted of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Timeframes whose forming bars are wanted, by level.
    pub forming: u32,
    /// Trades are wanted.
    pub trades: bool,
    /// Quotes are wanted.
    pub quotes: bool,
    /// The market status is wanted.
    pub status: bool,
    /// Timeframes whose facts are to be preceded by the day, by level.
    pub days: u32,
}

impl Wants {
    /// Nothing that ticks bring is wanted.
    pub const fn is_empty(self) -> bool {
        self.forming == 0 && !self.trades && !self.quotes
    }

    fn set(&mut self, topic: Topic, states: bool) {
        match topic.channel() {
            Channel::Bars if states => self.forming |= 1 << topic.level(),
            Channel::Bars => self.forming &= !(1 << topic.level()),
            Channel::Trades => self.trades = true,
            Channel::Quotes => self.quotes = true,
            Channel::Status => self.status = true,
        }
    }

    fn clear(&mut self, topic: Topic) {
        match topic.channel() {
            Channel::Bars => {
                self.forming &= !(1 << topic.level());
                self.days &= !(1 << topic.level());
            }
            Channel::Trades => self.trades = false,
            Channel::Quotes => self.quotes = false,
            Channel::Status => self.status = false,
        }
    }

    const fn with(self, other: Self) -> Self {
        Self {
            forming: self.forming | other.forming,
            trades: self.trades | other.trades,
            quotes: self.quotes | other.quotes,
            status: self.status | other.status,
            days: self.days | other.days,
        }
    }
}

/// An answer that waits for room in the ring.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    /// What was asked.
    pub topic: Topic,
    /// Echoed in the answer.
    pub request: u32,
    /// The last sequence the client has.
    pub since: Option<u64>,
    /// The last so many trades rather than the newest values.
    pub trades: Option<u32>,
    /// Of a wildcard: the next symbol to answer.
    pub next_symbol: u32,
    /// Whether states belong to the answer.
    pub states: bool,
}

/// How a link treats a ring that stays full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Facts that may wait beside the ring. `None`: the shard itself waits, nothing is ever given up.
    pub facts_max: Option<usize>,
    /// How long the oldest of them may wait before the ring is declared broken.
    pub deadline: Nanos,
}

/// The shard's end of both rings to one gateway.
pub struct Link {
    ring: Sender<Event>,
    interest: Receiver<Interest>,
    patience: Patience,
    waiting: VecDeque<Event>,
    waiting_since: UnixNanos,
    broken: bool,
    /// Answers that wait, oldest first.
    pub pending: VecDeque<Pending>,
    wants: Vec<Wants>,
    any: Wants,
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
    /// Symbols whose market status is to be sent.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    /// How often the ring was declared broken.
    pub broken_count: u64,
    /// Facts that were discarded while it was.
    pub discarded: u64,
}

impl Link {
    /// A link whose gateway has not asked for anything.
    pub fn new(ring: Sender<Event>, interest: Receiver<Interest>, patience: Patience) -> Self {
        Self {
            waiting: VecDeque::with_capacity(patience.facts_max.unwrap_or(4096).min(4096)),
            ring,
            interest,
            patience,
            waiting_since: UnixNanos::MAX,
            broken: false,
            pending: VecDeque::new(),
            wants: Vec::new(),
            any: Wants::default(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            changed: Vec::new(),
            is_changed: Vec::new(),
            broken_count: 0,
            discarded: 0,
        }
    }

    /// Makes room for one more symbol.
    pub fn add_symbol(&mut self) {
        self.wants.push(Wants::default());
        self.is_dirty.push(false);
        self.dirty.reserve(self.wants.len() - self.dirty.len());
        self.is_changed.push(false);
        self.changed.reserve(self.wants.len() - self.changed.len());
    }

    /// What is wanted of a symbol, by name or by wildcard.
    #[inline]
    pub fn wants(&self, symbol: u32) -> Wants {
        self.wants[symbol as usize].with(self.any)
    }

    /// Takes one message of the gateway. `local` gives a symbol's local number, new if need be.
    pub fn next_interest(&mut self) -> Option<Interest> {
        self.interest.pop()
    }

    /// Applies an interest; `symbol` is the local number of its symbol, unless it is a wildcard.
    pub fn take(&mut self, interest: &Interest, symbol: Option<u32>) {
        let Interest { topic, ask, states } = *interest;
        let wants = match symbol {
            None => &mut self.any,
            Some(symbol) => &mut self.wants[symbol as usize],
        };
        let pending =
            |request, since| Pending { topic, request, since, trades: None, next_symbol: 0, states };
        match ask {
            Ask::Off => wants.clear(topic),
            Ask::Days => wants.days |= 1 << topic.level(),
            Ask::Trades { request, last } => {
                self.pending.push_back(Pending { trades: Some(last), ..pending(request, None) });
            }
            Ask::Snapshot { request } => self.pending.push_back(pending(request, None)),
            Ask::Join { request, since } => {
                wants.set(topic, states);
                self.pending.push_back(pending(request, since));
            }
        }
    }

    /// Sends a fact, or lets it wait, in order.
    #[inline]
    pub fn fact(&mut self, event: &Event, now: UnixNanos) {
        if self.broken {
            self.discarded += 1;
        } else if !self.waiting.is_empty() || self.ring.push(*event).is_err() {
            self.wait(event, now);
        }
    }

    #[cold]
    fn wait(&mut self, event: &Event, now: UnixNanos) {
        if self.waiting.is_empty() {
            self.waiting_since = now;
        }
        if self.patience.facts_max.is_some_and(|most| self.waiting.len() >= most) {
            self.give_up();
            self.discarded += 1;
        } else {
            self.waiting.push_back(*event);
        }
    }

    /// From here on events are lost; once the ring has room the gateway is told to ask again.
    fn give_up(&mut self) {
        self.broken = true;
        self.broken_count += 1;
        self.discarded += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting_since = UnixNanos::MAX;
    }

    /// Moves on what waits. Returns whether anything moved.
    pub fn turn(&mut self, now: UnixNanos) -> bool {
        let mut moved = false;
        if self.broken {
            // Half the ring, so that the resynchronisation does not break it at once again.
            if self.ring.room() * 2 >= self.ring.depth() && self.ring.push(Event::resync()).is_ok() {
                self.broken = false;
                moved = true;
            } else {
                self.ring.want_room(self.ring.depth().div_ceil(2));
            }
            return moved;
        }
        while let Some(event) = self.waiting.front() {
            if self.ring.push(*event).is_err() {
                break;
            }
            self.waiting.pop_front();
            // The deadline is the ring's, not the event's: as long as it moves it is not broken.
            self.waiting_since = now;
            moved = true;
        }
        if self.waiting.is_empty() {
            self.waiting_since = UnixNanos::MAX;
        } else if self.patience.facts_max.is_some() && now - self.waiting_since >= self.patience.deadline {
            self.give_up();
        }
        moved
    }

    /// When [`Self::turn`] must look at the clock.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let waits = !self.waiting.is_empty() && self.patience.facts_max.is_some();
        waits.then(|| self.waiting_since + self.patience.deadline)
    }

    /// The shard must wait: facts are stuck and may not be given up.
    #[inline]
    pub fn holds_back(&self) -> bool {
        self.patience.facts_max.is_none() && !self.waiting.is_empty()
    }

    /// Whether `n` events can be sent now, in order.
    pub fn has_room(&mut self, n: usize) -> bool {
        if self.broken || !self.waiting.is_empty() {
            // What stands before has asked for the room that it needs.
            return false;
        }
        self.ring.room_for(n)
    }

    /// The longest answer that this ring can ever take.
    pub fn answer_max(&self) -> usize {
        self.ring.depth() / 2
    }

    /// Sends what there is room for, as [`Self::has_room`] said.
    pub fn send(&mut self, event: &Event) {
        // `has_room` was asked; a refusal would show as a gap and be repaired by a resynchronisation.
        if self.ring.push(*event).is_err() {
            self.give_up();
        }
    }

    /// Notes that a symbol's states changed, if anybody wants them.
    #[inline]
    pub fn touch(&mut self, symbol: u32) {
        let wants = self.wants(symbol);
        if (wants.forming != 0 || wants.quotes)
            && !std::mem::replace(&mut self.is_dirty[symbol as usize], true)
        {
            self.dirty.push(symbol);
        }
    }

    /// Notes that a symbol's market status changed, if anybody wants it.
    pub fn touch_status(&mut self, symbol: u32) {
        if self.wants(symbol).status && !std::mem::replace(&mut self.is_changed[symbol as usize], true) {
            self.changed.push(symbol);
        }
    }

    /// Takes a symbol whose market status is to be sent.
    pub fn pop_changed(&mut self) -> Option<u32> {
        let symbol = self.changed.pop()?;
        self.is_changed[symbol as usize] = false;
        Some(symbol)
    }

    /// Whether a market status waits for room.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes a symbol whose states are to be sent.
    pub fn pop_dirty(&mut self) -> Option<u32> {
        let symbol = self.dirty.pop()?;
        self.is_dirty[symbol as usize] = false;
        Some(symbol)
    }

    /// Whether states wait for room.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Something is left to move once the ring has room.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.pending.is_empty()
            && self.dirty.is_empty()
            && self.changed.is_empty()
            && !self.broken
    }

    /// The last look before sleeping.
    pub fn has_work(&self) -> bool {
        !self.interest.is_empty() || self.ring.has_news()
    }

    /// Wakes the gateway if anything was sent.
    pub fn flush(&mut self) {
        self.ring.flush();
    }

    /// The gateway has gone.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// A wildcard interest names no symbol.
    pub fn symbol_of(interest: &Interest) -> Option<SymbolId> {
        Some(interest.topic.symbol).filter(|&symbol| symbol != SymbolId::ANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Bell, ring};

    /// A link over a ring of 8 slots, with the gateway's ends.
    fn link() -> (Link, Receiver<Event>, Sender<Interest>) {
        let (events, gateway) = ring(8, Bell::silent(), Bell::silent());
        let (asks, interest) = ring(8, Bell::silent(), Bell::silent());
        let patience = Patience { facts_max: Some(1), deadline: Nanos::from_secs(1) };
        (Link::new(events, interest, patience), gateway, asks)
    }

    fn fill(link: &mut Link, facts: usize) {
        (0..facts).for_each(|_| link.fact(&Event::resync(), UnixNanos(0)));
    }

    #[test]
    fn too_little_room_for_an_answer_is_nothing_to_stay_awake_for() {
        let (mut link, mut gateway, _asks) = link();
        fill(&mut link, 6);
        assert!(!link.has_room(4) && !link.has_work(), "two slots are free, and four are needed");
        gateway.pop();
        assert!(!link.has_work());
        gateway.pop();
        assert!(link.has_work() && link.has_room(4));
    }

    #[test]
    fn room_found_for_what_nobody_wants_any_more_is_nothing_to_stay_awake_for() {
        let (mut link, mut gateway, _asks) = link();
        fill(&mut link, 6);
        assert!(!link.has_room(4));
        gateway.pop();
        gateway.pop();
        assert!(link.has_work() && link.has_room(4));
        // The state that the room was for is not wanted now, and nothing is sent.
        assert!(!link.has_work());
    }

    #[test]
    fn a_broken_ring_is_nothing_to_stay_awake_for_until_half_of_it_is_free() {
        let (mut link, mut gateway, _asks) = link();
        fill(&mut link, 10);
        assert_eq!(link.broken_count, 1);
        for _ in 0..3 {
            gateway.pop();
            link.turn(UnixNanos(0));
            assert!(!link.has_room(1) && !link.has_work());
        }
        gateway.pop();
        assert!(link.has_work() && link.turn(UnixNanos(0)));
    }
}
