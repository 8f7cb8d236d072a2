//! Readers that fall behind.

use serde_json::json;
use tickwire::gateway::GatewayOptions;
use tickwire::model::{Event, Nanos, Topic};

use crate::harness::*;

/// A client of AAPL's bars whose inbound pipe takes only so many bytes.
fn stalled(world: &mut World, capacity: usize) -> (Client, Topic) {
    let mut client = world.client();
    client.send(r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]}"#);
    let (topic, request, ..) = world.join(0);
    world.answer(0, topic, request, 0, &[]);
    client.all();
    client.socket.get_ref().set_receive_capacity(capacity);
    (client, topic)
}

#[test]
fn a_slow_reader_skips_states_and_reads_the_freshest() {
    let mut world = World::new(1, options());
    let (mut slow, topic) = stalled(&mut world, 1);
    let (mut fast, _) = stalled(&mut world, ROOM);
    for _ in 0..50 {
        world.emit(0, &[forming(topic, 0)]);
    }
    assert_eq!(fast.all().len(), 50, "nobody waits for the slow one");
    let mut newest = forming(topic, 0);
    newest.rev = 99;
    world.emit(0, &[newest]);
    slow.socket.get_ref().set_receive_capacity(ROOM);
    let seen = drained(&mut world, &mut slow);
    let bars: Vec<_> = seen.iter().filter(|message| message["type"] == "bar").collect();
    // The first was begun before the socket was full.
    assert_eq!(bars.len(), 2);
    assert_eq!((&bars[0]["data"]["rev"], &bars[1]["data"]["rev"]), (&json!(0), &json!(99)));
}

/// Reads for as long as more may come.
fn drained(world: &mut World, client: &mut Client) -> Vec<serde_json::Value> {
    let mut seen = Vec::new();
    for _ in 0..100 {
        world.settle();
        seen.extend(client.all());
    }
    seen
}

/// The sequences of the trades among messages, those within arrays included.
fn sequences(messages: &[serde_json::Value]) -> Vec<u64> {
    let items = messages.iter().flat_map(|message| match message.as_array() {
        Some(items) => items.clone(),
        None => vec![message.clone()],
    });
    items.filter(|item| item["type"] == "trade").filter_map(|item| item["sequence"].as_u64()).collect()
}

