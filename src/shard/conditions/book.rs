//! A rule book: which trades move which fields of a bar, by sale condition and class of timeframe, read from a dated table.
//!
//! A table is TOML. Its head says what it is, as of which day, and from which documents; each `[[condition]]` is one row:
//!
//! | key | meaning |
//! |---|---|
//! | `name` | what the condition is called |
//! | `massive`, `binance` | its codes as numbers, 1 to 255 |
//! | `cts`, `utp` | its letters on tapes A and B, and on tape C |
//! | `lean` | its bits in a mask, 0 to 31 |
//! | `minute` | what a trade with it moves in bars of less than a day: any of `open-close` or `first`, `high-low`, `volume` |
//! | `extended` | the same outside regular hours, where that differs; then `[hours]` says when those are |
//! | `daily` | the same in bars of a day, where that differs |
//! | `admits` | a trade with it is not held back by conditions that `yield` |
//! | `yields` | it restricts only trades without a condition that `admits` |
//! | `cite` | the line of the document that says so |
//!
//! `first` moves the open, and the close of a bar in which no other trade may close. Of several conditions on one trade the most
//! restrictive wins, field by field.

use serde::Deserialize;

use super::super::record::Fields;
use super::hours::{Hours, HoursRow};

/// How a feed writes a trade's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Massive's numbers, up to four.
    Massive,
    /// Letters of the tapes, up to four.
    Letters,
    /// A mask of 32 bits, as QuantConnect's Lean has it.
    Lean,
    /// This engine's own numbers for what Binance says of a trade.
    Binance,
}

impl Coding {
    /// All of them, with what a configuration calls them.
    pub const ALL: [(&'static str, Self); 4] = [
        ("massive", Self::Massive),
        ("letters", Self::Letters),
        ("lean", Self::Lean),
        ("binance", Self::Binance),
    ];

    /// What a configuration calls it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|&(_, coding)| coding == self).map_or("", |(name, _)| name)
    }
}

/// Why a table cannot be used. The text says where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Not TOML, or a key or type that does not exist; with line and column.
    #[error("{0}")]
    Syntax(String),
    /// A row that is well-formed and wrong.
    #[error("condition {name:?}: {message}")]
    Row {
        /// Its name.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Hours that are none.
    #[error("hours: {0}")]
    Hours(String),
    /// Rows differ by hours and nothing says when those are.
    #[error("condition {0:?} has `extended`, and there is no [hours] with zone, open and close")]
    NoHours(String),
}

/// A table as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    about: String,
    as_of: String,
    sources: Vec<String>,
    hours: Option<HoursRow>,
    condition: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    massive: Vec<u8>,
    #[serde(default)]
    cts: String,
    #[serde(default)]
    utp: String,
    #[serde(default)]
    lean: Vec<u8>,
    #[serde(default)]
    binance: Vec<u8>,
    minute: String,
    extended: Option<String>,
    daily: Option<String>,
    #[serde(default)]
    admits: bool,
    #[serde(default)]
    yields: bool,
    cite: String,
}

/// What a condition leaves alone, by class of timeframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes {
    /// In bars of less than a day, in regular hours.
    pub minute: Fields,
    /// The same outside them.
    pub extended: Fields,
    /// In bars of a day.
    pub daily: Fields,
}

/// One row of a book: a condition, its codes and its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is called.
    pub name: String,
    /// What it leaves alone.
    pub leaves: Classes,
    /// Lifts what yields.
    pub admits: bool,
    /// Holds only where nothing admits.
    pub yields: bool,
    massive: Vec<u8>,
    cts: Vec<u8>,
    utp: Vec<u8>,
    lean: Vec<u8>,
    binance: Vec<u8>,
}

impl Condition {
    /// Its codes in a coding; of letters those of tape C, or those of tapes A and B.
    pub fn codes(&self, coding: Coding, tape_c: bool) -> &[u8] {
        match coding {
            Coding::Massive => &self.massive,
            Coding::Letters if tape_c => &self.utp,
            Coding::Letters => &self.cts,
            Coding::Lean => &self.lean,
            Coding::Binance => &self.binance,
        }
    }
}

/// A table that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// What it calls itself.
    pub name: String,
    /// One sentence on what it is.
    pub about: String,
    /// The day as of which it holds.
    pub as_of: String,
    /// The documents it was made from.
    pub sources: Vec<String>,
    /// Its rows.
    pub conditions: Vec<Condition>,
    pub(super) hours: Option<Hours>,
}

