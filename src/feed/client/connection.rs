//! One connection of a pool on its way from a name to an open WebSocket, and what its end is called.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use tungstenite::Error;
use tungstenite::protocol::CloseFrame;

use crate::feed::field::Context;
use crate::feed::frames::{Frames, Inbound};
use crate::feed::pool::Loss;
use crate::model::UnixNanos;
use crate::runtime::resolver::Name;
use crate::runtime::tls::Socket;
use crate::runtime::websocket::client::{ANSWER_BYTES_MAX, Opening, Refused};
use crate::runtime::{Registrar, Stream, websocket};

/// What may wait to be sent on one connection, in bytes: the subscriptions of a hundred thousand symbols.
pub(super) const UNSENT_BYTES_MAX: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Member {
    pub(super) phase: Phase,
    /// There may be something to do for its socket.
    pub(super) ready: bool,
    /// When the phase is given up.
    pub(super) deadline: Option<UnixNanos>,
    /// Addresses of its name that were not tried yet, the next one last.
    pub(super) untried: Vec<SocketAddr>,
    /// The address that worked last.
    pub(super) proven: Option<SocketAddr>,
}

#[derive(Default)]
pub(super) enum Phase {
    #[default]
    Idle,
    Naming(Name),
    Connecting(Stream, SocketAddr),
    Securing(Socket),
    Asking(Box<Asking>),
    Open(Box<Open>),
}

/// An upgrade under way.
pub(super) struct Asking {
    pub(super) socket: Socket,
    pub(super) opening: Opening,
    pub(super) sent: usize,
    pub(super) head: Vec<u8>,
}

pub(super) struct Open {
    pub(super) socket: Socket,
    pub(super) frames: Frames,
    /// Something waits for the socket to take more.
    pub(super) unsent: bool,
}

impl Member {
    pub(super) fn drop_socket(&mut self, registrar: &Registrar) {
        let mut phase = std::mem::take(&mut self.phase);
        let stream = match &mut phase {
            Phase::Idle | Phase::Naming(_) => None,
            Phase::Connecting(stream, _) => Some(stream),
            Phase::Securing(socket) => Some(socket.stream_mut()),
            Phase::Asking(asking) => Some(asking.socket.stream_mut()),
            Phase::Open(open) => Some(open.socket.stream_mut()),
        };
        if let Some(stream) = stream {
            // A socket that is closed needs no deregistration where this fails.
            let _ = registrar.deregister(stream);
        }
        (self.ready, self.deadline) = (false, None);
    }
}

impl Asking {
    /// Sends the request and reads the answer: what follows its head, once that is whole.
    pub(super) fn step(&mut self, now: UnixNanos) -> Result<Option<Vec<u8>>, Loss> {
        loop {
            let moved = if self.sent < self.opening.request.len() {
                self.send()
            } else {
                let from = self.head.len();
                match self.receive() {
                    Ok(())
                        if websocket::may_be_whole(&self.head, from)
                            || self.head.len() >= ANSWER_BYTES_MAX =>
                    {
                        return match self.opening.read_answer(&self.head, now) {
                            Ok(Some(consumed)) => Ok(Some(self.head.split_off(consumed))),
                            Ok(None) => continue,
                            Err(Refused::Status { status, retry_after }) => {
                                Err(Loss::Http { status, retry_after })
                            }
                            Err(Refused::Invalid(why)) => Err(Loss::Protocol(why)),
                        };
                    }
                    other => other,
                }
            };
            match moved {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(loss_of(&error)),
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match self.socket.write(&self.opening.request[self.sent..])? {
            0 => Err(ErrorKind::WriteZero.into()),
            n => {
                self.sent += n;
                Ok(())
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; 2048];
        match self.socket.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.head.extend_from_slice(&piece[..n]);
                Ok(())
            }
        }
    }
}

impl Open {
    pub(super) fn read(&mut self) -> Inbound {
        if self.unsent {
            let flushed = self.frames.flush(&mut self.socket);
            match self.after_write(flushed) {
                None => {}
                Some(Loss::Closed { .. }) => return Inbound::Ended,
                Some(_) => return Inbound::Cut,
            }
        }
        self.frames.read(&mut self.socket)
    }

    /// Keeps in mind what the socket did not take; another failure is a loss.
    pub(super) fn after_write(&mut self, written: Result<(), Error>) -> Option<Loss> {
        self.unsent = false;
        match written {
            Ok(()) => None,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent = true;
                None
            }
            Err(Error::Io(error)) => Some(loss_of(&error)),
            Err(Error::WriteBufferFull(_)) => Some(Loss::Protocol(format!(
                "it does not read what we send: more than {UNSENT_BYTES_MAX} bytes wait"
            ))),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                Some(Loss::Closed { code: None, reason: String::new() })
            }
            Err(error) => Some(Loss::Protocol(error.to_string())),
        }
    }

    /// What the end of a connection is called. The peer is told where it broke a rule, or answered where it closed.
    pub(super) fn end(&mut self, inbound: Inbound, cx: &mut Context<'_>) -> Loss {
        if let Some((code, reason)) = inbound.condemn(cx) {
            // Said to whoever still listens.
            let _ = self.frames.close(&mut self.socket, CloseFrame { code, reason: reason.into() });
            self.socket.say_end();
        }
        match inbound {
            Inbound::Close(frame) => {
                // The peer may go once it has our answer; it has said all it had to say.
                let _ = self.frames.flush(&mut self.socket);
                self.socket.say_end();
                match frame {
                    Some(frame) => {
                        Loss::Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() }
                    }
                    None => Loss::Closed { code: None, reason: String::new() },
                }
            }
            Inbound::TooLong => Loss::TooLong,
            Inbound::NotUtf8 => Loss::Protocol("a text message that is not UTF-8".to_owned()),
            Inbound::Broken(why) => Loss::Protocol(why),
            Inbound::Failed(error) => loss_of(&error),
            _ => Loss::Closed { code: None, reason: String::new() },
        }
    }
}

/// What a failed read or write is called.
pub(super) fn loss_of(error: &io::Error) -> Loss {
    match error.kind() {
        ErrorKind::InvalidData => Loss::Tls(error.to_string()),
        // Under TLS an end that was not announced may be an attacker's; over a plain stream an upgrade was not answered.
        ErrorKind::UnexpectedEof => Loss::Closed { code: None, reason: "cut off".to_owned() },
        ErrorKind::TimedOut => Loss::TimedOut,
        _ => Loss::Reset,
    }
}

pub(super) fn not_connected(addr: SocketAddr, error: &io::Error, cx: &mut Context<'_>) -> Loss {
    cx.tallies.note(cx.now, "not connected", format!("{addr}: {error}").as_bytes());
    if error.kind() == ErrorKind::TimedOut { Loss::TimedOut } else { Loss::Refused }
}
