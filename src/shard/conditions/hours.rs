//! Regular hours, for rules that differ outside them: looked up in a time zone once a day, compared from then on.

use std::cell::Cell;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Nanos, UnixNanos};

/// Hours as a table writes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoursRow {
    zone: String,
    open: String,
    close: String,
}

/// When regular trading begins and ends, every day alike: a trade of a Sunday is not there to be judged, and of a half day's afternoon
/// the feed itself says that it was made out of hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    zone: TimeZone,
    open: Time,
    close: Time,
}

/// One civil day: `[start, end)`, and the regular hours in it.
#[derive(Debug, Clone, Copy)]
struct Day {
    start: UnixNanos,
    open: UnixNanos,
    close: UnixNanos,
    end: UnixNanos,
}

const NEVER: Day =
    Day { start: UnixNanos::MAX, open: UnixNanos::MAX, close: UnixNanos::MAX, end: UnixNanos::MIN };

impl Hours {
    pub(super) fn read(row: &HoursRow) -> Result<Self, String> {
        let time = |text: &str| {
            text.parse::<Time>().map_err(|_| format!("{text:?} is not a time of day such as \"09:30\""))
        };
        let (open, close) = (time(&row.open)?, time(&row.close)?);
        if open >= close {
            return Err(format!(
                "they open at {:?} and close at {:?}, which is not later",
                row.open, row.close
            ));
        }
        let zone = TimeZone::get(&row.zone)
            .map_err(|_| format!("{:?} is not a time zone such as \"America/New_York\"", row.zone))?;
        Ok(Self { zone, open, close })
    }

    /// The civil day that a time is in. A time that no calendar has gets a day of its own without hours.
    fn day(&self, at: UnixNanos) -> Day {
        let found = jiff::Timestamp::from_nanosecond(i128::from(at.0)).and_then(|at| {
            let date = at.to_zoned(self.zone.clone()).date();
            let instant = |date: jiff::civil::Date, time: Time| {
                let at = date.to_datetime(time).to_zoned(self.zone.clone())?.timestamp();
                Ok::<_, jiff::Error>(UnixNanos(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)))
            };
            Ok(Day {
                start: instant(date, Time::midnight())?,
                open: instant(date, self.open)?,
                close: instant(date, self.close)?,
                end: instant(date.tomorrow()?, Time::midnight())?,
            })
        });
        found.unwrap_or(Day { start: at, end: at + Nanos(1), ..NEVER })
    }
}

/// A clock of regular hours that remembers the day it was last asked for.
pub(super) struct Session {
    hours: Hours,
    day: Cell<Day>,
}

impl Session {
    pub(super) fn new(hours: Hours) -> Self {
        Self { hours, day: Cell::new(NEVER) }
    }

    /// Whether a time is in regular hours.
    #[inline]
    pub(super) fn is_regular(&self, at: UnixNanos) -> bool {
        let mut day = self.day.get();
        if at < day.start || at >= day.end {
            day = self.hours.day(at);
            self.day.set(day);
        }
        at >= day.open && at < day.close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_york() -> Session {
        let row = HoursRow { zone: "America/New_York".into(), open: "09:30".into(), close: "16:00".into() };
        Session::new(Hours::read(&row).unwrap())
    }

    #[test]
    fn regular_hours_follow_the_clocks_of_the_zone() {
        let session = new_york();
        for (at, regular) in [
            ("2013-10-07T13:29:59.999999999Z", false),
            ("2013-10-07T13:30:00Z", true),
            ("2013-10-07T19:59:59.999999999Z", true),
            ("2013-10-07T20:00:00Z", false),
            // Winter: an hour later in UTC. Clocks went forward on 2026-03-08, and back on 2026-11-01.
            ("2026-03-06T13:45:00Z", false),
            ("2026-03-09T13:45:00Z", true),
            ("2026-10-30T13:45:00Z", true),
            ("2026-11-02T13:45:00Z", false),
            ("2026-11-02T14:30:00Z", true),
        ] {
            let ns = at.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
            assert_eq!(session.is_regular(UnixNanos(ns as i64)), regular, "{at}");
        }
    }

    #[test]
    fn any_time_has_an_answer() {
        let session = new_york();
        for at in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
            session.is_regular(UnixNanos(at));
        }
    }

    #[test]
    fn wrong_hours_say_what_would_be_right() {
        let say = |zone: &str, open: &str, close: &str| {
            let row = HoursRow { zone: zone.into(), open: open.into(), close: close.into() };
            Hours::read(&row).unwrap_err()
        };
        assert!(say("New York", "09:30", "16:00").contains("America/New_York"));
        assert!(say("America/New_York", "half past nine", "16:00").contains("09:30"));
        assert!(say("America/New_York", "16:00", "09:30").contains("not later"));
    }
}
