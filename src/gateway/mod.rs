//! The gateway stage: clients' sockets on one side, the shards' rings on the other.
//!
//! Sockets come from the dealer. A turn goes: edges and new clients, then events of the shards into outboxes, then requests, then interests to the
//! shards, then the outboxes that have something to say. Each step has a budget; what is left over keeps its place on
//! a list of the stage's own, for the poll reports an edge only once.

mod burst;
pub mod close;
mod connection;
pub mod dealer;
mod deliver;
pub mod dialect;
mod drain;
mod echo;
mod ending;
mod entrance;
pub mod frame;
mod join;
pub mod lane;
mod leave;
mod lengthy;
mod listener;
mod options;
pub mod outbox;
mod pace;
mod rates;
mod request;
mod resync;
mod shared;
mod sockets;
pub mod topics;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;

use crate::model::{Event, Interest, Nanos, SymbolCache, SymbolTable, Timeframes, UnixNanos};
use crate::runtime::{Clock, Latency, Ready, Receiver, Registrar, Report, Sender, Stage, Turned};

use burst::Burst;
use close::CloseCode;
use connection::Connection;
use dealer::Entrance;
use deliver::{FACTS_WAIT, Run};
use drain::Drain;
use frame::{FrameId, FramePool};
use join::{Ask, Join};
pub use options::GatewayOptions;
use outbox::{Bounds, Piece};
use pace::Alarm;
use shared::SharedFrames;
use topics::Topics;

/// How often deadlines of connections are looked at. All of them are 100 times longer, or do not mind.
const CHECK_EVERY: Nanos = Nanos::from_millis(100);
/// A turn that comes so much later than the one before comes after a standstill of our own: what clients sent meanwhile
/// is read, and what waits for them written, before anyone's deadline is looked at.
const STANDSTILL: Nanos = Nanos::from_secs(1);
/// Requests are not read while so many interests wait for room in a ring.
const INTERESTS_WAITING_MAX: usize = 65_536;

/// Totals since start.
#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    accepted: u64,
    refused_full: u64,
    refused_per_ip: u64,
    refused_ending: u64,
    refused_path: u64,
    refused_request: u64,
    refused_head: u64,
    refused_deadline: u64,
    messages_in: u64,
    errors: u64,
    frames_out: u64,
    bytes_out: u64,
    /// Those of them that the kernel was given by reference.
    bytes_referred: u64,
    facts_out: u64,
    states_out: u64,
    conflated: u64,
    slow_closed: u64,
    protocol_closed: u64,
    policy_closed: u64,
    requests_floods: u64,
    bytes_floods: u64,
    control_floods: u64,
    idle_closed: u64,
    resyncs: u64,
    gaps: u64,
    duplicates: u64,
    discarded: u64,
}

/// The way to one shard. Interests that found the ring full wait here, in order.
struct ToShard {
    ring: Sender<Interest>,
    waiting: VecDeque<Interest>,
}

/// How a gateway ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not at all.
    No,
    /// Soon: its clients are seen off.
    Draining(Drain),
    /// Asked to: takes the last events until then.
    Stopping(UnixNanos),
    /// Clients have their close; they have until then to answer it.
    Leaving(UnixNanos),
}

/// Serves clients.
pub struct Gateway {
    options: GatewayOptions,
    /// Tells when a frame was encoded or written: a turn with thousands of clients takes milliseconds.
    clock: Clock,
    name: String,
    registrar: Registrar,
    entrance: Entrance,
    symbols: SymbolCache,
    timeframes: Timeframes,
    epoch: String,
    events: Vec<Receiver<Event>>,
    shards: Vec<ToShard>,
    connections: Vec<Option<Box<Connection>>>,
    free_slots: Vec<u32>,
    numbers: u64,
    topics: Topics,
    pool: FramePool,
    joins: HashMap<u32, Join>,
    joins_made: u32,
    asks: HashMap<u32, Ask>,
    /// Connections with a request under way.
    run: Run,
    lengthy: VecDeque<u32>,
    requests: u32,
    /// Sockets to read, and outboxes to write; a connection is on each at most once.
    reads: Vec<u32>,
    dirty: Vec<u32>,
    swept: Vec<u32>,
    rotation: usize,
    evictions: Vec<u32>,
    pieces: Vec<Piece>,
    burst: Burst,
    shared: SharedFrames,
    control: Vec<u8>,
    cleared: Vec<FrameId>,
    /// What the last shard to speak said of a symbol's day; the fact that it belongs to comes next.
    day: Option<Event>,
    /// What is put together into one message.
    parts: Vec<FrameId>,
    /// Lanes to look at, the next first.
    alarms: BinaryHeap<Alarm>,
    /// When the last turn began.
    turned: UnixNanos,
    now: UnixNanos,
    check_at: UnixNanos,
    ending: Ending,
    /// What its clients are closed with when it ends.
    farewell: CloseCode,
    counters: Counters,
    recv_to_encoded: Latency,
    encoded_to_written: Latency,
}

