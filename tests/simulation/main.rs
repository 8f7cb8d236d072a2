//! The whole engine on one thread, under a manual clock, on a network in memory: one seed is one run, to the byte.
//!
//! `TICKWIRE_SEEDS=5000` runs more seeds, `TICKWIRE_SEED=17` only that one.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

mod clients;
mod feeds;
mod lines;
mod model;
mod random;
#[path = "../gateway/binary/record.rs"]
#[allow(dead_code, reason = "it also says what the C decoder prints, which is checked elsewhere")]
mod record;
mod rest;
mod text;
mod venue;
mod world;

use clients::Tamper;
use lines::{Cast, Plant};
use venue::Tongue;
use world::{Outcome, Planted, run};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic in the engine fails it like anything else.
fn attempt(seed: u64, planted: Planted) -> Result<Outcome, String> {
    let caught = std::panic::catch_unwind(|| run(seed, planted));
    caught.unwrap_or_else(|_| Err("it panicked; see above".to_owned()))
}

#[test]
fn whatever_happens_clients_hold_exactly_what_was_accepted() {
    let seeds = match variable("TICKWIRE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("TICKWIRE_SEEDS").unwrap_or(1_000),
    };
    let mut failures = Vec::new();
    let mut total = Outcome::default();
    for seed in seeds.clone() {
        let mut outcome = attempt(seed, Planted::default());
        if seed % 10 == 0
            && let Ok(first) = &outcome
        {
            match attempt(seed, Planted::default()) {
                Ok(second) if second == *first => {}
                second => outcome = Err(format!("it ran differently the second time: {first:?}, {second:?}")),
            }
        }
        match outcome {
            Ok(outcome) => {
                total.messages += outcome.messages;
                total.trades += outcome.trades;
                total.rings_broken += outcome.rings_broken;
                total.told_of_loss += outcome.told_of_loss;
                total.recovered += outcome.recovered;
                total.late += outcome.late;
                total.taken_back += outcome.taken_back;
                total.checked_bars += outcome.checked_bars;
                total.gathered += outcome.gathered;
                total.binary += outcome.binary;
            }
            Err(problem) => {
                eprintln!("seed {seed}: {problem}");
                eprintln!("  again: TICKWIRE_SEED={seed} cargo test --release --test simulation");
                failures.push(seed);
            }
        }
    }
    println!("{seeds:?}: {total:?}");
    assert!(failures.is_empty(), "{} seeds failed: {failures:?}", failures.len());
    // A run in which nothing happens would prove nothing.
    if seeds.end - seeds.start >= 100 {
        assert!(total.rings_broken > 0 && total.recovered > 0 && total.told_of_loss > 0);
        assert!(total.gathered > 0 && total.binary > 0);
        assert!(total.late > 0 && total.taken_back > 0 && total.checked_bars > 0);
    }
}

/// Whether some of the first seeds finds a planted fault; every one of them is well without it.
fn is_found(planted: Planted) -> bool {
    (0..20).any(|seed| run(seed, Planted::default()).is_ok() && run(seed, planted).is_err())
}

/// Fifty times something goes wrong with a feed, of so many lines and members.
fn troubles(tongue: Tongue, lines: usize, members: usize) -> Cast {
    Cast { tongue, lines, members, cycles: 50, one_at_a_time: false, everyone: false }
}

