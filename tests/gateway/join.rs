//! Joining, leaving and being made whole again.

use serde_json::json;
use tickwire::model::{Ask, Event, Interest, SymbolId, Topic};

use crate::harness::*;

const AAPL: &str =
    r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"],"id":"a1"}"#;

fn joined(world: &mut World, sequence: u64) -> (Client, Topic) {
    let mut client = world.client();
    client.send(AAPL);
    let (topic, request, ..) = world.join(0);
    world.answer(0, topic, request, sequence, &[closed(topic, sequence)]);
    assert_eq!(words(&client.all()), ["subscribed".to_owned(), format!("snapshot@{sequence}")]);
    (client, topic)
}

#[test]
fn snapshot_and_stream_are_one_cut() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    assert!(world.ask(&mut client, AAPL).is_empty(), "nothing is said before the shard has answered");
    let (topic, request, since, states) = world.join(0);
    assert_eq!((topic, since, states), (Topic::bars(world.symbol("AAPL"), 1), None, true));
    world.emit(0, &[closed(topic, 4), forming(topic, 4)]);
    world.emit(
        0,
        &[
            Event::answer_begin(topic, request, false),
            closed(topic, 5).answering(request),
            forming(topic, 5).answering(request),
            Event::answer_end(topic, request, 5),
            forming(topic, 5),
            closed(topic, 6),
        ],
    );
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "snapshot@5", "snapshot~5", "bar@6"]);
    assert_eq!(
        seen[0],
        json!({"type":"subscribed","id":"a1","channel":"bars","symbols":["AAPL"],"sequences":{"AAPL/1m":5}})
    );
}

#[test]
fn a_state_written_after_a_revision_carries_its_number() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    world.emit(0, &[forming(topic, 5), revised(topic, 6)]);
    assert_eq!(words(&client.all()), ["bar@6", "bar~6"]);
}

#[test]
fn a_join_over_two_shards_is_held_until_both_have_answered() {
    let mut world = World::new(2, options());
    let names = ["A", "B", "C", "D", "E", "F"];
    let first = *names.iter().find(|name| world.shard(name) == 0).unwrap();
    let second = *names.iter().find(|name| world.shard(name) == 1).unwrap();
    let mut client = world.client();
    client.send(&format!(
        r#"{{"action":"subscribe","channel":"bars","symbols":["{first}","{second}"],"timeframes":["1s"]}}"#
    ));
    client.send(r#"{"action":"ping"}"#);
    let (x, rx, ..) = world.join(0);
    let (y, ry, ..) = world.join(1);
    world.answer(0, x, rx, 10, &[closed(x, 10)]);
    world.emit(0, &[forming(x, 10), closed(x, 11), forming(x, 11)]);
    assert!(client.all().is_empty());
    world.answer(1, y, ry, 70, &[closed(y, 70)]);
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "snapshot@10", "bar@11", "snapshot@70", "pong", "bar~11"]);
    let name = |symbol: &str| format!("{symbol}/1s");
    assert_eq!(seen[0]["sequences"], json!({name(first): 10, name(second): 70}));
    world.emit(1, &[closed(y, 71)]);
    assert_eq!(words(&client.all()), ["bar@71"]);
}

#[test]
fn joins_of_one_client_complete_in_the_order_they_were_asked_for() {
    let mut world = World::new(2, options());
    let names = ["A", "B", "C", "D", "E", "F"];
    let first = *names.iter().find(|name| world.shard(name) == 0).unwrap();
    let second = *names.iter().find(|name| world.shard(name) == 1).unwrap();
    let mut client = world.client();
    let subscribe = |symbols: &str, id: u32| {
        format!(r#"{{"id":{id},"action":"subscribe","channel":"trades","symbols":[{symbols}]}}"#)
    };
    client.send(&subscribe(&format!("\"{first}\",\"{second}\""), 1));
    let (x, rx, ..) = world.join(0);
    let (y, ry, ..) = world.join(1);
    client.send(&subscribe(&format!("\"{first}\""), 2));
    let (_, again, ..) = world.join(0);
    world.answer(0, x, rx, 1, &[]);
    world.emit(0, &[trade(x, 2)]);
    world.answer(0, x, again, 2, &[]);
    world.emit(0, &[trade(x, 3)]);
    assert!(client.all().is_empty());
    world.answer(1, y, ry, 9, &[]);
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "trade@2", "subscribed", "trade@3"]);
    assert_eq!((&seen[0]["id"], &seen[2]["id"]), (&json!(1), &json!(2)));
    assert_eq!(seen[2]["sequences"], json!({first: 2}));
}

