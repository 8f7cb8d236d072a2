//! Requests of the native protocol: JSON in, a checked request or a helpful refusal out.

use serde_json::{Map, Value};

use crate::model::{Channel, Nanos, Symbol, Timeframes};

use super::super::{Delivery, Envelope, Format, Request, RequestError, Since, Symbols};

/// Longest id that is echoed, bytes of JSON.
const ID_BYTES_MAX: usize = 128;
/// How much of a wrong value an error message repeats, characters.
const QUOTED_CHARS_MAX: usize = 40;

/// Longest interval between two messages, ms: beyond a minute a client is better served by asking.
const INTERVAL_MS_MAX: u64 = 60_000;

const ACTIONS: [&str; 7] =
    ["subscribe", "unsubscribe", "unsubscribe_all", "list", "ping", "snapshot", "stats"];

/// A code for programs, and what was wrong for people.
pub(in crate::gateway::dialect) type Fault = (&'static str, String);

/// Reads one message.
pub fn parse(text: &str, timeframes: &Timeframes) -> Result<Envelope, RequestError> {
    let refused = |(code, message)| RequestError { id: None, code, message };
    let fields = read_object(text, r#"{"action":"ping"}"#).map_err(refused)?;
    let id = read_id(&fields).map_err(refused)?;
    match read_request(&fields, timeframes) {
        Ok(request) => Ok(Envelope { id, request }),
        Err((code, message)) => Err(RequestError { id, code, message }),
    }
}

/// The fields of a message; `such_as` is one that would be right.
pub(in crate::gateway::dialect) fn read_object(
    text: &str,
    such_as: &str,
) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => {
            Err(("wrong_type", format!("a message must be a JSON object, not {}", type_name(&other))))
        }
        Err(error) => Err((
            "malformed_json",
            format!("not JSON: {error}; send one object a message, such as {such_as}"),
        )),
    }
}

fn read_id(fields: &Map<String, Value>) -> Result<Option<String>, Fault> {
    match fields.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(id @ (Value::String(_) | Value::Number(_))) => {
            let text = id.to_string();
            if text.len() > ID_BYTES_MAX {
                return Err(("bad_id", format!("id is longer than {ID_BYTES_MAX} bytes")));
            }
            Ok(Some(text))
        }
        Some(other) => {
            Err(("wrong_type", format!("id must be a string or a number, not {}", type_name(other))))
        }
    }
}

fn read_request(fields: &Map<String, Value>, timeframes: &Timeframes) -> Result<Request, Fault> {
    let action = text_field(fields, "action", || format!("one of {}", ACTIONS.join(", ")))?;
    match action {
        "subscribe" => {
            let channel = read_channel(fields)?;
            let symbols = read_symbols(fields)?;
            let levels = read_levels(fields, channel, timeframes)?.ok_or_else(|| {
                let message = format!("timeframes is missing; give a list of some of {timeframes}");
                ("missing_field", message)
            })?;
            let delivery = read_delivery(fields)?;
            let since = read_since(fields, channel, &symbols, timeframes)?;
            Ok(Request::Subscribe { channel, symbols, levels, delivery, since, trades: 0 })
        }
        "unsubscribe" | "snapshot" => {
            let channel = read_channel(fields)?;
            let symbols = read_symbols(fields)?;
            let all = || (0..timeframes.len()).collect();
            let levels = read_levels(fields, channel, timeframes)?.unwrap_or_else(all);
            Ok(if action == "snapshot" {
                Request::Snapshot { channel, symbols, levels }
            } else {
                Request::Unsubscribe { channel, symbols, levels }
            })
        }
        "unsubscribe_all" => Ok(Request::UnsubscribeAll),
        "list" => Ok(Request::List),
        "ping" => Ok(Request::Ping),
        "stats" => Ok(Request::Stats),
        other => Err(("unknown_action", unknown("action", other, &ACTIONS))),
    }
}

