//! Which symbols follow which calendar.

use std::sync::Arc;

use super::{Anchor, Calendar, Grid, NestError};
use crate::model::{Symbol, Timeframes};

/// What a rule goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Every symbol.
    All,
    /// One name.
    Symbol(Symbol),
    /// Names that fit: `*` stands for anything, also for nothing.
    Pattern(String),
    /// Symbols whose first tick came from this source, by its number.
    Source(u8),
}

impl Pick {
    /// Whether it means a symbol, by its name and, once it is known, its source.
    fn takes(&self, name: &[u8], source: Option<u8>) -> bool {
        match self {
            Self::All => true,
            Self::Symbol(symbol) => symbol.as_bytes() == name,
            Self::Pattern(pattern) => fits(pattern.as_bytes(), name),
            Self::Source(number) => source == Some(*number),
        }
    }
}

/// Whether a name fits a pattern with `*`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else { return pattern == name };
    let (head, rest) = (&pattern[..star], &pattern[star + 1..]);
    let Some(name) = name.strip_prefix(head) else { return false };
    match rest.iter().position(|&byte| byte == b'*') {
        None => name.ends_with(rest),
        // The first place where the next fixed part is found leaves most to what follows.
        Some(0) => fits(rest, name),
        Some(next) => {
            let part = &rest[..next];
            let found = name.windows(part.len()).position(|window| window == part);
            found.is_some_and(|at| fits(&rest[next..], &name[at + part.len()..]))
        }
    }
}

/// What a symbol's rules come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This calendar, by its number; 0 is none.
    Calendar(u8),
    /// It depends on where its ticks come from.
    BySource,
}

/// The calendars in use and whose they are. The first rule that fits decides; without one a symbol has no calendar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CalendarRules {
    calendars: Vec<Arc<Calendar>>,
    rules: Vec<(Pick, u8)>,
    anchor: Anchor,
}

impl CalendarRules {
    /// The most calendars at once.
    pub const MAX: usize = 64;
    /// What stands for the market as a whole where a symbol is asked for.
    pub const MARKET: &str = "$market";

    /// Every symbol follows one calendar.
    pub fn all(calendar: Calendar, anchor: Anchor) -> Self {
        Self { calendars: vec![Arc::new(calendar)], rules: vec![(Pick::All, 1)], anchor }
    }

    /// No rules yet.
    pub fn anchored(anchor: Anchor) -> Self {
        Self { anchor, ..Self::default() }
    }

    /// Adds a calendar with its picks, after those there are. `false`: there are [`Self::MAX`] already.
    pub fn add(&mut self, calendar: Calendar, picks: impl IntoIterator<Item = Pick>) -> bool {
        if self.calendars.len() >= Self::MAX {
            return false;
        }
        self.calendars.push(Arc::new(calendar));
        let number = self.calendars.len() as u8;
        self.rules.extend(picks.into_iter().map(|pick| (pick, number)));
        true
    }

    /// What coarse intraday bars align to.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The calendars, by number less one.
    pub fn calendars(&self) -> &[Arc<Calendar>] {
        &self.calendars
    }

    /// The grids by calendar number: first that of no calendar.
    ///
    /// # Errors
    /// Where the timeframes do not nest under one of them.
    pub fn grids(&self, timeframes: &Timeframes) -> Result<Vec<Grid>, NestError> {
        let with =
            self.calendars.iter().map(|calendar| Grid::new(timeframes, Arc::clone(calendar), self.anchor));
        std::iter::once(Ok(Grid::plain(timeframes))).chain(with).collect()
    }

    /// The calendar of a symbol, by its name and, once it is known, its source. A calendar's own name means that calendar, and
    /// [`Self::MARKET`] the first there is.
    pub fn choose(&self, name: &[u8], source: Option<u8>) -> Choice {
        let named =
            |calendar: &Arc<Calendar>| calendar.name().as_bytes() == name || name == Self::MARKET.as_bytes();
        if let Some(at) = self.calendars.iter().position(named) {
            return Choice::Calendar(at as u8 + 1);
        }
        for (pick, number) in &self.rules {
            if matches!(pick, Pick::Source(_)) && source.is_none() {
                return Choice::BySource;
            }
            if pick.takes(name, source) {
                return Choice::Calendar(*number);
            }
        }
        Choice::Calendar(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, wanted) in [
            ("*USDT", "BTCUSDT", true),
            ("*USDT", "BTCUSD", false),
            ("C:*", "C:EURUSD", true),
            ("*", "", true),
            ("A*B*C", "AxBBzC", true),
            ("A*B*C", "AxCzB", false),
            ("A**B", "AB", true),
            ("AB", "ABC", false),
            ("A*A", "A", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_one_by_source_waits_for_it() {
        let calendar = |name| super::super::built_in(name).unwrap();
        let mut rules = CalendarRules::default();
        rules.add(calendar("crypto-24x7"), [Pick::Pattern("*USDT".to_owned())]);
        rules.add(calendar("us-equities"), [Pick::Source(3), Pick::Symbol(Symbol::new(b"SPY").unwrap())]);
        assert_eq!(rules.choose(b"BTCUSDT", None), Choice::Calendar(1));
        assert_eq!(rules.choose(b"AAPL", None), Choice::BySource);
        assert_eq!(rules.choose(b"AAPL", Some(3)), Choice::Calendar(2));
        assert_eq!(rules.choose(b"AAPL", Some(4)), Choice::Calendar(0));
        assert_eq!(rules.choose(b"SPY", Some(4)), Choice::Calendar(2));
        assert!(rules.choose(b"ANY", Some(1)) == CalendarRules::default().choose(b"ANY", None));
    }
}
