//! The command line, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::fault::{Plan, duration_ms};
use crate::generate::Habits;
use crate::recording::Format;
use crate::venue::{Kindred, Manners};

/// Seconds of a day: how long Binance lets a connection live.
const DAY_MS: i64 = 86_400_000;

/// A market data venue that behaves as badly as real ones.
///
/// Its first line on standard output says where it listens, its last one what it did, both as JSON. Of an option that is given twice
/// and may not be repeated the later one counts.
#[derive(Debug, Parser)]
#[command(version, args_override_self = true)]
pub struct Arguments {
    /// Whose words it speaks.
    #[arg(long, value_enum, default_value = "massive")]
    pub venue: Kindred,
    /// Where it takes ws:// and http://; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where it takes wss:// and https://; needs --tls-dir.
    #[arg(long, requires = "tls_dir")]
    pub listen_tls: Option<SocketAddr>,
    /// Directory that the certificate of its own authority is written to, as ca.pem.
    #[arg(long)]
    pub tls_dir: Option<PathBuf>,
    /// Where it takes orders: lines of JSON.
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// A key that is let in; may be repeated; without one every key is.
    #[arg(long = "key")]
    pub keys: Vec<String>,
    /// Connections of one key at once (Massive); with one more the oldest is told to go.
    #[arg(long, default_value_t = 1)]
    pub connections_max: usize,

    /// Ticks out of this file, instead of made ones.
    #[arg(long, requires = "format")]
    pub recording: Option<PathBuf>,
    /// How the recording is written.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The recording's times become those of now.
    #[arg(long)]
    pub retime: bool,
    /// So many times the recording's own pace; not with --retime.
    #[arg(long, default_value_t = 1.0, conflicts_with = "retime")]
    pub speed: f64,
    /// Made ticks: how many symbols (SIM000, SIM001, …; at Binance SIM000USDT, …).
    #[arg(long, default_value_t = 100)]
    pub symbols: usize,
    /// Made ticks: the n-th symbol has n to the minus this of the first one's.
    #[arg(long, default_value_t = 1.0)]
    pub zipf: f64,
    /// Made ticks a second, outside bursts.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// So many times the rate in the first two seconds.
    #[arg(long, default_value_t = 4.0)]
    pub open_factor: f64,
    /// So many times the rate in the first quarter of a second of each minute.
    #[arg(long, default_value_t = 4.0)]
    pub minute_factor: f64,
    /// Share of made ticks that are quotes.
    #[arg(long, default_value_t = 0.1)]
    pub quotes: f64,
    /// Share of made sales with condition codes.
    #[arg(long, default_value_t = 0.0)]
    pub conditions: f64,
    /// Share of made sales of a fraction of a share.
    #[arg(long, default_value_t = 0.05)]
    pub fractions: f64,
    /// For the ticks, the faults, and whom they strike.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Made ticks come for so long.
    #[arg(long = "for", default_value = "10s", value_parser = milliseconds, value_name = "TIME")]
    pub for_ms: i64,
    /// After the last tick it stays so long: for REST and what is late.
    #[arg(long, default_value = "0s", value_parser = milliseconds, value_name = "TIME")]
    pub linger: i64,
    /// It begins when its clients listen to so many topics in all.
    #[arg(long, default_value_t = 1)]
    pub wait_topics: usize,
    /// Events of Massive in a frame, at most.
    #[arg(long, default_value_t = 50)]
    pub per_frame: usize,
    /// Its clock is so far ahead of the machine's, ms; may be negative.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub clock_skew_ms: i64,
    /// Decimals of a mean price, 9 to 18.
    #[arg(long, default_value_t = 12)]
    pub vw_decimals: u32,
    /// Between pings.
    #[arg(long, default_value = "20s", value_parser = milliseconds, value_name = "TIME")]
    pub ping: i64,
    /// A connection is closed after so long; by default a day.
    #[arg(long, value_parser = milliseconds, value_name = "TIME")]
    pub lifetime: Option<i64>,
    /// Results on a page of Massive's REST, at most.
    #[arg(long, default_value_t = 50_000)]
    pub page_max: usize,
    /// REST requests a minute before 429; 0: as many as come.
    #[arg(long, default_value_t = 0)]
    pub rest_per_minute: u32,

