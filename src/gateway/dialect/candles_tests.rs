//! Against the messages that the protocol's clients send and read.

use serde_json::{Value, json};

use super::*;
use crate::model::{Bar, BarState, Notional, Price, Symbol, SymbolId, Topic, Volume};

fn read_with(text: &str, timeframes: &str) -> Vec<Parsed> {
    let mut requests = Vec::new();
    Candles.parse(text, &Timeframes::parse(timeframes).unwrap(), &mut requests);
    requests
}

fn read(text: &str) -> Vec<Parsed> {
    read_with(text, "1s,1m,5m")
}

fn named(names: &[&str]) -> Symbols {
    Symbols::Named(names.iter().map(|name| Symbol::new(name.as_bytes()).unwrap()).collect())
}

fn written(event: &Event, snapshot: bool, look: bool) -> Value {
    let timeframes = Timeframes::parse("1s,1m").unwrap();
    let symbol = Symbol::new(b"NIFTY").unwrap();
    let scene = Scene { symbol, timeframes: &timeframes, now: UnixNanos(0), snapshot, look, day: None };
    let mut out = Vec::new();
    Candles.event(&mut out, event, &scene);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

fn reply(reply: &Reply<'_>) -> Value {
    let mut out = Vec::new();
    Candles.reply(&mut out, None, reply, UnixNanos(0));
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

#[test]
fn the_documented_subscription_is_read() {
    let text = r#"{"type":"subscription","data":{"action":"subscribe","symbols":["NIFTY"],"timeframes":["5m","1m","1m"]}}"#;
    let request = Request::Subscribe {
        channel: Channel::Bars,
        symbols: named(&["NIFTY"]),
        levels: vec![1, 2],
        delivery: Delivery::default(),
        since: None,
        trades: 0,
    };
    assert_eq!(read(text), [Ok(Envelope { id: None, request })]);
    let text = r#"{"type":"subscription","data":{"action":"unsubscribe","symbols":["A","B","A"]}}"#;
    let request =
        Request::Unsubscribe { channel: Channel::Bars, symbols: named(&["A", "B"]), levels: vec![0, 1, 2] };
    assert_eq!(read(text), [Ok(Envelope { id: None, request })]);
}

#[test]
fn without_timeframes_the_documented_defaults_are_meant_as_far_as_they_are_built() {
    let text = r#"{"type":"subscription","data":{"action":"subscribe","symbols":["*"],"timeframes":[]}}"#;
    let levels = |timeframes: &str| match &read_with(text, timeframes)[..] {
        [Ok(Envelope { request: Request::Subscribe { levels, symbols: Symbols::All, .. }, .. })] => {
            levels.clone()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(levels("1s,1m,5m,2h,1d"), [1, 2, 4]);
    assert_eq!(levels("1s,2s"), [0, 1]);
}

#[test]
fn indicators_are_refused_and_the_candles_still_flow() {
    let text = r#"{"type":"subscription","data":{"action":"subscribe","symbols":["NIFTY"],"timeframes":["1m"],"indicators":["rsi"]}}"#;
    let requests = read(text);
    assert!(matches!(&requests[0], Ok(Envelope { request: Request::Subscribe { .. }, .. })));
    assert!(requests[1].as_ref().unwrap_err().message.contains("rsi"));
    assert_eq!(requests.len(), 2);
}

#[test]
fn queries_are_read() {
    let text = r#"{"type":"current_candle","data":{"symbol":"NIFTY","timeframe":"1m"}}"#;
    let request = Request::Snapshot { channel: Channel::Bars, symbols: named(&["NIFTY"]), levels: vec![1] };
    assert_eq!(read(text), [Ok(Envelope { id: None, request })]);
    assert_eq!(read(r#"{"type":"stats"}"#), [Ok(Envelope { id: None, request: Request::Stats })]);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (text, says) in [
        ("nope", "subscription"),
        ("[1]", "a list"),
        ("{}", "subscription, current_candle, stats"),
        (r#"{"type":"subscribe"}"#, "there are subscription"),
        (r#"{"type":"subscription"}"#, "data is missing"),
        (r#"{"type":"subscription","data":[]}"#, "an object"),
        (r#"{"type":"subscription","data":{"action":"join","symbols":["A"]}}"#, "subscribe"),
        (r#"{"type":"subscription","data":{"action":"subscribe"}}"#, "symbols"),
        (r#"{"type":"subscription","data":{"action":"subscribe","symbols":[]}}"#, "symbols"),
        (r#"{"type":"subscription","data":{"action":"subscribe","symbols":"A"}}"#, "a list of strings"),
        (r#"{"type":"subscription","data":{"action":"subscribe","symbols":[1]}}"#, "a string"),
        (r#"{"type":"subscription","data":{"action":"subscribe","symbols":["A B"]}}"#, "A B"),
        (
            r#"{"type":"subscription","data":{"action":"subscribe","symbols":["A"],"timeframes":["2m"]}}"#,
            "1s,1m,5m",
        ),
        (r#"{"type":"current_candle","data":{"symbol":"A"}}"#, "timeframe"),
    ] {
        let requests = read(text);
        assert_eq!(requests.len(), 1, "{text}");
        let error = requests[0].as_ref().unwrap_err();
        assert!(error.message.contains(says), "{text}: {}", error.message);
    }
    assert!(read(&"{\"type\":".repeat(20_000))[0].is_err());
}

#[test]
fn a_candle_is_complete_once_it_is_closed() {
    let bar = Bar {
        volume: Volume(150_000_000),
        notional: Notional(150_000_000 * 10_500_000_000),
        start: UnixNanos(60_000_000_000),
        open: Price(10_000_000_000),
        high: Price(11_000_000_000),
        low: Price(9_990_000_000),
        close: Price(10_250_000_000),
        trades: 3,
    };
    let event = |state| Event::bar(Topic::bars(SymbolId(0), 1), state, 4, &bar);
    let candle = |complete: bool| {
        json!({"type":"candle","data":{"symbol":"NIFTY","timeframe":"1m","timestamp":60_000_000,"open":10,"high":11,
            "low":9.99,"close":10.25,"volume":1.5,"vwap":10.5,"is_complete":complete}})
    };
    assert_eq!(written(&event(BarState::Forming), false, false), candle(false));
    assert_eq!(written(&event(BarState::Forming), true, false), candle(false));
    assert_eq!(written(&event(BarState::Closed), false, false), candle(true));
    assert_eq!(written(&event(BarState::Revised), false, false), candle(true));
    assert_eq!(
        written(&event(BarState::Closed), true, true),
        Value::Null,
        "the current candle is the forming one"
    );
    assert_eq!(written(&event(BarState::Forming), true, true)["type"], "current_candle");
    let empty = Event::bar(Topic::bars(SymbolId(0), 0), BarState::Forming, 1, &Bar::default());
    assert_eq!(written(&empty, false, false)["data"]["vwap"], Value::Null);
}

#[test]
fn answers_are_those_of_the_protocol_and_it_has_no_more() {
    assert_eq!(
        reply(&Reply::Stats(&[("connections", 2), ("errors", 0)])),
        json!({"type":"stats","data":{"connections":2,"errors":0}})
    );
    let error = Reply::Error { code: "c", message: "a \"wrong\" one" };
    assert_eq!(reply(&error), json!({"type":"error","message":"a \"wrong\" one"}));
    let none = |empty| Reply::Snapshots { empty, channel: Channel::Bars, symbols: &[], sequences: None };
    assert_eq!(reply(&none(true)), json!({"type":"current_candle","data":null}));
    assert_eq!(reply(&none(false)), Value::Null);
    assert_eq!(reply(&Reply::Pong), Value::Null);
}
