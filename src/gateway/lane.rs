//! Messages that wait for their interval: what a client that asked for `throttle_ms` or `batch_ms` is still to be sent.
//! No I/O here.
//!
//! A lane gathers for all subscriptions of a connection that want the same cadence. The first message after a quiet
//! time is due at once and begins an interval; what comes within it is due at its end. States are named and not held,
//! as in the outbox, and never leave a lane before its facts.

use std::collections::VecDeque;

use crate::model::{Nanos, UnixNanos};

use super::dialect::{Delivery, Format};
use super::frame::{FrameId, FramePool};

/// Cadences of one connection at once. Each is looked at whenever the connection is written; more would be a way to
/// make that slow.
pub const LANES_MAX: usize = 16;
/// The lane of a subscription that waits for nothing.
pub const NO_LANE: u8 = u8::MAX;

/// How often a lane lets its messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    facts_every: Nanos,
    states_every: Nanos,
    /// One state each interval, in turn.
    single: bool,
    /// Facts and states go as one message.
    pub together: bool,
    /// Messages of one format can be put together.
    pub format: Format,
}

impl Cadence {
    /// What a delivery asks for; `None` where nothing is to wait.
    pub fn of(delivery: &Delivery) -> Option<Self> {
        let Delivery { throttle, single, batch, format, .. } = *delivery;
        let together = batch > Nanos::ZERO;
        let facts_every = if together { batch } else { throttle };
        let states_every = throttle.max(batch);
        (states_every > Nanos::ZERO).then_some(Self { facts_every, states_every, single, together, format })
    }
}

/// What waits for one cadence.
pub struct Lane {
    /// How often it lets go.
    pub cadence: Cadence,
    facts: VecDeque<FrameId>,
    /// When the oldest of them came.
    oldest: UnixNanos,
    states: VecDeque<u32>,
    due: UnixNanos,
    states_due: UnixNanos,
}

impl Lane {
    /// An empty one, whose first message is due at once.
    pub fn new(cadence: Cadence) -> Self {
        let (due, states_due) = (UnixNanos::MIN, UnixNanos::MIN);
        Self { cadence, facts: VecDeque::new(), oldest: due, states: VecDeque::new(), due, states_due }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.states.is_empty()
    }

    /// Whether facts wait: then no state of their topics may be sent.
    pub fn has_facts(&self) -> bool {
        !self.facts.is_empty()
    }

    /// Takes over the caller's reference.
    pub fn push_fact(&mut self, frame: FrameId, now: UnixNanos) {
        if self.facts.is_empty() {
            self.oldest = now;
        }
        self.facts.push_back(frame);
    }

    /// Names a subscription whose state is dirty.
    pub fn push_state(&mut self, subscription: u32) {
        self.states.push_back(subscription);
    }

    /// When something of it is due; `None` where nothing waits.
    pub fn wake(&self) -> Option<UnixNanos> {
        if self.has_facts() {
            Some(self.due)
        } else {
            (!self.states.is_empty()).then_some(self.due.max(self.states_due))
        }
    }

    /// Since when the oldest fact should have left.
    pub fn late_since(&self) -> Option<UnixNanos> {
        self.has_facts().then_some(self.oldest + self.cadence.facts_every)
    }

    /// The next fact; the caller takes over its reference.
    pub fn pop_fact(&mut self) -> Option<FrameId> {
        self.facts.pop_front()
    }

    /// The next dirty state, where one may go now.
    pub fn pop_state(&mut self, now: UnixNanos) -> Option<u32> {
        if self.has_facts() || now < self.states_due {
            return None;
        }
        let state = self.states.pop_front()?;
        if self.cadence.single {
            self.states_due = now + self.cadence.states_every;
        }
        Some(state)
    }

    /// Begins the next interval, unless something that may go now is left.
    pub fn rest(&mut self, now: UnixNanos) {
        if self.has_facts() {
            return;
        }
        if now >= self.states_due {
            if !self.states.is_empty() {
                return;
            }
            self.states_due = now + self.cadence.states_every;
        }
        self.due = now + self.cadence.facts_every;
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut FramePool) {
        self.facts.drain(..).for_each(|frame| pool.release(frame));
        self.states.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameKind, Opcode};
    use super::*;

    fn lane(throttle_ms: i64, batch_ms: i64) -> Lane {
        let (throttle, batch) = (Nanos::from_millis(throttle_ms), Nanos::from_millis(batch_ms));
        Lane::new(Cadence::of(&Delivery { throttle, batch, ..Delivery::default() }).unwrap())
    }

    fn at(ms: i64) -> UnixNanos {
        UnixNanos(ms * 1_000_000)
    }

    #[test]
    fn without_an_interval_there_is_no_cadence() {
        assert_eq!(Cadence::of(&Delivery { forming: false, ..Delivery::default() }), None);
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_after_the_interval() {
        let mut lane = lane(100, 0);
        assert_eq!(lane.wake(), None);
        lane.push_state(1);
        assert!(lane.wake() <= Some(at(5)));
        assert_eq!(lane.pop_state(at(5)), Some(1));
        lane.rest(at(5));
        lane.push_state(2);
        assert_eq!(lane.wake(), Some(at(105)));
        assert_eq!(lane.pop_state(at(104)), None);
        assert_eq!(lane.pop_state(at(105)), Some(2));
    }

    #[test]
    fn a_single_lane_lets_one_state_go_each_interval_in_turn() {
        let throttle = Nanos::from_millis(100);
        let delivery = Delivery { throttle, single: true, ..Delivery::default() };
        let mut lane = Lane::new(Cadence::of(&delivery).unwrap());
        (1..=3).for_each(|id| lane.push_state(id));
        for (ms, id) in [(5, 1), (105, 2), (210, 3)] {
            assert!(lane.wake() <= Some(at(ms)));
            assert_eq!((lane.pop_state(at(ms)), lane.pop_state(at(ms))), (Some(id), None));
            lane.rest(at(ms));
        }
        lane.push_state(1);
        assert_eq!(lane.wake(), Some(at(310)));
    }

    #[test]
    fn facts_hold_back_states_and_a_longer_throttle_only_states() {
        let mut pool = FramePool::default();
        let mut lane = lane(100, 10);
        lane.push_state(1);
        assert_eq!(lane.pop_state(at(0)), Some(1));
        lane.rest(at(0));
        let frame = pool.encode(at(0), FrameKind::Fact, Opcode::Text, |_| {});
        lane.push_state(2);
        lane.push_fact(frame, at(3));
        assert_eq!((lane.wake(), lane.late_since()), (Some(at(10)), Some(at(13))));
        assert_eq!(lane.pop_state(at(200)), None, "a fact is before it");
        assert_eq!(lane.pop_fact(), Some(frame));
        assert_eq!(lane.pop_state(at(10)), None, "not yet due");
        lane.rest(at(10));
        assert_eq!(lane.wake(), Some(at(100)));
    }
}
