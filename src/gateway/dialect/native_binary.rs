//! Events of the native protocol as binary records, for subscriptions with `"format":"binary"`.
//!
//! A binary WebSocket message is one record or, where the subscription gathers (`throttle_ms`, `batch_ms`), several,
//! end to end. All integers are little-endian, times are nanoseconds since 1970 UTC, prices are in 1e-9 of the quote
//! currency, sizes and volumes in 1e-8. A record's length is a multiple of 8, and it can be read without any other. Every
//! record says what the JSON message of the same event says; replies and errors stay JSON in text messages.
//!
//! Fields may be added at a record's end, in bytes now reserved, and as further bits; then `version` stays. A reader must
//! go by `length` to the next record, and pass over schemas it does not know. A change of what is here raises `version`.
//!
//! Every record begins with a header of 80 bytes:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u16 | schema: 1 bar, 2 trade, 3 quote, 4 status |
//! | 2 | u16 | version: 1 |
//! | 4 | u32 | length of the record, header included, bytes |
//! | 8 | u64 | sequence of the topic's last fact, this one's if it is a fact |
//! | 16 | i64 | `ts_event`, by the venue's clock |
//! | 24 | i64 | `ts_recv`, when it was read |
//! | 32 | i64 | `ts_sent`, when it was encoded |
//! | 40 | u8 | channel: 0 bars, 1 trades, 2 quotes, 3 status |
//! | 41 | u8 | state. Of a bar: 0 forming, 1 closed, 2 revised. Of a trade: 0 trade, 1 cancel, 2 correction. Of a quote: 0. Of a status: 0 closed, 1 pre, 2 regular, 3 post, 4 holiday, 5 halted, 6 unknown |
//! | 42 | u8 | bit 0: a snapshot, which tells where a stream begins rather than what happened |
//! | 43 | u8 | length of the symbol, 1 to 32 |
//! | 44 | u32 | timeframe of a bar, seconds; otherwise 0 |
//! | 48 | 32 bytes | symbol, ASCII, zeros after it |
//!
//! A bar, 168 bytes:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 80 | i64 | start |
//! | 88 | i64 | end, not included |
//! | 96 | i64 | open |
//! | 104 | i64 | high |
//! | 112 | i64 | low |
//! | 120 | i64 | close |
//! | 128 | u128 | volume: the low 64 bits, then the high ones |
//! | 144 | i64 | vwap; the least i64, -2^63, where there is none |
//! | 152 | u64 | trades |
//! | 160 | u32 | revision |
//! | 164 | u8 | reason: 0 none, 1 late, 2 cancel, 3 correct, 4 backfill |
//! | 165 | u8 | flags: 1 incomplete, 2 synthetic, 4 halted, 8 refused |
//! | 166 | 2 bytes | 0 |
//!
//! A trade, cancel or correction, 144 bytes:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 80 | i64 | timestamp of the trade, by the venue's clock |
//! | 88 | i64 | price |
//! | 96 | u64 | size |
//! | 104 | u8 | exchange: a letter or a number |
//! | 105 | u8 | which of the two: 0 there is none, 1 a number, 2 an ASCII letter or digit |
//! | 106 | u8 | length of the trade id, 0 to 32; 0: it has none |
//! | 107 | u8 | 0 |
//! | 108 | 4 bytes | condition codes; 0 is none |
//! | 112 | 32 bytes | trade id, ASCII, zeros after it |
//!
//! A quote, 144 bytes:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 80 | i64 | bid |
//! | 88 | i64 | ask |
//! | 96 | u64 | bid size |
//! | 104 | u64 | ask size |
//! | 112 | i64 | last |
//! | 120 | u8 | which are there: bit 0 the bid and its size, 1 the ask and its size, 2 the last price |
//! | 121 | 7 bytes | 0 |
//! | 128 | u128 | volume |
//!
//! A status, 112 bytes; a time that is not known is the greatest i64, 2^63 - 1:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 80 | i64 | since when |
//! | 88 | i64 | next change |
//! | 96 | i64 | when the next regular session begins |
//! | 104 | i64 | when the regular session ends, this one or the next |
//!
//! `tools/tickwire.h` and `tools/tickwire_binary.py` read them.

use crate::model::{BarState, Event, EventKind, Price, Reason, TickKind, TradeId, Venue};

use super::Scene;

/// The only version there is.
pub const VERSION: u16 = 1;
/// Bytes before what differs by schema.
pub const HEADER_BYTES: usize = 80;
/// Bytes of a bar's record.
pub const BAR_BYTES: usize = 168;
/// Bytes of the record of a trade, cancel or correction.
pub const TRADE_BYTES: usize = 144;
/// Bytes of a quote's record.
pub const QUOTE_BYTES: usize = 144;
/// Bytes of a status' record.
pub const STATUS_BYTES: usize = 112;
/// What stands for no vwap: a bar without volume has none.
pub const NO_VWAP: i64 = i64::MIN;

