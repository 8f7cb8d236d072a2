//! Where ticks come from: dialects, which turn bytes into ticks and do no I/O, and the sources that bring the bytes.

pub mod alpaca;
pub mod bar;
pub mod binance;
pub mod binance_kline;
pub mod binance_scan;
pub mod client;
pub mod coverage;
pub mod csv;
pub mod dialect;
pub mod field;
pub mod file;
mod frames;
pub mod json;
pub mod lines;
pub mod massive;
pub mod massive_scan;
pub mod pipe;
pub mod pool;
pub mod reject;
pub mod rfc3339;
pub mod scan;
pub mod session;
pub mod source;
pub mod tcp;
pub mod universe;
pub mod websocket;

pub use client::{Client, ClientLimits, Means};
pub use coverage::Coverage;
pub use dialect::{DIALECTS, Dialect, DialectRow, find, parse_all};
pub use field::Context;
pub use file::Progress;
pub use lines::{Line, Lines};
pub use pool::{Endpoint, FeedCommand, Loss, MemberOptions, Order, Pool, PoolLimits, PoolOptions};
pub use reject::{Reason, Tallies};
pub use source::{INGEST_PATH, Origin, SourceError, SourceOptions};
pub use universe::Universes;
