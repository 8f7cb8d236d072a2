//! What a run found, as text, as JSON, and as an interval log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use super::options::{Failure, Load};
use super::process::{Effort, Snapshot};
use super::tally::Tally;

/// With less of a processor left than this share, a thread of the load client may itself be what is measured.
const HEADROOM_MIN: f64 = 0.1;
/// From this share of the window on, waiting for a processor has coloured the latencies.
const STARVED: f64 = 0.05;

#[derive(Serialize)]
struct Latency {
    count: u64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    early: u64,
}

#[derive(Serialize)]
struct Thread {
    busy: f64,
    headroom: f64,
    waited: f64,
}

#[derive(Serialize)]
struct Server {
    cpu_s: f64,
    busy: f64,
    waited: f64,
    user_share: Option<f64>,
    us_per_frame: Option<f64>,
    rss_bytes: u64,
}

#[derive(Serialize)]
struct Sequences {
    checked: u64,
    missing: u64,
    repeats: u64,
}

#[derive(Serialize)]
struct Ends {
    closes: BTreeMap<u16, u64>,
    without_close: u64,
    broken: u64,
    slow_or_stopped: u64,
}

/// The result of a run. Shares are of the window: 1.0 is one processor for all of it.
#[derive(Serialize)]
pub struct Report {
    connections: usize,
    slow: usize,
    stopped: usize,
    duration_s: f64,
    connect_s: f64,
    frames: u64,
    frames_per_s: f64,
    bytes_per_s: f64,
    bytes_per_frame: Option<f64>,
    frames_per_read: Option<f64>,
    latency: Latency,
    sequences: Sequences,
    ends: Ends,
    slow_notices: u64,
    errors: u64,
    first_error: Option<String>,
    threads: Vec<Thread>,
    /// A thread of the client was busy all the time: the figures are its own as much as the server's.
    was_the_wall: bool,
    /// A thread of the client waited for a processor.
    was_starved: bool,
    server: Option<Server>,
}

fn per(value: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| value / count as f64)
}

impl Report {
    /// Of a load, what was counted, what each thread cost, and the server before and after the window.
    pub fn new(
        load: &Load,
        tally: &Tally,
        efforts: &[Effort],
        server: Option<(Snapshot, Snapshot)>,
        connect_s: f64,
    ) -> Self {
        let window_s = load.duration.as_secs_f64();
        let share = |ns: u64| ns as f64 / 1e9 / window_s;
        let all = tally.latency_total();
        let threads: Vec<_> = efforts
            .iter()
            .map(|effort| Thread {
                busy: share(effort.ran_ns),
                headroom: (1.0 - share(effort.ran_ns + effort.waited_ns)).max(0.0),
                waited: share(effort.waited_ns),
            })
            .collect();
        let server = server.map(|(before, after)| {
            let effort = after.effort - before.effort;
            let user = after.user_ticks.saturating_sub(before.user_ticks);
            let system = after.system_ticks.saturating_sub(before.system_ticks);
            Server {
                cpu_s: effort.ran_ns as f64 / 1e9,
                busy: share(effort.ran_ns),
                waited: share(effort.waited_ns),
                user_share: per(user as f64, user + system),
                us_per_frame: per(effort.ran_ns as f64 / 1e3, tally.frames),
                rss_bytes: after.rss_bytes,
            }
        });
        let [connections, slow, stopped] = load.counts;
        Self {
            connections,
            slow,
            stopped,
            duration_s: window_s,
            connect_s,
            frames: tally.frames,
            frames_per_s: tally.frames as f64 / window_s,
            bytes_per_s: tally.bytes as f64 / window_s,
            bytes_per_frame: per(tally.bytes as f64, tally.frames),
            frames_per_read: per(tally.frames as f64, tally.reads),
            latency: Latency {
                count: all.len(),
                mean_us: all.mean(),
                p50_us: all.value_at_quantile(0.5),
                p90_us: all.value_at_quantile(0.9),
                p99_us: all.value_at_quantile(0.99),
                p999_us: all.value_at_quantile(0.999),
                max_us: all.max(),
                early: tally.early,
            },
            sequences: Sequences { checked: tally.checked, missing: tally.missing, repeats: tally.repeats },
            ends: Ends {
                closes: tally.ends.closes.clone(),
                without_close: tally.ends.without_close,
                broken: tally.ends.broken,
                slow_or_stopped: tally.odd_ends,
            },
            slow_notices: tally.slow_notices,
            errors: tally.errors,
            first_error: tally.first_error.clone(),
            was_the_wall: threads.iter().any(|thread| thread.headroom < HEADROOM_MIN),
            was_starved: threads.iter().any(|thread| thread.waited > STARVED),
            threads,
            server,
        }
    }

