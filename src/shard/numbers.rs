//! Trades that a venue numbers without a hole: which numbers are still to come, and between which times.
//!
//! A number that goes back is nobody's hole: it is counted and let through. Only a run of numbers that all went back, each one
//! after the other, is a venue that began anew; two venues under one name never make such a run.
//!
//! A hole across a gap is that gap's, whichever is known first: a connection that is cut loses what comes then, and no message before.
//! It has no time of its own, so that bars say what the gap says, and no more once that is filled.

use crate::model::UnixNanos;

/// Holes remembered of one symbol; the oldest is given up for a further one.
pub const HOLES_MAX: usize = 16;
/// So many numbers that went back, each one more than the last, and the count begins anew from there.
pub const BACK_RUN_MAX: u32 = 8;

/// Numbers that did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    first: u64,
    end: u64,
    /// When its neighbours happened, the later one not included.
    pub from: UnixNanos,
    /// See `from`.
    pub to: UnixNanos,
    /// When it was found, by the clock that closes bars.
    since: UnixNanos,
}

impl Hole {
    /// Whether it has some time in `[start, end)`.
    fn overlaps(&self, start: UnixNanos, end: UnixNanos) -> bool {
        self.from < self.to && self.from < end && self.to > start
    }
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The one that was expected, or the first of all.
    InOrder,
    /// Numbers before it are missing. The hole that had to be given up for this one, if any.
    Opened(Option<Hole>),
    /// It was missing; the hole as it was.
    Filled(Hole),
    /// It was not missing.
    Back,
    /// The count begins anew; holes are given up by [`Numbers::give_up`].
    Restarted,
}

/// The numbers of one symbol.
#[derive(Debug, Default)]
pub struct Numbers {
    next: Option<u64>,
    /// By time of finding.
    holes: Vec<Hole>,
    back_next: u64,
    back_run: u32,
    /// Where the latest gap ends that was told since the last hole.
    gap_to: UnixNanos,
}

impl Numbers {
    /// Trades of `[from, to)` are known to be missing, some or all. Returns the time that holes had which are this gap's.
    pub fn gap(&mut self, from: UnixNanos, to: UnixNanos) -> Option<(UnixNanos, UnixNanos)> {
        // One that has no end yet is told once more when it has.
        self.gap_to = if self.gap_to == UnixNanos::MAX { to } else { to.max(self.gap_to) };
        let across = self.holes.iter_mut().filter(|hole| hole.overlaps(from, to));
        let times = across.map(|hole| (std::mem::replace(&mut hole.from, hole.to), hole.to));
        times.reduce(|one, next| (one.0.min(next.0), one.1.max(next.1)))
    }

    /// Takes the low half of the number expected next, where the owner counted on by himself, and says the whole of it.
    fn caught_up(&self, low: u32) -> Option<u64> {
        self.next.map(|next| next.wrapping_add(u64::from(low.wrapping_sub(next as u32))))
    }

    /// The low half of the number expected next.
    pub fn expected(&self) -> u32 {
        self.next.unwrap_or(0) as u32
    }

    /// Whether something in `[start, end)` is still to come.
    #[inline]
    pub fn overlaps(&self, start: UnixNanos, end: UnixNanos) -> bool {
        self.holes.iter().any(|hole| hole.overlaps(start, end))
    }

    /// A number came that is not the expected one, whose low half the owner has counted up to `low`. `ts` is when its trade happened and
    /// `before` when the one that came last did.
    pub fn take(
        &mut self,
        number: u64,
        low: u32,
        (before, ts): (UnixNanos, UnixNanos),
        clock: UnixNanos,
    ) -> Said {
        let next = self.caught_up(low);
        self.next = next.or(Some(number));
        let next = self.next.unwrap_or(number);
        if number >= next {
            self.next = Some(number.wrapping_add(1));
            self.back_run = 0;
            if number == next {
                return Said::InOrder;
            }
            let given_up = (self.holes.len() == HOLES_MAX).then(|| self.holes.remove(0));
            let (from, to) = (before.min(ts), UnixNanos(before.max(ts).0.saturating_add(1)));
            let is_gaps = self.gap_to > before;
            if is_gaps && self.gap_to != UnixNanos::MAX {
                // Numbers that are missing after it are another hole.
                self.gap_to = UnixNanos::MIN;
            }
            let from = if is_gaps { to } else { from };
            self.holes.push(Hole { first: next, end: number, from, to, since: clock });
            return Said::Opened(given_up);
        }
        if let Some(at) = self.holes.iter().position(|hole| (hole.first..hole.end).contains(&number)) {
            self.back_run = 0;
            return Said::Filled(self.fill(at, number, ts));
        }
        let runs_on = self.back_run > 0 && number == self.back_next;
        self.back_run = if runs_on { self.back_run + 1 } else { 1 };
        self.back_next = number.wrapping_add(1);
        if self.back_run < BACK_RUN_MAX {
            return Said::Back;
        }
        self.back_run = 0;
        self.next = Some(self.back_next);
        Said::Restarted
    }

