//! What may still be spent at a vendor: in no minute more than it allows, and nothing while it says to wait.

use std::collections::VecDeque;

use crate::model::{Nanos, UnixNanos};

/// A second more than the minute: requests that leave 60 s apart may arrive closer together.
const WINDOW: Nanos = Nanos::from_secs(61);
const MINUTE: Nanos = Nanos::from_secs(60);

/// A minute's budget. It remembers what was spent and when, rather than refill a bucket: a bucket that holds a minute's worth
/// and refills lets twice as much through in its first minute.
#[derive(Debug)]
pub struct Meter {
    per_minute_max: u64,
    spent: VecDeque<(UnixNanos, u64)>,
    sum: u64,
    shut_until: UnixNanos,
}

impl Meter {
    /// A budget of which nothing is spent. Where one request weighs more than all of it, it goes out alone.
    pub const fn new(per_minute_max: u32) -> Self {
        let per_minute_max = per_minute_max as u64;
        Self { per_minute_max, spent: VecDeque::new(), sum: 0, shut_until: UnixNanos::MIN }
    }

    /// The budget is no larger than this.
    pub fn tighten(&mut self, per_minute_max: u32) {
        self.per_minute_max = self.per_minute_max.min(u64::from(per_minute_max));
    }

    /// Spends `weight` now, if it may.
    pub fn take(&mut self, weight: u32, now: UnixNanos) -> bool {
        let free = self.free_at(weight) <= now;
        if free {
            while self.spent.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
                self.sum -= self.spent.pop_front().map_or(0, |(_, weight)| weight);
            }
            // Times that run backward would leave the oldest at the end.
            let at = self.spent.back().map_or(now, |(last, _)| now.max(*last));
            self.spent.push_back((at, u64::from(weight)));
            self.sum += u64::from(weight);
        }
        free
    }

    /// From when on `weight` may be spent.
    pub fn free_at(&self, weight: u32) -> UnixNanos {
        let mut left = self.sum;
        let mut at = self.shut_until;
        for (spent_at, spent) in &self.spent {
            if left == 0 || left + u64::from(weight) <= self.per_minute_max {
                break;
            }
            left -= spent;
            at = at.max(*spent_at + WINDOW);
        }
        at
    }

    /// Nothing before `until`.
    pub fn shut(&mut self, until: UnixNanos) {
        self.shut_until = self.shut_until.max(until);
    }

    /// The vendor says what was spent in this minute by all who share the address, this process among them. Its minutes begin
    /// with the clock's.
    pub fn told(&mut self, used: u32, now: UnixNanos) {
        if u64::from(used) >= self.per_minute_max {
            self.shut(now.floor(MINUTE) + MINUTE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> UnixNanos {
        UnixNanos(1_700_000_000_000_000_000) + Nanos::from_millis(ms)
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_it_may_and_none_less_than_it_could(
            max in 1..20_u32,
            asks in prop::collection::vec((0..5_000_i64, 1..6_u32), 1..200),
        ) {
            let mut meter = Meter::new(max);
            // The model: everything that was let through, looked at from the beginning each time.
            let mut through: Vec<(UnixNanos, u32)> = Vec::new();
            let mut ms = 0;
            for (step, weight) in asks {
                ms += step;
                let now = at(ms);
                let sum: u32 = through.iter().filter(|(then, _)| *then + WINDOW > now).map(|(_, w)| w).sum();
                let may = sum == 0 || sum + weight <= max;
                prop_assert_eq!(meter.free_at(weight) <= now, may);
                prop_assert_eq!(meter.take(weight, now), may);
                if may {
                    through.push((now, weight));
                }
            }
        }

        #[test]
        fn what_has_to_wait_is_free_when_it_was_said_to_be(
            max in 1..9_u32,
            weights in prop::collection::vec(1..6_u32, 1..50),
        ) {
            let mut meter = Meter::new(max);
            let mut now = at(0);
            for weight in weights {
                let free = meter.free_at(weight);
                if free > now {
                    prop_assert!(!meter.take(weight, UnixNanos(free.0 - 1)));
                    now = free;
                }
                prop_assert!(meter.take(weight, now));
            }
        }
    }

    #[test]
    fn a_vendor_that_says_wait_is_left_alone_until_then() {
        let mut meter = Meter::new(100);
        meter.shut(at(5_000));
        meter.shut(at(2_000));
        assert!(!meter.take(1, at(4_999)));
        assert!(meter.take(1, at(5_000)));
    }

    #[test]
    fn a_budget_that_others_used_up_is_closed_until_the_minute_is_over() {
        let mut meter = Meter::new(100);
        meter.told(99, at(0));
        assert!(meter.take(1, at(0)));
        meter.told(100, at(0));
        let minute = at(0).floor(MINUTE) + MINUTE;
        assert_eq!(meter.free_at(1), minute);
    }
}
