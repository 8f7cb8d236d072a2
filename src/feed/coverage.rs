//! Which symbols an open connection serves, over all the pools of one ingest stage.
//!
//! A symbol that nobody serves any more has a gap from then on; when somebody serves it again the gap ends, and its bars are
//! wished for. Lines of the same data share a symbol's cover: there is a gap only while neither has it. A symbol is served by the
//! strongest class of channel that any pool wants of it: quotes do not stand in for trades.

use std::collections::VecDeque;

use crate::model::{Nanos, RestWish, SymbolId, Tick, UnixNanos};
use crate::runtime::Report;

use super::session::Class;

/// How long a symbol that is wanted may go unserved before its bars are asked for: twice what survivors need to take over.
pub const POLL_AFTER: Nanos = Nanos::from_secs(4);
/// Wishes that may wait; one symbol seldom has two.
pub const WISHES_MAX: usize = 1 << 17;

/// Spans of service that are remembered of one symbol while an older connection seems to live: a few of each other line.
const SERVED_MAX: usize = 32;

/// One value for all pools of an ingest stage.
#[derive(Debug, Default)]
pub struct Coverage {
    symbols: Vec<Cover>,
    wishes: VecDeque<RestWish>,
    /// When to look whether a symbol is still unserved, in order of time.
    watches: VecDeque<(UnixNanos, SymbolId)>,
    gaps_opened: u64,
    gaps_closed: u64,
    polls: u64,
    wishes_dropped: u64,
}

/// Who serves: a source of the ingest stage, and a slot of its pool.
pub type Line = (u8, usize);

/// One symbol's cover.
#[derive(Debug, Clone)]
struct Cover {
    /// How many pools want it, by class.
    wanted: [u16; Class::COUNT],
    /// Which connections hold it, in what class and since when, in the venue's time. Few: one, or one for each line.
    held: Vec<(Line, usize, UnixNanos)>,
    /// Whether a class was ever held: before that, nothing can be missing from it.
    known: [bool; Class::COUNT],
    /// When connections that are gone served it, as far as that is later than `certain`.
    served: Vec<(UnixNanos, UnixNanos)>,
    /// Up to here it is settled when it was served and when not.
    certain: UnixNanos,
    gap: Option<UnixNanos>,
    /// Since when it is wanted and not served.
    unserved: Option<UnixNanos>,
    polled_by: Option<u8>,
    /// Who is asked for its bars meanwhile.
    source: u8,
}

impl Cover {
    /// The class that decides: the strongest that is wanted.
    fn class(&self) -> Option<usize> {
        (0..Class::COUNT).rev().find(|class| self.wanted[*class] > 0)
    }

    fn is_served(&self) -> bool {
        self.served_since().is_some()
    }

    /// Since when the first of those that serve it now does.
    fn served_since(&self) -> Option<UnixNanos> {
        let class = self.class()?;
        self.held.iter().filter(|(_, other, _)| *other == class).map(|(.., since)| *since).min()
    }

    fn had_been_served(&self) -> bool {
        self.known.iter().any(|known| *known) && self.class().is_none_or(|class| self.known[class])
    }
}

impl Coverage {
    /// A pool wants the symbol.
    pub fn want(&mut self, source: u8, symbol: SymbolId, class: Class, now: UnixNanos) {
        let cover = self.cover(symbol);
        cover.wanted[class as usize] += 1;
        cover.source = source;
        self.watch(symbol, now);
    }

    /// A pool wants the symbol no more. What it held of it is dropped separately. Where what is still wanted is served, a gap of
    /// what was wanted ends.
    pub fn unwant(&mut self, source: u8, symbol: SymbolId, class: Class, at: UnixNanos, out: &mut Vec<Tick>) {
        let cover = self.cover(symbol);
        let count = &mut cover.wanted[class as usize];
        *count = count.saturating_sub(1);
        if cover.class().is_none() {
            cover.unserved = None;
            self.stop_polling(symbol);
        } else {
            self.check_served(source, symbol, at, out);
        }
    }

