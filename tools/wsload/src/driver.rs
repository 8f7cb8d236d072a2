//! One thread: a poll, its share of the connections, one buffer for all of them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::connection::{Change, Connection};
use super::frames::ROOM_BYTES;
use super::now_ns;
use super::options::{Appetite, Load};
use super::process::{Effort, own_effort};
use super::tally::{Tally, Window};

/// One read takes up to so much: some thousand frames, and it stays in the second-level cache.
const READ_BYTES: usize = 256 * 1024;
/// Edges taken from the poll at a time.
const EVENTS_MAX: usize = 4096;
/// How long the poll waits where nothing is due: how soon a thread hears that the others are ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SECOND_NS: i64 = 1_000_000_000;

/// What the threads and whoever started them tell each other.
pub struct Shared {
    /// Connections that are ready, or were.
    pub ready: AtomicUsize,
    /// Connections that ended before they were ready.
    pub lost: AtomicUsize,
    /// The window's first instant; `i64::MAX`: not yet known.
    from: AtomicI64,
    /// The window's end, known before its first instant is.
    to: AtomicI64,
    /// End at once.
    pub stop: AtomicBool,
}

impl Shared {
    /// Nothing is ready.
    pub const fn new() -> Self {
        Self {
            ready: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            from: AtomicI64::new(i64::MAX),
            to: AtomicI64::new(i64::MAX),
            stop: AtomicBool::new(false),
        }
    }

    /// Tells all threads what to measure.
    pub fn open_window(&self, window: Window) {
        self.to.store(window.to, Ordering::Release);
        self.from.store(window.from, Ordering::Release);
    }

    fn window(&self) -> Window {
        match self.from.load(Ordering::Acquire) {
            i64::MAX => Window::NEVER,
            from => Window { from, to: self.to.load(Ordering::Acquire) },
        }
    }
}

/// What one thread found.
pub struct Outcome {
    /// What it counted.
    pub tally: Tally,
    /// What it cost in the window.
    pub effort: Effort,
    /// Still open: what a server does when all its clients leave is no part of the window.
    pub connections: Vec<Option<Connection>>,
}

/// One thread's work.
pub struct Driver<'a> {
    load: &'a Load,
    shared: &'a Shared,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    /// The number of the connection in place 0, and from one place to the next.
    first: usize,
    step: usize,
    /// Places of connections that read slowly.
    slow: Vec<usize>,
    tally: Tally,
    buffer: Vec<u8>,
}

impl<'a> Driver<'a> {
    /// For the connections whose number modulo the threads is `thread`.
    ///
    /// # Errors
    /// As the system refuses a poll.
    pub fn new(load: &'a Load, shared: &'a Shared, thread: usize) -> io::Result<Self> {
        let seconds = load.duration.as_secs_f64().ceil() as usize;
        Ok(Self {
            load,
            shared,
            poll: Poll::new()?,
            connections: Vec::new(),
            first: thread,
            step: load.threads,
            slow: Vec::new(),
            tally: Tally::new(seconds, &load.stamp),
            buffer: vec![0; ROOM_BYTES + READ_BYTES],
        })
    }

    const fn number(&self, place: usize) -> usize {
        self.first + place * self.step
    }

    /// Runs to the window's end, or until it is told to stop.
    ///
    /// # Errors
    /// Where the poll fails.
    pub fn run(mut self) -> io::Result<Outcome> {
        if let Some(&id) = self.load.pin.get(self.first) {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let began = now_ns();
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut window = Window::NEVER;
        let (mut at_from, mut sip_at) = (None, 0);
        loop {
            let now = now_ns();
            if window == Window::NEVER {
                window = self.shared.window();
                self.tally.set_window(window);
            }
            if now >= window.from && at_from.is_none() {
                at_from = Some(own_effort());
            }
            if now >= window.to || self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let mut next = window.to.min(if at_from.is_none() { window.from } else { i64::MAX });
            next = next.min(self.connect_due(began, now));
            if !self.slow.is_empty() {
                if now >= sip_at {
                    sip_at = now + SECOND_NS;
                    self.sip();
                }
                next = next.min(sip_at);
            }
            let wait = Duration::from_nanos(next.saturating_sub(now_ns()).max(0) as u64);
            match self.poll.poll(&mut events, Some(wait.min(LOOK_EVERY))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let ended = event.is_error() || event.is_read_closed() || event.is_write_closed();
                let place = event.token().0;
                let number = self.number(place);
                let Some(connection) = self.connections[place].as_mut() else { continue };
                let was_ready = connection.ready;
                let change = connection.on_event(self.load, number, ended, &mut self.buffer, &mut self.tally);
                self.changed(place, change, was_ready);
            }
        }
        let effort = at_from.map_or_else(Effort::default, |before| own_effort() - before);
        Ok(Outcome { tally: self.tally, effort, connections: self.connections })
    }

    /// Begins the connections that are due. Returns when the next one is.
    fn connect_due(&mut self, began: i64, now: i64) -> i64 {
        loop {
            let place = self.connections.len();
            let number = self.number(place);
            if number >= self.load.total() {
                return i64::MAX;
            }
            let due = began + (number as f64 / self.load.connect_rate * SECOND_NS as f64) as i64;
            if due > now {
                return due;
            }
            self.begin(place, number);
        }
    }

    fn begin(&mut self, place: usize, number: usize) {
        let begun = Connection::begin(self.load, number).and_then(|mut connection| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut connection.socket, Token(place), interest)?;
            Ok(connection)
        });
        match begun {
            Ok(connection) => {
                if connection.appetite == Appetite::Slow {
                    self.slow.push(place);
                }
                self.connections.push(Some(connection));
            }
            Err(error) => {
                self.tally.ends.failed += 1;
                self.tally.first_error.get_or_insert_with(|| format!("cannot connect: {error}"));
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                self.connections.push(None);
            }
        }
    }

    fn sip(&mut self) {
        for i in 0..self.slow.len() {
            let place = self.slow[i];
            let Some(connection) = self.connections[place].as_mut() else { continue };
            let change = connection.sip(&mut self.tally);
            self.changed(place, change, true);
        }
    }

    fn changed(&mut self, place: usize, change: Change, was_ready: bool) {
        match change {
            Change::None => {}
            Change::Ready => drop(self.shared.ready.fetch_add(1, Ordering::Relaxed)),
            Change::Ended => {
                // Dropping the socket takes it from the poll.
                self.connections[place] = None;
                if !was_ready {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
