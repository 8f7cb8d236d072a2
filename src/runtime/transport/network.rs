//! The twin of the operating system's network, in memory: for tests, whose peers are played by the test itself.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network in memory: ports, links of two bounded pipes, and the edges that a core has not yet seen.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<NetworkState>>);

#[derive(Default)]
struct NetworkState {
    listeners: Vec<MemoryListener>,
    /// `[to server, to client]` of each link ever made.
    pipes: Vec<[Pipe; 2]>,
    ready: VecDeque<Edge>,
}

struct MemoryListener {
    port: u16,
    /// Under which token a stage accepts; a test that accepts by hand has none.
    token: Option<usize>,
    /// Links not yet accepted, and where they come from.
    waiting: VecDeque<(usize, IpAddr)>,
}

struct Edge {
    token: usize,
    readable: bool,
    writable: bool,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    accepted: bool,
    finished: bool,
    reset: bool,
    reader_gone: bool,
    blocked: bool,
    reader_token: Option<usize>,
    writer_token: Option<usize>,
}

const TO_SERVER: usize = 0;
const TO_CLIENT: usize = 1;

impl Network {
    /// Connects to a port. `capacity` bounds, in bytes, what either direction holds unread.
    ///
    /// # Errors
    /// `ConnectionRefused` where nothing listens.
    pub fn connect(&self, port: u16, capacity: usize) -> io::Result<End> {
        self.connect_from(IpAddr::V4(Ipv4Addr::LOCALHOST), port, capacity)
    }

    /// Connects to a port from an address of the caller's choice.
    ///
    /// # Errors
    /// `ConnectionRefused` where nothing listens.
    pub fn connect_from(&self, from: IpAddr, port: u16, capacity: usize) -> io::Result<End> {
        let mut state = self.lock();
        let link = state.pipes.len();
        let listener =
            state.listeners.iter_mut().find(|l| l.port == port).ok_or(ErrorKind::ConnectionRefused)?;
        listener.waiting.push_back((link, from));
        let token = listener.token;
        let pipe = || Pipe { capacity, ..Pipe::default() };
        state.pipes.push([pipe(), pipe()]);
        state.ready.extend(token.map(|token| Edge { token, readable: true, writable: false }));
        Ok(End { network: self.clone(), link, server: false })
    }

    /// Opens a port whose connections the caller accepts when it likes: the far end of a stage's own connections. One that it
    /// never accepts stays in the making, as one to a host that does not answer.
    pub fn listen(&self, port: u16) -> Port {
        self.open(port, None)
    }

    pub(super) fn open(&self, port: u16, token: Option<usize>) -> Port {
        self.lock().listeners.push(MemoryListener { port, token, waiting: VecDeque::new() });
        Port { network: self.clone(), port }
    }

    /// Takes the edges seen since the last call.
    pub(in crate::runtime) fn take_ready(&self, mut take: impl FnMut(usize, bool, bool)) {
        let mut state = self.lock();
        while let Some(edge) = state.ready.pop_front() {
            take(edge.token, edge.readable, edge.writable);
        }
    }

    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open port of the network in memory. Dropping it closes the port and resets what was not accepted yet.
pub struct Port {
    network: Network,
    port: u16,
}

impl Port {
    /// The next connection, and where it comes from.
    ///
    /// # Errors
    /// `WouldBlock` where none waits.
    pub fn accept(&self) -> io::Result<(End, IpAddr)> {
        let mut state = self.network.lock();
        let listener = state.listeners.iter_mut().find(|listener| listener.port == self.port);
        let (link, from) = listener.and_then(|l| l.waiting.pop_front()).ok_or(ErrorKind::WouldBlock)?;
        let pipes = &mut state.pipes[link];
        pipes[TO_CLIENT].accepted = true;
        let token = pipes[TO_CLIENT].reader_token;
        state.ready.extend(token.map(|token| Edge { token, readable: false, writable: true }));
        Ok((End { network: self.network.clone(), link, server: true }, from))
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.port
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let closed: Vec<_> = {
            let mut state = self.network.lock();
            let closed = state.listeners.extract_if(.., |listener| listener.port == self.port);
            closed.flat_map(|listener| listener.waiting).collect()
        };
        for (link, _) in closed {
            End { network: self.network.clone(), link, server: true }.reset();
        }
    }
}

/// One end of a link in memory. Dropping it ends both directions.
pub struct End {
    network: Network,
    link: usize,
    server: bool,
}

impl End {
    /// (inbound, outbound) pipe of this end.
    const fn directions(&self) -> (usize, usize) {
        if self.server { (TO_SERVER, TO_CLIENT) } else { (TO_CLIENT, TO_SERVER) }
    }

