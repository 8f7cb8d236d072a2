//! What a read of a feed's WebSocket gave, in the words of whoever has to act on it: the same for both of its ends.

use std::io::{self, ErrorKind, Read, Write};

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message};

use super::field::Context;
use super::reject::Reason;

/// How much one read takes from the socket.
const READ_BYTES: usize = 64 * 1024;

/// What came.
pub(super) enum Inbound {
    /// A text or binary message.
    Message(Bytes),
    /// A ping, which the next read answers, or a pong.
    Control,
    /// Part of a message, or nothing by an interrupt.
    Part,
    /// Nothing is there now.
    Drained,
    /// The peer's close, which the next flush answers.
    Close(Option<CloseFrame>),
    /// A message of more bytes than allowed.
    TooLong,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// The peer broke the protocol, in this way.
    Broken(String),
    /// The connection has ended after a close.
    Ended,
    /// The stream has ended without a close.
    Cut,
    /// The stream failed.
    Failed(io::Error),
}

impl Inbound {
    /// What leaves nothing but a close is entered in the ledger; the code and the words to close with.
    pub(super) fn condemn(&self, cx: &mut Context<'_>) -> Option<(CloseCode, &'static str)> {
        let (reason, code, words) = match self {
            Self::TooLong => (Reason::LineTooLong, CloseCode::Size, "message is longer than the limit"),
            Self::NotUtf8 => (Reason::NotUtf8, CloseCode::Invalid, "text is not UTF-8"),
            Self::Broken(why) => {
                cx.tallies.faults += 1;
                cx.tallies.note(cx.now, "protocol error", why.as_bytes());
                return Some((CloseCode::Protocol, "protocol error"));
            }
            _ => return None,
        };
        cx.tallies.record();
        cx.tallies.reject(reason, b"message", cx.now);
        Some((code, words))
    }
}

/// The frames of one connection, after `tail`, which came with the handshake. What waits to be sent is at most `unsent_bytes_max`.
pub(super) fn frames(
    tail: Vec<u8>,
    role: Role,
    message_bytes_max: usize,
    unsent_bytes_max: usize,
) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        // What goes out is little, and goes at once.
        .write_buffer_size(0)
        .max_write_buffer_size(unsent_bytes_max)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketContext::from_partially_read(tail, role, Some(config))
}

/// One message, or what else there is.
pub(super) fn read(frames: &mut WebSocketContext, io: &mut (impl Read + Write)) -> Inbound {
    match frames.read(io) {
        Ok(Message::Text(text)) => Inbound::Message(text.into()),
        Ok(Message::Binary(bytes)) => Inbound::Message(bytes),
        Ok(Message::Ping(_) | Message::Pong(_)) => Inbound::Control,
        Ok(Message::Close(frame)) => Inbound::Close(frame),
        Ok(Message::Frame(_)) => Inbound::Part,
        Err(Error::Io(error)) => match error.kind() {
            ErrorKind::WouldBlock => Inbound::Drained,
            ErrorKind::Interrupted => Inbound::Part,
            _ => Inbound::Failed(error),
        },
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => Inbound::Ended,
        Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Inbound::Cut,
        Err(Error::Capacity(_)) => Inbound::TooLong,
        Err(Error::Utf8(_)) => Inbound::NotUtf8,
        Err(error) => Inbound::Broken(error.to_string()),
    }
}
