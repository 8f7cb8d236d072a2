//! tickwire turns market ticks into exact candles and serves them to WebSocket clients.
#![deny(missing_docs)]

pub mod collect;
pub mod model;
pub mod runtime;
pub mod shard;
