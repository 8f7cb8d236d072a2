//! The gateway's sockets: reading and writing.

use std::io::{ErrorKind, Write};

use crate::model::{Nanos, UnixNanos};
use crate::runtime::Ready;
use crate::runtime::websocket::{Refusal, Upgrade};

use super::connection::{Inbound, Phase};
use super::dialect::{self, Reply};
use super::frame::{FrameKind, Opcode};
use super::{Ending, Gateway, INTERESTS_WAITING_MAX};

/// Frames of one write. Beyond some tens a write costs by the byte.
pub(super) const PIECES_MAX: usize = 256;
/// A control frame of the peer that tungstenite answers: opcode and length, then at most 125 bytes.
const CONTROL_HEADER_BYTES: usize = 2;

impl Gateway {
    pub(super) fn on_edge(&mut self, edge: &Ready) {
        let slot = edge.token as u32;
        let Some(connection) = self.connection(slot) else { return };
        connection.readable |= edge.readable;
        connection.writable |= edge.writable;
        let waiting = !connection.outbox.is_empty() || connection.phase == Phase::Closing;
        if edge.readable {
            self.list_read(slot);
        }
        if edge.writable && waiting {
            self.list_dirty(slot);
        }
    }

    /// Puts an outbox on the list to write, unless its socket is known to be full.
    pub(super) fn list_dirty(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if connection.becomes_dirty() {
            self.dirty.push(slot);
        }
    }

    pub(super) fn list_read(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if !connection.in_reads {
            connection.in_reads = true;
            self.reads.push(slot);
        }
    }

