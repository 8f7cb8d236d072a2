//! One client's socket: the HTTP handshake, then WebSocket messages, then the way out. It reads; the gateway writes.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};

use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::model::{Topic, UnixNanos};
use crate::runtime::Stream;
use crate::runtime::websocket::{REQUEST_BYTES_MAX, Refusal, Upgrade, may_be_whole, read_upgrade};

use super::close::{self, CloseCode};
use super::dialect::Delivery;
use super::dialect::Parsed;
use super::lengthy::Lengthy;
use super::outbox::Outbox;
use super::rates::Rates;

/// How much one read takes from the kernel: all of a usual request. Every connection keeps a buffer of that size.
const READ_BYTES: usize = 1024;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the HTTP request.
    Handshake,
    /// WebSocket messages both ways.
    Open,
    /// A close or an HTTP refusal is queued or sent; what still arrives is only looked at for the peer's close.
    Closing,
}

/// What one look at the socket gave.
pub enum Inbound {
    /// Nothing more for now.
    Nothing,
    /// Something that needs no answer.
    Handled,
    /// A ping, whose answer is in the control bytes, or a pong.
    Control,
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The handshake is complete.
    Upgraded(Box<Upgrade>),
    /// The handshake is refused.
    Refused(Refusal),
    /// The peer sent a close; its echo is in the control bytes.
    PeerClosed,
    /// The peer broke the protocol.
    Broken(CloseCode),
    /// The socket is at its end.
    Gone,
}

/// One client.
pub struct Connection {
    /// Its socket.
    pub stream: Stream,
    /// A number that no other connection of this gateway ever has.
    pub number: u64,
    /// The address that it counts under.
    pub peer: IpAddr,
    /// The dealer counts it as a connection, not as a refusal.
    pub admitted: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// When the phase must be over; of an open connection, nothing.
    pub deadline: UnixNanos,
    /// Its row in the dialect table.
    pub dialect: usize,
    /// It has no dialect but sends back what it receives.
    pub echoes: bool,
    /// What is still to be sent.
    pub outbox: Outbox,
    /// When anything was last received.
    pub heard: UnixNanos,
    /// When a ping was last sent.
    pub pinged: UnixNanos,
    /// Since when something waits that the socket did not take.
    pub blocked: Option<UnixNanos>,
    /// When it was last told that it is slow.
    pub noticed: UnixNanos,
    /// States it never saw, since the last notice.
    pub conflated: u32,
    /// An edge not yet used up.
    pub readable: bool,
    /// The socket took everything so far.
    pub writable: bool,
    /// It is on the list of sockets to read.
    pub in_reads: bool,
    /// It is on the list of outboxes to write.
    pub in_dirty: bool,
    /// What it asked for by name or wildcard, and how.
    pub wanted: BTreeMap<Topic, Delivery>,
    /// When the gateway looks at its lanes next, if that is on the list of alarms.
    pub alarm: Option<UnixNanos>,
    /// Its request that takes more than one turn.
    pub lengthy: Option<Lengthy>,
    /// Further requests of the same message.
    pub requests: VecDeque<Parsed>,
    /// Its joins that are not yet complete, in the order they were asked for.
    pub joins: VecDeque<u32>,
    /// Its requests to shards that are not yet answered.
    pub asks: VecDeque<u32>,
    /// What it sent in the current second.
    pub(super) rates: Rates,
    /// The peer has sent its close, or sends nothing that needs to be understood.
    pub heard_out: bool,
    /// Our side of the stream is shut.
    pub finished: bool,
    head: Vec<u8>,
    /// The longest request head that it may send.
    pub head_bytes_max: usize,
    websocket: Option<Box<WebSocketContext>>,
}

impl Connection {
    /// Whether its outbox has to go on the list to write: it is not there yet, and its socket is not known to be full.
    #[inline]
    pub fn becomes_dirty(&mut self) -> bool {
        let dirty = self.writable && !self.in_dirty;
        self.in_dirty |= dirty;
        dirty
    }

    /// Whether an alarm has to be set for its lanes at `due`: it has none that rings as soon.
    pub fn alarm_at(&mut self, due: UnixNanos) -> bool {
        let sooner = self.alarm.is_none_or(|alarm| due < alarm);
        if sooner {
            self.alarm = Some(due);
        }
        sooner
    }

    /// A connection just accepted.
    pub fn new(stream: Stream, number: u64, now: UnixNanos, deadline: UnixNanos) -> Self {
        Self {
            stream,
            number,
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            admitted: true,
            phase: Phase::Handshake,
            deadline,
            dialect: 0,
            echoes: false,
            outbox: Outbox::default(),
            heard: now,
            pinged: now,
            blocked: None,
            noticed: UnixNanos::MIN,
            conflated: 0,
            readable: true,
            writable: true,
            in_reads: false,
            in_dirty: false,
            wanted: BTreeMap::new(),
            alarm: None,
            lengthy: None,
            requests: VecDeque::new(),
            joins: VecDeque::new(),
            asks: VecDeque::new(),
            rates: Rates::new(now),
            heard_out: false,
            finished: false,
            head: Vec::new(),
            head_bytes_max: REQUEST_BYTES_MAX,
            websocket: None,
        }
    }

