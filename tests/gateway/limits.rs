//! Each limit that ends or refuses a connection: it holds, it is counted, and what keeps to it is left alone.

use std::io::Write;
use std::net::IpAddr;

use tickwire::gateway::GatewayOptions;
use tickwire::model::Nanos;
use tungstenite::Message;

use crate::harness::*;
use crate::wire::{frame, raw};

const SECOND: Nanos = Nanos::from_secs(1);
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn from(world: &mut World, ip: &str) -> (tickwire::runtime::transport::End, String) {
    let mut end = world.network.connect_from(ip.parse::<IpAddr>().unwrap(), PORT, ROOM).unwrap();
    end.write_all(upgrade("/v1/stream").as_bytes()).unwrap();
    world.settle();
    let answer = String::from_utf8_lossy(&drain(&mut end).0).into_owned();
    (end, answer)
}

#[test]
fn one_address_gets_its_share_of_connections_and_no_more() {
    let mut world = World::new(1, GatewayOptions { connections_per_ip_max: 2, ..options() });
    let (first, answer) = from(&mut world, "10.0.0.1");
    assert!(answer.starts_with("HTTP/1.1 101 "));
    let _second = from(&mut world, "10.0.0.1");
    for _ in 0..5 {
        let (_third, answer) = from(&mut world, "10.0.0.1");
        assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
        assert!(answer.contains("connections_per_ip_max"), "{answer}");
    }
    assert!(from(&mut world, "10.0.0.2").1.starts_with("HTTP/1.1 101 "));
    assert_eq!(world.counter("refused_per_ip"), 5);
    drop(first);
    world.settle();
    assert!(from(&mut world, "10.0.0.1").1.starts_with("HTTP/1.1 101 "), "the place of one who left is free");
    assert_eq!((world.counter("addresses"), world.counter("connections_all")), (1, 1));
}

