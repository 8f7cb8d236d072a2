//! A publisher's WebSocket connection: each text or binary message holds lines.

use std::io::{ErrorKind, Read, Write};

use tungstenite::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};

use crate::model::{Tick, UnixNanos};
use crate::runtime::websocket::{REQUEST_BYTES_MAX, Refusal, read_upgrade};

use super::dialect::{Dialect, DialectRow, parse_line};
use super::field::Context;
use super::frames::{Frames, Inbound};
use super::lines::Line;
use super::source::INGEST_PATH;
use super::tcp::After;

enum Phase {
    /// The request so far.
    Handshake(Vec<u8>),
    Open(Box<Frames>),
    /// Our last words are said; what still comes is dropped unread until the peer ends, so that no reset eats them.
    Closing,
}

/// The receiving end of one connection.
pub struct MessageConnection {
    phase: Phase,
    /// Of an HTTP answer, what the socket did not take yet.
    unsent: Vec<u8>,
    dialect: Box<dyn Dialect>,
    message_bytes_max: usize,
    /// When the current phase is given up, if it is.
    pub deadline: Option<UnixNanos>,
}

impl MessageConnection {
    /// For a fresh connection, whose handshake must be done by `deadline`.
    pub fn new(row: &DialectRow, message_bytes_max: usize, deadline: UnixNanos) -> Self {
        Self {
            phase: Phase::Handshake(Vec::new()),
            unsent: Vec::new(),
            dialect: (row.open)(),
            message_bytes_max,
            deadline: Some(deadline),
        }
    }

    /// Reads and parses one message, or moves the handshake on. `give_up` is when a close begun now is.
    pub fn read(
        &mut self,
        io: &mut (impl Read + Write),
        give_up: UnixNanos,
        cx: &mut Context<'_>,
        out: &mut Vec<Tick>,
    ) -> After {
        if !self.send_unsent(io) {
            return After::Ended;
        }
        if !self.unsent.is_empty() {
            // The answer goes first; the edge of a writable socket brings us back.
            return After::Drained;
        }
        match &mut self.phase {
            Phase::Handshake(_) => self.handshake(io, give_up, cx),
            Phase::Open(_) => self.message(io, give_up, cx, out),
            Phase::Closing => {
                let mut waste = [0; 4096];
                match io.read(&mut waste) {
                    Ok(0) => After::Ended,
                    Ok(_) => After::More,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => After::Drained,
                    Err(_) => After::Ended,
                }
            }
        }
    }

    /// Tells the peer that the engine goes away.
    pub fn go_away(&mut self, io: &mut (impl Read + Write)) {
        if let Phase::Open(frames) = &mut self.phase {
            let frame = CloseFrame { code: CloseCode::Away, reason: "the engine stops".into() };
            // A peer that is gone needs no word.
            let _ = frames.close(io, frame);
        }
    }

    fn handshake(&mut self, io: &mut (impl Read + Write), give_up: UnixNanos, cx: &mut Context<'_>) -> After {
        let Phase::Handshake(head) = &mut self.phase else { return After::Ended };
        let mut piece = [0; 2048];
        match io.read(&mut piece) {
            Ok(0) => return After::Ended,
            Ok(n) => head.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return After::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return After::More,
            Err(_) => return After::Ended,
        }
        let refusal = match read_upgrade(head, REQUEST_BYTES_MAX) {
            Ok(None) => return After::More,
            Ok(Some(upgrade)) if upgrade.path == INGEST_PATH => {
                let tail = head.get(upgrade.consumed..).unwrap_or_default();
                // Only pongs and a close go out.
                let frames = Frames::new(tail, Role::Server, self.message_bytes_max, REQUEST_BYTES_MAX);
                self.phase = Phase::Open(Box::new(frames));
                self.unsent = upgrade.response;
                self.deadline = None;
                return if self.send_unsent(io) { After::More } else { After::Ended };
            }
            Ok(Some(_)) => Refusal { status: 404, message: "publishers connect to /ingest" },
            Err(refusal) => refusal,
        };
        cx.tallies.faults += 1;
        cx.tallies.note(cx.now, "handshake refused", refusal.message.as_bytes());
        self.unsent = refusal.response();
        self.phase = Phase::Closing;
        self.deadline = Some(give_up);
        if self.send_unsent(io) { After::More } else { After::Ended }
    }

    fn message(
        &mut self,
        io: &mut (impl Read + Write),
        give_up: UnixNanos,
        cx: &mut Context<'_>,
        out: &mut Vec<Tick>,
    ) -> After {
        let Phase::Open(frames) = &mut self.phase else { return After::Ended };
        let inbound = frames.read(io);
        if let Some((code, reason)) = inbound.condemn(cx) {
            return self.close(io, code, reason, give_up);
        }
        match inbound {
            Inbound::Message => {
                lines(frames.message(), self.dialect.as_mut(), cx, out);
                self.refused(io, give_up, cx)
            }
            Inbound::Drained => After::Drained,
            Inbound::Cut => {
                cx.tallies.faults += 1;
                cx.tallies.note(cx.now, "connection lost", b"it ended without a close");
                After::Ended
            }
            Inbound::Ended | Inbound::Failed(_) => After::Ended,
            _ => After::More,
        }
    }

    /// Closes where the dialect can read nothing that follows.
    fn refused(&mut self, io: &mut (impl Read + Write), give_up: UnixNanos, cx: &mut Context<'_>) -> After {
        match self.dialect.refusal() {
            None => After::More,
            Some(message) => {
                cx.tallies.note(cx.now, "connection closed", message.as_bytes());
                self.close(io, CloseCode::Policy, "the csv header cannot be used", give_up)
            }
        }
    }

    fn close(
        &mut self,
        io: &mut (impl Read + Write),
        code: CloseCode,
        reason: &'static str,
        give_up: UnixNanos,
    ) -> After {
        if let Phase::Open(frames) = &mut self.phase {
            let sent = frames.close(io, CloseFrame { code, reason: reason.into() });
            if !matches!(sent, Ok(()) | Err(Error::ConnectionClosed)) {
                return After::Ended;
            }
        }
        self.phase = Phase::Closing;
        self.deadline = Some(give_up);
        After::More
    }

    /// `false` where the peer is gone.
    fn send_unsent(&mut self, io: &mut impl Write) -> bool {
        while !self.unsent.is_empty() {
            match io.write(&self.unsent) {
                Ok(0) => return false,
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Parses every line of a message.
fn lines(mut rest: &mut [u8], dialect: &mut dyn Dialect, cx: &mut Context<'_>, out: &mut Vec<Tick>) {
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at_mut(end);
        rest = after.get_mut(1..).unwrap_or_default();
        let keep = line.len() - usize::from(line.last() == Some(&b'\r'));
        parse_line(dialect, Line::Whole(&mut line[..keep]), cx, out);
    }
}
