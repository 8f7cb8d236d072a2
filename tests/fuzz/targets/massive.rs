//! Massive's messages, each record compared to what simd-json's own document says of it.

use simd_json::prelude::*;
use simd_json::{OwnedValue, StaticNode};

use super::feed::{self, Meant, Row};
use super::number::{self, Number};

pub fn run(data: &[u8]) {
    feed::check("massive", data, |line| {
        let message = document(line)?;
        Some(match message.as_array() {
            Some(records) => records.iter().map(record).collect(),
            None => vec![record(&message)],
        })
    });
}

/// A message's document; `None` where it is no JSON, or names a key twice: readers differ in which of the two they take.
pub fn document(text: &[u8]) -> Option<OwnedValue> {
    fn is_plain(value: &OwnedValue) -> bool {
        match value {
            OwnedValue::Array(list) => list.iter().all(is_plain),
            OwnedValue::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort_unstable();
                names.windows(2).all(|pair| pair[0] != pair[1]) && fields.values().all(is_plain)
            }
            _ => true,
        }
    }
    simd_json::to_owned_value(&mut text.to_vec()).ok().filter(is_plain)
}

/// A field that is there and not null.
pub fn field<'a>(record: &'a OwnedValue, name: &str) -> Option<&'a OwnedValue> {
    record.get(name).filter(|value| !value.is_null())
}

/// A JSON number; `None` where it is none.
pub fn number(value: &OwnedValue) -> Option<Number<'_>> {
    match value {
        OwnedValue::Static(StaticNode::F64(float)) => Some(Number::Float(*float)),
        _ => whole(value).map(Number::Int),
    }
}

/// A whole JSON number.
pub fn whole(value: &OwnedValue) -> Option<i128> {
    match value {
        OwnedValue::Static(StaticNode::I64(whole)) => Some(i128::from(*whole)),
        OwnedValue::Static(StaticNode::U64(whole)) => Some(i128::from(*whole)),
        _ => None,
    }
}

/// A field that may be left out, but must be a whole number of the type where it is there: else `Err`.
fn optional<T: TryFrom<i128> + Default>(record: &OwnedValue, name: &str) -> Result<Option<T>, ()> {
    match field(record, name) {
        None => Ok(None),
        Some(value) => whole(value).and_then(|whole| T::try_from(whole).ok()).map(Some).ok_or(()),
    }
}

fn record(record: &OwnedValue) -> Meant {
    if !record.is_object() {
        return Meant::Rejected;
    }
    let row = match field(record, "ev").map(|ev| ev.as_str()) {
        Some(Some("T")) => trade(record),
        Some(Some("Q")) => quote(record),
        Some(Some(_)) => return Meant::Skipped,
        _ => None,
    };
    row.map_or(Meant::Rejected, |row| Meant::Tick(Box::new(row)))
}

fn trade(record: &OwnedValue) -> Option<Row> {
    let price = number::price(&number(field(record, "p")?)?).filter(|&price| price > 0)?;
    let size = match field(record, "ds") {
        Some(ds) => number::size(&Number::Text(ds.as_str()?))?,
        None => number::size(&number(field(record, "s")?)?)?,
    };
    let id = match field(record, "i") {
        Some(id) => feed::id(id.as_str()?),
        None => Vec::new(),
    };
    let tape: Option<u8> = optional(record, "z").ok()?;
    let _: (Option<u8>, Option<u8>) = (optional(record, "x").ok()?, optional(record, "trfi").ok()?);
    if tape.is_some_and(|tape| tape > 3) || !number::fits(price, size) {
        return None;
    }
    Some(Row {
        symbol: feed::symbol(field(record, "sym")?.as_str()?)?,
        at: Some(feed::time(whole(field(record, "t")?)?, 1_000_000)?),
        price,
        size,
        ask: None,
        id,
        sequence: optional(record, "q").ok()?,
        conditions: conditions(record)?,
    })
}

fn quote(record: &OwnedValue) -> Option<Row> {
    let side = |price: &str, size: &str| -> Option<(i64, u64)> {
        let price = field(record, price).map_or(Some(0), |value| number::price(&number(value)?))?;
        let size = field(record, size).map_or(Some(0), |value| number::size(&number(value)?))?;
        Some((price, size))
    };
    let (bid, ask) = (side("bp", "bs")?, side("ap", "as")?);
    for name in ["bx", "ax", "z"] {
        optional::<u8>(record, name).ok()?;
    }
    if bid.0 == 0 && ask.0 == 0 {
        return None;
    }
    Some(Row {
        symbol: feed::symbol(field(record, "sym")?.as_str()?)?,
        at: Some(feed::time(whole(field(record, "t")?)?, 1_000_000)?),
        price: bid.0,
        size: bid.1,
        ask: Some(ask),
        id: Vec::new(),
        sequence: None,
        conditions: conditions(record)?,
    })
}

/// The first four codes that are not 0.
fn conditions(record: &OwnedValue) -> Option<[u8; 4]> {
    let Some(value) = field(record, "c") else { return Some([0; 4]) };
    let codes = match value.as_array() {
        Some(list) => list.iter().map(whole).collect::<Option<Vec<i128>>>()?,
        None => vec![whole(value)?],
    };
    let codes: Vec<u8> = codes.into_iter().map(|code| u8::try_from(code).ok()).collect::<Option<_>>()?;
    let mut kept = [0; 4];
    for (slot, code) in kept.iter_mut().zip(codes.into_iter().filter(|&code| code != 0)) {
        *slot = code;
    }
    Some(kept)
}

pub fn seeds() -> Vec<Vec<u8>> {
    feed::seeds(&[include_str!("../../data/feed/massive.txt")])
}
