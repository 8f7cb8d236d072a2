//! Ways to fail: each is told by its name, and is no more than a lost connection.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use tickwire::model::Nanos;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use super::harness::{
    Authority, PATIENCE, Rig, Script, Venue, await_request, endpoint, read_all, secured, source, trade, ws,
};

/// Reads the request and answers it with these bytes.
fn answers(bytes: Vec<u8>) -> Script<()> {
    Box::new(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let _ = stream.write_all(&bytes);
        // Until it is told apart: an end before that would be another failure.
        let _ = stream.read(&mut [0; 1]);
    })
}

fn fails_with(script: Script<()>, note: &str) {
    let venue = Venue::new(vec![script]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_note(note);
    drop(rig.core);
}

#[test]
fn another_status_than_an_upgrade_is_told() {
    for (status, line) in
        [(401, "Unauthorized"), (429, "Too Many Requests"), (503, "Unavailable"), (200, "OK")]
    {
        let answer = format!("HTTP/1.1 {status} {line}\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n");
        fails_with(answers(answer.into_bytes()), &format!("answered with HTTP {status}"));
    }
}

#[test]
fn an_answer_to_somebody_else_is_no_upgrade() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    fails_with(answers(answer.as_bytes().to_vec()), "Sec-WebSocket-Accept");
}

#[test]
fn an_endless_answer_is_cut_off() {
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nX: ".to_vec();
    answer.resize(1 << 20, b'x');
    fails_with(answers(answer), "longer than 16 KiB");
}

#[test]
fn what_is_no_http_at_all_is_told_at_once() {
    fails_with(answers(b"220 mail.example ESMTP\r\n".to_vec()), "protocol error");
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut rig = Rig::new(vec![source("v", endpoint(addr))]);
    rig.until_note("lost: connection refused");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let authority = Authority::new("never.pem", &["127.0.0.1"]);
    let silent =
        || -> Script<()> { Box::new(|mut stream| while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}) };
    for tls in [false, true] {
        let venue = Venue::new(vec![silent()]);
        let endpoint = match tls {
            false => endpoint(venue.addr),
            true => secured("127.0.0.1", venue.addr, authority.ca_file.clone()),
        };
        let mut source = source("v", endpoint);
        source.handshake_max = Nanos::from_millis(150);
        let mut rig = Rig::new(vec![source]);
        rig.until_note("lost: timed out");
        venue.finish(&mut rig);
    }
}

#[test]
fn a_certificate_of_another_authority_or_for_another_host_is_refused() {
    let (ours, theirs) =
        (Authority::new("ours.pem", &["127.0.0.1"]), Authority::new("theirs.pem", &["localhost"]));
    let venue = Venue::new(vec![theirs.tls_only()]);
    let mut rig = Rig::new(vec![source("v", secured("127.0.0.1", venue.addr, ours.ca_file))]);
    rig.until_note("lost: TLS: invalid peer certificate: UnknownIssuer");
    assert_eq!(venue.finish(&mut rig), [false]);

    let venue = Venue::new(vec![theirs.tls_only()]);
    let mut rig = Rig::new(vec![source("v", secured("127.0.0.1", venue.addr, theirs.ca_file))]);
    rig.until_note("lost: TLS: invalid peer certificate: certificate not valid for name");
    assert_eq!(venue.finish(&mut rig), [false]);
}

#[test]
fn a_server_without_tls_is_told_apart() {
    let authority = Authority::new("without.pem", &["127.0.0.1"]);
    let venue = Venue::new(vec![answers(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]);
    let mut rig = Rig::new(vec![source("v", secured("127.0.0.1", venue.addr, authority.ca_file))]);
    rig.until_note("lost: TLS: ");
    venue.finish(&mut rig);
}

#[test]
fn authorities_that_cannot_be_read_stop_the_start() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("feed_client");
    std::fs::create_dir_all(&folder).unwrap();
    let empty = folder.join("empty.pem");
    std::fs::write(&empty, "no certificate here\n").unwrap();
    let addr = "127.0.0.1:1".parse().unwrap();
    for (file, why) in [(empty, "holds no certificate"), (folder.join("absent.pem"), "cannot read")] {
        let trust = tickwire::runtime::tls::Trust::new(Some(&file));
        let Err(error) = trust else { panic!("{} was taken", file.display()) };
        assert!(error.to_string().contains(why) && error.to_string().contains(".pem"), "{error}");
        let name = || source("v", secured("127.0.0.1", addr, file.clone()));
        let error = std::panic::catch_unwind(|| Rig::new(vec![name()])).err();
        assert!(error.is_some(), "a stage begins without its authorities");
    }
}

