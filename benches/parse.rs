//! Feed messages into ticks, beside serde_json and sonic-rs reading the same fields of the same lines into typed structs.

use std::hint::black_box;
use std::io::Read as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use tickwire::feed::{self, Context, Dialect, Tallies};
use tickwire::model::{SymbolCache, SymbolTable, Tick, UnixNanos};

const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

/// A Massive trade or quote, as a user of a generic parser would declare it.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and then only looked at as a whole")]
struct Massive<'a> {
    ev: &'a str,
    #[serde(default)]
    sym: &'a str,
    #[serde(default)]
    i: serde::de::IgnoredAny,
    x: Option<u8>,
    z: Option<u8>,
    p: Option<f64>,
    s: Option<f64>,
    ds: Option<&'a str>,
    bp: Option<f64>,
    bs: Option<f64>,
    ap: Option<f64>,
    #[serde(rename = "as")]
    ask_size: Option<f64>,
    t: Option<i64>,
    q: Option<u64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and then only looked at as a whole")]
struct Combined<'a> {
    #[serde(borrow)]
    data: Binance<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and then only looked at as a whole")]
struct Binance<'a> {
    e: Option<&'a str>,
    s: Option<&'a str>,
    t: Option<u64>,
    #[serde(rename = "T")]
    time: Option<i64>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    #[serde(rename = "X")]
    kind: Option<&'a str>,
    b: Option<serde_json::Value>,
    a: Option<serde_json::Value>,
}

fn lines(path: &str) -> Vec<Vec<u8>> {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("tests/data is shipped");
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a gzip of text");
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

struct Ours {
    dialect: Box<dyn Dialect>,
    symbols: SymbolCache,
    tallies: Tallies,
    line: Vec<u8>,
    out: Vec<Tick>,
}

impl Ours {
    fn new(format: &str) -> Self {
        let row = feed::find(format).expect("a row of the table");
        let symbols = SymbolCache::new(SymbolTable::new(1_000));
        Self {
            dialect: (row.open)(),
            symbols,
            tallies: Tallies::new(format),
            line: Vec::new(),
            out: Vec::new(),
        }
    }

    /// A parser may write into its line, so each is copied, as a read from a socket would.
    fn read(&mut self, lines: &[Vec<u8>]) -> usize {
        let mut ticks = 0;
        for line in lines {
            self.line.clear();
            self.line.extend_from_slice(line);
            let Self { symbols, tallies, .. } = self;
            let mut cx = Context { now: NOW, source: 0, recorded: true, symbols, tallies };
            self.dialect.parse(&mut self.line, &mut cx, &mut self.out);
            ticks += black_box(&self.out).len();
            self.out.clear();
        }
        ticks
    }
}

fn json_of(line: &[u8]) -> &[u8] {
    let at = line.iter().position(|&b| b == b'{').unwrap_or(0);
    &line[at..]
}

fn binance(c: &mut Criterion) {
    let lines = lines("tests/data/binance-usdm-raw.txt.gz");
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let mut group = c.benchmark_group("parse/binance, depth updates among them");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    let mut ours = Ours::new("binance");
    group.bench_function("tickwire", |b| b.iter(|| ours.read(&lines)));
    group.bench_function("serde_json", |b| {
        b.iter(|| {
            lines.iter().filter(|line| serde_json::from_slice::<Combined<'_>>(json_of(line)).is_ok()).count()
        });
    });
    group.bench_function("sonic-rs", |b| {
        b.iter(|| {
            lines.iter().filter(|line| sonic_rs::from_slice::<Combined<'_>>(json_of(line)).is_ok()).count()
        });
    });
    group.finish();
}

/// The trades of the recording, so many in each message.
fn trades_by(lines: &[Vec<u8>], many: usize) -> Vec<Vec<u8>> {
    let text: String = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
    let (mut whole, mut rest) = (Vec::new(), text.as_str());
    while let Some(at) = rest.find("{\"ev\":\"T\"") {
        let end = at + rest[at..].find('}').map_or(rest.len() - at, |end| end + 1);
        whole.push(&rest[at..end]);
        rest = &rest[end..];
    }
    whole.chunks(many).map(|chunk| format!("[{}]", chunk.join(",")).into_bytes()).collect()
}

fn massive(c: &mut Criterion) {
    let recorded = lines("tests/data/massive.jsonl.gz");
    massive_of(c, "parse/massive, as recorded", &recorded);
    massive_of(c, "parse/massive, 1 trade a message", &trades_by(&recorded, 1));
    massive_of(c, "parse/massive, 50 trades a message", &trades_by(&recorded, 50));
}

fn massive_of(c: &mut Criterion, name: &str, lines: &[Vec<u8>]) {
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    let mut ours = Ours::new("massive");
    group.bench_function("tickwire", |b| b.iter(|| ours.read(lines)));
    group.bench_function("serde_json", |b| {
        b.iter(|| {
            lines
                .iter()
                .filter_map(|line| serde_json::from_slice::<Vec<Massive<'_>>>(line).ok())
                .map(|m| m.len())
                .sum::<usize>()
        });
    });
    group.bench_function("sonic-rs", |b| {
        b.iter(|| {
            lines
                .iter()
                .filter_map(|line| sonic_rs::from_slice::<Vec<Massive<'_>>>(line).ok())
                .map(|m| m.len())
                .sum::<usize>()
        });
    });
    group.finish();
}

fn csv(c: &mut Criterion) {
    let lines = lines("tests/data/equities-trades.csv.gz");
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut group = c.benchmark_group("parse/csv");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    let mut ours = Ours::new("csv");
    ours.read(&lines[..1]);
    group.bench_function("tickwire", |b| b.iter(|| ours.read(&lines[1..])));
    group.finish();
}

criterion_group!(benches, binance, massive, csv);
criterion_main!(benches);
