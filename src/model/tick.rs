//! One record from a feed, in one cache line.

use bytemuck::{Pod, Zeroable};

use super::price::{Price, Size};
use super::symbol::SymbolId;
use super::time::UnixNanos;

/// What a [`Tick`] records.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TickKind {
    /// A sale.
    Trade = 1,
    /// Top of book.
    Quote = 2,
    /// A sale taken back: names it by id.
    Cancel = 3,
    /// A sale whose price or size was wrong: names it by id and carries the right values.
    Correction = 4,
    /// Trading in the symbol stopped or resumed.
    Halt = 5,
    /// Ticks are known to be missing before this one.
    Gap = 6,
    /// Nothing earlier than `ts_event` will follow from this source; [`UnixNanos::MAX`] is the end of input.
    Watermark = 7,
    /// Several fills of one order told as one: it repeats trades that another stream tells one by one.
    AggregatedTrade = 8,
    /// First half of an [`UpstreamBar`](super::UpstreamBar); its second half is the next tick of its source.
    BarHead = 9,
    /// Second half of an [`UpstreamBar`](super::UpstreamBar).
    BarTail = 10,
}

/// How a trade id is held in [`Tick`].
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdForm {
    /// The trade has no id.
    None = 0,
    /// A decimal number below 2^88 without leading zeros.
    Number = 1,
    /// Up to 14 characters of `A-Z a-z 0-9 -`.
    Text = 2,
    /// Anything else: 88 bits of a hash, enough to find a duplicate, not enough to print the id.
    Digest = 3,
}

/// A trade id: unique within (venue, TRF, symbol, date).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TradeId {
    /// How `bits` are to be read.
    pub form: IdForm,
    /// At most 88 bits.
    pub bits: u128,
}

const ID_BITS: u32 = 88;
const ID_TEXT_MAX: usize = 14;
/// 2^88 has 27 digits.
const ID_DIGITS_MAX: usize = 27;

impl TradeId {
    /// No id.
    pub const NONE: Self = Self { form: IdForm::None, bits: 0 };

    /// From a number.
    pub fn from_u64(id: u64) -> Self {
        Self { form: IdForm::Number, bits: u128::from(id) }
    }

    /// From text as the feed has it. Empty text is no id.
    pub fn from_text(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::NONE;
        }
        // Most ids: 18 digits at most fit a word.
        if text.len() <= 18 && (text[0] != b'0' || text.len() == 1) && text.iter().all(u8::is_ascii_digit) {
            return Self::from_u64(text.iter().fold(0, |n, &b| n * 10 + u64::from(b - b'0')));
        }
        let canonical = text.len() <= ID_DIGITS_MAX && (text[0] != b'0' || text.len() == 1);
        if canonical && text.iter().all(u8::is_ascii_digit) {
            let bits = text.iter().fold(0u128, |n, &b| n * 10 + u128::from(b - b'0'));
            if bits >> ID_BITS == 0 {
                return Self { form: IdForm::Number, bits };
            }
        }
        if text.len() <= ID_TEXT_MAX {
            // Code 0 is the end, so a shorter text is a prefix of zeros and never equals a longer one.
            let packed = text.iter().try_fold(0u128, |n, &b| Some(n << 6 | u128::from(id_code(b)?)));
            if let Some(bits) = packed {
                return Self { form: IdForm::Text, bits };
            }
        }
        let low = text
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let high = text.iter().fold(0x84222325_u64, |h, &b| {
            (h.rotate_left(9) ^ u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        Self { form: IdForm::Digest, bits: (u128::from(high >> 40) << 64) | u128::from(low) }
    }

    /// Appends the id as text; a digest as `#` and 22 hex digits; nothing where there is no id.
    pub fn write(self, out: &mut Vec<u8>) {
        match self.form {
            IdForm::None => {}
            IdForm::Number => match u64::try_from(self.bits) {
                Ok(small) => super::decimal::write_u64(out, small),
                Err(_) => out.extend_from_slice(self.bits.to_string().as_bytes()),
            },
            IdForm::Text => {
                for place in (0..ID_TEXT_MAX).rev() {
                    let code = (self.bits >> (place * 6)) as u8 & 63;
                    if code != 0 {
                        out.push(ID_ALPHABET[usize::from(code) - 1]);
                    }
                }
            }
            IdForm::Digest => out.extend_from_slice(format!("#{:022x}", self.bits).as_bytes()),
        }
    }
}

const ID_ALPHABET: [u8; 63] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-";

fn id_code(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0' + 1,
        b'A'..=b'Z' => byte - b'A' + 11,
        b'a'..=b'z' => byte - b'a' + 37,
        b'-' => 63,
        _ => return None,
    })
}

