//! What only vendors' feeds have: their own bars, halts, corrections and cancels, and messages that are no market data.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::io::Read as _;

use tickwire::feed::scan::Spare;
use tickwire::feed::{Context, Reason, Tallies, binance, binance_scan, find, massive_scan, parse_all};
use tickwire::model::{
    BarOrigin, Notional, Price, Size, SymbolCache, SymbolTable, Tick, TickKind, TradeId, UnixNanos,
    UpstreamBar, Volume,
};

const MASSIVE: &str = include_str!("../data/feed/massive-more.txt");
const BINANCE: &str = include_str!("../data/feed/binance-more.txt");
const ALPACA: &str = include_str!("../data/feed/alpaca.txt");

const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

struct Read {
    ticks: Vec<Tick>,
    tallies: Tallies,
    symbols: SymbolTable,
}

impl Read {
    fn new(dialect: &str, text: &str) -> Self {
        let symbols = SymbolTable::new(100);
        let (ticks, tallies) = parse_all(find(dialect).unwrap(), text.as_bytes(), NOW, &symbols);
        assert!(tallies.is_balanced(), "{text}");
        Self { ticks, tallies, symbols }
    }

    fn of_kind(&self, kind: TickKind) -> Vec<&Tick> {
        self.ticks.iter().filter(|tick| tick.kind() == kind).collect()
    }

    fn name(&self, tick: &Tick) -> String {
        self.symbols.name(tick.symbol).unwrap().to_string()
    }

    /// Every bar, its second half right behind its first.
    fn bars(&self) -> Vec<(String, UpstreamBar)> {
        let heads = self.ticks.iter().enumerate().filter(|(_, tick)| tick.kind() == TickKind::BarHead);
        let bars = heads.map(|(at, head)| UpstreamBar::from_ticks(head, &self.ticks[at + 1]).unwrap());
        bars.map(|bar| (self.symbols.name(bar.symbol).unwrap().to_string(), bar)).collect()
    }

    fn skipped(&self) -> Vec<(&str, u64)> {
        self.tallies.skipped_types().collect()
    }

    /// One record, rejected for this.
    fn is_rejected_for(&self, reason: Reason) -> bool {
        self.ticks.is_empty() && self.tallies.rejected() == 1 && self.tallies.rejected_for(reason) == 1
    }
}

fn prices(bar: &UpstreamBar) -> [i64; 4] {
    [bar.bar.open, bar.bar.high, bar.bar.low, bar.bar.close].map(|price| price.0)
}

#[test]
fn massive_seconds_and_minutes_become_bars_with_exact_sums() {
    let read = Read::new("massive", MASSIVE);
    let bars = read.bars();
    assert_eq!(bars.len(), 3);
    let (name, minute) = &bars[0];
    assert_eq!((name.as_str(), minute.seconds, minute.closed), ("GTE", 60, true));
    assert_eq!(minute.bar.start, UnixNanos(1_610_144_640_000_000_000));
    assert_eq!(prices(minute), [448_800_000, 448_900_000, 448_600_000, 448_600_000]);
    assert_eq!(minute.bar.volume, Volume(411_000_000_000));
    // 0.4488 times 4110 is 1844.568.
    assert_eq!((minute.bar.notional, minute.has_notional), (Notional(184_456_800_000_000_000_000), true));
    assert_eq!((minute.bar.trades, minute.origin, minute.ts_recv), (0, BarOrigin::Live, NOW));
    assert_eq!((bars[1].0.as_str(), bars[1].1.seconds), ("SPCE", 1));
    // The decimal volume wins over 80.
    assert_eq!((bars[2].0.as_str(), bars[2].1.bar.volume), ("AAPL", Volume(8_025_000_000)));
    assert_eq!(read.tallies.accepted(), 3 + 2);
}

#[test]
fn massive_halts_and_reopenings_are_told_and_price_bands_skipped() {
    let read = Read::new("massive", MASSIVE);
    let halts = read.of_kind(TickKind::Halt);
    let told: Vec<_> =
        halts.iter().map(|halt| (read.name(halt), halt.is_halted(), halt.ts_event.0)).collect();
    // One in ns, as the vendor's sample has it, and one in ms, as its text says.
    let want = [(true, 1_764_086_430_905_642_800), (false, 1_764_086_730_905_000_000)];
    assert_eq!(told, want.map(|(halted, at)| ("MSFT".to_owned(), halted, at)));
    assert_eq!(read.skipped(), [("LULD", 1), ("FMV", 1), ("status-auth_failed", 1)]);
}

