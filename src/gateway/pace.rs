//! Lanes in use: messages put into them, taken out when their interval ends, and the alarms that tell when.

use std::cmp::Reverse;

use crate::model::{Topic, UnixNanos};

use super::Gateway;
use super::connection::Phase;
use super::dialect::Delivery;
use super::frame::{FrameId, FrameKind, Opcode};
use super::lane::{Cadence, NO_LANE};
use super::outbox::{Offered, Outbox};
use super::topics::{NONE, Subscription, Terms};

/// A gathered message takes no further item beyond this, bytes: clients commonly refuse messages of 1 MiB, and copying
/// it may not delay other clients.
const GATHERED_BYTES_MAX: usize = 256 * 1024;

/// When to look at a connection's lanes: time, slot, and number, for the slot may be another's by then.
pub(super) type Alarm = Reverse<(UnixNanos, u32, u64)>;

impl Gateway {
    /// What a delivery means for this connection; `None` where it has too many different ones.
    pub(super) fn terms(&mut self, slot: u32, delivery: &Delivery) -> Option<Terms> {
        let plain = Terms { forming: delivery.forming, lane: NO_LANE, format: delivery.format };
        let Some(cadence) = Cadence::of(delivery) else { return Some(plain) };
        let (topics, asks) = (&self.topics, &self.asks);
        let connection = self.connections.get_mut(slot as usize)?.as_deref_mut()?;
        let (wanted, asked) = (&connection.wanted, &connection.asks);
        let lane = connection.outbox.open_lane(cadence, |lane, old| {
            let uses = |terms: Option<Terms>| terms.is_some_and(|terms| terms.lane == lane);
            let by_id = |&id: &u32| {
                let subscription = topics.subscription(id);
                uses(subscription.named) || uses(subscription.wild)
            };
            !wanted.values().any(|delivery| Cadence::of(delivery) == Some(old))
                && !asked.iter().any(|request| uses(asks.get(request).map(|ask| ask.terms)))
                && !topics.of_connection(slot).iter().any(by_id)
        })?;
        Some(Terms { lane, ..plain })
    }

    /// Changes what a connection wants of a topic. Facts that waited on the old terms go first; a state waits on the new.
    pub(super) fn set_terms(&mut self, id: u32, set: impl FnOnce(&mut Subscription)) {
        let slot = self.topics.subscription(id).connection;
        let dialect = self.connection(slot).map_or(0, |connection| connection.dialect);
        let subscription = self.topics.subscription_mut(id);
        let old = subscription.lane;
        set(subscription);
        subscription.apply(dialect);
        let (lane, dirty) = (subscription.lane, subscription.queued && subscription.join == NONE);
        if old != lane {
            self.flush_facts(slot);
            if dirty {
                self.queue_state(slot, lane, id);
            }
        }
    }

    /// Facts of a topic that came before an answer about it go before it.
    pub(super) fn let_facts_go(&mut self, slot: u32, topic: Topic) {
        if self.connection(slot).is_none_or(|connection| connection.outbox.lanes().is_empty()) {
            return;
        }
        let joined = self.topics.find(topic).and_then(|row| self.topics.joined(slot, row));
        if joined.is_some_and(|id| self.topics.subscription(id).lane != NO_LANE) {
            self.flush_facts(slot);
        }
    }

    /// Keeps a fact for its interval. Takes over the caller's reference.
    pub(super) fn delay_fact(&mut self, slot: u32, lane: u8, frame: FrameId) {
        let (bounds, now) = (self.bounds(), self.now);
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        if connection.outbox.delay_fact(lane, frame, &mut self.pool, now, bounds) == Offered::Evict {
            self.evictions.push(slot);
        }
        self.await_lane(slot, lane);
    }

    /// Names a dirty state, in the outbox or in its lane.
    pub(super) fn queue_state(&mut self, slot: u32, lane: u8, id: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        match connection.outbox.lane_mut(lane) {
            None => {
                connection.outbox.push_state(id);
                self.list_dirty(slot);
            }
            Some(waiting) => {
                waiting.push_state(id);
                self.await_lane(slot, lane);
            }
        }
    }

