//! TLS over a stream that takes and gives as little as it likes: right at every boundary, bounded, and cut off is not closed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConnection;
use tickwire::model::UnixNanos;
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::core::Core;
use tickwire::runtime::tls::{Socket, Trust};
use tickwire::runtime::transport::{End, Network};

use super::harness::Authority;

/// A socket under TLS, and the server that it talks to, on one thread.
struct Pair {
    socket: Socket,
    server: ServerConnection,
    end: End,
    _core: Core,
}

impl Pair {
    /// `capacity`: how many bytes may be on the way to the server.
    fn new(authority: &Authority, capacity: usize) -> Self {
        let network = Network::default();
        let core = Core::inline(Clock::Manual(ManualClock::at(UnixNanos(0))), network.clone());
        let port = network.listen(443);
        let addr = SocketAddr::from(([127, 0, 0, 1], 443));
        let stream = core.registrar().unwrap().connect(addr, 0).unwrap();
        assert!(!stream.is_connected().unwrap(), "nobody accepted it yet");
        let (end, _) = port.accept().unwrap();
        assert!(stream.is_connected().unwrap());
        end.set_receive_capacity(capacity);
        let trust = Trust::new(Some(&authority.ca_file)).unwrap();
        let socket = Socket::secure(stream, "localhost", &trust).unwrap();
        let server = ServerConnection::new(Arc::clone(&authority.config)).unwrap();
        Self { socket, server, end, _core: core }
    }

    /// Lets the server take and say what it can; it writes at most `most` bytes at a time.
    fn serve(&mut self, most: usize) -> io::Result<()> {
        while self.server.wants_write() {
            match self.server.write_tls(&mut Few(&mut self.end, most)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match self.server.read_tls(&mut Few(&mut self.end, most)) {
            Ok(_) => self.server.process_new_packets().map(drop).map_err(io::Error::other),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn shake_hands(&mut self, most: usize) -> io::Result<()> {
        for _ in 0..100_000 {
            let done = self.socket.handshake()?;
            if done && !self.server.is_handshaking() {
                return Ok(());
            }
            self.serve(most)?;
        }
        panic!("the handshake never ends");
    }
}

/// Moves few bytes at a time.
struct Few<'a>(&'a mut End, usize);

impl Read for Few<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.1);
        self.0.read(&mut buffer[..n])
    }
}

