//! A cursor over JSON as vendors' machines write it: no white space, no escapes, plain short numbers, ASCII.
//!
//! It knows a part of JSON, and says `None` at all else, also at some things that JSON allows. So whatever it takes means what
//! JSON says, and whoever uses it needs another way for the rest. Eight bytes are looked at as one word.
//!
//! It looks at a text through a window of fixed size, so that no look has to ask how far the text goes. What it takes counts
//! only if it ends within the text: whoever uses it compares [`Cursor::place`] to where that is.

use crate::model::{Price, Size, SymbolCache, SymbolId, TradeId, UnixNanos};

use super::field::{AHEAD_MAX, Context, EARLIEST};

/// How far a cursor goes: a trade or a quote is never longer. A power of two.
const REACH: usize = 512;
/// How many bytes it sees from where it is.
const SIGHT: usize = 24;

/// A text from some place on, and whatever follows its end.
pub type Window = [u8; REACH + SIGHT];

/// Where a text goes that is too short for a window where it lies. One that reads many keeps it: clearing it costs as much as copying.
pub struct Spare(Window);

impl Default for Spare {
    fn default() -> Self {
        Self([0; REACH + SIGHT])
    }
}

/// The most digits of a whole number or of decimal text: any of so many fit a word.
const DIGITS_MAX: usize = 18;
/// The most digits of a JSON number that is no whole one: up to 15 a decimal and the nearest `f64` name each other.
const FLOAT_DIGITS_MAX: usize = 15;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

const POW10: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// A window on a text: where it lies, if it can, else in `spare`.
#[inline(always)]
pub fn window<'a>(text: &'a [u8], spare: &'a mut Spare) -> &'a Window {
    if let Some(window) = text.first_chunk() {
        return window;
    }
    spare.0[..text.len()].copy_from_slice(text);
    &spare.0
}

