//! A feed dialect over bytes: a balanced ledger, the same ticks however the bytes are cut, and each tick what a plain reading
//! of its record says.

use tickwire::feed::dialect::{parse_all, parse_line};
use tickwire::feed::field::{AHEAD_MAX, EARLIEST};
use tickwire::feed::{Context, Dialect, Line, Lines, Reason, Tallies, find};
use tickwire::model::{Symbol, SymbolCache, SymbolTable, Tick, TickKind, TradeId, UnixNanos, UpstreamBar};

/// The time at which everything is read.
pub const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

/// What a record means by a plain reading.
#[derive(Debug, Clone, PartialEq)]
pub enum Meant {
    /// A tick.
    Tick(Box<Row>),
    /// Of a type that makes none.
    Skipped,
    /// Nothing, as something is wrong with it.
    Rejected,
}

/// A record's ticks in plain terms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Such as `trade`.
    pub kind: &'static str,
    pub symbol: String,
    /// ns; `None` where the plain reading does not know it.
    pub at: Option<i64>,
    /// Of a bar, its open.
    pub price: i64,
    pub size: u64,
    /// Of a quote.
    pub ask: Option<(i64, u64)>,
    pub id: Vec<u8>,
    pub sequence: Option<u64>,
    pub conditions: [u8; 4],
    /// Where it was traded or quoted; `None` where the plain reading does not know it.
    pub market: Option<Market>,
    /// Of a correction, the id that it gives.
    pub new_id: Vec<u8>,
    /// Of a halt, that it is none any more.
    pub resumed: bool,
    pub bar: Option<BarRow>,
}

/// Venue, whether it is a letter, tape, TRF, and the venues of a quote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Market {
    pub venue: u8,
    pub letter: bool,
    pub tape: u8,
    pub trf: u8,
    pub sides: (u8, u8),
}

/// What a bar has besides its open and its time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarRow {
    pub seconds: u32,
    pub closed: bool,
    /// High, low and close.
    pub prices: [i64; 3],
    pub volume: u128,
    pub notional: Option<i128>,
    pub trades: u64,
}

impl Row {
    fn of(tick: &Tick, next: Option<&Tick>, symbols: &SymbolTable) -> Self {
        let symbol = symbols.name(tick.symbol).expect("its symbol is in the table").to_string();
        let at = Some(tick.ts_event.0);
        let kind = match tick.kind() {
            TickKind::Trade => "trade",
            TickKind::Quote => "quote",
            TickKind::Cancel => "cancel",
            TickKind::Correction => "correction",
            TickKind::Halt => "halt",
            TickKind::AggregatedTrade => "aggregated",
            TickKind::BarHead => "bar",
            other => panic!("no dialect makes {other:?}"),
        };
        if kind == "bar" {
            let tail = next.expect("a bar has a second half");
            let upstream = UpstreamBar::from_ticks(tick, tail).expect("the halves of one bar");
            let bar = upstream.bar;
            let notional = upstream.has_notional.then_some(bar.notional.0);
            let bar_row = BarRow {
                seconds: upstream.seconds,
                closed: upstream.closed,
                prices: [bar.high.0, bar.low.0, bar.close.0],
                volume: bar.volume.0,
                notional,
                trades: bar.trades,
            };
            return Self { kind, symbol, at, price: bar.open.0, bar: Some(bar_row), ..Self::default() };
        }
        let (quote, halt, correction) = (kind == "quote", kind == "halt", kind == "correction");
        let (mut id, mut new_id) = (Vec::new(), Vec::new());
        if !quote {
            tick.id().write(&mut id);
        }
        if correction {
            tick.corrected_id().write(&mut new_id);
        }
        let sides = if quote { tick.quote_venues() } else { Default::default() };
        let market = Market {
            venue: tick.venue.0,
            letter: tick.venue_is_letter(),
            tape: tick.tape(),
            trf: tick.trf,
            sides: (sides.0.0, sides.1.0),
        };
        Self {
            kind,
            symbol,
            at,
            price: tick.price.0,
            size: tick.size.0,
            ask: quote.then(|| (tick.ask().0, tick.ask_size().0)),
            id,
            sequence: if quote || halt { None } else { tick.sequence() },
            conditions: tick.conditions,
            market: Some(market),
            new_id,
            resumed: halt && !tick.is_halted(),
            bar: None,
        }
    }

    /// One row for each record: a bar's second half is no row of its own.
    fn all(ticks: &[Tick], symbols: &SymbolTable) -> Vec<Self> {
        let firsts = ticks.iter().enumerate().filter(|(_, tick)| tick.kind() != TickKind::BarTail);
        firsts.map(|(at, tick)| Self::of(tick, ticks.get(at + 1), symbols)).collect()
    }
}

/// A trade id as it is written back.
pub fn id(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    TradeId::from_text(text.as_bytes()).write(&mut out);
    out
}

/// A symbol's name, if it is one.
pub fn symbol(name: &str) -> Option<String> {
    let good = (1..=32).contains(&name.len()) && Symbol::new(name.as_bytes()).is_ok();
    good.then(|| name.to_owned())
}

/// A time that a feed may say now, in ns.
pub fn time(value: i128, unit_ns: i128) -> Option<i64> {
    let ns = value.checked_mul(unit_ns)?;
    let allowed = i128::from(EARLIEST.0)..=i128::from((NOW + AHEAD_MAX).0);
    allowed.contains(&ns).then_some(ns as i64)
}