    /// A connection serves the symbol from `at` on, in the venue's time. A gap that was open ends there.
    pub fn hold(&mut self, line: Line, symbol: SymbolId, class: Class, at: UnixNanos, out: &mut Vec<Tick>) {
        let source = line.0;
        let cover = self.cover(symbol);
        if !cover.held.iter().any(|(holder, other, _)| (*holder, *other) == (line, class as usize)) {
            cover.held.push((line, class as usize, at));
        }
        if !std::mem::replace(&mut cover.known[class as usize], true) && cover.gap.is_none() {
            cover.certain = cover.certain.max(at);
        }
        cover.source = source;
        self.check_served(source, symbol, at, out);
    }

    fn check_served(&mut self, source: u8, symbol: SymbolId, at: UnixNanos, out: &mut Vec<Tick>) {
        let cover = self.cover(symbol);
        if !cover.is_served() {
            return;
        }
        cover.unserved = None;
        if let Some(from) = cover.gap.take() {
            // Clocks are guesses, and a gap that ends where it began would never be ended.
            let to = at.max(from + Nanos(1));
            cover.certain = to;
            cover.served.clear();
            self.close_gap(source, symbol, from, to, out);
        }
        self.stop_polling(symbol);
    }

    fn close_gap(
        &mut self,
        source: u8,
        symbol: SymbolId,
        from: UnixNanos,
        to: UnixNanos,
        out: &mut Vec<Tick>,
    ) {
        let mut tick = Tick::gap(symbol, from, to, to);
        tick.source = source;
        out.push(tick);
        self.gaps_closed += 1;
        self.wish(RestWish::Fill { source, symbol, from, to });
    }

    /// A connection serves the symbol no more; it did up to `until`, in the venue's time. Where it was the last, a gap opens. A
    /// connection is found dead long after it died: where others took the symbol up only after that, what lies between is a gap too.
    pub fn drop(
        &mut self,
        line: Line,
        symbol: SymbolId,
        class: Class,
        until: UnixNanos,
        now: UnixNanos,
        out: &mut Vec<Tick>,
    ) {
        let cover = self.cover(symbol);
        let holder =
            |(holder, other, _): &(Line, usize, UnixNanos)| (*holder, *other) == (line, class as usize);
        let Some(at) = cover.held.iter().position(holder) else { return };
        let (.., since) = cover.held.swap_remove(at);
        if cover.class().is_none_or(|deciding| deciding == class as usize) {
            if cover.served.len() >= SERVED_MAX {
                // To forget when it was served is to tell of a gap too many, never of one too few.
                cover.served.remove(0);
            }
            cover.served.push((since, until.max(since)));
        }
        self.tell_gaps(line.0, symbol, now, out);
    }

    /// A connection leaves the symbol, as it was told to, having served it up to `until`. Where another serves it, that has taken
    /// over without a hole: the caller has seen to it that both were heard at one time.
    pub fn leave(
        &mut self,
        line: Line,
        symbol: SymbolId,
        class: Class,
        until: UnixNanos,
        now: UnixNanos,
        out: &mut Vec<Tick>,
    ) {
        let others =
            |(holder, other, _): &&(Line, usize, UnixNanos)| *other == class as usize && *holder != line;
        let taken_over = self.cover(symbol).held.iter().filter(others).map(|(.., since)| *since).min();
        self.drop(line, symbol, class, taken_over.map_or(until, |since| since.max(until)), now, out);
    }

