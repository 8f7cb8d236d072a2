//! What the stages report, added up: latencies and counters to print at the end, and a standard HdrHistogram interval log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};

use crate::runtime::Report;
use crate::runtime::metrics::{Recorded, empty};

/// Everything reported so far.
#[derive(Default)]
pub struct Totals {
    latencies: BTreeMap<(String, &'static str), Histogram<u64>>,
    counters: BTreeMap<(String, String), u64>,
}

impl Totals {
    /// Adds one report.
    pub fn add(&mut self, report: &Report) {
        for Recorded { name, histogram, .. } in &report.latencies {
            let total = self.latencies.entry((report.stage.clone(), name)).or_insert_with(empty);
            // All histograms have one shape, so adding cannot fail.
            let _ = total.add(histogram);
        }
        for (name, value) in &report.counters {
            self.counters.insert((report.stage.clone(), name.to_string()), *value);
        }
    }

    /// A counter's last value.
    pub fn counter(&self, stage: &str, name: &str) -> Option<u64> {
        self.counters.get(&(stage.to_owned(), name.to_owned())).copied()
    }

    /// The counters that are not zero, a line a stage.
    pub fn ledger(&self) -> String {
        let mut out = String::new();
        let mut last = "";
        for ((stage, name), value) in self.counters.iter().filter(|(_, value)| **value > 0) {
            if stage != last {
                let _ = write!(out, "{}{stage}:", if last.is_empty() { "" } else { "\n" });
                last = stage;
            }
            let _ = write!(out, " {name}={value}");
        }
        out
    }

    /// A table of latencies in microseconds, then the counters that are not zero.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<12} {:<20} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "stage", "latency, µs", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for ((stage, name), histogram) in &self.latencies {
            let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
            let _ = writeln!(
                out,
                "{stage:<12} {name:<20} {:>12} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
                histogram.len(),
                us(0.5),
                us(0.9),
                us(0.99),
                us(0.999),
                histogram.max() as f64 / 1e3
            );
        }
        out.push_str(&self.ledger());
        out
    }
}

/// Calls `fill` with a writer of an interval log at `path`: the standard text format, one line per stage, latency and second.
///
/// # Errors
/// Where the file cannot be made or written.
pub fn with_interval_log<R>(path: &Path, fill: impl FnOnce(&mut IntervalLog<'_>) -> R) -> io::Result<R> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    let start = SystemTime::now();
    let writer = IntervalLogWriterBuilder::new()
        .add_comment("tickwire latencies, ns")
        .with_start_time(start)
        .begin_log_with(&mut file, &mut serializer)?;
    Ok(fill(&mut IntervalLog { writer, start }))
}

/// An interval log being written.
pub struct IntervalLog<'a> {
    writer: IntervalLogWriter<'a, 'a, BufWriter<File>, V2DeflateSerializer>,
    start: SystemTime,
}

impl IntervalLog<'_> {
    /// Writes a report's latencies, tagged `stage.latency`.
    pub fn add(&mut self, report: &Report) {
        let at = system_time(report.at.0);
        let end = at.duration_since(self.start).unwrap_or_default();
        let begin = end.saturating_sub(Duration::from_secs(1));
        for Recorded { name, histogram, .. } in &report.latencies {
            let tag = format!("{}.{name}", report.stage);
            // A full disk loses the log, never the engine.
            let _ = self.writer.write_histogram(histogram, begin, end - begin, Tag::new(&tag));
        }
    }
}

fn system_time(ns: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
