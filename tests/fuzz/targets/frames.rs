//! A client's frames through the whole engine: arbitrary bytes, cut arbitrarily, on every path there is.
//!
//! Input: a byte that chooses the path and the form, one that chooses the cuts, then either the bytes of frames as they are, or
//! a list of (first byte, length, payload) that is made into masked frames. What the echo path answers is compared to a plain
//! reading of RFC 6455.

use tickwire::gateway::close;
use tickwire::gateway::dialect::TABLE;

use super::engine::{MESSAGE_BYTES_MAX, World, pieces, status, upgrade};
use super::reference::{self, End, Sent};

const ECHO: &str = "/echo";
/// An unmasked, masked or broken frame as it is: the form's bit in the first byte.
const AS_IT_IS: u8 = 0x80;

/// Every path that is served.
pub fn paths() -> Vec<&'static str> {
    std::iter::once(ECHO).chain(TABLE.iter().map(|dialect| dialect.path())).collect()
}

pub fn run(data: &[u8]) {
    let [choice, cut, rest @ ..] = data else { return };
    let paths = paths();
    let path = paths[usize::from(choice & !AS_IT_IS) % paths.len()];
    let wire = if choice & AS_IT_IS == 0 { masked(rest) } else { rest.to_vec() };
    let mut answers = Vec::new();
    // The same bytes at once and in pieces.
    for lengths in [Vec::new(), pieces(*cut)] {
        let mut world = World::new();
        world.send(upgrade(path).as_bytes(), &[]);
        world.send(&wire, &lengths);
        let (code, frames) = status(world.answer()).expect("an answer");
        assert_eq!(code, 101, "{path}");
        let answer = Answer::read(frames);
        if path == ECHO {
            answer.is_owed(&reference::read(&wire, MESSAGE_BYTES_MAX));
        } else {
            answer.is_json();
        }
        answers.push(answer);
        world.end();
    }
    assert_eq!(answers[0].close, answers[1].close, "the close depends on the cuts");
}

/// A list of frames with a mask each.
fn masked(mut rest: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    while let [first, length, after @ ..] = rest {
        let n = usize::from(*length).min(after.len());
        wire.extend(frame(*first, &after[..n]));
        rest = &after[n..];
    }
    wire
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ KEY[n % 4]));
    bytes
}

/// What a gateway sent after its handshake.
struct Answer {
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    /// 0 for a close without a code.
    close: Option<u16>,
}

impl Answer {
    /// Reads it, and requires that each frame is one that a server may send.
    fn read(mut rest: &[u8]) -> Self {
        let mut answer = Self { messages: Vec::new(), pongs: Vec::new(), close: None };
        while !rest.is_empty() {
            assert!(answer.close.is_none(), "something after the close: {}", rest.escape_ascii());
            let [first, second, after @ ..] = rest else { panic!("half a header") };
            let (width, short) = match second {
                126 => (2, 0),
                127 => (8, 0),
                length => (0, usize::from(*length)),
            };
            let length = after[..width].iter().fold(short, |n, &byte| n << 8 | usize::from(byte));
            assert!(width == 0 || length > 125, "a length in more bytes than it needs");
            let payload = &after[width..width + length];
            rest = &after[width + length..];
            match first {
                0x81 => {
                    assert!(std::str::from_utf8(payload).is_ok(), "text that is not UTF-8");
                    answer.messages.push((1, payload.to_vec()));
                }
                0x82 => answer.messages.push((2, payload.to_vec())),
                0x88 => {
                    answer.close = Some(match payload {
                        [] => 0,
                        [high, low, ..] => u16::from_be_bytes([*high, *low]),
                        [_] => panic!("half a close code"),
                    });
                    assert!(length <= 125);
                }
                0x8a => {
                    assert!(length <= 125);
                    answer.pongs.push(payload.to_vec());
                }
                other => panic!("a frame of first byte {other:#x}"),
            }
        }
        answer
    }