#[test]
fn a_longer_request_head_than_allowed_is_refused() {
    let mut world = World::new(1, GatewayOptions { request_head_bytes_max: 600, ..options() });
    for (padding, status) in [(300, "101"), (600, "431"), (100_000, "431")] {
        let pad = format!("X-Pad: {}\r\n\r\n", "x".repeat(padding));
        let mut end = world.raw();
        end.write_all(upgrade("/v1/stream").replace("\r\n\r\n", &format!("\r\n{pad}")).as_bytes()).unwrap();
        world.settle();
        let text = String::from_utf8_lossy(&drain(&mut end).0).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{padding}: {text}");
    }
    // One that never ends is not waited for.
    let mut end = world.raw();
    end.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    for _ in 0..100 {
        end.write_all(b"X-More: of them\r\n").unwrap();
        world.settle();
    }
    assert!(drain(&mut end).0.starts_with(b"HTTP/1.1 431 "));
    assert_eq!((world.counter("refused_head"), world.counter("refused_request")), (3, 3));
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one() {
    let mut world = World::new(1, GatewayOptions { connections_per_ip_max: 1, ..options() });
    let _first = from(&mut world, "2001:db8::1");
    assert!(from(&mut world, "2001:db8::ffff:2").1.starts_with("HTTP/1.1 429 "));
    assert!(from(&mut world, "2001:db8:0:1::1").1.starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_handshake_that_never_comes_holds_a_place_only_until_its_deadline() {
    let mut world = World::new(1, GatewayOptions { connections_per_ip_max: 1, ..options() });
    let _idle = world.network.connect_from("10.0.0.1".parse().unwrap(), PORT, ROOM).unwrap();
    assert!(from(&mut world, "10.0.0.1").1.starts_with("HTTP/1.1 429 "));
    world.pass(Nanos::from_millis(6_200));
    assert!(from(&mut world, "10.0.0.1").1.starts_with("HTTP/1.1 101 "));
}

#[test]
fn as_many_requests_as_allowed_are_answered_every_second() {
    let mut world = World::new(1, GatewayOptions { requests_per_s_max: 10, ..options() });
    let mut client = world.client();
    let ping = frame(0x81, br#"{"action":"ping"}"#);
    for _ in 0..5 {
        assert_eq!(raw(&mut world, &mut client, &ping.repeat(10)).len(), 10);
        world.pass(SECOND);
    }
    assert_eq!(raw(&mut world, &mut client, &ping.repeat(11)).last().unwrap(), "close 1008");
    assert_eq!((world.counter("requests_floods"), world.counter("policy_closed")), (1, 1));
}

#[test]
fn more_bytes_than_allowed_close_however_they_are_cut() {
    let limits = GatewayOptions { request_bytes_per_s_max: 3_000, message_bytes_max: 2_000, ..options() };
    let padded =
        |length: usize| format!(r#"{{"action":"ping","pad":"{}"}}"#, "x".repeat(length)).into_bytes();
    let mut world = World::new(1, limits);
    let mut client = world.client();
    for _ in 0..5 {
        let two = frame(0x81, &padded(1_300)).repeat(2);
        assert_eq!(raw(&mut world, &mut client, &two), ["pong", "pong"]);
        world.pass(SECOND);
    }
    let three = frame(0x81, &padded(1_300)).repeat(3);
    assert_eq!(raw(&mut world, &mut client, &three).last().unwrap(), "close 1008");
    // A message that never ends, in fragments without a byte of their own.
    let mut client = world.client();
    let endless = [frame(0x01, b""), frame(0x00, b"").repeat(500)].concat();
    assert_eq!(raw(&mut world, &mut client, &endless), ["close 1008"]);
    assert_eq!(world.counter("bytes_floods"), 2);
}

#[test]
fn more_pings_and_pongs_than_allowed_close() {
    let limits = GatewayOptions { control_frames_per_s_max: 20, ..options() };
    for opcode in [PING, PONG] {
        let mut world = World::new(1, limits.clone());
        let mut client = world.client();
        for _ in 0..3 {
            assert!(raw(&mut world, &mut client, &frame(opcode, b"x").repeat(20)).is_empty());
            world.pass(SECOND);
        }
        // What comes after it is not looked at any more, not even to see that it is wrong.
        let flood = [frame(opcode, b"x").repeat(21), frame(0xf1, b"x").repeat(10_000)].concat();
        assert_eq!(raw(&mut world, &mut client, &flood), ["close 1008"]);
        assert_eq!((world.counter("control_floods"), world.counter("protocol_closed")), (1, 0));
        world.pass(SECOND);
        assert_eq!(world.counter("connections"), 0);
    }
}

#[test]
fn a_standstill_of_our_own_is_not_the_silence_of_clients() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    world.clock.advance(Nanos::from_secs(300));
    world.settle();
    world.pass(SECOND);
    // It was never asked; now it is.
    assert_eq!(client.message(), Some(Message::Ping("".into())));
    client.all();
    world.pass(Nanos::from_secs(29));
    assert_eq!((world.counter("connections"), world.counter("idle_closed")), (1, 0));
}

#[test]
fn a_standstill_of_our_own_is_not_the_slowness_of_clients() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.send(r#"{"action":"subscribe","channel":"trades","symbols":["A"]}"#);
    let (topic, request, ..) = world.join(0);
    world.answer(0, topic, request, 0, &[]);
    client.all();
    client.socket.get_ref().set_receive_capacity(10);
    world.emit(0, &[trade(topic, 1), trade(topic, 2)]);
    // It takes the rest while we do not look.
    client.socket.get_ref().set_receive_capacity(ROOM);
    world.clock.advance(Nanos::from_secs(60));
    world.settle();
    assert_eq!(words(&client.all()), ["trade@1", "trade@2"]);
    assert_eq!(world.counter("slow_closed"), 0);
}

#[test]
fn a_peer_that_has_vanished_is_gone_after_two_heartbeats() {
    let mut world = World::new(1, GatewayOptions { heartbeat_s: 30, ..options() });
    let client = world.client();
    // Nothing reaches it any more, and nothing comes.
    client.socket.get_ref().set_receive_capacity(0);
    world.pass(Nanos::from_millis(58_000));
    assert_eq!(world.counter("connections"), 1);
    world.pass(Nanos::from_millis(1_200));
    assert_eq!((world.counter("connections"), world.counter("idle_closed")), (0, 1));
    assert_eq!(world.counter("connections_all"), 0);
}
