//! Massive's aggregates: `GET /v2/aggs/ticker/{ticker}/range/{multiplier}/{second|minute}/{from}/{to}`, times in ms and both
//! ends included, further pages at `next_url`.
//!
//! Source: <https://massive.com/docs/rest/stocks/aggregates/custom-bars>; that windows begin at `from` where it begins a second or
//! minute: <https://polygon.io/blog/aggs-api-updates>. Intervals without eligible trades have no row. Numbers are JSON numbers, a volume
//! may have a fraction or an exponent; `vw` (average price) and `n` (trades) may be left out. Stocks' bars are not adjusted for
//! splits here, as their trades are not.

use crate::feed::json::{Json, Scalar, Value};

use super::answer::{Answer, Asked, Cells, Flaw, Malformed, Worth};
use super::options::Secret;
use super::vendor::{Vendor, push_encoded};

/// The vendor.
#[derive(Debug)]
pub struct Massive;

/// The most base aggregates, seconds or minutes, that an answer is made from.
const BASE_MAX: u32 = 50_000;
const DAY_S: u32 = 86_400;

/// How many seconds or minutes a bar has, and which.
fn span(seconds: u32) -> (u32, &'static str) {
    if seconds.is_multiple_of(60) { (seconds / 60, "minute") } else { (seconds, "second") }
}

impl Vendor for Massive {
    /// Its days are those of the exchange, not of UTC.
    fn has(&self, seconds: u32) -> bool {
        seconds > 0 && seconds < DAY_S
    }

    fn intervals_max(&self, seconds: u32) -> u64 {
        u64::from(BASE_MAX / span(seconds).0.max(1)).max(1)
    }

    fn weight(&self, _intervals: u64) -> u32 {
        1
    }

    fn request(&self, asked: &Asked<'_>) -> String {
        let (multiplier, unit) = span(asked.seconds);
        let (from, last) = (asked.from.millis(), asked.to.millis() - 1);
        let mut url = "/v2/aggs/ticker/".to_owned();
        push_encoded(&mut url, asked.symbol);
        url += &format!("/range/{multiplier}/{unit}/{from}/{last}?adjusted=false&sort=asc&limit={BASE_MAX}");
        url
    }

    fn key_header(&self, key: &Secret) -> (&'static str, String) {
        ("Authorization", format!("Bearer {}", key.reveal()))
    }

    fn read(
        &self,
        body: &mut [u8],
        asked: &Asked<'_>,
        json: &mut Json,
        answer: &mut Answer,
    ) -> Result<(), Malformed> {
        let mut verdict = Err(Malformed::NotJson);
        json.document(body, |document| verdict = read(document, asked, answer));
        verdict
    }
}

fn read(document: Value<'_, '_>, asked: &Asked<'_>, answer: &mut Answer) -> Result<(), Malformed> {
    let (mut status, mut ticker, mut results, mut next) = (Scalar::Null, Scalar::Null, None, Scalar::Null);
    let is_object = document.fields(|key, value| match key {
        "status" => status = value.scalar(),
        "ticker" => ticker = value.scalar(),
        "results" => results = Some(value),
        "next_url" => next = value.scalar(),
        _ => {}
    });
    if !is_object {
        return Err(Malformed::Shape("an object with status and results"));
    }
    match status {
        // What is served late may still have trades where there is no row yet.
        Scalar::Text("OK") => answer.leaves_out_empty = true,
        Scalar::Text("DELAYED") => answer.is_delayed = true,
        _ => return Err(Malformed::Shape("status OK or DELAYED")),
    }
    match ticker {
        Scalar::Text(name) if name == asked.symbol => {}
        other => return Err(Malformed::Symbol(other.show())),
    }
    let has_rows = results.filter(|value| value.scalar() != Scalar::Null);
    if let Some(rows) = has_rows {
        let is_list = rows.elements(|row| answer.row(asked, cells(row)));
        if !is_list {
            return Err(Malformed::Shape("results as an array"));
        }
    }
    answer.next = match next {
        Scalar::Text(url) => Some(path_of(url).ok_or(Malformed::Shape("next_url as an address"))?.to_owned()),
        Scalar::Null => None,
        _ => return Err(Malformed::Shape("next_url as text")),
    };
    Ok(())
}

/// Path and query of an address. Its host is left out: the key goes nowhere but to the host that was configured.
fn path_of(url: &str) -> Option<&str> {
    let rest = match url.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => url,
    };
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    (rest.starts_with('/') && plain).then_some(rest)
}

fn cells<'i>(row: Value<'_, 'i>) -> Result<Cells<'i>, Flaw> {
    let mut fields = [None; 8];
    let is_object = row.fields(|key, value| {
        let names = ["t", "o", "h", "l", "c", "v", "vw", "n"];
        if let Some(at) = names.iter().position(|name| *name == key) {
            fields[at] = value.field();
        }
    });
    if !is_object {
        return Err(Flaw::WrongType);
    }
    let [t, o, h, l, c, v, vw, n] = fields;
    let there = |field: Option<Scalar<'i>>| field.ok_or(Flaw::MissingField);
    Ok(Cells {
        start: there(t)?,
        prices: [there(o)?, there(h)?, there(l)?, there(c)?],
        volume: there(v)?,
        worth: vw.map(Worth::Average),
        trades: n,
        quoted: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_to_no_host_that_an_answer_names() {
        assert_eq!(path_of("https://elsewhere.example/v2/x?cursor=a%3D"), Some("/v2/x?cursor=a%3D"));
        assert_eq!(path_of("/v2/x"), Some("/v2/x"));
        for bad in ["https://elsewhere.example", "v2/x", "", "@elsewhere/", "/a b", "/a\r\nX: y", "/a#b"] {
            assert_eq!(path_of(bad), None, "{bad:?}");
        }
    }
}
