//! Replays against listeners on loopback: what arrives, when it is due, and what is said when it fails.

#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;
use tickwire::feed::tcp::{After, LineConnection};
use tickwire::feed::websocket::MessageConnection;
use tickwire::feed::{Context, DIALECTS, DialectRow, Tallies, find, parse_all};
use tickwire::model::{Nanos, Price, Size, SymbolCache, SymbolTable, Tick, TickKind, UnixNanos};
use tickwire::replay::{ReplayError, ReplayOptions, Retimer, Schedule, Sent, Speed, Target, run};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

const USDM: &str = include_str!("../data/feed/binance-usdm.txt");
const FX: &str = include_str!("../data/feed/fx-quotes.csv");
const EQUITIES: &str = include_str!("../data/feed/us-equities-trades.csv");

const NOW: UnixNanos = UnixNanos(1_750_000_000_000_000_000);

fn dialect(name: &str) -> &'static DialectRow {
    find(name).unwrap()
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn text_of(name: &str) -> String {
    let bytes = std::fs::read(recorded(name)).unwrap();
    let mut text = String::new();
    if name.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    text
}

/// A file that is gone after the test.
struct Written(PathBuf);

impl Written {
    fn new(text: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tickwire-replay-{}-{n}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn without_stamps(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.split_once(' ').unwrap().1)).collect()
}

fn options(files: &[&Path], format: &str, to: &str) -> ReplayOptions {
    let files = files.iter().map(|path| path.to_path_buf()).collect();
    let mut options = ReplayOptions::new(files, dialect(format), to.parse().unwrap());
    options.speed = Speed::Max;
    options
}

fn replay(options: &ReplayOptions) -> Result<Sent, ReplayError> {
    run(options, &AtomicBool::new(false), |_, _| {})
}

/// Takes `connections` one after the other and gives what each sent.
fn tcp_server(connections: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let take = |_| {
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            text
        };
        (0..connections).map(take).collect()
    });
    (to, thread)
}

/// What a publisher sent on one connection.
struct Published {
    path: String,
    messages: Vec<Message>,
    close: Option<CloseFrame>,
}

#[allow(clippy::result_large_err)]
fn ws_server() -> (String, JoinHandle<Published>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("ws://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut published = Published { path: String::new(), messages: Vec::new(), close: None };
        let note = |request: &Request, response: Response| {
            published.path = request.uri().to_string();
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(listener.accept().unwrap().0, note).unwrap();
        // A publisher answers pings, or it would be taken for dead.
        socket.send(Message::Ping(vec![7].into())).unwrap();
        let mut pongs = 0;
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => published.close = frame,
                Ok(Message::Pong(_)) => pongs += 1,
                Ok(message) => published.messages.push(message),
                Err(_) => break,
            }
        }
        assert!(pongs <= 1);
        published
    });
    (to, thread)
}

#[test]
fn every_byte_arrives_over_tcp() {
    for (name, format) in [
        ("massive.jsonl.gz", "massive"),
        ("fx-quotes.csv.gz", "csv"),
        ("demo-equities.csv.gz", "csv"),
        ("feed/us-equities-trades.csv", "csv"),
    ] {
        let (to, server) = tcp_server(1);
        let sent = replay(&options(&[&recorded(name)], format, &to)).unwrap();
        let text = text_of(name);
        assert!(server.join().unwrap()[0] == text, "{name}");
        assert_eq!(sent.lines, text.lines().count() as u64);
        assert_eq!(sent.bytes, text.len() as u64);
        assert_eq!((sent.ticks, sent.connections, sent.acknowledged), (None, 1, true));
    }
}

#[test]
fn every_byte_arrives_over_websocket_in_messages_of_whole_lines() {
    for (name, format) in [("massive.jsonl.gz", "massive"), ("fx-quotes.csv.gz", "csv")] {
        let (to, server) = ws_server();
        let sent = replay(&options(&[&recorded(name)], format, &to)).unwrap();
        let published = server.join().unwrap();
        let text = text_of(name);
        let messages: Vec<_> = published.messages.iter().map(|m| m.to_text().unwrap()).collect();
        assert!(messages.iter().map(|m| format!("{m}\n")).collect::<String>() == text, "{name}");
        assert!(messages.iter().all(|m| m.len() <= 64 * 1024));
        assert!(messages.len() <= 2 * (text.len() / (64 * 1024) + 1), "{} messages", messages.len());
        assert_eq!(published.path, "/ingest");
        assert_eq!(published.close.unwrap().code, CloseCode::Normal);
        assert_eq!((sent.bytes, sent.acknowledged), (text.len() as u64, true));
    }
}

