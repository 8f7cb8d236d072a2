//! One listener, several gateways: clients go where the fewest are, and no gateway can hold up another.

use std::io::Write;

use serde_json::json;
use tickwire::gateway::GatewayOptions;
use tickwire::gateway::dealer::{LATE, SOCKETS_DEPTH};
use tickwire::model::Nanos;
use tickwire::runtime::transport::End;

use crate::harness::*;

fn knock(world: &World) -> End {
    let mut end = world.network.connect(PORT, ROOM).unwrap();
    end.write_all(upgrade("/v1/stream").as_bytes()).unwrap();
    end
}

/// Which gateway the welcome is from, once there is one.
fn gateway_of(end: &mut End) -> Option<usize> {
    let text = String::from_utf8_lossy(&drain(end).0).into_owned();
    let (_, rest) = text.split_once(r#""connection":"gateway-"#)?;
    rest.split_once('-')?.0.parse().ok()
}

#[test]
fn clients_go_where_the_fewest_are() {
    let mut world = World::with_gateways(3, options());
    let mut ends = Vec::new();
    let mut counts = [0; 3];
    for _ in 0..30 {
        let mut end = knock(&world);
        world.settle();
        let gateway = gateway_of(&mut end).unwrap();
        counts[gateway] += 1;
        ends.push((gateway, end));
    }
    assert_eq!(counts, [10, 10, 10]);
    ends.retain(|(gateway, _)| *gateway != 1);
    world.settle();
    for _ in 0..10 {
        let mut end = knock(&world);
        world.settle();
        assert_eq!(gateway_of(&mut end), Some(1));
        ends.push((1, end));
    }
    drop(ends);
    world.settle();
    assert_eq!((world.counter("connections_all"), world.counter("connections")), (0, 0));
}

#[test]
fn a_storm_is_spread_evenly() {
    let mut world = World::with_gateways(3, options());
    let mut ends: Vec<End> = (0..600).map(|_| knock(&world)).collect();
    world.settle();
    let mut counts = [0; 3];
    ends.iter_mut().for_each(|end| counts[gateway_of(end).unwrap()] += 1);
    assert_eq!(counts, [200, 200, 200]);
}

#[test]
fn the_limit_of_connections_is_over_all_gateways() {
    let mut world = World::with_gateways(2, GatewayOptions { connections_max: 3, ..options() });
    let mut ends: Vec<End> = (0..3).map(|_| knock(&world)).collect();
    world.settle();
    assert!(ends.iter_mut().all(|end| gateway_of(end).is_some()));
    let mut more: Vec<End> = (0..100).map(|_| knock(&world)).collect();
    world.settle();
    let answers: Vec<Vec<u8>> = more.iter_mut().map(|end| drain(end).0).collect();
    let told = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 503 ")).count();
    assert!(told >= 64 && answers.iter().all(|answer| !answer.starts_with(b"HTTP/1.1 101 ")), "{told} told");
    assert_eq!(world.counter("refused_full") + world.counter("refused_unanswered"), 100);
    drop((ends.pop(), more));
    world.settle();
    let mut next = knock(&world);
    world.settle();
    assert!(gateway_of(&mut next).is_some());
}

#[test]
fn a_gateway_that_stands_still_keeps_nobody_else_waiting() {
    let mut world = World::with_gateways(2, options());
    // Its place on the core is behind the dealer's.
    let without_first = |world: &mut World| while world.core.turn_some(|place| place != 1) {};
    let mut unlucky = knock(&world);
    without_first(&mut world);
    assert_eq!(gateway_of(&mut unlucky), None);
    world.clock.advance(LATE);
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut end = knock(&world);
        without_first(&mut world);
        assert_eq!(gateway_of(&mut end), Some(1));
        others.push(end);
    }
    // Once it moves on, who waited there is served, and it gets its share again.
    world.settle();
    assert_eq!(gateway_of(&mut unlucky), Some(0));
    let mut end = knock(&world);
    world.settle();
    assert_eq!(gateway_of(&mut end), Some(0));
}

#[test]
fn nobody_is_lost_where_no_gateway_has_room() {
    let mut world = World::with_gateways(2, options());
    let clients = SOCKETS_DEPTH * 2 + 50;
    let mut ends: Vec<End> = (0..clients).map(|_| knock(&world)).collect();
    for _ in 0..1_000 {
        world.core.turn_some(|place| place == 0);
    }
    assert!(
        !world.core.turn_some(|place| place == 0),
        "a dealer that cannot deal is no reason to stay awake"
    );
    world.settle();
    assert!(ends.iter_mut().all(|end| gateway_of(end).is_some()));
}

#[test]
fn stats_say_which_gateway_they_are_of() {
    let mut world = World::with_gateways(2, options());
    let mut clients = [world.client(), world.client()];
    for (number, client) in clients.iter_mut().enumerate() {
        let seen = world.ask(client, r#"{"action":"stats"}"#);
        assert_eq!(
            (&seen[0]["data"]["gateway"], &seen[0]["data"]["connections"]),
            (&json!(number), &json!(1))
        );
    }
}

#[test]
fn the_dealer_ends_after_the_last_gateway() {
    let mut world = World::with_gateways(2, options());
    world.events.clear();
    world.pass(Nanos::from_millis(200));
    assert_eq!(world.core.live_stages(), 2, "the dealer and the other gateway");
    let mut end = knock(&world);
    world.settle();
    assert_eq!(gateway_of(&mut end), Some(1));
    drop(end);
    world.others.clear();
    world.pass(Nanos::from_millis(200));
    assert_eq!(world.core.live_stages(), 0);
}
