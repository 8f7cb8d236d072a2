//! Binance's words: payloads of its market streams and its klines, and what its clients ask.
//!
//! Field names, units and limits: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams> and
//! `…/rest-api`. Times in ms.

use serde_json::Value;

use crate::decimal;
use crate::event::{Quote, Sale};
use crate::truth::Bar;

/// Streams of a symbol; a place in this list is a kind.
pub const STREAMS: [&str; 5] = ["trade", "bookTicker", "kline_1s", "kline_1m", "aggTrade"];
/// Streams that one connection may listen to.
pub const STREAMS_MAX: usize = 1_024;
/// Messages that one connection may send in a second.
pub const REQUESTS_PER_S_MAX: u32 = 5;
const DECIMALS: usize = 8;

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Streams to begin with; the id as JSON text.
    Subscribe(Vec<String>, String),
    /// Streams to end.
    Unsubscribe(Vec<String>, String),
    /// What it listens to.
    List(String),
}

/// Reads a request.
///
/// # Errors
/// The whole answer to a request that is none.
pub fn request(text: &str) -> Result<Request, String> {
    let refused = |code: i32, message: &str, id: &str| {
        format!(r#"{{"error":{{"code":{code},"msg":"{message}"}},"id":{id}}}"#)
    };
    let value: Value = serde_json::from_str(text).map_err(|_| refused(3, "Invalid JSON", "null"))?;
    let id = value.get("id").map_or_else(|| "null".to_owned(), Value::to_string);
    let method = value.get("method").and_then(Value::as_str).unwrap_or("");
    let list = || -> Result<Vec<String>, String> {
        let wrong = || refused(2, "Invalid request: params must be an array of stream names", &id);
        let all = value.get("params").and_then(Value::as_array).ok_or_else(wrong)?;
        all.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
    };
    match method {
        "SUBSCRIBE" => Ok(Request::Subscribe(list()?, id)),
        "UNSUBSCRIBE" => Ok(Request::Unsubscribe(list()?, id)),
        "LIST_SUBSCRIPTIONS" => Ok(Request::List(id)),
        _ => Err(refused(2, "Invalid request: unknown variant for method", &id)),
    }
}

/// The answer to a request that was done.
pub fn done(id: &str) -> String {
    format!(r#"{{"result":null,"id":{id}}}"#)
}

/// A payload as a combined connection gets it.
pub fn combined(stream: &str, payload: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{payload}}}"#)
}

