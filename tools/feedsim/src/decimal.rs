//! Decimal numbers as whole billionths, so that what the venue says is true is exact.

/// One, in billionths.
pub const ONE: i128 = 1_000_000_000;
/// Decimals of a billionth.
const DECIMALS: i32 = 9;
/// Longest text taken for a number.
const TEXT_MAX: usize = 64;
/// Exponents past this leave every range.
const EXPONENT_MAX: i32 = 40;

/// The billionths of a decimal text: sign, digits, point, exponent. `None` where it is none, too large, or finer than a billionth.
pub fn parse(text: &str) -> Option<i128> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = [whole, fraction].concat().trim_start_matches('0').to_owned();
    let mut value = if digits.is_empty() { 0 } else { digits.parse::<i128>().ok()? };
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(DECIMALS)?;
    if value != 0 {
        if places.abs() > EXPONENT_MAX {
            return None;
        }
        for _ in 0..places {
            value = value.checked_mul(10)?;
        }
        for _ in places..0 {
            if value % 10 != 0 {
                return None;
            }
            value /= 10;
        }
    }
    Some(if negative { -value } else { value })
}

/// As few digits as say it.
pub fn text(billionths: i128) -> String {
    let full = fixed(billionths, 9);
    full.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With so many decimals, up to nine; what is finer is cut.
pub fn fixed(billionths: i128, decimals: usize) -> String {
    let sign = if billionths < 0 { "-" } else { "" };
    let (whole, rest) = (billionths.unsigned_abs() / ONE as u128, billionths.unsigned_abs() % ONE as u128);
    let fraction = format!("{rest:09}");
    match decimals.min(9) {
        0 => format!("{sign}{whole}"),
        decimals => format!("{sign}{whole}.{}", &fraction[..decimals]),
    }
}

/// A sum of products (1e-18) over a sum (1e-9), with `decimals` from 9 to 18, half to even; the divisor is not 0.
pub fn ratio(products: i128, divisor: i128, decimals: u32) -> String {
    let decimals = decimals.clamp(9, 18);
    let finer = 10_i128.pow(decimals - 9);
    let (billionths, rest) = (products.div_euclid(divisor), products.rem_euclid(divisor));
    let scaled = rest * finer;
    let (mut fine, left) = (scaled / divisor, scaled % divisor);
    let twice = left * 2;
    if twice > divisor || (twice == divisor && (billionths * finer + fine) % 2 != 0) {
        fine += 1;
    }
    let (billionths, fine) = (billionths + fine / finer, fine % finer);
    let tail =
        if decimals > 9 { format!("{fine:0width$}", width = decimals as usize - 9) } else { String::new() };
    let all = format!("{}{tail}", fixed(billionths, 9));
    all.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A sum of products (1e-18) as exact text, with at least `decimals`.
pub fn product_text(products: i128, decimals: usize) -> String {
    let unit = ONE as u128 * ONE as u128;
    let (whole, rest) = (products.unsigned_abs() / unit, products.unsigned_abs() % unit);
    let sign = if products < 0 { "-" } else { "" };
    let full = format!("{rest:018}");
    let needed = full.trim_end_matches('0').len().max(decimals.min(18));
    if needed == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &full[..needed]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_means_its_text() {
        let cases = [
            ("0", Some(0)),
            ("1", Some(ONE)),
            ("167.38", Some(167_380_000_000)),
            ("-0.5", Some(-500_000_000)),
            ("3.844E-5", Some(38_440)),
            ("0.00003844", Some(38_440)),
            ("1e3", Some(1_000 * ONE)),
            ("61837.63000000", Some(61_837_630_000_000)),
            ("0.0000000001", None),
            ("1.0000000000", Some(ONE)),
            (".5", None),
            ("NaN", None),
            ("1e999999999", None),
            ("", None),
        ];
        for (written, value) in cases {
            assert_eq!(parse(written), value, "{written:?}");
        }
    }

    #[test]
    fn a_quotient_is_rounded_half_to_even() {
        // 1 / 3, 2 / 3 and exact halves at the last place.
        assert_eq!(ratio(ONE * ONE, 3 * ONE, 9), "0.333333333");
        assert_eq!(ratio(2 * ONE * ONE, 3 * ONE, 12), "0.666666666667");
        assert_eq!(ratio(5, 10, 9), "0");
        assert_eq!(ratio(25, 20, 10), "0.0000000012");
        assert_eq!(ratio(115, 100, 10), "0.0000000012");
        assert_eq!(ratio(15, 10, 9), "0.000000002");
        assert_eq!(product_text(ONE * ONE / 4, 0), "0.25");
        assert_eq!(product_text(0, 8), "0.00000000");
    }

    proptest! {
        #[test]
        fn every_number_survives_its_text(value in -10_i128.pow(24)..10_i128.pow(24)) {
            prop_assert_eq!(parse(&text(value)), Some(value));
            prop_assert_eq!(parse(&fixed(value, 9)), Some(value));
        }
    }
}
