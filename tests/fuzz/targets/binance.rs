//! Binance's messages, each record compared to what simd-json's own document says of it.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::feed::{self, BarRow, Market, Meant, NOW, Row};
use super::massive::{document, field, whole};
use super::number::{self, Number};

pub fn run(data: &[u8]) {
    feed::check("binance", data, |line| {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (received, body) = match line.get(digits) {
            Some(b' ') if digits > 0 => {
                // A receive time that is one has 19 digits.
                let stamp = std::str::from_utf8(&line[..digits]).ok()?.parse::<i128>().ok();
                match stamp.filter(|_| digits <= 19).and_then(|stamp| feed::time(stamp, 1)) {
                    Some(received) => (received, &line[digits + 1..]),
                    None => return Some(vec![Meant::Rejected]),
                }
            }
            _ => (NOW.0, line),
        };
        let message = document(body)?;
        let mut meant = Vec::new();
        match message.as_array() {
            Some(list) => list.iter().for_each(|value| combined(value, received, &mut meant)),
            None => combined(&message, received, &mut meant),
        }
        Some(meant)
    });
}

fn combined(message: &OwnedValue, received: i64, meant: &mut Vec<Meant>) {
    if !message.is_object() {
        return meant.push(Meant::Rejected);
    }
    let Some(data) = message.get("data") else { return meant.push(record(message, None, received)) };
    let stream = message.get("stream").and_then(|stream| stream.as_str());
    match data.as_array() {
        Some(list) if list.is_empty() => meant.push(Meant::Skipped),
        Some(list) => meant.extend(list.iter().map(|value| record(value, stream, received))),
        None => meant.push(record(data, stream, received)),
    }
}

fn record(record: &OwnedValue, stream: Option<&str>, received: i64) -> Meant {
    if !record.is_object() {
        return Meant::Rejected;
    }
    let row = match field(record, "e") {
        None if ["u", "b", "a"].iter().all(|name| field(record, name).is_some()) => ticker(record, received),
        None if record.get("result").is_some() || record.get("error").is_some() => return Meant::Skipped,
        None if ["code", "msg"].iter().all(|name| field(record, name).is_some()) => return Meant::Skipped,
        None => match stream.and_then(|name| name.split('@').nth(1)) {
            Some(kind) if kind != "bookTicker" => return Meant::Skipped,
            _ => None,
        },
        Some(kind) => match kind.as_str() {
            Some("trade") => trade(record, "t", "trade"),
            Some("aggTrade") => trade(record, "a", "aggregated"),
            Some("kline") => match field(record, "k") {
                Some(k) if is_no_bar(k) => return Meant::Skipped,
                k => k.and_then(kline),
            },
            Some("bookTicker") => ticker(record, received),
            Some(_) => return Meant::Skipped,
            None => None,
        },
    };
    row.map_or(Meant::Rejected, |row| Meant::Tick(Box::new(row)))
}

fn trade(record: &OwnedValue, id: &str, kind: &'static str) -> Option<Row> {
    let text = |name: &str| field(record, name)?.as_str();
    let price = number::price(&Number::Text(text("p")?)).filter(|&price| price > 0)?;
    let size = number::size(&Number::Text(text("q")?))?;
    let id = u64::try_from(whole(field(record, id)?)?).ok()?;
    let market = match field(record, "X") {
        Some(kind) => kind.as_str()? == "MARKET",
        None => true,
    };
    number::fits(price, size).then_some(())?;
    Some(Row {
        kind,
        symbol: feed::symbol(text("s")?)?,
        at: Some(feed::time(whole(field(record, "T")?)?, 1_000_000)?),
        price,
        size,
        id: id.to_string().into_bytes(),
        sequence: Some(id),
        conditions: [u8::from(!market), 0, 0, 0],
        market: Some(Market::default()),
        ..Row::default()
    })
}