/// Runs casts from a seed on; `TICKWIRE_SEEDS` asks for more rounds of them, and `TICKWIRE_SEED` for one.
fn play(casts: &[Cast]) -> lines::Outcome {
    let rounds = match variable("TICKWIRE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("TICKWIRE_SEEDS").map_or(1, |seeds| seeds / 100 + 1),
    };
    let mut failures = Vec::new();
    let mut total = lines::Outcome::default();
    for seed in rounds {
        for cast in casts {
            let caught = std::panic::catch_unwind(|| lines::run(*cast, seed, None));
            match caught.unwrap_or_else(|_| Err(format!("it panicked; see above: {cast:?}, seed {seed}"))) {
                Ok(outcome) => {
                    total.sales += outcome.sales;
                    total.missed += outcome.missed;
                    total.hurt += outcome.hurt;
                    total.healed += outcome.healed;
                    total.bars += outcome.bars;
                    total.flat += outcome.flat;
                    total.silent_seconds += outcome.silent_seconds;
                }
                Err(problem) => {
                    eprintln!(
                        "{problem}\n  again: TICKWIRE_SEED={seed} cargo test --release --test simulation"
                    );
                    failures.push((seed, *cast));
                }
            }
        }
    }
    println!("{total:?}");
    assert!(failures.is_empty(), "{} runs failed: {failures:?}", failures.len());
    total
}

#[test]
fn whatever_happens_to_connections_bars_are_whole_in_the_end_and_say_so_while_they_are_not() {
    let casts = [Tongue::Massive, Tongue::Binance].map(|tongue| {
        [(1, 1), (1, 3), (2, 1), (2, 2)].map(|(lines, members)| troubles(tongue, lines, members))
    });
    let everyone = [(1, 1), (1, 2), (2, 1)]
        .map(|(lines, members)| Cast { everyone: true, ..troubles(Tongue::Massive, lines, members) });
    let total = play(&[&casts.concat()[..], &everyone].concat());
    assert!(total.missed > 100 && total.hurt > 100 && total.healed > 100, "nothing was tried: {total:?}");
}

#[test]
fn while_one_of_two_lines_lives_no_trade_is_missed_and_no_bar_is_incomplete() {
    let one = |tongue| Cast { cycles: 100, one_at_a_time: true, ..troubles(tongue, 2, 1) };
    let everyone = Cast { everyone: true, ..one(Tongue::Massive) };
    let total = play(&[one(Tongue::Massive), one(Tongue::Binance), everyone]);
    assert_eq!((total.missed, total.hurt), (0, 0));
}

#[test]
fn a_run_with_connections_is_the_same_the_second_time() {
    let cast = Cast { cycles: 10, ..troubles(Tongue::Massive, 2, 2) };
    assert_eq!(lines::run(cast, 3, None), lines::run(cast, 3, None));
}

/// Whether one of the first seeds finds a fault planted among feeds that connect; each is well without it.
fn is_found_on_the_way(plant: Plant) -> bool {
    let cast = Cast { cycles: 6, ..troubles(Tongue::Massive, 1, 1) };
    (0..10).any(|seed| lines::run(cast, seed, None).is_ok() && lines::run(cast, seed, Some(plant)).is_err())
}

#[test]
fn a_sale_that_nobody_is_sent_or_told_of_is_found() {
    assert!(is_found_on_the_way(Plant::Untold(100)));
}

#[test]
fn a_gap_whose_bars_nobody_asks_for_is_found() {
    assert!(is_found_on_the_way(Plant::LostWish(1)));
}

#[test]
fn a_dropped_fact_is_found() {
    assert!(is_found(Planted { tamper: Some(Tamper::DropFact), ..Planted::default() }));
}

#[test]
fn a_repeated_fact_is_found() {
    assert!(is_found(Planted { tamper: Some(Tamper::RepeatFact), ..Planted::default() }));
}

#[test]
fn a_changed_price_is_found() {
    assert!(is_found(Planted { tamper: Some(Tamper::ChangePrice), ..Planted::default() }));
}

#[test]
fn forming_bars_that_stop_coming_are_found() {
    assert!(is_found(Planted { tamper: Some(Tamper::DropForming), ..Planted::default() }));
}

#[test]
fn a_trade_that_does_not_count_is_found() {
    assert!(is_found(Planted { forgotten_trade: Some(50), ..Planted::default() }));
}

#[test]
fn a_cancel_that_gets_lost_is_found() {
    assert!(is_found(Planted { lost_cancels: true, ..Planted::default() }));
}
