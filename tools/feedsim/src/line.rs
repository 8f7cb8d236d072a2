//! One client's connection as the venue sees it: what it listens to, which faults lie on it, and what it is sent.
//!
//! It does no I/O: what it says goes into a queue that its socket's task empties.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::binance;
use crate::fault::{Kind, Plan};
use crate::frames;
use crate::random::Random;

/// Messages that are none, for `garbage`: what a parser must refuse alone.
const GARBAGE: [&str; 10] = [
    "{\"ev\":",
    "nonsense",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[",
    "[{\"ev\":\"T\",\"sym\":5,\"p\":\"x\"}]",
    "[{\"ev\":\"T\",\"sym\":\"SIM000\",\"p\":-1,\"s\":1,\"t\":1}]",
    "{\"stream\":\"sim000usdt@trade\",\"data\":{\"e\":\"trade\",\"s\":\"SIM000USDT\",\"p\":\"NaN\",\"q\":\"1\",\"T\":0,\"t\":1}}",
    "[{\"ev\":\"Z\"},null,17,\"x\"]",
    "\u{0}\u{1}\u{2}",
];

/// Which words a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Arrays of events, after a key.
    Massive,
    /// Binance, payloads with their stream's name.
    Combined,
    /// Binance, bare payloads.
    Raw,
}

/// What the task of a socket is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Out {
    /// Write these.
    Bytes(Vec<u8>),
    /// Write nothing for so long.
    Stall(Duration),
    /// Write byte by byte for so long.
    Loris(Duration),
    /// End by a reset.
    Reset,
    /// End well.
    End,
}

/// The venue's end of the queue to a socket.
#[derive(Debug, Clone)]
pub struct Queue {
    out: mpsc::UnboundedSender<Out>,
    /// Bytes that wait in the queue.
    pub waiting: Arc<AtomicUsize>,
    /// Ends the task whatever it does: a reset.
    pub kill: Arc<Notify>,
}

impl Queue {
    /// Both ends.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Out>) {
        let (out, rest) = mpsc::unbounded_channel();
        (Self { out, waiting: Arc::default(), kill: Arc::default() }, rest)
    }

    /// Puts something at its end. A socket that has gone takes nothing more.
    pub fn push(&self, out: Out) {
        if let Out::Bytes(bytes) = &out {
            self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        let _ = self.out.send(out);
    }
}

struct Effect {
    kind: Kind,
    until_ms: i64,
    share: f64,
    by_ms: i64,
}

/// A connection.
pub struct Line {
    /// Its number: the n-th that came.
    pub number: u64,
    /// Its words.
    pub dialect: Dialect,
    /// Whose it is, once it said so.
    pub key: String,
    /// It may subscribe.
    pub admitted: bool,
    /// It was told to go, and gets nothing more.
    pub leaving: bool,
    /// When it came, was last pinged and last heard, ms by the machine's clock.
    pub since_ms: i64,
    /// When the last ping was sent.
    pub pinged_ms: i64,
    /// When anything was last heard of it.
    pub heard_ms: i64,
    /// Requests of the second that began then.
    pub requests: (i64, u32),
    /// What it listens to.
    pub topics: HashSet<u32>,
    /// Ticks put on their way.
    pub sent: u64,
    /// Where its bytes go.
    pub queue: Queue,
    effects: Vec<Effect>,
    pending: Vec<String>,
    held: Vec<(i64, String)>,
    cut: bool,
}

impl Line {
    /// A connection that was just opened.
    pub fn new(number: u64, dialect: Dialect, now_ms: i64, queue: Queue) -> Self {
        Self {
            number,
            dialect,
            key: String::new(),
            admitted: dialect != Dialect::Massive,
            leaving: false,
            since_ms: now_ms,
            pinged_ms: now_ms,
            heard_ms: now_ms,
            requests: (now_ms, 0),
            topics: HashSet::new(),
            sent: 0,
            queue,
            effects: Vec::new(),
            pending: Vec::new(),
            held: Vec::new(),
            cut: false,
        }
    }

    /// Sends a message of its own, such as an answer, after what waits.
    pub fn say(&mut self, text: &str) {
        if !self.leaving {
            self.queue.push(Out::Bytes(frames::frame(frames::TEXT, text.as_bytes())));
        }
    }

