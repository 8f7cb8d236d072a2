//! Counting and timing without sharing: each stage owns its figures and hands them over in housekeeping.

use std::borrow::Cow;

use crossbeam_channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;

use crate::model::{Nanos, UnixNanos};

/// An enum of counters: each variant with the name that reports call it by, and what it counts.
macro_rules! counters {
    ($(#[$about:meta])* enum $counters:ident; $($variant:ident $name:literal $doc:literal,)*) => {
        $(#[$about])*
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $counters {
            $(#[doc = $doc] $variant,)*
        }

        impl $counters {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What counters and notes call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}
pub(crate) use counters;

/// Longest latency told apart, ns: one minute.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Histograms of one latency that may be on their way back at a time.
const SPARES_MAX: usize = 4;

/// A latency histogram of three significant digits from 1 ns to a minute, owned by one stage.
pub struct Latency {
    name: &'static str,
    live: Histogram<u64>,
    /// Emptied ones come back here, so that none is made once the engine is warm.
    spares: Receiver<Histogram<u64>>,
    home: Sender<Histogram<u64>>,
}

/// What was recorded of one latency in one period.
pub struct Recorded {
    /// From where to where.
    pub name: &'static str,
    /// The spans, ns.
    pub histogram: Histogram<u64>,
    home: Sender<Histogram<u64>>,
}

impl Latency {
    /// An empty one; the name says from where to where, such as `recv_to_parsed`.
    pub fn new(name: &'static str) -> Self {
        let (home, spares) = bounded(SPARES_MAX);
        // The first to be swapped in.
        let _ = home.try_send(empty());
        Self { name, live: empty(), spares, home }
    }

    /// Records the time from `from` to `to`. A negative one, which two clocks could show, counts as 0.
    #[inline]
    pub fn record(&mut self, from: UnixNanos, to: UnixNanos) {
        self.record_n(to - from, 1);
    }

    /// Records the same span for `n` items.
    #[inline]
    pub fn record_n(&mut self, span: Nanos, n: u64) {
        self.live.saturating_record_n(span.0.max(0) as u64, n);
    }

    /// Swaps it out into the report.
    pub fn hand_over(&mut self, report: &mut Report) {
        if !self.live.is_empty() {
            let fresh = self.spares.try_recv().unwrap_or_else(|_| empty());
            let histogram = std::mem::replace(&mut self.live, fresh);
            report.latencies.push(Recorded { name: self.name, histogram, home: self.home.clone() });
        }
    }
}

/// An empty histogram of the one shape that all share, so that any two can be added.
pub fn empty() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, HIGHEST_NS, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("constant bounds within what the crate takes"),
    }
}

/// Notes that one source may make each second.
const NOTES_PER_SECOND: u32 = 5;

/// Lines for the log at a bounded rate, as whoever sends bad input decides how many there are to write.
#[derive(Debug)]
pub struct Notes {
    lines: Vec<String>,
    since: UnixNanos,
    made: u32,
    left_out: u64,
}

impl Default for Notes {
    fn default() -> Self {
        Self { lines: Vec::new(), since: UnixNanos::MIN, made: 0, left_out: 0 }
    }
}

impl Notes {
    /// Adds one, unless this second has had its own: then it is counted.
    pub fn add(&mut self, now: UnixNanos, note: impl FnOnce() -> String) {
        if now.since(self.since) >= Nanos::from_secs(1) {
            self.since = now;
            self.made = 0;
        }
        if self.made < NOTES_PER_SECOND {
            self.made += 1;
            self.lines.push(note());
        } else {
            self.left_out += 1;
        }
    }

    /// How many were left out since start.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Those made since the last call.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

/// One stage's figures at one moment.
pub struct Report {
    /// Which stage.
    pub stage: String,
    /// When.
    pub at: UnixNanos,
    /// Totals since start, and gauges.
    pub counters: Vec<(Cow<'static, str>, u64)>,
    /// What was recorded since the last report, ns.
    pub latencies: Vec<Recorded>,
    /// Lines for the log: samples of what was rejected, at a bounded rate.
    pub notes: Vec<String>,
    /// The stage has finished.
    pub last: bool,
}

impl Report {
    /// An empty report.
    pub fn new(stage: &str, at: UnixNanos) -> Self {
        Self {
            stage: stage.to_owned(),
            at,
            counters: Vec::new(),
            latencies: Vec::new(),
            notes: Vec::new(),
            last: false,
        }
    }

    /// Ends the report, and gives its histograms back to whom they came from.
    pub fn give_back(self) {
        for Recorded { mut histogram, home, .. } in self.latencies {
            histogram.reset();
            // Who has ended, or has enough of them, wants none.
            let _ = home.try_send(histogram);
        }
    }

    /// Adds a counter.
    pub fn count(&mut self, name: impl Into<Cow<'static, str>>, value: u64) {
        self.counters.push((name.into(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_given_back_is_empty_and_used_again() {
        let mut latency = Latency::new("there_to_here");
        for period in 1..=6_u64 {
            latency.record_n(Nanos(period as i64), period);
            let mut report = Report::new("x", UnixNanos(0));
            latency.hand_over(&mut report);
            let recorded = &report.latencies[0];
            assert_eq!((recorded.histogram.len(), recorded.histogram.max()), (period, period));
            report.give_back();
            assert_eq!(latency.spares.len(), 1, "two are in turn, and no third is made");
        }
    }
}
