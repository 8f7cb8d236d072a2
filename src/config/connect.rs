//! `source = "connect"`: connections to a vendor, their members, symbols, limits and REST side.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::backfill::{self, BaseUrl, RestOptions};
use crate::feed::pool::MEMBERS_MAX;
use crate::feed::session::{self, Class, Key, Secret, SessionRow};
use crate::feed::{DialectRow, Endpoint, MemberOptions, PoolOptions, Universes, universe};
use crate::model::{Nanos, Symbol};

use super::feed::FeedSection;
use super::{ConfigError, Names, range, wrong};

/// How many symbols of a member `check` names.
const SHOWN_SYMBOLS: usize = 6;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberSection {
    pub name: Option<String>,
    pub universe: Option<Names>,
    pub symbols: Option<Vec<String>>,
    pub priority: Option<u8>,
}

/// Overrides of [`PoolLimits`](crate::feed::PoolLimits), where each is explained.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsSection {
    symbols_max: Option<usize>,
    params_max: Option<usize>,
    connect_ms_max: Option<i64>,
    auth_ms_max: Option<i64>,
    subscribe_ms_max: Option<i64>,
    ping_after_ms: Option<i64>,
    silence_ms_max: Option<i64>,
    stale_after_ms: Option<i64>,
    settle_after_ms: Option<i64>,
    backoff_ms_max: Option<i64>,
    auth_cooldown_s: Option<i64>,
    eviction_cooldown_s: Option<i64>,
    gap_margin_ms: Option<i64>,
    lifetime_s: Option<i64>,
}

/// The REST side of a feed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestSection {
    vendor: Option<String>,
    url: Option<String>,
    weight_per_minute_max: Option<u32>,
    settle_ms: Option<i64>,
    poll_every_ms: Option<i64>,
    requests_at_once_max: Option<usize>,
    attempts_max: Option<u32>,
    wishes_max: Option<usize>,
}

/// The pool of a section, and its REST side where it has one.
pub(super) fn check(
    section: &FeedSection,
    n: usize,
    dialect: &'static DialectRow,
    universes: &Universes,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(PoolOptions, Option<RestOptions>), ConfigError> {
    let key = |field: &str| format!("feed[{n}].{field}");
    let row = session::find(&section.format).ok_or_else(|| {
        let known: Vec<_> = session::SESSIONS.iter().map(|row| row.name).collect();
        let text = format!("{:?} cannot be connected to; these can: {}", section.format, known.join(", "));
        wrong(&key("format"), text)
    })?;
    if section.listen.is_some() || section.files.is_some() {
        return Err(wrong(&key("source"), "\"connect\" takes a url, neither listen nor files"));
    }
    let endpoint = endpoint(section.url.as_deref().unwrap_or(row.url_default), section, row)
        .map_err(|message| wrong(&key("url"), message))?;
    let mut pool = PoolOptions::new(&section.name_at(n), dialect, row, endpoint, Vec::new());
    if let Some(channels) = &section.channels {
        pool.asks.channels = self::channels(channels, row).map_err(|text| wrong(&key("channels"), text))?;
    }
    let (one, two) = match row.key {
        Key::None => (None, None),
        Key::One(first) => (Some(first), None),
        Key::Two(first, second) => (Some(first), Some(second)),
    };
    let secret = |field: &str, text: &Option<String>, variable: &Option<String>, usual: Option<&str>| {
        let Some(usual) = usual else { return Ok(Secret::default()) };
        let named = variable.as_deref().unwrap_or(usual);
        match text.clone().or_else(|| environment(named)).filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Secret(text.trim().to_owned())),
            None => Err(wrong(
                &key(field),
                format!("missing: set it, or {field}_env, or the environment variable {named}"),
            )),
        }
    };
    pool.asks.key = secret("key", &section.key, &section.key_env, one)?;
    pool.asks.secret = secret("secret", &section.secret, &section.secret_env, two)?;
    pool.universes = universes.clone();
    if let Some(path) = &section.universe_file {
        let read = Universes::read(path).map_err(|error| wrong(&key("universe_file"), error.to_string()))?;
        pool.universes = pool.universes.overlaid(read);
        pool.universe_file = Some(path.clone());
        pool.universes_fixed = universes.clone();
    }
    pool.limits = section.limits.clone().unwrap_or_default().check(n, row, pool.asks.channels.len())?;
    pool.members = members(section, n, &pool.universes)?;
    check_wildcard(&pool, row).map_err(|text| wrong(&key("symbols"), text))?;
    for (m, member) in pool.members.iter().enumerate() {
        let (own, over) = member.symbols(&pool.universes, pool.limits.symbols_max);
        if over > 0 {
            let text = format!(
                "{} symbols, but a connection may have {} (limits.symbols_max)",
                own.len() + over,
                pool.limits.symbols_max
            );
            return Err(wrong(&key(&format!("members[{m}]")), text));
        }
    }
    let most = range(&key("connections_max"), section.connections_max, 1, 1, MEMBERS_MAX)?;
    if pool.members.len() > most {
        let text = format!(
            "{} connections, but connections_max is {most}: set it to what the account has been given",
            pool.members.len()
        );
        return Err(wrong(&key("connections_max"), text));
    }
    let rest = section.rest.as_ref().map(|rest| rest.check(n, &pool)).transpose()?;
    Ok((pool, rest))
}

