//! Where a replay goes: `ws://host:port/path` or `tcp://host:port`.

use std::fmt;
use std::str::FromStr;

use tungstenite::http::Uri;

use crate::feed::INGEST_PATH;

/// A feed's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A WebSocket publisher path: lines in messages.
    WebSocket {
        /// A name or an address; one of version 6 without its brackets.
        host: String,
        /// The port.
        port: u16,
        /// The path with its query.
        path: String,
    },
    /// A TCP listener: lines.
    Tcp {
        /// A name or an address; one of version 6 without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no target, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a target: {why}; write ws://HOST:PORT, ws://HOST:PORT/PATH or tcp://HOST:PORT")]
pub struct TargetError {
    text: String,
    why: &'static str,
}

impl Target {
    /// Name or address, and port.
    pub fn address(&self) -> (&str, u16) {
        match self {
            Self::WebSocket { host, port, .. } | Self::Tcp { host, port } => (host, *port),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// A WebSocket target without a path (or with `/` alone) means `/ingest`.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = |why| TargetError { text: text.to_owned(), why };
        let scheme = match text.split_once("://") {
            Some((scheme, _)) => scheme,
            None => return Err(wrong("it has no scheme")),
        };
        match scheme {
            "ws" | "tcp" => {}
            "wss" => return Err(wrong("a replay speaks plain WebSocket only, not wss")),
            _ => return Err(wrong("the scheme is neither ws nor tcp")),
        }
        if text.contains('#') {
            return Err(wrong("a fragment goes nowhere"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user name has no use here"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(wrong("port 0 is nobody's")),
            Some(port) => port,
            None => return Err(wrong("it has no port between 1 and 65535")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        match (scheme, path) {
            ("tcp", "/" | "") => Ok(Self::Tcp { host, port }),
            ("tcp", _) => Err(wrong("a TCP listener has no path")),
            (_, "/" | "") => Ok(Self::WebSocket { host, port, path: INGEST_PATH.to_owned() }),
            (_, path) => Ok(Self::WebSocket { host, port, path: path.to_owned() }),
        }
    }
}

impl fmt::Display for Target {
    /// As [`FromStr`] reads it, with the path written out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path) = match self {
            Self::WebSocket { path, .. } => ("ws", path.as_str()),
            Self::Tcp { .. } => ("tcp", ""),
        };
        match self.address() {
            (host, port) if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}{path}"),
            (host, port) => write!(f, "{scheme}://{host}:{port}{path}"),
        }
    }
}