#[test]
fn since_replays_what_the_client_missed() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.send(
        r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"],
            "since":{"epoch":"e1","sequences":{"AAPL/1m":3}}}"#,
    );
    // The position of a symbol never heard of counts, for the subscribe itself has made it known.
    let (topic, request, since, _) = world.join(0);
    assert_eq!(since, Some(3));
    world.emit(
        0,
        &[
            Event::answer_begin(topic, request, true),
            closed(topic, 4).answering(request),
            closed(topic, 5).answering(request),
            Event::answer_end(topic, request, 5),
        ],
    );
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "bar@4", "bar@5"]);
    assert_eq!(seen[0]["recovered"], json!(true));
}

#[test]
fn positions_of_another_epoch_get_a_snapshot_and_are_told_so() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.send(
        r#"{"action":"subscribe","channel":"trades","symbols":["AAPL"],"since":{"epoch":"e0","sequences":{"AAPL":3}}}"#,
    );
    let (topic, request, since, _) = world.join(0);
    assert_eq!(since, None);
    world.answer(0, topic, request, 8, &[trade(topic, 8)]);
    let seen = client.all();
    assert_eq!(words(&seen), ["subscribed", "snapshot@8"]);
    assert_eq!(seen[0]["recovered"], json!(false));
}

#[test]
fn a_wildcard_covers_symbols_as_they_are_answered_and_new_ones_after() {
    let mut world = World::new(2, options());
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let zero: Vec<Topic> = names
        .iter()
        .filter(|name| world.shard(name) == 0)
        .map(|name| Topic::bars(world.symbol(name), 1))
        .collect();
    let [a, b, c] = zero[..3] else { panic!("three names of shard 0") };
    let mut client = world.client();
    let seen = world
        .ask(&mut client, r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1m"]}"#);
    assert_eq!(seen, [json!({"type":"subscribed","channel":"bars","symbols":["*"]})]);
    let (any, request, ..) = world.join(0);
    assert_eq!(any, Topic::bars(SymbolId::ANY, 1));
    assert_eq!(world.join(1).0, any);
    world.answer(0, a, request, 5, &[closed(a, 5)]);
    world.emit(0, &[closed(a, 6), closed(b, 8)]);
    assert_eq!(words(&client.all()), ["snapshot@5", "bar@6"], "b is not yet answered");
    world.answer(0, b, request, 8, &[closed(b, 8)]);
    world.emit(0, &[Event::answer_done(any, request), closed(c, 1), closed(b, 9)]);
    assert_eq!(words(&client.all()), ["snapshot@8", "bar@1", "bar@9"]);
    let seen = world.ask(&mut client, r#"{"action":"unsubscribe","channel":"bars","symbols":["*"]}"#);
    assert_eq!(words(&seen), ["unsubscribed"]);
    for shard in 0..2 {
        assert_eq!(world.asked(shard), [Interest { topic: any, ask: Ask::Off, states: false }]);
    }
    world.emit(0, &[closed(a, 7)]);
    assert!(client.all().is_empty());
}

#[test]
fn a_repeated_subscribe_replaces_its_options_without_a_gap() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    client.send(&AAPL.replace("\"id\":\"a1\"", "\"forming\":false"));
    let (_, request, ..) = world.join(0);
    world.emit(0, &[closed(topic, 6), forming(topic, 6)]);
    assert_eq!(words(&client.all()), ["bar@6", "bar~6"], "the old subscription lives on until the cut");
    world.answer(0, topic, request, 6, &[closed(topic, 6), forming(topic, 6)]);
    world.emit(0, &[forming(topic, 6), closed(topic, 7)]);
    assert_eq!(words(&client.all()), ["subscribed", "snapshot@6", "bar@7"]);
}

#[test]
fn the_last_to_leave_turns_the_topic_off() {
    let mut world = World::new(1, options());
    let (mut first, topic) = joined(&mut world, 5);
    let (second, _) = joined(&mut world, 5);
    let seen = world.ask(&mut first, r#"{"action":"unsubscribe_all","id":3}"#);
    assert_eq!(seen, [json!({"type":"unsubscribed","id":3})]);
    assert!(world.asked(0).is_empty());
    drop(second);
    assert_eq!(world.asked(0), [Interest { topic, ask: Ask::Off, states: false }]);
}

#[test]
fn leaving_before_the_answer_cancels_the_join() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.send(AAPL);
    let (topic, request, ..) = world.join(0);
    let seen = world.ask(&mut client, r#"{"action":"unsubscribe","channel":"bars","symbols":["AAPL"]}"#);
    assert_eq!(words(&seen), ["subscribed", "unsubscribed"]);
    assert_eq!(world.asked(0), [Interest { topic, ask: Ask::Off, states: false }]);
    world.answer(0, topic, request, 5, &[closed(topic, 5)]);
    world.emit(0, &[closed(topic, 6)]);
    assert!(client.all().is_empty());
}

#[test]
fn a_look_changes_no_interest() {
    let mut world = World::new(1, options());
    let symbol = world.symbol("AAPL");
    let mut client = world.client();
    client.send(r#"{"action":"snapshot","channel":"quotes","symbols":["AAPL"],"id":1}"#);
    let asked = world.asked(0);
    let [Interest { topic, ask: Ask::Snapshot { request }, .. }] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(topic, Topic::quotes(symbol));
    world.answer(0, topic, request, 0, &[quote(topic, 7)]);
    world.emit(0, &[quote(topic, 8)]);
    let seen = client.all();
    assert_eq!(words(&seen), ["snapshots", "snapshot@0"]);
    assert_eq!(seen[0]["sequences"], json!({"AAPL": 0}));
    assert!(world.asked(0).is_empty());
}

#[test]
fn a_resync_replays_to_all_members_and_discards_until_then() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    world.emit(0, &[Event::resync(), closed(topic, 9)]);
    let (_, request, since, states) = world.join(0);
    assert_eq!((since, states), (Some(5), true));
    let replay: Vec<Event> = (6..=9).map(|n| closed(topic, n).answering(request)).collect();
    world.emit(0, &[&[Event::answer_begin(topic, request, true)], &replay[..]].concat());
    world.emit(0, &[Event::answer_end(topic, request, 9), closed(topic, 10)]);
    assert_eq!(words(&client.all()), ["bar@6", "bar@7", "bar@8", "bar@9", "bar@10"]);
}

#[test]
fn a_client_that_cannot_be_made_whole_is_closed_and_told_why() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    world.emit(0, &[Event::resync()]);
    let (_, request, ..) = world.join(0);
    world.answer(0, topic, request, 90, &[closed(topic, 90)]);
    let seen = client.all();
    assert_eq!(words(&seen), ["slow", "close 4008"]);
    assert!(seen[1]["reason"].as_str().unwrap().contains("AAPL/1m"));
}

#[test]
fn no_state_runs_ahead_of_facts_that_are_lost() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    world.emit(0, &[Event::resync()]);
    let (_, request, ..) = world.join(0);
    let items = [closed(topic, 90), forming(topic, 90)].map(|item| item.answering(request));
    world.emit(0, &[Event::answer_begin(topic, request, false), items[0], items[1]]);
    assert!(client.all().is_empty());
    world.emit(0, &[Event::answer_end(topic, request, 90)]);
    assert_eq!(words(&client.all()), ["slow", "close 4008"]);
}

