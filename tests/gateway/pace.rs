//! Messages that wait for their interval.

use serde_json::{Value, json};
use tickwire::gateway::GatewayOptions;
use tickwire::model::{BarFlags, Event, Nanos, Reason, Topic};

use crate::harness::*;

const MS: fn(i64) -> Nanos = Nanos::from_millis;

/// A client of AAPL's bars on these terms, joined at a sequence.
fn paced(world: &mut World, terms: &str, sequence: u64) -> (Client, Topic) {
    let mut client = world.client();
    let topic = subscribe(world, &mut client, terms, sequence);
    assert_eq!(words(&client.all()), ["subscribed"]);
    (client, topic)
}

fn subscribe(world: &mut World, client: &mut Client, terms: &str, sequence: u64) -> Topic {
    client.send(&format!(
        r#"{{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]{terms}}}"#
    ));
    let (topic, request, ..) = world.join(0);
    world.answer(0, topic, request, sequence, &[]);
    topic
}

/// Told apart by its revision.
fn numbered(event: Event, rev: u32) -> Event {
    event.revision(rev, Reason::None, BarFlags::default())
}

/// Arrays as the words of their messages.
fn batches(messages: &[Value]) -> Vec<Vec<String>> {
    let items = |message: &Value| match message {
        Value::Array(items) => words(items),
        other => vec![format!("bare {}", words(std::slice::from_ref(other))[0])],
    };
    messages.iter().map(items).collect()
}

#[test]
fn a_throttled_state_goes_at_once_and_then_once_an_interval_and_is_the_newest() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","throttle_ms":100"#, 0);
    let state = |rev| numbered(forming(topic, 0), rev);
    world.emit(0, &[state(1)]);
    assert_eq!(client.all()[0]["data"]["rev"], 1);
    for rev in 2..=9 {
        world.emit(0, &[state(rev)]);
        world.clock.advance(MS(10));
        world.settle();
    }
    assert!(client.all().is_empty());
    world.clock.advance(MS(20));
    world.settle();
    let seen = client.all();
    assert_eq!((seen.len(), &seen[0]["data"]["rev"]), (1, &json!(9)));
    world.pass(MS(1_000));
    assert!(client.all().is_empty(), "nothing new, nothing sent");
    world.emit(0, &[state(10)]);
    assert_eq!(client.all()[0]["data"]["rev"], 10);
}

#[test]
fn the_gateway_asks_to_be_woken_when_an_interval_ends() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","throttle_ms":37"#, 0);
    world.emit(0, &[forming(topic, 0)]);
    world.emit(0, &[forming(topic, 0)]);
    client.all();
    assert_eq!(world.core.deadline(), Some(T0 + MS(37)));
}

#[test]
fn throttled_facts_are_gathered_and_hold_back_their_state() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","throttle_ms":100"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    assert_eq!(batches(&client.all()), [["bare bar@1"]]);
    world.emit(0, &[closed(topic, 2), forming(topic, 2)]);
    world.emit(0, &[closed(topic, 3), forming(topic, 3)]);
    assert!(client.all().is_empty());
    world.clock.advance(MS(100));
    world.settle();
    let want: [&[&str]; 2] = [&["bar@2", "bar@3"], &["bare bar~3"]];
    assert_eq!(batches(&client.all()), want);
}

#[test]
fn a_batch_is_one_message_of_facts_in_order_and_the_newest_of_each_state() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":50"#, 0);
    world.emit(0, &[forming(topic, 0)]);
    assert_eq!(batches(&client.all()), [["bar~0"]], "an array though it is alone");
    let state = |rev| numbered(forming(topic, 2), rev);
    world.emit(0, &[forming(topic, 0), closed(topic, 1), closed(topic, 2), state(7), state(8)]);
    world.clock.advance(MS(49));
    world.settle();
    assert!(client.all().is_empty());
    world.clock.advance(MS(1));
    world.settle();
    let seen = client.all();
    assert_eq!(batches(&seen), [["bar@1", "bar@2", "bar~2"]]);
    assert_eq!(seen[0][2]["data"]["rev"], 8);
    assert_eq!((world.counter("facts_out"), world.counter("states_out")), (2, 2));
    assert_eq!(world.counter("frames_held"), 1, "the topic's own state");
}

