//! The stage behind `tickwire bars`: takes a gateway's place, keeps every bar's final revision and writes them in order.

use std::io::{self, Write};

use crate::model::{
    Bar, BarFlags, Event, EventKind, Interest, SymbolTable, Timeframes,
    decimal::{write_i64, write_u64},
};
use crate::model::{Nanos, UnixNanos};
use crate::runtime::{Ready, Receiver, Report, Sender, Stage, Turned};

/// Events taken from one ring in one turn.
const EVENTS_PER_TURN: usize = 8_192;
/// How much text is written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A bar in its final revision.
#[derive(Debug, Clone, Copy)]
struct Final {
    bar: Bar,
    rev: u32,
    flags: BarFlags,
}

/// The bars of one symbol and timeframe.
#[derive(Default)]
struct Series {
    bars: Vec<Final>,
    unsorted: bool,
}

impl Series {
    fn take(&mut self, event: &Event) {
        let new = Final { bar: event.as_bar(), rev: event.rev, flags: event.flags };
        let newest = self.bars.last().map(|last| last.bar.start);
        if event.kind() == EventKind::BarRevised {
            // Revisions are mostly of recent bars.
            if let Some(old) = self.bars.iter_mut().rev().find(|old| old.bar.start == new.bar.start) {
                *old = new;
                return;
            }
        }
        self.unsorted |= newest.is_some_and(|newest| newest > new.bar.start);
        self.bars.push(new);
    }
}

/// Collects what the shards publish.
pub struct Collector {
    events: Vec<Receiver<Event>>,
    /// Held so that the shards see a gateway; it never asks for anything.
    _interest: Vec<Sender<Interest>>,
    levels: usize,
    series: Vec<Series>,
    done: crossbeam_channel::Sender<Collected>,
}

/// Everything a [`Collector`] took in.
pub struct Collected {
    levels: usize,
    series: Vec<Series>,
}

impl Collector {
    /// A collector that hands its bars to `done` when every shard has ended.
    pub fn new(
        timeframes: &Timeframes,
        events: Vec<Receiver<Event>>,
        interest: Vec<Sender<Interest>>,
        done: crossbeam_channel::Sender<Collected>,
    ) -> Self {
        Self { events, _interest: interest, levels: timeframes.len(), series: Vec::new(), done }
    }
}

impl Stage for Collector {
    fn name(&self) -> &str {
        "collector"
    }

    fn turn(&mut self, _now: UnixNanos, _ready: &[Ready]) -> Turned {
        let mut work = 0;
        let (series, levels) = (&mut self.series, self.levels);
        for ring in &mut self.events {
            work += ring.drain(EVENTS_PER_TURN, |event| {
                if !matches!(event.kind(), EventKind::BarClosed | EventKind::BarRevised) {
                    return;
                }
                let at = event.topic.symbol.index() * levels + event.topic.level();
                if at >= series.len() {
                    series.resize_with((event.topic.symbol.index() + 1) * levels, Series::default);
                }
                series[at].take(event);
            });
        }
        let finished = self.events.iter().all(Receiver::is_finished);
        if finished {
            let series = std::mem::take(&mut self.series);
            // Whoever waited may have given up; then nobody wants the bars.
            let _ = self.done.send(Collected { levels: self.levels, series });
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
    /// How many bars there are.
    pub fn bars(&self) -> usize {
        self.series.iter().map(|series| series.bars.len()).sum()
    }

    /// Writes one JSON object a line in order of (symbol, timeframe, start). Bars whose every trade was cancelled are left out.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(
        mut self,
        symbols: &SymbolTable,
        timeframes: &Timeframes,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let count = self.series.len() / self.levels.max(1);
        let mut order: Vec<_> = (0..count)
            .filter_map(|id| Some((symbols.name(crate::model::SymbolId(id as u32))?, id)))
            .collect();
        order.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        let mut text = Vec::with_capacity(WRITE_BYTES + 4096);
        for (symbol, id) in order {
            for (level, timeframe) in timeframes.iter().enumerate() {
                let series = &mut self.series[id * self.levels + level];
                if series.unsorted {
                    series.bars.sort_unstable_by_key(|f| f.bar.start);
                }
                let head = format!("{{\"symbol\":\"{symbol}\",\"timeframe\":\"{timeframe}\",\"start\":");
                for bar in series.bars.iter().filter(|f| f.bar.trades > 0) {
                    write_line(&mut text, head.as_bytes(), timeframe.nanos(), bar);
                    if text.len() >= WRITE_BYTES {
                        out.write_all(&text)?;
                        text.clear();
                    }
                }
            }
        }
        out.write_all(&text)?;
        out.flush()
    }
}

fn write_line(text: &mut Vec<u8>, head: &[u8], len: Nanos, Final { bar, rev, flags }: &Final) {
    text.extend_from_slice(head);
    write_i64(text, bar.start.micros());
    text.extend_from_slice(b",\"end\":");
    write_i64(text, (bar.start + len).micros());
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
