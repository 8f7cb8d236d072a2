//! From an event to the outboxes of those who want it: facts by reference in a queue, states as a mark.

use crate::model::{Channel, Event, EventKind, Topic};
use crate::runtime::memory::{prefetch, prefetch_lines};

use super::Gateway;
use super::connection::Phase;
use super::dialect::{self, CODECS, Format, Reply, Scene};
use super::frame::{FrameId, FrameKind, Opcode};
use super::lane::{Lane, NO_LANE};
use super::outbox::{Offered, Outbox, Piece};
use super::sockets::PIECES_MAX;
use super::topics::{Member, NONE};

/// How a client comes to see an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// It happened.
    Live,
    /// Its stream begins with it.
    Join,
    /// It was asked for once.
    Look,
}

/// How many members ahead their outboxes are asked for, and then the places where facts are queued.
const OUTBOX_AHEAD: usize = 8;
const FACT_AHEAD: usize = 3;
const OUTBOX_LINES: usize = size_of::<Outbox>().div_ceil(64);

/// Why a client that is behind is closed.
pub(super) const FACTS_WAIT: &str = "too many facts wait for this client";
pub(super) const ANSWERS_WAIT: &str = "too many answers wait for this client";
/// Facts handed out together at most.
const RUN_MAX: usize = 32;

/// Facts of one topic that came in a row and are not yet handed to its members.
pub(super) struct Run {
    row: u32,
    events: Vec<Event>,
    /// By codec, of each fact; empty where nobody has needed it.
    frames: [Vec<Option<FrameId>>; CODECS],
}

impl Default for Run {
    fn default() -> Self {
        Self { row: NONE, events: Vec::new(), frames: [const { Vec::new() }; CODECS] }
    }
}

impl Gateway {
    pub(super) fn on_event(&mut self, shard: usize, event: &Event) {
        let goes_on = event.request == 0
            && event.is_fact()
            && self.run.events.last().is_some_and(|e| e.topic == event.topic);
        if !goes_on {
            self.end_run();
        }
        match event.kind() {
            EventKind::AnswerBegin => self.on_answer_begin(event),
            EventKind::AnswerEnd => self.on_answer_end(event),
            EventKind::AnswerDone => self.on_answer_done(event),
            EventKind::Resync => self.resync(shard),
            EventKind::Day => self.day = Some(*event),
            _ if event.request != 0 => self.on_answer_item(event),
            _ => self.on_live(shard, event),
        }
        self.evict_all(FACTS_WAIT);
    }

    /// Closes those whose outboxes took more than they may.
    pub(super) fn evict_all(&mut self, reason: &str) {
        while let Some(slot) = self.evictions.pop() {
            self.evict(slot, reason);
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

    /// Notes a fact for all members of its topic. Facts of one topic that come in a row are handed out together: a member's outbox
    /// is then looked up once for all of them.
    pub(super) fn publish(&mut self, row: u32, event: &Event) {
        if self.run.row != row || self.run.events.len() == RUN_MAX {
            self.end_run();
            self.run.row = row;
        }
        self.topics.row_mut(row).sequence = event.sequence;
        self.run.events.push(*event);
    }

    /// Hands out the facts noted, encoded once a codec.
    pub(super) fn end_run(&mut self) {
        if self.run.events.is_empty() {
            return;
        }
        let mut run = std::mem::take(&mut self.run);
        let row = run.row;
        for event in &run.events {
            let entry = self.topics.row_mut(row);
            if let Some(state) = &mut entry.state {
                let over =
                    event.kind() == EventKind::BarClosed && state.as_bar().start <= event.as_bar().start;
                // A state that outlives a fact is written after it, and carries its number.
                state.sequence = event.sequence;
                if over {
                    entry.state = None;
                }
                self.cleared.extend(entry.frames.iter_mut().filter_map(Option::take));
                self.release_cleared();
            }
        }
        let audience = self.topics.row(row).audience;
        // Taken out for the time of the loop, which adds and removes none.
        let members = std::mem::take(&mut self.topics.row_mut(row).members);
        for (place, &member) in members.iter().enumerate() {
            self.foresee(&members[place + 1..]);
            let subscription = self.topics.subscription(member.subscription);
            let (codec, join, lane) = (subscription.codec, subscription.join, subscription.lane);
            let frames = &mut run.frames[usize::from(codec)];
            if frames.is_empty() {
                let encoded =
                    run.events.iter().map(|event| self.encode(event, codec, View::Live, FrameKind::Fact));
                frames.extend(encoded);
            }
            // What the dialect has no word for has no frame.
            for &frame in frames.iter().flatten() {
                self.pool.retain(frame);
                if join != NONE {
                    self.hold(join, frame);
                } else if lane != NO_LANE {
                    self.delay_fact(member.connection, lane, frame);
                } else {
                    self.queue_fact(member.connection, frame);
                }
            }
        }
        self.topics.row_mut(row).members = members;
        for (codec, frames) in run.frames.iter_mut().enumerate() {
            for frame in frames.drain(..).flatten() {
                self.shared.place(audience.wrapping_add(codec as u64), frame, &mut self.pool);
                self.pool.release(frame);
            }
        }
        run.events.clear();
        run.row = NONE;
        self.run = run;
    }

    /// Asks for the memory that a fact for the members to come will touch.
    #[inline]
    fn foresee(&self, next: &[Member]) {
        let outbox =
            |member: &Member| Some(&self.connections.get(member.connection as usize)?.as_deref()?.outbox);
        if let Some(member) = next.get(OUTBOX_AHEAD) {
            prefetch(self.topics.subscription(member.subscription));
            if let Some(outbox) = outbox(member) {
                prefetch_lines::<_, 0, OUTBOX_LINES>(outbox);
            }
        }
        if let Some(fact) = next.get(FACT_AHEAD).and_then(outbox).and_then(Outbox::newest_fact) {
            prefetch(fact);
        }
    }

    fn queue_fact(&mut self, slot: u32, frame: FrameId) {
        let bounds = self.bounds();
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        if connection.outbox.push_fact(frame, &mut self.pool, self.now, bounds) == Offered::Evict {
            self.evictions.push(slot);
        }
        if connection.becomes_dirty() {
            self.dirty.push(slot);
        }
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
                let (join, lane) = (subscription.join, subscription.lane);
                if join == NONE && lane == NO_LANE {
                    connection.outbox.push_state(member.subscription);
                    self.list_dirty(member.connection);
                } else if join == NONE {
                    self.queue_state(member.connection, lane, member.subscription);
                }
            }
        }
    }

