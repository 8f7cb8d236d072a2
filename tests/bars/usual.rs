//! The short way of a usual trade against the long way.
//!
//! The same ticks go to two shards. One of them is told a tape that changes with every trade. Nothing here looks at it, but a trade is then
//! never of the form of the one before, so none is usual and all take the long way.

use tickwire::model::{
    Event, Nanos, Price, Size, SymbolId, Tick, TickKind, Timeframes, TradeId, UnixNanos, Venue,
};
use tickwire::shard::{BarClock, CandleOptions, Candles, KeepTrades, Sink, Verdict, When};

/// Bars of a day have the end of the day of ids in them.
const TIMEFRAMES: [&str; 2] = ["1s,5s,1m,1h,1d", "1d"];
/// 20 s before midnight UTC, and before the day of ids ends.
const STARTS: [UnixNanos; 2] = [UnixNanos(1_700_006_380_000_000_000), UnixNanos(1_700_024_380_000_000_000)];
const SYMBOLS: usize = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Default)]
struct Facts(Vec<(u32, Vec<u8>)>);

impl Sink for Facts {
    fn fact(&mut self, symbol: u32, event: &Event) {
        self.0.push((symbol, bytes(event)));
    }
}

fn bytes(event: &Event) -> Vec<u8> {
    bytemuck::bytes_of(event).to_vec()
}

/// How a symbol's trades are named and numbered.
#[derive(Clone, Copy)]
struct Custom {
    ids: u64,
    numbers: u64,
    /// It begins with trades that tell several fills as one; what comes after takes their place.
    aggregated_first: bool,
}

