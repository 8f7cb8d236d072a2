//! What a pool is to be.

use super::order::Endpoint;
use crate::feed::dialect::DialectRow;
use crate::feed::session::SessionRow;

/// One feed over one or more connections.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// What its counters and notes call it.
    pub name: String,
    /// What its messages mean.
    pub dialect: &'static DialectRow,
    /// How it is subscribed to.
    pub session: &'static SessionRow,
    /// Where its connections go.
    pub endpoint: Endpoint,
    /// The connections, in order.
    pub members: Vec<MemberOptions>,
}

/// One connection of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// What its counters and notes call it.
    pub name: String,
}

impl PartialEq for PoolOptions {
    fn eq(&self, other: &Self) -> bool {
        let rows = |it: &Self| (it.dialect.name, it.session.name);
        (&self.name, rows(self), &self.endpoint, &self.members)
            == (&other.name, rows(other), &other.endpoint, &other.members)
    }
}

impl Eq for PoolOptions {}
