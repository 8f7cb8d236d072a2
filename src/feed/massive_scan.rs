//! Massive's trades and quotes straight from the bytes, where a message is written the way the vendor's machines write it.
//!
//! It takes a whole message or nothing of it, and only one whose every record becomes a tick. So it has no rejects, no skips and no
//! rounding to get wrong: at the first surprise the general way reads the message from its beginning. A symbol that this
//! core has not seen is a surprise too, which leaves the table to the general way. Keys may come in any order behind `ev` and `sym`.

use crate::model::{NOTIONAL_MAX, Price, Size, SymbolCache, Tick, TradeId, UnixNanos, Venue};

use super::field::Context;
use super::scan::{Cursor, Seen, Times, key};

const C: u32 = key("c");
const I: u32 = key("i");
const P: u32 = key("p");
const PT: u32 = key("pt");
const Q: u32 = key("q");
const S: u32 = key("s");
const DS: u32 = key("ds");
const T: u32 = key("t");
const TRFI: u32 = key("trfi");
const TRFT: u32 = key("trft");
const X: u32 = key("x");
const Z: u32 = key("z");
const AP: u32 = key("ap");
const AS: u32 = key("as");
const AX: u32 = key("ax");
const BP: u32 = key("bp");
const BS: u32 = key("bs");
const BX: u32 = key("bx");

/// Reads the message if it is an array of nothing but good trades and quotes in the usual form; else does nothing.
#[inline]
pub fn scan(text: &[u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) -> bool {
    let before = out.len();
    let mut scan = Scan {
        at: Cursor::new(text),
        symbols: cx.symbols,
        now: cx.now,
        source: cx.source,
        times: Times::of(cx),
        conditions_cut: 0,
    };
    if scan.message(out).is_none() {
        out.truncate(before);
        return false;
    }
    cx.tallies.conditions_cut += scan.conditions_cut;
    cx.tallies.record_all(&out[before..]);
    true
}

struct Scan<'a> {
    at: Cursor<'a>,
    symbols: &'a SymbolCache,
    now: UnixNanos,
    source: u8,
    times: Times,
    conditions_cut: u64,
}

