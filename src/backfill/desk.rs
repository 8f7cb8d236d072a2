//! One feed's REST side without its sockets: wishes in, requests out; answers in, bars out.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::feed::json::Json;
use crate::model::{
    Bar, BarOrigin, Nanos, Symbol, SymbolId, SymbolTable, Timeframes, UnixNanos, UpstreamBar,
};
use crate::runtime::Report;

use super::answer::{Answer, Asked, Malformed};
use super::meter::Meter;
use super::options::RestOptions;
use super::poll::Polls;
use super::queue::{Added, Queue, Span};
use super::tallies::{Count, Tallies};

/// Back-off before the second try; it doubles with each.
const BACK_OFF: Nanos = Nanos::from_millis(500);
/// The longest back-off.
const BACK_OFF_MAX: Nanos = Nanos::from_secs(30);
/// How long to be quiet where an answer says to slow down and not for how long: a vendor's budget is by the minute.
const SLOWED: Nanos = Nanos::from_secs(60);
/// How long to be quiet where the key or the address is refused: it will not be right the next moment.
const DENIED: Nanos = Nanos::from_secs(60);
/// How far the vendor's clock, by which times are told, may be ahead of ours: as far as a feed's clock is believed to be.
const AHEAD_MAX: Nanos = Nanos::from_secs(5);
/// The most pages of one piece of work: of a vendor that names a next one for ever.
const PAGES_MAX: u32 = 64;
/// How much of an error's body a note shows, in bytes.
const BODY_SHOWN: usize = 80;

/// What came of a request.
pub type Outcome = Result<Reply, Trouble>;

/// An answer, whatever it says.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// How long it says to wait.
    pub retry_after: Option<Nanos>,
    /// What it says was spent this minute, in its own unit.
    pub used_weight: Option<u32>,
    /// The vendor's time, in whole seconds rounded down.
    pub date: Option<UnixNanos>,
    /// The body, unpacked.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The host's name has no address.
    #[error("the host's name has no address")]
    Unresolved,
    /// It took too long.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// No TLS with that host.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection was refused, reset or cut.
    #[error("connection: {0}")]
    Cut(String),
    /// The answer is longer than its limit, in bytes.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
    /// Not HTTP.
    #[error("not HTTP: {0}")]
    Protocol(String),
}

/// Why the bars are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Fill,
    Poll,
}

/// Bars to be asked for.
#[derive(Debug, Clone)]
struct Work {
    span: Span,
    why: Why,
    /// Times it was tried without success.
    failures: u32,
    /// Path and query of the page it has come to, and which that is.
    page: Option<(String, u32)>,
}

/// A request that is under way. It goes back to its desk with what came of it.
#[derive(Debug)]
pub struct Call {
    /// Path and query.
    pub path: String,
    symbol: Symbol,
    work: Work,
    sent: UnixNanos,
}

/// One feed's desk.
pub struct Desk {
    options: RestOptions,
    source: u8,
    /// The length of the bars it asks for; `None` where the vendor has none of the engine's.
    seconds: Option<u32>,
    seal_after: Nanos,
    queue: Queue,
    polls: Polls,
    /// Further pages, and what failed before, by when it is due and in order.
    again: BTreeMap<(UnixNanos, u64), Work>,
    /// What is due and waits for the budget.
    held: Option<Work>,
    arrivals: u64,
    /// Which of the two goes first: they take turns.
    polls_first: bool,
    under_way: usize,
    random: u64,
    json: Json,
    tallies: Tallies,
    said_delayed: bool,
}

impl Desk {
    /// The desk of a source. `seed` is of the back-off's jitter.
    pub fn new(
        source: u8,
        options: RestOptions,
        timeframes: &Timeframes,
        seal_after: Nanos,
        seed: u64,
        now: UnixNanos,
    ) -> Self {
        let requests_at_once_max = options.requests_at_once_max.max(1);
        let options = RestOptions { requests_at_once_max, ..options };
        let mut tallies = Tallies::new(&options.name);
        let has = |seconds: &u32| options.vendor.vendor.has(*seconds);
        let lengths = || timeframes.iter().map(|timeframe| (timeframe.nanos().0 / 1_000_000_000) as u32);
        let seconds = lengths().find(has);
        match (seconds, lengths().next()) {
            (None, _) => tallies.note(
                now,
                format_args!("{} has no bars of {timeframes}: no gap is filled", options.vendor.name),
            ),
            (Some(has), Some(finest)) if has != finest => tallies.note(
                now,
                format_args!(
                    "{} has no bars of {finest} s: gaps are filled from {has} s upward, finer bars stay incomplete",
                    options.vendor.name
                ),
            ),
            _ => {}
        }
        let length = Nanos::from_secs(i64::from(seconds.unwrap_or(60)));
        Self {
            source,
            seconds,
            seal_after,
            queue: Queue::new(options.wishes_max, options.settle),
            polls: Polls::new(length, options.poll_every, options.poll_settle),
            again: BTreeMap::new(),
            held: None,
            arrivals: 0,
            polls_first: false,
            under_way: 0,
            random: seed,
            json: Json::default(),
            tallies,
            said_delayed: false,
            options,
        }
    }

