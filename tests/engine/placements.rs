//! One wiring, many layouts: a core for each stage, two cores, one, or the test's own thread give the same bars.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tickwire::collect::Collected;
use tickwire::config::{Config, Layout, Placement};
use tickwire::feed::{self, Origin, SourceOptions};
use tickwire::model::{Nanos, SymbolTable, Timeframes, UnixNanos};
use tickwire::runtime::Clock;
use tickwire::runtime::clock::ManualClock;
use tickwire::runtime::core::Stop;
use tickwire::runtime::transport::Network;
use tickwire::shard::{BarClock, CandleOptions};
use tickwire::topology::{Engine, Outlet, Plan};
use tungstenite::Message;

const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

fn config(placement: Placement, shards: usize, depth: usize) -> Config {
    let mut config = Config::from_environment(|_| None).unwrap();
    config.candles = CandleOptions::file(Timeframes::parse("1s,1m,5m,1h").unwrap());
    let file = Origin::Files(vec!["tests/data/equities-trades.csv.gz".into()]);
    config.sources = vec![SourceOptions::new("file", file, feed::find("csv").unwrap())];
    config.finish_at_end = true;
    config.layout.placement = placement;
    config.layout.shards = shards;
    (config.layout.ticks_depth, config.layout.events_depth) = (depth, depth.max(128));
    config
}

fn text(collected: &Collected, symbols: &SymbolTable) -> Vec<u8> {
    let mut out = Vec::new();
    collected.write(symbols, &mut out).unwrap();
    out
}

fn on_threads(config: Config) -> Vec<u8> {
    let (done_tx, done) = crossbeam_channel::bounded(1);
    let engine = Engine::new(config, Outlet::Collect(done_tx), None, String::new()).unwrap();
    let threads = Engine::start(engine.cores, &Stop::default()).unwrap();
    let collected = done.recv().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    text(&collected, &engine.symbols)
}

fn inline(config: Config) -> Vec<u8> {
    let (done_tx, done) = crossbeam_channel::bounded(1);
    let clock = ManualClock::at(NOW);
    let make_clock = || Clock::Manual(clock.clone());
    let outlet = Outlet::Collect(done_tx);
    let mut engine =
        Engine::inline(config, outlet, None, String::new(), &make_clock, Network::default()).unwrap();
    // Nothing enters beside the source.
    engine.inlets.clear();
    while engine.cores[0].live_stages() > 0 {
        engine.cores[0].turn();
    }
    text(&done.recv().unwrap(), &engine.symbols)
}

#[test]
fn every_layout_gives_the_same_bars() {
    let wanted = inline(config(Placement::Auto, 1, 1024));
    assert!(wanted.split(|&b| b == b'\n').count() > 1_000);
    for placement in [Placement::Dedicated, Placement::Shared, Placement::Single, Placement::Auto] {
        assert!(on_threads(config(placement, 1, 8_192)) == wanted, "{placement:?}");
    }
    for (shards, depth) in [(2, 16), (4, 2), (7, 65_536)] {
        assert!(
            on_threads(config(Placement::Shared, shards, depth)) == wanted,
            "{shards} shards, depth {depth}"
        );
        assert!(
            inline(config(Placement::Single, shards, depth)) == wanted,
            "{shards} shards inline, depth {depth}"
        );
    }
}

#[test]
fn too_few_processors_are_shared_and_it_says_so() {
    let layout = Layout { placement: Placement::Dedicated, shards: 2, ..Layout::default() };
    let plan = Plan::new(&layout, false, &[0, 1]);
    assert_eq!(plan.cores.len(), 4);
    assert!(plan.notes[0].contains("4 cores asked for, 2 processors available"), "{:?}", plan.notes);
    assert_eq!(plan.processors, [None; 4]);
}

#[test]
fn without_a_wish_the_layout_follows_the_machine() {
    let cores = |processors: &[usize]| Plan::new(&Layout::default(), false, processors).cores;
    assert_eq!(cores(&[0]), [vec![0, 1, 2]]);
    assert_eq!(cores(&[0, 1]), [vec![0, 1], vec![2]]);
    assert_eq!(cores(&[0, 1, 2, 3]), [vec![0], vec![1], vec![2]]);
}