fn read_delivery(fields: &Map<String, Value>) -> Result<Delivery, Fault> {
    let forming = match fields.get("forming") {
        None => true,
        Some(Value::Bool(forming)) => *forming,
        Some(other) => return Err(wrong("forming", "true or false", other)),
    };
    let format = match fields.get("format") {
        None => Format::Json,
        Some(Value::String(name)) => match name.as_str() {
            "json" => Format::Json,
            "binary" => Format::Binary,
            other => {
                let message = format!("format {} does not exist; there are json, binary", quoted(other));
                return Err(("unknown_format", message));
            }
        },
        Some(other) => return Err(wrong("format", "\"json\" or \"binary\"", other)),
    };
    let throttle = read_interval(fields, "throttle_ms")?;
    let batch = read_interval(fields, "batch_ms")?;
    Ok(Delivery { forming, throttle, single: false, batch, format })
}

fn read_interval(fields: &Map<String, Value>, name: &str) -> Result<Nanos, Fault> {
    let right = || format!("a whole number of milliseconds from 0 (off) to {INTERVAL_MS_MAX}");
    match fields.get(name) {
        None => Ok(Nanos::ZERO),
        Some(value @ Value::Number(number)) => match number.as_u64() {
            Some(ms) if ms <= INTERVAL_MS_MAX => Ok(Nanos::from_millis(ms as i64)),
            _ => Err(("out_of_range", format!("{name} must be {}, not {value}", right()))),
        },
        Some(other) => Err(wrong(name, &right(), other)),
    }
}

fn read_channel(fields: &Map<String, Value>) -> Result<Channel, Fault> {
    let names = Channel::ALL.map(Channel::name);
    let name = text_field(fields, "channel", || format!("one of {}", names.join(", ")))?;
    Channel::from_name(name).ok_or_else(|| ("unknown_channel", unknown("channel", name, &names)))
}

fn read_symbols(fields: &Map<String, Value>) -> Result<Symbols, Fault> {
    const RIGHT: &str = "a list of symbols, such as [\"AAPL\"], or [\"*\"] for all";
    let list = match fields.get("symbols") {
        None => return Err(("missing_field", format!("symbols is missing; give {RIGHT}"))),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("symbols", RIGHT, other)),
    };
    if list.is_empty() {
        return Err(("missing_field", format!("symbols is empty; give {RIGHT}")));
    }
    let mut symbols = Vec::with_capacity(list.len());
    for entry in list {
        let Value::String(name) = entry else { return Err(wrong("a symbol", "a string", entry)) };
        if name == "*" {
            if list.len() > 1 {
                return Err(("bad_symbol", "\"*\" stands for all symbols; send it alone".to_owned()));
            }
            return Ok(Symbols::All);
        }
        symbols.push(read_symbol(name)?);
    }
    // Keep the client's order; a repeat means nothing.
    let mut seen = std::collections::HashSet::with_capacity(symbols.len());
    symbols.retain(|symbol| seen.insert(*symbol));
    Ok(Symbols::Named(symbols))
}

pub(in crate::gateway::dialect) fn read_symbol(name: &str) -> Result<Symbol, Fault> {
    Symbol::new(name.as_bytes()).map_err(|error| {
        ("bad_symbol", format!("{}: {error}; symbols are 1 to 32 bytes, such as AAPL", quoted(name)))
    })
}

/// `None` where the request has no timeframes but the channel does.
fn read_levels(
    fields: &Map<String, Value>,
    channel: Channel,
    timeframes: &Timeframes,
) -> Result<Option<Vec<usize>>, Fault> {
    if channel != Channel::Bars {
        return Ok(Some(vec![0]));
    }
    let right = || format!("a list of some of {timeframes}");
    let list = match fields.get("timeframes") {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("timeframes", &right(), other)),
    };
    if list.is_empty() {
        return Err(("missing_field", format!("timeframes is empty; give {}", right())));
    }
    let mut levels = Vec::with_capacity(list.len().min(Timeframes::MAX));
    for entry in list {
        let Value::String(label) = entry else {
            return Err(wrong("a timeframe", "a string such as \"1m\"", entry));
        };
        let level = read_level(label, timeframes)?;
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    Ok(Some(levels))
}

