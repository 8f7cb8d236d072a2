//! The ingest stage over files, sockets in memory and full rings: nothing lost, order kept, memory bounded.

#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver as Reports;
use tickwire::feed::{Origin, Reason, SourceOptions, find, parse_all};
use tickwire::ingest::{Ingest, IngestOptions, Pace, Troubles};
use tickwire::model::{Nanos, SymbolTable, Tick, TickKind, UnixNanos};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::core::Core;
use tickwire::runtime::transport::{End, Network};
use tickwire::runtime::{Bell, Receiver, Report, Stage as _, ring};
use tungstenite::protocol::{Role, WebSocketContext};

const USDM: &str = include_str!("../data/feed/binance-usdm.txt");
const EQUITIES: &str = include_str!("../data/feed/us-equities-trades.csv");
const FX: &str = include_str!("../data/feed/fx-quotes.csv");
const CRYPTO: &str = include_str!("../data/feed/binance-trades.csv");
const NOW: UnixNanos = UnixNanos(1_750_000_000_000_000_000);
const PORT: u16 = 9000;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/feed").join(name)
}

struct Rig {
    core: Core,
    network: Network,
    clock: ManualClock,
    shards: Vec<Receiver<Tick>>,
    reports: Reports<Report>,
    troubles: Troubles,
    symbols: SymbolTable,
    progress: tickwire::feed::Progress,
}

fn options(sources: Vec<SourceOptions>, clock: &ManualClock) -> IngestOptions {
    IngestOptions {
        name: "ingest-0".to_owned(),
        sources,
        finish_at_end: true,
        pace: None,
        bell: Bell::silent(),
        clock: Clock::Manual(clock.clone()),
        outside: tickwire::ingest::Outside::default(),
    }
}

impl Rig {
    fn new(sources: Vec<SourceOptions>, pace: Option<Pace>, shards: usize, depth: usize) -> Self {
        let clock = ManualClock::at(NOW);
        let network = Network::default();
        let mut core = Core::inline(Clock::Manual(clock.clone()), network.clone());
        let (report_to, reports) = crossbeam_channel::bounded(1000);
        core.report_to(report_to);
        let symbols = SymbolTable::new(1000);
        let (senders, shards) = (0..shards).map(|_| ring(depth, core.bell(), core.bell())).unzip();
        let options = IngestOptions { pace, ..options(sources, &clock) };
        let ingest = Ingest::new(options, core.registrar().unwrap(), symbols.clone(), senders).unwrap();
        let (troubles, progress) = (ingest.troubles(), ingest.progress());
        core.add(Box::new(ingest));
        Self { core, network, clock, shards, reports, troubles, symbols, progress }
    }

    /// Turns until nothing moves; drains up to `each` ticks of each shard a turn.
    fn run(&mut self, each: usize, out: &mut Vec<Vec<Tick>>) {
        out.resize(self.shards.len(), Vec::new());
        let mut quiet = 0;
        while quiet < 3 {
            let busy = self.core.turn();
            let drained: usize = self
                .shards
                .iter_mut()
                .zip(&mut *out)
                .map(|(rx, out)| rx.drain(each, |tick| out.push(*tick)))
                .sum();
            quiet = if busy || drained > 0 { 0 } else { quiet + 1 };
        }
    }

    fn run_all(&mut self) -> Vec<Vec<Tick>> {
        let mut out = Vec::new();
        self.run(usize::MAX, &mut out);
        out
    }

    /// The newest value of a counter; asks for a report by moving the clock.
    fn counter(&mut self, name: &str) -> u64 {
        self.clock.advance(Nanos::from_secs(2));
        self.core.turn();
        let mut value = 0;
        let mut seen = false;
        while let Ok(report) = self.reports.try_recv() {
            seen = true;
            value = report.counters.iter().find(|(there, _)| there == name).map_or(0, |(_, n)| *n);
        }
        assert!(seen);
        value
    }
}

fn files(name: &str, dialect: &str, paths: Vec<PathBuf>) -> SourceOptions {
    SourceOptions::new(name, Origin::Files(paths), find(dialect).unwrap())
}

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

