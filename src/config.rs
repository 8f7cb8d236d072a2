//! Settings: flags over environment over file over defaults, checked once; a `Config` that exists is a good one.

mod connect;
mod feed;
mod vendor_environment;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::backfill::RestOptions;
use crate::feed::SourceOptions;
use crate::feed::universe::{self, Universes};
use crate::gateway::GatewayOptions;
use crate::model::calendar::{self, Anchor, Calendar, CalendarRules, Open, Pick};
use crate::model::{Nanos, Symbol, Timeframe, Timeframes};
use crate::shard::conditions::{BOOKS_MAX, Choice, Coding, Conditions};
use crate::shard::{BarClock, BarsFrom, BuiltBy, CandleOptions, Fill};

use self::feed::FeedSection;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The most symbols; ticks of further ones are rejected. Each costs about 2 KiB per timeframe.
    pub symbols_max: usize,
    /// Rules of the bars.
    pub candles: CandleOptions,
    /// How far a feed's clock may be from ours and still be believed.
    pub feed_offset_max: Nanos,
    /// Where ticks come from.
    pub sources: Vec<SourceOptions>,
    /// The REST sides of sources that connect to a vendor, each by its place among the sources.
    pub rest: Vec<(u8, RestOptions)>,
    /// End when every finite source has ended.
    pub finish_at_end: bool,
    /// The gateway.
    pub gateway: GatewayOptions,
    /// Cores and rings.
    pub layout: Layout,
}

/// How stages are laid out on cores, and how deep the rings between them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Which stages share a core.
    pub placement: Placement,
    /// How many shards own the symbols.
    pub shards: usize,
    /// How many gateways share the clients.
    pub gateways: usize,
    /// Processors to pin to, in the order ingest, shards, gateways; empty: 0, 1, 2 …
    pub processors: Vec<usize>,
    /// Pin cores to processors at all.
    pub pin: bool,
    /// How long an idle core spins before it parks.
    pub spin: Nanos,
    /// Never park.
    pub never_park: bool,
    /// Ticks between an ingest and a shard.
    pub ticks_depth: usize,
    /// Events between a shard and a gateway.
    pub events_depth: usize,
    /// Interests between a gateway and a shard.
    pub interests_depth: usize,
    /// Facts that may wait beside a full ring before it is declared broken.
    pub facts_waiting_max: usize,
    /// How long they may.
    pub facts_deadline: Nanos,
}

/// Which stages share a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Dedicated where there are processors enough, else shared on two, else on one.
    Auto,
    /// A core for each stage.
    Dedicated,
    /// Two cores: ingest and shards, and the gateways; or, where bars go to a file, ingest, and all that follows.
    Shared,
    /// Everything on one core.
    Single,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            placement: Placement::Auto,
            shards: 1,
            // One serves thousands of clients; a second needs a processor of its own.
            gateways: 1,
            processors: Vec::new(),
            pin: true,
            spin: Nanos::from_micros(50),
            never_park: false,
            // 4 MiB: a burst of 65,536 ticks while a shard does something else for a few milliseconds.
            ticks_depth: 65_536,
            // 2 MiB; also the longest replay is half of it.
            events_depth: 16_384,
            interests_depth: 16_384,
            facts_waiting_max: 65_536,
            facts_deadline: Nanos::from_secs(1),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TOML, or a key or type that does not exist. The text shows line and column.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, column, and what would be right.
        message: String,
    },
    /// A value that is well-formed and wrong.
    #[error("{key}: {message}")]
    Value {
        /// The key, or the environment variable.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

fn wrong(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), message: message.into() }
}

