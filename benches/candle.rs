//! Six timeframes over a thousand interleaved symbols, beside the crate `trade_aggregation` as its users would use it: a map of
//! symbols and an aggregator per timeframe. Then what twelve timeframes cost over one, on dense and on real sparse ticks; on the latter
//! also to a bare loop, which shows what the bars themselves cost, for there are twice as many.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read as _;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickwire::model::{
    BarState, Event, Nanos, Price, Size, SymbolId, Tick, Timeframes, Topic, TradeId, UnixNanos,
};
use tickwire::shard::record::{Fields, Rank, Record, Sample};
use tickwire::shard::{CandleOptions, Candles, KeepTrades, Sink, When};
use trade_aggregation::{
    Aggregator, AlignedTimeRule, Candle, CandleComponent, CandleComponentUpdate, GenericAggregator,
    MillisecondPeriod, ModularCandle, TimestampResolution, Trade,
    candle_components::{Close, High, Low, NumTrades, Open, Volume, WeightedPrice},
};

// As in the engine. It leaves fresh memory untouched, so that huge pages can be asked for before it is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SYMBOLS: u32 = 1_000;
const TICKS: usize = 2_000_000;
const SIX: &str = "1s,1m,5m,15m,1h,1d";
const TWELVE: &str = "1s,5s,10s,15s,30s,1m,5m,15m,30m,1h,4h,1d";
const START_NS: i64 = 1_700_000_000_000_000_000;

#[derive(Debug, Clone, Default, Candle)]
struct PeerCandle {
    open: Open,
    high: High,
    low: Low,
    close: Close,
    volume: Volume,
    trades: NumTrades<u32>,
    vwap: WeightedPrice,
}

type PeerAggregator = GenericAggregator<PeerCandle, AlignedTimeRule, Trade>;

/// Closed bars are only counted: what happens to them next is the same for both.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn fact(&mut self, _symbol: u32, event: &Event) {
        self.0 += black_box(event).rev as u64 + 1;
    }
}

/// A random walk over symbols in random order, 200,000 ticks a second.
fn interleaved(ids: impl Fn(usize) -> u64) -> Vec<Tick> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut prices: Vec<i64> = (0..SYMBOLS).map(|s| 10_000_000_000 + i64::from(s) * 1_000_000_000).collect();
    let tick = |i: usize| {
        let symbol = (random() % u64::from(SYMBOLS)) as u32;
        let price = &mut prices[symbol as usize];
        *price = (*price + (random() % 21) as i64 * 1_000_000 - 10_000_000).max(1_000_000_000);
        let at = UnixNanos(START_NS + i as i64 * 5_000);
        let size = Size((random() % 1_000 + 1) * 100_000_000);
        Tick::trade(SymbolId(symbol), at, at, Price(*price), size).with_id(TradeId::from_u64(ids(i)))
    };
    (0..TICKS).map(tick).collect()
}

/// Every trade of IBM in the shipped cut, repeated on following days until there are enough.
fn sparse() -> Vec<Tick> {
    let mut text = String::new();
    let file = std::fs::File::open("tests/data/equities-trades.csv.gz").expect("tests/data is shipped");
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a gzip of text");
    let day: Vec<Tick> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split(',');
            let _symbol = fields.next().filter(|&symbol| symbol == "IBM")?;
            let at = UnixNanos::from_millis(fields.next()?.parse().ok()?)?;
            let (price, _) = Price::parse(fields.next()?.as_bytes()).ok()?;
            let (size, _) = Size::parse(fields.next()?.as_bytes()).ok()?;
            Some(Tick::trade(SymbolId(0), at, at, price, size))
        })
        .collect();
    let days = 500_000 / day.len().max(1) + 1;
    let later = |mut tick: Tick, n: i64| {
        tick.ts_event += Nanos::from_secs(n * 86_400);
        tick
    };
    (0..days as i64).flat_map(|n| day.iter().map(move |&tick| later(tick, n))).collect()
}