#[test]
fn a_recorded_receive_time_is_dropped_and_nothing_else() {
    let (to, server) = tcp_server(1);
    replay(&options(&[&recorded("feed/binance-usdm.txt")], "binance", &to)).unwrap();
    assert_eq!(server.join().unwrap()[0], without_stamps(USDM));
}

#[test]
fn lines_that_are_no_text_or_too_long_or_blank_stop_nothing() {
    let file = Written::new(b"\n{\"e\":\xff}\r\n0123456789012345678901234567890123456789\n\n[]");
    let (to, server) = ws_server();
    let mut options = options(&[&file.0], "massive", &to);
    options.line_bytes_max = 32;
    let sent = replay(&options).unwrap();
    let published = server.join().unwrap();
    assert_eq!(published.messages, [Message::binary(b"\n{\"e\":\xff}\n\n[]".to_vec())]);
    assert_eq!((sent.lines, sent.too_long), (4, 1));
}

#[test]
fn files_under_one_header_share_a_connection_and_others_get_their_own() {
    let first = Written::new(b"symbol,timestamp_ms,price,size\nA,1381132800000,1,1\n");
    let second = Written::new(b"symbol,timestamp_ms,price,size\nA,1381132801000,2,1");
    let third = Written::new(b"symbol,timestamp_us,price,size\nA,1381132802000000,3,1\n");
    let (to, server) = tcp_server(2);
    let sent = replay(&options(&[&first.0, &second.0, &third.0], "csv", &to)).unwrap();
    assert_eq!(
        server.join().unwrap(),
        [
            "symbol,timestamp_ms,price,size\nA,1381132800000,1,1\nA,1381132801000,2,1\n",
            "symbol,timestamp_us,price,size\nA,1381132802000000,3,1\n",
        ]
    );
    assert_eq!((sent.lines, sent.connections, sent.acknowledged), (5, 2, true));
}

#[test]
fn progress_ends_at_the_size_of_all_files() {
    let files = [recorded("massive.jsonl.gz"), recorded("massive.jsonl.gz")];
    let total: u64 = files.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    let (to, server) = tcp_server(1);
    let mut seen = Vec::new();
    let options = options(&[&files[0], &files[1]], "massive", &to);
    run(&options, &AtomicBool::new(false), |done, of| seen.push((done, of))).unwrap();
    server.join().unwrap();
    assert!(seen.is_sorted() && seen.iter().all(|&(_, of)| of == total));
    assert_eq!(seen.last(), Some(&(total, total)));
}

// What an engine makes of it.

/// Symbol, event time, price and size of trades, as a live engine reads them.
type Trades = Vec<(String, UnixNanos, Price, Size)>;

fn trades(ticks: &[Tick], symbols: &SymbolTable) -> Trades {
    let name = |tick: &Tick| symbols.name(tick.symbol).unwrap().to_string();
    let is_trade = |tick: &&Tick| tick.kind() == TickKind::Trade;
    ticks.iter().filter(is_trade).map(|t| (name(t), t.ts_event, t.price, t.size)).collect()
}

fn engine(format: &'static str, over_websocket: bool) -> (String, JoinHandle<(Trades, u64)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if over_websocket { "ws" } else { "tcp" };
    let to = format!("{scheme}://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let symbols = SymbolTable::new(100);
        let mut cache = SymbolCache::new(symbols.clone());
        let mut tallies = Tallies::new(format);
        let mut cx =
            Context { now: NOW, source: 0, recorded: false, symbols: &mut cache, tallies: &mut tallies };
        let mut ticks = Vec::new();
        let give_up = NOW + Nanos::from_secs(5);
        let mut lines = LineConnection::new(dialect(format), 1 << 20);
        let mut messages = MessageConnection::new(dialect(format), 1 << 20, give_up);
        loop {
            let after = if over_websocket {
                messages.read(&mut stream, give_up, &mut cx, &mut ticks)
            } else {
                lines.read(&mut stream, &mut cx, &mut ticks)
            };
            if after == After::Ended {
                break;
            }
        }
        assert_eq!(tallies.faults, 0);
        (trades(&ticks, &symbols), tallies.rejected())
    });
    (to, thread)
}