    /// Tells of each gap that is certain: no connection that still lives, or seems to, can have served it.
    fn tell_gaps(&mut self, source: u8, symbol: SymbolId, now: UnixNanos, out: &mut Vec<Tick>) {
        loop {
            let cover = self.cover(symbol);
            let serving = cover.served_since();
            if cover.gap.is_some() || serving.is_some_and(|since| since <= cover.certain) {
                return;
            }
            let certain = cover.certain;
            if let Some(at) = cover.served.iter().position(|(since, _)| *since <= certain) {
                let (_, until) = cover.served.swap_remove(at);
                cover.certain = certain.max(until);
                continue;
            }
            let next = cover.served.iter().map(|(since, _)| *since).chain(serving).min();
            match next {
                Some(next) => {
                    cover.certain = next;
                    self.gaps_opened += 1;
                    self.close_gap(source, symbol, certain, next, out);
                }
                None => {
                    if cover.had_been_served() {
                        cover.gap = Some(certain);
                        let mut tick = Tick::gap(symbol, certain, UnixNanos::MAX, now);
                        tick.source = source;
                        out.push(tick);
                        self.gaps_opened += 1;
                        self.watch(symbol, now);
                    }
                    return;
                }
            }
        }
    }

    /// Whether somebody serves the symbol.
    pub fn is_served(&self, symbol: SymbolId) -> bool {
        self.symbols.get(symbol.index()).is_some_and(Cover::is_served)
    }

    /// What the REST thread is to do next.
    pub fn next_wish(&mut self) -> Option<RestWish> {
        self.wishes.pop_front()
    }

    /// When [`on_time`](Self::on_time) has something to do.
    pub fn deadline(&self) -> Option<UnixNanos> {
        self.watches.front().map(|(at, _)| *at)
    }

    /// Wishes for the bars of what is unserved for too long. Call it once a turn, after the pools.
    pub fn on_time(&mut self, now: UnixNanos) {
        while let Some(&(at, symbol)) = self.watches.front()
            && at <= now
        {
            self.watches.pop_front();
            let cover = self.cover(symbol);
            let due = cover.unserved.is_some_and(|since| now.since(since) >= POLL_AFTER);
            if due && cover.polled_by.is_none() {
                let source = cover.source;
                cover.polled_by = Some(source);
                self.polls += 1;
                self.wish(RestWish::Poll { source, symbol, on: true });
            }
        }
    }

    /// Adds its counters.
    pub fn hand_over(&self, report: &mut Report) {
        if self.symbols.is_empty() {
            return;
        }
        let served = self.symbols.iter().filter(|cover| cover.is_served()).count();
        let unserved = self.symbols.iter().filter(|cover| cover.unserved.is_some()).count();
        report.count("coverage.symbols_served", served as u64);
        report.count("coverage.symbols_unserved", unserved as u64);
        report.count("coverage.gaps_opened", self.gaps_opened);
        report.count("coverage.gaps_closed", self.gaps_closed);
        report.count("coverage.polls", self.polls);
        report.count("coverage.wishes_waiting", self.wishes.len() as u64);
        report.count("coverage.wishes_dropped", self.wishes_dropped);
    }

    fn cover(&mut self, symbol: SymbolId) -> &mut Cover {
        let at = symbol.index();
        if self.symbols.len() <= at {
            let nobody = Cover {
                wanted: [0; Class::COUNT],
                held: Vec::new(),
                known: [false; Class::COUNT],
                served: Vec::new(),
                certain: UnixNanos::MIN,
                gap: None,
                unserved: None,
                polled_by: None,
                source: 0,
            };
            self.symbols.resize(at + 1, nobody);
        }
        &mut self.symbols[at]
    }

    /// Looks again later, where the symbol is wanted and unserved.
    fn watch(&mut self, symbol: SymbolId, now: UnixNanos) {
        let cover = self.cover(symbol);
        if cover.class().is_some() && !cover.is_served() && cover.unserved.is_none() {
            cover.unserved = Some(now);
            self.watches.push_back((now + POLL_AFTER, symbol));
        }
    }

    fn stop_polling(&mut self, symbol: SymbolId) {
        if let Some(source) = self.cover(symbol).polled_by.take() {
            self.wish(RestWish::Poll { source, symbol, on: false });
        }
    }

