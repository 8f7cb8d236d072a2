//! A bounded single-producer single-consumer ring whose two ends wake each other.

use std::sync::Arc;

use super::park::{Bell, Hunger};

/// The sending end. It belongs to one stage.
pub struct Sender<T> {
    ring: rtrb::Producer<T>,
    hunger: Arc<Hunger>,
    consumer: Farewell,
    dirty: bool,
    full: bool,
    /// While `full`: how many slots must be free before trying again is of use.
    wanted: usize,
}

/// The receiving end. It belongs to one stage.
pub struct Receiver<T> {
    ring: rtrb::Consumer<T>,
    hunger: Arc<Hunger>,
    producer: Farewell,
}

/// A ring of `depth` slots between the cores of two bells.
pub fn ring<T>(depth: usize, producer: Bell, consumer: Bell) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = rtrb::RingBuffer::new(depth);
    let hunger = Arc::new(Hunger::default());
    (
        Sender {
            ring: tx,
            hunger: Arc::clone(&hunger),
            consumer: Farewell(consumer),
            dirty: false,
            full: false,
            wanted: 1,
        },
        Receiver { ring: rx, hunger, producer: Farewell(producer) },
    )
}

/// Passes a value through every slot of a ring not yet in use, so that none of its pages is touched for the first time under load.
pub fn warm<T: Copy>(tx: &mut Sender<T>, rx: &mut Receiver<T>, value: T) {
    let depth = tx.depth();
    let pushed = (0..depth).take_while(|_| tx.push(value).is_ok()).count();
    debug_assert_eq!(pushed, depth, "this ring is in use");
    rx.drain(depth, |_| {});
}

impl<T> Sender<T> {
    /// Pushes a value, or gives it back where the ring is full. The consumer sees it at once, but is woken by
    /// [`Sender::flush`] only.
    ///
    /// # Errors
    /// The value itself, where the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        match self.ring.push(value) {
            Ok(()) => {
                self.dirty = true;
                if self.full {
                    self.full = false;
                    self.hunger.sated();
                }
                Ok(())
            }
            Err(rtrb::PushError::Full(value)) => {
                self.wanted = 1;
                if !self.full {
                    self.full = true;
                    self.hunger.declare();
                }
                Err(value)
            }
        }
    }

    /// As [`Sender::push`] for each of them in turn, if all of them fit; else pushes none, and asks for nothing.
    #[inline]
    pub fn push_all(&mut self, values: &[T]) -> bool
    where
        T: Copy,
    {
        let pushed = self.ring.push_entire_slice(values).is_ok();
        if pushed {
            self.dirty |= !values.is_empty();
            if self.full {
                self.full = false;
                self.hunger.sated();
            }
        }
        pushed
    }

    /// Wakes the consumer if anything was pushed since the last flush. Call at the end of a turn.
    #[inline]
    pub fn flush(&mut self) {
        if self.dirty {
            self.dirty = false;
            self.consumer.0.ring();
        }
    }

    /// How many values fit now.
    #[inline]
    pub fn room(&self) -> usize {
        self.ring.slots()
    }

    /// How many values fit in all.
    pub fn depth(&self) -> usize {
        self.ring.buffer().capacity()
    }

    /// Whether `n` values fit now; if not, asks to be woken once they do. What was asked before is over: room found for what
    /// is no longer wanted would be news for ever.
    pub fn room_for(&mut self, n: usize) -> bool {
        let fits = self.ring.slots() >= n;
        if !fits {
            self.want_room(n);
        } else if std::mem::take(&mut self.full) {
            self.hunger.sated();
        }
        fits
    }

    /// Asks to be woken once there is room for `n` values, without pushing.
    pub fn want_room(&mut self, n: usize) {
        self.full = true;
        self.wanted = n.min(self.depth());
        self.hunger.declare();
    }

    /// There was too little room and there is enough now: work to do before sleeping.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.full && self.ring.slots() >= self.wanted
    }

    /// Nobody is left to receive.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

/// Rings when it is dropped. Fields drop in the order in which they stand: after the ring's end has gone, so that whoever wakes
/// finds that out.
struct Farewell(Bell);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl<T: Copy> Receiver<T> {
    /// Hands up to `most` values to `take`, in order, then frees their slots at once. Returns how many there were.
    #[inline]
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&T)) -> usize {
        let n = self.ring.slots().min(most);
        if n == 0 {
            return 0;
        }
        let Ok(chunk) = self.ring.read_chunk(n) else { return 0 };
        let (first, second) = chunk.as_slices();
        first.iter().for_each(&mut take);
        second.iter().for_each(&mut take);
        chunk.commit_all();
        self.hunger.feed(&self.producer.0);
        n
    }

    /// Hands values to `take` until it refuses one; that one stays at the front. Beside each value stand those that follow it in
    /// memory, which may be none though more wait. Returns how many were taken.
    #[inline]
    pub fn drain_while(&mut self, most: usize, mut take: impl FnMut(&T, &[T]) -> bool) -> usize {
        let n = self.ring.slots().min(most);
        let Ok(chunk) = self.ring.read_chunk(n) else { return 0 };
        let mut taken = 0;
        let (first, second) = chunk.as_slices();
        'slices: for slice in [first, second] {
            let mut rest = slice;
            while let Some((value, next)) = rest.split_first() {
                if !take(value, next) {
                    break 'slices;
                }
                taken += 1;
                rest = next;
            }
        }
        if taken > 0 {
            chunk.commit(taken);
            self.hunger.feed(&self.producer.0);
        }
        taken
    }
}

impl<T> Receiver<T> {
    /// Takes one value.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.ring.pop().ok()?;
        self.hunger.feed(&self.producer.0);
        Some(value)
    }

    /// Whether nothing is there now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many values wait.
    pub fn waiting(&self) -> usize {
        self.ring.slots()
    }

    /// Nothing is there and nothing more will come.
    pub fn is_finished(&self) -> bool {
        // In this order: the producer pushes before it goes.
        self.ring.is_abandoned() && self.ring.is_empty()
    }
}