/// The file as written. Every key is optional; unknown ones are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    symbols_max: Option<usize>,
    finish_at_end: Option<bool>,
    bars: BarsSection,
    gateway: GatewaySection,
    cores: CoresSection,
    rings: RingsSection,
    feed: Vec<FeedSection>,
    calendar: Vec<CalendarSection>,
    universes: Option<universe::Written>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CalendarSection {
    name: Option<String>,
    file: Option<PathBuf>,
    symbols: Vec<String>,
    patterns: Vec<String>,
    feeds: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BarsSection {
    timeframes: Option<Vec<String>>,
    from: Option<String>,
    anchor: Option<String>,
    fill: Option<FillSetting>,
    fill_bars_max: Option<usize>,
    conditions: Option<Names>,
    clock: Option<String>,
    grace_ms: Option<i64>,
    late_tolerance_ms: Option<i64>,
    seal_after_s: Option<i64>,
    feed_offset_max_ms: Option<i64>,
    history_mib_max: Option<usize>,
    trades_mib_max: Option<usize>,
    preallocate: Option<bool>,
    trades_per_symbol_max: Option<usize>,
    rank: Option<Vec<String>>,
    upstream_wait_ms: Option<i64>,
    audit_bars_max: Option<usize>,
}

/// `fill = true` or `fill = "extended"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FillSetting {
    On(bool),
    Sessions(String),
}

/// One name, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a name such as \"us-equities\", or a list of them")]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn list(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GatewaySection {
    listen: Option<SocketAddr>,
    connections_max: Option<usize>,
    connections_per_ip_max: Option<usize>,
    subscriptions_max: Option<usize>,
    message_bytes_max: Option<usize>,
    outbox_facts_bytes_max: Option<usize>,
    outbox_facts_age_ms_max: Option<u64>,
    request_head_bytes_max: Option<usize>,
    handshake_ms_max: Option<u64>,
    close_ms_max: Option<u64>,
    heartbeat_s: Option<u64>,
    send_buffer_bytes: Option<usize>,
    requests_per_s_max: Option<u32>,
    request_bytes_per_s_max: Option<usize>,
    control_frames_per_s_max: Option<u32>,
    drain_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CoresSection {
    placement: Option<Placement>,
    shards: Option<usize>,
    gateways: Option<usize>,
    processors: Option<Vec<usize>>,
    pin: Option<bool>,
    idle: Option<String>,
    spin_us: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RingsSection {
    ticks_depth: Option<usize>,
    events_depth: Option<usize>,
    interests_depth: Option<usize>,
    facts_waiting_max: Option<usize>,
    facts_deadline_ms: Option<i64>,
}

/// A setting that the environment may override: its variables, and how its text is put in place.
struct Variable {
    names: &'static [&'static str],
    key: &'static str,
    set: fn(&mut File, &str) -> Result<(), String>,
}

fn number<T: std::str::FromStr>(text: &str) -> Result<Option<T>, String> {
    text.parse().map(Some).map_err(|_| format!("{text:?} is not a whole number in range"))
}

/// Every environment variable that is understood. The unprefixed ones are the names that earlier systems used.
const VARIABLES: &[Variable] = &[
    Variable {
        names: &["TICKWIRE_LISTEN"],
        key: "gateway.listen",
        set: |file, text| {
            let addr =
                text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:8080"))?;
            file.gateway.listen = Some(addr);
            Ok(())
        },
    },
    Variable {
        names: &["TICKWIRE_TIMEFRAMES", "DEFAULT_TIMEFRAMES"],
        key: "bars.timeframes",
        set: |file, text| {
            let list = text.trim_matches(['[', ']']).split(',');
            file.bars.timeframes = Some(list.map(|t| t.trim_matches([' ', '"', '\'']).to_owned()).collect());
            Ok(())
        },
    },
    Variable {
        names: &["TICKWIRE_CONDITIONS"],
        key: "bars.conditions",
        set: |file, text| {
            file.bars.conditions = Some(Names::Many(text.split(',').map(|t| t.trim().to_owned()).collect()));
            Ok(())
        },
    },
    Variable {
        names: &["TICKWIRE_CONNECTIONS_MAX", "MAX_WEBSOCKET_CONNECTIONS"],
        key: "gateway.connections_max",
        set: |file, text| number(text).map(|value| file.gateway.connections_max = value),
    },
    Variable {
        names: &["TICKWIRE_CONNECTIONS_PER_IP_MAX"],
        key: "gateway.connections_per_ip_max",
        set: |file, text| number(text).map(|value| file.gateway.connections_per_ip_max = value),
    },
    Variable {
        names: &["TICKWIRE_DRAIN_S"],
        key: "gateway.drain_s",
        set: |file, text| number(text).map(|value| file.gateway.drain_s = value),
    },
    Variable {
        names: &["TICKWIRE_SYMBOLS_MAX"],
        key: "symbols_max",
        set: |file, text| number(text).map(|value| file.symbols_max = value),
    },
    Variable {
        names: &["TICKWIRE_SHARDS"],
        key: "cores.shards",
        set: |file, text| number(text).map(|value| file.cores.shards = value),
    },
    Variable {
        names: &["TICKWIRE_GATEWAYS"],
        key: "cores.gateways",
        set: |file, text| number(text).map(|value| file.cores.gateways = value),
    },
    Variable {
        names: &["TICKWIRE_HISTORY_MIB_MAX"],
        key: "bars.history_mib_max",
        set: |file, text| number(text).map(|value| file.bars.history_mib_max = value),
    },
    Variable {
        names: &["TICKWIRE_TRADES_MIB_MAX"],
        key: "bars.trades_mib_max",
        set: |file, text| number(text).map(|value| file.bars.trades_mib_max = value),
    },
    Variable {
        names: &["TICKWIRE_TRADES_PER_SYMBOL_MAX", "TICK_BUFFER_SIZE"],
        key: "bars.trades_per_symbol_max",
        set: |file, text| number(text).map(|value| file.bars.trades_per_symbol_max = value),
    },
];

