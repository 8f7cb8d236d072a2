//! The venue's own clock: now, now and a skew, or the time of a recording at a multiple of its speed.

/// A line from the machine's time to the venue's, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// By the machine.
    pub origin_ms: i64,
    /// By the venue, at that moment.
    pub venue_ms: i64,
    /// How fast it goes.
    pub speed: f64,
}

impl Clock {
    /// The venue's time.
    pub fn at(&self, now_ms: i64) -> i64 {
        self.venue_ms + ((now_ms - self.origin_ms) as f64 * self.speed) as i64
    }
}
