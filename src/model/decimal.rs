//! Decimal text to fixed point and back, exact both ways.
//!
//! A number means its decimal text. Digits past the unit round half to even, and the caller is told so.

/// Why a text or a number is not a fixed-point value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not of the form `-?digits[.digits][e[+-]digits]` as JSON has it.
    #[error("not a decimal number")]
    Malformed,
    /// A well-formed number whose value does not fit.
    #[error("number out of range")]
    OutOfRange,
}

/// A number in units of `10^-scale`, and whether digits were rounded away to get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The value in units of the scale asked for.
    pub units: i128,
    /// Non-zero digits beyond the scale were rounded half to even.
    pub rounded: bool,
}

/// Largest magnitude accepted, far above any price or size and far below the overflow of the parser.
const UNITS_MAX: u128 = 1 << 100;

/// Reads a JSON number's text as units of `10^-scale`. `scale` is at most 18.
///
/// Accepts exactly JSON's grammar (`1`, `-0.5`, `3.844E-5`), so `1.`, `.5`, `+1`, `01`, hex, `NaN` and the
/// empty text are [`NumberError::Malformed`].
pub fn parse_fixed(text: &[u8], scale: u32) -> Result<Fixed, NumberError> {
    // The common case, no sign and no exponent, in one pass over at most 18 digits.
    if let Some(units) = parse_short(text, scale) {
        return Ok(Fixed { units: i128::from(units), rounded: false });
    }
    parse_general(text, scale)
}

/// `digits[.digits]` with at most 18 digits in all and no more fraction digits than the scale.
#[inline]
fn parse_short(text: &[u8], scale: u32) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    let mut value: u64 = 0;
    let mut point = None;
    for (i, &b) in text.iter().enumerate() {
        let digit = b.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
        } else if b == b'.' && point.is_none() {
            point = Some(i);
        } else {
            return None;
        }
    }
    let whole_len = point.unwrap_or(text.len());
    let fraction_len = match point {
        Some(p) => text.len() - p - 1,
        None => 0,
    };
    let leading_zero = whole_len > 1 && text[0] == b'0';
    if whole_len == 0 || leading_zero || (point.is_some() && fraction_len == 0) {
        return None;
    }
    let missing = (scale as usize).checked_sub(fraction_len)?;
    // 18 digits times 10^18 may not fit; the general path then says whether it is out of range.
    value.checked_mul(POW10[missing])
}

const POW10: [u64; 20] = {
    let mut table = [1; 20];
    let mut i = 1;
    while i < 20 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

fn parse_general(text: &[u8], scale: u32) -> Result<Fixed, NumberError> {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some(_) => (false, text),
        None => return Err(NumberError::Malformed),
    };
    let (mantissa, exponent) = split_exponent(rest)?;
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(p) => (&mantissa[..p], &mantissa[p + 1..]),
        None => (mantissa, &mantissa[mantissa.len()..]),
    };
    let digits_only = |s: &[u8]| s.iter().all(u8::is_ascii_digit);
    let has_point = whole.len() < mantissa.len();
    if whole.is_empty()
        || !digits_only(whole)
        || !digits_only(fraction)
        || (has_point && fraction.is_empty())
        || (whole.len() > 1 && whole[0] == b'0')
    {
        return Err(NumberError::Malformed);
    }
    // Digit i of the mantissa counts 10^(whole.len() - 1 - i + exponent); units keep those of 10^-scale and up.
    let keep = whole.len() as i64 + exponent + i64::from(scale);
    let mut units: u128 = 0;
    let mut first_dropped = 0u8;
    let mut tail_dropped = false;
    let mut place = 0i64;
    for &b in whole.iter().chain(fraction) {
        let digit = b - b'0';
        if place < keep {
            units = units * 10 + u128::from(digit);
            if units > UNITS_MAX {
                return Err(NumberError::OutOfRange);
            }
        } else if place == keep {
            first_dropped = digit;
        } else {
            tail_dropped |= digit != 0;
        }
        place += 1;
    }
    if units != 0 {
        while place < keep {
            units *= 10;
            if units > UNITS_MAX {
                return Err(NumberError::OutOfRange);
            }
            place += 1;
        }
    }
    let rounded = first_dropped != 0 || tail_dropped;
    let up = first_dropped > 5 || (first_dropped == 5 && (tail_dropped || units & 1 == 1));
    units += u128::from(up);
    let signed = if negative { -(units as i128) } else { units as i128 };
    Ok(Fixed { units: signed, rounded })
}

/// Splits `1.5e-3` into `1.5` and `-3`. Exponents beyond ±10^17 are held there: no text is long enough to make up for one.
fn split_exponent(text: &[u8]) -> Result<(&[u8], i64), NumberError> {
    let Some(p) = text.iter().position(|&b| b == b'e' || b == b'E') else {
        return Ok((text, 0));
    };
    let (negative, digits) = match &text[p + 1..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Malformed);
    }
    let magnitude =
        digits.iter().fold(0i64, |e, &b| (e * 10 + i64::from(b - b'0')).min(100_000_000_000_000_000));
    Ok((&text[..p], if negative { -magnitude } else { magnitude }))
}

