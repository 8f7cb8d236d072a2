//! Massive's words: events and statuses as its stocks cluster sends them, and what its clients ask.
//!
//! Field names and units: <https://massive.com/docs/websocket/stocks/overview>. Times in ms.

use serde_json::Value;

use crate::decimal::{self, ONE};
use crate::event::{Quote, Sale};
use crate::truth::Bar;

/// Channels; a place in this list is a kind.
pub const CHANNELS: [&str; 4] = ["T", "Q", "A", "AM"];

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// To be let in.
    Auth(String),
    /// Parameters to begin with.
    Subscribe(Vec<String>),
    /// Parameters to end.
    Unsubscribe(Vec<String>),
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it, for the status that answers.
pub fn request(text: &str) -> Result<Request, String> {
    let value: Value = serde_json::from_str(text).map_err(|_| "invalid JSON".to_owned())?;
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    let params = field("params").ok_or_else(|| "params is missing".to_owned())?;
    let list = || params.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    match field("action") {
        Some("auth") => Ok(Request::Auth(params.to_owned())),
        Some("subscribe") => Ok(Request::Subscribe(list())),
        Some("unsubscribe") => Ok(Request::Unsubscribe(list())),
        other => Err(format!("unknown action {other:?}")),
    }
}

/// The kind of a parameter such as `T.AAPL` or `AM.*`, if it is one.
pub fn channel(param: &str) -> Option<usize> {
    let (channel, symbol) = param.split_once('.')?;
    CHANNELS.iter().position(|known| *known == channel && !symbol.is_empty())
}

/// A status event.
pub fn status(status: &str, message: &str) -> String {
    serde_json::json!({"ev": "status", "status": status, "message": message}).to_string()
}

/// A sale, its time `shift_ms` later than it was.
pub fn sale(sale: &Sale, symbol: &str, shift_ms: i64) -> String {
    let at = sale.at_ms + shift_ms;
    let mut text = format!(r#"{{"ev":"T","sym":"{symbol}","#);
    if sale.venue != 0 {
        text += &format!(r#""x":{},"#, sale.venue);
    }
    text += &format!(r#""i":"{}","#, sale.id);
    if sale.tape != 0 {
        text += &format!(r#""z":{},"#, sale.tape);
    }
    text += &format!(r#""p":{},"s":{},"#, decimal::text(sale.price), sale.size / ONE);
    if sale.size % ONE != 0 {
        text += &format!(r#""ds":"{}","#, decimal::text(sale.size));
    }
    if !sale.conditions.is_empty() {
        let codes: Vec<_> = sale.conditions.iter().map(u8::to_string).collect();
        text += &format!(r#""c":[{}],"#, codes.join(","));
    }
    text + &format!(r#""t":{at},"q":{}}}"#, sale.sequence)
}

/// A quote.
pub fn quote(quote: &Quote, symbol: &str, shift_ms: i64) -> String {
    let ((bid, bid_size), (ask, ask_size)) = (quote.bid, quote.ask);
    format!(
        r#"{{"ev":"Q","sym":"{symbol}","bx":11,"bp":{},"bs":{},"ax":12,"ap":{},"as":{},"c":0,"z":1,"t":{},"q":{}}}"#,
        decimal::text(bid),
        bid_size / ONE,
        decimal::text(ask),
        ask_size / ONE,
        quote.at_ms + shift_ms,
        quote.sequence
    )
}

/// A closed bar as the stream tells it: `A` of a second, `AM` of a minute; `day` is the symbol's day so far.
pub fn aggregate(
    channel: usize,
    bar: &Bar,
    length_ms: i64,
    day: &Bar,
    symbol: &str,
    vw_decimals: u32,
) -> String {
    let vwap = |bar: &Bar| bar.vwap(vw_decimals).unwrap_or_else(|| "0".to_owned());
    let mut text = format!(
        r#"{{"ev":"{}","sym":"{symbol}","v":{},"av":{},"#,
        CHANNELS[channel],
        bar.volume / ONE,
        day.volume / ONE
    );
    if bar.volume % ONE != 0 {
        text += &format!(r#""dv":"{}","#, decimal::text(bar.volume));
    }
    if day.volume % ONE != 0 {
        text += &format!(r#""dav":"{}","#, decimal::text(day.volume));
    }
    text + &format!(
        r#""op":{},"vw":{},"o":{},"c":{},"h":{},"l":{},"a":{},"z":{},"s":{},"e":{}}}"#,
        decimal::text(day.open),
        vwap(bar),
        decimal::text(bar.open),
        decimal::text(bar.close),
        decimal::text(bar.high),
        decimal::text(bar.low),
        vwap(day),
        decimal::text(bar.volume / i128::from(bar.trades.max(1)) / ONE * ONE),
        bar.start_ms,
        bar.start_ms + length_ms
    )
}

/// A bar as REST tells it.
pub fn result(bar: &Bar, vw_decimals: u32) -> String {
    let vw = bar.vwap(vw_decimals).map_or_else(String::new, |vwap| format!(r#""vw":{vwap},"#));
    format!(
        r#"{{"v":{},{vw}"o":{},"c":{},"h":{},"l":{},"t":{},"n":{}}}"#,
        decimal::text(bar.volume),
        decimal::text(bar.open),
        decimal::text(bar.close),
        decimal::text(bar.high),
        decimal::text(bar.low),
        bar.start_ms,
        bar.trades
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_is_written_as_the_vendor_writes_it() {
        let mut one = Sale {
            symbol: 0,
            at_ms: 1_800_000_000_001,
            price: 167_380_000_000,
            size: 400_125_000_000,
            id: "x7".to_owned(),
            sequence: 9,
            venue: 4,
            tape: 3,
            conditions: vec![14, 37],
            buyer_is_maker: false,
        };
        assert_eq!(
            sale(&one, "SPY", 2),
            r#"{"ev":"T","sym":"SPY","x":4,"i":"x7","z":3,"p":167.38,"s":400,"ds":"400.125","c":[14,37],"t":1800000000003,"q":9}"#
        );
        (one.size, one.venue, one.tape, one.conditions) = (100 * ONE, 0, 0, Vec::new());
        assert_eq!(
            sale(&one, "SPY", 0),
            r#"{"ev":"T","sym":"SPY","i":"x7","p":167.38,"s":100,"t":1800000000001,"q":9}"#
        );
    }

    #[test]
    fn requests_are_read_as_the_clients_write_them() {
        let subscribe = Request::Subscribe(vec!["T.SPY".to_owned(), "AM.*".to_owned()]);
        assert_eq!(request(r#"{"action":"subscribe","params":"T.SPY, AM.*"}"#), Ok(subscribe));
        assert_eq!(request(r#"{"action":"auth","params":"key"}"#), Ok(Request::Auth("key".to_owned())));
        assert!(request("{").is_err() && request(r#"{"action":"auth"}"#).is_err());
        assert!(request(r#"{"action":"dance","params":""}"#).is_err());
        assert_eq!(
            (channel("AM.*"), channel("T.BRK.B"), channel("X.1"), channel("T.")),
            (Some(3), Some(0), None, None)
        );
    }
}
