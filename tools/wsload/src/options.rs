//! The command line, checked: what exists after [`LoadArguments::checked`] can be run.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Why nothing, or not everything, was measured.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for what cannot be.
    Usage(String),
    /// It was tried and failed.
    Run(String),
}

impl Failure {
    /// Whether another command line would help.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Run(text) => f.write_str(text),
        }
    }
}

/// Load a WebSocket server with readers and measure from when each message was due.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    /// The other side.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The readers.
    #[command(flatten)]
    pub load: LoadArguments,
}

/// What it does besides reading.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send ticks at a fixed rate to an engine; each one's own time is when it was due.
    Feed(FeedArguments),
}

/// `wsload feed`.
#[derive(Debug, Args)]
pub struct FeedArguments {
    /// Where: tcp://HOST:PORT of a source with format "csv".
    pub url: String,
    /// Trades a second, over all symbols.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Trades that are due at once; the bursts keep the rate.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub burst: u64,
    /// Symbols that take turns.
    #[arg(long = "symbol", default_value = "LOAD")]
    pub symbols: Vec<String>,
    /// For how long.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Processor to pin to.
    #[arg(long)]
    pub pin: Option<usize>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// When a connection counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadyWhen {
    /// Each of its requests was answered by `subscribed`.
    Subscribed,
    /// Its requests were sent: for servers that answer nothing.
    Upgraded,
}

/// `wsload URL`.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// The server: ws://HOST:PORT/PATH.
    #[arg(required = true)]
    url: Option<String>,
    /// Connections that read all they can.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Further connections that read one byte a second.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Further connections that never read again once they have subscribed.
    #[arg(long, default_value_t = 0)]
    stopped: usize,
    /// A message that every connection sends first; may be repeated.
    #[arg(long, value_name = "JSON")]
    subscribe: Vec<String>,
    /// A file of such messages, one a line; connection i also sends line i modulo their number.
    #[arg(long, value_name = "FILE")]
    mix: Option<PathBuf>,
    /// For how long to measure.
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to read before, unmeasured.
    #[arg(long, default_value = "2s", value_parser = duration)]
    warmup: Duration,
    /// Connections begun a second.
    #[arg(long, default_value_t = 2000.0)]
    connect_rate: f64,
    /// When all connections must be ready.
    #[arg(long, default_value = "60s", value_parser = duration)]
    connect_timeout: Duration,
    /// When a connection is ready.
    #[arg(long, value_enum, default_value = "subscribed")]
    ready: ReadyWhen,
    /// Addresses to connect from, in turn: each has about 28,000 ports. 127.0.0.2-9, or a list with commas.
    #[arg(long, value_name = "ADDRESSES")]
    source_ips: Option<String>,
    /// Threads, 1 or 2.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Processors to pin the threads to, with commas.
    #[arg(long, value_delimiter = ',')]
    pin: Vec<usize>,
    /// Which time of a message to count from: the key of an integer of microseconds since 1970.
    #[arg(long, default_value = "ts_event", value_name = "KEY")]
    stamp: String,
    /// Check the sequences of every N-th connection; 0 of none.
    #[arg(long, default_value_t = 1, value_name = "N")]
    check_every: usize,
    /// A process whose CPU time and memory to report: the server.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write the latencies, second by second, as a HdrHistogram interval log.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// All there is.
    Full,
    /// One byte a second.
    Slow,
    /// Nothing once it has subscribed.
    Stopped,
}

/// A load that can be run.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub server: SocketAddr,
    /// `HOST:PORT`, as the request names it.
    pub host: String,
    /// The path of the request.
    pub path: String,
    /// Connections that read all they can, that read a byte a second, and that stop.
    pub counts: [usize; 3],
    /// What each connection sends, by its number modulo the length; never empty.
    pub requests: Vec<Vec<String>>,
    /// Measured.
    pub duration: Duration,
    /// Before it.
    pub warmup: Duration,
    /// Connections begun a second.
    pub connect_rate: f64,
    /// When all must be ready.
    pub connect_timeout: Duration,
    /// What ready means.
    pub ready: ReadyWhen,
    /// Addresses to connect from; empty: the system's choice.
    pub sources: Vec<Ipv4Addr>,
    /// How many threads.
    pub threads: usize,
    /// Where they are pinned.
    pub pin: Vec<usize>,
    /// The key to count from.
    pub stamp: String,
    /// Every how many connections sequences are checked; 0: never.
    pub check_every: usize,
    /// The server's process.
    pub server_pid: Option<u32>,
    /// The interval log.
    pub hdr: Option<PathBuf>,
    /// JSON or text.
    pub json: bool,
}

impl Load {
    /// All connections.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How connection `number` reads: the odd ones are spread evenly among the others, so that none is always last.
    pub fn appetite(&self, number: usize) -> Appetite {
        let [_, slow, stopped] = self.counts;
        let odd = slow + stopped;
        let total = self.total();
        // The k-th odd one has the first number at which k of `odd` are due.
        let due = |n: usize| n * odd / total.max(1);
        let (before, after) = (due(number), due(number + 1));
        if after == before {
            Appetite::Full
        } else if before < slow {
            Appetite::Slow
        } else {
            Appetite::Stopped
        }
    }
}

/// The longest run: its histograms are all made before it.
const DURATION_MAX: Duration = Duration::from_secs(3600);
/// More than the hard limit of descriptors on common systems.
const CONNECTIONS_MAX: usize = 1_000_000;

