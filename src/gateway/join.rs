//! Joins: what was asked of the shards and not yet answered, and what waits for it.
//!
//! A shard answers in ring order, so from the end of an answer on every live event of the topic is for the joiner too: the
//! snapshot and the stream are one cut. A request may name topics of several shards; the client must first see where
//! all of them stand. So what its answered topics have to say is held, in order, until the last has answered. The joins of one
//! connection are released in the order they were asked for, and answers to later requests wait behind them.

use std::collections::VecDeque;

use crate::model::{Ask as Asked, Channel, Event, EventKind, Interest, SymbolId, Topic};

use super::Gateway;
use super::deliver::View;
use super::dialect::{self, Position, Reply};
use super::frame::{FrameId, FrameKind};
use super::topics::{NONE, Terms, WildMember};

/// Why a shard was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client joins a topic.
    Join,
    /// A client joins every symbol.
    Wild,
    /// A client that joins a topic first wants the last trades of its symbol, so many of them.
    Trades(u32),
    /// A client wants to look once, at a topic or at every symbol.
    Look,
    /// Events of a topic were lost, for all its members.
    Resync,
    /// Events of symbols that this gateway has not heard of may have been lost.
    WildResync,
}

/// One request to one shard.
pub(super) struct Ask {
    /// For whom; [`NONE`] for all members.
    pub connection: u32,
    pub join: u32,
    pub shard: usize,
    pub topic: Topic,
    pub purpose: Purpose,
    pub since: Option<u64>,
    pub terms: Terms,
    pub recovered: bool,
    pub frames: Vec<FrameId>,
    /// The last trades, where they were asked for.
    pub events: Vec<Event>,
}

/// One request of a client that waits for shards.
pub(super) struct Join {
    pub connection: u32,
    pub id: Option<String>,
    pub look: bool,
    pub channel: Channel,
    pub symbols: Vec<String>,
    /// Answers still missing.
    pub waiting: usize,
    /// Where each topic stands; `None` for a wildcard, which is not waited for.
    pub positions: Option<Vec<Position>>,
    pub recovered: Option<bool>,
    pub held: VecDeque<FrameId>,
    pub held_bytes: usize,
    pub subscriptions: Vec<u32>,
    /// Answers to later requests.
    pub tail: Vec<FrameId>,
}

/// What a client wants of one topic.
pub(super) struct Wish {
    pub topic: Topic,
    pub since: Option<u64>,
}

/// A client's request as the shards will hear of it.
pub(super) struct Plan {
    pub id: Option<String>,
    pub look: bool,
    pub channel: Channel,
    pub symbols: Vec<String>,
    pub wishes: Vec<Wish>,
    pub terms: Terms,
    /// `Some(false)`: the client's positions are of another epoch.
    pub recovered: Option<bool>,
    /// The last trades of each symbol come first, so many of them.
    pub trades: usize,
}

impl Gateway {
    /// Begins a join, or a look, of one connection.
    pub(super) fn begin_join(&mut self, slot: u32, plan: Plan) {
        self.joins_made = self.joins_made.wrapping_add(1) % NONE;
        let number = self.joins_made;
        let wild = plan.wishes.iter().any(|wish| wish.topic.symbol == SymbolId::ANY);
        let join = Join {
            connection: slot,
            id: plan.id,
            look: plan.look,
            channel: plan.channel,
            symbols: plan.symbols,
            waiting: if wild { 0 } else { plan.wishes.len() * if plan.trades > 0 { 2 } else { 1 } },
            positions: (!wild).then(Vec::new),
            recovered: plan.recovered,
            held: VecDeque::new(),
            held_bytes: 0,
            subscriptions: Vec::new(),
            tail: Vec::new(),
        };
        let Some(connection) = self.connection(slot) else { return };
        connection.joins.push_back(number);
        let tells_days = dialect::TABLE[connection.dialect].tells_days();
        self.joins.insert(number, join);
        for wish in plan.wishes {
            let purpose = match (plan.look, wild) {
                (true, _) => Purpose::Look,
                (false, true) => Purpose::Wild,
                (false, false) => Purpose::Join,
            };
            if purpose == Purpose::Join
                && let Some(row) = self.open_row(wish.topic)
            {
                self.topics.row_mut(row).pending += 1;
            }
            if purpose == Purpose::Wild {
                self.add_wild(slot, wish.topic, plan.terms, number);
            }
            let shards = if wild {
                0..self.shards.len()
            } else {
                let s = self.shard_of(wish.topic);
                s..s + 1
            };
            for shard in shards {
                if !plan.look && wish.topic.channel() == Channel::Bars && tells_days {
                    self.send_interest(
                        shard,
                        Interest { topic: wish.topic, ask: Asked::Days, states: false },
                    );
                }
                let history = (plan.trades > 0 && !wild).then_some(Purpose::Trades(plan.trades as u32));
                for purpose in history.into_iter().chain([purpose]) {
                    self.ask(Ask {
                        connection: slot,
                        join: number,
                        shard,
                        topic: wish.topic,
                        purpose,
                        since: wish.since,
                        terms: plan.terms,
                        recovered: false,
                        frames: Vec::new(),
                        events: Vec::new(),
                    });
                }
            }
        }
        self.release_joins(slot);
    }

