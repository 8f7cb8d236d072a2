//! A core: one thread, one poll, a list of stages run turn by turn, and the one idle rule.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender as ReportSender;

use crate::model::{Nanos, UnixNanos};

use super::clock::Clock;
use super::metrics::Report;
use super::park::{Bell, Wake};
use super::stage::Stage;
use super::transport::{Network, Ready, Registrar, split_token};

/// The token of the core's own waker, above every stage's.
const WAKER: mio::Token = mio::Token(usize::MAX);
/// How often stages report.
const HOUSEKEEPING: Nanos = Nanos::from_secs(1);
/// A parked core looks around at least so often, so that an ended peer is noticed without a wake-up.
const PARK_MAX: Duration = Duration::from_millis(100);

/// How a core behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreOptions {
    /// What its thread is called.
    pub name: String,
    /// Which processor it is pinned to; `None` leaves it to the operating system.
    pub processor: Option<usize>,
    /// How long it spins without work before it parks.
    pub spin: Nanos,
    /// Never parks: `idle = "spin"`.
    pub never_park: bool,
}

/// Asks cores to end. Clones are the same request.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicU8>);

const DRAIN: u8 = 1;
const STOP: u8 = 2;

impl Stop {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.fetch_or(STOP, Ordering::Release);
    }

    /// Whether the end was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Acquire) & STOP != 0
    }

    /// Says that the end will be asked for soon, and that another engine takes this one's place.
    pub fn drain(&self) {
        self.0.fetch_or(DRAIN, Ordering::Release);
    }

    /// Whether that was said.
    pub fn draining(&self) -> bool {
        self.0.load(Ordering::Acquire) & DRAIN != 0
    }
}

enum Poller {
    Os { poll: mio::Poll, events: mio::Events },
    Memory(Network),
}

struct Slot {
    stage: Box<dyn Stage>,
    /// Its place when it was added, which its tokens carry.
    place: usize,
    ready: Vec<Ready>,
}

/// One thread's loop.
pub struct Core {
    options: CoreOptions,
    poller: Poller,
    bell: Bell,
    clock: Clock,
    slots: Vec<Slot>,
    places: usize,
    reports: Option<ReportSender<Report>>,
    housekept: UnixNanos,
    draining: bool,
    stopping: bool,
}

impl Wake for mio::Waker {
    fn wake(&self) {
        // It can fail only where the poll is gone, and then nobody sleeps.
        let _ = Self::wake(self);
    }
}