/// Memory is there from the start, as in an engine with `bars.preallocate`. Off: nothing kept, bars sealed as they close. On: trades and closed bars kept, duplicates looked for.
fn options(timeframes: &str, tracking: bool) -> CandleOptions {
    let timeframes = Timeframes::parse(timeframes).expect("a constant");
    let file = CandleOptions::file(timeframes);
    if tracking {
        CandleOptions {
            late_tolerance: Nanos::from_secs(15),
            seal_after: Nanos::from_secs(900),
            keep_trades: KeepTrades::All,
            history_bytes_max: 64 << 20,
            trades_bytes_max: 256 << 20,
            preallocate: true,
            replayable: true,
            ..file
        }
    } else {
        CandleOptions {
            late_tolerance: Nanos::ZERO,
            seal_after: Nanos::ZERO,
            keep_trades: KeepTrades::No,
            history_bytes_max: 16 << 20,
            trades_bytes_max: 1 << 20,
            preallocate: true,
            ..file
        }
    }
}

fn ours(ticks: &[Tick], candles: &mut Candles) -> u64 {
    let mut count = Count::default();
    for (at, tick) in ticks.iter().enumerate() {
        candles.foresee(&ticks[at + 1..]);
        let symbol = candles.local(tick.symbol);
        let when = When { now: tick.ts_recv, offset: Nanos::ZERO };
        black_box(candles.apply(symbol, tick, when, &mut count));
    }
    candles.close_all(&mut count);
    count.0
}

fn peer(ticks: &[(u32, Trade)], periods_ms: &[u64]) -> u64 {
    let mut symbols: HashMap<u32, Vec<PeerAggregator>> = HashMap::new();
    let mut closed = 0;
    for (symbol, trade) in ticks {
        let aggregators =
            symbols.entry(*symbol).or_insert_with(|| periods_ms.iter().map(|&ms| aggregator(ms)).collect());
        for aggregator in aggregators {
            if let Some(candle) = aggregator.update(trade) {
                black_box(candle);
                closed += 1;
            }
        }
    }
    closed
}

fn aggregator(ms: u64) -> PeerAggregator {
    let period = MillisecondPeriod::from_non_zero(ms);
    PeerAggregator::new(AlignedTimeRule::new(period, TimestampResolution::Nanosecond), false)
}

/// A tick as the peer takes it.
fn trade(tick: &Tick) -> Trade {
    let (price, size) = (tick.price.0 as f64 / 1e9, tick.size.0 as f64 / 1e8);
    Trade { timestamp: tick.ts_event.0, price, size }
}

