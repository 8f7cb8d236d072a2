//! The frames of a feed's WebSocket, and what a read of them gave, in the words of whoever has to act on it: the same for both ends.
//!
//! A message in one frame that is as it should be is taken where it lies in the read buffer. Every other frame is handed to
//! tungstenite byte for byte, and so is all that follows a close: it knows what a peer may do, and answers.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::field::Context;
use super::reject::Reason;

/// How much one read takes from the socket.
const READ_BYTES: usize = 64 * 1024;
/// How much tungstenite takes at once of what is handed to it, which is little and seldom.
const HANDED_BYTES: usize = 1024;
/// The longest header of a frame: two bytes, a length of eight, a mask of four (RFC 6455, 5.2).
const HEADER_BYTES_MAX: usize = 14;
/// Of a header's first byte: the last frame of its message.
const LAST: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// Those from here on are of control frames.
const CONTROLS: u8 = 8;

/// What came.
pub(super) enum Inbound {
    /// A text or binary message, which [`Frames::message`] shows.
    Message,
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

/// The receiving end of one connection, and what little it sends.
pub(super) struct Frames {
    context: WebSocketContext,
    role: Role,
    message_bytes_max: usize,
    /// What was read and not yet taken is `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes tungstenite is still to be handed before the next frame is looked at; `usize::MAX` once it is to have all.
    handed: usize,
    /// A message has begun in a frame that was not its last.
    in_parts: bool,
    /// A pong may wait to be sent.
    owes: bool,
    message: Latest,
}

/// Where the latest message is.
enum Latest {
    InBuffer(Range<usize>),
    Apart(Vec<u8>),
}

/// The header of a frame.
struct Header {
    first: u8,
    mask: Option<[u8; 4]>,
    /// How long it is.
    bytes: usize,
    /// How long what follows it is.
    payload: usize,
}

impl Frames {
    /// The frames that follow a handshake, `tail` the first of their bytes. What waits to be sent is at most `unsent_bytes_max`.
    pub(super) fn new(tail: &[u8], role: Role, message_bytes_max: usize, unsent_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(HANDED_BYTES)
            // What goes out is little, and goes at once.
            .write_buffer_size(0)
            .max_write_buffer_size(unsent_bytes_max)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let mut buffer = vec![0; READ_BYTES.max(tail.len())];
        buffer[..tail.len()].copy_from_slice(tail);
        Self {
            context: WebSocketContext::new(role, Some(config)),
            role,
            message_bytes_max,
            buffer,
            start: 0,
            end: tail.len(),
            handed: 0,
            in_parts: false,
            owes: false,
            message: Latest::InBuffer(0..0),
        }
    }

    /// One message, or what else there is.
    pub(super) fn read(&mut self, io: &mut (impl Read + Write)) -> Inbound {
        if self.owes {
            match self.context.flush(io) {
                Ok(()) => self.owes = false,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return inbound_of(error),
            }
        }
        loop {
            if !self.context.can_write() {
                // A close was said: what comes now is judged by that.
                self.handed = usize::MAX;
            }
            if self.handed > 0 {
                match self.hand_over(io) {
                    Some(inbound) => return inbound,
                    None => continue,
                }
            }
            let wanted = match Header::read(&self.buffer[self.start..self.end]) {
                None => HEADER_BYTES_MAX,
                Some(header) if !self.is_plain(&header) => {
                    self.handed = header.bytes.saturating_add(header.payload);
                    if header.first & OPCODE < CONTROLS {
                        self.in_parts = header.first & LAST == 0;
                    }
                    continue;
                }
                Some(header) if self.start + header.bytes + header.payload <= self.end => {
                    return self.take(&header);
                }
                Some(header) => header.bytes + header.payload,
            };
            match io.read(self.room(wanted)) {
                Ok(0) => return Inbound::Cut,
                Ok(n) => self.end += n,
                Err(error) => return inbound_of(Error::Io(error)),
            }
        }
    }

