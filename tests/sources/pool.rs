//! A pool against a scripted venue under a manual clock: what is lost is told, what can be served is, and nobody is fought.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

mod chaos;
#[path = "../simulation/random.rs"]
mod random;
mod session;
mod venue;
