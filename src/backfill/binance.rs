//! Binance's klines, spot and USD-M futures: `GET …/klines?symbol&interval&startTime&endTime&limit`, times in ms and both ends
//! included; an answer is an array of arrays, its prices, volumes and turnovers text.
//!
//! Sources: <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>,
//! <https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data>. An interval without trades
//! has a row all the same, flat, with 0 trades.

use crate::feed::json::{Json, Value};

use super::answer::{Answer, Asked, Cells, Flaw, Malformed, Worth};
use super::options::Secret;
use super::vendor::{Vendor, push_encoded};

/// The vendor, one of its markets.
#[derive(Debug)]
pub struct Binance {
    path: &'static str,
    has_seconds: bool,
    weights: &'static [(u64, u32)],
}

/// The most rows of an answer.
const ROWS_MAX: u64 = 1_000;

/// Every interval but the shortest, and the weeks and months, which are no timeframes here.
const INTERVALS: [(u32, &str); 12] = [
    (60, "1m"),
    (180, "3m"),
    (300, "5m"),
    (900, "15m"),
    (1_800, "30m"),
    (3_600, "1h"),
    (7_200, "2h"),
    (14_400, "4h"),
    (21_600, "6h"),
    (28_800, "8h"),
    (43_200, "12h"),
    (86_400, "1d"),
];

impl Binance {
    /// Spot.
    pub const SPOT: Self = Self { path: "/api/v3/klines", has_seconds: true, weights: &[(0, 2)] };
    /// USD-M futures. A request's weight goes by its `limit`.
    pub const USDM: Self =
        Self { path: "/fapi/v1/klines", has_seconds: false, weights: &[(500, 5), (100, 2), (0, 1)] };

    fn interval(&self, seconds: u32) -> Option<&'static str> {
        if seconds == 1 && self.has_seconds {
            return Some("1s");
        }
        INTERVALS.iter().find(|(length, _)| *length == seconds).map(|(_, name)| *name)
    }
}

impl Vendor for Binance {
    fn has(&self, seconds: u32) -> bool {
        self.interval(seconds).is_some()
    }

    fn intervals_max(&self, _seconds: u32) -> u64 {
        ROWS_MAX
    }

    fn weight(&self, intervals: u64) -> u32 {
        self.weights.iter().find(|(from, _)| intervals >= *from).map_or(1, |(_, weight)| *weight)
    }

    fn request(&self, asked: &Asked<'_>) -> String {
        let interval = self.interval(asked.seconds).unwrap_or("1m");
        let (from, last) = (asked.from.millis(), asked.to.millis() - 1);
        let limit = asked.intervals().clamp(1, ROWS_MAX);
        let mut url = format!("{}?symbol=", self.path);
        push_encoded(&mut url, asked.symbol);
        url += &format!("&interval={interval}&startTime={from}&endTime={last}&limit={limit}");
        url
    }

    fn key_header(&self, key: &Secret) -> (&'static str, String) {
        ("X-MBX-APIKEY", key.reveal().to_owned())
    }

    fn read(
        &self,
        body: &mut [u8],
        asked: &Asked<'_>,
        json: &mut Json,
        answer: &mut Answer,
    ) -> Result<(), Malformed> {
        let mut verdict = Err(Malformed::NotJson);
        json.document(body, |document| {
            let is_list = document.elements(|row| answer.row(asked, cells(row)));
            verdict = if is_list { Ok(()) } else { Err(Malformed::Shape("an array of rows")) };
        });
        verdict
    }
}

/// Open time, open, high, low, close, volume, close time, turnover, trades; what follows is of the takers.
fn cells<'i>(row: Value<'_, 'i>) -> Result<Cells<'i>, Flaw> {
    let mut fields = [None; 9];
    let mut n = 0;
    let is_list = row.elements(|value| {
        if let Some(field) = fields.get_mut(n) {
            *field = value.field();
        }
        n += 1;
    });
    if !is_list {
        return Err(Flaw::WrongType);
    }
    let [
        Some(start),
        Some(o),
        Some(h),
        Some(l),
        Some(c),
        Some(volume),
        Some(_),
        Some(turnover),
        Some(trades),
    ] = fields
    else {
        return Err(Flaw::MissingField);
    };
    Ok(Cells {
        start,
        prices: [o, h, l, c],
        volume,
        worth: Some(Worth::Turnover(turnover)),
        trades: Some(trades),
        quoted: true,
    })
}
