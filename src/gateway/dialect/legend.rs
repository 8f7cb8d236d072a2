//! The dashboard protocol, `/api/ws`: prices by ticker, with the last trades as history, at a pace that a page can draw.
//!
//! A ticker's price is the close of its day's bar as it forms (of the coarsest timeframe there is), so a `price_update` is a state:
//! whoever is slow skips to the newest. Channels `patterns` and `alerts` can be subscribed to and say nothing, for nothing finds
//! patterns or evaluates alerts yet. `market_status` is that of the first calendar there is, again at each change; without a calendar
//! it is said once that it is unknown. `change` and `change_percent` are null: a previous close is not known.

use serde_json::{Map, Value};

use crate::model::calendar::{CalendarRules, Standing};
use crate::model::{Channel, Event, EventKind, Nanos, Timeframes, UnixNanos};

use super::json::{iso_millis, put, string};
use super::native::request::{Fault, quoted, read_object, read_symbol, text_field, unknown};
use super::{Delivery, Dialect, Envelope, Parsed, Reply, Request, RequestError, Scene, Symbols};

/// A connection is told of one price at most so often: ten messages a second.
const PACE: Nanos = Nanos::from_millis(100);
/// So many trades of a ticker come with its subscription.
const HISTORY_TRADES: usize = 100;

const MARKET_STATUS: &str = "market_status";
const SUBSCRIBED: &str = "subscribed";
const UNSUBSCRIBED: &str = "unsubscribed";

/// The dialect.
pub struct Legend;

