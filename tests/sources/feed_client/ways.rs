//! Ways in: plain and TLS, names and addresses, and messages in every shape that is allowed.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tickwire::ingest::Outside;
use tickwire::runtime::resolver::Resolver;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Bytes, Message};

use super::harness::{
    Authority, PATIENCE, Rig, Script, Venue, await_request, endpoint, read_all, secured, source, trade, ws,
};

#[test]
fn trades_come_over_a_plain_connection_and_the_engine_says_goodbye() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        for id in 1..=100 {
            socket.send(trade(id).into()).unwrap();
        }
        read_all(socket)
    })]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_ids(1..=100);
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    let seen = venue.finish(&mut rig).remove(0);
    let Some(Message::Close(Some(frame))) = seen.last() else { panic!("no close among {seen:?}") };
    assert_eq!(u16::from(frame.code), 1001);
}

#[test]
fn the_request_is_what_was_configured_and_offers_no_extension() {
    let script: Script<String> = Box::new(|stream| {
        let mut text = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
        let look = |request: &tungstenite::handshake::server::Request, answer| {
            text = format!("{} {:?}", request.uri(), request.headers());
            Ok(answer)
        };
        tungstenite::accept_hdr(stream, look).unwrap();
        text
    });
    let venue = Venue::new(vec![script]);
    let host = venue.addr.to_string();
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    let text = venue.finish(&mut rig).remove(0);
    for part in ["/stream?x=1 ", r#""x-key": "sesame""#, &format!(r#""host": "{host}""#)] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("sec-websocket-extensions"), "{text}");
}

#[test]
fn trades_come_over_tls_and_the_host_is_named_to_the_server() {
    let authority = Authority::new("good.pem", &["localhost"]);
    let venue = Venue::new(vec![authority.wss(|socket| {
        await_request(socket);
        let tls = &socket.get_ref().conn;
        let seen = (tls.server_name().map(str::to_owned), tls.protocol_version());
        // Longer than a record of TLS and than one read.
        socket.send(format!("[{}]", vec![trade(1); 300].join(",")).into()).unwrap();
        for id in 2..=2_000 {
            socket.write(trade(id).into()).unwrap();
        }
        socket.flush().unwrap();
        read_all(socket);
        seen
    })]);
    let resolver = |core: &tickwire::runtime::core::Core| Outside {
        resolver: Some(Resolver::spawn(1, core.bell()).unwrap()),
        ..Outside::default()
    };
    let endpoint = secured("localhost", venue.addr, authority.ca_file);
    let mut rig = Rig::joined(vec![source("v", endpoint)], 65_536, resolver);
    rig.until_ids(std::iter::repeat_n(1, 300).chain(2..=2_000));
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    let (name, version) = venue.finish(&mut rig).remove(0);
    assert_eq!(name.as_deref(), Some("localhost"));
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn an_address_can_be_had_over_tls_and_over_ipv6() {
    let authority = Authority::new("address.pem", &["127.0.0.1", "::1"]);
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let play = |socket: &mut tungstenite::WebSocket<_>| {
            await_request(socket);
            socket.send(trade(7).into()).unwrap();
        };
        let venue = Venue::at(addr, vec![authority.wss(play)]);
        let endpoint = secured(&venue.addr.ip().to_string(), venue.addr, authority.ca_file.clone());
        let mut rig = Rig::new(vec![source("v", endpoint)]);
        rig.until_ids([7]);
        venue.finish(&mut rig);
    }
    let play = |socket: &mut tungstenite::WebSocket<_>| {
        await_request(socket);
        socket.send(trade(8).into()).unwrap();
    };
    let venue = Venue::at("[::1]:0", vec![ws(play)]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_ids([8]);
    venue.finish(&mut rig);
}

#[test]
fn the_addresses_of_a_name_are_tried_in_turn() {
    let (dead, live) = (
        free_address(),
        Venue::new(vec![ws(|socket| {
            await_request(socket);
            socket.send(trade(3).into()).unwrap();
        })]),
    );
    let addresses = vec![dead, live.addr];
    let mut named = endpoint(live.addr);
    named.host = "venue.example".to_owned();
    let oracle = |core: &tickwire::runtime::core::Core| {
        let (resolver, oracle) = Resolver::pair(core.bell());
        std::thread::spawn(move || while oracle.answer_next(|_| Ok(addresses.clone())) {});
        Outside { resolver: Some(resolver), ..Outside::default() }
    };
    let mut rig = Rig::joined(vec![source("v", named)], 64, oracle);
    rig.until_ids([3]);
    rig.until_note(&format!("{dead}: "));
    live.finish(&mut rig);
}

#[test]
fn a_name_that_hangs_blocks_nobody() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        for id in 1..=50 {
            socket.send(trade(id).into()).unwrap();
        }
        // Until the other feed's name was given up.
        let mut byte = [0];
        let _ = std::io::Read::read(socket.get_mut(), &mut byte);
    })]);
    let mut hangs = endpoint(venue.addr);
    hangs.host = "hangs.example".to_owned();
    let mut silent = None;
    let outside = |core: &tickwire::runtime::core::Core| {
        let (resolver, oracle) = Resolver::pair(core.bell());
        silent = Some(oracle);
        Outside { resolver: Some(resolver), ..Outside::default() }
    };
    let mut rig = Rig::joined(vec![source("a", hangs), source("b", endpoint(venue.addr))], 4096, outside);
    rig.until_ids(1..=50);
    rig.until_note("lost: timed out");
    assert!(rig.longest < Duration::from_millis(500), "a turn took {:?}", rig.longest);
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    venue.finish(&mut rig);
}

