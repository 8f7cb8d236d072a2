//! `tickwire bars`: files in, every bar's final revision out.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tickwire::config::{Config, judge};
use tickwire::feed::{Origin, SourceOptions};
use tickwire::latency::Totals;
use tickwire::model::Nanos;
use tickwire::model::calendar::{Anchor, CalendarRules};
use tickwire::runtime::core::Stop;
use tickwire::shard::{CandleOptions, Fill};
use tickwire::topology::{Engine, Outlet};

use super::{BarsArguments, Failure, progress_bar};

/// How often the progress bar moves.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub(super) fn bars(arguments: &BarsArguments) -> Result<(), Failure> {
    let began = Instant::now();
    let run = |what: &str, error: &dyn std::fmt::Display| Failure::Run(format!("{what}: {error}"));
    let config = config(arguments)?;
    // Before the work, so that a path that cannot be written costs nothing.
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(path) => {
            Box::new(File::create(path).map_err(|e| run(&format!("cannot write {}", path.display()), &e))?)
        }
        None => Box::new(io::stdout().lock()),
    };
    let (done_tx, done) = crossbeam_channel::bounded(1);
    let engine = Engine::new(config, Outlet::Collect(done_tx), None, String::new())
        .map_err(|error| Failure::Run(error.to_string()))?;
    let (progress, troubles, symbols, reports) =
        (engine.progress, engine.troubles, engine.symbols, engine.reports);
    let stop = Stop::default();
    let threads = Engine::start(engine.cores, &stop).map_err(|e| run("cannot start a thread", &e))?;
    let bar = progress_bar(arguments.quiet);
    let mut totals = Totals::default();
    let collected = loop {
        match done.recv_timeout(DRAW_EVERY) {
            Ok(collected) => break collected,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                return Err(Failure::Run("a core ended before its work was done".to_owned()));
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                bar.set_length(progress.total.load(Ordering::Relaxed));
                bar.set_position(progress.done.load(Ordering::Relaxed));
                reports.try_iter().for_each(|report| totals.add(&report));
            }
        }
    };
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(run("a core failed", &error)),
            Err(_) => return Err(Failure::Run("a core panicked; its message is above".to_owned())),
        }
    }
    reports.try_iter().for_each(|report| totals.add(&report));
    let read = began.elapsed();
    let count = collected.write(&symbols, &mut out).map_err(|e| run("cannot write the bars", &e))?;
    bar.finish_and_clear();
    let troubles = troubles.list();
    if !arguments.quiet {
        eprintln!(
            "{count} bars; read in {:.3} s, all in {:.3} s",
            read.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
        eprintln!("{}", totals.ledger());
    }
    if troubles.is_empty() { Ok(()) } else { Err(Failure::Run(troubles.join("\n"))) }
}

fn config(arguments: &BarsArguments) -> Result<Config, Failure> {
    let mut config = Config::from_environment(|_| None)?;
    let file = CandleOptions::file(arguments.timeframes.clone());
    let tolerance = arguments.late_tolerance.map(|ms| Nanos::from_millis(i64::from(ms)));
    config.candles = CandleOptions {
        late_tolerance: tolerance.unwrap_or(file.late_tolerance),
        bars_from: arguments.bars_from,
        calendars: match &arguments.calendar {
            Some(calendar) => CalendarRules::all(calendar.clone(), arguments.anchor),
            None if arguments.anchor == Anchor::Session => {
                let missing =
                    "--anchor session: whose session? name one with --calendar, such as us-equities";
                return Err(Failure::Usage(missing.to_owned()));
            }
            None => CalendarRules::default(),
        },
        fill: arguments.fill.map(|open| Fill { open, bars_max: arguments.fill_bars_max }),
        ..file
    };
    let nested = config.candles.calendars.grids(&config.candles.timeframes);
    nested.map_err(|error| Failure::Usage(format!("--timeframes: {error}")))?;
    config.sources =
        vec![SourceOptions::new("files", Origin::Files(arguments.files.clone()), arguments.format)];
    if let Some(choice) = &arguments.conditions {
        let judged = judge(std::slice::from_ref(choice), &config.sources);
        config.candles.conditions =
            Some(judged.map_err(|message| Failure::Usage(format!("--conditions: {message}")))?);
    }
    config.finish_at_end = true;
    config.symbols_max = arguments.symbols_max as usize;
    config.layout.shards = usize::from(arguments.shards);
    config.layout.placement = arguments.placement;
    config.layout.ticks_depth = arguments.ring_depth as usize;
    config.layout.events_depth = arguments.ring_depth as usize;
    Ok(config)
}
