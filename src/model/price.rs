//! Prices, sizes and their sums as integers. No float enters a candle.

use bytemuck::{Pod, Zeroable};

use super::decimal::{self, Fixed, NumberError};

/// A price in 1e-9 of the quote currency: up to 9,223,372,036.854775807.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Price(pub i64);

/// A size in 1e-8 of the base unit: up to 184,467,440,737.09551615.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Size(pub u64);

/// A sum of sizes, in 1e-8.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Volume(pub u128);

/// A sum of price times size, in 1e-17.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Notional(pub i128);

/// The largest price times size of one trade, in 1e-17: 2^32 such trades still sum without overflow.
pub const NOTIONAL_MAX: i128 = 1 << 94;

impl Price {
    /// Decimal digits after the point.
    pub const SCALE: u32 = 9;

    /// Reads JSON number text; the flag says that digits were rounded away.
    pub fn parse(text: &[u8]) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::parse_fixed(text, Self::SCALE)?)
    }

    /// From a JSON number that came as `f64`.
    pub fn from_f64(value: f64) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::fixed_from_f64(value, Self::SCALE)?)
    }

    /// From a JSON integer.
    pub fn from_int(value: i128) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::fixed_from_int(value, Self::SCALE)?)
    }

    fn from_fixed(fixed: Fixed) -> Result<(Self, bool), NumberError> {
        let units = i64::try_from(fixed.units).map_err(|_| NumberError::OutOfRange)?;
        Ok((Self(units), fixed.rounded))
    }

    /// Appends the exact decimal text.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        decimal::write_fixed(out, i128::from(self.0), Self::SCALE);
    }

    /// The midpoint of two prices, half a unit rounded to even.
    #[inline]
    pub fn mid(bid: Self, ask: Self) -> Self {
        let sum = i128::from(bid.0) + i128::from(ask.0);
        let floor = sum >> 1;
        let up = sum & 1 == 1 && floor & 1 == 1;
        Self((floor + i128::from(up)) as i64)
    }

    /// Price times size.
    #[inline]
    pub fn times(self, size: Size) -> Notional {
        Notional(i128::from(self.0) * i128::from(size.0))
    }
}

impl Size {
    /// Decimal digits after the point.
    pub const SCALE: u32 = 8;

    /// Reads JSON number text; the flag says that digits were rounded away. A negative size is out of range.
    pub fn parse(text: &[u8]) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::parse_fixed(text, Self::SCALE)?)
    }

    /// From a JSON number that came as `f64`.
    pub fn from_f64(value: f64) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::fixed_from_f64(value, Self::SCALE)?)
    }

    /// From a JSON integer.
    pub fn from_int(value: i128) -> Result<(Self, bool), NumberError> {
        Self::from_fixed(decimal::fixed_from_int(value, Self::SCALE)?)
    }

    fn from_fixed(fixed: Fixed) -> Result<(Self, bool), NumberError> {
        let units = u64::try_from(fixed.units).map_err(|_| NumberError::OutOfRange)?;
        Ok((Self(units), fixed.rounded))
    }

    /// Appends the exact decimal text.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        decimal::write_fixed(out, i128::from(self.0), Self::SCALE);
    }
}

impl Volume {
    /// Appends the exact decimal text.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        decimal::write_fixed(out, self.0 as i128, Size::SCALE);
    }
}

impl Notional {
    /// Volume-weighted average price to 9 places, half to even; `None` without volume.
    #[inline]
    pub fn vwap(self, volume: Volume) -> Option<Price> {
        // 1e-17 over 1e-8 is 1e-9, the unit of a price. An average of prices is within their range.
        decimal::divide_half_even(self.0, volume.0).map(|units| Price(units as i64))
    }
}
