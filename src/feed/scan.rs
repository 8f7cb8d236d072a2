//! A cursor over JSON as vendors' machines write it: no white space, no escapes, plain short numbers, ASCII.
//!
//! It knows a part of JSON, and says `None` at all else, also at some things that JSON allows. So whatever it takes means what
//! JSON says, and whoever uses it needs another way for the rest. Eight bytes are looked at as one word.

use crate::model::{Price, Size, SymbolCache, SymbolId, TradeId, UnixNanos};

use super::field::{AHEAD_MAX, Context, EARLIEST};

/// The most digits of a whole number or of decimal text: any of so many fit a word.
const DIGITS_MAX: u32 = 18;
/// The most digits of a JSON number that is no whole one: up to 15 a decimal and the nearest `f64` name each other.
const FLOAT_DIGITS_MAX: u32 = 15;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

const POW10: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// What is left to read.
#[derive(Clone, Copy)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// Nothing is left.
    #[inline]
    pub fn is_done(self) -> bool {
        self.0.is_empty()
    }

    /// Goes past these bytes, if they are next.
    #[inline]
    pub fn eat<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        match self.0.split_first_chunk::<N>() {
            Some((there, rest)) if there == bytes => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// As [`Self::eat`], for what must be next.
    #[inline]
    pub fn expect<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        self.eat(bytes).then_some(())
    }

    /// The next eight bytes, the first one lowest; zeros where the text has ended.
    #[inline]
    fn word(self) -> u64 {
        match self.0.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => last_word(self.0),
        }
    }

    #[inline]
    fn skip(&mut self, n: usize) {
        self.0 = self.0.get(n..).unwrap_or_default();
    }

    /// Goes past `,"key":`, a key of one to four bytes, and gives the key as [`key`] packs it.
    #[inline]
    pub fn next_key(&mut self) -> Option<u32> {
        let word = self.word();
        if word as u16 != u16::from_le_bytes(*b",\"") {
            return None;
        }
        let text = word >> 16;
        let len = first_quote(text);
        if !(1..=4).contains(&len) || (text >> (len * 8 + 8)) as u8 != b':' {
            return None;
        }
        self.skip(len + 4);
        Some((text & ((1 << (len * 8)) - 1)) as u32)
    }

    /// A run of digits, and how many they are; 0 where there is none, or more than 18.
    #[inline]
    fn digits(&mut self) -> (u64, u32) {
        let word = self.word();
        let n = leading_digits(word);
        if n == 0 {
            return (0, 0);
        }
        let (value, count) =
            if n < 8 { (value_of(word, n), n as u32) } else { many_digits(self.0, value_of(word, 8)) };
        self.skip(count as usize);
        (value, count)
    }

    /// A whole number that is not below zero, of at most 18 digits.
    #[inline]
    pub fn int(&mut self) -> Option<u64> {
        let zero = self.0.first() == Some(&b'0');
        let (value, count) = self.digits();
        (count == 1 || (count > 1 && !zero)).then_some(value)
    }

    /// A whole number up to 255.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        match self.0 {
            [digit @ b'0'..=b'9', after, ..] if !after.is_ascii_digit() => {
                let value = digit - b'0';
                self.skip(1);
                Some(value)
            }
            _ => u8::try_from(self.int()?).ok(),
        }
    }

    /// Goes past a whole number whose value nobody asks for.
    #[inline]
    pub fn skip_int(&mut self) -> Option<()> {
        let zero = self.0.first() == Some(&b'0');
        let mut count = 0;
        loop {
            let n = leading_digits(self.word());
            self.skip(n);
            count += n as u32;
            if n < 8 {
                break;
            }
        }
        (count == 1 || (2..=DIGITS_MAX).contains(&count) && !zero).then_some(())
    }

    /// A whole number of just 13 digits: ms since 1970 from the year 2001 to 2286.
    #[inline]
    pub fn millis(&mut self) -> Option<u64> {
        let all: &[u8; 13] = self.0.first_chunk()?;
        let (high, low) = (u64::from_le_bytes(*all.first_chunk()?), u64::from_le_bytes(*all.last_chunk()?));
        let digits = leading_digits(high) + leading_digits(low);
        if digits < 16 || all[0] == b'0' || self.0.get(13).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        self.skip(13);
        // The two words share three digits.
        Some(value_of(high, 8) * 100_000 + value_of(low, 8) % 100_000)
    }

    /// A decimal number in units of `10^-scale`, at most nine places; `None` where it has more places, or more digits than `digits_max`.
    #[inline]
    fn decimal(&mut self, scale: usize, digits_max: u32) -> Option<u64> {
        let zero = self.0.first() == Some(&b'0');
        let (whole, count) = self.digits();
        if count == 0 || (zero && count > 1) {
            return None;
        }
        if !self.eat(b".") {
            return whole.checked_mul(POW10[scale]);
        }
        let (fraction, places) = self.digits();
        if places == 0 {
            return None;
        }
        let missing = scale.checked_sub(places as usize)?;
        if count + places > digits_max {
            return None;
        }
        (whole * POW10[places as usize] + fraction).checked_mul(POW10[missing])
    }

    /// A price as a JSON number.
    #[inline]
    pub fn price(&mut self) -> Option<Price> {
        let units = self.decimal(Price::SCALE as usize, FLOAT_DIGITS_MAX)?;
        i64::try_from(units).ok().map(Price)
    }

    /// A size as a JSON number.
    #[inline]
    pub fn size(&mut self) -> Option<Size> {
        self.decimal(Size::SCALE as usize, FLOAT_DIGITS_MAX).map(Size)
    }

    /// A price as decimal text, both quotes included.
    #[inline]
    pub fn price_text(&mut self) -> Option<Price> {
        self.expect(b"\"")?;
        let units = self.decimal(Price::SCALE as usize, DIGITS_MAX)?;
        self.expect(b"\"")?;
        i64::try_from(units).ok().map(Price)
    }

    /// A size as decimal text, both quotes included.
    #[inline]
    pub fn size_text(&mut self) -> Option<Size> {
        self.expect(b"\"")?;
        let units = self.decimal(Size::SCALE as usize, DIGITS_MAX)?;
        self.expect(b"\"")?;
        Some(Size(units))
    }

    /// A trade id as text, both quotes included.
    #[inline]
    pub fn id_text(&mut self) -> Option<TradeId> {
        self.expect(b"\"")?;
        let mut ahead = *self;
        if let Some(id) = ahead.int()
            && ahead.eat(b"\"")
        {
            *self = ahead;
            return Some(TradeId::from_u64(id));
        }
        self.plain_text().map(TradeId::from_text)
    }

    /// Text to its closing quote, all of it printable ASCII without a backslash.
    pub fn plain_text(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'"', self.0)?;
        let text = &self.0[..end];
        self.skip(end + 1);
        text.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\').then_some(text)
    }

    /// The number of a symbol that is known here, to its closing quote. What is known is printable ASCII without quotes.
    #[inline]
    pub fn known_symbol(&mut self, symbols: &SymbolCache) -> Option<SymbolId> {
        let word = self.word();
        let len = first_quote(word);
        if len < 8 {
            self.skip(len + 1);
            let name = word & ((1 << (len * 8)) - 1);
            // A zero at the end would be taken for no byte at all; anywhere else it makes a word that no name has.
            let whole = len > 0 && name >> ((len - 1) * 8) != 0;
            return if whole { symbols.known_short(name) } else { None };
        }
        let end = memchr::memchr(b'"', self.0)?;
        let name = &self.0[..end];
        self.skip(end + 1);
        symbols.known(name)
    }
}

