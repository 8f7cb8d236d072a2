//! Requests about many topics, and messages of many requests: carried out in steps, so that no other client waits for the whole of
//! one.
//!
//! While a request of a connection is under way nothing further is read from it, so its requests stay in order.

use crate::model::{Channel, SymbolId, Topic};

use super::connection::Connection;
use super::deliver::ANSWERS_WAIT;
use super::dialect::{Delivery, Parsed, Reply, Since, Symbols};
use super::join::{Plan, Wish};
use super::request::{echo, topic_of};
use super::topics::Terms;
use super::{Gateway, INTERESTS_WAITING_MAX};

/// Topics taken on in one turn, over all connections: a fraction of a millisecond.
const TOPICS_PER_TURN: usize = 512;

/// A request under way.
pub(super) enum Lengthy {
    /// Names become topics.
    Resolve(Box<Resolve>),
    /// Shards are asked, from this wish on.
    Ask { join: u32, plan: Box<Plan>, from: usize, wanted: Option<Delivery> },
    /// Subscriptions end, from this topic on.
    Leave(Box<Leave>),
}

/// A subscribe or a look whose names are not yet all known.
pub(super) struct Resolve {
    pub id: Option<String>,
    pub channel: Channel,
    pub symbols: Symbols,
    pub levels: Vec<usize>,
    pub since: Option<Since>,
    /// `None`: it only looks.
    pub delivery: Option<Delivery>,
    pub terms: Terms,
    /// The last trades of each symbol come first, so many of them.
    pub trades: usize,
    pub topics: Vec<Topic>,
    /// How many names are done.
    pub done: usize,
}

impl Resolve {
    /// A look.
    pub(super) fn new(id: Option<String>, about: (Channel, Symbols, Vec<usize>)) -> Self {
        let (channel, symbols, levels) = about;
        Self {
            id,
            channel,
            symbols,
            levels,
            since: None,
            delivery: None,
            terms: Terms::plain(true),
            trades: 0,
            topics: Vec::new(),
            done: 0,
        }
    }
}

/// An end of subscriptions.
pub(super) struct Leave {
    pub id: Option<String>,
    /// `None`: of all.
    pub channel: Option<Channel>,
    pub names: Vec<String>,
    pub topics: Vec<Topic>,
    /// How many topics are left.
    pub done: usize,
}

impl Gateway {
    /// Notes the rest of a request; [`Gateway::go_on`] carries it out.
    pub(super) fn take_on(&mut self, slot: u32, lengthy: Lengthy) {
        if let Some(connection) = self.connection(slot) {
            connection.lengthy = Some(lengthy);
        }
    }

    /// Begins the requests of a message, and ends them too if they are short. None is under way yet.
    pub(super) fn take_all(&mut self, slot: u32, requests: Vec<Parsed>) {
        let Some(connection) = self.connection(slot) else { return };
        connection.requests.extend(requests);
        let mut budget = TOPICS_PER_TURN;
        self.go_on(slot, &mut budget);
        if self.is_busy(slot) {
            self.lengthy.push_back(slot);
        }
    }

    /// Whether a request of this connection is under way.
    pub(super) fn is_busy(&self, slot: u32) -> bool {
        let connection = self.connections.get(slot as usize).and_then(Option::as_deref);
        connection.is_some_and(Connection::is_busy)
    }

    /// Whether something under way can go on.
    pub(super) fn lengthy_waits(&self) -> bool {
        !self.lengthy.is_empty() && self.interests_waiting() < INTERESTS_WAITING_MAX
    }

    /// Goes on with what is under way, each connection in its turn.
    pub(super) fn go_on_all(&mut self) -> usize {
        let mut budget = TOPICS_PER_TURN;
        while budget > 0
            && self.interests_waiting() < INTERESTS_WAITING_MAX
            && let Some(slot) = self.lengthy.pop_front()
        {
            self.go_on(slot, &mut budget);
            if self.is_busy(slot) {
                self.lengthy.push_back(slot);
            } else {
                self.list_read(slot);
            }
        }
        self.evict_all(ANSWERS_WAIT);
        TOPICS_PER_TURN - budget
    }