fn expected(dialect: &str, text: &str) -> Vec<Tick> {
    parse_all(find(dialect).unwrap(), text.as_bytes(), NOW, &SymbolTable::new(1000)).0
}

fn without_end(mut ticks: Vec<Tick>) -> Vec<Tick> {
    let end = ticks.pop().unwrap();
    assert_eq!((end.kind(), end.ts_event), (TickKind::Watermark, UnixNanos::MAX));
    ticks
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ingest");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_comes_out_whole_and_in_order_through_a_ring_of_two() {
    let mut rig = Rig::new(vec![files("eq", "csv", vec![data("us-equities-trades.csv")])], None, 1, 2);
    let mut out = Vec::new();
    rig.run(1, &mut out);
    assert_eq!(without_end(out.remove(0)), expected("csv", EQUITIES));
    assert_eq!(rig.core.live_stages(), 0);
    assert_eq!(rig.progress.done.load(Ordering::Relaxed), EQUITIES.len() as u64);
    assert_eq!(rig.progress.total.load(Ordering::Relaxed), EQUITIES.len() as u64);
}

#[test]
fn a_file_of_quotes_loses_none_to_conflation() {
    let mut rig = Rig::new(vec![files("fx", "csv", vec![data("fx-quotes.csv")])], None, 1, 3);
    let mut out = Vec::new();
    rig.run(1, &mut out);
    assert_eq!(without_end(out.remove(0)), expected("csv", FX));
}

#[test]
fn gzip_of_several_members_reads_as_the_plain_text() {
    let path = scratch("members.csv.gz");
    let (a, b) = EQUITIES.as_bytes().split_at(1000);
    std::fs::write(&path, [gzip(a), gzip(b)].concat()).unwrap();
    let mut rig = Rig::new(vec![files("eq", "csv", vec![path])], None, 1, 4096);
    assert_eq!(without_end(rig.run_all().remove(0)), expected("csv", EQUITIES));
    assert!(rig.troubles.list().is_empty());
}

#[test]
fn a_torn_gzip_gives_what_it_has_and_says_so() {
    let path = scratch("torn.csv.gz");
    let whole = gzip(EQUITIES.as_bytes());
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let mut rig = Rig::new(vec![files("eq", "csv", vec![path])], None, 1, 4096);
    let out = without_end(rig.run_all().remove(0));
    assert!(expected("csv", EQUITIES).starts_with(&out));
    let troubles = rig.troubles.list();
    assert!(troubles.len() == 1 && troubles[0].contains("torn.csv.gz"), "{troubles:?}");
}

