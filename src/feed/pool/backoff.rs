//! When to try again: at once after a connection that had lived, then ever later, with jitter from a seed.

use crate::model::Nanos;

/// The first attempt after a loss waits no longer than this: under the second that is promised, with room for a core's turn.
pub const FIRST_MAX: Nanos = Nanos::from_millis(500);
/// The longest wait of the second attempt; each further one doubles it.
pub const SECOND_MAX: Nanos = Nanos::from_secs(1);

/// A small generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014) for jitter; not for secrets.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A span from `least` to `most`, both included.
    pub fn between(&mut self, least: Nanos, most: Nanos) -> Nanos {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let width = u64::try_from(most.0.saturating_sub(least.0)).unwrap_or(0).saturating_add(1);
        Nanos(least.0 + (word % width) as i64)
    }
}

/// Counts the attempts since a connection last lived long enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait before the next attempt, which counts as failed until [`reset`](Self::reset).
    pub fn next(&mut self, longest: Nanos, jitter: &mut Jitter) -> Nanos {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return jitter.between(Nanos::ZERO, FIRST_MAX.min(longest));
        }
        let doubled = SECOND_MAX.0.saturating_mul(1 << (failures - 1).min(30));
        let most = Nanos(doubled).min(longest);
        jitter.between(Nanos(most.0 / 2), most)
    }

    /// A connection has lived long enough.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_wait_is_within_its_bounds_and_the_first_is_short(seed in any::<u64>(), longest_ms in 1_000..60_000_i64) {
            let longest = Nanos::from_millis(longest_ms);
            let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(seed));
            for round in 0..3 {
                prop_assert!(backoff.next(longest, &mut jitter) <= FIRST_MAX, "round {round}");
                let mut most = SECOND_MAX;
                for _ in 0..40 {
                    let wait = backoff.next(longest, &mut jitter);
                    prop_assert!(wait <= most.min(longest) && wait.0 >= most.min(longest).0 / 2);
                    most = Nanos(most.0.saturating_mul(2)).min(longest);
                }
                backoff.reset();
            }
        }
    }

    #[test]
    fn seeds_differ() {
        let first = |seed| Jitter::new(seed).between(Nanos::ZERO, Nanos::from_secs(1));
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }
}