impl Gateway {
    /// A gateway whose clients come by `entrance`. `events[i]` comes from shard i and `interest[i]` goes there; `epoch` says whose sequences
    /// these are. `clock` is of the core's own kind.
    ///
    /// # Errors
    /// Where the two lists of rings differ in length.
    #[allow(clippy::too_many_arguments, reason = "the wiring of a stage, named once, in the topology")]
    pub fn new(
        options: GatewayOptions,
        clock: Clock,
        registrar: Registrar,
        entrance: Entrance,
        symbols: SymbolTable,
        timeframes: Timeframes,
        epoch: String,
        events: Vec<Receiver<Event>>,
        interest: Vec<Sender<Interest>>,
    ) -> io::Result<Self> {
        if events.len() != interest.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "each shard needs a ring each way"));
        }
        let topics = Topics::new(timeframes.len());
        Ok(Self {
            name: options.name(),
            shared: SharedFrames::new(options.referred_bytes_min),
            options,
            clock,
            registrar,
            entrance,
            symbols: SymbolCache::new(symbols),
            timeframes,
            epoch,
            events,
            shards: interest.into_iter().map(|ring| ToShard { ring, waiting: VecDeque::new() }).collect(),
            connections: Vec::new(),
            free_slots: Vec::new(),
            numbers: 0,
            topics,
            pool: FramePool::default(),
            joins: HashMap::new(),
            joins_made: 0,
            asks: HashMap::new(),
            run: Run::default(),
            lengthy: VecDeque::new(),
            requests: 0,
            reads: Vec::new(),
            dirty: Vec::new(),
            swept: Vec::new(),
            rotation: 0,
            evictions: Vec::new(),
            pieces: Vec::with_capacity(sockets::PIECES_MAX),
            burst: Burst::new(sockets::PIECES_MAX),
            control: Vec::new(),
            cleared: Vec::new(),
            day: None,
            parts: Vec::new(),
            alarms: BinaryHeap::new(),
            turned: UnixNanos(0),
            now: UnixNanos(0),
            check_at: UnixNanos::MIN,
            ending: Ending::No,
            farewell: close::GOING_AWAY,
            counters: Counters::default(),
            recv_to_encoded: Latency::new("recv_to_encoded"),
            encoded_to_written: Latency::new("encoded_to_written"),
        })
    }

    /// Looks at the clock again.
    #[inline]
    fn look_at_clock(&mut self) -> UnixNanos {
        self.now = self.now.max(self.clock.now());
        self.now
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            facts_bytes_max: self.options.outbox_facts_bytes_max,
            answers_bytes_max: self.options.outbox_answers_bytes_max,
        }
    }

    fn connection(&mut self, slot: u32) -> Option<&mut Connection> {
        self.connections.get_mut(slot as usize)?.as_deref_mut()
    }

    fn connection_count(&self) -> usize {
        self.connections.len() - self.free_slots.len()
    }

    fn drain_events(&mut self) -> (usize, bool) {
        let (mut work, mut more) = (0, false);
        let mut rings = std::mem::take(&mut self.events);
        for (shard, ring) in rings.iter_mut().enumerate() {
            work += ring.drain(self.options.events_per_turn, |event| self.on_event(shard, event));
            self.end_run();
            self.evict_all(FACTS_WAIT);
            more |= !ring.is_empty();
        }
        self.events = rings;
        (work, more)
    }

    fn send_interest(&mut self, shard: usize, interest: Interest) {
        let Some(to) = self.shards.get_mut(shard) else { return };
        if !to.waiting.is_empty() {
            to.waiting.push_back(interest);
        } else if let Err(interest) = to.ring.push(interest) {
            to.waiting.push_back(interest);
        }
    }

    fn flush_interests(&mut self) {
        for to in &mut self.shards {
            if to.ring.is_abandoned() {
                to.waiting.clear();
            }
            while let Some(&interest) = to.waiting.front() {
                if to.ring.push(interest).is_err() {
                    break;
                }
                to.waiting.pop_front();
            }
            to.ring.flush();
        }
    }

    fn interests_waiting(&self) -> usize {
        self.shards.iter().map(|to| to.waiting.len()).sum()
    }

    fn end_step(&mut self) -> bool {
        let inputs_ended = !self.events.is_empty() && self.events.iter().all(Receiver::is_finished);
        match self.ending {
            Ending::No if !inputs_ended => false,
            Ending::Draining(drain) if !inputs_ended && self.now < drain.until => {
                self.drain_step(drain);
                self.connection_count() == 0
            }
            Ending::Stopping(until) if !inputs_ended && self.now < until => false,
            Ending::No | Ending::Draining(_) | Ending::Stopping(_) => {
                // The close itself may take its full time, and then the sockets theirs.
                let patience = Nanos::from_millis(self.options.close_ms_max as i64);
                self.ending = Ending::Leaving(self.now + patience + CHECK_EVERY);
                self.close_all();
                false
            }
            Ending::Leaving(until) => {
                if self.now >= until {
                    self.drop_all();
                }
                self.connection_count() == 0
            }
        }
    }

    /// What `stats` tells clients and reports tell everyone.
    fn figures(&self) -> [(&'static str, u64); 29] {
        let c = &self.counters;
        [
            ("gateway", self.options.number as u64),
            ("connections", self.connection_count() as u64),
            ("subscriptions", self.topics.count() as u64),
            ("accepted", c.accepted),
            ("refused_full", c.refused_full),
            ("refused_per_ip", c.refused_per_ip),
            ("refused_ending", c.refused_ending),
            ("refused_path", c.refused_path),
            ("refused_request", c.refused_request),
            ("refused_head", c.refused_head),
            ("refused_deadline", c.refused_deadline),
            ("messages_in", c.messages_in),
            ("errors", c.errors),
            ("frames_out", c.frames_out),
            ("bytes_out", c.bytes_out),
            ("bytes_referred", c.bytes_referred),
            ("facts_out", c.facts_out),
            ("states_out", c.states_out),
            ("conflated", c.conflated),
            ("slow_closed", c.slow_closed),
            ("protocol_closed", c.protocol_closed),
            ("policy_closed", c.policy_closed),
            ("requests_floods", c.requests_floods),
            ("bytes_floods", c.bytes_floods),
            ("control_floods", c.control_floods),
            ("idle_closed", c.idle_closed),
            ("resyncs", c.resyncs),
            ("gaps", c.gaps),
            ("duplicates", c.duplicates),
        ]
    }
}

