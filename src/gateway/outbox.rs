//! What one connection still has to be sent, in which order, and what happens when it is too much. No I/O here.
//!
//! The order on the wire: the rest of a frame already begun; control frames, notices and pongs; facts and answers in
//! the order they came; the newest frame of every dirty state; last of all a close. A state is only named here and
//! its frame fetched when it is written, so a slow client costs one entry a topic and still reads the freshest value, never
//! before a fact of the same topic.

use std::collections::VecDeque;

use crate::model::{Nanos, UnixNanos};

use super::frame::{FrameId, FramePool};
use super::lane::{Cadence, LANES_MAX, Lane};

/// What became of something offered to an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits its turn.
    Queued,
    /// It does not fit the bound: the connection is too slow for its facts.
    Evict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Partial,
    Notice,
    Pong,
    Control,
    Fact,
    State,
    Last,
}

/// Pongs that wait at most. A client may see by them which of its pings were heard, but one that floods us with pings and reads
/// nothing must not fill the memory: RFC 6455, section 5.5.3, lets us answer only the newest.
const PONGS_MAX: usize = 16;

/// One slice of a write.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Its frame.
    pub frame: FrameId,
    /// How many bytes of the frame are written already.
    pub offset: usize,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Fact,
    Answer,
    Gathered,
}

/// A frame that waits in line.
pub struct Fact {
    frame: FrameId,
    queued: UnixNanos,
    sort: Sort,
}

/// How many bytes of messages may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of live facts.
    pub facts_bytes_max: usize,
    /// Of answers to requests. A client may ask for more at once than it may fall behind.
    pub answers_bytes_max: usize,
}

/// The outbox of one connection.
#[derive(Default)]
pub struct Outbox {
    partial: Option<(FrameId, usize)>,
    notice: Option<FrameId>,
    pongs: VecDeque<FrameId>,
    control: VecDeque<FrameId>,
    facts: VecDeque<Fact>,
    facts_bytes: usize,
    answers_bytes: usize,
    states: VecDeque<u32>,
    last: Option<FrameId>,
    ended: bool,
    lanes: Vec<Lane>,
    /// Of each gathered message that waits, how many bytes count against the bound. While there is one no other is made: its
    /// states would grow stale.
    gathered: VecDeque<usize>,
}

impl Outbox {
    /// Queues a control frame, or the HTTP answer before the first frame.
    pub fn push_control(&mut self, frame: FrameId) {
        self.control.push_back(frame);
    }

    /// Queues a pong; where too many wait it replaces the newest of them.
    pub fn push_pong(&mut self, frame: FrameId, pool: &mut FramePool) {
        if self.pongs.len() >= PONGS_MAX
            && let Some(old) = self.pongs.pop_back()
        {
            pool.release(old);
        }
        self.pongs.push_back(frame);
    }

    /// Queues a notice about this outbox; it replaces one that is not yet sent.
    pub fn push_notice(&mut self, frame: FrameId, pool: &mut FramePool) {
        if let Some(old) = self.notice.replace(frame) {
            pool.release(old);
        }
    }

    /// Queues a live fact. The outbox takes over the caller's reference in any case.
    #[inline]
    pub fn push_fact(
        &mut self,
        frame: FrameId,
        pool: &mut FramePool,
        now: UnixNanos,
        bounds: Bounds,
    ) -> Offered {
        self.push(Fact { frame, queued: now, sort: Sort::Fact }, pool, bounds)
    }

    /// Queues an answer to a request, in line with the facts. The outbox takes over the caller's reference in any case.
    pub fn push_answer(
        &mut self,
        frame: FrameId,
        pool: &mut FramePool,
        now: UnixNanos,
        bounds: Bounds,
    ) -> Offered {
        self.push(Fact { frame, queued: now, sort: Sort::Answer }, pool, bounds)
    }

    #[inline]
    fn push(&mut self, fact: Fact, pool: &mut FramePool, bounds: Bounds) -> Offered {
        if self.ended {
            pool.release(fact.frame);
            return Offered::Queued;
        }
        let bytes = if fact.sort == Sort::Answer { &mut self.answers_bytes } else { &mut self.facts_bytes };
        *bytes += pool.bytes(fact.frame).len();
        self.facts.push_back(fact);
        self.fits(bounds)
    }