impl Book {
    /// Reads a table.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &str) -> Result<Self, BookError> {
        let file: File = toml::from_str(text).map_err(|error| BookError::Syntax(error.to_string()))?;
        let hours = file.hours.as_ref().map(Hours::read).transpose().map_err(BookError::Hours)?;
        if let Some(row) = file.condition.iter().find(|row| row.extended.is_some())
            && hours.is_none()
        {
            return Err(BookError::NoHours(row.name.clone()));
        }
        let conditions = file.condition.into_iter().map(Row::check).collect::<Result<Vec<_>, _>>()?;
        let book = Self {
            name: file.name,
            about: file.about,
            as_of: file.as_of,
            sources: file.sources,
            conditions,
            hours,
        };
        for (_, coding) in Coding::ALL {
            book.check_codes(coding, false)?;
            book.check_codes(coding, true)?;
        }
        Ok(book)
    }

    /// The codings that it has codes for.
    pub fn codings(&self) -> impl Iterator<Item = Coding> + '_ {
        let has = |coding| {
            let mut rows = self.conditions.iter();
            rows.any(|row| !row.codes(coding, false).is_empty() || !row.codes(coding, true).is_empty())
        };
        Coding::ALL.into_iter().map(|(_, coding)| coding).filter(move |&coding| has(coding))
    }

    /// Whether some trade moves a daily bar otherwise than a shorter one.
    pub fn has_daily(&self) -> bool {
        let mut leaves = self.conditions.iter().map(|row| row.leaves);
        leaves.any(|leaves| leaves.daily != leaves.minute || leaves.daily != leaves.extended)
    }

    fn check_codes(&self, coding: Coding, tape_c: bool) -> Result<(), BookError> {
        let mut owners: [Option<&str>; 256] = [None; 256];
        let least = u8::from(matches!(coding, Coding::Massive | Coding::Binance));
        let most = if coding == Coding::Lean { 31 } else { u8::MAX };
        for row in &self.conditions {
            for &code in row.codes(coding, tape_c) {
                let wrong = |message| Err(BookError::Row { name: row.name.clone(), message });
                if code < least || code > most {
                    return wrong(format!("{} {code} is not between {least} and {most}", coding.name()));
                }
                if let Some(other) = owners[usize::from(code)].replace(&row.name) {
                    let text = if coding == Coding::Letters {
                        char::from(code).to_string()
                    } else {
                        code.to_string()
                    };
                    let coding = coding.name();
                    return wrong(format!("{coding} code {text} is {other:?} already: a code has one row"));
                }
            }
        }
        Ok(())
    }
}

impl Row {
    fn check(self) -> Result<Condition, BookError> {
        let wrong = |message: &str| BookError::Row { name: self.name.clone(), message: message.to_owned() };
        let fields = |text: &str| leaves(text).map_err(|message| wrong(&message));
        let minute = fields(&self.minute)?;
        let leaves = Classes {
            minute,
            extended: self.extended.as_deref().map_or(Ok(minute), fields)?,
            daily: self.daily.as_deref().map_or(Ok(minute), fields)?,
        };
        if self.cite.trim().is_empty() {
            return Err(wrong("`cite` is empty: name the line of the document that says so"));
        }
        if self.admits && self.yields {
            return Err(wrong("it cannot both admit and yield"));
        }
        let letters = |text: &str| match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(text.as_bytes().to_vec()),
            false => Err(wrong(&format!("{text:?} is not made of printable ASCII letters"))),
        };
        let condition = Condition {
            leaves,
            admits: self.admits,
            yields: self.yields,
            cts: letters(&self.cts)?,
            utp: letters(&self.utp)?,
            name: self.name.clone(),
            massive: self.massive.clone(),
            lean: self.lean.clone(),
            binance: self.binance.clone(),
        };
        let no_code = |&(_, coding): &(_, Coding)| {
            condition.codes(coding, false).is_empty() && condition.codes(coding, true).is_empty()
        };
        if Coding::ALL.iter().all(no_code) {
            return Err(wrong("it has no code: give one of massive, cts, utp, lean, binance"));
        }
        Ok(condition)
    }
}

/// The fields that a list of what is moved leaves alone.
fn leaves(moves: &str) -> Result<Fields, String> {
    let mut left = Fields::ALL;
    for word in moves.split_whitespace() {
        let moved = match word {
            "open-close" => Fields::OPEN.and(Fields::CLOSE),
            "first" => Fields::OPEN,
            "high-low" => Fields::HIGH_LOW,
            "volume" => Fields::VOLUME,
            _ => return Err(format!("{word:?} is none of open-close, first, high-low, volume")),
        };
        left = left.but(moved);
    }
    Ok(left)
}