#[test]
fn an_answer_in_single_bytes_is_read_and_what_follows_its_head_is_kept() {
    let script: Script<()> = Box::new(|mut stream| {
        let mut request = Vec::new();
        let upgrade = loop {
            let mut piece = [0; 512];
            let n = std::io::Read::read(&mut stream, &mut piece).unwrap();
            request.extend_from_slice(&piece[..n]);
            if let Some(upgrade) = tickwire::runtime::websocket::read_upgrade(&request, 8192).unwrap() {
                break upgrade;
            }
        };
        stream.set_nodelay(true).unwrap();
        let text = trade(1);
        let mut answer = upgrade.response;
        answer.extend_from_slice(&[0x81, 126, 0, text.len() as u8]);
        answer.extend_from_slice(text.as_bytes());
        let last = answer.len() - text.len() - 10;
        for byte in &answer[..last] {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(&answer[last..]).unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 512]);
    });
    let venue = Venue::new(vec![script]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_ids([1]);
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    venue.finish(&mut rig);
}

#[test]
fn a_message_in_fragments_with_a_ping_between_is_one_and_the_ping_is_answered() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        let text = trade(1);
        let fragment = |part: &str, code, last| {
            Message::Frame(Frame::message(Bytes::copy_from_slice(part.as_bytes()), OpCode::Data(code), last))
        };
        socket.send(fragment(&text[..10], Data::Text, false)).unwrap();
        socket.send(Message::Ping("sign of life".into())).unwrap();
        socket.send(fragment(&text[10..11], Data::Continue, false)).unwrap();
        socket.send(fragment("", Data::Continue, false)).unwrap();
        socket.send(fragment(&text[11..], Data::Continue, true)).unwrap();
        socket.send(Message::Binary(trade(2).into_bytes().into())).unwrap();
        loop {
            if let Message::Pong(payload) = socket.read().unwrap() {
                return payload;
            }
        }
    })]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_ids(1..=2);
    assert_eq!(venue.finish(&mut rig).remove(0), "sign of life");
}

#[test]
fn a_full_ring_leaves_the_connection_unread_and_nothing_is_lost() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        for id in 1..=20_000 {
            socket.write(trade(id).into()).unwrap();
        }
        socket.flush().unwrap();
        let _ = socket.read();
    })]);
    let mut rig = Rig::joined(vec![source("v", endpoint(venue.addr))], 2, |_| Outside::default());
    // Turns without anybody who makes room.
    let begin = Instant::now();
    while rig.shard.waiting() < 2 && begin.elapsed() < PATIENCE {
        rig.core.turn();
    }
    for _ in 0..1_000 {
        rig.core.turn();
    }
    assert_eq!(rig.shard.waiting(), 2);
    rig.until_ids(1..=20_000);
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    venue.finish(&mut rig);
}

/// An address where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