/// Which keys that count a record has had: none of them comes twice.
#[derive(Default)]
pub struct Seen(u32);

impl Seen {
    /// Marks a key, if it is the first of its kind.
    #[inline]
    pub fn once(&mut self, bit: u32) -> Option<()> {
        let fresh = self.0 & bit == 0;
        self.0 |= bit;
        fresh.then_some(())
    }

    /// Whether all of these keys came.
    #[inline]
    pub fn has(&self, bits: u32) -> Option<()> {
        (self.0 & bits == bits).then_some(())
    }
}

/// The times in ms that a feed may say now.
pub struct Times {
    earliest: u64,
    latest: u64,
}

impl Times {
    /// As the context's clock has it.
    #[inline]
    pub fn of(cx: &Context<'_>) -> Self {
        let whole = |at: UnixNanos| u64::try_from(at.millis()).unwrap_or(0);
        Self { earliest: whole(EARLIEST), latest: whole(cx.now + AHEAD_MAX) }
    }

    /// A time that is one of them.
    #[inline]
    pub fn at(&self, ms: u64) -> Option<UnixNanos> {
        let good = (self.earliest..=self.latest).contains(&ms);
        if good { UnixNanos::from_millis(ms as i64) } else { None }
    }
}

/// A key of one to four bytes as [`Cursor::next_key`] gives it.
pub const fn key(name: &str) -> u32 {
    let name = name.as_bytes();
    assert!(!name.is_empty() && name.len() <= 4);
    let (mut packed, mut at) = (0, 0);
    while at < name.len() {
        packed |= (name[at] as u32) << (at * 8);
        at += 1;
    }
    packed
}

/// As [`Cursor::digits`], where the first eight bytes are digits and their value is known.
fn many_digits(text: &[u8], first: u64) -> (u64, u32) {
    let (mut value, mut count) = (first, 8);
    loop {
        let word = Cursor(text.get(count..).unwrap_or_default()).word();
        let n = leading_digits(word);
        if count + n > DIGITS_MAX as usize {
            return (0, 0);
        }
        if n > 0 {
            value = value * POW10[n] + value_of(word, n);
        }
        count += n;
        if n < 8 {
            return (value, count as u32);
        }
    }
}

