//! A vendor's answer, row by row: a bar, an interval without trades, or a row that is refused for a reason.

use crate::feed::field::Number;
use crate::feed::json::Scalar;
use crate::model::decimal::{self, Fixed, NumberError};
use crate::model::{Bar, Nanos, Notional, Price, Size, UnixNanos, Volume};
use crate::runtime::metrics::counters;

/// What was asked for: the bars of one length of one symbol that begin in `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The symbol as the vendor writes it.
    pub symbol: &'a str,
    /// The bars' length in seconds.
    pub seconds: u32,
    /// Where the first begins: a multiple of the length.
    pub from: UnixNanos,
    /// Where the last ends: a multiple of the length.
    pub to: UnixNanos,
    /// The vendor's time: a bar that ends later is not over. [`UnixNanos::MAX`] where it does not say.
    pub over: UnixNanos,
}

impl Asked<'_> {
    /// The bars' length.
    pub const fn length(&self) -> Nanos {
        Nanos::from_secs(self.seconds as i64)
    }

    /// How many intervals it spans.
    pub fn intervals(&self) -> u64 {
        let span = self.to.since(self.from).0.max(0) as u64;
        span.div_ceil(self.length().0.max(1) as u64)
    }
}

counters! {
    /// Why a row is no bar.
    enum Flaw;

    MissingField "missing_field" "A field that every row has is not there.",
    WrongType "wrong_type" "A field of another JSON type than it must have, or a row that is no row.",
    BadNumber "bad_number" "Not a decimal number of JSON's form, or no whole one where it must be.",
    PriceRange "price_range" "A price of zero or less, or past 9,223,372,036.854775807.",
    VolumeRange "volume_range" "A volume or a turnover below zero, or past what sums can hold.",
    HighLow "high_low" "A high below, or a low above, one of the other prices.",
    TimeRange "time_range" "A beginning that no bar of the length has, or outside of what was asked for.",
    Repeated "repeated" "A beginning not after that of the row before.",
    Unfinished "unfinished" "An interval that by the vendor's clock is not over.",
}

/// Volumes past this are refused, in 1e-8: sums of 2^40 of them still fit.
const VOLUME_MAX: i128 = 1 << 80;
/// Turnovers past this are refused, in 1e-17: sums of 2^26 of them still fit.
const NOTIONAL_MAX: i128 = 1 << 100;

/// A bar of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The numbers.
    pub bar: Bar,
    /// `bar.notional` is the vendor's; else it is unknown and 0.
    pub has_notional: bool,
}

/// Averages have more digits than prices: they are read in 1e-18.
const AVERAGE_SCALE: u32 = 18;
/// The highest price in that unit.
const AVERAGE_MAX: i128 = i64::MAX as i128 * AVERAGE_PER_PRICE;
/// 1e-18 in 1e-9.
const AVERAGE_PER_PRICE: i128 = 1_000_000_000;

/// An average price in 1e-18 times a volume in 1e-8 of at most [`VOLUME_MAX`]: in 1e-17, half to even. `None` where it does not
/// fit.
fn average_times(average: i128, volume: i128) -> Option<i128> {
    // In two parts, as the whole product has up to 173 bits.
    let part = (average % AVERAGE_PER_PRICE) * volume;
    let sum = (average / AVERAGE_PER_PRICE).checked_mul(volume)?.checked_add(part / AVERAGE_PER_PRICE)?;
    let twice = 2 * (part % AVERAGE_PER_PRICE);
    let up = twice > AVERAGE_PER_PRICE || (twice == AVERAGE_PER_PRICE && sum & 1 == 1);
    Some(sum + i128::from(up))
}

/// What one answer gave.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its bars, in order of time.
    pub rows: Vec<Row>,
    /// Where intervals begin that by a row of their own had no trades.
    pub empty: Vec<UnixNanos>,
    /// An interval without a row had no trades either. The vendor's reader says so.
    pub leaves_out_empty: bool,
    /// Rows refused, by [`Flaw`].
    pub refused: [u64; Flaw::ALL.len()],
    /// The first refused row's flaw, and what was wrong with it.
    pub sample: Option<(Flaw, String)>,
    /// Numbers that lost digits past the unit.
    pub rounded: u64,
    /// Path and query of the next page.
    pub next: Option<String>,
    /// The vendor says that it serves this key late.
    pub is_delayed: bool,
    /// Where the newest row that was looked at begins.
    newest: Option<UnixNanos>,
    /// Where intervals begin of which a row was refused: they may have had trades.
    doubtful: Vec<UnixNanos>,
    /// A row was refused that does not say of which interval it is: it may be of any.
    unplaced: bool,
}

