//! A bar that a vendor made, on its way to the shard of its symbol as two ticks.

use bytemuck::Zeroable;

use super::bar::Bar;
use super::price::{Notional, Price, Size, Volume};
use super::symbol::SymbolId;
use super::tick::{Tick, TickKind};
use super::time::{Nanos, UnixNanos};

/// How a vendor's bar came to be here.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarOrigin {
    /// It was streamed.
    Live = 0,
    /// It was asked for, to fill a gap.
    Backfill = 1,
    /// It was asked for, as nothing is streamed now.
    Polled = 2,
}

/// A bar that a vendor made.
///
/// | offset | first tick, [`TickKind::BarHead`] | second tick, [`TickKind::BarTail`] |
/// |---|---|---|
/// | 0 | start | the same |
/// | 8 | `ts_recv` | the same |
/// | 16 | open | high |
/// | 24 | close | low |
/// | 32 | volume, 16 bytes | notional, 16 bytes |
/// | 48 | symbol | the same |
/// | 52 | origin; bits 0 closed, 1 has a notional; 0 | 0 |
/// | 55 | source | the same |
/// | 60 | length in seconds | trades; 0 where the vendor does not count them |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamBar {
    /// Whose bar it is.
    pub symbol: SymbolId,
    /// Which source of this process it came from.
    pub source: u8,
    /// How it came.
    pub origin: BarOrigin,
    /// Its length in seconds.
    pub seconds: u32,
    /// The vendor will not change it in the ordinary course of things.
    pub closed: bool,
    /// `bar.notional` is the vendor's, exact or from its vwap; else it is unknown and 0.
    pub has_notional: bool,
    /// When it was read here.
    pub ts_recv: UnixNanos,
    /// The numbers. At most 2^32 - 1 trades.
    pub bar: Bar,
}

const CLOSED: u8 = 1;
const HAS_NOTIONAL: u8 = 2;

impl UpstreamBar {
    /// When it ends.
    pub fn end(&self) -> UnixNanos {
        self.bar.start + Nanos::from_secs(i64::from(self.seconds))
    }

    /// The two ticks that carry it, to be sent one right after the other.
    pub fn to_ticks(&self) -> [Tick; 2] {
        let Bar { volume, notional, start, open, high, low, close, trades } = self.bar;
        let flags = (u8::from(self.closed) * CLOSED) | (u8::from(self.has_notional) * HAS_NOTIONAL);
        let common = Tick {
            ts_event: start,
            ts_recv: self.ts_recv,
            symbol: self.symbol,
            source: self.source,
            ..Tick::zeroed()
        };
        let head = Tick {
            kind: TickKind::BarHead as u8,
            price: open,
            size: Size(close.0 as u64),
            word_a: volume.0 as u64,
            word_b: (volume.0 >> 64) as u64,
            id_high: [self.origin as u8, flags, 0],
            conditions: self.seconds.to_le_bytes(),
            ..common
        };
        let tail = Tick {
            kind: TickKind::BarTail as u8,
            price: high,
            size: Size(low.0 as u64),
            word_a: notional.0 as u64,
            word_b: (notional.0 >> 64) as u64,
            conditions: u32::try_from(trades).unwrap_or(u32::MAX).to_le_bytes(),
            ..common
        };
        [head, tail]
    }

    /// The bar of two ticks; `None` where they are not the halves of one.
    pub fn from_ticks(head: &Tick, tail: &Tick) -> Option<Self> {
        let halves = head.kind() == TickKind::BarHead && tail.kind() == TickKind::BarTail;
        let same = (head.symbol, head.source, head.ts_event) == (tail.symbol, tail.source, tail.ts_event);
        if !halves || !same {
            return None;
        }
        let wide = |tick: &Tick| u128::from(tick.word_a) | u128::from(tick.word_b) << 64;
        let [origin, flags, _] = head.id_high;
        Some(Self {
            symbol: head.symbol,
            source: head.source,
            origin: match origin {
                0 => BarOrigin::Live,
                1 => BarOrigin::Backfill,
                _ => BarOrigin::Polled,
            },
            seconds: u32::from_le_bytes(head.conditions),
            closed: flags & CLOSED != 0,
            has_notional: flags & HAS_NOTIONAL != 0,
            ts_recv: head.ts_recv,
            bar: Bar {
                volume: Volume(wide(head)),
                notional: Notional(wide(tail) as i128),
                start: head.ts_event,
                open: head.price,
                high: tail.price,
                low: Price(tail.size.0 as i64),
                close: Price(head.size.0 as i64),
                trades: u64::from(u32::from_le_bytes(tail.conditions)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_ticks_carry_every_bar(
            numbers in any::<(u128, i128, i64, [i64; 4], u32, u32, bool, bool)>(),
            origin in 0..3_u8,
        ) {
            let (volume, notional, start, [open, high, low, close], trades, seconds, closed, has_notional) = numbers;
            let bar = UpstreamBar {
                symbol: SymbolId::ANY,
                source: 7,
                origin: [BarOrigin::Live, BarOrigin::Backfill, BarOrigin::Polled][usize::from(origin)],
                seconds,
                closed,
                has_notional,
                ts_recv: UnixNanos(5),
                bar: Bar {
                    volume: Volume(volume),
                    notional: Notional(notional),
                    start: UnixNanos(start),
                    open: Price(open),
                    high: Price(high),
                    low: Price(low),
                    close: Price(close),
                    trades: u64::from(trades),
                },
            };
            let [head, tail] = bar.to_ticks();
            prop_assert_eq!(UpstreamBar::from_ticks(&head, &tail), Some(bar));
            prop_assert_eq!(UpstreamBar::from_ticks(&tail, &head), None);
        }
    }
}
