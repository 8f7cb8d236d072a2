//! The ways a connection ends, and the deadlines that end it.

use crate::model::Nanos;
use crate::runtime::websocket::Refusal;

use super::Gateway;
use super::close::{self, CloseCode};
use super::connection::Phase;
use super::dialect::{self, Reply};
use super::entrance::ENDING;
use super::frame::{FrameKind, Opcode};

/// The state of a client that falls behind is told at most so often.
const NOTICE_EVERY: Nanos = Nanos::from_secs(1);

impl Gateway {
    /// Once the last frame is written and the peer has been heard out, shuts our side. The socket is then read to
    /// its end: closing it with unread bytes would send a reset, which can overtake the close frame.
    pub(super) fn finish_if_done(&mut self, slot: u32) {
        let Some(connection) = self.connection(slot) else { return };
        if connection.phase == Phase::Closing
            && connection.heard_out
            && !connection.finished
            && connection.outbox.is_empty()
        {
            connection.finished = true;
            if connection.stream.finish_writing().is_err() {
                self.drop_connection(slot, false);
            }
        }
    }

    pub(super) fn on_peer_close(&mut self, slot: u32) {
        let deadline = self.close_deadline();
        let Some(connection) = self.connection(slot) else { return };
        connection.heard_out = true;
        if connection.phase == Phase::Open {
            connection.phase = Phase::Closing;
            connection.deadline = deadline;
            // Only the echo of the close is still owed.
            self.forget_wishes(slot);
            if let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) {
                connection.outbox.drop_messages(&mut self.pool);
            }
        }
        self.list_dirty(slot);
        self.finish_if_done(slot);
    }

    /// Sends a close, at once or after what is queued, and gives the client `close_ms_max` to answer it.
    pub(super) fn close(&mut self, slot: u32, code: CloseCode, reason: &str, at_once: bool) {
        if self.connection(slot).is_none_or(|connection| connection.phase != Phase::Open) {
            return;
        }
        if at_once {
            self.forget_wishes(slot);
        } else {
            self.flush_facts(slot);
        }
        let deadline = self.close_deadline();
        let dialect = self.connection(slot).map_or(0, |connection| connection.dialect);
        let code = dialect::TABLE[dialect].close_code(code);
        let frame =
            self.pool.encode(self.now, FrameKind::Control, Opcode::Close, |out| code.write(reason, out));
        if let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) {
            if at_once {
                connection.outbox.drop_messages(&mut self.pool);
            }
            connection.outbox.end_with(frame, &mut self.pool);
            connection.phase = Phase::Closing;
            connection.deadline = deadline;
        }
        self.list_dirty(slot);
        self.list_read(slot);
    }

    /// Closes a client that cannot be sent all its facts, with a notice where it can still be written.
    pub(super) fn evict(&mut self, slot: u32, reason: &str) {
        if self.connection(slot).is_none_or(|connection| connection.phase != Phase::Open) {
            return;
        }
        self.counters.slow_closed += 1;
        self.notice(slot, true);
        self.close(slot, close::SLOW, reason, true);
    }

    /// Tells a client how far behind it is.
    fn notice(&mut self, slot: u32, closing: bool) {
        let mut worst = (String::new(), 0);
        let count = self.topics.of_connection(slot).len();
        for place in 0..count {
            let Some(&id) = self.topics.of_connection(slot).get(place) else { break };
            let subscription = self.topics.subscription_mut(id);
            let conflated = std::mem::take(&mut subscription.conflated);
            if conflated > worst.1 || (worst.0.is_empty() && place + 1 == count) {
                let topic = self.topics.row(self.topics.subscription(id).row).topic;
                worst = (format!("{}/{}", topic.channel().name(), self.topic_name(topic)), conflated);
            }
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        (connection.noticed, connection.conflated) = (now, 0);
        let reply = Reply::Slow {
            topic: &worst.0,
            conflated: worst.1,
            queued_bytes: connection.outbox.queued_bytes(),
            queue_age_ms: connection.outbox.facts_age(now).0 / 1_000_000,
            closing,
        };
        let dialect = connection.dialect;
        let Some(frame) = self.encode_reply(dialect, None, &reply) else { return };
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return self.pool.release(frame);
        };
        connection.outbox.push_notice(frame, &mut self.pool);
        self.list_dirty(slot);
    }

    /// Looks at every connection's deadlines.
    pub(super) fn check_all(&mut self) {
        for slot in 0..self.connections.len() as u32 {
            self.check(slot);
        }
    }

    fn check(&mut self, slot: u32) {
        let now = self.now;
        let heartbeat = Nanos::from_secs(self.options.heartbeat_s.clamp(1, 86_400) as i64);
        let age_max = Nanos::from_millis(self.options.outbox_facts_age_ms_max as i64);
        let Some(connection) = self.connection(slot) else { return };
        match connection.phase {
            Phase::Handshake if now >= connection.deadline => {
                self.counters.refused_deadline += 1;
                self.refuse(slot, &Refusal { status: 408, message: "the request did not arrive in time" });
            }
            Phase::Handshake => {}
            Phase::Open => {
                let silent = now - connection.heard;
                // Who was not asked has not failed to answer: a process that was stopped for a while pings first.
                let asked = connection.pinged > connection.heard && now - connection.pinged >= heartbeat;
                if silent >= Nanos(heartbeat.0 * 2) && asked {
                    self.counters.idle_closed += 1;
                    self.close(slot, close::IDLE, "nothing received for two heartbeats", true);
                    // Nobody is there to answer it: once it is written, or cannot be, the socket goes.
                    if let Some(connection) = self.connection(slot) {
                        connection.deadline = now;
                    }
                    return;
                }
                if connection.outbox.facts_age(now) > age_max {
                    return self.evict(slot, "facts waited too long for this client");
                }
                let behind = connection.blocked.is_some_and(|since| now - since > NOTICE_EVERY);
                if behind && connection.conflated > 0 && now - connection.noticed >= NOTICE_EVERY {
                    self.notice(slot, false);
                }
                let Some(connection) = self.connection(slot) else { return };
                if now - connection.heard.max(connection.pinged) >= heartbeat {
                    connection.pinged = now;
                    let frame = self.pool.encode(now, FrameKind::Control, Opcode::Ping, |_| {});
                    if let Some(connection) = self.connection(slot) {
                        connection.outbox.push_control(frame);
                    }
                    self.list_dirty(slot);
                }
            }
            Phase::Closing if now >= connection.deadline => {
                let unsent = !connection.outbox.is_empty();
                self.drop_connection(slot, unsent);
            }
            Phase::Closing => {}
        }
    }

    /// Ends a connection now.
    pub(super) fn drop_connection(&mut self, slot: u32, reset: bool) {
        self.forget_wishes(slot);
        let Some(mut connection) = self.connections.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        connection.outbox.clear(&mut self.pool);
        // A socket that cannot be taken off the poll leaves it when it is closed.
        let _ = self.registrar.deregister(&mut connection.stream);
        self.entrance.ended(connection.peer, connection.admitted);
        if reset {
            connection.stream.reset();
        }
        // A new connection in this slot may not be missing from a list because the old one is still on it.
        self.reads.retain(|&listed| listed != slot);
        self.dirty.retain(|&listed| listed != slot);
        self.free_slots.push(slot);
    }

    /// Says goodbye to every client, after what is queued for it.
    pub(super) fn close_all(&mut self) {
        for slot in 0..self.connections.len() as u32 {
            match self.connection(slot).map(|connection| connection.phase) {
                Some(Phase::Open) => self.close(slot, self.farewell, self.farewell.name, false),
                Some(Phase::Handshake) => {
                    self.counters.refused_ending += 1;
                    self.refuse(slot, &Refusal { status: 503, message: ENDING });
                }
                _ => {}
            }
        }
    }

    pub(super) fn drop_all(&mut self) {
        for slot in 0..self.connections.len() as u32 {
            self.drop_connection(slot, true);
        }
    }
}