struct Pair {
    short: (Candles, Facts),
    long: (Candles, Facts),
    random: Random,
    now: UnixNanos,
    steps: usize,
    venues: u64,
    customs: [Custom; SYMBOLS],
    last_id: u64,
    last_number: [u64; SYMBOLS],
    told: Vec<Tick>,
    tapes: [u8; SYMBOLS],
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed * 7919 + 1);
        let keep_trades = [KeepTrades::All, KeepTrades::WithId, KeepTrades::No][random.below(3) as usize];
        let mut pick = |values: &[usize]| values[random.below(values.len() as u64) as usize];
        let options = CandleOptions {
            clock: if pick(&[0, 1]) == 0 { BarClock::Live } else { BarClock::Event },
            seal_after: Nanos::from_secs(pick(&[0, 5, 900]) as i64),
            keep_trades,
            history_bytes_max: pick(&[144 * 8 * 48, 64 << 20]),
            trades_bytes_max: pick(&[64 * 32 * 9, 64 << 20]),
            trades_per_symbol_max: pick(&[40, usize::MAX]),
            joined_midway: pick(&[0, 1]) == 0,
            ..CandleOptions::live(Timeframes::parse(TIMEFRAMES[pick(&[0, 0, 1])]).expect("a constant"))
        };
        let customs = std::array::from_fn(|_| Custom {
            ids: random.below(5),
            numbers: random.below(3),
            aggregated_first: random.one_in(2),
        });
        let shard = || (Candles::new(options.clone()), Facts::default());
        Self {
            short: shard(),
            long: shard(),
            now: STARTS[random.below(2) as usize],
            steps: 0,
            venues: 1 + random.below(2),
            random,
            customs,
            last_id: 0,
            last_number: [0; SYMBOLS],
            told: Vec::new(),
            tapes: [1; SYMBOLS],
        }
    }

    fn trade(&mut self) -> Tick {
        let symbol = self.random.below(SYMBOLS as u64) as usize;
        let Custom { ids, numbers, aggregated_first } = self.customs[symbol];
        let is_aggregated = aggregated_first && (self.steps < 300 || self.random.one_in(4));
        let is_behind = self.random.one_in(10) || (aggregated_first && !is_aggregated && self.steps < 310);
        let behind = if is_behind { self.random.below(40_000) } else { 0 };
        let at = self.now.minus(Nanos::from_millis(behind as i64));
        let price = Price(1 + self.random.below(50) as i64 * 10_000_000);
        let size = Size(self.random.below(4) * 50_000_000);
        let mut tick = Tick::trade(SymbolId(symbol as u32), at, self.now, price, size);
        if is_aggregated {
            tick = tick.into_aggregated();
        }
        self.last_id += 1 + self.random.below(3);
        let id = self.last_id;
        tick = match ids {
            0 => tick,
            1 | 2 => tick.with_id(TradeId::from_u64(id)),
            3 => tick.with_id(TradeId::from_u64(id.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            _ if id.is_multiple_of(3) => tick,
            _ => tick.with_id(TradeId::from_text(format!("a{id}").as_bytes())),
        };
        if self.venues > 1 && self.random.one_in(40) {
            tick = tick.with_venue(Venue(7));
        }
        self.last_number[symbol] += if self.random.one_in(30) { 2 } else { 1 };
        match numbers {
            0 => tick,
            1 => tick.with_sequence(self.random.below(5)),
            _ => tick.with_contiguous_sequence(self.last_number[symbol]),
        }
    }

    fn tick(&mut self) -> Tick {
        let old = |random: &mut Random, told: &[Tick]| told[random.below(told.len() as u64) as usize];
        match self.random.below(40) {
            0 if !self.told.is_empty() => old(&mut self.random, &self.told),
            1 if !self.told.is_empty() => {
                let gone = old(&mut self.random, &self.told);
                Tick::cancel(gone.symbol, gone.ts_event, self.now, gone.id())
            }
            2 if !self.told.is_empty() => {
                let wrong = old(&mut self.random, &self.told);
                let right = (Price(77_000_000), Size(100_000_000));
                Tick::correction(wrong.symbol, wrong.ts_event, self.now, wrong.id(), 0, right)
            }
            3 => {
                let symbol = SymbolId(self.random.below(SYMBOLS as u64) as u32);
                let side = |price| (Price(price), Size(100_000_000));
                Tick::quote(symbol, self.now, self.now, side(5), side(6))
            }
            4 if self.random.one_in(4) => {
                let symbol = SymbolId(self.random.below(SYMBOLS as u64) as u32);
                Tick::gap(symbol, self.now.minus(Nanos::from_secs(3)), self.now, self.now)
            }
            5 if self.random.one_in(4) => {
                let symbol = SymbolId(self.random.below(SYMBOLS as u64) as u32);
                Tick::halt(symbol, self.now, self.now, self.random.one_in(2))
            }
            _ => {
                let tick = self.trade();
                self.told.push(tick);
                tick
            }
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        // Now and then hours pass: a day ends, of the calendar or of ids.
        let ms = if self.random.one_in(150) { self.random.below(10_000_000) } else { self.random.below(300) };
        self.now += Nanos::from_millis(ms as i64);
        let when = When { now: self.now, offset: Nanos::ZERO };
        if self.random.one_in(6) {
            for (candles, facts) in [&mut self.short, &mut self.long] {
                candles.fire(self.now, |_| Nanos::ZERO, facts);
            }
        }
        let tick = self.tick();
        let tape = &mut self.tapes[tick.symbol.index()];
        *tape = 3 - *tape;
        let is_trade = matches!(tick.kind(), TickKind::Trade | TickKind::AggregatedTrade);
        let other = if is_trade { tick.with_tape(*tape) } else { tick };
        let take = |(candles, facts): &mut (Candles, Facts), tick: &Tick| -> Verdict {
            let symbol = candles.local(tick.symbol);
            candles.apply(symbol, tick, when, facts)
        };
        let (short, long) = (take(&mut self.short, &tick), take(&mut self.long, &other));
        assert_eq!(short, long, "{tick:?}");
    }

    fn check(&self) {
        let ((short, facts), (long, others)) = (&self.short, &self.long);
        assert_eq!(facts.0, others.0);
        assert_eq!(format!("{:?}", short.tallies()), format!("{:?}", long.tallies()));
        // A trade without the tape.
        let bare = |event: Event| {
            let tick = event.as_trade();
            (event.sequence, tick.price, tick.size, tick.ts_event, tick.id())
        };
        for symbol in 0..short.symbols() as u32 {
            assert_eq!(short.trade_sequence(symbol), long.trade_sequence(symbol));
            let quotes = [short.newest_quote(symbol), long.newest_quote(symbol)];
            let [quote, other] = quotes.map(|quote| quote.as_ref().map(bytes));
            assert_eq!(quote, other);
            for level in 0..short.options().timeframes.len() {
                let forming = [short.forming(symbol, level), long.forming(symbol, level)];
                let [forming, other] = forming.map(|forming| forming.as_ref().map(bytes));
                assert_eq!(forming, other);
            }
            let (mut kept, mut others) = (Vec::new(), Vec::new());
            short.last_trades(symbol, usize::MAX, &mut kept);
            long.last_trades(symbol, usize::MAX, &mut others);
            assert!(kept.into_iter().map(bare).eq(others.into_iter().map(bare)));
        }
    }
}

#[test]
fn a_trade_that_goes_the_short_way_leaves_what_the_long_way_leaves() {
    for seed in 0..400 {
        let mut pair = Pair::new(seed);
        for step in 0..600 {
            pair.step();
            if step % 50 == 0 {
                pair.check();
            }
        }
        pair.check();
    }
}
