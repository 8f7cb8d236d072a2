//! From an event to the outboxes of those who want it: facts by reference in a queue, states as a mark.

use crate::model::{Channel, Event, EventKind, Topic};

use super::Gateway;
use super::connection::Phase;
use super::dialect::{self, DIALECTS, Scene};
use super::frame::{FrameId, FrameKind, Opcode};
use super::outbox::{Offered, Piece};
use super::sockets::PIECES_MAX;
use super::topics::NONE;

impl Gateway {
    pub(super) fn on_event(&mut self, shard: usize, event: &Event) {
        match event.kind() {
            EventKind::AnswerBegin => self.on_answer_begin(event),
            EventKind::AnswerEnd => self.on_answer_end(event),
            EventKind::AnswerDone => self.on_answer_done(event),
            EventKind::Resync => self.resync(shard),
            _ if event.request != 0 => self.on_answer_item(event),
            _ => self.on_live(shard, event),
        }
        while let Some(slot) = self.evictions.pop() {
            self.evict(slot, "too many facts wait for this client");
        }
    }

    fn on_live(&mut self, shard: usize, event: &Event) {
        let row = match self.topics.find(event.topic) {
            Some(row) => row,
            None if self.wild_wants(shard, event.topic) => match self.open_row(event.topic) {
                Some(row) => row,
                None => return,
            },
            None => return,
        };
        let entry = self.topics.row(row);
        if entry.resync != 0 || entry.members.is_empty() {
            self.counters.discarded += 1;
        } else if !event.is_fact() {
            self.set_state(row, event);
        } else if event.sequence <= entry.sequence {
            self.counters.duplicates += 1;
        } else if event.sequence > entry.sequence + 1 {
            // A shard says when it lost something; this only keeps a silent loss from reaching a client.
            self.counters.gaps += 1;
            self.resync_row(row);
        } else {
            self.publish(row, event);
        }
    }

    /// Sends a fact to all members of its topic, encoded once a dialect.
    pub(super) fn publish(&mut self, row: u32, event: &Event) {
        let entry = self.topics.row_mut(row);
        entry.sequence = event.sequence;
        if let Some(state) = &mut entry.state {
            let over = event.kind() == EventKind::BarClosed && state.as_bar().start <= event.as_bar().start;
            // A state that outlives a fact is written after it, and carries its number.
            state.sequence = event.sequence;
            if over {
                entry.state = None;
            }
            self.cleared.extend(entry.frames.iter_mut().filter_map(Option::take));
            self.release_cleared();
        }
        let mut frames: [Option<FrameId>; DIALECTS] = [None; DIALECTS];
        for place in 0..self.topics.row(row).members.len() {
            let Some(&member) = self.topics.row(row).members.get(place) else { break };
            let Some(connection) =
                self.connections.get(member.connection as usize).and_then(Option::as_deref)
            else {
                continue;
            };
            let dialect = connection.dialect;
            let frame = match frames[dialect] {
                Some(frame) => frame,
                None => {
                    let frame = self.encode(event, dialect, false, FrameKind::Fact);
                    frames[dialect] = Some(frame);
                    frame
                }
            };
            self.pool.retain(frame);
            let join = self.topics.subscription(member.subscription).join;
            if join == NONE {
                self.queue_fact(member.connection, frame);
            } else {
                self.hold(join, frame);
            }
        }
        frames.into_iter().flatten().for_each(|frame| self.pool.release(frame));
    }

    fn queue_fact(&mut self, slot: u32, frame: FrameId) {
        let bounds = self.bounds();
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        if connection.outbox.push_fact(frame, &mut self.pool, self.now, bounds) == Offered::Evict {
            self.evictions.push(slot);
        }
        self.list_dirty(slot);
    }

    /// Queues an answer in line with the facts.
    pub(super) fn queue_answer(&mut self, slot: u32, frame: FrameId) {
        let bounds = self.bounds();
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        if connection.outbox.push_answer(frame, &mut self.pool, self.now, bounds) == Offered::Evict {
            self.evictions.push(slot);
        }
        self.list_dirty(slot);
    }

