//! A pool of the ingest stage against a venue in memory, under a clock that stands until it is set.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read as _, Write as _};

use crossbeam_channel::{Receiver as Channel, bounded};
use tickwire::feed::{Endpoint, FeedCommand, Origin, PoolOptions, SourceOptions, find, session};
use tickwire::ingest::{CommandError, Commands, Ingest, IngestOptions, Outside, RestLines};
use tickwire::model::{
    Bar, BarOrigin, Nanos, RestWish, Symbol, SymbolTable, Tick, TickKind, UnixNanos, UpstreamBar,
};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::core::Core;
use tickwire::runtime::transport::{End, Network, Port};
use tickwire::runtime::websocket::read_upgrade;
use tickwire::runtime::{Bell, Receiver, Report, Sender, ring};
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocketContext};

const NOW: UnixNanos = UnixNanos(1_750_000_000_000_000_000);
const PORT: u16 = 21_000;

struct Rig {
    core: Core,
    network: Network,
    clock: ManualClock,
    shard: Receiver<Tick>,
    reports: Channel<Report>,
    commands: Commands,
    wishes: Channel<RestWish>,
    answers: Sender<Tick>,
    symbols: SymbolTable,
    notes: Vec<String>,
}

impl Rig {
    fn new(depth: usize) -> Self {
        let (clock, network) = (ManualClock::at(NOW), Network::default());
        let mut core = Core::inline(Clock::Manual(clock.clone()), network.clone());
        let (report_to, reports) = bounded(10_000);
        core.report_to(report_to);
        let (tx, shard) = ring(depth, core.bell(), core.bell());
        let endpoint = Endpoint {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port: PORT,
            path_and_query: "/stream".to_owned(),
            headers: Vec::new(),
            ca_file: None,
        };
        let (dialect, session) = (find("binance").unwrap(), session::find("binance").unwrap());
        let symbols = vec![Symbol::new(b"BTCUSDT").unwrap()];
        let pool = PoolOptions::new("v", dialect, session, endpoint, symbols);
        let sources = vec![SourceOptions::new("v", Origin::Connect(Box::new(pool)), dialect)];
        let (commands, commands_rx) = Commands::channel(&sources, Bell::silent());
        let (wishes_tx, wishes) = bounded(1);
        let (answers, answers_rx) = ring(1024, Bell::silent(), Bell::silent());
        let symbols = SymbolTable::new(100);
        let options = IngestOptions {
            name: "ingest-0".to_owned(),
            sources,
            finish_at_end: false,
            pace: None,
            bell: Bell::silent(),
            clock: Clock::Manual(clock.clone()),
            outside: Outside {
                seed: 7,
                resolver: None,
                commands: Some(commands_rx),
                rest: Some(RestLines { wishes: wishes_tx, answers: answers_rx }),
            },
        };
        let ingest = Ingest::new(options, core.registrar().unwrap(), symbols.clone(), vec![tx]).unwrap();
        core.add(Box::new(ingest));
        let notes = Vec::new();
        Self { core, network, clock, shard, reports, commands, wishes, answers, symbols, notes }
    }

    /// Turns until nothing moves.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let busy = self.core.turn();
            if !busy && self.core.deadline().is_none_or(|at| at > self.clock.now()) {
                break;
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            self.notes.extend(report.notes);
        }
    }

    /// Lets time pass in steps, and the stage turn at each.
    fn pass(&mut self, span: Nanos) {
        let until = self.clock.now() + span;
        while self.clock.now() < until {
            self.clock.advance(Nanos::from_millis(50));
            self.settle();
        }
    }

    fn has_note(&self, text: &str) -> bool {
        self.notes.iter().any(|note| note.contains(text))
    }

    fn ticks(&mut self) -> Vec<Tick> {
        let mut out = Vec::new();
        self.shard.drain(usize::MAX, |tick| out.push(*tick));
        out
    }
}

/// The far end of a connection.
struct Venue {
    end: End,
    frames: WebSocketContext,
}

/// Accepts what waits at the port, and reads its request.
fn accept(rig: &mut Rig, port: &Port) -> (End, Vec<u8>) {
    let (mut end, _) = port.accept().unwrap();
    rig.settle();
    let mut request = vec![0; 4096];
    let n = end.read(&mut request).unwrap();
    request.truncate(n);
    (end, request)
}

impl Venue {
    /// Accepts what waits at the port and answers its upgrade.
    fn accept(rig: &mut Rig, port: &Port) -> Self {
        let (mut end, request) = accept(rig, port);
        let upgrade = read_upgrade(&request, 4096).unwrap().unwrap();
        end.write_all(&upgrade.response).unwrap();
        rig.settle();
        Self { end, frames: WebSocketContext::new(Role::Server, None) }
    }

