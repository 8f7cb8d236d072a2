//! The one place that asks the machine for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::model::{Nanos, UnixNanos};

/// How often a real clock compares itself with the system clock.
const ANCHOR_EVERY: Duration = Duration::from_secs(1);
/// How far one comparison may move it: 0.1 % of a second.
const SLEW_PER_SECOND: i64 = 1_000_000;

/// Time since 1970, from the machine or from a test's hand. Each core owns one.
pub enum Clock {
    /// Monotonic, held to the system clock by slewing.
    Real(RealClock),
    /// Stands still until it is set.
    Manual(ManualClock),
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self::Real(RealClock::new())
    }

    /// Now.
    #[inline]
    pub fn now(&mut self) -> UnixNanos {
        match self {
            Self::Real(clock) => clock.now(),
            Self::Manual(clock) => clock.now(),
        }
    }
}

/// The monotonic clock with an offset to the system clock. A step of the system clock is followed at 1 ms a second, so
/// no timer fires early or twice.
pub struct RealClock {
    base: Instant,
    offset: i64,
    anchored: Duration,
    latest: UnixNanos,
}

impl RealClock {
    fn new() -> Self {
        let base = Instant::now();
        Self { base, offset: system_nanos(), anchored: Duration::ZERO, latest: UnixNanos::MIN }
    }

    #[inline]
    fn now(&mut self) -> UnixNanos {
        let elapsed = self.base.elapsed();
        if elapsed - self.anchored >= ANCHOR_EVERY {
            self.anchor(elapsed);
        }
        // Where the offset shrank, time stands still for as long instead of running backward.
        self.latest = self.latest.max(UnixNanos(self.offset + elapsed.as_nanos() as i64));
        self.latest
    }

    #[cold]
    fn anchor(&mut self, elapsed: Duration) {
        let drift = system_nanos() - (self.offset + elapsed.as_nanos() as i64);
        self.offset += drift.clamp(-SLEW_PER_SECOND, SLEW_PER_SECOND);
        self.anchored = elapsed;
    }
}

fn system_nanos() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        // A system clock set before 1970 has no better reading than its beginning.
        Err(_) => 0,
    }
}

/// A clock that a test sets. Clones show the same time.
#[derive(Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Stands at `at`.
    pub fn at(at: UnixNanos) -> Self {
        Self(Arc::new(AtomicI64::new(at.0)))
    }

    /// Now.
    pub fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::Relaxed))
    }

    /// Moves to `at`.
    pub fn set(&self, at: UnixNanos) {
        self.0.store(at.0, Ordering::Relaxed);
    }

    /// Moves on by `span`.
    pub fn advance(&self, span: Nanos) {
        self.set(self.now() + span);
    }
}
