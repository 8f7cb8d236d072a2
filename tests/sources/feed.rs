//! The feed dialects against damaged, hostile and plain input, with serde_json and bigdecimal as the outside judges.

#![allow(clippy::unwrap_used)]

use std::str::FromStr as _;

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive as _};
use tickwire::feed::{DIALECTS, DialectRow, Reason, Tallies, find, parse_all};
use tickwire::model::{Nanos, Price, Size, Symbol, SymbolTable, Tick, TickKind, UnixNanos};

const USDM: &str = include_str!("../data/feed/binance-usdm.txt");
const SPOT: &str = include_str!("../data/feed/binance-spot.txt");
const MASSIVE: &str = include_str!("../data/feed/massive.txt");
const ALPACA: &str = include_str!("../data/feed/alpaca.txt");
const EQUITIES: &str = include_str!("../data/feed/us-equities-trades.csv");
const FX: &str = include_str!("../data/feed/fx-quotes.csv");
const CRYPTO: &str = include_str!("../data/feed/binance-trades.csv");

const NOW: UnixNanos = UnixNanos(1_750_000_000_000_000_000);

fn dialect(name: &str) -> &'static DialectRow {
    find(name).unwrap()
}

fn parse(name: &str, bytes: &[u8]) -> (Vec<Tick>, Tallies, SymbolTable) {
    let symbols = SymbolTable::new(1000);
    let (ticks, tallies) = parse_all(dialect(name), bytes, NOW, &symbols);
    assert!(tallies.is_balanced(), "ledger of {name}: {}", bytes.escape_ascii());
    // A bar is one record and two ticks.
    let records = ticks.iter().filter(|tick| tick.kind() != TickKind::BarTail).count();
    assert_eq!(tallies.accepted(), records as u64);
    (ticks, tallies, symbols)
}

/// What a JSON library and decimals by text say a line holds: (symbol, price, size, time in ms) of trades.
fn binance_oracle(line: &str) -> Option<(String, Price, Size, i64)> {
    let body = match line.split_once(' ') {
        Some((stamp, body)) if !stamp.is_empty() && stamp.bytes().all(|b| b.is_ascii_digit()) => body,
        _ => line,
    };
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    let data = value.get("data").unwrap_or(&value);
    if data.get("e")?.as_str()? != "trade" {
        return None;
    }
    let price = units(data.get("p")?.as_str()?, 9)?;
    let size = units(data.get("q")?.as_str()?, 8)?;
    Some((
        data.get("s")?.as_str()?.to_owned(),
        Price(i64::try_from(price).ok()?),
        Size(u64::try_from(size).ok()?),
        data.get("T")?.as_i64()?,
    ))
}

/// Decimal text in units of `10^-scale`, half to even.
fn units(text: &str, scale: i64) -> Option<i128> {
    if !is_json_number(text) {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = i64::from_str(exponent.trim_start_matches('+')).ok()?;
    if exponent > 500 {
        let zero = mantissa.bytes().all(|b| !b.is_ascii_digit() || b == b'0');
        return zero.then_some(0);
    }
    if exponent < -500 {
        return Some(0);
    }
    let value = BigDecimal::from_str(text).ok()?;
    (value.with_scale_round(scale, RoundingMode::HalfEven) * BigDecimal::from(10i64.pow(scale as u32)))
        .to_i128()
}

fn is_json_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let mantissa_end = rest.find(['e', 'E']).unwrap_or(rest.len());
    let (mantissa, exponent) = rest.split_at(mantissa_end);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction_good) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, digits(fraction)),
        None => (mantissa, true),
    };
    let exponent_good = exponent.is_empty() || {
        let e = &exponent[1..];
        digits(e.strip_prefix(['+', '-']).unwrap_or(e))
    };
    digits(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction_good && exponent_good
}

fn same_as_oracle(tick: &Tick, symbols: &SymbolTable, (symbol, price, size, ms): (String, Price, Size, i64)) {
    assert_eq!(symbols.name(tick.symbol).unwrap().as_str(), symbol);
    assert_eq!((tick.price, tick.size), (price, size));
    assert_eq!(tick.ts_event.0, ms * 1_000_000);
}