/// A trading venue as the feed names it.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct Venue(pub u8);

impl Venue {
    /// Unknown.
    pub const NONE: Self = Self(0);
}

/// One record from a feed. 64 bytes, little-endian where it leaves the process.
///
/// A gap has its beginning, and a halt 1 or 0 for stopped or resumed, in the word at offset 32. The halves of a bar are laid out as
/// [`UpstreamBar`](super::UpstreamBar) says.
///
/// | offset | trade, aggregated trade, cancel, correction | quote |
/// |---|---|---|
/// | 0 | `ts_event`, ns since 1970 by the venue's clock | same |
/// | 8 | `ts_recv`, ns since 1970 by our clock | same |
/// | 16 | price, 1e-9 | bid, 1e-9 |
/// | 24 | size, 1e-8 | bid size, 1e-8 |
/// | 32 | venue sequence; of a correction: the numeric id of the corrected trade | ask, 1e-9 |
/// | 40 | trade id, low 64 bits | ask size, 1e-8 |
/// | 48 | symbol | same |
/// | 52 | trade id, high 24 bits | bid venue, ask venue, 0 |
/// | 55 | source: which feed of this process | same |
/// | 56 | venue | 0 |
/// | 57 | TRF id, 0 where not reported through one | 0 |
/// | 58 | kind | same |
/// | 59 | flags: bits 0–1 id form, 2–3 tape, 4 has a sequence, 5 venue is a letter, 6 cancelled, 7 contiguous | bit 5 |
/// | 60 | up to four condition codes, or a 32-bit mask, as the feed has it | same |
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Tick {
    /// When it happened, by the venue's clock.
    pub ts_event: UnixNanos,
    /// When it was read here, by our clock.
    pub ts_recv: UnixNanos,
    /// Trade price, or bid.
    pub price: Price,
    /// Trade size, or bid size.
    pub size: Size,
    pub(super) word_a: u64,
    pub(super) word_b: u64,
    /// Whose tick it is.
    pub symbol: SymbolId,
    pub(super) id_high: [u8; 3],
    /// Which source of this process it came from.
    pub source: u8,
    /// Where it traded.
    pub venue: Venue,
    /// The trade reporting facility, 0 where none.
    pub trf: u8,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Condition codes, or a mask, as the feed has them.
    pub conditions: [u8; 4],
}

const _: () = {
    assert!(size_of::<Tick>() == 64 && align_of::<Tick>() == 64);
    assert!(std::mem::offset_of!(Tick, word_a) == 32);
    assert!(std::mem::offset_of!(Tick, symbol) == 48);
    assert!(std::mem::offset_of!(Tick, source) == 55);
    assert!(std::mem::offset_of!(Tick, kind) == 58);
    assert!(std::mem::offset_of!(Tick, conditions) == 60);
};

const FLAG_ID_FORM: u8 = 0b11;
const FLAG_TAPE_SHIFT: u32 = 2;
const FLAG_SEQUENCE: u8 = 1 << 4;
const FLAG_VENUE_LETTER: u8 = 1 << 5;
const FLAG_CANCELLED: u8 = 1 << 6;
const FLAG_CONTIGUOUS: u8 = 1 << 7;

impl Tick {
    /// A trade without id, sequence, venue or conditions.
    #[inline]
    pub fn trade(
        symbol: SymbolId,
        ts_event: UnixNanos,
        ts_recv: UnixNanos,
        price: Price,
        size: Size,
    ) -> Self {
        Self { ts_event, ts_recv, price, size, symbol, kind: TickKind::Trade as u8, ..Self::zeroed() }
    }

    /// Top of book; a side that is absent has price 0.
    #[inline]
    pub fn quote(
        symbol: SymbolId,
        ts_event: UnixNanos,
        ts_recv: UnixNanos,
        (bid, bid_size): (Price, Size),
        (ask, ask_size): (Price, Size),
    ) -> Self {
        Self {
            ts_event,
            ts_recv,
            price: bid,
            size: bid_size,
            word_a: ask.0 as u64,
            word_b: ask_size.0,
            symbol,
            kind: TickKind::Quote as u8,
            ..Self::zeroed()
        }
    }