/// A place in a window.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    window: &'a Window,
    /// Beyond [`REACH`] it sees the beginning again, and what it takes there is void.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a window.
    #[inline(always)]
    pub fn new(window: &'a Window) -> Self {
        Self { window, at: 0 }
    }

    /// How far it has come, if not too far.
    #[inline(always)]
    pub fn place(self) -> Option<usize> {
        (self.at <= REACH).then_some(self.at)
    }

    /// Whether it came on from `before`, and not too far. Every loop asks this, or it could go around for ever.
    #[inline(always)]
    pub fn came_on(self, before: Self) -> Option<()> {
        (before.at < self.at && self.at <= REACH).then_some(())
    }

    /// What is next.
    #[inline(always)]
    fn next<const N: usize>(self) -> Option<&'a [u8; N]> {
        const { assert!(N <= SIGHT) };
        // It is always there, as the compiler sees by the remainder.
        let from = self.at % REACH;
        self.window.get(from..from + N)?.first_chunk()
    }

    /// Eight bytes from `AHEAD` on, the first one lowest.
    #[inline(always)]
    fn word<const AHEAD: usize>(self) -> u64 {
        const { assert!(AHEAD + 8 <= SIGHT) };
        let from = self.at % REACH + AHEAD;
        let bytes = self.window.get(from..from + 8).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Goes past these bytes, if they are next.
    #[inline(always)]
    pub fn eat<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        const { assert!(N > 0) };
        let there = match bytes.first_chunk::<8>() {
            Some(_) => self.next() == Some(bytes),
            // What follows the few bytes is shifted out.
            None => (self.word::<0>() ^ word_of(bytes)) << (64 - N % 8 * 8) == 0,
        };
        if there {
            self.at += N;
        }
        there
    }

    /// As [`Self::eat`], for what must be next.
    #[inline(always)]
    pub fn expect<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        self.eat(bytes).then_some(())
    }

    /// Goes past `,"key":`, a key of one to four bytes, and gives the key as [`key`] packs it.
    #[inline(always)]
    pub fn next_key(&mut self) -> Option<u32> {
        let word = self.word::<0>();
        if word as u16 != u16::from_le_bytes(*b",\"") {
            return None;
        }
        let text = word >> 16;
        let len = first_quote(text);
        if !(1..=4).contains(&len) || (text >> (len * 8 + 8)) as u8 != b':' {
            return None;
        }
        let key = (text & ((1 << (len * 8)) - 1)) as u32;
        // A key that ends in NUL would be packed as the one without it.
        if key >> (len * 8 - 8) == 0 {
            return None;
        }
        self.at += len + 4;
        Some(key)
    }

    /// A run of digits, and how many they are: one to 18.
    #[inline(always)]
    fn digits(&mut self) -> Option<(u64, usize)> {
        let word = self.word::<0>();
        let n = leading_digits(word);
        let (value, count) = match n {
            0 => return None,
            1..8 => (value_of(word, n), foreseen(n)),
            _ => self.many_digits(value_of(word, 8))?,
        };
        self.at += count;
        Some((value, count))
    }

    /// As [`Self::digits`], where the next eight bytes are digits and their value is known.
    #[inline(always)]
    fn many_digits(self, first: u64) -> Option<(u64, usize)> {
        let word = self.word::<8>();
        match leading_digits(word) {
            0 => Some((first, 8)),
            n @ 1..8 => Some((first * POW10[n] + value_of(word, n), 8 + foreseen(n))),
            _ => {
                let (first, word) = (first * POW10[8] + value_of(word, 8), self.word::<16>());
                match leading_digits(word) {
                    0 => Some((first, 16)),
                    n @ 1..=2 => Some((first * POW10[n] + value_of(word, n), 16 + n)),
                    _ => None,
                }
            }
        }
    }

    /// A whole number that is not below zero, of at most 18 digits.
    #[inline(always)]
    pub fn int(&mut self) -> Option<u64> {
        let zero = self.next() == Some(b"0");
        let (value, count) = self.digits()?;
        (count == 1 || !zero).then_some(value)
    }

    /// A whole number up to 255.
    #[inline(always)]
    pub fn byte(&mut self) -> Option<u8> {
        let word = self.word::<0>();
        let digit = |at: usize| (word >> (at * 8)) as u8 & 0x0f;
        let n = foreseen(leading_digits(word));
        self.at += n;
        match n {
            1 => Some(digit(0)),
            2 if digit(0) > 0 => Some(digit(0) * 10 + digit(1)),
            3 if digit(0) > 0 => u8::try_from(value_of(word, 3)).ok(),
            _ => None,
        }
    }

    /// A whole number of just 13 digits: ms since 1970 from the year 2001 to 2286.
    #[inline(always)]
    pub fn millis(&mut self) -> Option<u64> {
        let (high, low, after) = (self.word::<0>(), self.word::<5>(), self.word::<13>() as u8);
        let digits = leading_digits(high) + leading_digits(low);
        if digits < 16 || high as u8 == b'0' || after.is_ascii_digit() {
            return None;
        }
        self.at += 13;
        // The two words share three digits, which the first has counted.
        Some(value_of(high, 8) * 100_000 + value_of(low >> 24, 5))
    }

    /// A decimal number in units of `10^-scale`, at most nine places; `None` where it has more places, or more digits than `digits_max`.
    #[inline(always)]
    fn decimal(&mut self, scale: usize, digits_max: usize) -> Option<u64> {
        let word = self.word::<0>();
        let others = no_digits(word);
        let whole = others.trailing_zeros() as usize / 8;
        let end = (others & others.wrapping_sub(1)).trailing_zeros() as usize / 8;
        if whole == 0 || (whole > 1 && word as u8 == b'0') {
            return None;
        }
        if whole == 8 || end == 8 {
            let (units, at) = self.long_decimal(scale, digits_max)?;
            self.at = at;
            return Some(units);
        }
        if (word >> (whole * 8)) as u8 != b'.' {
            self.at += foreseen(whole);
            return Some(value_of(word, whole) * POW10[scale]);
        }
        let places = end - whole - 1;
        if places == 0 {
            return None;
        }
        self.at += foreseen(end);
        // The digits behind the point move up to those before it.
        let before = (1 << (whole * 8)) - 1;
        let digits = word & before | word >> 8 & !before;
        Some(value_of(digits, end - 1) * POW10[scale.saturating_sub(places)])
    }

    /// As [`Self::decimal`], where it or what follows it is no matter of one word; and where it ends.
    fn long_decimal(mut self, scale: usize, digits_max: usize) -> Option<(u64, usize)> {
        let (whole, count) = self.digits()?;
        if !self.eat(b".") {
            return Some((whole.checked_mul(POW10[scale])?, self.at));
        }
        let (fraction, places) = self.digits()?;
        let missing = scale.checked_sub(places)?;
        if count + places > digits_max {
            return None;
        }
        Some(((whole * POW10[places] + fraction).checked_mul(POW10[missing])?, self.at))
    }

    /// A price as a JSON number.
    #[inline(always)]
    pub fn price(&mut self) -> Option<Price> {
        let units = self.decimal(Price::SCALE as usize, FLOAT_DIGITS_MAX)?;
        i64::try_from(units).ok().map(Price)
    }

    /// A size as a JSON number.
    #[inline(always)]
    pub fn size(&mut self) -> Option<Size> {
        self.decimal(Size::SCALE as usize, FLOAT_DIGITS_MAX).map(Size)
    }

    /// A price as decimal text, both quotes included.
    #[inline(always)]
    pub fn price_text(&mut self) -> Option<Price> {
        self.expect(b"\"")?;
        let units = self.decimal(Price::SCALE as usize, DIGITS_MAX)?;
        self.expect(b"\"")?;
        i64::try_from(units).ok().map(Price)
    }

    /// A size as decimal text, both quotes included.
    #[inline(always)]
    pub fn size_text(&mut self) -> Option<Size> {
        self.expect(b"\"")?;
        let units = self.decimal(Size::SCALE as usize, DIGITS_MAX)?;
        self.expect(b"\"")?;
        Some(Size(units))
    }

    /// A trade id as text, to its closing quote.
    #[inline(always)]
    pub fn id_text(&mut self) -> Option<TradeId> {
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
    #[inline(always)]
    pub fn plain_text(&mut self) -> Option<&'a [u8]> {
        let text = self.quoted()?;
        self.at += text.len() + 1;
        text.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\').then_some(text)
    }

    /// What stands before the next quote.
    fn quoted(self) -> Option<&'a [u8]> {
        let rest = &self.window[self.at % REACH..];
        rest.get(..memchr::memchr(b'"', rest)?)
    }

    /// The number of a symbol that is known here, to its closing quote. What is known is printable ASCII without quotes.
    #[inline(always)]
    pub fn known_symbol(&mut self, symbols: &SymbolCache) -> Option<SymbolId> {
        let word = self.word::<0>();
        let len = first_quote(word);
        if len == 8 {
            let name = self.quoted()?;
            self.at += name.len() + 1;
            return symbols.known(name);
        }
        self.at += foreseen(len) + 1;
        let name = word & ((1 << (len * 8)) - 1);
        // A zero at the end would be taken for no byte at all; anywhere else it makes a word that no name has.
        let whole = len > 0 && name >> ((len - 1) * 8) != 0;
        if whole { symbols.known_short(name) } else { None }
    }
}