impl Dialect for Legend {
    fn path(&self) -> &'static str {
        "/api/ws"
    }

    fn parse(&self, text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) {
        if let Err((code, message)) = read(text, timeframes, requests) {
            requests.push(Err(RequestError { id: None, code, message }));
        }
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
        if event.kind() == EventKind::Status {
            return market_status(out, event, scene);
        }
        // What closes or revises a day is no news of the price, unless it is all there is to begin with.
        if event.kind() != EventKind::BarForming && !scene.snapshot {
            return;
        }
        let bar = event.as_bar();
        put(out, r#"{"type":"price_update","ticker":""#);
        put(out, scene.symbol.as_str());
        put(out, r#"","price":"#);
        bar.close.write(out);
        put(out, r#","change":null,"change_percent":null,"volume":"#);
        bar.volume.write(out);
        for (name, price) in [(r#","high":"#, bar.high), (r#","low":"#, bar.low), (r#","open":"#, bar.open)] {
            put(out, name);
            price.write(out);
        }
        end(out, event.ts_event);
    }

    fn reply(&self, out: &mut Vec<u8>, _id: Option<&str>, reply: &Reply<'_>, now: UnixNanos) {
        match reply {
            Reply::Welcome { connection, .. } => {
                put(out, r#"{"type":"connection","status":"connected","connection_id":"#);
                string(out, connection);
            }
            Reply::Subscribed { channel: Channel::Status, .. } => {
                subscription(out, SUBSCRIBED, "channel", MARKET_STATUS);
            }
            Reply::Unsubscribed { channel: Some(Channel::Status), .. } => {
                subscription(out, UNSUBSCRIBED, "channel", MARKET_STATUS);
            }
            Reply::Subscribed { symbols, .. } => subscription(out, SUBSCRIBED, "ticker", ticker(symbols)),
            Reply::Unsubscribed { symbols, .. } => {
                subscription(out, UNSUBSCRIBED, "ticker", ticker(symbols));
            }
            Reply::Acknowledged { action, what } => subscription(out, action, "channel", what),
            Reply::History { symbol, trades } => history(out, symbol, trades),
            Reply::Pong => put(out, r#"{"type":"pong""#),
            Reply::Error { message, .. } => {
                put(out, r#"{"type":"error","message":"#);
                string(out, message);
            }
            _ => return,
        }
        end(out, now);
    }
}

/// In the words that a dashboard shows.
fn market_status(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    let status = event.as_status();
    put(out, r#"{"type":"market_status","status":""#);
    put(
        out,
        match status.standing() {
            Standing::Regular => "open",
            Standing::Pre => "pre_market",
            Standing::Post => "after_hours",
            Standing::Closed | Standing::Holiday => "closed",
            Standing::Halted => "halted",
            Standing::Unknown => "unknown",
        },
    );
    out.push(b'"');
    for (name, at) in [(r#","next_open":"#, status.next_open), (r#","next_close":"#, status.next_close)] {
        put(out, name);
        if at == UnixNanos::MAX {
            put(out, "null");
        } else {
            out.push(b'"');
            iso_millis(out, at);
            out.push(b'"');
        }
    }
    end(out, scene.now);
}

fn ticker(symbols: &[String]) -> &str {
    symbols.first().map_or("*", String::as_str)
}

fn subscription(out: &mut Vec<u8>, action: &str, name: &str, what: &str) {
    put(out, r#"{"type":"subscription","action":""#);
    put(out, action);
    put(out, r#"",""#);
    put(out, name);
    put(out, r#"":"#);
    string(out, what);
}

/// A trade tells no more of the day than its price.
fn history(out: &mut Vec<u8>, symbol: &str, trades: &[Event]) {
    put(out, r#"{"type":"history","ticker":"#);
    string(out, symbol);
    put(out, r#","messages":["#);
    for (i, event) in trades.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put(out, r#"{"type":"price_update","ticker":"#);
        string(out, symbol);
        put(out, r#","price":"#);
        event.as_trade().price.write(out);
        put(out, r#","change":null,"change_percent":null,"volume":null,"high":null,"low":null,"open":null"#);
        end(out, event.ts_event);
    }
    out.push(b']');
}

fn end(out: &mut Vec<u8>, at: UnixNanos) {
    put(out, r#","timestamp":""#);
    iso_millis(out, at);
    put(out, "\"}");
}

fn read(text: &str, timeframes: &Timeframes, requests: &mut Vec<Parsed>) -> Result<(), Fault> {
    const RIGHT: &str = r#"{"type":"subscribe","channel":"ticker","ticker":"AAPL"}"#;
    let mut push = |request| requests.push(Ok(Envelope { id: None, request }));
    let fields = read_object(text, RIGHT)?;
    let kind = text_field(&fields, "type", || "subscribe, unsubscribe or ping".to_owned())?;
    let action = match kind {
        "ping" => {
            push(Request::Ping);
            return Ok(());
        }
        "subscribe" => SUBSCRIBED,
        "unsubscribe" => UNSUBSCRIBED,
        other => {
            let given = quoted(other);
            let message = format!(
                "Unknown message type: {}; there are subscribe, unsubscribe and ping",
                given.trim_matches('"')
            );
            return Err(("unknown_type", message));
        }
    };
    const CHANNELS: [&str; 4] = ["ticker", "patterns", "alerts", MARKET_STATUS];
    let what = text_field(&fields, "channel", || format!("one of {}", CHANNELS.join(", ")))?;
    let Some(what) = CHANNELS.into_iter().find(|&channel| channel == what) else {
        return Err(("unknown_channel", unknown("channel", what, &CHANNELS)));
    };
    if what == "ticker" {
        push(read_ticker(&fields, action == SUBSCRIBED, timeframes)?);
        return Ok(());
    }
    if what == MARKET_STATUS {
        let symbols = Symbols::Named(vec![read_symbol(CalendarRules::MARKET)?]);
        let (channel, levels) = (Channel::Status, vec![0]);
        push(if action == SUBSCRIBED {
            let delivery = Delivery::default();
            Request::Subscribe { channel, symbols, levels, delivery, since: None, trades: 0 }
        } else {
            Request::Unsubscribe { channel, symbols, levels }
        });
        return Ok(());
    }
    push(Request::Acknowledge { action, what });
    Ok(())
}

fn read_ticker(
    fields: &Map<String, Value>,
    subscribe: bool,
    timeframes: &Timeframes,
) -> Result<Request, Fault> {
    let name = text_field(fields, "ticker", || "a symbol such as \"AAPL\"".to_owned())?;
    let symbols = if name == "*" { Symbols::All } else { Symbols::Named(vec![read_symbol(name)?]) };
    let channel = Channel::Bars;
    let levels = vec![timeframes.len() - 1];
    Ok(if subscribe {
        let delivery = Delivery { throttle: PACE, single: true, ..Delivery::default() };
        Request::Subscribe { channel, symbols, levels, delivery, since: None, trades: HISTORY_TRADES }
    } else {
        Request::Unsubscribe { channel, symbols, levels }
    })
}

#[cfg(test)]
#[path = "legend_tests.rs"]
mod tests;
