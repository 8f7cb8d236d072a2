//! How fast whole files are parsed. Run by hand: `TICKWIRE_SPEED_FILE=… cargo test --release --test sources feed_speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::time::Instant;

use tickwire::feed::{Context, Lines, Tallies, dialect, find};
use tickwire::model::{SymbolCache, SymbolTable, UnixNanos};

#[test]
#[ignore = "a measurement, not a check: it needs a file and a release build"]
fn parse_speed() {
    let path = std::env::var("TICKWIRE_SPEED_FILE").unwrap();
    let name = std::env::var("TICKWIRE_SPEED_DIALECT").unwrap_or_else(|_| "csv".to_owned());
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    let row = find(&name).unwrap();
    for _ in 0..7 {
        let mut dialect = (row.open)();
        let mut tallies = Tallies::new("speed");
        let mut symbols = SymbolCache::new(SymbolTable::new(1000));
        let mut lines = Lines::new(64 * 1024, 1 << 20);
        let mut out = Vec::with_capacity(1 << 16);
        let now = UnixNanos(1_800_000_000_000_000_000);
        let mut cx = Context { now, source: 0, recorded: true, symbols: &mut symbols, tallies: &mut tallies };
        let start = Instant::now();
        let (mut rest, mut sum) = (&text[..], 0u64);
        while !rest.is_empty() {
            let space = lines.space();
            let n = rest.len().min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            lines.filled(n);
            rest = &rest[n..];
            while let Some(line) = lines.next_line() {
                dialect::parse_line(dialect.as_mut(), line, &mut cx, &mut out);
            }
            sum += out.len() as u64;
            out.clear();
        }
        let spent = start.elapsed();
        println!(
            "{} lines, {} ticks ({sum}), {spent:?}, {:.1} ns a line, {:.0} MB/s",
            tallies.lines,
            tallies.accepted(),
            spent.as_nanos() as f64 / tallies.lines as f64,
            text.len() as f64 / spent.as_secs_f64() / 1e6,
        );
    }
}
