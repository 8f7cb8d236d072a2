//! Client protocols as codecs over the same topics: one file each, one row in the table.

pub mod candles;
pub mod json;
pub mod legend;
pub mod massive;
pub mod native;

use super::close::CloseCode;
use crate::model::{Channel, Day, Event, Nanos, Symbol, Timeframe, Timeframes, Topic, UnixNanos};

/// How many rows the table has.
pub const DIALECTS: usize = 4;

/// Every dialect, found by the path of the HTTP request.
pub static TABLE: [&dyn Dialect; DIALECTS] =
    [&native::Native, &candles::Candles, &legend::Legend, &massive::Massive];

/// What is answered where no row has the path.
pub const NO_SUCH_PATH: &str =
    "nothing is served at this path; there are /v1/stream (the native protocol), /ws, /api/ws and /stocks";

/// How many formats an event can be written in.
pub const FORMATS: usize = 2;
/// How many ways there are to write an event, over all dialects.
pub const CODECS: usize = DIALECTS * FORMATS;

/// The number of a dialect's way to write a format.
pub const fn codec(dialect: usize, format: Format) -> u8 {
    (dialect * FORMATS + format as usize) as u8
}

/// Whose it is, and which format.
pub const fn of_codec(codec: u8) -> (usize, Format) {
    let codec = codec as usize;
    (codec / FORMATS, if codec % FORMATS == Format::Binary as usize { Format::Binary } else { Format::Json })
}

/// The row of a path.
pub fn by_path(path: &str) -> Option<usize> {
    TABLE.iter().position(|dialect| dialect.path() == path)
}

/// One wire protocol for clients. It does no I/O and keeps nothing.
pub trait Dialect: Sync {
    /// The path that asks for it.
    fn path(&self) -> &'static str;

    /// Reads one message of a client: all that it asks for, in order, or what was wrong and what would be right. Each is
    /// answered by itself, and none before the one before it.
    fn parse(&self, text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>);

    /// Appends an event. What the protocol has no word for is left out: nothing is appended, and no frame is sent.
    fn event(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>);

    /// Appends an event as a binary record. A dialect without such records never asks for [`Format::Binary`].
    fn record(&self, _out: &mut Vec<u8>, _event: &Event, _scene: &Scene<'_>) {}

    /// Appends anything but an event, or nothing. `now` is when it is encoded.
    fn reply(&self, out: &mut Vec<u8>, id: Option<&str>, reply: &Reply<'_>, now: UnixNanos);

    /// Whether its bars tell of the day: volume, open and average price since the day began.
    fn tells_days(&self) -> bool {
        false
    }

    /// The code by which clients of this protocol are told why a connection ends.
    fn close_code(&self, code: CloseCode) -> CloseCode {
        code
    }
}

/// One request of a message, or why it was refused.
pub type Parsed = Result<Envelope, RequestError>;

/// What an event does not say of itself.
pub struct Scene<'a> {
    /// The symbol's name.
    pub symbol: Symbol,
    /// All timeframes.
    pub timeframes: &'a Timeframes,
    /// When it is encoded.
    pub now: UnixNanos,
    /// It tells where a stream begins rather than what happened.
    pub snapshot: bool,
    /// It answers [`Request::Snapshot`]: it was asked for once.
    pub look: bool,
    /// What the symbol's day was when a bar of it closed or was revised; `None` where it is not known.
    pub day: Option<&'a Day>,
}

impl Scene<'_> {
    /// The timeframe of a bars topic.
    pub fn timeframe(&self, topic: Topic) -> Option<Timeframe> {
        self.timeframes.get(topic.level())
    }

    /// When the bar that an event carries ends, which a calendar may set otherwise than by the timeframe's length.
    pub fn bar_end(&self, event: &Event) -> UnixNanos {
        event.bar_end(self.timeframe(event.topic).map_or(Nanos::ZERO, Timeframe::nanos))
    }
}

/// A request with the `id` to echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the answer echoes: JSON text of the client's own id, or whatever else the dialect needs again to answer.
    pub id: Option<String>,
    /// What it asks for.
    pub request: Request,
}

/// Which symbols a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Symbols {
    /// Every one, present and future.
    All,
    /// These.
    Named(Vec<Symbol>),
}

impl Symbols {
    /// How many there are to name; a wildcard counts as one.
    pub fn count(&self) -> usize {
        match self {
            Self::All => 1,
            Self::Named(names) => names.len(),
        }
    }
}

/// Where a client's own copy of a stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Since {
    /// Of which epoch its numbers are.
    pub epoch: String,
    /// (symbol, level, sequence).
    pub sequences: Vec<(Symbol, usize, u64)>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As JSON, in text messages.
    #[default]
    Json,
    /// As records of fixed layout, in binary messages.
    Binary,
}

