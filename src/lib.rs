//! tickwire turns market ticks into exact candles and serves them to WebSocket clients.
//!
//! ```text
//! sockets, files ─► feed ──parse──► ingest ═ring═► shard ═ring═► gateway ──write──► clients
//!                                   stamp, route   candles       topics, outboxes
//! ```
//!
//! The modules, in the order in which a tick meets them: [`feed`], [`ingest`], [`shard`], [`gateway`] (or [`collect`],
//! which writes bars to a file). They share the records of [`model`] and stand on [`runtime`]; [`topology`] alone knows them all.
//! Beside them [`backfill`] fetches over REST what a stream missed. [`replay`] is the other end of a feed: it sends recordings to an engine.

#![deny(unsafe_code)]

pub mod backfill;
pub mod collect;
pub mod config;
pub mod feed;
pub mod gateway;
pub mod ingest;
pub mod latency;
pub mod model;
pub mod replay;
pub mod runtime;
pub mod shard;
pub mod topology;
