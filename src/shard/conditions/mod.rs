//! Sale conditions: which fields of a bar a trade may move, looked up in a few loads.
//!
//! Rule books are data ([`Book`]); `us-equities`, `quantconnect` and `binance` are shipped. A feed's trades are judged by the first of the
//! chosen books that knows the feed's coding, and all of them count in full where none does. A code that the book does not know
//! holds nothing back and is counted.

mod book;
mod hours;

use std::path::Path;
use std::sync::Arc;

use crate::model::Tick;

use super::record::Fields;
pub use book::{Book, BookError, Classes, Coding, Condition};
use hours::{Hours, Session};

/// The books that are shipped.
pub const SHIPPED: [(&str, &str); 3] = [
    ("us-equities", include_str!("us-equities.toml")),
    ("quantconnect", include_str!("quantconnect.toml")),
    ("binance", include_str!("binance.toml")),
];

/// The most books at once.
pub const BOOKS_MAX: usize = 16;

/// A book that was asked for, and in which coding if that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    book: Arc<Book>,
    coding: Option<Coding>,
}

impl Choice {
    /// Finds `NAME[:CODING]`: a shipped book, or a file of the user's in the same format.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn find(text: &str) -> Result<Self, String> {
        let named = |text: &str| Coding::ALL.into_iter().find(|&(name, _)| name == text);
        let (name, coding) = match text.rsplit_once(':') {
            Some((name, last)) => match named(last) {
                Some((_, coding)) => (name, Some(coding)),
                None if SHIPPED.iter().any(|&(shipped, _)| shipped == name) => {
                    let codings = Coding::ALL.map(|(name, _)| name).join(", ");
                    return Err(format!("{last:?} in {text:?} is no coding; they are {codings}"));
                }
                None => (text, None),
            },
            None => (text, None),
        };
        let shipped = SHIPPED.into_iter().find(|&(shipped, _)| shipped == name);
        let read = match shipped {
            Some((_, table)) => Book::read(table),
            None => {
                let table = std::fs::read_to_string(Path::new(name)).map_err(|error| {
                    let names = SHIPPED.map(|(name, _)| name).join(", ");
                    format!("{name:?} is neither one of {names} nor a file that can be read: {error}")
                })?;
                Book::read(&table)
            }
        };
        let book = read.map_err(|error| format!("{name}: {error}"))?;
        if let Some(coding) = coding
            && !book.codings().any(|has| has == coding)
        {
            let has = list(&book);
            return Err(format!("{name} has no codes in {}; it has {has}", coding.name()));
        }
        Ok(Self { book: Arc::new(book), coding })
    }

    /// The coding in which it reads a feed that writes `written`; a feed that may write any coding (`None`) needs it to be said, or
    /// the book to have but one.
    fn coding_for(&self, written: Option<Coding>) -> Option<Coding> {
        match (self.coding, written) {
            (Some(said), None) => Some(said),
            (Some(said), Some(written)) => (said == written).then_some(said),
            (None, Some(written)) => self.book.codings().find(|&coding| coding == written),
            (None, None) => {
                let mut codings = self.book.codings();
                let first = codings.next();
                first.filter(|_| codings.next().is_none())
            }
        }
    }
}

fn list(book: &Book) -> String {
    book.codings().map(Coding::name).collect::<Vec<_>>().join(", ")
}

/// Which rules judge the trades of which feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    tables: Vec<(Arc<Book>, Coding)>,
    /// By number of the source: place of its table.
    of_source: Vec<Option<usize>>,
}

impl Conditions {
    /// Gives every feed its table. `feeds` are in the order of their numbers: the name, and the coding if it has one of its own.
    ///
    /// # Errors
    /// Where none of the books is of use to any feed.
    pub fn new(choices: &[Choice], feeds: &[(&str, Option<Coding>)]) -> Result<Self, String> {
        let mut tables: Vec<(Arc<Book>, Coding)> = Vec::new();
        let mut of_source = Vec::with_capacity(feeds.len());
        for &(_, written) in feeds {
            let found = choices.iter().find_map(|choice| Some((choice, choice.coding_for(written)?)));
            of_source.push(found.map(|(choice, coding)| {
                let same =
                    |(book, has): &(Arc<Book>, Coding)| Arc::ptr_eq(book, &choice.book) && *has == coding;
                tables.iter().position(same).unwrap_or_else(|| {
                    tables.push((Arc::clone(&choice.book), coding));
                    tables.len() - 1
                })
            }));
        }
        if tables.is_empty() && !feeds.is_empty() {
            let books =
                choices.iter().map(|choice| format!("{} reads {}", choice.book.name, list(&choice.book)));
            let feeds = feeds.iter().map(|(name, written)| match written {
                Some(coding) => format!("{name} writes {}", coding.name()),
                None => {
                    format!("{name} may write any, so the coding must be said, as in \"us-equities:letters\"")
                }
            });
            let (books, feeds) = (books.collect::<Vec<_>>().join("; "), feeds.collect::<Vec<_>>().join("; "));
            return Err(format!("no feed's conditions can be read: {books}; {feeds}"));
        }
        Ok(Self { tables, of_source })
    }