    fn add_wild(&mut self, slot: u32, topic: Topic, terms: Terms, join: u32) {
        let shards = self.shards.len();
        let Some(kind) = self.topics.kind(topic) else { return };
        let members = &mut self.topics.wilds[kind];
        match members.iter_mut().find(|member| member.connection == slot) {
            Some(member) => (member.terms, member.join) = (terms, join),
            None => members.push(WildMember { connection: slot, terms, join, done: vec![false; shards] }),
        }
    }

    /// Sends a request to its shard and remembers it.
    pub(super) fn ask(&mut self, ask: Ask) -> u32 {
        self.requests = self.requests.checked_add(1).unwrap_or(1);
        let request = self.requests;
        let states = ask.purpose == Purpose::Look || ask.terms.forming || self.states_wanted(ask.topic);
        let asked = match ask.purpose {
            Purpose::Look => Asked::Snapshot { request },
            Purpose::Trades(last) => Asked::Trades { request, last },
            _ => Asked::Join { request, since: ask.since },
        };
        if matches!(ask.purpose, Purpose::Join | Purpose::Resync)
            && let Some(row) = self.topics.find(ask.topic)
        {
            let entry = self.topics.row_mut(row);
            entry.asked = true;
            entry.states |= ask.terms.forming;
        }
        let (shard, topic) = (ask.shard, ask.topic);
        if let Some(connection) = self.connection(ask.connection) {
            connection.asks.push_back(request);
        }
        self.asks.insert(request, ask);
        self.send_interest(shard, Interest { topic, ask: asked, states });
        request
    }

    /// Whether anyone wants this topic's states, a wildcard included.
    fn states_wanted(&self, topic: Topic) -> bool {
        let wild = self
            .topics
            .kind(topic)
            .is_some_and(|kind| self.topics.wilds[kind].iter().any(|m| m.terms.forming));
        wild || self.topics.find(topic).is_some_and(|row| self.topics.row(row).states)
    }

    pub(super) fn shard_of(&mut self, topic: Topic) -> usize {
        let shards = self.shards.len();
        self.symbols.name(topic.symbol).map_or(0, |symbol| symbol.shard(shards))
    }

    /// Whether a wildcard is to hear of a symbol that the gateway does not know.
    pub(super) fn wild_wants(&self, shard: usize, topic: Topic) -> bool {
        let Some(kind) = self.topics.kind(topic) else { return false };
        self.topics.wilds[kind].iter().any(|member| member.done.get(shard) == Some(&true))
    }

    /// The row of a topic. A new one is a new symbol to every wildcard whose answer is complete.
    pub(super) fn open_row(&mut self, topic: Topic) -> Option<u32> {
        if let Some(row) = self.topics.find(topic) {
            return Some(row);
        }
        let shard = self.shard_of(topic);
        let row = self.topics.open(topic)?;
        let kind = self.topics.kind(topic)?;
        for place in 0..self.topics.wilds[kind].len() {
            let member = &self.topics.wilds[kind][place];
            if member.done.get(shard) == Some(&true) {
                let (slot, terms, join) = (member.connection, member.terms, member.join);
                let id = self.attach_at(slot, row, join, 0);
                self.set_terms(id, |subscription| subscription.wild = Some(terms));
            }
        }
        Some(row)
    }

    pub(super) fn on_answer_begin(&mut self, event: &Event) {
        let Some(ask) = self.asks.get_mut(&event.request) else { return };
        ask.recovered = event.recovered();
        ask.events.clear();
        for frame in ask.frames.drain(..) {
            self.pool.release(frame);
        }
    }