/// Which keys that count a record has had, looked for in passes that find each at most once.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    before: u32,
    now: u32,
}

impl Seen {
    /// Marks a key by a bit of its own.
    #[inline(always)]
    pub fn mark(&mut self, bit: u32) {
        self.now |= bit;
    }

    /// Ends a pass, if it found no key that was there before.
    #[inline(always)]
    pub fn end_pass(&mut self) -> Option<()> {
        let fresh = self.now & self.before == 0;
        *self = Self { before: self.now | self.before, now: 0 };
        fresh.then_some(())
    }

    /// Whether all of these keys were found by the passes that have ended.
    #[inline(always)]
    pub fn has(self, bits: u32) -> bool {
        self.before & bits == bits
    }
}

/// The times in ms that a feed may say now.
pub struct Times {
    earliest: u64,
    latest: u64,
}

impl Times {
    /// As the context's clock has it.
    #[inline(always)]
    pub fn of(cx: &Context<'_>) -> Self {
        let whole = |at: UnixNanos| u64::try_from(at.millis()).unwrap_or(0);
        Self { earliest: whole(EARLIEST), latest: whole(cx.now + AHEAD_MAX) }
    }

    /// A time that is one of them.
    #[inline(always)]
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

/// Up to eight bytes as a word, the first one lowest.
const fn word_of(bytes: &[u8]) -> u64 {
    let (mut word, mut at) = (0, 0);
    while at < bytes.len() {
        word |= (bytes[at] as u64) << (at * 8);
        at += 1;
    }
    word
}

/// `n`, by way of a branch for each small value: so the processor goes on from where it expects a number to end while it still looks.
#[inline(always)]
fn foreseen(n: usize) -> usize {
    macro_rules! foresee {
        ($($width:literal)*) => {
            match n {
                $($width => { std::hint::black_box(()); $width })*
                _ => n,
            }
        };
    }
    foresee!(1 2 3 4 5 6 7)
}

/// How many bytes come before the first quote of a word; 8 where it has none.
#[inline(always)]
fn first_quote(word: u64) -> usize {
    let zero_where_quote = word ^ (LOW_BITS * b'"' as u64);
    let found = zero_where_quote.wrapping_sub(LOW_BITS) & !zero_where_quote & HIGH_BITS;
    found.trailing_zeros() as usize / 8
}

/// How many of a word's first bytes are digits.
#[inline(always)]
fn leading_digits(word: u64) -> usize {
    // A digit becomes 0 to 9, and what is more gets its high bit set; a carry out of one reaches later bytes alone.
    let x = word ^ (LOW_BITS * b'0' as u64);
    let found = (x.wrapping_add(LOW_BITS * 0x76) | x) & HIGH_BITS;
    found.trailing_zeros() as usize / 8
}

/// The high bit of each byte that is no digit.
#[inline(always)]
fn no_digits(word: u64) -> u64 {
    // As above, but nothing is carried from one byte to the next.
    let x = word ^ (LOW_BITS * b'0' as u64);
    ((x & !HIGH_BITS).wrapping_add(LOW_BITS * 0x76) | x) & HIGH_BITS
}

/// What the first `n` bytes say, all digits, one to eight of them: pairs, then fours, then all.
#[inline(always)]
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

