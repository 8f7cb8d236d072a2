//! What a vendor wants said before and while it sends data: one trait, one row, one file each.
//!
//! A session does no I/O and reads no clock. It looks only at the vendor's control messages, told apart by their first bytes;
//! data is the feed dialect's.

mod alpaca;
mod binance;
mod massive;

use std::fmt;

use crate::model::{Nanos, Symbol};

/// One connection's conversation with a vendor.
pub trait Session: Send {
    /// The connection is up. A vendor that wants no introduction is ready at once.
    fn open(&mut self, answers: &mut Vec<Answer>);

    /// Whether a message is the vendor's own rather than data, by a look at its first bytes.
    fn is_control(&self, text: &[u8]) -> bool;

    /// Reads a control message. `true` where the dialect should see it too, as it tells records by their type.
    fn control(&mut self, text: &[u8], answers: &mut Vec<Answer>) -> bool;

    /// One message that subscribes to all channels of all `symbols`, or leaves them.
    fn request(&mut self, ask: Ask, symbols: &[Symbol]) -> Vec<u8>;
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To be sent these symbols.
    Subscribe,
    /// To be sent them no more.
    Unsubscribe,
}

/// What a control message means to the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this.
    Say(Vec<u8>),
    /// Subscriptions are taken from now on.
    Ready,
    /// The symbol's main channel is subscribed to.
    Held(Symbol),
    /// The symbol's main channel is not subscribed to any more.
    Left(Symbol),
    /// The vendor will not send the symbol's main channel, for this reason.
    Refused(Symbol, String),
    /// The vendor will not send something else that was asked for.
    RefusedOther(String),
    /// The key is wrong, or came too late.
    AuthFailed(String),
    /// The account has too many connections, and this one is to go.
    TooMany(String),
    /// The vendor will soon end this connection.
    Ending(String),
    /// Another complaint.
    Trouble(String),
}

/// What a session needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// The API key; empty where the vendor needs none.
    pub key: Secret,
    /// The second half of the key, where the vendor has one.
    pub secret: Secret,
    /// The channels of each symbol, as the vendor names them, with what they carry.
    pub channels: Vec<(String, Class)>,
}

impl Ask {
    /// As all vendors call it, in one case of letters or the other.
    const fn word(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

impl SessionOptions {
    /// The channel that tells most of a symbol: the one by which it counts as served. The first of the strongest class.
    pub fn main(&self) -> usize {
        let class = self.class();
        self.channels.iter().position(|(_, other)| *other == class).unwrap_or(0)
    }

    /// What the vendor calls the main channel.
    fn main_name(&self) -> &str {
        self.channels.get(self.main()).map_or("", |(name, _)| name)
    }

    /// What the main channel carries.
    pub fn class(&self) -> Class {
        self.channels.iter().map(|(_, class)| *class).max().unwrap_or(Class::Other)
    }
}

/// What a channel carries, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Halts, bands, status: no part of a bar.
    Other,
    /// Top of book.
    Quotes,
    /// The vendor's own bars.
    Bars,
    /// Several fills told as one.
    Aggregated,
    /// Sales.
    Trades,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// A key: it is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no key" } else { "a key" })
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct SessionRow {
    /// The vendor, and the feed dialect it speaks.
    pub name: &'static str,
    /// Its channels, and what they carry. One that ends in `*` stands for all that begin so.
    pub channels: &'static [(&'static str, Class)],
    /// What is subscribed to where nothing is said.
    pub channels_default: &'static [&'static str],
    /// Where to connect where nothing is said.
    pub url_default: &'static str,
    /// Whether it takes a key, and whether that has two halves.
    pub key: Key,
    /// The most subscriptions (a symbol's channels count each) of one connection.
    pub streams_max: usize,
    /// The most subscriptions in one message.
    pub params_max: usize,
    /// `*` in the place of a symbol subscribes to all of them.
    pub has_wildcard: bool,
    /// The least time between two messages of ours, pings included.
    pub spacing: Nanos,
    /// How long the vendor leaves a connection alive, if it says so.
    pub lifetime: Option<Nanos>,
    /// A fresh one, for a new connection.
    pub open: fn(&SessionOptions) -> Box<dyn Session>,
}

/// What a vendor wants to know of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Nothing.
    None,
    /// An API key, by custom in this environment variable.
    One(&'static str),
    /// An API key and its secret, by custom in these.
    Two(&'static str, &'static str),
}

impl SessionRow {
    /// What a channel carries; `None` where the vendor has no such channel.
    pub fn class(&self, channel: &str) -> Option<Class> {
        let fits = |name: &str| match name.strip_suffix('*') {
            Some(stem) => channel.len() > stem.len() && channel.starts_with(stem),
            None => channel == name,
        };
        self.channels.iter().find(|(name, _)| fits(name)).map(|(_, class)| *class)
    }
}

/// Every vendor whose streams can be subscribed to.
pub const SESSIONS: &[SessionRow] = &[massive::ROW, binance::ROW, alpaca::ROW];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static SessionRow> {
    SESSIONS.iter().find(|row| row.name == name)
}

/// Whether `word` is among the first `within` bytes: enough to know a control message by, and cheap on data.
fn begins_with_word(text: &[u8], within: usize, word: &[u8]) -> bool {
    memchr::memmem::find(&text[..text.len().min(within)], word).is_some()
}

/// A text of the vendor's, fit for a note: printable and short.
fn shown(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 160;
    text.chars().filter(|c| !c.is_control()).take(SHOWN_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_has_a_row_that_fits_itself() {
        for row in SESSIONS {
            assert_eq!(find(row.name).unwrap().params_max, row.params_max);
            assert!(!row.channels_default.is_empty());
            assert!(row.channels_default.iter().all(|channel| row.class(channel).is_some()), "{}", row.name);
            assert!(row.params_max >= 1 && row.streams_max >= row.params_max);
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let options = SessionOptions {
            key: Secret("sesame".to_owned()),
            secret: Secret("open".to_owned()),
            channels: Vec::new(),
        };
        let text = format!("{options:?}");
        assert!(!text.contains("sesame") && !text.contains("open"), "{text}");
    }

    #[test]
    fn no_control_message_whatever_its_bytes_makes_a_session_panic() {
        let samples: [&[u8]; 5] = [
            br#"[{"ev":"status","status":"success","message":"subscribed to: T.AAPL"}]"#,
            br#"{"result":null,"id":1}"#,
            br#"{"error":{"code":2,"msg":"Invalid request"},"id":18446744073709551616}"#,
            br#"[{"T":"subscription","trades":["AAPL",7,null],"bars":{}}]"#,
            br#"[{"T":"error","code":406,"msg":"connection limit exceeded"}]"#,
        ];
        for row in SESSIONS {
            let channels = row.channels_default.iter().map(|c| ((*c).to_owned(), row.class(c).unwrap()));
            let options = SessionOptions {
                key: Secret("k".to_owned()),
                secret: Secret("s".to_owned()),
                channels: channels.collect(),
            };
            let mut answers = Vec::new();
            for sample in samples {
                for cut in 0..=sample.len() {
                    let mut session = (row.open)(&options);
                    session.is_control(&sample[..cut]);
                    session.control(&sample[..cut], &mut answers);
                    let mut flipped = sample.to_vec();
                    if let Some(byte) = flipped.get_mut(cut) {
                        *byte ^= 0x5a;
                        session.is_control(&flipped);
                        session.control(&flipped, &mut answers);
                    }
                }
            }
        }
    }
}
