//! Where ticks come from: dialects, which turn bytes into ticks and do no I/O, and the sources that bring the bytes.

pub mod alpaca;
pub mod bar;
pub mod binance;
pub mod binance_kline;
pub mod binance_scan;
pub mod csv;
pub mod dialect;
pub mod field;
pub mod file;
pub mod json;
pub mod lines;
pub mod massive;
pub mod massive_scan;
pub mod pipe;
pub mod reject;
pub mod rfc3339;
pub mod scan;
pub mod source;
pub mod tcp;
pub mod websocket;

pub use dialect::{DIALECTS, Dialect, DialectRow, find, parse_all};
pub use field::Context;
pub use file::Progress;
pub use lines::{Line, Lines};
pub use reject::{Reason, Tallies};
pub use source::{INGEST_PATH, Origin, SourceError, SourceOptions};
