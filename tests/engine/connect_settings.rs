//! What the configuration says of feeds that connect to a vendor: read, checked, explained.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::path::PathBuf;

use tickwire::config::Config;
use tickwire::feed::{Origin, PoolOptions};

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tickwire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(name: &str, text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = Folder::new(name);
    let path = folder.write("tickwire.toml", text);
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(&path, |asked| {
        environment.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone())
    })
    .map_err(|error| error.to_string())
}

fn pool(config: &Config) -> &PoolOptions {
    match &config.sources[0].origin {
        Origin::Connect(pool) => pool,
        other => panic!("{other:?}"),
    }
}

const DESK: &str = r#"
[universes.tech_leaders]
top_100 = ["AAPL", "MSFT", "NVDA"]
[universes.finance]
major_banks = ["JPM", "BAC"]

[[feed]]
name = "massive"
source = "connect"
format = "massive"
channels = ["T", "AM"]
connections_max = 3
members = [
  { name = "primary", universe = "tech_leaders:top_100", priority = 2 },
  { name = "banks", universe = "finance:major_banks", priority = 1 },
  { name = "rest", symbols = ["IBM", "AAPL"] },
]
[feed.limits]
silence_ms_max = 9000
[feed.rest]
poll_every_ms = 10000
"#;

const KEY: (&str, &str) = ("MASSIVE_API_KEY", "sesame-7");

#[test]
fn a_desks_pool_is_read_and_explained_without_its_key() {
    let config = load("desk", DESK, &[KEY]).unwrap();
    let pool = pool(&config);
    assert_eq!(pool.asks.key.0, "sesame-7");
    assert_eq!((pool.endpoint.tls, pool.endpoint.port), (true, 443));
    assert_eq!((&*pool.endpoint.host, &*pool.endpoint.path_and_query), ("socket.massive.com", "/stocks"));
    assert_eq!(pool.members.len(), 3);
    assert_eq!(pool.limits.silence_max.0, 9_000_000_000);
    assert_eq!(config.rest.len(), 1);
    let text = config.explain();
    for part in [
        "3 connections to wss://socket.massive.com:443/stocks",
        "primary, priority 2: 3 symbols from tech_leaders:top_100: AAPL, MSFT, NVDA",
        "lost after 9 s",
        "gaps are filled from https://api.massive.com",
        "counts as served once T is",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("sesame") && !format!("{config:?}").contains("sesame"));
}