fn ticker(record: &OwnedValue, received: i64) -> Option<Row> {
    let text = |name: &str| field(record, name)?.as_str();
    let side = |price: &str, size: &str| {
        Some((number::price(&Number::Text(text(price)?))?, number::size(&Number::Text(text(size)?))?))
    };
    let (bid, ask) = (side("b", "B")?, side("a", "A")?);
    if bid.0 == 0 && ask.0 == 0 {
        return None;
    }
    let at = match field(record, "T").or(field(record, "E")) {
        Some(at) => feed::time(whole(at)?, 1_000_000)?,
        None => received,
    };
    Some(Row {
        kind: "quote",
        symbol: feed::symbol(text("s")?)?,
        at: Some(at),
        price: bid.0,
        size: bid.1,
        ask: Some(ask),
        market: Some(Market::default()),
        ..Row::default()
    })
}

/// Seconds of an interval.
fn seconds(interval: &str) -> Option<u32> {
    const UNITS: [(&str, u32, &[u32]); 4] = [
        ("s", 1, &[1]),
        ("m", 60, &[1, 3, 5, 15, 30]),
        ("h", 3_600, &[1, 2, 4, 6, 8, 12]),
        ("d", 86_400, &[1]),
    ];
    UNITS.iter().find_map(|(unit, seconds, counts)| {
        let count = counts.iter().find(|count| interval == format!("{count}{unit}"))?;
        Some(count * seconds)
    })
}

/// Longer than any bar, or without a trade.
fn is_no_bar(k: &OwnedValue) -> bool {
    let interval = field(k, "i").and_then(|interval| interval.as_str());
    interval.is_some_and(|interval| {
        seconds(interval).is_none() || field(k, "n").and_then(whole).is_some_and(|n| n == 0)
    })
}

fn kline(k: &OwnedValue) -> Option<Row> {
    let text = |name: &str| field(k, name)?.as_str();
    let price = |name: &str| number::price(&Number::Text(text(name)?)).filter(|&price| price > 0);
    let [open, high, low, close] = [price("o")?, price("h")?, price("l")?, price("c")?];
    if [open, close].iter().any(|price| *price < low || *price > high) {
        return None;
    }
    let notional = number::sum(&Number::Text(text("q")?), 17)?;
    let bar = BarRow {
        seconds: seconds(text("i")?)?,
        closed: field(k, "x")?.as_bool()?,
        prices: [high, low, close],
        volume: number::sum(&Number::Text(text("v")?), 8)?,
        notional: Some(notional as i128),
        trades: u64::from(u32::try_from(whole(field(k, "n")?)?).ok()?),
    };
    Some(Row {
        kind: "bar",
        symbol: feed::symbol(text("s")?)?,
        at: Some(feed::time(whole(field(k, "t")?)?, 1_000_000)?),
        price: open,
        bar: Some(bar),
        ..Row::default()
    })
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = feed::seeds(&[
        include_str!("../../data/feed/binance-spot.txt"),
        include_str!("../../data/feed/binance-usdm.txt"),
        include_str!("../../data/feed/binance-more.txt"),
    ]);
    seeds.extend(
        [
            r#"{"e":"aggTrade","E":1723161255343,"s":"BTCUSDT","a":26129,"p":"0.01633102","q":"4.70443515","f":1,"l":2,"T":1723161255342,"m":true}"#,
            r#"{"result":null,"id":1}"#,
            r#"{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256317}"#,
            r#"1723161254347673567 {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}}"#,
            r#"{"e":"trade","E":1672515782136,"s":"1000PEPEUSDT","t":5,"p":"0.0000000011","q":"0","b":88,"a":50,"T":1672515782136,"X":"INSURANCE_FUND","m":false}"#,
            r#"{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}}"#,
            r#"[{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"},{"data":[]}]"#,
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    // A key that ends in NUL is not the one without it.
    let nul = concat!(
        r#"1723161255412984766 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256682,"T":1723161256681,"s":"BTCUSDT","#,
        r#""t":5266583948,"p":"61800.20","q":"0.029","#,
        "\"X\0\"",
        r#":"MARKET","m":true}}"#,
    );
    seeds.push(nul.as_bytes().to_vec());
    seeds
}