impl Config {
    /// Reads a file, lets the environment override it, and checks the whole.
    ///
    /// # Errors
    /// The first thing that is wrong: where, and what would be right.
    pub fn load(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let file = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })?;
        Self::check(file, environment)
    }

    /// The defaults with the environment's overrides, and no feed.
    ///
    /// # Errors
    /// A variable whose value is wrong.
    pub fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::check(File::default(), environment)
    }

    fn check(mut file: File, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        for variable in VARIABLES {
            let set = variable.names.iter().find_map(|&name| Some((name, environment(name)?)));
            if let Some((name, text)) = set {
                (variable.set)(&mut file, &text)
                    .map_err(|message| wrong(&format!("{name} (for {})", variable.key), message))?;
            }
        }
        let mut candles = file.bars.check()?;
        candles.calendars = check_calendars(&file)?;
        let nested = candles.calendars.grids(&candles.timeframes);
        nested.map_err(|error| wrong("bars.timeframes", error.to_string()))?;
        let feed_offset_max = millis("bars.feed_offset_max_ms", file.bars.feed_offset_max_ms, 5_000)?;
        let layout = check_layout(&file.cores, &file.rings)?;
        vendor_environment::override_feeds(&mut file.feed, &environment)?;
        let universes = match &file.universes {
            None => Universes::default(),
            Some(written) => {
                Universes::default().with(written).map_err(|error| wrong("universes", error.to_string()))?
            }
        };
        let mut sources = Vec::with_capacity(file.feed.len());
        let mut rest = Vec::new();
        for (n, feed) in file.feed.iter().enumerate() {
            let (source, side) = feed.check(n, &universes, &environment)?;
            sources.push(source);
            // More sources than a byte can number are refused before any runs.
            rest.extend(side.map(|side| (u8::try_from(n).unwrap_or(u8::MAX), side)));
        }
        if let Some(names) = &file.bars.conditions {
            let wrong = |message: String| wrong("bars.conditions", message);
            if names.list().len() > BOOKS_MAX {
                return Err(wrong(format!(
                    "{} tables; at most {BOOKS_MAX} are possible",
                    names.list().len()
                )));
            }
            let choices = names.list().iter().map(|name| Choice::find(name)).collect::<Result<Vec<_>, _>>();
            candles.conditions = Some(choices.and_then(|choices| judge(&choices, &sources)).map_err(wrong)?);
        }
        Ok(Self {
            rest,
            symbols_max: range("symbols_max", file.symbols_max, 65_536, 1, 16_777_216)?,
            candles,
            feed_offset_max,
            finish_at_end: file.finish_at_end.unwrap_or(false),
            sources,
            gateway: file.gateway.check()?,
            layout,
        })
    }

    /// Says in plain words what it means: one line a setting that matters.
    pub fn explain(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let candles = &self.candles;
        let ms = |span: Nanos| {
            if span == Nanos::MAX { "never".to_owned() } else { format!("{} ms", span.0 / 1_000_000) }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "bars      {} from {:?}, closed by the {:?} clock",
            candles.timeframes, candles.bars_from, candles.clock
        );
        let _ = writeln!(
            out,
            "          grace {}, late ticks accepted up to {}, revisable for {}",
            ms(candles.grace),
            ms(candles.late_tolerance),
            ms(candles.seal_after)
        );
        let kinds = candles.rank.iter().map(|kind| match kind {
            BuiltBy::Trades => "trades",
            BuiltBy::Aggregated => "aggregated trades",
            _ => "bars of the vendor",
        });
        let _ = writeln!(
            out,
            "          of a symbol that has several: {}; the others are only compared",
            kinds.collect::<Vec<_>>().join(", then ")
        );
        if let Some(Fill { open, bars_max }) = candles.fill {
            let sessions = if open == Open::Regular { "regular sessions" } else { "all sessions" };
            let _ =
                writeln!(out, "          intervals without trades filled in {sessions}, {bars_max} in a row");
        }
        if candles.calendars.anchor() == Anchor::Session {
            let _ = writeln!(out, "          1h and longer counted from the beginning of each session");
        }
        let _ = writeln!(
            out,
            "memory    {} symbols; {} MiB of bars and {} MiB of trades, over all shards",
            self.symbols_max,
            candles.history_bytes_max >> 20,
            candles.trades_bytes_max >> 20
        );
        let _ = writeln!(
            out,
            "gateway   ws://{}/v1/stream, at most {} connections, {} from one address; clients seen off for {} s",
            self.gateway.listen,
            self.gateway.connections_max,
            self.gateway.connections_per_ip_max,
            self.gateway.drain_s
        );
        for (n, source) in self.sources.iter().enumerate() {
            let rest = self.rest.iter().find(|(place, _)| usize::from(*place) == n).map(|(_, rest)| rest);
            out += &feed::explain(source, rest);
            let Some(conditions) = &self.candles.conditions else { continue };
            let _ = match conditions.of_source(n) {
                Some((book, coding)) => writeln!(
                    out,
                    "          sale conditions {} as of {}, read as {}: {}{}",
                    book.name,
                    book.as_of,
                    coding.name(),
                    book.about,
                    if book.has_daily() { "; daily bars have rules of their own" } else { "" }
                ),
                None => {
                    writeln!(out, "          sale conditions: no table for it, so every trade counts in full")
                }
            };
        }
        if self.sources.is_empty() {
            let _ = writeln!(out, "feed      none: nothing will ever arrive; add a [[feed]] section");
        }
        out
    }
}