    /// Which source it is for.
    pub const fn source(&self) -> u8 {
        self.source
    }

    /// What it counted.
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Bars that cover `[from, to)` are wanted, as far as they can still be revised. What is not over yet is waited for.
    pub fn fill(&mut self, symbol: SymbolId, from: UnixNanos, to: UnixNanos, now: UnixNanos) {
        self.tallies.count(Count::Wishes);
        let Some(length) = self.length() else { return self.tallies.count(Count::NoLength) };
        // Nothing is missing yet of what is to come, by the vendor's clock; where it will be, another wish says so.
        let last = UnixNanos(to.min(now + AHEAD_MAX + length).0.saturating_sub(1));
        let wish = Span { symbol, from: from.floor(length), to: last.floor(length) + length };
        if from >= to || wish.from >= wish.to {
            return self.tallies.count(Count::NoTime);
        }
        if let Some(wish) = self.not_too_old(wish, now) {
            match self.queue.add(wish, now) {
                Added::Queued => {}
                Added::Merged => self.tallies.count(Count::Merged),
                Added::Full => self.tallies.count(Count::LeftOut),
            }
        }
    }

    /// From now on the newest bars are wanted again and again, or no longer.
    pub fn poll(&mut self, symbol: SymbolId, on: bool, now: UnixNanos) {
        if self.seconds.is_none() {
            self.tallies.count(Count::NoLength);
        } else if on {
            self.polls.on(symbol, now);
        } else {
            self.polls.off(symbol);
        }
    }

    /// The next request, if one may go out now.
    pub fn next_call(&mut self, now: UnixNanos, meter: &mut Meter, symbols: &SymbolTable) -> Option<Call> {
        let seconds = self.seconds?;
        while self.under_way < self.options.requests_at_once_max {
            let work = self.held.take().or_else(|| self.next_work(now))?;
            let Some(span) = self.not_too_old(work.span, now) else {
                if work.why == Why::Poll {
                    self.polls.answered(work.span.symbol, work.span.to, now);
                }
                continue;
            };
            let work = Work { span, ..work };
            let Some(symbol) = symbols.name(span.symbol) else {
                self.tallies.count(Count::NoSymbol);
                self.polls.off(span.symbol);
                continue;
            };
            if !meter.take(self.weight(&work), now) {
                self.held = Some(work);
                return None;
            }
            let asked = asked(&symbol, seconds, span, UnixNanos::MAX);
            let path = match &work.page {
                Some((path, _)) => path.clone(),
                None => self.options.vendor.vendor.request(&asked),
            };
            self.under_way += 1;
            self.tallies.count(Count::Requests);
            self.tallies.add(Count::Pages, u64::from(work.page.is_some()));
            self.tallies.add(Count::Retries, u64::from(work.failures > 0));
            self.tallies.add(Count::Polls, u64::from(work.why == Why::Poll && work.page.is_none()));
            return Some(Call { path, symbol, work, sent: now });
        }
        None
    }

