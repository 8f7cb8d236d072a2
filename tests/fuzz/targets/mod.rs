//! What the fuzzers run: bytes in, a panic where a promise is broken. Shared by the libFuzzer entry and `tests/fuzz_short.rs`.

mod alpaca;
mod binance;
mod csv;
mod engine;
mod feed;
mod frames;
mod handshake;
mod massive;
mod number;
mod reference;
mod requests;
mod rest;

/// One target.
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Panics where the bytes break a promise.
    pub run: fn(&[u8]),
    /// Bytes to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "handshake", run: handshake::run, seeds: handshake::seeds },
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "requests", run: requests::run, seeds: requests::seeds },
    Target { name: "csv", run: csv::run, seeds: csv::seeds },
    Target { name: "massive", run: massive::run, seeds: massive::seeds },
    Target { name: "binance", run: binance::run, seeds: binance::seeds },
    Target { name: "rest_massive", run: rest::massive, seeds: rest::massive_seeds },
    Target { name: "rest_binance", run: rest::binance, seeds: rest::binance_seeds },
    Target { name: "alpaca", run: alpaca::run, seeds: alpaca::seeds },
];
