//! What a pool is to be, and every limit of it.

use crate::feed::dialect::DialectRow;
use crate::feed::session::{Secret, SessionOptions, SessionRow};
use crate::feed::universe::Universes;
use crate::model::{Nanos, Symbol};

use super::order::Endpoint;

/// The most connections of one pool: what fits the marks of a symbol, and more than any vendor sells.
pub const MEMBERS_MAX: usize = 16;

/// One feed over one or more connections.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// What its counters and notes call it: the source's name.
    pub name: String,
    /// What its messages mean.
    pub dialect: &'static DialectRow,
    /// How the vendor is spoken to.
    pub session: &'static SessionRow,
    /// What is said to the vendor.
    pub asks: SessionOptions,
    /// Where its connections go.
    pub endpoint: Endpoint,
    /// The connections, in order: 1 to [`MEMBERS_MAX`].
    pub members: Vec<MemberOptions>,
    /// The lists that members name, as they were at start.
    pub universes: Universes,
    /// Where some of those lists were read from, for whoever reads them anew, and the others, which that file may override.
    pub universe_file: Option<std::path::PathBuf>,
    /// The lists that are not from that file.
    pub universes_fixed: Universes,
    /// Its limits.
    pub limits: PoolLimits,
}

/// One connection of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// What its counters and notes call it.
    pub name: String,
    /// The symbols of these universes, in order.
    pub universes: Vec<String>,
    /// And these symbols.
    pub symbols: Vec<Symbol>,
    /// Of those, only each `.1`-th, beginning with the `.0`-th: how several connections share one list.
    pub share: (usize, usize),
    /// Where survivors are short of room, symbols of a higher priority are taken over first.
    pub priority: u8,
}

impl MemberOptions {
    /// The symbols that are this member's own, each once, at most `most`; and how many more there were.
    pub fn symbols(&self, universes: &Universes, most: usize) -> (Vec<Symbol>, usize) {
        let listed = self.universes.iter().filter_map(|key| universes.get(key)).flatten();
        let mut seen = std::collections::HashSet::new();
        let (first, step) = self.share;
        let mut own: Vec<_> = listed
            .chain(&self.symbols)
            .filter(|symbol| seen.insert(**symbol))
            .skip(first)
            .step_by(step.max(1))
            .copied()
            .collect();
        let over = own.len().saturating_sub(most);
        own.truncate(most);
        (own, over)
    }
}

/// Every limit of a pool, with its default and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// The most symbols of one connection, guests included.
    pub symbols_max: usize,
    /// The most subscriptions (symbols times channels) in one message.
    pub params_max: usize,
    /// TCP, TLS and the WebSocket handshake take no longer.
    pub connect_max: Nanos,
    /// Nor does the vendor's greeting and the answer to the key.
    pub auth_max: Nanos,
    /// A subscription that is not answered by then is asked for again.
    pub subscribe_max: Nanos,
    /// A connection silent for so long is pinged.
    pub ping_after: Nanos,
    /// A connection silent for so long is lost.
    pub silence_max: Nanos,
    /// A connection without data for so long is reported as stale. It is not cut: outside market hours that is how things are.
    pub stale_after: Nanos,
    /// A connection that has lived so long has come to stay: its symbols return to it, and the back-off begins anew.
    pub settle_after: Nanos,
    /// The longest wait between two attempts.
    pub backoff_max: Nanos,
    /// How long to leave a vendor alone that refused the key; doubles up to [`COOLDOWN_MAX`].
    pub auth_cooldown: Nanos,
    /// How long to leave a vendor alone that has too many connections of the account; doubles up to [`COOLDOWN_MAX`].
    pub eviction_cooldown: Nanos,
    /// How much of what surrounds a loss may be missing too: gaps are widened by it on both sides.
    pub gap_margin: Nanos,
    /// A connection is renewed at this age, if ever.
    pub lifetime: Option<Nanos>,
}

/// The longest cooldown.
pub const COOLDOWN_MAX: Nanos = Nanos::from_secs(3600);

impl PoolLimits {
    /// The defaults for a vendor and a number of channels.
    pub fn new(row: &SessionRow, channels: usize) -> Self {
        Self {
            symbols_max: row.streams_max / channels.max(1),
            params_max: row.params_max,
            // A handshake over a long way is three or four round trips and a name to resolve.
            connect_max: Nanos::from_secs(5),
            // Half of the 10 s that a vendor gives us.
            auth_max: Nanos::from_secs(5),
            // Answers take a round trip; to ask twice does no harm.
            subscribe_max: Nanos::from_secs(3),
            // Two lost pongs within the silence that is allowed.
            ping_after: Nanos::from_secs(2),
            // A hole in TCP is mended in three or four retransmissions, about 3 s.
            silence_max: Nanos::from_secs(6),
            stale_after: Nanos::from_secs(30),
            settle_after: Nanos::from_secs(10),
            backoff_max: Nanos::from_secs(30),
            auth_cooldown: Nanos::from_secs(60),
            eviction_cooldown: Nanos::from_secs(300),
            // The grace that a bar gives to late ticks.
            gap_margin: Nanos::from_millis(250),
            lifetime: row.lifetime,
        }
    }
}

impl PoolOptions {
    /// A pool of one connection that takes `symbols` over the vendor's default channels, without a key.
    pub fn new(
        name: &str,
        dialect: &'static DialectRow,
        session: &'static SessionRow,
        endpoint: Endpoint,
        symbols: Vec<Symbol>,
    ) -> Self {
        let class = |channel: &&'static str| Some(((*channel).to_owned(), session.class(channel)?));
        let channels: Vec<_> = session.channels_default.iter().filter_map(class).collect();
        let limits = PoolLimits::new(session, channels.len());
        let member = MemberOptions {
            name: "1".to_owned(),
            universes: Vec::new(),
            symbols,
            share: (0, 1),
            priority: 0,
        };
        Self {
            name: name.to_owned(),
            dialect,
            session,
            asks: SessionOptions { key: Secret::default(), secret: Secret::default(), channels },
            endpoint,
            members: vec![member],
            universes: Universes::default(),
            universe_file: None,
            universes_fixed: Universes::default(),
            limits,
        }
    }
}

impl PartialEq for PoolOptions {
    fn eq(&self, other: &Self) -> bool {
        let rows = |it: &Self| (it.dialect.name, it.session.name);
        rows(self) == rows(other)
            && (&self.name, &self.asks, &self.endpoint) == (&other.name, &other.asks, &other.endpoint)
            && (&self.members, &self.universes, &self.limits)
                == (&other.members, &other.universes, &other.limits)
            && self.universe_file == other.universe_file
    }
}

impl Eq for PoolOptions {}