    /// Which link of its network it is an end of.
    pub(super) const fn link(&self) -> usize {
        self.link
    }

    /// Reports its edges under a token from now on, or no longer.
    pub(super) fn report_to(&self, token: Option<usize>) {
        let (inbound, outbound) = self.directions();
        let mut state = self.network.lock();
        let pipes = &mut state.pipes[self.link];
        pipes[outbound].writer_token = token;
        pipes[inbound].reader_token = token;
        state.ready.extend(token.map(|token| Edge { token, readable: true, writable: true }));
    }

    /// Whether the far end accepted the link.
    pub(super) fn is_accepted(&self) -> io::Result<bool> {
        let state = self.network.lock();
        let pipe = &state.pipes[self.link][TO_CLIENT];
        if pipe.reset { Err(ErrorKind::ConnectionReset.into()) } else { Ok(pipe.accepted) }
    }

    /// Sets how many bytes may wait unread on the way to this end: a stalled reader has a small number.
    pub fn set_receive_capacity(&self, capacity: usize) {
        let (inbound, _) = self.directions();
        let mut state = self.network.lock();
        let pipe = &mut state.pipes[self.link][inbound];
        pipe.capacity = capacity;
        if pipe.bytes.len() < capacity
            && std::mem::take(&mut pipe.blocked)
            && let Some(token) = pipe.writer_token
        {
            state.ready.push_back(Edge { token, readable: false, writable: true });
        }
    }

    /// Ends the link as a reset does: unread bytes are lost on both sides.
    pub fn reset(&self) {
        let mut state = self.network.lock();
        for direction in [TO_SERVER, TO_CLIENT] {
            let pipe = &mut state.pipes[self.link][direction];
            pipe.reset = true;
            pipe.bytes = VecDeque::new();
            let tokens = [pipe.reader_token, pipe.writer_token];
            for token in tokens.into_iter().flatten() {
                state.ready.push_back(Edge { token, readable: true, writable: true });
            }
        }
    }

    pub(super) fn finish_writing(&self) {
        let (_, outbound) = self.directions();
        let mut state = self.network.lock();
        let pipe = &mut state.pipes[self.link][outbound];
        pipe.finished = true;
        if let Some(token) = pipe.reader_token {
            state.ready.push_back(Edge { token, readable: true, writable: false });
        }
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (inbound, _) = self.directions();
        let mut state = self.network.lock();
        let pipe = &mut state.pipes[self.link][inbound];
        if pipe.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if pipe.bytes.is_empty() {
            return if pipe.finished { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let n = pipe.bytes.read(buffer)?;
        if std::mem::take(&mut pipe.blocked)
            && let Some(token) = pipe.writer_token
        {
            state.ready.push_back(Edge { token, readable: false, writable: true });
        }
        Ok(n)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (_, outbound) = self.directions();
        let mut state = self.network.lock();
        let pipe = &mut state.pipes[self.link][outbound];
        if pipe.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if pipe.finished || pipe.reader_gone {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(pipe.capacity.saturating_sub(pipe.bytes.len()));
        // A short write spends the edge as a refused one does: epoll(7) lets a writer stop at either.
        pipe.blocked |= n < bytes.len();
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.bytes.extend(&bytes[..n]);
        if let Some(token) = pipe.reader_token {
            state.ready.push_back(Edge { token, readable: true, writable: false });
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.finish_writing();
        let (inbound, _) = self.directions();
        let mut state = self.network.lock();
        let pipe = &mut state.pipes[self.link][inbound];
        pipe.reader_gone = true;
        pipe.bytes = VecDeque::new();
        if let Some(token) = pipe.writer_token {
            state.ready.push_back(Edge { token, readable: true, writable: true });
        }
    }
}