#[test]
fn each_of_several_gateways_has_a_core_where_there_are_processors_enough() {
    let layout = Layout { shards: 2, gateways: 3, ..Layout::default() };
    let plan = Plan::new(&layout, false, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(plan.cores.len(), 6);
    assert_eq!(plan.processors, [0, 1, 2, 3, 4, 5].map(Some));
    let names: Vec<String> = (0..6).map(|stage| plan.stage_name(stage)).collect();
    assert_eq!(names, ["ingest-0", "shard-0", "shard-1", "gateway-0", "gateway-1", "gateway-2"]);
    let text = plan.explain(&layout);
    for line in [
        "core      dealer, gateway-0: processor 3\n",
        "core      gateway-2: processor 5\n",
        "shard-1 -> gateway-2:",
        "gateway-2 -> shard-1:",
        "dealer -> gateway-2:",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    // Bars to a file need no gateway.
    assert_eq!(Plan::new(&layout, true, &[0, 1, 2, 3, 4, 5]).cores.len(), 4);
}

#[test]
fn gateways_that_share_a_core_are_pointed_out() {
    let layout = Layout { gateways: 2, ..Layout::default() };
    let plan = Plan::new(&layout, false, &[0, 1]);
    assert_eq!(plan.cores, [vec![0, 1], vec![2, 3]]);
    assert!(plan.notes[0].contains("2 gateways share a core"), "{:?}", plan.notes);
}

/// A client over TCP: which gateway has it, and the bars it was sent up to the given number.
fn follow(addr: SocketAddr, bars: usize) -> impl FnOnce() -> (String, Vec<String>) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{addr}/v1/stream"), stream).unwrap();
    let mut next = move |send: Option<&str>| -> serde_json::Value {
        if let Some(text) = send {
            socket.send(Message::text(text)).unwrap();
        }
        loop {
            if let Message::Text(text) = socket.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    };
    let name = next(None)["connection"].as_str().unwrap().to_owned();
    let request =
        r#"{"action":"subscribe","channel":"bars","symbols":["A","B"],"timeframes":["1s"],"forming":false}"#;
    assert_eq!(next(Some(request))["type"], "subscribed");
    move || {
        let bar = |message: serde_json::Value| format!("{} {}", message["sequence"], message["data"]);
        (name, (0..bars).map(|_| bar(next(None))).collect())
    }
}

#[test]
fn every_gateway_tells_its_clients_the_same() {
    const SECONDS: i64 = 50;
    let csv = feed::find("csv").unwrap();
    for (placement, gateways) in [(Placement::Dedicated, 3), (Placement::Shared, 2), (Placement::Single, 3)] {
        let mut config = config(placement, 2, 1_024);
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sources = vec![SourceOptions::new("lines", Origin::Tcp(anywhere), csv)];
        let live = CandleOptions::live(Timeframes::parse("1s").unwrap());
        config.candles = CandleOptions { clock: BarClock::Event, grace: Nanos::ZERO, ..live };
        config.gateway.listen = anywhere;
        config.layout.gateways = gateways;
        let engine = Engine::new(config, Outlet::Gateway, None, "e".to_owned()).unwrap();
        let stop = Stop::default();
        let threads = Engine::start(engine.cores, &stop).unwrap();
        let addr = engine.gateway_addr.unwrap();
        let bars = 2 * (SECONDS as usize - 1);
        let clients: Vec<_> = (0..gateways * 2).map(|_| follow(addr, bars)).collect();
        let mut source = TcpStream::connect(engine.source_addrs[0].unwrap()).unwrap();
        let mut text = "symbol,timestamp_ms,price,size\n".to_owned();
        for second in 0..SECONDS {
            for symbol in ["A", "B"] {
                let at = 1_700_000_000_000 + second * 1_000;
                text += &format!("{symbol},{at},{},{}\n", 100 + second, 1 + second);
            }
        }
        source.write_all(text.as_bytes()).unwrap();
        let mut told: Vec<_> = clients.into_iter().map(|client| client()).collect();
        told.iter_mut().for_each(|(_, bars)| bars.sort());
        for number in 0..gateways {
            let own = told.iter().filter(|(name, _)| name.starts_with(&format!("gateway-{number}-"))).count();
            assert_eq!(own, 2, "{placement:?}: clients of gateway {number}");
        }
        assert!(told.iter().all(|(_, bars)| *bars == told[0].1), "{placement:?}");
        stop.request();
        drop(source);
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    }
}

#[test]
fn a_processor_that_is_not_there_is_named() {
    let layout = Layout { processors: vec![0, 9], ..Layout::default() };
    let plan = Plan::new(&layout, false, &[0, 1]);
    assert!(plan.notes[0].contains("[9]"), "{:?}", plan.notes);
}
