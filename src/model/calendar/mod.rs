//! When markets trade: days of a civil zone, sessions, holidays and early closes, from dated data.
//!
//! A calendar divides all time into *days*, and each day into *segments* of one [`Phase`]. Both are worked out by integer arithmetic
//! from a table of the zone's changes and a list of special dates, without asking a clock or allocating, so that the hot plane can do
//! it at a boundary. Instants are [`UnixNanos`]; inside, whole seconds.

mod explain;
mod file;
mod grid;
mod rules;
mod status;
mod zone;

pub use file::{BUILT_IN, built_in, parse, show_date};
pub use grid::{Anchor, Grid, Interval, NestError, Open};
pub use rules::{CalendarRules, Choice, Pick};
pub use status::{MarketStatus, Standing};
pub use zone::Zone;

use super::time::UnixNanos;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
const SECOND: i64 = 1_000_000_000;
/// Sessions of one day: before, two halves with a pause, after.
const SESSIONS_MAX: usize = 6;
/// Closed before, between and after them.
const SEGMENTS_MAX: usize = 2 * SESSIONS_MAX + 1;

/// What a market does.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Nothing is dealt.
    #[default]
    Closed = 0,
    /// Dealing before the regular session.
    Pre = 1,
    /// The regular session.
    Regular = 2,
    /// Dealing after the regular session.
    Post = 3,
    /// Closed on a day that would otherwise have sessions.
    Holiday = 4,
}

/// One session of an ordinary day: seconds after the midnight of its date, negative the evening before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    phase: Phase,
    from_s: i64,
    to_s: i64,
}

/// A date that is not like the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Special {
    /// Days since 1970.
    date: i64,
    /// When the regular and the late session end, s after midnight; `None`: there are none.
    ends: Option<(i64, i64)>,
    why: String,
}

/// When one kind of market trades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    name: String,
    zone: Zone,
    /// Days that have sessions, from Sunday.
    week: [bool; 7],
    /// When a day begins, s after the midnight of its date; negative: the evening before.
    day_begins_s: i64,
    sessions: Vec<Session>,
    specials: Vec<Special>,
    /// The lists of special dates cover these days.
    from: Option<i64>,
    to: Option<i64>,
}

/// A stretch of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// When it begins.
    pub start: UnixNanos,
    /// When it ends, not included.
    pub end: UnixNanos,
    /// What it is.
    pub phase: Phase,
}

/// One day of a calendar and what happens in it. It is 23 or 25 hours long where clocks change.
#[derive(Debug, Clone, Copy)]
pub struct CalendarDay {
    /// Its date, days since 1970.
    pub date: i64,
    /// When it begins and ends.
    pub interval: Interval,
    segments: [Segment; SEGMENTS_MAX],
    count: usize,
}

impl CalendarDay {
    /// Its parts, without a hole.
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..self.count]
    }
}

/// Whole seconds, rounded down.
const fn seconds(at: UnixNanos) -> i64 {
    at.0.div_euclid(SECOND)
}

const fn instant(s: i64) -> UnixNanos {
    UnixNanos(s.saturating_mul(SECOND))
}

impl Calendar {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its clocks are.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// When a date's day begins, s since 1970.
    fn begins_s(&self, date: i64) -> i64 {
        self.zone.first_showing(date * DAY_S + self.day_begins_s)
    }

    /// The date of the day that an instant is in.
    pub fn date_of(&self, at: UnixNanos) -> i64 {
        let s = seconds(at);
        let mut date = (s + self.zone.offset_at(s) - self.day_begins_s).div_euclid(DAY_S);
        // Where clocks jump at midnight, or a zone leaves out a whole day.
        while s < self.begins_s(date) {
            date -= 1;
        }
        while s >= self.begins_s(date + 1) {
            date += 1;
        }
        date
    }

    /// The day that an instant is in, from its beginning to the next one's.
    pub fn day_interval(&self, at: UnixNanos) -> Interval {
        let date = self.date_of(at);
        Interval { start: instant(self.begins_s(date)), end: instant(self.begins_s(date + 1)) }
    }