#[test]
fn every_dialect_has_a_row_and_every_reason_a_name() {
    assert_eq!(DIALECTS.len(), 4);
    let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(find("cvs").is_none());
}

#[test]
fn real_binance_messages_say_what_a_json_library_says() {
    for text in [USDM, SPOT] {
        let (ticks, tallies, symbols) = parse("binance", text.as_bytes());
        assert_eq!(tallies.rejected(), 0);
        let mut trades = ticks.iter().filter(|tick| tick.kind() == TickKind::Trade);
        let mut n = 0;
        for line in text.lines() {
            if let Some(said) = binance_oracle(line) {
                same_as_oracle(trades.next().unwrap(), &symbols, said);
                n += 1;
            }
        }
        assert!(trades.next().is_none() && n >= 10);
        assert!(ticks.iter().any(|tick| tick.kind() == TickKind::Quote));
        let first = ticks[0];
        let stamp: i64 = text.split_once(' ').unwrap().0.parse().unwrap();
        assert_eq!(first.ts_recv.0, stamp);
        assert_eq!(first.id().bits, u128::from(first.sequence().unwrap()));
        let depth = tallies.skipped_types().find(|(name, _)| *name == "depthUpdate");
        assert_eq!(depth, Some(("depthUpdate", text.matches("depthUpdate").count() as u64)));
    }
    // Spot's bookTicker has no time: it is the time of receipt.
    let (ticks, _, _) = parse("binance", SPOT.as_bytes());
    let quote = ticks.iter().find(|tick| tick.kind() == TickKind::Quote).unwrap();
    assert_eq!(quote.ts_event, quote.ts_recv);
}

#[test]
fn massive_events_become_ticks_with_all_they_carry() {
    let (ticks, tallies, symbols) = parse("massive", MASSIVE.as_bytes());
    assert_eq!((tallies.records(), tallies.accepted(), tallies.skipped()), (9, 8, 1));
    let skipped: Vec<_> = tallies.skipped_types().collect();
    assert_eq!(skipped, [("status-connected", 1)]);
    let name = |tick: &Tick| symbols.name(tick.symbol).unwrap().to_string();
    let msft = ticks[0];
    assert_eq!(name(&msft), "MSFT");
    assert_eq!((msft.price, msft.size), (Price(114_125_000_000), Size(10_000_000_000)));
    assert_eq!((msft.ts_event.millis(), msft.ts_recv), (1_536_036_818_784, NOW));
    assert_eq!((msft.sequence(), msft.venue.0, msft.tape(), msft.trf), (Some(3_681_328), 4, 3, 0));
    assert_eq!((msft.id().bits, msft.conditions), (12_345, [12, 0, 0, 0]));
    // The decimal size wins.
    assert_eq!((ticks[1].size, ticks[1].trf), (Size(225_000_000), 202));
    let quote = ticks[2];
    assert_eq!(quote.kind(), TickKind::Quote);
    assert_eq!((quote.price, quote.ask()), (Price(114_125_000_000), Price(114_128_000_000)));
    assert_eq!((quote.size, quote.ask_size()), (Size(10_000_000_000), Size(16_000_000_000)));
    assert_eq!((quote.quote_venues().0.0, quote.quote_venues().1.0), (4, 7));
    // Four halves of two bars lie between.
    assert_eq!((ticks[7].price, ticks[7].size), (Price(384_400_000_000), Size(384_000)));
    assert_eq!(name(&ticks[9]), "TSLA");
}