    /// Takes back the trade named `id`.
    pub fn cancel(symbol: SymbolId, ts_event: UnixNanos, ts_recv: UnixNanos, id: TradeId) -> Self {
        let tick = Self { ts_event, ts_recv, symbol, kind: TickKind::Cancel as u8, ..Self::zeroed() };
        tick.with_id(id)
    }

    /// Replaces price and size of the trade named `id`, which is known as `new_id` from then on (0: keeps its id).
    pub fn correction(
        symbol: SymbolId,
        ts_event: UnixNanos,
        ts_recv: UnixNanos,
        id: TradeId,
        new_id: u64,
        (price, size): (Price, Size),
    ) -> Self {
        let tick = Self {
            ts_event,
            ts_recv,
            price,
            size,
            word_a: new_id,
            symbol,
            kind: TickKind::Correction as u8,
            ..Self::zeroed()
        };
        tick.with_id(id)
    }

    /// Nothing earlier than `ts_event` will follow; [`UnixNanos::MAX`] ends the input.
    pub fn watermark(ts_event: UnixNanos) -> Self {
        Self { ts_event, kind: TickKind::Watermark as u8, symbol: SymbolId::ANY, ..Self::zeroed() }
    }

    /// Ticks of `symbol` (or of every symbol, [`SymbolId::ANY`]) are missing, or may be, in `[from, to)`.
    pub fn gap(symbol: SymbolId, from: UnixNanos, to: UnixNanos, ts_recv: UnixNanos) -> Self {
        Self {
            ts_event: to,
            ts_recv,
            word_a: from.0 as u64,
            symbol,
            kind: TickKind::Gap as u8,
            ..Self::zeroed()
        }
    }

    /// Trading in `symbol` stopped, or resumed.
    pub fn halt(symbol: SymbolId, ts_event: UnixNanos, ts_recv: UnixNanos, halted: bool) -> Self {
        Self {
            ts_event,
            ts_recv,
            word_a: u64::from(halted),
            symbol,
            kind: TickKind::Halt as u8,
            ..Self::zeroed()
        }
    }

    /// Makes a trade one that tells several fills as one.
    #[inline]
    #[must_use]
    pub fn into_aggregated(mut self) -> Self {
        self.kind = TickKind::AggregatedTrade as u8;
        self
    }

    /// Sets the trade id.
    #[inline]
    #[must_use]
    pub fn with_id(mut self, id: TradeId) -> Self {
        self.word_b = id.bits as u64;
        let high = (id.bits >> 64) as u32;
        self.id_high = [high as u8, (high >> 8) as u8, (high >> 16) as u8];
        self.flags = (self.flags & !FLAG_ID_FORM) | id.form as u8;
        self
    }