#[test]
fn the_code_and_the_words_of_a_close_are_told_and_the_close_is_answered() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        socket.send(trade(1).into()).unwrap();
        socket.close(Some(CloseFrame { code: 1008.into(), reason: "not today".into() })).unwrap();
        read_all(socket)
    })]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_note(r#"lost: closed with 1008 "not today""#);
    assert_eq!(rig.ids, [1]);
    let seen = venue.finish(&mut rig).remove(0);
    assert!(
        matches!(seen.last(), Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1008),
        "{seen:?}"
    );
}

#[test]
fn half_a_frame_and_a_reset_keep_what_was_whole_and_the_next_connection_serves() {
    let script: Script<()> = Box::new(|stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        await_request(&mut socket);
        socket.send(trade(1).into()).unwrap();
        let stream = socket.get_mut();
        let text = trade(2);
        stream.write_all(&[0x81, 126, 0, text.len() as u8]).unwrap();
        stream.write_all(&text.as_bytes()[..40]).unwrap();
        // The peer has read that much: a reset drops what was not read.
        await_ping(&mut socket);
        socket2::SockRef::from(socket.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    let again = ws(|socket| {
        await_request(socket);
        socket.send(trade(3).into()).unwrap();
        let _ = socket.read();
    });
    let venue = Venue::new(vec![script, again]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_ids([1, 3]);
    rig.until_note("lost: reset");
    rig.core.begin_stop(tickwire::model::UnixNanos(0));
    venue.finish(&mut rig);
}

/// Waits until the client, left alone, asks for a sign of life.
fn await_ping<S: std::io::Read + std::io::Write>(socket: &mut tungstenite::WebSocket<S>) {
    while !matches!(socket.read().unwrap(), Message::Ping(_)) {}
}

#[test]
fn an_end_without_a_close_is_told_plain_and_under_tls() {
    let authority = Authority::new("cut.pem", &["127.0.0.1"]);
    let venue = Venue::new(vec![ws(await_request)]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_note("lost: ended without a close");
    venue.finish(&mut rig);
    // The stream is dropped under TLS, which says nothing then.
    let venue = Venue::new(vec![authority.wss(|socket| {
        await_request(socket);
        socket.send(trade(1).into()).unwrap();
    })]);
    let mut rig = Rig::new(vec![source("v", secured("127.0.0.1", venue.addr, authority.ca_file))]);
    rig.until_note("lost: ended without a close");
    assert_eq!(rig.ids, [1]);
    venue.finish(&mut rig);
}

#[test]
fn a_message_past_the_limit_closes_with_1009_and_is_counted() {
    let venue = Venue::new(vec![ws(|socket| {
        await_request(socket);
        socket.send(trade(1).into()).unwrap();
        // It may be cut off in the middle.
        let _ = socket.send("x".repeat(64 * 1024 + 1).into());
        read_all(socket)
    })]);
    let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
    rig.until_note("lost: a message was too long");
    assert!(rig.notes.iter().any(|note| note.contains("line_too_long")), "{:?}", rig.notes);
    assert_eq!(rig.ids, [1]);
    venue.finish(&mut rig);
}

#[test]
fn a_breach_of_the_protocol_ends_the_connection_with_its_code() {
    let breaches: [(&[u8], u16, &str); 4] = [
        (&[0x81, 3, 0xff, 0xfe, 0xfd], 1007, "not UTF-8"),
        (&[0xc1, 1, b'x'], 1002, "protocol error"),
        (&[0x83, 0], 1002, "protocol error"),
        (&[0x81, 0x81, 1, 2, 3, 4, b'x'], 1002, "protocol error"),
    ];
    for (bytes, code, note) in breaches {
        let venue = Venue::new(vec![ws(move |socket| {
            await_request(socket);
            socket.get_mut().write_all(bytes).unwrap();
            read_all(socket)
        })]);
        let mut rig = Rig::new(vec![source("v", endpoint(venue.addr))]);
        rig.until_note(note);
        let seen = venue.finish(&mut rig).remove(0);
        let told = seen.iter().any(|m| matches!(m, Message::Close(Some(f)) if u16::from(f.code) == code));
        assert!(told, "{bytes:?}: {seen:?}");
    }
}

#[test]
fn a_slow_loris_is_given_up_by_the_deadline_of_its_step() {
    let script: Script<()> = Box::new(|mut stream| {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let begin = std::time::Instant::now();
        let mut request = [0; 4096];
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ").unwrap();
        while begin.elapsed() < PATIENCE && stream.write_all(b"x").is_ok() {
            // The pace of the drops: a read that times out, or the end.
            if matches!(stream.read(&mut request), Ok(0)) {
                break;
            }
        }
    });
    let venue = Venue::new(vec![script]);
    let mut source = source("v", endpoint(venue.addr));
    source.handshake_max = Nanos::from_millis(200);
    let mut rig = Rig::new(vec![source]);
    rig.until_note("lost: timed out");
    venue.finish(&mut rig);
}
