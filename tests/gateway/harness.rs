//! A gateway, its shards played by hand, and a WebSocket client on the network in memory.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use serde_json::Value;
use tickwire::gateway::dealer::{Dealer, way};
use tickwire::gateway::{Gateway, GatewayOptions};
use tickwire::model::{
    Ask, Bar, BarState, Event, Interest, Nanos, Notional, Price, Quote, Size, Symbol, SymbolId, SymbolTable,
    Tick, Timeframes, Topic, UnixNanos, Volume,
};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::core::Core;
use tickwire::runtime::transport::{End, Network};
use tickwire::runtime::{Bell, Receiver, Report, Sender, ring};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

pub const PORT: u16 = 80;
pub const T0: UnixNanos = UnixNanos(1_770_474_600_000_000_000);
pub const ROOM: usize = 1 << 20;

/// The shards' ends of the rings to and from one gateway.
pub type Shards = (Vec<Sender<Event>>, Vec<Receiver<Interest>>);

pub struct World {
    pub core: Core,
    pub clock: ManualClock,
    pub network: Network,
    /// Of the first gateway, as `interests`.
    pub events: Vec<Sender<Event>>,
    pub interests: Vec<Receiver<Interest>>,
    /// Of the further gateways.
    pub others: Vec<Shards>,
    pub symbols: SymbolTable,
    pub reports: crossbeam_channel::Receiver<Report>,
}

pub fn options() -> GatewayOptions {
    GatewayOptions { listen: ([127, 0, 0, 1], PORT).into(), requests_per_s_max: 100, ..Default::default() }
}

impl World {
    pub fn new(shards: usize, options: GatewayOptions) -> Self {
        Self::with_rings(shards, options, 1024)
    }

    pub fn with_rings(shards: usize, options: GatewayOptions, depth: usize) -> Self {
        Self::build(1, shards, options, depth, 64)
    }

    /// A dealer in place 0 of its core, and gateways from place 1 on.
    pub fn with_gateways(gateways: usize, options: GatewayOptions) -> Self {
        Self::build(gateways, 1, options, 1024, 64)
    }

    /// Rings of interests so deep, and a table for so many symbols.
    pub fn with_symbols(shards: usize, options: GatewayOptions, depth: usize, symbols: usize) -> Self {
        Self::build(1, shards, options, depth, symbols)
    }

    fn build(gateways: usize, shards: usize, options: GatewayOptions, depth: usize, symbols: usize) -> Self {
        let clock = ManualClock::at(T0);
        let network = Network::default();
        let mut core = Core::inline(Clock::Manual(clock.clone()), network.clone());
        let silent = Bell::silent;
        let symbols = SymbolTable::new(symbols);
        let (ways, entrances): (Vec<_>, Vec<_>) = (0..gateways).map(|_| way(&silent(), &silent())).unzip();
        core.add(Box::new(Dealer::new(&options, &core.registrar().unwrap(), ways).unwrap()));
        let mut ends = Vec::new();
        for (number, entrance) in entrances.into_iter().enumerate() {
            let (events, receivers) = (0..shards).map(|_| ring(8192, silent(), silent())).unzip();
            let (senders, interests) = (0..shards).map(|_| ring(depth, silent(), silent())).unzip();
            let gateway = Gateway::new(
                GatewayOptions { number, ..options.clone() },
                Clock::Manual(clock.clone()),
                core.registrar().unwrap(),
                entrance,
                symbols.clone(),
                Timeframes::parse("1s,1m").unwrap(),
                "e1".to_owned(),
                receivers,
                senders,
            );
            core.add(Box::new(gateway.unwrap()));
            ends.push((events, interests));
        }
        let (events, interests) = ends.remove(0);
        let (tx, reports) = crossbeam_channel::bounded(10_000);
        core.report_to(tx);
        Self { core, clock, network, events, interests, others: ends, symbols, reports }
    }

