//! What one thread counts, and the latencies inside the measured window.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::frames::{Broken, Frame};
use super::message::{Keys, Kind, kind};
use super::sequences::{Seen, Sequences};

/// Latencies above this count as this, µs.
pub const LATENCY_US_MAX: u64 = 120_000_000;
const NANOS_PER_S: i64 = 1_000_000_000;

/// Latencies to three digits, µs.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the constructor takes; should it not, an unbounded one serves too.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| histogram_of_any_range())
}

fn histogram_of_any_range() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|error| unreachable!("three digits are allowed: {error}"))
}

/// From when to when is measured, ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant.
    pub from: i64,
    /// The first one after.
    pub to: i64,
}

impl Window {
    /// Not yet known.
    pub const NEVER: Self = Self { from: i64::MAX, to: i64::MAX };

    const fn holds(self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}

/// How connections ended that nobody here ended.
#[derive(Debug, Default, Clone)]
pub struct Ends {
    /// Close frames, by code; 1005 is none given.
    pub closes: BTreeMap<u16, u64>,
    /// The server ended the stream without a close frame.
    pub without_close: u64,
    /// Connections refused, or failed before the handshake was complete.
    pub failed: u64,
    /// A frame that a server may not send.
    pub broken: u64,
}

/// Everything counted.
pub struct Tally {
    /// Frames of data in the window.
    pub frames: u64,
    /// All bytes read in the window.
    pub bytes: u64,
    /// By second of the window.
    pub latencies: Vec<Histogram<u64>>,
    /// Messages in the window that came before they were due: two clocks are at work.
    pub early: u64,
    /// Facts that never came, of the connections checked.
    pub missing: u64,
    /// Facts that came twice.
    pub repeats: u64,
    /// Numbered messages checked.
    pub checked: u64,
    /// Notices that this client is slow.
    pub slow_notices: u64,
    /// Refused requests.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Ends of connections that read.
    pub ends: Ends,
    /// Ends of connections that read slowly or not at all.
    pub odd_ends: u64,
    /// Reads of the system.
    pub reads: u64,
    window: Window,
    keys: Keys,
}

/// What a frame asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Nothing.
    Nothing,
    /// One of its subscriptions was answered.
    Answered,
    /// One of its requests was refused.
    Refused,
    /// To send a pong.
    Pong,
    /// To end.
    Close,
}

impl Tally {
    /// For a window of so many seconds.
    pub fn new(seconds: usize, stamp: &str) -> Self {
        Self {
            frames: 0,
            bytes: 0,
            latencies: (0..seconds.max(1)).map(|_| histogram()).collect(),
            early: 0,
            missing: 0,
            repeats: 0,
            checked: 0,
            slow_notices: 0,
            errors: 0,
            first_error: None,
            ends: Ends::default(),
            odd_ends: 0,
            reads: 0,
            window: Window::NEVER,
            keys: Keys::new(stamp),
        }
    }

    /// What is counted from now on.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Bytes read at `now`.
    #[inline]
    pub fn read(&mut self, bytes: usize, now: i64) {
        if self.window.holds(now) {
            self.bytes += bytes as u64;
            self.reads += 1;
        }
    }

    /// A whole frame, which arrived at `now`. `sequences` are those of its connection, where they are checked.
    #[inline]
    pub fn frame(&mut self, frame: Frame<'_>, now: i64, sequences: Option<&mut Sequences>) -> Ask {
        match frame.opcode {
            1 => self.message(frame.head, now, sequences),
            0 | 2 => {
                self.frames += u64::from(self.window.holds(now));
                Ask::Nothing
            }
            8 => {
                let code = match *frame.head {
                    [a, b, ..] => u16::from_be_bytes([a, b]),
                    _ => 1005,
                };
                *self.ends.closes.entry(code).or_default() += 1;
                Ask::Close
            }
            9 => Ask::Pong,
            _ => Ask::Nothing,
        }
    }

