//! Making clients whole after events were lost on the way from a shard, or closing those that cannot be.

use crate::model::{Event, SymbolId, Topic};

use super::Gateway;
use super::join::{Ask, Purpose};
use super::topics::{NONE, Terms, WildMember};

impl Gateway {
    /// Events of a shard were lost: asks again for all that it owes.
    pub(super) fn resync(&mut self, shard: usize) {
        self.counters.resyncs += 1;
        let mut unanswered: Vec<u32> =
            self.asks.iter().filter(|(_, ask)| ask.shard == shard).map(|(&request, _)| request).collect();
        unanswered.sort_unstable();
        let mut again = Vec::new();
        for request in unanswered {
            let Some(mut ask) = self.asks.remove(&request) else { continue };
            ask.frames.drain(..).for_each(|frame| self.pool.release(frame));
            ask.events.clear();
            self.cross_off(ask.connection, request);
            // Those of `Resync` kinds are renewed below.
            if !matches!(ask.purpose, Purpose::Resync | Purpose::WildResync) {
                again.push(ask);
            }
        }
        let rows: Vec<u32> = self.topics.live_rows().collect();
        for row in rows {
            let entry = self.topics.row(row);
            let (topic, wanted) = (entry.topic, !entry.members.is_empty());
            if wanted && self.shard_of(topic) == shard {
                self.resync_row(row);
            }
        }
        // After the topics: who joined one before it is whole would be sent once more what its snapshot holds.
        for ask in again {
            self.ask(ask);
        }
        for kind in 0..self.topics.wilds.len() {
            let done = |member: &WildMember| member.done.get(shard) == Some(&true);
            if self.topics.wilds[kind].iter().any(done) {
                let topic = self.wild_topic(kind);
                self.ask_for_members(shard, topic, Purpose::WildResync, None);
            }
        }
    }

    pub(super) fn wild_topic(&self, kind: usize) -> Topic {
        match kind.checked_sub(self.timeframes.len()) {
            None => Topic::bars(SymbolId::ANY, kind),
            Some(0) => Topic::trades(SymbolId::ANY),
            Some(_) => Topic::quotes(SymbolId::ANY),
        }
    }

    /// Asks for what a topic's members may have missed; until it is answered, live events of it are discarded.
    pub(super) fn resync_row(&mut self, row: u32) {
        let entry = self.topics.row(row);
        let (topic, sequence) = (entry.topic, entry.sequence);
        let shard = self.shard_of(topic);
        let request = self.ask_for_members(shard, topic, Purpose::Resync, Some(sequence));
        self.topics.row_mut(row).resync = request;
    }

    fn ask_for_members(&mut self, shard: usize, topic: Topic, purpose: Purpose, since: Option<u64>) -> u32 {
        self.ask(Ask {
            connection: NONE,
            join: NONE,
            shard,
            topic,
            purpose,
            since,
            terms: Terms::plain(false),
            recovered: false,
            frames: Vec::new(),
            events: Vec::new(),
        })
    }

    pub(super) fn end_resync(&mut self, event: &Event, recovered: bool) {
        let Some(row) = self.topics.find(event.topic) else { return };
        let entry = self.topics.row_mut(row);
        if entry.resync != event.request {
            return;
        }
        entry.resync = 0;
        let lost = !recovered && entry.sequence != event.sequence;
        entry.sequence = event.sequence;
        if lost && !event.topic.channel().is_state() {
            let members: Vec<u32> =
                self.topics.row(row).members.iter().map(|member| member.connection).collect();
            let reason = format!("facts of {} were lost; subscribe again", self.topic_name(event.topic));
            for slot in members {
                self.evict(slot, &reason);
            }
        }
    }
}
