//! Binance's trades and best quotes straight from the bytes, where a message is written the way the venue's machines write it.
//!
//! It takes a message or leaves it as it is, and takes only what becomes a tick: see [`massive_scan`](super::massive_scan), whose
//! rules are the same.

use crate::model::{NOTIONAL_MAX, Price, Size, SymbolCache, SymbolId, Tick, TradeId, UnixNanos};

use super::field::Context;
use super::scan::{Cursor, Seen, Spare, Times, key, window};

const BUYER: u32 = key("b");
const SELLER: u32 = key("a");
const EVENT_TIME: u32 = key("E");
const FIRST: u32 = key("f");
const LAST: u32 = key("l");
const MAKER: u32 = key("m");
const BEST: u32 = key("M");
const PRICE: u32 = key("p");
const SIZE: u32 = key("q");
const SYMBOL: u32 = key("s");
const TIME: u32 = key("T");
const TRADE_ID: u32 = key("t");
const KIND: u32 = key("X");
const UPDATE: u32 = key("u");
const BID: u32 = key("b");
const BID_SIZE: u32 = key("B");
const ASK: u32 = key("a");
const ASK_SIZE: u32 = key("A");

/// Reads the message if it is one good trade, aggregated trade or best quote in the usual form; else does nothing.
#[inline]
pub fn scan(
    text: &[u8],
    spare: &mut Spare,
    received: UnixNanos,
    cx: &mut Context<'_>,
    out: &mut Vec<Tick>,
) -> bool {
    let times = Times::of(cx);
    let at = Cursor::new(window(text, spare));
    let mut scan = Scan { at, symbols: cx.symbols, times, received, source: cx.source };
    let Some(tick) = scan.message(text.len()) else { return false };
    cx.tallies.record_many(tick.kind(), 1);
    out.push(tick);
    true
}

struct Scan<'a> {
    at: Cursor<'a>,
    symbols: &'a SymbolCache,
    times: Times,
    received: UnixNanos,
    source: u8,
}

impl Scan<'_> {
    fn message(&mut self, bytes: usize) -> Option<Tick> {
        let combined = self.at.eat(b"{\"stream\":\"");
        if combined {
            self.at.plain_text()?;
            self.at.expect(b",\"data\":")?;
        }
        let tick = if self.at.eat(b"{\"e\":\"trade\"") {
            self.trade(false)?
        } else if self.at.eat(b"{\"e\":\"aggTrade\"") {
            self.trade(true)?
        } else if self.at.eat(b"{\"e\":\"bookTicker\"") {
            self.quote()?
        } else {
            // Spot's best quote, which names no event.
            self.at.expect(b"{\"u\":")?;
            self.at.int()?;
            self.quote()?
        };
        if combined {
            self.at.expect(b"}")?;
        }
        (self.at.place()? == bytes).then_some(tick)
    }

    fn trade(&mut self, aggregated: bool) -> Option<Tick> {
        let mut seen = Seen::default();
        let (mut symbol, mut price, mut size) = (SymbolId(0), Price(0), Size(0));
        let (mut at, mut id) = (UnixNanos(0), 0);
        let id_key = if aggregated { SELLER } else { TRADE_ID };
        while !self.at.eat(b"}") {
            let before = self.at;
            match self.at.next_key()? {
                SYMBOL => {
                    seen.mark(1);
                    symbol = self.symbol()?;
                }
                PRICE => {
                    seen.mark(1 << 1);
                    price = self.at.price_text().filter(|price| price.0 > 0)?;
                }
                SIZE => {
                    seen.mark(1 << 2);
                    size = self.at.size_text()?;
                }
                TIME => {
                    seen.mark(1 << 3);
                    at = self.times.at(self.at.millis()?)?;
                }
                there if there == id_key => {
                    seen.mark(1 << 4);
                    id = self.at.int()?;
                }
                KIND => {
                    seen.mark(1 << 5);
                    self.at.expect(b"\"MARKET\"")?;
                }
                EVENT_TIME | TRADE_ID | BUYER | SELLER | FIRST | LAST => drop(self.at.int()?),
                MAKER | BEST => {
                    if !self.at.eat(b"true") {
                        self.at.expect(b"false")?;
                    }
                }
                _ => return None,
            }
            seen.end_pass()?;
            self.at.came_on(before)?;
        }
        if !seen.has(0b1_1111) {
            return None;
        }
        if price.times(size).0 > NOTIONAL_MAX {
            return None;
        }
        let mut tick = Tick::trade(symbol, at, self.received, price, size)
            .with_id(TradeId::from_u64(id))
            .with_contiguous_sequence(id);
        tick.source = self.source;
        Some(if aggregated { tick.into_aggregated() } else { tick })
    }

    fn quote(&mut self) -> Option<Tick> {
        let mut seen = Seen::default();
        let (mut bid, mut ask) = ((Price(0), Size(0)), (Price(0), Size(0)));
        let (mut symbol, mut time, mut event_time) = (SymbolId(0), None, None);
        while !self.at.eat(b"}") {
            let before = self.at;
            match self.at.next_key()? {
                SYMBOL => {
                    seen.mark(1);
                    symbol = self.symbol()?;
                }
                BID => {
                    seen.mark(1 << 1);
                    bid.0 = self.at.price_text()?;
                }
                BID_SIZE => {
                    seen.mark(1 << 2);
                    bid.1 = self.at.size_text()?;
                }
                ASK => {
                    seen.mark(1 << 3);
                    ask.0 = self.at.price_text()?;
                }
                ASK_SIZE => {
                    seen.mark(1 << 4);
                    ask.1 = self.at.size_text()?;
                }
                TIME => {
                    seen.mark(1 << 5);
                    time = Some(self.at.millis()?);
                }
                EVENT_TIME => {
                    seen.mark(1 << 6);
                    event_time = Some(self.at.millis()?);
                }
                UPDATE => drop(self.at.int()?),
                _ => return None,
            }
            seen.end_pass()?;
            self.at.came_on(before)?;
        }
        if !seen.has(0b1_1111) {
            return None;
        }
        if bid.0 == Price(0) && ask.0 == Price(0) {
            return None;
        }
        let at = match time.or(event_time) {
            Some(ms) => self.times.at(ms)?,
            None => self.received,
        };
        let mut tick = Tick::quote(symbol, at, self.received, bid, ask);
        tick.source = self.source;
        Some(tick)
    }

    #[inline]
    fn symbol(&mut self) -> Option<SymbolId> {
        self.at.expect(b"\"")?;
        self.at.known_symbol(self.symbols)
    }
}
