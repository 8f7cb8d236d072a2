//! Two cores, two rings between them, and as many sleeps as can be had: what ThreadSanitizer is to watch.
//!
//! A value goes from one core to the other and back, in bursts that fill the rings and in bursts of one, so that both sides
//! park, wake each other and wait for room all the time. Each value is eight words that must agree. It is a program and not a
//! test because the test harness of a standard library that is not instrumented shows races that are none.

use std::time::Instant;

use tickwire::model::{Nanos, UnixNanos};
use tickwire::runtime::core::{Core, CoreOptions, Stop};
use tickwire::runtime::{Ready, Receiver, Report, Sender, Stage, Turned, ring};

/// How many values make the round trip, for each depth.
const VALUES: u64 = 200_000;
/// From a ring that is nearly always full to one that never is.
const DEPTHS: [usize; 4] = [1, 2, 7, 1024];

type Value = [u64; 8];

/// Sends values and takes them back.
struct Near {
    out: Sender<Value>,
    back: Receiver<Value>,
    sent: u64,
    returned: u64,
    burst: u64,
}

/// Sends back what it takes.
struct Far {
    ring: Receiver<Value>,
    back: Sender<Value>,
    returned: u64,
    waits: Option<Value>,
}

impl Stage for Near {
    fn name(&self) -> &str {
        "near"
    }

    fn turn(&mut self, _now: UnixNanos, _ready: &[Ready]) -> Turned {
        let (returned, sent) = (&mut self.returned, self.sent);
        let mut work = self.back.drain(usize::MAX, |value| {
            assert!(value.iter().all(|word| word == returned), "{value:?} is not {returned}");
            *returned += 1;
        });
        // A burst begins when the one before it is back, so that both sides run dry.
        if *returned == sent {
            self.burst = 1 + (self.burst * 7 + 3) % 61;
        }
        while self.sent < VALUES && self.sent - self.returned < self.burst {
            if self.out.push([self.sent; 8]).is_err() {
                break;
            }
            self.sent += 1;
            work += 1;
        }
        self.out.flush();
        Turned { work, more: false, finished: self.returned == VALUES }
    }

    fn has_work(&self) -> bool {
        !self.back.is_empty() || self.out.has_news()
    }

    fn housekeep(&mut self, _now: UnixNanos, _report: &mut Report) {}

    fn stop(&mut self, _now: UnixNanos) {}
}

impl Stage for Far {
    fn name(&self) -> &str {
        "far"
    }

    fn turn(&mut self, _now: UnixNanos, _ready: &[Ready]) -> Turned {
        let mut work = 0;
        while let Some(value) = self.waits.take().or_else(|| self.ring.pop()) {
            assert!(value.iter().all(|word| *word == self.returned), "{value:?} is not {}", self.returned);
            if let Err(value) = self.back.push(value) {
                self.waits = Some(value);
                break;
            }
            self.returned += 1;
            work += 1;
        }
        self.back.flush();
        Turned { work, more: false, finished: self.returned == VALUES }
    }

    fn has_work(&self) -> bool {
        (self.waits.is_none() && !self.ring.is_empty()) || self.back.has_news()
    }

    fn housekeep(&mut self, _now: UnixNanos, _report: &mut Report) {}

    fn stop(&mut self, _now: UnixNanos) {}
}

fn main() -> std::io::Result<()> {
    for depth in DEPTHS {
        let core = |name: &str| {
            Core::new(CoreOptions {
                name: name.to_owned(),
                processor: None,
                spin: Nanos::ZERO,
                never_park: false,
            })
        };
        let (mut near, mut far) = (core("near")?, core("far")?);
        let (out, ring_out) = ring(depth, near.bell(), far.bell());
        let (back_in, back) = ring(depth, far.bell(), near.bell());
        near.add(Box::new(Near { out, back, sent: 0, returned: 0, burst: 0 }));
        far.add(Box::new(Far { ring: ring_out, back: back_in, returned: 0, waits: None }));
        let began = Instant::now();
        let threads = [near, far]
            .map(|core| std::thread::spawn(move || core.run(&Stop::default(), Nanos::from_secs(1))));
        for thread in threads {
            thread.join().expect("no panic")?;
        }
        println!(
            "{VALUES} values there and back over rings of {depth}: {:.1} s",
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