#[test]
fn real_csv_rows_say_what_their_text_says() {
    for (text, quotes) in [(EQUITIES, false), (FX, true), (CRYPTO, false)] {
        let (ticks, tallies, symbols) = parse("csv", text.as_bytes());
        let mut lines = text.lines();
        let header: Vec<_> = lines.next().unwrap().split(',').collect();
        let at = |name: &str| header.iter().position(|column| *column == name);
        assert_eq!(tallies.records(), lines.clone().count() as u64);
        assert_eq!(tallies.rejected(), 0);
        for (line, tick) in lines.zip(&ticks) {
            let row: Vec<_> = line.split(',').collect();
            assert_eq!(symbols.name(tick.symbol).unwrap().as_str(), row[0]);
            assert_eq!(tick.ts_event.millis().to_string(), row[1]);
            if quotes {
                assert_eq!(i128::from(tick.price.0), units(row[2], 9).unwrap());
                assert_eq!(i128::from(tick.ask().0), units(row[3], 9).unwrap());
                continue;
            }
            assert_eq!(i128::from(tick.price.0), units(row[at("price").unwrap()], 9).unwrap());
            assert_eq!(i128::from(tick.size.0), units(row[at("size").unwrap()], 8).unwrap());
            if let Some(mask) = at("conditions_hex") {
                let mask = u32::from_str_radix(row[mask], 16).unwrap();
                assert_eq!(u32::from_le_bytes(tick.conditions), mask);
                assert!(tick.venue_is_letter());
                assert_eq!(tick.venue.0, row[at("exchange").unwrap()].as_bytes()[0]);
            }
            if let Some(id) = at("trade_id") {
                assert_eq!(tick.id().bits.to_string(), row[id]);
            }
        }
    }
}

#[test]
fn a_truncated_message_costs_nobody_but_itself() {
    let mut tried = 0;
    for (name, text) in [("binance", USDM), ("binance", SPOT), ("massive", MASSIVE), ("alpaca", ALPACA)] {
        let good = text.lines().next_back().unwrap();
        let good = if name == "binance" { text.lines().next().unwrap() } else { good };
        // A whole trade.
        assert_eq!(parse(name, good.as_bytes()).0.len(), 1);
        for line in text.lines() {
            for cut in 0..line.len() {
                let bytes =
                    [good.as_bytes(), b"\n", &line.as_bytes()[..cut], b"\n", good.as_bytes()].concat();
                let (ticks, tallies, _) = parse(name, &bytes);
                assert_eq!(ticks.len(), 2, "{line} cut at {cut}");
                assert_eq!(tallies.rejected(), u64::from(cut > 0), "{line} cut at {cut}");
                tried += 1;
            }
        }
    }
    for (name, text) in [("csv", EQUITIES), ("csv", FX)] {
        let mut lines = text.lines();
        let (header, good) = (lines.next().unwrap(), lines.next().unwrap());
        for line in lines.take(10) {
            for cut in 0..line.len() {
                let bytes = format!("{header}\n{good}\r\n{}\n{good}", &line[..cut]);
                let (ticks, tallies, _) = parse(name, bytes.as_bytes());
                assert!(ticks.len() as u64 + tallies.rejected() == 2 + u64::from(cut > 0));
                assert!(ticks.len() >= 2);
                tried += 1;
            }
        }
    }
    assert!(tried > 12_000, "{tried}");
}

#[test]
fn a_flipped_byte_is_rejected_or_read_as_a_json_library_reads_it() {
    let good = USDM.lines().next().unwrap().as_bytes();
    for line in USDM.lines().step_by(3).chain(SPOT.lines().step_by(4)) {
        for at in 0..line.len() {
            for flip in [0x01, 0x04, 0x20, 0x80] {
                let mut bytes = line.as_bytes().to_vec();
                bytes[at] ^= flip;
                if bytes[at] == b'\n' {
                    continue;
                }
                let message = [good, b"\n", &bytes, b"\n", good].concat();
                let (ticks, tallies, symbols) = parse("binance", &message);
                assert_eq!(tallies.records(), 3);
                let is_trade = ticks.len() == 3 && ticks[1].kind() == TickKind::Trade;
                if is_trade {
                    let text = String::from_utf8(bytes).unwrap();
                    let said = binance_oracle(&text).unwrap_or_else(|| panic!("taken: {text}"));
                    same_as_oracle(&ticks[1], &symbols, said);
                }
            }
        }
    }
    for (name, text) in [("massive", MASSIVE), ("alpaca", ALPACA), ("csv", EQUITIES)] {
        for at in 0..text.len().min(3000) {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 0x11;
            let _ = parse(name, &bytes);
        }
    }
}

