//! The vendors: one trait, one row in the table, one file each.

use crate::feed::json::Json;
use crate::model::Nanos;

use super::answer::{Answer, Asked, Malformed};
use super::binance::Binance;
use super::massive::Massive;
use super::options::Secret;

/// A vendor's REST interface to its bars: questions to text, answers to bars. It does no I/O and reads no clock.
pub trait Vendor: Send + Sync {
    /// Whether it has bars of that length in seconds, aligned to the epoch.
    fn has(&self, seconds: u32) -> bool;

    /// The most intervals that one request may ask for.
    fn intervals_max(&self, seconds: u32) -> u64;

    /// What a request for so many intervals costs, in the vendor's unit.
    fn weight(&self, intervals: u64) -> u32;

    /// Path and query of the request.
    fn request(&self, asked: &Asked<'_>) -> String;

    /// The header that shows the key.
    fn key_header(&self, key: &Secret) -> (&'static str, String);

    /// Reads an answer of status 200. It may write into `body`.
    ///
    /// # Errors
    /// Where it is no answer to what was asked; then nothing of it counts.
    fn read(
        &self,
        body: &mut [u8],
        asked: &Asked<'_>,
        json: &mut Json,
        answer: &mut Answer,
    ) -> Result<(), Malformed>;
}

/// A row of the table.
pub struct VendorRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// Its public address.
    pub base_url: &'static str,
    /// What may be spent a minute unless the configuration says otherwise.
    pub weight_per_minute_max: u32,
    /// How long after its end a bar is trusted to be whole.
    pub settle: Nanos,
    /// Its interface.
    pub vendor: &'static dyn Vendor,
}

impl std::fmt::Debug for VendorRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every vendor.
pub const VENDORS: &[VendorRow] = &[
    VendorRow {
        name: "massive",
        about: "Massive, stocks: /v2/aggs/ticker",
        base_url: "https://api.massive.com",
        // Paid plans have no limit but ask to stay under 100 requests a second; half of that. The free plan has 5 a minute.
        weight_per_minute_max: 3_000,
        // A sale may be reported up to 10 s after it was made (FINRA rule 6380A), and belongs to the bar of its time.
        settle: Nanos::from_secs(12),
        vendor: &Massive,
    },
    VendorRow {
        name: "binance-spot",
        about: "Binance, spot: /api/v3/klines",
        base_url: "https://api.binance.com",
        // Half of the 6,000 that an address has: other programs share it.
        weight_per_minute_max: 3_000,
        // Its bars change with each trade and are whole at their end; this covers clocks that differ.
        settle: Nanos::from_secs(2),
        vendor: &Binance::SPOT,
    },
    VendorRow {
        name: "binance-usdm",
        about: "Binance, USD-M futures: /fapi/v1/klines",
        base_url: "https://fapi.binance.com",
        // Half of the 2,400 that an address has.
        weight_per_minute_max: 1_200,
        settle: Nanos::from_secs(2),
        vendor: &Binance::USDM,
    },
];

/// The vendor of a name.
pub fn find(name: &str) -> Option<&'static VendorRow> {
    VENDORS.iter().find(|row| row.name == name)
}

/// Appends text as one segment of a path or one value of a query: all but letters, digits, `-`, `_` and, beside one of
/// these, `.` as `%` and two hex digits.
pub(super) fn push_encoded(url: &mut String, text: &str) {
    let dots_only = text.bytes().all(|b| b == b'.');
    for byte in text.bytes() {
        match byte {
            b'.' if !dots_only => url.push('.'),
            b'-' | b'_' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => *url += &format!("%{byte:02X}"),
        }
    }
}
