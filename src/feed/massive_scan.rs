//! Massive's trades and quotes straight from the bytes, where a message is written the way the vendor's machines write it.
//!
//! It takes a whole message or nothing of it, and only one whose every record becomes a tick. So it has no rejects, no skips and no
//! rounding to get wrong: at the first surprise the general way reads the message from its beginning. A symbol that this
//! core has not seen is a surprise too, which leaves the table to the general way.
//!
//! Behind `ev` and `sym` keys are looked for in the vendor's order, from the first to the last. Where a record has them in this order,
//! whichever it leaves out, that is one pass without a choice to make; in another order it takes several.

use crate::model::{NOTIONAL_MAX, Price, Size, SymbolCache, Tick, TickKind, TradeId, UnixNanos, Venue};

use super::field::Context;
use super::scan::{Cursor, Seen, Spare, Times, window};

/// Reads the message if it is an array of nothing but good trades and quotes in the usual form; else does nothing.
#[inline]
pub fn scan(text: &[u8], spare: &mut Spare, cx: &mut Context<'_>, out: &mut Vec<Tick>) -> bool {
    let before = out.len();
    let mut scan = Scan {
        symbols: cx.symbols,
        now: cx.now,
        source: cx.source,
        times: Times::of(cx),
        trades: 0,
        conditions_cut: 0,
    };
    if scan.message(text, spare, out).is_none() {
        out.truncate(before);
        return false;
    }
    let Scan { trades, conditions_cut, .. } = scan;
    cx.tallies.conditions_cut += conditions_cut;
    cx.tallies.record_many(TickKind::Trade, trades);
    cx.tallies.record_many(TickKind::Quote, (out.len() - before) as u64 - trades);
    true
}

struct Scan<'a> {
    symbols: &'a SymbolCache,
    now: UnixNanos,
    source: u8,
    times: Times,
    trades: u64,
    conditions_cut: u64,
}

