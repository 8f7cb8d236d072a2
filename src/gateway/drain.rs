//! Seeing clients off before a restart: told at once, then closed one by one, so that they do not all come back in the same
//! moment.
//!
//! For the first half of `drain_s` a client may leave by itself, and everything flows as before. Over the third quarter
//! those still here are closed, evenly. The last quarter is for closes to be answered; who has not done so by its end is reset.

use crate::model::{Nanos, UnixNanos};
use crate::runtime::websocket::Refusal;

use super::close;
use super::connection::Phase;
use super::dialect::{DIALECTS, Reply};
use super::entrance::ENDING;
use super::frame::FrameId;
use super::{Ending, Gateway};

/// How often clients are closed while it drains: 10,000 of them are then some hundred at a time in the shortest drain.
const CLOSE_EVERY: Nanos = Nanos::from_millis(10);

/// A drain under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// From when on clients are closed.
    closing_from: UnixNanos,
    /// When the last one has been.
    closing_until: UnixNanos,
    /// When who is still here is reset.
    pub until: UnixNanos,
    /// All slots below are closed.
    closed: usize,
    /// When to go on closing.
    pub next: UnixNanos,
}

impl Gateway {
    /// Another engine takes this one's place. Without a `drain_s` only the close code changes.
    pub(super) fn begin_drain(&mut self, now: UnixNanos) {
        self.now = self.now.max(now);
        self.farewell = close::RESTART;
        let whole = Nanos::from_secs(self.options.drain_s.min(86_400) as i64);
        if whole == Nanos::ZERO || self.ending != Ending::No {
            return;
        }
        let closing_from = now + Nanos(whole.0 / 2);
        self.ending = Ending::Draining(Drain {
            closing_from,
            closing_until: now + Nanos(whole.0 / 4 * 3),
            until: now + whole,
            closed: 0,
            next: closing_from,
        });
        self.announce();
    }

    /// Tells every client that it will have to go. It hears so before the facts that wait for it.
    fn announce(&mut self) {
        let reply = Reply::Draining { deadline_s: self.options.drain_s };
        // Encoded once a dialect; the inner `None` is a dialect that has no word for it.
        let mut frames: [Option<Option<FrameId>>; DIALECTS] = [None; DIALECTS];
        for slot in 0..self.connections.len() as u32 {
            let Some(connection) = self.connection(slot) else { continue };
            let dialect = connection.dialect;
            match connection.phase {
                Phase::Handshake => {
                    self.counters.refused_ending += 1;
                    self.refuse(slot, &Refusal { status: 503, message: ENDING });
                    continue;
                }
                Phase::Open => {}
                Phase::Closing => continue,
            }
            let frame = *frames[dialect].get_or_insert_with(|| self.encode_reply(dialect, None, &reply));
            let Some(frame) = frame else { continue };
            self.pool.retain(frame);
            match self.connection(slot) {
                Some(connection) => connection.outbox.push_control(frame),
                None => self.pool.release(frame),
            }
            self.list_dirty(slot);
        }
        frames.into_iter().flatten().flatten().for_each(|frame| self.pool.release(frame));
    }

    /// Closes those whose time has come.
    pub(super) fn drain_step(&mut self, mut drain: Drain) {
        if self.now < drain.next {
            return;
        }
        drain.next = self.now + CLOSE_EVERY;
        let all = self.connections.len();
        let span = drain.closing_until - drain.closing_from;
        let gone = (self.now - drain.closing_from).0.clamp(0, span.0);
        // At the first step already some, so that no step but the last closes more than its share.
        let due = (all as i128 * i128::from(gone) / i128::from(span.0.max(1))) as usize;
        for slot in drain.closed..due {
            if self.connection(slot as u32).is_some_and(|connection| connection.phase == Phase::Open) {
                self.close(slot as u32, self.farewell, "the server starts again; connect again", false);
            }
        }
        drain.closed = due.max(drain.closed);
        self.ending = Ending::Draining(drain);
    }
}
