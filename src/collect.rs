//! The stage behind `tickwire bars`: takes a gateway's place, keeps every bar's final revision and writes them in order.
//!
//! A bar is put into words as it closes, while the files are still being read. The few that change afterwards, or come out of
//! order, are kept beside the text and worked in at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::model::{
    Bar, BarFlags, Event, EventKind, Interest, Nanos, SymbolCache, SymbolId, SymbolTable, Timeframes,
    UnixNanos,
    decimal::{write_i64, write_u64},
};
use crate::runtime::{Ready, Receiver, Report, Sender, Stage, Turned};

/// Events taken from one ring in one turn.
const EVENTS_PER_TURN: usize = 8_192;
/// Text is kept in blocks that double from the first size to the last, so that none is ever moved.
const BLOCK_BYTES_MIN: usize = 2 << 10;
const BLOCK_BYTES_MAX: usize = 256 << 10;
/// No line is longer: 21 numbers of at most 40 digits and their names.
const LINE_BYTES_MAX: usize = 1 << 10;

/// A bar in its final revision.
#[derive(Debug, Clone, Copy)]
struct Final {
    bar: Bar,
    end: UnixNanos,
    rev: u32,
    flags: BarFlags,
}

/// Where a line is in its series' text.
#[derive(Clone, Copy)]
struct Line {
    start: UnixNanos,
    block: u32,
    at: u32,
}

/// The bars of one symbol and timeframe.
struct Series {
    /// Every line's beginning, up to the value of `start`.
    head: Vec<u8>,
    len: Nanos,
    blocks: Vec<Vec<u8>>,
    /// By start, ascending.
    lines: Vec<Line>,
    /// What was revised or came out of order; it replaces a line of the same start.
    changed: BTreeMap<UnixNanos, Final>,
}

impl Series {
    fn take(&mut self, event: &Event) {
        let end = event.bar_end(self.len);
        let new = Final { bar: event.as_bar(), end, rev: event.rev, flags: event.flags };
        let in_order = self.lines.last().is_none_or(|last| last.start < new.bar.start);
        if event.kind() == EventKind::BarRevised || !in_order {
            self.changed.insert(new.bar.start, new);
            return;
        }
        let block = match self.blocks.last_mut() {
            Some(block) if block.capacity() - block.len() >= LINE_BYTES_MAX => block,
            full => {
                let bytes = full.map_or(BLOCK_BYTES_MIN, |full| (full.capacity() * 2).min(BLOCK_BYTES_MAX));
                self.blocks.push(Vec::with_capacity(bytes));
                let last = self.blocks.len() - 1;
                &mut self.blocks[last]
            }
        };
        let at = block.len() as u32;
        write_line(block, &self.head, &new);
        self.lines.push(Line { start: new.bar.start, block: self.blocks.len() as u32 - 1, at });
    }

    fn write(&self, out: &mut impl Write) -> io::Result<usize> {
        if self.changed.is_empty() {
            self.blocks.iter().try_for_each(|block| out.write_all(block))?;
            return Ok(self.lines.len());
        }
        let mut text = Vec::new();
        let mut count = 0;
        let mut changed = self.changed.iter().peekable();
        let mut write_changed = |text: &mut Vec<u8>, before: UnixNanos| {
            let mut count = 0;
            while let Some((_, f)) = changed.next_if(|&(&start, _)| start < before) {
                // A bar whose every trade was cancelled is none, unless it is there to fill a hole.
                if f.bar.trades > 0 || f.flags.has(BarFlags::SYNTHETIC) {
                    write_line(text, &self.head, f);
                    count += 1;
                }
            }
            count
        };
        for line in &self.lines {
            count += write_changed(&mut text, line.start);
            if !self.changed.contains_key(&line.start) {
                let rest = &self.blocks[line.block as usize][line.at as usize..];
                let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
                text.extend_from_slice(&rest[..end]);
                count += 1;
            }
            if text.len() >= BLOCK_BYTES_MAX {
                out.write_all(&text)?;
                text.clear();
            }
        }
        count += write_changed(&mut text, UnixNanos::MAX);
        out.write_all(&text)?;
        Ok(count)
    }
}

/// Collects what the shards publish.
pub struct Collector {
    events: Vec<Receiver<Event>>,
    /// Held so that the shards see a gateway; it never asks for anything.
    _interest: Vec<Sender<Interest>>,
    symbols: SymbolCache,
    timeframes: Timeframes,
    series: Vec<Option<Series>>,
    done: crossbeam_channel::Sender<Collected>,
}

/// Everything a [`Collector`] took in.
pub struct Collected {
    levels: usize,
    series: Vec<Option<Series>>,
}

