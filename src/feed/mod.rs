//! Where ticks come from: dialects, which turn bytes into ticks and do no I/O, and the sources that bring the bytes.

pub mod binance;
pub mod csv;
pub mod dialect;
pub mod field;
pub mod json;
pub mod lines;
pub mod massive;
pub mod reject;

pub use dialect::{DIALECTS, Dialect, DialectRow, find, parse_all};
pub use field::Context;
pub use lines::{Line, Lines};
pub use reject::{Reason, Tallies};
