//! Other protocols over the same topics: what each of their clients is sent, and what it is spared.

use serde_json::{Value, json};
use tickwire::gateway::GatewayOptions;
use tickwire::model::{Ask, Channel, Day, Event, Interest, Nanos, Price, SymbolId, Topic, Volume};

use crate::harness::*;

/// A client of another path, and its first message if there is one.
fn open(world: &mut World, path: &str) -> (Client, Option<Value>) {
    let mut client = world.client_at(path, b"");
    let first = client.all().pop();
    (client, first)
}

fn stocks(world: &mut World) -> Client {
    let (client, first) = open(world, "/stocks");
    assert_eq!(first, Some(json!([{"ev":"status","status":"connected","message":"Connected Successfully"}])));
    client
}

/// `T`, `AM`, or a status with its message.
fn events(messages: &[Value]) -> Vec<String> {
    let word = |message: &Value| {
        let Some([event]) = message.as_array().map(Vec::as_slice) else { return message.to_string() };
        match (event["ev"].as_str(), event["message"].as_str()) {
            (Some("status"), Some(message)) => format!("{}: {message}", event["status"].as_str().unwrap()),
            (Some(ev), _) => ev.to_owned(),
            _ => message.to_string(),
        }
    };
    messages.iter().map(word).collect()
}

/// Answers every join that a shard was sent with nothing but its end, and gives their topics.
fn answer_all(world: &mut World, shard: usize) -> Vec<Topic> {
    let mut topics = Vec::new();
    for Interest { topic, ask, .. } in world.asked(shard) {
        if let Ask::Join { request, .. } = ask {
            topics.push(topic);
            if topic.symbol == SymbolId::ANY {
                world.emit(shard, &[Event::answer_done(topic, request)]);
            } else {
                world.answer(shard, topic, request, 0, &[]);
            }
        }
    }
    topics
}

