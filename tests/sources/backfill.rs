//! The REST side of a feed against a server that does what real ones do on a bad day. Time is the test's own: only the sockets'
//! limits are waited for.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

mod server;

use std::io::Write;
use std::time::{Duration, Instant};

use tickwire::backfill::client::Client;
use tickwire::backfill::desk::{Desk, Reply, Trouble};
use tickwire::backfill::meter::Meter;
use tickwire::backfill::tallies::Count;
use tickwire::backfill::{self, BackfillOptions, Lines, RestOptions, Secret, VENDORS, find};
use tickwire::model::{
    Bar, BarOrigin, Nanos, Notional, Price, RestWish, Symbol, SymbolId, SymbolTable, Timeframes, UnixNanos,
    UpstreamBar, Volume,
};
use tickwire::runtime::{Bell, Clock, Report, ring};

use server::{Server, cut, ok, slow, with};

const KEY: &str = "a-key-that-nobody-may-see";
const SECOND: Nanos = Nanos::from_secs(1);
const MINUTE: Nanos = Nanos::from_secs(60);

/// 2026-03-05T15:00:00Z.
fn t0() -> UnixNanos {
    UnixNanos(1_772_722_800_000_000_000)
}

fn minute(n: i64) -> UnixNanos {
    t0() + Nanos(MINUTE.0 * n)
}

/// One desk, the budget, the sockets; and a clock that goes on when there is nothing to do.
struct Bench {
    desk: Desk,
    meter: Meter,
    client: Client,
    symbols: SymbolTable,
    now: UnixNanos,
    /// When each request left.
    sent: Vec<UnixNanos>,
    notes: Vec<String>,
    /// Minutes that are told to have had no trades.
    quiet: Vec<i64>,
}

impl Bench {
    fn new(options: RestOptions, timeframes: &str, seal_after: Nanos) -> Self {
        let symbols = SymbolTable::new(100);
        for name in ["AAPL", "BTCUSDT"] {
            symbols.intern(&Symbol::new(name.as_bytes()).unwrap()).unwrap();
        }
        let client = Client::new(&options).unwrap();
        let meter = Meter::new(options.weight_per_minute_max);
        let now = minute(60);
        let timeframes = Timeframes::parse(timeframes).unwrap();
        let desk = Desk::new(3, options, &timeframes, seal_after, 7, now);
        Self { desk, meter, client, symbols, now, sent: Vec::new(), notes: Vec::new(), quiet: Vec::new() }
    }

    fn massive(server: &Server) -> Self {
        Self::new(options(server, "massive"), "1m,5m", Nanos::from_secs(86_400))
    }

    fn binance(server: &Server) -> Self {
        Self::new(options(server, "binance-spot"), "1m,5m", Nanos::from_secs(864_000))
    }