/// Runs a dialect over bytes. `read` says what each record of a line means, or `None` where it does not know.
pub fn check(dialect: &str, data: &[u8], mut read: impl FnMut(&[u8]) -> Option<Vec<Meant>>) {
    let row = find(dialect).expect("a dialect of that name");
    let symbols = SymbolTable::new(4_096);
    let (ticks, tallies) = parse_all(row, data, NOW, &symbols);
    ledger(&ticks, &tallies);
    for tick in &ticks {
        let trade = matches!(tick.kind(), TickKind::Trade | TickKind::AggregatedTrade | TickKind::BarHead);
        assert!(
            tick.price.0 >= i64::from(trade) && tick.ts_event >= EARLIEST && tick.ts_event <= NOW + AHEAD_MAX
        );
    }
    assert_eq!(in_pieces(dialect, data, &symbols), ticks, "cut into pieces of 7 bytes");

    let mut parser = (row.open)();
    let mut cache = SymbolCache::new(symbols.clone());
    for line in data.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) || line.len() > 1 << 20 {
            continue;
        }
        let shown = line.escape_ascii();
        let (ticks, tallies) = one(parser.as_mut(), line, &mut cache);
        if dialect != "csv" {
            // Its symbols are known now, so it may be read in another way; with a tab behind it, it must go the general way.
            let (again, again_tallies) = one(parser.as_mut(), line, &mut cache);
            let (tabbed, tabbed_tallies) = one(parser.as_mut(), &[line, b"\t"].concat(), &mut cache);
            assert_eq!(again, tabbed, "two ways to read {shown}");
            assert_eq!(counts(&again_tallies), counts(&tabbed_tallies), "two ways to count {shown}");
            assert_eq!((again, counts(&again_tallies)), (ticks.clone(), counts(&tallies)), "again: {shown}");
        }
        let Some(meant) = read(line) else { continue };
        let counted = |wanted: &Meant| meant.iter().filter(|verdict| *verdict == wanted).count() as u64;
        let mut expected: Vec<Row> = meant
            .iter()
            .filter_map(|m| if let Meant::Tick(row) = m { Some((**row).clone()) } else { None })
            .collect();
        let got = Row::all(&ticks, &symbols);
        for (expected, got) in expected.iter_mut().zip(&got) {
            expected.at = expected.at.or(got.at);
            expected.market = expected.market.take().or_else(|| got.market.clone());
        }
        assert_eq!(got, expected, "ticks of {shown}");
        assert_eq!(tallies.rejected(), counted(&Meant::Rejected), "rejected of {shown}");
        assert_eq!(tallies.skipped(), counted(&Meant::Skipped), "skipped of {shown}");
    }
}

fn one(parser: &mut dyn Dialect, line: &[u8], cache: &mut SymbolCache) -> (Vec<Tick>, Tallies) {
    let (mut tallies, mut ticks) = (Tallies::new("one"), Vec::new());
    let mut text = line.to_vec();
    let mut cx = Context { now: NOW, source: 0, recorded: true, symbols: cache, tallies: &mut tallies };
    parse_line(parser, Line::Whole(&mut text), &mut cx, &mut ticks);
    ledger(&ticks, &tallies);
    (ticks, tallies)
}

/// All that a ledger counts but bytes.
fn counts(tallies: &Tallies) -> (u64, u64, u64, Vec<u64>, Vec<(String, u64)>) {
    let rejected = Reason::ALL.iter().map(|&reason| tallies.rejected_for(reason)).collect();
    let skipped = tallies.skipped_types().map(|(name, n)| (name.to_owned(), n)).collect();
    (tallies.records(), tallies.rounded, tallies.conditions_cut, rejected, skipped)
}

fn ledger(ticks: &[Tick], tallies: &Tallies) {
    assert!(tallies.is_balanced(), "a record without a verdict, or with two");
    let records = ticks.iter().filter(|tick| tick.kind() != TickKind::BarTail).count();
    assert_eq!(records as u64, tallies.accepted());
}

fn in_pieces(dialect: &str, data: &[u8], symbols: &SymbolTable) -> Vec<Tick> {
    let mut parser = (find(dialect).expect("a dialect of that name").open)();
    let (mut tallies, mut cache) = (Tallies::new(dialect), SymbolCache::new(symbols.clone()));
    let mut lines = Lines::new(64, 1 << 20);
    let mut ticks = Vec::new();
    let mut cx = Context { now: NOW, source: 0, recorded: true, symbols: &mut cache, tallies: &mut tallies };
    let mut rest = data;
    while !rest.is_empty() {
        let space = lines.space();
        let n = rest.len().min(space.len()).min(7);
        space[..n].copy_from_slice(&rest[..n]);
        lines.filled(n);
        rest = &rest[n..];
        while let Some(line) = lines.next_line() {
            parse_line(parser.as_mut(), line, &mut cx, &mut ticks);
        }
    }
    if let Some(line) = lines.last_line() {
        parse_line(parser.as_mut(), line, &mut cx, &mut ticks);
    }
    ticks
}

/// The files of `tests/data/feed`, whole and line by line.
pub fn seeds(files: &[&str]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for text in files {
        seeds.push(text.as_bytes()[..text.len().min(4_000)].to_vec());
        seeds.extend(text.lines().take(12).map(|line| line.as_bytes().to_vec()));
    }
    seeds
}
