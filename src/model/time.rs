//! Points and spans of time, in whole nanoseconds.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use bytemuck::{Pod, Zeroable};

/// A point in time: nanoseconds since 1970-01-01T00:00:00 UTC. Covers the years 1677 to 2262.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct UnixNanos(pub i64);

/// A signed span of time in nanoseconds.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Nanos(pub i64);

impl UnixNanos {
    /// Earlier than every real time.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every real time; as a watermark, the end of input.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since 1970; `None` where that leaves the range.
    pub fn from_millis(ms: i64) -> Option<Self> {
        ms.checked_mul(1_000_000).map(Self)
    }

    /// From microseconds since 1970; `None` where that leaves the range.
    pub fn from_micros(us: i64) -> Option<Self> {
        us.checked_mul(1_000).map(Self)
    }

    /// Whole microseconds since 1970, rounded down: the time unit of all JSON.
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The greatest multiple of `step` since 1970 that is not after `self`, held at the beginning of the range. `step`
    /// must be positive.
    #[inline]
    pub const fn floor(self, step: Nanos) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(step.0)))
    }

    /// `self + span`, held at the ends of the range.
    #[inline]
    pub const fn plus(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// `self - span`, held at the ends of the range.
    #[inline]
    pub const fn minus(self, span: Nanos) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span from `earlier` to `self`, held at the ends of the range.
    #[inline]
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span.
    pub const MAX: Self = Self(i64::MAX);

    /// From whole seconds.
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// From whole milliseconds.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// From whole microseconds.
    pub const fn from_micros(us: i64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// As a `std` duration; a negative span is zero.
    pub fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl Add<Nanos> for UnixNanos {
    type Output = Self;
    fn add(self, span: Nanos) -> Self {
        self.plus(span)
    }
}

impl AddAssign<Nanos> for UnixNanos {
    fn add_assign(&mut self, span: Nanos) {
        *self = self.plus(span);
    }
}

impl Sub for UnixNanos {
    type Output = Nanos;
    fn sub(self, earlier: Self) -> Nanos {
        self.since(earlier)
    }
}

impl fmt::Display for UnixNanos {
    /// ISO 8601 in UTC to the microsecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => write!(f, "{t:.6}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}
