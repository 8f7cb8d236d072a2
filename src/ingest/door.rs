//! The connections that sources take: whom a listener lets in, and what one of them may do in a turn.

use std::io;

use crate::feed::tcp::{After, LineConnection};
use crate::feed::websocket::MessageConnection;
use crate::feed::{Context, Origin, SourceOptions};
use crate::model::{Nanos, Tick, UnixNanos};
use crate::runtime::{Stream, Turned};

use super::source::{Feed, Source};
use super::{BATCH_TICKS, Ingest, READS_PER_TURN};

/// How many connections a listener takes in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How many messages that hold few ticks or none make one read.
const MESSAGES_PER_READ: usize = 64;
/// How long accepting rests after the system refused it a socket (`EMFILE` and its like).
const ACCEPT_REST: Nanos = Nanos::from_millis(100);

pub(super) struct Connection {
    pub(super) source: usize,
    pub(super) stream: Stream,
    pub(super) protocol: Protocol,
    pub(super) pending: Vec<Tick>,
    pub(super) ready: bool,
    pub(super) ended: bool,
    pub(super) heard: UnixNanos,
}

pub(super) enum Protocol {
    Lines(Box<LineConnection>),
    Messages(Box<MessageConnection>),
}

impl Ingest {
    pub(super) fn accept(&mut self, place: usize, now: UnixNanos) -> Turned {
        let mut turned = Turned::default();
        let first_token = self.sources.len();
        for _ in 0..ACCEPTS_PER_TURN {
            let Source { options, tallies, feed, .. } = &mut self.sources[place];
            let Feed::Door { listener, ready, rest_until, open } = feed else { return turned };
            if !*ready || rest_until.is_some_and(|at| now < at) {
                return turned;
            }
            *rest_until = None;
            let (mut stream, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        *ready = false;
                        return turned;
                    }
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset => continue,
                    _ => {
                        // Out of descriptors, most likely. The edge is spent, so the listener stays ready and is tried again
                        // after a rest: no spin, and no waiting for an edge that never comes.
                        tallies.faults += 1;
                        tallies.note(now, "accept failed", error.to_string().as_bytes());
                        *rest_until = Some(now + ACCEPT_REST);
                        return turned;
                    }
                },
            };
            turned.work += 1;
            if *open >= options.connections_max || self.stopping {
                tallies.refused += 1;
                continue;
            }
            let slot = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
            if self.registrar.register(&mut stream, first_token + slot).is_err() {
                tallies.faults += 1;
                continue;
            }
            stream.watch_peer(None);
            *open += 1;
            tallies.connections += 1;
            let protocol = match options.origin {
                Origin::WebSocket(_) => Protocol::Messages(Box::new(MessageConnection::new(
                    options.dialect,
                    options.line_bytes_max,
                    now + options.handshake_max,
                ))),
                _ => Protocol::Lines(Box::new(LineConnection::new(options.dialect, options.line_bytes_max))),
            };
            let connection = Connection {
                source: place,
                stream,
                protocol,
                pending: Vec::new(),
                ready: true,
                ended: false,
                heard: now,
            };
            if slot == self.connections.len() {
                self.connections.push(Some(connection));
            } else {
                self.connections[slot] = Some(connection);
            }
        }
        turned.more = true;
        turned
    }

    pub(super) fn read_connection(&mut self, slot: usize, now: UnixNanos) -> Turned {
        let Self { router, symbols, sources, connections, clock, read_to_parsed, stopping, .. } = self;
        let mut turned = Turned::default();
        let Some(connection) = connections.get_mut(slot).and_then(Option::as_mut) else { return turned };
        let Source { options, tallies, feed, .. } = &mut sources[connection.source];
        let mut reads = 0;
        loop {
            let pending = &mut connection.pending;
            let before = pending.len();
            router.dispatch(pending, symbols, true);
            turned.work += before - pending.len();
            if !pending.is_empty() || connection.ended || *stopping || !connection.ready {
                break;
            }
            if reads == READS_PER_TURN {
                turned.more = true;
                break;
            }
            reads += 1;
            let source = connection.source as u8;
            let mut cx = Context { now, source, recorded: false, symbols, tallies };
            let io = &mut connection.stream;
            let after = match &mut connection.protocol {
                Protocol::Lines(lines) => lines.read(io, &mut cx, pending),
                Protocol::Messages(messages) => {
                    let give_up = now + options.handshake_max;
                    let mut gathered = 0;
                    loop {
                        let after = messages.read(io, give_up, &mut cx, pending);
                        if after != After::More {
                            break after;
                        }
                        (connection.heard, turned.work) = (now, turned.work + 1);
                        gathered += 1;
                        if gathered == MESSAGES_PER_READ || pending.len() >= BATCH_TICKS {
                            break after;
                        }
                    }
                }
            };
            if !pending.is_empty() {
                read_to_parsed.record_n(clock.now() - now, pending.len() as u64);
            }
            match after {
                After::Drained => connection.ready = false,
                After::More => {
                    connection.heard = now;
                    turned.work += 1;
                }
                After::Ended => connection.ended = true,
            }
        }
        let deadline = connection_deadline(connection, options);
        // What waits for a full ring is our fault, not the peer's silence.
        let late = connection.pending.is_empty() && deadline.is_some_and(|at| now >= at);
        if late && !connection.ended {
            connection.ended = true;
            tallies.note(now, "connection closed", b"it was silent too long");
        }
        if connection.pending.is_empty() && (connection.ended || *stopping) {
            if *stopping && let Protocol::Messages(messages) = &mut connection.protocol {
                messages.go_away(&mut connection.stream);
            }
            // A socket that is closed needs no deregistration where this fails.
            let _ = self.registrar.deregister(&mut connection.stream);
            if let Feed::Door { open, ready, rest_until, .. } = feed {
                *open -= 1;
                // A descriptor is free again.
                *ready |= rest_until.take().is_some();
            }
            connections[slot] = None;
            turned.work += 1;
        }
        turned
    }
}

pub(super) fn connection_deadline(connection: &Connection, options: &SourceOptions) -> Option<UnixNanos> {
    let silent = options.idle_max.map(|idle| connection.heard + idle);
    let phase = match &connection.protocol {
        Protocol::Messages(messages) => messages.deadline,
        Protocol::Lines(_) => None,
    };
    match (silent, phase) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