#[test]
fn the_environment_of_the_earlier_system_makes_the_same_pool() {
    let universes = "[universes]\n\"tech:a\" = [\"AAPL\"]\n\"banks:b\" = [\"JPM\"]\n";
    let environment = [
        ("USE_MASSIVE_API", "true"),
        KEY,
        ("USE_MULTI_CONNECTION", "true"),
        ("WEBSOCKET_CONNECTIONS_MAX", "3"),
        ("WEBSOCKET_CONNECTION_1_ENABLED", "true"),
        ("WEBSOCKET_CONNECTION_1_NAME", "primary_watchlist"),
        ("WEBSOCKET_CONNECTION_1_UNIVERSE_KEY", "tech:a"),
        ("WEBSOCKET_CONNECTION_2_ENABLED", "false"),
        ("WEBSOCKET_CONNECTION_2_UNIVERSE_KEY", "banks:b"),
        ("WEBSOCKET_CONNECTION_3_ENABLED", "true"),
        ("WEBSOCKET_CONNECTION_3_SYMBOLS", "TSLA, NVDA"),
    ];
    let config = load("environment", universes, &environment).unwrap();
    let pool = pool(&config);
    let names: Vec<_> = pool.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["primary_watchlist", "connection_3"]);
    assert!(pool.members[0].priority > pool.members[1].priority);
    assert_eq!(pool.members[1].symbols.len(), 2);
    // One connection: the first of them.
    let single = [environment[0], KEY, environment[6]];
    let config = load("single", universes, &single).unwrap();
    assert_eq!(self::pool(&config).members.len(), 1);
    assert!(load("off", universes, &[("USE_MASSIVE_API", "false")]).unwrap().sources.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    let feed = |rest: &str| format!("[[feed]]\nsource = \"connect\"\nformat = \"massive\"\n{rest}\n");
    let cases = [
        (feed(r#"symbols = ["AAPL"]"#), "MASSIVE_API_KEY"),
        (feed("key = \"k\""), "list symbols"),
        (feed("key = \"k\"\nuniverse = \"a:b\""), "\"a:b\" is no universe"),
        (feed("key = \"k\"\nsymbols = [\"A B\"]"), "A B"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nurl = \"https://x\""), "neither wss:// nor ws://"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nurl = \"ws://me@x/\""), "@"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nurl = \"ws://x:0/\""), "port"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nurl = \"ws://[::1/\""), "[ without a ]"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nchannels = [\"trade\"]"), "T, Q, A, AM"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nconnections = 2"), "connections_max is 1"),
        (feed("key = \"k\"\nsymbols = [\"A\", \"*\"]"), "none can stand beside it"),
        (
            "[[feed]]\nsource = \"connect\"\nformat = \"binance\"\nsymbols = [\"*\"]\n".to_owned(),
            "no subscription of binance's",
        ),
        (feed("key = \"k\"\nmembers = [{ name = \"a\" }]"), "list symbols"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nlimits = { ping_after_ms = 9000 }"), "ping_after_ms"),
        (feed("key = \"k\"\nsymbols = [\"A\"]\nrest = { url = \"nowhere\" }"), "rest.url"),
        (
            "[[feed]]\nsource = \"stdin\"\nformat = \"csv\"\nsymbols = [\"A\"]\n".to_owned(),
            "has no meaning for source = \"stdin\"",
        ),
        (
            "[[feed]]\nsource = \"connect\"\nformat = \"csv\"\nsymbols = [\"A\"]\n".to_owned(),
            "massive, binance, alpaca",
        ),
    ];
    for (text, part) in cases {
        let error = load("wrong", &text, &[]).unwrap_err();
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    let environment = [("USE_MASSIVE_API", "perhaps")];
    assert!(load("perhaps", "", &environment).unwrap_err().contains("USE_MASSIVE_API"));
    let environment = [("USE_MASSIVE_API", "1"), ("USE_MULTI_CONNECTION", "1")];
    assert!(load("none", "", &environment).unwrap_err().contains("WEBSOCKET_CONNECTION_1_ENABLED"));
}

#[test]
fn every_symbol_is_a_list_of_its_own() {
    let text = "[[feed]]\nsource = \"connect\"\nformat = \"massive\"\nkey = \"k\"\nsymbols = [\"*\"]\n";
    let config = load("everyone", text, &[]).unwrap();
    assert_eq!(pool(&config).members[0].symbols.len(), 1);
    let explained = config.explain();
    assert!(explained.contains("priority 0: every symbol from a list of 1: *"), "{explained}");
}

#[test]
fn urls_are_taken_apart() {
    for (url, expected) in [
        ("wss://h.example/stocks", (true, "h.example", 443, "/stocks")),
        ("ws://127.0.0.1:22000", (false, "127.0.0.1", 22_000, "/")),
        ("ws://[::1]:22000/a?b=c", (false, "::1", 22_000, "/a?b=c")),
        ("wss://h.example?x=1", (true, "h.example", 443, "/?x=1")),
    ] {
        let text = format!(
            "[[feed]]\nsource = \"connect\"\nformat = \"massive\"\nkey = \"k\"\nsymbols = [\"A\"]\nurl = \"{url}\"\n"
        );
        let config = load("url", &text, &[]).unwrap();
        let endpoint = &pool(&config).endpoint;
        let found = (endpoint.tls, &*endpoint.host, endpoint.port, &*endpoint.path_and_query);
        assert_eq!(found, expected);
    }
    let binance = "[[feed]]\nsource = \"connect\"\nformat = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"wss://stream.binance.com:9443\"\n";
    let config = load("combined", binance, &[]).unwrap();
    assert_eq!(pool(&config).endpoint.path_and_query, "/stream");
}

#[test]
fn a_universe_file_wins_over_the_table_and_several_connections_share_a_list() {
    let folder = Folder::new("universes");
    let path = folder.write("universes.json", r#"{"tech": {"top": ["A", "B", "C", "D", "E"]}}"#);
    let text = format!(
        "[universes]\n\"tech:top\" = [\"Z\"]\n[[feed]]\nsource = \"connect\"\nformat = \"binance\"\nuniverse = \"tech:top\"\nuniverse_file = {:?}\nconnections = 2\nconnections_max = 2\n",
        path
    );
    let config = load("shared", &text, &[]).unwrap();
    let pool = pool(&config);
    let own = |slot: usize| {
        let (own, over) = pool.members[slot].symbols(&pool.universes, pool.limits.symbols_max);
        assert_eq!(over, 0);
        own.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (own(0), own(1)),
        (vec!["A".into(), "C".into(), "E".into()], vec!["B".to_owned(), "D".to_owned()])
    );
    assert!(config.explain().contains("universes are read again"));
}

#[test]
fn the_desk_of_the_readme_is_well_formed_and_explained_as_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let desk = readme.split("<!-- desk -->").nth(1).unwrap();
    let text = desk.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = load("readme", text, &[KEY]).unwrap();
    let explained = config.explain();
    for line in explained.lines().skip_while(|line| !line.starts_with("feed")) {
        assert!(desk.contains(line), "the README does not say {line:?}");
    }
}
