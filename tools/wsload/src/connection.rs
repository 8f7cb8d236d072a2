//! One client: it connects, shakes hands, subscribes and reads. Nothing is allocated for a frame.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use super::frames::{Frames, ROOM_BYTES};
use super::now_ns;
use super::options::{Appetite, Load, ReadyWhen};
use super::sequences::Sequences;
use super::tally::{Ask, Tally};

/// The key of the handshake, and what a server must make of it: the example of RFC 6455, 1.3. Nobody here needs another.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The longest answer to a handshake.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The receive buffer of a client that does not read: the least that the system gives, so that the server soon notices.
const ODD_RECEIVE_BYTES: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Upgrading,
    Open,
    Ended,
}

/// What a look at a connection changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anyone counts.
    None,
    /// It has become ready.
    Ready,
    /// It has ended; its socket can be dropped.
    Ended,
}

/// One client.
pub struct Connection {
    /// Its socket, for the poll.
    pub socket: TcpStream,
    /// How it reads.
    pub appetite: Appetite,
    /// Whether it was ready before anything ended it.
    pub ready: bool,
    phase: Phase,
    /// What the socket did not yet take.
    out: Vec<u8>,
    /// The HTTP answer, until it is whole.
    answer: Vec<u8>,
    frames: Frames,
    sequences: Option<Sequences>,
    unanswered: usize,
}

