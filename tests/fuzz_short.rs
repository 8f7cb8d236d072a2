//! Every fuzz target over its seeds and over mutants of them, from one seed: the same bytes in each run. `tools/fuzz` runs the
//! same targets for as long as one likes, guided by coverage.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the line it failed on: what a test wants"
)]

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Mutants of a target. `TICKWIRE_FUZZ` asks for another number.
const MUTANTS: usize = 10_000;
/// What numbers, texts and frames break at.
const TOKENS: [&[u8]; 28] = [
    b"1",
    b"4",
    b"255",
    b"256",
    b"null",
    b"-0",
    b"0",
    b"1e400",
    b"-1e-400",
    b"1e-9",
    b"5e-10",
    b"-5e-10",
    b"9223372036854775807",
    b"18446744073709551616",
    b"0.0000000005",
    b"NaN",
    b"\"\"",
    b"[]",
    b"{}",
    b"\\u0000",
    b"\\ud800",
    b"*",
    b"\r\n\r\n",
    b"\n\n",
    b"\xff",
    b"\x88\x00",
    b"\x89\x7d",
    b"\xef\xbb\xbf",
];

/// The splitmix64 sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

/// The next name or number from here on; the end where there is none.
fn word(bytes: &[u8], at: usize) -> Range<usize> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-_".contains(byte);
    let inside = bytes[at..].iter().take_while(|byte| is_word(byte)).count();
    let from = at + inside + bytes[at + inside..].iter().take_while(|byte| !is_word(byte)).count();
    from..from + bytes[from..].iter().take_while(|byte| is_word(byte)).count()
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(16)).min(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..to)),
            3 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            4 => bytes.truncate(at.max(2)),
            5 => {
                let from = random.below(other.len() + 1);
                let until = (from + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            6 => {
                let from = random.below(bytes.len() + 1);
                let again = bytes[word(bytes, from)].to_vec();
                bytes.splice(word(bytes, at), again);
            }
            _ => {
                bytes.splice(word(bytes, at), TOKENS[random.below(TOKENS.len())].iter().copied());
            }
        }
    }
}

fn hold(name: &str, mutants: usize) {
    let target = targets::ALL.iter().find(|target| target.name == name).unwrap();
    let try_out = |bytes: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
            eprintln!("{name} breaks on b\"{}\"", bytes.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    };
    let seeds = (target.seeds)();
    seeds.iter().for_each(|seed| try_out(seed));
    let mut random = Random(0x7469_636b);
    for _ in 0..mutants {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        mutate(&mut bytes, other, &mut random);
        try_out(&bytes);
    }
}

fn mutants() -> usize {
    std::env::var("TICKWIRE_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(MUTANTS)
}

#[test]
fn handshakes_hold() {
    hold("handshake", mutants());
}

#[test]
fn frames_hold() {
    hold("frames", mutants());
}

#[test]
fn requests_hold() {
    hold("requests", mutants() * 4);
}

#[test]
fn csv_rows_hold() {
    hold("csv", mutants() * 4);
}

#[test]
fn massive_messages_hold() {
    hold("massive", mutants() * 4);
}

#[test]
fn binance_messages_hold() {
    hold("binance", mutants() * 4);
}

#[test]
fn answers_of_massive_hold() {
    hold("rest_massive", mutants() * 4);
}

#[test]
fn answers_of_binance_hold() {
    hold("rest_binance", mutants() * 4);
}

#[test]
fn alpaca_messages_hold() {
    hold("alpaca", mutants() * 4);
}
