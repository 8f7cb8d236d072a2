//! A path that sends every message back, for conformance suites. It is there only where
//! [`GatewayOptions::echo_bytes_max`](super::GatewayOptions::echo_bytes_max) opens it, and has no way of its own to the socket: an echo is an answer in the outbox.

use crate::runtime::websocket::Upgrade;

use super::Gateway;
use super::frame::{FrameKind, Opcode};
use super::outbox::{Bounds, Offered};

/// Where it is.
const PATH: &str = "/echo";

impl Gateway {
    /// The longest message of the echo path, if this is it and it is open.
    pub(super) fn echo_at(&self, path: &str) -> Option<usize> {
        self.options.echo_bytes_max.filter(|_| path == PATH)
    }

    /// Turns a connection to one that echoes.
    pub(super) fn open_echo(&mut self, slot: u32, upgrade: &Upgrade, message_bytes_max: usize) {
        let response = self.pool.raw(self.now, FrameKind::Http, &upgrade.response);
        let now = self.now;
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(response);
        };
        connection.echoes = true;
        connection.open(upgrade.consumed, message_bytes_max);
        connection.outbox.push_control(response);
        (connection.heard, connection.pinged) = (now, now);
        self.list_dirty(slot);
    }

    /// Whether a connection echoes.
    pub(super) fn echoes(&mut self, slot: u32) -> bool {
        self.connection(slot).is_some_and(|connection| connection.echoes)
    }

    /// Sends a message back, in line with those before it.
    pub(super) fn echo(&mut self, slot: u32, opcode: Opcode, payload: &[u8]) {
        self.counters.messages_in += 1;
        let frame =
            self.pool.encode(self.now, FrameKind::Reply, opcode, |out| out.extend_from_slice(payload));
        // Reading stops while much less than this waits, so that what waits is never more than that and one message.
        let longest = self.options.echo_bytes_max.unwrap_or(0);
        let Bounds { facts_bytes_max, answers_bytes_max } = self.bounds();
        let bounds = Bounds { facts_bytes_max, answers_bytes_max: answers_bytes_max.saturating_add(longest) };
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        let offered = connection.outbox.push_answer(frame, &mut self.pool, self.now, bounds);
        self.list_dirty(slot);
        if offered == Offered::Evict {
            self.evict(slot, "too many echoes wait for this client");
        }
    }
}