impl Core {
    /// A core that will have a thread of its own.
    ///
    /// # Errors
    /// Where the operating system grants no poll or waker.
    pub fn new(options: CoreOptions) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let poller = Poller::Os { poll, events: mio::Events::with_capacity(1024) };
        Ok(Self::build(options, poller, Bell::new(Box::new(waker)), Clock::real()))
    }

    /// A core that a test drives by [`Core::turn`], under its clock and on its network.
    pub fn inline(clock: Clock, network: Network) -> Self {
        let options =
            CoreOptions { name: "inline".to_owned(), processor: None, spin: Nanos::ZERO, never_park: true };
        Self::build(options, Poller::Memory(network), Bell::silent(), clock)
    }

    fn build(options: CoreOptions, poller: Poller, bell: Bell, clock: Clock) -> Self {
        Self {
            options,
            poller,
            bell,
            clock,
            slots: Vec::new(),
            places: 0,
            reports: None,
            housekept: UnixNanos::MIN,
            draining: false,
            stopping: false,
        }
    }

    /// Its doorbell, for the rings that end here.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Its options.
    pub fn options(&self) -> &CoreOptions {
        &self.options
    }

    /// A registrar for the stage that will be added next.
    ///
    /// # Errors
    /// Where the poll cannot be shared.
    pub fn registrar(&self) -> io::Result<Registrar> {
        Ok(match &self.poller {
            Poller::Os { poll, .. } => Registrar::os(poll.registry().try_clone()?, self.places),
            Poller::Memory(network) => Registrar::memory(network.clone(), self.places),
        })
    }

    /// Adds a stage; stages run in the order they were added.
    pub fn add(&mut self, stage: Box<dyn Stage>) {
        self.slots.push(Slot { stage, place: self.places, ready: Vec::with_capacity(1024) });
        self.places += 1;
    }

    /// Where reports go. A full channel skips a period.
    pub fn report_to(&mut self, reports: ReportSender<Report>) {
        self.reports = Some(reports);
    }

    /// How many stages have not finished.
    pub fn live_stages(&self) -> usize {
        self.slots.len()
    }

    /// Runs until every stage has finished, or `patience` after a stop was requested.
    ///
    /// # Errors
    /// Where the poll fails for another reason than an interrupt.
    pub fn run(mut self, stop: &Stop, patience: Nanos) -> io::Result<()> {
        if let Some(id) = self.options.processor {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let mut idle_since: Option<UnixNanos> = None;
        let mut give_up = UnixNanos::MAX;
        while !self.slots.is_empty() {
            let now = self.clock.now();
            if stop.draining() && !self.draining {
                self.begin_drain(now);
            }
            if stop.requested() && !self.stopping {
                give_up = now + patience;
                self.begin_stop(now);
            }
            if now >= give_up {
                break;
            }
            let (work, more) = self.turn_at(now, |_| true);
            if work > 0 || more {
                idle_since = None;
                self.poll(Some(Duration::ZERO))?;
                continue;
            }
            let idle_for = now - *idle_since.get_or_insert(now);
            if self.options.never_park || idle_for < self.options.spin {
                std::hint::spin_loop();
                self.poll(Some(Duration::ZERO))?;
            } else {
                self.park(now)?;
                idle_since = None;
            }
        }
        let now = self.clock.now();
        self.housekeep(now);
        Ok(())
    }

    /// One round over all stages and sockets, without waiting. Returns whether anything was done or is still to do.
    pub fn turn(&mut self) -> bool {
        self.turn_some(|_| true)
    }

    /// A round that leaves out the stages at some places, counted as they were added: a test makes them slow so. Their
    /// edges wait for them. Returns whether the others did anything or have something still to do.
    pub fn turn_some(&mut self, runs: impl Fn(usize) -> bool) -> bool {
        let now = self.clock.now();
        // An in-memory poll cannot fail, and a failing real one shows in `run`.
        let polled = self.poll(Some(Duration::ZERO)).is_ok();
        let (work, more) = self.turn_at(now, &runs);
        let waits = |slot: &Slot| runs(slot.place) && slot.stage.has_work();
        polled && (work > 0 || more || self.slots.iter().any(waits))
    }

    /// The earliest deadline of any stage.
    pub fn deadline(&self) -> Option<UnixNanos> {
        self.slots.iter().filter_map(|slot| slot.stage.deadline()).min()
    }

    /// Tells every stage that it will soon have to end.
    pub fn begin_drain(&mut self, now: UnixNanos) {
        self.draining = true;
        for slot in &mut self.slots {
            slot.stage.drain(now);
        }
    }

    /// Tells every stage to end.
    pub fn begin_stop(&mut self, now: UnixNanos) {
        self.stopping = true;
        for slot in &mut self.slots {
            slot.stage.stop(now);
        }
    }

    #[inline]
    fn turn_at(&mut self, now: UnixNanos, runs: impl Fn(usize) -> bool) -> (usize, bool) {
        let (mut work, mut more, mut finished) = (0, false, false);
        for slot in self.slots.iter_mut().filter(|slot| runs(slot.place)) {
            // Read anew for each stage: the time that the stage before took belongs to the latency.
            let now = self.clock.now();
            let turned = slot.stage.turn(now, &slot.ready);
            slot.ready.clear();
            work += turned.work;
            more |= turned.more;
            finished |= turned.finished;
            if turned.finished {
                report(slot.stage.as_mut(), now, true, self.reports.as_ref());
                // A finished stage is dropped below; until then it must not be asked again.
                slot.place = usize::MAX;
            }
        }
        if finished {
            self.slots.retain(|slot| slot.place != usize::MAX);
            more = true;
        }
        if now - self.housekept >= HOUSEKEEPING {
            self.housekeep(now);
        }
        (work, more)
    }

    fn housekeep(&mut self, now: UnixNanos) {
        self.housekept = now;
        for slot in &mut self.slots {
            report(slot.stage.as_mut(), now, false, self.reports.as_ref());
        }
    }

    /// Sleeps until a socket, a deadline or the bell; see `park.rs` for why no wake-up is lost.
    fn park(&mut self, now: UnixNanos) -> io::Result<()> {
        self.bell.prepare();
        let outcome = if self.slots.iter().any(|slot| slot.stage.has_work()) {
            self.poll(Some(Duration::ZERO))
        } else {
            let until = self.deadline().map_or(PARK_MAX, |at| (at - now).to_duration());
            self.poll(Some(until.min(PARK_MAX)))
        };
        self.bell.awake();
        outcome
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let slots = &mut self.slots;
        let mut deliver = |token: usize, readable: bool, writable: bool| {
            let (place, token) = split_token(token);
            if let Some(slot) = slots.iter_mut().find(|slot| slot.place == place) {
                slot.ready.push(Ready { token, readable, writable });
            }
        };
        match &mut self.poller {
            Poller::Memory(network) => network.take_ready(deliver),
            Poller::Os { poll, events } => {
                match poll.poll(events, timeout) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                    other => other?,
                }
                for event in events.iter().filter(|event| event.token() != WAKER) {
                    let ended = event.is_error() || event.is_read_closed();
                    deliver(event.token().0, event.is_readable() || ended, event.is_writable() || ended);
                }
            }
        }
        Ok(())
    }
}

fn report(stage: &mut dyn Stage, now: UnixNanos, last: bool, reports: Option<&ReportSender<Report>>) {
    let Some(channel) = reports else { return };
    if channel.is_full() {
        return;
    }
    let mut report = Report::new(stage.name(), now);
    report.last = last;
    stage.housekeep(now, &mut report);
    // A reader that has gone needs no reports.
    let _ = channel.try_send(report);
}
