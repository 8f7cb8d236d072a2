//! REST of both venues: bars out of every sale that was due, whatever the connections were sent.
//!
//! <https://massive.com/docs/rest/stocks/aggregates/custom-bars> and
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>.

use std::collections::HashMap;

use serde_json::json;

use crate::binance;
use crate::fault::Kind;
use crate::massive;
use crate::truth::SECOND_MS;
use crate::venue::{Kindred, Venue};

/// Results of one page of Massive, by default and at most.
const LIMIT: usize = 5_000;
const LIMIT_MAX: usize = 50_000;
/// Rows of one answer of Binance, by default and at most; futures give more.
const ROWS: usize = 500;
const ROWS_MAX: usize = 1_000;
const FUTURES_ROWS_MAX: usize = 1_500;
/// What a request for klines weighs.
const WEIGHT: u32 = 2;

/// A request, as far as it matters.
#[derive(Debug, Default)]
pub struct Ask {
    /// Path and query.
    pub target: String,
    /// `http://host:port` or `https://…`, as the client said it.
    pub base: String,
    /// The header of this name.
    pub authorization: String,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answer(Answer),
    /// It is not, and the connection ends then, ms.
    Hang(i64),
}

fn answer(status: u16, body: String) -> Outcome {
    Outcome::Answer(Answer { status, headers: Vec::new(), body })
}

/// Answers a request.
pub fn ask(venue: &mut Venue, ask: &Ask, now_ms: i64) -> Outcome {
    let outcome = answered(venue, ask, now_ms);
    let status = match &outcome {
        Outcome::Answer(answer) => answer.status,
        Outcome::Hang(_) => 0,
    };
    *venue.counts.rest.entry(status).or_default() += 1;
    outcome
}

