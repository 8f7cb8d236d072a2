//! Real captures whose venue's clock runs 1.2 s ahead of the recorder's, through a live shard at the recorded times.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::collections::HashMap;
use std::io::Read as _;

use tickwire::feed;
use tickwire::model::{
    Event, EventKind, Interest, Nanos, SymbolTable, Tick, TickKind, Timeframes, UnixNanos,
};
use tickwire::runtime::{Bell, Stage, ring};
use tickwire::shard::{CandleOptions, Link, Patience, Shard, ShardOptions};

const SECOND: Nanos = Nanos::from_secs(1);

fn trades(path: &str) -> Vec<Tick> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let row = feed::find("binance").unwrap();
    let (ticks, _) =
        feed::parse_all(row, &bytes, UnixNanos(1_795_000_000_000_000_000), &SymbolTable::new(10));
    ticks.into_iter().filter(|tick| tick.kind() == TickKind::Trade).collect()
}

/// What closed when, by our clock, and how often a bar was revised.
fn live(ticks: &[Tick]) -> (HashMap<i64, UnixNanos>, usize) {
    let (mut tick_tx, tick_rx) = ring(1024, Bell::silent(), Bell::silent());
    let (event_tx, mut event_rx) = ring::<Event>(1024, Bell::silent(), Bell::silent());
    let (_interest_tx, interest_rx) = ring::<Interest>(16, Bell::silent(), Bell::silent());
    let link = Link::new(event_tx, interest_rx, Patience { facts_max: Some(1024), deadline: SECOND });
    let options = ShardOptions {
        name: "shard-0".to_owned(),
        candles: CandleOptions::live(Timeframes::parse("1s").unwrap()),
        feed_offset_max: Nanos::from_secs(5),
    };
    let mut shard = Shard::new(options, vec![tick_rx], vec![link]);
    let (mut closed, mut revised) = (HashMap::new(), 0);
    let mut turn = |shard: &mut Shard, now: UnixNanos| {
        shard.turn(now, &[]);
        event_rx.drain(1024, |event| match event.kind() {
            EventKind::BarClosed => drop(closed.insert(event.as_bar().start.0, now)),
            _ => revised += 1,
        });
    };
    for tick in ticks {
        // Timers fire when they are due, not when the next tick happens to come.
        while let Some(due) = shard.deadline().filter(|&due| due < tick.ts_recv) {
            turn(&mut shard, due);
        }
        tick_tx.push(*tick).unwrap();
        turn(&mut shard, tick.ts_recv);
    }
    (closed, revised)
}

#[test]
fn a_feed_whose_clock_is_ahead_closes_no_bar_early() {
    for path in ["tests/data/binance-usdm-raw.txt.gz", "tests/data/binance-spot-raw.txt.gz"] {
        let ticks = trades(path);
        assert!(ticks.iter().all(|tick| tick.ts_event - tick.ts_recv > SECOND), "the venue's clock is ahead");
        let (closed, revised) = live(&ticks);
        assert!(closed.len() >= 10, "{path}: {} bars closed", closed.len());
        assert_eq!(revised, 0, "{path}: a bar closed before its last trade had come");
        for tick in &ticks {
            let start = tick.ts_event.floor(SECOND).0;
            if let Some(at) = closed.get(&start) {
                assert!(*at >= tick.ts_recv, "{path}: closed at {at}, a trade came at {}", tick.ts_recv);
            }
        }
    }
}

#[test]
fn once_the_offset_is_known_bars_close_on_the_venues_clock() {
    let ticks = trades("tests/data/binance-usdm-raw.txt.gz");
    let (closed, _) = live(&ticks);
    let mut last: Vec<_> = closed.into_iter().collect();
    last.sort_unstable();
    // The median has its samples after the first second.
    for (start, at) in &last[2..] {
        // 1.22 to 1.28 s ahead: the end plus 250 ms of grace is about a second earlier by our clock.
        let behind_end = *at - UnixNanos(start + SECOND.0);
        assert!(
            (-1_100..-900).contains(&(behind_end.0 / 1_000_000)),
            "closed {} ms after its end",
            behind_end.0 / 1_000_000
        );
    }
}