    /// Says goodbye with a code.
    pub fn close(&mut self, code: u16, reason: &str) {
        if !self.leaving {
            self.leaving = true;
            self.queue.push(Out::Bytes(frames::close(code, reason)));
            self.queue.push(Out::End);
        }
    }

    /// Ends it by a reset, now: what waits is lost.
    pub fn reset(&mut self) {
        self.leaving = true;
        self.queue.kill.notify_one();
    }

    /// Lays a fault on it. Those of the venue as a whole are not laid on lines.
    pub fn strike(&mut self, kind: Kind, plan: &Plan, now_ms: i64) {
        let span = Duration::from_millis(plan.for_ms.max(0) as u64);
        match kind {
            Kind::Stall => self.queue.push(Out::Stall(span)),
            Kind::Loris => self.queue.push(Out::Loris(span)),
            Kind::Reset | Kind::Auth | Kind::Refuse => self.reset(),
            Kind::Close => self.close(plan.code, "a fault on request"),
            Kind::Half => self.cut = true,
            Kind::Drop | Kind::Duplicate | Kind::Disorder | Kind::Garbage | Kind::Skew => {
                let until_ms = now_ms + plan.for_ms;
                self.effects.push(Effect { kind, until_ms, share: plan.share, by_ms: plan.by_ms });
            }
            Kind::Evict | Kind::Rest429 | Kind::Rest500 | Kind::RestHang => {}
        }
    }

    fn dice(&self, kind: Kind, now_ms: i64, random: &mut Random) -> Option<i64> {
        let effect = self.effects.iter().find(|effect| effect.kind == kind && now_ms < effect.until_ms)?;
        random.chance(effect.share).then_some(effect.by_ms)
    }