#[test]
fn facts_in_a_row_reach_each_of_many_members_once_and_in_order_whoever_joins_or_waits_meanwhile() {
    const FACTS: u64 = 150;
    let mut world = World::new(1, options());
    let (mut first, topic) = world.follower("AAPL");
    let mut readers: Vec<_> = [1, 7, 300, 9_000, ROOM]
        .map(|capacity| {
            let (client, _) = world.follower("AAPL");
            client.socket.get_ref().set_receive_capacity(capacity);
            client
        })
        .into();
    let mut gathered = world.client();
    gathered.send(
        r#"{"action":"subscribe","channel":"trades","symbols":["AAPL"],"batch_ms":50,"format":"json"}"#,
    );
    let (_, request, ..) = world.join(0);
    world.answer(0, topic, request, 0, &[]);
    let mut joiner = world.client();
    joiner.send(r#"{"action":"subscribe","channel":"trades","symbols":["AAPL"]}"#);
    let (_, request, ..) = world.join(0);
    let mut events: Vec<_> = (1..=FACTS).map(|n| trade(topic, n)).collect();
    events
        .splice(75..75, [Event::answer_begin(topic, request, false), Event::answer_end(topic, request, 75)]);
    world.emit(0, &events);
    world.pass(Nanos::from_millis(60));
    let whole: Vec<_> = (1..=FACTS).collect();
    assert_eq!(sequences(&first.all()), whole);
    assert_eq!(sequences(&gathered.all()), whole);
    assert_eq!(sequences(&joiner.all()), (76..=FACTS).collect::<Vec<_>>());
    for reader in &mut readers {
        let mut seen = Vec::new();
        for _ in 0..100_000 {
            seen.extend(sequences(&reader.all()));
            world.settle();
            if seen.len() as u64 >= FACTS {
                break;
            }
        }
        assert_eq!(seen, whole);
    }
    assert_eq!(world.counter("facts_out"), 7 * FACTS + FACTS - 75);
    assert!(world.counter("bytes_referred") > 5 * 8 * 1024, "the readers' runs are long and the same");
}

#[test]
fn every_fact_reaches_a_reader_of_a_few_bytes_at_a_time() {
    let mut world = World::new(1, options());
    let (mut client, topic) = stalled(&mut world, 7);
    let mut seen = Vec::new();
    for n in 1..=20 {
        world.emit(0, &[closed(topic, n), forming(topic, n)]);
        for _ in 0..40 {
            seen.extend(client.all());
            world.settle();
        }
    }
    for _ in 0..4_000 {
        seen.extend(client.all());
        world.settle();
    }
    let facts: Vec<u64> = seen
        .iter()
        .filter(|message| message["data"]["state"] == "closed")
        .filter_map(|message| message["sequence"].as_u64())
        .collect();
    assert_eq!(facts, (1..=20).collect::<Vec<_>>());
    let mut last_closed = 0;
    for message in &seen {
        let start = message["data"]["start"].as_u64().unwrap();
        assert!(start > last_closed, "a bar formed after it had closed");
        if message["data"]["state"] == "closed" {
            last_closed = start;
        }
    }
}

#[test]
fn facts_past_the_bytes_bound_close_with_a_notice() {
    let mut world = World::new(1, GatewayOptions { outbox_facts_bytes_max: 4_000, ..options() });
    let (mut client, topic) = stalled(&mut world, 1);
    for n in 1..=12 {
        world.emit(0, &[closed(topic, n)]);
    }
    client.socket.get_ref().set_receive_capacity(ROOM);
    let seen = drained(&mut world, &mut client);
    // The frame that was begun is finished first.
    assert_eq!(words(&seen), ["bar@1", "slow", "close 4008"]);
    assert_eq!(seen[1]["topic"], json!("bars/AAPL/1m"));
    assert!(seen[1]["queued_bytes"].as_u64().unwrap() > 4_000);
    assert_eq!(world.counter("slow_closed"), 1);
}

#[test]
fn facts_past_the_age_bound_close_and_then_reset() {
    let mut world = World::new(1, options());
    let (mut client, topic) = stalled(&mut world, 0);
    world.emit(0, &[closed(topic, 1)]);
    world.pass(Nanos::from_millis(10_200));
    assert_eq!(world.counter("slow_closed"), 1);
    world.pass(Nanos::from_millis(1_200));
    assert_eq!(world.counter("connections"), 0);
    assert!(client.message().is_none());
    assert_eq!(world.counter("frames_held"), 0);
}

#[test]
fn a_client_behind_is_told_once_a_second_at_most() {
    let mut world = World::new(1, options());
    let (mut client, topic) = stalled(&mut world, 1);
    for _ in 0..35 {
        world.emit(0, &[forming(topic, 0), forming(topic, 0)]);
        world.clock.advance(Nanos::from_millis(100));
        world.settle();
    }
    client.socket.get_ref().set_receive_capacity(ROOM);
    let seen = drained(&mut world, &mut client);
    let notices: Vec<_> = seen.iter().filter(|message| message["type"] == "slow").collect();
    assert_eq!(notices.len(), 1, "a newer notice replaces one not yet sent: {seen:?}");
    assert_eq!(notices[0]["topic"], "bars/AAPL/1m");
    assert!(notices[0]["conflated"].as_u64().unwrap() >= 10);
}

#[test]
fn a_client_that_does_not_read_its_answers_gets_no_more() {
    let mut world = World::new(1, GatewayOptions { outbox_answers_bytes_max: 16 * 1024, ..options() });
    let (mut client, _) = stalled(&mut world, 1);
    for _ in 0..90 {
        client.send(r#"{"action":"stats"}"#);
    }
    world.settle();
    client.socket.get_ref().set_receive_capacity(4_096);
    let mut seen = 0;
    for _ in 0..200 {
        seen += client.all().len();
        world.settle();
    }
    assert_eq!(seen, 90, "paused, not lost");
}
