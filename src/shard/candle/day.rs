//! A symbol's day as the sum of its closed finest bars: exact in any order, and O(1) per bar.

use crate::model::calendar::Interval;
use crate::model::{Day, Event, UnixNanos};

use super::super::record::Record;

/// The day of the newest closed bar: of its symbol's calendar, or the UTC day.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Today {
    start: UnixNanos,
    end: UnixNanos,
    /// Start of the bar that opened the day.
    first: UnixNanos,
    sums: Day,
}

impl Today {
    /// A finest bar closed. One of a later day begins that day; one of an earlier day no longer counts.
    #[inline]
    pub(super) fn add(&mut self, record: &Record, day_of: impl FnOnce(UnixNanos) -> Interval) {
        let bar = &record.bar;
        if bar.start >= self.end {
            let Interval { start, end } = day_of(bar.start);
            *self = Self { start, end, first: UnixNanos::MAX, sums: Day::default() };
        }
        if bar.start < self.start {
            return;
        }
        self.sums.volume.0 += bar.volume.0;
        self.sums.notional.0 += bar.notional.0;
        if bar.start < self.first && record.is_whole() {
            (self.first, self.sums.open) = (bar.start, bar.open);
        }
    }

    /// A closed finest bar changed.
    pub(super) fn revise(&mut self, before: &Record, after: &Record) {
        let bar = &after.bar;
        if bar.start < self.start {
            return;
        }
        // What is taken away was added before.
        self.sums.volume.0 = self.sums.volume.0 + bar.volume.0 - before.bar.volume.0;
        self.sums.notional.0 += bar.notional.0 - before.bar.notional.0;
        if bar.start <= self.first && after.is_whole() {
            (self.first, self.sums.open) = (bar.start, bar.open);
        }
    }

    /// A vendor's bar took the place of closed finest bars, whose sum is `before`, or of none.
    pub(super) fn heal(
        &mut self,
        before: Option<&Record>,
        after: &Record,
        day_of: impl FnOnce(UnixNanos) -> Interval,
    ) {
        match before {
            Some(before) => self.revise(before, after),
            None => self.add(after, day_of),
        }
    }

    /// What precedes `fact`. A revision may be of the day before: then there is nothing to say, and no volume.
    pub(super) fn event(&self, fact: &Event) -> Event {
        let sums = if fact.as_bar().start < self.start { Day::default() } else { self.sums };
        Event::day(fact.topic, fact.sequence, &sums)
    }
}