/// A JSON number that a parser turned into `f64`, read as its shortest round-trip decimal.
///
/// NaN and the infinities are [`NumberError::Malformed`].
pub fn fixed_from_f64(value: f64, scale: u32) -> Result<Fixed, NumberError> {
    if !value.is_finite() {
        return Err(NumberError::Malformed);
    }
    // Up to 15 significant digits a decimal and its nearest double determine each other, so the first
    // scale at which the rounded product divides back exactly gives the shortest decimal.
    let magnitude = value.abs();
    if magnitude < 1e15 {
        for (places, &power) in POW10.iter().enumerate().take(scale as usize + 1) {
            let candidate = (magnitude * power as f64).round();
            if candidate >= 1e15 {
                break;
            }
            if candidate / power as f64 == magnitude {
                let units = candidate as i128 * i128::from(POW10[scale as usize - places]);
                if units.unsigned_abs() > UNITS_MAX {
                    return Err(NumberError::OutOfRange);
                }
                return Ok(Fixed { units: if value < 0.0 { -units } else { units }, rounded: false });
            }
        }
    }
    // Rust prints the shortest round-trip digits; 40 bytes hold them in exponent form.
    let mut text = StackText { bytes: [0; 40], len: 0 };
    use std::fmt::Write as _;
    write!(text, "{value:e}").map_err(|_| NumberError::Malformed)?;
    parse_general(text.as_bytes(), scale)
}

/// A JSON integer as units of `10^-scale`.
pub fn fixed_from_int(value: i128, scale: u32) -> Result<Fixed, NumberError> {
    match value.checked_mul(i128::from(POW10[scale as usize])) {
        Some(units) if units.unsigned_abs() <= UNITS_MAX => Ok(Fixed { units, rounded: false }),
        _ => Err(NumberError::OutOfRange),
    }
}

struct StackText {
    bytes: [u8; 40],
    len: usize,
}

impl StackText {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for StackText {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let end = self.len + s.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

const DIGIT_PAIRS: [u8; 200] = {
    let mut table = [0; 200];
    let mut i = 0;
    while i < 100 {
        table[i * 2] = b'0' + (i / 10) as u8;
        table[i * 2 + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    table
};

/// Appends an unsigned integer in decimal.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Appends a signed integer in decimal.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

/// Appends `units * 10^-scale` as the shortest exact decimal: no exponent, no trailing zeros, no bare point.
#[inline]
pub fn write_fixed(out: &mut Vec<u8>, units: i128, scale: u32) {
    if units < 0 {
        out.push(b'-');
    }
    let magnitude = units.unsigned_abs();
    match u64::try_from(magnitude) {
        Ok(small) => {
            let power = POW10[scale as usize];
            write_u64(out, small / power);
            write_fraction(out, small % power, scale);
        }
        Err(_) => {
            let power = u128::from(POW10[scale as usize]);
            write_u128(out, magnitude / power);
            write_fraction(out, (magnitude % power) as u64, scale);
        }
    }
}

fn write_u128(out: &mut Vec<u8>, value: u128) {
    const SPLIT: u128 = 1_000_000_000_000_000_000;
    match u64::try_from(value) {
        Ok(small) => write_u64(out, small),
        Err(_) => {
            write_u128(out, value / SPLIT);
            write_padded(out, (value % SPLIT) as u64, 18);
        }
    }
}

#[inline]
fn write_fraction(out: &mut Vec<u8>, mut fraction: u64, scale: u32) {
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    let mut places = scale;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        places -= 1;
    }
    write_padded(out, fraction, places);
}

/// `value` in exactly `width` digits, zeros in front. `width` is at most 18.
#[inline]
fn write_padded(out: &mut Vec<u8>, mut value: u64, width: u32) {
    let mut buffer = [b'0'; 20];
    for slot in buffer[..width as usize].iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&buffer[..width as usize]);
}

/// `numerator / denominator` to the nearest whole, half to even. `None` where the denominator is zero.
pub fn divide_half_even(numerator: i128, denominator: u128) -> Option<i128> {
    if denominator == 0 {
        return None;
    }
    let magnitude = numerator.unsigned_abs();
    // 64-bit operands divide several times faster, and most bars fit.
    let (mut quotient, rest) = match (u64::try_from(magnitude), u64::try_from(denominator)) {
        (Ok(n), Ok(d)) => (u128::from(n / d), u128::from(n % d)),
        _ => (magnitude / denominator, magnitude % denominator),
    };
    let twice = rest.checked_mul(2);
    let up = match twice {
        Some(t) => t > denominator || (t == denominator && quotient & 1 == 1),
        None => true,
    };
    quotient += u128::from(up);
    // The magnitude of `i128::MIN` is one more than `i128::MAX`; its cast and its negation both give `i128::MIN`.
    Some(if numerator < 0 { (quotient as i128).wrapping_neg() } else { quotient as i128 })
}
