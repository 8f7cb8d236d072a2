//! The vendors: one trait, one row in the table, one file each.

use crate::model::Nanos;

/// A row of the table.
#[derive(Debug)]
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
}

/// Every vendor.
pub const VENDORS: &[VendorRow] = &[
    VendorRow {
        name: "massive",
        about: "Massive, stocks: /v2/aggs/ticker",
        base_url: "https://api.massive.com",
        weight_per_minute_max: 3_000,
        settle: Nanos::from_secs(5),
    },
    VendorRow {
        name: "binance-spot",
        about: "Binance, spot: /api/v3/klines",
        base_url: "https://api.binance.com",
        weight_per_minute_max: 1_200,
        settle: Nanos::from_secs(2),
    },
    VendorRow {
        name: "binance-usdm",
        about: "Binance, USD-M futures: /fapi/v1/klines",
        base_url: "https://fapi.binance.com",
        weight_per_minute_max: 1_200,
        settle: Nanos::from_secs(2),
    },
];

/// The vendor of a name.
pub fn find(name: &str) -> Option<&'static VendorRow> {
    VENDORS.iter().find(|row| row.name == name)
}