#[test]
fn a_state_that_waits_is_not_sent_once_states_are_no_longer_wanted() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    let all =
        r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1m"],"forming":false}"#;
    client.send(all);
    let (any, request, ..) = world.join(0);
    world.answer(0, topic, request, 5, &[]);
    world.emit(0, &[Event::answer_done(any, request)]);
    client.all();
    client.send(r#"{"action":"unsubscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"]}"#);
    world.emit(0, &[forming(topic, 5)]);
    world.emit(0, &[closed(topic, 6)]);
    assert_eq!(words(&client.all()), ["unsubscribed", "bar@6"]);
}

#[test]
fn a_resync_asks_again_for_joins_it_interrupted() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.send(AAPL);
    let (topic, old, ..) = world.join(0);
    world
        .emit(0, &[Event::answer_begin(topic, old, false), closed(topic, 4).answering(old), Event::resync()]);
    let (_, request, ..) = world.join(0);
    assert_ne!(request, old);
    world.answer(0, topic, request, 6, &[closed(topic, 6)]);
    assert_eq!(words(&client.all()), ["subscribed", "snapshot@6"]);
}

#[test]
fn who_joins_while_others_are_made_whole_is_not_sent_again_what_its_snapshot_holds() {
    let mut world = World::new(1, options());
    let (mut member, topic) = joined(&mut world, 5);
    let mut joiner = world.client();
    joiner.send(AAPL);
    world.join(0);
    world.emit(0, &[Event::resync()]);
    // The shard answers in the order in which it is asked.
    for Interest { ask, .. } in world.asked(0) {
        let Ask::Join { request, since } = ask else { panic!("{ask:?}") };
        let first = since.map_or(7, |since| since + 1);
        let facts = (first..=7).map(|n| closed(topic, n).answering(request));
        let begin = [Event::answer_begin(topic, request, since.is_some())];
        let answer: Vec<Event> =
            begin.into_iter().chain(facts).chain([Event::answer_end(topic, request, 7)]).collect();
        world.emit(0, &answer);
    }
    world.emit(0, &[closed(topic, 8)]);
    assert_eq!(words(&member.all()), ["bar@6", "bar@7", "bar@8"]);
    assert_eq!(words(&joiner.all()), ["subscribed", "snapshot@7", "bar@8"]);
}