    /// The day that an instant is in, with its sessions.
    pub fn day(&self, at: UnixNanos) -> CalendarDay {
        self.day_of_date(self.date_of(at))
    }

    fn day_of_date(&self, date: i64) -> CalendarDay {
        let interval =
            Interval { start: instant(self.begins_s(date)), end: instant(self.begins_s(date + 1)) };
        let special = self.special(date);
        let works = self.week[(date + 4).rem_euclid(7) as usize];
        let rest = match special {
            Some(Special { ends: None, .. }) if works => Phase::Holiday,
            _ => Phase::Closed,
        };
        let mut day = CalendarDay { date, interval, segments: Default::default(), count: 0 };
        let mut at = interval.start;
        let mut push = |end: UnixNanos, phase: Phase| {
            let end = end.min(interval.end);
            if end > at {
                day.segments[day.count] = Segment { start: at, end, phase };
                day.count += 1;
                at = end;
            }
        };
        if works && special.is_none_or(|special| special.ends.is_some()) {
            for session in &self.sessions {
                let (mut from_s, mut to_s) = (session.from_s, session.to_s);
                if let Some((regular_s, post_s)) = special.and_then(|special| special.ends) {
                    // The regular session ends early, and the late one follows it at once.
                    match session.phase {
                        Phase::Post => (from_s, to_s) = (from_s.min(regular_s), to_s.min(post_s)),
                        _ => to_s = to_s.min(regular_s),
                    }
                }
                if to_s > from_s {
                    push(instant(self.zone.first_showing(date * DAY_S + from_s)), rest);
                    push(instant(self.zone.first_showing(date * DAY_S + to_s)), session.phase);
                }
            }
        }
        push(interval.end, rest);
        day
    }

    fn special(&self, date: i64) -> Option<&Special> {
        let at = self.specials.binary_search_by_key(&date, |special| special.date).ok()?;
        self.specials.get(at)
    }

    /// The stretch of one phase that an instant is in, within its day.
    pub fn segment(&self, at: UnixNanos) -> Segment {
        let day = self.day(at);
        let found = day.segments().iter().find(|segment| at < segment.end).copied();
        // A day has no hole; were there one, it would be closed.
        found.unwrap_or(Segment { start: day.interval.start, end: day.interval.end, phase: Phase::Closed })
    }

    /// Special dates from a day on, soonest first: when, whether all of it, and why.
    pub fn specials_from(&self, date: i64) -> impl Iterator<Item = (i64, bool, &str)> {
        let from = self.specials.partition_point(|special| special.date < date);
        self.specials[from..]
            .iter()
            .map(|special| (special.date, special.ends.is_none(), special.why.as_str()))
    }

    /// The last day that its lists cover; `None`: it has no lists.
    pub fn listed_to(&self) -> Option<i64> {
        self.to
    }

    /// The first day that its lists cover; `None`: it has no lists.
    pub fn listed_from(&self) -> Option<i64> {
        self.from
    }

    /// Every instant at which a day or a segment may begin is a multiple of so many seconds since 1970.
    fn granule_s(&self) -> i64 {
        // Clocks have been whole minutes from UTC since long before there were ticks.
        const YEAR_2000_S: i64 = 946_684_800;
        let modern = self.zone.changes().iter().filter(|&&(at, _)| at >= YEAR_2000_S);
        let sessions = self.sessions.iter().flat_map(|session| [session.from_s, session.to_s]);
        let early = self.specials.iter().filter_map(|special| special.ends).flat_map(|(a, b)| [a, b]);
        modern
            .flat_map(|&(at, offset)| [at, offset])
            .chain([self.zone.offset_at(YEAR_2000_S), self.day_begins_s, DAY_S])
            .chain(sessions)
            .chain(early)
            .fold(0, gcd)
    }

    /// The same for days alone.
    fn day_granule_s(&self) -> i64 {
        let plain = Self { sessions: Vec::new(), specials: Vec::new(), ..self.clone() };
        plain.granule_s()
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
