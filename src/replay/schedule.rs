//! When each line of a recording is due: its own time over the speed, never before the line ahead of it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::model::{Nanos, UnixNanos};

/// The most decimals of a speed.
const DECIMALS_MAX: usize = 6;

/// How fast recorded time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// `num / den` times as fast as it was recorded.
    Times {
        /// Recorded time.
        num: NonZeroU32,
        /// In so much time.
        den: NonZeroU32,
    },
    /// As fast as the connection takes it; times are not looked at.
    Max,
}

impl Speed {
    /// As fast as it was recorded.
    pub const RECORDED: Self = Self::Times { num: NonZeroU32::MIN, den: NonZeroU32::MIN };
}

/// A text that is no speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a speed: write 1x for the recorded pace, 10x or 0.5x for a multiple of it (above 0, at most \
     six decimals, at most nine digits), or max"
)]
pub struct SpeedError(String);

impl FromStr for Speed {
    type Err = SpeedError;

    /// `1x`, `0.5x`, `10x` or `max`.
    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let read = || {
            let (whole, decimals) = match text.strip_suffix('x')?.split_once('.') {
                Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
                Some(_) => return None,
                None => (text.strip_suffix('x')?, ""),
            };
            let digits = format!("{whole}{decimals}");
            let are_digits = !whole.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if !are_digits || decimals.len() > DECIMALS_MAX || digits.len() > 9 {
                return None;
            }
            let num = NonZeroU32::new(digits.parse().ok()?)?;
            let den = NonZeroU32::new(10u32.pow(decimals.len() as u32))?;
            Some(Self::Times { num, den })
        };
        read().ok_or_else(|| SpeedError(text.to_owned()))
    }
}

impl fmt::Display for Speed {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Times { num, den } => write!(f, "{}x", f64::from(num.get()) / f64::from(den.get())),
        }
    }
}

/// The recorded time that stands for a moment of the replay.
#[derive(Debug, Clone, Copy)]
struct Origin {
    recorded: UnixNanos,
    due: UnixNanos,
}

/// Due times of lines, in the order in which they are asked for. It reads no clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    speed: Speed,
    origin: Option<Origin>,
    /// The latest recorded time so far.
    latest: UnixNanos,
    last_due: UnixNanos,
    /// The next time is the first of its file.
    file_begins: bool,
}

impl Schedule {
    /// A replay that begins at `start`.
    pub fn new(speed: Speed, start: UnixNanos) -> Self {
        Self { speed, origin: None, latest: UnixNanos::MIN, last_due: start, file_begins: true }
    }

    /// Further times are another file's. If that begins before the latest time so far, it is no continuation: its first
    /// time is due at once, as the very first was.
    pub fn begin_file(&mut self) {
        self.file_begins = true;
    }

    /// When the next line is due: `origin + (recorded - first) / speed`, and not before the line ahead of it. A line without
    /// a time goes with that line. At [`Speed::Max`] every line is due at the start.
    pub fn due(&mut self, recorded: Option<UnixNanos>) -> UnixNanos {
        let Some(recorded) = recorded else { return self.last_due };
        let begins = std::mem::take(&mut self.file_begins);
        let origin = match self.origin {
            Some(origin) if !(begins && recorded < self.latest) => origin,
            _ => *self.origin.insert(Origin { recorded, due: self.last_due }),
        };
        self.latest = self.latest.max(recorded);
        if let Speed::Times { num, den } = self.speed {
            let span = i128::from(recorded.0) - i128::from(origin.recorded.0);
            let span = span * i128::from(den.get()) / i128::from(num.get());
            let span = i64::try_from(span).unwrap_or(if span < 0 { i64::MIN } else { i64::MAX });
            self.last_due = self.last_due.max(origin.due + Nanos(span));
        }
        self.last_due
    }

    /// What moves recorded times to now: from the first time to when it is due, in whole milliseconds, so that it is the same
    /// in every unit of time. `None` before the first time.
    pub fn shift(&self) -> Option<Nanos> {
        let origin = self.origin?;
        let shift = origin.due.since(origin.recorded);
        Some(Nanos(shift.0 - shift.0 % 1_000_000))
    }
}
