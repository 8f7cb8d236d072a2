//! Who listens to what: topics, their subscriptions, and wildcards. No I/O here.

use std::collections::HashMap;

use crate::model::{Channel, Event, Interest, SymbolId, Topic};

use super::dialect::{CODECS, Format, codec};
use super::frame::FrameId;
use super::lane::NO_LANE;

/// No row, subscription or join.
pub const NONE: u32 = u32::MAX;

/// One connection's place in a topic.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Slot of the connection.
    pub connection: u32,
    /// Its subscription.
    pub subscription: u32,
}

/// A topic that someone behind this gateway wants.
pub struct Row {
    /// Which topic.
    pub topic: Topic,
    /// Subscriptions that get live events.
    pub members: Vec<Member>,
    /// The same for topics that have the same members; of others most likely not.
    pub audience: u64,
    /// Joins asked for and not yet answered.
    pub pending: u32,
    /// The last fact that the members were sent, or were told of when they joined.
    pub sequence: u64,
    /// The newest state, `None` where it was cleared.
    pub state: Option<Event>,
    /// That state's frames, by codec, where someone has needed them.
    pub frames: [Option<FrameId>; CODECS],
    /// The shard was asked for this very topic, and must be told when nobody wants it.
    pub asked: bool,
    /// Someone wanted states since the shard was first asked. It is not taken back before everyone has left: a
    /// state too many costs less than counting who wants them.
    pub states: bool,
    /// The request whose answer makes the topic whole again; 0: it is whole.
    pub resync: u32,
}

/// What a request wants of a topic, in its connection's own terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// With forming bars.
    pub forming: bool,
    /// Which of the connection's lanes its messages wait in, or [`NO_LANE`].
    pub lane: u8,
    /// How they are written.
    pub format: Format,
}

impl Terms {
    /// Nothing waits, all is JSON.
    pub const fn plain(forming: bool) -> Self {
        Self { forming, lane: NO_LANE, format: Format::Json }
    }
}

/// What one connection gets of one topic.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// Slot of the connection; [`NONE`] where this place is free.
    pub connection: u32,
    /// The topic's row.
    pub row: u32,
    at_row: u32,
    at_connection: u32,
    /// Subscribed by name.
    pub named: Option<Terms>,
    /// Subscribed by a wildcard.
    pub wild: Option<Terms>,
    /// Which lane its messages wait in, or [`NO_LANE`]; of the name's terms where there are both.
    pub lane: u8,
    /// How they are written, see [`codec`]; by the same terms.
    pub codec: u8,
    /// Named in its connection's list of dirty states.
    pub queued: bool,
    /// States that were replaced before they were sent, since the last notice.
    pub conflated: u32,
    /// The join that still holds back its frames, or [`NONE`].
    pub join: u32,
}

impl Subscription {
    /// Whether it wants states besides facts.
    pub fn wants_states(&self) -> bool {
        self.named.is_some_and(|terms| terms.forming) || self.wild.is_some_and(|terms| terms.forming)
    }

    /// Takes lane and codec from the terms, for a connection of this dialect.
    pub fn apply(&mut self, dialect: usize) {
        let terms = self.named.or(self.wild).unwrap_or(Terms::plain(false));
        (self.lane, self.codec) = (terms.lane, codec(dialect, terms.format));
    }
}

/// One connection's wildcard.
pub struct WildMember {
    /// Slot of the connection.
    pub connection: u32,
    /// What it asked for.
    pub terms: Terms,
    /// The join that made it, which may still hold back its frames.
    pub join: u32,
    /// By shard: its answer has covered every symbol there was.
    pub done: Vec<bool>,
}

/// Trades, quotes and status.
const CHANNELS_WITHOUT_LEVELS: usize = 3;

/// The topics of one gateway.
pub struct Topics {
    levels: usize,
    rows: Vec<Row>,
    free_rows: Vec<u32>,
    by_key: Vec<u32>,
    subscriptions: Vec<Subscription>,
    free_subscriptions: Vec<u32>,
    by_pair: HashMap<(u32, u32), u32>,
    by_connection: Vec<Vec<u32>>,
    /// By kind of topic, see [`Topics::kind`].
    pub wilds: Vec<Vec<WildMember>>,
}