impl Scan<'_> {
    fn message(&mut self, text: &[u8], spare: &mut Spare, out: &mut Vec<Tick>) -> Option<()> {
        let mut rest = text.strip_prefix(b"[")?;
        loop {
            let tick;
            (tick, rest) = self.record(rest, spare)?;
            out.push(tick);
            match rest {
                [b',', more @ ..] => rest = more,
                b"]" => return Some(()),
                _ => return None,
            }
        }
    }

    /// One record, and what follows it.
    #[inline(always)]
    fn record<'t>(&mut self, text: &'t [u8], spare: &mut Spare) -> Option<(Tick, &'t [u8])> {
        let mut at = Cursor::new(window(text, spare));
        let tick = if at.eat(b"{\"ev\":\"T\",\"sym\":\"") {
            self.trades += 1;
            self.trade(&mut at)?
        } else {
            at.expect(b"{\"ev\":\"Q\",\"sym\":\"")?;
            self.quote(&mut at)?
        };
        Some((tick, text.get(at.place()?..)?))
    }

    #[inline(always)]
    fn trade(&mut self, at: &mut Cursor<'_>) -> Option<Tick> {
        const PRICE: u32 = 1 << 3;
        const SIZE: u32 = 1 << 4;
        const DECIMAL_SIZE: u32 = 1 << 5;
        const TIME: u32 = 1 << 7;
        const SEQUENCE: u32 = 1 << 8;
        let symbol = at.known_symbol(self.symbols)?;
        let mut seen = Seen::default();
        let (mut price, mut size, mut decimal_size) = (Price(0), Size(0), Size(0));
        let (mut time, mut sequence, mut id) = (UnixNanos(0), 0, TradeId::NONE);
        let (mut venue, mut tape, mut trf, mut conditions) = (0, 0, 0, [0; 4]);
        loop {
            let before = *at;
            if at.eat(b",\"x\":") {
                seen.mark(1);
                venue = at.byte()?;
            }
            if at.eat(b",\"i\":\"") {
                seen.mark(1 << 1);
                id = at.id_text()?;
            }
            if at.eat(b",\"z\":") {
                seen.mark(1 << 2);
                tape = at.byte().filter(|&tape| tape <= 3)?;
            }
            if at.eat(b",\"p\":") {
                seen.mark(PRICE);
                price = at.price().filter(|price| price.0 > 0)?;
            }
            if at.eat(b",\"s\":") {
                seen.mark(SIZE);
                size = at.size()?;
            }
            if at.eat(b",\"ds\":") {
                seen.mark(DECIMAL_SIZE);
                decimal_size = at.size_text()?;
            }
            if at.eat(b",\"c\":") {
                seen.mark(1 << 6);
                let (codes, n) = conditions_of(at)?;
                conditions = codes;
                self.conditions_cut += u64::from(n > codes.len());
            }
            if at.eat(b",\"t\":") {
                seen.mark(TIME);
                time = self.times.at(at.millis()?)?;
            }
            if at.eat(b",\"pt\":") {
                at.int()?;
            }
            if at.eat(b",\"q\":") {
                seen.mark(SEQUENCE);
                sequence = at.int()?;
            }
            if at.eat(b",\"trfi\":") {
                seen.mark(1 << 9);
                trf = at.byte()?;
            }
            if at.eat(b",\"trft\":") {
                at.int()?;
            }
            let ended = at.eat(b"}");
            seen.end_pass()?;
            if ended {
                break;
            }
            at.came_on(before)?;
        }
        // A price and a time; a size, one way or the other.
        if !seen.has(PRICE | TIME) {
            return None;
        }
        if seen.has(DECIMAL_SIZE) {
            size = decimal_size;
        } else if !seen.has(SIZE) {
            return None;
        }
        if price.times(size).0 > NOTIONAL_MAX {
            return None;
        }
        let mut tick = Tick::trade(symbol, time, self.now, price, size)
            .with_id(id)
            .with_venue(Venue(venue))
            .with_tape(tape);
        if seen.has(SEQUENCE) {
            tick = tick.with_sequence(sequence);
        }
        tick.trf = trf;
        tick.source = self.source;
        tick.conditions = conditions;
        Some(tick)
    }

    #[inline(always)]
    fn quote(&mut self, at: &mut Cursor<'_>) -> Option<Tick> {
        const TIME: u32 = 1 << 8;
        let symbol = at.known_symbol(self.symbols)?;
        let mut seen = Seen::default();
        let (mut bid, mut ask) = ((Price(0), Size(0)), (Price(0), Size(0)));
        let (mut bid_venue, mut ask_venue) = (0, 0);
        let (mut time, mut tape, mut conditions) = (UnixNanos(0), 0, [0; 4]);
        loop {
            let before = *at;
            if at.eat(b",\"bx\":") {
                seen.mark(1);
                bid_venue = at.byte()?;
            }
            if at.eat(b",\"bp\":") {
                seen.mark(1 << 1);
                bid.0 = at.price()?;
            }
            if at.eat(b",\"bs\":") {
                seen.mark(1 << 2);
                bid.1 = at.size()?;
            }
            if at.eat(b",\"ax\":") {
                seen.mark(1 << 3);
                ask_venue = at.byte()?;
            }
            if at.eat(b",\"ap\":") {
                seen.mark(1 << 4);
                ask.0 = at.price()?;
            }
            if at.eat(b",\"as\":") {
                seen.mark(1 << 5);
                ask.1 = at.size()?;
            }
            if at.eat(b",\"c\":") {
                seen.mark(1 << 6);
                // Of a quote's codes nobody counts those that are left out.
                (conditions, _) = conditions_of(at)?;
            }
            // Indicators, which are not kept.
            if at.eat(b",\"i\":") {
                seen.mark(1 << 7);
                list(at, |at| at.int().map(drop))?;
            }
            if at.eat(b",\"t\":") {
                seen.mark(TIME);
                time = self.times.at(at.millis()?)?;
            }
            if at.eat(b",\"q\":") {
                at.int()?;
            }
            if at.eat(b",\"z\":") {
                seen.mark(1 << 9);
                tape = at.byte()?;
            }
            let ended = at.eat(b"}");
            seen.end_pass()?;
            if ended {
                break;
            }
            at.came_on(before)?;
        }
        if !seen.has(TIME) || (bid.0 == Price(0) && ask.0 == Price(0)) {
            return None;
        }
        let mut tick = Tick::quote(symbol, time, self.now, bid, ask)
            .with_quote_venues(Venue(bid_venue), Venue(ask_venue))
            .with_tape(tape);
        tick.source = self.source;
        tick.conditions = conditions;
        Some(tick)
    }
}

/// Up to four codes, of an array or a number alone, and how many there were; 0 takes no place.
#[inline(always)]
fn conditions_of(at: &mut Cursor<'_>) -> Option<([u8; 4], usize)> {
    let (mut codes, mut n) = ([0; 4], 0);
    list(at, |at| {
        let code = at.byte()?;
        if let Some(slot) = codes.get_mut(n) {
            // The next one takes the place of a 0.
            *slot = code;
        }
        n += usize::from(code != 0);
        Some(())
    })?;
    Some((codes, n))
}

/// What `each` reads, in an array of any length, or one alone.
#[inline(always)]
fn list(at: &mut Cursor<'_>, mut each: impl FnMut(&mut Cursor<'_>) -> Option<()>) -> Option<()> {
    if !at.eat(b"[") {
        return each(at);
    }
    if at.eat(b"]") {
        return Some(());
    }
    loop {
        let before = *at;
        each(at)?;
        if !at.eat(b",") {
            return at.expect(b"]");
        }
        at.came_on(before)?;
    }
}
