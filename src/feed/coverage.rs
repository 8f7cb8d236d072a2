//! Which symbols are served by an open connection, over all the pools of one ingest stage.
//!
//! A symbol that nobody serves any more has a gap from then on; when somebody serves it again the gap ends, and its bars are
//! wished for. Lines of the same data share a symbol's cover: there is a gap only while neither has it.

use crate::model::{RestWish, Tick, UnixNanos};
use crate::runtime::Report;

/// One value for all pools of an ingest stage.
#[derive(Debug, Default)]
pub struct Coverage {
    wishes: std::collections::VecDeque<RestWish>,
}

impl Coverage {
    /// What the REST thread is to do next. At most a bounded number waits; further ones are counted.
    pub fn next_wish(&mut self) -> Option<RestWish> {
        self.wishes.pop_front()
    }

    /// When [`on_time`](Self::on_time) has something to do.
    pub fn deadline(&self) -> Option<UnixNanos> {
        None
    }

    /// Does what is due. Call it once a turn, after the pools; its ticks name their sources.
    pub fn on_time(&mut self, _now: UnixNanos, _out: &mut Vec<Tick>) {}

    /// Adds its counters.
    pub fn hand_over(&self, _report: &mut Report) {}
}
