//! Binary records say what the JSON of the same events says, and the C header reads them.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

mod record;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tickwire::gateway::dialect::native::Native;
use tickwire::gateway::dialect::{Dialect, Scene};
use tickwire::model::{
    Bar, BarFlags, BarState, Event, Notional, Price, Quote, Reason, Size, Symbol, SymbolId, Tick, Timeframes,
    Topic, TradeId, UnixNanos, Venue, Volume,
};

use record::Record;

const TIMEFRAMES: &str = "1s,5s,1m,1h,1d";

/// An event with what it does not say of itself.
#[derive(Debug, Clone)]
struct Case {
    event: Event,
    symbol: Symbol,
    now: UnixNanos,
    snapshot: bool,
}

impl Case {
    fn write(&self, write: impl FnOnce(&Native, &mut Vec<u8>, &Event, &Scene<'_>)) -> Vec<u8> {
        let timeframes = Timeframes::parse(TIMEFRAMES).unwrap();
        let scene = Scene {
            symbol: self.symbol,
            timeframes: &timeframes,
            now: self.now,
            snapshot: self.snapshot,
            look: false,
            day: None,
        };
        let mut out = Vec::new();
        write(&Native, &mut out, &self.event, &scene);
        out
    }

    fn json(&self) -> String {
        String::from_utf8(self.write(Native::event)).unwrap()
    }

    fn record(&self) -> Vec<u8> {
        self.write(Native::record)
    }
}

fn at() -> impl Strategy<Value = UnixNanos> {
    (0..4_000_000_000_000_000_000i64).prop_map(UnixNanos)
}

fn price() -> impl Strategy<Value = Price> {
    prop_oneof![1 => Just(Price(0)), 6 => any::<i64>().prop_map(Price)]
}

prop_compose! {
    fn bars()(
        level in 0..5usize,
        state in prop_oneof![Just(BarState::Forming), Just(BarState::Closed), Just(BarState::Revised)],
        prices in [any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>()],
        volume in prop_oneof![Just(0), 1..=1u128 << 60, 1u128 << 64..1u128 << 90],
        average in -1i128 << 60..1i128 << 60,
        rest in any::<u8>(),
        start in at(),
        trades in any::<u64>(),
        rev in any::<u32>(),
        reason in prop_oneof![
            Just(Reason::None), Just(Reason::Late), Just(Reason::Cancel), Just(Reason::Correct),
            Just(Reason::Backfill)
        ],
        flags in 0..16u8,
    ) -> Event {
        let [open, high, low, close] = prices.map(Price);
        let volume = volume.min(1 << 66);
        let notional = if volume == 0 { 0 } else { average * volume as i128 + i128::from(rest) };
        let bar = Bar { volume: Volume(volume), notional: Notional(notional), start, open, high, low, close, trades };
        Event::bar(Topic::bars(SymbolId(0), level), state, 0, &bar).revision(rev, reason, BarFlags(flags))
    }
}

prop_compose! {
    fn trades()(
        kind in 0..3u8,
        (ts_event, ts_recv) in (at(), at()),
        (price, size) in (any::<i64>(), any::<u64>()),
        id in prop_oneof!["", "[0-9]{1,30}", "[A-Za-z0-9-]{1,14}", "[ -~]{15,40}"],
        venue in any::<u8>(),
        letter in any::<bool>(),
        conditions in any::<[u8; 4]>(),
    ) -> Event {
        let (id, symbol) = (TradeId::from_text(id.as_bytes()), SymbolId(0));
        let tick = match kind {
            0 => Tick::trade(symbol, ts_event, ts_recv, Price(price), Size(size)).with_id(id),
            1 => Tick::cancel(symbol, ts_event, ts_recv, id),
            _ => Tick::correction(symbol, ts_event, ts_recv, id, 0, (Price(price), Size(size))),
        };
        let mut tick = if letter { tick.with_venue_letter(venue) } else { tick.with_venue(Venue(venue)) };
        tick.conditions = conditions;
        Event::trade(Topic::trades(symbol), 0, &tick)
    }
}

prop_compose! {
    fn quotes()(
        prices in [price(), price(), price()],
        sizes in any::<[u64; 2]>(),
        volume in 0..1u128 << 100,
    ) -> Event {
        let mut quote = Quote::default();
        ([quote.bid, quote.ask, quote.last], [quote.bid_size, quote.ask_size]) = (prices, sizes.map(Size));
        quote.volume = Volume(volume);
        Event::quote(Topic::quotes(SymbolId(0)), 0, &quote)
    }
}

prop_compose! {
    fn cases()(
        event in prop_oneof![bars(), trades(), quotes()],
        symbol in "[A-Za-z0-9./:_#-]{1,32}",
        sequence in any::<u64>(),
        times in [at(), at(), at()],
        snapshot in any::<bool>(),
    ) -> Case {
        let [ts_event, ts_recv, now] = times;
        let mut event = event.at(ts_event, ts_recv);
        event.sequence = sequence;
        Case { event, symbol: Symbol::new(symbol.as_bytes()).unwrap(), now, snapshot }
    }
}

proptest! {
    #[test]
    fn a_record_says_what_the_json_says(case in cases()) {
        let bytes = case.record();
        let (record, used) = Record::read(&bytes).unwrap();
        prop_assert_eq!(used, bytes.len());
        prop_assert_eq!(used % 8, 0);
        prop_assert_eq!(record.json(), case.json());
        prop_assert_eq!(record.times, [case.event.ts_event.0, case.event.ts_recv.0, case.now.0]);
    }
}

/// The same cases in every run.
fn corpus() -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    (0..500).map(|_| cases().new_tree(&mut runner).unwrap().current()).collect()
}