/// The tables that judge the trades of each source.
///
/// # Errors
/// Where none is of use to any.
pub fn judge(choices: &[Choice], sources: &[SourceOptions]) -> Result<Conditions, String> {
    let feeds = sources.iter().map(|source| (source.name.as_str(), coding_of(source.dialect.name)));
    Conditions::new(choices, &feeds.collect::<Vec<_>>())
}

/// How a dialect writes the conditions of a trade; `None` where that is the file's own affair.
fn coding_of(dialect: &str) -> Option<Coding> {
    match dialect {
        "massive" => Some(Coding::Massive),
        "binance" => Some(Coding::Binance),
        "alpaca" => Some(Coding::Letters),
        _ => None,
    }
}

fn range(
    key: &str,
    value: Option<usize>,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, ConfigError> {
    match value.unwrap_or(default) {
        value if (least..=most).contains(&value) => Ok(value),
        value => Err(wrong(key, format!("{value} is not between {least} and {most}"))),
    }
}

fn millis(key: &str, value: Option<i64>, default: i64) -> Result<Nanos, ConfigError> {
    match value.unwrap_or(default) {
        ms if (0..=86_400_000).contains(&ms) => Ok(Nanos::from_millis(ms)),
        ms => Err(wrong(key, format!("{ms} ms is not between 0 and a day"))),
    }
}

impl BarsSection {
    fn check(&self) -> Result<CandleOptions, ConfigError> {
        let default = ["1s", "1m", "5m", "15m", "1h", "1d"].map(str::to_owned).to_vec();
        let labels = self.timeframes.as_ref().unwrap_or(&default);
        let list = labels.iter().map(|label| label.parse::<Timeframe>()).collect::<Result<Vec<_>, _>>();
        let timeframes = list
            .and_then(|list| Timeframes::new(&list))
            .map_err(|error| wrong("bars.timeframes", error.to_string()))?;
        let live = CandleOptions::live(timeframes);
        let bars_from = match self.from.as_deref() {
            None => live.bars_from,
            Some(text) => parse_bars_from(text).map_err(|message| wrong("bars.from", message))?,
        };
        let clock = match self.clock.as_deref() {
            None | Some("live") => BarClock::Live,
            Some("event") => BarClock::Event,
            Some(other) => {
                return Err(wrong("bars.clock", format!("{other:?} is neither \"live\" nor \"event\"")));
            }
        };
        let open = match &self.fill {
            None | Some(FillSetting::On(false)) => None,
            Some(FillSetting::On(true)) => Some(Open::Regular),
            Some(FillSetting::Sessions(text)) => {
                Some(parse_fill(text).map_err(|message| wrong("bars.fill", message))?)
            }
        };
        let bars_max =
            range("bars.fill_bars_max", self.fill_bars_max, Fill::BARS_MAX as usize, 1, 1_000_000)?;
        let fill = open.map(|open| Fill { open, bars_max: bars_max as u32 });
        let trades_per_symbol_max = match self.trades_per_symbol_max {
            None => live.trades_per_symbol_max,
            value => range("bars.trades_per_symbol_max", value, 1, 1, usize::MAX)?,
        };
        let mib = |key, value, default| Ok(range(key, value, default, 1, 1 << 20)? << 20);
        Ok(CandleOptions {
            bars_from,
            fill,
            clock,
            grace: millis("bars.grace_ms", self.grace_ms, 250)?,
            late_tolerance: millis("bars.late_tolerance_ms", self.late_tolerance_ms, 15_000)?,
            seal_after: millis(
                "bars.seal_after_s",
                self.seal_after_s.map(|s| s.saturating_mul(1_000)),
                900_000,
            )?,
            history_bytes_max: mib("bars.history_mib_max", self.history_mib_max, 256)?,
            trades_bytes_max: mib("bars.trades_mib_max", self.trades_mib_max, 256)?,
            preallocate: self.preallocate.unwrap_or(live.preallocate),
            trades_per_symbol_max,
            rank: match &self.rank {
                None => live.rank.clone(),
                Some(kinds) => check_rank(kinds).map_err(|message| wrong("bars.rank", message))?,
            },
            upstream_wait: millis("bars.upstream_wait_ms", self.upstream_wait_ms, 3_000)?,
            audit_bars_max: range(
                "bars.audit_bars_max",
                self.audit_bars_max,
                live.audit_bars_max,
                1,
                1 << 24,
            )?,
            ..live
        })
    }
}

/// Reads `trades`, `bid`, `ask` or `mid`.
///
/// # Errors
/// A sentence that lists them.
pub fn parse_bars_from(text: &str) -> Result<BarsFrom, String> {
    Ok(match text {
        "trades" => BarsFrom::Trades,
        "bid" => BarsFrom::Bid,
        "ask" => BarsFrom::Ask,
        "mid" => BarsFrom::Mid,
        other => return Err(format!("{other:?} is none of trades, bid, ask, mid")),
    })
}

/// What builds a symbol's bars, best first.
fn check_rank(kinds: &[String]) -> Result<Vec<BuiltBy>, String> {
    let mut rank = Vec::new();
    for kind in kinds {
        let kind = match kind.as_str() {
            "trades" => BuiltBy::Trades,
            "aggregated" => BuiltBy::Aggregated,
            "bars" => BuiltBy::Bars,
            other => return Err(format!("{other:?} is none of \"trades\", \"aggregated\", \"bars\"")),
        };
        if rank.contains(&kind) {
            return Err(format!("{:?} is listed twice", kinds[rank.len()]));
        }
        rank.push(kind);
    }
    if rank.is_empty() {
        return Err(
            "an empty list would build no bars; the default is [\"trades\", \"aggregated\", \"bars\"]"
                .to_owned(),
        );
    }
    Ok(rank)
}

/// Reads `epoch` or `session`.
///
/// # Errors
/// A sentence that lists them.
pub fn parse_anchor(text: &str) -> Result<Anchor, String> {
    match text {
        "epoch" => Ok(Anchor::Epoch),
        "session" => Ok(Anchor::Session),
        other => Err(format!("{other:?} is neither \"epoch\" nor \"session\"")),
    }
}

/// Reads `regular` or `extended`.
///
/// # Errors
/// A sentence that lists them.
pub fn parse_fill(text: &str) -> Result<Open, String> {
    match text {
        "regular" => Ok(Open::Regular),
        "extended" => Ok(Open::Extended),
        other => Err(format!("{other:?} is neither \"regular\" nor \"extended\" (nor true or false)")),
    }
}

/// A calendar by its name, or from the file of that name.
///
/// # Errors
/// A sentence: which there are, or what is wrong with the file.
pub fn parse_calendar(name: &str) -> Result<Calendar, String> {
    if calendar::BUILT_IN.iter().any(|(known, _)| *known == name) {
        return calendar::built_in(name);
    }
    match std::fs::read_to_string(name) {
        Ok(text) => calendar::parse(&text).map_err(|message| format!("{name}: {message}")),
        Err(error) => Err(match calendar::built_in(name) {
            Err(known) => format!("{known}; nor is it a file ({error})"),
            Ok(_) => error.to_string(),
        }),
    }
}

fn check_calendars(file: &File) -> Result<CalendarRules, ConfigError> {
    let anchor = file.bars.anchor.as_deref().map_or(Ok(Anchor::Epoch), parse_anchor);
    let anchor = anchor.map_err(|message| wrong("bars.anchor", message))?;
    let mut rules = CalendarRules::anchored(anchor);
    for (n, section) in file.calendar.iter().enumerate() {
        let key = |field: &str| format!("calendar[{n}].{field}");
        let calendar = match (&section.name, &section.file) {
            (Some(name), None) => calendar::built_in(name).map_err(|message| wrong(&key("name"), message))?,
            (None, Some(path)) => {
                let found = parse_calendar(&path.to_string_lossy());
                found.map_err(|message| wrong(&key("file"), message))?
            }
            _ => return Err(wrong(&key("name"), "give either a name, such as \"us-equities\", or a file")),
        };
        let mut picks = Vec::new();
        for name in &section.symbols {
            let symbol = Symbol::new(name.as_bytes());
            picks.push(Pick::Symbol(symbol.map_err(|error| wrong(&key("symbols"), error.to_string()))?));
        }
        picks.extend(section.patterns.iter().cloned().map(Pick::Pattern));
        for name in &section.feeds {
            let named = |(at, feed): (usize, &FeedSection)| feed.name_at(at) == *name;
            let Some(source) = file.feed.iter().enumerate().position(named) else {
                return Err(wrong(&key("feeds"), format!("no [[feed]] is called {name:?}")));
            };
            picks.push(Pick::Source(source.min(usize::from(u8::MAX)) as u8));
        }
        if picks.is_empty() {
            picks.push(Pick::All);
        }
        if !rules.add(calendar, picks) {
            return Err(wrong("calendar", format!("there are more than {}", CalendarRules::MAX)));
        }
    }
    if anchor == Anchor::Session && file.calendar.is_empty() {
        let message =
            "\"session\": of which market? add a [[calendar]] section, such as name = \"us-equities\"";
        return Err(wrong("bars.anchor", message));
    }
    Ok(rules)
}

impl GatewaySection {
    fn check(&self) -> Result<GatewayOptions, ConfigError> {
        let default = GatewayOptions::default();
        let range = |key, value, default, least| range(key, value, default, least, 1 << 30);
        let connections_max =
            range("gateway.connections_max", self.connections_max, default.connections_max, 1)?;
        let message_bytes_max =
            range("gateway.message_bytes_max", self.message_bytes_max, default.message_bytes_max, 125)?;
        let drain_s = self.drain_s.unwrap_or(default.drain_s);
        if drain_s > 3_600 {
            return Err(wrong("gateway.drain_s", format!("{drain_s} s is more than an hour")));
        }
        Ok(GatewayOptions {
            listen: self.listen.unwrap_or(default.listen),
            connections_max,
            connections_per_ip_max: range(
                "gateway.connections_per_ip_max",
                self.connections_per_ip_max,
                connections_max,
                1,
            )?,
            subscriptions_max: range(
                "gateway.subscriptions_max",
                self.subscriptions_max,
                default.subscriptions_max,
                1,
            )?,
            message_bytes_max,
            outbox_facts_bytes_max: range(
                "gateway.outbox_facts_bytes_max",
                self.outbox_facts_bytes_max,
                default.outbox_facts_bytes_max,
                4_096,
            )?,
            outbox_facts_age_ms_max: self
                .outbox_facts_age_ms_max
                .unwrap_or(default.outbox_facts_age_ms_max)
                .max(1),
            request_head_bytes_max: range(
                "gateway.request_head_bytes_max",
                self.request_head_bytes_max,
                default.request_head_bytes_max,
                512,
            )?,
            handshake_ms_max: self.handshake_ms_max.unwrap_or(default.handshake_ms_max).max(1),
            close_ms_max: self.close_ms_max.unwrap_or(default.close_ms_max).max(1),
            heartbeat_s: self.heartbeat_s.unwrap_or(default.heartbeat_s).max(1),
            send_buffer_bytes: range(
                "gateway.send_buffer_bytes",
                self.send_buffer_bytes,
                default.send_buffer_bytes,
                4_096,
            )?,
            requests_per_s_max: self.requests_per_s_max.unwrap_or(default.requests_per_s_max).max(1),
            // A message of full length must fit, with the header of its frame.
            request_bytes_per_s_max: range(
                "gateway.request_bytes_per_s_max",
                self.request_bytes_per_s_max,
                default.request_bytes_per_s_max.max(message_bytes_max + 1_024),
                message_bytes_max + 1_024,
            )?,
            // Fewer, and the pong to our own ping could be too many.
            control_frames_per_s_max: self
                .control_frames_per_s_max
                .unwrap_or(default.control_frames_per_s_max)
                .max(2),
            drain_s,
            ..default
        })
    }
}

fn check_layout(cores: &CoresSection, rings: &RingsSection) -> Result<Layout, ConfigError> {
    let default = Layout::default();
    let never_park = match cores.idle.as_deref() {
        None | Some("park") => false,
        Some("spin") => true,
        Some(other) => {
            return Err(wrong("cores.idle", format!("{other:?} is neither \"park\" nor \"spin\"")));
        }
    };
    let spin_us = cores.spin_us.unwrap_or(default.spin.0 / 1_000);
    if !(0..=1_000_000).contains(&spin_us) {
        return Err(wrong("cores.spin_us", format!("{spin_us} is not between 0 and 1,000,000")));
    }
    let depth = |key, value, default| range(key, value, default, 2, 1 << 24);
    Ok(Layout {
        placement: cores.placement.unwrap_or(default.placement),
        shards: range("cores.shards", cores.shards, default.shards, 1, 256)?,
        gateways: range("cores.gateways", cores.gateways, default.gateways, 1, 64)?,
        processors: cores.processors.clone().unwrap_or_default(),
        pin: cores.pin.unwrap_or(default.pin),
        spin: Nanos::from_micros(spin_us),
        never_park,
        ticks_depth: depth("rings.ticks_depth", rings.ticks_depth, default.ticks_depth)?,
        // An answer of a few events must fit into half of it.
        events_depth: range("rings.events_depth", rings.events_depth, default.events_depth, 128, 1 << 24)?,
        interests_depth: depth("rings.interests_depth", rings.interests_depth, default.interests_depth)?,
        facts_waiting_max: range(
            "rings.facts_waiting_max",
            rings.facts_waiting_max,
            default.facts_waiting_max,
            0,
            1 << 24,
        )?,
        facts_deadline: millis("rings.facts_deadline_ms", rings.facts_deadline_ms, 1_000)?,
    })
}