#[test]
fn an_engine_reads_the_ticks_of_the_file() {
    for (name, format) in [
        ("massive.jsonl.gz", "massive"),
        ("binance-usdm-raw.txt.gz", "binance"),
        ("demo-equities.csv.gz", "csv"),
    ] {
        let symbols = SymbolTable::new(100);
        let (ticks, tallies) = parse_all(dialect(format), text_of(name).as_bytes(), NOW, &symbols);
        for over_websocket in [false, true] {
            let (to, engine) = engine(format, over_websocket);
            let sent = replay(&options(&[&recorded(name)], format, &to)).unwrap();
            let (arrived, rejected) = engine.join().unwrap();
            assert!(arrived == trades(&ticks, &symbols), "{name} to {to}");
            assert_eq!(rejected, tallies.rejected(), "{name} to {to}");
            assert!(sent.acknowledged, "{name} to {to}");
        }
    }
}

// When a line is due.

fn at_ms(ms: i64) -> UnixNanos {
    NOW + Nanos::from_millis(ms)
}

fn dues(speed: &str, times: &[Option<i64>]) -> Vec<i64> {
    let start = UnixNanos(5_000_000_000);
    let mut schedule = Schedule::new(speed.parse().unwrap(), start);
    let due = |ms: &Option<i64>| schedule.due(ms.map(at_ms)).since(start).0 / 1000;
    times.iter().map(due).collect()
}

#[test]
fn gaps_are_the_recorded_ones_over_the_speed() {
    let times = [Some(0), Some(250), Some(250), Some(1000)];
    assert_eq!(dues("1x", &times), [0, 250_000, 250_000, 1_000_000]);
    assert_eq!(dues("100x", &times), [0, 2_500, 2_500, 10_000]);
    assert_eq!(dues("0.5x", &times), [0, 500_000, 500_000, 2_000_000]);
    assert_eq!(dues("max", &times), [0; 4]);
}

#[test]
fn a_line_without_a_time_goes_with_the_one_before_and_none_overtakes() {
    assert_eq!(dues("1x", &[None, Some(0), None, Some(3), None]), [0, 0, 0, 3_000, 3_000]);
    assert_eq!(dues("1x", &[Some(0), Some(9), Some(4), Some(10)]), [0, 9_000, 9_000, 10_000]);
}

#[test]
fn a_real_recording_is_due_within_its_own_span_at_every_speed() {
    let symbols = SymbolTable::new(10);
    let (ticks, _) = parse_all(dialect("csv"), FX.as_bytes(), NOW, &symbols);
    let (first, last) = (ticks[0].ts_event, ticks[ticks.len() - 1].ts_event);
    for (speed, num, den) in [("1x", 1, 1), ("100x", 100, 1), ("0.25x", 1, 4)] {
        let mut schedule = Schedule::new(speed.parse().unwrap(), NOW);
        for tick in &ticks {
            let due = schedule.due(Some(tick.ts_event)).since(NOW).0;
            assert_eq!(due, tick.ts_event.since(first).0 * den / num);
        }
        assert_eq!(schedule.due(None).since(NOW).0, last.since(first).0 * den / num);
    }
}

#[test]
fn a_file_that_goes_on_keeps_its_gap_and_one_that_steps_back_begins_anew() {
    let mut schedule = Schedule::new(Speed::RECORDED, NOW);
    assert_eq!(schedule.shift(), None);
    schedule.due(Some(at_ms(-10_000)));
    assert_eq!(schedule.shift(), Some(Nanos::from_millis(10_000)));
    schedule.due(Some(at_ms(-9_000)));
    schedule.begin_file();
    assert_eq!(schedule.due(Some(at_ms(-8_000))), at_ms(2_000));
    schedule.begin_file();
    assert_eq!(schedule.due(Some(at_ms(-10_000))), at_ms(2_000));
    assert_eq!(schedule.due(Some(at_ms(-9_500))), at_ms(2_500));
    assert_eq!(schedule.shift(), Some(Nanos::from_millis(12_000)));
}

