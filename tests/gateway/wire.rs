//! Handshakes, frames, requests and the ways a connection ends.

use std::io::{Read, Write};

use serde_json::json;
use tickwire::gateway::GatewayOptions;
use tickwire::model::Nanos;
use tungstenite::Message;

use crate::harness::*;

/// A client frame with a zero mask.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

pub fn raw(world: &mut World, client: &mut Client, bytes: &[u8]) -> Vec<String> {
    client.socket.get_mut().write_all(bytes).unwrap();
    world.settle();
    words(&client.all())
}

#[test]
fn other_paths_are_answered_with_the_right_one() {
    // The echo path is like any other unless it was opened.
    for path in ["/v2", "/echo"] {
        let mut world = World::new(1, options());
        let mut end = world.raw();
        end.write_all(upgrade(path).as_bytes()).unwrap();
        world.settle();
        let (bytes, ended) = drain(&mut end);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 404 ") && text.contains("/v1/stream") && ended, "{text}");
        drop(end);
        assert_eq!(world.counter("connections"), 0);
    }
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    let mut world = World::new(1, options());
    for (request, status) in [("\0\u{1}garbage\r\n", "400"), ("POST / HTTP/1.1\r\n\r\n", "405")] {
        let mut end = world.raw();
        end.write_all(request.as_bytes()).unwrap();
        world.settle();
        let text = String::from_utf8(drain(&mut end).0).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[test]
fn bytes_sent_with_the_request_are_the_first_messages() {
    let mut world = World::new(1, options());
    let mut client = world.unwelcomed(&frame(0x81, br#"{"action":"ping","id":"early"}"#));
    let seen = client.all();
    assert_eq!(words(&seen), ["welcome", "pong"]);
    assert_eq!(seen[1], json!({"type":"pong","id":"early"}));
}

#[test]
fn a_slow_handshake_meets_its_deadline() {
    let mut world = World::new(1, options());
    let mut end = world.raw();
    for byte in upgrade("/v1/stream").bytes().take(60) {
        end.write_all(&[byte]).unwrap();
        world.pass(Nanos::from_millis(80));
    }
    assert!(drain(&mut end).0.is_empty());
    world.pass(Nanos::from_millis(400));
    assert!(drain(&mut end).0.starts_with(b"HTTP/1.1 408 "));
    world.pass(Nanos::from_millis(1_200));
    assert_eq!(world.counter("connections"), 0);
}

#[test]
fn a_request_byte_by_byte_is_a_request_however_its_lines_end() {
    for line_end in ["\r\n", "\n"] {
        let mut world = World::new(1, options());
        let mut end = world.raw();
        for byte in upgrade("/v1/stream").replace("\r\n", line_end).bytes() {
            end.write_all(&[byte]).unwrap();
            world.settle();
        }
        assert!(drain(&mut end).0.starts_with(b"HTTP/1.1 101 "), "{line_end:?}");
    }
}

#[test]
fn one_connection_too_many_is_told_so() {
    let mut world = World::new(1, GatewayOptions { connections_max: 1, ..options() });
    let first = world.client();
    let mut second = world.raw();
    second.write_all(upgrade("/v1/stream").as_bytes()).unwrap();
    world.settle();
    assert!(drain(&mut second).0.starts_with(b"HTTP/1.1 503 "));
    drop((first, second));
    world.settle();
    world.client();
}

#[test]
fn each_broken_frame_closes_with_its_code() {
    let unmasked = [&[0x81, 2][..], b"{}"].concat();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("unmasked", unmasked, "close 1002"),
        ("reserved bit", frame(0xc1, b"{}"), "close 1002"),
        ("continuation of nothing", frame(0x80, b"{}"), "close 1002"),
        ("unknown opcode", frame(0x83, b"{}"), "close 1002"),
        ("not UTF-8", frame(0x81, &[0xff, 0xfe]), "close 1007"),
        ("too big", frame(0x81, &vec![b' '; 65_000]), "close 1009"),
    ];
    for (name, bytes, close) in cases {
        let mut world = World::new(1, GatewayOptions { message_bytes_max: 60_000, ..options() });
        let mut client = world.client();
        assert_eq!(raw(&mut world, &mut client, &bytes), [close], "{name}");
        let mut rest = Vec::new();
        assert_eq!(client.socket.get_mut().read_to_end(&mut rest).unwrap(), 0, "{name}: our side is shut");
        drop(client);
        assert_eq!(world.counter("connections"), 0, "{name}");
    }
}

#[test]
fn fragments_make_one_message_and_together_keep_the_limit() {
    let mut world = World::new(1, GatewayOptions { message_bytes_max: 1_000, ..options() });
    let mut client = world.client();
    let parts = [frame(0x01, br#"{"action":"#), frame(0x89, b"hi"), frame(0x80, br#""ping"}"#)].concat();
    assert_eq!(raw(&mut world, &mut client, &parts), ["pong"]);
    let parts = [frame(0x01, &[b' '; 600]), frame(0x80, &[b' '; 600])].concat();
    assert_eq!(raw(&mut world, &mut client, &parts), ["close 1009"]);
}

#[test]
fn a_ping_frame_gets_its_pong() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    client.socket.get_mut().write_all(&frame(0x89, b"hello")).unwrap();
    world.settle();
    assert_eq!(client.message(), Some(Message::Pong("hello".into())));
}

#[test]
fn each_ping_of_a_burst_has_its_pong_in_order() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    let pings: Vec<u8> = (0..10u8).flat_map(|n| frame(0x89, &[n])).collect();
    client.socket.get_mut().write_all(&pings).unwrap();
    world.settle();
    for n in 0..10u8 {
        assert_eq!(client.message(), Some(Message::Pong(vec![n].into())));
    }
}

#[test]
fn a_ping_sent_with_the_request_is_answered_after_it() {
    let mut world = World::new(1, options());
    let mut client = world.unwelcomed(&frame(0x89, b"early"));
    assert_eq!(client.message(), Some(Message::Pong("early".into())));
    assert_eq!(words(&client.all()), ["welcome"]);
}

#[test]
fn what_came_before_a_broken_frame_is_answered() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    let bytes = [frame(0x81, br#"{"action":"ping"}"#), frame(0xc1, b"{}")].concat();
    assert_eq!(raw(&mut world, &mut client, &bytes), ["pong", "close 1002"]);
}

#[test]
fn a_close_is_echoed_and_ends_the_socket() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    assert_eq!(raw(&mut world, &mut client, &frame(0x88, &1000u16.to_be_bytes())), ["close 1000"]);
    drop(client);
    assert_eq!(world.counter("connections"), 0);
}

#[test]
fn a_bad_request_gets_its_error_and_the_connection_stays() {
    let mut world = World::new(1, GatewayOptions { subscriptions_max: 2, ..options() });
    let mut client = world.client();
    let cases = [
        ("{", "malformed_json"),
        ("[]", "wrong_type"),
        (r#"{"action":"list","id":[]}"#, "wrong_type"),
        (r#"{}"#, "missing_field"),
        (r#"{"action":"jump"}"#, "unknown_action"),
        (r#"{"action":"subscribe","channel":"bras","symbols":["A"]}"#, "unknown_channel"),
        (
            r#"{"action":"subscribe","channel":"bars","symbols":["A"],"timeframes":["7m"]}"#,
            "unknown_timeframe",
        ),
        (r#"{"action":"subscribe","channel":"trades","symbols":["A\u0000"]}"#, "bad_symbol"),
        (r#"{"action":"subscribe","channel":"trades","symbols":["A"],"format":"xml"}"#, "unknown_format"),
        (r#"{"action":"subscribe","channel":"trades","symbols":["A","B","C"]}"#, "too_many_subscriptions"),
        (r#"{"action":"unsubscribe","channel":"trades","symbols":["A"]}"#, "not_subscribed"),
        (r#"{"action":"snapshot","channel":"trades","symbols":["NEVER"]}"#, "unknown_symbol"),
    ];
    for (request, code) in cases {
        let seen = world.ask(&mut client, request);
        assert_eq!(seen.len(), 1, "{request}");
        assert_eq!(seen[0]["code"], code, "{request}");
        assert!(seen[0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{request}");
    }
    client.socket.send(Message::binary(vec![1, 2, 3])).unwrap();
    world.settle();
    assert_eq!(client.next()["code"], "binary_not_accepted");
    let seen = world.ask(&mut client, r#"{"action":"nope","id":"x\"y"}"#);
    assert_eq!(seen[0]["id"], "x\"y");
    assert_eq!(world.ask(&mut client, r#"{"action":"ping"}"#), [json!({"type":"pong"})]);
    assert!(world.symbols.is_empty(), "a refused request adds no symbol");
}

#[test]
fn a_full_table_of_symbols_is_said_so() {
    let mut world = World::new(1, options());
    for n in 0..64 {
        world.symbol(&format!("S{n}"));
    }
    let mut client = world.client();
    let seen = world.ask(&mut client, r#"{"action":"subscribe","channel":"trades","symbols":["NEW"]}"#);
    assert_eq!(seen[0]["code"], "symbols_max");
}

#[test]
fn a_flood_of_requests_is_closed() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    for _ in 0..101 {
        client.send(r#"{"action":"ping"}"#);
    }
    world.settle();
    assert_eq!(words(&client.all()).last().map(String::as_str), Some("close 1008"));
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let mut world = World::new(1, options());
    let mut silent = world.client();
    let mut alive = world.client();
    world.pass(Nanos::from_secs(31));
    assert_eq!(alive.message(), Some(Message::Ping("".into())));
    alive.all();
    world.pass(Nanos::from_millis(29_200));
    let (bytes, ended) = drain(silent.socket.get_mut());
    // The ping, then the close; nobody is waited for.
    assert_eq!((&bytes[..2], &bytes[4..6]), (&[0x89, 0][..], &4010u16.to_be_bytes()[..]));
    assert!(ended);
    assert!(words(&alive.all()).is_empty());
    assert_eq!(world.ask(&mut alive, r#"{"action":"ping"}"#).len(), 1);
}

#[test]
fn a_stop_flushes_says_goodbye_and_finishes() {
    let mut world = World::new(1, options());
    let (mut client, topic) = world.follower("A");
    let now = world.clock.now();
    world.core.begin_stop(now);
    assert!(world.events[0].push(trade(topic, 1)).is_ok());
    world.events.clear();
    world.settle();
    assert_eq!(words(&client.all()), ["trade@1", "close 1001"]);
    world.settle();
    drop(client);
    world.settle();
    assert_eq!(world.core.live_stages(), 0);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut world = World::new(1, options());
    let client = world.client();
    client.socket.get_ref().set_receive_capacity(0);
    let now = world.clock.now();
    world.core.begin_stop(now);
    world.pass(Nanos::from_millis(1_900));
    assert_eq!(world.core.live_stages(), 0);
}

#[test]
fn the_end_of_all_input_ends_the_gateway() {
    let mut world = World::new(2, options());
    let mut client = world.client();
    world.events.clear();
    world.settle();
    assert_eq!(words(&client.all()), ["close 1001"]);
    drop(client);
    world.settle();
    assert_eq!(world.core.live_stages(), 0);
}

#[test]
fn stats_count_what_was_done() {
    let mut world = World::new(1, options());
    let mut client = world.client();
    let seen = world.ask(&mut client, r#"{"action":"stats","id":1}"#);
    assert_eq!((&seen[0]["type"], &seen[0]["id"]), (&json!("stats"), &json!(1)));
    assert_eq!((&seen[0]["data"]["connections"], &seen[0]["data"]["accepted"]), (&json!(1), &json!(1)));
}

#[test]
fn no_bytes_make_the_gateway_fall_over() {
    let mut world = World::new(1, options());
    // A fixed linear congruential sequence: the same bytes in every run.
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut byte = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    let right = [
        ("/v1/stream", r#"{"action":"subscribe","channel":"bars","symbols":["A"],"timeframes":["1m"]}"#),
        (
            "/ws",
            r#"{"type":"subscription","data":{"action":"subscribe","symbols":["A"],"timeframes":["1m"]}}"#,
        ),
        ("/api/ws", r#"{"type":"subscribe","channel":"ticker","ticker":"A"}"#),
        ("/stocks", r#"{"action":"subscribe","params":"T.A,Q.A,A.*,AM.A"}"#),
    ];
    for round in 0..1_200 {
        let (path, request) = right[round / 3 % right.len()];
        let length = usize::from(byte()) * 4;
        let noise: Vec<u8> = (0..length).map(|_| byte()).collect();
        let mut end = world.raw();
        match round % 3 {
            0 => end.write_all(&noise).unwrap(),
            1 => end.write_all(&[upgrade(path).as_bytes(), &noise].concat()).unwrap(),
            _ => {
                let mut text = request.as_bytes().to_vec();
                for _ in 0..3 {
                    let place = usize::from(byte()) % text.len();
                    text[place] = byte() & 0x7f;
                }
                let bytes = [upgrade(path).into_bytes(), frame(0x81, &text)].concat();
                end.write_all(&bytes).unwrap();
            }
        }
        world.settle();
    }
    world.pass(Nanos::from_secs(7));
    let mut client = world.client();
    assert_eq!(world.ask(&mut client, r#"{"action":"ping"}"#).len(), 1);
    assert_eq!(world.counter("connections"), 1);
}
