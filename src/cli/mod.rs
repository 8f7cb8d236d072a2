//! Commands and flags. Exit codes: 0 well, 1 failed, 2 bad usage.

mod bars;
mod replay;
mod serve;
mod universes;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tickwire::config::{Config, ConfigError, Placement};
use tickwire::feed::{self, DialectRow};
use tickwire::model::Timeframes;
use tickwire::model::calendar::{Anchor, Calendar, Open};
use tickwire::replay::{Speed, Target};
use tickwire::shard::conditions::Choice;
use tickwire::shard::{BarsFrom, Fill};

/// Market ticks in, exact candles out over WebSocket, the latency of every step on record.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve real trades of several symbols, replayed at their own pace in a loop
    Demo(DemoArguments),
    /// Run the engine
    Serve(ServeArguments),
    /// Parse and explain a configuration and its wiring; touch nothing
    Check(CheckArguments),
    /// Turn files into bars as fast as they go, one JSON object a line in order of symbol, timeframe and start
    Bars(Box<BarsArguments>),
    /// Send recorded files to an engine, at the pace they were recorded or a multiple of it
    Replay(ReplayArguments),
}

#[derive(Args)]
struct DemoArguments {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Write every second's latencies to this file as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    latency_log: Option<PathBuf>,
}

#[derive(Args)]
struct ServeArguments {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where clients connect, over the file's gateway.listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Which stages share a core, over the file's cores.placement
    #[arg(long)]
    placement: Option<Placement>,
    /// How many shards own the symbols, over the file's cores.shards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: Option<u16>,
    /// How many gateways share the clients, over the file's cores.gateways
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    gateways: Option<u16>,
    /// Open the path /echo, which sends back every message of up to so many bytes, to a conformance suite
    #[arg(long, value_name = "BYTES", hide = true)]
    test_echo: Option<usize>,
    /// Write every second's latencies to this file as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    latency_log: Option<PathBuf>,
}

#[derive(Args)]
struct CheckArguments {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct BarsArguments {
    /// Files, read one after the other as one input; .gz is read as it is
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the lines are: csv, massive, binance or alpaca
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: &'static DialectRow,
    /// Bar lengths, each a multiple of the shortest: whole s, m, h, or 1d
    #[arg(long, value_name = "LIST", default_value = "1s,1m,5m,15m,1h,1d", value_parser = Timeframes::parse)]
    timeframes: Timeframes,
    /// Where the bars go [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which prices make the bars: trades, bid, ask or mid
    #[arg(long, value_name = "PRICES", default_value = "trades", value_parser = tickwire::config::parse_bars_from)]
    bars_from: BarsFrom,
    /// Days and sessions of every symbol: us-equities, crypto-24x7, fx-week, or a file [default: UTC days]
    #[arg(long, value_name = "NAME|FILE", value_parser = tickwire::config::parse_calendar)]
    calendar: Option<Calendar>,
    /// What bars of an hour and more, shorter than a day, align to: epoch, or the calendar's session
    #[arg(long, value_name = "WHAT", default_value = "epoch", value_parser = tickwire::config::parse_anchor)]
    anchor: Anchor,
    /// Fill intervals without trades with flat bars: in regular sessions, or in all (extended)
    #[arg(long, value_name = "SESSIONS", num_args = 0..=1, default_missing_value = "regular", value_parser = tickwire::config::parse_fill)]
    fill: Option<Open>,
    /// Fill at most so many bars of a timeframe in a row
    #[arg(long, value_name = "N", default_value_t = Fill::BARS_MAX, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    fill_bars_max: u32,
    /// Which trades move prices and volume, by sale condition: us-equities, quantconnect, binance or a table of the same form, the
    /// coding of its codes after a colon where the format leaves that open (massive, letters, lean, binance) [default: every sale counts]
    #[arg(long, value_name = "NAME|FILE[:CODING]", value_parser = Choice::find)]
    conditions: Option<Choice>,
    /// Refuse ticks for closed bars that are further than this behind their symbol's newest, in ms [default: none is too late]
    #[arg(long, value_name = "MS")]
    late_tolerance: Option<u32>,
    /// How many shards own the symbols; the bars are the same for any number
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// Slots of each ring; the bars are the same for any depth
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(128..=16_777_216))]
    ring_depth: u32,
    /// Which stages share a core; the bars are the same for any
    #[arg(long, default_value = "auto")]
    placement: Placement,
    /// The most symbols; ticks of further ones are rejected and counted
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    symbols_max: u32,
    /// Say nothing on standard error unless something is wrong
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct ReplayArguments {
    /// Files, sent one after the other; .gz is read as it is
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the lines are: csv, massive, binance or alpaca
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: &'static DialectRow,
    /// How fast: 1x is as recorded, 10x ten times that, max as fast as the engine takes it
    #[arg(long, value_name = "SPEED", default_value = "1x", value_parser = str::parse::<Speed>)]
    speed: Speed,
    /// Where to: tcp://host:port for a source of kind tcp, ws://host:port[/ingest] for one of kind websocket
    #[arg(long, value_name = "URL", value_parser = str::parse::<Target>)]
    to: Target,
    /// Move the recorded times so that the first is now
    #[arg(long)]
    retime: bool,
}

fn parse_format(text: &str) -> Result<&'static DialectRow, String> {
    feed::find(text).ok_or_else(|| {
        let known: Vec<_> =
            feed::DIALECTS.iter().map(|row| format!("{} ({})", row.name, row.about)).collect();
        format!("the formats are {}", known.join("; "))
    })
}

/// Why a command failed: its text, and whether the usage was wrong.
enum Failure {
    Usage(String),
    Run(String),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => serve::demo(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Check(arguments) => serve::check(&arguments),
        Command::Bars(arguments) => bars::bars(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Run(message)) => {
            eprintln!("tickwire: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("tickwire: {message}");
            ExitCode::from(2)
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn load(path: &std::path::Path) -> Result<Config, Failure> {
    Ok(Config::load(path, environment)?)
}

/// A bar on standard error where that is a terminal.
fn progress_bar(quiet: bool) -> ProgressBar {
    let target = if quiet || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    // A template that does not parse leaves the default style.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
