//! Requests about ten thousand symbols.

use serde_json::Value;
use tickwire::model::{Ask, Event, Topic};

use crate::harness::*;

const SYMBOLS: usize = 10_000;
/// What the gateway takes on in one turn.
const STEP: usize = 512;

fn world() -> World {
    World::with_symbols(1, options(), 1 << 16, 1 << 16)
}

fn request(action: &str) -> String {
    // The longest names there are.
    let names: Vec<String> = (0..SYMBOLS).map(|n| format!("{n:0>32}")).collect();
    format!(r#"{{"id":7,"action":"{action}","channel":"trades","symbols":["{}"]}}"#, names.join("\",\""))
}

/// Lets the gateway turn until it has carried out a long request; a trade comes before each turn and must leave in it. Gives
/// what the shard was asked in each.
fn turns(world: &mut World, other: &mut (Client, Topic), sequence: &mut u64) -> Vec<Vec<(Topic, Ask)>> {
    let mut asked = Vec::new();
    for _ in 0..1_000 {
        *sequence += 1;
        assert!(world.events[0].push(trade(other.1, *sequence)).is_ok());
        world.core.turn();
        assert_eq!(words(&other.0.all()), [format!("trade@{sequence}")]);
        let mut some = Vec::new();
        world.interests[0].drain(usize::MAX, |interest| some.push((interest.topic, interest.ask)));
        if some.is_empty() && asked.iter().any(|some: &Vec<_>| !some.is_empty()) {
            return asked;
        }
        asked.push(some);
    }
    panic!("never done");
}

#[test]
fn ten_thousand_symbols_in_one_request_delay_nobody() {
    let mut world = world();
    let mut other = world.follower("OTHER");
    let mut sequence = 0;
    let mut client = world.client();
    client.send(&request("subscribe"));
    client.send(r#"{"action":"ping"}"#);
    let asked = turns(&mut world, &mut other, &mut sequence);
    assert!(asked.iter().all(|some| some.len() <= STEP), "bounded steps");
    assert!(client.all().is_empty(), "not even the pong: requests are answered in order");
    let all: Vec<(Topic, Ask)> = asked.into_iter().flatten().collect();
    assert_eq!(all.len(), SYMBOLS);
    for some in all.chunks(1_000) {
        let answers = some.iter().flat_map(|&(topic, ask)| {
            let Ask::Join { request, .. } = ask else { panic!("{ask:?}") };
            [Event::answer_begin(topic, request, false), Event::answer_end(topic, request, 5)]
        });
        world.emit(0, &answers.collect::<Vec<_>>());
    }
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "pong"]);
    assert_eq!(seen[0]["sequences"].as_object().map(|map| map.len()), Some(SYMBOLS));
    world.emit(0, &[trade(all[9_999].0, 6)]);
    assert_eq!(words(&client.all()), ["trade@6"]);

    client.send(&request("unsubscribe"));
    let asked = turns(&mut world, &mut other, &mut sequence);
    assert!(asked.iter().all(|some| some.len() <= STEP), "bounded steps");
    assert_eq!(asked.iter().flatten().filter(|(_, ask)| *ask == Ask::Off).count(), SYMBOLS);
    assert_eq!(words(&client.all()), ["unsubscribed"]);
    assert_eq!(world.ask(&mut client, r#"{"action":"list"}"#)[0]["subscriptions"], Value::Array(Vec::new()));
}

#[test]
fn a_client_that_goes_during_its_request_leaves_nothing() {
    let mut world = world();
    let mut client = world.client();
    client.send(&request("subscribe"));
    for _ in 0..30 {
        world.core.turn();
    }
    drop(client);
    world.settle();
    for name in ["frames_held", "connections", "subscriptions", "interests_waiting"] {
        assert_eq!(world.counter(name), 0, "{name}");
    }
    let asked = world.asked(0);
    let offs = asked.iter().filter(|interest| interest.ask == Ask::Off).count();
    assert_eq!((offs * 2, offs > 0), (asked.len(), true), "each join is taken back");
}

#[test]
fn leaving_before_the_answers_calls_off_every_join() {
    let mut world = world();
    let mut client = world.client();
    client.send(&request("subscribe"));
    client.send(r#"{"action":"unsubscribe_all"}"#);
    world.settle();
    assert_eq!(words(&client.all()), ["subscribed", "unsubscribed"]);
    assert_eq!(world.asked(0).len(), 2 * SYMBOLS);
}

#[test]
fn a_name_that_is_refused_in_the_middle_refuses_the_request() {
    let mut world = World::with_symbols(1, options(), 1 << 16, 5_000);
    let mut client = world.client();
    let seen = world.ask(&mut client, &request("subscribe"));
    assert_eq!((seen.len(), &seen[0]["code"], &seen[0]["id"]), (1, &"symbols_max".into(), &7.into()));
    assert_eq!(world.ask(&mut client, r#"{"action":"list"}"#)[0]["subscriptions"], Value::Array(Vec::new()));
    assert!(world.asked(0).is_empty());
}
