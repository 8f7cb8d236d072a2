//! What a feed's REST side is: where, whose, and its limits.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::model::Nanos;

use super::vendor::VendorRow;

/// A vendor's REST side, for one feed.
#[derive(Debug, Clone)]
pub struct RestOptions {
    /// The feed's name: what counters and notes call it.
    pub name: String,
    /// Whose interface it is: a row of [`VENDORS`](super::VENDORS).
    pub vendor: &'static VendorRow,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The key, where the vendor wants one.
    pub key: Option<Secret>,
    /// Authorities in PEM that are trusted instead of the web's.
    pub ca_file: Option<PathBuf>,
    /// What may be spent in any 60 s, in the vendor's unit: Massive counts requests, Binance the weight of each. Feeds of one
    /// `base_url` and `key` share the least of theirs.
    pub weight_per_minute_max: u32,
    /// How long after its end a missed bar is asked for, at the earliest: what comes then stays.
    pub settle: Nanos,
    /// The same while every connection is down: what comes then is made good once one is back.
    pub poll_settle: Nanos,
    /// How often the newest bars are asked for while every connection is down.
    pub poll_every: Nanos,
    /// Requests under way at a time.
    pub requests_at_once_max: usize,
    /// How often one piece of work is tried before its bars stay as they are. Being told to slow down is no try.
    pub attempts_max: u32,
    /// Intervals that may wait to be asked for; one more is left out.
    pub wishes_max: usize,
    /// The longest answer, in bytes, once unpacked.
    pub body_bytes_max: usize,
    /// How long the name's resolution, the connection with its TLS handshake, and the wait for the answer's head may each take.
    pub step_max: Nanos,
    /// How long the whole of a request may take.
    pub request_max: Nanos,
}

impl RestOptions {
    /// The vendor's defaults, at its public address, without a key.
    pub fn new(name: &str, vendor: &'static VendorRow) -> Self {
        Self {
            name: name.to_owned(),
            vendor,
            base_url: BaseUrl::of_row(vendor.base_url),
            key: None,
            ca_file: None,
            weight_per_minute_max: vendor.weight_per_minute_max,
            settle: vendor.settle,
            // What two clocks may differ by; a vendor's answer that is older than the bar's end is asked for again.
            poll_settle: Nanos::from_secs(2),
            // As often as a person looks, and no more than one request for a symbol and bar that closed meanwhile.
            poll_every: Nanos::from_secs(5),
            // A hundred symbols at 100 ms a round trip are filled in 2.5 s; more at once look like an attack to some vendors.
            requests_at_once_max: 4,
            // With the back-off between them about 8 s of trouble.
            attempts_max: 5,
            // A gap in every symbol of a feed that is not small; 48 bytes each.
            wishes_max: 65_536,
            // 50,000 bars of 150 bytes, the most that any vendor sends at once.
            body_bytes_max: 8 << 20,
            step_max: Nanos::from_secs(5),
            request_max: Nanos::from_secs(20),
        }
    }
}

/// Text that no log, note or error shows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where a REST side is: `http://` or `https://`, a host, perhaps a port, and a path that is put before each request's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(String);

/// Why a text is not a [`BaseUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address such as https://api.massive.com or http://127.0.0.1:8090, without user, query or fragment"
)]
pub struct BaseUrlError(String);

impl BaseUrl {
    /// A row of the table is right as it is; a test reads each as a setting would be.
    pub(super) fn of_row(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// As text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || BaseUrlError(text.to_owned());
        let rest =
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
        let authority = rest.split('/').next().unwrap_or("");
        let port = match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((_, tail)) if !tail.ends_with(']') => Some(tail),
            _ => None,
        };
        let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"@?#\\\"<>^`{|}".contains(&b));
        let host = authority.len() > port.map_or(0, |port| port.len() + 1);
        if host && good_port && plain {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(wrong())
        }
    }
}
