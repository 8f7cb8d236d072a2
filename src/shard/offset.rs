//! How far a feed's clock is from ours: the median over recent ticks, bounded, so no wild timestamp moves it.

use crate::model::{Nanos, UnixNanos};

/// Samples of which the median is taken. At most one a turn is kept, so a burst cannot fill the window.
const WINDOW: usize = 31;
/// Fewer samples than this say nothing yet.
const SAMPLES_MIN: usize = 5;

/// One feed's recent offsets, `ts_event - ts_recv`.
#[derive(Default)]
pub struct FeedOffset {
    recent: Vec<i64>,
    next: usize,
    median: Nanos,
}

impl FeedOffset {
    /// Takes one sample and returns the new median, held within `±bound`.
    pub fn sample(&mut self, ts_event: UnixNanos, ts_recv: UnixNanos, bound: Nanos) -> Nanos {
        let offset = (ts_event - ts_recv).0;
        if self.recent.len() < WINDOW {
            self.recent.reserve_exact(WINDOW - self.recent.len());
            self.recent.push(offset);
        } else {
            self.recent[self.next] = offset;
            self.next = (self.next + 1) % WINDOW;
        }
        if self.recent.len() >= SAMPLES_MIN {
            let mut sorted = [i64::MAX; WINDOW];
            let len = self.recent.len();
            sorted[..len].copy_from_slice(&self.recent);
            let (_, median, _) = sorted[..len].select_nth_unstable(len / 2);
            self.median = Nanos((*median).clamp(-bound.0, bound.0));
        }
        self.median
    }

    /// The median now; zero until there are enough samples.
    pub fn median(&self) -> Nanos {
        self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tick_an_hour_ahead_does_not_move_the_clock() {
        let mut offset = FeedOffset::default();
        let bound = Nanos::from_secs(5);
        for i in 0..100i64 {
            let recv = UnixNanos(i * 1_000_000_000);
            let wild = if i % 7 == 0 { 3_600_000_000_000 } else { 1_250_000_000 };
            offset.sample(UnixNanos(recv.0 + wild), recv, bound);
        }
        assert_eq!(offset.median(), Nanos(1_250_000_000));
    }
}
