//! What the vendor forbids the whole account: a key that is refused, and more connections than were bought.
//!
//! Massive puts out the *older* connection when there is one too many. So whoever is put out was replaced, by another program
//! or by another member of this very pool; to come back would put out that one, and so on for ever. The pool keeps as many as
//! are left, takes a free place when one of them is lost, and only tries for one more after a cooldown that doubles.

use crate::model::{Nanos, UnixNanos};

use super::options::{COOLDOWN_MAX, PoolLimits};

/// A member that was put out so soon after another had opened was put out by it.
const BY_OURSELVES: Nanos = Nanos::from_secs(30);

/// What holds the members of a pool back.
#[derive(Debug, Default)]
pub struct Ceiling {
    key: Option<Hold>,
    places: Option<(usize, Hold)>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    until: UnixNanos,
    wait: Nanos,
}

impl Hold {
    fn after(before: Option<Self>, first: Nanos, now: UnixNanos) -> Self {
        let wait = before.map_or(first, |hold| Nanos(hold.wait.0.saturating_mul(2))).min(COOLDOWN_MAX);
        Self { until: now + wait, wait }
    }
}

impl Ceiling {
    /// The vendor refused the key. Returns how long it is left alone.
    pub fn key_refused(&mut self, limits: &PoolLimits, now: UnixNanos) -> Nanos {
        // Members that are refused together share one wait.
        let hold = match self.key {
            Some(hold) if now < hold.until => hold,
            before => Hold::after(before, limits.auth_cooldown, now),
        };
        self.key = Some(hold);
        hold.wait
    }

    /// The vendor took the key.
    pub fn authorized(&mut self) {
        self.key = None;
    }

    /// A member was put out while the `others` that are up opened at these times. Returns how long none is tried beyond those.
    pub fn put_out(&mut self, others: &[UnixNanos], limits: &PoolLimits, now: UnixNanos) -> Nanos {
        let ourselves = others.iter().any(|at| now.since(*at) < BY_OURSELVES);
        // Fewer places, or more, are another story: its waits begin anew.
        let before = self.places.filter(|(places, _)| *places == others.len()).map(|(_, hold)| hold);
        let first = if ourselves { COOLDOWN_MAX } else { limits.eviction_cooldown };
        let mut hold = Hold::after(before, first, now);
        if ourselves {
            hold = Hold { until: now + COOLDOWN_MAX, wait: COOLDOWN_MAX };
        }
        self.places = Some((others.len(), hold));
        hold.wait
    }

    /// How many connections the account is taken to have.
    pub fn allowed(&self) -> usize {
        self.places.map_or(usize::MAX, |(places, _)| places)
    }

    /// When a member that would be tried at `until` may be, while `up` others are up.
    pub fn due(&self, until: UnixNanos, up: usize) -> UnixNanos {
        let key = self.key.map_or(until, |hold| hold.until.max(until));
        match self.places {
            Some((places, hold)) if up >= places => hold.until.max(key),
            _ => key,
        }
    }

    /// A member is tried while `up` others are up. One beyond what the account is taken to have is the only one for a cooldown.
    pub fn count_attempt(&mut self, up: usize, now: UnixNanos) {
        if let Some((places, hold)) = &mut self.places
            && up >= *places
        {
            hold.until = now + hold.wait;
        }
    }

    /// A member has come to stay, being one of `up`: beyond what was allowed, so more is allowed.
    pub fn settled(&mut self, up: usize) {
        if self.places.is_some_and(|(places, _)| up > places) {
            self.places = None;
        }
    }
}