    #[inline]
    fn message(&mut self, head: &[u8], now: i64, sequences: Option<&mut Sequences>) -> Ask {
        let inside = self.window.holds(now);
        self.frames += u64::from(inside);
        let kind = kind(head);
        match kind {
            Kind::Fact | Kind::State if inside => self.latency(head, now),
            Kind::Slow => self.slow_notices += 1,
            Kind::Error => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| String::from_utf8_lossy(head).into_owned());
                return Ask::Refused;
            }
            Kind::Subscribed => return Ask::Answered,
            _ => {}
        }
        if let Some(sequences) = sequences
            && matches!(kind, Kind::Fact | Kind::State | Kind::Bar | Kind::Snapshot)
            && let Some(topic) = self.keys.topic(head)
            && let Some(sequence) = self.keys.sequence.number(head)
        {
            self.checked += 1;
            match sequences.see(topic, kind, sequence.max(0) as u64) {
                Seen::Next => {}
                Seen::Gap(missing) => self.missing += missing,
                Seen::Repeat => self.repeats += 1,
            }
        }
        Ask::Nothing
    }

    #[inline]
    fn latency(&mut self, head: &[u8], now: i64) {
        let Some(due) = self.keys.stamp.number(head) else { return };
        let late_us = now / 1000 - due;
        if late_us < 0 {
            self.early += 1;
        }
        let second = ((now - self.window.from) / NANOS_PER_S) as usize;
        if let Some(histogram) = self.latencies.get_mut(second) {
            histogram.saturating_record(late_us.max(0) as u64);
        }
    }

    /// A frame that means nothing.
    pub fn broke(&mut self, why: Broken) {
        self.ends.broken += 1;
        self.first_error.get_or_insert_with(|| format!("a frame that a server may not send: {why:?}"));
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.early += other.early;
        self.missing += other.missing;
        self.repeats += other.repeats;
        self.checked += other.checked;
        self.slow_notices += other.slow_notices;
        self.errors += other.errors;
        self.odd_ends += other.odd_ends;
        self.reads += other.reads;
        self.ends.without_close += other.ends.without_close;
        self.ends.failed += other.ends.failed;
        self.ends.broken += other.ends.broken;
        for (&code, count) in &other.ends.closes {
            *self.ends.closes.entry(code).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        for (own, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            // Both have the same bounds, so all of it fits.
            let _ = own.add(theirs);
        }
    }

    /// All seconds together.
    pub fn latency_total(&self) -> Histogram<u64> {
        let mut all = histogram();
        for second in &self.latencies {
            let _ = all.add(second);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = NANOS_PER_S;

    fn trade(sequence: u64, due_us: i64) -> String {
        format!(
            r#"{{"type":"trade","channel":"trades","sequence":{sequence},"ts_event":{due_us},"data":{{"symbol":"A"}}}}"#
        )
    }

    fn take(tally: &mut Tally, text: &str, now: i64, sequences: Option<&mut Sequences>) -> Ask {
        tally.frame(Frame { opcode: 1, head: text.as_bytes() }, now, sequences)
    }

    #[test]
    fn latency_counts_from_when_a_message_was_due_and_only_in_the_window() {
        let mut tally = Tally::new(2, "ts_event");
        take(&mut tally, &trade(1, 0), 5 * S, None);
        tally.set_window(Window { from: 10 * S, to: 12 * S });
        // (arrival, due) in µs, and in which second of the window.
        for (arrived, due) in
            [(9_999_999, 0), (10_000_000, 9_000_000), (11_500_000, 11_499_900), (12_000_000, 0)]
        {
            take(&mut tally, &trade(1, due), arrived * 1000, None);
        }
        assert_eq!(tally.frames, 2);
        assert_eq!(tally.latencies.iter().map(Histogram::len).collect::<Vec<_>>(), [1, 1]);
        assert!(tally.latencies[0].equivalent(tally.latencies[0].max(), 1_000_000));
        assert_eq!(tally.latencies[1].max(), 100);
        assert_eq!(tally.latency_total().len(), 2);
    }

    #[test]
    fn a_message_before_its_time_is_counted_as_such() {
        let mut tally = Tally::new(1, "ts_event");
        tally.set_window(Window { from: 0, to: S });
        take(&mut tally, &trade(1, 10), 9_000, None);
        assert_eq!((tally.early, tally.latency_total().max()), (1, 0));
    }

    #[test]
    fn a_closed_bar_has_no_due_time() {
        let mut tally = Tally::new(1, "ts_event");
        tally.set_window(Window { from: 0, to: S });
        take(&mut tally, r#"{"type":"bar","ts_event":1,"data":{"state":"closed"}}"#, 9_000, None);
        assert_eq!((tally.frames, tally.latency_total().len()), (1, 0));
    }

    #[test]
    fn gaps_and_repeats_are_counted_where_they_are_checked() {
        let (mut tally, mut sequences) = (Tally::new(1, "ts_event"), Sequences::default());
        for sequence in [1, 2, 5, 5, 6] {
            take(&mut tally, &trade(sequence, 0), 1, Some(&mut sequences));
            take(&mut tally, &trade(sequence, 0), 1, None);
        }
        assert_eq!((tally.missing, tally.repeats, tally.checked), (2, 1, 5));
    }

    #[test]
    fn controls_ask_and_errors_are_shown() {
        let mut tally = Tally::new(1, "ts_event");
        let frame = |opcode, head| Frame { opcode, head };
        assert_eq!(tally.frame(frame(9, b"x"), 0, None), Ask::Pong);
        assert_eq!(tally.frame(frame(8, &[0x0f, 0xa8, b'!']), 0, None), Ask::Close);
        assert_eq!(tally.frame(frame(8, b""), 0, None), Ask::Close);
        assert_eq!(
            tally.ends.closes.iter().map(|(&c, &n)| (c, n)).collect::<Vec<_>>(),
            [(1005, 1), (4008, 1)]
        );
        assert_eq!(take(&mut tally, r#"{"type":"subscribed"}"#, 0, None), Ask::Answered);
        assert_eq!(take(&mut tally, r#"{"type":"error","code":"no"}"#, 0, None), Ask::Refused);
        assert_eq!(tally.first_error.as_deref(), Some(r#"{"type":"error","code":"no"}"#));
    }

    #[test]
    fn two_threads_add_up() {
        let make = || {
            let mut tally = Tally::new(2, "ts_event");
            tally.set_window(Window { from: 0, to: 2 * S });
            take(&mut tally, &trade(1, 0), 1_000, None);
            tally.frame(Frame { opcode: 8, head: &[3, 233] }, 0, None);
            tally
        };
        let mut both = make();
        both.add(&make());
        assert_eq!((both.frames, both.latency_total().len(), both.ends.closes[&1001]), (2, 2, 2));
    }
}
