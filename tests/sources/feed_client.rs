//! A pool's connections on real sockets, plain and under TLS: whatever a venue does becomes ticks, or one loss with its name, and
//! never a core that waits.

#![allow(clippy::unwrap_used)]

mod failures;
mod harness;
mod speed;
mod tls;
mod ways;
