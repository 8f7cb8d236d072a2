//! Accepting connections within a budget, and surviving a process that is out of file descriptors.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::model::{Nanos, UnixNanos};
use crate::runtime::{Listener, Registrar, Stream};

/// How long to leave the backlog alone after an accept failed for want of descriptors or memory. The edge is spent, so
/// the clock has to bring us back.
const RETRY: Nanos = Nanos::from_millis(50);

/// A listener with its edge and its retry.
pub struct Door {
    listener: Listener,
    ready: bool,
    retry: Option<UnixNanos>,
    /// Accepts that failed for another reason than an empty backlog.
    pub failures: u64,
}

impl Door {
    /// Opens at `addr` under `token`.
    ///
    /// # Errors
    /// As the system refuses to bind or listen.
    pub fn open(registrar: &Registrar, addr: SocketAddr, token: usize) -> io::Result<Self> {
        // A connection may have arrived before the first edge is delivered.
        Ok(Self { listener: registrar.listen(addr, token)?, ready: true, retry: None, failures: 0 })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The poll reported an edge.
    pub fn edge(&mut self) {
        self.ready = true;
    }

    /// When to come back though no edge will say so.
    pub fn deadline(&self) -> Option<UnixNanos> {
        self.retry
    }

    /// Whether there may be more to accept right away.
    pub fn is_ready(&self) -> bool {
        self.ready && self.retry.is_none()
    }

    /// The next connection, if there is one to be had now.
    pub fn accept(&mut self, now: UnixNanos) -> Option<(Stream, SocketAddr)> {
        match self.retry {
            Some(at) if now < at => return None,
            Some(_) => {
                self.retry = None;
                self.ready = true;
            }
            None => {}
        }
        while self.ready {
            match self.listener.accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                // The peer gave up in the backlog; the next one may be well.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    self.failures += 1;
                    self.retry = Some(now + RETRY);
                    return None;
                }
            }
        }
        None
    }
}