    /// Replaces a topic's state and marks it dirty for those who want states.
    pub(super) fn set_state(&mut self, row: u32, event: &Event) {
        let entry = self.topics.row_mut(row);
        entry.state = Some(*event);
        self.cleared.extend(entry.frames.iter_mut().filter_map(Option::take));
        self.release_cleared();
        for place in 0..self.topics.row(row).members.len() {
            let Some(&member) = self.topics.row(row).members.get(place) else { break };
            let subscription = self.topics.subscription_mut(member.subscription);
            if !subscription.wants_states() {
                continue;
            }
            let Some(connection) =
                self.connections.get_mut(member.connection as usize).and_then(Option::as_deref_mut)
            else {
                continue;
            };
            if subscription.queued {
                subscription.conflated = subscription.conflated.saturating_add(1);
                connection.conflated = connection.conflated.saturating_add(1);
                self.counters.conflated += 1;
            } else if connection.phase == Phase::Open {
                subscription.queued = true;
                if subscription.join == NONE {
                    connection.outbox.push_state(member.subscription);
                    self.list_dirty(member.connection);
                }
            }
        }
    }

    pub(super) fn release_cleared(&mut self) {
        for frame in self.cleared.drain(..) {
            self.pool.release(frame);
        }
    }

    /// Encodes an event now; the caller holds the frame.
    pub(super) fn encode(
        &mut self,
        event: &Event,
        dialect: usize,
        snapshot: bool,
        kind: FrameKind,
    ) -> FrameId {
        let now = self.now;
        // A close waits for the clock, an answer for a client: only what a tick itself brings measures the way.
        if event.request == 0 && event.ts_recv.0 > 0 && event.kind() != EventKind::BarClosed {
            self.recv_to_encoded.record(event.ts_recv, now);
        }
        let symbol = self.symbols.name(event.topic.symbol);
        let timeframes = &self.timeframes;
        self.pool.encode(now, kind, Opcode::Text, |out| {
            // Shards speak only of symbols in the table.
            if let Some(symbol) = symbol {
                dialect::TABLE[dialect].event(out, event, &Scene { symbol, timeframes, now, snapshot });
            }
        })
    }

    /// Lists what to write next to a connection; states are encoded here, if nobody did before.
    pub(super) fn gather(&mut self, slot: usize, pieces: &mut Vec<Piece>) {
        pieces.clear();
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        if !connection.outbox.has_states() {
            return connection.outbox.gather(PIECES_MAX, pieces, |_| None);
        }
        // The outbox is taken out so that the rest of the gateway can encode for it.
        let dialect = connection.dialect;
        let mut outbox = std::mem::take(&mut connection.outbox);
        outbox.gather(PIECES_MAX, pieces, |id| self.newest(slot as u32, dialect, id));
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) {
            connection.outbox = outbox;
        }
    }

    /// The newest frame of a dirty state; `None` where it was cleared, belongs to another by now, is held by a join, or is no
    /// longer wanted.
    fn newest(&mut self, slot: u32, dialect: usize, id: u32) -> Option<FrameId> {
        let subscription = self.topics.subscription_mut(id);
        if subscription.connection != slot || !subscription.queued || subscription.join != NONE {
            return None;
        }
        let (row, wanted) = (subscription.row, subscription.wants_states());
        let Some(state) = self.topics.row(row).state.filter(|_| wanted) else {
            self.topics.subscription_mut(id).queued = false;
            return None;
        };
        if let Some(frame) = self.topics.row(row).frames[dialect] {
            return Some(frame);
        }
        let frame = self.encode(&state, dialect, false, FrameKind::State);
        self.topics.row_mut(row).frames[dialect] = Some(frame);
        Some(frame)
    }

    /// `AAPL/1m`, or `AAPL` where the channel has no timeframes.
    pub(super) fn topic_name(&mut self, topic: Topic) -> String {
        let symbol = self.symbols.name(topic.symbol);
        let symbol = symbol.as_ref().map_or("*", |symbol| symbol.as_str());
        match topic.channel() {
            Channel::Bars => format!("{symbol}/{}", self.timeframes.label(topic.level())),
            Channel::Trades | Channel::Quotes => symbol.to_owned(),
        }
    }
}
