//! RFC 3339 times to nanoseconds, without a table of time zones: `2021-02-22T15:51:45.335689322Z`, or an offset for the `Z`.

use crate::model::UnixNanos;

const DAY_S: i64 = 86_400;

/// Reads a time of up to nine decimal places; held at the ends of the range. `None` where it is no such time, of a day that
/// there is not, or of a leap second.
#[inline]
pub fn parse(text: &[u8]) -> Option<UnixNanos> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let mark = |at: usize, byte: u8| fixed[at] == byte;
    if !(mark(4, b'-') && mark(7, b'-') && mark(10, b'T') && mark(13, b':') && mark(16, b':')) {
        return None;
    }
    let (year, month, day) = (number(&fixed[..4])?, number(&fixed[5..7])?, number(&fixed[8..10])?);
    let (hour, minute, second) = (number(&fixed[11..13])?, number(&fixed[14..16])?, number(&fixed[17..])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let seconds =
        days_since_1970(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(UnixNanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

/// Digits only, at most nine of them.
#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, &byte| byte.is_ascii_digit().then(|| n * 10 + i64::from(byte - b'0')))
}

/// `.5Z` to 500,000,000 and `Z`.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(places) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = places.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let nanos = (count..9).fold(number(&places[..count])?, |n, _| n * 10);
    Some((nanos, &places[count..]))
}

/// Seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        b"Z" => return Some(0),
        [b'+', a, b, b':', c, d] => (1, number(&[*a, *b])?, number(&[*c, *d])?),
        [b'-', a, b, b':', c, d] => (-1, number(&[*a, *b])?, number(&[*c, *d])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Of the proleptic Gregorian calendar. Years are counted from March, so that a leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 153 days are five months from March or from August, short and long ones in the same order.
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days from 1 March of the year 0 to 1 January 1970.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jiffs(text: &str) -> Option<UnixNanos> {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(UnixNanos(at.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as i64))
    }

    #[test]
    fn times_are_those_that_a_calendar_library_reads() {
        for text in [
            "2021-02-22T15:51:45.335689322Z",
            "2021-02-22T15:51:44.208Z",
            "2021-02-22T19:15:00Z",
            "2000-02-29T23:59:59.999999999Z",
            "1969-12-31T23:59:59.5Z",
            "2023-04-06T08:54:26-03:30",
            "0001-01-01T00:00:00Z",
            "9998-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(jiffs(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2021-02-22",
            "2021-02-22T15:51:45",
            "2021-02-22 15:51:45Z",
            "2021-02-22T15:51:45.Z",
            "2021-02-22T15:51:45.1234567890Z",
            "2021-02-30T15:51:45Z",
            "1900-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-00-01T00:00:00Z",
            "2021-01-01T24:00:00Z",
            "2021-01-01T00:00:60Z",
            "2021-01-01T00:00:00+24:00",
            "2021-01-01T00:00:00+0100",
            "2021-01-01T00:00:00z",
            "+021-01-01T00:00:00Z",
            "2021-01-01T00:00:00ZZ",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_reads_back(seconds in -9_000_000_000_i64..9_000_000_000, nanos in 0..1_000_000_000_i64) {
            let at = seconds * 1_000_000_000 + nanos;
            let text = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap().to_string();
            prop_assert_eq!(parse(text.as_bytes()), Some(UnixNanos(at)));
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+-]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