/// A row before its numbers are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    /// Where it begins, ms.
    pub start: Scalar<'a>,
    /// Open, high, low, close.
    pub prices: [Scalar<'a>; 4],
    /// Volume.
    pub volume: Scalar<'a>,
    /// Turnover, or the average price that gives it; `None` where the row has none.
    pub worth: Option<Worth<'a>>,
    /// How many trades; `None` where the vendor does not say.
    pub trades: Option<Scalar<'a>>,
    /// The vendor writes numbers in strings.
    pub quoted: bool,
}

/// What a row says of the sum of price times size.
#[derive(Debug, Clone, Copy)]
pub enum Worth<'a> {
    /// The sum itself.
    Turnover(Scalar<'a>),
    /// The volume-weighted average price: the sum over the volume.
    Average(Scalar<'a>),
}

/// Why an answer is none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or cut short.
    #[error("not JSON")]
    NotJson,
    /// JSON of another shape: what should have been there.
    #[error("not an answer: {0}")]
    Shape(&'static str),
    /// Bars of another symbol.
    #[error("bars of {0:?}")]
    Symbol(String),
}

impl Answer {
    /// One row: looked at by itself, whatever the others are.
    pub fn row(&mut self, asked: &Asked<'_>, cells: Result<Cells<'_>, Flaw>) {
        let start = cells.and_then(|cells| start_of(&cells));
        self.unplaced |= start.is_err();
        let read = cells.map_err(|flaw| (flaw, String::new())).and_then(|cells| {
            start.and_then(|start| self.bar(asked, start, &cells)).map_err(|flaw| {
                let shown = [cells.start].into_iter().chain(cells.prices).chain([cells.volume]);
                (flaw, shown.map(Scalar::show).collect::<Vec<_>>().join(" "))
            })
        });
        match read {
            Ok(Some(row)) => self.rows.push(row),
            Ok(None) => {}
            Err((flaw, shown)) => {
                self.doubtful.extend(start.ok().flatten().map(|start| start.floor(asked.length())));
                self.refused[flaw as usize] += 1;
                self.sample.get_or_insert((flaw, shown));
            }
        }
    }

    /// How many rows were refused.
    pub fn refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Where the newest interval ends that a row was looked at of.
    pub fn looked_to(&self, asked: &Asked<'_>) -> Option<UnixNanos> {
        self.newest.map(|start| start + asked.length())
    }

    /// Where the intervals of `[from, to)` begin that by this answer had no trades, in order. Of one whose row was refused nothing
    /// is known.
    pub fn quiet(&self, asked: &Asked<'_>, from: UnixNanos, to: UnixNanos) -> Vec<UnixNanos> {
        let mut doubtful = self.doubtful.clone();
        doubtful.sort_unstable();
        let certain = |start: &UnixNanos| doubtful.binary_search(start).is_err();
        if !self.leaves_out_empty || self.unplaced {
            let inside = |start: &UnixNanos| (from..to).contains(start);
            return self.empty.iter().copied().filter(inside).filter(certain).collect();
        }
        let has_row = |start: &UnixNanos| self.rows.binary_search_by_key(start, |row| row.bar.start).is_ok();
        let all = std::iter::successors(Some(from), |start| Some(*start + asked.length()));
        all.take_while(|start| *start < to).filter(|start| !has_row(start)).filter(certain).collect()
    }

    /// A row that begins at `start`; `None` where no time is that.
    fn bar(
        &mut self,
        asked: &Asked<'_>,
        start: Option<UnixNanos>,
        cells: &Cells<'_>,
    ) -> Result<Option<Row>, Flaw> {
        let inside = |start: &UnixNanos| *start >= asked.from && *start < asked.to;
        let start = start.filter(inside).ok_or(Flaw::TimeRange)?;
        if start.floor(asked.length()) != start {
            return Err(Flaw::TimeRange);
        }
        if self.newest.is_some_and(|newest| newest >= start) {
            return Err(Flaw::Repeated);
        }
        self.newest = Some(start);
        if start + asked.length() > asked.over {
            return Err(Flaw::Unfinished);
        }
        let mut prices = [Price(0); 4];
        for (price, &cell) in prices.iter_mut().zip(&cells.prices) {
            *price = self.price(cell, cells.quoted)?;
        }
        let [open, high, low, close] = prices;
        if high < open.max(close).max(low) || low > open.min(close) {
            return Err(Flaw::HighLow);
        }
        let volume = self.sum(cells.volume, cells.quoted, Size::SCALE, VOLUME_MAX)?;
        let trades = match cells.trades {
            None => 0,
            Some(Scalar::Int(n)) => u32::try_from(n).map_err(|_| Flaw::BadNumber)?,
            Some(Scalar::Float(_)) => return Err(Flaw::BadNumber),
            Some(_) => return Err(Flaw::WrongType),
        };
        let notional = match cells.worth {
            None => None,
            Some(Worth::Turnover(cell)) => {
                Some(self.sum(cell, cells.quoted, Price::SCALE + Size::SCALE, NOTIONAL_MAX)?)
            }
            Some(Worth::Average(cell)) => {
                let average = self.positive(cell, cells.quoted, AVERAGE_SCALE, AVERAGE_MAX)?;
                let sum = average_times(average, volume).filter(|&sum| sum <= NOTIONAL_MAX);
                Some(sum.ok_or(Flaw::VolumeRange)?)
            }
        };
        if volume == 0 && cells.trades.is_some() && trades == 0 {
            self.empty.push(start);
            return Ok(None);
        }
        let bar = Bar {
            volume: Volume(volume as u128),
            notional: Notional(notional.unwrap_or(0)),
            start,
            open,
            high,
            low,
            close,
            trades: u64::from(trades),
        };
        Ok(Some(Row { bar, has_notional: notional.is_some() }))
    }

    fn price(&mut self, cell: Scalar<'_>, quoted: bool) -> Result<Price, Flaw> {
        let units = self.positive(cell, quoted, Price::SCALE, i128::from(i64::MAX))?;
        i64::try_from(units).map(Price).map_err(|_| Flaw::PriceRange)
    }

    /// A price above zero, in units of `10^-scale`.
    fn positive(&mut self, cell: Scalar<'_>, quoted: bool, scale: u32, most: i128) -> Result<i128, Flaw> {
        let fixed = self.fixed(cell, quoted, scale).map_err(|flaw| flaw.unwrap_or(Flaw::PriceRange))?;
        Some(fixed.units).filter(|units| (1..=most).contains(units)).ok_or(Flaw::PriceRange)
    }

    /// A number from 0 to `most`, in units of `10^-scale`.
    fn sum(&mut self, cell: Scalar<'_>, quoted: bool, scale: u32, most: i128) -> Result<i128, Flaw> {
        let fixed = self.fixed(cell, quoted, scale).map_err(|flaw| flaw.unwrap_or(Flaw::VolumeRange))?;
        // What is below zero by less than half a unit was rounded to zero: it is below zero all the same.
        let negative = number(cell, quoted).is_ok_and(|number| match number {
            Number::Text(text) => fixed.rounded && text.first() == Some(&b'-'),
            Number::Float(float) => fixed.rounded && float < 0.0,
            Number::Int(_) => false,
        });
        if fixed.units < 0 || negative || fixed.units > most {
            return Err(Flaw::VolumeRange);
        }
        Ok(fixed.units)
    }

    /// A number as the vendor writes it; `Err(None)` where it is one and does not fit.
    fn fixed(&mut self, cell: Scalar<'_>, quoted: bool, scale: u32) -> Result<Fixed, Option<Flaw>> {
        let read = match number(cell, quoted).map_err(Some)? {
            Number::Text(text) => decimal::parse_fixed(text, scale),
            Number::Int(value) => decimal::fixed_from_int(value, scale),
            Number::Float(value) => decimal::fixed_from_f64(value, scale),
        };
        let fixed = read.map_err(|error| match error {
            NumberError::Malformed => Some(Flaw::BadNumber),
            NumberError::OutOfRange => None,
        })?;
        self.rounded += u64::from(fixed.rounded);
        Ok(fixed)
    }
}

/// Where a row says that it begins; `None` for what no time is.
fn start_of(cells: &Cells<'_>) -> Result<Option<UnixNanos>, Flaw> {
    match cells.start {
        Scalar::Int(ms) => Ok(i64::try_from(ms).ok().and_then(UnixNanos::from_millis)),
        Scalar::Float(_) => Err(Flaw::BadNumber),
        _ => Err(Flaw::WrongType),
    }
}

fn number(cell: Scalar<'_>, quoted: bool) -> Result<Number<'_>, Flaw> {
    match cell {
        Scalar::Text(text) if quoted => Ok(Number::Text(text.as_bytes())),
        Scalar::Int(value) if !quoted => Ok(Number::Int(value)),
        Scalar::Float(value) if !quoted => Ok(Number::Float(value)),
        _ => Err(Flaw::WrongType),
    }
}