fn answered(venue: &mut Venue, ask: &Ask, now_ms: i64) -> Outcome {
    let too_many = |wait_ms: i64| {
        let headers = vec![("Retry-After", (wait_ms.max(0) / 1_000 + 1).to_string())];
        let body = json!({"status": "ERROR", "code": -1003, "msg": "too many requests", "error": "too many requests"});
        Outcome::Answer(Answer { status: 429, headers, body: body.to_string() })
    };
    match venue.rest_fault(now_ms) {
        Some((Kind::RestHang, until)) => return Outcome::Hang(until),
        Some((Kind::Rest429, until)) => return too_many(until - now_ms),
        Some((Kind::Rest500, _)) => {
            return answer(500, r#"{"status":"ERROR","error":"internal error"}"#.to_owned());
        }
        _ => {}
    }
    let used = match venue.rest_budget(now_ms) {
        Ok(used) => used,
        Err(wait_ms) => return too_many(wait_ms),
    };
    let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
    let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    match (path, venue.manners.kindred) {
        (path, Kindred::Massive) if path.starts_with("/v2/aggs/ticker/") => {
            aggregates(venue, ask, path, &query)
        }
        ("/api/v3/klines", Kindred::Binance) => klines(venue, &query, false, used),
        ("/fapi/v1/klines", Kindred::BinanceFutures) => klines(venue, &query, true, used),
        _ => answer(404, r#"{"status":"NOT_FOUND","error":"there is no such path"}"#.to_owned()),
    }
}

/// `/v2/aggs/ticker/{ticker}/range/{multiplier}/{span}/{from}/{to}`.
fn aggregates(venue: &Venue, ask: &Ask, path: &str, query: &HashMap<&str, &str>) -> Outcome {
    let key =
        ask.authorization.strip_prefix("Bearer ").or_else(|| query.get("apiKey").copied()).unwrap_or("");
    let keys = &venue.manners.keys;
    if !keys.is_empty() && !keys.iter().any(|known| known == key) {
        return answer(401, r#"{"status":"ERROR","error":"Unknown API Key"}"#.to_owned());
    }
    let bad = |what: &str| answer(400, json!({"status": "ERROR", "error": what}).to_string());
    let parts: Vec<_> = path.trim_start_matches("/v2/aggs/ticker/").split('/').collect();
    let [ticker, "range", multiplier, span, from, to] = parts[..] else {
        return bad(
            "the path is /v2/aggs/ticker/{ticker}/range/{multiplier}/{second|minute|hour|day}/{from}/{to}",
        );
    };
    let span_ms = match span {
        "second" => SECOND_MS,
        "minute" => 60 * SECOND_MS,
        "hour" => 3_600 * SECOND_MS,
        "day" => 86_400 * SECOND_MS,
        _ => return bad("span is second, minute, hour or day"),
    };
    let multiplier = multiplier.parse::<i64>().ok().filter(|n| (1..=10_000).contains(n));
    let (Some(multiplier), Ok(from), Ok(to)) = (multiplier, from.parse::<i64>(), to.parse::<i64>()) else {
        return bad("multiplier, from and to are whole numbers, the times in ms");
    };
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(LIMIT);
    let limit = limit.clamp(1, LIMIT_MAX).min(venue.manners.page_max);
    let length = multiplier * span_ms;
    // The window that `from` lies in is told whole.
    let first = from.div_euclid(length) * length;
    let mut bars = match venue.symbols.find(ticker) {
        Some(symbol) if first <= to => venue.truth.bars(symbol, length, first, to.saturating_add(1)),
        _ => Vec::new(),
    };
    if query.get("sort") == Some(&"desc") {
        bars.reverse();
    }
    let next = (bars.len() > limit && query.get("sort") != Some(&"desc")).then(|| {
        let next = bars[limit].start_ms;
        let rest = format!("limit={limit}&sort=asc&adjusted=false&cursor={next}");
        format!(
            r#","next_url":"{}/v2/aggs/ticker/{ticker}/range/{multiplier}/{span}/{next}/{to}?{rest}""#,
            ask.base
        )
    });
    bars.truncate(limit);
    let results: Vec<_> = bars.iter().map(|bar| massive::result(bar, venue.manners.vw_decimals)).collect();
    answer(
        200,
        format!(
            r#"{{"ticker":{},"queryCount":{count},"resultsCount":{count},"adjusted":false,"results":[{}],"status":"OK","request_id":"feedsim","count":{count}{}}}"#,
            json!(ticker),
            results.join(","),
            next.unwrap_or_default(),
            count = results.len()
        ),
    )
}

/// `symbol`, `interval`, `startTime`, `endTime`, `limit`.
fn klines(venue: &Venue, query: &HashMap<&str, &str>, futures: bool, used: u32) -> Outcome {
    let bad = |code: i32, what: &str| answer(400, json!({"code": code, "msg": what}).to_string());
    let Some(symbol) = query.get("symbol").and_then(|name| venue.symbols.find(name)) else {
        return bad(-1121, "Invalid symbol.");
    };
    let Some(length) = query.get("interval").and_then(|name| binance::interval_ms(name, futures)) else {
        return bad(-1120, "Invalid interval.");
    };
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let rows_max = if futures { FUTURES_ROWS_MAX } else { ROWS_MAX };
    let limit = number("limit").and_then(|n| usize::try_from(n).ok()).unwrap_or(ROWS).clamp(1, rows_max);
    let (from, to) = (number("startTime"), number("endTime").unwrap_or(i64::MAX / 2));
    let mut bars = venue.truth.bars(symbol, length, from.unwrap_or(0), to.saturating_add(1));
    // Without a start the newest are meant.
    if from.is_none() && bars.len() > limit {
        bars.drain(..bars.len() - limit);
    }
    bars.truncate(limit);
    let rows: Vec<_> = bars.iter().map(|bar| binance::row(bar, length)).collect();
    let headers = vec![("X-MBX-USED-WEIGHT-1M", (used * WEIGHT).to_string())];
    Outcome::Answer(Answer { status: 200, headers, body: format!("[{}]", rows.join(",")) })
}
