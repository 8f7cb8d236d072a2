//! The ledger of one source: every record is accepted, rejected for a reason or skipped by its type, and counted once.

use std::fmt::Write as _;

use crate::model::{Tick, TickKind, UnixNanos};
use crate::runtime::Report;
use crate::runtime::metrics::{Notes, counters};

counters! {
    /// Why a record did not become a tick.
    enum Reason;

    MalformedJson "malformed_json" "Not JSON.",
    MalformedRow "malformed_row" "A row with other fields than the header, or with a broken quotation.",
    BadHeader "bad_header" "A header that cannot be used, and each row under it.",
    MissingField "missing_field" "A field that its type needs is not there.",
    WrongType "wrong_type" "A field of another JSON type than it must have.",
    BadNumber "bad_number" "Not a decimal number of JSON's form, or a code outside its range.",
    PriceZero "price_zero" "A trade at no price, or a quote with neither side.",
    PriceNegative "price_negative" "A price below zero.",
    PriceRange "price_range" "A price past 9,223,372,036.854775807.",
    SizeNegative "size_negative" "A size below zero.",
    SizeRange "size_range" "A size past 184,467,440,737.09551615, or a bar's volume past what sums can hold.",
    NotionalRange "notional_range" "Price times size past what sums can hold.",
    BarRange "bar_range" "A bar whose open or close is not between its low and its high.",
    BarLength "bar_length" "A bar that is no whole number of seconds long, or ends before it begins.",
    TimeMissing "time_missing" "No time.",
    TimeBad "time_bad" "A time that is no whole number, or no ISO 8601.",
    TimeRange "time_range" "A time before 2000, or past what nanoseconds can hold.",
    TimeFuture "time_future" "A time more than an hour ahead.",
    SymbolEmpty "symbol_empty" "A symbol without a byte.",
    SymbolTooLong "symbol_too_long" "A symbol of more than 32 bytes.",
    SymbolUnprintable "symbol_unprintable" "A symbol with a byte that no symbol has.",
    SymbolsMax "symbols_max" "One more symbol than the table may hold.",
    LineTooLong "line_too_long" "A line or message past its limit.",
    NotUtf8 "not_utf8" "A text message that is not UTF-8.",
}

/// How many distinct skipped types are told apart; the rest are `other`. A peer chooses the names, so they are bounded.
const SKIPPED_NAMES_MAX: usize = 32;
/// Longest name of a skipped type, in bytes.
const SKIPPED_NAME_BYTES_MAX: usize = 24;
/// Longest note, in bytes.
const NOTE_BYTES_MAX: usize = 120;
/// A counter for each kind of tick, by its number.
const KINDS: usize = 16;

/// One source's counters and the samples of what it rejected.
pub struct Tallies {
    source: String,
    /// Lines and messages read, blank ones and headers included.
    pub lines: u64,
    /// Bytes read, as the dialect sees them.
    pub bytes: u64,
    /// Numbers that lost digits past the unit.
    pub rounded: u64,
    /// Trades with more condition codes than a tick holds.
    pub conditions_cut: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections refused, at the limit.
    pub refused: u64,
    /// Times a read, an accept or a handshake failed.
    pub faults: u64,
    records: u64,
    accepted: [u64; KINDS],
    rejected: [u64; Reason::ALL.len()],
    skipped: Vec<(String, u64)>,
    notes: Notes,
}

