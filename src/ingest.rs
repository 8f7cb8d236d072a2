//! The first stage: reads its sources in bounded turns, parses, stamps, and routes every tick to the shard of its symbol.
//!
//! A source whose ticks wait for a full ring is not read until they are out: TCP then pushes back on the sender, files and
//! standard input wait. So what is held is at most one read of each source.

pub mod playback;
pub mod router;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::feed::file::{FileFeed, Progress};
use crate::feed::pipe::Pipe;
use crate::feed::tcp::{After, LineConnection};
use crate::feed::websocket::MessageConnection;
use crate::feed::{Context, Origin, SourceError, SourceOptions, Tallies};
use crate::model::{Nanos, SymbolCache, SymbolTable, Tick, UnixNanos};
use crate::runtime::{
    Bell, Clock, Latency, Listener, Ready, Registrar, Report, Sender, Stage, Stream, Turned,
};

pub use playback::{LOOP_GAP, Pace, Playback};
pub use router::Router;

/// What a file or standard input may parse in one turn, in bytes.
const TURN_BYTES: usize = 64 * 1024;
/// How many reads (or messages) a connection may do in one turn.
const READS_PER_TURN: usize = 16;
/// How many connections a listener takes in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting rests after the system refused it a socket (`EMFILE` and its like).
const ACCEPT_REST: Nanos = Nanos::from_millis(100);

/// What an ingest stage is to do.
pub struct IngestOptions {
    /// What reports call it: `ingest-0`.
    pub name: String,
    /// Its sources; a tick's `source` is the place in this list.
    pub sources: Vec<SourceOptions>,
    /// Tells the shards of the end, and finishes, once all sources have ended. A live source never ends.
    pub finish_at_end: bool,
    /// Replays files at their recorded pace; `None` reads them as fast as the rings take them.
    pub pace: Option<Pace>,
    /// The bell of the core it runs on, which a thread that reads standard input rings.
    pub bell: Bell,
    /// Measures how long parsing takes: the core's kind of clock.
    pub clock: Clock,
}

/// What went wrong with sources while they were read, for whoever decides the exit code. Clones are the same list.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<Vec<String>>>);

impl Troubles {
    /// Each trouble so far, as text.
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, trouble: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
    }
}

/// The stage.
pub struct Ingest {
    name: String,
    registrar: Registrar,
    router: Router,
    symbols: SymbolCache,
    sources: Vec<Source>,
    /// Their place plus the number of sources is their token.
    connections: Vec<Option<Connection>>,
    finish_at_end: bool,
    clock: Clock,
    read_to_parsed: Latency,
    progress: Progress,
    troubles: Troubles,
    /// Where this turn's sweep over connections begins, so that nobody is always last.
    first: usize,
    stopping: bool,
    /// Something waits for room in a ring.
    stalled: bool,
}

struct Source {
    options: SourceOptions,
    tallies: Tallies,
    feed: Feed,
    /// Of a finite source, what the rings had no room for.
    pending: Vec<Tick>,
}

enum Feed {
    Files { open: std::collections::VecDeque<FileFeed> },
    Paced(Box<Playback>),
    Pipe { pipe: Pipe, lines: Box<LineConnection>, ended: bool },
    Door { listener: Listener, ready: bool, rest_until: Option<UnixNanos>, open: usize },
}

struct Connection {
    source: usize,
    stream: Stream,
    protocol: Protocol,
    pending: Vec<Tick>,
    ready: bool,
    ended: bool,
    heard: UnixNanos,
}

enum Protocol {
    Lines(Box<LineConnection>),
    Messages(Box<MessageConnection>),
}

impl Ingest {
    /// Opens all files and listeners. `shards` are the sending ends, in the order of the shards.
    ///
    /// # Errors
    /// The first source that cannot begin.
    pub fn new(
        options: IngestOptions,
        registrar: Registrar,
        symbols: SymbolTable,
        shards: Vec<Sender<Tick>>,
    ) -> Result<Self, SourceError> {
        if options.sources.len() > usize::from(u8::MAX) {
            return Err(SourceError::TooMany(options.sources.len()));
        }
        let progress = Progress::default();
        let mut sources = Vec::with_capacity(options.sources.len());
        for (place, source) in options.sources.into_iter().enumerate() {
            let feed = open(&source, place, options.pace, &progress, &registrar, &options.bell)?;
            let tallies = Tallies::new(&source.name);
            sources.push(Source { options: source, tallies, feed, pending: Vec::new() });
        }
        Ok(Self {
            name: options.name,
            registrar,
            router: Router::new(shards),
            symbols: SymbolCache::new(symbols),
            sources,
            connections: Vec::new(),
            finish_at_end: options.finish_at_end,
            clock: options.clock,
            read_to_parsed: Latency::new("read_to_parsed"),
            progress,
            troubles: Troubles::default(),
            first: 0,
            stopping: false,
            stalled: false,
        })
    }

