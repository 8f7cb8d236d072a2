//! What a message is, when it was due and where it stands in its topic, found by a scan of its head instead of a parser.
//!
//! It knows tickwire's native protocol: `{"type":"…","channel":"…","sequence":…,…,"ts_event":…,…,"data":{"symbol":"…",…`.

use memchr::memmem::Finder;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A numbered event that is due when it happens: a trade, cancel or correction.
    Fact,
    /// A closed or revised bar: numbered, but it waits for the clock, so its time is no due time.
    Bar,
    /// An absolute value that the next one replaces: a quote, a forming bar.
    State,
    /// Where a stream begins.
    Snapshot,
    /// The answer to a subscription.
    Subscribed,
    /// The server says that this client is slow.
    Slow,
    /// A request was refused.
    Error,
    /// Anything else.
    Other,
}

const START: &[u8] = br#"{"type":""#;

/// Tells the kind of a text message.
#[inline]
pub fn kind(head: &[u8]) -> Kind {
    let Some(rest) = head.strip_prefix(START) else { return Kind::Other };
    let is = |name: &[u8]| rest.starts_with(name);
    match rest.first() {
        Some(b't') if is(b"trade\"") => Kind::Fact,
        Some(b'q') if is(b"quote\"") => Kind::State,
        Some(b'b') if is(b"bar\"") => {
            if memchr::memmem::find(head, br#""state":"forming""#).is_some() {
                Kind::State
            } else {
                Kind::Bar
            }
        }
        Some(b'c') if is(b"cancel\"") || is(b"correction\"") => Kind::Fact,
        Some(b's') if is(b"snapshot\"") => Kind::Snapshot,
        Some(b's') if is(b"subscribed\"") => Kind::Subscribed,
        Some(b's') if is(b"slow\"") => Kind::Slow,
        Some(b'e') if is(b"error\"") => Kind::Error,
        _ => Kind::Other,
    }
}

/// Finds the value of one key. It remembers where the key stood last, which is where it stands next: a message in a row
/// differs from the one before in its digits only.
pub struct Key {
    finder: Finder<'static>,
    last: usize,
}

impl Key {
    /// For `"name":`.
    pub fn new(name: &str) -> Self {
        let text = format!("\"{name}\":");
        Self { finder: Finder::new(text.as_bytes()).into_owned(), last: 0 }
    }

    /// What follows the key's first occurrence.
    #[inline]
    pub fn value<'a>(&mut self, head: &'a [u8]) -> Option<&'a [u8]> {
        let needle = self.finder.needle();
        let at = match head.get(self.last..) {
            Some(rest) if rest.starts_with(needle) => self.last,
            _ => self.finder.find(head)?,
        };
        self.last = at;
        Some(&head[at + needle.len()..])
    }

    /// The whole number that follows the key.
    #[inline]
    pub fn number(&mut self, head: &[u8]) -> Option<i64> {
        let value = self.value(head)?;
        let (negative, digits) = match value {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        let mut number: i64 = 0;
        let mut rest = digits;
        while let Some((&eight, more)) = rest.split_first_chunk()
            && let Some(value) = eight_digits(eight)
        {
            number = number.checked_mul(100_000_000)?.checked_add(value)?;
            rest = more;
        }
        let mut count = digits.len() - rest.len();
        for &digit in rest.iter().take_while(|digit| digit.is_ascii_digit()) {
            number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
            count += 1;
        }
        (count > 0).then_some(if negative { -number } else { number })
    }

    /// The string that follows the key, without its quotes. Names here have no escapes.
    #[inline]
    pub fn string<'a>(&mut self, head: &'a [u8]) -> Option<&'a [u8]> {
        let rest = self.value(head)?.strip_prefix(b"\"")?;
        rest.get(..memchr::memchr(b'"', rest)?)
    }
}

/// The value of eight digits, all at once: neighbours are put together to twos, fours and eights. `None` where one is no digit.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<i64> {
    // The first digit is the lowest byte.
    let text = u64::from_le_bytes(text);
    let digits = text ^ 0x3030_3030_3030_3030;
    // What is no digit has a high half, at once or with 6 more.
    if (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let twos = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100) + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some(((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff) as i64)
}

/// The keys a thread looks for.
pub struct Keys {
    /// The time to count from.
    pub stamp: Key,
    /// The number in the topic.
    pub sequence: Key,
    channel: Key,
    symbol: Key,
    timeframe: Key,
}

impl Keys {
    /// Counting from the time under `stamp`.
    pub fn new(stamp: &str) -> Self {
        Self {
            stamp: Key::new(stamp),
            sequence: Key::new("sequence"),
            channel: Key::new("channel"),
            symbol: Key::new("symbol"),
            timeframe: Key::new("timeframe"),
        }
    }

