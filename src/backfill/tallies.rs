//! The ledger of one feed's REST side, and what it has to say.

use std::fmt::Display;

use crate::model::UnixNanos;
use crate::runtime::metrics::{Notes, counters};
use crate::runtime::{Latency, Report};

use super::answer::{Answer, Flaw};

counters! {
    /// What is counted.
    enum Count;

    Wishes "wishes" "Gaps that were to be filled.",
    Merged "wishes_merged" "Of them, such as waited already, in part or whole.",
    LeftOut "wishes_left_out" "Of them, such as found no room in the queue.",
    NoLength "wishes_no_length" "Wishes that the vendor has no bars for.",
    NoTime "wishes_no_time" "Wishes for no time at all, or for what is still to come.",
    NoSymbol "wishes_no_symbol" "Wishes for a symbol that nobody knows.",
    TooOld "intervals_too_old" "Intervals not asked for, as their bars can no longer be revised.",
    Polls "polls" "Questions for the newest bars while every connection is down.",
    PollsFailed "polls_failed" "Of them, such as got no answer; the next one asks for more.",
    Requests "requests" "Requests that went out.",
    Retries "retries" "Of them, such as were made before, without success.",
    Pages "pages" "Of them, such as asked for a further page.",
    Slowed "slowed" "Answers that told to slow down.",
    Denied "denied" "Answers that refused the key or the address.",
    Failed "failed" "Requests without an answer, or with one that is none.",
    GivenUp "given_up" "Intervals whose bars stay as they are.",
    Bytes "bytes" "Bytes of answers, unpacked.",
    Delayed "answers_delayed" "Answers of a plan that is served late.",
    Rows "rows" "Rows of answers.",
    Bars "bars" "Of them, bars that were handed on.",
    Empty "rows_empty" "Of them, intervals without trades.",
    Quiet "intervals_quiet" "Intervals of gaps that had no trades, by their row or for want of one.",
    Refused "rows_refused" "Of them, such as are no bars.",
    Rounded "rounded_digits" "Numbers that lost digits past the unit.",
}

/// Longest note, in bytes.
const NOTE_BYTES_MAX: usize = 240;

/// One feed's counters and notes.
pub struct Tallies {
    feed: String,
    counts: [u64; Count::ALL.len()],
    refused: [u64; Flaw::ALL.len()],
    round_trips: Latency,
    notes: Notes,
}

impl Tallies {
    /// All zero.
    pub fn new(feed: &str) -> Self {
        Self {
            feed: feed.to_owned(),
            counts: [0; Count::ALL.len()],
            refused: [0; Flaw::ALL.len()],
            round_trips: Latency::new("rest_round_trip"),
            notes: Notes::default(),
        }
    }

    /// One more.
    pub fn count(&mut self, what: Count) {
        self.add(what, 1);
    }

    /// So many more.
    pub fn add(&mut self, what: Count, n: u64) {
        self.counts[what as usize] += n;
    }

    /// How many there were.
    pub fn get(&self, what: Count) -> u64 {
        self.counts[what as usize]
    }

    /// Rows refused for one reason.
    pub fn refused_for(&self, flaw: Flaw) -> u64 {
        self.refused[flaw as usize]
    }

    /// One answer's rows.
    pub fn answer(&mut self, answer: &Answer) {
        let (bars, refused) = (answer.rows.len() as u64, answer.refused());
        self.add(Count::Rows, bars + answer.empty.len() as u64 + refused);
        self.add(Count::Bars, bars);
        self.add(Count::Empty, answer.empty.len() as u64);
        self.add(Count::Refused, refused);
        self.add(Count::Rounded, answer.rounded);
        self.add(Count::Delayed, u64::from(answer.is_delayed));
        for (sum, n) in self.refused.iter_mut().zip(&answer.refused) {
            *sum += n;
        }
    }

    /// The time from a request's leaving to its end.
    pub fn round_trip(&mut self, from: UnixNanos, to: UnixNanos) {
        self.round_trips.record(from, to);
    }

    /// Leaves a line for the log, at a bounded rate and length. What came from outside is shown escaped.
    pub fn note(&mut self, now: UnixNanos, what: impl Display) {
        let feed = &self.feed;
        self.notes.add(now, || {
            let mut note = format!("{feed}: ");
            for char in what.to_string().chars() {
                note.extend(char.escape_default().filter(|_| char.is_control()));
                note.extend(Some(char).filter(|_| !char.is_control()));
                if note.len() >= NOTE_BYTES_MAX {
                    note += "…";
                    break;
                }
            }
            note
        });
    }

    /// Adds what is not zero to a report, as `rest.<feed>.<counter>`, and moves the notes there.
    pub fn hand_over(&mut self, report: &mut Report) {
        let feed = &self.feed;
        for &what in Count::ALL {
            let value = self.counts[what as usize];
            if value > 0 || matches!(what, Count::Wishes | Count::Requests | Count::Bars) {
                report.count(format!("rest.{feed}.{}", what.name()), value);
            }
        }
        for &flaw in Flaw::ALL {
            let value = self.refused[flaw as usize];
            if value > 0 {
                report.count(format!("rest.{feed}.rows_refused.{}", flaw.name()), value);
            }
        }
        if self.notes.left_out() > 0 {
            report.count(format!("rest.{feed}.notes_left_out"), self.notes.left_out());
        }
        self.round_trips.hand_over(report);
        report.notes.append(&mut self.notes.take());
    }
}
