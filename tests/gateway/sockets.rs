//! The same gateway on sockets of the operating system, on a core of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tickwire::gateway::dealer::{Dealer, way};
use tickwire::gateway::{Gateway, GatewayOptions};
use tickwire::model::{Ask, Event, Interest, Nanos, SymbolTable, Timeframes};
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

#[test]
fn a_client_over_tcp_gets_every_fact_though_it_reads_late() {
    const FACTS: u64 = 2_000;
    let mut engine = engine();
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
    let mut all = vec![Event::answer_begin(topic, request, false), Event::answer_end(topic, request, 0)];
    // Less than the facts bound and the socket's buffers together, and far more than a socket takes at once.
    for n in 1..=FACTS {
        all.extend([forming(topic, n - 1), closed(topic, n)]);
    }
    for event in all {
        assert!(engine.events.push(event).is_ok());
    }
    engine.events.flush();
    assert_eq!(next(&mut socket)["type"], "subscribed");
    let mut expected = 1;
    while expected <= FACTS {
        let message = next(&mut socket);
        if message["data"]["state"] == "closed" {
            assert_eq!(message["sequence"], expected);
            expected += 1;
        }
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