impl Write for Few<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(self.1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn both_directions_are_whole_however_little_moves_at_a_time() {
    let authority = Authority::new("pieces.pem", &["localhost"]);
    for (capacity, most) in [(1, 1), (7, 3), (100, 1 << 20), (1 << 20, 1), (1 << 20, 1 << 20)] {
        let mut pair = Pair::new(&authority, capacity);
        pair.shake_hands(most).unwrap();
        let (there, back) = (text(40_000), text(70_000));
        let (mut sent, mut heard, mut got) = (0, Vec::new(), Vec::new());
        let mut said = 0;
        for _ in 0..1_000_000 {
            if sent < there.len() {
                match pair.socket.write(&there[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            } else if let Err(error) = pair.socket.flush() {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            if said < back.len() {
                said += pair.server.writer().write(&back[said..]).unwrap();
            }
            pair.serve(most).unwrap();
            let mut buffer = [0; 1000];
            match pair.socket.read(&mut buffer) {
                Ok(n) => got.extend_from_slice(&buffer[..n]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            while let Ok(n) = pair.server.reader().read(&mut buffer) {
                heard.extend_from_slice(&buffer[..n]);
            }
            if heard.len() == there.len() && got.len() == back.len() {
                break;
            }
        }
        assert!(heard == there && got == back, "{capacity}, {most}");
    }
}

#[test]
fn an_announced_end_is_an_end_and_a_cut_is_not() {
    let authority = Authority::new("ends.pem", &["localhost"]);
    for announced in [true, false] {
        let mut pair = Pair::new(&authority, 1 << 20);
        pair.shake_hands(1 << 20).unwrap();
        pair.server.writer().write_all(b"last words").unwrap();
        if announced {
            pair.server.send_close_notify();
        }
        pair.serve(1 << 20).unwrap();
        drop(pair.end);
        let mut all = Vec::new();
        let outcome = pair.socket.read_to_end(&mut all);
        assert_eq!(all, b"last words");
        assert_eq!(outcome.map_err(|error| error.kind()).is_ok(), announced);
        let again = pair.socket.read(&mut [0; 8]);
        assert_eq!(
            again.map_err(|error| error.kind()),
            if announced { Ok(0) } else { Err(ErrorKind::UnexpectedEof) }
        );
    }
}

#[test]
fn our_own_end_is_announced() {
    let authority = Authority::new("own.pem", &["localhost"]);
    let mut pair = Pair::new(&authority, 1 << 20);
    pair.shake_hands(1 << 20).unwrap();
    pair.socket.say_end();
    pair.serve(1 << 20).unwrap();
    assert!(matches!(pair.server.reader().read(&mut [0; 8]), Ok(0)));
}

#[test]
fn a_record_that_was_tampered_with_is_an_error_and_the_peer_is_told() {
    let authority = Authority::new("tampered.pem", &["localhost"]);
    let mut pair = Pair::new(&authority, 1 << 20);
    pair.shake_hands(1 << 20).unwrap();
    pair.serve(1 << 20).unwrap();
    pair.server.writer().write_all(b"a price").unwrap();
    let mut record = Vec::new();
    while pair.server.wants_write() {
        pair.server.write_tls(&mut record).unwrap();
    }
    *record.last_mut().unwrap() ^= 1;
    pair.end.write_all(&record).unwrap();
    let error = pair.socket.read(&mut [0; 64]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(pair.serve(1 << 20).unwrap_err().to_string().contains("BadRecordMac"));
}

#[test]
fn bytes_of_something_else_are_an_error() {
    let authority = Authority::new("else.pem", &["localhost"]);
    let mut pair = Pair::new(&authority, 1 << 20);
    pair.end.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    assert_eq!(pair.socket.handshake().unwrap_err().kind(), ErrorKind::InvalidData);
    // And an end before the handshake's is none of TLS.
    let Pair { mut socket, end, .. } = Pair::new(&authority, 1 << 20);
    drop(end);
    let error = socket.handshake().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn what_a_peer_does_not_take_is_bounded() {
    let authority = Authority::new("bounded.pem", &["localhost"]);
    let mut pair = Pair::new(&authority, 1 << 20);
    pair.shake_hands(1 << 20).unwrap();
    pair.end.set_receive_capacity(0);
    let mut taken = 0;
    loop {
        match pair.socket.write(&[0; 4096]) {
            Ok(n) => taken += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!((64 * 1024..=512 * 1024).contains(&taken), "{taken} bytes");
    // All of it arrives once there is room.
    pair.end.set_receive_capacity(1 << 20);
    let mut got = 0;
    for _ in 0..1_000 {
        let _ = pair.socket.flush();
        pair.serve(1 << 20).unwrap();
        let mut buffer = [0; 8192];
        while let Ok(n) = pair.server.reader().read(&mut buffer) {
            got += n;
        }
    }
    assert_eq!(got, taken);
}

#[test]
fn a_name_that_no_host_can_have_is_refused() {
    let authority = Authority::new("names.pem", &["localhost"]);
    let trust = Trust::new(Some(&authority.ca_file)).unwrap();
    let network = Network::default();
    let core = Core::inline(Clock::Manual(ManualClock::at(UnixNanos(0))), network.clone());
    let _port = network.listen(443);
    let addr = SocketAddr::from(([127, 0, 0, 1], 443));
    let stream = core.registrar().unwrap().connect(addr, 0).unwrap();
    let Err(why) = Socket::secure(stream, "no host", &trust) else { panic!("it was taken") };
    assert!(why.contains("no host"), "{why}");
    assert!(Trust::new(None).is_ok(), "the web's authorities are at hand");
}