fn against_the_peer(c: &mut Criterion) {
    let ticks = interleaved(|i| i as u64);
    let trades: Vec<(u32, Trade)> = ticks.iter().map(|tick| (tick.symbol.0, trade(tick))).collect();
    let periods_ms = [1_000, 60_000, 300_000, 900_000, 3_600_000, 86_400_000];
    let mut group = c.benchmark_group("candle/6 timeframes x 1000 symbols");
    group.throughput(Throughput::Elements(ticks.len() as u64)).sample_size(10);
    group.bench_function("trade_aggregation", |b| b.iter(|| peer(&trades, &periods_ms)));
    for (name, tracking) in [("tickwire, tracking off", false), ("tickwire, tracking on", true)] {
        let options = options(SIX, tracking);
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Candles::new(options.clone()),
                |candles| ours(&ticks, candles),
                BatchSize::PerIteration,
            )
        });
    }
    // Ids in no order, as from several venues: every trade goes through the index.
    let shuffled = interleaved(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let options = options(SIX, true);
    group.bench_function("tickwire, tracking on, ids in no order", |b| {
        b.iter_batched_ref(
            || Candles::new(options.clone()),
            |candles| ours(&shuffled, candles),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Which levels of a list are made from each: of those that divide a timeframe, the longest.
fn parents(lengths: &[i64]) -> Vec<Vec<usize>> {
    let child =
        |level: usize| (0..level).rev().find(|&below| lengths[level] % lengths[below] == 0).unwrap_or(0);
    let above = |level| (level + 1..lengths.len()).filter(|&parent| child(parent) == level).collect();
    (0..lengths.len()).map(above).collect()
}

/// Bars that the bare loop files, about as many as [`options`] have the history keep.
const FILED: usize = 1 << 17;

/// The least that the bars of one symbol cost: what closes is filed, published and merged into those above it. No tick is late, none
/// is checked, nothing is revised, and a full history begins again.
fn bare(ticks: &[Tick], timeframes: &str, filed: &mut [Record]) -> u64 {
    let lengths: Vec<i64> = Timeframes::parse(timeframes)
        .expect("a constant")
        .iter()
        .map(|timeframe| timeframe.nanos().0)
        .collect();
    let parents = parents(&lengths);
    let mut count = Count::default();
    let mut open = vec![Record::empty(UnixNanos(0)); lengths.len()];
    // Nothing is open.
    let mut ends = vec![i64::MAX; lengths.len()];
    let mut due = i64::MAX;
    let mut sequence = 0;
    let mut close = |now: i64, open: &mut [Record], ends: &mut [i64]| {
        for level in 0..open.len() {
            if level > 0 && now < due {
                break;
            }
            if now < ends[level] || ends[level] == i64::MAX {
                continue;
            }
            ends[level] = i64::MAX;
            let mut record = open[level];
            sequence += 1;
            record.sequence = sequence;
            filed[sequence as usize % FILED] = record;
            let topic = Topic::bars(ticks[0].symbol, level);
            let event = Event::bar(topic, BarState::Closed, sequence, &record.bar);
            count.fact(0, &event.at(record.closed.ts_event, record.ts_recv));
            for &parent in &parents[level] {
                if ends[parent] == i64::MAX {
                    let start = record.bar.start.0 / lengths[parent] * lengths[parent];
                    open[parent] = record.as_part(UnixNanos(start));
                    ends[parent] = start + lengths[parent];
                    due = due.min(ends[parent]);
                } else {
                    open[parent].merge(&record);
                }
            }
        }
        if now >= due {
            due = ends[1..].iter().copied().min().unwrap_or(i64::MAX);
        }
    };
    for tick in ticks {
        let ts = tick.ts_event.0;
        let rank = Rank { ts_event: tick.ts_event, sequence: 0 };
        if ts < ends[0] && ends[0] != i64::MAX {
            open[0].add_whole(rank, tick.price, tick.size, tick.ts_recv);
            continue;
        }
        close(ts, &mut open, &mut ends);
        let start = ts / lengths[0] * lengths[0];
        ends[0] = start + lengths[0];
        let (price, size, ts_recv, leaves) = (tick.price, tick.size, tick.ts_recv, Fields::NONE);
        let sample = Sample { rank, price, size, ts_recv, leaves, leaves_daily: leaves };
        open[0] = Record::first(UnixNanos(start), &sample);
    }
    close(i64::MAX - 1, &mut open, &mut ends);
    count.0
}

fn timeframes(c: &mut Criterion) {
    for (name, ticks) in [("dense", interleaved(|i| i as u64)), ("sparse", sparse())] {
        let mut group = c.benchmark_group(format!("candle/timeframes/{name}"));
        group.throughput(Throughput::Elements(ticks.len() as u64)).sample_size(10);
        for list in ["1s", TWELVE] {
            let options = options(list, false);
            let count = list.split(',').count();
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter_batched_ref(
                    || Candles::new(options.clone()),
                    |candles| ours(&ticks, candles),
                    BatchSize::PerIteration,
                )
            });
            if name == "sparse" {
                let made = ours(&ticks, &mut Candles::new(options));
                let filed = || vec![Record::empty(UnixNanos(0)); FILED];
                assert_eq!(bare(&ticks, list, &mut filed()), made, "it makes the same bars");
                group.bench_function(BenchmarkId::new("bare loop", count), |b| {
                    b.iter_batched_ref(filed, |filed| bare(&ticks, list, filed), BatchSize::PerIteration)
                });
                let trades: Vec<(u32, Trade)> =
                    ticks.iter().map(|tick| (tick.symbol.0, trade(tick))).collect();
                let lengths = Timeframes::parse(list).expect("a constant");
                let periods: Vec<u64> =
                    lengths.iter().map(|length| length.nanos().0 as u64 / 1_000_000).collect();
                group.bench_function(BenchmarkId::new("trade_aggregation", count), |b| {
                    b.iter(|| peer(&trades, &periods))
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, against_the_peer, timeframes);
criterion_main!(benches);