    fn go_on(&mut self, slot: u32, budget: &mut usize) {
        self.finish_request(slot, budget);
        while *budget > 0
            && let Some(parsed) = self.next_request(slot)
        {
            *budget -= 1;
            match parsed {
                Ok(envelope) => self.on_request(slot, envelope),
                Err(error) => self.reply_error(slot, error.id.as_deref(), error.code, &error.message),
            }
            self.finish_request(slot, budget);
        }
    }

    /// Goes on with one request.
    fn finish_request(&mut self, slot: u32, budget: &mut usize) {
        while *budget > 0
            && let Some(lengthy) = self.connection(slot).and_then(|connection| connection.lengthy.take())
        {
            let next = match lengthy {
                Lengthy::Resolve(resolve) => self.resolve_some(slot, resolve, budget),
                Lengthy::Ask { join, plan, from, wanted } => {
                    let most = plan.wishes.len().min(from + *budget);
                    if let (Some(delivery), Some(connection)) = (wanted, self.connection(slot)) {
                        let topics = plan.wishes[from..most].iter().map(|wish| (wish.topic, delivery));
                        connection.wanted.extend(topics);
                    }
                    *budget -= most - from;
                    self.ask_for(slot, join, &plan, from..most);
                    (most < plan.wishes.len()).then_some(Lengthy::Ask { join, plan, from: most, wanted })
                }
                Lengthy::Leave(leave) => self.leave_some(slot, leave, budget),
            };
            if let Some(connection) = self.connection(slot) {
                connection.lengthy = next;
            }
        }
    }

    /// The next request of a message, once the one before it is over.
    fn next_request(&mut self, slot: u32) -> Option<Parsed> {
        let connection = self.connection(slot)?;
        if connection.lengthy.is_some() { None } else { connection.requests.pop_front() }
    }

    fn resolve_some(&mut self, slot: u32, mut this: Box<Resolve>, budget: &mut usize) -> Option<Lengthy> {
        let add = this.delivery.is_some();
        if let Symbols::Named(names) = &this.symbols {
            for name in &names[this.done..names.len().min(this.done + *budget)] {
                match self.symbol_id(name, add) {
                    Ok(id) => {
                        this.topics
                            .extend(this.levels.iter().map(|&level| topic_of(this.channel, id, level)));
                    }
                    Err((code, message)) => {
                        self.reply_error(slot, this.id.as_deref(), code, &message);
                        return None;
                    }
                }
                this.done += 1;
                *budget -= 1;
            }
            if this.done < names.len() {
                return Some(Lengthy::Resolve(this));
            }
        } else {
            let all = SymbolId::ANY;
            this.topics.extend(this.levels.iter().map(|&level| topic_of(this.channel, all, level)));
        }
        let Resolve { id, channel, symbols, since, delivery, terms, trades, topics, .. } = *this;
        let ours = since.as_ref().is_some_and(|since| since.epoch == self.epoch);
        let positions = self.positions(channel, since.as_ref());
        let recovered = (since.is_some() && !(ours && positions.is_empty())).then_some(ours);
        let since = |topic: &Topic| positions.get(topic).copied().filter(|_| ours);
        let wishes = topics.iter().map(|topic| Wish { topic: *topic, since: since(topic) }).collect();
        let look = delivery.is_none();
        let plan = Plan { id, look, channel, symbols: echo(&symbols), wishes, terms, recovered, trades };
        let mut plan = Box::new(plan);
        let join = self.begin_join(slot, &mut plan)?;
        Some(Lengthy::Ask { join, plan, from: 0, wanted: delivery })
    }

    fn leave_some(&mut self, slot: u32, mut this: Box<Leave>, budget: &mut usize) -> Option<Lengthy> {
        if this.done == 0 {
            let mut sorted = this.topics.clone();
            sorted.sort_unstable();
            self.cancel_joins(slot, &sorted);
        }
        let most = this.topics.len().min(this.done + *budget);
        for topic in &this.topics[this.done..most] {
            self.leave(slot, *topic);
        }
        *budget -= most - this.done;
        this.done = most;
        if most < this.topics.len() {
            return Some(Lengthy::Leave(this));
        }
        self.flush_facts(slot);
        let Leave { id, channel, names, .. } = *this;
        self.reply(slot, id.as_deref(), &Reply::Unsubscribed { channel, symbols: &names });
        None
    }
}