impl Collector {
    /// A collector that hands its bars to `done` when every shard has ended.
    pub fn new(
        symbols: SymbolTable,
        timeframes: Timeframes,
        events: Vec<Receiver<Event>>,
        interest: Vec<Sender<Interest>>,
        done: crossbeam_channel::Sender<Collected>,
    ) -> Self {
        Self {
            events,
            _interest: interest,
            symbols: SymbolCache::new(symbols),
            timeframes,
            series: Vec::new(),
            done,
        }
    }
}

/// The series of a topic, made where it is its first bar.
fn series_of<'a>(
    all: &'a mut Vec<Option<Series>>,
    symbols: &mut SymbolCache,
    timeframes: &Timeframes,
    event: &Event,
) -> Option<&'a mut Series> {
    let (symbol, level) = (event.topic.symbol, event.topic.level());
    let at = symbol.index() * timeframes.len() + level;
    if at >= all.len() {
        all.resize_with((symbol.index() + 1) * timeframes.len(), || None);
    }
    let slot = &mut all[at];
    if slot.is_none() {
        let (name, timeframe) = (symbols.name(symbol)?, timeframes.get(level)?);
        let head = format!("{{\"symbol\":\"{name}\",\"timeframe\":\"{timeframe}\",\"start\":").into_bytes();
        let (blocks, lines, changed) = (Vec::new(), Vec::new(), BTreeMap::new());
        *slot = Some(Series { head, len: timeframe.nanos(), blocks, lines, changed });
    }
    slot.as_mut()
}

impl Stage for Collector {
    fn name(&self) -> &str {
        "collector"
    }

    fn turn(&mut self, _now: UnixNanos, _ready: &[Ready]) -> Turned {
        let mut work = 0;
        let Self { events, symbols, timeframes, series, .. } = self;
        for ring in events {
            work += ring.drain(EVENTS_PER_TURN, |event| {
                if matches!(event.kind(), EventKind::BarClosed | EventKind::BarRevised)
                    && let Some(series) = series_of(series, symbols, timeframes, event)
                {
                    series.take(event);
                }
            });
        }
        let finished = self.events.iter().all(Receiver::is_finished);
        if finished {
            let series = std::mem::take(&mut self.series);
            // Whoever waited may have given up; then nobody wants the bars.
            let _ = self.done.send(Collected { levels: self.timeframes.len(), series });
        }
        Turned { work, more: false, finished }
    }

    fn has_work(&self) -> bool {
        self.events.iter().any(|ring| !ring.is_empty() || ring.is_finished())
    }

    fn housekeep(&mut self, _now: UnixNanos, _report: &mut Report) {}

    fn stop(&mut self, _now: UnixNanos) {}
}

impl Collected {
    /// Writes one JSON object a line in order of (symbol, timeframe, start) and returns how many. Bars whose every trade was
    /// cancelled are left out.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, symbols: &SymbolTable, out: &mut impl Write) -> io::Result<usize> {
        let count = self.series.len() / self.levels.max(1);
        let mut order: Vec<_> =
            (0..count).filter_map(|id| Some((symbols.name(SymbolId(id as u32))?, id))).collect();
        order.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        let mut written = 0;
        for (_, id) in order {
            for series in self.series[id * self.levels..(id + 1) * self.levels].iter().flatten() {
                written += series.write(out)?;
            }
        }
        out.flush()?;
        Ok(written)
    }
}

fn write_line(text: &mut Vec<u8>, head: &[u8], Final { bar, end, rev, flags }: &Final) {
    text.extend_from_slice(head);
    write_i64(text, bar.start.micros());
    text.extend_from_slice(b",\"end\":");
    write_i64(text, end.micros());
    for (key, price) in [
        (&b",\"open\":"[..], bar.open),
        (b",\"high\":", bar.high),
        (b",\"low\":", bar.low),
        (b",\"close\":", bar.close),
    ] {
        text.extend_from_slice(key);
        price.write(text);
    }
    text.extend_from_slice(b",\"volume\":");
    bar.volume.write(text);
    text.extend_from_slice(b",\"vwap\":");
    match bar.vwap() {
        Some(vwap) => vwap.write(text),
        None => text.extend_from_slice(b"null"),
    }
    text.extend_from_slice(b",\"trades\":");
    write_u64(text, bar.trades);
    text.extend_from_slice(b",\"rev\":");
    write_u64(text, u64::from(*rev));
    text.extend_from_slice(b",\"flags\":[");
    for (n, name) in flags.names().enumerate() {
        text.extend_from_slice(if n > 0 { b",\"" } else { b"\"" });
        text.extend_from_slice(name.as_bytes());
        text.push(b'"');
    }
    text.extend_from_slice(b"]}\n");
}
