//! What passes between a pool, which never sees a socket, and the driver that owns its sockets.

use std::path::PathBuf;

use crate::feed::universe::Universes;
use crate::model::{Nanos, Symbol};

/// What the driver is to do. A slot is the place of a member in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Open this member's connection to [`Pool::endpoint`](super::Pool::endpoint). Exactly one `opened` or `lost` answers it.
    Connect {
        /// Which member.
        slot: usize,
    },
    /// Send one text message.
    Send {
        /// Which member.
        slot: usize,
        /// The message, without a mask or a frame.
        text: Vec<u8>,
    },
    /// Send a ping without content.
    Ping {
        /// Which member.
        slot: usize,
    },
    /// Say goodbye if the connection is open, and drop it, or the attempt, within a bounded time. One `lost` answers it.
    Close {
        /// Which member.
        slot: usize,
        /// The close code.
        code: u16,
        /// The close reason, at most 123 bytes.
        reason: &'static str,
    },
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `wss` rather than `ws`.
    pub tls: bool,
    /// A name or an address; also what TLS verifies and what the `Host` header says. IPv6 addresses have no brackets here.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the request line asks for; begins with `/`.
    pub path_and_query: String,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// A file of PEM certificates that are trusted instead of the bundled roots.
    pub ca_file: Option<PathBuf>,
}

/// Why a connection, or an attempt at one, has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The name has no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// It took too long, or the driver gave up on a peer that does not say goodbye.
    TimedOut,
    /// The TLS handshake failed, for this reason.
    Tls(String),
    /// The upgrade was answered with another status than 101.
    Http {
        /// The status.
        status: u16,
        /// What `Retry-After` asked for.
        retry_after: Option<Nanos>,
    },
    /// The peer closed, or answered our close; without a code where the connection just ended.
    Closed {
        /// The close code.
        code: Option<u16>,
        /// The close reason.
        reason: String,
    },
    /// The connection was reset.
    Reset,
    /// The peer broke the protocol, in this way.
    Protocol(String),
    /// A message was longer than its limit.
    TooLong,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unresolved => f.write_str("its name has no address"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Http { status, .. } => write!(f, "the upgrade was answered with HTTP {status}"),
            Self::Closed { code: Some(code), reason } => write!(f, "closed with {code} {reason:?}"),
            Self::Closed { code: None, .. } => f.write_str("ended without a close"),
            Self::Reset => f.write_str("reset"),
            Self::Protocol(why) => write!(f, "protocol error: {why}"),
            Self::TooLong => f.write_str("a message was too long"),
        }
    }
}

/// What a running pool is asked to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedCommand {
    /// Take these symbols too. They stay until they are unsubscribed, whatever the universes say.
    Subscribe {
        /// Which.
        symbols: Vec<Symbol>,
        /// The name of the member they belong to; `None`: each to the member with the most room.
        member: Option<String>,
    },
    /// Leave these symbols.
    Unsubscribe {
        /// Which.
        symbols: Vec<Symbol>,
    },
    /// The universes anew, as read by whoever may block.
    Reload(Universes),
}