    /// Whether daily bars need sums of their own.
    pub fn has_daily(&self) -> bool {
        self.tables.iter().any(|(book, _)| book.has_daily())
    }

    /// The book and coding that judge a feed.
    pub fn of_source(&self, source: usize) -> Option<(&Book, Coding)> {
        let (book, coding) = self.tables.get((*self.of_source.get(source)?)?)?;
        Some((book, *coding))
    }
}

/// What a trade leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaves {
    /// In bars of less than a day.
    pub intraday: Fields,
    /// In bars of a day.
    pub daily: Fields,
    /// One of its codes is in no row of the table.
    pub unknown: bool,
}

impl Leaves {
    /// A trade that moves everything.
    pub const NOTHING: Self = Self { intraday: Fields::NONE, daily: Fields::NONE, unknown: false };
}

/// Tables as a shard looks things up in them.
pub struct Rules {
    tables: Vec<Lookup>,
    of_source: Vec<Option<usize>>,
}

impl Rules {
    /// Compiles what was configured.
    pub fn new(conditions: &Conditions) -> Self {
        let tables = conditions.tables.iter().map(|(book, coding)| Lookup::new(book, *coding)).collect();
        Self { tables, of_source: conditions.of_source.clone() }
    }

    /// What a trade leaves alone: by its source, tape, time and conditions.
    #[inline]
    pub fn of(&self, tick: &Tick) -> Leaves {
        if tick.conditions == [0; 4] {
            return Leaves::NOTHING;
        }
        match self.of_source.get(usize::from(tick.source)) {
            Some(&Some(table)) => self.tables[table].of(tick),
            _ => Leaves::NOTHING,
        }
    }
}

/// The four bytes of a tick's conditions each find a word here; the bits of all four words are joined, as the most restrictive wins.
type Words = [[u32; 256]; 4];

const EXTENDED: u32 = 4;
const DAILY: u32 = 8;
/// Where the restrictions stand that yield.
const YIELDING: u32 = 12;
const ADMITS: u32 = 1 << 24;
const UNKNOWN: u32 = 1 << 25;

struct Lookup {
    /// By tape. Where that is unknown, a letter means what is most restrictive of its two meanings.
    tapes: Box<[Words; 4]>,
    /// Where some row differs by hours.
    session: Option<Session>,
}

impl Lookup {
    fn new(book: &Book, coding: Coding) -> Self {
        let (ab, c) = (words(book, coding, false), words(book, coding, true));
        let either = std::array::from_fn(|place| {
            std::array::from_fn(|byte| {
                let (a, b) = (ab[place][byte], c[place][byte]);
                // Known on one tape is known; it admits only where it does on both.
                let joined = (a | b) & !(ADMITS | UNKNOWN);
                match (a & UNKNOWN != 0, b & UNKNOWN != 0) {
                    (true, true) => a,
                    (true, false) => b,
                    (false, true) => a,
                    (false, false) => joined | (a & b & ADMITS),
                }
            })
        });
        let differs = book.conditions.iter().any(|row| row.leaves.extended != row.leaves.minute);
        let hours: Option<Hours> = book.hours.clone().filter(|_| differs);
        Self { tapes: Box::new([either, ab, ab, c]), session: hours.map(Session::new) }
    }

    #[inline]
    fn of(&self, tick: &Tick) -> Leaves {
        let words = &self.tapes[usize::from(tick.tape() & 3)];
        let [a, b, c, d] = tick.conditions.map(usize::from);
        let word = words[0][a] | words[1][b] | words[2][c] | words[3][d];
        let yielding = if word & ADMITS == 0 { word >> YIELDING } else { 0 };
        let left = word | yielding;
        let fields = |shift: u32| Fields((left >> shift) as u8 & Fields::ALL.0);
        let extended = |session: &Session| {
            let differs = fields(0) != fields(EXTENDED);
            differs && !session.is_regular(tick.ts_event)
        };
        let shift = if self.session.as_ref().is_some_and(extended) { EXTENDED } else { 0 };
        Leaves { intraday: fields(shift), daily: fields(DAILY), unknown: word & UNKNOWN != 0 }
    }
}

/// The words of a book in one coding. A letter's own is that of its tape.
fn words(book: &Book, coding: Coding, tape_c: bool) -> Words {
    let mut by_code = [UNKNOWN; 256];
    for row in &book.conditions {
        let Classes { minute, extended, daily } = row.leaves;
        let left = u32::from(minute.0) | u32::from(extended.0) << EXTENDED | u32::from(daily.0) << DAILY;
        let left = if row.yields { left << YIELDING } else { left };
        let word = left | if row.admits { ADMITS } else { 0 };
        row.codes(coding, tape_c).iter().for_each(|&code| by_code[usize::from(code)] = word);
    }
    if coding == Coding::Lean {
        let joined = |place: usize, byte: usize| {
            let bits = (0..8).filter(|bit| byte >> bit & 1 == 1);
            bits.fold(0, |word, bit| word | by_code[place * 8 + bit])
        };
        return std::array::from_fn(|place| std::array::from_fn(|byte| joined(place, byte)));
    }
    // No code at all.
    by_code[0] = 0;
    [by_code; 4]
}

#[cfg(test)]
mod tests;
