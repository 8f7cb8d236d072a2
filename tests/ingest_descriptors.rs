//! A listener without file descriptors, on the real poll. Alone in its process, as the limit is the process'.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tickwire::feed::{Origin, SourceOptions, find};
use tickwire::ingest::{Ingest, IngestOptions};
use tickwire::model::{Nanos, SymbolTable};
use tickwire::runtime::clock::Clock;
use tickwire::runtime::core::{Core, CoreOptions};
use tickwire::runtime::ring;

#[test]
fn no_descriptors_neither_spin_nor_wedge_the_listener() {
    let options = CoreOptions { name: "t".to_owned(), processor: None, spin: Nanos::ZERO, never_park: false };
    let mut core = Core::new(options).unwrap();
    let (tx, mut rx) = ring(1024, core.bell(), core.bell());
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let source = SourceOptions::new("tcp", Origin::Tcp(addr), find("binance").unwrap());
    let options = IngestOptions {
        name: "ingest-0".to_owned(),
        sources: vec![source],
        finish_at_end: false,
        pace: None,
        bell: core.bell(),
        clock: Clock::real(),
        outside: tickwire::ingest::Outside::default(),
    };
    let ingest = Ingest::new(options, core.registrar().unwrap(), SymbolTable::new(10), vec![tx]).unwrap();
    let addr = ingest.local_addr(0).unwrap();
    core.add(Box::new(ingest));
    let mut clients: Vec<_> = (0..8).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let line = include_str!("data/feed/binance-usdm.txt").lines().next().unwrap();
    for client in &mut clients {
        client.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    let before = getrlimit(Resource::Nofile);
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
    setrlimit(Resource::Nofile, Rlimit { current: Some(used + 2), maximum: before.maximum }).unwrap();
    let begin = Instant::now();
    let (mut busy, mut turns, mut got) = (0u32, 0u32, 0);
    while begin.elapsed() < Duration::from_millis(350) {
        busy += u32::from(core.turn());
        turns += 1;
        got += rx.drain(100, |_| {});
    }
    // The limit is on the number of the descriptor, so gaps below it let a few in.
    assert!(got < 8);
    assert!(busy < 40 && turns > busy, "{busy} of {turns} turns claimed work");
    assert!(core.deadline().is_some());

    setrlimit(Resource::Nofile, before).unwrap();
    let begin = Instant::now();
    while got < 8 && begin.elapsed() < Duration::from_secs(10) {
        core.turn();
        got += rx.drain(100, |_| {});
    }
    assert_eq!(got, 8);
}