#[test]
fn extreme_times_are_due_at_the_ends_of_the_range() {
    let mut schedule = Schedule::new("0.000001x".parse().unwrap(), NOW);
    schedule.due(Some(UnixNanos::MIN));
    assert_eq!(schedule.due(Some(UnixNanos::MAX)), UnixNanos::MAX);
    let mut schedule = Schedule::new(Speed::RECORDED, UnixNanos::MIN);
    schedule.due(Some(UnixNanos::MAX));
    assert_eq!(schedule.due(Some(UnixNanos::MIN)), UnixNanos::MIN);
    assert_eq!(schedule.shift().unwrap().0 % 1_000_000, 0);
}

#[test]
fn a_paced_replay_takes_no_less_than_its_span() {
    // 41 s of quotes at 1000x.
    let symbols = SymbolTable::new(10);
    let (ticks, _) = parse_all(dialect("csv"), FX.as_bytes(), NOW, &symbols);
    let span = ticks[ticks.len() - 1].ts_event.since(ticks[0].ts_event).to_duration() / 1000;
    let (to, server) = tcp_server(1);
    let mut options = options(&[&recorded("feed/fx-quotes.csv")], "csv", &to);
    options.speed = "1000x".parse().unwrap();
    let sent = replay(&options).unwrap();
    assert!(server.join().unwrap()[0] == FX);
    assert!(sent.elapsed >= span, "{:?} < {span:?}", sent.elapsed);
    assert_eq!(sent.ticks, Some(ticks.len() as u64));
}

// Times moved to now.

const SHIFT: Nanos = Nanos::from_millis(123_456_789_012);

fn retimed(format: &str, header: &str, line: &str, shift: Nanos) -> String {
    let retimer = Retimer::new(dialect(format), header.as_bytes()).unwrap().unwrap();
    let mut out = Vec::new();
    retimer.retime(line.as_bytes(), shift, &mut out);
    String::from_utf8(out).unwrap()
}

/// Adds the shift to the named members of a JSON value: what the text must mean after the move.
fn move_json(value: &mut Value, names: &[&str]) -> usize {
    match value {
        Value::Array(list) => list.iter_mut().map(|value| move_json(value, names)).sum(),
        Value::Object(members) => {
            let mut moved = 0;
            for (name, value) in members {
                match value.as_i64() {
                    Some(ms) if names.contains(&name.as_str()) => {
                        *value = (ms + SHIFT.0 / 1_000_000).into();
                        moved += 1;
                    }
                    _ => moved += move_json(value, names),
                }
            }
            moved
        }
        _ => 0,
    }
}

#[test]
fn json_times_all_move_by_one_span_and_nothing_else_moves() {
    for (name, format, names) in [
        ("massive.jsonl.gz", "massive", &["t", "pt", "trft"][..]),
        ("binance-usdm-raw.txt.gz", "binance", &["E", "T"]),
        ("binance-spot-raw.txt.gz", "binance", &["E", "T"]),
    ] {
        let mut moved = 0;
        for line in text_of(name).lines() {
            let line = line
                .strip_prefix(|c: char| c.is_ascii_digit())
                .map_or(line, |_| line.split_once(' ').unwrap().1);
            let after = retimed(format, "", line, SHIFT);
            let mut wanted: Value = serde_json::from_str(line).unwrap();
            moved += move_json(&mut wanted, names);
            assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), wanted);
            // And back again, byte for byte.
            assert_eq!(retimed(format, "", &after, Nanos(-SHIFT.0)), line);
        }
        assert!(moved > 500, "{name}: {moved}");
    }
}