impl LoadArguments {
    /// Parses what the flags name.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn checked(&self) -> Result<Load, Failure> {
        let usage = |text: String| Err(Failure::Usage(text));
        let (host, path) = address(self.url.as_deref().unwrap_or_default(), "ws")?;
        let server = resolve(&host)?;
        let counts = [self.connections, self.slow, self.stopped];
        let total: usize = counts.iter().sum();
        if total == 0 || total > CONNECTIONS_MAX {
            return usage(format!("{total} connections: it takes 1 to {CONNECTIONS_MAX} of them"));
        }
        if !(1..=2).contains(&self.threads) {
            return usage(format!("--threads {}: it takes 1 or 2", self.threads));
        }
        if self.connect_rate.is_nan() || self.connect_rate <= 0.0 {
            return usage(format!("--connect-rate {}: it takes more than 0", self.connect_rate));
        }
        if self.duration.is_zero() || self.duration > DURATION_MAX {
            return usage(format!("--duration {:?}: it takes up to an hour", self.duration));
        }
        let sources = self.source_ips.as_deref().map_or_else(|| Ok(Vec::new()), sources)?;
        if !sources.is_empty() && server.is_ipv6() {
            return usage("--source-ips are of IPv4, and the server is not".to_owned());
        }
        Ok(Load {
            server,
            host,
            path,
            counts,
            requests: self.requests()?,
            duration: self.duration,
            warmup: self.warmup,
            connect_rate: self.connect_rate,
            connect_timeout: self.connect_timeout,
            ready: self.ready,
            sources,
            threads: self.threads.min(total),
            pin: self.pin.clone(),
            stamp: self.stamp.clone(),
            check_every: self.check_every,
            server_pid: self.server_pid,
            hdr: self.hdr.clone(),
            json: self.json,
        })
    }

    fn requests(&self) -> Result<Vec<Vec<String>>, Failure> {
        let Some(path) = &self.mix else { return Ok(vec![self.subscribe.clone()]) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("--mix {}: {error}", path.display())))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let requests: Vec<_> = lines
            .map(|line| self.subscribe.iter().cloned().chain([line.trim().to_owned()]).collect())
            .collect();
        if requests.is_empty() {
            return Err(Failure::Usage(format!("--mix {}: it has no line", path.display())));
        }
        Ok(requests)
    }
}

/// `HOST:PORT` and the path of a URL with this scheme.
pub fn address(url: &str, scheme: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::Usage(format!("{url:?} is no address: it looks like {scheme}://127.0.0.1:8080"));
    let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(wrong)?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if host.is_empty() || !host.contains(':') {
        return Err(wrong());
    }
    Ok((host.to_owned(), path.to_owned()))
}

/// The first address of `HOST:PORT`.
pub fn resolve(host: &str) -> Result<SocketAddr, Failure> {
    let found = host.to_socket_addrs().map_err(|error| Failure::Usage(format!("{host}: {error}")))?;
    found.into_iter().next().ok_or_else(|| Failure::Usage(format!("{host} has no address")))
}

/// `127.0.0.2-9`, `127.0.0.2`, or several of these with commas.
fn sources(text: &str) -> Result<Vec<Ipv4Addr>, Failure> {
    let wrong =
        || Failure::Usage(format!("--source-ips {text:?}: it takes 127.0.0.2-9, or a list with commas"));
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').map_or((part, None), |(a, b)| (a, Some(b)));
        let first: Ipv4Addr = first.trim().parse().map_err(|_| wrong())?;
        let [a, b, c, from] = first.octets();
        let to = last.map_or(Ok(from), |last| last.trim().parse::<u8>().map_err(|_| wrong()))?;
        if to < from {
            return Err(wrong());
        }
        found.extend((from..=to).map(|d| Ipv4Addr::new(a, b, c, d)));
    }
    Ok(found)
}

/// `10s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: it looks like 10s, 500ms or 2m");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str]) -> Result<Load, Failure> {
        let all = ["wsload"].iter().chain(arguments);
        Arguments::try_parse_from(all).unwrap().load.checked()
    }

    #[test]
    fn a_range_of_addresses_is_all_of_them() {
        let found = sources("127.0.0.2-4,127.0.1.9").unwrap();
        assert_eq!(
            found.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" "),
            "127.0.0.2 127.0.0.3 127.0.0.4 127.0.1.9"
        );
        for bad in ["", "127.0.0.9-2", "127.0.0.2-256", "localhost", "127.0.0.2-"] {
            assert!(sources(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "-1s", "1h", "1e400s", "nans"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_odd_ones_are_as_many_as_asked_for() {
        for (connections, slow, stopped) in [(10, 0, 0), (10, 1, 0), (100, 7, 3), (0, 2, 2), (1, 0, 1)] {
            let counts = [connections, slow, stopped];
            let numbers = ["--connections", "--slow", "--stopped"].into_iter().zip(counts);
            let flags: Vec<_> = numbers.map(|(flag, n)| format!("{flag}={n}")).collect();
            let mut arguments = vec!["ws://127.0.0.1:1/"];
            arguments.extend(flags.iter().map(String::as_str));
            let load = load(&arguments).unwrap();
            let mut found = [0; 3];
            (0..load.total()).for_each(|number| found[load.appetite(number) as usize] += 1);
            assert_eq!(found, counts);
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for bad in [
            &["http://127.0.0.1:1/"][..],
            &["ws://127.0.0.1/"],
            &["ws://127.0.0.1:1/", "--connections", "0"],
            &["ws://127.0.0.1:1/", "--threads", "3"],
            &["ws://127.0.0.1:1/", "--connect-rate", "0"],
            &["ws://127.0.0.1:1/", "--mix", "/nowhere"],
        ] {
            assert!(load(bad).is_err_and(|failure| failure.is_usage()), "{bad:?}");
        }
    }
}