/// `*` is for vendors that have it, and stands alone.
fn check_wildcard(pool: &PoolOptions, row: &SessionRow) -> Result<(), String> {
    let lists = pool.members.iter().map(|member| member.symbols(&pool.universes, usize::MAX).0);
    let all: std::collections::HashSet<_> = lists.flatten().collect();
    if !all.contains(&Symbol::EVERY) {
        return Ok(());
    }
    if !row.has_wildcard {
        return Err(format!("\"*\" is no subscription of {}'s: list the symbols", row.name));
    }
    if all.len() > 1 {
        return Err("\"*\" is every symbol: none can stand beside it in a feed's lists".to_owned());
    }
    Ok(())
}

fn channels(names: &[String], row: &SessionRow) -> Result<Vec<(String, Class)>, String> {
    if names.is_empty() {
        return Err(format!("none; {} has {}", row.name, known_channels(row)));
    }
    let mut channels: Vec<(String, Class)> = Vec::new();
    for name in names {
        let class = row
            .class(name)
            .ok_or_else(|| format!("{name:?} is none of {}'s: {}", row.name, known_channels(row)))?;
        if channels.iter().any(|(other, _)| other == name) {
            return Err(format!("{name:?} is listed twice"));
        }
        channels.push((name.clone(), class));
    }
    Ok(channels)
}

