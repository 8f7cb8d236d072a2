//! Against the documentation's own examples: <https://massive.com/docs/websocket/stocks>.

use serde_json::{Value, json};

use super::super::TABLE;
use super::*;
use crate::model::{Bar, BarState, Day, Notional, Quote, Reason, SymbolId, Topic};

const MS: i64 = 1_000_000;

fn read(text: &str) -> Vec<Parsed> {
    let mut requests = Vec::new();
    Massive.parse(text, &Timeframes::parse("1s,1m").unwrap(), &mut requests);
    requests
}

fn written(event: &Event, day: Option<&Day>, snapshot: bool) -> String {
    let timeframes = Timeframes::parse("1s,1m,1h").unwrap();
    let symbol = Symbol::new(b"GTE").unwrap();
    let scene = Scene { symbol, timeframes: &timeframes, now: UnixNanos(0), snapshot, look: false, day };
    let mut out = Vec::new();
    Massive.event(&mut out, event, &scene);
    String::from_utf8(out).unwrap()
}

fn json_of(event: &Event, day: Option<&Day>) -> Value {
    serde_json::from_str(&written(event, day, false)).unwrap()
}

fn reply(id: Option<&str>, reply: &Reply<'_>) -> Value {
    let mut out = Vec::new();
    Massive.reply(&mut out, id, reply, UnixNanos(0));
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

#[test]
fn each_parameter_is_a_request_of_its_own_in_order() {
    let requests = read(r#"{"action":"subscribe","params":"T.MSFT, Q.*,AM.A.B,A.MSFT,T.MSFT"}"#);
    let named = |name: &str| Symbols::Named(vec![Symbol::new(name.as_bytes()).unwrap()]);
    let wanted = [
        ("T.MSFT", Channel::Trades, named("MSFT"), 0),
        ("Q.*", Channel::Quotes, Symbols::All, 0),
        ("AM.A.B", Channel::Bars, named("A.B"), 1),
        ("A.MSFT", Channel::Bars, named("MSFT"), 0),
    ];
    assert_eq!(requests.len(), wanted.len(), "a repeat means nothing");
    for (parsed, (id, channel, symbols, level)) in requests.into_iter().zip(wanted) {
        let delivery = Delivery { forming: false, ..Delivery::default() };
        let levels = vec![level];
        let request = Request::Subscribe { channel, symbols, levels, delivery, since: None, trades: 0 };
        assert_eq!(parsed, Ok(Envelope { id: Some(id.to_owned()), request }));
    }
    let [Ok(one)] = &read(r#"{"action":"unsubscribe","params":"T.MSFT"}"#)[..] else { panic!("one request") };
    assert!(matches!(one.request, Request::Unsubscribe { channel: Channel::Trades, .. }));
    let [Ok(auth)] = &read(r#"{"action":"auth","params":"any"}"#)[..] else { panic!("one request") };
    assert!(matches!(auth.request, Request::Acknowledge { .. }));
}

#[test]
fn a_wrong_parameter_is_refused_and_the_rest_count() {
    let requests = read(r#"{"action":"subscribe","params":"LULD.A,T.A,T,Q.A B,,AM.B"}"#);
    let ok: Vec<bool> = requests.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [false, true, false, false, false, true]);
    let says = |i: usize| requests[i].as_ref().unwrap_err().message.clone();
    assert!(says(0).contains("\"LULD\"") && says(0).contains("T, Q, A, AM"), "{}", says(0));
    assert!(says(2).contains("T.AAPL"), "{}", says(2));
    let mut requests = Vec::new();
    Massive.parse(
        r#"{"action":"subscribe","params":"A.X"}"#,
        &Timeframes::parse("1m,5m").unwrap(),
        &mut requests,
    );
    let error = requests.pop().unwrap().unwrap_err();
    assert!(error.message.contains("add 1s to bars.timeframes"), "{}", error.message);
}

#[test]
fn a_message_that_is_none_is_refused_as_a_whole() {
    for text in [
        "",
        "[]",
        "7",
        "{}",
        r#"{"action":7}"#,
        r#"{"action":"listen"}"#,
        r#"{"action":"subscribe"}"#,
        r#"{"action":"subscribe","params":["T.A"]}"#,
        &"[".repeat(60_000),
    ] {
        let requests = read(text);
        assert_eq!(requests.len(), 1, "{text:.40}");
        assert!(requests[0].is_err(), "{text:.40}");
    }
}

#[test]
fn statuses_are_those_the_official_clients_wait_for() {
    let welcome = Reply::Welcome { connection: "c", epoch: "e", heartbeat_s: 30, limits: &[] };
    assert_eq!(
        reply(None, &welcome),
        json!([{"ev":"status","status":"connected","message":"Connected Successfully"}])
    );
    assert_eq!(
        reply(None, &Reply::Acknowledged { action: "auth", what: "" }),
        json!([{"ev":"status","status":"auth_success","message":"authenticated"}])
    );
    let subscribed =
        Reply::Subscribed { channel: Channel::Trades, symbols: &[], sequences: None, recovered: None };
    assert_eq!(
        reply(Some("T.MSFT"), &subscribed),
        json!([{"ev":"status","status":"success","message":"subscribed to: T.MSFT"}])
    );
    let unsubscribed = Reply::Unsubscribed { channel: Some(Channel::Trades), symbols: &[] };
    assert_eq!(
        reply(Some("T.MSFT"), &unsubscribed),
        json!([{"ev":"status","status":"success","message":"unsubscribed to: T.MSFT"}])
    );
    let error = reply(None, &Reply::Error { code: "c", message: "a \"wrong\" one" });
    assert_eq!(error, json!([{"ev":"status","status":"error","message":"a \"wrong\" one"}]));
    let slow = |closing| Reply::Slow { topic: "t", conflated: 1, queued_bytes: 2, queue_age_ms: 3, closing };
    assert_eq!(reply(None, &slow(true))[0]["status"], "slow_consumer");
    assert_eq!(reply(None, &slow(false)), Value::Null, "only a client about to be closed is told");
}

#[test]
fn no_close_makes_the_python_client_give_up() {
    assert_eq!(Massive.close_code(close::SLOW).code, 1008);
    assert_eq!(Massive.close_code(close::GOING_AWAY).code, 1012);
    for code in close::TABLE.into_iter().filter(|code| code.code != 1000) {
        assert!(![1000, 1001].contains(&Massive.close_code(code).code), "{}", code.name);
    }
    let others = TABLE.iter().filter(|dialect| dialect.path() != "/stocks");
    assert!(others.into_iter().all(|dialect| dialect.close_code(close::SLOW) == close::SLOW));
}

fn minute(trades: u64) -> Bar {
    Bar {
        volume: Volume(411_000_000_000),
        notional: Notional(411_000_000_000 * 448_800_000),
        start: UnixNanos(1_610_144_640_000 * MS),
        open: Price(448_800_000),
        high: Price(448_800_000),
        low: Price(448_600_000),
        close: Price(448_600_000),
        trades,
    }
}

#[test]
fn a_minute_is_that_of_the_documentation() {
    let mut day = Day::default();
    (day.volume, day.open) = (Volume(947_015_700_000_000), Price(437_200_000));
    day.notional = Notional(947_015_700_000_000 * 449_200_000);
    let event = Event::bar(Topic::bars(SymbolId(0), 1), BarState::Closed, 1, &minute(6));
    assert_eq!(
        json_of(&event, Some(&day)),
        json!([{"ev":"AM","sym":"GTE","v":4110,"dv":"4110","av":9470157,"dav":"9470157","op":0.4372,
            "vw":0.4488,"o":0.4488,"c":0.4486,"h":0.4488,"l":0.4486,"a":0.4492,"z":685,
            "s":1610144640000i64,"e":1610144700000i64}])
    );
    let alone = json_of(&event, None);
    assert!(["av", "dav", "op", "a"].iter().all(|name| alone[0].get(name).is_none()), "{alone}");
    let unknown = json_of(&event, Some(&Day::default()));
    assert_eq!(alone, unknown, "a day that is not known is left out");
}

#[test]
fn seconds_and_minutes_are_told_when_closed_and_when_revised_and_nothing_else_is() {
    let topic = |level| Topic::bars(SymbolId(0), level);
    let bar = |level, state| Event::bar(topic(level), state, 1, &minute(6));
    assert_eq!(json_of(&bar(0, BarState::Closed), None)[0]["ev"], "A");
    assert_eq!(json_of(&bar(0, BarState::Closed), None)[0]["e"], 1_610_144_641_000i64);
    let revised = bar(1, BarState::Revised).revision(1, Reason::Late, Default::default());
    assert_eq!(json_of(&revised, None)[0]["ev"], "AM");
    assert_eq!(written(&bar(1, BarState::Forming), None, false), "");
    assert_eq!(written(&bar(2, BarState::Closed), None, false), "");
    assert_eq!(written(&bar(1, BarState::Closed), None, true), "", "a subscription begins with what comes");
}

#[test]
fn a_trade_is_that_of_the_documentation() {
    let tick = Tick::trade(
        SymbolId(0),
        UnixNanos(1_536_036_818_784 * MS + 999_999),
        UnixNanos(0),
        Price(114_125_000_000),
        Size(10_000_000_000),
    );
    let topic = Topic::trades(SymbolId(0));
    let mut full =
        tick.with_id(TradeId::from_text(b"12345")).with_venue(Venue(4)).with_tape(3).with_sequence(3_681_328);
    full.conditions = [12, 0, 41, 0];
    full.trf = 201;
    assert_eq!(
        json_of(&Event::trade(topic, 1, &full), None),
        json!([{"ev":"T","sym":"GTE","x":4,"i":"12345","z":3,"p":114.125,"s":100,"ds":"100","c":[12,41],
            "t":1536036818784i64,"q":3681328,"trfi":201}])
    );
    let mut fraction = tick.with_venue_letter(b'X');
    fraction.size = Size(150_000_000);
    assert_eq!(
        json_of(&Event::trade(topic, 2, &fraction), None),
        json!([{"ev":"T","sym":"GTE","p":114.125,"s":1,"ds":"1.5","c":[],"t":1536036818784i64}])
    );
    let cancel = Tick::cancel(SymbolId(0), UnixNanos(0), UnixNanos(0), TradeId::from_u64(8));
    assert_eq!(written(&Event::trade(topic, 3, &cancel), None, false), "");
}

#[test]
fn a_quote_is_that_of_the_documentation() {
    let mut quote = Quote::default();
    (quote.bid, quote.bid_size, quote.bid_venue) = (Price(114_125_000_000), Size(10_000_000_000), Venue(4));
    (quote.ask, quote.ask_size, quote.ask_venue) = (Price(114_128_000_000), Size(16_000_000_000), Venue(7));
    quote.tape = 3;
    quote.conditions = [1, 0, 0, 0];
    let topic = Topic::quotes(SymbolId(0));
    let event = Event::quote(topic, 0, &quote).at(UnixNanos(1_536_036_818_784 * MS), UnixNanos(0));
    assert_eq!(
        json_of(&event, None),
        json!([{"ev":"Q","sym":"GTE","bx":4,"bp":114.125,"bs":100,"ax":7,"ap":114.128,"as":160,"c":1,
            "t":1536036818784i64,"z":3}])
    );
    (quote.ask, quote.bid_size) = (Price(0), Size(u64::MAX));
    let event = Event::quote(topic, 0, &quote).at(UnixNanos(0), UnixNanos(0));
    assert_eq!(
        json_of(&event, None),
        json!([{"ev":"Q","sym":"GTE","bx":4,"bp":114.125,"bs":i32::MAX,"c":1,"t":0,"z":3}])
    );
}