    /// What `take` makes of a text, and what is left of it.
    fn read<T>(text: &[u8], take: impl FnOnce(&mut Cursor<'_>) -> Option<T>) -> Option<(T, &[u8])> {
        let mut spare = Spare::default();
        let mut at = Cursor::new(window(text, &mut spare));
        let taken = take(&mut at)?;
        Some((taken, text.get(at.place()?..)?))
    }

    proptest! {
        #[test]
        fn a_run_of_digits_is_its_value(text in "[0-9]{0,20}", rest in "[^0-9]?.{0,10}", far in any::<bool>()) {
            let rest = if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &rest };
            // A text that is long enough is not copied.
            let rest = if far { format!("{rest}{:1$}", "", size_of::<Window>()) } else { rest.to_owned() };
            let (whole, rest) = (format!("{text}{rest}"), rest.as_bytes());
            let good = (1..=18).contains(&text.len());
            let value: Option<u64> = if good { text.parse().ok() } else { None };
            prop_assert_eq!(read(whole.as_bytes(), |at| at.digits()), value.map(|value| ((value, text.len()), rest)));
            let plain = value.filter(|_| text.len() == 1 || !text.starts_with('0'));
            prop_assert_eq!(read(whole.as_bytes(), |at| at.int()), plain.map(|value| (value, rest)));
            let millis = plain.filter(|_| text.len() == 13);
            prop_assert_eq!(read(whole.as_bytes(), |at| at.millis()), millis.map(|value| (value, rest)));
            let byte = plain.and_then(|value| u8::try_from(value).ok());
            prop_assert_eq!(read(whole.as_bytes(), |at| at.byte()), byte.map(|value| (value, rest)));
        }

        #[test]
        fn a_decimal_is_the_same_by_one_word_and_by_several(
            text in "[0-9]{1,10}(\\.[0-9]{0,10})?", rest in "[^0-9]?.{0,10}", scale in 8..=9_usize,
        ) {
            let rest = if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') { "" } else { &rest };
            let whole = format!("{text}{rest}");
            let places = text.find('.').map(|point| text.len() - point - 1);
            let zeros = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
            let digits = text.len() - usize::from(places.is_some());
            let good = !zeros && places != Some(0) && places.unwrap_or(0) <= scale && (places.is_none() || digits <= 15);
            let fixed = crate::model::decimal::parse_fixed(text.as_bytes(), scale as u32);
            let want = fixed.ok().filter(|_| good).and_then(|fixed| u64::try_from(fixed.units).ok());
            let taken = read(whole.as_bytes(), |at| at.decimal(scale, FLOAT_DIGITS_MAX));
            prop_assert_eq!(taken, want.map(|units| (units, rest.as_bytes())));
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
            if let Some((price, _)) = read(text.as_bytes(), |at| at.price()) {
                let whole = !text.contains('.');
                let read = if whole { Price::from_int(text.parse().unwrap()) } else { Price::from_f64(text.parse().unwrap()) };
                prop_assert_eq!(read, Ok((price, false)));
            }
        }

        #[test]
        fn no_digit_is_found_whatever_surrounds_it(bytes in any::<[u8; 8]>()) {
            let found = no_digits(u64::from_le_bytes(bytes)).to_le_bytes();
            prop_assert_eq!(found, bytes.map(|byte| if byte.is_ascii_digit() { 0 } else { 0x80 }));
        }

        #[test]
        fn no_bytes_panic_at_any_place(bytes in prop::collection::vec(any::<u8>(), 0..40), at in 0..2000_usize) {
            let symbols = SymbolCache::new(crate::model::SymbolTable::new(1));
            let mut spare = Spare::default();
            let at = Cursor { at, ..Cursor::new(window(&bytes, &mut spare)) };
            let _ = (at.clone().next_key(), at.clone().int(), at.clone().price(), at.clone().size_text());
            let _ = (at.clone().id_text(), at.clone().plain_text(), at.clone().known_symbol(&symbols));
            let _ = (at.clone().byte(), at.clone().millis(), at.clone().eat(b"0123456789"));
        }
    }

