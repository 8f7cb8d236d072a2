//! A market data venue that behaves as badly as real ones: the server side of Massive and of Binance over WebSocket and REST, from
//! made or recorded ticks, with faults on request.
//!
//! ```text
//! generate ─┐                                  ┌─ line (faults on it) ─ net ─► clients
//! recording ┴► venue: due, strike, tell bars ──┤
//!                │  massive, binance: words    └─ truth ─ rest ─► backfill
//!                └─ truth file, log
//! ```
//!
//! Open-loop: what is due does not wait for those who read it. All runs on one thread, turn by turn of a millisecond.

mod binance;
mod clock;
mod decimal;
mod event;
mod fault;
mod frames;
mod generate;
mod lateness;
mod line;
mod massive;
mod net;
mod options;
mod random;
mod recording;
mod rest;
mod supply;
mod tls;
mod truth;
mod venue;

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, sleep};

use event::Symbols;
use net::{hold, now_ms};
use options::Arguments;
use recording::Recording;
use supply::Supply;
use truth::Truth;
use venue::Venue;

const TURN: Duration = Duration::from_millis(1);
/// So long closes have to reach their clients.
const GOODBYE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(message) = arguments.check() {
        eprintln!("feedsim: {message}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("feedsim: {message}");
            ExitCode::from(1)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    let venue = Arc::new(Mutex::new(open(arguments)?));
    let host = |address: std::net::SocketAddr| {
        let failed = move |error: std::io::Error| format!("{address}: {error}");
        async move {
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            Ok::<_, String>((listener, at))
        }
    };
    let (plain, at) = host(arguments.listen).await?;
    let mut places = json!({"ws": format!("ws://{at}"), "http": format!("http://{at}")});
    tokio::spawn(net::listen(plain, None, venue.clone()));
    if let (Some(address), Some(folder)) = (arguments.listen_tls, &arguments.tls_dir) {
        let acceptor = tls::acceptor(folder)?;
        let (listener, at) = host(address).await?;
        places["wss"] = json!(format!("wss://{at}"));
        places["https"] = json!(format!("https://{at}"));
        places["ca"] = json!(folder.join(tls::CA_FILE));
        tokio::spawn(net::listen(listener, Some(acceptor), venue.clone()));
    }
    if let Some(address) = arguments.control {
        let (listener, at) = host(address).await?;
        places["control"] = json!(at.to_string());
        tokio::spawn(net::take_orders(listener, venue.clone()));
    }
    say(&places.to_string())?;
    let mut turns = interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        turns.tick().await;
        let now = now_ms();
        let mut venue = hold(&venue);
        venue.advance(now);
        if venue.is_done(now) {
            venue.end();
            break;
        }
    }
    sleep(GOODBYE).await;
    let mut venue = hold(&venue);
    venue.flush().map_err(|error| error.to_string())?;
    if let Some(error) = venue.trouble.take() {
        return Err(format!("what is on record could not be written: {error}"));
    }
    say(&venue.report().to_string())
}

fn open(arguments: &Arguments) -> Result<Venue, String> {
    let mut symbols = Symbols::default();
    let skew_ms = arguments.clock_skew_ms;
    let supply = match (&arguments.recording, arguments.format) {
        (Some(path), Some(format)) => {
            let recording = Recording::read(path, format, &mut symbols)?;
            if recording.passed_over > 0 {
                eprintln!(
                    "feedsim: {} lines of {} tell of nothing that is sent",
                    recording.passed_over,
                    path.display()
                );
            }
            Supply::Recorded { recording, retime: arguments.retime, speed: arguments.speed, skew_ms }
        }
        _ => Supply::Generated {
            habits: arguments.habits(),
            seed: arguments.seed,
            for_ms: arguments.for_ms,
            skew_ms,
        },
    };
    let file =
        |path: &std::path::Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    let truth = Truth::new(arguments.truth.as_deref()).map_err(|error| format!("--truth: {error}"))?;
    let log = arguments.log.as_deref().map(file).transpose()?;
    Ok(Venue::new(arguments.manners(), supply, symbols, truth, arguments.faults.clone(), arguments.seed, log))
}

fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
