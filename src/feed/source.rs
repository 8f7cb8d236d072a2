//! What a source is: where its bytes come from, what they mean, and its limits.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::Nanos;
use crate::runtime::tls::TrustError;

use super::dialect::DialectRow;
use super::pool::PoolOptions;

/// Where a source's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Files, plain or gzip, one after the other; paced ones are merged by time.
    Files(Vec<PathBuf>),
    /// Standard input.
    Stdin,
    /// A TCP listener for lines.
    Tcp(SocketAddr),
    /// A WebSocket listener: publishers connect to the path [`INGEST_PATH`] and send lines in messages.
    WebSocket(SocketAddr),
    /// Connections to a vendor.
    Connect(Box<PoolOptions>),
}

/// The path of the WebSocket publisher listener.
pub const INGEST_PATH: &str = "/ingest";

impl Origin {
    /// Whether it has an end. Sources without one are live: their quotes are conflated where a ring is full.
    pub const fn is_finite(&self) -> bool {
        matches!(self, Self::Files(_) | Self::Stdin)
    }

    /// The pool that it is, if it is one.
    pub const fn pool(&self) -> Option<&PoolOptions> {
        match self {
            Self::Connect(pool) => Some(pool),
            _ => None,
        }
    }
}

/// One source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// What counters and notes call it.
    pub name: String,
    /// Where its bytes come from.
    pub origin: Origin,
    /// What they mean: a row of [`DIALECTS`](super::DIALECTS).
    pub dialect: &'static DialectRow,
    /// The longest line or message, in bytes. A longer line is counted and skipped; a longer message closes its connection with 1009.
    pub line_bytes_max: usize,
    /// The most connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// A WebSocket handshake, and the wait for a peer's close, take no longer.
    pub handshake_max: Nanos,
    /// A connection that sends nothing for so long is closed; `None` leaves that to TCP's own probes.
    pub idle_max: Option<Nanos>,
}

impl SourceOptions {
    /// A source with the default limits: lines of 1 MiB (the longest real message seen has 64 KiB), 64 connections, 5 s
    /// for a handshake, no idle limit.
    pub fn new(name: &str, origin: Origin, dialect: &'static DialectRow) -> Self {
        Self {
            name: name.to_owned(),
            origin,
            dialect,
            line_bytes_max: 1 << 20,
            connections_max: 64,
            handshake_max: Nanos::from_secs(5),
            idle_max: None,
        }
    }
}

/// Why a source cannot begin, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be opened.
    #[error("cannot open {path}: {error}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file cannot be read to its end.
    #[error("cannot read {path} past its line {line}: {error}")]
    Read {
        /// The file, or `stdin`.
        path: String,
        /// Lines of this source read before it.
        line: u64,
        /// What the system or the decompressor said.
        error: std::io::Error,
    },
    /// A header that cannot be used.
    #[error("{path}: {message}")]
    Header {
        /// The file, or `stdin`.
        path: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A listener cannot be opened.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// More sources than a tick's one byte can name.
    #[error("{0} sources: one ingest stage takes at most 255")]
    TooMany(usize),
    /// A file source without a file.
    #[error("source {0:?} names no file")]
    NoFile(String),
    /// The authorities that a connection is to trust cannot be had.
    #[error("source {name:?}: {error}")]
    Trust {
        /// The source.
        name: String,
        /// What is wrong.
        error: TrustError,
    },
    /// A speed of zero.
    #[error("the speed of a replay must be above zero")]
    Speed,
}