    /// A number for the message's topic; two topics share one only by a chance of 2^-64.
    #[inline]
    pub fn topic(&mut self, head: &[u8]) -> Option<u64> {
        let channel = self.channel.string(head)?;
        let symbol = self.symbol.string(head)?;
        let timeframe = if channel == b"bars" { self.timeframe.string(head)? } else { b"" };
        // FNV-1a, 64 bits, with a 0 between the parts: <http://www.isthe.com/chongo/tech/comp/fnv/>.
        let parts = [channel, b"\0", symbol, b"\0", timeframe];
        let bytes = parts.iter().flat_map(|part| part.iter());
        Some(
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(sequence: u64, ts: i64, symbol: &str) -> String {
        format!(
            r#"{{"type":"trade","channel":"trades","sequence":{sequence},"timestamp":"2026-02-07T14:30:00.123Z","ts_event":{ts},"ts_recv":5,"ts_sent":6,"data":{{"symbol":"{symbol}","price":1}}}}"#
        )
    }

    #[test]
    fn a_kind_is_told_by_the_first_key() {
        let bar = |state: &str| format!(r#"{{"type":"bar","channel":"bars","data":{{"state":"{state}"}}}}"#);
        for (text, wanted) in [
            (trade(1, 2, "A"), Kind::Fact),
            (r#"{"type":"cancel"}"#.to_owned(), Kind::Fact),
            (r#"{"type":"correction"}"#.to_owned(), Kind::Fact),
            (r#"{"type":"quote"}"#.to_owned(), Kind::State),
            (bar("forming"), Kind::State),
            (bar("closed"), Kind::Bar),
            (bar("revised"), Kind::Bar),
            (r#"{"type":"snapshot"}"#.to_owned(), Kind::Snapshot),
            (r#"{"type":"subscribed"}"#.to_owned(), Kind::Subscribed),
            (r#"{"type":"subscriptions"}"#.to_owned(), Kind::Other),
            (r#"{"type":"slow"}"#.to_owned(), Kind::Slow),
            (r#"{"type":"error"}"#.to_owned(), Kind::Error),
            (r#"{"type":"welcome"}"#.to_owned(), Kind::Other),
            (r#"{"type":"#.to_owned(), Kind::Other),
            (String::new(), Kind::Other),
        ] {
            assert_eq!(kind(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn numbers_are_found_wherever_they_move() {
        let mut keys = Keys::new("ts_event");
        for (sequence, ts) in [(9, 1), (10, -22), (1_234_567, i64::MAX), (3, 4)] {
            let text = trade(sequence, ts, "A");
            assert_eq!(keys.sequence.number(text.as_bytes()), Some(sequence as i64));
            assert_eq!(keys.stamp.number(text.as_bytes()), Some(ts));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        let mut key = Key::new("n");
        for text in
            [r#"{"n":}"#, r#"{"n":-}"#, r#"{"n":"1"}"#, r#"{"n":99999999999999999999}"#, r#"{"m":1}"#, ""]
        {
            assert_eq!(key.number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn topics_differ_by_channel_symbol_and_timeframe() {
        let mut keys = Keys::new("ts_event");
        let text = |channel: &str, symbol: &str, timeframe: &str| {
            format!(r#"{{"channel":"{channel}","data":{{"symbol":"{symbol}","timeframe":"{timeframe}"}}}}"#)
        };
        let mut seen = std::collections::BTreeSet::new();
        for (channel, symbol, timeframe) in [
            ("bars", "A", "1m"),
            ("bars", "A", "5m"),
            ("bars", "B", "1m"),
            ("trades", "A", ""),
            ("quotes", "A", ""),
        ] {
            let hash = keys.topic(text(channel, symbol, timeframe).as_bytes()).unwrap();
            assert!(seen.insert(hash));
            assert_eq!(keys.topic(text(channel, symbol, timeframe).as_bytes()), Some(hash));
        }
        assert_eq!(keys.topic(br#"{"channel":"bars","data":{"symbol":"A"}}"#), None);
    }

    #[test]
    fn eight_digits_are_what_a_parser_makes_of_them() {
        let mut state = 5u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut text = format!("{:08}", (state >> 20) % 100_000_000).into_bytes();
            if state >> 63 == 1 {
                text[(state >> 40) as usize % 8] = (state >> 48) as u8;
            }
            let digits = text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(&text).unwrap());
            let wanted = digits.map(|digits| digits.parse().unwrap());
            assert_eq!(eight_digits(text.clone().try_into().unwrap()), wanted, "{text:?}");
        }
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        let mut key = Key::new("n");
        for (text, wanted) in [
            ("7,", Some(7)),
            ("-12345678}", Some(-12_345_678)),
            ("123456789 ", Some(123_456_789)),
            ("1764360000123456,", Some(1_764_360_000_123_456)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("99999999999999999999999999", None),
            ("-", None),
            ("x", None),
        ] {
            assert_eq!(key.number(format!(r#"{{"n":{text}"#).as_bytes()), wanted, "{text}");
        }
    }
}
