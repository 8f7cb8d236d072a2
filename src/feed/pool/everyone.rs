//! `*`: every symbol that the vendor has. It is subscribed to, moved and left as one; covered and missed are the symbols that were seen.
//!
//! A symbol counts from its first tick on. What was lost of one that nobody has seen yet is not known, and its first bar says so.

use crate::feed::coverage::Coverage;
use crate::feed::field::Context;
use crate::model::{SymbolId, Tick};

use super::Pool;
use super::member::serves_from;

/// The symbols that `*` stands for so far.
#[derive(Debug, Default)]
pub struct Everyone {
    seen: Vec<SymbolId>,
    /// By the symbol's number, whether it was.
    known: Vec<bool>,
}

impl Everyone {
    /// Whether it is seen for the first time.
    fn meet(&mut self, id: SymbolId) -> bool {
        match self.known.get(id.index()) {
            Some(true) => return false,
            Some(false) => {}
            None if id == SymbolId::ANY => return false,
            None => self.known.resize(id.index() + 1, false),
        }
        self.known[id.index()] = true;
        self.seen.push(id);
        true
    }

    /// How many symbols an entry of the roster stands for.
    pub fn count(&self, id: SymbolId) -> usize {
        if id == SymbolId::ANY { self.seen.len() } else { 1 }
    }

    /// Each symbol that an entry of the roster stands for.
    pub fn each(&self, id: SymbolId, mut take: impl FnMut(SymbolId)) {
        if id == SymbolId::ANY {
            self.seen.iter().copied().for_each(take);
        } else {
            take(id);
        }
    }
}

impl Pool {
    /// Where `*` is wanted: what came from `from` on in `out` may be of symbols that are seen for the first time.
    #[inline]
    pub(super) fn meet(
        &mut self,
        from: usize,
        cx: &Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let Some(place) = self.everyone_at else { return };
        for at in from..out.len() {
            let id = out[at].symbol;
            if self.everyone.meet(id) {
                coverage.want(cx.source, id, self.class, cx.now);
                let held = self.roster.entry(place).held;
                for slot in (0..self.members.len()).filter(|slot| held.has(*slot)) {
                    let at = serves_from(&self.members, slot, cx.now, &self.options.limits);
                    coverage.hold((cx.source, slot), id, self.class, at, out);
                }
            }
        }
    }
}