    pub(super) fn on_answer_item(&mut self, event: &Event) {
        let Some(ask) = self.asks.get(&event.request) else { return };
        match ask.purpose {
            Purpose::WildResync => {}
            Purpose::Trades(_) => {
                if let Some(ask) = self.asks.get_mut(&event.request) {
                    ask.events.push(*event);
                }
            }
            Purpose::Resync => {
                let (topic, recovered) = (ask.topic, ask.recovered);
                let Some(row) = self.topics.find(topic) else { return };
                let entry = self.topics.row(row);
                if entry.resync != event.request || entry.members.is_empty() {
                    return;
                }
                if !event.is_fact() {
                    // Where facts are lost its members are about to be closed; a state may not run ahead of that.
                    if event.sequence == entry.sequence {
                        self.set_state(row, event);
                    }
                } else if recovered && event.sequence > entry.sequence {
                    self.publish(row, event);
                }
            }
            Purpose::Join | Purpose::Wild | Purpose::Look => {
                if event.kind() == EventKind::BarForming && !ask.terms.forming {
                    return;
                }
                let view = match (ask.purpose, ask.recovered) {
                    (Purpose::Look, _) => View::Look,
                    (_, true) => View::Live,
                    (_, false) => View::Join,
                };
                let format = ask.terms.format;
                let Some(connection) =
                    self.connections.get(ask.connection as usize).and_then(Option::as_deref)
                else {
                    return;
                };
                let kind = if event.is_fact() { FrameKind::Fact } else { FrameKind::State };
                let codec = dialect::codec(connection.dialect, format);
                let Some(frame) = self.encode(event, codec, view, kind) else { return };
                match self.asks.get_mut(&event.request) {
                    Some(ask) => ask.frames.push(frame),
                    None => self.pool.release(frame),
                }
            }
        }
    }

    pub(super) fn on_answer_end(&mut self, event: &Event) {
        let Some(ask) = self.asks.get_mut(&event.request) else { return };
        let (frames, events) = (std::mem::take(&mut ask.frames), std::mem::take(&mut ask.events));
        let (slot, join, purpose) = (ask.connection, ask.join, ask.purpose);
        let (terms, recovered, topic, since) = (ask.terms, ask.recovered, ask.topic, ask.since);
        match purpose {
            Purpose::Resync => {
                self.asks.remove(&event.request);
                self.end_resync(event, recovered);
            }
            Purpose::WildResync => {
                if self.topics.find(event.topic).is_none()
                    && let Some(row) = self.open_row(event.topic)
                {
                    self.resync_row(row);
                    self.settle(row);
                }
            }
            Purpose::Wild => {
                self.let_facts_go(slot, event.topic);
                if let Some(row) = self.open_row(event.topic) {
                    let id = self.attach_at(slot, row, join, event.sequence);
                    self.set_terms(id, |subscription| subscription.wild = Some(terms));
                }
                self.deliver_answer(slot, join, frames);
            }
            Purpose::Trades(_) => {
                self.forget_ask(event.request);
                self.deliver_trades(slot, join, topic.symbol, &events);
                if let Some(join) = self.joins.get_mut(&join) {
                    join.waiting = join.waiting.saturating_sub(1);
                }
                self.release_joins(slot);
            }
            Purpose::Look if topic.symbol == SymbolId::ANY => {
                self.let_facts_go(slot, event.topic);
                self.deliver_answer(slot, join, frames);
            }
            Purpose::Join | Purpose::Look => {
                self.forget_ask(event.request);
                self.let_facts_go(slot, topic);
                if purpose == Purpose::Join
                    && let Some(row) = self.topics.find(topic)
                {
                    let id = self.attach_at(slot, row, join, event.sequence);
                    self.set_terms(id, |subscription| subscription.named = Some(terms));
                }
                let name = self.topic_name(topic);
                if let Some(join) = self.joins.get_mut(&join) {
                    if let Some(positions) = &mut join.positions {
                        positions.push(Position { name, sequence: event.sequence });
                    }
                    if since.is_some() {
                        join.recovered = Some(join.recovered.unwrap_or(true) && recovered);
                    }
                    join.waiting = join.waiting.saturating_sub(1);
                }
                self.deliver_answer(slot, join, frames);
                self.release_joins(slot);
            }
        }
    }

    /// Makes a connection a member from here on.
    pub(super) fn attach_at(&mut self, slot: u32, row: u32, join: u32, sequence: u64) -> u32 {
        let id = self.topics.attach(slot, row);
        let entry = self.topics.row_mut(row);
        if entry.resync == 0 {
            // While others are made whole the topic stands where they do.
            entry.sequence = entry.sequence.max(sequence);
        }
        if let Some(waiting) = self.joins.get_mut(&join) {
            waiting.subscriptions.push(id);
            self.topics.subscription_mut(id).join = join;
        }
        id
    }