#[test]
fn what_a_vendor_says_of_trouble_is_noted() {
    for (dialect, text, said) in [
        ("massive", MASSIVE, "auth_failed: authentication failed"),
        ("binance", BINANCE, "2: Invalid request: missing field `method`"),
        ("binance", BINANCE, "3: Invalid JSON"),
        ("alpaca", ALPACA, "406: connection limit exceeded"),
    ] {
        let notes = Read::new(dialect, text).tallies.take_notes();
        assert!(notes.iter().any(|note| note.contains(said)), "{dialect}: {notes:?}");
    }
}

#[test]
fn a_kline_is_a_bar_with_the_venues_own_notional() {
    let read = Read::new("binance", BINANCE);
    let bars = read.bars();
    assert_eq!(bars.len(), 2);
    let (name, forming) = &bars[0];
    assert_eq!((name.as_str(), forming.seconds, forming.closed), ("BNBBTC", 60, false));
    assert_eq!(prices(forming), [1_500_000, 2_500_000, 1_000_000, 2_000_000]);
    assert_eq!(forming.bar.notional, Notional(165_000_000_000_000_000));
    assert_eq!((forming.bar.volume, forming.bar.trades), (Volume(100_000_000_000), 100));
    let (name, closed) = &bars[1];
    assert_eq!((name.as_str(), closed.seconds, closed.closed), ("BTCUSDT", 1, true));
    assert_eq!(closed.bar.notional, Notional(1_969_343_178_141_000_000_000));
    assert_eq!(read.skipped(), [("kline-empty", 1), ("kline-1w", 1), ("answer", 1), ("error", 2)]);
    // The sample in the vendor's text has a low above its open.
    assert_eq!((read.tallies.rejected(), read.tallies.rejected_for(Reason::BarRange)), (1, 1));
}

#[test]
fn an_aggregated_trade_is_one_and_numbered_without_a_hole() {
    let read = Read::new("binance", BINANCE);
    let [tick] = read.of_kind(TickKind::AggregatedTrade)[..] else { panic!("one") };
    assert_eq!((tick.price, tick.size), (Price(1_000_000), Size(10_000_000_000)));
    assert_eq!((tick.sequence(), tick.is_contiguous(), tick.conditions), (Some(12_345), true, [0; 4]));
}

#[test]
fn a_bars_volume_may_be_past_any_one_trade() {
    let kline = |v: &str, q: &str| {
        format!(
            r#"{{"e":"kline","k":{{"t":1723161240000,"s":"PEPEUSDT","i":"1d","o":"0.00000781","c":"0.00000781","h":"0.00000781","l":"0.00000781","v":"{v}","n":4294967295,"x":true,"q":"{q}"}}}}"#
        )
    };
    let read = Read::new("binance", &kline("61423187654321.00", "479715095.58"));
    let (_, bar) = &read.bars()[0];
    assert_eq!(bar.bar.volume, Volume(6_142_318_765_432_100_000_000));
    assert_eq!(bar.bar.trades, u64::from(u32::MAX));
    assert!(Read::new("binance", &kline("1e30", "1")).is_rejected_for(Reason::SizeRange));
    assert!(Read::new("binance", &kline("1", "1e30")).is_rejected_for(Reason::NotionalRange));
    assert!(Read::new("binance", &kline("-1", "1")).is_rejected_for(Reason::SizeNegative));
    assert!(Read::new("binance", &kline("1", "-1e-400")).is_rejected_for(Reason::PriceNegative));
}

