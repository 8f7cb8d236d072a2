//! Against the messages of the protocol's documentation.

use serde_json::{Value, json};

use super::*;
use crate::model::calendar::MarketStatus;
use crate::model::{Bar, BarState, Notional, Price, Size, Symbol, SymbolId, Tick, Topic, Volume};

/// 2025-11-18T10:30:00Z.
const NOW: UnixNanos = UnixNanos(1_763_461_800_000_000_000);
const SAID: &str = "2025-11-18T10:30:00.000Z";

fn read(text: &str) -> Vec<Parsed> {
    let mut requests = Vec::new();
    Legend.parse(text, &Timeframes::parse("1s,1m,1d").unwrap(), &mut requests);
    requests
}

fn written(event: &Event, snapshot: bool) -> Value {
    let timeframes = Timeframes::parse("1s,1m,1d").unwrap();
    let symbol = Symbol::new(b"AAPL").unwrap();
    let scene =
        Scene { symbol, timeframes: &timeframes, now: UnixNanos(0), snapshot, look: false, day: None };
    let mut out = Vec::new();
    Legend.event(&mut out, event, &scene);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

fn reply(reply: &Reply<'_>) -> Value {
    let mut out = Vec::new();
    Legend.reply(&mut out, None, reply, NOW);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

#[test]
fn the_documented_requests_are_read() {
    let ticker = r#"{"type":"subscribe","channel":"ticker","ticker":"AAPL"}"#;
    let symbols = Symbols::Named(vec![Symbol::new(b"AAPL").unwrap()]);
    let request = Request::Subscribe {
        channel: Channel::Bars,
        symbols: symbols.clone(),
        levels: vec![2],
        delivery: Delivery { throttle: Nanos::from_millis(100), single: true, ..Delivery::default() },
        since: None,
        trades: 100,
    };
    assert_eq!(read(ticker), [Ok(Envelope { id: None, request })]);
    let request = Request::Unsubscribe { channel: Channel::Bars, symbols, levels: vec![2] };
    assert_eq!(read(&ticker.replace("subscribe", "unsubscribe")), [Ok(Envelope { id: None, request })]);
    assert_eq!(read(r#"{"type":"ping"}"#), [Ok(Envelope { id: None, request: Request::Ping })]);
    for (channel, answers) in [("patterns", 1), ("alerts", 1)] {
        let requests = read(&format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#));
        assert_eq!(requests.len(), answers, "{channel}");
        let Ok(Envelope { request: Request::Acknowledge { action, what }, .. }) = &requests[0] else {
            panic!("{requests:?}")
        };
        assert_eq!((*action, *what), ("subscribed", channel));
    }
    let market = read(r#"{"type":"subscribe","channel":"market_status"}"#);
    let Ok(Envelope { request: Request::Subscribe { channel: Channel::Status, symbols, .. }, .. }) =
        &market[0]
    else {
        panic!("{market:?}")
    };
    assert_eq!((market.len(), symbols), (1, &Symbols::Named(vec![Symbol::new(b"$market").unwrap()])));
}

#[test]
fn the_market_is_told_as_open_or_closed_with_what_comes_next() {
    let timeframes = Timeframes::parse("1m").unwrap();
    let market = crate::model::calendar::built_in("us-equities").unwrap();
    let topic = Topic::status(SymbolId(0));
    let told = |status: &MarketStatus| -> Value {
        let scene = Scene {
            symbol: Symbol::new(b"$market").unwrap(),
            timeframes: &timeframes,
            now: UnixNanos(1_795_791_600_000_000_000),
            snapshot: false,
            look: false,
            day: None,
        };
        let mut out = Vec::new();
        Legend.event(&mut out, &Event::status(topic, status), &scene);
        serde_json::from_slice(&out).unwrap()
    };
    assert_eq!(
        told(&market.status(UnixNanos(1_795_791_600_000_000_000))),
        json!({"type":"market_status","status":"open","next_open":"2026-11-30T14:30:00.000Z",
            "next_close":"2026-11-27T18:00:00.000Z","timestamp":"2026-11-27T15:00:00.000Z"})
    );
    assert_eq!(
        told(&MarketStatus::new(Standing::Unknown, UnixNanos::MAX)),
        json!({"type":"market_status","status":"unknown","next_open":null,"next_close":null,
            "timestamp":"2026-11-27T15:00:00.000Z"})
    );
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (text, says) in [
        ("nope", "subscribe"),
        ("[1]", "a list"),
        ("{}", "ping"),
        (r#"{"type":"invalid"}"#, "Unknown message type: invalid"),
        (r#"{"type":"subscribe"}"#, "ticker, patterns, alerts, market_status"),
        (r#"{"type":"subscribe","channel":"tickr"}"#, "did you mean \"ticker\""),
        (r#"{"type":"subscribe","channel":"ticker"}"#, "ticker is missing"),
        (r#"{"type":"subscribe","channel":"ticker","ticker":7}"#, "a number"),
        (r#"{"type":"subscribe","channel":"ticker","ticker":"A B"}"#, "A B"),
    ] {
        let requests = read(text);
        assert_eq!(requests.len(), 1, "{text}");
        let error = requests[0].as_ref().unwrap_err();
        assert!(error.message.contains(says), "{text}: {}", error.message);
    }
    assert!(read(&"[".repeat(60_000))[0].is_err());
}

#[test]
fn answers_are_those_of_the_documentation() {
    let welcome = Reply::Welcome { connection: "gateway-0-1", epoch: "e", heartbeat_s: 30, limits: &[] };
    assert_eq!(
        reply(&welcome),
        json!({"type":"connection","status":"connected","connection_id":"gateway-0-1","timestamp":SAID})
    );
    let symbols = ["AAPL".to_owned()];
    let subscribed =
        Reply::Subscribed { channel: Channel::Bars, symbols: &symbols, sequences: None, recovered: None };
    let said = |action: &str| json!({"type":"subscription","action":action,"ticker":"AAPL","timestamp":SAID});
    assert_eq!(reply(&subscribed), said("subscribed"));
    let unsubscribed = Reply::Unsubscribed { channel: Some(Channel::Bars), symbols: &symbols };
    assert_eq!(reply(&unsubscribed), said("unsubscribed"));
    assert_eq!(
        reply(&Reply::Acknowledged { action: SUBSCRIBED, what: "patterns" }),
        json!({"type":"subscription","action":"subscribed","channel":"patterns","timestamp":SAID})
    );
    let subscribed =
        Reply::Subscribed { channel: Channel::Status, symbols: &symbols, sequences: None, recovered: None };
    assert_eq!(
        reply(&subscribed),
        json!({"type":"subscription","action":"subscribed","channel":"market_status","timestamp":SAID})
    );
    assert_eq!(reply(&Reply::Pong), json!({"type":"pong","timestamp":SAID}));
    assert_eq!(
        reply(&Reply::Error { code: "c", message: "wrong" }),
        json!({"type":"error","message":"wrong","timestamp":SAID})
    );
    let slow = Reply::Slow { topic: "t", conflated: 1, queued_bytes: 2, queue_age_ms: 3, closing: true };
    assert_eq!(reply(&slow), Value::Null);
}

#[test]
fn a_price_is_the_close_of_the_day_and_its_history_are_trades() {
    let bar = Bar {
        volume: Volume(75_000_000 * 100_000_000),
        notional: Notional(1),
        start: UnixNanos(0),
        open: Price(149_000_000_000),
        high: Price(151_000_000_000),
        low: Price(148_500_000_000),
        close: Price(150_250_000_000),
        trades: 3,
    };
    let event = |state| Event::bar(Topic::bars(SymbolId(0), 2), state, 4, &bar).at(NOW, NOW);
    let update = json!({"type":"price_update","ticker":"AAPL","price":150.25,"change":null,"change_percent":null,
        "volume":75_000_000,"high":151,"low":148.5,"open":149,"timestamp":SAID});
    assert_eq!(written(&event(BarState::Forming), false), update);
    assert_eq!(written(&event(BarState::Closed), true), update, "nothing newer to begin with");
    assert_eq!(written(&event(BarState::Closed), false), Value::Null);
    assert_eq!(written(&event(BarState::Revised), false), Value::Null);
    let trade = |price| {
        let tick = Tick::trade(SymbolId(0), NOW, NOW, Price(price), Size(1));
        Event::trade(Topic::trades(SymbolId(0)), 1, &tick)
    };
    let trades = [trade(149_500_000_000), trade(150_000_000_000)];
    let history = reply(&Reply::History { symbol: "AAPL", trades: &trades });
    assert_eq!((&history["type"], &history["ticker"]), (&json!("history"), &json!("AAPL")));
    assert_eq!(history["timestamp"], SAID);
    assert_eq!(
        history["messages"][0],
        json!({"type":"price_update","ticker":"AAPL","price":149.5,"change":null,"change_percent":null,
            "volume":null,"high":null,"low":null,"open":null,"timestamp":SAID})
    );
    assert_eq!(history["messages"][1]["price"], 150);
    let none = reply(&Reply::History { symbol: "AAPL", trades: &[] });
    assert_eq!(none["messages"], json!([]));
}