    #[inline]
    fn fits(&self, bounds: Bounds) -> Offered {
        let fits =
            self.facts_bytes <= bounds.facts_bytes_max && self.answers_bytes <= bounds.answers_bytes_max;
        if fits { Offered::Queued } else { Offered::Evict }
    }

    /// Keeps a live fact in a lane, where it counts against the same bound. The outbox takes over the caller's reference
    /// in any case.
    pub fn delay_fact(
        &mut self,
        lane: u8,
        frame: FrameId,
        pool: &mut FramePool,
        now: UnixNanos,
        bounds: Bounds,
    ) -> Offered {
        let Some(lane) = self.lanes.get_mut(usize::from(lane)).filter(|_| !self.ended) else {
            pool.release(frame);
            return Offered::Queued;
        };
        lane.push_fact(frame, now);
        self.facts_bytes += pool.bytes(frame).len();
        self.fits(bounds)
    }

    /// Queues what a lane let go, made of facts that had `bytes`, the oldest of them due at `queued`.
    pub fn push_gathered(&mut self, frame: FrameId, bytes: usize, queued: UnixNanos) {
        self.facts.push_back(Fact { frame, queued, sort: Sort::Gathered });
        self.gathered.push_back(bytes);
    }

    /// Whether a gathered message still waits.
    pub fn has_gathered(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// The lanes, by number.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The lanes, by number.
    pub fn lanes_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// A lane by its number.
    pub fn lane_mut(&mut self, lane: u8) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(lane))
    }

    /// The lane of a cadence, made if there is room for one; one that is `unused` may become it.
    pub fn open_lane(&mut self, cadence: Cadence, unused: impl Fn(u8, Cadence) -> bool) -> Option<u8> {
        if let Some(place) = self.lanes.iter().position(|lane| lane.cadence == cadence) {
            return Some(place as u8);
        }
        if self.lanes.len() < LANES_MAX {
            self.lanes.push(Lane::new(cadence));
            return Some((self.lanes.len() - 1) as u8);
        }
        let free = |(place, lane): (usize, &Lane)| lane.is_empty() && unused(place as u8, lane.cadence);
        let place = self.lanes.iter().enumerate().position(free)?;
        self.lanes[place] = Lane::new(cadence);
        Some(place as u8)
    }

    /// The fact queued last.
    #[inline]
    pub fn newest_fact(&self) -> Option<&Fact> {
        self.facts.back()
    }

    /// Marks a subscription's state as dirty. The caller sees to it that one is named only once.
    pub fn push_state(&mut self, subscription: u32) {
        if !self.ended {
            self.states.push_back(subscription);
        }
    }

    /// Ends the outbox with this frame; whatever comes later is dropped.
    pub fn end_with(&mut self, frame: FrameId, pool: &mut FramePool) {
        if self.ended {
            pool.release(frame);
        } else {
            self.ended = true;
            self.last = Some(frame);
        }
    }

    /// Ends the outbox without another frame.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Drops facts, answers and states that are not yet on the wire, those in lanes too.
    pub fn drop_messages(&mut self, pool: &mut FramePool) {
        self.facts.drain(..).for_each(|fact| pool.release(fact.frame));
        self.lanes.iter_mut().for_each(|lane| lane.clear(pool));
        (self.facts_bytes, self.answers_bytes) = (0, 0);
        self.gathered.clear();
        self.states.clear();
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut FramePool) {
        self.drop_messages(pool);
        let partial = self.partial.take().map(|(frame, _)| frame);
        let single = [partial, self.notice.take(), self.last.take()];
        let queued = self.control.drain(..).chain(self.pongs.drain(..));
        single.into_iter().flatten().chain(queued).for_each(|frame| pool.release(frame));
    }

    /// Whether nothing waits but for its interval.
    pub fn is_empty(&self) -> bool {
        self.partial.is_none()
            && self.notice.is_none()
            && self.pongs.is_empty()
            && self.control.is_empty()
            && self.facts.is_empty()
            && self.states.is_empty()
            && self.last.is_none()
    }

    /// Whether any subscription's state is dirty.
    pub fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    /// Bytes of facts and answers that wait.
    pub fn queued_bytes(&self) -> usize {
        self.facts_bytes + self.answers_bytes
    }

    /// Bytes of answers that wait.
    pub fn answers_bytes(&self) -> usize {
        self.answers_bytes
    }

    /// How long the oldest waiting fact has waited, an interval that it had to wait for not counted.
    pub fn facts_age(&self, now: UnixNanos) -> Nanos {
        let queued = self.facts.front().map(|fact| fact.queued);
        let late = self.lanes.iter().filter_map(Lane::late_since);
        late.chain(queued).min().map_or(Nanos::ZERO, |since| (now - since).max(Nanos::ZERO))
    }

    /// Lists the next `most` pieces in order. `newest` gives a subscription's state frame; `None` says that it has been cleared
    /// and need not be sent, or waits in a lane again.
    pub fn gather(
        &mut self,
        most: usize,
        pieces: &mut Vec<Piece>,
        mut newest: impl FnMut(u32, &mut [Lane]) -> Option<FrameId>,
    ) {
        pieces.clear();
        if let Some((frame, offset)) = self.partial {
            pieces.push(Piece { frame, offset, source: Source::Partial });
        }
        let whole = |frame, source| Piece { frame, offset: 0, source };
        // First, for the HTTP answer is one of them, and nothing may come before that.
        let room = most.saturating_sub(pieces.len());
        pieces.extend(self.control.iter().take(room).map(|&frame| whole(frame, Source::Control)));
        let room = most.saturating_sub(pieces.len());
        pieces.extend(self.notice.iter().take(room).map(|&frame| whole(frame, Source::Notice)));
        let room = most.saturating_sub(pieces.len());
        pieces.extend(self.pongs.iter().take(room).map(|&frame| whole(frame, Source::Pong)));
        let room = most.saturating_sub(pieces.len());
        pieces.extend(self.facts.iter().take(room).map(|fact| whole(fact.frame, Source::Fact)));
        let mut place = 0;
        while pieces.len() < most
            && let Some(&subscription) = self.states.get(place)
        {
            match newest(subscription, &mut self.lanes) {
                Some(frame) => {
                    pieces.push(whole(frame, Source::State));
                    place += 1;
                }
                None => {
                    self.states.remove(place);
                }
            }
        }
        if pieces.len() < most {
            pieces.extend(self.last.map(|frame| whole(frame, Source::Last)));
        }
    }

    /// Says that the first `written` bytes of the gathered pieces are on the wire. `done` hears of each whole frame;
    /// `sent` of each subscription whose state is no longer dirty.
    pub fn advance(
        &mut self,
        mut written: usize,
        pieces: &[Piece],
        pool: &mut FramePool,
        mut done: impl FnMut(&FramePool, FrameId),
        mut sent: impl FnMut(u32),
    ) {
        for piece in pieces {
            if written == 0 {
                return;
            }
            let length = pool.bytes(piece.frame).len();
            match piece.source {
                Source::Partial => self.partial = None,
                Source::Notice => self.notice = None,
                Source::Pong => drop(self.pongs.pop_front()),
                Source::Control => drop(self.control.pop_front()),
                Source::Fact => {
                    let Some(fact) = self.facts.pop_front() else { return };
                    let (bytes, counted) = match fact.sort {
                        Sort::Fact => (&mut self.facts_bytes, length),
                        Sort::Answer => (&mut self.answers_bytes, length),
                        Sort::Gathered => (&mut self.facts_bytes, self.gathered.pop_front().unwrap_or(0)),
                    };
                    *bytes = bytes.saturating_sub(counted);
                }
                Source::State => {
                    // The topic keeps its own reference.
                    pool.retain(piece.frame);
                    if let Some(subscription) = self.states.pop_front() {
                        sent(subscription);
                    }
                }
                Source::Last => self.last = None,
            }
            let rest = length - piece.offset;
            if written < rest {
                self.partial = Some((piece.frame, piece.offset + written));
                return;
            }
            written -= rest;
            done(pool, piece.frame);
            pool.release(piece.frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameKind, Opcode};
    use super::*;

    const T0: UnixNanos = UnixNanos(0);
    const BOUNDS: Bounds = Bounds { facts_bytes_max: 15, answers_bytes_max: 1000 };

    fn text(pool: &mut FramePool, body: &str) -> FrameId {
        pool.encode(T0, FrameKind::Fact, Opcode::Text, |out| out.extend_from_slice(body.as_bytes()))
    }

    /// Takes `n` bytes at a time and gives the payloads in the order they were finished.
    fn pump(outbox: &mut Outbox, pool: &mut FramePool, n: usize, state: Option<FrameId>) -> Vec<String> {
        let mut seen = Vec::new();
        let mut pieces = Vec::new();
        loop {
            outbox.gather(64, &mut pieces, |_, _| state);
            if pieces.is_empty() {
                return seen;
            }
            outbox.advance(
                n,
                &pieces,
                pool,
                |pool, frame| seen.push(String::from_utf8_lossy(&pool.bytes(frame)[2..]).into_owned()),
                |_| {},
            );
        }
    }

    #[test]
    fn control_goes_before_facts_and_facts_before_states_and_a_close_last() {
        for step in [1, 3, 1000] {
            let mut pool = FramePool::default();
            let mut outbox = Outbox::default();
            let state = text(&mut pool, "state");
            outbox.push_state(7);
            for name in ["fact1", "fact2"] {
                let frame = text(&mut pool, name);
                assert_eq!(outbox.push_fact(frame, &mut pool, T0, BOUNDS), Offered::Queued);
            }
            let frame = text(&mut pool, "control");
            outbox.push_control(frame);
            let close = text(&mut pool, "close");
            outbox.end_with(close, &mut pool);
            let seen = pump(&mut outbox, &mut pool, step, Some(state));
            assert_eq!(seen, ["control", "fact1", "fact2", "state", "close"]);
            assert_eq!(pool.held(), 1, "only the topic's own reference to its state is left");
        }
    }

    #[test]
    fn a_frame_begun_is_finished_before_control() {
        let mut pool = FramePool::default();
        let mut outbox = Outbox::default();
        let fact = text(&mut pool, "fact");
        outbox.push_fact(fact, &mut pool, T0, BOUNDS);
        let mut pieces = Vec::new();
        outbox.gather(64, &mut pieces, |_, _| None);
        outbox.advance(2, &pieces, &mut pool, |_, _| panic!("not whole yet"), |_| {});
        let pong = text(&mut pool, "pong");
        outbox.push_pong(pong, &mut pool);
        assert_eq!(pump(&mut outbox, &mut pool, 100, None), ["fact", "pong"]);
    }

    #[test]
    fn each_ping_of_a_burst_has_its_pong_and_of_a_flood_the_newest() {
        for (pings, step) in [(10, 1), (10, 1000), (1_000, 1000)] {
            let mut pool = FramePool::default();
            let mut outbox = Outbox::default();
            for n in 0..pings {
                let frame = text(&mut pool, &n.to_string());
                outbox.push_pong(frame, &mut pool);
            }
            assert_eq!(pool.held(), pings.min(PONGS_MAX));
            let mut expected: Vec<String> = (0..pings.min(PONGS_MAX)).map(|n| n.to_string()).collect();
            if let Some(last) = expected.last_mut() {
                *last = (pings - 1).to_string();
            }
            assert_eq!(pump(&mut outbox, &mut pool, step, None), expected);
            assert_eq!(pool.held(), 0);
        }
    }

    #[test]
    fn a_cleared_state_is_not_sent() {
        let mut pool = FramePool::default();
        let mut outbox = Outbox::default();
        outbox.push_state(1);
        assert!(pump(&mut outbox, &mut pool, 100, None).is_empty());
        assert!(outbox.is_empty());
    }

    #[test]
    fn facts_past_the_bound_evict_and_answers_have_their_own() {
        let mut pool = FramePool::default();
        let mut outbox = Outbox::default();
        for _ in 0..20 {
            let answer = text(&mut pool, "12345678");
            assert_eq!(outbox.push_answer(answer, &mut pool, T0, BOUNDS), Offered::Queued);
        }
        let a = text(&mut pool, "12345678");
        let b = text(&mut pool, "12345678");
        assert_eq!(outbox.push_fact(a, &mut pool, T0, BOUNDS), Offered::Queued);
        assert_eq!(outbox.push_fact(b, &mut pool, T0, BOUNDS), Offered::Evict);
        assert_eq!(outbox.facts_age(UnixNanos(5)), Nanos(5));
        outbox.clear(&mut pool);
        assert_eq!((pool.held(), outbox.queued_bytes()), (0, 0));
    }
}
