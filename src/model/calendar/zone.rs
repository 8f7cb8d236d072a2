//! A time zone as a table of its changes, so that the hot plane turns clocks into instants without asking anybody.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Changes are tabled up to here: the end of what [`crate::model::UnixNanos`] can say.
const LAST_S: i64 = i64::MAX / 1_000_000_000;
/// No clock is further from UTC, with room to spare: 26 hours.
const OFFSET_MAX_S: i64 = 26 * 3_600;

/// A zone's offset from UTC over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    /// Before the first change, s.
    first_s: i64,
    /// (instant, offset from then on), s, ascending.
    changes: Box<[(i64, i64)]>,
}

impl Zone {
    /// A zone of the IANA database that is built in, such as `America/New_York`.
    ///
    /// # Errors
    /// A sentence, for a name that is not in it.
    pub fn new(name: &str) -> Result<Self, String> {
        let zone = TimeZone::get(name).map_err(|_| {
            format!("{name:?} is not a time zone of the IANA database, such as \"America/New_York\"")
        })?;
        let from = Timestamp::UNIX_EPOCH;
        let first_s = i64::from(zone.to_offset(from).seconds());
        let changes = zone
            .following(from)
            .map(|change| (change.timestamp().as_second(), i64::from(change.offset().seconds())))
            .take_while(|&(at, _)| at < LAST_S)
            .collect();
        Ok(Self { name: name.to_owned(), first_s, changes })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its clocks always show UTC.
    pub fn is_utc(&self) -> bool {
        self.first_s == 0 && self.changes.iter().all(|&(_, offset)| offset == 0)
    }

    /// Instants at which clocks change, s since 1970, and what they are ahead of UTC from then on.
    pub fn changes(&self) -> &[(i64, i64)] {
        &self.changes
    }

    /// What clocks are ahead of UTC, s, at an instant in s since 1970.
    pub fn offset_at(&self, utc_s: i64) -> i64 {
        match self.changes.partition_point(|&(at, _)| at <= utc_s) {
            0 => self.first_s,
            n => self.changes[n - 1].1,
        }
    }

    /// The first instant at which a clock shows `local_s`, or, where it never does, something later. Both in s since 1970.
    pub fn first_showing(&self, local_s: i64) -> i64 {
        let mut next = self.changes.partition_point(|&(at, _)| at <= local_s - OFFSET_MAX_S);
        loop {
            let (from, offset) = if next == 0 { (i64::MIN, self.first_s) } else { self.changes[next - 1] };
            let at = (local_s - offset).max(from);
            match self.changes.get(next) {
                Some(&(end, _)) if at >= end => next += 1,
                _ => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_turned_back_shows_an_hour_twice_and_one_put_forward_skips_one() {
        let zone = Zone::new("America/New_York").unwrap();
        // 2026-11-01 05:30 UTC and an hour later both show 01:30.
        let half_past_one = 1_793_496_600;
        assert_eq!(zone.first_showing(half_past_one), half_past_one + 4 * 3_600);
        assert_eq!(zone.offset_at(half_past_one + 5 * 3_600), -5 * 3_600);
        // 2026-03-08 02:30 does not exist: 03:00 is the first clock that is later.
        let missing = 1_772_937_000;
        assert_eq!(zone.first_showing(missing), 1_772_953_200);
        assert!(Zone::new("Mars/Olympus").unwrap_err().contains("IANA"));
        assert!(Zone::new("UTC").unwrap().is_utc());
    }
}
