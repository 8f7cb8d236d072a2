//! One wiring, many layouts: a core for each stage, two cores, one, or the test's own thread give the same bars.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use tickwire::collect::Collected;
use tickwire::config::{Config, Layout, Placement};
use tickwire::feed::{self, Origin, SourceOptions};
use tickwire::model::{SymbolTable, Timeframes, UnixNanos};
use tickwire::runtime::Clock;
use tickwire::runtime::clock::ManualClock;
use tickwire::runtime::core::Stop;
use tickwire::runtime::transport::Network;
use tickwire::shard::CandleOptions;
use tickwire::topology::{Engine, Outlet, Plan};

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
fn a_processor_that_is_not_there_is_named() {
    let layout = Layout { processors: vec![0, 9], ..Layout::default() };
    let plan = Plan::new(&layout, false, &[0, 1]);
    assert!(plan.notes[0].contains("[9]"), "{:?}", plan.notes);
}
