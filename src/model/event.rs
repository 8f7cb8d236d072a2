//! What a shard tells a gateway, in two cache lines.

use bytemuck::{Pod, Zeroable};

use super::bar::{Bar, BarFlags, BarState, Reason};
use super::calendar::MarketStatus;
use super::price::{Notional, Price, Size, Volume};
use super::tick::{Tick, Venue};
use super::time::{Nanos, UnixNanos};
use super::topic::Topic;

/// What an [`Event`] carries.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A forming bar: a state.
    BarForming = 0,
    /// A closed bar: a fact.
    BarClosed = 1,
    /// A revised bar: a fact.
    BarRevised = 2,
    /// A trade, cancel or correction: a fact.
    Trade = 3,
    /// Top of book: a state.
    Quote = 4,
    /// An answer begins. The `recovered` flag says whether history after `since` follows in full.
    AnswerBegin = 5,
    /// An answer ends; `sequence` is the topic's last. What follows on the ring is live.
    AnswerEnd = 6,
    /// Events were lost on the way to this gateway: ask again for every topic of this shard.
    Resync = 7,
    /// A wildcard's answer has covered every symbol there is.
    AnswerDone = 8,
    /// What a symbol's day is with the fact of bars that comes next: same topic, same sequence. Only where
    /// [`super::Ask::Days`] asked for it.
    Day = 9,
    /// Whether the market is open: a state.
    Status = 10,
}

/// A symbol's day by its closed finest bars: its calendar's day, or the UTC day. 80 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Day {
    /// Sum of sizes since the day began, 1e-8.
    pub volume: Volume,
    /// Sum of price times size since the day began, 1e-17.
    pub notional: Notional,
    /// Price of the first trade since the day began.
    pub open: Price,
    reserved: [u64; 5],
}

/// Top of book with the last trade beside it. 80 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Quote {
    /// Volume traded since the day began as far as seen, 1e-8.
    pub volume: Volume,
    /// Best bid; 0 where absent.
    pub bid: Price,
    /// Best ask; 0 where absent.
    pub ask: Price,
    /// Size at the bid.
    pub bid_size: Size,
    /// Size at the ask.
    pub ask_size: Size,
    /// Price of the last trade; 0 before the first.
    pub last: Price,
    /// Where the bid is.
    pub bid_venue: Venue,
    /// Where the ask is.
    pub ask_venue: Venue,
    /// The tape, 1 to 3 (A, B, C); 0 where unknown.
    pub tape: u8,
    reserved: u8,
    /// Condition codes, or a mask, as the feed has them.
    pub conditions: [u8; 4],
    reserved_words: [u64; 2],
}

/// One message from a shard to a gateway. 128 bytes.
///
/// | offset | field |
/// |---|---|
/// | 0 | topic |
/// | 8 | sequence: the topic's last fact, this one if it is a fact |
/// | 16 | `ts_event`, ns: the newest tick in it, by the venue's clock |
/// | 24 | `ts_recv`, ns: the same tick, when it was read |
/// | 32 | request that it answers, 0 for a live event |
/// | 36 | revision |
/// | 40 | kind, bar flags, reason, 1 if recovered |
/// | 44 | of a bar whose interval is not as long as its timeframe: how long, s; otherwise 0 |
/// | 48 | [`Bar`], [`Quote`], [`Day`], [`MarketStatus`] or [`Tick`] |
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Event {
    /// Whose event it is.
    pub topic: Topic,
    /// The topic's last fact, or this fact.
    pub sequence: u64,
    /// Newest tick in it, by the venue's clock.
    pub ts_event: UnixNanos,
    /// When that tick was read.
    pub ts_recv: UnixNanos,
    /// Which [`super::Ask`] it answers; 0: live.
    pub request: u32,
    /// A bar's revision.
    pub rev: u32,
    kind: u8,
    /// A bar's flags.
    pub flags: BarFlags,
    reason: u8,
    recovered: u8,
    length_s: u32,
    body: [u64; 10],
}

const _: () = {
    assert!(size_of::<Event>() == 128 && size_of::<Quote>() == 80 && size_of::<Day>() == 80);
    assert!(std::mem::offset_of!(Event, kind) == 40);
    assert!(std::mem::offset_of!(Event, body) == 48);
};

impl Event {
    fn new(kind: EventKind, topic: Topic, sequence: u64) -> Self {
        Self { topic, sequence, kind: kind as u8, ..Self::zeroed() }
    }

    /// A bar in any state.
    #[inline]
    pub fn bar(topic: Topic, state: BarState, sequence: u64, bar: &Bar) -> Self {
        let kind = match state {
            BarState::Forming => EventKind::BarForming,
            BarState::Closed => EventKind::BarClosed,
            BarState::Revised => EventKind::BarRevised,
        };
        Self { body: bytemuck::must_cast(*bar), ..Self::new(kind, topic, sequence) }
    }

    /// A trade, cancel or correction.
    #[inline]
    pub fn trade(topic: Topic, sequence: u64, tick: &Tick) -> Self {
        let mut event = Self::new(EventKind::Trade, topic, sequence);
        event.ts_event = tick.ts_event;
        event.ts_recv = tick.ts_recv;
        bytemuck::cast_slice_mut::<u64, u8>(&mut event.body)[..64].copy_from_slice(bytemuck::bytes_of(tick));
        event
    }