    /// Everything that is to be done within a day, one request after the other. What says that nothing was traded is put aside.
    fn run(&mut self) -> Vec<UpstreamBar> {
        let (mut bars, end) = (Vec::new(), self.now + Nanos::from_secs(86_400));
        while self.now < end {
            while let Some(call) = self.desk.next_call(self.now, &mut self.meter, &self.symbols) {
                self.sent.push(self.now);
                let outcome = self.client.fetch(&call.path);
                self.desk.answered(call, outcome, self.now, &mut self.meter, &mut bars);
            }
            match self.desk.deadline(&self.meter) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        let mut report = Report::new("rest", self.now);
        self.desk.hand_over(&mut report);
        assert!(report.notes.iter().all(|note| !note.contains(KEY)), "the key is in {:?}", report.notes);
        self.notes.append(&mut report.notes);
        let (quiet, bars) = bars.into_iter().partition::<Vec<_>, _>(|bar| bar.bar == nothing(bar.bar.start));
        assert!(quiet.iter().all(|bar| bar.origin == BarOrigin::Backfill && bar.closed));
        self.quiet = starts(&quiet);
        bars
    }

    fn count(&self, what: Count) -> u64 {
        self.desk.tallies().get(what)
    }
}

fn options(server: &Server, vendor: &str) -> RestOptions {
    RestOptions {
        base_url: server.url.parse().unwrap(),
        key: Some(Secret::new(KEY)),
        step_max: Nanos::from_secs(2),
        request_max: Nanos::from_secs(2),
        ..RestOptions::new("desk", find(vendor).unwrap())
    }
}

const AAPL: SymbolId = SymbolId(0);
const BTCUSDT: SymbolId = SymbolId(1);

fn nothing(start: UnixNanos) -> Bar {
    Bar { start, ..Bar::default() }
}

/// Massive's rows of the minutes `from..to`.
fn rows(from: i64, to: i64) -> String {
    let row = |n: i64| {
        let t = minute(n).millis();
        format!(r#"{{"v":100.5,"vw":10.25,"o":10.1,"c":10.2,"h":10.5,"l":10,"t":{t},"n":7}}"#)
    };
    (from..to).map(row).collect::<Vec<_>>().join(",")
}

fn page(rows: &str, next: &str) -> Vec<u8> {
    ok(format!(
        r#"{{"ticker":"AAPL","queryCount":1,"resultsCount":1,"adjusted":false,"results":[{rows}],"status":"OK","request_id":"x"{next}}}"#
    )
    .as_bytes())
}

/// Binance's row of a minute.
fn kline(n: i64) -> String {
    let (open, close) = (minute(n).millis(), minute(n + 1).millis() - 1);
    format!(
        r#"[{open},"61000.10","61010.00","60990.5","61005.00","3.844E-5",{close},"2.34461256",2,"0","0","0"]"#
    )
}

fn klines(from: i64, to: i64) -> Vec<u8> {
    ok(format!("[{}]", (from..to).map(kline).collect::<Vec<_>>().join(",")).as_bytes())
}

fn starts(bars: &[UpstreamBar]) -> Vec<i64> {
    bars.iter().map(|bar| bar.bar.start.since(t0()).0 / MINUTE.0).collect()
}

#[test]
fn a_gap_in_massive_is_asked_for_in_whole_bars_and_comes_back_exact() {
    let server = Server::start(vec![with(page(&rows(10, 13), ""))]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(10) + SECOND, minute(12) + SECOND, bench.now);
    let bars = bench.run();
    assert_eq!(starts(&bars), [10, 11, 12]);
    let bar = bars[0];
    assert_eq!((bar.source, bar.symbol, bar.origin, bar.seconds), (3, AAPL, BarOrigin::Backfill, 60));
    assert!(bar.closed && bar.has_notional);
    assert_eq!((bar.bar.volume, bar.bar.trades), (Volume(10_050_000_000), 7));
    assert_eq!(bar.bar.notional, Notional(10_250_000_000 * 10_050_000_000));
    assert_eq!(
        [bar.bar.open, bar.bar.high, bar.bar.low, bar.bar.close].map(|Price(p)| p / 1_000_000),
        [10_100, 10_500, 10_000, 10_200]
    );
    let request = &server.requests()[0];
    let (from, last) = (minute(10).millis(), minute(13).millis() - 1);
    let line = format!(
        "GET /v2/aggs/ticker/AAPL/range/1/minute/{from}/{last}?adjusted=false&sort=asc&limit=50000 HTTP/1.1"
    );
    assert_eq!(request.lines().next(), Some(line.as_str()));
    assert!(request.to_lowercase().contains(&format!("authorization: bearer {KEY}\r\n")), "{request}");
}

#[test]
fn an_average_with_more_digits_than_a_price_gives_the_turnover_to_the_last_unit() {
    // Averages of 3 shares at 10.1, 10.1, 10.2, as a float has them; and one that ends half way between two units.
    let averages = ["10.133333333333333", "10.0000000005", "10.0000000015"];
    let volumes = ["3", "0.00000001", "0.00000001"];
    let row = |n: i64| {
        let (average, volume) = (averages[n as usize], volumes[n as usize]);
        rows(n, n + 1).replace("10.25", average).replace("100.5", volume)
    };
    let text = (0..3).map(row).collect::<Vec<_>>().join(",");
    let server = Server::start(vec![with(page(&text, ""))]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(3), bench.now);
    let sums: Vec<Notional> = bench.run().iter().map(|bar| bar.bar.notional).collect();
    assert_eq!(
        sums,
        [Notional(3_039_999_999_999_999_900), Notional(10_000_000_000), Notional(10_000_000_002)]
    );
    assert_eq!(bench.count(Count::Rounded), 0);
}

#[test]
fn every_page_is_asked_for_at_the_configured_host_with_the_key() {
    let next = |n: i64| format!(r#","next_url":"https://elsewhere.example/v2/aggs/next?cursor={n}%3D""#);
    let server = Server::start(vec![
        with(page(&rows(0, 2), &next(1))),
        with(page(&rows(2, 4), &next(2))),
        with(page(&rows(4, 6), "")),
    ]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(6), bench.now);
    assert_eq!(starts(&bench.run()), [0, 1, 2, 3, 4, 5]);
    let requests = server.requests();
    assert!(requests[1].starts_with("GET /v2/aggs/next?cursor=1%3D HTTP/1.1"), "{}", requests[1]);
    assert!(requests[2].starts_with("GET /v2/aggs/next?cursor=2%3D HTTP/1.1"), "{}", requests[2]);
    assert!(requests.iter().all(|request| request.contains(KEY)));
    assert_eq!((bench.count(Count::Requests), bench.count(Count::Pages)), (3, 2));
}

#[test]
fn pages_without_an_end_have_one() {
    let endless = || with(page("", r#","next_url":"/again""#));
    let server = Server::start((0..70).map(|_| endless()).collect());
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(6), bench.now);
    assert!(bench.run().is_empty());
    assert_eq!((bench.count(Count::Requests), bench.count(Count::GivenUp)), (64, 6));
    assert!(bench.notes[0].contains("more than 64 pages"), "{:?}", bench.notes);
}

#[test]
fn a_wide_gap_in_binance_is_asked_for_by_time_a_thousand_bars_at_once() {
    let server =
        Server::start(vec![with(klines(-2_500, -1_500)), with(klines(-1_500, -500)), with(klines(-500, 0))]);
    let mut bench = Bench::binance(&server);
    bench.desk.fill(BTCUSDT, minute(-2_500), minute(0), bench.now);
    let bars = bench.run();
    assert_eq!(starts(&bars), (-2_500..0).collect::<Vec<_>>());
    assert_eq!(
        (bars[0].bar.volume, bars[0].bar.notional),
        (Volume(3_844), Notional(234_461_256_000_000_000))
    );
    let requests = server.requests();
    let line = |from: i64, to: i64, limit: i64| {
        let (start, end) = (minute(from).millis(), minute(to).millis() - 1);
        format!(
            "GET /api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={start}&endTime={end}&limit={limit} HTTP/1.1\r\n"
        )
    };
    assert!(requests[0].starts_with(&line(-2_500, -1_500, 1_000)), "{}", requests[0]);
    assert!(requests[2].starts_with(&line(-500, 0, 500)), "{}", requests[2]);
}

#[test]
fn told_to_slow_down_it_sends_nothing_for_as_long_as_it_was_told() {
    let told = |status: &str, wait: &str| {
        with(
            format!("HTTP/1.1 {status}\r\n{wait}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes(),
        )
    };
    let server = Server::start(vec![
        told("429 Too Many Requests", "Retry-After: 7\r\n"),
        told("418 I'm a teapot", ""),
        with(klines(0, 1)),
    ]);
    let mut bench = Bench::binance(&server);
    let began = bench.now;
    bench.desk.fill(BTCUSDT, minute(0), minute(1), began);
    assert_eq!(starts(&bench.run()), [0]);
    assert_eq!(bench.sent, [began, began + Nanos::from_secs(7), began + Nanos::from_secs(67)]);
    assert_eq!((bench.count(Count::Slowed), bench.count(Count::GivenUp)), (2, 0));
}

#[test]
fn a_budget_that_others_spent_is_left_alone_until_the_minute_is_over() {
    let spent =
        "HTTP/1.1 200 OK\r\nX-MBX-USED-WEIGHT-1M: 3000\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]";
    let server = Server::start(vec![with(spent.into()), with(klines(5, 6))]);
    let mut bench = Bench::binance(&server);
    bench.now += SECOND;
    let began = bench.now;
    bench.desk.fill(BTCUSDT, minute(0), minute(1), began);
    bench.desk.fill(BTCUSDT, minute(5), minute(6), began);
    assert_eq!(starts(&bench.run()), [5]);
    assert_eq!(bench.sent, [began, minute(61)]);
}

#[test]
fn no_minute_has_more_requests_than_it_may() {
    let server = Server::start((0..12).map(|n| with(page(&rows(n * 2, n * 2 + 1), ""))).collect());
    let options = RestOptions { weight_per_minute_max: 5, ..options(&server, "massive") };
    let mut bench = Bench::new(options, "1m", Nanos::from_secs(86_400));
    (0..12).for_each(|n| bench.desk.fill(AAPL, minute(n * 2), minute(n * 2 + 1), bench.now));
    assert_eq!(bench.run().len(), 12);
    let most =
        bench.sent.iter().map(|at| bench.sent.iter().filter(|b| *b >= at && **b < *at + MINUTE).count());
    assert_eq!(most.max(), Some(5));
}

#[test]
fn an_error_of_the_server_is_tried_again_after_a_longer_and_longer_time() {
    let wrong = || with(b"HTTP/1.1 500 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nsic".to_vec());
    let server = Server::start(vec![wrong(), wrong(), wrong(), with(page(&rows(0, 1), ""))]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert_eq!(starts(&bench.run()), [0]);
    let waits: Vec<i64> = bench.sent.windows(2).map(|pair| pair[1].since(pair[0]).0 / 1_000_000).collect();
    for (wait, range) in waits.iter().zip([250..=500, 500..=1_000, 1_000..=2_000]) {
        assert!(range.contains(wait), "{waits:?}");
    }
    assert_eq!((bench.count(Count::Retries), bench.count(Count::Failed)), (3, 3));
}

#[test]
fn what_never_works_is_given_up_counted_and_said() {
    let wrong = || with(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec());
    let server = Server::start((0..9).map(|_| wrong()).collect());
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(3), bench.now);
    assert!(bench.run().is_empty());
    assert_eq!((bench.count(Count::Requests), bench.count(Count::GivenUp)), (5, 3));
    let note = "desk: AAPL 2026-03-05T15:00:00.000000Z to 2026-03-05T15:03:00.000000Z not filled: status 503, 5 times";
    assert_eq!(bench.notes, [note]);
}

#[test]
fn nobody_there_is_trouble_like_any_other() {
    let gone = Server::start(vec![]);
    let mut options = options(&gone, "massive");
    // The port of a listener that has gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    options.base_url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let mut bench = Bench::new(options, "1m", Nanos::from_secs(86_400));
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert!(bench.run().is_empty());
    assert_eq!((bench.count(Count::Failed), bench.count(Count::GivenUp)), (5, 1));
    assert!(bench.notes[0].contains("connection: "), "{:?}", bench.notes);
}

#[test]
fn a_body_that_is_cut_short_is_asked_for_again_whole() {
    let whole = page(&rows(0, 3), "");
    for at in [whole.len() - 1, whole.len() / 2, 20] {
        let server = Server::start(vec![cut(whole[..at].to_vec()), with(whole.clone())]);
        let mut bench = Bench::massive(&server);
        bench.desk.fill(AAPL, minute(0), minute(3), bench.now);
        assert_eq!(starts(&bench.run()), [0, 1, 2], "cut at {at}");
        assert_eq!(bench.count(Count::Failed), 1, "cut at {at}");
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_not_waited_for() {
    let server = Server::start(vec![slow(page(&rows(0, 1), "")), with(page(&rows(0, 1), ""))]);
    let options = RestOptions { request_max: Nanos::from_millis(300), ..options(&server, "massive") };
    let mut bench = Bench::new(options, "1m", Nanos::from_secs(86_400));
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert_eq!(starts(&bench.run()), [0]);
    assert_eq!(bench.count(Count::Failed), 1);
}

#[test]
fn a_megabyte_of_anything_is_no_answer_and_nothing_of_it_counts() {
    let garbage = || {
        let mut state = 7_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        with(ok(&(0..1 << 20).map(|_| byte()).collect::<Vec<u8>>()))
    };
    let nested = || with(ok(&vec![b'['; 1 << 20]));
    let server = Server::start(vec![garbage(), nested(), garbage(), with(klines(0, 1))]);
    let mut bench = Bench::binance(&server);
    bench.desk.fill(BTCUSDT, minute(0), minute(1), bench.now);
    assert_eq!(starts(&bench.run()), [0]);
    assert_eq!((bench.count(Count::Failed), bench.count(Count::Rows)), (3, 1));
}

#[test]
fn an_answer_longer_than_its_limit_is_refused_without_unpacking_the_rest() {
    let long = || with(ok(&vec![b' '; 200_000]));
    // 200 KB of blanks in a few hundred bytes, and a checksum that only one who unpacks all of it finds wrong.
    let mut bomb = server::gzip(&vec![b' '; 200_000]);
    assert!(bomb.len() < 1_000);
    let checksum = bomb.len() - 8;
    bomb[checksum] ^= 1;
    let server = Server::start(vec![long(), with(bomb), long()]);
    let options = RestOptions { body_bytes_max: 100_000, ..options(&server, "massive") };
    let client = Client::new(&options).unwrap();
    for what in ["plain", "packed"] {
        assert_eq!(client.fetch("/x").unwrap_err(), Trouble::TooLong(100_000), "{what}");
    }
    // It would be as long the next time.
    let mut bench = Bench::new(options, "1m", Nanos::from_secs(86_400));
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert!(bench.run().is_empty());
    assert_eq!((bench.count(Count::Requests), bench.count(Count::GivenUp)), (1, 1));
}

#[test]
fn chunked_and_packed_bodies_are_read() {
    let text = format!("[{}]", kline(0));
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    for chunk in text.as_bytes().chunks(7) {
        write!(chunked, "{:x}\r\n", chunk.len()).unwrap();
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let server = Server::start(vec![with(chunked), with(server::gzip(text.as_bytes()))]);
    let mut bench = Bench::binance(&server);
    for _ in 0..2 {
        bench.desk.fill(BTCUSDT, minute(0), minute(1), bench.now);
        assert_eq!(starts(&bench.run()), [0]);
    }
    assert!(server.requests()[0].to_lowercase().contains("accept-encoding: gzip"));
}

#[test]
fn wrong_rows_are_refused_one_by_one_and_the_others_count() {
    let t = |n: i64| minute(n).millis();
    let good = kline(2);
    let wrong = [
        ("wrong_type", "17".to_owned()),
        ("wrong_type", kline(0).replace(r#""61000.10""#, "61000.10")),
        ("wrong_type", kline(0).replace(&t(0).to_string(), r#""soon""#)),
        ("missing_field", format!("[{}]", t(0))),
        ("missing_field", kline(0).replace(r#""61000.10""#, "null")),
        ("bad_number", kline(0).replace("61000.10", "NaN")),
        ("bad_number", kline(0).replace(",2,\"0\"", ",-2,\"0\"")),
        ("price_range", kline(0).replace("60990.5", "0")),
        ("price_range", kline(0).replace("61010.00", "1e10")),
        ("volume_range", kline(0).replace("3.844E-5", "-3.844E-50")),
        ("volume_range", kline(0).replace("3.844E-5", "1e30")),
        ("high_low", kline(0).replace("61010.00", "61000.00")),
        ("time_range", kline(-1)),
        ("time_range", kline(9)),
        ("time_range", kline(0).replace(&t(0).to_string(), &(t(0) + 1).to_string())),
        ("repeated", kline(2)),
    ];
    for (reason, row) in &wrong {
        let (before, after) =
            if *reason == "repeated" { (good.clone(), row.clone()) } else { (row.clone(), good.clone()) };
        let server = Server::start(vec![with(ok(format!("[{before},{after},{}]", kline(3)).as_bytes()))]);
        let mut bench = Bench::binance(&server);
        bench.desk.fill(BTCUSDT, minute(0), minute(4), bench.now);
        assert_eq!(starts(&bench.run()), [2, 3], "{reason}: {row}");
        assert_eq!((bench.count(Count::Rows), bench.count(Count::Refused)), (3, 1), "{reason}: {row}");
        let said = bench.notes.iter().any(|note| note.contains(&format!("refused: {reason}")));
        assert!(said, "{reason}: {row}: {:?}", bench.notes);
    }
}

#[test]
fn bars_of_another_symbol_are_refused_whole() {
    let other = String::from_utf8(page(&rows(0, 1), "")).unwrap().replace(r#""AAPL""#, r#""MSFT""#);
    let server = Server::start(vec![with(other.into_bytes()), with(page(&rows(0, 1), ""))]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert_eq!(starts(&bench.run()), [0]);
    assert_eq!((bench.count(Count::Failed), bench.count(Count::Rows)), (1, 1));
}

#[test]
fn an_interval_without_trades_is_told_by_its_row_or_where_vendors_leave_it_out_for_want_of_one() {
    let flat = |n: i64| {
        kline(n).replace("3.844E-5", "0.00000").replace("2.34461256", "0").replace(",2,\"0\"", ",0,\"0\"")
    };
    let massive = |rows: &str, next: &str| {
        format!(
            r#"{{"ticker":"AAPL","queryCount":1,"adjusted":false,"results":[{rows}],"status":"OK"{next}}}"#
        )
    };
    let row = |n: i64| rows(n, n + 1);
    let late = |text: String| text.replace("OK", "DELAYED");
    let other = |n: i64, from: &str, to: &str| row(n).replace(from, to);
    let never = r#"{"v":1,"o":1,"c":1,"h":1,"l":1}"#.to_owned();
    // Vendor, its answers to a question for minutes 0 to 4, and which of those it says were quiet.
    let cases: Vec<(&str, Vec<String>, &[i64])> = vec![
        // Binance has a row for every interval: one that is not there may still come.
        ("binance-spot", vec![format!("[{},{}]", kline(0), flat(1))], &[1]),
        ("binance-spot", vec!["[]".to_owned()], &[]),
        ("binance-spot", vec![format!("[{},{}]", flat(2), kline(2))], &[]),
        ("massive", vec![massive("", "")], &[0, 1, 2, 3]),
        ("massive", vec![massive(&row(2), "")], &[0, 1, 3]),
        ("massive", vec![massive(&[row(0), row(1), row(2), row(3)].join(","), "")], &[]),
        // What is served late has no rows yet.
        ("massive", vec![late(massive(&row(0), ""))], &[]),
        // A row that is refused may have been one; one without a time may be of any interval.
        ("massive", vec![massive(&[row(0), other(2, "10.1", "-1")].join(","), "")], &[1, 3]),
        ("massive", vec![massive(&[row(0), never].join(","), "")], &[]),
        // Only what was asked for, on every page of it.
        ("massive", vec![massive(&row(7), "")], &[0, 1, 2, 3]),
        ("massive", vec![massive(&row(1), r#","next_url":"/n""#), massive("", "")], &[0, 2, 3]),
        ("massive", vec![massive(&row(1), r#","next_url":"/n""#), massive(&row(3), "")], &[0, 2]),
    ];
    for (vendor, answers, quiet) in cases {
        let server = Server::start(answers.iter().map(|text| with(ok(text.as_bytes()))).collect());
        let mut bench = Bench::new(options(&server, vendor), "1m,5m", Nanos::from_secs(864_000));
        let symbol = if vendor == "massive" { AAPL } else { BTCUSDT };
        bench.desk.fill(symbol, minute(0), minute(4), bench.now);
        bench.run();
        assert_eq!(bench.quiet, quiet, "{answers:?}");
        let counts = [Count::Quiet, Count::Failed].map(|what| bench.count(what));
        assert_eq!(counts, [quiet.len() as u64, 0], "{answers:?}");
    }
}

#[test]
fn what_is_polled_does_not_say_that_nothing_is_missing() {
    let server = Server::start(vec![]);
    let mut bench = Bench::binance(&server);
    bench.now += Nanos::from_secs(30);
    bench.desk.poll(BTCUSDT, true, bench.now);
    let call = bench.desk.next_call(bench.now, &mut bench.meter, &bench.symbols).unwrap();
    let flat = kline(59).replace("3.844E-5", "0").replace("2.34461256", "0").replace(",2,\"0\"", ",0,\"0\"");
    let reply = Reply { status: 200, body: format!("[{flat}]").into_bytes(), ..Reply::default() };
    let mut bars = Vec::new();
    bench.desk.answered(call, Ok(reply), bench.now, &mut bench.meter, &mut bars);
    assert_eq!(bars, []);
    assert_eq!((bench.count(Count::Empty), bench.count(Count::Quiet)), (1, 0));
}

#[test]
fn a_redirect_is_refused_and_the_key_goes_nowhere_else() {
    let elsewhere = Server::start(vec![with(page(&rows(0, 1), ""))]);
    let to = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/v2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        elsewhere.url
    );
    let server = Server::start(vec![with(to.into_bytes())]);
    let mut bench = Bench::massive(&server);
    bench.desk.fill(AAPL, minute(0), minute(1), bench.now);
    assert!(bench.run().is_empty());
    assert!(elsewhere.requests().is_empty());
    assert!(
        bench.notes[0].ends_with("not filled: status 302: redirects are not followed"),
        "{:?}",
        bench.notes
    );
}

#[test]
fn a_refused_key_is_said_and_the_rest_waits_a_minute() {
    let denied = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let server = Server::start(vec![with(denied), with(page(&rows(5, 6), ""))]);
    let mut bench = Bench::massive(&server);
    let began = bench.now;
    bench.desk.fill(AAPL, minute(0), minute(1), began);
    bench.desk.fill(AAPL, minute(5), minute(6), began);
    assert_eq!(starts(&bench.run()), [5]);
    assert_eq!(bench.sent, [began, began + MINUTE]);
    assert!(bench.notes[0].contains("is the key right"), "{:?}", bench.notes);
}

#[test]
fn a_bar_that_by_the_vendors_clock_is_not_over_is_asked_for_again() {
    // 15:02:30 there, 16:00:00 here.
    let early =
        [b"HTTP/1.1 200 OK\r\nDate: Thu, 05 Mar 2026 15:02:30 GMT\r\n".to_vec(), klines(0, 3).split_off(17)]
            .concat();
    let server = Server::start(vec![with(early), with(klines(2, 4))]);
    let mut bench = Bench::binance(&server);
    bench.desk.fill(BTCUSDT, minute(0), minute(4), bench.now);
    let bars = bench.run();
    assert_eq!(starts(&bars), [0, 1, 2, 3]);
    assert_eq!(bench.sent[1].since(bench.sent[0]), Nanos::from_secs(90));
    assert!(server.requests()[1].contains(&format!("startTime={}", minute(2).millis())));
}

#[test]
fn while_every_connection_is_down_the_newest_bars_come_again_and_again() {
    let server = Server::start((59..70).map(|n| with(klines(n, n + 1))).collect());
    let mut bench = Bench::binance(&server);
    let mut bars = Vec::new();
    bench.desk.poll(BTCUSDT, true, bench.now);
    // Ten minutes by the clock.
    while bench.now < minute(70) {
        while let Some(call) = bench.desk.next_call(bench.now, &mut bench.meter, &bench.symbols) {
            bench.sent.push(bench.now);
            let outcome = bench.client.fetch(&call.path);
            bench.desk.answered(call, outcome, bench.now, &mut bench.meter, &mut bars);
        }
        bench.now = bench.desk.deadline(&bench.meter).unwrap();
    }
    assert_eq!(starts(&bars), (59..69).collect::<Vec<_>>());
    assert!(bars.iter().all(|bar| bar.origin == BarOrigin::Polled));
    assert_eq!(bench.sent.len(), 10, "{:?}", bench.sent);
    bench.desk.poll(BTCUSDT, false, bench.now);
    assert_eq!(bench.desk.deadline(&bench.meter), None);
}

#[test]
fn what_can_no_longer_be_revised_is_not_asked_for_and_is_counted() {
    let server = Server::start(vec![with(page(&rows(45, 47), ""))]);
    let mut bench = Bench::new(options(&server, "massive"), "1m", Nanos::from_secs(900));
    bench.desk.fill(AAPL, minute(40), minute(47), bench.now);
    bench.desk.fill(AAPL, minute(1), minute(3), bench.now);
    assert_eq!(starts(&bench.run()), [45, 46]);
    assert!(server.requests()[0].contains(&format!("/{}/", minute(45).millis())));
    assert_eq!((bench.count(Count::Requests), bench.count(Count::TooOld)), (1, 7));
}

#[test]
fn the_finest_length_that_the_vendor_has_is_asked_for_and_a_coarser_one_is_said() {
    let server = Server::start(vec![with(ok(b"[]")), with(ok(b"[]")), with(ok(b"[]"))]);
    for (vendor, path) in [
        ("binance-usdm", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&"),
        ("binance-spot", "/api/v3/klines?symbol=BTCUSDT&interval=1s&"),
    ] {
        let mut bench = Bench::new(options(&server, vendor), "1s,1m,5m", Nanos::from_secs(86_400));
        bench.desk.fill(BTCUSDT, minute(0), minute(1), bench.now);
        bench.run();
        assert!(server.requests().last().unwrap().starts_with(&format!("GET {path}")));
        assert_eq!(bench.notes.len(), usize::from(vendor == "binance-usdm"), "{:?}", bench.notes);
    }
    let mut bench = Bench::new(options(&server, "binance-usdm"), "10s", Nanos::from_secs(86_400));
    bench.desk.fill(BTCUSDT, minute(0), minute(1), bench.now);
    assert!(bench.run().is_empty());
    assert_eq!((bench.count(Count::NoLength), bench.count(Count::Requests)), (1, 0));
}

#[test]
fn tls_is_spoken_with_whom_the_authority_vouches_for_and_no_one_else() {
    let (server, authority) =
        Server::start_tls(vec![with(page(&rows(0, 1), "")), with(page(&rows(0, 1), ""))]);
    let folder = std::env::temp_dir().join(format!("tickwire-backfill-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("authority.pem");
    std::fs::write(&file, authority).unwrap();
    let trusting = RestOptions { ca_file: Some(file.clone()), ..options(&server, "massive") };
    let reply = Client::new(&trusting).unwrap().fetch("/x").unwrap();
    assert_eq!((reply.status, server.tls_versions()), (200, vec![rustls::ProtocolVersion::TLSv1_3]));
    let trouble = Client::new(&options(&server, "massive")).unwrap().fetch("/x").unwrap_err();
    assert!(matches!(trouble, Trouble::Tls(_)), "{trouble}");
    for (text, wanted) in [("", "no certificate in it"), ("-----BEGIN CERTIFICATE-----\nx", "PEM")] {
        std::fs::write(&file, text).unwrap();
        let error = Client::new(&trusting).err().unwrap().to_string();
        assert!(error.contains("authority.pem") && error.contains(wanted), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let error = Client::new(&trusting).err().unwrap();
    assert!(error.to_string().contains("authority.pem"), "{error}");
}

#[test]
fn the_thread_answers_wishes_through_a_ring_that_is_always_full_and_ends_with_them() {
    let now = Clock::real().now();
    let first = now.floor(MINUTE).minus(Nanos(MINUTE.0 * 5));
    let row = |n: i64| {
        kline(n).replace(&minute(n).millis().to_string(), &(first + Nanos(MINUTE.0 * n)).millis().to_string())
    };
    let body = format!("[{}]", (0..4).map(row).collect::<Vec<_>>().join(","));
    let server = Server::start(vec![with(ok(body.as_bytes()))]);
    let symbols = SymbolTable::new(10);
    let symbol = symbols.intern(&Symbol::new(b"BTCUSDT").unwrap()).unwrap();
    let (wishes, wanted) = crossbeam_channel::bounded(16);
    let (reports, reported) = crossbeam_channel::bounded(16);
    let (answers, mut bars) = ring(1, Bell::silent(), Bell::silent());
    let options = BackfillOptions {
        feeds: vec![(3, options(&server, "binance-spot"))],
        timeframes: Timeframes::parse("1m").unwrap(),
        seal_after: Nanos::from_secs(900),
    };
    let lines = Lines { wishes: wanted, answers, reports };
    let thread = backfill::spawn(options, lines, symbols, Clock::real()).unwrap();
    wishes.send(RestWish::Fill { source: 9, symbol, from: first, to: now }).unwrap();
    wishes.send(RestWish::Fill { source: 3, symbol, from: first, to: first + Nanos(MINUTE.0 * 4) }).unwrap();
    let (mut ticks, patience) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    while ticks.len() < 8 && Instant::now() < patience {
        match bars.pop() {
            Some(tick) => ticks.push(tick),
            None => std::thread::yield_now(),
        }
    }
    let got: Vec<UpstreamBar> =
        ticks.chunks(2).map(|pair| UpstreamBar::from_ticks(&pair[0], &pair[1]).unwrap()).collect();
    assert_eq!(got.len(), 4);
    assert!(
        got.iter().zip(0..).all(|(bar, n)| bar.bar.start == first + Nanos(MINUTE.0 * n) && bar.source == 3)
    );
    drop(wishes);
    thread.join().unwrap();
    let last = reported.try_iter().last().unwrap();
    assert!(last.last && last.stage == "rest");
    let counter = |name: &str| last.counters.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    assert_eq!((counter("rest.desk.bars"), counter("rest.wishes_no_source")), (Some(4), Some(1)));
}

#[test]
fn every_vendor_of_the_table_has_an_address_and_bars() {
    for row in VENDORS {
        assert_eq!(row.base_url.parse::<backfill::BaseUrl>().unwrap().as_str(), row.base_url);
        assert!(row.vendor.has(60) && !row.vendor.has(0) && row.vendor.intervals_max(60) > 0, "{}", row.name);
        assert!(row.vendor.weight(1) <= row.weight_per_minute_max);
    }
    for bad in [
        "",
        "api.massive.com",
        "ftp://x",
        "https://",
        "https://:1",
        "https://x:0",
        "https://x:y",
        "https://u@x",
        "https://x?y",
        "https://x/#",
        "https://x y",
    ] {
        let error = bad.parse::<backfill::BaseUrl>().unwrap_err().to_string();
        assert!(error.contains("is not an address such as"), "{error}");
    }
    for good in ["http://127.0.0.1:8090", "https://[::1]:9", "https://[::1]", "https://x/prefix/"] {
        good.parse::<backfill::BaseUrl>().unwrap();
    }
    assert_eq!(format!("{:?}", Secret::new(KEY)), "(secret)");
}
