//! What a shard knows of a symbol now, and what it can still tell of before.

use bytemuck::Zeroable;

use crate::model::{BarFlags, BarState, Event, Quote, Reason, TickKind, Topic};

use super::super::record::Record;
use super::history::fact;
use super::{Candles, KeepTrades, NO_START};

impl Candles {
    /// The forming bar of a timeframe: of the interval that the last tick was in.
    pub fn forming(&self, symbol: u32, level: usize) -> Option<Event> {
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let at = &state.levels[level];
        // After the last touched bar has closed: what waits for its end, before what is dated ahead.
        let current = Some(hot.current.bar.start).filter(|&start| start != NO_START);
        let pending = Some(state.pending[level].start).filter(|&start| start != NO_START);
        let vendors = Some(state.vendor.forming.bar.start).filter(|&start| start != NO_START);
        let ahead = || state.others.front().map(|record| record.bar.start);
        let at_least = current.or(vendors).or(pending).or_else(ahead)?;
        let interval = self.grid(symbol).interval(level, at_least);
        let mut sum = Record::empty(interval.start);
        self.gather(symbol, level, interval.start, interval.end, &mut sum);
        let incomplete = self.is_incomplete(symbol, level, &sum);
        sum.flags =
            sum.flags.without(BarFlags::INCOMPLETE).with(incomplete).with(state.halts.flags(interval));
        sum.is_whole().then(|| {
            Event::bar(Topic::bars(state.id, level), BarState::Forming, at.sequence, &sum.shown())
                .at(sum.closed.ts_event, sum.ts_recv)
                .revision(0, Reason::None, sum.flags)
                .lasting(self.grid(symbol).odd_length_s(level, interval.start))
        })
    }

    /// The newest closed bar of a timeframe as it now stands, at the topic's last sequence.
    pub fn newest_closed(&self, symbol: u32, level: usize) -> Option<Event> {
        let state = &self.symbols[symbol as usize];
        let at = &state.levels[level];
        // Bars without a price were never published.
        let (_, record) = self.arena.backward(&at.bars).find(|(_, record)| record.sequence > 0)?;
        let length_s = self.grid(symbol).odd_length_s(level, record.bar.start);
        let mut event = fact(Topic::bars(state.id, level), record).lasting(length_s);
        event.sequence = at.sequence;
        Some(event)
    }

    /// The last fact of a timeframe.
    pub fn bar_sequence(&self, symbol: u32, level: usize) -> u64 {
        self.symbols[symbol as usize].levels[level].sequence
    }

    /// Fills `out` with the facts of a timeframe after `since`, in order. `false`: some of them are gone.
    pub fn replay_bars(&self, symbol: u32, level: usize, since: u64, out: &mut Vec<Event>) -> bool {
        out.clear();
        let state = &self.symbols[symbol as usize];
        let at = &state.levels[level];
        if since < at.floor || since > at.sequence {
            return false;
        }
        let topic = Topic::bars(state.id, level);
        let kept = self.arena.forward(&at.bars).chain(&at.superseded);
        let length_s = |record: &Record| self.grid(symbol).odd_length_s(level, record.bar.start);
        let facts = kept.filter(|record| record.sequence > since);
        out.extend(facts.map(|record| fact(topic, record).lasting(length_s(record))));
        out.sort_unstable_by_key(|event| event.sequence);
        out.len() as u64 == at.sequence - since
    }

    /// The last fact of a symbol's trades.
    pub fn trade_sequence(&self, symbol: u32) -> u64 {
        self.hot[symbol as usize].trades.sequence
    }

    /// Fills `out` with the trades topic's facts after `since`. `false`: some of them are gone.
    pub fn replay_trades(&self, symbol: u32, since: u64, out: &mut Vec<Event>) -> bool {
        out.clear();
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let complete = self.options.keep_trades == KeepTrades::All;
        if !complete || since < hot.trades.floor() || since > hot.trades.sequence {
            return false;
        }
        let topic = Topic::trades(state.id);
        let facts = self.log.replay(&hot.trades, since);
        out.extend(facts.map(|(sequence, tick)| Event::trade(topic, sequence, tick)));
        true
    }

    /// Fills `out` with the last kept trades of a symbol, oldest first, at most `most`. What was cancelled is not among them.
    pub fn last_trades(&self, symbol: u32, most: usize, out: &mut Vec<Event>) {
        out.clear();
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let topic = Topic::trades(state.id);
        let sales = self.log.backward(&hot.trades).filter(|(_, tick)| {
            matches!(tick.kind(), TickKind::Trade | TickKind::Correction | TickKind::AggregatedTrade)
                && !tick.is_cancelled()
        });
        out.extend(sales.take(most).map(|(sequence, tick)| Event::trade(topic, sequence, tick)));
        out.reverse();
    }

    /// The newest kept trade.
    pub fn newest_trade(&self, symbol: u32) -> Option<Event> {
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let tick = self.log.newest(&hot.trades)?;
        Some(Event::trade(Topic::trades(state.id), hot.trades.sequence, tick))
    }

    /// The top of the book.
    pub fn newest_quote(&self, symbol: u32) -> Option<Event> {
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let tick = state.quote?;
        let mut quote = Quote::zeroed();
        (quote.volume, quote.last) = (hot.day_volume, hot.last);
        (quote.bid, quote.bid_size) = (tick.price, tick.size);
        (quote.ask, quote.ask_size) = (tick.ask(), tick.ask_size());
        (quote.bid_venue, quote.ask_venue) = tick.quote_venues();
        (quote.tape, quote.conditions) = (tick.tape(), tick.conditions);
        Some(Event::quote(Topic::quotes(state.id), 0, &quote).at(tick.ts_event, tick.ts_recv))
    }
}
