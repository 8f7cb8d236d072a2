//! The network in memory behaves as sockets do, and a core runs its stages on a test's thread or on its own.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tickwire::model::{Nanos, UnixNanos};
use tickwire::runtime::clock::ManualClock;
use tickwire::runtime::core::{Core, CoreOptions, Stop};
use tickwire::runtime::transport::{End, Network};
use tickwire::runtime::{
    Clock, Listener, Ready, Receiver, Registrar, Report, Sender, Stage, Stream, Turned, ring,
};

const LISTENER: usize = 0;
const PORT: u16 = 9000;

/// What a stage saw and holds, for the test to look at and to act on.
#[derive(Default)]
struct Seen {
    edges: Vec<Ready>,
    streams: Vec<Stream>,
    turns: usize,
    times: Vec<UnixNanos>,
    stopped: bool,
}

/// A stage that accepts, registers and writes down.
struct Witness {
    seen: Arc<Mutex<Seen>>,
    registrar: Registrar,
    listener: Listener,
}

impl Stage for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned {
        let mut seen = self.seen.lock().unwrap();
        seen.turns += 1;
        seen.times.push(now);
        seen.edges.extend_from_slice(ready);
        if ready.iter().any(|edge| edge.token == LISTENER) {
            while let Ok((mut stream, _)) = self.listener.accept() {
                let token = seen.streams.len() + 1;
                self.registrar.register(&mut stream, token).unwrap();
                seen.streams.push(stream);
            }
        }
        Turned { work: ready.len(), more: false, finished: seen.stopped }
    }

    fn deadline(&self) -> Option<UnixNanos> {
        Some(UnixNanos(500))
    }

    fn has_work(&self) -> bool {
        false
    }

    fn housekeep(&mut self, _: UnixNanos, _: &mut Report) {}

    fn stop(&mut self, _: UnixNanos) {
        self.seen.lock().unwrap().stopped = true;
    }
}

/// A core in memory with one witness, and a client connected to it.
struct Bench {
    core: Core,
    seen: Arc<Mutex<Seen>>,
    clock: ManualClock,
}

impl Bench {
    fn new(capacity: usize) -> (Self, End) {
        let (clock, network) = (ManualClock::at(UnixNanos(100)), Network::default());
        let mut core = Core::inline(Clock::Manual(clock.clone()), network.clone());
        let registrar = core.registrar().unwrap();
        let listener = registrar.listen(SocketAddr::from(([127, 0, 0, 1], PORT)), LISTENER).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        core.add(Box::new(Witness { seen: Arc::clone(&seen), registrar, listener }));
        let client = network.connect(PORT, capacity).unwrap();
        let mut bench = Self { core, seen, clock };
        bench.edges();
        bench.edges();
        (bench, client)
    }

    /// Runs a turn and takes the edges it delivered, as (token, readable, writable).
    fn edges(&mut self) -> Vec<(usize, bool, bool)> {
        self.core.turn();
        let edges = std::mem::take(&mut self.seen.lock().unwrap().edges);
        edges.into_iter().map(|edge| (edge.token, edge.readable, edge.writable)).collect()
    }

    fn with_stream<R>(&self, act: impl FnOnce(&mut Stream) -> R) -> R {
        act(&mut self.seen.lock().unwrap().streams[0])
    }

    fn read(&self) -> Result<Vec<u8>, ErrorKind> {
        let mut buffer = [0; 64];
        let n = self.with_stream(|stream| stream.read(&mut buffer)).map_err(|e| e.kind())?;
        Ok(buffer[..n].to_vec())
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.with_stream(|stream| stream.write(bytes)).map_err(|e| e.kind())
    }
}