    /// Whether a request is under way or waits for one.
    pub fn is_busy(&self) -> bool {
        self.lengthy.is_some() || !self.requests.is_empty()
    }

    /// Turns to WebSocket; what came after the request is its first input.
    pub fn open(&mut self, consumed: usize, message_bytes_max: usize) {
        let rest = self.head.split_off(consumed.min(self.head.len()));
        self.head = Vec::new();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let context = WebSocketContext::from_partially_read(rest, Role::Server, Some(config));
        self.websocket = Some(Box::new(context));
        self.phase = Phase::Open;
    }

    /// Takes the next thing that the socket has. Control frames to send are appended to `control`; each read of the kernel
    /// costs one of `reads`, and without one left nothing more is found though `readable` stays.
    pub fn step(&mut self, reads: &mut u32, control: &mut Vec<u8>, now: UnixNanos) -> Inbound {
        let discard = self.phase == Phase::Closing && self.heard_out;
        let mut io = Io { stream: &mut self.stream, control, reads, blocked: false, received: None };
        let inbound = match &mut self.websocket {
            _ if discard => discard_step(&mut io),
            Some(websocket) => websocket_step(websocket, &mut io),
            None => handshake_step(&mut self.head, self.head_bytes_max, &mut io),
        };
        if io.blocked {
            self.readable = false;
        }
        if let Some(bytes) = io.received {
            self.heard = now;
            // The handshake has a bound of its own.
            if self.phase == Phase::Open {
                self.rates.add_bytes(bytes, now);
            }
        }
        match &inbound {
            Inbound::Text(_) | Inbound::Binary(_) => self.rates.add_request(now),
            Inbound::Control => self.rates.add_control(now),
            _ => {}
        }
        inbound
    }
}

fn discard_step(io: &mut Io<'_>) -> Inbound {
    let mut sink = [0; READ_BYTES];
    match io.read(&mut sink) {
        Ok(0) => Inbound::Gone,
        Ok(_) => Inbound::Handled,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Inbound::Nothing,
        Err(_) => Inbound::Gone,
    }
}

fn handshake_step(head: &mut Vec<u8>, head_bytes_max: usize, io: &mut Io<'_>) -> Inbound {
    let mut chunk = [0; READ_BYTES];
    let room = (head_bytes_max + READ_BYTES).saturating_sub(head.len()).min(READ_BYTES);
    match io.read(&mut chunk[..room]) {
        Ok(0) => return Inbound::Gone,
        Ok(n) => {
            let from = head.len();
            head.extend_from_slice(&chunk[..n]);
            if !may_be_whole(head, from) && head.len() < head_bytes_max {
                return Inbound::Handled;
            }
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Inbound::Nothing,
        Err(error) if error.kind() == ErrorKind::Interrupted => return Inbound::Handled,
        Err(_) => return Inbound::Gone,
    }
    match read_upgrade(head, head_bytes_max) {
        Ok(None) => Inbound::Handled,
        Ok(Some(upgrade)) => Inbound::Upgraded(Box::new(upgrade)),
        Err(refusal) => Inbound::Refused(refusal),
    }
}

fn websocket_step(websocket: &mut WebSocketContext, io: &mut Io<'_>) -> Inbound {
    match websocket.read(io) {
        Ok(Message::Text(text)) => Inbound::Text(text),
        Ok(Message::Binary(bytes)) => Inbound::Binary(bytes),
        Ok(Message::Close(_)) => {
            // Writes the echo into the control bytes, and says that the WebSocket has ended, which we know.
            let _ = websocket.flush(io);
            Inbound::PeerClosed
        }
        Ok(_) => Inbound::Control,
        Err(Error::Io(error)) => match error.kind() {
            ErrorKind::WouldBlock => Inbound::Nothing,
            ErrorKind::Interrupted => Inbound::Handled,
            _ => Inbound::Gone,
        },
        Err(Error::Capacity(_)) => Inbound::Broken(close::TOO_BIG),
        Err(Error::Utf8(_)) => Inbound::Broken(close::NOT_UTF8),
        Err(
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
        ) => Inbound::Gone,
        Err(_) => Inbound::Broken(close::PROTOCOL),
    }
}

/// The socket as tungstenite sees it: reads are counted, and what it writes goes to the outbox instead.
struct Io<'a> {
    stream: &'a mut Stream,
    control: &'a mut Vec<u8>,
    reads: &'a mut u32,
    blocked: bool,
    /// Bytes read, `None` where the socket was not asked or had nothing.
    received: Option<usize>,
}

impl Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.reads == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        *self.reads -= 1;
        let outcome = self.stream.read(buffer);
        match &outcome {
            Ok(bytes) => self.received = Some(self.received.unwrap_or(0) + bytes),
            Err(error) => self.blocked |= error.kind() == ErrorKind::WouldBlock,
        }
        outcome
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
