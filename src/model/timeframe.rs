//! Bar lengths, and how they nest.

use std::fmt;
use std::str::FromStr;

use super::time::Nanos;

/// A bar length in whole seconds, from 1s to 1d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeframe(u32);

const DAY_S: u32 = 86_400;

/// Why a text is not a timeframe, or a list of them not a set that nests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeframeError {
    /// Not a whole number and a unit.
    #[error("timeframe {0:?} is not a whole number followed by s, m, h or d, such as 1s, 5m, 4h or 1d")]
    Malformed(String),
    /// Bars align to the day, so the length must divide it.
    #[error("timeframe {0:?} does not divide a day evenly")]
    NotInDay(String),
    /// Coarse bars are merged from finer ones.
    #[error(
        "timeframe {coarse} is not a multiple of the finest one, {finest}: add a finer one that divides both"
    )]
    DoesNotNest {
        /// The offending one.
        coarse: Timeframe,
        /// The finest of the set.
        finest: Timeframe,
    },
    /// None, or more than [`Timeframes::MAX`].
    #[error("{0} timeframes given; between 1 and {max} are possible", max = Timeframes::MAX)]
    Count(usize),
}

impl Timeframe {
    /// The length.
    pub const fn nanos(self) -> Nanos {
        Nanos::from_secs(self.0 as i64)
    }
}

impl FromStr for Timeframe {
    type Err = TimeframeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || TimeframeError::Malformed(text.to_owned());
        let unit_at = text.len().checked_sub(1).ok_or_else(malformed)?;
        if !text.is_char_boundary(unit_at) {
            return Err(malformed());
        }
        let (digits, unit) = text.split_at(unit_at);
        let scale = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => DAY_S,
            _ => return Err(malformed()),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let count: u32 = digits.parse().map_err(|_| malformed())?;
        match count.checked_mul(scale) {
            Some(s) if s > 0 && DAY_S.is_multiple_of(s) => Ok(Self(s)),
            _ => Err(TimeframeError::NotInDay(text.to_owned())),
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in [(DAY_S, 'd'), (3_600, 'h'), (60, 'm')] {
            if self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}s", self.0)
    }
}

/// The timeframes of an engine, finest first. Each but the finest is built from its `child`, the coarsest that divides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeframes {
    levels: Vec<Timeframe>,
    children: Vec<usize>,
    labels: Vec<String>,
}

impl Timeframes {
    /// The most timeframes at once.
    pub const MAX: usize = 32;

    /// Sorts, removes repeats and checks that the set nests.
    pub fn new(list: &[Timeframe]) -> Result<Self, TimeframeError> {
        let mut levels = list.to_vec();
        levels.sort_unstable();
        levels.dedup();
        if levels.is_empty() || levels.len() > Self::MAX {
            return Err(TimeframeError::Count(levels.len()));
        }
        let divides = |fine: Timeframe, coarse: Timeframe| coarse.0.is_multiple_of(fine.0);
        let finest = levels[0];
        if let Some(&coarse) = levels.iter().find(|&&level| !divides(finest, level)) {
            return Err(TimeframeError::DoesNotNest { coarse, finest });
        }
        let child = |i: usize| (0..i).rev().find(|&j| divides(levels[j], levels[i])).unwrap_or(0);
        let children = (0..levels.len()).map(child).collect();
        let labels = levels.iter().map(Timeframe::to_string).collect();
        Ok(Self { levels, children, labels })
    }

    /// Reads `1s,1m,5m`.
    pub fn parse(list: &str) -> Result<Self, TimeframeError> {
        let levels = list.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<_>, _>>()?;
        Self::new(&levels)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "never empty, by construction")]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// The timeframe at `level`, 0 the finest.
    pub fn get(&self, level: usize) -> Option<Timeframe> {
        self.levels.get(level).copied()
    }

    /// Finest first.
    pub fn iter(&self) -> impl Iterator<Item = Timeframe> + '_ {
        self.levels.iter().copied()
    }

    /// The level whose bars make up those of `level`.
    pub fn child(&self, level: usize) -> usize {
        self.children[level]
    }

    /// `1m` and the like; empty for a level that does not exist.
    pub fn label(&self, level: usize) -> &str {
        self.labels.get(level).map_or("", String::as_str)
    }

    /// The level of a label such as `1m`.
    pub fn level(&self, label: &str) -> Option<usize> {
        let wanted: Timeframe = label.parse().ok()?;
        self.levels.iter().position(|&level| level == wanted)
    }
}

impl fmt::Display for Timeframes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.labels.join(","))
    }
}
