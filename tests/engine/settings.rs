//! What the environment sets, by our names and by those of earlier systems.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use tickwire::config::Config;

fn with(name: &str, value: &str) -> Result<Config, String> {
    let environment = |asked: &str| (asked == name).then(|| value.to_owned());
    Config::from_environment(environment).map_err(|error| error.to_string())
}

#[test]
fn the_names_of_earlier_systems_are_understood() {
    assert_eq!(with("TICK_BUFFER_SIZE", "1000").unwrap().candles.trades_per_symbol_max, 1_000);
    assert_eq!(with("MAX_WEBSOCKET_CONNECTIONS", "100").unwrap().gateway.connections_max, 100);
    let timeframes = with("DEFAULT_TIMEFRAMES", "1m,5m,15m,1h,1d").unwrap().candles.timeframes;
    assert_eq!(timeframes.to_string(), "1m,5m,15m,1h,1d");
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    for (name, value) in
        [("TICK_BUFFER_SIZE", "many"), ("TICK_BUFFER_SIZE", "-1"), ("DEFAULT_TIMEFRAMES", "7x")]
    {
        let error = with(name, value).unwrap_err();
        assert!(error.contains(value.trim_start_matches('-')), "{error}");
    }
    let error = with("TICK_BUFFER_SIZE", "0").unwrap_err();
    assert!(error.contains("bars.trades_per_symbol_max"), "{error}");
}

fn with_file(name: &str, text: &str) -> Result<Config, String> {
    let path = std::env::temp_dir().join(format!("tickwire-settings-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path, |_| None).map_err(|error| error.to_string());
    std::fs::remove_file(&path).unwrap();
    config
}

const FEEDS: &str = "
[[feed]]
name = \"stocks\"
source = \"tcp\"
listen = \"127.0.0.1:0\"
format = \"massive\"
[[feed]]
name = \"coins\"
source = \"tcp\"
listen = \"127.0.0.1:0\"
format = \"binance\"
";

#[test]
fn each_feed_is_told_which_table_judges_its_trades() {
    let one = format!("[bars]\nconditions = \"us-equities\"\n{FEEDS}");
    let said = with_file("one", &one).unwrap().explain();
    assert!(said.contains("us-equities as of") && said.contains("read as massive"), "{said}");
    assert!(said.contains("no table for it, so every trade counts in full"), "{said}");
    let both = format!("[bars]\nconditions = [\"us-equities\", \"binance\"]\n{FEEDS}");
    let said = with_file("both", &both).unwrap().explain();
    assert!(said.contains("read as binance") && !said.contains("no table"), "{said}");
    assert!(!with_file("none", FEEDS).unwrap().explain().contains("conditions"));
}

#[test]
fn a_wrong_table_of_conditions_is_refused_with_its_key() {
    for (name, value, wanted) in [
        ("unknown", "\"us-stocks\"", "us-equities, quantconnect, binance"),
        ("coding", "\"quantconnect\"", "quantconnect reads lean"),
        ("type", "7", "or a list of them"),
    ] {
        let error = with_file(name, &format!("[bars]\nconditions = {value}\n{FEEDS}")).unwrap_err();
        assert!(error.contains("conditions") && error.contains(wanted), "{error}");
    }
}