    fn is_json(&self) {
        for (opcode, payload) in &self.messages {
            let value = serde_json::from_slice::<serde_json::Value>(payload);
            assert!(*opcode == 1 && value.is_ok(), "not JSON: {}", payload.escape_ascii());
        }
        let ours = |code: u16| close::TABLE.iter().any(|row| row.code == code);
        // A client's own code is given back to it.
        assert!(
            self.close.is_none_or(|code| ours(code) || matches!(code, 0 | 1003 | 1010..=1014 | 3000..=4999))
        );
    }

    fn is_owed(&self, sent: &Sent) {
        match &sent.end {
            End::Open => assert_eq!(self.close, None),
            End::MayBreak(codes) => {
                assert!(self.close.is_none_or(|code| codes.contains(&code)), "{:?}", self.close)
            }
            End::Broken(codes) | End::Closed(codes) => {
                assert!(
                    self.close.is_some_and(|code| codes.contains(&code)),
                    "{:?}, not {codes:?}",
                    self.close
                );
            }
        }
        if matches!(sent.end, End::Closed(_)) {
            // Who says goodbye may not hear the rest.
            assert!(sent.messages.starts_with(&self.messages), "{:?}", self.messages);
        } else {
            assert_eq!(self.messages, sent.messages);
        }
        let mut pings = sent.pings.iter();
        assert!(self.pongs.iter().all(|pong| pings.any(|ping| ping == pong)), "a pong without its ping");
        assert_eq!(self.pongs.last(), sent.pings.last(), "the newest ping has its pong");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let requests = super::requests::documented();
    let mut seeds = Vec::new();
    let list = |frames: &[(u8, &[u8])]| {
        let one = |(first, payload): &(u8, &[u8])| [&[*first, payload.len() as u8], *payload].concat();
        frames.iter().flat_map(one).collect::<Vec<u8>>()
    };
    for (n, path) in (0u8..).zip(paths()) {
        for (request, cut) in requests.iter().zip([0u8, 1, 5, 200].into_iter().cycle()) {
            let bytes = request.as_bytes();
            if path != ECHO && bytes.len() < 256 {
                seeds.push([&[n, cut][..], &list(&[(0x81, bytes)])].concat());
            }
        }
        let several: Vec<(u8, &[u8])> =
            requests.iter().filter(|r| r.len() < 256).map(|r| (0x81, r.as_bytes())).collect();
        seeds.push([&[n, 33][..], &list(&several)].concat());
        let parts: &[(u8, &[u8])] =
            &[(0x01, b"{\"action\":"), (0x89, b"hi"), (0x00, b""), (0x80, b"\"ping\"}"), (0x82, &[0xff])];
        seeds.push([&[n, 3][..], &list(parts)].concat());
        seeds.push([&[n, 2][..], &list(&[(0x81, "é€😀".as_bytes()), (0x88, &[3, 232, b'x'])])].concat());
        seeds.push([&[n, 9][..], &list(&[(0x01, &[0xe2, 0x82]), (0x80, &[0xac]), (0x88, &[])])].concat());
        seeds.push([&[n, 1][..], &list(&[(0x81, &[0xff]), (0x81, b"{}")])].concat());
        seeds.push(
            [&[n | AS_IT_IS, 4][..], &frame(0x81, b"{\"action\":\"ping\"}"), &frame(0xc1, b"x")].concat(),
        );
        seeds.push([&[n | AS_IT_IS, 0][..], &frame(0x82, &[7; 300]), &[0x81, 2, b'{', b'}']].concat());
        seeds.push(vec![n | AS_IT_IS, 6, 0x82, 0xff, 0, 0, 0, 0, 0, 0, 8, 0, 1, 2, 3, 4]);
        seeds.push([&[n, 1][..], &list(&[(0x89, &b"1"[..]); 20])].concat());
    }
    seeds
}
