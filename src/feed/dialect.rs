//! Feed dialects: one trait, one row in the table, one file each.

use crate::model::{SymbolCache, SymbolTable, Tick, UnixNanos};

use super::alpaca::Alpaca;
use super::binance::Binance;
use super::csv::Csv;
use super::field::Context;
use super::lines::{Line, Lines};
use super::massive::Massive;
use super::reject::{Reason, Tallies};

/// A feed's wire format: lines or messages in, ticks out. It does no I/O and reads no clock. One belongs to each file or
/// connection, as it may hold a header or a session.
pub trait Dialect: Send {
    /// Reads one line or message, never blank, into any number of ticks. It may write into `line`. Every record in it gets
    /// one verdict in `cx.tallies`.
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>);

    /// Why nothing that follows can be read, if so.
    fn refusal(&self) -> Option<String> {
        None
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct DialectRow {
    /// Its name on the command line and in the configuration.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// A fresh one, for a new file or connection.
    pub open: fn() -> Box<dyn Dialect>,
}

/// Every feed dialect.
pub const DIALECTS: &[DialectRow] = &[
    DialectRow {
        name: "csv",
        about: "a header, then a trade or a quote a row",
        open: || Box::new(Csv::default()),
    },
    DialectRow {
        name: "massive",
        about: "WebSocket messages as Massive sends them, one a line",
        open: || Box::new(Massive::default()),
    },
    DialectRow {
        name: "binance",
        about: "raw WebSocket messages, one a line, an optional receive time in ns before it",
        open: || Box::new(Binance::default()),
    },
    DialectRow {
        name: "alpaca",
        about: "WebSocket messages as Alpaca sends them in JSON, one a line",
        open: || Box::new(Alpaca::default()),
    },
];

/// The dialect of a name.
pub fn find(name: &str) -> Option<&'static DialectRow> {
    DIALECTS.iter().find(|row| row.name == name)
}

/// Hands one line to the dialect, or to the ledger where it is too long. Blank lines are no records.
#[inline]
pub fn parse_line(dialect: &mut dyn Dialect, line: Line<'_>, cx: &mut Context<'_>, out: &mut Vec<Tick>) {
    cx.tallies.lines += 1;
    match line {
        Line::Whole(text) => {
            cx.tallies.bytes += text.len() as u64 + 1;
            if text.iter().any(|b| !b.is_ascii_whitespace()) {
                dialect.parse(text, cx, out);
            }
        }
        Line::TooLong(shown) => {
            cx.tallies.bytes += shown.len() as u64;
            cx.tallies.record();
            cx.tallies.reject(Reason::LineTooLong, shown, cx.now);
        }
    }
}

/// Reads all of `bytes` at once, as a file of the dialect: for tests and benches.
pub fn parse_all(
    row: &DialectRow,
    bytes: &[u8],
    now: UnixNanos,
    symbols: &SymbolTable,
) -> (Vec<Tick>, Tallies) {
    let mut dialect = (row.open)();
    let mut tallies = Tallies::new(row.name);
    let mut symbols = SymbolCache::new(symbols.clone());
    let mut out = Vec::new();
    let mut lines = Lines::new(64 * 1024, 1 << 20);
    let mut cx = Context { now, source: 0, recorded: true, symbols: &mut symbols, tallies: &mut tallies };
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = lines.space();
        let n = rest.len().min(space.len());
        space[..n].copy_from_slice(&rest[..n]);
        lines.filled(n);
        rest = &rest[n..];
        while let Some(line) = lines.next_line() {
            parse_line(dialect.as_mut(), line, &mut cx, &mut out);
        }
    }
    if let Some(line) = lines.last_line() {
        parse_line(dialect.as_mut(), line, &mut cx, &mut out);
    }
    (out, tallies)
}
