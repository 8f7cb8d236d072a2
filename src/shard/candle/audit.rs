//! Vendors' bars beside ours: a free audit of the feed. They are compared when late trades have had their time.

use std::collections::VecDeque;

use crate::model::{Bar, BarFlags, Reason, SymbolId, UnixNanos, UpstreamBar};

use super::super::record::Record;
use super::{BuiltBy, Candles, NO_START, Sink, When};

/// Bars compared at one call, so that ticks get their turn.
const COMPARED_PER_CALL: usize = 1_024;

/// Bars that wait to be compared.
#[derive(Default)]
pub(super) struct Audits {
    waiting: VecDeque<Waiting>,
    /// The first difference since the last report.
    sample: Option<Difference>,
}

struct Waiting {
    /// By our clock.
    due: UnixNanos,
    symbol: u32,
    level: usize,
    bar: UpstreamBar,
}

/// A vendor's bar and ours that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub symbol: SymbolId,
    /// Of which timeframe.
    pub level: usize,
    /// The vendor's.
    pub theirs: UpstreamBar,
    /// Ours.
    pub ours: Bar,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let say = |bar: &Bar| {
            let mut text = Vec::new();
            for (name, price) in [("o", bar.open), ("h", bar.high), ("l", bar.low), ("c", bar.close)] {
                text.extend_from_slice(name.as_bytes());
                text.push(b' ');
                price.write(&mut text);
                text.push(b' ');
            }
            text.extend_from_slice(b"v ");
            bar.volume.write(&mut text);
            format!("{} n {}", String::from_utf8_lossy(&text), bar.trades)
        };
        let Self { symbol, theirs, ours, .. } = self;
        let (seconds, start) = (theirs.seconds, ours.start);
        let (ours, theirs) = (say(ours), say(&theirs.bar));
        write!(f, "bar of {seconds} s of symbol {} at {start}: ours {ours}; the vendor's {theirs}", symbol.0)
    }
}

impl Audits {
    pub(super) fn due(&self) -> Option<UnixNanos> {
        self.waiting.front().map(|waiting| waiting.due)
    }
}

impl Candles {
    /// Keeps a vendor's bar until ours has closed and late trades are in.
    pub(super) fn compare_later(
        &mut self,
        symbol: u32,
        level: usize,
        bar: &UpstreamBar,
        when: When,
        sink: &mut impl Sink,
    ) {
        if self.audits.waiting.len() >= self.options.audit_bars_max
            && let Some(oldest) = self.audits.waiting.pop_front()
        {
            self.tallies.audit.early += 1;
            self.settle(&oldest, sink);
        }
        let due = bar.end().plus(self.options.grace).plus(self.options.late_tolerance).minus(when.offset);
        self.audits.waiting.push_back(Waiting { due, symbol, level, bar: *bar });
    }

    /// Compares what is due by our clock.
    pub(super) fn fire_audits(&mut self, now: UnixNanos, sink: &mut impl Sink) -> usize {
        let mut compared = 0;
        while compared < COMPARED_PER_CALL && self.audits.due().is_some_and(|due| due <= now) {
            let Some(waiting) = self.audits.waiting.pop_front() else { break };
            self.settle(&waiting, sink);
            compared += 1;
        }
        compared
    }

    /// The end of input: nothing more will come late.
    pub(super) fn finish_audits(&mut self, sink: &mut impl Sink) {
        while let Some(waiting) = self.audits.waiting.pop_front() {
            self.settle(&waiting, sink);
        }
    }

    fn settle(&mut self, waiting: &Waiting, sink: &mut impl Sink) {
        let Waiting { symbol, level, bar, .. } = waiting;
        let (symbol, level, start) = (*symbol, *level, bar.bar.start);
        let state = &self.symbols[symbol as usize];
        let hot = &self.hot[symbol as usize];
        let at = &state.levels[level];
        let found = self.arena.backward(&at.bars).take_while(|(_, record)| record.bar.start >= start);
        let ours = found.map(|(_, record)| *record).find(|record| record.bar.start == start);
        let ours = ours.filter(Record::is_whole);
        // Where finer bars of the vendor build and did not all come, his own sum is better than ours.
        let lacks = ours.is_none_or(|ours| ours.flags.has(BarFlags::INCOMPLETE));
        let over = state.levels[level].closed_to > start && state.vendor.forming.bar.start == NO_START;
        let is_sealed = start < at.sealed_to || self.is_daily_sealed(symbol, level, start);
        if hot.built_by == BuiltBy::Bars && lacks && over && !is_sealed {
            self.tallies.upstream_healed += 1;
            self.make_room();
            self.put(symbol, level, bar, Reason::Backfill, sink);
            return;
        }
        self.compare(symbol, level, bar, ours.as_ref());
    }

    /// Counts in what a vendor's bar differs from ours.
    pub(super) fn compare(&mut self, symbol: u32, level: usize, theirs: &UpstreamBar, ours: Option<&Record>) {
        let audit = &mut self.tallies.audit;
        let state = &self.symbols[symbol as usize];
        // One without a price is none.
        let Some(ours) = ours.filter(|ours| ours.is_whole()) else {
            let oldest =
                self.arena.front(&state.levels[level].bars).map(|place| self.arena.get(place).bar.start);
            if oldest.is_some_and(|oldest| theirs.bar.start >= oldest) || state.levels[level].floor == 0 {
                audit.missing += 1;
            } else {
                audit.forgotten += 1;
            }
            return;
        };
        if ours.flags.has(BarFlags::INCOMPLETE) {
            audit.incomplete += 1;
            return;
        }
        let (a, b) = (&ours.bar, &theirs.bar);
        let counted = a.trades > 0 && b.trades > 0;
        let differs = [
            (a.open != b.open, &mut audit.open),
            (a.high != b.high, &mut audit.high),
            (a.low != b.low, &mut audit.low),
            (a.close != b.close, &mut audit.close),
            (a.volume != b.volume, &mut audit.volume),
            (counted && a.trades != b.trades, &mut audit.trades),
        ];
        let mut any = false;
        for (differs, count) in differs {
            *count += u64::from(differs);
            any |= differs;
        }
        audit.compared += 1;
        audit.same += u64::from(!any);
        if any && self.audits.sample.is_none() {
            self.audits.sample = Some(Difference { symbol: state.id, level, theirs: *theirs, ours: *a });
        }
    }

    /// One of the differences since it was last asked, for the log.
    pub fn take_difference(&mut self) -> Option<Difference> {
        self.audits.sample.take()
    }
}
