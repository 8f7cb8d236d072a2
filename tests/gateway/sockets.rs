//! The same gateway on sockets of the operating system, on a core of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tickwire::gateway::dealer::{Dealer, way};
use tickwire::gateway::{Gateway, GatewayOptions};
use tickwire::model::{Ask, Event, Interest, Nanos, SymbolTable, Timeframes, Topic};
use tickwire::runtime::core::{Core, CoreOptions, Stop};
use tickwire::runtime::{Receiver, Sender, ring};
use tungstenite::{Message, WebSocket};

use crate::harness::{closed, forming, options};

struct Engine {
    addr: SocketAddr,
    events: Sender<Event>,
    interests: Receiver<Interest>,
    stop: Stop,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

fn engine() -> Engine {
    let name = "gateway".to_owned();
    let options = GatewayOptions { listen: ([127, 0, 0, 1], 0).into(), ..options() };
    let mut core =
        Core::new(CoreOptions { name, processor: None, spin: Nanos::ZERO, never_park: false }).unwrap();
    let silent = tickwire::runtime::Bell::silent;
    let (events, from_shard) = ring(1 << 16, silent(), core.bell());
    let (to_shard, interests) = ring(1024, core.bell(), silent());
    let (way, entrance) = way(&core.bell(), &core.bell());
    let dealer = Dealer::new(&options, &core.registrar().unwrap(), vec![way]).unwrap();
    let addr = dealer.local_addr().unwrap();
    core.add(Box::new(dealer));
    let gateway = Gateway::new(
        options,
        tickwire::runtime::Clock::real(),
        core.registrar().unwrap(),
        entrance,
        SymbolTable::new(64),
        Timeframes::parse("1s,1m").unwrap(),
        "e1".to_owned(),
        vec![from_shard],
        vec![to_shard],
    )
    .unwrap();
    core.add(Box::new(gateway));
    let stop = Stop::default();
    let asked = stop.clone();
    let thread = std::thread::spawn(move || core.run(&asked, Nanos::from_secs(10)));
    Engine { addr, events, interests, stop, thread }
}

fn client(addr: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (socket, response) = tungstenite::client(format!("ws://{addr}/v1/stream"), stream).unwrap();
    assert_eq!(response.status(), 101);
    socket
}

fn next(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// A client of AAPL's minute bars, from the first on.
fn follower(engine: &mut Engine) -> (WebSocket<TcpStream>, Topic) {
    let mut socket = client(engine.addr);
    assert_eq!(next(&mut socket)["type"], "welcome");
    socket
        .send(Message::text(
            r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]}"#,
        ))
        .unwrap();
    let interest = loop {
        match engine.interests.pop() {
            Some(interest) => break interest,
            None => std::thread::yield_now(),
        }
    };
    let Interest { topic, ask: Ask::Join { request, .. }, .. } = interest else { panic!("{interest:?}") };
    engine.emit([Event::answer_begin(topic, request, false), Event::answer_end(topic, request, 0)]);
    assert_eq!(next(&mut socket)["type"], "subscribed");
    (socket, topic)
}

impl Engine {
    fn emit(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            assert!(self.events.push(event).is_ok());
        }
        self.events.flush();
    }
}

/// The sequence of a closed bar, which must be the bar that was closed as this.
fn sequence(message: &Value) -> Option<u64> {
    if message["data"]["state"] != "closed" {
        return None;
    }
    let sequence = message["sequence"].as_u64().unwrap();
    assert_eq!(message["data"]["start"], sequence * 1_000_000, "{message}");
    assert_eq!(
        message["data"]["high"].to_string(),
        format!("100.{sequence:09}").trim_end_matches('0'),
        "{message}"
    );
    Some(sequence)
}

fn next_closed(socket: &mut WebSocket<TcpStream>) -> u64 {
    loop {
        if let Some(sequence) = sequence(&next(socket)) {
            return sequence;
        }
    }
}

#[test]
fn a_client_over_tcp_gets_every_fact_though_it_reads_late() {
    const FACTS: u64 = 2_000;
    let mut engine = engine();
    let (mut socket, topic) = follower(&mut engine);
    // Less than the facts bound and the socket's buffers together, and far more than a socket takes at once.
    engine.emit((1..=FACTS).flat_map(|n| [forming(topic, n - 1), closed(topic, n)]));
    for expected in 1..=FACTS {
        assert_eq!(next_closed(&mut socket), expected);
    }
    engine.stop.request();
    let frame = loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(frame.code), 1001);
    while socket.read().is_ok() {}
    engine.thread.join().unwrap().unwrap();
}

#[test]
fn what_many_get_by_reference_stays_what_it_was_for_one_that_reads_last_of_all() {
    const ROUNDS: u64 = 60;
    const FACTS: u64 = 1_000;
    let mut engine = engine();
    let (mut late, topic) = follower(&mut engine);
    let mut readers: Vec<_> = (0..5).map(|_| follower(&mut engine).0).collect();
    // More than all files of shared frames hold: the first of them are given up while the kernel still has them for the late one.
    for round in 0..ROUNDS {
        let facts = round * FACTS + 1..=(round + 1) * FACTS;
        engine.emit(facts.clone().map(|n| closed(topic, n)));
        for reader in &mut readers {
            facts.clone().for_each(|expected| assert_eq!(next_closed(reader), expected));
        }
    }
    readers[0].send(Message::text(r#"{"action":"stats"}"#)).unwrap();
    let stats = next(&mut readers[0]);
    let [all, referred] = ["bytes_out", "bytes_referred"].map(|name| stats["data"][name].as_u64().unwrap());
    assert!(referred > all / 4, "{referred} of {all} bytes");
    let mut seen = 0;
    // Too far behind, it was closed and at last reset: what the kernel has for it is left.
    while let Ok(message) = late.read() {
        let Message::Text(text) = message else { continue };
        if let Some(sequence) = sequence(&serde_json::from_str(&text).unwrap()) {
            seen += 1;
            assert_eq!(sequence, seen);
        }
    }
    assert!(seen > 200, "the kernel holds more than {seen} facts");
    engine.stop.request();
    engine.thread.join().unwrap().unwrap();
}