const SCHEMA_BAR: u16 = 1;
const SCHEMA_TRADE: u16 = 2;
const SCHEMA_QUOTE: u16 = 3;
const SCHEMA_STATUS: u16 = 4;
/// A trade id's text is shorter: 27 digits at most.
const ID_BYTES: usize = 32;
const SYMBOL_BYTES: usize = 32;

/// Appends the record of an event; nothing for one that carries nothing for clients.
pub fn write(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    match event.kind() {
        EventKind::BarForming => bar(out, event, BarState::Forming, scene),
        EventKind::BarClosed => bar(out, event, BarState::Closed, scene),
        EventKind::BarRevised => bar(out, event, BarState::Revised, scene),
        EventKind::Trade => trade(out, event, scene),
        EventKind::Quote => quote(out, event, scene),
        EventKind::Status => status(out, event, scene),
        EventKind::AnswerBegin
        | EventKind::AnswerEnd
        | EventKind::Resync
        | EventKind::AnswerDone
        | EventKind::Day => {}
    }
}

#[inline]
fn put<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&bytes);
}

fn header(out: &mut Vec<u8>, schema: u16, length: usize, state: u8, event: &Event, scene: &Scene<'_>) {
    out.reserve(length);
    put(out, schema.to_le_bytes());
    put(out, VERSION.to_le_bytes());
    put(out, (length as u32).to_le_bytes());
    put(out, event.sequence.to_le_bytes());
    put(out, event.ts_event.0.to_le_bytes());
    put(out, event.ts_recv.0.to_le_bytes());
    put(out, scene.now.0.to_le_bytes());
    let name = scene.symbol.as_bytes();
    put(out, [event.topic.channel() as u8, state, u8::from(scene.snapshot), name.len() as u8]);
    let length = scene.timeframe(event.topic).filter(|_| schema == SCHEMA_BAR);
    put(out, length.map_or(0, |length| (length.nanos().0 / 1_000_000_000) as u32).to_le_bytes());
    let mut symbol = [0; SYMBOL_BYTES];
    symbol[..name.len()].copy_from_slice(name);
    put(out, symbol);
}

fn bar(out: &mut Vec<u8>, event: &Event, state: BarState, scene: &Scene<'_>) {
    header(out, SCHEMA_BAR, BAR_BYTES, state as u8, event, scene);
    let bar = event.as_bar();
    let end = scene.bar_end(event);
    put(out, bar.start.0.to_le_bytes());
    put(out, end.0.to_le_bytes());
    for Price(price) in [bar.open, bar.high, bar.low, bar.close] {
        put(out, price.to_le_bytes());
    }
    put(out, bar.volume.0.to_le_bytes());
    put(out, bar.vwap().map_or(NO_VWAP, |Price(vwap)| vwap).to_le_bytes());
    put(out, bar.trades.to_le_bytes());
    put(out, event.rev.to_le_bytes());
    let reason: Reason = event.reason();
    put(out, [reason as u8, event.flags.0, 0, 0]);
}

fn trade(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    let tick = event.as_trade();
    let state = match tick.kind() {
        TickKind::Cancel => 1,
        TickKind::Correction => 2,
        _ => 0,
    };
    header(out, SCHEMA_TRADE, TRADE_BYTES, state, event, scene);
    put(out, tick.ts_event.0.to_le_bytes());
    put(out, tick.price.0.to_le_bytes());
    put(out, tick.size.0.to_le_bytes());
    let Venue(venue) = tick.venue;
    let form = match tick.venue {
        Venue::NONE => 0,
        _ if tick.venue_is_letter() && venue.is_ascii_alphanumeric() => 2,
        _ => 1,
    };
    put(out, [venue, form, 0, 0]);
    let length_at = out.len() - 2;
    put(out, tick.conditions);
    let from = out.len();
    match tick.id() {
        TradeId::NONE => {}
        id => id.write(out),
    }
    out[length_at] = (out.len() - from) as u8;
    out.resize(from + ID_BYTES, 0);
}

fn status(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    let status = event.as_status();
    header(out, SCHEMA_STATUS, STATUS_BYTES, status.standing() as u8, event, scene);
    for at in [status.since, status.next_change, status.next_open, status.next_close] {
        put(out, at.0.to_le_bytes());
    }
}

fn quote(out: &mut Vec<u8>, event: &Event, scene: &Scene<'_>) {
    header(out, SCHEMA_QUOTE, QUOTE_BYTES, 0, event, scene);
    let quote = event.as_quote();
    let there = |price: Price, bit: u8| if price == Price(0) { 0 } else { 1 << bit };
    // A size without a price is nothing.
    let size = |price: Price, size: u64| if price == Price(0) { 0 } else { size };
    put(out, quote.bid.0.to_le_bytes());
    put(out, quote.ask.0.to_le_bytes());
    put(out, size(quote.bid, quote.bid_size.0).to_le_bytes());
    put(out, size(quote.ask, quote.ask_size.0).to_le_bytes());
    put(out, quote.last.0.to_le_bytes());
    put(out, [there(quote.bid, 0) | there(quote.ask, 1) | there(quote.last, 2), 0, 0, 0, 0, 0, 0, 0]);
    put(out, quote.volume.0.to_le_bytes());
}
