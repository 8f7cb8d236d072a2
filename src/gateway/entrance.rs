//! Taking in the sockets that the dealer hands over, or telling them why not.

use std::time::Duration;

use crate::model::Nanos;
use crate::runtime::transport::Tuning;
use crate::runtime::websocket::Refusal;

use super::connection::Connection;
use super::dealer::{Accepted, Admission};
use super::{Ending, Gateway};

impl Gateway {
    pub(super) fn take_sockets(&mut self) -> usize {
        let most = self.options.accepts_per_turn as usize;
        let mut taken = 0;
        while taken < most
            && let Some(accepted) = self.entrance.next()
        {
            taken += 1;
            self.take_socket(accepted);
        }
        taken
    }

    fn take_socket(&mut self, accepted: Accepted) {
        let Accepted { mut stream, peer, admission } = accepted;
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.connections.push(None);
            (self.connections.len() - 1) as u32
        });
        let idle = Duration::from_secs(self.options.heartbeat_s.saturating_mul(2).max(1));
        let tuning = Tuning {
            send_buffer_bytes: self.options.send_buffer_bytes,
            unsent_low_water_bytes: self.options.unsent_low_water_bytes,
            user_timeout: idle,
        };
        // A socket that takes no options has most likely ended already, and a read will say so.
        let _ = stream.tune(&tuning);
        let admitted = admission == Admission::Admitted;
        if self.registrar.register(&mut stream, slot as usize).is_err() {
            self.free_slots.push(slot);
            return self.entrance.ended(peer, admitted);
        }
        self.numbers += 1;
        let deadline = self.now + Nanos::from_millis(self.options.handshake_ms_max as i64);
        let mut connection = Connection::new(stream, self.numbers, self.now, deadline);
        (connection.peer, connection.admitted) = (peer, admitted);
        connection.head_bytes_max = self.options.request_head_bytes_max;
        self.connections[slot as usize] = Some(Box::new(connection));
        let (status, message, counter) = match admission {
            Admission::Admitted if self.ending == Ending::No => {
                self.counters.accepted += 1;
                return self.list_read(slot);
            }
            Admission::Admitted => (503, ENDING, &mut self.counters.refused_ending),
            Admission::Full => (
                503,
                "all connections are taken (connections_max); try again later",
                &mut self.counters.refused_full,
            ),
            Admission::AddressFull => (
                429,
                "too many connections from your address (connections_per_ip_max); close some, or share one",
                &mut self.counters.refused_per_ip,
            ),
        };
        *counter += 1;
        self.refuse(slot, &Refusal { status, message });
    }
}

/// What a client hears that comes too late.
pub(super) const ENDING: &str = "the server is stopping or starting again; try again in a moment";