    /// How far the files were read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// What went wrong with the sources.
    pub fn troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// The ledger of each source.
    pub fn tallies(&self) -> impl Iterator<Item = &Tallies> {
        self.sources.iter().map(|source| &source.tallies)
    }

    /// Where a live source listens.
    pub fn local_addr(&self, source: usize) -> Option<SocketAddr> {
        match &self.sources.get(source)?.feed {
            Feed::Door { listener, .. } => listener.local_addr().ok(),
            _ => None,
        }
    }

    fn read_finite(&mut self, place: usize, now: UnixNanos) -> Turned {
        let Self { router, symbols, sources, clock, read_to_parsed, troubles, stopping, .. } = self;
        let Source { tallies, feed, pending, .. } = &mut sources[place];
        let mut turned = Turned::default();
        let before = pending.len();
        router.dispatch(pending, symbols, false);
        turned.work += before - pending.len();
        if !pending.is_empty() || *stopping {
            return turned;
        }
        let recorded = true;
        let mut cx = Context { now, source: place as u8, recorded, symbols, tallies };
        let outcome = match feed {
            Feed::Files { open } => {
                let outcome = match open.front_mut() {
                    Some(file) => file.parse(TURN_BYTES, &mut cx, pending).map(|n| turned.work += n),
                    None => Ok(()),
                };
                if open.front().is_some_and(FileFeed::is_ended) {
                    open.pop_front();
                }
                turned.more = !open.is_empty();
                outcome
            }
            Feed::Paced(playback) => playback.play(&mut cx, pending).map(|more| turned.more = more),
            Feed::Pipe { pipe, lines, ended } if !*ended => {
                let after = lines.read(pipe, &mut cx, pending);
                turned.work += usize::from(after == After::More);
                turned.more = after == After::More;
                *ended = after == After::Ended;
                match lines.refusal() {
                    Some(message) => Err(SourceError::Header { path: "stdin".to_owned(), message }),
                    None => Ok(()),
                }
            }
            Feed::Pipe { .. } | Feed::Door { .. } => Ok(()),
        };
        if let Err(error) = outcome {
            let text = error.to_string();
            tallies.note(now, "source trouble", text.as_bytes());
            troubles.add(text);
        }
        if !pending.is_empty() {
            read_to_parsed.record_n(clock.now() - now, pending.len() as u64);
            let before = pending.len();
            router.dispatch(pending, symbols, false);
            turned.work += before - pending.len();
        }
        turned
    }