#[test]
fn what_only_looks_like_a_time_stays() {
    for line in [
        r#"{"i":"\"t\":1381329960250","sym":"t","x":[1381329960250]}"#,
        r#"{"t":138132996025.5}"#,
        r#"{"t":1381329960250e3}"#,
        r#"{"t":"1381329960250"}"#,
        r#"{"s":100,"t":0,"e":null,"pt":-1381329960250}"#,
        r#"{"t":99999999999999999999999}"#,
        r#"{"t"#,
        r#"{"t":"#,
        r#"{"t\"#,
        "",
    ] {
        assert_eq!(retimed("massive", "", line, SHIFT), line);
    }
    assert_eq!(
        retimed("massive", "", r#"[{"ev":"AM","s" : 1381329960250,"e":1381330020250}]"#, SHIFT),
        r#"[{"ev":"AM","s" : 1504786749262,"e":1504786809262}]"#
    );
    assert_eq!(
        retimed(
            "binance",
            "",
            r#"{"e":"trade","t":5123107839020,"u":5123107839020,"T":1723161256322}"#,
            SHIFT
        ),
        r#"{"e":"trade","t":5123107839020,"u":5123107839020,"T":1846618045334}"#
    );
}

#[test]
fn csv_times_move_in_their_own_unit() {
    let header = |unit: &str| format!("price,\"Timestamp{unit}\",size,symbol");
    for (unit, before, after) in [
        ("_ms", "1,1381132800464,1,1381132800464", "1,1504589589476,1,1381132800464"),
        ("_ms", "\"1,5\",\"1381132800464\",1,A", "\"1,5\",\"1504589589476\",1,A"),
        ("_us", "1,1381132800464001,1,A", "1,1504589589476001,1,A"),
        ("_ns", "1,1381132800464001002,1,A", "1,1504589589476001002,1,A"),
        ("", "1,2013-10-07T08:00:00.464Z,1,A", "1,2017-09-05T05:33:09.476Z,1,A"),
        ("", "1,2013-10-07T04:00:00.464001-04:00,1,A", "1,2017-09-05T05:33:09.476001Z,1,A"),
        ("", "1,2013-10-07 08:00:00,1,A", "1,2017-09-05T05:33:09.012Z,1,A"),
        ("_ms", "1,,1,A", "1,,1,A"),
        ("_ms", "1", "1"),
        ("_ms", "1,12,1,A", "1,12,1,A"),
        ("_ns", "1,9223372036854775807,1,A", "1,9223372036854775807,1,A"),
        ("", "1,yesterday,1,A", "1,yesterday,1,A"),
    ] {
        assert_eq!(retimed("csv", &header(unit), before, SHIFT), after);
    }
}

#[test]
fn a_retimed_replay_begins_now_and_keeps_every_gap() {
    let (to, server) = tcp_server(1);
    let mut options = options(&[&recorded("feed/us-equities-trades.csv")], "csv", &to);
    options.retime = true;
    let time = |line: &str| -> i64 { line.split(',').nth(1).unwrap().parse().unwrap() };
    let unix_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let before = unix_ms();
    replay(&options).unwrap();
    let after = unix_ms();
    let arrived = &server.join().unwrap()[0];
    let first = time(arrived.lines().nth(1).unwrap());
    // The span is rounded down to a millisecond.
    assert!((before - 1..=after).contains(&first), "{before} {first} {after}");
    let shift = first - time(EQUITIES.lines().nth(1).unwrap());
    let wanted = EQUITIES.lines().enumerate().map(|(n, line)| match n {
        0 => format!("{line}\n"),
        _ => line.replacen(&time(line).to_string(), &(time(line) + shift).to_string(), 1) + "\n",
    });
    assert!(*arrived == wanted.collect::<String>());
}

#[test]
fn lines_before_the_first_time_move_by_the_same_span() {
    let (to, server) = tcp_server(1);
    let file = Written::new(
        b"[{\"ev\":\"AM\",\"sym\":\"A\",\"s\":1381329900000}]\n[{\"ev\":\"T\",\"sym\":\"A\",\"p\":1,\"s\":1,\"t\":1381329960000}]\n",
    );
    let mut options = options(&[&file.0], "massive", &to);
    options.retime = true;
    replay(&options).unwrap();
    let arrived = server.join().unwrap().remove(0);
    let times: Vec<i64> = arrived
        .lines()
        .map(|line| line.trim_end_matches("}]").rsplit(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(times[1] - times[0], 60_000);
    assert!(times[0] > 1_600_000_000_000);
}

proptest! {
    #[test]
    fn no_line_panics_and_none_grows_out_of_bounds(
        line in proptest::collection::vec(any::<u8>(), 0..200),
        json in "[\\[{\"tETs:,. 0-9\\\\e}\\]]{0,80}",
        shift in any::<i64>(),
    ) {
        let headers = ["symbol,timestamp_ns,price,size", "timestamp,symbol,bid,ask"];
        for row in DIALECTS {
            for header in headers {
                let Ok(Some(retimer)) = Retimer::new(row, header.as_bytes()) else { continue };
                for line in [&line[..], json.as_bytes()] {
                    let mut out = Vec::new();
                    retimer.retime(line, Nanos(shift), &mut out);
                    prop_assert!(out.len() <= line.len() + 20 * (line.len() / 16 + 1));
                }
            }
        }
    }

    #[test]
    fn no_text_panics_as_a_speed_or_a_target(text in "\\PC{0,40}", rest in "[-a-z0-9.:/\\[\\]@#%]{0,20}") {
        for text in [text, format!("ws://{rest}"), format!("tcp://{rest}"), format!("{rest}x")] {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
            if let Ok(speed) = text.parse::<Speed>() {
                prop_assert_eq!(speed.to_string().parse::<Speed>().is_ok(), true);
            }
        }
    }
}

// What is said when it fails.

#[test]
fn a_speed_is_a_multiple_or_max() {
    for good in ["1x", "0.5x", "10x", "max", "0.000001x", "999999999x", "2.50x"] {
        assert!(good.parse::<Speed>().is_ok(), "{good}");
    }
    assert_eq!("1x".parse(), Ok(Speed::RECORDED));
    assert_eq!("0.5x".parse::<Speed>().unwrap().to_string(), "0.5x");
    for bad in
        ["", "x", "1", "0x", "0.0x", "-1x", "1.x", ".5x", "1e3x", "max ", "MAX", "1.0000001x", "9999999999x"]
    {
        let said = bad.parse::<Speed>().unwrap_err().to_string();
        assert!(said.contains(&format!("{bad:?}")) && said.contains("10x") && said.contains("max"), "{said}");
    }
}

#[test]
fn a_target_is_a_websocket_or_a_tcp_address() {
    for (text, shown) in [
        ("ws://127.0.0.1:9000", "ws://127.0.0.1:9000/ingest"),
        ("ws://localhost:9000/", "ws://localhost:9000/ingest"),
        ("ws://localhost:9000/feed?key=1", "ws://localhost:9000/feed?key=1"),
        ("ws://[::1]:9000", "ws://[::1]:9000/ingest"),
        ("tcp://127.0.0.1:9001", "tcp://127.0.0.1:9001"),
    ] {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
    }
    assert_eq!("ws://[::1]:9000".parse::<Target>().unwrap().address(), ("::1", 9000));
    for (bad, why) in [
        ("localhost:9000", "no scheme"),
        ("http://localhost:9000", "neither ws nor tcp"),
        ("wss://localhost:9000", "not wss"),
        ("ws://localhost", "no port"),
        ("ws://localhost:0", "port 0"),
        ("ws://localhost:99999", "no "),
        ("ws://me@localhost:9000", "user name"),
        ("tcp://localhost:9000/ingest", "no path"),
        ("ws://", "no "),
        ("ws://:9000", "no "),
    ] {
        let said = bad.parse::<Target>().unwrap_err().to_string();
        assert!(said.contains(why) && said.contains("tcp://HOST:PORT"), "{bad}: {said}");
    }
}

#[test]
fn a_refused_connection_names_the_target() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    for to in [format!("tcp://{addr}"), format!("ws://{addr}")] {
        let said =
            replay(&options(&[&recorded("massive.jsonl.gz")], "massive", &to)).unwrap_err().to_string();
        assert!(said.contains(&to) && said.contains("refused") && said.contains("engine"), "{said}");
    }
}

#[test]
fn an_answer_that_is_no_websocket_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("ws://{}/nowhere", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = [0; 2048];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream
            .write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\npublishers connect to /ingest.\n",
            )
            .unwrap();
    });
    let said = replay(&options(&[&recorded("massive.jsonl.gz")], "massive", &to)).unwrap_err().to_string();
    server.join().unwrap();
    assert!(said.contains("404") && said.contains("publishers connect to /ingest"), "{said}");
}

