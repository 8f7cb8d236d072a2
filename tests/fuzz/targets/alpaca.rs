//! Alpaca's messages, each record compared to what simd-json's own document says of it.

use simd_json::OwnedValue;
use simd_json::prelude::*;
use tickwire::model::TradeId;

use super::feed::{self, BarRow, Market, Meant, Row};
use super::massive::{bar_numbers, document, field, number, vwap, whole};
use super::number;

pub fn run(data: &[u8]) {
    feed::check("alpaca", data, |line| {
        let message = document(line)?;
        Some(match message.as_array() {
            Some(records) => records.iter().map(record).collect(),
            None => vec![record(&message)],
        })
    });
}

fn record(record: &OwnedValue) -> Meant {
    if !record.is_object() {
        return Meant::Rejected;
    }
    let row = match field(record, "T").map(|kind| kind.as_str()) {
        Some(Some("t")) => trade(record),
        Some(Some("q")) => quote(record),
        Some(Some("b" | "u")) => aggregate(record, 60, true),
        Some(Some("d")) => aggregate(record, 86_400, false),
        Some(Some("c")) => correction(record),
        Some(Some("x")) => cancel(record),
        Some(Some("s")) => match field(record, "sc").map(|code| code.as_str()) {
            Some(Some("2" | "H" | "P")) => halt(record, false),
            Some(Some("3" | "T")) => halt(record, true),
            Some(Some(_)) => return Meant::Skipped,
            _ => None,
        },
        Some(Some(_)) => return Meant::Skipped,
        _ => None,
    };
    row.map_or(Meant::Rejected, |row| Meant::Tick(Box::new(row)))
}

/// A record's symbol and time.
fn row(record: &OwnedValue, kind: &'static str) -> Option<Row> {
    let symbol = feed::symbol(field(record, "S")?.as_str()?)?;
    let at = Some(time(field(record, "t")?.as_str()?)?);
    Some(Row { kind, symbol, at, ..Row::default() })
}

/// The form by shape, the value by adding up days: neither is how the engine does it.
fn time(text: &str) -> Option<i64> {
    const SHAPE: &str = "dddd-dd-ddTdd:dd:dd";
    let (head, mut rest) = text.split_at_checked(SHAPE.len())?;
    let fits = |(byte, shape): (u8, u8)| if shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    if !head.bytes().zip(SHAPE.bytes()).all(fits) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| head[range].parse::<i128>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    let leap = |year: i128| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Whole years from the year 0, in which 1970 began on day 719,528.
    let years: i128 = (0..year).map(|year| 365 + i128::from(leap(year))).sum();
    let days = years - 719_528 + lengths[..month as usize - 1].iter().sum::<i128>() + day - 1;
    let mut nanos = 0;
    if let Some(places) = rest.strip_prefix('.') {
        let digits = places.len() - places.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if !(1..=9).contains(&digits) {
            return None;
        }
        nanos = format!("{:0<9}", &places[..digits]).parse::<i128>().ok()?;
        rest = &places[digits..];
    }
    let offset = match rest.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let two = |a: &u8, b: &u8| i128::from((a - b'0') * 10 + (b - b'0'));
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    feed::time(seconds * 1_000_000_000 + nanos, 1)
}

/// The one character of a code; `Some(None)` where there is none.
fn letter(record: &OwnedValue, name: &str) -> Option<Option<u8>> {
    field(record, name).map_or(Some(None), one)
}

fn one(value: &OwnedValue) -> Option<Option<u8>> {
    let text = value.as_str()?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (None, _) => Some(None),
        (Some(one @ ' '..='~'), None) => Some(Some(one as u8)),
        _ => None,
    }
}

fn market(record: &OwnedValue) -> Option<Market> {
    let venue = letter(record, "x")?;
    let tape = match letter(record, "z")? {
        Some(b'A') => 1,
        Some(b'B') => 2,
        Some(b'C') => 3,
        _ => 0,
    };
    Some(Market { venue: venue.unwrap_or(0), letter: venue.is_some(), tape, ..Market::default() })
}

fn conditions(record: &OwnedValue, name: &str) -> Option<[u8; 4]> {
    let Some(value) = field(record, name) else { return Some([0; 4]) };
    let list: Vec<&OwnedValue> = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    let codes: Vec<Option<u8>> = list.into_iter().map(one).collect::<Option<_>>()?;
    let mut kept = [0; 4];
    let odd = codes.into_iter().flatten().filter(|code| !b" @".contains(code));
    for (slot, code) in kept.iter_mut().zip(odd) {
        *slot = code;
    }
    Some(kept)
}

