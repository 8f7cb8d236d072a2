//! How much one connection may send in a second. Past any of the bounds it is a flood, and ends.

use crate::model::{Nanos, UnixNanos};

use super::Gateway;
use super::close;
use super::options::GatewayOptions;

const SECOND: Nanos = Nanos::from_secs(1);

/// What a connection has sent too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    Requests,
    Bytes,
    Control,
}

/// What one connection has sent since its current second began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    since: UnixNanos,
    requests: u32,
    bytes: usize,
    control: u32,
}

impl Rates {
    pub(super) fn new(now: UnixNanos) -> Self {
        Self { since: now, requests: 0, bytes: 0, control: 0 }
    }

    fn at(&mut self, now: UnixNanos) -> &mut Self {
        if now - self.since >= SECOND {
            *self = Self::new(now);
        }
        self
    }

    pub(super) fn add_request(&mut self, now: UnixNanos) {
        let rates = self.at(now);
        rates.requests = rates.requests.saturating_add(1);
    }

    pub(super) fn add_bytes(&mut self, bytes: usize, now: UnixNanos) {
        let rates = self.at(now);
        rates.bytes = rates.bytes.saturating_add(bytes);
    }

    pub(super) fn add_control(&mut self, now: UnixNanos) {
        let rates = self.at(now);
        rates.control = rates.control.saturating_add(1);
    }

    pub(super) fn flood(&self, options: &GatewayOptions) -> Option<Flood> {
        if self.requests > options.requests_per_s_max {
            Some(Flood::Requests)
        } else if self.bytes > options.request_bytes_per_s_max {
            Some(Flood::Bytes)
        } else if self.control > options.control_frames_per_s_max {
            Some(Flood::Control)
        } else {
            None
        }
    }
}

impl Gateway {
    /// Closes a client that floods. What it goes on sending is thrown away unread.
    pub(super) fn close_flood(&mut self, slot: u32, flood: Flood) {
        let counters = &mut self.counters;
        counters.policy_closed += 1;
        let (counter, reason) = match flood {
            Flood::Requests => (&mut counters.requests_floods, "too many requests a second"),
            Flood::Bytes => (&mut counters.bytes_floods, "too many bytes of requests a second"),
            Flood::Control => (&mut counters.control_floods, "too many pings and pongs a second"),
        };
        *counter += 1;
        self.close(slot, close::POLICY, reason, true);
        if let Some(connection) = self.connection(slot) {
            connection.heard_out = true;
        }
    }
}
