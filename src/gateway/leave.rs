//! Leaving: a join that is called off, a subscription that ends, a client that goes; and the shard told once nobody is left.

use crate::model::{Ask as Asked, Interest, Topic};

use super::Gateway;
use super::join::Purpose;

impl Gateway {
    /// Ends one unanswered request.
    pub(super) fn forget_ask(&mut self, request: u32) {
        let Some(ask) = self.asks.remove(&request) else { return };
        ask.frames.into_iter().for_each(|frame| self.pool.release(frame));
        self.cross_off(ask.connection, request);
        if ask.purpose == Purpose::Join
            && let Some(row) = self.topics.find(ask.topic)
        {
            let entry = self.topics.row_mut(row);
            entry.pending = entry.pending.saturating_sub(1);
        }
    }

    /// Answers come nearly in the order they were asked for, so the place is near the front.
    pub(super) fn cross_off(&mut self, slot: u32, request: u32) {
        if let Some(connection) = self.connection(slot)
            && let Some(place) = connection.asks.iter().position(|&other| other == request)
        {
            connection.asks.remove(place);
        }
    }

    /// Ends a connection's unanswered joins of one topic; its joins wait for one answer less.
    pub(super) fn cancel_joins(&mut self, slot: u32, topic: Topic) {
        let Some(connection) = self.connection(slot) else { return };
        let own = connection.asks.clone();
        for request in own {
            let Some(ask) = self.asks.get(&request) else { continue };
            if ask.topic != topic || !matches!(ask.purpose, Purpose::Join | Purpose::Wild) {
                continue;
            }
            let (number, named) = (ask.join, ask.purpose == Purpose::Join);
            self.forget_ask(request);
            if named && let Some(join) = self.joins.get_mut(&number) {
                join.waiting = join.waiting.saturating_sub(1);
            }
        }
        self.release_joins(slot);
    }

    /// Forgets a row that nobody wants, and tells its shard.
    pub(super) fn settle(&mut self, row: u32) {
        let topic = self.topics.row(row).topic;
        let off = self.topics.settle(row, &mut self.cleared);
        self.release_cleared();
        if let Some(off) = off {
            let shard = self.shard_of(topic);
            self.send_interest(shard, off);
        }
    }

    /// Ends a connection's wildcard of one kind of topic.
    pub(super) fn leave_wild(&mut self, slot: u32, kind: usize) {
        let members = &mut self.topics.wilds[kind];
        let before = members.len();
        members.retain(|member| member.connection != slot);
        let (left, empty) = (members.len() < before, members.is_empty());
        let own: Vec<u32> = self.topics.of_connection(slot).to_vec();
        for id in own {
            let row = self.topics.subscription(id).row;
            if self.topics.kind(self.topics.row(row).topic) != Some(kind) {
                continue;
            }
            if self.topics.subscription(id).named.is_some() {
                self.set_terms(id, |subscription| subscription.wild = None);
            } else {
                self.topics.detach(id);
                self.settle(row);
            }
        }
        if left && empty {
            let topic = self.wild_topic(kind);
            for shard in 0..self.shards.len() {
                self.send_interest(shard, Interest { topic, ask: Asked::Off, states: false });
            }
        }
    }

    /// Ends everything that a connection has asked for.
    pub(super) fn forget_wishes(&mut self, slot: u32) {
        let Some(connection) = self.connection(slot) else { return };
        connection.wanted.clear();
        let (asks, joins) = (std::mem::take(&mut connection.asks), std::mem::take(&mut connection.joins));
        let mut rows = Vec::new();
        for request in asks {
            rows.extend(self.asks.get(&request).and_then(|ask| self.topics.find(ask.topic)));
            self.forget_ask(request);
        }
        for number in joins {
            let Some(join) = self.joins.remove(&number) else { continue };
            join.held.into_iter().chain(join.tail).for_each(|frame| self.pool.release(frame));
        }
        for kind in 0..self.topics.wilds.len() {
            if self.topics.wilds[kind].iter().any(|member| member.connection == slot) {
                self.leave_wild(slot, kind);
            }
        }
        while let Some(&id) = self.topics.of_connection(slot).last() {
            rows.push(self.topics.detach(id));
        }
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            self.settle(row);
        }
    }
}