#[test]
fn a_bad_header_names_the_file_and_the_next_file_is_still_read() {
    let path = scratch("header.csv");
    std::fs::write(&path, "symbol,time,price,size\nA,1,1,1\n").unwrap();
    let mut rig =
        Rig::new(vec![files("eq", "csv", vec![path, data("us-equities-trades.csv")])], None, 1, 4096);
    assert_eq!(without_end(rig.run_all().remove(0)), expected("csv", EQUITIES));
    let troubles = rig.troubles.list();
    assert!(troubles[0].contains("header.csv") && troubles[0].contains("timestamp"), "{troubles:?}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let clock = ManualClock::at(NOW);
    let core = Core::inline(Clock::Manual(clock.clone()), Network::default());
    let options = options(vec![files("x", "csv", vec![data("none.csv")])], &clock);
    let error =
        Ingest::new(options, core.registrar().unwrap(), SymbolTable::new(1), Vec::new()).err().unwrap();
    assert!(error.to_string().contains("none.csv"), "{error}");
}

#[test]
fn every_symbol_goes_to_the_shard_of_its_name() {
    let mut rig = Rig::new(vec![files("c", "csv", vec![data("binance-trades.csv")])], None, 3, 4096);
    let out = rig.run_all();
    let want = expected("csv", CRYPTO);
    assert_eq!(out.iter().map(Vec::len).sum::<usize>(), want.len() + 3);
    for (shard, ticks) in out.into_iter().enumerate() {
        for tick in without_end(ticks) {
            assert_eq!(rig.symbols.name(tick.symbol).unwrap().shard(3), shard);
        }
    }
}

fn push(end: &mut End, text: &[u8], mut turn: impl FnMut()) {
    let mut rest = text;
    while !rest.is_empty() {
        match end.write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        turn();
    }
}

fn received_now(mut ticks: Vec<Tick>) -> Vec<Tick> {
    ticks.iter_mut().for_each(|tick| tick.ts_recv = NOW);
    ticks
}

#[test]
fn bytes_cut_anywhere_give_the_same_ticks_over_tcp() {
    let text: String = USDM.lines().take(3).map(|line| format!("{line}\r\n")).collect();
    let want = received_now(expected("binance", &text));
    let source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("binance").unwrap());
    let mut rig = Rig::new(vec![source], None, 1, 4096);
    for cut in 0..text.len() {
        let mut out = Vec::new();
        let mut end = rig.network.connect(PORT, 1 << 20).unwrap();
        end.write_all(&text.as_bytes()[..cut]).unwrap();
        rig.run(usize::MAX, &mut out);
        end.write_all(&text.as_bytes()[cut..]).unwrap();
        rig.run(usize::MAX, &mut out);
        drop(end);
        rig.run(usize::MAX, &mut out);
        assert_eq!(out[0], want, "cut at {cut}");
    }
    assert_eq!(rig.counter("ingest.connections"), 0);
}

#[test]
fn a_full_ring_pushes_back_on_tcp_and_loses_no_trade() {
    let mut long = EQUITIES.to_owned();
    for _ in 0..50 {
        long += EQUITIES.split_once('\n').unwrap().1;
    }
    let want = received_now(expected("csv", &long));
    let source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("csv").unwrap());
    let mut rig = Rig::new(vec![source], None, 1, 16);
    let mut end = rig.network.connect(PORT, 4096).unwrap();
    // Nobody drains: the sender must come to a halt.
    let mut sent = 0;
    let mut refused = 0;
    while refused < 20 {
        match end.write(&long.as_bytes()[sent..]) {
            Ok(n) => sent += n,
            Err(_) => refused += 1,
        }
        rig.core.turn();
    }
    assert!(sent < 80 * 1024, "{sent} bytes were taken in with nobody to take the ticks");
    let mut out = vec![Vec::new()];
    push(&mut end, &long.as_bytes()[sent..], || {
        rig.core.turn();
        rig.shards[0].drain(7, |tick| out[0].push(*tick));
    });
    drop(end);
    rig.run(5, &mut out);
    assert_eq!(out[0].len(), want.len());
    assert!(out[0] == want);
}

#[test]
fn a_live_source_keeps_the_latest_quote_and_every_trade_where_a_ring_is_full() {
    let source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("binance").unwrap());
    let mut rig = Rig::new(vec![source], None, 1, 4);
    let text = USDM.repeat(3);
    let want = expected("binance", &text);
    let mut end = rig.network.connect(PORT, 1 << 20).unwrap();
    end.write_all(text.as_bytes()).unwrap();
    for _ in 0..10 {
        rig.core.turn();
    }
    let mut out = Vec::new();
    rig.run(2, &mut out);
    let trades = |ticks: &[Tick]| -> Vec<u128> {
        ticks.iter().filter(|tick| tick.kind() == TickKind::Trade).map(|tick| tick.id().bits).collect()
    };
    assert_eq!(trades(&out[0]), trades(&want));
    let last_quote = |ticks: &[Tick]| {
        ticks.iter().rfind(|tick| tick.kind() == TickKind::Quote).map(|tick| (tick.price, tick.ask_size()))
    };
    assert_eq!(last_quote(&out[0]), last_quote(&want));
    let conflated = rig.counter("ingest.quotes_conflated");
    assert_eq!(conflated as usize + out[0].len(), want.len());
    assert!(conflated > 0);
}