impl Stage for Gateway {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned {
        if now - std::mem::replace(&mut self.turned, now) >= STANDSTILL {
            self.check_at = self.check_at.max(now + CHECK_EVERY);
        }
        self.now = self.now.max(now);
        let mut work = ready.len();
        for edge in ready {
            self.on_edge(edge);
        }
        work += self.take_sockets();
        let (events, mut more) = self.drain_events();
        work += events;
        work += self.go_on_all();
        work += self.read_all();
        self.flush_interests();
        if now >= self.check_at {
            self.check_at = now + CHECK_EVERY;
            self.check_all();
        }
        let finished = self.end_step();
        self.ring_alarms();
        work += self.write_all();
        self.entrance.flush();
        more |=
            !self.dirty.is_empty() || self.reads_wait() || !self.entrance.is_empty() || self.lengthy_waits();
        Turned { work, more: more && !finished, finished }
    }

    fn deadline(&self) -> Option<UnixNanos> {
        let check = (self.connection_count() > 0 || self.ending != Ending::No).then_some(self.check_at);
        let drain = match self.ending {
            Ending::Draining(drain) => Some(drain.next),
            _ => None,
        };
        let alarm = self.alarms.peek().map(|&Reverse((at, ..))| at);
        check.into_iter().chain(drain).chain(alarm).min()
    }

    fn has_work(&self) -> bool {
        self.events.iter().any(|ring| !ring.is_empty())
            || self.shards.iter().any(|to| !to.waiting.is_empty() && to.ring.has_news())
            || !self.dirty.is_empty()
            || self.reads_wait()
            || self.entrance.has_work()
            || self.lengthy_waits()
    }

    fn housekeep(&mut self, _now: UnixNanos, report: &mut Report) {
        // Its name says which gateway it is.
        for (name, value) in self.figures().into_iter().skip(1) {
            report.count(name, value);
        }
        report.count("events_discarded", self.counters.discarded);
        report.count("frames_held", self.pool.held() as u64);
        report.count("interests_waiting", self.interests_waiting() as u64);
        self.recv_to_encoded.hand_over(report);
        self.encoded_to_written.hand_over(report);
    }

    fn drain(&mut self, now: UnixNanos) {
        self.begin_drain(now);
    }

    fn stop(&mut self, now: UnixNanos) {
        if matches!(self.ending, Ending::No | Ending::Draining(_)) {
            let patience = Nanos::from_millis(self.options.last_events_ms_max as i64);
            self.ending = Ending::Stopping(now + patience);
        }
    }
}
