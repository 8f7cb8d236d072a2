//! The connection to an engine, TCP or WebSocket. No wait in it outlasts a deadline or the word to stop.
//!
//! The socket does not block; where it has no room or nothing to say, the thread rests for [`REST`] and asks again. One
//! thread thus writes, answers pings and hears of a close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tungstenite::client::client_with_config;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::{ReplayError, Target};

/// How long the thread rests where the socket would block.
const REST: Duration = Duration::from_micros(200);
/// The longest message an engine may have for us, in bytes; none is expected.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// How many messages or reads of the peer are taken at a time.
const REPLIES_PER_LOOK: usize = 16;
/// How much of a refusal's body an error shows, in characters.
const SHOWN_MAX: usize = 200;

/// An open connection.
pub(super) enum Link {
    Tcp(TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

/// Whether the whole of something was done before the word to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Whole,
    Stopped,
}

/// Why the connection is of no use any more, in words.
pub(super) type Broken = String;

impl Link {
    /// Connects; `None` where it was told to stop.
    pub fn connect(
        target: &Target,
        within: Duration,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, ReplayError> {
        let deadline = Instant::now() + within;
        let stream = connect_tcp(target, deadline)?;
        let failed = |error| ReplayError::Connect { target: target.clone(), error };
        // Each line goes out when it is due, not when more has gathered.
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        match target {
            Target::Tcp { .. } => Ok(Some(Self::Tcp(stream))),
            Target::WebSocket { .. } => shake_hands(target, stream, deadline, stop),
        }
    }

    /// Writes lines, each with its end: as they are, or in one message.
    pub fn send(&mut self, lines: &[u8], stop: &AtomicBool) -> Result<Done, Broken> {
        let stopped = || stop.load(Ordering::Relaxed);
        match self {
            Self::Tcp(stream) => {
                let mut rest = lines;
                while !rest.is_empty() {
                    match stream.write(rest) {
                        Ok(0) => return Err("it takes no more bytes".to_owned()),
                        Ok(n) => rest = &rest[n..],
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            if stopped() {
                                return Ok(Done::Stopped);
                            }
                            std::thread::sleep(REST);
                        }
                        Err(error) => return Err(io_words(&error)),
                    }
                }
                Ok(Done::Whole)
            }
            Self::WebSocket(socket) => {
                let message = lines.strip_suffix(b"\n").unwrap_or(lines);
                let message = match std::str::from_utf8(message) {
                    Ok(text) => Message::text(text),
                    // Broken lines are sent as they are, too; text they cannot be.
                    Err(_) => Message::binary(message.to_vec()),
                };
                let mut written = socket.write(message);
                loop {
                    match written {
                        Ok(()) => return Ok(Done::Whole),
                        Err(Error::Io(error)) if is_wait(&error) => {
                            if stopped() {
                                return Ok(Done::Stopped);
                            }
                            // A peer that pings, or closes, while it reads nothing is heard all the same.
                            self.look()?;
                            std::thread::sleep(REST);
                        }
                        Err(error) => return Err(words(&error)),
                    }
                    let Self::WebSocket(socket) = self else { return Ok(Done::Whole) };
                    written = socket.flush();
                }
            }
        }
    }

    /// Takes what the peer has to say, without a wait.
    pub fn look(&mut self) -> Result<(), Broken> {
        for _ in 0..REPLIES_PER_LOOK {
            match self {
                Self::Tcp(stream) => match stream.read(&mut [0; 4096]) {
                    Ok(0) => return Err("it closed the connection".to_owned()),
                    Ok(_) => {}
                    Err(error) if is_wait(&error) => return Ok(()),
                    Err(error) => return Err(io_words(&error)),
                },
                Self::WebSocket(socket) => match socket.read() {
                    Ok(Message::Close(frame)) => {
                        // The reply to its close; whether it still arrives changes nothing.
                        let _ = socket.flush();
                        return Err(close_words(frame.as_ref()));
                    }
                    Ok(_) => {}
                    Err(Error::Io(error)) if is_wait(&error) => return Ok(()),
                    Err(error) => return Err(words(&error)),
                },
            }
        }
        Ok(())
    }

