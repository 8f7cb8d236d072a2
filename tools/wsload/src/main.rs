//! An open-loop WebSocket load client. Thousands of connections on one or two threads; each message carries the time it was
//! due, and latency counts from then, so a server that falls behind cannot hide it by sending later.
//!
//! ```text
//! options ─► load: threads, window ─► driver: one poll a thread ─► connection ─► frames ─► message ─► tally ─► report
//!            feed: the other side, ticks at a fixed rate into an engine
//! ```

mod connection;
mod driver;
mod feed;
mod frames;
mod load;
mod message;
mod options;
mod process;
mod report;
mod sequences;
mod tally;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser as _;

/// Now, ns since 1970 by the machine's clock: the one that due times are told in.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn main() -> ExitCode {
    let arguments = options::Arguments::parse();
    let outcome = match &arguments.command {
        Some(options::Command::Feed(feed)) => feed::run(feed),
        None => arguments.load.checked().and_then(|load| load::run(&load)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wsload: {failure}");
            ExitCode::from(if failure.is_usage() { 2 } else { 1 })
        }
    }
}