impl Topics {
    /// None yet; bars have `levels` timeframes.
    pub fn new(levels: usize) -> Self {
        let kinds = levels + CHANNELS_WITHOUT_LEVELS;
        Self {
            levels,
            rows: Vec::new(),
            free_rows: Vec::new(),
            by_key: Vec::new(),
            subscriptions: Vec::new(),
            free_subscriptions: Vec::new(),
            by_pair: HashMap::new(),
            by_connection: Vec::new(),
            wilds: (0..kinds).map(|_| Vec::new()).collect(),
        }
    }

    /// Which of the kinds of topic a symbol has: its timeframes' bars, then trades, quotes, status. `None` for a level that does
    /// not exist.
    #[inline]
    pub fn kind(&self, topic: Topic) -> Option<usize> {
        match topic.channel() {
            Channel::Bars => (topic.level() < self.levels).then_some(topic.level()),
            Channel::Trades => Some(self.levels),
            Channel::Quotes => Some(self.levels + 1),
            Channel::Status => Some(self.levels + 2),
        }
    }

    #[inline]
    fn key(&self, topic: Topic) -> Option<usize> {
        if topic.symbol == SymbolId::ANY {
            return None;
        }
        Some(topic.symbol.index() * (self.levels + CHANNELS_WITHOUT_LEVELS) + self.kind(topic)?)
    }

    /// The row of a topic that someone wants.
    #[inline]
    pub fn find(&self, topic: Topic) -> Option<u32> {
        self.by_key.get(self.key(topic)?).copied().filter(|&row| row != NONE)
    }

    /// The row of a topic, made if there is none; `None` where there cannot be such a topic.
    pub fn open(&mut self, topic: Topic) -> Option<u32> {
        let key = self.key(topic)?;
        if self.by_key.len() <= key {
            self.by_key.resize(key + 1, NONE);
        }
        if self.by_key[key] != NONE {
            return Some(self.by_key[key]);
        }
        let row = match self.free_rows.pop() {
            Some(row) => {
                let old = &mut self.rows[row as usize];
                (old.topic, old.sequence, old.resync, old.pending) = (topic, 0, 0, 0);
                (old.asked, old.states) = (false, false);
                row
            }
            None => {
                self.rows.push(Row {
                    topic,
                    members: Vec::new(),
                    audience: 0,
                    pending: 0,
                    sequence: 0,
                    state: None,
                    frames: [None; CODECS],
                    asked: false,
                    states: false,
                    resync: 0,
                });
                (self.rows.len() - 1) as u32
            }
        };
        self.by_key[key] = row;
        Some(row)
    }

    /// A row by its number.
    #[inline]
    pub fn row(&self, row: u32) -> &Row {
        &self.rows[row as usize]
    }

    /// A row by its number.
    #[inline]
    pub fn row_mut(&mut self, row: u32) -> &mut Row {
        &mut self.rows[row as usize]
    }