/// The request for a WebSocket.
pub fn upgrade(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

impl Connection {
    /// Begins to connect.
    ///
    /// # Errors
    /// As the system refuses a socket, an address or a port.
    pub fn begin(load: &Load, number: usize) -> io::Result<Self> {
        let appetite = load.appetite(number);
        let domain = Domain::for_address(load.server);
        let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        if appetite != Appetite::Full {
            socket.set_recv_buffer_size(ODD_RECEIVE_BYTES)?;
        }
        if !load.sources.is_empty() {
            let source = load.sources[number % load.sources.len()];
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        // Closed by a reset: thousands of ports would wait a minute each otherwise, and the next run would find none.
        socket.set_linger(Some(std::time::Duration::ZERO))?;
        match socket.connect(&load.server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let checked = load.check_every > 0 && number.is_multiple_of(load.check_every);
        Ok(Self {
            socket: TcpStream::from_std(socket.into()),
            appetite,
            ready: false,
            phase: Phase::Connecting,
            out: Vec::new(),
            answer: Vec::new(),
            frames: Frames::default(),
            sequences: checked.then(Sequences::default),
            unanswered: 0,
        })
    }

    /// Whether its socket may be read now.
    fn reads(&self) -> bool {
        self.appetite == Appetite::Full || self.phase == Phase::Upgrading
    }

    /// Takes what the poll found. `ended` says that the server has ended its side, or all of it.
    pub fn on_event(
        &mut self,
        load: &Load,
        number: usize,
        ended: bool,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Change {
        if self.phase == Phase::Ended {
            return Change::None;
        }
        if self.phase == Phase::Connecting {
            match self.socket.peer_addr() {
                Ok(_) => self.ask_to_upgrade(load),
                Err(_) if !ended => return Change::None,
                Err(_) => return self.end(tally),
            }
        }
        if self.flush().is_err() {
            return self.end(tally);
        }
        if self.reads() {
            return self.read(load, number, ended, buffer, tally);
        }
        if ended { self.end(tally) } else { Change::None }
    }

    /// Reads one byte: the whole appetite of a slow client for a second.
    pub fn sip(&mut self, tally: &mut Tally) -> Change {
        if self.phase != Phase::Open {
            return Change::None;
        }
        match self.socket.read(&mut [0]) {
            Ok(1) => Change::None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Change::None,
            _ => self.end(tally),
        }
    }

    fn ask_to_upgrade(&mut self, load: &Load) {
        self.out.extend_from_slice(upgrade(&load.host, &load.path).as_bytes());
        self.phase = Phase::Upgrading;
    }

    fn read(
        &mut self,
        load: &Load,
        number: usize,
        ended: bool,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Change {
        let mut change = Change::None;
        while self.reads() {
            let n = match self.socket.read(&mut buffer[ROOM_BYTES..]) {
                Ok(0) => return self.end(tally),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.end(tally),
            };
            let now = now_ns();
            tally.read(n, now);
            let mut filled = ROOM_BYTES + n;
            if self.phase == Phase::Upgrading {
                match self.upgraded(load, number, &buffer[ROOM_BYTES..filled]) {
                    Ok(None) => continue,
                    Ok(Some(rest)) => {
                        buffer.copy_within(filled - rest..filled, ROOM_BYTES);
                        filled = ROOM_BYTES + rest;
                    }
                    Err(refusal) => {
                        tally.first_error.get_or_insert(refusal);
                        return self.end(tally);
                    }
                }
            }
            match self.take(load, buffer, filled, now, tally) {
                Change::None => {}
                Change::Ready => change = Change::Ready,
                Change::Ended => return Change::Ended,
            }
            // Less than asked for: the socket is empty, and the next byte makes a new edge, see epoll(7). An end does not.
            if n < buffer.len() - ROOM_BYTES && !ended {
                break;
            }
        }
        change
    }

    /// The HTTP answer: `None` where it is not yet whole, else how many bytes came after it.
    fn upgraded(&mut self, load: &Load, number: usize, bytes: &[u8]) -> Result<Option<usize>, String> {
        self.answer.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&self.answer, b"\r\n\r\n") else {
            let bound = self.answer.len() <= ANSWER_BYTES_MAX;
            return if bound { Ok(None) } else { Err("the answer to the handshake has no end".to_owned()) };
        };
        let text = String::from_utf8_lossy(&self.answer[..end]).into_owned();
        let mut lines = text.lines();
        let status = lines.next().unwrap_or_default();
        let accepts = lines
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT);
        if status.split(' ').nth(1) != Some("101") || !accepts {
            return Err(format!("the handshake was refused: {status}"));
        }
        let rest = self.answer.len() - end - 4;
        self.answer = Vec::new();
        self.phase = Phase::Open;
        let requests = &load.requests[number % load.requests.len()];
        for request in requests {
            self.send(1, request.as_bytes());
        }
        self.unanswered = requests.len();
        Ok(Some(rest))
    }

    fn take(&mut self, load: &Load, buffer: &mut [u8], filled: usize, now: i64, tally: &mut Tally) -> Change {
        let Self { frames, sequences, unanswered, .. } = self;
        let (mut pong, mut close, mut refused) = (None, false, false);
        let taken = frames.take(buffer, filled, |frame| match tally.frame(frame, now, sequences.as_mut()) {
            Ask::Nothing => {}
            Ask::Answered => *unanswered = unanswered.saturating_sub(1),
            // Only the last ping needs an answer, see RFC 6455, 5.5.3.
            Ask::Pong => pong = Some(frame.head.to_vec()),
            Ask::Close => close = true,
            Ask::Refused => refused = true,
        });
        if let Err(why) = taken {
            tally.broke(why);
            return self.finish();
        }
        // What it asked for will not come: there is nothing to wait for.
        if close || refused && !self.ready {
            return self.finish();
        }
        if let Some(payload) = pong {
            self.send(10, &payload);
        }
        if self.flush().is_err() {
            return self.end(tally);
        }
        let answered = self.unanswered == 0 || load.ready == ReadyWhen::Upgraded;
        // Who does not read cannot wait for an answer.
        if !self.ready && (answered || self.appetite != Appetite::Full) {
            self.ready = true;
            return Change::Ready;
        }
        Change::None
    }

    /// Queues a masked frame. The mask is 0: it guards proxies against scripts, and here are neither.
    fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.out.push(0x80 | opcode);
        match payload.len() {
            n @ 0..126 => self.out.push(0x80 | n as u8),
            n @ 126..65_536 => {
                self.out.push(0x80 | 126);
                self.out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                self.out.push(0x80 | 127);
                self.out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(payload);
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The server ended it without a word.
    fn end(&mut self, tally: &mut Tally) -> Change {
        if self.phase != Phase::Open {
            tally.ends.failed += 1;
        } else if self.appetite == Appetite::Full {
            tally.ends.without_close += 1;
        } else {
            tally.odd_ends += 1;
        }
        self.finish()
    }

    fn finish(&mut self) -> Change {
        self.phase = Phase::Ended;
        Change::Ended
    }
}
