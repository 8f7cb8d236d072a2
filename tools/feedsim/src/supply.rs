//! Where the ticks of a run come from, before it is known when it starts.

use crate::clock::Clock;
use crate::event::{Source, Symbols};
use crate::generate::{Generator, Habits};
use crate::recording::Recording;

/// Out of a seed or a file.
pub enum Supply {
    /// Made as it goes.
    Generated {
        /// How.
        habits: Habits,
        /// The seed.
        seed: u64,
        /// For how long, ms.
        for_ms: i64,
        /// The venue's clock is so far ahead, ms.
        skew_ms: i64,
    },
    /// Recorded.
    Recorded {
        /// What.
        recording: Recording,
        /// Its times become those of now; else they stay.
        retime: bool,
        /// How fast it is sent; 1 where its times become those of now.
        speed: f64,
        /// The venue's clock is so far ahead, ms.
        skew_ms: i64,
    },
}

impl Supply {
    /// Begins at `start_ms` by the machine's clock.
    pub fn open(self, symbols: &mut Symbols, start_ms: i64) -> (Box<dyn Source>, Clock) {
        match self {
            Self::Generated { habits, seed, for_ms, skew_ms } => {
                let venue_ms = start_ms + skew_ms;
                let source = Generator::new(habits, seed, symbols, venue_ms, for_ms);
                (Box::new(source), Clock { origin_ms: start_ms, venue_ms, speed: 1.0 })
            }
            Self::Recorded { mut recording, retime, speed, skew_ms } => {
                let shift = if retime { start_ms + skew_ms - recording.first_ms } else { skew_ms };
                let venue_ms = recording.first_ms + shift;
                recording.shift(shift);
                (Box::new(recording), Clock { origin_ms: start_ms, venue_ms, speed })
            }
        }
    }
}
