//! Every interleaving of going to sleep and of making work, over the very source of `runtime/park.rs`.
//!
//! The model checker runs `park.rs` on its own atomics. A ring is two counters here: the protocol never looks at what a
//! slot holds. A lost wake-up leaves a thread asleep for ever, which the checker reports as a deadlock. Each promise has its controls: the
//! same model with one step of the protocol left out must fail, or the model proves nothing.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize as Count, Ordering as CountOrdering};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use park::{Bell, Hunger, Wake};

#[allow(dead_code, reason = "a silent bell has no sleeper, so nothing here needs one")]
#[path = "../src/runtime/park.rs"]
mod park;

mod sync {
    //! The checker's atomics, with a fence that a control can leave out.
    pub use loom::sync::atomic::{AtomicBool, Ordering};

    #[track_caller]
    pub fn fence(order: Ordering) {
        if std::panic::Location::caller().line() != super::FENCE_LEFT_OUT.get() {
            loom::sync::atomic::fence(order);
        }
    }
}

thread_local! {
    /// The line of `park.rs` whose fence a control leaves out; no line is 0. The checker runs a model's threads as
    /// coroutines of the test's own thread, so that they all see its value.
    static FENCE_LEFT_OUT: Cell<u32> = const { Cell::new(0) };
}

/// The line of the fence in each function of `park.rs`.
fn fences() -> BTreeMap<&'static str, u32> {
    let mut fences = BTreeMap::new();
    let mut function = "";
    for (line, text) in (1..).zip(include_str!("../src/runtime/park.rs").lines()) {
        if let Some((name, _)) =
            text.trim_start().strip_prefix("pub fn ").and_then(|rest| rest.split_once('('))
        {
            function = name;
        }
        if text.trim() == "fence(Ordering::SeqCst);" {
            assert_eq!(fences.insert(function, line), None, "two fences in {function}");
        }
    }
    fences
}

/// What a control leaves out of the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeaveOut {
    Nothing,
    /// The look at the ring between `prepare` and sleep.
    Recheck,
    /// Saying that room is wanted.
    Declare,
    /// Ringing after the work is published: rings before.
    PublishFirst,
    /// Freeing the slot before the producer is fed: feeds first.
    FreeFirst,
    /// That only the producer lowers the flag of its hunger: the consumer does too.
    OneWriter,
}

/// How a core sleeps here: a wake-up while awake makes the next sleep return at once, as `mio::Waker` has it.
#[derive(Clone)]
struct Bed(Arc<(Mutex<bool>, Condvar)>);