    pub(super) fn release_cleared(&mut self) {
        for frame in self.cleared.drain(..) {
            self.pool.release(frame);
        }
    }

    /// Encodes an event now; the caller holds the frame. `None`: the dialect has no word for it.
    pub(super) fn encode(
        &mut self,
        event: &Event,
        codec: u8,
        view: View,
        kind: FrameKind,
    ) -> Option<FrameId> {
        let now = self.look_at_clock();
        // A close waits for the clock, an answer for a client: only what a tick itself brings measures the way.
        if event.request == 0 && event.ts_recv.0 > 0 && event.kind() != EventKind::BarClosed {
            self.recv_to_encoded.record(event.ts_recv, now);
        }
        let symbol = self.symbols.name(event.topic.symbol);
        let timeframes = &self.timeframes;
        let day = self.day.filter(|day| day.topic == event.topic && day.sequence == event.sequence);
        let day = day.map(|day| day.as_day());
        let (snapshot, look) = (view != View::Live, view == View::Look);
        let (dialect, format) = dialect::of_codec(codec);
        let frame = self.pool.encode(now, kind, Opcode::of(format), |out| {
            // Shards speak only of symbols in the table.
            let Some(symbol) = symbol else { return };
            let scene = Scene { symbol, timeframes, now, snapshot, look, day: day.as_ref() };
            match format {
                Format::Json => dialect::TABLE[dialect].event(out, event, &scene),
                Format::Binary => dialect::TABLE[dialect].record(out, event, &scene),
            }
        });
        self.unless_blank(frame)
    }

    /// Encodes a reply now; the caller holds the frame. `None`: the dialect has no word for it.
    pub(super) fn encode_reply(
        &mut self,
        dialect: usize,
        id: Option<&str>,
        reply: &Reply<'_>,
    ) -> Option<FrameId> {
        let now = self.now;
        let frame = self.pool.encode(now, FrameKind::Reply, Opcode::Text, |out| {
            dialect::TABLE[dialect].reply(out, id, reply, now);
        });
        self.unless_blank(frame)
    }

    fn unless_blank(&mut self, frame: FrameId) -> Option<FrameId> {
        if self.pool.is_blank(frame) {
            self.pool.release(frame);
            return None;
        }
        Some(frame)
    }

    /// Lists what to write next to a connection; states are encoded here, if nobody did before.
    pub(super) fn gather(&mut self, slot: usize, pieces: &mut Vec<Piece>) {
        pieces.clear();
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        if !connection.outbox.has_states() {
            return connection.outbox.gather(PIECES_MAX, pieces, |_, _| None);
        }
        // The outbox is taken out so that the rest of the gateway can encode for it.
        let mut outbox = std::mem::take(&mut connection.outbox);
        outbox.gather(PIECES_MAX, pieces, |id, lanes| self.newest(slot as u32, id, lanes));
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) {
            connection.outbox = outbox;
        }
    }

    /// The newest frame of a dirty state; `None` where it was cleared, belongs to another by now, is held by a join, is no
    /// longer wanted, or must wait in its lane for facts that are still there.
    pub(super) fn newest(&mut self, slot: u32, id: u32, lanes: &mut [Lane]) -> Option<FrameId> {
        let subscription = self.topics.subscription_mut(id);
        if subscription.connection != slot || !subscription.queued || subscription.join != NONE {
            return None;
        }
        if let Some(lane) = lanes.get_mut(usize::from(subscription.lane)).filter(|lane| lane.has_facts()) {
            lane.push_state(id);
            return None;
        }
        let (row, wanted, codec) = (subscription.row, subscription.wants_states(), subscription.codec);
        let Some(state) = self.topics.row(row).state.filter(|_| wanted) else {
            self.topics.subscription_mut(id).queued = false;
            return None;
        };
        if let Some(frame) = self.topics.row(row).frames[usize::from(codec)] {
            return Some(frame);
        }
        let Some(frame) = self.encode(&state, codec, View::Live, FrameKind::State) else {
            self.topics.subscription_mut(id).queued = false;
            return None;
        };
        self.topics.row_mut(row).frames[usize::from(codec)] = Some(frame);
        Some(frame)
    }

    /// `AAPL/1m`, or `AAPL` where the channel has no timeframes.
    pub(super) fn topic_name(&mut self, topic: Topic) -> String {
        let symbol = self.symbols.name(topic.symbol);
        let symbol = symbol.as_ref().map_or("*", |symbol| symbol.as_str());
        match topic.channel() {
            Channel::Bars => format!("{symbol}/{}", self.timeframes.label(topic.level())),
            Channel::Trades | Channel::Quotes | Channel::Status => symbol.to_owned(),
        }
    }
}
