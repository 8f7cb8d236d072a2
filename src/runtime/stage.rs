//! A stage is a struct that does bounded turns of work.

use crate::model::UnixNanos;

use super::metrics::Report;
use super::transport::Ready;

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turned {
    /// How many items it moved; 0 lets the core go idle.
    pub work: usize,
    /// It stopped at its budget: call again without waiting.
    pub more: bool,
    /// It will never have work again and may be dropped.
    pub finished: bool,
}

/// One part of the pipeline. It reads no clock, spawns no thread, and shares nothing but rings.
pub trait Stage: Send {
    /// What reports call it: `ingest-0`, `shard-1`, `gateway-0`.
    fn name(&self) -> &str;

    /// A bounded turn of work. `ready` are the stage's own sockets that became ready; an edge that is not used
    /// up goes on the stage's own list.
    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned;

    /// When it next needs the clock though nothing else happens.
    fn deadline(&self) -> Option<UnixNanos> {
        None
    }

    /// The last look before the core sleeps: is there anything in a ring, or room where there was none?
    fn has_work(&self) -> bool;

    /// Adds its counters, and swaps out its histograms. Called about once a second.
    fn housekeep(&mut self, now: UnixNanos, report: &mut Report);

    /// Told that it will soon be asked to end, for another engine takes this one's place. Whoever has clients sees them
    /// off; all others go on.
    fn drain(&mut self, _now: UnixNanos) {}

    /// Asked to end: stop taking in, hand on what is in flight. The stage says [`Turned::finished`] when it is done.
    fn stop(&mut self, now: UnixNanos);
}
