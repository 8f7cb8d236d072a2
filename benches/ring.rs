//! Ticks from one thread to another, and there and back on one: our ring, the rtrb under it, and crossbeam's channel and queue.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use core_affinity::CoreId;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::queue::ArrayQueue;
use tickwire::model::{Price, Size, SymbolId, Tick, UnixNanos};
use tickwire::runtime::{Bell, ring};

const DEPTH: usize = 4_096;
const ITEMS: usize = 1_000_000;
const BATCH: usize = 256;

fn tick() -> Tick {
    Tick::trade(SymbolId(1), UnixNanos(1), UnixNanos(2), Price(3), Size(4))
}

/// The processors of the whole process, asked for before any thread is pinned: a pinned thread sees only its own.
static PROCESSORS: LazyLock<Vec<CoreId>> =
    LazyLock::new(|| core_affinity::get_core_ids().unwrap_or_default());

fn pin(core: usize) {
    if let Some(&id) = PROCESSORS.get(core) {
        core_affinity::set_for_current(id);
    }
}

/// Runs `consume` here and `produce` on another core, each until all items have passed.
fn across(produce: impl FnOnce() + Send, consume: impl FnOnce()) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            produce();
        });
        pin(0);
        consume();
    });
}

fn two_threads(c: &mut Criterion) {
    LazyLock::force(&PROCESSORS);
    let mut group = c.benchmark_group("ring/across two cores");
    group.throughput(Throughput::Elements(ITEMS as u64)).sample_size(10);
    group.bench_function("tickwire", |b| {
        b.iter(|| {
            let (mut tx, mut rx) = ring::<Tick>(DEPTH, Bell::silent(), Bell::silent());
            let produce = move || {
                for _ in 0..ITEMS {
                    while tx.push(tick()).is_err() {
                        std::hint::spin_loop();
                    }
                }
            };
            across(produce, || {
                let mut left = ITEMS;
                while left > 0 {
                    left -= rx.drain(BATCH, |tick| {
                        black_box(tick);
                    });
                }
            });
        });
    });
    group.bench_function("rtrb, item by item", |b| {
        b.iter(|| {
            let (mut tx, mut rx) = rtrb::RingBuffer::<Tick>::new(DEPTH);
            let produce = move || {
                for _ in 0..ITEMS {
                    while tx.push(tick()).is_err() {
                        std::hint::spin_loop();
                    }
                }
            };
            across(produce, || {
                let mut left = ITEMS;
                while left > 0 {
                    if let Ok(tick) = rx.pop() {
                        black_box(tick);
                        left -= 1;
                    }
                }
            });
        });
    });
    group.bench_function("crossbeam channel", |b| {
        b.iter(|| {
            let (tx, rx) = crossbeam_channel::bounded::<Tick>(DEPTH);
            let produce = move || (0..ITEMS).for_each(|_| tx.send(tick()).expect("the receiver stays"));
            across(produce, || {
                rx.iter().take(ITEMS).for_each(|tick| {
                    black_box(tick);
                })
            });
        });
    });
    group.bench_function("crossbeam ArrayQueue", |b| {
        b.iter(|| {
            let queue = Arc::new(ArrayQueue::<Tick>::new(DEPTH));
            let other = Arc::clone(&queue);
            let produce = move || {
                for _ in 0..ITEMS {
                    while other.push(tick()).is_err() {
                        std::hint::spin_loop();
                    }
                }
            };
            across(produce, || {
                let mut left = ITEMS;
                while left > 0 {
                    if let Some(tick) = queue.pop() {
                        black_box(tick);
                        left -= 1;
                    }
                }
            });
        });
    });
    group.finish();
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/one core, batches of 256");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (mut tx, mut rx) = ring::<Tick>(DEPTH, Bell::silent(), Bell::silent());
    group.bench_function("tickwire", |b| {
        b.iter(|| {
            (0..BATCH).for_each(|_| assert!(tx.push(black_box(tick())).is_ok()));
            tx.flush();
            rx.drain(BATCH, |tick| {
                black_box(tick);
            })
        });
    });
    let (channel_tx, channel_rx) = crossbeam_channel::bounded::<Tick>(DEPTH);
    group.bench_function("crossbeam channel", |b| {
        b.iter(|| {
            (0..BATCH).for_each(|_| assert!(channel_tx.try_send(black_box(tick())).is_ok()));
            channel_rx.try_iter().take(BATCH).for_each(|tick| {
                black_box(tick);
            });
        });
    });
    group.finish();
}

criterion_group!(benches, two_threads, one_thread);
criterion_main!(benches);
