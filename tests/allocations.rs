//! Once warm, no turn of ingest, shard or gateway allocates: the whole engine under an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use tickwire::config::Config;
use tickwire::feed::{self, Context, Endpoint, Origin, PoolOptions, SourceOptions, Tallies, session};
use tickwire::model::{Nanos, Symbol, SymbolCache, SymbolTable, Tick, Timeframes, UnixNanos};
use tickwire::runtime::Clock;
use tickwire::runtime::clock::ManualClock;
use tickwire::runtime::transport::{End, Network};
use tickwire::runtime::websocket::read_upgrade;
use tickwire::topology::{Engine, Outlet};

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // While a thread ends its counters are gone, and nothing is counted.
        let _ = COUNTS.try_with(|counts| {
            if counts.get() {
                let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
            }
        });
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, thus from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations during `work`.
fn counted(work: impl FnOnce()) -> usize {
    ALLOCATIONS.with(|n| n.set(0));
    COUNTS.with(|counts| counts.set(true));
    work();
    COUNTS.with(|counts| counts.set(false));
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100)))), 1);
}

const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const STEP: Nanos = Nanos::from_millis(20);
const CLIENTS: u16 = 18;

fn config() -> Config {
    let mut config = Config::from_environment(|_| None).expect("the defaults are good");
    config.candles.timeframes = Timeframes::parse("1s,5s,1m").expect("a constant");
    // So small that they are full, and the oldest makes room, long before the warm-up ends.
    config.candles.history_bytes_max = 144 * 8 * 64;
    config.candles.trades_bytes_max = 64 * 32 * 64;
    config.candles.seal_after = Nanos::from_secs(20);
    let addr = SocketAddr::from(([127, 0, 0, 1], 9_001));
    config.sources = vec![SourceOptions::new("lines", Origin::Tcp(addr), feed::find("csv").expect("a row"))];
    config.layout.gateways = 2;
    config.gateway.listen = SocketAddr::from(([127, 0, 0, 1], 8_080));
    // These clients never answer a ping.
    config.gateway.heartbeat_s = 86_400;
    config
}

/// A client that only reads: the handshake and its one request are written by hand.
fn client(network: &Network, (path, request): (&str, &str)) -> End {
    let mut end = network.connect(8_080, 1 << 20).expect("the gateway listens");
    let handshake = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    end.write_all(handshake.as_bytes()).expect("room");
    let request = format!("{request:>126}");
    // A masked text frame of 126 to 65,535 bytes; a mask of zeros leaves the text as it is.
    let len = request.len() as u16;
    end.write_all(&[0x81, 0x80 | 126, (len >> 8) as u8, len as u8, 0, 0, 0, 0]).expect("room");
    end.write_all(request.as_bytes()).expect("room");
    end
}

struct World {
    engine: Engine,
    clock: ManualClock,
    feed: End,
    clients: Vec<End>,
    row: Vec<u8>,
    id: u64,
    buffer: Vec<u8>,
    received: [usize; CLIENTS as usize],
}

