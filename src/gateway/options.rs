//! Every limit of a gateway: its name with its unit, its default, and why.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::runtime::websocket::REQUEST_BYTES_MAX;

/// What a gateway is told at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Which of the gateways it is, from 0.
    pub number: usize,
    /// Where the dealer listens for all of them.
    pub listen: SocketAddr,
    /// WebSockets at once, over all gateways; one more is answered 503. Each costs about 3 KiB of memory and a file
    /// descriptor.
    pub connections_max: usize,
    /// WebSockets at once from one address, an IPv6 network of 64 bits counting as one; one more is answered 429. As many as
    /// in all, unless it is set: behind a proxy, which TLS needs for now, every client has the same address.
    pub connections_per_ip_max: usize,
    /// Topics one connection may ask for by name, a wildcard counting as one: 10,000 symbols of six timeframes. Each costs
    /// some 300 bytes here and a place in a shard; this bounds what one client can make of both.
    pub subscriptions_max: usize,
    /// Longest message from a client, bytes: room for 10,000 symbols of the longest name, with quotes and commas, and no
    /// more memory than that.
    pub message_bytes_max: usize,
    /// Live facts waiting for one connection, bytes. Past it the client is closed: facts are never dropped silently.
    pub outbox_facts_bytes_max: usize,
    /// Answers waiting for one connection, bytes: the snapshots of 65,536 topics come all at once. Past a sixteenth of it
    /// no more requests are read, past all of it the client is closed.
    pub outbox_answers_bytes_max: usize,
    /// How long a fact may wait for a socket, ms. Older ones are of no use to a live client, which can ask for history.
    pub outbox_facts_age_ms_max: u64,
    /// Longest head of the HTTP request, bytes; a longer one is answered 431. A browser with cookies sends 1 to 4 KiB.
    pub request_head_bytes_max: usize,
    /// From accept to the end of the HTTP request, ms: a slow handshake holds a descriptor.
    pub handshake_ms_max: u64,
    /// From our close to the end of the socket, ms; afterwards it is reset.
    pub close_ms_max: u64,
    /// A ping after so long without anything received, s; after twice as long the client is gone. Proxies drop what is silent
    /// for a minute.
    pub heartbeat_s: u64,
    /// `SO_SNDBUF`, bytes: what lies in the kernel grows stale and cannot be conflated any more.
    pub send_buffer_bytes: usize,
    /// `TCP_NOTSENT_LOWAT`, bytes, for the same reason.
    pub unsent_low_water_bytes: u32,
    /// Reads of one socket in one turn, 1 KiB each: one client that floods may not delay the others.
    pub reads_per_turn: u32,
    /// Writes to one socket in one turn, of up to 256 frames and 64 KiB each, for the same reason.
    pub writes_per_turn: u32,
    /// From how many bytes on frames that lie side by side for the same clients are sent by reference. Of fewer the kernel
    /// makes a copy faster.
    pub referred_bytes_min: usize,
    /// Connections accepted by the dealer, or taken from it, in one turn: a storm of new clients may not delay those there are.
    pub accepts_per_turn: u32,
    /// Events taken from one ring in one turn, so that sockets get their share.
    pub events_per_turn: usize,
    /// Messages one connection may send a second; more of them is a flood and closes it.
    pub requests_per_s_max: u32,
    /// Bytes one connection may send a second after its handshake, headers of frames included: sixteen messages of full
    /// length. What needs no whole message, such as fragments without end, is bounded by this.
    pub request_bytes_per_s_max: usize,
    /// Pings and pongs one connection may send a second. Libraries send one in 20 s or so, and answer ours; each costs a pong
    /// and the wake-up of a core.
    pub control_frames_per_s_max: u32,
    /// How long clients are seen off before a restart, s. So short that a service manager sees a restart at once; with
    /// thousands of clients more of it spares the next engine a stampede.
    pub drain_s: u64,
    /// How long a stopping gateway waits for the shards' last events, ms.
    pub last_events_ms_max: u64,
    /// Longest message of the path `/echo`, bytes, which sends messages back for conformance suites. `None`, as by default: there
    /// is no such path, for it is of no use to anyone else.
    pub echo_bytes_max: Option<usize>,
}

impl GatewayOptions {
    /// What reports and connections call it.
    pub fn name(&self) -> String {
        format!("gateway-{}", self.number)
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            number: 0,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            connections_max: 10_000,
            connections_per_ip_max: 10_000,
            subscriptions_max: 65_536,
            message_bytes_max: 512 * 1024,
            outbox_facts_bytes_max: 1024 * 1024,
            outbox_answers_bytes_max: 64 * 1024 * 1024,
            outbox_facts_age_ms_max: 10_000,
            request_head_bytes_max: REQUEST_BYTES_MAX,
            handshake_ms_max: 5_000,
            close_ms_max: 1_000,
            heartbeat_s: 30,
            send_buffer_bytes: 64 * 1024,
            unsent_low_water_bytes: 16 * 1024,
            reads_per_turn: 32,
            writes_per_turn: 4,
            referred_bytes_min: 8 * 1024,
            accepts_per_turn: 64,
            events_per_turn: 4_096,
            requests_per_s_max: 1_000,
            request_bytes_per_s_max: 1024 * 1024,
            control_frames_per_s_max: 100,
            drain_s: 1,
            last_events_ms_max: 500,
            echo_bytes_max: None,
        }
    }
}