fn known_channels(row: &SessionRow) -> String {
    row.channels.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Reads `ws://host`, `wss://host:port/path?query`, with an IPv6 address in brackets.
fn endpoint(url: &str, section: &FeedSection, row: &SessionRow) -> Result<Endpoint, String> {
    let wrong = |why: &str| format!("{url:?} {why}; right would be such as {:?}", row.url_default);
    let (tls, rest) = match (url.strip_prefix("wss://"), url.strip_prefix("ws://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(wrong("begins with neither wss:// nor ws://")),
    };
    let plain =
        rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#' | b'@'));
    if !plain {
        return Err(wrong("has a space, quote, backslash, # or @, or is not ASCII"));
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or_else(|| wrong("has a [ without a ]"))?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("has no IPv6 address between [ and ]"))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(wrong("goes on after ] with something other than a port")),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.len() > 253 {
        return Err(wrong("names no host"));
    }
    let port = match port {
        None if tls => 443,
        None => 80,
        Some(text) => match text.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(wrong("has no port between 1 and 65535 after its colon")),
        },
    };
    let path_and_query = match path {
        // Subscriptions are made by request, and told apart by stream: both need the combined form.
        "" | "/" if row.name == "binance" => "/stream".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    Ok(Endpoint {
        tls,
        host: host.to_owned(),
        port,
        path_and_query,
        headers: Vec::new(),
        ca_file: section.ca_file.clone(),
    })
}

fn members(
    section: &FeedSection,
    n: usize,
    universes: &Universes,
) -> Result<Vec<MemberOptions>, ConfigError> {
    let key = |field: &str| format!("feed[{n}].{field}");
    let wants = |at: &str, universe: &Option<Names>, symbols: &Option<Vec<String>>| {
        let keys = universe.as_ref().map_or(&[][..], Names::list).to_vec();
        if let Some(unknown) = keys.iter().find(|name| universes.get(name).is_none()) {
            let known: Vec<_> = universes.keys().collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return Err(wrong(
                &key(&format!("{at}universe")),
                format!("{unknown:?} is no universe of [universes] or universe_file; known: {known}"),
            ));
        }
        let names = symbols.as_deref().unwrap_or_default();
        let list = universe::symbols(names)
            .map_err(|(name, error)| wrong(&key(&format!("{at}symbols")), format!("{name:?}: {error}")))?;
        Ok((keys, list))
    };
    let mut members: Vec<MemberOptions> = Vec::new();
    match &section.members {
        Some(sections) => {
            if section.connections.is_some() || section.universe.is_some() || section.symbols.is_some() {
                let text =
                    "members say what each connection takes: leave connections, universe and symbols out";
                return Err(wrong(&key("members"), text));
            }
            for (m, member) in sections.iter().enumerate() {
                let at = format!("members[{m}].");
                let (universes, symbols) = wants(&at, &member.universe, &member.symbols)?;
                let name = member.name.clone().unwrap_or_else(|| (m + 1).to_string());
                if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_graphic()) {
                    let text = format!("{name:?} is not 1 to 64 printable ASCII characters without a space");
                    return Err(wrong(&key(&format!("{at}name")), text));
                }
                if members.iter().any(|other| other.name == name) {
                    return Err(wrong(&key(&format!("{at}name")), format!("{name:?} is taken")));
                }
                let priority = member.priority.unwrap_or(0);
                members.push(MemberOptions { name, universes, symbols, share: (0, 1), priority });
            }
        }
        None => {
            let (universes, symbols) = wants("", &section.universe, &section.symbols)?;
            let connections = range(&key("connections"), section.connections, 1, 1, MEMBERS_MAX)?;
            for slot in 0..connections {
                members.push(MemberOptions {
                    name: (slot + 1).to_string(),
                    universes: universes.clone(),
                    symbols: symbols.clone(),
                    share: (slot, connections),
                    priority: 0,
                });
            }
        }
    }
    let nothing = |member: &MemberOptions| member.universes.is_empty() && member.symbols.is_empty();
    if members.iter().all(nothing) {
        return Err(wrong(&key("symbols"), "missing: list symbols, name a universe, or give members theirs"));
    }
    if let Some(idle) = members.iter().position(nothing) {
        return Err(wrong(&key(&format!("members[{idle}]")), "takes nothing: give it a universe or symbols"));
    }
    Ok(members)
}

impl LimitsSection {
    fn check(
        &self,
        n: usize,
        row: &SessionRow,
        channels: usize,
    ) -> Result<crate::feed::PoolLimits, ConfigError> {
        let default = crate::feed::PoolLimits::new(row, channels);
        let key = |field: &str| format!("feed[{n}].limits.{field}");
        let ms = |field: &str, value: Option<i64>, default: Nanos, least: i64| match value {
            None => Ok(default),
            Some(ms) if (least..=86_400_000).contains(&ms) => Ok(Nanos::from_millis(ms)),
            Some(ms) => Err(wrong(&key(field), format!("{ms} ms is not between {least} ms and a day"))),
        };
        let s = |field: &str, value: Option<i64>, default: Nanos| match value {
            None => Ok(default),
            Some(s) if (1..=86_400).contains(&s) => Ok(Nanos::from_secs(s)),
            Some(s) => Err(wrong(&key(field), format!("{s} s is not between 1 s and a day"))),
        };
        let limits = crate::feed::PoolLimits {
            symbols_max: range(
                &key("symbols_max"),
                self.symbols_max,
                default.symbols_max,
                1,
                default.symbols_max,
            )?,
            params_max: range(&key("params_max"), self.params_max, default.params_max, 1, row.streams_max)?,
            connect_max: ms("connect_ms_max", self.connect_ms_max, default.connect_max, 100)?,
            auth_max: ms("auth_ms_max", self.auth_ms_max, default.auth_max, 100)?,
            subscribe_max: ms("subscribe_ms_max", self.subscribe_ms_max, default.subscribe_max, 100)?,
            ping_after: ms("ping_after_ms", self.ping_after_ms, default.ping_after, 100)?,
            silence_max: ms("silence_ms_max", self.silence_ms_max, default.silence_max, 200)?,
            stale_after: ms("stale_after_ms", self.stale_after_ms, default.stale_after, 100)?,
            settle_after: ms("settle_after_ms", self.settle_after_ms, default.settle_after, 100)?,
            backoff_max: ms("backoff_ms_max", self.backoff_ms_max, default.backoff_max, 1_000)?,
            auth_cooldown: s("auth_cooldown_s", self.auth_cooldown_s, default.auth_cooldown)?,
            eviction_cooldown: s("eviction_cooldown_s", self.eviction_cooldown_s, default.eviction_cooldown)?,
            gap_margin: ms("gap_margin_ms", self.gap_margin_ms, default.gap_margin, 0)?,
            lifetime: match self.lifetime_s {
                None => default.lifetime,
                Some(0) => None,
                some => Some(s("lifetime_s", some, Nanos::ZERO)?),
            },
        };
        if limits.silence_max <= limits.ping_after {
            let text = format!(
                "{} ms leaves a ping no time to be answered: it must be more than ping_after_ms, {}",
                limits.silence_max.0 / 1_000_000,
                limits.ping_after.0 / 1_000_000
            );
            return Err(wrong(&key("silence_ms_max"), text));
        }
        Ok(limits)
    }
}

impl RestSection {
    fn check(&self, n: usize, pool: &PoolOptions) -> Result<RestOptions, ConfigError> {
        let key = |field: &str| format!("feed[{n}].rest.{field}");
        let futures = pool.endpoint.host.starts_with("fstream");
        let usual = match pool.session.name {
            "binance" if futures => "binance-usdm",
            "binance" => "binance-spot",
            other => other,
        };
        let name = self.vendor.as_deref().unwrap_or(usual);
        let row = backfill::find(name).ok_or_else(|| {
            let known: Vec<_> = backfill::VENDORS.iter().map(|row| row.name).collect();
            wrong(&key("vendor"), format!("{name:?} is none of {}", known.join(", ")))
        })?;
        let mut rest = RestOptions::new(&pool.name, row);
        if let Some(url) = &self.url {
            rest.base_url = url.parse::<BaseUrl>().map_err(|error| wrong(&key("url"), error.to_string()))?;
        }
        if !pool.asks.key.0.is_empty() {
            rest.key = Some(backfill::Secret::new(pool.asks.key.0.clone()));
        }
        rest.ca_file.clone_from(&pool.endpoint.ca_file);
        let ms = |field: &str, value: Option<i64>, default: Nanos, least: i64| match value {
            None => Ok(default),
            Some(ms) if (least..=3_600_000).contains(&ms) => Ok(Nanos::from_millis(ms)),
            Some(ms) => Err(wrong(&key(field), format!("{ms} ms is not between {least} ms and an hour"))),
        };
        rest.settle = ms("settle_ms", self.settle_ms, rest.settle, 0)?;
        rest.poll_every = ms("poll_every_ms", self.poll_every_ms, rest.poll_every, 100)?;
        let whole = |field: &str, value: Option<u32>, default: u32, most: usize| {
            let value = value.map(|value| value as usize);
            // Within `most`, which fits.
            range(&key(field), value, default as usize, 1, most).map(|value| value as u32)
        };
        let weight = rest.weight_per_minute_max;
        rest.weight_per_minute_max =
            whole("weight_per_minute_max", self.weight_per_minute_max, weight, 1 << 20)?;
        rest.attempts_max = whole("attempts_max", self.attempts_max, rest.attempts_max, 100)?;
        rest.requests_at_once_max =
            range(&key("requests_at_once_max"), self.requests_at_once_max, rest.requests_at_once_max, 1, 64)?;
        rest.wishes_max = range(&key("wishes_max"), self.wishes_max, rest.wishes_max, 1, 1 << 24)?;
        Ok(rest)
    }
}

/// A pool in plain words: its members, what each takes, what happens when one is lost, its limits.
pub(super) fn explain(pool: &PoolOptions, rest: Option<&RestOptions>) -> String {
    let mut out = String::new();
    let limits = &pool.limits;
    let Endpoint { tls, host, port, path_and_query, .. } = &pool.endpoint;
    let scheme = if *tls { "wss" } else { "ws" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let members = plural(pool.members.len(), "connection");
    let key = if pool.asks.key.0.is_empty() { "without a key" } else { "with a key" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "feed      {}: {members} to {scheme}://{host}:{port}{path_and_query} as {}, {key}",
        pool.name, pool.dialect.name
    );
    let channels: Vec<_> = pool.asks.channels.iter().map(|(name, _)| name.as_str()).collect();
    let main = pool.asks.channels.get(pool.asks.main()).map_or("", |(name, _)| name);
    let _ = writeln!(
        out,
        "          subscribes each symbol to {}; it counts as served once {main} is",
        channels.join(", ")
    );
    let mut sizes = Vec::new();
    for member in &pool.members {
        let (own, _) = member.symbols(&pool.universes, limits.symbols_max);
        sizes.push(own.len());
        let mut from = member.universes.clone();
        if !member.symbols.is_empty() {
            from.push(format!("a list of {}", member.symbols.len()));
        }
        if member.share.1 > 1 {
            from.push(format!("every {}. of them", member.share.1));
        }
        let shown: Vec<_> = own.iter().take(SHOWN_SYMBOLS).map(Symbol::to_string).collect();
        let more = if own.len() > SHOWN_SYMBOLS { ", …" } else { "" };
        let _ = writeln!(
            out,
            "  member  {}, priority {}: {} from {}: {}{more}",
            member.name,
            member.priority,
            if own.contains(&Symbol::EVERY) {
                "every symbol".to_owned()
            } else {
                plural(own.len(), "symbol")
            },
            from.join(" and "),
            shown.join(", ")
        );
    }
    let all: usize = sizes.iter().sum();
    let short = sizes.iter().map(|_| all.saturating_sub(limits.symbols_max * (sizes.len() - 1))).max();
    let _ = match (sizes.len(), short.unwrap_or(0)) {
        (1, _) => writeln!(out, "          alone: what it serves has a gap while it is lost"),
        (_, 0) => writeln!(
            out,
            "          if one is lost the others have room for all {all} symbols, and take them over at once"
        ),
        (_, short) => writeln!(
            out,
            "          if one is lost the others have room for all but {short} of {all} symbols, at {} each",
            limits.symbols_max
        ),
    };
    let seconds = |span: Nanos| format!("{} s", span.0 as f64 / 1e9);
    let _ = writeln!(
        out,
        "          pinged after {} of silence, lost after {}; tried again within 0.5 s, then up to {} apart; at home again after {}",
        seconds(limits.ping_after),
        seconds(limits.silence_max),
        seconds(limits.backoff_max),
        seconds(limits.settle_after)
    );
    let _ = writeln!(
        out,
        "          left alone for {} after a refused key, for {} after being put out by a newer connection of the account",
        seconds(limits.auth_cooldown),
        seconds(limits.eviction_cooldown)
    );
    if let Some(life) = limits.lifetime {
        let _ = writeln!(out, "          renewed one by one before they are {} old", seconds(life));
    }
    let _ = match rest {
        Some(rest) => writeln!(
            out,
            "          gaps are filled from {} ({}), which is polled every {} for what nobody serves",
            rest.base_url.as_str(),
            rest.vendor.name,
            seconds(rest.poll_every)
        ),
        None => {
            writeln!(out, "          gaps stay marked incomplete: there is no [feed.rest] to fill them from")
        }
    };
    if let Some(path) = &pool.universe_file {
        let _ = writeln!(
            out,
            "          universes are read again when {} changes, and on SIGHUP",
            path.display()
        );
    }
    out
}
