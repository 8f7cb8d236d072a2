//! The server side of a WebSocket without its socket: the HTTP request in, a response out.

pub mod client;

use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::{Error, error::CapacityError};

/// The largest request head, in bytes. A browser with cookies sends 1 to 4 KiB.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A request that asks for a WebSocket.
pub struct Upgrade {
    /// The path without its query.
    pub path: String,
    /// The bytes of `101 Switching Protocols`.
    pub response: Vec<u8>,
    /// How many bytes the request took; what follows is already WebSocket.
    pub consumed: usize,
    /// The parsed request, for its headers.
    pub request: Request,
}

/// A request that will not become a WebSocket, and the whole HTTP answer to it.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Why, as the body says.
    pub message: &'static str,
}

impl Refusal {
    /// The bytes of the answer.
    pub fn response(&self) -> Vec<u8> {
        let reason = match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            505 => "HTTP Version Not Supported",
            _ => "Service Unavailable",
        };
        let extra = match self.status {
            405 => "Allow: GET\r\n",
            426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            429 | 503 => "Retry-After: 1\r\n",
            _ => "",
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nConnection: close\r\nContent-Type: text/plain\r\n{extra}Content-Length: {}\r\n\r\n{}\n",
            self.status,
            self.message.len() + 1,
            self.message
        )
        .into_bytes()
    }
}

const TOO_LARGE: Refusal = Refusal { status: 431, message: "the head of the request is larger than allowed" };

/// Reads a request head of at most so many bytes from those so far. `Ok(None)` wants more of them.
///
/// # Errors
/// The refusal to send before closing.
pub fn read_upgrade(bytes: &[u8], bytes_max: usize) -> Result<Option<Upgrade>, Refusal> {
    let (consumed, request) = match Request::try_parse(bytes) {
        Ok(Some(parsed)) => parsed,
        Ok(None) if bytes.len() < bytes_max => return Ok(None),
        Ok(None) => return Err(TOO_LARGE),
        Err(error) => return Err(refuse(&error)),
    };
    if consumed > bytes_max {
        return Err(TOO_LARGE);
    }
    let response = create_response(&request).map_err(|error| refuse(&error))?;
    let mut bytes = Vec::with_capacity(160);
    write_response(&mut bytes, &response).map_err(|error| refuse(&error))?;
    Ok(Some(Upgrade { path: request.uri().path().to_owned(), response: bytes, consumed, request }))
}

/// Whether a head, of which the bytes from `from` on are new, is worth parsing: at the first look, which finds out what is not HTTP
/// at all, and at an empty line. So one that comes in many pieces is not parsed as many times.
pub fn may_be_whole(head: &[u8], from: usize) -> bool {
    let tail = &head[from.saturating_sub(3)..];
    // A line may end without `\r`: RFC 9112, section 2.2.
    from == 0 || tail.windows(2).any(|end| end == b"\n\n") || tail.windows(3).any(|end| end == b"\n\r\n")
}

fn refuse(error: &Error) -> Refusal {
    let (status, message) = match error {
        Error::Protocol(ProtocolError::WrongHttpMethod) => (405, "only GET opens a WebSocket"),
        Error::Protocol(ProtocolError::WrongHttpVersion) => (505, "HTTP/1.1 is needed"),
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => (426, "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket"),
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            (426, "Sec-WebSocket-Version must be 13")
        }
        Error::Protocol(ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey) => {
            (400, "Sec-WebSocket-Key must be 16 bytes in base64")
        }
        Error::Capacity(CapacityError::TooManyHeaders) => (431, "too many headers"),
        _ => (400, "not an HTTP request"),
    };
    Refusal { status, message }
}