    /// Rows in use.
    pub fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_key.iter().copied().filter(|&row| row != NONE)
    }

    /// A subscription by its number.
    #[inline]
    pub fn subscription(&self, id: u32) -> &Subscription {
        &self.subscriptions[id as usize]
    }

    /// A subscription by its number.
    #[inline]
    pub fn subscription_mut(&mut self, id: u32) -> &mut Subscription {
        &mut self.subscriptions[id as usize]
    }

    /// Subscriptions in use.
    pub fn count(&self) -> usize {
        self.subscriptions.len() - self.free_subscriptions.len()
    }

    /// What one connection is joined to.
    pub fn of_connection(&self, connection: u32) -> &[u32] {
        self.by_connection.get(connection as usize).map_or(&[], Vec::as_slice)
    }

    /// A connection's subscription to a row.
    pub fn joined(&self, connection: u32, row: u32) -> Option<u32> {
        self.by_pair.get(&(connection, row)).copied()
    }

    /// Makes a connection a member of a row, or finds that it is one.
    pub fn attach(&mut self, connection: u32, row: u32) -> u32 {
        if let Some(id) = self.joined(connection, row) {
            return id;
        }
        let place = connection as usize;
        if self.by_connection.len() <= place {
            self.by_connection.resize_with(place + 1, Vec::new);
        }
        let entry = &mut self.rows[row as usize];
        entry.audience ^= mark(connection);
        let members = &mut entry.members;
        let subscription = Subscription {
            connection,
            row,
            at_row: members.len() as u32,
            at_connection: self.by_connection[place].len() as u32,
            named: None,
            wild: None,
            lane: NO_LANE,
            codec: 0,
            queued: false,
            conflated: 0,
            join: NONE,
        };
        let id = match self.free_subscriptions.pop() {
            Some(id) => {
                self.subscriptions[id as usize] = subscription;
                id
            }
            None => {
                self.subscriptions.push(subscription);
                (self.subscriptions.len() - 1) as u32
            }
        };
        members.push(Member { connection, subscription: id });
        self.by_connection[place].push(id);
        self.by_pair.insert((connection, row), id);
        id
    }

    /// Ends a subscription. Returns its row.
    pub fn detach(&mut self, id: u32) -> u32 {
        let gone = self.subscriptions[id as usize];
        let entry = &mut self.rows[gone.row as usize];
        entry.audience ^= mark(gone.connection);
        let members = &mut entry.members;
        members.swap_remove(gone.at_row as usize);
        if let Some(moved) = members.get(gone.at_row as usize) {
            self.subscriptions[moved.subscription as usize].at_row = gone.at_row;
        }
        let own = &mut self.by_connection[gone.connection as usize];
        own.swap_remove(gone.at_connection as usize);
        if let Some(&moved) = own.get(gone.at_connection as usize) {
            self.subscriptions[moved as usize].at_connection = gone.at_connection;
        }
        self.by_pair.remove(&(gone.connection, gone.row));
        let slot = &mut self.subscriptions[id as usize];
        (slot.connection, slot.queued) = (NONE, false);
        self.free_subscriptions.push(id);
        gone.row
    }

    /// Forgets a row that nobody wants. Returns the `Off` to send if its shard was asked, and leaves the frames of its state
    /// in `frames` for the caller to release.
    pub fn settle(&mut self, row: u32, frames: &mut Vec<FrameId>) -> Option<Interest> {
        let entry = &mut self.rows[row as usize];
        if !entry.members.is_empty() {
            return None;
        }
        entry.state = None;
        frames.extend(entry.frames.iter_mut().filter_map(Option::take));
        if entry.pending > 0 {
            return None;
        }
        let (topic, asked) = (entry.topic, entry.asked);
        if let Some(key) = self.key(topic)
            && self.by_key[key] == row
        {
            self.by_key[key] = NONE;
            self.free_rows.push(row);
        }
        asked.then_some(Interest { topic, ask: crate::model::Ask::Off, states: false })
    }
}

/// A connection's mark in [`Row::audience`]: any bits that no sum of others is likely to have.
fn mark(connection: u32) -> u64 {
    let mixed = (u64::from(connection) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_found_whatever_the_order_they_leave_in() {
        let mut topics = Topics::new(2);
        let rows: Vec<u32> =
            (0..4).filter_map(|symbol| topics.open(Topic::bars(SymbolId(symbol), 1))).collect();
        for connection in 0..5 {
            for &row in &rows {
                topics.attach(connection, row);
            }
        }
        for (connection, row) in [(2, rows[1]), (0, rows[0]), (4, rows[3]), (2, rows[0]), (1, rows[1])] {
            let id = topics.joined(connection, row).unwrap();
            assert_eq!(topics.detach(id), row);
            assert!(topics.joined(connection, row).is_none());
            for &row in &rows {
                for (place, member) in topics.row(row).members.iter().enumerate() {
                    let subscription = topics.subscription(member.subscription);
                    assert_eq!((subscription.at_row as usize, subscription.row), (place, row));
                    assert_eq!(topics.joined(member.connection, row), Some(member.subscription));
                }
            }
        }
        assert_eq!(topics.count(), 15);
    }

    #[test]
    fn a_row_nobody_wants_is_reused() {
        let mut topics = Topics::new(1);
        let row = topics.open(Topic::trades(SymbolId(3))).unwrap();
        topics.row_mut(row).asked = true;
        assert!(topics.settle(row, &mut Vec::new()).is_some());
        assert_eq!(topics.find(Topic::trades(SymbolId(3))), None);
        assert_eq!(topics.open(Topic::quotes(SymbolId(9))), Some(row));
        assert!(topics.open(Topic::bars(SymbolId(0), 7)).is_none());
    }
}
