//! A bar, a trade and a quote into the native protocol's JSON, beside serde_json serialising the same fields from a struct.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde::Serialize;
use tickwire::gateway::dialect::{Scene, TABLE};
use tickwire::model::{
    Bar, BarFlags, BarState, Event, Notional, Price, Reason, Size, Symbol, SymbolId, Tick, Timeframes, Topic,
    TradeId, UnixNanos, Volume,
};

const NOW: UnixNanos = UnixNanos(1_795_218_524_247_573_000);

/// The message as a user of serde would declare it. Its numbers are floats, which is less than ours promise.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'a str,
    channel: &'a str,
    sequence: u64,
    timestamp: &'a str,
    ts_event: i64,
    ts_recv: i64,
    ts_sent: i64,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    symbol: &'a str,
    timeframe: &'a str,
    start: i64,
    end: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    vwap: f64,
    trades: u64,
    state: &'a str,
    rev: u32,
    flags: &'a [&'a str],
}

fn bar() -> Bar {
    Bar {
        volume: Volume(372_900_000_000),
        notional: Notional(62_415_901_853_000_000_000_000),
        start: UnixNanos(1_795_218_522_000_000_000),
        open: Price(167_380_000_000),
        high: Price(167_390_000_000),
        low: Price(167_370_000_000),
        close: Price(167_372_500_000),
        trades: 23,
    }
}

fn encode(c: &mut Criterion) {
    let timeframes = Timeframes::parse("1s,1m").expect("a constant");
    let symbol = Symbol::new(b"SPY").expect("a constant");
    let scene = Scene { symbol, timeframes: &timeframes, now: NOW, snapshot: false, look: false, day: None };
    let event = Event::bar(Topic::bars(SymbolId(0), 1), BarState::Closed, 12_345, &bar())
        .at(UnixNanos(NOW.0 - 1_000_000), UnixNanos(NOW.0 - 90_000))
        .revision(0, Reason::None, BarFlags::default());
    let tick = Tick::trade(SymbolId(0), NOW, NOW, Price(167_380_000_000), Size(10_000_000_000))
        .with_id(TradeId::from_u64(52_983_525_000_000))
        .with_venue_letter(b'P');
    let trade = Event::trade(Topic::trades(SymbolId(0)), 77, &tick);
    let mut group = c.benchmark_group("encode");
    let mut out = Vec::with_capacity(1024);
    for (name, event) in [("bar/tickwire", event), ("trade/tickwire", trade)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                TABLE[0].event(&mut out, black_box(&event), &scene);
                black_box(out.len())
            });
        });
    }
    group.bench_function("bar/serde_json", |b| {
        b.iter(|| {
            let data = Data {
                symbol: "SPY",
                timeframe: "1m",
                start: 1_795_218_522_000_000,
                end: 1_795_218_582_000_000,
                open: black_box(167.38),
                high: black_box(167.39),
                low: black_box(167.37),
                close: black_box(167.3725),
                volume: black_box(3_729.0),
                vwap: black_box(167.379731832),
                trades: 23,
                state: "closed",
                rev: 0,
                flags: &[],
            };
            // The time stamp's text is given: formatting it is in our figure and not in this one.
            let message = Message {
                r#type: "bar",
                channel: "bars",
                sequence: 12_345,
                timestamp: "2026-11-20T23:48:44.247Z",
                ts_event: NOW.0 / 1_000 - 1_000,
                ts_recv: NOW.0 / 1_000 - 90,
                ts_sent: NOW.0 / 1_000,
                data,
            };
            out.clear();
            serde_json::to_writer(&mut out, black_box(&message)).expect("a Vec takes everything");
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