fn sale(record: &OwnedValue, price: &str, size: &str) -> Option<(i64, u64)> {
    let price = number::price(&number(field(record, price)?)?).filter(|&price| price > 0)?;
    let size = number::size(&number(field(record, size)?)?)?;
    number::fits(price, size).then_some((price, size))
}

fn id(record: &OwnedValue, name: &str) -> Option<u64> {
    u64::try_from(whole(field(record, name)?)?).ok()
}

fn trade(record: &OwnedValue) -> Option<Row> {
    let (price, size) = sale(record, "p", "s")?;
    let id = match field(record, "i") {
        Some(_) => id(record, "i")?.to_string().into_bytes(),
        None => Vec::new(),
    };
    let conditions = conditions(record, "c")?;
    Some(Row { price, size, id, conditions, market: Some(market(record)?), ..row(record, "trade")? })
}

fn quote(record: &OwnedValue) -> Option<Row> {
    let side = |price: &str, size: &str| -> Option<(i64, u64)> {
        let price = field(record, price).map_or(Some(0), |value| number::price(&number(value)?))?;
        let size = field(record, size).map_or(Some(0), |value| number::size(&number(value)?))?;
        Some((price, size))
    };
    let (bid, ask) = (side("bp", "bs")?, side("ap", "as")?);
    if bid.0 == 0 && ask.0 == 0 {
        return None;
    }
    let sides = (letter(record, "bx")?.unwrap_or(0), letter(record, "ax")?.unwrap_or(0));
    let tape = match letter(record, "z")? {
        Some(tape @ b'A'..=b'C') => tape - 64,
        _ => 0,
    };
    let market = Some(Market { letter: true, tape, sides, ..Market::default() });
    let conditions = conditions(record, "c")?;
    Some(Row { price: bid.0, size: bid.1, ask: Some(ask), conditions, market, ..row(record, "quote")? })
}

fn aggregate(record: &OwnedValue, seconds: u32, closed: bool) -> Option<Row> {
    let [open, high, low, close] = bar_numbers(record)?;
    let volume = number::sum(&number(field(record, "v")?)?, 8)?;
    let trades = match field(record, "n") {
        Some(n) => u64::from(u32::try_from(whole(n)?).ok()?),
        None => 0,
    };
    let notional = vwap(record, volume)?;
    let bar = BarRow { seconds, closed, prices: [high, low, close], volume, notional, trades };
    Some(Row { price: open, bar: Some(bar), ..row(record, "bar")? })
}

fn correction(record: &OwnedValue) -> Option<Row> {
    let (original, corrected) = (id(record, "oi")?, id(record, "ci")?);
    let (price, size) = sale(record, "cp", "cs")?;
    // The number 0 stands for a correction that keeps the id.
    let new_id = if corrected == 0 { original } else { corrected };
    let write = |id: u64| {
        let mut text = Vec::new();
        TradeId::from_u64(id).write(&mut text);
        text
    };
    Some(Row {
        price,
        size,
        id: write(original),
        new_id: write(new_id),
        conditions: conditions(record, "cc")?,
        market: Some(market(record)?),
        ..row(record, "correction")?
    })
}

fn cancel(record: &OwnedValue) -> Option<Row> {
    let id = id(record, "i")?.to_string().into_bytes();
    Some(Row { id, market: Some(market(record)?), ..row(record, "cancel")? })
}

fn halt(record: &OwnedValue, resumed: bool) -> Option<Row> {
    let tape = market(&record_without_venue(record))?.tape;
    Some(Row { resumed, market: Some(Market { tape, ..Market::default() }), ..row(record, "halt")? })
}

/// A status has no venue, whatever stands there.
fn record_without_venue(record: &OwnedValue) -> OwnedValue {
    let mut record = record.clone();
    let _ = record.remove("x");
    record
}

pub fn seeds() -> Vec<Vec<u8>> {
    let text = include_str!("../../data/feed/alpaca.txt");
    let mut seeds = feed::seeds(&[text]);
    seeds.extend(text.lines().skip(12).map(|line| line.as_bytes().to_vec()));
    seeds.push(br#"[{"T":"t","S":"A","p":1e-9,"s":3.844E-5,"t":"2000-02-29T23:59:59.999999999+01:30","c":"I","z":"O"}]"#.to_vec());
    seeds
}