    /// One JSON object on standard output.
    ///
    /// # Errors
    /// Where standard output is gone.
    pub fn print_json(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::Run(error.to_string()))?;
        writeln!(std::io::stdout(), "{text}")
            .map_err(|error| Failure::Run(format!("standard output: {error}")))
    }

    /// A table on standard output.
    pub fn print(&self) {
        let Self { latency, sequences, ends, .. } = self;
        // Whoever has stopped reading needs no more lines.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(
            out,
            "{} frames in {:.1} s: {:.0} frames/s, {:.1} MB/s, {:.0} bytes a frame",
            self.frames,
            self.duration_s,
            self.frames_per_s,
            self.bytes_per_s / 1e6,
            self.bytes_per_frame.unwrap_or_default()
        );
        let _ = writeln!(
            out,
            "latency from due, µs: p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  ({} messages)",
            latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us, latency.count
        );
        let _ = writeln!(
            out,
            "sequences: {} checked, {} facts missing, {} repeated; {} notices of slowness, {} errors",
            sequences.checked, sequences.missing, sequences.repeats, self.slow_notices, self.errors
        );
        let _ = writeln!(
            out,
            "ended: closes by code {:?}, {} without a close, {} broken, {} slow or stopped ones",
            ends.closes, ends.without_close, ends.broken, ends.slow_or_stopped
        );
        for (number, thread) in self.threads.iter().enumerate() {
            let _ = writeln!(
                out,
                "wsload thread {number}: {:.0} % busy, {:.0} % headroom, waited {:.0} % for a processor; {:.1} frames a read",
                thread.busy * 100.0,
                thread.headroom * 100.0,
                thread.waited * 100.0,
                self.frames_per_read.unwrap_or_default()
            );
        }
        if let Some(server) = &self.server {
            let _ = writeln!(
                out,
                "server: {:.0} % of a processor, {:.3} µs a frame, {:.0} % of it in its own code, waited {:.0} %, {:.1} MiB",
                server.busy * 100.0,
                server.us_per_frame.unwrap_or_default(),
                server.user_share.unwrap_or_default() * 100.0,
                server.waited * 100.0,
                server.rss_bytes as f64 / 1_048_576.0
            );
        }
    }

    /// Says on standard error what makes the figures doubtful.
    pub fn warn(&self) {
        if self.was_the_wall {
            eprintln!(
                "WARNING: wsload itself was the wall: less than {:.0} % headroom. The server may do better.",
                HEADROOM_MIN * 100.0
            );
        }
        if self.was_starved {
            eprintln!("WARNING: wsload waited for a processor: other work on it has coloured the latencies.");
        }
        if self.latency.early > 0 {
            eprintln!(
                "WARNING: {} messages came before they were due: two clocks differ.",
                self.latency.early
            );
        }
        if let Some(first) = &self.first_error {
            eprintln!("WARNING: the first error was: {first}");
        }
    }
}

/// Writes one line a second.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_interval_log(path: &Path, tally: &Tally, from_ns: i64) -> Result<(), Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::Run(format!("--hdr {}: {what}", path.display()));
    let mut file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
    let mut serializer = V2DeflateSerializer::new();
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(from_ns.max(0) as u64);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latency from when each message was due, us")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut file, &mut serializer)
        .map_err(|error| failed(&error))?;
    for (second, histogram) in tally.latencies.iter().enumerate() {
        let at = Duration::from_secs(second as u64);
        log.write_histogram(histogram, at, Duration::from_secs(1), Tag::new("due_to_read"))
            .map_err(|error| failed(&format!("{error:?}")))?;
    }
    file.flush().map_err(|error| failed(&error))
}
