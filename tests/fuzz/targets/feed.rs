//! A feed dialect over bytes: a balanced ledger, the same ticks however the bytes are cut, and each tick what a plain reading
//! of its record says.

use tickwire::feed::dialect::{parse_all, parse_line};
use tickwire::feed::field::{AHEAD_MAX, EARLIEST};
use tickwire::feed::{Context, Line, Lines, Tallies, find};
use tickwire::model::{Symbol, SymbolCache, SymbolTable, Tick, TickKind, TradeId, UnixNanos};

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

/// A tick in plain terms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    pub symbol: String,
    /// ns; `None` where the plain reading does not know it.
    pub at: Option<i64>,
    pub price: i64,
    pub size: u64,
    /// Of a quote.
    pub ask: Option<(i64, u64)>,
    pub id: Vec<u8>,
    pub sequence: Option<u64>,
    pub conditions: [u8; 4],
}

impl Row {
    fn of(tick: &Tick, symbols: &SymbolTable) -> Self {
        let symbol = symbols.name(tick.symbol).expect("its symbol is in the table").to_string();
        let quote = tick.kind() == TickKind::Quote;
        let mut id = Vec::new();
        if !quote {
            tick.id().write(&mut id);
        }
        Self {
            symbol,
            at: Some(tick.ts_event.0),
            price: tick.price.0,
            size: tick.size.0,
            ask: quote.then(|| (tick.ask().0, tick.ask_size().0)),
            id,
            sequence: if quote { None } else { tick.sequence() },
            conditions: tick.conditions,
        }
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
        let trade = tick.kind() == TickKind::Trade;
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
        let (mut tallies, mut ticks) = (Tallies::new(dialect), Vec::new());
        let mut text = line.to_vec();
        let mut cx =
            Context { now: NOW, source: 0, recorded: true, symbols: &mut cache, tallies: &mut tallies };
        parse_line(parser.as_mut(), Line::Whole(&mut text), &mut cx, &mut ticks);
        ledger(&ticks, &tallies);
        let Some(meant) = read(line) else { continue };
        let counted = |wanted: &Meant| meant.iter().filter(|verdict| *verdict == wanted).count() as u64;
        let shown = line.escape_ascii();
        let mut expected: Vec<Row> = meant
            .iter()
            .filter_map(|m| if let Meant::Tick(row) = m { Some((**row).clone()) } else { None })
            .collect();
        let got: Vec<Row> = ticks.iter().map(|tick| Row::of(tick, &symbols)).collect();
        for (expected, got) in expected.iter_mut().zip(&got) {
            expected.at = expected.at.or(got.at);
        }
        assert_eq!(got, expected, "ticks of {shown}");
        assert_eq!(tallies.rejected(), counted(&Meant::Rejected), "rejected of {shown}");
        assert_eq!(tallies.skipped(), counted(&Meant::Skipped), "skipped of {shown}");
    }
}

fn ledger(ticks: &[Tick], tallies: &Tallies) {
    assert!(tallies.is_balanced(), "a record without a verdict, or with two");
    assert_eq!(ticks.len() as u64, tallies.accepted());
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
