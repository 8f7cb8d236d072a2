//! A whole engine on the fuzzer's own thread, under a clock that stands still, with one client on the network in memory.

use std::io::{ErrorKind, Read, Write};

use tickwire::config::Config;
use tickwire::model::{Nanos, Timeframes, UnixNanos};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::transport::{End, Network};
use tickwire::topology::{Engine, Outlet};

const PORT: u16 = 80;
const START: UnixNanos = UnixNanos(1_770_474_600_000_000_000);
/// Longest message of a client, here and on the echo path.
pub const MESSAGE_BYTES_MAX: usize = 2_000;
/// More than any input brings or any answer takes.
const ROOM: usize = 1 << 24;
/// A turn that leaves something to do is followed by another; so many mean that it is never done.
const TURNS_MAX: usize = 100_000;

/// An engine with one client.
pub struct World {
    engine: Engine,
    clock: ManualClock,
    client: End,
    answer: Vec<u8>,
}

impl World {
    /// A fresh one: what an input does never depends on the inputs before it.
    pub fn new() -> Self {
        let mut config = Config::from_environment(|_| None).expect("the defaults are good");
        config.symbols_max = 64;
        config.candles.timeframes = Timeframes::parse("1s,1m").expect("a constant");
        (config.candles.history_bytes_max, config.candles.trades_bytes_max) = (1 << 20, 1 << 20);
        (config.layout.ticks_depth, config.layout.events_depth) = (16, 256);
        config.layout.interests_depth = 64;
        config.gateway.listen = ([127, 0, 0, 1], PORT).into();
        config.gateway.message_bytes_max = MESSAGE_BYTES_MAX;
        config.gateway.echo_bytes_max = Some(MESSAGE_BYTES_MAX);
        // A flood is for other tests; here each message is to be looked at.
        config.gateway.requests_per_s_max = u32::MAX;
        config.gateway.request_bytes_per_s_max = usize::MAX;
        config.gateway.control_frames_per_s_max = u32::MAX;
        let (clock, network) = (ManualClock::at(START), Network::default());
        let made = || Clock::Manual(clock.clone());
        let engine = Engine::inline(config, Outlet::Gateway, None, "fuzz".to_owned(), &made, network.clone())
            .unwrap_or_else(|error| panic!("{error}"));
        let client = network.connect(PORT, ROOM).expect("the gateway listens");
        let mut world = Self { engine, clock, client, answer: Vec::new() };
        world.settle();
        world
    }

    /// Sends bytes in pieces of these lengths, over and over; the gateway works between them. No lengths: all at once.
    pub fn send(&mut self, bytes: &[u8], lengths: &[usize]) {
        let mut rest = bytes;
        let mut lengths = lengths.iter().copied().cycle();
        while !rest.is_empty() {
            let n = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
            // A gateway that has closed takes no more.
            if self.client.write_all(&rest[..n]).is_err() {
                return;
            }
            rest = &rest[n..];
            self.settle();
            self.listen();
        }
    }

    /// All that was answered so far.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Ends the client, and requires that nothing is left of it.
    pub fn end(self) {
        let Self { mut engine, clock, client, .. } = self;
        drop(client);
        turn(&mut engine);
        clock.advance(Nanos::from_millis(1_200));
        turn(&mut engine);
        let last = engine.reports.try_iter().filter(|report| report.stage.starts_with("gateway")).last();
        let report = last.expect("a report each second");
        for name in ["connections", "subscriptions", "frames_held", "interests_waiting"] {
            let value = report.counters.iter().find(|(counter, _)| counter == name).map(|(_, value)| *value);
            assert_eq!(value, Some(0), "{name} after the client has gone");
        }
    }

    fn settle(&mut self) {
        turn(&mut self.engine);
    }

    fn listen(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.client.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => self.answer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the gateway reset the client: {error}"),
            }
        }
    }
}

fn turn(engine: &mut Engine) {
    for _ in 0..TURNS_MAX {
        if !engine.cores[0].turn() {
            return;
        }
    }
    panic!("the engine never comes to rest");
}

/// Lengths of pieces that a byte chooses: 0 is all at once, 1 byte by byte.
pub fn pieces(choice: u8) -> Vec<usize> {
    match choice {
        0 => Vec::new(),
        1..=7 => vec![usize::from(choice)],
        _ => (0..4u32).map(|n| 1 + usize::from(choice.rotate_left(n * 2) & 0x3f)).collect(),
    }
}

/// The request for a WebSocket at a path.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The HTTP status of an answer, if there is one yet, and what follows its head.
pub fn status(answer: &[u8]) -> Option<(u16, &[u8])> {
    if answer.is_empty() {
        return None;
    }
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head") + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("a head in ASCII");
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Some((code.unwrap_or_else(|| panic!("no status: {text:?}")), &answer[head..]))
}
