//! The candle protocol, `/ws`: subscriptions by symbol and timeframe, and every change of a candle as one message.
//!
//! A forming candle has `is_complete` false, a closed or revised one true. `timestamp` is where a candle begins, in µs. A subscription is
//! answered by its newest candles: the last complete one and the forming one.

use serde_json::{Map, Value};

use crate::model::decimal::{write_i64, write_u64};
use crate::model::{Channel, Event, EventKind, Timeframes, UnixNanos};

use super::json::{put, string};
use super::native::request::{Fault, read_level, read_object, read_symbol, text_field, unknown, wrong};
use super::{Delivery, Dialect, Envelope, Parsed, Reply, Request, RequestError, Scene, Symbols};

/// What a subscription without timeframes is for, as far as they are built.
const TIMEFRAMES_DEFAULT: [&str; 5] = ["1m", "5m", "15m", "1h", "1d"];

/// The dialect.
pub struct Candles;

impl Dialect for Candles {
    fn path(&self) -> &'static str {
        "/ws"
    }

    fn parse(&self, text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) {
        if let Err((code, message)) = read(text, timeframes, requests) {
            requests.push(Err(RequestError { id: None, code, message }));
        }
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
        let complete = match event.kind() {
            EventKind::BarForming => false,
            // Who asks for the current candle does not mean the one before.
            EventKind::BarClosed | EventKind::BarRevised if !scene.look => true,
            _ => return,
        };
        let bar = event.as_bar();
        put(out, if scene.look { r#"{"type":"current_candle""# } else { r#"{"type":"candle""# });
        put(out, r#","data":{"symbol":""#);
        put(out, scene.symbol.as_str());
        put(out, r#"","timeframe":""#);
        put(out, scene.timeframes.label(event.topic.level()));
        put(out, r#"","timestamp":"#);
        write_i64(out, bar.start.micros());
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
        put(out, if complete { r#","is_complete":true}}"# } else { r#","is_complete":false}}"# });
    }

    fn reply(&self, out: &mut Vec<u8>, _id: Option<&str>, reply: &Reply<'_>, _now: UnixNanos) {
        match reply {
            Reply::Snapshots { empty: true, .. } => put(out, r#"{"type":"current_candle","data":null}"#),
            Reply::Stats(figures) => {
                put(out, r#"{"type":"stats","data":{"#);
                for (i, (name, value)) in figures.iter().enumerate() {
                    put(out, if i == 0 { "\"" } else { ",\"" });
                    put(out, name);
                    put(out, "\":");
                    write_u64(out, *value);
                }
                put(out, "}}");
            }
            Reply::Error { message, .. } => {
                put(out, r#"{"type":"error","message":"#);
                string(out, message);
                out.push(b'}');
            }
            _ => {}
        }
    }
}

fn read(text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) -> Result<(), Fault> {
    const RIGHT: &str =
        r#"{"type":"subscription","data":{"action":"subscribe","symbols":["NIFTY"],"timeframes":["1m"]}}"#;
    const TYPES: [&str; 3] = ["subscription", "current_candle", "stats"];
    let fields = read_object(text, RIGHT)?;
    let data = || match fields.get("data") {
        Some(Value::Object(data)) => Ok(data),
        Some(other) => Err(wrong("data", "an object", other)),
        None => Err(("missing_field", format!("data is missing; send {RIGHT}"))),
    };
    let request = match text_field(&fields, "type", || format!("one of {}", TYPES.join(", ")))? {
        "subscription" => return read_subscription(data()?, timeframes, requests),
        "current_candle" => {
            let data = data()?;
            let symbol = read_symbol(text_field(data, "symbol", || "one such as \"NIFTY\"".to_owned())?)?;
            let timeframe = text_field(data, "timeframe", || format!("one of {timeframes}"))?;
            let levels = vec![read_level(timeframe, timeframes)?];
            Request::Snapshot { channel: Channel::Bars, symbols: Symbols::Named(vec![symbol]), levels }
        }
        "stats" => Request::Stats,
        other => return Err(("unknown_type", unknown("type", other, &TYPES))),
    };
    requests.push(Ok(Envelope { id: None, request }));
    Ok(())
}

fn read_subscription(
    data: &Map<String, Value>,
    timeframes: &Timeframes,
    requests: &mut Vec<Parsed>,
) -> Result<(), Fault> {
    const ACTIONS: [&str; 2] = ["subscribe", "unsubscribe"];
    let action = text_field(data, "action", || ACTIONS.join(" or "))?;
    let names = texts(data, "symbols")?.unwrap_or_default();
    if names.is_empty() {
        return Err((
            "missing_field",
            "symbols is missing or empty; give a list such as [\"NIFTY\"]".to_owned(),
        ));
    }
    let symbols = if names == ["*"] {
        Symbols::All
    } else {
        let mut symbols = names.into_iter().map(read_symbol).collect::<Result<Vec<_>, _>>()?;
        let mut seen = std::collections::HashSet::new();
        symbols.retain(|symbol| seen.insert(*symbol));
        Symbols::Named(symbols)
    };
    let labels = texts(data, "timeframes")?.filter(|labels| !labels.is_empty());
    let indicators = texts(data, "indicators")?.unwrap_or_default();
    let channel = Channel::Bars;
    let request = match action {
        "subscribe" => {
            let levels = match labels {
                Some(labels) => levels(&labels, timeframes)?,
                None => default_levels(timeframes),
            };
            let delivery = Delivery::default();
            Request::Subscribe { channel, symbols, levels, delivery, since: None, trades: 0 }
        }
        "unsubscribe" => {
            let levels = match labels {
                Some(labels) => levels(&labels, timeframes)?,
                None => (0..timeframes.len()).collect(),
            };
            Request::Unsubscribe { channel, symbols, levels }
        }
        other => return Err(("unknown_action", unknown("action", other, &ACTIONS))),
    };
    requests.push(Ok(Envelope { id: None, request }));
    if action == "subscribe" && !indicators.is_empty() {
        let message = format!(
            "no indicators are computed here yet, so none follow for {}; the candles do",
            indicators.join(", ").chars().take(200).collect::<String>()
        );
        requests.push(Err(RequestError { id: None, code: "not_supported", message }));
    }
    Ok(())
}

fn levels(labels: &[&str], timeframes: &Timeframes) -> Result<Vec<usize>, Fault> {
    let mut levels =
        labels.iter().map(|label| read_level(label, timeframes)).collect::<Result<Vec<_>, _>>()?;
    levels.sort_unstable();
    levels.dedup();
    Ok(levels)
}

/// Those of the defaults that are built here; where none is, all that are.
fn default_levels(timeframes: &Timeframes) -> Vec<usize> {
    let levels: Vec<usize> = TIMEFRAMES_DEFAULT.iter().filter_map(|label| timeframes.level(label)).collect();
    if levels.is_empty() { (0..timeframes.len()).collect() } else { levels }
}

/// A list of strings, `None` where it is absent or null.
fn texts<'a>(data: &'a Map<String, Value>, name: &str) -> Result<Option<Vec<&'a str>>, Fault> {
    match data.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => list
            .iter()
            .map(|entry| {
                entry.as_str().ok_or_else(|| wrong(&format!("an entry of {name}"), "a string", entry))
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Some),
        Some(other) => Err(wrong(name, "a list of strings", other)),
    }
}

#[cfg(test)]
#[path = "candles_tests.rs"]
mod tests;
