//! The first stage: reads its sources in bounded turns, parses, stamps, and routes every tick to the shard of its symbol.
//!
//! A source whose ticks wait for a full ring is not read until they are out: TCP then pushes back on the sender, files and
//! standard input wait. So what is held is at most one read of each source.

mod door;
pub mod live;
pub mod playback;
pub mod router;
mod source;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::feed::{Progress, SourceError, SourceOptions, Tallies};
use crate::model::{SymbolCache, SymbolTable, Tick, UnixNanos};
use crate::runtime::{Bell, Clock, Latency, Ready, Registrar, Report, Sender, Stage, Turned};

use door::{Connection, connection_deadline};
use live::{FIRST_TOKEN, Ground, Live};
use source::{Feed, Source, open};

pub use live::{Command, CommandError, Commands, Outside, RestLines};
pub use playback::{LOOP_GAP, Pace, Playback};
pub use router::Router;

/// How many reads a connection may do in one turn.
const READS_PER_TURN: usize = 16;
/// Ticks of messages that go to the rings together, more or less one message: asking the rings and the clock for each costs as much
/// as parsing.
const BATCH_TICKS: usize = 64;

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
    /// Its lines to the cold threads.
    pub outside: Outside,
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
    live: Live,
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
        let mut live = Live::new(options.outside);
        for (place, source) in options.sources.into_iter().enumerate() {
            let feed = open(&source, place, options.pace, &progress, &registrar, &options.bell)?;
            if let Some(pool) = source.origin.pool() {
                live.add(place, &source, pool)?;
            }
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
            live,
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

    fn turn_live(&mut self, now: UnixNanos) -> Turned {
        let Self { live, registrar, symbols, sources, router, clock, read_to_parsed, .. } = self;
        live.turn(&mut Ground { now, registrar, symbols, sources, router, clock, read_to_parsed })
    }

    /// Nothing will come any more and everything is out but the end itself.
    fn is_dry(&self) -> bool {
        let dry = |source: &Source| {
            let ended = match &source.feed {
                Feed::Files { open } => open.is_empty(),
                Feed::Paced(playback) => playback.is_done(),
                Feed::Pipe { ended, .. } => *ended,
                Feed::Pool | Feed::Door { .. } => false,
            };
            source.pending.is_empty() && (ended || self.stopping)
        };
        self.sources.iter().all(dry)
            && self.connections.iter().all(Option::is_none)
            && self.live.is_dry()
            && !self.router.has_quotes()
    }
}

impl Stage for Ingest {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned {
        for edge in ready {
            if let Some(token) = edge.token.checked_sub(FIRST_TOKEN) {
                self.live.on_edge(token);
            } else if let Some(source) = self.sources.get_mut(edge.token) {
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
        add(self.turn_live(now));
        total.work += self.router.send_quotes();
        let waits = |pending: &Vec<Tick>| !pending.is_empty();
        self.stalled = self.router.has_quotes()
            || self.sources.iter().any(|source| waits(&source.pending))
            || self.connections.iter().flatten().any(|connection| waits(&connection.pending))
            || self.live.is_stalled();
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
        let sources = self.sources.iter().filter_map(source);
        let connections = self.connections.iter().flatten().filter_map(connection);
        sources.chain(connections).chain(self.live.deadline()).min()
    }

    fn has_work(&self) -> bool {
        let fresh = |source: &Source| match &source.feed {
            Feed::Pipe { pipe, ended, .. } => !*ended && source.pending.is_empty() && pipe.is_ready(),
            _ => false,
        };
        (self.stalled && self.router.has_news()) || self.sources.iter().any(fresh) || self.live.has_work()
    }

    fn housekeep(&mut self, _now: UnixNanos, report: &mut Report) {
        for source in &mut self.sources {
            source.tallies.hand_over(report);
        }
        self.live.hand_over(report);
        self.router.hand_over(report);
        report.count("ingest.connections", self.connections.iter().flatten().count() as u64);
        self.read_to_parsed.hand_over(report);
    }

    fn stop(&mut self, _now: UnixNanos) {
        self.stopping = true;
        self.live.stop(&self.registrar);
    }
}
