//! Rows under a header, each compared to a plain reading of its fields. Where anything is quoted only the general promises hold.

use tickwire::feed::csv::{TimeUnit, time_column};

use super::feed::{self, Meant, Row};
use super::number::{self, Number};

struct Header {
    names: Vec<String>,
    time: usize,
    unit: TimeUnit,
}

pub fn run(data: &[u8]) {
    let mut header: Option<Option<Header>> = None;
    let plain = !data.contains(&b'"');
    feed::check("csv", data, |line| match &header {
        _ if !plain => None,
        None => {
            let read = time_column(line).ok().map(|(time, unit)| Header { names: names(line), time, unit });
            let verdict = if read.is_some() { Vec::new() } else { vec![Meant::Rejected] };
            header = Some(read);
            Some(verdict)
        }
        Some(None) => Some(vec![Meant::Rejected]),
        // Only our own reading knows ISO 8601.
        Some(Some(header)) if header.unit == TimeUnit::Iso => None,
        Some(Some(header)) => {
            Some(vec![row(header, line).map_or(Meant::Rejected, |row| Meant::Tick(Box::new(row)))])
        }
    });
}

fn names(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)).into_owned();
    text.split(',')
        .map(|name| name.trim_matches([' ', '\t', '\r', '\x0c', '\n']).to_ascii_lowercase())
        .collect()
}

fn row(header: &Header, line: &[u8]) -> Option<Row> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b',').collect();
    if fields.len() != header.names.len() {
        return None;
    }
    // An absent column is an empty field, a field that is no text is none of ours.
    let bytes = |name: &str| header.names.iter().position(|n| n == name).map_or(&b""[..], |at| fields[at]);
    let text = |name: &str| std::str::from_utf8(bytes(name)).ok();
    let at = match (header.unit, fields[header.time]) {
        (_, b"") => return None,
        (unit, digits) => {
            let factor = match unit {
                TimeUnit::Millis => 1_000_000,
                TimeUnit::Micros => 1_000,
                _ => 1,
            };
            let digits =
                std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
            Some(feed::time(digits.parse().ok()?, factor)?)
        }
    };
    let symbol = feed::symbol(text("symbol")?)?;
    if header.names.iter().any(|name| name == "price") {
        let price = number::price(&Number::Text(text("price")?)).filter(|&price| price > 0)?;
        let size = number::size(&Number::Text(text("size")?))?;
        number::fits(price, size).then_some(())?;
        let mut id = Vec::new();
        tickwire::model::TradeId::from_text(bytes("trade_id")).write(&mut id);
        let conditions = match (bytes("conditions"), bytes("conditions_hex")) {
            (b"", b"") => [0; 4],
            (b"", hex) => mask(hex)?,
            (text, _) => conditions(text)?,
        };
        return Some(Row { kind: "trade", symbol, at, price, size, id, conditions, ..Row::default() });
    }
    let side = |price: &str, size: &str| {
        let price = if bytes(price).is_empty() { 0 } else { number::price(&Number::Text(text(price)?))? };
        let size = if bytes(size).is_empty() { 0 } else { number::size(&Number::Text(text(size)?))? };
        Some((price, size))
    };
    let (bid, ask) = (side("bid", "bid_size")?, side("ask", "ask_size")?);
    if bid.0 == 0 && ask.0 == 0 {
        return None;
    }
    Some(Row { kind: "quote", symbol, at, price: bid.0, size: bid.1, ask: Some(ask), ..Row::default() })
}

fn mask(text: &[u8]) -> Option<[u8; 4]> {
    let digits = std::str::from_utf8(text).ok()?;
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok())?.map(u32::to_le_bytes)
}

fn conditions(text: &[u8]) -> Option<[u8; 4]> {
    if text.starts_with(b"0x") || (text.len() >= 4 && text.iter().all(u8::is_ascii_hexdigit)) {
        return mask(text);
    }
    let mut codes = Vec::new();
    for token in text.split(|byte| b" ;|".contains(byte)).filter(|token| !token.is_empty()) {
        codes.push(match token {
            [one] if !one.is_ascii_digit() => *one,
            // A code is a number up to 255, in at most 19 digits.
            digits if digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(digits)
                    .ok()?
                    .parse::<u64>()
                    .ok()
                    .and_then(|code| u8::try_from(code).ok())?
            }
            _ => return None,
        });
    }
    let mut kept = [0; 4];
    for (slot, code) in kept.iter_mut().zip(codes.into_iter().filter(|&code| code != 0)) {
        *slot = code;
    }
    Some(kept)
}

pub fn seeds() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../data/feed/binance-trades.csv"),
        include_str!("../../data/feed/fx-quotes.csv"),
        include_str!("../../data/feed/us-equities-trades.csv"),
    ];
    let mut seeds: Vec<Vec<u8>> =
        files.iter().map(|text| text.lines().take(6).collect::<Vec<_>>().join("\n").into_bytes()).collect();
    seeds.extend(
        [
            "symbol,timestamp,price,size,conditions\r\nA,2026-02-07T14:30:00.123Z,1.5,2,12 37;T\r\n",
            "\u{feff}Symbol, timestamp_us ,bid,ask,bid_size,ask_size\nA,1770474600000000,1,2,,\nB,1770474600000000,,2,3,4\n",
            "symbol,timestamp_ns,price,size,trade_id,exchange\n\"A\",1770474600000000000,3.844E-5,0,x-1,N\n",
            "symbol,price,size\nA,1,2\n",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    seeds
}