impl Tallies {
    /// All zero.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            lines: 0,
            bytes: 0,
            rounded: 0,
            conditions_cut: 0,
            connections: 0,
            refused: 0,
            faults: 0,
            records: 0,
            accepted: [0; KINDS],
            rejected: [0; Reason::ALL.len()],
            skipped: Vec::with_capacity(SKIPPED_NAMES_MAX + 1),
            notes: Notes::default(),
        }
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// One more record: an element of an array, a JSON message that is no array, or a row. Each then gets one verdict.
    #[inline]
    pub fn record(&mut self) {
        self.records += 1;
    }

    /// Verdict: it became this tick; of the two ticks of a bar, the first.
    #[inline]
    pub fn accept(&mut self, tick: &Tick) {
        self.accepted[tick.kind() as usize % KINDS] += 1;
    }

    /// So many more records, each with the verdict that it became a tick of this kind.
    #[inline]
    pub fn record_many(&mut self, kind: TickKind, records: u64) {
        self.records += records;
        self.accepted[kind as usize % KINDS] += records;
    }

    /// Verdict: it is not taken, `sample` being what was wrong with it.
    #[cold]
    pub fn reject(&mut self, reason: Reason, sample: &[u8], now: UnixNanos) {
        self.rejected[reason as usize] += 1;
        self.note(now, reason.name(), sample);
    }

    /// Verdict: of a type that makes no ticks.
    #[inline]
    pub fn skip(&mut self, kind: &str) {
        if let Some((_, n)) = self.skipped.iter_mut().find(|(name, _)| name == kind) {
            *n += 1;
        } else {
            self.skip_new(kind);
        }
    }

    /// Verdict: of a type that makes no ticks, told apart further: counted as `kind-part`.
    pub fn skip_part(&mut self, kind: &str, part: &str) {
        let is_it =
            |name: &str| name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')) == Some(part);
        match self.skipped.iter_mut().find(|(name, _)| is_it(name)) {
            Some((_, n)) => *n += 1,
            None => self.skip_new(&format!("{kind}-{part}")),
        }
    }

    #[cold]
    fn skip_new(&mut self, kind: &str) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'@');
        let known = self.skipped.len() < SKIPPED_NAMES_MAX
            && !kind.is_empty()
            && kind.len() <= SKIPPED_NAME_BYTES_MAX
            && kind.bytes().all(plain);
        let name = if known { kind } else { "other" };
        match self.skipped.iter_mut().find(|(there, _)| there == name) {
            Some((_, n)) => *n += 1,
            None => self.skipped.push((name.to_owned(), 1)),
        }
    }

    /// Leaves a line for the log: `source: line 17: what: "sample"`, at a bounded rate and length.
    #[cold]
    pub fn note(&mut self, now: UnixNanos, what: &str, sample: &[u8]) {
        let (source, line) = (&self.source, self.lines);
        self.notes.add(now, || {
            let mut note = String::with_capacity(NOTE_BYTES_MAX + 8);
            // Writing to a string cannot fail.
            let _ = write!(note, "{source}: line {line}: {what}: \"");
            for &byte in sample.iter().take(NOTE_BYTES_MAX) {
                let _ = write!(note, "{}", byte.escape_ascii());
            }
            let mut end = note.len().min(NOTE_BYTES_MAX - 1);
            while !note.is_char_boundary(end) {
                end -= 1;
            }
            note.truncate(end);
            note.push('"');
            note
        });
    }

    /// Records that came in.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Records that became ticks.
    pub fn accepted(&self) -> u64 {
        self.accepted.iter().sum()
    }

    /// Records rejected for one reason.
    pub fn rejected_for(&self, reason: Reason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Records rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Records skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped.iter().map(|(_, n)| n).sum()
    }

    /// Records skipped, by type.
    pub fn skipped_types(&self) -> impl Iterator<Item = (&str, u64)> {
        self.skipped.iter().map(|(name, n)| (name.as_str(), *n))
    }

    /// The identity of the ledger: every record has exactly one verdict.
    pub fn is_balanced(&self) -> bool {
        self.records == self.accepted() + self.rejected() + self.skipped()
    }

    /// Notes made since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.notes.take()
    }

    /// Adds what is not zero to a report, as `feed.<source>.<counter>`, and moves the notes there.
    pub fn hand_over(&mut self, report: &mut Report) {
        let source = &self.source;
        let plain = [
            ("lines", self.lines),
            ("bytes", self.bytes),
            ("records", self.records),
            ("accepted", self.accepted()),
            ("accepted.trades", self.accepted[1]),
            ("accepted.quotes", self.accepted[2]),
            ("accepted.aggregated_trades", self.accepted[TickKind::AggregatedTrade as usize]),
            ("accepted.bars", self.accepted[TickKind::BarHead as usize]),
            ("rejected", self.rejected()),
            ("skipped", self.skipped()),
            ("rounded_digits", self.rounded),
            ("conditions_cut", self.conditions_cut),
            ("connections", self.connections),
            ("refused", self.refused),
            ("faults", self.faults),
            ("notes_left_out", self.notes.left_out()),
        ];
        for (name, value) in plain {
            if value > 0 || matches!(name, "records" | "accepted" | "rejected" | "skipped") {
                report.count(format!("feed.{source}.{name}"), value);
            }
        }
        for &reason in Reason::ALL {
            let value = self.rejected[reason as usize];
            if value > 0 {
                report.count(format!("feed.{source}.rejected.{}", reason.name()), value);
            }
        }
        for (name, value) in &self.skipped {
            report.count(format!("feed.{source}.skipped.{name}"), *value);
        }
        report.notes.append(&mut self.notes.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_skipped_types_are_bounded() {
        let mut tallies = Tallies::new("x");
        for i in 0..1000 {
            tallies.record();
            tallies.skip(&format!("type{i}"));
        }
        tallies.record();
        tallies.skip("a \"name\"");
        assert!(tallies.skipped_types().count() <= SKIPPED_NAMES_MAX + 1);
        assert!(tallies.is_balanced());
    }

    #[test]
    fn notes_are_bounded_in_rate_and_length() {
        let mut tallies = Tallies::new("binance");
        tallies.lines = 17;
        for _ in 0..100 {
            tallies.reject(Reason::PriceZero, b"0.0", UnixNanos(5));
        }
        tallies.reject(Reason::PriceZero, &[0xff; 4096], UnixNanos(2_000_000_000));
        let notes = tallies.take_notes();
        assert_eq!(notes.len(), 6);
        assert_eq!(notes[0], "binance: line 17: price_zero: \"0.0\"");
        assert!(notes.iter().all(|note| note.len() <= NOTE_BYTES_MAX));
        assert_eq!(tallies.rejected_for(Reason::PriceZero), 101);
    }
}