    /// The message that the latest read gave, to write into.
    pub(super) fn message(&mut self) -> &mut [u8] {
        match &mut self.message {
            Latest::InBuffer(range) => &mut self.buffer[range.clone()],
            Latest::Apart(bytes) => bytes,
        }
    }

    /// Whether messages may be sent: no close was sent or came.
    pub(super) fn can_write(&self) -> bool {
        self.context.can_write()
    }

    /// Sends a message, or keeps what the socket does not take.
    pub(super) fn write(&mut self, io: &mut (impl Read + Write), message: Message) -> Result<(), Error> {
        self.context.write(io, message)?;
        self.context.flush(io)
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self, io: &mut (impl Read + Write)) -> Result<(), Error> {
        self.context.flush(io)
    }

    /// Sends a close.
    pub(super) fn close(&mut self, io: &mut (impl Read + Write), frame: CloseFrame) -> Result<(), Error> {
        self.context.close(io, Some(frame))
    }

    /// Whether it is a whole message as the peer should send it.
    fn is_plain(&self, header: &Header) -> bool {
        // The bits between are of extensions, and none was agreed on.
        matches!(header.first, first if first == LAST | TEXT || first == LAST | BINARY)
            && header.mask.is_some() == (self.role == Role::Server)
            && header.payload <= self.message_bytes_max
            && !self.in_parts
    }

    fn take(&mut self, header: &Header) -> Inbound {
        let from = self.start + header.bytes;
        self.start = from + header.payload;
        let payload = &mut self.buffer[from..self.start];
        if let Some(mask) = header.mask {
            unmask(payload, mask);
        }
        // Most text is ASCII, which is seen sooner.
        if header.first & OPCODE == TEXT && !payload.is_ascii() && std::str::from_utf8(payload).is_err() {
            return Inbound::NotUtf8;
        }
        self.message = Latest::InBuffer(from..self.start);
        Inbound::Message
    }

    /// Room to read to, where so many bytes from `start` on are wanted. The latest message is gone then.
    fn room(&mut self, wanted: usize) -> &mut [u8] {
        self.message = Latest::InBuffer(0..0);
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Has tungstenite read the frame that is next, or all that follows; `None` where that makes no message yet.
    fn hand_over(&mut self, io: &mut (impl Read + Write)) -> Option<Inbound> {
        let mut handing =
            Handing { io, there: &self.buffer[self.start..self.end], left: self.handed, is_dry: false };
        let read = self.context.read(&mut handing);
        let (left, is_dry) = (handing.left, handing.is_dry);
        self.start = self.end - handing.there.len();
        self.handed = left;
        Some(match read {
            Ok(Message::Text(text)) => self.apart(text.as_bytes()),
            Ok(Message::Binary(bytes)) => self.apart(&bytes),
            Ok(Message::Ping(_) | Message::Pong(_)) => {
                self.owes = true;
                Inbound::Control
            }
            Ok(Message::Close(frame)) => Inbound::Close(frame),
            Ok(Message::Frame(_)) => Inbound::Part,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock && is_dry => return None,
            Err(error) => inbound_of(error),
        })
    }

    fn apart(&mut self, message: &[u8]) -> Inbound {
        self.message = Latest::Apart(message.to_vec());
        Inbound::Message
    }
}

impl Header {
    /// The header with which these bytes begin, if it is there whole.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload, rest) = match second & 0x7f {
            126 => rest
                .split_first_chunk()
                .map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
            127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            short => (u64::from(short), rest),
        };
        let (mask, rest) = match rest.split_first_chunk() {
            _ if second & 0x80 == 0 => (None, rest),
            Some((mask, rest)) => (Some(*mask), rest),
            None => return None,
        };
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        Some(Self { first, mask, bytes: bytes.len() - rest.len(), payload })
    }
}