#[test]
fn with_both_intervals_facts_keep_the_batch_and_states_the_throttle() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":10,"throttle_ms":100"#, 0);
    for n in 1..=10 {
        world.emit(0, &[closed(topic, n), forming(topic, n)]);
        world.clock.advance(MS(10));
        world.settle();
    }
    let mut want: Vec<Vec<String>> = (1..=10).map(|n| vec![format!("bar@{n}")]).collect();
    want[0].push("bar~1".to_owned());
    want.push(vec!["bar~10".to_owned()]);
    assert_eq!(batches(&client.all()), want);
}

#[test]
fn others_do_not_wait() {
    let mut world = World::new(1, options());
    let (mut paced_one, topic) = paced(&mut world, r#","batch_ms":1000"#, 0);
    let (mut direct, _) = paced(&mut world, "", 0);
    for n in 1..=3 {
        world.emit(0, &[closed(topic, n)]);
        assert_eq!(words(&direct.all()), [format!("bar@{n}")]);
    }
    assert_eq!(batches(&paced_one.all()), [["bar@1"]]);
}

#[test]
fn answers_are_not_delayed_and_come_after_the_facts_before_them() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":1000"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    world.emit(0, &[closed(topic, 2), forming(topic, 2)]);
    client.all();
    subscribe(&mut world, &mut client, r#","batch_ms":500"#, 2);
    let seen = client.all();
    assert_eq!(batches(&seen), [["bar@2"], ["bare subscribed"], ["bar~2"]]);
    assert_eq!(seen[1]["sequences"], json!({"AAPL/1m": 2}));
    world.emit(0, &[closed(topic, 3)]);
    client.send(r#"{"action":"unsubscribe_all"}"#);
    world.settle();
    assert_eq!(batches(&client.all()), [["bar@3"], ["bare unsubscribed"]]);
    world.pass(MS(2_000));
    assert!(client.all().is_empty());
}

#[test]
fn turning_the_interval_off_sends_what_waits_first() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","throttle_ms":60000"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    world.emit(0, &[closed(topic, 2)]);
    subscribe(&mut world, &mut client, "", 2);
    world.emit(0, &[closed(topic, 3), forming(topic, 3)]);
    let want = ["bar@1", "bar@2", "subscribed", "bar@3", "bar~3"].map(|word| [format!("bare {word}")]);
    assert_eq!(batches(&client.all()), want);
}

#[test]
fn waiting_facts_count_against_the_bytes_bound() {
    let mut world = World::new(1, GatewayOptions { outbox_facts_bytes_max: 4_000, ..options() });
    let (mut client, topic) = paced(&mut world, r#","batch_ms":60000"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    for n in 2..=14 {
        world.emit(0, &[closed(topic, n)]);
    }
    let seen = client.all();
    assert_eq!(seen.last().map(|last| &last["close"]), Some(&json!(4008)));
    world.pass(MS(2_000));
    assert_eq!(world.counter("frames_held"), 0);
}

#[test]
fn the_age_bound_begins_when_the_interval_ends() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":30000"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    world.emit(0, &[closed(topic, 2)]);
    world.pass(MS(29_000));
    assert_eq!(batches(&client.all()), [["bar@1"]]);
    client.socket.get_ref().set_receive_capacity(0);
    // A look at a counter takes 1.1 s.
    assert_eq!(world.counter("slow_closed"), 0);
    world.pass(MS(8_500));
    assert_eq!(world.counter("slow_closed"), 0, "9.7 s past the interval's end");
    world.pass(MS(1_000));
    assert_eq!(world.counter("slow_closed"), 1);
}

#[test]
fn a_slow_reader_of_batches_gets_fresh_states_when_it_reads_again() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":10"#, 0);
    client.socket.get_ref().set_receive_capacity(1);
    for rev in 1..=50 {
        world.emit(0, &[numbered(forming(topic, 0), rev)]);
        world.clock.advance(MS(10));
        world.settle();
    }
    client.socket.get_ref().set_receive_capacity(ROOM);
    let mut seen = Vec::new();
    for _ in 0..20 {
        world.settle();
        seen.extend(client.all());
    }
    let revs: Vec<u64> = seen.iter().filter_map(|message| message[0]["data"]["rev"].as_u64()).collect();
    assert_eq!(revs, [1, 50], "{seen:?}");
}