#[test]
fn a_path_that_is_not_served_says_which_are() {
    let mut world = World::new(1, options());
    let mut end = world.raw();
    std::io::Write::write_all(&mut end, upgrade("/nowhere").as_bytes()).unwrap();
    world.settle();
    let answer = String::from_utf8(drain(&mut end).0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    for path in ["/v1/stream", "/ws", "/api/ws", "/stocks"] {
        assert!(answer.contains(path), "{answer}");
    }
}

#[test]
fn parameters_are_answered_one_by_one_in_order_though_nobody_waits() {
    let mut world = World::new(1, options());
    let mut client = stocks(&mut world);
    // As the Go client does: without waiting for the answer to auth.
    client.send(r#"{"action":"auth","params":"key"}"#);
    client.send(r#"{"action":"subscribe","params":"T.AAPL,LULD.AAPL,AM.*,Q.AAPL"}"#);
    world.settle();
    assert_eq!(events(&client.all()), ["auth_success: authenticated"], "the shard has not answered yet");
    let aapl = world.symbol("AAPL");
    let topics = answer_all(&mut world, 0);
    client.send(r#"{"action":"unsubscribe","params":"T.AAPL"}"#);
    world.settle();
    let any = Topic::bars(SymbolId::ANY, 1);
    assert_eq!(topics, [Topic::trades(aapl), any, Topic::quotes(aapl)]);
    let seen = events(&client.all());
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(seen[0], "subscribed to: T.AAPL".replace("subscribed", "success: subscribed"));
    assert!(seen[1].starts_with("error: channel \"LULD\""), "{seen:?}");
    assert_eq!(seen[2], "success: subscribed to: AM.*");
    assert_eq!(seen[3], "success: subscribed to: Q.AAPL");
    assert_eq!(seen[4], "success: unsubscribed to: T.AAPL");
    let wild = Topic::bars(aapl, 1);
    world.emit(0, &[trade(topics[0], 1), closed(wild, 1), quote(topics[2], 7)]);
    assert_eq!(events(&client.all()), ["AM", "Q"], "the trades have been left");
}

#[test]
fn what_a_dialect_has_no_word_for_is_neither_sent_nor_counted() {
    let mut world = World::new(1, options());
    let mut native = world.client();
    native.send(r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]}"#);
    let mut client = stocks(&mut world);
    client.send(r#"{"action":"subscribe","params":"AM.AAPL"}"#);
    let topic = Topic::bars(world.symbol("AAPL"), 1);
    let requests: Vec<u32> = world
        .asked(0)
        .iter()
        .filter_map(|interest| match interest.ask {
            Ask::Join { request, .. } => Some(request),
            _ => None,
        })
        .collect();
    for request in requests {
        world.answer(0, topic, request, 5, &[closed(topic, 5), forming(topic, 5)]);
    }
    assert_eq!(words(&native.all()), ["subscribed", "snapshot@5", "snapshot~5"]);
    assert_eq!(events(&client.all()), ["success: subscribed to: AM.AAPL"]);
    let before = (world.counter("facts_out"), world.counter("states_out"));
    world.emit(0, &[closed(topic, 6), forming(topic, 6)]);
    assert_eq!(words(&native.all()), ["bar@6", "bar~6"]);
    assert_eq!(events(&client.all()), ["AM"]);
    let after = (world.counter("facts_out"), world.counter("states_out"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1));
}

#[test]
fn a_bar_tells_of_the_day_only_if_the_shard_has_just_told_of_it() {
    let mut world = World::new(1, options());
    let mut client = stocks(&mut world);
    client.send(r#"{"action":"subscribe","params":"AM.AAPL,T.AAPL"}"#);
    let asked = world.asked(0);
    let topic = Topic::bars(world.symbol("AAPL"), 1);
    assert_eq!(asked[0], Interest { topic, ask: Ask::Days, states: false });
    assert!(asked[1..].iter().all(|interest| interest.ask != Ask::Days), "trades tell of no day");
    for Interest { topic, ask, .. } in asked {
        if let Ask::Join { request, .. } = ask {
            world.answer(0, topic, request, 0, &[]);
        }
    }
    client.all();
    let mut day = Day::default();
    (day.volume, day.open) = (Volume(700_000_000), Price(3_000_000_000));
    world.emit(0, &[Event::day(topic, 1, &day), closed(topic, 1), closed(topic, 2)]);
    let seen = client.all();
    assert_eq!((&seen[0][0]["av"], &seen[0][0]["op"]), (&json!(7), &json!(3)));
    assert_eq!((&seen[1][0]["av"], &seen[1][0]["op"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_slow_consumer_is_told_so_in_its_own_words() {
    let mut world = World::new(1, GatewayOptions { outbox_facts_bytes_max: 1_000, ..options() });
    let mut client = stocks(&mut world);
    client.send(r#"{"action":"subscribe","params":"T.AAPL"}"#);
    let topic = answer_all(&mut world, 0)[0];
    client.all();
    let facts: Vec<Event> = (1..=100).map(|n| trade(topic, n)).collect();
    world.emit(0, &facts);
    let seen = events(&client.all());
    assert!(seen[0].starts_with("slow_consumer: "), "{seen:?}");
    let close: Value = serde_json::from_str(&seen[1]).unwrap();
    assert_eq!(close["close"], 1008);
}

#[test]
fn an_ending_engine_tells_its_clients_in_each_dialect() {
    let mut world = World::new(1, options());
    let mut native = world.client();
    let mut client = stocks(&mut world);
    let now = world.clock.now();
    world.core.begin_stop(now);
    world.pass(Nanos::from_millis(700));
    assert_eq!(words(&native.all()), ["close 1001"]);
    assert_eq!(client.all()[0]["close"], 1012);
}

#[test]
fn candles_flow_though_the_indicators_do_not() {
    let mut world = World::new(1, options());
    let (mut client, first) = open(&mut world, "/ws");
    assert_eq!(first, None, "the protocol has no greeting");
    client.send(
        r#"{"type":"subscription","data":{"action":"subscribe","symbols":["NIFTY"],"timeframes":["1m"],"indicators":["rsi"]}}"#,
    );
    let (topic, request, _, states) = world.join(0);
    assert!(states);
    world.answer(0, topic, request, 5, &[closed(topic, 5), forming(topic, 5)]);
    world.emit(0, &[closed(topic, 6), revised(topic, 7), forming(topic, 7)]);
    let seen = client.all();
    let kinds: Vec<_> =
        seen.iter().map(|m| (m["type"].as_str().unwrap(), m["data"]["is_complete"].as_bool())).collect();
    let candle = |complete| ("candle", Some(complete));
    assert_eq!(
        kinds,
        [candle(true), candle(false), ("error", None), candle(true), candle(true), candle(false)]
    );
    let bytes = world.ask(&mut client, r#"{"type":"stats"}"#);
    assert_eq!(bytes[0]["data"]["connections"], 1);
}

#[test]
fn the_current_candle_is_answered_once_and_null_where_there_is_none() {
    let mut world = World::new(1, options());
    let (mut client, _) = open(&mut world, "/ws");
    let query = r#"{"type":"current_candle","data":{"symbol":"NIFTY","timeframe":"1m"}}"#;
    let unknown = world.ask(&mut client, query);
    assert_eq!(unknown[0]["type"], "error");
    let topic = Topic::bars(world.symbol("NIFTY"), 1);
    for (items, data) in [
        (vec![], Value::Null),
        (vec![closed(topic, 5)], Value::Null),
        (vec![closed(topic, 5), forming(topic, 5)], json!("NIFTY")),
    ] {
        client.send(query);
        let asked = world.asked(0);
        let [Interest { ask: Ask::Snapshot { request }, .. }] = asked[..] else { panic!("{asked:?}") };
        world.answer(0, topic, request, 5, &items);
        let seen = client.all();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0]["type"], "current_candle");
        assert_eq!(seen[0]["data"].get("symbol").unwrap_or(&Value::Null), &data);
    }
}

#[test]
fn a_ticker_comes_with_its_history_before_its_prices() {
    let mut world = World::new(1, options());
    let (mut client, first) = open(&mut world, "/api/ws");
    assert_eq!(first.unwrap()["connection_id"], "gateway-0-1");
    client.send(r#"{"type":"subscribe","channel":"ticker","ticker":"AAPL"}"#);
    client.send(r#"{"type":"ping"}"#);
    let asked = world.asked(0);
    let [
        Interest { topic, ask: Ask::Trades { request: history, last: 100 }, .. },
        Interest { ask: Ask::Join { request, .. }, states: true, .. },
    ] = asked[..]
    else {
        panic!("{asked:?}")
    };
    assert_eq!((topic.channel(), topic.level()), (Channel::Bars, 1), "the coarsest there is");
    let trades = Topic::trades(topic.symbol);
    let items: Vec<Event> = (1..=3).map(|n| trade(trades, n)).collect();
    world.answer(0, topic, history, 3, &items);
    assert!(client.all().is_empty(), "nothing is said before all is known");
    world.answer(0, topic, request, 0, &[forming(topic, 0)]);
    let seen = client.all();
    let kinds: Vec<_> = seen.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["subscription", "history", "price_update", "pong"]);
    assert_eq!(seen[1]["messages"].as_array().unwrap().len(), 3);
    let seen = world.ask(&mut client, r#"{"type":"unsubscribe","channel":"ticker","ticker":"AAPL"}"#);
    assert_eq!(seen[0]["action"], "unsubscribed");
    assert_eq!(world.asked(0), [Interest { topic, ask: Ask::Off, states: false }]);
}

#[test]
fn a_history_that_is_interrupted_is_asked_for_again_and_a_client_that_leaves_leaves_nothing() {
    let mut world = World::new(1, options());
    let (mut client, _) = open(&mut world, "/api/ws");
    client.send(r#"{"type":"subscribe","channel":"ticker","ticker":"AAPL"}"#);
    let asked = world.asked(0);
    let [Interest { topic, ask: Ask::Trades { request, .. }, .. }, _] = asked[..] else {
        panic!("{asked:?}")
    };
    let item = trade(Topic::trades(topic.symbol), 1).answering(request);
    world.emit(0, &[Event::answer_begin(topic, request, true), item, Event::resync()]);
    let again = world.asked(0);
    let [
        Interest { ask: Ask::Trades { request: history, .. }, .. },
        Interest { ask: Ask::Join { request: join, .. }, .. },
    ] = again[..]
    else {
        panic!("{again:?}")
    };
    world.answer(0, topic, history, 1, &[trade(Topic::trades(topic.symbol), 1)]);
    world.answer(0, topic, join, 0, &[]);
    let seen = client.all();
    assert_eq!(seen[1]["messages"].as_array().unwrap().len(), 1, "{seen:?}");
    client.send(r#"{"type":"subscribe","channel":"ticker","ticker":"MSFT"}"#);
    world.settle();
    drop(client);
    world.settle();
    assert_eq!(world.counter("connections"), 0);
    assert_eq!(world.counter("frames_held"), 0);
    assert_eq!(world.counter("subscriptions"), 0);
}

#[test]
fn channels_without_data_are_accepted_and_a_wildcard_has_no_history() {
    let mut world = World::new(1, options());
    let (mut client, _) = open(&mut world, "/api/ws");
    for channel in ["patterns", "alerts"] {
        let seen = world.ask(&mut client, &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#));
        assert_eq!(seen.len(), 1);
        assert_eq!((&seen[0]["action"], &seen[0]["channel"]), (&json!("subscribed"), &json!(channel)));
    }
    let seen = world.ask(&mut client, r#"{"type":"subscribe","channel":"ticker","ticker":"*"}"#);
    assert_eq!(seen[0]["ticker"], "*");
    let asked = world.asked(0);
    assert!(matches!(asked[..], [Interest { ask: Ask::Join { .. }, .. }]), "{asked:?}");
}

#[test]
fn a_connection_is_told_of_ten_prices_a_second_at_most_each_the_newest_and_all_in_turn() {
    let mut world = World::new(1, options());
    let (mut client, _) = open(&mut world, "/api/ws");
    let names = ["A", "B", "C"];
    for name in names {
        client.send(&format!(r#"{{"type":"subscribe","channel":"ticker","ticker":"{name}"}}"#));
    }
    for Interest { topic, ask, .. } in world.asked(0) {
        if let Ask::Join { request, .. } | Ask::Trades { request, .. } = ask {
            world.answer(0, topic, request, 0, &[]);
        }
    }
    assert_eq!(client.all().len(), 6, "a confirmation and a history for each");
    let topics = names.map(|name| Topic::bars(world.symbol(name), 1));
    let mut told = std::collections::BTreeMap::new();
    let mut seen = 0;
    for round in 1..=100 {
        let states = topics.map(|topic| forming(topic, round));
        world.emit(0, &states);
        world.pass(Nanos::from_millis(20));
        for message in client.all() {
            assert_eq!(message["type"], "price_update");
            let newest = serde_json::to_value(100.0 + (round as f64 + 1.0) * 1e-9).unwrap();
            assert_eq!(message["price"], newest);
            *told.entry(message["ticker"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            seen += 1;
        }
    }
    assert!((18..=21).contains(&seen), "{seen} in two seconds");
    assert!(told.len() == 3 && told.values().all(|&n| n >= 6), "{told:?}");
}

#[test]
fn a_message_of_thousands_of_requests_is_answered_in_order_though_it_takes_many_turns() {
    let names: Vec<String> = (0..3_000).map(|n| format!("S{n}")).collect();
    let mut world = World::with_symbols(1, options(), 8_192, 4_096);
    let mut client = stocks(&mut world);
    let params: Vec<String> = names.iter().map(|name| format!("T.{name}")).collect();
    client.send(&format!(r#"{{"action":"subscribe","params":"{}"}}"#, params.join(",")));
    client.send(r#"{"action":"unsubscribe","params":"T.S2999"}"#);
    let topics = answer_all(&mut world, 0);
    assert_eq!(topics.len(), names.len());
    let seen = events(&client.all());
    let mut wanted: Vec<String> =
        params.iter().map(|param| format!("success: subscribed to: {param}")).collect();
    wanted.push("success: unsubscribed to: T.S2999".to_owned());
    assert_eq!(seen, wanted);
}