#[test]
fn a_line_without_end_is_counted_once_and_the_connection_goes_on() {
    let mut source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("binance").unwrap());
    source.line_bytes_max = 10_000;
    let mut rig = Rig::new(vec![source], None, 1, 64);
    let mut end = rig.network.connect(PORT, 1 << 20).unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        push(&mut end, &piece, || {
            rig.core.turn();
        });
    }
    let good = USDM.lines().next().unwrap();
    push(&mut end, format!("\n{good}\n").as_bytes(), || {
        rig.core.turn();
    });
    assert_eq!(rig.run_all()[0].len(), 1);
    assert_eq!(rig.counter("feed.tcp.rejected.line_too_long"), 1);
    assert_eq!(rig.counter("feed.tcp.records"), 2);
    assert_eq!(rig.counter("ingest.connections"), 1);
}

#[test]
fn connections_past_the_limit_are_closed_and_a_free_place_is_taken_again() {
    let mut source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("binance").unwrap());
    source.connections_max = 2;
    let mut rig = Rig::new(vec![source], None, 1, 64);
    let mut ends: Vec<_> = (0..3).map(|_| rig.network.connect(PORT, 1 << 16).unwrap()).collect();
    rig.run_all();
    assert_eq!(ends[2].read(&mut [0; 8]).unwrap(), 0);
    assert_eq!((rig.counter("feed.tcp.connections"), rig.counter("feed.tcp.refused")), (2, 1));
    ends.truncate(1);
    rig.run_all();
    let mut again = rig.network.connect(PORT, 1 << 16).unwrap();
    again.write_all(USDM.as_bytes()).unwrap();
    assert!(!rig.run_all()[0].is_empty());
}

#[test]
fn a_silent_connection_is_closed_at_its_limit() {
    let mut source = SourceOptions::new("tcp", Origin::Tcp(addr()), find("binance").unwrap());
    source.idle_max = Some(Nanos::from_secs(10));
    let mut rig = Rig::new(vec![source], None, 1, 64);
    let mut end = rig.network.connect(PORT, 1 << 16).unwrap();
    rig.run_all();
    assert_eq!(rig.core.deadline(), Some(NOW + Nanos::from_secs(10)));
    rig.clock.set(NOW + Nanos::from_secs(10));
    rig.run_all();
    assert_eq!(end.read(&mut [0; 8]).unwrap(), 0);
}

/// A publisher: the handshake by hand, then tungstenite's client side.
fn publisher(rig: &mut Rig, path: &str) -> (End, WebSocketContext, String) {
    let mut end = rig.network.connect(PORT, 8 << 20).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    for piece in request.as_bytes().chunks(7) {
        end.write_all(piece).unwrap();
        rig.core.turn();
    }
    rig.core.turn();
    let mut answer = vec![0; 4096];
    let n = end.read(&mut answer).unwrap();
    answer.truncate(n);
    (end, WebSocketContext::new(Role::Client, None), String::from_utf8(answer).unwrap())
}

fn websocket_rig(limit: usize) -> Rig {
    let mut source = SourceOptions::new("ws", Origin::WebSocket(addr()), find("binance").unwrap());
    source.line_bytes_max = limit;
    Rig::new(vec![source], None, 1, 4096)
}

