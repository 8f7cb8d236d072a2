//! What a field must be to become part of a tick. Numbers mean their decimal text; nothing is rounded unseen.

use crate::model::decimal::{self, Fixed, NumberError};
use crate::model::{
    NOTIONAL_MAX, Nanos, Notional, Price, Size, SymbolCache, SymbolError, SymbolId, UnixNanos, Volume,
};

use super::reject::{Reason, Tallies};

/// 2000-01-01T00:00:00Z: no feed is older.
pub const EARLIEST: UnixNanos = UnixNanos(946_684_800_000_000_000);
/// How far ahead of our clock a tick may be.
pub const AHEAD_MAX: Nanos = Nanos::from_secs(3600);

/// Decimal digits after the point of a notional: those of a price and those of a size.
const NOTIONAL_SCALE: u32 = Price::SCALE + Size::SCALE;
/// The largest notional of a vendor's bar, in 1e-17: 2^16 such bars still sum without overflow.
const BAR_NOTIONAL_MAX: i128 = 1 << 110;

/// What a dialect needs to know of the moment and the place, and where it counts.
pub struct Context<'a> {
    /// Our time of the read.
    pub now: UnixNanos,
    /// Which source of this process.
    pub source: u8,
    /// A recorded receive time, where the dialect has one, is the tick's: files. Live ticks are received now.
    pub recorded: bool,
    /// Names to numbers.
    pub symbols: &'a mut SymbolCache,
    /// The source's ledger.
    pub tallies: &'a mut Tallies,
}

impl Context<'_> {
    /// Interns a name. Ask it last: what is rejected for another reason must not fill the table.
    #[inline]
    pub fn symbol(&mut self, name: &[u8]) -> Result<SymbolId, Reason> {
        self.symbols.intern(name).map_err(|error| match error {
            SymbolError::Empty => Reason::SymbolEmpty,
            SymbolError::TooLong => Reason::SymbolTooLong,
            SymbolError::Unprintable => Reason::SymbolUnprintable,
            SymbolError::TableFull => Reason::SymbolsMax,
        })
    }

    /// A time within what a feed may say now.
    #[inline]
    pub fn time(&self, at: UnixNanos) -> Result<UnixNanos, Reason> {
        if at < EARLIEST {
            Err(Reason::TimeRange)
        } else if at > self.now + AHEAD_MAX {
            Err(Reason::TimeFuture)
        } else {
            Ok(at)
        }
    }

    /// A time in whole milliseconds.
    #[inline]
    pub fn time_ms(&self, ms: i64) -> Result<UnixNanos, Reason> {
        match UnixNanos::from_millis(ms) {
            Some(at) => self.time(at),
            None => Err(if ms < 0 { Reason::TimeRange } else { Reason::TimeFuture }),
        }
    }

    /// The price of a trade: above zero.
    #[inline]
    pub fn price(&mut self, number: Number<'_>) -> Result<Price, Reason> {
        match self.side_price(number)? {
            Price(0) => Err(Reason::PriceZero),
            price => Ok(price),
        }
    }

    /// The price of a quote's side: zero where the side is absent.
    #[inline]
    pub fn side_price(&mut self, number: Number<'_>) -> Result<Price, Reason> {
        let read = match number {
            Number::Text(text) => Price::parse(text),
            Number::Int(value) => Price::from_int(value),
            Number::Float(value) => Price::from_f64(value),
        };
        match read {
            Ok((price, _)) if price.0 < 0 => Err(Reason::PriceNegative),
            Ok((_, true)) if number.is_negative() => Err(Reason::PriceNegative),
            Ok((price, rounded)) => {
                self.tallies.rounded += u64::from(rounded);
                Ok(price)
            }
            Err(NumberError::Malformed) => Err(Reason::BadNumber),
            Err(NumberError::OutOfRange) if number.is_negative() => Err(Reason::PriceNegative),
            Err(NumberError::OutOfRange) => Err(Reason::PriceRange),
        }
    }

    /// A size; zero is a trade without volume.
    #[inline]
    pub fn size(&mut self, number: Number<'_>) -> Result<Size, Reason> {
        let read = match number {
            Number::Text(text) => Size::parse(text),
            Number::Int(value) => Size::from_int(value),
            Number::Float(value) => Size::from_f64(value),
        };
        match read {
            // Rounded away, or it were out of range.
            Ok((_, true)) if number.is_negative() => Err(Reason::SizeNegative),
            Ok((size, rounded)) => {
                self.tallies.rounded += u64::from(rounded);
                Ok(size)
            }
            Err(NumberError::Malformed) => Err(Reason::BadNumber),
            Err(NumberError::OutOfRange) if number.is_negative() => Err(Reason::SizeNegative),
            Err(NumberError::OutOfRange) => Err(Reason::SizeRange),
        }
    }

    /// The volume of a bar, which may be past any one size: up to 2^100 units.
    pub fn volume(&mut self, number: Number<'_>) -> Result<Volume, Reason> {
        self.sum(number, Size::SCALE, Reason::SizeNegative, Reason::SizeRange).map(Volume)
    }

    /// The price times size of a bar's trades, as the vendor sums it: up to 2^100 units.
    pub fn notional(&mut self, number: Number<'_>) -> Result<Notional, Reason> {
        let units = self.sum(number, NOTIONAL_SCALE, Reason::PriceNegative, Reason::NotionalRange)?;
        i128::try_from(units).map(Notional).map_err(|_| Reason::NotionalRange)
    }

    /// A number that is not below zero, in units of `10^-scale`.
    fn sum(
        &mut self,
        number: Number<'_>,
        scale: u32,
        negative: Reason,
        range: Reason,
    ) -> Result<u128, Reason> {
        match number.fixed(scale) {
            Ok(Fixed { units, rounded }) if units < 0 || (rounded && number.is_negative()) => Err(negative),
            Ok(Fixed { units, rounded }) => {
                self.tallies.rounded += u64::from(rounded);
                Ok(units.unsigned_abs())
            }
            Err(NumberError::Malformed) => Err(Reason::BadNumber),
            Err(NumberError::OutOfRange) if number.is_negative() => Err(negative),
            Err(NumberError::OutOfRange) => Err(range),
        }
    }
}

/// A number as a feed writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number<'a> {
    /// Decimal text.
    Text(&'a [u8]),
    /// A JSON integer.
    Int(i128),
    /// A JSON number that came as `f64`.
    Float(f64),
}

impl Number<'_> {
    fn fixed(self, scale: u32) -> Result<Fixed, NumberError> {
        match self {
            Number::Text(text) => decimal::parse_fixed(text, scale),
            Number::Int(value) => decimal::fixed_from_int(value, scale),
            Number::Float(value) => decimal::fixed_from_f64(value, scale),
        }
    }

    fn is_negative(self) -> bool {
        match self {
            Number::Text(text) => text.first() == Some(&b'-'),
            Number::Int(value) => value < 0,
            Number::Float(value) => value < 0.0,
        }
    }
}

/// Price times size within what sums of bars can hold.
#[inline]
pub fn notional(price: Price, size: Size) -> Result<(), Reason> {
    if price.times(size).0 > NOTIONAL_MAX { Err(Reason::NotionalRange) } else { Ok(()) }
}

/// What a bar's average price and volume say that its trades came to; exact, as a price times a size is.
pub fn bar_notional(vwap: Price, volume: Volume) -> Result<Notional, Reason> {
    let product = i128::try_from(volume.0).ok().and_then(|volume| volume.checked_mul(i128::from(vwap.0)));
    product.filter(|&units| units <= BAR_NOTIONAL_MAX).map(Notional).ok_or(Reason::NotionalRange)
}