#[test]
fn every_gathered_fact_reaches_a_reader_of_a_few_bytes_at_a_time() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","throttle_ms":20"#, 0);
    client.socket.get_ref().set_receive_capacity(7);
    let mut seen = Vec::new();
    for n in 1..=30 {
        world.emit(0, &[closed(topic, n), forming(topic, n)]);
        world.clock.advance(MS(7));
        for _ in 0..40 {
            seen.extend(client.all());
            world.settle();
        }
    }
    world.clock.advance(MS(20));
    for _ in 0..4_000 {
        seen.extend(client.all());
        world.settle();
    }
    let flat: Vec<Value> = seen
        .into_iter()
        .flat_map(|message| match message {
            Value::Array(items) => items,
            one => vec![one],
        })
        .collect();
    let (mut at, mut last) = (0, String::new());
    for word in words(&flat) {
        if let Some(n) = word.strip_prefix("bar@") {
            assert_eq!(n.parse(), Ok(at + 1));
            at += 1;
        } else if let Some(n) = word.strip_prefix("bar~") {
            assert_eq!(n.parse(), Ok(at), "a state goes with the facts before it");
        }
        last = word;
    }
    assert_eq!((at, last.as_str()), (30, "bar~30"));
}

#[test]
fn a_wildcard_takes_intervals_too_and_a_name_goes_before_it() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    let all = r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1m"],"batch_ms":100}"#;
    client.send(all);
    let (any, request, ..) = world.join(0);
    world.emit(0, &[Event::answer_done(any, request)]);
    let other = Topic::bars(world.symbol("MSFT"), 1);
    let topic = subscribe(&mut world, &mut client, "", 0);
    client.all();
    world.emit(0, &[closed(topic, 1), closed(other, 1)]);
    world.emit(0, &[closed(topic, 2), closed(other, 2)]);
    assert_eq!(batches(&client.all()), [["bare bar@1"], ["bar@1"], ["bare bar@2"]]);
    world.ask(
        &mut client,
        r#"{"action":"unsubscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]}"#,
    );
    world.emit(0, &[closed(topic, 3)]);
    world.clock.advance(MS(100));
    world.settle();
    assert_eq!(batches(&client.all()), [["bar@3"]]);
}

#[test]
fn a_connection_has_so_many_different_intervals_and_unused_ones_make_room() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    for n in 1..=16 {
        let symbol = format!("S{n}");
        let request = format!(
            r#"{{"action":"subscribe","channel":"trades","symbols":["{symbol}"],"throttle_ms":{n}}}"#
        );
        world.ask(&mut client, &request);
    }
    let one_more = r#"{"action":"subscribe","channel":"trades","symbols":["X"],"throttle_ms":17,"id":1}"#;
    world.asked(0);
    client.send(r#"{"action":"unsubscribe","channel":"trades","symbols":["S5"]}"#);
    world.settle();
    client.send(one_more);
    world.settle();
    client.send(&one_more.replace("17", "18"));
    world.settle();
    let asked = world.asked(0);
    assert_eq!(asked.len(), 2, "one off, one more join: {asked:?}");
}

#[test]
fn facts_that_wait_are_sent_before_the_engine_goes() {
    let mut world = World::new(1, options());
    let (mut client, topic) = paced(&mut world, r#","batch_ms":60000"#, 0);
    world.emit(0, &[closed(topic, 1)]);
    world.emit(0, &[closed(topic, 2)]);
    client.all();
    world.core.begin_stop(world.clock.now());
    world.pass(MS(700));
    let want: [&[&str]; 2] = [&["bar@2"], &["bare close 1001"]];
    assert_eq!(batches(&client.all()), want);
}

#[test]
fn list_shows_the_options() {
    let mut world = World::new(1, options());
    let (mut client, _) = paced(&mut world, r#","batch_ms":10,"throttle_ms":100,"forming":false"#, 0);
    let seen = world.ask(&mut client, r#"{"action":"list"}"#);
    assert_eq!(
        seen[0]["subscriptions"],
        json!([{"channel":"bars","symbol":"AAPL","timeframe":"1m","forming":false,"throttle_ms":100,"batch_ms":10}])
    );
}