    /// A fault: KIND[,KIND…][:every=5s][:after=3s][:for=2s][:times=N][:on=one|turn|all|NUMBER|key=KEY][:share=0.3][:by=500ms][:code=1011].
    /// Kinds: drop, stall, duplicate, disorder, garbage, half, reset, close, loris, evict, auth, refuse, skew, rest-429, rest-500,
    /// rest-hang. Of several each strike takes one by the seed. May be repeated.
    #[arg(long = "fault", value_name = "PLAN")]
    pub faults: Vec<Plan>,
    /// Every sale that was due, as csv that `tickwire bars` reads; its last column says what each connection was sent.
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Every fault and every connection, as lines of JSON.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The n-th sale is in the file of the truth and nowhere else: a test that compares with it must fail.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub plant: u64,
}

impl Arguments {
    /// What the options say that cannot be.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, min: f64, max: f64| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(format!("--{name} {value}: it takes {min} to {max}")),
        };
        within("rate", self.rate, 0.001, 1e6)?;
        within("zipf", self.zipf, 0.0, 10.0)?;
        within("symbols", self.symbols as f64, 1.0, 100_000.0)?;
        within("speed", self.speed, 0.001, 1e6)?;
        within("open-factor", self.open_factor, 0.0, 1e3)?;
        within("minute-factor", self.minute_factor, 0.0, 1e3)?;
        within("quotes", self.quotes, 0.0, 1.0)?;
        within("conditions", self.conditions, 0.0, 1.0)?;
        within("fractions", self.fractions, 0.0, 1.0)?;
        within("vw-decimals", f64::from(self.vw_decimals), 9.0, 18.0)?;
        within("connections-max", self.connections_max as f64, 1.0, 10_000.0)?;
        within("per-frame", self.per_frame as f64, 1.0, 10_000.0)?;
        within("page-max", self.page_max as f64, 1.0, 50_000.0)?;
        if self.listen_tls.is_none() && self.tls_dir.is_some() {
            return Err("--tls-dir is for --listen-tls, which is not there".to_owned());
        }
        Ok(())
    }

    /// How the venue behaves.
    pub fn manners(&self) -> Manners {
        Manners {
            kindred: self.venue,
            keys: self.keys.clone(),
            connections_max: self.connections_max,
            per_frame: self.per_frame,
            vw_decimals: self.vw_decimals,
            ping_ms: self.ping,
            lifetime_ms: self.lifetime.unwrap_or(DAY_MS),
            wait_topics: self.wait_topics,
            linger_ms: self.linger,
            plant: self.plant,
            page_max: self.page_max,
            rest_per_minute: self.rest_per_minute,
        }
    }

    /// How its ticks are made.
    pub fn habits(&self) -> Habits {
        Habits {
            symbols: self.symbols,
            zipf: self.zipf,
            rate: self.rate,
            open_factor: self.open_factor,
            minute_factor: self.minute_factor,
            quotes: self.quotes,
            conditions: self.conditions,
            fractions: self.fractions,
            contiguous: self.venue != Kindred::Massive,
        }
    }
}

fn milliseconds(text: &str) -> Result<i64, String> {
    duration_ms(text).ok_or_else(|| "it takes a time such as 500ms, 2s or 1.5s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let words = std::iter::once("feedsim").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn what_cannot_be_is_refused_and_told() {
        assert_eq!(
            check("--symbols 300 --fault stall,half:every=5s:on=turn --for 2.5s --clock-skew-ms -1200"),
            Ok(())
        );
        for (line, word) in [
            ("--rate 0", "rate"),
            ("--fault stal", "right is"),
            ("--for 10", "500ms"),
            ("--recording x", "format"),
            ("--listen-tls 127.0.0.1:0", "tls-dir"),
            ("--speed 2 --retime", "retime"),
            ("--connections-max 0", "connections-max"),
        ] {
            let error = check(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
