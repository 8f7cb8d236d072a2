//! What a number means, the slow way: its decimal text, in units, half to even.

use std::str::FromStr;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive, Zero};

/// How a feed writes a number.
pub enum Number<'a> {
    /// Decimal text.
    Text(&'a str),
    /// A JSON integer.
    Int(i128),
    /// A JSON number that came as `f64`.
    Float(f64),
}

/// A number read.
pub struct Read {
    units: BigInt,
    negative: bool,
}

/// Largest exponent that is worked out; what is beyond it is out of every range or zero.
const EXPONENT_MAX: i64 = 400;

/// A number in units of `10^-scale`, or `None` where it is none.
pub fn read(number: &Number<'_>, scale: i64) -> Option<Read> {
    let exact = match number {
        Number::Int(value) => BigDecimal::from(*value),
        // Rust writes the shortest decimal that reads back as the same float.
        Number::Float(value) => BigDecimal::from_str(&value.to_string()).ok()?,
        Number::Text(text) => decimal(text)?,
    };
    let units = exact.with_scale_round(scale, RoundingMode::HalfEven).as_bigint_and_exponent().0;
    Some(Read { units, negative: exact.is_negative() && !exact.is_zero() })
}

/// JSON's grammar, character by character.
fn decimal(text: &str) -> Option<BigDecimal> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    if !digits(whole) || (whole.len() > 1 && whole.starts_with('0')) || fraction.is_some_and(|f| !digits(f)) {
        return None;
    }
    let power = match exponent {
        None => 0,
        Some(exponent) => {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if !digits(unsigned) {
                return None;
            }
            let size = unsigned.bytes().fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1 << 40));
            if exponent.starts_with('-') { -size } else { size }
        }
    };
    let exact = BigDecimal::from_str(mantissa).ok()?;
    let room = EXPONENT_MAX + text.len() as i64;
    let (digits, scale) = exact.as_bigint_and_exponent();
    Some(BigDecimal::new(digits, scale - power.clamp(-room, room)))
}

/// A price in 1e-9, not below zero; `None` where it is no price.
pub fn price(number: &Number<'_>) -> Option<i64> {
    let read = read(number, 9)?;
    if read.negative { None } else { read.units.to_i64() }
}

/// A size in 1e-8, not below zero; `None` where it is no size.
pub fn size(number: &Number<'_>) -> Option<u64> {
    let read = read(number, 8)?;
    if read.negative { None } else { read.units.to_u64() }
}

/// A sum in units of `10^-scale`, from 0 to `most`; `None` where it is none.
pub fn sum_within(number: &Number<'_>, scale: i64, most: i128) -> Option<i128> {
    let read = read(number, scale)?;
    if read.negative { None } else { read.units.to_i128().filter(|units| *units <= most) }
}

/// An average price above zero times a volume in 1e-8, in 1e-17; `None` where one is out of range.
pub fn average_times(average: &Number<'_>, volume: i128, most: i128) -> Option<i128> {
    let highest = BigInt::from(i64::MAX) * BigInt::from(10).pow(9);
    let units = read(average, 18)?.units;
    if !units.is_positive() || units > highest {
        return None;
    }
    let product =
        BigDecimal::new(units * BigInt::from(volume), 9).with_scale_round(0, RoundingMode::HalfEven);
    product.as_bigint_and_exponent().0.to_i128().filter(|sum| *sum <= most)
}

/// A bar's volume in 1e-8, or its notional in 1e-17: up to 2^100 units, not below zero.
pub fn sum(number: &Number<'_>, scale: i64) -> Option<u128> {
    sum_within(number, scale, 1 << 100).and_then(|units| u128::try_from(units).ok())
}

/// Price times volume of a bar, where that is within 2^110.
pub fn product(price: i64, volume: u128) -> Option<i128> {
    (BigInt::from(price) * BigInt::from(volume)).to_i128().filter(|&units| units <= 1 << 110)
}

/// Whether price times size is within what sums can hold.
pub fn fits(price: i64, size: u64) -> bool {
    BigInt::from(price) * BigInt::from(size) <= BigInt::from(tickwire::model::NOTIONAL_MAX)
}
