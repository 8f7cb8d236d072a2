//! Massive's messages, each record compared to what simd-json's own document says of it.

use simd_json::prelude::*;
use simd_json::{OwnedValue, StaticNode};

use super::feed::{self, BarRow, Market, Meant, Row};
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
        Some(Some("A" | "AM")) => aggregate(record),
        Some(Some("LULD")) => match indicators(record) {
            Some(codes) if codes.iter().all(|code| ![17, 18].contains(code)) => return Meant::Skipped,
            Some(codes) => halt(record, &codes),
            None => None,
        },
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
    let venue: Option<u8> = optional(record, "x").ok()?;
    let trf: Option<u8> = optional(record, "trfi").ok()?;
    if tape.is_some_and(|tape| tape > 3) || !number::fits(price, size) {
        return None;
    }
    let market = Market {
        venue: venue.unwrap_or(0),
        tape: tape.unwrap_or(0),
        trf: trf.unwrap_or(0),
        ..Market::default()
    };
    Some(Row {
        kind: "trade",
        symbol: feed::symbol(field(record, "sym")?.as_str()?)?,
        at: Some(feed::time(whole(field(record, "t")?)?, 1_000_000)?),
        price,
        size,
        id,
        sequence: optional(record, "q").ok()?,
        conditions: conditions(record)?,
        market: Some(market),
        ..Row::default()
    })
}

fn quote(record: &OwnedValue) -> Option<Row> {
    let side = |price: &str, size: &str| -> Option<(i64, u64)> {
        let price = field(record, price).map_or(Some(0), |value| number::price(&number(value)?))?;
        let size = field(record, size).map_or(Some(0), |value| number::size(&number(value)?))?;
        Some((price, size))
    };
    let (bid, ask) = (side("bp", "bs")?, side("ap", "as")?);
    let code = |name: &str| optional::<u8>(record, name).ok().map(Option::unwrap_or_default);
    let market = Market { tape: code("z")? & 3, sides: (code("bx")?, code("ax")?), ..Market::default() };
    if bid.0 == 0 && ask.0 == 0 {
        return None;
    }
    Some(Row {
        kind: "quote",
        symbol: feed::symbol(field(record, "sym")?.as_str()?)?,
        at: Some(feed::time(whole(field(record, "t")?)?, 1_000_000)?),
        price: bid.0,
        size: bid.1,
        ask: Some(ask),
        conditions: conditions(record)?,
        market: Some(market),
        ..Row::default()
    })
}

fn aggregate(record: &OwnedValue) -> Option<Row> {
    let start = feed::time(whole(field(record, "s")?)?, 1_000_000)?;
    let length = feed::time(whole(field(record, "e")?)?, 1_000_000)? - start;
    if length <= 0 || length % 1_000_000_000 != 0 {
        return None;
    }
    let numbers = bar_numbers(record)?;
    let volume = match field(record, "dv").and_then(|dv| dv.as_str()) {
        Some(text) => number::sum(&Number::Text(text), 8)?,
        None => number::sum(&number(field(record, "v")?)?, 8)?,
    };
    let trades: Option<u32> = optional(record, "n").ok()?;
    let bar = BarRow {
        seconds: u32::try_from(length / 1_000_000_000).ok()?,
        closed: true,
        prices: [numbers[1], numbers[2], numbers[3]],
        volume,
        notional: vwap(record, volume)?,
        trades: u64::from(trades.unwrap_or(0)),
    };
    Some(Row {
        kind: "bar",
        symbol: feed::symbol(field(record, "sym")?.as_str()?)?,
        at: Some(start),
        price: numbers[0],
        bar: Some(bar),
        ..Row::default()
    })
}

/// Open, high, low and close, where they can be those of one bar.
pub fn bar_numbers(record: &OwnedValue) -> Option<[i64; 4]> {
    let price = |name| number::price(&number(field(record, name)?)?).filter(|&price| price > 0);
    let [open, high, low, close] = [price("o")?, price("h")?, price("l")?, price("c")?];
    let within = |price: i64| low <= price && price <= high;
    (within(open) && within(close)).then_some([open, high, low, close])
}

/// What the average price makes of a volume; `Some(None)` where there is no average.
pub fn vwap(record: &OwnedValue, volume: u128) -> Option<Option<i128>> {
    match field(record, "vw") {
        None => Some(None),
        Some(vw) => number::product(number::price(&number(vw)?)?, volume).map(Some),
    }
}

/// The indicators of an LULD, each a whole number.
fn indicators(record: &OwnedValue) -> Option<Vec<u64>> {
    let Some(value) = field(record, "i") else { return Some(Vec::new()) };
    let list = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    list.into_iter().map(|value| u64::try_from(whole(value)?).ok()).collect()
}

fn halt(record: &OwnedValue, codes: &[u64]) -> Option<Row> {
    let last = codes.iter().rfind(|code| [17, 18].contains(*code))?;
    let name = field(record, "T").or(field(record, "sym"))?.as_str()?;
    let t = i64::try_from(whole(field(record, "t")?)?).ok()?;
    let unit = if t >= 1_000_000_000_000_000 { 1 } else { 1_000_000 };
    Some(Row {
        kind: "halt",
        symbol: feed::symbol(name)?,
        at: Some(feed::time(i128::from(t), unit)?),
        resumed: *last == 18,
        market: Some(Market::default()),
        ..Row::default()
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
    let files =
        [include_str!("../../data/feed/massive.txt"), include_str!("../../data/feed/massive-more.txt")];
    let mut seeds = feed::seeds(&files);
    // What the quick way takes: several records of one symbol, in the order of keys in which they come.
    seeds.push(br#"[{"ev":"T","sym":"IBM","x":4,"i":"52983525000001","z":1,"p":180.09,"s":100,"ds":"100","c":[0],"t":1381329960966,"pt":1381329960965,"q":1002,"trfi":202,"trft":1381329960966},{"ev":"Q","sym":"IBM","bx":11,"bp":165.46,"bs":500,"ax":12,"ap":165.48,"as":500,"c":1,"i":[604],"t":1381329961786,"q":1009,"z":2},{"ev":"T","sym":"IBM","x":19,"i":"AB-1","z":1,"p":12,"s":0,"c":[14,41],"t":1381329960250,"q":1001}]"#.to_vec());
    // Longer than what is looked at from one place, with keys in the vendor's order, left out and in another order.
    let keys =
        [r#""x":4"#, r#""i":"71675577320245""#, r#""z":3"#, r#""p":114.125"#, r#""s":100"#, r#""c":[0,12]"#];
    let trade = |first: usize| {
        let (after, before) = keys.split_at(first);
        let keys = [before, after].concat().join(",");
        format!(r#"{{"ev":"T","sym":"MSFT",{keys},"t":1536036818784,"q":3681328}}"#)
    };
    let quote = r#"{"ev":"Q","sym":"MSFT","bx":4,"bp":114.125,"bs":100,"ax":7,"ap":114.128,"as":160,"c":0,"i":[604],"t":1536036818784,"q":50385480,"z":3}"#;
    let records: Vec<_> = (0..keys.len()).flat_map(|first| [trade(first), quote.to_owned()]).collect();
    seeds.push(format!("[{}]", records.join(",")).into_bytes());
    seeds.push(br#"[{"ev":"T","sym":"A","p":0.000000001,"s":0.00000001,"t":1381329960250,"ds":"123456789.12345678"}]"#.to_vec());
    seeds
}