    fn accept(&mut self, place: usize, now: UnixNanos) -> Turned {
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

    fn read_connection(&mut self, slot: usize, now: UnixNanos) -> Turned {
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
                    messages.read(io, now + options.handshake_max, &mut cx, pending)
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

    /// Nothing will come any more and everything is out but the end itself.
    fn is_dry(&self) -> bool {
        let dry = |source: &Source| {
            let ended = match &source.feed {
                Feed::Files { open } => open.is_empty(),
                Feed::Paced(playback) => playback.is_done(),
                Feed::Pipe { ended, .. } => *ended,
                Feed::Door { .. } => false,
            };
            source.pending.is_empty() && (ended || self.stopping)
        };
        self.sources.iter().all(dry)
            && self.connections.iter().all(Option::is_none)
            && !self.router.has_quotes()
    }
}

fn connection_deadline(connection: &Connection, options: &SourceOptions) -> Option<UnixNanos> {
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

fn open(
    source: &SourceOptions,
    token: usize,
    pace: Option<Pace>,
    progress: &Progress,
    registrar: &Registrar,
    bell: &Bell,
) -> Result<Feed, SourceError> {
    match &source.origin {
        Origin::Files(paths) if paths.is_empty() => Err(SourceError::NoFile(source.name.clone())),
        Origin::Files(paths) => match pace {
            Some(pace) => Ok(Feed::Paced(Box::new(Playback::open(source, paths, pace, progress)?))),
            None => {
                let files = paths
                    .iter()
                    .map(|path| FileFeed::open(path, source.dialect, source.line_bytes_max, progress));
                Ok(Feed::Files { open: files.collect::<Result<_, _>>()? })
            }
        },
        Origin::Stdin => {
            let path = || "standard input".to_owned();
            let pipe = Pipe::spawn(io::stdin(), bell.clone())
                .map_err(|error| SourceError::Open { path: path(), error })?;
            let lines = Box::new(LineConnection::new(source.dialect, source.line_bytes_max));
            Ok(Feed::Pipe { pipe, lines, ended: false })
        }
        Origin::Tcp(addr) | Origin::WebSocket(addr) => {
            let listener =
                registrar.listen(*addr, token).map_err(|error| SourceError::Listen { addr: *addr, error })?;
            Ok(Feed::Door { listener, ready: true, rest_until: None, open: 0 })
        }
        Origin::Connect(_) => Err(SourceError::NotDriven(source.name.clone())),
    }
}

impl Stage for Ingest {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned {
        for edge in ready {
            if let Some(source) = self.sources.get_mut(edge.token) {
                if let Feed::Door { ready, .. } = &mut source.feed {
                    *ready = true;
                }
            } else if let Some(Some(connection)) = self.connections.get_mut(edge.token - self.sources.len()) {
                connection.ready = true;
            }
        }
        let mut total = Turned::default();
        let mut add = |turned: Turned| {
            total.work += turned.work;
            total.more |= turned.more;
        };
        for place in 0..self.sources.len() {
            if self.sources[place].options.origin.is_finite() {
                add(self.read_finite(place, now));
            } else {
                add(self.accept(place, now));
            }
        }
        let n = self.connections.len();
        for step in 0..n {
            add(self.read_connection((self.first + step) % n, now));
        }
        self.first = if n == 0 { 0 } else { (self.first + 1) % n };
        total.work += self.router.send_quotes();
        let waits = |pending: &Vec<Tick>| !pending.is_empty();
        self.stalled = self.router.has_quotes()
            || self.sources.iter().any(|source| waits(&source.pending))
            || self.connections.iter().flatten().any(|connection| waits(&connection.pending));
        if self.stalled {
            // Waiting is for the shards now; `has_work` sees when they made room.
            total.more = total.more && total.work > 0;
        } else if (self.finish_at_end || self.stopping) && self.is_dry() {
            // A stop is not the end of the input: only the end is told.
            total.finished = self.stopping || self.router.send_end();
            self.stalled = !total.finished;
        }
        self.router.flush();
        total
    }

    fn deadline(&self) -> Option<UnixNanos> {
        let source = |source: &Source| match &source.feed {
            // Playback waits for its ticks to be out like everyone else.
            Feed::Paced(playback) if source.pending.is_empty() => playback.next_due(),
            Feed::Door { rest_until, .. } => *rest_until,
            _ => None,
        };
        let connection = |connection: &Connection| {
            let options = &self.sources[connection.source].options;
            connection.pending.is_empty().then(|| connection_deadline(connection, options)).flatten()
        };
        let sources = self.sources.iter().filter_map(source).min();
        let connections = self.connections.iter().flatten().filter_map(connection).min();
        match (sources, connections) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn has_work(&self) -> bool {
        let fresh = |source: &Source| match &source.feed {
            Feed::Pipe { pipe, ended, .. } => !*ended && source.pending.is_empty() && pipe.is_ready(),
            _ => false,
        };
        (self.stalled && self.router.has_news()) || self.sources.iter().any(fresh)
    }

    fn housekeep(&mut self, _now: UnixNanos, report: &mut Report) {
        for source in &mut self.sources {
            source.tallies.hand_over(report);
        }
        self.router.hand_over(report);
        report.count("ingest.connections", self.connections.iter().flatten().count() as u64);
        self.read_to_parsed.hand_over(report);
    }

    fn stop(&mut self, _now: UnixNanos) {
        self.stopping = true;
    }
}