/// How a client wants the messages of a subscription delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// With forming bars.
    pub forming: bool,
    /// States at most so often, the newest each time, and facts gathered meanwhile; 0: as they come.
    pub throttle: Nanos,
    /// Of all states with the same throttle only one each interval, in turn.
    pub single: bool,
    /// One message for all facts and newest states of each such interval; 0: as they come.
    pub batch: Nanos,
    /// How events are written.
    pub format: Format,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { forming: true, throttle: Nanos::ZERO, single: false, batch: Nanos::ZERO, format: Format::Json }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Begin or replace subscriptions.
    Subscribe {
        /// Of which channel.
        channel: Channel,
        /// Of which symbols.
        symbols: Symbols,
        /// Of which timeframes, by level; one 0 where the channel has none.
        levels: Vec<usize>,
        /// How its messages are delivered.
        delivery: Delivery,
        /// Go on from here.
        since: Option<Since>,
        /// The last trades of each symbol come first, so many of them; a wildcard has none.
        trades: usize,
    },
    /// End subscriptions.
    Unsubscribe {
        /// Of which channel.
        channel: Channel,
        /// Of which symbols.
        symbols: Symbols,
        /// Of which timeframes.
        levels: Vec<usize>,
    },
    /// The current values, once.
    Snapshot {
        /// Of which channel.
        channel: Channel,
        /// Of which symbols.
        symbols: Symbols,
        /// Of which timeframes.
        levels: Vec<usize>,
    },
    /// End all subscriptions.
    UnsubscribeAll,
    /// What this connection is subscribed to.
    List,
    /// Are you there?
    Ping,
    /// The gateway's figures.
    Stats,
    /// Nothing but to be told so: what the engine has no part in.
    Acknowledge {
        /// What was done, in the dialect's own word.
        action: &'static str,
        /// To what.
        what: &'static str,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// JSON text of the client's own id, where it could be read.
    pub id: Option<String>,
    /// One word for programs.
    pub code: &'static str,
    /// What was wrong and what would be right, for people.
    pub message: String,
}

/// One subscription as `list` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Which channel.
    pub channel: Channel,
    /// Which symbol, or `*`.
    pub symbol: &'a str,
    /// Which timeframe, of bars.
    pub timeframe: Option<&'a str>,
    /// How its messages are delivered.
    pub delivery: Delivery,
}

/// A topic's name and its last fact.
pub struct Position {
    /// `AAPL/1m` or `AAPL`.
    pub name: String,
    /// The last fact.
    pub sequence: u64,
}

/// Messages that are not events.
pub enum Reply<'a> {
    /// The first message.
    Welcome {
        /// The connection's name.
        connection: &'a str,
        /// Whose sequences these are.
        epoch: &'a str,
        /// How often to expect a ping, s.
        heartbeat_s: u64,
        /// Name and value of each limit a client can meet.
        limits: &'a [(&'static str, u64)],
    },
    /// Subscriptions begin; their snapshots follow.
    Subscribed {
        /// Of which channel.
        channel: Channel,
        /// As they were asked for.
        symbols: &'a [String],
        /// Where each topic stands; `None` for a wildcard.
        sequences: Option<&'a [Position]>,
        /// Whether everything since the client's own positions follows; `None` where it gave none.
        recovered: Option<bool>,
    },
    /// The last trades of a symbol, oldest first, before a subscription's own messages.
    History {
        /// Whose.
        symbol: &'a str,
        /// Events of its trades.
        trades: &'a [Event],
    },
    /// Snapshots that were asked for follow.
    Snapshots {
        /// Nothing follows: there is no value yet.
        empty: bool,
        /// Of which channel.
        channel: Channel,
        /// As they were asked for.
        symbols: &'a [String],
        /// Where each topic stands; `None` for a wildcard.
        sequences: Option<&'a [Position]>,
    },
    /// Subscriptions have ended.
    Unsubscribed {
        /// Of which channel; `None`: of all.
        channel: Option<Channel>,
        /// As they were asked for.
        symbols: &'a [String],
    },
    /// The answer to `list`.
    Subscriptions(&'a [Listed<'a>]),
    /// The answer to `ping`.
    Pong,
    /// The answer to [`Request::Acknowledge`].
    Acknowledged {
        /// As it was asked.
        action: &'static str,
        /// As it was asked.
        what: &'static str,
    },
    /// The answer to `stats`.
    Stats(&'a [(&'static str, u64)]),
    /// A request was refused.
    Error {
        /// One word for programs.
        code: &'a str,
        /// What was wrong and what would be right.
        message: &'a str,
    },
    /// The engine starts again: the connection will be closed within so many seconds.
    Draining {
        /// Seconds.
        deadline_s: u64,
    },
    /// The client reads too slowly.
    Slow {
        /// The topic that suffers most, such as `bars/AAPL/1m`.
        topic: &'a str,
        /// How many of its states the client never saw.
        conflated: u32,
        /// Bytes of facts that wait.
        queued_bytes: usize,
        /// How long the oldest of them has waited, ms.
        queue_age_ms: i64,
        /// It is about to be closed for it.
        closing: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_has_a_number_of_its_own() {
        let all = (0..DIALECTS).flat_map(|dialect| [(dialect, Format::Json), (dialect, Format::Binary)]);
        for (number, (dialect, format)) in all.enumerate() {
            assert_eq!(usize::from(codec(dialect, format)), number);
            assert_eq!(of_codec(number as u8), (dialect, format));
        }
    }

    #[test]
    fn each_path_has_one_row() {
        for (row, dialect) in TABLE.iter().enumerate() {
            assert_eq!(by_path(dialect.path()), Some(row));
            assert!(NO_SUCH_PATH.contains(dialect.path()));
        }
        assert_eq!(by_path("/nowhere"), None);
    }
}