    fn wish(&mut self, wish: RestWish) {
        if self.wishes.len() < WISHES_MAX {
            self.wishes.push_back(wish);
        } else {
            self.wishes_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TickKind;
    use proptest::prelude::*;

    const S: SymbolId = SymbolId(3);

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * 1_000_000_000)
    }

    /// Gaps as (from, to).
    fn gaps(ticks: &[Tick]) -> Vec<(UnixNanos, UnixNanos)> {
        assert!(ticks.iter().all(|tick| tick.kind() == TickKind::Gap && tick.symbol == S));
        ticks.iter().map(|tick| (tick.gap_start(), tick.ts_event)).collect()
    }

    #[test]
    fn a_gap_is_exactly_from_the_last_line_lost_to_the_first_back() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        for source in [0, 1] {
            coverage.want(source, S, Class::Trades, at(0));
            coverage.hold((source, 0), S, Class::Trades, at(1), &mut out);
        }
        coverage.drop((0, 0), S, Class::Trades, at(10), at(16), &mut out);
        assert!(out.is_empty() && coverage.is_served(S));
        // The second had been silent for longer than the first when it was given up.
        coverage.drop((1, 0), S, Class::Trades, at(9), at(17), &mut out);
        assert_eq!(gaps(&out), [(at(10), UnixNanos::MAX)]);
        coverage.hold((1, 0), S, Class::Trades, at(18), &mut out);
        assert_eq!(gaps(&out)[1..], [(at(10), at(18))]);
        let fill = RestWish::Fill { source: 1, symbol: S, from: at(10), to: at(18) };
        assert_eq!((coverage.next_wish(), coverage.next_wish()), (Some(fill), None));
    }

    #[test]
    fn a_gap_that_by_a_skewed_clock_ends_before_it_began_is_ended_all_the_same() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        coverage.want(0, S, Class::Trades, at(0));
        coverage.hold((0, 0), S, Class::Trades, at(1), &mut out);
        coverage.drop((0, 0), S, Class::Trades, at(10), at(16), &mut out);
        coverage.hold((0, 0), S, Class::Trades, at(9), &mut out);
        assert_eq!(gaps(&out), [(at(10), UnixNanos::MAX), (at(10), at(10) + Nanos(1))]);
    }

    #[test]
    fn a_line_found_dead_after_another_came_back_leaves_what_lay_between_as_a_gap() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        for source in [0, 1] {
            coverage.want(source, S, Class::Trades, at(0));
        }
        coverage.hold((0, 0), S, Class::Trades, at(1), &mut out);
        // The first died at 10, the second came at 12, the first was given up at 16.
        coverage.hold((1, 0), S, Class::Trades, at(12), &mut out);
        coverage.drop((0, 0), S, Class::Trades, at(10), at(16), &mut out);
        assert_eq!(gaps(&out), [(at(10), at(12))]);
        coverage.hold((0, 0), S, Class::Trades, at(17), &mut out);
        coverage.drop((0, 0), S, Class::Trades, at(18), at(24), &mut out);
        assert_eq!(out.len(), 1, "the second had it all the time");
    }

    #[test]
    fn quotes_do_not_stand_in_for_trades() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        coverage.want(0, S, Class::Trades, at(0));
        coverage.want(1, S, Class::Quotes, at(0));
        coverage.hold((0, 0), S, Class::Trades, at(1), &mut out);
        coverage.hold((1, 0), S, Class::Quotes, at(1), &mut out);
        coverage.drop((0, 0), S, Class::Trades, at(5), at(6), &mut out);
        assert_eq!(gaps(&out), [(at(5), UnixNanos::MAX)]);
    }

    #[test]
    fn what_nobody_serves_is_polled_until_somebody_does() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        coverage.want(4, S, Class::Trades, at(0));
        assert_eq!(coverage.deadline(), Some(at(0) + POLL_AFTER));
        coverage.on_time(at(3));
        assert_eq!(coverage.next_wish(), None);
        coverage.on_time(at(4));
        assert_eq!(coverage.next_wish(), Some(RestWish::Poll { source: 4, symbol: S, on: true }));
        coverage.hold((2, 0), S, Class::Trades, at(9), &mut out);
        assert_eq!(coverage.next_wish(), Some(RestWish::Poll { source: 4, symbol: S, on: false }));
        assert!(out.is_empty(), "nothing is missing from what was never there");
        // A loss that is made good in time asks for nothing but the gap.
        coverage.drop((2, 0), S, Class::Trades, at(20), at(20), &mut out);
        coverage.hold((2, 0), S, Class::Trades, at(21), &mut out);
        coverage.on_time(at(60));
        let wishes: Vec<_> = std::iter::from_fn(|| coverage.next_wish()).collect();
        assert_eq!(wishes, [RestWish::Fill { source: 2, symbol: S, from: at(20), to: at(21) }]);
    }

    #[test]
    fn what_is_unwanted_is_not_polled_and_its_return_is_a_gap() {
        let mut coverage = Coverage::default();
        let mut out = Vec::new();
        coverage.want(0, S, Class::Bars, at(0));
        coverage.hold((0, 0), S, Class::Bars, at(1), &mut out);
        coverage.unwant(0, S, Class::Bars, at(5), &mut out);
        coverage.drop((0, 0), S, Class::Bars, at(5), at(5), &mut out);
        coverage.on_time(at(100));
        assert_eq!(coverage.next_wish(), None);
        coverage.want(0, S, Class::Bars, at(200));
        coverage.hold((0, 0), S, Class::Bars, at(201), &mut out);
        assert_eq!(gaps(&out), [(at(5), UnixNanos::MAX), (at(5), at(201))]);
    }

    proptest! {
        /// Lines come and go, and each is found dead some time after it died.
        #[test]
        fn gaps_are_the_time_that_no_line_had(
            steps in prop::collection::vec((0..3_usize, 1..5_i64, 0..12_i64), 1..60),
        ) {
            let mut coverage = Coverage::default();
            let mut out = Vec::new();
            let mut lines = [None; 3];
            for source in 0..3 {
                coverage.want(source, S, Class::Trades, at(0));
            }
            let (mut now, mut served) = (0, Vec::new());
            let all = (0..3).map(|line| (line, 1, 0));
            for (line, wait, lag) in steps.into_iter().chain(all.clone()).chain(all) {
                now += wait;
                match lines[line].take() {
                    None => {
                        lines[line] = Some(now);
                        coverage.hold((line as u8, 0), S, Class::Trades, at(now), &mut out);
                    }
                    Some(since) => {
                        let until = (now - lag).max(since);
                        served.push((since, until));
                        coverage.drop((line as u8, 0), S, Class::Trades, at(until), at(now), &mut out);
                    }
                }
                prop_assert_eq!(coverage.is_served(S), lines.iter().any(Option::is_some));
            }
            // One that stays ends whatever gap there is, and those that came before it are all told by then.
            for (line, held) in lines.iter_mut().enumerate() {
                if let Some(since) = held.take() {
                    served.push((since, now));
                    coverage.drop((line as u8, 0), S, Class::Trades, at(now), at(now), &mut out);
                }
            }
            coverage.hold((3, 0), S, Class::Trades, at(now + 9), &mut out);
            served.push((now + 9, now + 9));
            served.sort_unstable();
            let (mut end, mut expected) = (served[0].0, Vec::new());
            for (since, until) in served {
                if since > end {
                    expected.push((at(end), at(since)));
                }
                end = end.max(until);
            }
            let mut told = gaps(&out);
            // One that was told open-ended is told again with its end.
            told.retain(|(_, to)| *to < UnixNanos::MAX);
            told.sort_unstable();
            prop_assert_eq!(told, expected);
        }
    }
}