#[test]
fn a_handshake_without_an_answer_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("ws://{}", listener.local_addr().unwrap());
    let mut options = options(&[&recorded("massive.jsonl.gz")], "massive", &to);
    options.connect_max = Nanos::from_millis(50);
    let said = replay(&options).unwrap_err().to_string();
    assert!(said.contains("in time"), "{said}");
}

/// A recording of one line a second for an hour.
fn hour() -> Written {
    let mut text = b"symbol,timestamp_ms,price,size\n".to_vec();
    for second in 0..3600 {
        writeln!(text, "A,{},1,1", 1_381_132_800_000i64 + second * 1000).unwrap();
    }
    Written::new(&text)
}

#[test]
fn a_connection_that_closes_is_told_with_the_lines_sent() {
    let file = hour();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
    });
    let mut options = options(&[&file.0], "csv", &to);
    options.speed = Speed::RECORDED;
    let error = replay(&options).unwrap_err();
    server.join().unwrap();
    let said = error.to_string();
    // The header and the first row; the second row is due a second later.
    assert!(matches!(error, ReplayError::Closed { lines: 2, .. }), "{said}");
    assert!(said.contains("2 lines") && said.contains("closed the connection"), "{said}");
}

#[test]
fn a_close_shows_its_code_and_reason() {
    let file = hour();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("ws://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        socket.read().unwrap();
        let reason = "the csv header cannot be used".into();
        socket.close(Some(CloseFrame { code: CloseCode::Policy, reason })).unwrap();
        while socket.read().is_ok() {}
    });
    let mut options = options(&[&file.0], "csv", &to);
    options.speed = Speed::RECORDED;
    let said = replay(&options).unwrap_err().to_string();
    server.join().unwrap();
    assert!(said.contains("1008") && said.contains("the csv header") && said.contains("2 lines"), "{said}");
}