pub(in crate::gateway::dialect) fn read_level(label: &str, timeframes: &Timeframes) -> Result<usize, Fault> {
    timeframes.level(label).ok_or_else(|| {
        (
            "unknown_timeframe",
            format!("timeframe {} does not exist here; there are {timeframes}", quoted(label)),
        )
    })
}

fn read_since(
    fields: &Map<String, Value>,
    channel: Channel,
    symbols: &Symbols,
    timeframes: &Timeframes,
) -> Result<Option<Since>, Fault> {
    const RIGHT: &str = "an object with epoch and sequences";
    let since = match fields.get("since") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(since)) => since,
        Some(other) => return Err(wrong("since", RIGHT, other)),
    };
    if *symbols == Symbols::All {
        return Err(("not_supported", "since needs symbols by name, not \"*\"".to_owned()));
    }
    let epoch = text_field(since, "epoch", || "the epoch of the welcome message".to_owned())?.to_owned();
    let map = match since.get("sequences") {
        None => {
            return Err(("missing_field", "since.sequences is missing; give {\"AAPL/1m\":17}".to_owned()));
        }
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong("since.sequences", "an object such as {\"AAPL/1m\":17}", other)),
    };
    let mut sequences = Vec::with_capacity(map.len());
    for (name, value) in map {
        let sequence = value.as_u64().ok_or_else(|| {
            wrong(&format!("since.sequences[{}]", quoted(name)), "a whole number from 0", value)
        })?;
        let (symbol, level) = if channel == Channel::Bars {
            // A symbol may have a slash of its own; a timeframe never has.
            let (symbol, label) = name.rsplit_once('/').ok_or_else(|| {
                ("bad_symbol", format!("{} is not SYMBOL/timeframe, such as AAPL/1m", quoted(name)))
            })?;
            (read_symbol(symbol)?, read_level(label, timeframes)?)
        } else {
            (read_symbol(name)?, 0)
        };
        sequences.push((symbol, level, sequence));
    }
    Ok(Some(Since { epoch, sequences }))
}

pub(in crate::gateway::dialect) fn text_field<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    right: impl Fn() -> String,
) -> Result<&'a str, Fault> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(name, &right(), other)),
        None => Err(("missing_field", format!("{name} is missing; give {}", right()))),
    }
}

pub(in crate::gateway::dialect) fn wrong(name: &str, right: &str, value: &Value) -> Fault {
    ("wrong_type", format!("{name} must be {right}, not {}", type_name(value)))
}

pub(in crate::gateway::dialect) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(in crate::gateway::dialect) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

pub(in crate::gateway::dialect) fn unknown(what: &str, given: &str, names: &[&str]) -> String {
    let (nearest, distance) = names
        .iter()
        .map(|name| (*name, edit_distance(given, name)))
        .min_by_key(|(_, distance)| *distance)
        .unwrap_or(("", usize::MAX));
    let given = quoted(given);
    if distance <= 3 && distance < nearest.len() {
        format!("{what} {given} does not exist; did you mean \"{nearest}\"?")
    } else {
        format!("{what} {given} does not exist; there are {}", names.join(", "))
    }
}