#[test]
fn a_resync_finds_symbols_that_a_wildcard_never_heard_of() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    world.ask(&mut client, r#"{"action":"subscribe","channel":"trades","symbols":["*"]}"#);
    let (any, request, ..) = world.join(0);
    world.emit(0, &[Event::answer_done(any, request), Event::resync()]);
    let (_, request, ..) = world.join(0);
    let topic = Topic::trades(world.symbol("NEW"));
    world.answer(0, topic, request, 2, &[trade(topic, 2)]);
    world.emit(0, &[Event::answer_done(any, request)]);
    let (asked, request, since, _) = world.join(0);
    assert_eq!((asked, since), (topic, Some(0)));
    let answer = [
        Event::answer_begin(topic, request, true),
        trade(topic, 1).answering(request),
        trade(topic, 2).answering(request),
        Event::answer_end(topic, request, 2),
        trade(topic, 3),
    ];
    world.emit(0, &answer);
    assert_eq!(words(&client.all()), ["trade@1", "trade@2", "trade@3"]);
}

#[test]
fn a_silent_loss_is_found_by_its_sequence() {
    let mut world = World::new(1, options());
    let (mut client, topic) = joined(&mut world, 5);
    world.emit(0, &[closed(topic, 7)]);
    assert_eq!(world.join(0).2, Some(5));
    assert!(client.all().is_empty());
}

#[test]
fn interests_wait_for_room_in_order() {
    let mut world = World::with_rings(1, options(), 2);
    let mut client = world.client();
    client.send(r#"{"action":"subscribe","channel":"trades","symbols":["A","B","C","D","E"]}"#);
    let mut topics = Vec::new();
    for _ in 0..5 {
        topics.extend(world.asked(0).iter().map(|interest| interest.topic));
    }
    let expected: Vec<Topic> =
        ["A", "B", "C", "D", "E"].iter().map(|name| Topic::trades(world.symbol(name))).collect();
    assert_eq!(topics, expected);
}

#[test]
fn list_shows_what_this_connection_asked_for() {
    let mut world = World::new(1, options());
    let (mut client, _) = joined(&mut world, 5);
    world.ask(&mut client, r#"{"action":"subscribe","channel":"quotes","symbols":["*"]}"#);
    let seen = world.ask(&mut client, r#"{"action":"list","id":"l"}"#);
    assert_eq!(
        seen,
        [json!({"type":"subscriptions","id":"l","subscriptions":[
            {"channel":"bars","symbol":"AAPL","timeframe":"1m","forming":true},
            {"channel":"quotes","symbol":"*"}]})]
    );
}

#[test]
fn nothing_is_left_of_clients_that_went() {
    let mut world = World::new(2, options());
    let (client, topic) = joined_on(&mut world, "A");
    let shard = world.shard("A");
    let mut other = world.client();
    world.ask(&mut other, r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1m"]}"#);
    let (_, request, ..) = world.join(shard);
    world.answer(shard, topic, request, 5, &[closed(topic, 5), forming(topic, 5)]);
    let names = ["B", "C", "D", "E", "F", "G"].map(|name| format!("\"{name}\"")).join(",");
    other.send(&format!(r#"{{"action":"subscribe","channel":"trades","symbols":[{names}]}}"#));
    other.send(r#"{"action":"ping"}"#);
    world.emit(shard, &[closed(topic, 6), forming(topic, 6)]);
    drop((client, other));
    world.settle();
    for name in ["frames_held", "connections", "subscriptions", "interests_waiting"] {
        assert_eq!(world.counter(name), 0, "{name}");
    }
    let offs = |asked: Vec<Interest>| asked.iter().filter(|interest| interest.ask == Ask::Off).count();
    let total = offs(world.asked(0)) + offs(world.asked(1));
    assert_eq!(total, 1 + 2 + 6, "one topic, the wildcard at two shards, six pending joins");
}

fn joined_on(world: &mut World, name: &str) -> (Client, Topic) {
    let mut client = world.client();
    client.send(&AAPL.replace("AAPL", name));
    let shard = world.shard(name);
    let (topic, request, ..) = world.join(shard);
    world.answer(shard, topic, request, 5, &[closed(topic, 5)]);
    assert_eq!(words(&client.all()), ["subscribed", "snapshot@5"]);
    (client, topic)
}
