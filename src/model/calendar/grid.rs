//! Which interval of a timeframe an instant is in, and how the timeframes of one calendar nest.

use std::sync::Arc;

use super::{Calendar, DAY_S, Phase, SECOND, Segment};
use crate::model::{Nanos, Timeframe, Timeframes, UnixNanos};

/// `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When it begins.
    pub start: UnixNanos,
    /// When it ends, not included.
    pub end: UnixNanos,
}

impl Interval {
    /// Later than every real one.
    pub const NEVER: Self = Self { start: UnixNanos::MAX, end: UnixNanos::MAX };

    /// Whether an instant is in it.
    #[inline]
    pub fn has(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }
}

/// What bars of an hour and more, shorter than a day, align to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    /// The UTC epoch, as all finer bars.
    #[default]
    Epoch,
    /// The beginning of each session, and of each time without one; the last bar of it may be short.
    Session,
}

/// In which sessions intervals without trades are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Open {
    /// Regular ones.
    #[default]
    Regular,
    /// Those before and after, too.
    Extended,
}

impl Open {
    const fn has(self, phase: Phase) -> bool {
        match self {
            Self::Regular => matches!(phase, Phase::Regular),
            Self::Extended => matches!(phase, Phase::Pre | Phase::Regular | Phase::Post),
        }
    }
}

/// Why timeframes do not nest under a calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "under the calendar {calendar}, bars of {coarse} begin at times that no shorter bar begins at: add a timeframe that divides {minutes} minutes, such as {such_as}"
)]
pub struct NestError {
    calendar: String,
    coarse: Timeframe,
    minutes: i64,
    such_as: String,
}

/// How one timeframe lies in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// From the UTC epoch on, end to end.
    Epoch,
    /// From the beginning of each segment on, end to end.
    Segments,
    /// The calendar's days.
    Days,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    lie: Lie,
    len: Nanos,
    child: usize,
    parents: Vec<usize>,
    /// Itself and those that it is made of, bit by level.
    below: u64,
}

/// All timeframes under one calendar, or under none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    calendar: Option<Arc<Calendar>>,
    levels: Vec<Level>,
}

const HOUR: Nanos = Nanos::from_secs(3_600);
const DAY: Nanos = Nanos::from_secs(DAY_S);
/// A market that does not open for so long is not looked at further: enough for every holiday there has been.
const DAYS_AHEAD_MAX: i64 = 16;

impl Grid {
    /// The timeframes without a calendar: all from the UTC epoch on.
    pub fn plain(timeframes: &Timeframes) -> Self {
        let mut grid = Self { calendar: None, levels: Vec::new() };
        for (level, timeframe) in timeframes.iter().enumerate() {
            let child = timeframes.child(level);
            let (lie, len, parents) = (Lie::Epoch, timeframe.nanos(), Vec::new());
            grid.levels.push(Level { lie, len, child, parents, below: 0 });
        }
        grid.link();
        grid
    }

    /// The timeframes under a calendar.
    ///
    /// # Errors
    /// Where bars of one would begin in the middle of every shorter one's.
    pub fn new(timeframes: &Timeframes, calendar: Arc<Calendar>, anchor: Anchor) -> Result<Self, NestError> {
        let mut grid = Self { calendar: None, levels: Vec::new() };
        let utc_days = calendar.zone().is_utc() && calendar.day_begins_s == 0;
        for (level, timeframe) in timeframes.iter().enumerate() {
            let len = timeframe.nanos();
            let (lie, granule_s) = match anchor {
                _ if len == DAY && utc_days => (Lie::Epoch, 0),
                _ if len == DAY => (Lie::Days, calendar.day_granule_s()),
                Anchor::Session if len >= HOUR && len < DAY => (Lie::Segments, calendar.granule_s()),
                _ => (Lie::Epoch, 0),
            };
            let nests = |child: usize| {
                let below: &Level = &grid.levels[child];
                let divides = len.0 % below.len.0 == 0;
                match (lie, below.lie) {
                    // A day's segments are its own.
                    (Lie::Days, Lie::Segments) => true,
                    (_, Lie::Epoch) => divides && granule_s % (below.len.0 / SECOND) == 0,
                    (Lie::Segments, Lie::Segments) => divides,
                    // A UTC day is cut by segments only where there is no other zone.
                    (Lie::Epoch, Lie::Segments) => len == DAY,
                    (_, Lie::Days) => false,
                }
            };
            let child = match (0..level).rev().find(|&child| nests(child)) {
                Some(child) => child,
                None if level == 0 => 0,
                None => {
                    let such_as = [900, 300, 60, 1].into_iter().find(|s| granule_s % s == 0).unwrap_or(1);
                    return Err(NestError {
                        calendar: calendar.name().to_owned(),
                        coarse: timeframe,
                        minutes: granule_s / 60,
                        such_as: if such_as >= 60 {
                            format!("{}m", such_as / 60)
                        } else {
                            format!("{such_as}s")
                        },
                    });
                }
            };
            grid.levels.push(Level { lie, len, child, parents: Vec::new(), below: 0 });
        }
        grid.link();
        grid.calendar = Some(calendar);
        Ok(grid)
    }