impl World {
    fn new() -> Self {
        let (clock, network) = (ManualClock::at(START), Network::default());
        let make_clock = || Clock::Manual(clock.clone());
        let engine =
            Engine::inline(config(), Outlet::Gateway, None, "e".to_owned(), &make_clock, network.clone());
        let engine = engine.expect("nothing here can be refused");
        let mut feed = network.connect(9_001, 1 << 20).expect("the source listens");
        feed.write_all(b"symbol,timestamp_ns,price,size,trade_id\n").expect("room");
        let request = |n: u16| match n % 9 {
            0 => (
                "/v1/stream",
                r#"{"action":"subscribe","channel":"bars","symbols":["AAA","BBB","CCC"],"timeframes":["1s","5s","1m"]}"#,
            ),
            1 => ("/v1/stream", r#"{"action":"subscribe","channel":"trades","symbols":["*"]}"#),
            2 => (
                "/v1/stream",
                r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s","1m"],"batch_ms":100}"#,
            ),
            3 => (
                "/v1/stream",
                r#"{"action":"subscribe","channel":"trades","symbols":["*"],"format":"binary","batch_ms":1000}"#,
            ),
            4 => (
                "/v1/stream",
                r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s","5s"],"throttle_ms":250,"format":"binary"}"#,
            ),
            5 => (
                "/ws",
                r#"{"type":"subscription","data":{"action":"subscribe","symbols":["*"],"timeframes":["1s","1m"]}}"#,
            ),
            6 => ("/api/ws", r#"{"type":"subscribe","channel":"ticker","ticker":"*"}"#),
            7 => ("/stocks", r#"{"action":"subscribe","params":"T.*,A.*,AM.AAA"}"#),
            _ => (
                "/v1/stream",
                r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s","1m"],"forming":true}"#,
            ),
        };
        let clients = (0..CLIENTS).map(|n| client(&network, request(n))).collect();
        let buffer = vec![0; 1 << 16];
        Self { engine, clock, feed, clients, row: Vec::new(), id: 0, buffer, received: [0; CLIENTS as usize] }
    }

    /// Ticks in, turns until nothing moves, everything read. Returns the allocations of the turns.
    fn step(&mut self) -> usize {
        self.clock.advance(STEP);
        for symbol in ["AAA", "BBB", "CCC"] {
            self.id += 1;
            self.row.clear();
            // Now and then a tick that is seconds late, which revises closed bars.
            let late = if self.id.is_multiple_of(50) { 3_000_000_000 } else { 0 };
            let (at, price) = (self.clock.now().0 - late, 100 + self.id % 7);
            writeln!(self.row, "{symbol},{at},{price}.25,10,{}", self.id).expect("memory");
            self.feed.write_all(&self.row).expect("room");
        }
        let core = &mut self.engine.cores[0];
        let allocations = counted(|| while core.turn() {});
        for (client, received) in self.clients.iter_mut().zip(&mut self.received) {
            while let Ok(n) = client.read(&mut self.buffer) {
                assert!(n > 0, "the engine closed a connection");
                *received += n;
            }
        }
        allocations
    }
}

#[test]
fn no_turn_allocates_once_warm() {
    let mut world = World::new();
    // Long enough for a minute's bars, for full budgets, and for the reports' channel, which nobody empties, to fill up.
    let warm = 270 * 1_000 / 20;
    (0..warm).for_each(|_| {
        world.step();
    });
    let before = world.received;
    let steps = 3_000;
    let allocations: usize = (0..steps).map(|_| world.step()).sum();
    let served = |(after, before): (&usize, &usize)| after - before;
    let each: Vec<usize> = world.received.iter().zip(&before).map(served).collect();
    assert!(each.iter().all(|&bytes| bytes > steps * 20), "clients were served meanwhile: {each:?}");
    assert_eq!(allocations, 0, "allocations in {steps} steps");
}

/// A venue that grants what it is asked for, and then only talks. A message is one text frame of less than 64 KiB.
fn venue(engine: &mut Engine, network: &Network, clock: &ManualClock) -> End {
    let port = network.listen(9_443);
    let mut settle = |steps: usize| {
        for _ in 0..steps {
            clock.advance(Nanos::from_millis(10));
            while engine.cores[0].turn() {}
        }
    };
    settle(2);
    let (mut end, _) = port.accept().expect("the pool connects");
    settle(2);
    let mut request = vec![0; 4096];
    let n = end.read(&mut request).expect("a request");
    let upgrade = read_upgrade(&request[..n], 4096).ok().flatten().expect("an upgrade");
    end.write_all(&upgrade.response).expect("room");
    settle(100);
    let mut asked = 0;
    while let Ok(n) = end.read(&mut request) {
        asked += n;
    }
    assert!(asked > 0, "the pool asks for its symbols");
    say(&mut end, br#"{"result":null,"id":1}"#);
    settle(2);
    end
}

fn say(end: &mut End, text: &[u8]) {
    end.write_all(&[0x81, 126, (text.len() >> 8) as u8, text.len() as u8]).expect("room");
    end.write_all(text).expect("room");
}

#[test]
fn no_turn_of_a_pool_allocates_once_warm() {
    let (clock, network) = (ManualClock::at(START), Network::default());
    let mut config = config();
    let endpoint = Endpoint {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: 9_443,
        path_and_query: "/stream".to_owned(),
        headers: Vec::new(),
        ca_file: None,
    };
    let (dialect, session) =
        (feed::find("binance").expect("a row"), session::find("binance").expect("a row"));
    let names = ["AAA", "BBB", "CCC"];
    let symbols = names.iter().map(|name| Symbol::new(name.as_bytes()).expect("a symbol")).collect();
    let pool = PoolOptions::new("v", dialect, session, endpoint, symbols);
    config.sources = vec![SourceOptions::new("v", Origin::Connect(Box::new(pool)), dialect)];
    let make_clock = || Clock::Manual(clock.clone());
    let engine = Engine::inline(config, Outlet::Gateway, None, "e".to_owned(), &make_clock, network.clone());
    let mut engine = engine.expect("nothing here can be refused");
    let mut end = venue(&mut engine, &network, &clock);
    let (mut text, mut id, mut buffer) = (Vec::new(), 0, vec![0; 1 << 16]);
    let mut step = |text: &mut Vec<u8>| {
        clock.advance(STEP);
        for name in names {
            id += 1;
            let ms = clock.now().0 / 1_000_000;
            text.clear();
            let price = 100 + id % 7;
            write!(
                text,
                r#"{{"e":"trade","E":{ms},"T":{ms},"s":"{name}","t":{id},"p":"{price}.25","q":"10","X":"MARKET","m":false}}"#
            )
            .expect("memory");
            say(&mut end, text);
        }
        let core = &mut engine.cores[0];
        let allocations = counted(|| while core.turn() {});
        while let Ok(n) = end.read(&mut buffer) {
            assert!(n > 0, "the pool closed its connection");
        }
        allocations
    };
    (0..270 * 50).for_each(|_| {
        step(&mut text);
    });
    let allocations: usize = (0..3_000).map(|_| step(&mut text)).sum();
    assert_eq!(allocations, 0, "allocations in 3,000 steps");
    let trades = |(name, value): &(std::borrow::Cow<'_, str>, u64)| {
        (name == "feed.v.accepted.trades").then_some(*value)
    };
    let accepted =
        engine.reports.try_iter().flat_map(|report| report.counters).filter_map(|c| trades(&c)).max();
    assert!(accepted > Some(5_000), "trades were taken meanwhile: {accepted:?}");
}

#[test]
fn no_dialect_allocates_once_warm() {
    let now = UnixNanos(1_795_000_000_000_000_000);
    for (dialect, text) in [
        ("massive", include_str!("data/feed/massive.txt")),
        ("massive", include_str!("data/feed/massive-more.txt")),
        ("binance", include_str!("data/feed/binance-spot.txt")),
        ("binance", include_str!("data/feed/binance-usdm.txt")),
        ("binance", include_str!("data/feed/binance-more.txt")),
        ("alpaca", include_str!("data/feed/alpaca.txt")),
    ] {
        let mut parser = (feed::find(dialect).expect("a row").open)();
        let (mut symbols, mut tallies) = (SymbolCache::new(SymbolTable::new(100)), Tallies::new(dialect));
        let mut ticks = Vec::with_capacity(1_000);
        // A vendor's complaint is noted, and so is a reject: both are texts, made at a bounded rate.
        let quiet = |line: &&str| {
            !["error", "failed", "code", "\"o\":\"0.0010\""].iter().any(|bad| line.contains(bad))
        };
        let mut lines: Vec<Vec<u8>> =
            text.lines().filter(quiet).map(|line| line.as_bytes().to_vec()).collect();
        let mut read = |lines: &mut Vec<Vec<u8>>, ticks: &mut Vec<Tick>| {
            ticks.clear();
            for line in lines {
                let (source, recorded) = (0, true);
                let mut cx = Context { now, source, recorded, symbols: &mut symbols, tallies: &mut tallies };
                parser.parse(line, &mut cx, ticks);
            }
        };
        // A parser may write into its line, but only where there are escapes, and these have none.
        read(&mut lines, &mut ticks);
        let first = ticks.clone();
        let allocations = counted(|| (0..10).for_each(|_| read(&mut lines, &mut ticks)));
        assert_eq!(allocations, 0, "{dialect}");
        assert!(!first.is_empty() && ticks == first);
    }
}