    /// Sees to it that a lane is looked at when it is due: in this turn, or by an alarm.
    fn await_lane(&mut self, slot: u32, lane: u8) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let Some(due) = connection.outbox.lane_mut(lane).and_then(|lane| lane.wake()) else { return };
        if due <= now {
            self.list_dirty(slot);
        } else if connection.alarm_at(due) {
            self.alarms.push(Reverse((due, slot, connection.number)));
        }
    }

    /// Puts connections whose lanes are due on the list to write.
    pub(super) fn ring_alarms(&mut self) {
        while let Some(&Reverse((at, slot, number))) = self.alarms.peek()
            && at <= self.now
        {
            self.alarms.pop();
            if let Some(connection) = self.connection(slot)
                && connection.number == number
                && connection.alarm == Some(at)
            {
                connection.alarm = None;
                self.list_dirty(slot);
            }
        }
    }

    /// Puts what is due in a connection's lanes into its outbox, unless what was put there before still waits: what is in
    /// a message grows stale, what is in a lane does not.
    pub(super) fn flush_lanes(&mut self, slot: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let lanes = connection.outbox.lanes().len();
        if lanes == 0 || connection.phase != Phase::Open || connection.outbox.has_gathered() {
            return;
        }
        // The outbox is taken out so that the rest of the gateway can encode for it.
        let mut outbox = std::mem::take(&mut connection.outbox);
        for lane in 0..lanes as u8 {
            if outbox.lanes()[usize::from(lane)].wake().is_some_and(|due| due <= now) {
                self.flush_lane(slot, lane, &mut outbox);
            }
        }
        // One that is due still, since a state moved there meanwhile, has the next turn.
        let wake = outbox.lanes().iter().filter_map(|lane| lane.wake()).min();
        if let Some(connection) = self.connection(slot) {
            connection.outbox = outbox;
            if let Some(due) = wake
                && connection.alarm_at(due)
            {
                let number = connection.number;
                self.alarms.push(Reverse((due, slot, number)));
            }
        }
    }

    fn flush_lane(&mut self, slot: u32, number: u8, outbox: &mut Outbox) {
        let now = self.now;
        self.gather_lane(slot, number, outbox, true);
        if outbox.lane_mut(number).is_some_and(|lane| !lane.cadence.together) {
            while let Some(id) = outbox.lane_mut(number).and_then(|lane| lane.pop_state(now)) {
                outbox.push_state(id);
            }
        }
        if let Some(lane) = outbox.lane_mut(number) {
            lane.rest(now);
        }
    }

    /// Makes one message of a lane's facts and, where the cadence puts both together and `states` says so, of the newest of
    /// its states that may go; as far as one message takes them. A lone fact that has no states for company stays itself.
    fn gather_lane(&mut self, slot: u32, number: u8, outbox: &mut Outbox, states: bool) {
        let now = self.now;
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        let Some(lane) = outbox.lane_mut(number) else { return };
        let (cadence, queued) = (lane.cadence, lane.late_since().map_or(now, |since| since.min(now)));
        let mut bytes = 0;
        while bytes < GATHERED_BYTES_MAX
            && let Some(frame) = lane.pop_fact()
        {
            bytes += self.pool.bytes(frame).len();
            parts.push(frame);
        }
        let (facts, mut size) = (parts.len(), bytes);
        while states
            && cadence.together
            && size < GATHERED_BYTES_MAX
            && let Some(id) = outbox.lane_mut(number).and_then(|lane| lane.pop_state(now))
        {
            let subscription = self.topics.subscription(id);
            if subscription.connection == slot && subscription.lane != number {
                // It is on other terms by now.
                match outbox.lane_mut(subscription.lane) {
                    Some(lane) => lane.push_state(id),
                    None => outbox.push_state(id),
                }
            } else if let Some(frame) = self.newest(slot, id, outbox.lanes_mut()) {
                self.topics.subscription_mut(id).queued = false;
                size += self.pool.bytes(frame).len();
                parts.push(frame);
            }
        }
        if !parts.is_empty() {
            let opcode = Opcode::of(cadence.format);
            let frame = match parts[..] {
                [lone] if !cadence.together => self.pool.copy(now, opcode, lone),
                _ => {
                    let kind =
                        FrameKind::Gathered { facts: facts as u32, states: (parts.len() - facts) as u32 };
                    self.pool.gather(now, kind, opcode, &parts)
                }
            };
            // States still belong to their topics.
            parts.drain(..).take(facts).for_each(|part| self.pool.release(part));
            outbox.push_gathered(frame, bytes, queued);
        }
        self.parts = parts;
    }

    /// Puts all facts in a connection's lanes into its outbox, due or not: something that must come after them is next.
    pub(super) fn flush_facts(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if !connection.outbox.lanes().iter().any(|lane| lane.has_facts()) {
            return;
        }
        let mut outbox = std::mem::take(&mut connection.outbox);
        for number in 0..outbox.lanes().len() as u8 {
            while outbox.lane_mut(number).is_some_and(|lane| lane.has_facts()) {
                self.gather_lane(slot, number, &mut outbox, false);
            }
        }
        if let Some(connection) = self.connection(slot) {
            connection.outbox = outbox;
        }
        self.list_dirty(slot);
    }
}