    fn link(&mut self) {
        for level in 0..self.levels.len() {
            let child = self.levels[level].child;
            self.levels[level].below = 1 << level | self.levels[child].below;
            if level > 0 {
                self.levels[child].parents.push(level);
            }
        }
    }

    /// Has days made from a level of their own, beyond all timeframes and as long as the finest, instead of from the one below
    /// them. Returns that level; `None` where there are no days, or nothing else.
    pub fn split_daily(&mut self) -> Option<usize> {
        let day = self.levels.len() - 1;
        if day == 0 || self.levels[day].len != DAY {
            return None;
        }
        let base = self.levels.len();
        let below = self.levels[day].child;
        self.levels[below].parents.retain(|&parent| parent != day);
        self.levels[day].child = base;
        let Level { lie, len, .. } = self.levels[0];
        self.levels.push(Level { lie, len, child: base, parents: vec![day], below: 1 << base });
        Some(base)
    }

    /// Its calendar.
    pub fn calendar(&self) -> Option<&Arc<Calendar>> {
        self.calendar.as_ref()
    }

    /// The level whose bars make up those of `level`.
    #[inline]
    pub fn child(&self, level: usize) -> usize {
        self.levels[level].child
    }

    /// The levels whose bars are made up of those of `level`.
    #[inline]
    pub fn parents(&self, level: usize) -> &[usize] {
        &self.levels[level].parents
    }

    /// A timeframe and those that its bars are made up of, directly or not, bit by level. A day that is split off is made up of the
    /// same all the same.
    #[inline]
    pub fn below(&self, level: usize) -> u64 {
        self.levels[level].below
    }

    /// A timeframe and those whose bars are made up of its own, directly or not, bit by level.
    pub fn above(&self, level: usize) -> u64 {
        let made_of_it = |above: &usize| self.below(*above) & (1 << level) != 0;
        (0..self.levels.len()).filter(made_of_it).fold(0, |set, above| set | 1 << above)
    }

    /// The interval of a timeframe that an instant is in.
    #[inline]
    pub fn interval(&self, level: usize, at: UnixNanos) -> Interval {
        let Level { lie, len, .. } = self.levels[level];
        match lie {
            Lie::Epoch => {
                let start = at.floor(len);
                Interval { start, end: start + len }
            }
            lie => self.look_up(lie, len, at),
        }
    }

    #[cold]
    fn look_up(&self, lie: Lie, len: Nanos, at: UnixNanos) -> Interval {
        match (&self.calendar, lie) {
            (Some(calendar), Lie::Days) => calendar.day_interval(at),
            (Some(calendar), Lie::Segments) => {
                let Segment { start, end, .. } = calendar.segment(at);
                let start = start + Nanos(at.since(start).0 / len.0 * len.0);
                Interval { start, end: end.min(start + len) }
            }
            _ => Interval { start: at.floor(len), end: at.floor(len) + len },
        }
    }

    /// When the interval that begins at `start` ends.
    #[inline]
    pub fn end(&self, level: usize, start: UnixNanos) -> UnixNanos {
        let Level { lie, len, .. } = self.levels[level];
        match lie {
            Lie::Epoch => {
                debug_assert!(start == UnixNanos::MAX || start == start.floor(len), "it begins there");
                start + len
            }
            lie => self.look_up(lie, len, start).end,
        }
    }

    /// How long the interval that begins at `start` is, s, where that is not its timeframe's own length; else 0.
    #[inline]
    pub fn odd_length_s(&self, level: usize, start: UnixNanos) -> u32 {
        let Level { lie, len, .. } = self.levels[level];
        if lie == Lie::Epoch {
            return 0;
        }
        let length = self.end(level, start).since(start);
        if length == len { 0 } else { (length.0 / SECOND) as u32 }
    }

    /// The day that an instant is in: the calendar's, or the UTC one.
    pub fn day(&self, at: UnixNanos) -> Interval {
        match &self.calendar {
            Some(calendar) => calendar.day_interval(at),
            None => Interval { start: at.floor(DAY), end: at.floor(DAY) + DAY },
        }
    }

    /// The stretch of dealing that `at` is in, or the next, within a bounded look ahead. Without a calendar there is no end of it.
    pub fn next_open(&self, at: UnixNanos, open: Open) -> Option<Interval> {
        let Some(calendar) = &self.calendar else {
            return Some(Interval { start: UnixNanos::MIN, end: UnixNanos::MAX });
        };
        let today = calendar.date_of(at);
        for date in today..today + DAYS_AHEAD_MAX {
            let day = calendar.day_of_date(date);
            let found = day.segments().iter().find(|segment| segment.end > at && open.has(segment.phase));
            if let Some(&Segment { start, end, .. }) = found {
                return Some(Interval { start, end });
            }
        }
        None
    }
}