#[cold]
fn last_word(rest: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, there) in bytes.iter_mut().zip(rest) {
        *byte = *there;
    }
    u64::from_le_bytes(bytes)
}

/// How many bytes come before the first quote of a word; 8 where it has none.
#[inline]
fn first_quote(word: u64) -> usize {
    let zero_where_quote = word ^ (LOW_BITS * b'"' as u64);
    let found = zero_where_quote.wrapping_sub(LOW_BITS) & !zero_where_quote & HIGH_BITS;
    found.trailing_zeros() as usize / 8
}

/// How many of a word's first bytes are digits.
#[inline]
fn leading_digits(word: u64) -> usize {
    // A digit becomes 0 to 9, and what is more gets its high bit set; a carry out of one reaches later bytes alone.
    let x = word ^ (LOW_BITS * b'0' as u64);
    let found = (x.wrapping_add(LOW_BITS * 0x76) | x) & HIGH_BITS;
    found.trailing_zeros() as usize / 8
}

/// What the first `n` bytes say, all digits, one to eight of them: pairs, then fours, then all.
#[inline]
fn value_of(word: u64, n: usize) -> u64 {
    // Whatever follows is shifted out, and zeros in front count nothing.
    let x = (word << (64 - n * 8)) & (LOW_BITS * 0x0f);
    let x = x.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let x = x.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    x.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_run_of_digits_is_its_value(text in "[0-9]{0,20}", rest in "[^0-9]?.{0,10}") {
            let rest = if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &rest };
            let whole = format!("{text}{rest}");
            let mut cursor = Cursor::new(whole.as_bytes());
            let read = cursor.digits();
            if text.is_empty() || text.len() > 18 {
                prop_assert_eq!(read, (0, 0));
            } else {
                prop_assert_eq!(read, (text.parse().unwrap(), text.len() as u32));
                prop_assert_eq!(cursor.0, rest.as_bytes());
            }
            let good = (1..=18).contains(&text.len()) && (text.len() == 1 || !text.starts_with('0'));
            let mut skipped = Cursor::new(whole.as_bytes());
            prop_assert_eq!(skipped.skip_int().map(|()| skipped.0), good.then_some(rest.as_bytes()));
            let value: Option<u64> = if good { text.parse().ok() } else { None };
            prop_assert_eq!(Cursor::new(whole.as_bytes()).int(), value);
            prop_assert_eq!(Cursor::new(whole.as_bytes()).millis(), value.filter(|_| text.len() == 13));
            prop_assert_eq!(Cursor::new(whole.as_bytes()).byte(), value.and_then(|value| u8::try_from(value).ok()));
        }

        #[test]
        fn leading_digits_are_counted_whatever_follows(bytes in any::<[u8; 8]>(), digits in 0..=8_usize) {
            let mut bytes = bytes;
            bytes[..digits].iter_mut().for_each(|byte| *byte = b'0' + *byte % 10);
            let want = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(leading_digits(u64::from_le_bytes(bytes)), want);
        }

        #[test]
        fn the_first_quote_is_found_whatever_surrounds_it(bytes in any::<[u8; 8]>(), at in 0..16_usize) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = b'"';
            }
            let want = bytes.iter().position(|&byte| byte == b'"').unwrap_or(8);
            prop_assert_eq!(first_quote(u64::from_le_bytes(bytes)), want);
        }

        #[test]
        fn a_number_that_is_taken_is_what_a_float_would_have_given(text in "[0-9]{1,12}(\\.[0-9]{1,10})?") {
            let taken = Cursor::new(text.as_bytes()).price();
            if let Some(price) = taken {
                let whole = !text.contains('.');
                let read = if whole { Price::from_int(text.parse().unwrap()) } else { Price::from_f64(text.parse().unwrap()) };
                prop_assert_eq!(read, Ok((price, false)));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let symbols = SymbolCache::new(crate::model::SymbolTable::new(1));
            let at = Cursor::new(&bytes);
            let _ = (at.clone().next_key(), at.clone().int(), at.clone().price(), at.clone().size_text());
            let _ = (at.clone().id_text(), at.clone().plain_text(), at.clone().known_symbol(&symbols));
        }
    }

    #[test]
    fn keys_are_read_with_their_colon() {
        let mut cursor = Cursor::new(b",\"trfi\":1,\"p\":,\"sym");
        assert_eq!(cursor.next_key(), Some(key("trfi")));
        assert_eq!((cursor.int(), cursor.next_key()), (Some(1), Some(key("p"))));
        for bad in [&b",\"\":1"[..], b",\"trfis\":1", b",\"p\" :1", b"{\"p\":1", b", \"p\":1", b",\"p\"", b""]
        {
            assert_eq!(Cursor::new(bad).next_key(), None, "{}", bad.escape_ascii());
        }
    }
}