impl Scan<'_> {
    fn message(&mut self, out: &mut Vec<Tick>) -> Option<()> {
        self.at.expect(b"[")?;
        loop {
            let tick = if self.at.eat(b"{\"ev\":\"T\",\"sym\":\"") {
                self.trade()?
            } else {
                self.at.expect(b"{\"ev\":\"Q\",\"sym\":\"")?;
                self.quote()?
            };
            out.push(tick);
            if !self.at.eat(b",") {
                break;
            }
        }
        self.at.expect(b"]")?;
        self.at.is_done().then_some(())
    }

    #[inline]
    fn trade(&mut self) -> Option<Tick> {
        let symbol = self.at.known_symbol(self.symbols)?;
        let mut seen = Seen::default();
        let (mut price, mut size, mut decimal_size) = (Price(0), Size(0), None);
        let (mut at, mut sequence, mut id) = (UnixNanos(0), None, TradeId::NONE);
        let (mut venue, mut tape, mut trf, mut conditions) = (0, 0, 0, [0; 4]);
        while !self.at.eat(b"}") {
            match self.at.next_key()? {
                X => {
                    seen.once(1)?;
                    venue = self.at.byte()?;
                }
                I => {
                    seen.once(1 << 1)?;
                    id = self.at.id_text()?;
                }
                Z => {
                    seen.once(1 << 2)?;
                    tape = self.at.byte().filter(|&tape| tape <= 3)?;
                }
                P => {
                    seen.once(1 << 3)?;
                    price = self.at.price().filter(|price| price.0 > 0)?;
                }
                S => {
                    seen.once(1 << 4)?;
                    size = self.at.size()?;
                }
                DS => {
                    seen.once(1 << 5)?;
                    decimal_size = Some(self.at.size_text()?);
                }
                C => {
                    seen.once(1 << 6)?;
                    conditions = self.conditions()?;
                }
                T => {
                    seen.once(1 << 7)?;
                    at = self.times.at(self.at.millis()?)?;
                }
                Q => {
                    seen.once(1 << 8)?;
                    sequence = Some(self.at.int()?);
                }
                TRFI => {
                    seen.once(1 << 9)?;
                    trf = self.at.byte()?;
                }
                PT | TRFT => self.at.skip_int()?,
                _ => return None,
            }
        }
        // A price and a time; a size, one way or the other.
        seen.has(1 << 3 | 1 << 7)?;
        seen.has(1 << 4).or(decimal_size.map(drop))?;
        let size = decimal_size.unwrap_or(size);
        if price.times(size).0 > NOTIONAL_MAX {
            return None;
        }
        let mut tick = Tick::trade(symbol, at, self.now, price, size)
            .with_id(id)
            .with_venue(Venue(venue))
            .with_tape(tape);
        if let Some(sequence) = sequence {
            tick = tick.with_sequence(sequence);
        }
        tick.trf = trf;
        tick.source = self.source;
        tick.conditions = conditions;
        Some(tick)
    }

    #[inline]
    fn quote(&mut self) -> Option<Tick> {
        let symbol = self.at.known_symbol(self.symbols)?;
        let mut seen = Seen::default();
        let (mut bid, mut ask) = ((Price(0), Size(0)), (Price(0), Size(0)));
        let (mut bid_venue, mut ask_venue) = (0, 0);
        let (mut at, mut tape, mut conditions) = (UnixNanos(0), 0, [0; 4]);
        while !self.at.eat(b"}") {
            match self.at.next_key()? {
                BX => {
                    seen.once(1)?;
                    bid_venue = self.at.byte()?;
                }
                BP => {
                    seen.once(1 << 1)?;
                    bid.0 = self.at.price()?;
                }
                BS => {
                    seen.once(1 << 2)?;
                    bid.1 = self.at.size()?;
                }
                AX => {
                    seen.once(1 << 3)?;
                    ask_venue = self.at.byte()?;
                }
                AP => {
                    seen.once(1 << 4)?;
                    ask.0 = self.at.price()?;
                }
                AS => {
                    seen.once(1 << 5)?;
                    ask.1 = self.at.size()?;
                }
                C => {
                    seen.once(1 << 6)?;
                    let cut = self.conditions_cut;
                    conditions = self.conditions()?;
                    // Of a quote's codes nobody counts those that are left out.
                    self.conditions_cut = cut;
                }
                T => {
                    seen.once(1 << 7)?;
                    at = self.times.at(self.at.millis()?)?;
                }
                Z => {
                    seen.once(1 << 8)?;
                    tape = self.at.byte()?;
                }
                // Indicators, which are not kept.
                I => {
                    seen.once(1 << 9)?;
                    self.list(|at| at.skip_int())?;
                }
                Q => self.at.skip_int()?,
                _ => return None,
            }
        }
        seen.has(1 << 7)?;
        if bid.0 == Price(0) && ask.0 == Price(0) {
            return None;
        }
        let mut tick = Tick::quote(symbol, at, self.now, bid, ask)
            .with_quote_venues(Venue(bid_venue), Venue(ask_venue))
            .with_tape(tape);
        tick.source = self.source;
        tick.conditions = conditions;
        Some(tick)
    }

    /// Up to four codes, of an array or a number alone; 0 takes no place.
    #[inline]
    fn conditions(&mut self) -> Option<[u8; 4]> {
        let (mut codes, mut n) = ([0; 4], 0);
        self.list(|at| {
            match at.byte()? {
                0 => {}
                code => {
                    if let Some(slot) = codes.get_mut(n) {
                        *slot = code;
                    }
                    n += 1;
                }
            }
            Some(())
        })?;
        self.conditions_cut += u64::from(n > codes.len());
        Some(codes)
    }

    /// What `each` reads, in an array of any length, or one alone.
    #[inline]
    fn list(&mut self, mut each: impl FnMut(&mut Cursor<'_>) -> Option<()>) -> Option<()> {
        if !self.at.eat(b"[") {
            return each(&mut self.at);
        }
        if self.at.eat(b"]") {
            return Some(());
        }
        loop {
            each(&mut self.at)?;
            if !self.at.eat(b",") {
                return self.at.expect(b"]");
            }
        }
    }
}
