//! The HTTP request: [`read_upgrade`] alone, then through the gateway, cut in two ways.
//!
//! Input: a byte that chooses the cuts, then what a client sends.

use tickwire::runtime::websocket::{REQUEST_BYTES_MAX, read_upgrade};
use tungstenite::handshake::derive_accept_key;

use super::engine::{World, pieces, status, upgrade};

pub fn run(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let expected = match read_upgrade(bytes, REQUEST_BYTES_MAX) {
        Ok(None) => None,
        Ok(Some(read)) => {
            assert!(read.consumed <= bytes.len().min(REQUEST_BYTES_MAX));
            let key = read.request.headers().get("sec-websocket-key").expect("checked by the reader");
            let accept = format!("Sec-WebSocket-Accept: {}\r\n", derive_accept_key(key.as_bytes()));
            let response = String::from_utf8(read.response).expect("ASCII").to_ascii_lowercase();
            assert!(response.starts_with("http/1.1 101 ") && response.ends_with("\r\n\r\n"), "{response}");
            assert!(response.contains(&accept.to_ascii_lowercase()), "{response}");
            // What is not yet the whole request is neither one nor a fault.
            for length in [0, read.consumed / 2, read.consumed - 1] {
                assert!(
                    matches!(read_upgrade(&bytes[..length], REQUEST_BYTES_MAX), Ok(None)),
                    "at {length} bytes"
                );
            }
            assert_eq!(
                read_upgrade(&bytes[..read.consumed], REQUEST_BYTES_MAX).ok().flatten().map(|r| r.consumed),
                Some(read.consumed)
            );
            Some(match read.path.as_str() {
                path if super::frames::paths().contains(&path) => 101,
                _ => 404,
            })
        }
        Err(refusal) => {
            let response = refusal.response();
            assert_eq!(status(&response).map(|(code, _)| code), Some(refusal.status));
            Some(refusal.status)
        }
    };
    let whole = through_the_gateway(bytes, 0);
    assert_eq!(whole, expected, "through the gateway");
    let in_pieces = through_the_gateway(bytes, cut);
    match expected {
        // A fault may be answered only when the head is whole, which it may never be.
        Some(400..) if in_pieces.is_none() => {}
        _ => assert_eq!(in_pieces, whole, "in pieces of {:?}", pieces(cut)),
    }
}

fn through_the_gateway(bytes: &[u8], cut: u8) -> Option<u16> {
    let mut world = World::new();
    world.send(bytes, &pieces(cut));
    let code = status(world.answer()).map(|(code, _)| code);
    world.end();
    code
}

pub fn seeds() -> Vec<Vec<u8>> {
    let real = upgrade("/v1/stream");
    let browser = "GET /v1/stream?token=x HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\
        Accept-Encoding: gzip, deflate, br\r\nOrigin: http://localhost\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
        Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nCookie: a=b; c=d\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\n\
        sec-websocket-version: 13\r\nUpgrade: WebSocket\r\n\r\n";
    let texts = [
        real.clone(),
        upgrade("/echo"),
        upgrade("/nowhere"),
        browser.to_owned(),
        real.replace("\r\n", "\n"),
        real.replace("13", "8"),
        real.replace("GET", "POST"),
        real.replace("1.1", "1.0"),
        real.replace("dGhl", "===="),
        real.replace("websocket", "h2c"),
        format!("{real}\u{1}\u{2}bytes after it"),
        format!("{}X: {}\r\n\r\n", real.trim_end_matches("\r\n"), "y".repeat(300)),
        "\r\n\r\n".to_owned(),
    ];
    let mut seeds = vec![b"\x01\x00\x01garbage".to_vec()];
    for (n, text) in texts.iter().enumerate() {
        seeds.push([&[[1u8, 7, 77, 200][n % 4]], text.as_bytes()].concat());
    }
    seeds
}
