//! tickwire turns market ticks into exact candles and serves them to WebSocket clients.
#![deny(missing_docs)]

pub mod gateway;
pub mod model;
pub mod runtime;
