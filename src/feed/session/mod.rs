//! What a vendor wants said before and while it sends data: one row, one file each.

/// A row of the table.
#[derive(Debug)]
pub struct SessionRow {
    /// The vendor, and the feed dialect it speaks.
    pub name: &'static str,
}

/// Every vendor whose streams can be subscribed to.
pub const SESSIONS: &[SessionRow] =
    &[SessionRow { name: "massive" }, SessionRow { name: "binance" }, SessionRow { name: "alpaca" }];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static SessionRow> {
    SESSIONS.iter().find(|row| row.name == name)
}