fn close_code(end: &mut End, client: &mut WebSocketContext) -> u16 {
    loop {
        match client.read(end) {
            Ok(tungstenite::Message::Close(Some(frame))) => return frame.code.into(),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_publisher_sends_lines_in_text_and_binary_messages() {
    let mut rig = websocket_rig(1 << 20);
    let (mut end, mut client, answer) = publisher(&mut rig, "/ingest");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.write(&mut end, tungstenite::Message::text(USDM)).unwrap();
    client.write(&mut end, tungstenite::Message::binary(USDM.as_bytes().to_vec())).unwrap();
    client.write(&mut end, tungstenite::Message::Ping(b"hello".to_vec().into())).unwrap();
    client.flush(&mut end).unwrap();
    let out = rig.run_all();
    let want = received_now(expected("binance", USDM));
    assert_eq!(out[0], [&want[..], &want[..]].concat());
    assert!(matches!(client.read(&mut end), Ok(tungstenite::Message::Pong(_))));
    rig.core.begin_stop(NOW);
    rig.run_all();
    assert_eq!(close_code(&mut end, &mut client), 1001);
    assert_eq!(rig.core.live_stages(), 0);
}

#[test]
fn a_publisher_on_another_path_is_told_404() {
    let mut rig = websocket_rig(1 << 20);
    let (_, _, answer) = publisher(&mut rig, "/v1/stream");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn a_publisher_out_of_bounds_is_closed_with_its_code() {
    // Masked with zeros, so the payload is plain.
    let raw = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, 0x80 | 126, (payload.len() >> 8) as u8, payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    };
    let cases = [
        (raw(0x81, &[b' '; 2000]), 1009, Some(Reason::LineTooLong)),
        (raw(0x81, &[0xff; 200]), 1007, Some(Reason::NotUtf8)),
        (raw(0xf1, &[b' '; 200]), 1002, None),
        (raw(0x83, &[b' '; 200]), 1002, None),
        (b"\x81\x05hello".to_vec(), 1002, None),
    ];
    for (frame, code, reason) in cases {
        let mut rig = websocket_rig(1000);
        let (mut end, mut client, _) = publisher(&mut rig, "/ingest");
        end.write_all(&frame).unwrap();
        // What follows must not eat the close.
        end.write_all(&[0; 300]).unwrap();
        rig.run_all();
        assert_eq!(close_code(&mut end, &mut client), code);
        drop(end);
        rig.run_all();
        assert_eq!(rig.counter("ingest.connections"), 0);
        if let Some(reason) = reason {
            assert_eq!(rig.counter(&format!("feed.ws.rejected.{}", reason.name())), 1);
        }
    }
}

#[test]
fn a_handshake_that_never_ends_is_cut_at_its_deadline() {
    let mut rig = websocket_rig(1000);
    let mut end = rig.network.connect(PORT, 1 << 16).unwrap();
    end.write_all(b"GET /ingest HTTP/1.1\r\n").unwrap();
    rig.run_all();
    rig.clock.set(rig.core.deadline().unwrap());
    rig.run_all();
    assert_eq!(end.read(&mut [0; 8]).unwrap(), 0);
}

fn pace() -> Pace {
    Pace { speed_num: 1, speed_den: 1, loop_forever: false, retime: true }
}

#[test]
fn paced_files_of_different_years_are_merged_and_moved_to_now() {
    let sources = vec![
        files("eq", "csv", vec![data("us-equities-trades.csv")]),
        files("crypto", "csv", vec![data("binance-trades.csv")]),
    ];
    let mut rig = Rig::new(sources, Some(pace()), 1, 4096);
    let mut out = vec![Vec::new()];
    loop {
        rig.run(usize::MAX, &mut out);
        match rig.core.deadline() {
            Some(at) if rig.core.live_stages() > 0 => rig.clock.set(at),
            _ => break,
        }
    }
    let out = without_end(out.remove(0));
    assert_eq!(out.len(), 199 + 99);
    for source in 0..2 {
        let mut ticks = out.iter().filter(|tick| tick.source == source);
        assert_eq!(ticks.next().unwrap().ts_event, NOW);
        assert!(ticks.all(|tick| tick.ts_event >= NOW && tick.ts_event == tick.ts_recv));
    }
    // The spacing is as recorded.
    let recorded = expected("csv", EQUITIES);
    let span = recorded[198].ts_event - recorded[0].ts_event;
    let last = out.iter().rfind(|tick| tick.source == 0).unwrap();
    assert_eq!(last.ts_event, NOW + span);
}

#[test]
fn several_files_of_one_paced_source_are_merged_by_time() {
    let (odd, even) = (scratch("odd.csv"), scratch("even.csv"));
    let mut halves =
        ["symbol,timestamp_ms,price,size\n".to_owned(), "symbol,timestamp_ms,price,size\n".to_owned()];
    for i in 0..100 {
        halves[i % 2] += &format!("A,{},{},1\n", 1_736_036_818_000u64 + i as u64, i + 1);
    }
    std::fs::write(&odd, &halves[0]).unwrap();
    std::fs::write(&even, &halves[1]).unwrap();
    let pace = Pace { retime: false, speed_num: 10, ..pace() };
    let mut rig = Rig::new(vec![files("a", "csv", vec![odd, even])], Some(pace), 1, 4096);
    rig.run_all();
    rig.clock.advance(Nanos::from_secs(1));
    let out = without_end(rig.run_all().remove(0));
    let prices: Vec<_> = out.iter().map(|tick| tick.price.0 / 1_000_000_000).collect();
    assert_eq!(prices, (2..=100).collect::<Vec<_>>());
}

#[test]
fn a_loop_has_fresh_times_and_trade_ids_in_every_round() {
    let pace = Pace { loop_forever: true, ..pace() };
    let mut rig = Rig::new(vec![files("c", "csv", vec![data("binance-trades.csv")])], Some(pace), 1, 4096);
    let mut out = vec![Vec::new()];
    while out[0].len() < 500 {
        rig.run(usize::MAX, &mut out);
        let at = rig.core.deadline().unwrap();
        rig.clock.set(at);
    }
    let mut seen = std::collections::HashSet::new();
    assert!(out[0].iter().all(|tick| seen.insert((tick.symbol, tick.id()))));
    assert!(out[0].windows(2).all(|pair| pair[0].ts_event <= pair[1].ts_event));
    assert_eq!(out[0][99].ts_event - out[0][98].ts_event, tickwire::ingest::LOOP_GAP);
}

#[test]
fn standard_input_is_read_from_its_thread_without_waiting() {
    let text: &'static [u8] = EQUITIES.as_bytes();
    let mut pipe = tickwire::feed::pipe::Pipe::spawn(text, Bell::silent()).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 1000];
    loop {
        match pipe.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                std::thread::yield_now();
            }
        }
    }
    assert_eq!(all, text);
}