    /// Ends well: says that no more follows and waits for the peer to have read it all. `false` where it did not say so
    /// in time.
    pub fn finish(mut self, within: Duration) -> Result<bool, Broken> {
        let deadline = Instant::now() + within;
        match &mut self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write).map_err(|error| io_words(&error))?,
            Self::WebSocket(socket) => {
                let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                match socket.close(Some(frame)) {
                    Ok(()) => {}
                    Err(Error::Io(error)) if is_wait(&error) => {}
                    Err(error) => return Err(words(&error)),
                }
            }
        }
        loop {
            match &mut self {
                Self::Tcp(stream) => match stream.read(&mut [0; 4096]) {
                    Ok(0) => return Ok(true),
                    Ok(_) => {}
                    Err(error) if is_wait(&error) => std::thread::sleep(REST),
                    Err(error) => return Err(io_words(&error)),
                },
                Self::WebSocket(socket) => {
                    match socket.flush() {
                        Ok(()) | Err(Error::ConnectionClosed) => {}
                        Err(Error::Io(error)) if is_wait(&error) => {}
                        Err(error) => return Err(words(&error)),
                    }
                    match socket.read() {
                        Ok(Message::Close(None)) | Err(Error::ConnectionClosed) => return Ok(true),
                        Ok(Message::Close(Some(frame)))
                            if matches!(frame.code, CloseCode::Normal | CloseCode::Status) =>
                        {
                            return Ok(true);
                        }
                        Ok(Message::Close(frame)) => return Err(close_words(frame.as_ref())),
                        Ok(_) => {}
                        Err(Error::Io(error)) if is_wait(&error) => std::thread::sleep(REST),
                        Err(error) => return Err(words(&error)),
                    }
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}

fn connect_tcp(target: &Target, deadline: Instant) -> Result<TcpStream, ReplayError> {
    let failed = |error| ReplayError::Connect { target: target.clone(), error };
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in target.address().to_socket_addrs().map_err(failed)? {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn shake_hands(
    target: &Target,
    stream: TcpStream,
    deadline: Instant,
    stop: &AtomicBool,
) -> Result<Option<Link>, ReplayError> {
    let refused = |why| ReplayError::Handshake { target: target.clone(), why };
    let config = WebSocketConfig::default()
        // A message leaves when it is written, not when more has gathered.
        .write_buffer_size(0)
        .max_message_size(Some(REPLY_BYTES_MAX))
        .max_frame_size(Some(REPLY_BYTES_MAX));
    let mut shaken = client_with_config(target.to_string(), stream, Some(config));
    loop {
        match shaken {
            Ok((socket, _)) => return Ok(Some(Link::WebSocket(Box::new(socket)))),
            Err(HandshakeError::Failure(error)) => return Err(refused(words(&error))),
            Err(HandshakeError::Interrupted(half)) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                if Instant::now() >= deadline {
                    return Err(refused("it did not answer in time".to_owned()));
                }
                std::thread::sleep(REST);
                shaken = half.handshake();
            }
        }
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            format!("it closed the connection ({error})")
        }
        _ => error.to_string(),
    }
}

fn close_words(frame: Option<&CloseFrame>) -> String {
    match frame {
        None => "it closed the connection".to_owned(),
        Some(frame) if frame.reason.is_empty() => {
            format!("it closed the connection with code {}", frame.code)
        }
        Some(frame) => format!("it closed the connection with code {}: {}", frame.code, frame.reason),
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::Io(error) => io_words(error),
        Error::ConnectionClosed | Error::AlreadyClosed => "it closed the connection".to_owned(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            "it closed the connection without a close message".to_owned()
        }
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN_MAX).collect();
            match body.as_str() {
                "" => format!("it answered {}", response.status()),
                body => format!("it answered {}: {body}", response.status()),
            }
        }
        other => other.to_string(),
    }
}