    /// Turns until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.core.turn() {
                return;
            }
        }
        panic!("the gateway never comes to rest");
    }

    /// Lets time pass in steps that no deadline is missed by.
    pub fn pass(&mut self, span: Nanos) {
        let end = self.clock.now() + span;
        while self.clock.now() < end {
            let step = (end - self.clock.now()).0.min(100_000_000);
            self.clock.advance(Nanos(step));
            self.settle();
        }
    }

    pub fn symbol(&self, name: &str) -> SymbolId {
        self.symbols.intern(&Symbol::new(name.as_bytes()).unwrap()).unwrap()
    }

    pub fn shard(&self, name: &str) -> usize {
        Symbol::new(name.as_bytes()).unwrap().shard(self.events.len())
    }

    /// Sends events from one shard and lets the gateway work.
    pub fn emit(&mut self, shard: usize, events: &[Event]) {
        for event in events {
            assert!(self.events[shard].push(*event).is_ok());
        }
        self.settle();
    }

    pub fn asked(&mut self, shard: usize) -> Vec<Interest> {
        self.settle();
        let mut asked = Vec::new();
        self.interests[shard].drain(usize::MAX, |interest| asked.push(*interest));
        asked
    }

    /// The one interest that a shard was sent, as (topic, request, since, states).
    pub fn join(&mut self, shard: usize) -> (Topic, u32, Option<u64>, bool) {
        let asked = self.asked(shard);
        match asked[..] {
            [Interest { topic, ask: Ask::Join { request, since }, states }] => {
                (topic, request, since, states)
            }
            _ => panic!("not one join: {asked:?}"),
        }
    }

    /// Answers a join with nothing but its end.
    pub fn answer(&mut self, shard: usize, topic: Topic, request: u32, sequence: u64, items: &[Event]) {
        let mut events = vec![Event::answer_begin(topic, request, false)];
        events.extend(items.iter().map(|item| item.answering(request)));
        events.push(Event::answer_end(topic, request, sequence));
        self.emit(shard, &events);
    }

    /// A counter of the dealer, or summed over the gateways.
    pub fn counter(&mut self, name: &str) -> u64 {
        while self.reports.try_recv().is_ok() {}
        self.pass(Nanos::from_millis(1_100));
        let reports: BTreeMap<String, Report> =
            self.reports.try_iter().map(|report| (report.stage.clone(), report)).collect();
        let own = |report: &Report| report.counters.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let found: Vec<u64> = reports.values().filter_map(own).collect();
        assert!(!found.is_empty(), "nobody counts {name}");
        found.iter().sum()
    }

    pub fn raw(&mut self) -> End {
        self.network.connect(PORT, ROOM).unwrap()
    }

    pub fn client(&mut self) -> Client {
        let mut client = self.unwelcomed(b"");
        let welcome = client.next();
        assert_eq!((welcome["type"].as_str(), welcome["epoch"].as_str()), (Some("welcome"), Some("e1")));
        client
    }

    /// A client that follows the trades of a symbol from the first on.
    pub fn follower(&mut self, symbol: &str) -> (Client, Topic) {
        let mut client = self.client();
        client.send(&format!(r#"{{"action":"subscribe","channel":"trades","symbols":["{symbol}"]}}"#));
        let (topic, request, ..) = self.join(0);
        self.answer(0, topic, request, 0, &[]);
        client.all();
        (client, topic)
    }

    /// A client that sends bytes in one piece with its request, and has read nothing yet.
    pub fn unwelcomed(&mut self, extra: &[u8]) -> Client {
        self.client_at("/v1/stream", extra)
    }

    /// The same on any path.
    pub fn client_at(&mut self, path: &str, extra: &[u8]) -> Client {
        let mut end = self.raw();
        end.write_all(&[upgrade(path).as_bytes(), extra].concat()).unwrap();
        self.settle();
        let bytes = drain(&mut end).0;
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an HTTP answer") + 4;
        assert!(bytes.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&bytes));
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let socket = WebSocket::from_partially_read(end, bytes[head..].to_vec(), Role::Client, Some(config));
        Client { socket }
    }

    /// Sends a request and gives everything that comes back at once.
    pub fn ask(&mut self, client: &mut Client, request: &str) -> Vec<Value> {
        client.send(request);
        self.settle();
        client.all()
    }
}

pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// What can be read now, and whether the other side has ended.
pub fn drain(end: &mut End) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match end.read(&mut chunk) {
            Ok(0) => return (bytes, true),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (bytes, false),
            Err(_) => return (bytes, true),
        }
    }
}

pub struct Client {
    pub socket: WebSocket<End>,
}

impl Client {
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub fn message(&mut self) -> Option<Message> {
        match self.socket.read() {
            Ok(message) => Some(message),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => None,
        }
    }

    pub fn next(&mut self) -> Value {
        self.all_until(1).pop().expect("a message")
    }

    pub fn all(&mut self) -> Vec<Value> {
        self.all_until(usize::MAX)
    }

    fn all_until(&mut self, most: usize) -> Vec<Value> {
        let mut seen = Vec::new();
        while seen.len() < most {
            match self.message() {
                Some(Message::Text(text)) => seen.push(serde_json::from_str(&text).unwrap()),
                Some(Message::Close(Some(frame))) => {
                    seen.push(
                        serde_json::json!({"close": u16::from(frame.code), "reason": frame.reason.as_str()}),
                    );
                }
                Some(_) => {}
                None => break,
            }
        }
        seen
    }
}

/// Messages as short words: `snapshot@5`, `bar@6`, `bar~6` where it forms, `subscribed`.
pub fn words(messages: &[Value]) -> Vec<String> {
    let word = |message: &Value| {
        if let Some(code) = message["close"].as_u64() {
            return format!("close {code}");
        }
        let kind = message["type"].as_str().unwrap();
        let forming = message["data"]["state"] == "forming" || kind == "quote";
        match message["sequence"].as_u64() {
            Some(sequence) => format!("{kind}{}{sequence}", if forming { '~' } else { '@' }),
            None => kind.to_owned(),
        }
    };
    messages.iter().map(word).collect()
}

fn bar(start_s: i64) -> Bar {
    let price = Price(100_000_000_000 + start_s);
    Bar {
        volume: Volume(100_000_000),
        notional: Notional(0),
        start: UnixNanos(start_s * 1_000_000_000),
        open: price,
        high: price,
        low: price,
        close: price,
        trades: 1,
    }
}

pub fn closed(topic: Topic, sequence: u64) -> Event {
    Event::bar(topic, BarState::Closed, sequence, &bar(sequence as i64)).at(T0, T0)
}

/// Revises the first bar.
pub fn revised(topic: Topic, sequence: u64) -> Event {
    Event::bar(topic, BarState::Revised, sequence, &bar(1)).at(T0, T0)
}

/// Forms the bar that starts after the one closed as `sequence`.
pub fn forming(topic: Topic, sequence: u64) -> Event {
    Event::bar(topic, BarState::Forming, sequence, &bar(sequence as i64 + 1)).at(T0, T0)
}

pub fn trade(topic: Topic, sequence: u64) -> Event {
    Event::trade(topic, sequence, &Tick::trade(topic.symbol, T0, T0, Price(5), Size(sequence)))
}

pub fn quote(topic: Topic, bid: i64) -> Event {
    let mut quote = Quote::default();
    (quote.bid, quote.bid_size) = (Price(bid), Size(1));
    Event::quote(topic, 0, &quote).at(T0, T0)
}