#[test]
fn a_port_without_a_listener_refuses() {
    assert_eq!(Network::default().connect(PORT, 8).err().unwrap().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_edge_is_delivered_once_for_each_arrival() {
    let (mut bench, mut client) = Bench::new(8);
    assert_eq!(bench.edges(), []);
    client.write_all(b"ab").unwrap();
    assert_eq!(bench.edges(), [(1, true, false)]);
    assert_eq!(bench.edges(), []);
    assert_eq!(bench.read(), Ok(b"ab".to_vec()));
    assert_eq!(bench.read(), Err(ErrorKind::WouldBlock));
}

#[test]
fn bytes_that_came_before_registering_are_announced_by_it() {
    let (clock, network) = (ManualClock::at(UnixNanos(0)), Network::default());
    let mut core = Core::inline(Clock::Manual(clock), network.clone());
    let registrar = core.registrar().unwrap();
    let listener = registrar.listen(SocketAddr::from(([127, 0, 0, 1], PORT)), LISTENER).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    core.add(Box::new(Witness { seen: Arc::clone(&seen), registrar, listener }));
    let mut client = network.connect(PORT, 8).unwrap();
    client.write_all(b"early").unwrap();
    core.turn();
    core.turn();
    assert_eq!(seen.lock().unwrap().edges.last(), Some(&Ready { token: 1, readable: true, writable: true }));
}

#[test]
fn a_full_pipe_blocks_and_announces_room_once_it_is_read() {
    let (mut bench, mut client) = Bench::new(4);
    assert_eq!(bench.write(b"abcdef"), Ok(4));
    assert_eq!(bench.write(b"ef"), Err(ErrorKind::WouldBlock));
    assert_eq!(bench.edges(), []);
    let mut buffer = [0; 3];
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(bench.edges(), [(1, false, true)]);
    assert_eq!(bench.write(b"efghi"), Ok(3));
}

#[test]
fn a_short_write_is_followed_by_an_edge_as_on_a_socket() {
    let (mut bench, mut client) = Bench::new(4);
    assert_eq!(bench.write(b"abcdef"), Ok(4));
    client.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(bench.edges(), [(1, false, true)]);
}

#[test]
fn a_reader_that_takes_more_lets_a_blocked_writer_go_on() {
    let (mut bench, client) = Bench::new(4);
    assert_eq!(bench.write(b"abcd"), Ok(4));
    assert_eq!(bench.write(b"e"), Err(ErrorKind::WouldBlock));
    client.set_receive_capacity(8);
    assert_eq!(bench.edges(), [(1, false, true)]);
    assert_eq!(bench.write(b"e"), Ok(1));
}

#[test]
fn a_reset_loses_unread_bytes_on_both_sides() {
    let (mut bench, mut client) = Bench::new(8);
    client.write_all(b"ab").unwrap();
    bench.write(b"cd").unwrap();
    bench.edges();
    client.reset();
    assert!(bench.edges().contains(&(1, true, true)));
    assert_eq!(bench.read(), Err(ErrorKind::ConnectionReset));
    assert_eq!(bench.write(b"x"), Err(ErrorKind::ConnectionReset));
    assert_eq!(client.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_half_closed_stream_ends_one_way_and_goes_on_the_other() {
    let (mut bench, mut client) = Bench::new(8);
    bench.write(b"bye").unwrap();
    bench.with_stream(|stream| stream.finish_writing()).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    assert_eq!(bench.write(b"x"), Err(ErrorKind::BrokenPipe));
    client.write_all(b"still").unwrap();
    assert_eq!(bench.edges(), [(1, true, false)]);
    assert_eq!(bench.read(), Ok(b"still".to_vec()));
}

#[test]
fn a_dropped_peer_leaves_what_it_wrote_and_takes_no_more() {
    let (mut bench, mut client) = Bench::new(8);
    client.write_all(b"last").unwrap();
    drop(client);
    assert!(bench.edges().iter().any(|&(token, readable, _)| token == 1 && readable));
    assert_eq!(bench.read(), Ok(b"last".to_vec()));
    assert_eq!(bench.read(), Ok(Vec::new()));
    assert_eq!(bench.write(b"x"), Err(ErrorKind::BrokenPipe));
}

#[test]
fn an_inline_core_turns_its_stages_under_the_tests_clock() {
    let (mut bench, _client) = Bench::new(8);
    assert_eq!(bench.core.deadline(), Some(UnixNanos(500)));
    bench.clock.advance(Nanos(50));
    assert!(!bench.core.turn());
    assert_eq!(bench.seen.lock().unwrap().times.last(), Some(&UnixNanos(150)));
    bench.core.begin_stop(UnixNanos(150));
    bench.core.turn();
    assert_eq!(bench.core.live_stages(), 0);
    let turns = bench.seen.lock().unwrap().turns;
    bench.core.turn();
    assert_eq!(bench.seen.lock().unwrap().turns, turns);
}

/// Where the machine runs the two cores in turns, 50,000 parks and wake-ups take 3 s, well inside the bound of 10 s.
const ITEMS: u64 = 200_000;

struct Producer {
    out: Sender<u64>,
    next: u64,
}

impl Stage for Producer {
    fn name(&self) -> &str {
        "producer"
    }

    fn turn(&mut self, _: UnixNanos, _: &[Ready]) -> Turned {
        let before = self.next;
        while self.next < ITEMS && self.out.push(self.next).is_ok() {
            self.next += 1;
        }
        self.out.flush();
        Turned { work: (self.next - before) as usize, more: false, finished: self.next == ITEMS }
    }

    fn has_work(&self) -> bool {
        self.out.has_news()
    }

    fn housekeep(&mut self, _: UnixNanos, _: &mut Report) {}

    fn stop(&mut self, _: UnixNanos) {}
}

struct Consumer {
    input: Receiver<u64>,
    next: u64,
}

impl Stage for Consumer {
    fn name(&self) -> &str {
        "consumer"
    }

    fn turn(&mut self, _: UnixNanos, _: &[Ready]) -> Turned {
        let next = &mut self.next;
        let work = self.input.drain(usize::MAX, |&value| {
            assert_eq!(value, *next, "out of order");
            *next += 1;
        });
        Turned { work, more: false, finished: self.next == ITEMS }
    }

    fn has_work(&self) -> bool {
        !self.input.is_empty()
    }

    fn housekeep(&mut self, _: UnixNanos, _: &mut Report) {}

    fn stop(&mut self, _: UnixNanos) {}
}

#[test]
fn two_cores_that_park_at_every_chance_lose_nothing_and_never_hang() {
    for round in 0..20 {
        let options = |name: &str| CoreOptions {
            name: name.to_owned(),
            processor: None,
            spin: Nanos::ZERO,
            never_park: false,
        };
        let (mut first, mut second) =
            (Core::new(options("first")).unwrap(), Core::new(options("second")).unwrap());
        let (out, input) = ring(4, first.bell(), second.bell());
        first.add(Box::new(Producer { out, next: 0 }));
        second.add(Box::new(Consumer { input, next: 0 }));
        let (done, ended) = crossbeam_channel::bounded(2);
        for core in [first, second] {
            let done = done.clone();
            std::thread::spawn(move || {
                let outcome = core.run(&Stop::default(), Nanos::from_secs(1));
                done.send(outcome.is_ok()).unwrap();
            });
        }
        for _ in 0..2 {
            assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(true), "round {round}");
        }
    }
}