impl Bed {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn sleep(&self) {
        let mut woken = self.0.0.lock().unwrap();
        while !*woken {
            woken = self.0.1.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Bed {
    fn wake(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }
}

/// One core: its doorbell and its bed.
#[derive(Clone)]
struct Sleeper {
    bell: Bell,
    bed: Bed,
}

impl Sleeper {
    fn new() -> Self {
        let bed = Bed::new();
        Self { bell: Bell::new(Box::new(bed.clone())), bed }
    }

    /// `Core::park`, step by step.
    fn park(&self, leave_out: LeaveOut, has_work: impl Fn() -> bool) {
        self.bell.prepare();
        if leave_out == LeaveOut::Recheck || !has_work() {
            self.bed.sleep();
        }
        self.bell.awake();
    }
}

/// The counters of a ring; `rtrb` publishes and frees in the same way, by a release store of its own counter.
struct Ring {
    depth: usize,
    pushed: AtomicUsize,
    popped: AtomicUsize,
    hunger: Hunger,
}

impl Ring {
    fn new(depth: usize, holds: usize) -> Arc<Self> {
        Arc::new(Self {
            depth,
            pushed: AtomicUsize::new(holds),
            popped: AtomicUsize::new(0),
            hunger: Hunger::default(),
        })
    }
}

/// `ring::Sender`, with the counter that it alone moves.
struct Sender {
    ring: Arc<Ring>,
    consumer: Bell,
    pushed: usize,
    full: bool,
    leave_out: LeaveOut,
}

impl Sender {
    fn room(&self) -> usize {
        self.ring.depth - (self.pushed - self.ring.popped.load(Ordering::Acquire))
    }

    fn push(&mut self) -> bool {
        if self.room() == 0 {
            if !self.full {
                self.full = true;
                if self.leave_out != LeaveOut::Declare {
                    self.ring.hunger.declare();
                }
            }
            return false;
        }
        if self.full {
            self.full = false;
            self.ring.hunger.sated();
        }
        self.pushed += 1;
        if self.leave_out == LeaveOut::PublishFirst {
            self.consumer.ring();
            self.ring.pushed.store(self.pushed, Ordering::Release);
        } else {
            self.ring.pushed.store(self.pushed, Ordering::Release);
            self.consumer.ring();
        }
        true
    }

    fn push_all(mut self, items: usize, core: &Sleeper) {
        let leave_out = self.leave_out;
        let mut left = items;
        while left > 0 {
            if self.push() {
                left -= 1;
            } else {
                core.park(leave_out, || self.full && self.room() > 0);
            }
        }
    }
}

/// `ring::Receiver`, with the counter that it alone moves.
struct Receiver {
    ring: Arc<Ring>,
    producer: Bell,
    popped: usize,
    leave_out: LeaveOut,
}

impl Receiver {
    fn waiting(&self) -> usize {
        self.ring.pushed.load(Ordering::Acquire) - self.popped
    }

    fn drain(&mut self) -> usize {
        let n = self.waiting();
        if n > 0 {
            self.popped += n;
            if self.leave_out == LeaveOut::FreeFirst {
                self.ring.hunger.feed(&self.producer);
                self.ring.popped.store(self.popped, Ordering::Release);
            } else {
                self.ring.popped.store(self.popped, Ordering::Release);
                self.ring.hunger.feed(&self.producer);
            }
            if self.leave_out == LeaveOut::OneWriter {
                self.ring.hunger.sated();
            }
        }
        n
    }

    fn take_all(mut self, items: usize, core: &Sleeper) {
        let mut left = items;
        while left > 0 {
            match self.drain() {
                0 => core.park(self.leave_out, || self.waiting() > 0),
                n => left -= n,
            }
        }
    }
}

/// A ring of `depth` that holds `holds` values, `pushes` more to come, and one core at each end.
#[derive(Clone, Copy)]
struct Model {
    depth: usize,
    holds: usize,
    pushes: usize,
    leave_out: LeaveOut,
    /// How many times a thread may be interrupted where it need not wait.
    preemptions: usize,
}

impl Model {
    /// Only the consumer can have to sleep: there is room for everything.
    const CONSUMER: Self =
        Self { depth: 2, holds: 0, pushes: 2, leave_out: LeaveOut::Nothing, preemptions: 3 };
    /// Only the producer can have to sleep: the ring is full and the consumer has all it needs.
    const PRODUCER: Self =
        Self { depth: 2, holds: 2, pushes: 1, leave_out: LeaveOut::Nothing, preemptions: 3 };
    /// Each waits for the other in turn.
    const BOTH: Self = Self { depth: 1, holds: 0, pushes: 3, leave_out: LeaveOut::Nothing, preemptions: 3 };

    const fn without(self, leave_out: LeaveOut) -> Self {
        Self { leave_out, ..self }
    }

    /// Runs every interleaving and returns how many there were. Panics where one of them never ends.
    ///
    /// Both ends are spawned: the checker does not explore the model's own thread against the others.
    fn explore(self) -> usize {
        let explored = std::sync::Arc::new(Count::new(0));
        let counter = std::sync::Arc::clone(&explored);
        let mut checker = loom::model::Builder::new();
        // Without a bound the models take minutes; the controls show that this one is enough to find what they plant.
        checker.preemption_bound = Some(self.preemptions);
        checker.check(move || {
            counter.fetch_add(1, CountOrdering::Relaxed);
            self.run();
        });
        explored.load(CountOrdering::Relaxed)
    }

    fn run(self) {
        let Self { depth, holds, pushes, leave_out, .. } = self;
        let ring = Ring::new(depth, holds);
        let (producer, consumer) = (Sleeper::new(), Sleeper::new());
        let sender = Sender {
            ring: Arc::clone(&ring),
            consumer: consumer.bell.clone(),
            pushed: holds,
            full: false,
            leave_out,
        };
        let receiver = Receiver { ring, producer: producer.bell.clone(), popped: 0, leave_out };
        // What is there from the start is enough for a consumer whose producer is the one to sleep.
        let takes = if holds > 0 { holds } else { pushes };
        let sending = thread::spawn(move || sender.push_all(pushes, &producer));
        let receiving = thread::spawn(move || receiver.take_all(takes, &consumer));
        sending.join().unwrap();
        receiving.join().unwrap();
    }

    /// Leaves out the fence of one function of `park.rs`.
    fn without_the_fence_of(self, function: &str) -> Self {
        FENCE_LEFT_OUT.set(fences()[function]);
        self
    }
}

/// A test that the model hangs. The checker's deadlock takes the process with it, since what the sleeping threads own is
/// dropped outside of its run; so the test runs itself once more as a process of its own, and reads what that died of.
macro_rules! control {
    ($promise:ident, $model:expr) => {
        #[test]
        fn $promise() {
            if std::env::var_os(IN_PROCESS_OF_ITS_OWN).is_some() {
                $model.explore();
                return;
            }
            let itself = std::env::current_exe().unwrap();
            let ended = Command::new(itself)
                .args([stringify!($promise), "--exact", "--nocapture"])
                .env(IN_PROCESS_OF_ITS_OWN, "")
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(!ended.status.success(), "every interleaving finished");
            assert!(said.contains("deadlock; threads"), "failed for another reason: {said}");
        }
    };
}

const IN_PROCESS_OF_ITS_OWN: &str = "TICKWIRE_LOOM_CONTROL";

#[test]
fn a_parked_consumer_never_misses_work() {
    let explored = Model::CONSUMER.explore();
    assert!(explored > 100, "only {explored} interleavings");
}

#[test]
fn a_producer_blocked_on_full_never_misses_room() {
    let explored = Model::PRODUCER.explore();
    assert!(explored > 100, "only {explored} interleavings");
}

#[test]
fn two_cores_that_wait_for_each_other_always_finish() {
    let explored = Model::BOTH.explore();
    assert!(explored > 100, "only {explored} interleavings");
}

#[test]
fn the_protocol_has_the_four_fences_that_the_controls_leave_out() {
    assert_eq!(fences().into_keys().collect::<Vec<_>>(), ["declare", "feed", "prepare", "ring"]);
}

control!(
    without_a_fence_between_flag_and_last_look_a_consumer_hangs,
    Model::CONSUMER.without_the_fence_of("prepare")
);
control!(
    without_a_fence_between_flag_and_last_look_a_producer_hangs,
    Model::PRODUCER.without_the_fence_of("prepare")
);
control!(
    without_a_fence_between_work_and_the_look_at_the_flag_a_consumer_hangs,
    Model::CONSUMER.without_the_fence_of("ring")
);
control!(
    without_a_fence_between_freed_room_and_the_look_at_the_flag_a_producer_hangs,
    Model::PRODUCER.without_the_fence_of("feed")
);
control!(without_a_last_look_a_consumer_hangs, Model::CONSUMER.without(LeaveOut::Recheck));
control!(without_a_last_look_a_producer_hangs, Model::PRODUCER.without(LeaveOut::Recheck));
control!(a_producer_that_does_not_say_it_waits_hangs, Model::PRODUCER.without(LeaveOut::Declare));
control!(
    ringing_before_the_work_is_published_hangs_a_consumer,
    Model::CONSUMER.without(LeaveOut::PublishFirst)
);
control!(feeding_before_the_slot_is_free_hangs_a_producer, Model::PRODUCER.without(LeaveOut::FreeFirst));
control!(
    a_consumer_that_lowers_the_flag_of_hunger_hangs_a_producer,
    Model::BOTH.without(LeaveOut::OneWriter)
);
