//! Pieces of JSON text that several dialects write by hand.

use crate::model::decimal::write_u64;
use crate::model::{Bar, UnixNanos};

/// Appends text as it is.
#[inline]
pub fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a JSON string with its quotes, escaped where it must be.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => put(out, "\\n"),
            b'\r' => put(out, "\\r"),
            b'\t' => put(out, "\\t"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                put(out, "\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends `,"open":1,"high":2,"low":1,"close":2,"volume":7,"vwap":1.5`; the last is null without volume.
pub fn candle(out: &mut Vec<u8>, bar: &Bar) {
    for (name, price) in [
        (r#","open":"#, bar.open),
        (r#","high":"#, bar.high),
        (r#","low":"#, bar.low),
        (r#","close":"#, bar.close),
    ] {
        put(out, name);
        price.write(out);
    }
    put(out, r#","volume":"#);
    bar.volume.write(out);
    put(out, r#","vwap":"#);
    match bar.vwap() {
        Some(vwap) => vwap.write(out),
        None => put(out, "null"),
    }
}

/// Appends `2026-02-07T14:30:00.123Z`: UTC to the millisecond, rounded down.
///
/// The date is found by the algorithm of Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
pub fn iso_millis(out: &mut Vec<u8>, at: UnixNanos) {
    let millis = at.millis();
    let days = millis.div_euclid(86_400_000);
    let of_day = millis.rem_euclid(86_400_000) as u64;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    padded(out, year.max(0) as u64, 4);
    out.push(b'-');
    padded(out, month as u64, 2);
    out.push(b'-');
    padded(out, day as u64, 2);
    out.push(b'T');
    padded(out, of_day / 3_600_000, 2);
    out.push(b':');
    padded(out, of_day / 60_000 % 60, 2);
    out.push(b':');
    padded(out, of_day / 1_000 % 60, 2);
    out.push(b'.');
    padded(out, of_day % 1_000, 3);
    out.push(b'Z');
}

fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut floor = 10;
    for _ in 1..width {
        if value < floor {
            out.push(b'0');
        }
        floor *= 10;
    }
    write_u64(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_a_calendar_library() {
        let mut ms = -2_000_000_000_000i64;
        while ms < 5_000_000_000_000 {
            let mut out = Vec::new();
            iso_millis(&mut out, UnixNanos(ms * 1_000_000));
            let theirs = jiff::Timestamp::from_millisecond(ms).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{theirs:.3}"));
            ms += 86_399_123 * 3 + 17;
        }
    }

    #[test]
    fn a_string_is_what_a_json_parser_reads_back() {
        let text = "a\"b\\c\n\r\t\u{1}\u{1f}é\u{2028}";
        let mut out = Vec::new();
        string(&mut out, text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