/// Levenshtein's distance, over as much of the text as can matter.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(QUOTED_CHARS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> RequestError {
        parse(text, &Timeframes::parse("1s,1m").unwrap()).unwrap_err()
    }

    #[test]
    fn each_wrong_request_gets_its_code_and_its_id_back() {
        let cases = [
            ("{", "malformed_json", "one object"),
            ("[1]", "wrong_type", "object"),
            (r#"{"id":{},"action":"ping"}"#, "wrong_type", "id must be"),
            (r#"{"id":7}"#, "missing_field", "action is missing"),
            (r#"{"id":7,"action":3}"#, "wrong_type", "action must be"),
            (r#"{"id":7,"action":"subscibe"}"#, "unknown_action", "did you mean \"subscribe\""),
            (r#"{"id":7,"action":"subscribe"}"#, "missing_field", "channel is missing"),
            (
                r#"{"id":7,"action":"subscribe","channel":"bras"}"#,
                "unknown_channel",
                "did you mean \"bars\"?",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"zzzzzzzz"}"#,
                "unknown_channel",
                "there are bars, trades",
            ),
            (r#"{"id":7,"action":"subscribe","channel":"bars"}"#, "missing_field", "symbols is missing"),
            (
                r#"{"id":7,"action":"subscribe","channel":"bars","symbols":"A"}"#,
                "wrong_type",
                "symbols must be",
            ),
            (r#"{"id":7,"action":"subscribe","channel":"bars","symbols":[]}"#, "missing_field", "empty"),
            (r#"{"id":7,"action":"subscribe","channel":"bars","symbols":[1]}"#, "wrong_type", "a symbol"),
            (r#"{"id":7,"action":"subscribe","channel":"bars","symbols":["A B"]}"#, "bad_symbol", "A B"),
            (r#"{"id":7,"action":"subscribe","channel":"bars","symbols":["*","A"]}"#, "bad_symbol", "alone"),
            (r#"{"id":7,"action":"subscribe","channel":"bars","symbols":["A"]}"#, "missing_field", "1s,1m"),
            (
                r#"{"id":7,"action":"subscribe","channel":"bars","symbols":["A"],"timeframes":["2m"]}"#,
                "unknown_timeframe",
                "there are 1s,1m",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"batch_ms":60001}"#,
                "out_of_range",
                "batch_ms must be a whole number of milliseconds from 0 (off) to 60000",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"throttle_ms":-1}"#,
                "out_of_range",
                "throttle_ms",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"throttle_ms":1.5}"#,
                "out_of_range",
                "throttle_ms",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"throttle_ms":"5"}"#,
                "wrong_type",
                "throttle_ms",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"format":"bin"}"#,
                "unknown_format",
                "\"bin\" does not exist; there are json, binary",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"format":2}"#,
                "wrong_type",
                "format",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["*"],"since":{}}"#,
                "not_supported",
                "since",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"since":{"epoch":"e"}}"#,
                "missing_field",
                "since.sequences",
            ),
            (
                r#"{"id":7,"action":"subscribe","channel":"trades","symbols":["A"],"since":{"epoch":"e","sequences":{"A":-1}}}"#,
                "wrong_type",
                "whole number",
            ),
        ];
        for (text, code, says) in cases {
            let error = refused(text);
            assert_eq!(error.code, code, "{text}");
            assert!(error.message.contains(says), "{text}: {}", error.message);
            assert_eq!(error.id.as_deref(), text.contains("\"id\":7").then_some("7"), "{text}");
        }
        let long = format!(r#"{{"id":"{}","action":"ping"}}"#, "x".repeat(200));
        assert_eq!(refused(&long).code, "bad_id");
    }

    #[test]
    fn deep_nesting_is_malformed_and_not_a_crash() {
        assert_eq!(refused(&"[".repeat(60_000)).code, "malformed_json");
    }

    #[test]
    fn a_subscribe_is_read_in_full() {
        let text = r#"{"action":"subscribe","channel":"bars","symbols":["BTC/USD","A","A"],"timeframes":["1m","1m"],
            "forming":false,"throttle_ms":100,"batch_ms":60000,"format":"binary","id":"a1","since":{"epoch":"e","sequences":{"BTC/USD/1m":4711}}}"#;
        let envelope = parse(text, &Timeframes::parse("1s,1m").unwrap()).unwrap();
        assert_eq!(envelope.id.as_deref(), Some("\"a1\""));
        let symbol = |name: &str| Symbol::new(name.as_bytes()).unwrap();
        assert_eq!(
            envelope.request,
            Request::Subscribe {
                channel: Channel::Bars,
                symbols: Symbols::Named(vec![symbol("BTC/USD"), symbol("A")]),
                levels: vec![1],
                delivery: Delivery {
                    forming: false,
                    throttle: Nanos::from_millis(100),
                    single: false,
                    batch: Nanos::from_secs(60),
                    format: Format::Binary,
                },
                since: Some(Since { epoch: "e".to_owned(), sequences: vec![(symbol("BTC/USD"), 1, 4711)] }),
                trades: 0,
            }
        );
    }
}
