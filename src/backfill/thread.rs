//! The thread that joins desks, sockets and rings: desks decide, fetchers ask and wait, this one alone holds the ring's end.

use std::collections::HashMap;
use std::io;
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::model::{Nanos, RestWish, SymbolTable, Tick, UnixNanos, UpstreamBar};
use crate::runtime::{Clock, Report};

use super::client::Client;
use super::desk::{Call, Desk, Outcome};
use super::meter::Meter;
use super::{BackfillOptions, Lines, RestOptions};

/// How often it reports.
const REPORT_EVERY: Nanos = Nanos::from_secs(1);
/// How often it looks for room in a full ring. The ring's other end is drained many times in that.
const ROOM_EVERY: Duration = Duration::from_millis(1);
/// Wishes taken in a row before requests go out.
const WISHES_AT_ONCE: usize = 4_096;

/// One feed's desk, the budget it draws on, and the way to its fetchers.
struct Counter {
    desk: Desk,
    meter: usize,
    calls: Sender<Call>,
}

/// A request that is over: whose, and what came of it.
type Done = (usize, Call, Outcome);

/// Starts the thread, and for each feed as many as it may have requests under way.
///
/// # Errors
/// Where a `ca_file` cannot be read, or the system refuses a thread.
pub fn spawn(
    options: BackfillOptions,
    lines: Lines,
    symbols: SymbolTable,
    mut clock: Clock,
) -> io::Result<JoinHandle<()>> {
    let BackfillOptions { feeds, timeframes, seal_after } = options;
    let at_once: usize = feeds.iter().map(|(_, feed)| feed.requests_at_once_max.max(1)).sum();
    let (done, results) = bounded(at_once.max(1));
    let (accounts, meters) = accounts(feeds.iter().map(|(_, feed)| feed));
    let mut counters = Vec::new();
    for (number, ((source, feed), meter)) in feeds.into_iter().zip(accounts).enumerate() {
        let client = Client::new(&feed)?;
        let (calls, orders) = bounded(feed.requests_at_once_max.max(1));
        for _ in 0..feed.requests_at_once_max.max(1) {
            fetcher(number, client.clone(), orders.clone(), done.clone())?;
        }
        let now = clock.now();
        // Two processes that lose the same vendor come back at different times.
        let seed = now.0 as u64 ^ u64::from(source) ^ u64::from(std::process::id()) << 32;
        let desk = Desk::new(source, feed, &timeframes, seal_after, seed, now);
        counters.push(Counter { desk, meter, calls });
    }
    let office = Office { counters, meters, lines, symbols, clock, strangers: 0, reported: UnixNanos::MIN };
    Builder::new().name("rest".to_owned()).spawn(move || office.run(&results))
}

/// Which budget each feed draws on, and the budgets: one for each address and key.
fn accounts<'a>(feeds: impl Iterator<Item = &'a RestOptions>) -> (Vec<usize>, Vec<Meter>) {
    let (mut meters, mut known) = (Vec::new(), HashMap::new());
    let account = |feed: &'a RestOptions| {
        let meter = *known.entry((&feed.base_url, &feed.key)).or_insert_with(|| {
            meters.push(Meter::new(feed.weight_per_minute_max));
            meters.len() - 1
        });
        meters[meter].tighten(feed.weight_per_minute_max);
        meter
    };
    let accounts = feeds.map(account).collect();
    (accounts, meters)
}

/// A thread that asks and waits. It ends with the desk's.
fn fetcher(number: usize, client: Client, orders: Receiver<Call>, done: Sender<Done>) -> io::Result<()> {
    let work = move || {
        for call in orders {
            let outcome = client.fetch(&call.path);
            if done.send((number, call, outcome)).is_err() {
                return;
            }
        }
    };
    Builder::new().name(format!("rest-{number}")).spawn(work).map(drop)
}

struct Office {
    counters: Vec<Counter>,
    meters: Vec<Meter>,
    lines: Lines,
    symbols: SymbolTable,
    clock: Clock,
    /// Wishes for a source without a REST side.
    strangers: u64,
    reported: UnixNanos,
}

