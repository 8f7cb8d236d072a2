//! The seam between stages and sockets: real ones of the operating system, or a twin in memory for tests.

mod network;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::Interest;

pub use network::{End, Network, Port};

/// Bits of a token that a stage uses itself; the stage's place on its core is above them.
const LOCAL_BITS: u32 = 40;
/// What a connection that a stage makes in memory holds unread in either direction: about what loopback does.
const CONNECTED_CAPACITY_BYTES: usize = 1 << 20;

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
            RegistrarKind::Memory(network) => Ok(Listener::Memory(network.open(addr.port(), Some(token)))),
        }
    }

    /// Begins to connect, and reports the stream's readiness under a token as [`Registrar::register`] does. Each edge may be news:
    /// [`Stream::is_connected`] tells whether it stands.
    ///
    /// # Errors
    /// What is known at once: no descriptor, no route, in memory also that nothing listens.
    pub fn connect(&self, addr: SocketAddr, token: usize) -> io::Result<Stream> {
        let mut stream = match &self.kind {
            RegistrarKind::Os(_) => Stream::Os(mio::net::TcpStream::connect(addr)?),
            RegistrarKind::Memory(network) => {
                Stream::Memory(network.connect(addr.port(), CONNECTED_CAPACITY_BYTES)?)
            }
        };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    /// Reports the stream's readiness under a token from now on, edge by edge, both directions.
    pub fn register(&self, stream: &mut Stream, token: usize) -> io::Result<()> {
        let token = self.prefix | token;
        match (&self.kind, stream) {
            (RegistrarKind::Os(registry), Stream::Os(socket)) => {
                registry.register(socket, mio::Token(token), Interest::READABLE | Interest::WRITABLE)
            }
            (RegistrarKind::Memory(_), Stream::Memory(end)) => {
                end.report_to(Some(token));
                Ok(())
            }
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    /// Stops reporting. Dropping the stream afterwards closes it.
    pub fn deregister(&self, stream: &mut Stream) -> io::Result<()> {
        match (&self.kind, stream) {
            (RegistrarKind::Os(registry), Stream::Os(socket)) => registry.deregister(socket),
            (RegistrarKind::Memory(_), Stream::Memory(end)) => {
                end.report_to(None);
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
    Memory(Port),
}

impl Listener {
    /// The next connection, non-blocking.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Os(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((Stream::Os(socket), peer))
            }
            Self::Memory(port) => {
                let (end, from) = port.accept()?;
                let peer = SocketAddr::new(from, (end.link() % 60_000) as u16 + 1);
                Ok((Stream::Memory(end), peer))
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(listener) => listener.local_addr(),
            Self::Memory(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.number())),
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

    /// Whether a connection that was begun stands by now.
    ///
    /// # Errors
    /// Why it failed: refused, unreachable, timed out.
    pub fn is_connected(&self) -> io::Result<bool> {
        match self {
            Self::Os(socket) => {
                if let Some(error) = socket.take_error()? {
                    return Err(error);
                }
                match socket.peer_addr() {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Self::Memory(end) => end.is_accepted(),
        }
    }

    /// Lets the kernel find a peer that vanished: by probes after 30 s of silence, given up 40 s later, and, where `unread_max` is
    /// given, by what it does not acknowledge for so long.
    pub fn watch_peer(&self, unread_max: Option<Duration>) {
        let Self::Os(socket) = self else { return };
        let probes = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(4);
        let socket = socket2::SockRef::from(socket);
        // Where the system refuses, the stage's own limits are what is left.
        let _ = socket.set_tcp_keepalive(&probes);
        if unread_max.is_some() {
            let _ = socket.set_tcp_user_timeout(unread_max);
        }
    }

    /// Sends small writes at once.
    pub fn send_at_once(&self) {
        if let Self::Os(socket) = self {
            // Refused, it costs some milliseconds a request and nothing else.
            let _ = socket.set_nodelay(true);
        }
    }

    /// Sends bytes of a file that lives in memory, without a copy of them: they must not change any more. Returns how many it took.
    ///
    /// # Errors
    /// As `write`; and where the system cannot do this, `InvalidInput`, `Unsupported` or `PermissionDenied`.
    pub fn send_file(&mut self, file: &OwnedFd, at: u64, length: usize) -> io::Result<usize> {
        match self {
            Self::Os(socket) => Ok(rustix::fs::sendfile(&*socket, file, Some(&mut { at }), length)?),
            Self::Memory(end) => {
                let mut bytes = [0; 4096];
                let most = length.min(bytes.len());
                let n = rustix::io::pread(file, &mut bytes[..most], at)?;
                end.write(&bytes[..n])
            }
        }
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