/// Takes a mask off, or puts it on.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let wide = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// What tungstenite reads from while a frame is handed to it: the bytes that are there, then the socket, and never beyond the frame.
struct Handing<'a, S> {
    io: &'a mut S,
    there: &'a [u8],
    left: usize,
    /// It asked for more than the frame.
    is_dry: bool,
}

impl<S: Read> Read for Handing<'_, S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.is_dry = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = to.len().min(self.left);
        let n = if self.there.is_empty() {
            self.io.read(&mut to[..most])?
        } else {
            self.there.read(&mut to[..most])?
        };
        if self.left != usize::MAX {
            self.left -= n;
        }
        Ok(n)
    }
}

impl<S: Write> Write for Handing<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io.flush()
    }
}

fn inbound_of(error: Error) -> Inbound {
    match error {
        Error::Io(error) => match error.kind() {
            ErrorKind::WouldBlock => Inbound::Drained,
            ErrorKind::Interrupted => Inbound::Part,
            _ => Inbound::Failed(error),
        },
        Error::ConnectionClosed | Error::AlreadyClosed => Inbound::Ended,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Inbound::Cut,
        Error::Capacity(_) => Inbound::TooLong,
        Error::Utf8(_) => Inbound::NotUtf8,
        error => Inbound::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 300;
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// Gives its pieces one read each, says `WouldBlock` between them, and ends after the last.
    #[derive(Default)]
    struct Pieces {
        coming: VecDeque<Vec<u8>>,
        blocks: bool,
        sent: Vec<u8>,
    }

    impl Pieces {
        fn of(bytes: &[u8], lengths: &[usize]) -> Self {
            let (mut rest, mut coming) = (bytes, VecDeque::new());
            for length in lengths.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(rest.len().min(*length));
                coming.push_back(piece.to_vec());
                rest = after;
            }
            Self { coming, ..Self::default() }
        }
    }

    impl Read for Pieces {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.blocks = !self.blocks;
            if self.blocks {
                return Err(ErrorKind::WouldBlock.into());
            }
            let Some(piece) = self.coming.front_mut() else { return Ok(0) };
            let n = piece.len().min(to.len());
            to[..n].copy_from_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                self.coming.pop_front();
            }
            Ok(n)
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What came, up to what leaves nothing to read for.
    #[derive(Debug, PartialEq)]
    enum Came {
        Message(Vec<u8>),
        Control,
        Close(Option<CloseFrame>),
        Last(&'static str),
    }

    fn last(inbound: &Inbound) -> Came {
        Came::Last(match inbound {
            Inbound::TooLong => "too long",
            Inbound::NotUtf8 => "not UTF-8",
            Inbound::Broken(_) => "broken",
            Inbound::Ended => "ended",
            Inbound::Cut => "cut",
            _ => "something else",
        })
    }

    fn ours(role: Role, bytes: &[u8], lengths: &[usize], tail: usize) -> (Vec<Came>, Vec<u8>) {
        let (tail, rest) = bytes.split_at(tail.min(bytes.len()));
        let mut io = Pieces::of(rest, lengths);
        let mut frames = Frames::new(tail, role, BYTES_MAX, 1 << 20);
        let mut came = Vec::new();
        while !matches!(came.last(), Some(Came::Last(_))) {
            match frames.read(&mut io) {
                Inbound::Message => came.push(Came::Message(frames.message().to_vec())),
                Inbound::Control => came.push(Came::Control),
                Inbound::Close(frame) => came.push(Came::Close(frame)),
                Inbound::Drained | Inbound::Part => {}
                other => came.push(last(&other)),
            }
        }
        (came, io.sent)
    }

    /// As tungstenite reads all of it by itself.
    fn plain(role: Role, bytes: &[u8]) -> (Vec<Came>, Vec<u8>) {
        let mut io = Pieces::of(bytes, &[usize::MAX]);
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .max_message_size(Some(BYTES_MAX))
            .max_frame_size(Some(BYTES_MAX));
        let mut context = WebSocketContext::new(role, Some(config));
        let mut came = Vec::new();
        while !matches!(came.last(), Some(Came::Last(_))) {
            match context.read(&mut io) {
                Ok(Message::Text(text)) => came.push(Came::Message(text.as_bytes().to_vec())),
                Ok(Message::Binary(bytes)) => came.push(Came::Message(bytes.to_vec())),
                Ok(Message::Close(frame)) => came.push(Came::Close(frame)),
                Ok(_) => came.push(Came::Control),
                Err(error) => match inbound_of(error) {
                    Inbound::Drained => {}
                    other => came.push(last(&other)),
                },
            }
        }
        (came, io.sent)
    }

    fn frame(first: u8, payload: &[u8], masked: bool, wide: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            length if wide => {
                bytes.push(bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
            length @ 0..126 => bytes.push(bit | length as u8),
            length => {
                bytes.push(bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        let mut payload = payload.to_vec();
        if masked {
            bytes.extend(MASK);
            unmask(&mut payload, MASK);
        }
        [bytes, payload].concat()
    }

    fn frames_of(role: Role) -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            8 => prop_oneof![Just(0x81), Just(0x82)],
            4 => prop_oneof![Just(0x01), Just(0x02), Just(0x00), Just(0x80)],
            3 => prop_oneof![Just(0x88), Just(0x89), Just(0x8a)],
            1 => any::<u8>(),
        ];
        let payload = prop_oneof![
            6 => "[a-z]{0,40}".prop_map(String::into_bytes),
            2 => "[a-zé€]{100,200}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            1 => Just(b"\x03\xe8bye".to_vec()),
        ];
        let one = (first, payload, prop::bool::weighted(0.97), prop::bool::weighted(0.1)).prop_map(
            move |(first, payload, right, wide)| {
                frame(first, &payload, right == (role == Role::Server), wide)
            },
        );
        prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
    }

    proptest! {
        #[test]
        fn a_publishers_frames_are_what_tungstenite_says_however_they_are_cut(
            bytes in frames_of(Role::Server), lengths in prop::collection::vec(1..200_usize, 1..8), tail in 0..64_usize,
        ) {
            prop_assert_eq!(ours(Role::Server, &bytes, &lengths, tail), plain(Role::Server, &bytes));
        }

        #[test]
        fn a_venues_frames_are_what_tungstenite_says_however_they_are_cut(
            bytes in frames_of(Role::Client), lengths in prop::collection::vec(1..200_usize, 1..8), tail in 0..64_usize,
        ) {
            // What a client sends is masked at random.
            let (came, sent) = ours(Role::Client, &bytes, &lengths, tail);
            let (want, want_sent) = plain(Role::Client, &bytes);
            prop_assert_eq!((came, sent.len()), (want, want_sent.len()));
        }

        #[test]
        fn any_bytes_are_what_tungstenite_says(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 1..60_usize) {
            prop_assert_eq!(ours(Role::Server, &bytes, &[cut], 0), plain(Role::Server, &bytes));
        }

        #[test]
        fn a_mask_changes_each_byte_by_its_place(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut masked = bytes.clone();
            unmask(&mut masked, MASK);
            let want: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]).collect();
            prop_assert_eq!(masked, want);
        }
    }

    #[test]
    fn a_message_longer_than_a_read_is_taken_and_the_next_one_too() {
        let long = vec![b'x'; 3 * READ_BYTES];
        let bytes = [frame(0x81, &long, true, true), frame(0x82, b"next", true, false)].concat();
        let mut io = Pieces::of(&bytes, &[1000, 50_000]);
        let mut frames = Frames::new(&[], Role::Server, long.len(), 1 << 20);
        let mut came = Vec::new();
        while came.len() < 2 {
            if matches!(frames.read(&mut io), Inbound::Message) {
                came.push(frames.message().to_vec());
            }
        }
        assert_eq!(came, [long, b"next".to_vec()]);
    }
}