    /// Gives it a tick; `write` makes its text with a shift of its time in ms. Returns what became of it: `sent`, `dropped`, `twice`,
    /// `late` or `skewed`, and `cut` where the frame is broken.
    pub fn give(&mut self, now_ms: i64, random: &mut Random, write: &dyn Fn(i64) -> String) -> &'static str {
        self.sent += 1;
        if self.dice(Kind::Drop, now_ms, random).is_some() {
            self.sent -= 1;
            return "dropped";
        }
        let skew = self.dice(Kind::Skew, now_ms, random);
        let text = write(skew.unwrap_or(0));
        if let Some(by_ms) = self.dice(Kind::Disorder, now_ms, random) {
            let late = random.below(by_ms.max(1) as u64) as i64;
            self.held.push((now_ms + late, text));
            return "late";
        }
        let twice = self.dice(Kind::Duplicate, now_ms, random).is_some();
        if twice {
            self.pending.push(text.clone());
        }
        self.pending.push(text);
        match (self.cut, skew, twice) {
            (true, ..) => "cut",
            (_, Some(_), _) => "skewed",
            (_, _, true) => "twice",
            _ => "sent",
        }
    }

    /// Puts what it was given on its way, up to `per_frame` events of Massive in a frame. Returns how many frames.
    pub fn flush(&mut self, now_ms: i64, per_frame: usize, random: &mut Random) -> u64 {
        self.effects.retain(|effect| now_ms < effect.until_ms);
        let pending = &mut self.pending;
        self.held.retain_mut(|(due, text)| {
            if *due > now_ms {
                return true;
            }
            pending.push(std::mem::take(text));
            false
        });
        if self.leaving || self.pending.is_empty() {
            self.pending.clear();
            return 0;
        }
        if self.dice(Kind::Garbage, now_ms, random).is_some() {
            let garbage = GARBAGE[random.index(GARBAGE.len())];
            self.queue.push(Out::Bytes(frames::frame(frames::TEXT, garbage.as_bytes())));
        }
        let mut count = 0;
        let pending = std::mem::take(&mut self.pending);
        let per_frame = if self.dialect == Dialect::Massive { per_frame.max(1) } else { 1 };
        for events in pending.chunks(per_frame) {
            let text = match self.dialect {
                Dialect::Massive => format!("[{}]", events.join(",")),
                _ => events.concat(),
            };
            let mut bytes = frames::frame(frames::TEXT, text.as_bytes());
            count += 1;
            if self.cut {
                bytes.truncate(bytes.len() / 2);
                self.queue.push(Out::Bytes(bytes));
                self.queue.push(Out::Reset);
                self.leaving = true;
                break;
            }
            self.queue.push(Out::Bytes(bytes));
        }
        count
    }

    /// A payload of Binance as this connection gets it.
    pub fn wrap(dialect: Dialect, stream: &str, payload: String) -> String {
        if dialect == Dialect::Combined { binance::combined(stream, &payload) } else { payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> (Line, mpsc::UnboundedReceiver<Out>) {
        let (queue, rest) = Queue::new();
        (Line::new(1, Dialect::Massive, 0, queue), rest)
    }

    fn strike(line: &mut Line, plan: &str) {
        let plan: Plan = plan.parse().unwrap();
        line.strike(plan.kinds[0], &plan, 0);
    }

    /// All events that were put on their way, and what came between them.
    fn texts(rest: &mut mpsc::UnboundedReceiver<Out>) -> Vec<String> {
        let mut out = Vec::new();
        while let Ok(Out::Bytes(bytes)) = rest.try_recv() {
            let head = if bytes[1] < 126 { 2 } else { 4 };
            out.push(String::from_utf8(bytes[head..].to_vec()).unwrap());
        }
        out
    }

    #[test]
    fn events_share_frames_up_to_the_bound() {
        let (mut line, mut rest) = line();
        let mut random = Random::new(1);
        for n in 0..7 {
            assert_eq!(line.give(0, &mut random, &|_| n.to_string()), "sent");
        }
        assert_eq!(line.flush(0, 3, &mut random), 3);
        assert_eq!(texts(&mut rest), ["[0,1,2]", "[3,4,5]", "[6]"]);
        assert_eq!(line.flush(0, 3, &mut random), 0);
    }

    #[test]
    fn every_fault_does_what_it_says_to_what_is_sent() {
        let give = |plan: &str| {
            let (mut line, mut rest) = line();
            let mut random = Random::new(4);
            strike(&mut line, plan);
            let mut said = Vec::new();
            for now in 0..100 {
                said.push(line.give(now, &mut random, &|shift| (now + shift).to_string()));
                line.flush(now, 1, &mut random);
            }
            line.flush(10_000, 1, &mut random);
            let count = |what: &str| said.iter().filter(|said| **said == what).count();
            (count("dropped"), count("twice"), count("late"), count("skewed"), texts(&mut rest))
        };
        let plain: Vec<String> = (0..100).map(|n| format!("[{n}]")).collect();
        let (dropped, _, _, _, sent) = give("drop:share=0.3");
        assert!(dropped > 10 && sent.len() == 100 - dropped);
        let (_, twice, _, _, sent) = give("duplicate:share=0.3");
        assert!(twice > 10 && sent.len() == 100 + twice);
        let (_, _, late, _, mut sent) = give("disorder:share=0.3:by=50ms");
        assert!(late > 10 && sent != plain);
        sent.sort_by_key(|text| text.trim_matches(['[', ']']).parse::<u32>().unwrap());
        assert_eq!(sent, plain);
        let (.., skewed, sent) = give("skew:share=0.3:by=1000ms");
        assert_eq!(sent.iter().filter(|text| text.len() > 4).count(), skewed);
        let (.., sent) = give("garbage:share=0.3");
        let kept: Vec<_> = sent.iter().filter(|text| plain.contains(text)).cloned().collect();
        assert!(kept == plain && sent.len() > 110);
        // A fault that is over leaves no trace.
        assert_eq!(give("drop:share=1:for=0s").4, plain);
    }

    #[test]
    fn a_frame_is_cut_in_its_middle_and_nothing_follows() {
        let (mut line, mut rest) = line();
        let mut random = Random::new(1);
        strike(&mut line, "half");
        assert_eq!(line.give(0, &mut random, &|_| "x".repeat(50)), "cut");
        line.flush(0, 1, &mut random);
        line.give(1, &mut random, &|_| "y".to_owned());
        line.flush(1, 1, &mut random);
        line.say("z");
        let Ok(Out::Bytes(bytes)) = rest.try_recv() else { panic!("no bytes") };
        assert_eq!((bytes[1], bytes.len()), (52, 27));
        assert_eq!(rest.try_recv(), Ok(Out::Reset));
        assert!(rest.try_recv().is_err());
    }
}