#[test]
fn a_stop_hands_on_what_was_parsed_and_says_no_end() {
    let clock = ManualClock::at(NOW);
    let core = Core::inline(Clock::Manual(clock.clone()), Network::default());
    let (tx, mut rx) = ring(4, Bell::silent(), Bell::silent());
    let options = options(vec![files("eq", "csv", vec![data("us-equities-trades.csv")])], &clock);
    let mut ingest = Ingest::new(options, core.registrar().unwrap(), SymbolTable::new(10), vec![tx]).unwrap();
    assert!(!ingest.turn(NOW, &[]).finished);
    ingest.stop(NOW);
    let mut out = Vec::new();
    while !ingest.turn(NOW, &[]).finished {
        rx.drain(4, |tick| out.push(*tick));
    }
    rx.drain(4, |tick| out.push(*tick));
    assert_eq!(out, expected("csv", EQUITIES));
    assert!(ingest.tallies().all(|tallies| tallies.is_balanced()));
}

#[test]
fn order_holds_while_a_shard_on_another_thread_makes_room_at_any_moment() {
    let path = scratch("long.csv");
    let rows = EQUITIES.split_once('\n').unwrap().1;
    let text = EQUITIES.to_owned() + &rows.repeat(300);
    std::fs::write(&path, &text).unwrap();
    let clock = ManualClock::at(NOW);
    let core = Core::inline(Clock::Manual(clock.clone()), Network::default());
    let (tx, mut rx) = ring(3, Bell::silent(), Bell::silent());
    let options = options(vec![files("eq", "csv", vec![path])], &clock);
    let mut ingest = Ingest::new(options, core.registrar().unwrap(), SymbolTable::new(10), vec![tx]).unwrap();
    let shard = std::thread::spawn(move || {
        let mut out = Vec::new();
        while !rx.is_finished() {
            rx.drain(2, |tick| out.push(*tick));
        }
        out
    });
    while !ingest.turn(NOW, &[]).finished {}
    drop(ingest);
    assert!(without_end(shard.join().unwrap()) == expected("csv", &text));
}