    /// Top of book.
    #[inline]
    pub fn quote(topic: Topic, sequence: u64, quote: &Quote) -> Self {
        Self { body: bytemuck::must_cast(*quote), ..Self::new(EventKind::Quote, topic, sequence) }
    }

    /// A symbol's day, right before the fact of bars with the same topic and sequence.
    pub fn day(topic: Topic, sequence: u64, day: &Day) -> Self {
        Self { body: bytemuck::must_cast(*day), ..Self::new(EventKind::Day, topic, sequence) }
    }

    /// Whether the market is open.
    pub fn status(topic: Topic, status: &MarketStatus) -> Self {
        Self { body: bytemuck::must_cast(*status), ..Self::new(EventKind::Status, topic, 0) }
    }

    /// Begins the answer to `request`.
    pub fn answer_begin(topic: Topic, request: u32, recovered: bool) -> Self {
        Self { request, recovered: u8::from(recovered), ..Self::new(EventKind::AnswerBegin, topic, 0) }
    }

    /// Ends the answer to `request` at `sequence`.
    pub fn answer_end(topic: Topic, request: u32, sequence: u64) -> Self {
        Self { request, ..Self::new(EventKind::AnswerEnd, topic, sequence) }
    }

    /// A wildcard's answer is complete.
    pub fn answer_done(topic: Topic, request: u32) -> Self {
        Self { request, ..Self::new(EventKind::AnswerDone, topic, 0) }
    }

    /// Events to this gateway were lost.
    pub fn resync() -> Self {
        Self::new(EventKind::Resync, Topic::zeroed(), 0)
    }

    /// Says when the newest tick in it happened and was read.
    #[inline]
    #[must_use]
    pub fn at(mut self, ts_event: UnixNanos, ts_recv: UnixNanos) -> Self {
        self.ts_event = ts_event;
        self.ts_recv = ts_recv;
        self
    }

    /// A bar's revision, its reason and flags.
    #[inline]
    #[must_use]
    pub fn revision(mut self, rev: u32, reason: Reason, flags: BarFlags) -> Self {
        self.rev = rev;
        self.reason = reason as u8;
        self.flags = flags;
        self
    }

    /// Says that a bar's interval is so many seconds long and not as long as its timeframe; 0: it is.
    #[inline]
    #[must_use]
    pub fn lasting(mut self, length_s: u32) -> Self {
        self.length_s = length_s;
        self
    }

    /// When a bar of this timeframe ends.
    #[inline]
    pub fn bar_end(&self, timeframe: Nanos) -> UnixNanos {
        let length = if self.length_s == 0 { timeframe } else { Nanos::from_secs(i64::from(self.length_s)) };
        self.as_bar().start + length
    }

    /// Marks it as part of the answer to `request`.
    #[inline]
    #[must_use]
    pub fn answering(mut self, request: u32) -> Self {
        self.request = request;
        self
    }

    /// What it carries.
    #[inline]
    pub fn kind(&self) -> EventKind {
        match self.kind {
            0 => EventKind::BarForming,
            1 => EventKind::BarClosed,
            2 => EventKind::BarRevised,
            3 => EventKind::Trade,
            4 => EventKind::Quote,
            5 => EventKind::AnswerBegin,
            6 => EventKind::AnswerEnd,
            8 => EventKind::AnswerDone,
            9 => EventKind::Day,
            10 => EventKind::Status,
            _ => EventKind::Resync,
        }
    }

    /// Why a bar was revised.
    pub fn reason(&self) -> Reason {
        match self.reason {
            1 => Reason::Late,
            2 => Reason::Cancel,
            3 => Reason::Correct,
            4 => Reason::Backfill,
            5 => Reason::Gap,
            _ => Reason::None,
        }
    }

    /// Of an [`EventKind::AnswerBegin`]: everything after `since` follows.
    pub fn recovered(&self) -> bool {
        self.recovered != 0
    }

    /// Whether it has a sequence of its own and may never be dropped silently.
    #[inline]
    pub fn is_fact(&self) -> bool {
        matches!(self.kind(), EventKind::BarClosed | EventKind::BarRevised | EventKind::Trade)
    }

    /// The bar it carries.
    #[inline]
    pub fn as_bar(&self) -> Bar {
        bytemuck::must_cast(self.body)
    }

    /// The trade it carries.
    #[inline]
    pub fn as_trade(&self) -> Tick {
        bytemuck::pod_read_unaligned(&bytemuck::cast_slice::<u64, u8>(&self.body)[..64])
    }

    /// The quote it carries.
    #[inline]
    pub fn as_quote(&self) -> Quote {
        bytemuck::must_cast(self.body)
    }

    /// The market status it carries.
    pub fn as_status(&self) -> MarketStatus {
        bytemuck::must_cast(self.body)
    }

    /// The day it carries.
    #[inline]
    pub fn as_day(&self) -> Day {
        bytemuck::must_cast(self.body)
    }
}