    /// Sets the venue's own sequence number.
    #[inline]
    #[must_use]
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.word_a = sequence;
        self.flags |= FLAG_SEQUENCE;
        self
    }

    /// Says that the venue numbers this symbol's trades (or aggregated trades) without a hole: after `n` comes `n + 1`.
    #[inline]
    #[must_use]
    pub fn with_contiguous_sequence(mut self, sequence: u64) -> Self {
        self.flags |= FLAG_CONTIGUOUS;
        self.with_sequence(sequence)
    }

    /// Sets the venue as a number.
    #[inline]
    #[must_use]
    pub fn with_venue(mut self, venue: Venue) -> Self {
        self.venue = venue;
        self
    }

    /// Sets the venue as a letter, as the US tapes name it.
    #[inline]
    #[must_use]
    pub fn with_venue_letter(mut self, letter: u8) -> Self {
        self.venue = Venue(letter);
        self.flags |= FLAG_VENUE_LETTER;
        self
    }

    /// Sets a quote's venues.
    #[inline]
    #[must_use]
    pub fn with_quote_venues(mut self, bid: Venue, ask: Venue) -> Self {
        self.id_high = [bid.0, ask.0, 0];
        self
    }

    /// Sets the tape, 1 to 3 (A, B, C).
    #[inline]
    #[must_use]
    pub fn with_tape(mut self, tape: u8) -> Self {
        self.flags |= (tape & 3) << FLAG_TAPE_SHIFT;
        self
    }

    /// What it records. An unknown byte reads as a gap: something is missing.
    #[inline]
    pub fn kind(&self) -> TickKind {
        match self.kind {
            1 => TickKind::Trade,
            2 => TickKind::Quote,
            3 => TickKind::Cancel,
            4 => TickKind::Correction,
            5 => TickKind::Halt,
            7 => TickKind::Watermark,
            8 => TickKind::AggregatedTrade,
            9 => TickKind::BarHead,
            10 => TickKind::BarTail,
            _ => TickKind::Gap,
        }
    }

    /// The number of what it records, as it lies in memory.
    #[inline]
    pub fn kind_number(&self) -> u8 {
        self.kind
    }

    /// The trade's id.
    #[inline]
    pub fn id(&self) -> TradeId {
        let form = match self.flags & FLAG_ID_FORM {
            0 => return TradeId::NONE,
            1 => IdForm::Number,
            2 => IdForm::Text,
            _ => IdForm::Digest,
        };
        let [a, b, c] = self.id_high.map(u128::from);
        TradeId { form, bits: u128::from(self.word_b) | (a | b << 8 | c << 16) << 64 }
    }

    /// The number of what it records and its flags: ticks of equal form have all the same parts, of the same sorts.
    #[inline]
    pub fn form(&self) -> u16 {
        // In one load, though the flags are read apart as well.
        let words: &[u32; 16] = bytemuck::cast_ref(self);
        (words[14].to_le() >> 16) as u16
    }

    /// Whether the trade has an id.
    #[inline]
    pub fn has_id(&self) -> bool {
        self.flags & FLAG_ID_FORM != 0
    }

    /// The low 64 bits of the trade's id.
    #[inline]
    pub(crate) fn low_id(&self) -> u64 {
        self.word_b
    }

    /// The venue's own sequence number.
    #[inline]
    pub fn sequence(&self) -> Option<u64> {
        (self.flags & FLAG_SEQUENCE != 0).then_some(self.word_a)
    }

    /// Whether the venue numbers without a hole.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.flags & FLAG_CONTIGUOUS != 0
    }

    /// Of a gap, when it begins.
    pub fn gap_start(&self) -> UnixNanos {
        UnixNanos(self.word_a as i64)
    }

    /// Of a halt, whether trading stopped; else it resumed.
    pub fn is_halted(&self) -> bool {
        self.word_a != 0
    }

    /// Where the tick stands among those of its `ts_event`: the venue's sequence, 0 where there is none.
    #[inline]
    pub fn rank(&self) -> u64 {
        if self.flags & FLAG_SEQUENCE != 0 { self.word_a } else { 0 }
    }

    /// [`Self::rank`] of a trade: one without a sequence has 0 in its place.
    #[inline]
    pub(crate) fn trade_rank(&self) -> u64 {
        debug_assert_eq!(self.word_a, self.rank(), "only for trades");
        self.word_a
    }

    /// The id a correction gives to the corrected trade.
    pub fn corrected_id(&self) -> TradeId {
        if self.word_a == 0 { self.id() } else { TradeId::from_u64(self.word_a) }
    }

    /// A quote's ask price.
    #[inline]
    pub fn ask(&self) -> Price {
        Price(self.word_a as i64)
    }

    /// A quote's ask size.
    #[inline]
    pub fn ask_size(&self) -> Size {
        Size(self.word_b)
    }

    /// A quote's venues, bid and ask.
    pub fn quote_venues(&self) -> (Venue, Venue) {
        (Venue(self.id_high[0]), Venue(self.id_high[1]))
    }

    /// Whether the venue is a letter rather than a number.
    pub fn venue_is_letter(&self) -> bool {
        self.flags & FLAG_VENUE_LETTER != 0
    }

    /// The tape, 1 to 3 (A, B, C), 0 where unknown.
    pub fn tape(&self) -> u8 {
        (self.flags >> FLAG_TAPE_SHIFT) & 3
    }

    /// Whether a later cancel or correction took this trade back.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.flags & FLAG_CANCELLED != 0
    }

    /// Marks the trade as taken back, or not.
    pub fn set_cancelled(&mut self, cancelled: bool) {
        self.flags = (self.flags & !FLAG_CANCELLED) | if cancelled { FLAG_CANCELLED } else { 0 };
    }
}
