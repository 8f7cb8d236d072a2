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
