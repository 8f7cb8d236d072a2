//! The echo path, where a conformance suite is to be let in.

use tickwire::gateway::GatewayOptions;
use tungstenite::Message;

use crate::harness::*;

const LONGEST: usize = 300_000;

fn world() -> World {
    let few = GatewayOptions { requests_per_s_max: 1, request_bytes_per_s_max: 1_000_000, ..options() };
    let small = GatewayOptions { message_bytes_max: 65_536, outbox_answers_bytes_max: 16 << 20, ..few };
    World::new(1, GatewayOptions { echo_bytes_max: Some(LONGEST), ..small })
}

fn client(world: &mut World) -> Client {
    world.client_at("/echo", b"")
}

/// What comes back, the client reading as the gateway writes.
fn echo(world: &mut World, client: &mut Client) -> Message {
    for _ in 0..100 {
        world.settle();
        if let Some(message) = client.message() {
            return message;
        }
    }
    panic!("no echo");
}

#[test]
fn a_message_comes_back_as_it_was_whatever_its_length() {
    let mut world = world();
    let mut client = client(&mut world);
    for length in [0, 1, 125, 126, 65_535, 65_536, LONGEST] {
        for message in [Message::text("é".repeat(length / 2)), Message::binary(vec![0xff; length])] {
            client.socket.send(message.clone()).unwrap();
            assert_eq!(echo(&mut world, &mut client), message, "{length} bytes");
        }
    }
    drop(client);
    assert_eq!(world.counter("frames_held"), 0);
}

#[test]
fn only_the_echo_path_takes_its_long_messages() {
    let mut world = world();
    let mut client = client(&mut world);
    client.socket.send(Message::binary(vec![0; LONGEST + 1])).unwrap();
    world.settle();
    assert_eq!(words(&client.all()), ["close 1009"]);
    let mut native = world.client();
    native.send(&" ".repeat(LONGEST));
    world.settle();
    assert_eq!(words(&native.all()), ["close 1009"]);
}

#[test]
fn a_client_that_reads_no_echo_is_not_read_either() {
    let mut world = world();
    let mut client = client(&mut world);
    client.socket.get_ref().set_receive_capacity(1);
    for n in 0..200u8 {
        // The link holds what the gateway does not read; beyond that the client would wait.
        if client.socket.send(Message::binary(vec![n; 100_000])).is_err() {
            break;
        }
        world.settle();
    }
    assert!(world.counter("messages_in") < 20, "echoes pile up for a client that does not read");
    assert_eq!(world.counter("slow_closed"), 0);
    client.socket.get_ref().set_receive_capacity(ROOM);
    for n in 0..10u8 {
        assert_eq!(echo(&mut world, &mut client), Message::binary(vec![n; 100_000]));
    }
}
