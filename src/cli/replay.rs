//! `tickwire replay`: recorded files sent to an engine as if they happened now.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tickwire::replay::{ReplayOptions, run};

use super::{Failure, ReplayArguments, progress_bar};

pub(super) fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    super::serve::on_signal(&stop)?;
    let mut options = ReplayOptions::new(arguments.files.clone(), arguments.format, arguments.to.clone());
    options.speed = arguments.speed;
    options.retime = arguments.retime;
    let bar = progress_bar(false);
    let sent = run(&options, &stop, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .map_err(|error| Failure::Run(error.to_string()))?;
    bar.finish_and_clear();
    eprintln!(
        "sent {} lines, {} bytes in {:.3} s over {} connections; latest {:.1} ms after it was due",
        sent.lines,
        sent.bytes,
        sent.elapsed.as_secs_f64(),
        sent.connections,
        sent.late_max.as_secs_f64() * 1e3
    );
    if sent.ticks == Some(0) && sent.lines > 0 {
        eprintln!("tickwire: no line was a tick: is {} the right --format?", arguments.format.name);
    }
    if !sent.acknowledged {
        eprintln!(
            "tickwire: the engine did not confirm the end in time; the last lines may not have arrived"
        );
    }
    Ok(())
}
