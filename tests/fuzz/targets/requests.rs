//! One message of a client to every row of the dialect table: a request within its bounds, or a refusal that can be sent.

use serde_json::Value;
use tickwire::gateway::dialect::{Dialect, Reply, Request, RequestError, Symbols, TABLE};
use tickwire::model::{Timeframes, UnixNanos};

/// Longest refusal: a client's own words are repeated in part only.
const MESSAGE_BYTES_MAX: usize = 1_024;
const ID_BYTES_MAX: usize = 128;

pub fn run(data: &[u8]) {
    // Text that is not UTF-8 never comes so far.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let timeframes = Timeframes::parse("1s,1m,1h").expect("a constant");
    for dialect in TABLE {
        let read = |dialect: &dyn Dialect| {
            let mut requests = Vec::new();
            dialect.parse(text, &timeframes, &mut requests);
            requests
        };
        let requests = read(dialect);
        assert_eq!(requests, read(dialect), "{}: two readings of the same text", dialect.path());
        assert!(!requests.is_empty(), "{}: no answer to a message", dialect.path());
        for request in &requests {
            let is_native = dialect.path() == "/v1/stream";
            let id = match request {
                Ok(envelope) => {
                    check(&envelope.request, &timeframes);
                    &envelope.id
                }
                Err(error) => {
                    refusal(dialect, error);
                    &error.id
                }
            };
            if let Some(id) = id.as_ref().filter(|_| is_native) {
                let value: Value = serde_json::from_str(id).expect("an id is JSON");
                assert!(id.len() <= ID_BYTES_MAX && (value.is_string() || value.is_number()), "{id}");
            }
            if is_native {
                assert_eq!(requests.len(), 1, "one message is one request");
                native(text, request.as_ref().map(|envelope| &envelope.request).ok());
            }
        }
    }
}

fn refusal(dialect: &dyn Dialect, error: &RequestError) {
    assert!(!error.code.is_empty() && !error.message.is_empty());
    assert!(error.message.len() <= MESSAGE_BYTES_MAX, "{} bytes of refusal", error.message.len());
    let mut out = Vec::new();
    let reply = Reply::Error { code: error.code, message: &error.message };
    dialect.reply(&mut out, error.id.as_deref(), &reply, UnixNanos(0));
    let value: Result<Value, _> = serde_json::from_slice(&out);
    assert!(value.is_ok(), "{}: a refusal that is not JSON: {}", dialect.path(), out.escape_ascii());
}

fn check(request: &Request, timeframes: &Timeframes) {
    let (Request::Subscribe { symbols, levels, .. }
    | Request::Unsubscribe { symbols, levels, .. }
    | Request::Snapshot { symbols, levels, .. }) = request
    else {
        return;
    };
    assert!(!levels.is_empty() && levels.iter().all(|&level| level < timeframes.len()));
    let mut once = levels.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), levels.len(), "a level twice");
    if let Symbols::Named(names) = symbols {
        let mut once = names.clone();
        once.sort_unstable_by_key(|name| name.as_str().to_owned());
        once.dedup();
        assert!(!names.is_empty() && once.len() == names.len(), "no symbol, or one twice");
    }
}

/// What any JSON reader says of a request that was accepted.
fn native(text: &str, request: Option<&Request>) {
    let Some(request) = request else { return };
    let value: Value = serde_json::from_str(text).expect("what is no JSON is no request");
    let action = match request {
        Request::Subscribe { .. } => "subscribe",
        Request::Unsubscribe { .. } => "unsubscribe",
        Request::Snapshot { .. } => "snapshot",
        Request::UnsubscribeAll => "unsubscribe_all",
        Request::List => "list",
        Request::Ping => "ping",
        Request::Stats => "stats",
        Request::Acknowledge { action, .. } => action,
    };
    assert_eq!(value["action"], action);
    let (Request::Subscribe { channel, symbols, .. }
    | Request::Unsubscribe { channel, symbols, .. }
    | Request::Snapshot { channel, symbols, .. }) = request
    else {
        return;
    };
    assert_eq!(value["channel"], channel.name());
    let asked: Vec<&str> =
        value["symbols"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match symbols {
        Symbols::All => assert_eq!(asked, ["*"]),
        Symbols::Named(names) => {
            assert!(
                asked.iter().all(|name| names.iter().any(|symbol| symbol.as_str() == *name)),
                "{asked:?}"
            );
            assert!(names.iter().all(|symbol| asked.contains(&symbol.as_str())), "{asked:?}");
        }
    }
}

/// The examples of the documentation, of every dialect.
pub fn documented() -> Vec<String> {
    [
        r#"{"action":"subscribe","channel":"bars","symbols":["AAPL","MSFT"],"timeframes":["1m","1s"],"throttle_ms":100,"id":"a1"}"#,
        r#"{"action":"subscribe","channel":"bars","symbols":["AAPL","MSFT"],"timeframes":["1m","1s"],"id":"a1"}"#,
        r#"{"action":"subscribe","channel":"trades","symbols":["*"],"batch_ms":50}"#,
        r#"{"action":"subscribe","channel":"trades","symbols":["*"]}"#,
        r#"{"action":"subscribe","channel":"quotes","symbols":["BTCUSDT"],"id":17}"#,
        r#"{"action":"subscribe","channel":"bars","symbols":["AAPL"],"timeframes":["1m"],"forming":false,"since":{"epoch":"fuzz","sequences":{"AAPL/1m":4711}}}"#,
        r#"{"action":"subscribe","channel":"bars","symbols":["A","B","A"],"timeframes":["1m","1m"]}"#,
        r#"{"action":"unsubscribe","channel":"bars","symbols":["MSFT"]}"#,
        r#"{"action":"snapshot","channel":"bars","symbols":["AAPL"]}"#,
        r#"{"action":"list"}"#,
        r#"{"action":"ping","id":null}"#,
        r#"{"action":"stats"}"#,
        r#"{"action":"unsubscribe_all"}"#,
        r#"{"action":"auth","token":"x"}"#,
        r#"{"action":"ack","channel":"orders","sequence":17}"#,
        r#"{"action":"auth","params":"key"}"#,
        r#"{"action":"subscribe","params":"T.AAPL,Q.AAPL,A.AAPL,AM.*"}"#,
        r#"{"action":"unsubscribe","params":"T.AAPL"}"#,
        r#"{"type":"subscription","data":{"action":"subscribe","symbols":["NIFTY"],"timeframes":["1m","5m"],"indicators":["rsi"]}}"#,
        r#"{"type":"current_candle","data":{"symbol":"NIFTY","timeframe":"1m"}}"#,
        r#"{"type":"stats"}"#,
        r#"{"action":"subscribe","channel":"ticker","ticker":"AAPL"}"#,
        r#"{"type":"subscribe","channel":"ticker","symbols":["AAPL","MSFT"]}"#,
        r#"{"type":"unsubscribe","channel":"market_status"}"#,
        r#"{"type":"ping"}"#,
        "[1]",
        "{",
    ]
    .map(str::to_owned)
    .to_vec()
}

pub fn seeds() -> Vec<Vec<u8>> {
    documented().into_iter().map(String::into_bytes).collect()
}
