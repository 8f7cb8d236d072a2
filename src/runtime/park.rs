//! How an idle core goes to sleep without missing work: the one idle rule, both ways along a ring.
//!
//! A core that is about to sleep raises `parked`, fences, looks at everything once more, and only then sleeps. Whoever
//! makes work for it publishes the work, fences, and wakes it if `parked` is up. In every order of these four steps either the
//! sleeper sees the work or the maker sees the flag. The same holds for a producer that waits for room, with the
//! ring's `wanted` flag as one more step: see `Hunger`.
//!
//! `parked` is written by read-modify-writes only, the taker's released and the sleeper's acquired. So a flag taken for an
//! earlier sleep comes before the next raise by happens-before alone, which `tests/loom_parking.rs` can follow; from
//! relaxed stores it follows only by the atomicity of the taker's swap, which its checker does not know.

use std::sync::Arc;

use super::sync::{AtomicBool, Ordering, fence};

/// Ends a sleep. Waking one who does not sleep must make its next sleep return at once.
pub trait Wake: Send + Sync {
    /// Wakes the sleeper.
    fn wake(&self);
}

struct Doorbell {
    parked: AtomicBool,
    waker: Box<dyn Wake>,
}

/// One core's doorbell, shared with whoever makes work for it. A silent bell belongs to a core that never sleeps.
#[derive(Clone)]
pub struct Bell(Option<Arc<Doorbell>>);

impl Bell {
    /// A bell that wakes its core through `waker`.
    pub fn new(waker: Box<dyn Wake>) -> Self {
        Self(Some(Arc::new(Doorbell { parked: AtomicBool::new(false), waker })))
    }

    /// The bell of a core that is driven turn by turn.
    pub const fn silent() -> Self {
        Self(None)
    }

    /// First step to sleep. The caller must look for work again after this and before sleeping.
    pub fn prepare(&self) {
        if let Some(bell) = &self.0 {
            bell.parked.swap(true, Ordering::Acquire);
            fence(Ordering::SeqCst);
        }
    }

    /// The core is awake, whether or not it slept.
    pub fn awake(&self) {
        if let Some(bell) = &self.0 {
            bell.parked.swap(false, Ordering::Acquire);
        }
    }

    /// Wakes the core if it said it is parked. The caller has published its work before.
    #[inline]
    pub fn ring(&self) {
        if let Some(bell) = &self.0 {
            fence(Ordering::SeqCst);
            if bell.parked.load(Ordering::Relaxed) && bell.parked.swap(false, Ordering::Release) {
                bell.waker.wake();
            }
        }
    }
}

/// Whether the producer of a ring waits for room. Only the producer writes it: a consumer that lowered it could do so on
/// behalf of room that is already used up again, and the producer would then sleep through the next.
#[derive(Default)]
pub struct Hunger {
    wanted: AtomicBool,
}

impl Hunger {
    /// The producer found the ring full. It must look again after [`Bell::prepare`] and before sleeping.
    pub fn declare(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The producer found room.
    pub fn sated(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// The consumer has freed room: wakes a producer that waits for it.
    #[inline]
    pub fn feed(&self, producer: &Bell) {
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::Relaxed) {
            producer.ring();
        }
    }
}