    pub(super) fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        let frame = self.pool.raw(self.now, FrameKind::Http, &refusal.response());
        let deadline = self.close_deadline();
        let Some(connection) = self.connection(slot) else { return };
        connection.outbox.push_control(frame);
        connection.outbox.end();
        connection.phase = Phase::Closing;
        connection.heard_out = true;
        connection.deadline = deadline;
        self.list_dirty(slot);
        self.list_read(slot);
    }

    pub(super) fn close_deadline(&self) -> UnixNanos {
        let own = self.now + Nanos::from_millis(self.options.close_ms_max as i64);
        match self.ending {
            Ending::Draining(drain) => own.min(drain.until),
            _ => own,
        }
    }

    // Reading.

    pub(super) fn reads_wait(&self) -> bool {
        self.interests_waiting() < INTERESTS_WAITING_MAX
            && self.reads.iter().any(|&slot| !self.is_paused(slot))
    }

    /// A client whose request is under way, or that does not read its answers, gets no more of them.
    fn is_paused(&self, slot: u32) -> bool {
        let connection = self.connections.get(slot as usize).and_then(Option::as_deref);
        connection.is_some_and(|connection| {
            connection.phase == Phase::Open
                && (connection.is_busy()
                    || connection.outbox.answers_bytes() > self.options.outbox_answers_bytes_max / 16)
        })
    }

    pub(super) fn read_all(&mut self) -> usize {
        if self.reads.is_empty() || self.interests_waiting() >= INTERESTS_WAITING_MAX {
            return 0;
        }
        let mut work = 0;
        let mut list = std::mem::take(&mut self.reads);
        std::mem::swap(&mut self.reads, &mut self.swept);
        for slot in list.drain(..) {
            let paused = self.is_paused(slot);
            let Some(connection) = self.connection(slot) else { continue };
            connection.in_reads = false;
            if !paused {
                work += self.read(slot);
            }
            if self.connection(slot).is_some_and(|connection| connection.readable) {
                self.list_read(slot);
            }
        }
        self.swept = list;
        work
    }

    fn read(&mut self, slot: u32) -> usize {
        let mut handled = 0;
        let mut reads = self.options.reads_per_turn;
        loop {
            let mut control = std::mem::take(&mut self.control);
            let now = self.now;
            let Some(connection) = self.connection(slot) else {
                self.control = control;
                return handled;
            };
            let inbound = connection.step(&mut reads, &mut control, now);
            self.take_control(slot, &control);
            control.clear();
            self.control = control;
            let open = self.connection(slot).is_some_and(|connection| connection.phase == Phase::Open);
            if open && !self.echoes(slot) && self.close_if_flood(slot) {
                return handled + 1;
            }
            match inbound {
                Inbound::Nothing => return handled,
                Inbound::Handled | Inbound::Control => {}
                Inbound::Text(text) if open && self.echoes(slot) => {
                    self.echo(slot, Opcode::Text, text.as_bytes());
                }
                Inbound::Binary(bytes) if open && self.echoes(slot) => {
                    self.echo(slot, Opcode::Binary, &bytes);
                }
                Inbound::Text(text) if open => {
                    self.counters.messages_in += 1;
                    self.on_message(slot, &text);
                }
                Inbound::Binary(_) if open => {
                    self.counters.messages_in += 1;
                    self.reply_error(
                        slot,
                        None,
                        "binary_not_accepted",
                        "requests are JSON in text messages, not binary ones",
                    );
                }
                Inbound::Text(_) | Inbound::Binary(_) => {}
                Inbound::Upgraded(upgrade) => self.upgrade(slot, &upgrade),
                Inbound::Refused(refusal) => {
                    self.counters.refused_request += 1;
                    self.counters.refused_head += u64::from(refusal.status == 431);
                    self.refuse(slot, &refusal);
                }
                Inbound::PeerClosed => self.on_peer_close(slot),
                Inbound::Broken(code) => {
                    self.counters.protocol_closed += 1;
                    self.forget_wishes(slot);
                    // Answers to what came before the fault are still owed.
                    self.close(slot, code, code.name, false);
                    if let Some(connection) = self.connection(slot) {
                        connection.heard_out = true;
                    }
                }
                Inbound::Gone => {
                    self.drop_connection(slot, false);
                    return handled + 1;
                }
            }
            handled += 1;
            if self.is_paused(slot) {
                return handled;
            }
        }
    }

    fn close_if_flood(&mut self, slot: u32) -> bool {
        let flood = self
            .connections
            .get(slot as usize)
            .and_then(Option::as_deref)
            .and_then(|connection| connection.rates.flood(&self.options));
        if let Some(flood) = flood {
            self.close_flood(slot, flood);
        }
        flood.is_some()
    }

    /// Queues what tungstenite wrote: whole control frames, pongs or the echo of a close.
    fn take_control(&mut self, slot: u32, mut bytes: &[u8]) {
        while let [first, length, ..] = bytes {
            let end = (CONTROL_HEADER_BYTES + usize::from(length & 0x7f)).min(bytes.len());
            let (frame, rest) = bytes.split_at(end);
            let opcode = first & 0x0f;
            bytes = rest;
            let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut)
            else {
                return;
            };
            if connection.phase != Phase::Open {
                // Our own close is on its way: nothing may follow it.
                continue;
            }
            let frame = self.pool.raw(self.now, FrameKind::Control, frame);
            if opcode == Opcode::Close as u8 {
                connection.outbox.end_with(frame, &mut self.pool);
            } else {
                connection.outbox.push_pong(frame, &mut self.pool);
            }
            self.list_dirty(slot);
        }
    }

    fn upgrade(&mut self, slot: u32, upgrade: &Upgrade) {
        if let Some(message_bytes_max) = self.echo_at(&upgrade.path) {
            return self.open_echo(slot, upgrade, message_bytes_max);
        }
        let Some(dialect) = dialect::by_path(&upgrade.path) else {
            self.counters.refused_path += 1;
            return self.refuse(slot, &Refusal { status: 404, message: dialect::NO_SUCH_PATH });
        };
        let response = self.pool.raw(self.now, FrameKind::Http, &upgrade.response);
        let (now, message_bytes_max) = (self.now, self.options.message_bytes_max);
        let Some(connection) = self.connection(slot) else { return };
        connection.dialect = dialect;
        connection.open(upgrade.consumed, message_bytes_max);
        connection.outbox.push_control(response);
        (connection.heard, connection.pinged) = (now, now);
        let name =
            format!("{}-{}", self.name, self.connections[slot as usize].as_ref().map_or(0, |c| c.number));
        let epoch = self.epoch.clone();
        let limits = [
            ("subscriptions_max", self.options.subscriptions_max as u64),
            ("message_bytes_max", self.options.message_bytes_max as u64),
            ("requests_per_s_max", u64::from(self.options.requests_per_s_max)),
            ("request_bytes_per_s_max", self.options.request_bytes_per_s_max as u64),
            ("control_frames_per_s_max", u64::from(self.options.control_frames_per_s_max)),
            ("queued_bytes_max", self.options.outbox_facts_bytes_max as u64),
            ("queue_age_ms_max", self.options.outbox_facts_age_ms_max),
        ];
        let heartbeat_s = self.options.heartbeat_s;
        self.reply(
            slot,
            None,
            &Reply::Welcome { connection: &name, epoch: &epoch, heartbeat_s, limits: &limits },
        );
        // Not every dialect has a welcome.
        self.list_dirty(slot);
    }

    // Writing.

    pub(super) fn write_all(&mut self) -> usize {
        let mut list = std::mem::take(&mut self.dirty);
        std::mem::swap(&mut self.dirty, &mut self.swept);
        let count = list.len();
        if count > 0 {
            // Nobody is always last.
            self.rotation = self.rotation.wrapping_add(1);
            let first = self.rotation % count;
            for i in 0..count {
                self.write((list[(first + i) % count]) as usize);
            }
            list.clear();
        }
        self.swept = list;
        count
    }

    fn write(&mut self, slot: usize) {
        let mut writes = self.options.writes_per_turn;
        let mut pieces = std::mem::take(&mut self.pieces);
        let outcome = loop {
            self.flush_lanes(slot as u32);
            self.gather(slot, &mut pieces);
            let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_deref_mut) else {
                break Ok(());
            };
            connection.in_dirty = false;
            if pieces.is_empty() {
                connection.blocked = None;
                break Ok(());
            }
            if writes == 0 {
                self.list_dirty(slot as u32);
                break Ok(());
            }
            writes -= 1;
            let run = self.shared.run(&pieces, &mut self.pool);
            let is_referred = run.is_some();
            let outcome = match run {
                Some(run) => connection.stream.send_file(run.file, run.at, run.length),
                None => connection.stream.write(self.burst.bytes(&pieces, &self.pool)),
            };
            match outcome {
                Ok(0) => break Err(()),
                Ok(written) => {
                    self.counters.bytes_referred += if is_referred { written as u64 } else { 0 };
                    self.now = self.now.max(self.clock.now());
                    let (counters, latency, topics) =
                        (&mut self.counters, &mut self.encoded_to_written, &mut self.topics);
                    counters.bytes_out += written as u64;
                    let now = self.now;
                    connection.outbox.advance(
                        written,
                        &pieces,
                        &mut self.pool,
                        |pool, frame| {
                            counters.frames_out += 1;
                            match pool.kind(frame) {
                                FrameKind::Fact => counters.facts_out += 1,
                                FrameKind::State => counters.states_out += 1,
                                FrameKind::Gathered { facts, states } => {
                                    counters.facts_out += u64::from(facts);
                                    counters.states_out += u64::from(states);
                                }
                                _ => {}
                            }
                            latency.record(pool.encoded(frame), now);
                        },
                        |subscription| topics.subscription_mut(subscription).queued = false,
                    );
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.writable = false;
                    connection.blocked.get_or_insert(self.now);
                    break Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_referred && self.shared.gives_up(&error) => {}
                Err(_) => break Err(()),
            }
        };
        pieces.clear();
        self.pieces = pieces;
        match outcome {
            Ok(()) => self.finish_if_done(slot as u32),
            Err(()) => self.drop_connection(slot as u32, false),
        }
    }
}
