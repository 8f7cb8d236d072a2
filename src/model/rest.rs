//! What is to be asked of a vendor's REST interface: decided where cover is known, done on a thread that may block.

use super::symbol::SymbolId;
use super::time::UnixNanos;

/// One thing to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestWish {
    /// The vendor's bars that cover `[from, to)`, which was missed.
    Fill {
        /// Whose vendor is asked: a source of the ingest stage.
        source: u8,
        /// Whose bars.
        symbol: SymbolId,
        /// Beginning of what was missed.
        from: UnixNanos,
        /// End of what was missed.
        to: UnixNanos,
    },
    /// Nothing streams the symbol now, or something does again: keep the newest bars coming, or stop.
    Poll {
        /// Whose vendor is asked: a source of the ingest stage.
        source: u8,
        /// Whose bars.
        symbol: SymbolId,
        /// Begin or stop.
        on: bool,
    },
}
