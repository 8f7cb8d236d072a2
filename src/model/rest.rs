//! What is wanted from a vendor's REST side while a stream is broken, and once it is whole again.

use super::symbol::SymbolId;
use super::time::UnixNanos;

/// A wish of a feed's connections to whoever speaks REST for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestWish {
    /// Bars that cover `[from, to)`, in which ticks were missed.
    Fill {
        /// Which source of this process.
        source: u8,
        /// Whose bars.
        symbol: SymbolId,
        /// When the ticks began to be missing.
        from: UnixNanos,
        /// When they came again.
        to: UnixNanos,
    },
    /// Whether the newest bars are to be asked for again and again: on while every connection is down.
    Poll {
        /// Which source of this process.
        source: u8,
        /// Whose bars.
        symbol: SymbolId,
        /// From now on, or no longer.
        on: bool,
    },
}

impl RestWish {
    /// Which source of this process it is for.
    pub const fn source(&self) -> u8 {
        match *self {
            Self::Fill { source, .. } | Self::Poll { source, .. } => source,
        }
    }
}