#[test]
fn a_bar_that_cannot_be_is_rejected_by_its_reason() {
    let good = r#"{"ev":"AM","sym":"A","v":100,"vw":2,"o":2,"c":2.5,"h":3,"l":1,"s":1610144640000,"e":1610144700000}"#;
    assert_eq!(Read::new("massive", good).bars().len(), 1);
    for (from, to, reason) in [
        (r#""o":2"#, r#""o":0.5"#, Reason::BarRange),
        (r#""c":2.5"#, r#""c":3.5"#, Reason::BarRange),
        (r#""h":3"#, r#""h":0.5"#, Reason::BarRange),
        (r#""h":3"#, r#""h":null"#, Reason::MissingField),
        (r#""l":1"#, r#""l":0"#, Reason::PriceZero),
        (r#""l":1"#, r#""l":-1"#, Reason::PriceNegative),
        (r#""v":100"#, r#""v":"100""#, Reason::WrongType),
        (r#""v":100"#, r#""v":100,"dv":"1.x""#, Reason::BadNumber),
        (r#""v":100"#, r#""v":-100"#, Reason::SizeNegative),
        (r#""v":100"#, r#""x":100"#, Reason::MissingField),
        (r#""v":100,"vw":2"#, r#""v":1e22,"vw":9e9"#, Reason::NotionalRange),
        (r#""vw":2"#, r#""vw":-2"#, Reason::PriceNegative),
        (r#""vw":2"#, r#""vw":2,"n":-1"#, Reason::BadNumber),
        (r#""e":1610144700000"#, r#""e":1610144640000"#, Reason::BarLength),
        (r#""e":1610144700000"#, r#""e":1610144640500"#, Reason::BarLength),
        (r#""e":1610144700000"#, r#""e":1610144639000"#, Reason::BarLength),
        (r#""e":1610144700000"#, r#""e":1e12"#, Reason::TimeBad),
        (r#""s":1610144640000"#, r#""s":5"#, Reason::TimeRange),
        (r#""s":1610144640000,"#, "", Reason::TimeMissing),
        (r#""sym":"A""#, r#""sym":"*""#, Reason::SymbolUnprintable),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(Read::new("massive", &bad).is_rejected_for(reason), "{bad}: not for {reason:?}");
    }
    // Without an average price the notional is unknown, not zero.
    let (_, bar) = Read::new("massive", &good.replace(r#""vw":2,"#, "")).bars()[0].clone();
    assert!(!bar.has_notional && bar.bar.notional == Notional(0));
}

#[test]
fn alpaca_trades_and_quotes_carry_letters_ids_and_nanoseconds() {
    let read = Read::new("alpaca", ALPACA);
    let trades = read.of_kind(TickKind::Trade);
    let first = trades[0];
    assert_eq!(read.name(first), "AAPL");
    assert_eq!((first.price, first.size), (Price(126_550_000_000), Size(100_000_000)));
    assert_eq!(first.ts_event, UnixNanos(1_614_009_104_208_000_000));
    assert_eq!((first.venue.0, first.venue_is_letter(), first.tape()), (b'D', true, 3));
    assert_eq!((first.id(), first.conditions), (TradeId::from_u64(96_921), [b'I', 0, 0, 0]));
    assert_eq!(trades[1].conditions, [b'F', b'T', b'I', 0]);
    assert_eq!(trades[3].ts_event, UnixNanos(1_680_782_066_839_159_730));
    let crypto = trades[4];
    assert_eq!((read.name(crypto), crypto.size, crypto.tape()), ("BTC/USD".to_owned(), Size(31_847), 0));
    let [quote] = read.of_kind(TickKind::Quote)[..] else { panic!("one") };
    assert_eq!((quote.price, quote.ask()), (Price(87_660_000_000), Price(87_680_000_000)));
    assert_eq!((quote.quote_venues().0.0, quote.quote_venues().1.0), (b'U', b'Q'));
    assert_eq!((quote.venue_is_letter(), quote.conditions), (true, [b'R', 0, 0, 0]));
    assert_eq!(quote.ts_event, UnixNanos(1_614_009_105_335_689_322));
    assert_eq!(
        read.skipped(),
        [("success", 2), ("subscription", 1), ("l", 1), ("status-Q", 1), ("i", 1), ("error", 1)]
    );
    assert_eq!(read.tallies.rejected(), 0);
}

#[test]
fn alpaca_bars_are_minutes_and_the_day_so_far() {
    let bars = Read::new("alpaca", ALPACA).bars();
    let told: Vec<_> = bars.iter().map(|(_, bar)| (bar.seconds, bar.closed, bar.bar.trades)).collect();
    assert_eq!(told, [(60, true, 461), (60, true, 462), (86_400, false, 352_714)]);
    let bar = &bars[0].1.bar;
    assert_eq!(bar.start, UnixNanos(1_614_021_300_000_000_000));
    assert_eq!(bar.volume, Volume(4_937_800_000_000));
    // 389.062639 times 49378, exact.
    assert_eq!(bar.notional, Notional(389_062_639_000 * 4_937_800_000_000));
}

#[test]
fn alpaca_takes_trades_back_by_their_ids() {
    let read = Read::new("alpaca", ALPACA);
    let [correction] = read.of_kind(TickKind::Correction)[..] else { panic!("one") };
    assert_eq!(read.name(correction), "EEM");
    assert_eq!(correction.id(), TradeId::from_u64(52_983_525_033_527));
    assert_eq!(correction.corrected_id(), TradeId::from_u64(52_983_525_034_326));
    assert_eq!((correction.price, correction.size), (Price(39_180_900_000), Size(44_000_000_000_000)));
    assert_eq!((correction.venue.0, correction.tape()), (b'M', 2));
    assert_eq!(correction.conditions, [b'7', 0, 0, 0]);
    let [cancel] = read.of_kind(TickKind::Cancel)[..] else { panic!("one") };
    assert_eq!((read.name(cancel), cancel.id()), ("GOOGL".to_owned(), TradeId::from_u64(465)));
    assert_eq!((cancel.venue.0, cancel.venue_is_letter()), (b'D', true));
    let halts = read.of_kind(TickKind::Halt);
    assert_eq!(halts.iter().map(|halt| halt.is_halted()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_alpaca_must_not_say_is_rejected_by_its_reason() {
    let trade = r#"{"T":"t","i":1,"S":"A","x":"D","p":1,"s":1,"t":"2021-02-22T15:51:44Z","c":["@"],"z":"C"}"#;
    let correction = r#"{"T":"c","S":"A","x":"M","oi":1,"ci":2,"cp":1,"cs":1,"cc":["7"],"z":"B","t":"2023-04-06T14:25:06Z"}"#;
    let cancel = r#"{"T":"x","S":"A","i":465,"x":"D","t":"2023-04-06T13:15:42Z"}"#;
    let status = r#"{"T":"s","S":"A","sc":"H","t":"2021-02-22T19:15:00Z"}"#;
    for (good, from, to, reason) in [
        (trade, r#""T":"t""#, r#""T":1"#, Reason::WrongType),
        (trade, r#""T":"t","#, "", Reason::MissingField),
        (trade, r#""i":1"#, r#""i":"1""#, Reason::WrongType),
        (trade, r#""i":1"#, r#""i":-1"#, Reason::BadNumber),
        (trade, r#""x":"D""#, r#""x":"DD""#, Reason::BadNumber),
        (trade, r#""x":"D""#, r#""x":4"#, Reason::WrongType),
        (trade, r#""c":["@"]"#, r#""c":["@",1]"#, Reason::WrongType),
        (trade, r#""c":["@"]"#, r#""c":["É"]"#, Reason::BadNumber),
        (trade, r#""p":1"#, r#""p":0"#, Reason::PriceZero),
        (trade, r#""p":1"#, r#""p":"1""#, Reason::WrongType),
        (trade, r#""s":1"#, r#""s":-0.5"#, Reason::SizeNegative),
        (trade, r#""p":1,"s":1"#, r#""p":9e9,"s":1e11"#, Reason::NotionalRange),
        (trade, "2021-02-22T15:51:44Z", "2021-02-30T15:51:44Z", Reason::TimeBad),
        (trade, r#""2021-02-22T15:51:44Z""#, "1614009104208", Reason::TimeBad),
        (trade, "2021-02-22", "1999-12-31", Reason::TimeRange),
        (trade, "2021-02-22", "2026-12-31", Reason::TimeFuture),
        (trade, "2021-02-22", "9999-12-31", Reason::TimeFuture),
        (trade, r#","t":"2021-02-22T15:51:44Z""#, "", Reason::TimeMissing),
        (correction, r#""oi":1,"#, "", Reason::MissingField),
        (correction, r#""ci":2"#, r#""ci":2.5"#, Reason::BadNumber),
        (correction, r#""cp":1"#, r#""cp":0"#, Reason::PriceZero),
        (cancel, r#""i":465,"#, "", Reason::MissingField),
        (cancel, r#""S":"A""#, r#""S":"""#, Reason::SymbolEmpty),
        (status, r#""sc":"H","#, "", Reason::MissingField),
        (status, r#""t":"2021-02-22T19:15:00Z""#, r#""t":null"#, Reason::TimeMissing),
    ] {
        assert_eq!(Read::new("alpaca", good).ticks.len(), 1, "{good}");
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(Read::new("alpaca", &bad).is_rejected_for(reason), "{bad}: not for {reason:?}");
        // And its neighbours in the array stand.
        let among = Read::new("alpaca", &format!("[{good},{bad},{good}]"));
        assert_eq!((among.ticks.len(), among.tallies.rejected()), (2, 1));
    }
}

/// The messages of a recording, and all their ticks read the general way, which white space at the end asks for.
fn recording(dialect: &str, path: &str) -> (Vec<String>, Vec<Tick>, SymbolTable) {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let spaced: String = text.lines().flat_map(|line| [line, "\t\n"]).collect();
    let symbols = SymbolTable::new(100);
    let (ticks, _) = parse_all(find(dialect).unwrap(), spaced.as_bytes(), NOW, &symbols);
    (text.lines().map(str::to_owned).collect(), ticks, symbols)
}

#[test]
fn recordings_go_the_quick_way_and_mean_the_same() {
    for (dialect, path, quick_min) in [
        ("massive", "tests/data/massive.jsonl.gz", 0.98),
        ("binance", "tests/data/binance-usdm-raw.txt.gz", 0.92),
        ("binance", "tests/data/binance-spot-raw.txt.gz", 0.90),
    ] {
        let (lines, want, symbols) = recording(dialect, path);
        let (mut cache, mut tallies) = (SymbolCache::new(symbols.clone()), Tallies::new(dialect));
        for tick in &want {
            cache.intern(symbols.name(tick.symbol).unwrap().as_bytes()).unwrap();
        }
        let (mut ticks, mut quick, mut spare) = (Vec::new(), 0, Spare::default());
        for line in &lines {
            let mut cx =
                Context { now: NOW, source: 0, recorded: true, symbols: &mut cache, tallies: &mut tallies };
            quick += usize::from(if dialect == "massive" {
                massive_scan::scan(line.as_bytes(), &mut spare, &mut cx, &mut ticks)
            } else {
                let digits = binance::receive_time_digits(line.as_bytes());
                let received = UnixNanos(line[..digits].parse().unwrap());
                binance_scan::scan(&line.as_bytes()[digits + 1..], &mut spare, received, &mut cx, &mut ticks)
            });
        }
        assert_eq!(ticks, want, "{path}");
        let share = quick as f64 / lines.len() as f64;
        assert!(share > quick_min, "{path}: {share} of the messages");
    }
}

/// What the quick way makes of messages, one after the other, where it takes them.
fn quickly(messages: &[&[u8]]) -> Vec<Option<Vec<Tick>>> {
    let (mut cache, mut tallies) = (SymbolCache::new(SymbolTable::new(10)), Tallies::new("massive"));
    cache.intern(b"IBM").unwrap();
    let mut spare = Spare::default();
    let mut read = |message: &&[u8]| {
        let mut cx =
            Context { now: NOW, source: 0, recorded: true, symbols: &mut cache, tallies: &mut tallies };
        let mut ticks = Vec::new();
        massive_scan::scan(message, &mut spare, &mut cx, &mut ticks).then_some(ticks)
    };
    messages.iter().map(&mut read).collect()
}

const KEYS: [&str; 12] = [
    r#""x":11"#,
    r#""i":"52983525000001""#,
    r#""z":1"#,
    r#""p":180.09"#,
    r#""s":100"#,
    r#""ds":"100.5""#,
    r#""c":[14,0,41]"#,
    r#""t":1381329960966"#,
    r#""pt":1381329960965"#,
    r#""q":123456789"#,
    r#""trfi":202"#,
    r#""trft":1381329960966"#,
];

fn trade_of(keys: &[&str]) -> String {
    format!(r#"[{{"ev":"T","sym":"IBM",{}}}]"#, keys.join(","))
}

#[test]
fn keys_come_in_any_order_and_none_of_those_that_count_twice() {
    let usual = trade_of(&KEYS);
    let want =
        parse_all(find("massive").unwrap(), format!("{usual}\t").as_bytes(), NOW, &SymbolTable::new(10)).0;
    for (first, key) in KEYS.iter().enumerate() {
        let mut keys = KEYS;
        keys.rotate_left(first);
        let forward = trade_of(&keys);
        keys.reverse();
        let backward = trade_of(&keys);
        for text in [forward, backward] {
            assert_eq!(quickly(&[text.as_bytes()]), [Some(want.clone())], "{text}");
        }
        let counts = !["pt", "trft"].iter().any(|name| key.starts_with(&format!("\"{name}\"")));
        for at in 0..=KEYS.len() {
            let mut keys = KEYS.to_vec();
            keys.insert(at, key);
            let text = trade_of(&keys);
            assert_eq!(quickly(&[text.as_bytes()])[0].is_none(), counts, "{text}");
        }
    }
}

#[test]
fn a_message_cut_short_is_not_completed_by_what_an_earlier_one_left() {
    let one = trade_of(&KEYS);
    let many = format!("[{}]", [&one[1..one.len() - 1]; 6].join(","));
    for whole in [one.as_bytes(), many.as_bytes()] {
        for end in 0..whole.len() {
            let read = quickly(&[whole, &whole[..end], whole]);
            assert!(read[0].is_some() && read[1].is_none() && read[2] == read[0], "{end}");
        }
    }
}