    #[test]
    fn keys_are_read_with_their_colon() {
        let both = |at: &mut Cursor<'_>| Some((at.next_key()?, at.int()?, at.next_key()?));
        let (keys, rest) = read(b",\"trfi\":1,\"p\":,\"sym", both).unwrap();
        assert_eq!((keys, rest), ((key("trfi"), 1, key("p")), &b",\"sym"[..]));
        for bad in [&b",\"\":1"[..], b",\"trfis\":1", b",\"p\" :1", b"{\"p\":1", b", \"p\":1", b",\"p\"", b""]
        {
            assert_eq!(read(bad, |at| at.next_key()), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_goes_around_the_window_is_void() {
        let text = b",1".repeat(REACH);
        let mut spare = Spare::default();
        let mut at = Cursor::new(window(&text, &mut spare));
        let mut steps = 0;
        loop {
            let before = at;
            assert!(at.eat(b",1"));
            if at.came_on(before).is_none() {
                break;
            }
            steps += 1;
        }
        assert_eq!((steps, at.place()), (REACH / 2, None));
        assert!(at.came_on(at).is_none());
    }

    #[test]
    fn a_key_twice_is_told() {
        let mut seen = Seen::default();
        (0..4).for_each(|bit| seen.mark(1 << bit));
        assert!(seen.end_pass().is_some() && seen.has(0b1111) && !seen.has(1 << 4));
        seen.mark(1 << 4);
        assert!(!seen.has(1 << 4) && seen.end_pass().is_some() && seen.has(0b1_1111));
        seen.mark(1 << 2);
        assert!(seen.end_pass().is_none());
    }
}