    fn read(&mut self) -> Option<Message> {
        match self.frames.read(&mut self.end) {
            Ok(message) => Some(message),
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Grants every subscription asked for; returns what was asked.
    fn grant(&mut self, rig: &mut Rig) -> Vec<String> {
        let mut asked = Vec::new();
        while let Some(message) = self.read() {
            let Message::Text(text) = message else { continue };
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            let answer = format!(r#"{{"result":null,"id":{}}}"#, request["id"]);
            self.send(&answer);
            asked.push(text.to_string());
        }
        rig.settle();
        asked
    }

    fn send(&mut self, text: &str) {
        self.frames.write(&mut self.end, Message::text(text)).unwrap();
        self.frames.flush(&mut self.end).unwrap();
    }

    fn trade(&mut self, rig: &Rig, id: u64) {
        let ms = rig.clock.now().0 / 1_000_000;
        self.send(&format!(
            r#"{{"e":"trade","E":{ms},"T":{ms},"s":"BTCUSDT","t":{id},"p":"1.5","q":"2","X":"MARKET","m":false}}"#
        ));
    }
}

/// A stage with its connection open and its symbol granted.
fn connected(depth: usize) -> (Rig, Port, Venue) {
    let mut rig = Rig::new(depth);
    let port = rig.network.listen(PORT);
    rig.settle();
    let mut venue = Venue::accept(&mut rig, &port);
    assert_eq!(venue.grant(&mut rig).len(), 1);
    (rig, port, venue)
}

fn trades(ticks: &[Tick]) -> Vec<i64> {
    let trades = ticks.iter().filter(|tick| tick.kind() == TickKind::Trade);
    trades.map(|tick| i64::try_from(tick.id().bits).unwrap()).collect()
}

#[test]
fn a_connection_in_the_making_is_given_up_at_its_deadline() {
    let mut rig = Rig::new(64);
    let _port = rig.network.listen(PORT);
    rig.settle();
    rig.pass(Nanos::from_millis(4_900));
    assert!(!rig.has_note("lost"), "{:?}", rig.notes);
    rig.pass(Nanos::from_millis(1_200));
    assert!(rig.has_note("lost: timed out"), "{:?}", rig.notes);
}

#[test]
fn a_closed_port_is_tried_again_in_less_than_a_second_and_found_when_it_opens() {
    let mut rig = Rig::new(64);
    rig.pass(Nanos::from_secs(2));
    assert!(rig.has_note("lost: connection refused"), "{:?}", rig.notes);
    let (mut rig, port, venue) = connected(64);
    drop(venue);
    rig.pass(Nanos::from_secs(1));
    let mut venue = Venue::accept(&mut rig, &port);
    assert_eq!(venue.grant(&mut rig).len(), 1);
    venue.trade(&rig, 5);
    rig.settle();
    assert_eq!(trades(&rig.ticks()), [5]);
}

#[test]
fn what_waits_unread_behind_a_full_ring_is_no_silence_of_the_venue() {
    let (mut rig, _port, mut venue) = connected(2);
    for id in 0..60 {
        venue.trade(&rig, id);
        rig.pass(Nanos::from_secs(1));
    }
    assert!(!rig.has_note("lost") && !rig.has_note("silent"), "{:?}", rig.notes);
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen.extend(trades(&rig.ticks()));
        rig.settle();
    }
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    rig.pass(Nanos::from_millis(500));
    assert!(!rig.has_note("lost") && !rig.has_note("silent"), "{:?}", rig.notes);
}

#[test]
fn what_the_socket_did_not_take_goes_out_when_it_has_room() {
    let mut rig = Rig::new(64);
    let port = rig.network.listen(PORT);
    rig.settle();
    let (mut end, request) = accept(&mut rig, &port);
    end.write_all(&read_upgrade(&request, 4096).unwrap().unwrap().response).unwrap();
    // A few bytes at a time, from the first frame on.
    end.set_receive_capacity(3);
    rig.settle();
    let mut venue = Venue { end, frames: WebSocketContext::new(Role::Server, None) };
    let mut asked = Vec::new();
    for _ in 0..100 {
        asked.extend(venue.read());
        rig.settle();
    }
    assert!(matches!(&asked[0], Message::Text(text) if text.contains("btcusdt@trade")), "{asked:?}");
}

#[test]
fn a_silent_venue_is_closed_and_one_that_does_not_even_close_is_dropped() {
    let (mut rig, _port, mut venue) = connected(64);
    venue.trade(&rig, 1);
    // It answers no ping: tungstenite would, so nothing is read here.
    rig.pass(Nanos::from_secs(8));
    assert!(rig.has_note("silent"), "{:?}", rig.notes);
    rig.pass(Nanos::from_secs(6));
    assert!(rig.has_note("lost: timed out"), "{:?}", rig.notes);
    let mut sent = vec![0; 4096];
    let n = venue.end.read(&mut sent).unwrap();
    let mut rest = &sent[..n];
    let mut opcodes = Vec::new();
    // Short masked frames.
    while let [opcode, length, ..] = rest {
        opcodes.push(opcode & 0x0f);
        rest = &rest[6 + usize::from(length & 0x7f)..];
    }
    assert_eq!(opcodes.last(), Some(&8), "it was told, after pings: {opcodes:?}");
}

#[test]
fn a_gap_is_told_from_its_beginning_to_its_end_and_its_bars_are_wished_for() {
    let (mut rig, port, mut venue) = connected(64);
    venue.trade(&rig, 1);
    rig.pass(Nanos::from_secs(1));
    drop(venue);
    rig.pass(Nanos::from_secs(1));
    let mut venue = Venue::accept(&mut rig, &port);
    venue.grant(&mut rig);
    rig.pass(Nanos::from_secs(1));
    let ticks = rig.ticks();
    let gaps: Vec<_> = ticks.iter().filter(|tick| tick.kind() == TickKind::Gap).collect();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert_eq!(gaps[0].ts_event, UnixNanos::MAX);
    assert!(gaps[1].ts_event < UnixNanos::MAX && gaps[1].source == 0);
    let wish = rig.wishes.try_recv().unwrap();
    assert!(matches!(wish, RestWish::Fill { source: 0, from, to, .. } if from < to), "{wish:?}");
}

#[test]
fn wishes_that_find_no_room_are_kept_in_their_order() {
    let (mut rig, port, mut venue) = connected(1024);
    let more = ["ETHUSDT", "SOLUSDT", "XRPUSDT"].map(|name| Symbol::new(name.as_bytes()).unwrap());
    rig.commands.send(Some("v"), FeedCommand::Subscribe { symbols: more.to_vec(), member: None }).unwrap();
    rig.settle();
    rig.pass(Nanos::from_secs(1));
    let asked = venue.grant(&mut rig);
    assert!(asked.iter().any(|text| text.contains("ethusdt@trade")), "{asked:?}");
    drop(venue);
    rig.pass(Nanos::from_secs(1));
    let mut venue = Venue::accept(&mut rig, &port);
    let mut wished = Vec::new();
    for _ in 0..100 {
        rig.pass(Nanos::from_millis(50));
        venue.grant(&mut rig);
        assert!(rig.wishes.len() <= 1);
        wished.extend(rig.wishes.try_recv());
    }
    assert_eq!(wished.len(), 4, "{wished:?}");
}

#[test]
fn bars_that_were_fetched_reach_the_shard_with_their_halves_together() {
    let (mut rig, _port, mut venue) = connected(3);
    let symbol = rig.symbols.intern(&Symbol::new(b"BTCUSDT").unwrap()).unwrap();
    let bar = UpstreamBar {
        symbol,
        source: 0,
        origin: BarOrigin::Backfill,
        seconds: 60,
        closed: true,
        has_notional: false,
        ts_recv: NOW,
        bar: Bar::default(),
    };
    let mut kinds = Vec::new();
    for id in 0..200 {
        let [head, tail] = bar.to_ticks();
        // Now and then the stage looks between the two.
        rig.answers.push(head).unwrap();
        if id % 3 == 0 {
            venue.trade(&rig, id);
            rig.settle();
        }
        rig.answers.push(tail).unwrap();
        venue.trade(&rig, 1_000 + id);
        rig.settle();
        kinds.extend(rig.ticks().iter().map(Tick::kind));
    }
    for _ in 0..1_000 {
        rig.settle();
        kinds.extend(rig.ticks().iter().map(Tick::kind));
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == TickKind::BarHead).count(), 200);
    for (at, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind == TickKind::BarHead) {
        assert_eq!(kinds[at + 1], TickKind::BarTail);
    }
}

#[test]
fn a_command_to_a_feed_that_is_not_there_names_those_that_are() {
    let rig = Rig::new(64);
    let command = FeedCommand::Unsubscribe { symbols: Vec::new() };
    let error = rig.commands.send(Some("w"), command.clone()).unwrap_err();
    assert!(matches!(error, CommandError::NoSuchFeed { .. }));
    assert_eq!(error.to_string(), "no feed named \"w\" connects to a vendor; those that do: v");
    let filled = (0..1_000).map(|_| rig.commands.send(None, command.clone())).find_map(Result::err);
    assert_eq!(filled, Some(CommandError::Full));
    let commands = rig.commands.clone();
    drop(rig);
    assert_eq!(commands.send(None, command), Err(CommandError::Ended));
}

#[test]
fn the_same_seed_asks_the_same_way_twice() {
    let request = || {
        let mut rig = Rig::new(64);
        let port = rig.network.listen(PORT);
        rig.settle();
        let (_end, request) = accept(&mut rig, &port);
        String::from_utf8(request).unwrap()
    };
    assert_eq!(request(), request());
}
