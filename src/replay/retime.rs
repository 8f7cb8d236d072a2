//! Moves the times in a recorded line by one span, and touches no other byte.
//!
//! | format | what moves |
//! |---|---|
//! | csv | the `timestamp…` column, in its unit; ISO 8601 is written anew in UTC, to the ms or finer if it was finer |
//! | massive | `t`, `pt`, `trft`, and `s`, `e` of aggregates: whole ms |
//! | binance | `E` and `T`, at any depth: whole ms |
//!
//! A value that no feed would take as a time (before 2000, or no whole number) stays, so a size `s` or an id is never
//! taken for a time: sizes end at 1.8e11, milliseconds of 2000 begin at 9.4e11.

use std::ops::Range;

use crate::feed::DialectRow;
use crate::feed::csv::{self, HeaderError, TimeUnit};
use crate::feed::field::EARLIEST;
use crate::model::{Nanos, UnixNanos};

/// The fields of one format that hold times.
#[derive(Debug, Clone)]
pub struct Retimer(Times);

#[derive(Debug, Clone)]
enum Times {
    Column { place: usize, unit: TimeUnit },
    Keys(&'static [&'static [u8]]),
}

impl Retimer {
    /// For the lines of a dialect; `header` is the csv header above them. `None` where the dialect's times are not known.
    ///
    /// # Errors
    /// Where the header cannot be used.
    pub fn new(row: &DialectRow, header: &[u8]) -> Result<Option<Self>, HeaderError> {
        Ok(match row.name {
            "csv" => {
                let (place, unit) = csv::time_column(header)?;
                Some(Self(Times::Column { place, unit }))
            }
            "massive" => Some(Self(Times::Keys(&[b"t", b"pt", b"trft", b"s", b"e"]))),
            "binance" => Some(Self(Times::Keys(&[b"E", b"T"]))),
            _ => None,
        })
    }

    /// Appends `line` to `out`, its times moved by `shift`, a whole number of milliseconds.
    pub fn retime(&self, line: &[u8], shift: Nanos, out: &mut Vec<u8>) {
        match &self.0 {
            Times::Keys(keys) => retime_json(line, keys, shift, out),
            Times::Column { place, unit } => {
                let moved = field(line, *place)
                    .and_then(|at| retime_field(&line[at.clone()], *unit, shift).map(|text| (at, text)));
                match moved {
                    Some((at, text)) => {
                        out.extend_from_slice(&line[..at.start]);
                        out.extend_from_slice(text.as_bytes());
                        out.extend_from_slice(&line[at.end..]);
                    }
                    None => out.extend_from_slice(line),
                }
            }
        }
    }
}

/// Walks from string to string, so that nothing within one is taken for a key.
fn retime_json(line: &[u8], keys: &[&[u8]], shift: Nanos, out: &mut Vec<u8>) {
    let (mut copied, mut at) = (0, 0);
    while let Some(quote) = find(line, at, b'"') {
        let Some(end) = string_end(line, quote + 1) else { break };
        at = end + 1;
        if !keys.contains(&&line[quote + 1..end]) {
            continue;
        }
        let colon = skip_space(line, at);
        if line.get(colon) != Some(&b':') {
            continue;
        }
        let from = skip_space(line, colon + 1);
        let digits = line[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let to = from + digits;
        if matches!(line.get(to), Some(b'.' | b'e' | b'E')) {
            continue;
        }
        if let Some(moved) = retime_field(&line[from..to], TimeUnit::Millis, shift) {
            out.extend_from_slice(&line[copied..from]);
            out.extend_from_slice(moved.as_bytes());
            copied = to;
        }
        at = to;
    }
    out.extend_from_slice(&line[copied..]);
}

fn find(line: &[u8], from: usize, byte: u8) -> Option<usize> {
    memchr::memchr(byte, line.get(from..)?).map(|offset| from + offset)
}

fn skip_space(line: &[u8], from: usize) -> usize {
    from + line.iter().skip(from).take_while(|b| b.is_ascii_whitespace()).count()
}

/// Where the string that begins at `from` has its closing quote.
fn string_end(line: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', line.get(from..)?)?;
        if line[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Where a row's field lies, without its quotes.
fn field(row: &[u8], place: usize) -> Option<Range<usize>> {
    let (mut start, mut count, mut quoted) = (0, 0, false);
    let mut end = row.len();
    for (at, &byte) in row.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted && count == place => {
                end = at;
                break;
            }
            b',' if !quoted => {
                count += 1;
                start = at + 1;
            }
            _ => {}
        }
    }
    if count != place {
        return None;
    }
    match &row[start..end] {
        [b'"', .., b'"'] => Some(start + 1..end - 1),
        _ => Some(start..end),
    }
}

/// The moved time as text; `None` where `text` is no time or would leave its range.
fn retime_field(text: &[u8], unit: TimeUnit, shift: Nanos) -> Option<String> {
    let per_unit = match unit {
        TimeUnit::Millis => 1_000_000,
        TimeUnit::Micros => 1_000,
        TimeUnit::Nanos => 1,
        TimeUnit::Iso => return retime_iso(text, shift),
    };
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let moved = moved(value.checked_mul(per_unit)?, shift)?;
    Some((moved / per_unit).to_string())
}

fn retime_iso(text: &[u8], shift: Nanos) -> Option<String> {
    let UnixNanos(at) = csv::iso(text).ok()?;
    let at = jiff::Timestamp::from_nanosecond(i128::from(moved(at, shift)?)).ok()?;
    let fraction = text.iter().position(|b| matches!(b, b'.' | b',')).map_or(&[][..], |dot| &text[dot + 1..]);
    let decimals = fraction.iter().take_while(|b| b.is_ascii_digit()).count().clamp(3, 9);
    Some(format!("{at:.decimals$}"))
}

fn moved(at: i64, shift: Nanos) -> Option<i64> {
    if at < EARLIEST.0 {
        return None;
    }
    at.checked_add(shift.0).filter(|&at| at >= 0)
}