    /// Takes a number out of its hole, which becomes none, one or two.
    fn fill(&mut self, at: usize, number: u64, ts: UnixNanos) -> Hole {
        let hole = self.holes.remove(at);
        let inside = ts.clamp(hole.from, hole.to);
        let after = UnixNanos(inside.0.saturating_add(1)).min(hole.to);
        let rest =
            [Hole { end: number, to: after, ..hole }, Hole { first: number + 1, from: inside, ..hole }];
        for (n, rest) in rest.into_iter().filter(|rest| rest.first < rest.end).enumerate() {
            if self.holes.len() < HOLES_MAX {
                self.holes.insert(at + n, rest);
            } else if let Some(last) = self.holes.get_mut(at) {
                // No room for both halves: they stay one hole, from which a number may be filled twice.
                *last = Hole { end: rest.end, to: rest.to, ..*last };
            }
        }
        hole
    }

    /// When the oldest hole was found.
    pub fn oldest(&self) -> Option<UnixNanos> {
        self.holes.first().map(|hole| hole.since)
    }

    /// Gives up the oldest hole, if it was found at `until` or before.
    pub fn give_up(&mut self, until: UnixNanos) -> Option<Hole> {
        let is_old = self.holes.first().is_some_and(|hole| hole.since <= until);
        is_old.then(|| self.holes.remove(0))
    }

    /// How many holes there are.
    pub fn holes(&self) -> usize {
        self.holes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn take(numbers: &mut Numbers, number: u64, ts: i64) -> Said {
        let low = numbers.expected();
        numbers.take(number, low, (UnixNanos(ts - 1), UnixNanos(ts)), UnixNanos(ts))
    }

    fn missing(numbers: &Numbers) -> BTreeSet<u64> {
        numbers.holes.iter().flat_map(|hole| hole.first..hole.end).collect()
    }

    #[test]
    fn holes_are_the_numbers_that_did_not_come() {
        let mut state = 5_u64;
        for _ in 0..300 {
            let (mut numbers, mut came) = (Numbers::default(), BTreeSet::from([100]));
            take(&mut numbers, 100, 100);
            for ts in 101..200 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let last = *came.last().expect("never empty");
                let number = match state >> 61 {
                    0 => last + 2 + (state >> 40) % 5,
                    1..=3 => 101 + (state >> 40) % (last - 99),
                    _ => last + 1,
                };
                // A number that was missing and one that was not.
                let was_missing = number < last && !came.contains(&number);
                let said = take(&mut numbers, number, ts);
                assert_eq!(matches!(said, Said::Filled(_)), was_missing, "{said:?}");
                came.insert(number);
                if numbers.holes() == HOLES_MAX {
                    break;
                }
                let want = (100..=*came.last().expect("never empty")).filter(|n| !came.contains(n)).collect();
                assert_eq!(missing(&numbers), want);
                if matches!(said, Said::Restarted) {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_venue_that_begins_anew_is_followed_and_two_venues_under_one_name_make_no_storm() {
        let mut numbers = Numbers::default();
        (1_000..1_100).for_each(|n| assert_eq!(take(&mut numbers, n, n as i64), Said::InOrder));
        let said: Vec<_> = (0..10).map(|n| take(&mut numbers, n, 2_000)).collect();
        assert_eq!(said[..7], [Said::Back; 7]);
        assert_eq!(said[7..], [Said::Restarted, Said::InOrder, Said::InOrder]);

        let mut opened = 0;
        for n in 0..10_000 {
            for number in [10 + n, 1_000_000 + n] {
                opened += usize::from(matches!(take(&mut numbers, number, 3_000), Said::Opened(_)));
            }
        }
        assert_eq!((opened, numbers.holes()), (1, 1));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_given_up_first() {
        let mut numbers = Numbers::default();
        let said: Vec<_> = (0..40).map(|n| take(&mut numbers, n * 3, n as i64)).collect();
        assert_eq!(numbers.holes(), HOLES_MAX);
        assert!(matches!(said[17], Said::Opened(Some(Hole { first: 1, end: 3, .. }))));
        assert_eq!(numbers.give_up(UnixNanos(10)), None);
        assert!(numbers.give_up(UnixNanos(39)).is_some());
    }

    #[test]
    fn its_owner_counts_on_by_the_low_half_alone() {
        let mut numbers = Numbers::default();
        let near = u64::from(u32::MAX) - 1;
        take(&mut numbers, near, 1);
        // The owner saw three more without asking; the low half has gone round.
        let low = numbers.expected().wrapping_add(3);
        assert_eq!(low, 2);
        let said = numbers.take(near + 4, low, (UnixNanos(1), UnixNanos(2)), UnixNanos(2));
        assert_eq!(said, Said::InOrder);
    }
}
