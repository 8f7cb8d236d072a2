//! A whole run: threads are started, all connections made ready, then the window is opened and its result shown.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::driver::{Driver, Outcome, Shared};
use super::now_ns;
use super::options::{Failure, Load};
use super::process::snapshot;
use super::report::{Report, write_interval_log};
use super::tally::{Tally, Window};

/// Descriptors beside the connections: standard streams, polls, files.
const SPARE_DESCRIPTORS: u64 = 32;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a load and prints what it found.
///
/// # Errors
/// Where not all connections became ready, or a file could not be written.
pub fn run(load: &Load) -> Result<(), Failure> {
    raise_descriptors(load.total())?;
    let shared = Shared::new();
    let failed = |error| Failure::Run(format!("cannot set up a thread: {error}"));
    let drivers = (0..load.threads)
        .map(|thread| Driver::new(load, &shared, thread))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    std::thread::scope(|scope| {
        let began = Instant::now();
        let threads: Vec<_> = drivers.into_iter().map(|driver| scope.spawn(|| driver.run())).collect();
        let join = |threads: Vec<std::thread::ScopedJoinHandle<'_, std::io::Result<Outcome>>>| {
            let outcomes = threads.into_iter().map(|thread| match thread.join() {
                Ok(outcome) => outcome.map_err(|error| Failure::Run(format!("a thread failed: {error}"))),
                Err(_) => Err(Failure::Run("a thread panicked; its message is above".to_owned())),
            });
            outcomes.collect::<Result<Vec<_>, _>>()
        };
        if let Err(text) = wait_until_ready(load, &shared, began) {
            shared.stop.store(true, Ordering::Relaxed);
            let tally = total(&join(threads)?);
            let first = tally.first_error.as_deref().unwrap_or("no error was told");
            return Err(Failure::Run(format!("{text}; {first}")));
        }
        let connect_s = began.elapsed().as_secs_f64();
        eprintln!("ready: {} connections in {connect_s:.2} s", load.total());
        let from = now_ns() + load.warmup.as_nanos() as i64;
        shared.open_window(Window { from, to: from + load.duration.as_nanos() as i64 });
        sleep(load.warmup);
        let before = load.server_pid.and_then(snapshot);
        sleep(load.duration);
        let after = load.server_pid.and_then(snapshot);
        let mut outcomes = join(threads)?;
        outcomes.iter_mut().for_each(|outcome| outcome.connections.clear());
        let tally = total(&outcomes);
        let efforts: Vec<_> = outcomes.iter().map(|outcome| outcome.effort).collect();
        let report = Report::new(load, &tally, &efforts, before.zip(after), connect_s);
        if load.json {
            report.print_json()?
        } else {
            report.print()
        }
        report.warn();
        load.hdr.as_deref().map_or(Ok(()), |path| write_interval_log(path, &tally, from))
    })
}

fn total(outcomes: &[Outcome]) -> Tally {
    let seconds = outcomes.iter().map(|outcome| outcome.tally.latencies.len()).max().unwrap_or_default();
    let mut all = Tally::new(seconds, "");
    outcomes.iter().for_each(|outcome| all.add(&outcome.tally));
    all
}

fn wait_until_ready(load: &Load, shared: &Shared, began: Instant) -> Result<(), String> {
    loop {
        let (ready, lost) = (shared.ready.load(Ordering::Relaxed), shared.lost.load(Ordering::Relaxed));
        if lost > 0 {
            return Err(format!("{lost} connections ended before they were ready, {ready} are"));
        }
        if ready >= load.total() {
            return Ok(());
        }
        if began.elapsed() > load.connect_timeout {
            let (total, within) = (load.total(), load.connect_timeout);
            return Err(format!("only {ready} of {total} connections were ready within {within:?}"));
        }
        sleep(LOOK_EVERY);
    }
}

/// Raises the soft limit of descriptors to what is needed.
fn raise_descriptors(connections: usize) -> Result<(), Failure> {
    let needed = connections as u64 + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum.filter(|&hard| hard < needed) {
        return Err(Failure::Usage(format!(
            "{connections} connections need {needed} descriptors and the hard limit is {hard}: raise it (ulimit -Hn), \
             or use several processes"
        )));
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| Failure::Run(format!("cannot raise the limit of descriptors to {needed}: {error}")))
}