#[test]
fn files_that_cannot_be_used_are_told_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let say = |files: &[&Path], format: &str| {
        let mut options = options(files, format, &to);
        options.retime = true;
        replay(&options).unwrap_err().to_string()
    };
    assert!(say(&[], "csv").contains("at least one file"));
    let there = recorded("feed/fx-quotes.csv");
    assert!(say(&[&there, Path::new("/nowhere/at.csv")], "csv").contains("/nowhere/at.csv"));
    let bad = Written::new(b"symbol,time,price,size\n");
    assert!(say(&[&bad.0], "csv").contains("timestamp_ns, timestamp_us, timestamp_ms"));
    let said = say(&[&there], "massive");
    assert!(said.contains("no time") && said.contains("massive"), "{said}");
    assert!(listener.accept().is_err());
}

#[test]
fn what_was_read_of_a_broken_file_is_sent() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let text = text_of("demo-equities.csv.gz");
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let file = Written::new(&packed[..packed.len() / 2]);
    let (to, server) = tcp_server(1);
    let said = replay(&options(&[&file.0], "csv", &to)).unwrap_err().to_string();
    let arrived = server.join().unwrap().remove(0);
    assert!(said.contains("past its line"), "{said}");
    assert!(text.starts_with(&arrived) && arrived.len() > 100_000, "{}", arrived.len());
}

#[test]
fn a_stop_ends_a_replay_that_waits_and_one_that_is_stalled() {
    let file = hour();
    // More than the buffers of two sockets hold, in one batch.
    let big = Written::new(&b"[{\"ev\":\"none\"}]\n".repeat(4 << 20));
    for (file, format, speed, scheme, lines) in [
        (&file, "csv", Speed::RECORDED, "tcp", 2),
        (&file, "csv", Speed::RECORDED, "ws", 2),
        (&big, "massive", Speed::Max, "tcp", 0),
        (&big, "massive", Speed::Max, "ws", 0),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = format!("{scheme}://{}", listener.local_addr().unwrap());
        let mut options = options(&[&file.0], format, &to);
        options.speed = speed;
        options.batch_bytes_max = 128 << 20;
        options.close_max = Nanos::from_millis(50);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let replay = std::thread::spawn(move || run(&options, &stopped, |_, _| {}));
        let mut stream = listener.accept().unwrap().0;
        if scheme == "ws" {
            stream = tungstenite::accept(stream).unwrap().into_inner();
        }
        // The first byte has come, and nobody reads the others.
        stream.read_exact(&mut [0]).unwrap();
        stop.store(true, Ordering::Relaxed);
        let sent = replay.join().unwrap().unwrap();
        assert_eq!((sent.lines, sent.acknowledged), (lines, false), "{to}");
        drop(stream);
    }
}

#[test]
fn a_peer_that_reads_on_after_the_end_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let mut stream: TcpStream = listener.accept().unwrap().0;
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        // All was read, and yet the replay has not ended: our end of the connection is still open.
        let ended_before = has_ended.try_recv().is_ok();
        (text.len(), ended_before)
    });
    let sent = replay(&options(&[&recorded("massive.jsonl.gz")], "massive", &to)).unwrap();
    // Nobody may be there any more to hear it.
    let _ = ended.send(());
    assert_eq!(server.join().unwrap(), (sent.bytes as usize, false));
}
