//! A restart: clients are told at once, served on, and closed one by one before the deadline.

use std::io::Write;

use serde_json::json;
use tickwire::gateway::GatewayOptions;
use tickwire::model::Nanos;

use crate::harness::*;

const DRAIN_S: u64 = 4;
const MS: Nanos = Nanos::from_millis(1);

fn world() -> World {
    World::new(1, GatewayOptions { drain_s: DRAIN_S, ..options() })
}

fn begin(world: &mut World) {
    let now = world.clock.now();
    world.core.begin_drain(now);
    world.settle();
}

fn pass(world: &mut World, ms: i64) {
    for _ in 0..ms / 10 {
        world.clock.advance(Nanos(MS.0 * 10));
        world.settle();
    }
}

#[test]
fn clients_are_told_at_once_served_on_and_closed_for_a_restart() {
    let mut world = world();
    let (mut client, topic) = world.follower("A");
    begin(&mut world);
    assert_eq!(client.all(), [json!({"type":"draining","deadline_s":DRAIN_S})]);
    // Facts flow, and requests are answered.
    pass(&mut world, 1_900);
    world.emit(0, &[trade(topic, 1)]);
    assert_eq!(words(&client.all()), ["trade@1"]);
    assert_eq!(words(&world.ask(&mut client, r#"{"action":"ping"}"#)), ["pong"]);
    pass(&mut world, 1_200);
    let seen = client.all();
    assert_eq!(words(&seen), ["close 1012"]);
    assert!(seen[0]["reason"].as_str().unwrap().contains("connect again"));
    drop(client);
    world.settle();
    assert_eq!(world.core.live_stages(), 0, "with nobody left there is nothing to wait for");
}

#[test]
fn newcomers_and_unfinished_handshakes_are_refused_meanwhile() {
    let mut world = world();
    let stays = world.client();
    let mut unfinished = world.raw();
    unfinished.write_all(&upgrade("/v1/stream").as_bytes()[..40]).unwrap();
    world.settle();
    begin(&mut world);
    let mut late = world.raw();
    late.write_all(upgrade("/v1/stream").as_bytes()).unwrap();
    world.settle();
    for end in [&mut unfinished, &mut late] {
        let text = String::from_utf8(drain(end).0).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After"), "{text}");
    }
    assert_eq!(world.counter("refused_ending"), 2);
    drop(stays);
}

#[test]
fn closes_are_spread_so_that_not_all_come_back_at_once() {
    const CLIENTS: usize = 100;
    let mut world = world();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| world.client()).collect();
    begin(&mut world);
    let (mut closed, mut most) = (Vec::new(), 0);
    for step in 0..DRAIN_S * 10 {
        pass(&mut world, 100);
        let before = clients.len();
        clients.retain_mut(|client| !words(&client.all()).contains(&"close 1012".to_owned()));
        let now = before - clients.len();
        most = most.max(now);
        closed.extend(std::iter::repeat_n(step, now));
    }
    assert_eq!(closed.len(), CLIENTS);
    assert!(most <= CLIENTS / 8, "{most} in a tenth of a second: {closed:?}");
    assert!(closed[0] >= DRAIN_S * 5 - 1, "before half of the time nobody has to go: {closed:?}");
}

#[test]
fn what_is_queued_is_flushed_before_the_close_and_no_frame_is_cut() {
    let mut world = world();
    let (mut client, topic) = world.follower("A");
    client.socket.get_ref().set_receive_capacity(7);
    let facts: Vec<_> = (1..=20).map(|n| trade(topic, n)).collect();
    world.emit(0, &facts);
    begin(&mut world);
    pass(&mut world, 3_100);
    let mut seen = Vec::new();
    for _ in 0..2_000 {
        seen.extend(client.all());
        world.settle();
    }
    let mut wanted: Vec<String> = (1..=20).map(|n| format!("trade@{n}")).collect();
    wanted.push("close 1012".to_owned());
    // The notice goes before all but the frame that was begun.
    assert_eq!(seen.remove(1)["type"], "draining");
    assert_eq!(words(&seen), wanted);
}

#[test]
fn who_never_answers_is_reset_by_the_deadline() {
    // The deadline of the drain counts, though a close alone could take longer.
    let mut world = World::new(1, GatewayOptions { drain_s: DRAIN_S, close_ms_max: 5_000, ..options() });
    let client = world.client();
    client.socket.get_ref().set_receive_capacity(0);
    begin(&mut world);
    pass(&mut world, 2_000);
    assert_eq!(world.core.live_stages(), 2);
    pass(&mut world, 2_110);
    assert_eq!(world.core.live_stages(), 0);
}

#[test]
fn without_clients_there_is_nothing_to_wait_for() {
    let mut world = world();
    begin(&mut world);
    assert_eq!(world.core.live_stages(), 0);
}

#[test]
fn without_a_drain_a_restart_flushes_and_says_so() {
    let mut world = World::new(1, GatewayOptions { drain_s: 0, ..options() });
    let (mut client, topic) = world.follower("A");
    let now = world.clock.now();
    world.core.begin_drain(now);
    world.core.begin_stop(now);
    assert!(world.events[0].push(trade(topic, 1)).is_ok());
    world.events.clear();
    world.settle();
    assert_eq!(words(&client.all()), ["trade@1", "close 1012"]);
}

#[test]
fn a_stop_in_the_middle_of_a_drain_takes_the_last_facts_and_ends() {
    let mut world = world();
    let (mut client, topic) = world.follower("A");
    begin(&mut world);
    client.all();
    let now = world.clock.now();
    world.core.begin_stop(now);
    assert!(world.events[0].push(trade(topic, 1)).is_ok());
    world.events.clear();
    world.settle();
    assert_eq!(words(&client.all()), ["trade@1", "close 1012"]);
    drop(client);
    world.settle();
    assert_eq!(world.core.live_stages(), 0);
}
