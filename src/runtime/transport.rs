//! The seam between stages and sockets: real ones of the operating system, or a twin in memory for tests.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::Interest;

/// Bits of a token that a stage uses itself; the stage's place on its core is above them.
const LOCAL_BITS: u32 = 40;

/// A socket of this stage became ready. The edge is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The stage's own name for the socket.
    pub token: usize,
    /// There is something to read, or an end or error to learn of.
    pub readable: bool,
    /// There is room to write again.
    pub writable: bool,
}

/// Registers a stage's sockets with its core.
pub struct Registrar {
    kind: RegistrarKind,
    prefix: usize,
}

enum RegistrarKind {
    Os(mio::Registry),
    Memory(Network),
}

impl Registrar {
    /// For the stage in place `stage` of a core that polls the operating system.
    pub(super) fn os(registry: mio::Registry, stage: usize) -> Self {
        Self { kind: RegistrarKind::Os(registry), prefix: stage << LOCAL_BITS }
    }

    /// For the stage in place `stage` of an inline core.
    pub(super) fn memory(network: Network, stage: usize) -> Self {
        Self { kind: RegistrarKind::Memory(network), prefix: stage << LOCAL_BITS }
    }

    /// Opens a listener under a token: at `addr` of the machine, or at its port of the network in memory.
    pub fn listen(&self, addr: SocketAddr, token: usize) -> io::Result<Listener> {
        let token = self.prefix | token;
        match &self.kind {
            RegistrarKind::Os(registry) => {
                let mut listener = bind(addr)?;
                registry.register(&mut listener, mio::Token(token), Interest::READABLE)?;
                Ok(Listener::Os(listener))
            }
            RegistrarKind::Memory(network) => {
                network.lock().listeners.push(MemoryListener {
                    port: addr.port(),
                    token,
                    waiting: VecDeque::new(),
                });
                Ok(Listener::Memory { network: network.clone(), port: addr.port() })
            }
        }
    }

    /// Reports the stream's readiness under a token from now on, edge by edge, both directions.
    pub fn register(&self, stream: &mut Stream, token: usize) -> io::Result<()> {
        let token = self.prefix | token;
        match (&self.kind, stream) {
            (RegistrarKind::Os(registry), Stream::Os(socket)) => {
                registry.register(socket, mio::Token(token), Interest::READABLE | Interest::WRITABLE)
            }
            (RegistrarKind::Memory(network), Stream::Memory(end)) => {
                let mut state = network.lock();
                let (inbound, outbound) = end.directions();
                let pipes = &mut state.pipes[end.link];
                pipes[outbound].writer_token = Some(token);
                pipes[inbound].reader_token = Some(token);
                state.ready.push_back(Edge { token, readable: true, writable: true });
                Ok(())
            }
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    /// Stops reporting. Dropping the stream afterwards closes it.
    pub fn deregister(&self, stream: &mut Stream) -> io::Result<()> {
        match (&self.kind, stream) {
            (RegistrarKind::Os(registry), Stream::Os(socket)) => registry.deregister(socket),
            (RegistrarKind::Memory(network), Stream::Memory(end)) => {
                let mut state = network.lock();
                let (inbound, outbound) = end.directions();
                let pipes = &mut state.pipes[end.link];
                pipes[outbound].writer_token = None;
                pipes[inbound].reader_token = None;
                Ok(())
            }
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }
}

/// Which stage a token belongs to, and the stage's own part of it.
pub(super) const fn split_token(token: usize) -> (usize, usize) {
    (token >> LOCAL_BITS, token & ((1 << LOCAL_BITS) - 1))
}

fn bind(addr: SocketAddr) -> io::Result<mio::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    // Long enough for thousands of connections a second between two turns; the kernel caps it at somaxconn.
    socket.listen(4096)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Accepts streams.
pub enum Listener {
    /// A TCP socket.
    Os(mio::net::TcpListener),
    /// A port of the network in memory.
    Memory {
        /// Where it is.
        network: Network,
        /// Its port.
        port: u16,
    },
}

impl Listener {
    /// The next connection, non-blocking.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Os(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((Stream::Os(socket), peer))
            }
            Self::Memory { network, port } => {
                let mut state = network.lock();
                let listener = state.listeners.iter_mut().find(|listener| listener.port == *port);
                let (link, from) =
                    listener.and_then(|l| l.waiting.pop_front()).ok_or(ErrorKind::WouldBlock)?;
                let peer = SocketAddr::new(from, (link % 60_000) as u16 + 1);
                Ok((Stream::Memory(End { network: network.clone(), link, server: true }), peer))
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(listener) => listener.local_addr(),
            Self::Memory { port, .. } => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port)),
        }
    }
}

/// What a stage asks of a stream's kernel buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// `SO_SNDBUF`, bytes; the kernel doubles it. Bounds what can grow stale unsent.
    pub send_buffer_bytes: usize,
    /// `TCP_NOTSENT_LOWAT`, bytes: writable only below this much unsent.
    pub unsent_low_water_bytes: u32,
    /// `TCP_USER_TIMEOUT`: a peer that acknowledges nothing for so long is gone.
    pub user_timeout: Duration,
}

/// A connected, non-blocking byte stream.
pub enum Stream {
    /// A TCP socket.
    Os(mio::net::TcpStream),
    /// One end of a link in memory.
    Memory(End),
}

impl Stream {
    /// Sends small writes at once and bounds the kernel's buffers.
    pub fn tune(&self, tuning: &Tuning) -> io::Result<()> {
        let Self::Os(socket) = self else { return Ok(()) };
        socket.set_nodelay(true)?;
        let socket = socket2::SockRef::from(socket);
        socket.set_send_buffer_size(tuning.send_buffer_bytes)?;
        socket.set_tcp_notsent_lowat(tuning.unsent_low_water_bytes)?;
        socket.set_tcp_user_timeout(Some(tuning.user_timeout))
    }

    /// Closes with a reset instead of waiting for unsent bytes.
    pub fn reset(self) {
        match self {
            Self::Os(socket) => {
                // Where the option is refused the drop still closes the socket.
                let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            }
            Self::Memory(end) => end.reset(),
        }
    }

    /// Says that no more will be written; reading goes on.
    pub fn finish_writing(&self) -> io::Result<()> {
        match self {
            Self::Os(socket) => socket.shutdown(std::net::Shutdown::Write),
            Self::Memory(end) => {
                end.finish_writing();
                Ok(())
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Os(socket) => socket.read(buffer),
            Self::Memory(end) => end.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Os(socket) => socket.write(bytes),
            Self::Memory(end) => end.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
    token: usize,
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
        state.ready.push_back(Edge { token, readable: true, writable: false });
        Ok(End { network: self.clone(), link, server: false })
    }

    /// Takes the edges seen since the last call.
    pub(super) fn take_ready(&self, mut take: impl FnMut(usize, bool, bool)) {
        let mut state = self.lock();
        while let Some(edge) = state.ready.pop_front() {
            take(edge.token, edge.readable, edge.writable);
        }
    }

    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn finish_writing(&self) {
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
