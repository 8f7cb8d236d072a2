//! How late the venue itself was: what it tells of others is worth no more than its own punctuality.

/// Latenesses up to this are told apart, ms.
const MS_MAX: usize = 10_000;

/// The time between turns that ought to be a millisecond apart.
#[derive(Debug, Default)]
pub struct Lateness {
    last_ms: i64,
    counts: Vec<u64>,
}

impl Lateness {
    /// A turn begins.
    pub fn turn(&mut self, now_ms: i64) {
        let late = if self.last_ms == 0 { 0 } else { (now_ms - self.last_ms - 1).max(0) };
        self.last_ms = now_ms;
        self.counts.resize(MS_MAX + 1, 0);
        // Every millisecond of the gap had ticks due, the first of them the longest ago.
        for one in 0..=late {
            self.counts[(one as usize).min(MS_MAX)] += 1;
        }
    }

    /// p50, p99 and the greatest, ms.
    pub fn report(&self) -> serde_json::Value {
        let total: u64 = self.counts.iter().sum();
        let at = |share: f64| {
            let wanted = (total as f64 * share) as u64;
            let mut seen = 0;
            self.counts.iter().position(|count| {
                seen += count;
                seen > wanted
            })
        };
        let greatest = self.counts.iter().rposition(|count| *count > 0);
        serde_json::json!({"p50": at(0.5), "p99": at(0.99), "max": greatest})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_for_every_millisecond_in_it() {
        let mut lateness = Lateness::default();
        (1..=990).for_each(|now| lateness.turn(now));
        lateness.turn(1_000);
        assert_eq!(lateness.report(), serde_json::json!({"p50": 0, "p99": 0, "max": 9}));
        lateness.turn(1_100);
        assert_eq!(lateness.report()["p99"], 89);
    }
}
