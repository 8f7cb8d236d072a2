//! Counting and timing without sharing: each stage owns its figures and hands them over in housekeeping.

use std::borrow::Cow;

use hdrhistogram::Histogram;

use crate::model::{Nanos, UnixNanos};

/// Longest latency told apart, ns: one minute.
const HIGHEST_NS: u64 = 60_000_000_000;

/// A latency histogram of three significant digits from 1 ns to a minute, owned by one stage.
pub struct Latency {
    name: &'static str,
    live: Histogram<u64>,
}

impl Latency {
    /// An empty one; the name says from where to where, such as `recv_to_parsed`.
    pub fn new(name: &'static str) -> Self {
        Self { name, live: empty() }
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
            report.latencies.push((self.name, std::mem::replace(&mut self.live, empty())));
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

/// One stage's figures at one moment.
pub struct Report {
    /// Which stage.
    pub stage: String,
    /// When.
    pub at: UnixNanos,
    /// Totals since start, and gauges.
    pub counters: Vec<(Cow<'static, str>, u64)>,
    /// What was recorded since the last report, ns.
    pub latencies: Vec<(&'static str, Histogram<u64>)>,
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

    /// Adds a counter.
    pub fn count(&mut self, name: impl Into<Cow<'static, str>>, value: u64) {
        self.counters.push((name.into(), value));
    }
}