    /// A request is over. Appends the bars that it brought.
    pub fn answered(
        &mut self,
        call: Call,
        outcome: Outcome,
        now: UnixNanos,
        meter: &mut Meter,
        out: &mut Vec<UpstreamBar>,
    ) {
        self.under_way -= 1;
        self.tallies.round_trip(call.sent, now);
        let Call { symbol, work, .. } = call;
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(trouble @ Trouble::TooLong(_)) => return self.give_up(work, &symbol, now, trouble),
            Err(trouble) => return self.retry(work, &symbol, now, Nanos::ZERO, trouble),
        };
        self.tallies.add(Count::Bytes, reply.body.len() as u64);
        if let Some(used) = reply.used_weight {
            meter.told(used, now);
        }
        match reply.status {
            200 => match self.read(&mut reply, &work, &symbol) {
                Ok(answer) => self.take(work, &symbol, reply.date, answer, now, out),
                Err(malformed) => self.retry(work, &symbol, now, Nanos::ZERO, malformed),
            },
            429 | 418 => {
                self.tallies.count(Count::Slowed);
                let wait = reply.retry_after.unwrap_or(SLOWED);
                self.tallies.note(
                    now,
                    format_args!("status {}: no request for {} s", reply.status, wait.0 / 1_000_000_000),
                );
                meter.shut(now + wait);
                self.put_back(work, now);
            }
            401 | 403 => {
                self.tallies.count(Count::Denied);
                meter.shut(now + DENIED);
                let why = format!("status {}: is the key right, and may it ask for this?", reply.status);
                self.give_up(work, &symbol, now, why);
            }
            408 | 500..=599 => {
                let wait = reply.retry_after.unwrap_or(Nanos::ZERO);
                self.retry(work, &symbol, now, wait, format_args!("status {}", reply.status));
            }
            300..=399 => {
                let why = format!("status {}: redirects are not followed", reply.status);
                self.give_up(work, &symbol, now, why);
            }
            status => {
                let shown = &reply.body[..reply.body.len().min(BODY_SHOWN)];
                self.give_up(work, &symbol, now, format_args!("status {status}: {}", shown.escape_ascii()));
            }
        }
    }

    /// When something is to be done though nothing comes.
    pub fn deadline(&self, meter: &Meter) -> Option<UnixNanos> {
        if self.under_way >= self.options.requests_at_once_max {
            return None;
        }
        if let Some(work) = &self.held {
            return Some(meter.free_at(self.weight(work)));
        }
        let again = self.again.first_key_value().map(|((at, _), _)| *at);
        let due = [again, self.queue.deadline(), self.polls.deadline()].into_iter().flatten().min()?;
        Some(due.max(meter.free_at(1)))
    }

    /// Adds its counters to a report.
    pub fn hand_over(&mut self, report: &mut Report) {
        self.tallies.hand_over(report);
        let name = &self.options.name;
        let waiting = self.queue.len() + self.again.len() + usize::from(self.held.is_some());
        for (gauge, value) in
            [("waiting", waiting), ("under_way", self.under_way), ("polled", self.polls.len())]
        {
            if value > 0 {
                report.count(format!("rest.{name}.{gauge}"), value as u64);
            }
        }
    }

    fn length(&self) -> Option<Nanos> {
        self.seconds.map(|seconds| Nanos::from_secs(i64::from(seconds)))
    }

    fn weight(&self, work: &Work) -> u32 {
        let length = self.length().map_or(1, |length| length.0);
        let intervals = work.span.to.since(work.span.from).0 / length;
        self.options.vendor.vendor.weight(intervals.max(1) as u64)
    }

    /// What of a span can still be revised; the rest is counted.
    fn not_too_old(&mut self, span: Span, now: UnixNanos) -> Option<Span> {
        let length = self.length()?;
        // The first interval whose end is not sealed.
        let first = now.minus(self.seal_after).floor(length);
        if span.from >= first {
            return Some(span);
        }
        let old = first.min(span.to).since(span.from).0 / length.0;
        self.tallies.add(Count::TooOld, old.max(0) as u64);
        (span.to > first).then_some(Span { from: first, ..span })
    }

    fn next_work(&mut self, now: UnixNanos) -> Option<Work> {
        self.polls_first = !self.polls_first;
        if self.polls_first {
            self.next_poll(now).or_else(|| self.next_fill(now))
        } else {
            self.next_fill(now).or_else(|| self.next_poll(now))
        }
    }

    fn next_fill(&mut self, now: UnixNanos) -> Option<Work> {
        if let Some(first) = self.again.first_entry()
            && first.key().0 <= now
        {
            return Some(first.remove());
        }
        let span = self.queue.next(self.width(), now)?;
        Some(Work { span, why: Why::Fill, failures: 0, page: None })
    }

    fn next_poll(&mut self, now: UnixNanos) -> Option<Work> {
        let whole = self.polls.next(now)?;
        let span = Span { to: whole.to.min(whole.from + self.width()), ..whole };
        Some(Work { span, why: Why::Poll, failures: 0, page: None })
    }

    /// The most time that one request may span.
    fn width(&self) -> Nanos {
        let most = self.seconds.map_or(1, |seconds| self.options.vendor.vendor.intervals_max(seconds));
        let length = self.length().unwrap_or(Nanos::from_secs(1));
        Nanos(length.0.saturating_mul(i64::try_from(most).unwrap_or(i64::MAX)))
    }

    fn read(&mut self, reply: &mut Reply, work: &Work, symbol: &Symbol) -> Result<Answer, Malformed> {
        let over = reply.date.unwrap_or(UnixNanos::MAX);
        let asked = asked(symbol, self.seconds.unwrap_or(1), work.span, over);
        let mut answer = Answer::default();
        self.options.vendor.vendor.read(&mut reply.body, &asked, &mut self.json, &mut answer)?;
        Ok(answer)
    }

    fn take(
        &mut self,
        work: Work,
        symbol: &Symbol,
        date: Option<UnixNanos>,
        answer: Answer,
        now: UnixNanos,
        out: &mut Vec<UpstreamBar>,
    ) {
        self.tallies.answer(&answer);
        if let Some((flaw, shown)) = &answer.sample {
            self.tallies.note(now, format_args!("a row of {symbol} refused: {}: {shown}", flaw.name()));
        }
        if answer.is_delayed && !std::mem::replace(&mut self.said_delayed, true) {
            self.tallies
                .note(now, "the vendor serves this key late: gaps are filled only where settle_ms is longer than that, and seal_after_s longer still");
        }
        let length = self.length().unwrap_or(Nanos::from_secs(1));
        let span = work.span;
        let bar = |bar: Bar, has_notional: bool| UpstreamBar {
            symbol: span.symbol,
            source: self.source,
            origin: match work.why {
                Why::Fill => BarOrigin::Backfill,
                Why::Poll => BarOrigin::Polled,
            },
            seconds: self.seconds.unwrap_or(1),
            closed: true,
            has_notional,
            ts_recv: now,
            bar,
        };
        let before = out.len();
        out.extend(answer.rows.iter().map(|row| bar(row.bar, row.has_notional)));
        let got = answer.rows.last().map_or(span.from, |row| row.bar.start + length);
        // By its own clock the vendor has nothing of what comes after.
        let over = date.map_or(UnixNanos::MAX, |date| date.floor(length)).max(got);
        let asked = asked(symbol, self.seconds.unwrap_or(1), span, over);
        let covered = match answer.next {
            Some(_) => answer.looked_to(&asked).map_or(got, |looked_to| looked_to.min(over)),
            None => span.to.min(over).max(span.from),
        };
        // What is polled is only the newest there is so far: it does not say that nothing is missing.
        if work.why == Why::Fill {
            let quiet = answer.quiet(&asked, span.from, covered);
            self.tallies.add(Count::Quiet, quiet.len() as u64);
            out.extend(quiet.into_iter().map(|start| bar(Bar { start, ..Bar::default() }, true)));
            out[before..].sort_unstable_by_key(|bar| bar.bar.start);
        }
        if let Some(path) = answer.next {
            let page = work.page.as_ref().map_or(1, |(_, page)| page + 1);
            // The bars that came are not asked for again, whatever becomes of the page.
            let work = Work { span: Span { from: covered, ..span }, page: Some((path, page)), ..work };
            if covered >= span.to {
                self.done(&work, now);
            } else if page >= PAGES_MAX {
                self.give_up(work, symbol, now, format_args!("more than {PAGES_MAX} pages"));
            } else {
                self.put_back(work, now);
            }
            return;
        }
        match date {
            // The clocks differ by more than the bars were given to settle.
            Some(date) if date < span.to => {
                let work = Work { span: Span { from: covered, ..span }, page: None, ..work };
                self.retry(work, symbol, now, span.to.since(date), "its clock is behind ours");
            }
            _ => self.done(&work, now),
        }
    }

    fn done(&mut self, work: &Work, now: UnixNanos) {
        if work.why == Why::Poll {
            self.polls.answered(work.span.symbol, work.span.to, now);
        }
    }

    /// To be asked for once more, without blame.
    fn put_back(&mut self, work: Work, now: UnixNanos) {
        self.arrivals += 1;
        self.again.insert((now, self.arrivals), work);
    }

    fn retry(&mut self, mut work: Work, symbol: &Symbol, now: UnixNanos, at_least: Nanos, why: impl Display) {
        self.tallies.count(Count::Failed);
        work.failures += 1;
        if work.why == Why::Poll || work.failures >= self.options.attempts_max {
            let tries = work.failures;
            return self.give_up(work, symbol, now, format_args!("{why}, {tries} times"));
        }
        let doubled = BACK_OFF.0.saturating_mul(1 << (work.failures - 1).min(16)).min(BACK_OFF_MAX.0);
        let wait = Nanos(doubled / 2 + self.below(doubled / 2)).max(at_least);
        self.arrivals += 1;
        self.again.insert((now + wait, self.arrivals), work);
    }

    fn give_up(&mut self, work: Work, symbol: &Symbol, now: UnixNanos, why: impl Display) {
        let Span { symbol: id, from, to } = work.span;
        match work.why {
            Why::Poll => {
                self.tallies.count(Count::PollsFailed);
                self.polls.answered(id, from, now);
                self.tallies.note(now, format_args!("{symbol} not polled: {why}"));
            }
            Why::Fill => {
                let length = self.length().map_or(1, |length| length.0);
                self.tallies.add(Count::GivenUp, (to.since(from).0 / length).max(0) as u64);
                self.tallies.note(now, format_args!("{symbol} {from} to {to} not filled: {why}"));
            }
        }
    }

    /// A number from 0 to `bound`, by the splitmix64 sequence.
    fn below(&mut self, bound: i64) -> i64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % (bound.max(0) as u64 + 1)) as i64
    }
}

fn asked(symbol: &Symbol, seconds: u32, span: Span, over: UnixNanos) -> Asked<'_> {
    Asked { symbol: symbol.as_str(), seconds, from: span.from, to: span.to, over }
}