#[test]
fn one_bad_element_of_an_array_is_rejected_alone() {
    let trade = |price: &str| {
        format!(r#"{{"ev":"T","sym":"A","x":4,"i":"1","z":3,"p":{price},"s":100,"t":1736036818784,"q":1}}"#)
    };
    let bad = [
        ("\"1.5\"", Reason::WrongType),
        ("null", Reason::MissingField),
        ("-1", Reason::PriceNegative),
        ("0", Reason::PriceZero),
        ("1e300", Reason::PriceRange),
        ("NaN", Reason::MalformedJson),
        ("1.", Reason::MalformedJson),
        ("[]", Reason::WrongType),
        ("{}", Reason::WrongType),
        ("true", Reason::WrongType),
        ("99999999999999999999999", Reason::MalformedJson),
    ];
    for (price, reason) in bad {
        let line = format!("[{},{},{},7,{}]", trade("1"), trade(price), trade("2"), trade("3"));
        let (ticks, tallies, _) = parse("massive", line.as_bytes());
        assert_eq!(ticks.len(), 3, "{price}");
        assert_eq!(tallies.rejected_for(reason), 1 + u64::from(reason == Reason::WrongType), "{price}");
        assert_eq!(tallies.records(), 5);
    }
}

const NUMBERS: &[&str] = &[
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "-inf",
    "-0",
    "0",
    "-0.0",
    "0.0",
    "0e5",
    "-1",
    "-1.5",
    "-1e-400",
    "1e308",
    "-1e308",
    "1e309",
    "1e-400",
    "1e-9",
    "1e-10",
    "5e-10",
    "15e-10",
    "25e-10",
    "1234567890123456789",
    "12345678901234567890",
    "123456789012345678901234567890",
    "1e19",
    "10000000000000000000",
    "9223372036.854775807",
    "9223372036.854775808",
    "9223372036",
    "9223372037",
    "184467440737.09551615",
    "184467440737.09551616",
    "1.",
    ".5",
    "+1",
    "01",
    "00",
    "0x10",
    "1e5",
    "1E5",
    "1e+5",
    "1e-5",
    "3.844E-5",
    "1e",
    "1e+",
    "e5",
    "1.5.5",
    "1,5",
    "1_000",
    " 1",
    "1 ",
    "",
    "-",
    ".",
    "1.0000000005",
    "1.0000000015",
    "0.1",
    "123.456789123",
    "0.00000001",
    "61837.63000000",
    "1e99999",
    "0e99999",
    "--1",
    "1-",
    "١",
    "1e1.5",
];

#[test]
fn a_number_is_exact_or_rejected_in_every_field_of_every_dialect() {
    assert!(NUMBERS.len() >= 60);
    for &text in NUMBERS {
        let json = serde_json::to_string(text).unwrap();
        let binance =
            |p: &str, q: &str| format!(r#"{{"e":"trade","s":"A","t":1,"p":{p},"q":{q},"T":1736036818784}}"#);
        let csv = |price: &str, size: &str| {
            format!("symbol,timestamp_ms,price,size\nA,1736036818784,\"{price}\",\"{size}\"")
        };
        for (name, line) in [("binance", binance(&json, "\"0\"")), ("csv", csv(text, "0"))] {
            let (ticks, _, _) = parse(name, line.as_bytes());
            let want = units(text, 9).and_then(|units| i64::try_from(units).ok()).filter(|units| *units > 0);
            assert_eq!(ticks.first().map(|tick| tick.price.0), want, "{name} price {text:?}");
        }
        for (name, line) in
            [("binance", binance("\"0.000000001\"", &json)), ("csv", csv("0.000000001", text))]
        {
            let (ticks, tallies, _) = parse(name, line.as_bytes());
            let want = units(text, 8).and_then(|units| u64::try_from(units).ok());
            // However little below zero, and though it would round to zero.
            let mantissa = text.split(['e', 'E']).next().unwrap();
            let negative = text.starts_with('-') && mantissa.contains(|c: char| ('1'..='9').contains(&c));
            let absent = text.is_empty() && name == "csv";
            let want = want.filter(|_| !(negative || absent));
            assert_eq!(
                ticks.first().map(|tick| tick.size.0),
                want,
                "{name} size {text:?} {:?}",
                tallies.rejected()
            );
        }
        // As a JSON number its value is the shortest decimal of the nearest double, or the integer.
        let judged =
            serde_json::from_str::<serde_json::Value>(text).ok().filter(serde_json::Value::is_number);
        let judged = judged.map(|value| match (value.as_i64(), value.as_u64()) {
            (None, None) => format!("{:e}", value.as_f64().unwrap()),
            _ => value.to_string(),
        });
        // No integer past 64 bits is taken as JSON.
        let judged = judged.filter(|_| {
            text.contains(['.', 'e', 'E'])
                || text
                    .trim()
                    .parse::<i128>()
                    .is_ok_and(|v| i64::try_from(v).is_ok() || u64::try_from(v).is_ok())
        });
        let massive =
            |p: &str, s: &str| format!(r#"[{{"ev":"T","sym":"A","p":{p},"s":{s},"t":1736036818784}}]"#);
        let alpaca = |p: &str, s: &str| {
            format!(r#"[{{"T":"t","S":"A","p":{p},"s":{s},"t":"2025-01-05T00:26:58.784Z"}}]"#)
        };
        let message =
            |name: &str, p: &str, s: &str| if name == "massive" { massive(p, s) } else { alpaca(p, s) };
        for name in ["massive", "alpaca"] {
            let (ticks, _, _) = parse(name, message(name, text, "0").as_bytes());
            let want = judged.as_deref().and_then(|text| units(text, 9));
            let want = want.and_then(|units| i64::try_from(units).ok()).filter(|units| *units > 0);
            assert_eq!(ticks.first().map(|tick| tick.price.0), want, "{name} price {text:?} {judged:?}");
            let (ticks, _, _) = parse(name, message(name, "1e-9", text).as_bytes());
            let want =
                judged.as_deref().and_then(|text| units(text, 8)).and_then(|units| u64::try_from(units).ok());
            assert_eq!(ticks.first().map(|tick| tick.size.0), want, "{name} size {text:?} {judged:?}");
        }
    }
    // Both in range, but not their product.
    let line = "symbol,timestamp_ms,price,size\nA,1736036818784,9223372036,184467440737\nA,1736036818784,9223372036,1";
    let (ticks, tallies, _) = parse("csv", line.as_bytes());
    assert_eq!((ticks.len(), tallies.rejected_for(Reason::NotionalRange)), (1, 1));
}

#[test]
fn a_side_of_a_quote_just_below_zero_is_negative_and_not_absent() {
    let text = "symbol,timestamp_ms,bid,ask\nA,1736036818784,-1e-400,1\nA,1736036818784,-0,1";
    let (ticks, tallies, _) = parse("csv", text.as_bytes());
    assert_eq!((ticks.len(), tallies.rejected_for(Reason::PriceNegative)), (1, 1));
}

#[test]
fn of_a_key_named_twice_the_last_counts() {
    let text = r#"{"ev":"T","sym":"A","p":1,"p":2,"s":1,"s":null,"s":3,"t":1,"t":1736036818784}"#;
    let (ticks, _, _) = parse("massive", text.as_bytes());
    assert_eq!((ticks[0].price.0, ticks[0].size.0), (2_000_000_000, 300_000_000));
}

#[test]
fn digits_past_the_unit_are_rounded_half_to_even_and_counted() {
    let text = "symbol,timestamp_ms,price,size\nA,1736036818784,1.0000000005,1\nA,1736036818784,1.0000000015,1.000000000";
    let (ticks, tallies, _) = parse("csv", text.as_bytes());
    assert_eq!((ticks[0].price.0, ticks[1].price.0), (1_000_000_000, 1_000_000_002));
    assert_eq!(tallies.rounded, 2);
}

#[test]
fn zeros_before_a_time_mean_nothing_however_many() {
    let text = "symbol,timestamp_ms,price,size\nA,00000001736036818784,1,1\nA,00000000000000000000,1,1";
    let (ticks, tallies, _) = parse("csv", text.as_bytes());
    assert_eq!((ticks.len(), tallies.rejected_for(Reason::TimeRange)), (1, 1));
    assert_eq!(ticks[0].ts_event.millis(), 1_736_036_818_784);
}

#[test]
fn a_time_out_of_reason_is_rejected_by_its_reason() {
    let hour = Nanos::from_secs(3600);
    let ms = |at: UnixNanos| at.millis().to_string();
    let table = [
        ("0".to_owned(), Err(Reason::TimeRange)),
        ("-1".to_owned(), Err(Reason::TimeRange)),
        ("946684799999".to_owned(), Err(Reason::TimeRange)),
        ("946684800000".to_owned(), Ok(946_684_800_000)),
        (ms(NOW), Ok(NOW.millis())),
        (ms(NOW + hour), Ok((NOW + hour).millis())),
        (ms(NOW + hour + Nanos::from_millis(1)), Err(Reason::TimeFuture)),
        (ms(NOW + Nanos::from_secs(86_400 * 3652)), Err(Reason::TimeFuture)),
        // Microseconds and nanoseconds where milliseconds are due.
        ("1736036818784000".to_owned(), Err(Reason::TimeFuture)),
        ("1736036818784000000".to_owned(), Err(Reason::TimeFuture)),
        ("9223372036854775807".to_owned(), Err(Reason::TimeFuture)),
        ("18446744073709551615".to_owned(), Err(Reason::TimeFuture)),
    ];
    for (text, want) in &table {
        let lines = [
            ("csv", format!("symbol,timestamp_ms,price,size\nA,{text},1,1")),
            ("massive", format!(r#"[{{"ev":"T","sym":"A","p":1,"s":1,"t":{text}}}]"#)),
            ("massive", format!(r#"[{{"ev":"Q","sym":"A","bp":1,"ap":2,"t":{text}}}]"#)),
            ("binance", format!(r#"{{"e":"trade","s":"A","t":1,"p":"1","q":"1","T":{text}}}"#)),
            (
                "binance",
                format!(r#"{{"e":"bookTicker","s":"A","b":"1","B":"1","a":"2","A":"1","T":{text}}}"#),
            ),
        ];
        for (name, line) in lines {
            let (ticks, tallies, _) = parse(name, line.as_bytes());
            match want {
                Ok(ms) => assert_eq!(ticks.first().map(|t| t.ts_event.millis()), Some(*ms), "{name} {text}"),
                Err(reason) => assert_eq!(tallies.rejected_for(*reason), 1, "{name} {text}"),
            }
        }
    }
    for (text, reason) in [
        ("\"x\"", Reason::TimeBad),
        ("1.5", Reason::TimeBad),
        ("null", Reason::TimeMissing),
        ("[]", Reason::TimeBad),
    ] {
        let line = format!(r#"{{"e":"trade","s":"A","t":1,"p":"1","q":"1","T":{text}}}"#);
        assert_eq!(parse("binance", line.as_bytes()).1.rejected_for(reason), 1, "{text}");
    }
    // The receive time before a message is checked as any other.
    for stamp in ["0", "1", "99999999999999999999", "9223372036854775807", "1850000000000000000"] {
        let line = format!("{stamp} {}", r#"{"e":"trade","s":"A","t":1,"p":"1","q":"1","T":1736036818784}"#);
        let (ticks, tallies, _) = parse("binance", line.as_bytes());
        assert!(ticks.is_empty() && tallies.rejected() == 1, "{stamp}");
    }
}

#[test]
fn csv_times_come_in_four_forms() {
    let want = 1_736_036_818_784_000_000;
    for (column, text) in [
        ("timestamp_ns", "1736036818784000000"),
        ("timestamp_us", "1736036818784000"),
        ("timestamp_ms", "1736036818784"),
        ("timestamp", "2025-01-05T00:26:58.784Z"),
        ("timestamp", "2025-01-05T01:26:58.784+01:00"),
        ("timestamp", "2025-01-05 00:26:58.784"),
        ("timestamp", "2025-01-05T00:26:58.784"),
    ] {
        let (ticks, _, _) = parse("csv", format!("price,size,symbol,{column}\n1,1,A,{text}").as_bytes());
        assert_eq!(ticks.first().map(|tick| tick.ts_event.0), Some(want), "{column} {text}");
    }
    let (_, tallies, _) = parse("csv", b"symbol,timestamp,price,size\nA,yesterday,1,1\nA,,1,1");
    assert_eq!((tallies.rejected_for(Reason::TimeBad), tallies.rejected_for(Reason::TimeMissing)), (1, 1));
}

#[test]
fn a_symbol_is_printable_and_short_or_rejected() {
    let long = "X".repeat(33);
    let longer = "X".repeat(4096);
    let table: &[(&str, Option<Reason>)] = &[
        ("A", None),
        ("BRK.B", None),
        ("BTC/USD", None),
        ("../../etc/passwd", None),
        (&long[..32], None),
        (&long, Some(Reason::SymbolTooLong)),
        (&longer, Some(Reason::SymbolTooLong)),
        ("", Some(Reason::SymbolEmpty)),
        ("Ä", Some(Reason::SymbolUnprintable)),
        ("A B", Some(Reason::SymbolUnprintable)),
        ("A\u{0}", Some(Reason::SymbolUnprintable)),
        ("A\"B", Some(Reason::SymbolUnprintable)),
        ("A\\B", Some(Reason::SymbolUnprintable)),
        ("A\tB", Some(Reason::SymbolUnprintable)),
        ("*", Some(Reason::SymbolUnprintable)),
        ("A,B", Some(Reason::SymbolUnprintable)),
    ];
    for (symbol, reason) in table {
        let json = serde_json::to_string(symbol).unwrap();
        let quoted = symbol.replace('"', "\"\"");
        let lines = [
            ("csv", format!("symbol,timestamp_ms,price,size\n\"{quoted}\",1736036818784,1,1")),
            ("massive", format!(r#"[{{"ev":"T","sym":{json},"p":1,"s":1,"t":1736036818784}}]"#)),
            ("binance", format!(r#"{{"e":"trade","s":{json},"t":1,"p":"1","q":"1","T":1736036818784}}"#)),
            ("alpaca", format!(r#"[{{"T":"t","S":{json},"p":1,"s":1,"t":"2025-01-05T00:26:58.784Z"}}]"#)),
        ];
        for (name, line) in lines {
            let (ticks, tallies, symbols) = parse(name, line.as_bytes());
            match reason {
                None => assert_eq!(symbols.name(ticks[0].symbol), Symbol::new(symbol.as_bytes()).ok()),
                Some(reason) => assert_eq!(tallies.rejected_for(*reason), 1, "{name} {symbol:?}"),
            }
        }
    }
}

#[test]
fn a_flood_of_symbols_stops_at_the_table_and_known_ones_go_on() {
    let symbols = SymbolTable::new(100);
    let mut text = "symbol,timestamp_ms,price,size\n".to_owned();
    for i in 0..10_000 {
        text += &format!("S{i},1736036818784,1,1\nS0,1736036818784,1,1\n");
    }
    let (ticks, tallies) = parse_all(dialect("csv"), text.as_bytes(), NOW, &symbols);
    assert_eq!(ticks.len(), 10_100);
    assert_eq!(tallies.rejected_for(Reason::SymbolsMax), 9_900);
    assert!(tallies.is_balanced() && symbols.len() == 100);
    // What is rejected for another reason takes no place in the table.
    let symbols = SymbolTable::new(100);
    parse_all(dialect("csv"), b"symbol,timestamp_ms,price,size\nA,1736036818784,0,1", NOW, &symbols);
    assert!(symbols.is_empty());
}

#[test]
fn nesting_and_brackets_without_end_are_one_malformed_message() {
    for line in [
        "[".repeat(64 * 1024),
        "{\"a\":".repeat(10_000),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        for name in ["massive", "binance", "alpaca"] {
            let (ticks, tallies, _) = parse(name, line.as_bytes());
            assert!(ticks.is_empty());
            assert_eq!((tallies.records(), tallies.rejected()), (1, 1), "{name}");
        }
    }
}

#[test]
fn rows_may_be_quoted_and_columns_in_any_order() {
    let text = "conditions,size,extra,\"price\",symbol,exchange,trade_id,timestamp_ms\r\n\
        \"@ F;T\",\"1,5\",x,2.5,A,Q,id-1,1736036818784\r\n\
        37|12,15,\"a,b\"\"c\",2.5,\"A\",4,52,1736036818784\r\n\
        ,15,,2.5,A,,,1736036818784\r\n\
        37,15,,2.5,A,,,1736036818784,\r\n\
        37,15,,2.5,\"A,,,1736036818784\r\n\
        300,15,,2.5,A,,,1736036818784\r\n";
    let (ticks, tallies, _) = parse("csv", text.as_bytes());
    assert_eq!(ticks.len(), 2);
    assert_eq!(tallies.rejected_for(Reason::BadNumber), 2);
    assert_eq!(tallies.rejected_for(Reason::MalformedRow), 2);
    assert_eq!(
        (ticks[0].conditions, ticks[0].venue.0, ticks[0].venue_is_letter()),
        ([37, 12, 0, 0], 4, false)
    );
    assert_eq!(ticks[1].id(), tickwire::model::TradeId::NONE);
}

#[test]
fn a_quote_may_lack_a_side_but_not_both() {
    let text = "symbol,timestamp_ms,bid,ask,bid_size,ask_size\nA,1736036818784,,2,,5\nA,1736036818784,1,0,3,\n\
        A,1736036818784,0,,1,1\nA,1736036818784,-1,2,1,1\nA,1736036818784,1,2,-1,1";
    let (ticks, tallies, _) = parse("csv", text.as_bytes());
    assert_eq!(ticks.len(), 2);
    assert_eq!(
        (ticks[0].price, ticks[0].ask(), ticks[0].ask_size()),
        (Price(0), Price(2_000_000_000), Size(500_000_000))
    );
    for reason in [Reason::PriceZero, Reason::PriceNegative, Reason::SizeNegative] {
        assert_eq!(tallies.rejected_for(reason), 1, "{reason:?}");
    }
}

#[test]
fn binance_types_other_than_market_are_marked_and_lists_counted_one_by_one() {
    let trade = |x: &str, p: &str| {
        format!(r#"{{"e":"trade","s":"A","t":7,"p":"{p}","q":"0","X":"{x}","T":1736036818784}}"#)
    };
    let text = [
        trade("MARKET", "1"),
        trade("INSURANCE_FUND", "1"),
        trade("NA", "0"),
        r#"{"e":"aggTrade","s":"A","a":9,"p":"1","q":"1","f":1,"l":2,"T":1736036818784,"m":true}"#.to_owned(),
        r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker"},{"e":"24hrTicker"},7]}"#.to_owned(),
        r#"{"result":null,"id":1}"#.to_owned(),
        r#"{"stream":"a@depth20@100ms","data":{"lastUpdateId":1,"bids":[],"asks":[]}}"#.to_owned(),
        "{}".to_owned(),
    ]
    .join("\n");
    let (ticks, tallies, _) = parse("binance", text.as_bytes());
    let conditions: Vec<_> = ticks.iter().map(|tick| tick.conditions).collect();
    assert_eq!(conditions, [[0; 4], [1, 0, 0, 0], [0; 4]]);
    assert_eq!((ticks[0].kind(), ticks[2].kind()), (TickKind::Trade, TickKind::AggregatedTrade));
    assert!(ticks.iter().all(|tick| tick.is_contiguous()));
    assert_eq!((ticks[0].sequence(), ticks[2].sequence()), (Some(7), Some(9)));
    let skipped: Vec<_> = tallies.skipped_types().collect();
    assert_eq!(skipped, [("24hrTicker", 2), ("answer", 1), ("depth20", 1)]);
    assert_eq!(tallies.records(), 10);
    assert_eq!((tallies.rejected_for(Reason::PriceZero), tallies.rejected_for(Reason::MissingField)), (1, 1));
}

#[test]
fn a_header_that_cannot_be_used_rejects_every_row_under_it() {
    let (ticks, tallies, _) = parse("csv", b"symbol,when,price,size\nA,1,1,1\nA,1,1,1\n");
    assert!(ticks.is_empty());
    assert_eq!(tallies.rejected_for(Reason::BadHeader), 3);
}
