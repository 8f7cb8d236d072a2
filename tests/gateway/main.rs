//! The gateway under a manual clock on a network in memory; the test plays the shards through their rings.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the line it failed on: what a test wants"
)]

mod binary;
mod dealing;
mod dialects;
mod drains;
mod echo;
mod harness;
mod join;
mod lengthy;
mod limits;
mod pace;
mod slow;
mod sockets;
mod wire;