    /// Hands an answer's frames to the client, or holds them while its join is not complete.
    fn deliver_answer(&mut self, slot: u32, join: u32, frames: Vec<FrameId>) {
        for frame in frames {
            if self.joins.contains_key(&join) {
                self.hold(join, frame);
            } else {
                self.queue_answer(slot, frame);
            }
        }
    }

    fn deliver_trades(&mut self, slot: u32, join: u32, symbol: SymbolId, trades: &[Event]) {
        let name = self.symbols.name(symbol);
        let (Some(name), Some(connection)) = (name, self.connection(slot)) else { return };
        let dialect = connection.dialect;
        let reply = Reply::History { symbol: name.as_str(), trades };
        if let Some(frame) = self.encode_reply(dialect, None, &reply) {
            self.deliver_answer(slot, join, vec![frame]);
        }
    }

    /// Keeps a frame until its join is released. Takes over the caller's reference.
    pub(super) fn hold(&mut self, join: u32, frame: FrameId) {
        let Some(join) = self.joins.get_mut(&join) else { return self.pool.release(frame) };
        join.held_bytes += self.pool.bytes(frame).len();
        join.held.push_back(frame);
        if join.held_bytes > self.options.outbox_answers_bytes_max {
            self.evictions.push(join.connection);
        }
    }

    pub(super) fn on_answer_done(&mut self, event: &Event) {
        let Some(ask) = self.asks.get(&event.request) else { return };
        let (slot, shard, topic, purpose) = (ask.connection, ask.shard, ask.topic, ask.purpose);
        let (terms, join) = (ask.terms, ask.join);
        self.forget_ask(event.request);
        if purpose != Purpose::Wild {
            return;
        }
        let Some(kind) = self.topics.kind(topic) else { return };
        if let Some(member) = self.topics.wilds[kind].iter_mut().find(|member| member.connection == slot)
            && let Some(done) = member.done.get_mut(shard)
        {
            *done = true;
        }
        // Topics that others wait for and the shard has never seen: new symbols to this client too.
        let rows: Vec<u32> = self.topics.live_rows().collect();
        for row in rows {
            let other = self.topics.row(row).topic;
            if self.topics.kind(other) == Some(kind) && self.shard_of(other) == shard {
                let id = match self.topics.joined(slot, row) {
                    Some(id) => id,
                    None => self.attach_at(slot, row, join, 0),
                };
                self.set_terms(id, |subscription| subscription.wild = Some(terms));
            }
        }
    }

    /// Sends what complete joins have held, in the order they were asked for.
    pub(super) fn release_joins(&mut self, slot: u32) {
        loop {
            let Some(connection) = self.connection(slot) else { return };
            let dialect = connection.dialect;
            let Some(&number) = connection.joins.front() else { return };
            if self.joins.get(&number).is_none_or(|join| join.waiting > 0) {
                return;
            }
            if let Some(connection) = self.connection(slot) {
                connection.joins.pop_front();
            }
            let Some(join) = self.joins.remove(&number) else { return };
            let symbols = &join.symbols;
            let (channel, sequences) = (join.channel, join.positions.as_deref());
            let reply = if join.look {
                Reply::Snapshots { empty: join.held.is_empty(), channel, symbols, sequences }
            } else {
                Reply::Subscribed { channel, symbols, sequences, recovered: join.recovered }
            };
            if let Some(frame) = self.encode_reply(dialect, join.id.as_deref(), &reply) {
                self.queue_answer(slot, frame);
            }
            for frame in join.held {
                self.queue_answer(slot, frame);
            }
            for id in join.subscriptions {
                let subscription = self.topics.subscription_mut(id);
                if subscription.connection != slot || subscription.join != number {
                    continue;
                }
                subscription.join = NONE;
                if subscription.queued {
                    let lane = subscription.lane;
                    self.queue_state(slot, lane, id);
                }
            }
            for frame in join.tail {
                self.queue_answer(slot, frame);
            }
            self.list_dirty(slot);
        }
    }

    /// Queues a reply, behind joins that are not complete.
    pub(super) fn reply(&mut self, slot: u32, id: Option<&str>, reply: &Reply<'_>) {
        let Some(connection) = self.connection(slot) else { return };
        let (dialect, behind) = (connection.dialect, connection.joins.back().copied());
        let Some(frame) = self.encode_reply(dialect, id, reply) else { return };
        let Some(join) = behind.and_then(|number| self.joins.get_mut(&number)) else {
            return self.queue_answer(slot, frame);
        };
        join.held_bytes += self.pool.bytes(frame).len();
        join.tail.push(frame);
        if join.held_bytes > self.options.outbox_answers_bytes_max {
            self.evictions.push(slot);
        }
    }
}