/// The C program, compiled with every warning an error.
fn decoder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let done = Command::new("cc")
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-I"])
        .arg(root.join("tools"))
        .arg(root.join("tests/gateway/binary/decode.c"))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a C compiler, `cc`, is needed: apt-get install gcc libc6-dev");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

/// What the C program says of a message, and whether it found it sound.
fn decoded(program: &Path, message: &[u8]) -> (String, bool) {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("just compiled");
    child.stdin.take().unwrap().write_all(message).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}", output.status);
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn the_c_header_reads_every_field() {
    let program = decoder("decode");
    let message: Vec<u8> = corpus().iter().flat_map(Case::record).collect();
    let mut want = String::new();
    let mut at = 0;
    while at < message.len() {
        let (record, used) = Record::read(&message[at..]).unwrap();
        writeln!(want, "{}", record.line()).unwrap();
        at += used;
    }
    let (said, sound) = decoded(&program, &message);
    assert!(sound);
    for (said, want) in said.lines().zip(want.lines()) {
        assert_eq!(said, want);
    }
    assert_eq!(said.lines().count(), 500);
}

#[test]
fn the_c_header_refuses_what_is_cut_or_damaged_and_passes_over_what_it_does_not_know() {
    let program = decoder("decode-damaged");
    let case = &corpus()[0];
    let whole = case.record();
    for cut in [1, 79, 80, whole.len() - 1] {
        assert_eq!(decoded(&program, &whole[..cut]), (String::new(), false), "{cut} bytes");
    }
    // Version, length (too short, uneven, too long), length of the symbol.
    for (place, value) in [(2, 9), (4, 72), (4, 137), (5, 1), (43, 0), (43, 33)] {
        let mut bad = whole.clone();
        bad[place] = value;
        assert!(!decoded(&program, &bad).1, "byte {place} is {value}");
    }
    let mut unknown = whole.clone();
    unknown[0] = 77;
    let longer = [&whole[..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let length = longer.len() as u32;
    let mut message = unknown;
    message.extend(longer);
    let at = whole.len() + 4;
    message[at..at + 4].copy_from_slice(&length.to_le_bytes());
    let (said, sound) = decoded(&program, &message);
    let lines: Vec<&str> = said.lines().collect();
    let line = Record::read(&whole).unwrap().0.line();
    assert_eq!((sound, lines.len(), lines[0].starts_with("77 ")), (true, 2, true), "{said}");
    assert_eq!(lines[1], line, "what a later server appends changes nothing");
}

#[test]
fn any_bytes_are_read_without_a_crash() {
    let program = decoder("decode-any");
    let mut runner = TestRunner::new(Config { cases: 100, failure_persistence: None, ..Config::default() });
    let records: Vec<Vec<u8>> = corpus().iter().map(Case::record).collect();
    let strategy = (0..500usize, proptest::collection::vec((0..168usize, any::<u8>()), 1..8));
    runner
        .run(&strategy, |(which, changes)| {
            let mut bytes = records[which].clone();
            for (place, value) in changes {
                let length = bytes.len();
                bytes[place % length] = value;
            }
            decoded(&program, &bytes);
            Ok(())
        })
        .unwrap();
}