/// The payload of a sale, its times `shift_ms` later than they were. Futures name the kind of trade.
pub fn sale(sale: &Sale, symbol: &str, shift_ms: i64, futures: bool) -> String {
    let at = sale.at_ms + shift_ms;
    format!(
        r#"{{"e":"trade","E":{at},"T":{at},"s":"{symbol}","t":{},"p":"{}","q":"{}",{}"m":{}{}}}"#,
        sale.id,
        decimal::fixed(sale.price, DECIMALS),
        decimal::fixed(sale.size, DECIMALS),
        if futures { r#""X":"MARKET","# } else { "" },
        sale.buyer_is_maker,
        if futures { "" } else { r#","M":true"# }
    )
}

/// The same as an aggregate of one.
pub fn aggregate_sale(sale: &Sale, symbol: &str, shift_ms: i64) -> String {
    let (at, id) = (sale.at_ms + shift_ms, &sale.id);
    format!(
        r#"{{"e":"aggTrade","E":{at},"s":"{symbol}","a":{id},"p":"{}","q":"{}","f":{id},"l":{id},"T":{at},"m":{},"M":true}}"#,
        decimal::fixed(sale.price, DECIMALS),
        decimal::fixed(sale.size, DECIMALS),
        sale.buyer_is_maker
    )
}

/// The payload of a quote; only that of futures has times.
pub fn quote(quote: &Quote, symbol: &str, shift_ms: i64, futures: bool) -> String {
    let number = |value| decimal::fixed(value, DECIMALS);
    let at = quote.at_ms + shift_ms;
    let (head, tail) = if futures {
        (r#""e":"bookTicker","#, format!(r#","T":{at},"E":{at}"#))
    } else {
        ("", String::new())
    };
    format!(
        r#"{{{head}"u":{},"s":"{symbol}","b":"{}","B":"{}","a":"{}","A":"{}"{tail}}}"#,
        quote.sequence,
        number(quote.bid.0),
        number(quote.bid.1),
        number(quote.ask.0),
        number(quote.ask.1)
    )
}

/// The payload of a bar, closed or not.
pub fn kline(bar: &Bar, symbol: &str, interval: &str, length_ms: i64, closed: bool, now_ms: i64) -> String {
    let number = |value| decimal::fixed(value, DECIMALS);
    format!(
        r#"{{"e":"kline","E":{now_ms},"s":"{symbol}","k":{{"t":{},"T":{},"s":"{symbol}","i":"{interval}","f":-1,"L":-1,"o":"{}","c":"{}","h":"{}","l":"{}","v":"{}","n":{},"x":{closed},"q":"{}","V":"{}","Q":"{}","B":"0"}}}}"#,
        bar.start_ms,
        bar.start_ms + length_ms - 1,
        number(bar.open),
        number(bar.close),
        number(bar.high),
        number(bar.low),
        number(bar.volume),
        bar.trades,
        decimal::product_text(bar.notional, DECIMALS),
        number(bar.bought.0),
        decimal::product_text(bar.bought.1, DECIMALS)
    )
}

/// A bar as REST tells it.
pub fn row(bar: &Bar, length_ms: i64) -> String {
    let number = |value| decimal::fixed(value, DECIMALS);
    format!(
        r#"[{},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]"#,
        bar.start_ms,
        number(bar.open),
        number(bar.high),
        number(bar.low),
        number(bar.close),
        number(bar.volume),
        bar.start_ms + length_ms - 1,
        decimal::product_text(bar.notional, DECIMALS),
        bar.trades,
        number(bar.bought.0),
        decimal::product_text(bar.bought.1, DECIMALS)
    )
}

/// The ms of an interval by its name; futures have none of a second.
pub fn interval_ms(name: &str, futures: bool) -> Option<i64> {
    const MINUTE: i64 = 60_000;
    Some(match name {
        "1s" if !futures => 1_000,
        "1m" => MINUTE,
        "3m" => 3 * MINUTE,
        "5m" => 5 * MINUTE,
        "15m" => 15 * MINUTE,
        "30m" => 30 * MINUTE,
        "1h" => 60 * MINUTE,
        "2h" => 120 * MINUTE,
        "4h" => 240 * MINUTE,
        "6h" => 360 * MINUTE,
        "8h" => 480 * MINUTE,
        "12h" => 720 * MINUTE,
        "1d" => 1_440 * MINUTE,
        _ => return None,
    })
}

/// A recorded payload with its `E` and `T`, at any depth, `shift_ms` later; nothing else of it changes.
pub fn shifted(payload: &str, shift_ms: i64) -> String {
    let mut out = String::with_capacity(payload.len());
    let mut rest = payload;
    while let Some(at) = rest.find(r#""E":"#).into_iter().chain(rest.find(r#""T":"#)).min() {
        let (before, after) = rest.split_at(at + 4);
        out += before;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match after[..digits].parse::<i64>() {
            // Only what can be a time in ms: after 2000.
            Ok(time) if time > 946_684_800_000 => out += &(time + shift_ms).to_string(),
            _ => out += &after[..digits],
        }
        rest = &after[digits..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_times_move_and_nothing_else() {
        let payload = r#"{"e":"trade","E":1723161255343,"s":"T","t":37,"p":"1.00","q":"E","T":1723161255342,"m":true,"A":"9"}"#;
        let moved = shifted(payload, 1_000);
        assert_eq!(moved, payload.replace("255343", "256343").replace("255342", "256342"));
        assert_eq!(shifted(&moved, -1_000), payload);
    }

    #[test]
    fn requests_are_read_and_wrong_ones_answered() {
        let streams = vec!["btcusdt@trade".to_owned()];
        assert_eq!(
            request(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":"a"}"#),
            Ok(Request::Subscribe(streams, "\"a\"".to_owned()))
        );
        assert_eq!(request(r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#), Ok(Request::List("3".to_owned())));
        for wrong in
            ["{", r#"{"method":"SUBSCRIBE","id":1}"#, r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#, "[]"]
        {
            let answer = request(wrong).unwrap_err();
            let value: Value = serde_json::from_str(&answer).unwrap();
            assert!(value["error"]["msg"].is_string(), "{answer}");
        }
    }
}