impl Office {
    fn run(mut self, results: &Receiver<Done>) {
        let mut bars = Vec::new();
        loop {
            let now = self.clock.now();
            if now.since(self.reported) >= REPORT_EVERY {
                self.report(now, false);
            }
            for Counter { desk, meter, calls } in &mut self.counters {
                while let Some(call) = desk.next_call(now, &mut self.meters[*meter], &self.symbols) {
                    // There is room: no more are under way than the channel holds.
                    if calls.try_send(call).is_err() {
                        return;
                    }
                }
            }
            let patience = self.deadline().since(now).to_duration();
            let wishes = self.lines.wishes.clone();
            select! {
                recv(wishes) -> wish => match wish {
                    Ok(wish) => {
                        let now = self.clock.now();
                        self.wish(wish, now);
                        for wish in wishes.try_iter().take(WISHES_AT_ONCE) {
                            self.wish(wish, now);
                        }
                    }
                    Err(_) => break,
                },
                recv(results) -> done => if let Ok((number, call, outcome)) = done {
                    let now = self.clock.now();
                    let Counter { desk, meter, .. } = &mut self.counters[number];
                    desk.answered(call, outcome, now, &mut self.meters[*meter], &mut bars);
                    if !self.deliver(&mut bars) {
                        break;
                    }
                },
                default(patience) => {}
            }
        }
        let now = self.clock.now();
        self.report(now, true);
    }

    fn wish(&mut self, wish: RestWish, now: UnixNanos) {
        let Some(counter) = self.counters.iter_mut().find(|counter| counter.desk.source() == wish.source())
        else {
            self.strangers += 1;
            return;
        };
        match wish {
            RestWish::Fill { symbol, from, to, .. } => counter.desk.fill(symbol, from, to, now),
            RestWish::Poll { symbol, on, .. } => counter.desk.poll(symbol, on, now),
        }
    }

    /// When to look at the clock again: never later than the next report.
    fn deadline(&self) -> UnixNanos {
        let due = |counter: &Counter| counter.desk.deadline(&self.meters[counter.meter]);
        let first = self.counters.iter().filter_map(due).min().unwrap_or(UnixNanos::MAX);
        first.min(self.reported + REPORT_EVERY)
    }

    /// Hands bars on, each as two ticks in a row; `false` where nobody takes them any more.
    fn deliver(&mut self, bars: &mut Vec<UpstreamBar>) -> bool {
        let answers = &mut self.lines.answers;
        for tick in bars.drain(..).flat_map(|bar| bar.to_ticks()) {
            let mut waits: Tick = tick;
            while let Err(back) = answers.push(waits) {
                answers.flush();
                if answers.is_abandoned() {
                    return false;
                }
                sleep(ROOM_EVERY);
                waits = back;
            }
        }
        answers.flush();
        !answers.is_abandoned()
    }

    fn report(&mut self, now: UnixNanos, last: bool) {
        self.reported = now;
        if self.lines.reports.is_full() {
            return;
        }
        let mut report = Report::new("rest", now);
        report.last = last;
        self.counters.iter_mut().for_each(|counter| counter.desk.hand_over(&mut report));
        if self.strangers > 0 {
            report.count("rest.wishes_no_source", self.strangers);
        }
        // A reader that has gone needs no reports.
        let _ = self.lines.reports.try_send(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::{Secret, VENDORS};

    #[test]
    fn two_lines_of_one_vendor_and_key_draw_on_one_budget_the_smaller_of_theirs() {
        let feed = |key: &str, most| RestOptions {
            key: Some(Secret::new(key)),
            weight_per_minute_max: most,
            ..RestOptions::new("line", &VENDORS[0])
        };
        let (accounts, mut meters) = accounts([feed("a", 9), feed("b", 5), feed("a", 2)].iter());
        assert_eq!(accounts, [0, 1, 0]);
        assert_eq!(meters.len(), 2);
        let through = (0..9).filter(|_| meters[0].take(1, UnixNanos(0))).count();
        assert_eq!(through, 2);
    }
}
