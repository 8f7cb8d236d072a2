//! The stage that owns the state of its symbols: candles, trades, quotes and their history. No locks, no sockets.

pub mod candle;
pub mod chunk;
pub mod conditions;
pub mod link;
pub mod missing;
pub mod numbers;
pub mod offset;
pub mod record;
pub mod timers;
pub mod trades;

use crate::model::{Channel, Event, Nanos, SymbolId, SymbolTable, Tick, TickKind, Topic, UnixNanos};
use crate::runtime::{Latency, Ready, Receiver, Report, Stage, Turned};

pub use candle::{
    Audit, BarClock, BarsFrom, BuiltBy, CandleOptions, Candles, Difference, Fill, KeepTrades, Refusal, Sink,
    Tallies, Verdict, When,
};
pub use link::{Link, Patience};
use offset::FeedOffset;

/// Ticks taken from one ring in one turn, so that timers, answers and other rings get theirs.
const TICKS_PER_TURN: usize = 4_096;
/// Interests taken from one gateway in one turn.
const INTERESTS_PER_TURN: usize = 1_024;
/// Topics answered in one turn: a wildcard over thousands of symbols may not hold up the ticks.
const ANSWERS_PER_TURN: usize = 512;
/// Events of one answer besides replayed facts: begin, newest closed, forming, end.
const ANSWER_FRAME: usize = 4;

/// A shard's settings.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// What reports call it.
    pub name: String,
    /// The rules of its bars.
    pub candles: CandleOptions,
    /// How far a feed's clock may be from ours and still be believed.
    pub feed_offset_max: Nanos,
}

/// The stage.
pub struct Shard {
    options: ShardOptions,
    candles: Candles,
    ticks: Vec<Receiver<Tick>>,
    links: Vec<Link>,
    /// Whether any link wants states or trades of a symbol.
    watched: Vec<bool>,
    offsets: Vec<FeedOffset>,
    ended: Vec<bool>,
    input_ended: bool,
    stopping: bool,
    scratch: Vec<Event>,
    recv_to_aggregated: Latency,
    ticks_in: u64,
    skipped: u64,
}

impl Shard {
    /// A shard fed by `ticks`, one ring per ingest, that serves `links`, one per gateway.
    pub fn new(options: ShardOptions, ticks: Vec<Receiver<Tick>>, links: Vec<Link>) -> Self {
        Self {
            candles: Candles::new(options.candles.clone()),
            ended: vec![false; ticks.len()],
            offsets: (0..=usize::from(u8::MAX)).map(|_| FeedOffset::default()).collect(),
            options,
            ticks,
            links,
            watched: Vec::new(),
            input_ended: false,
            stopping: false,
            scratch: Vec::new(),
            recv_to_aggregated: Latency::new("recv_to_aggregated"),
            ticks_in: 0,
            skipped: 0,
        }
    }

    /// Says where symbols' names are, for calendars that are chosen by name.
    pub fn know_names(&mut self, names: SymbolTable) {
        self.candles.know_names(names);
    }

    /// Its candles, for tests and reports.
    pub fn candles(&self) -> &Candles {
        &self.candles
    }

    fn take_interests(&mut self) -> usize {
        let mut taken = 0;
        for at in 0..self.links.len() {
            for _ in 0..INTERESTS_PER_TURN {
                let Some(interest) = self.links[at].next_interest() else { break };
                taken += 1;
                let symbol = Link::symbol_of(&interest).map(|id| self.local(id));
                self.links[at].take(&interest, symbol);
                match symbol {
                    Some(symbol) => self.refresh_watched(symbol),
                    None => {
                        (0..self.candles.symbols() as u32).for_each(|symbol| self.refresh_watched(symbol))
                    }
                }
            }
        }
        taken
    }

    fn refresh_watched(&mut self, symbol: u32) {
        self.watched[symbol as usize] = self.links.iter().any(|link| !link.wants(symbol).is_empty());
    }

    #[inline]
    fn local(&mut self, id: SymbolId) -> u32 {
        let symbol = self.candles.local(id);
        if symbol as usize >= self.watched.len() {
            self.welcome(symbol);
        }
        symbol
    }

    /// A symbol never heard of: whoever wants all of them wants it too.
    #[cold]
    fn welcome(&mut self, symbol: u32) {
        self.links.iter_mut().for_each(Link::add_symbol);
        self.watched.push(false);
        self.refresh_watched(symbol);
        self.touch_status(symbol);
    }

    fn take_ticks(&mut self, now: UnixNanos) -> usize {
        let mut taken = 0;
        for at in 0..self.ticks.len() {
            // Taken out for the time of the loop: the ring and the rest of the shard are used side by side.
            let mut ring = std::mem::take(&mut self.ticks);
            let mut run = Run::default();
            taken += ring[at].drain_while(TICKS_PER_TURN, |tick, next| {
                self.candles.foresee(next);
                if self.links.iter().any(Link::holds_back) {
                    return false;
                }
                self.take_tick(at, tick, now, &mut run);
                true
            });
            self.ticks = ring;
            self.close_run(&mut run, now);
        }
        taken
    }

    #[inline]
    fn take_tick(&mut self, ring: usize, tick: &Tick, now: UnixNanos, run: &mut Run) {
        self.ticks_in += 1;
        if tick.kind() == TickKind::Watermark {
            self.ended[ring] |= tick.ts_event == UnixNanos::MAX;
            self.skipped += 1;
            return;
        }
        if run.ts_recv != tick.ts_recv || run.source != tick.source {
            self.close_run(run, now);
            *run = Run { ts_recv: tick.ts_recv, source: tick.source, ticks: 0 };
            // The other kinds are of a time that may lie far back.
            let is_new = matches!(tick.kind(), TickKind::Trade | TickKind::Quote | TickKind::AggregatedTrade);
            if self.candles.options().clock == BarClock::Live && is_new {
                let bound = self.options.feed_offset_max;
                self.offsets[usize::from(tick.source)].sample(tick.ts_event, tick.ts_recv, bound);
            }
        }
        run.ticks += 1;
        let when = When { now, offset: self.offsets[usize::from(tick.source)].median() };
        if tick.symbol == SymbolId::ANY {
            // Only a gap concerns every symbol: that of a whole source.
            self.candles.gap_everywhere(tick, &mut Fan { links: &mut self.links, now });
            self.touch_watched();
            return;
        }
        let symbol = self.local(tick.symbol);
        let watched = self.watched[symbol as usize];
        let before = if watched { self.candles.trade_sequence(symbol) } else { 0 };
        let verdict = self.candles.apply(symbol, tick, when, &mut Fan { links: &mut self.links, now });
        if tick.kind() == TickKind::Halt {
            self.touch_status(symbol);
        }
        if watched && verdict == Verdict::Accepted {
            self.publish(symbol, tick, before, now);
        }
    }

    /// What forms of any symbol may look different now.
    fn touch_watched(&mut self) {
        for symbol in (0..self.watched.len()).filter(|&symbol| self.watched[symbol]) {
            self.links.iter_mut().for_each(|link| link.touch(symbol as u32));
        }
    }

    /// A watched symbol took a tick: its trade is a fact at once, its states follow at the end of the turn.
    fn publish(&mut self, symbol: u32, tick: &Tick, before: u64, now: UnixNanos) {
        let sequence = self.candles.trade_sequence(symbol);
        for link in &mut self.links {
            if sequence > before && link.wants(symbol).trades {
                link.fact(&Event::trade(Topic::trades(tick.symbol), sequence, tick), now);
            }
            link.touch(symbol);
        }
    }

    /// Records the latency of ticks that were read together.
    fn close_run(&mut self, run: &mut Run, now: UnixNanos) {
        if run.ticks > 0 && self.candles.options().clock == BarClock::Live {
            self.recv_to_aggregated.record_n(now - run.ts_recv, run.ticks);
        }
        run.ticks = 0;
    }

    fn send_states(&mut self) -> usize {
        let mut sent = 0;
        let levels = self.options.candles.timeframes.len();
        for link in &mut self.links {
            while link.has_dirty() && link.has_room(levels + 1) {
                let Some(symbol) = link.pop_dirty() else { break };
                let wants = link.wants(symbol);
                for level in (0..levels).filter(|level| wants.forming & (1 << level) != 0) {
                    if let Some(event) = self.candles.forming(symbol, level) {
                        link.send(&event);
                        sent += 1;
                    }
                }
                if wants.quotes
                    && let Some(event) = self.candles.newest_quote(symbol)
                {
                    link.send(&event);
                    sent += 1;
                }
            }
        }
        sent
    }

    fn touch_status(&mut self, symbol: u32) {
        self.links.iter_mut().for_each(|link| link.touch_status(symbol));
    }

    fn send_statuses(&mut self, now: UnixNanos) -> usize {
        let mut sent = 0;
        for link in &mut self.links {
            while link.has_changed() && link.has_room(1) {
                let Some(symbol) = link.pop_changed() else { break };
                link.send(&self.candles.status(symbol, now));
                sent += 1;
            }
        }
        sent
    }

    /// How many topics it answered; at [`ANSWERS_PER_TURN`] there may be more.
    fn answer(&mut self, now: UnixNanos) -> usize {
        let mut answered = 0;
        for at in 0..self.links.len() {
            while let Some(pending) = self.links[at].pending.front().copied() {
                let done = match Some(pending.topic.symbol).filter(|&id| id != SymbolId::ANY) {
                    _ if answered >= ANSWERS_PER_TURN => false,
                    Some(id) => {
                        let symbol = self.local(id);
                        let done = self.answer_topic(at, symbol, &pending, now);
                        answered += usize::from(done);
                        done
                    }
                    None => self.answer_wildcard(at, pending, &mut answered, now),
                };
                if !done {
                    break;
                }
                self.links[at].pending.pop_front();
            }
        }
        answered
    }

    fn answer_wildcard(
        &mut self,
        at: usize,
        mut pending: link::Pending,
        answered: &mut usize,
        now: UnixNanos,
    ) -> bool {
        while (pending.next_symbol as usize) < self.candles.symbols() {
            let symbol = pending.next_symbol;
            let topic = pending.topic.of(self.candles.symbol_id(symbol));
            let stops = *answered >= ANSWERS_PER_TURN;
            if stops || !self.answer_topic(at, symbol, &link::Pending { topic, ..pending }, now) {
                if let Some(front) = self.links[at].pending.front_mut() {
                    front.next_symbol = symbol;
                }
                return false;
            }
            pending.next_symbol += 1;
            *answered += 1;
        }
        let room = self.links[at].has_room(1);
        if room {
            self.links[at].send(&Event::answer_done(pending.topic, pending.request));
        } else if let Some(front) = self.links[at].pending.front_mut() {
            front.next_symbol = pending.next_symbol;
        }
        room
    }

    /// One cut: history after `since` or the newest values, then the end; all at once or, without room, not yet.
    fn answer_topic(&mut self, at: usize, symbol: u32, pending: &link::Pending, now: UnixNanos) -> bool {
        let (topic, request) = (pending.topic, pending.request);
        if let Some(last) = pending.trades {
            return self.answer_trades(at, symbol, pending, last);
        }
        let link = &mut self.links[at];
        if !link.has_room(ANSWER_FRAME) {
            return false;
        }
        let recovered = match (pending.since, topic.channel()) {
            (None, _) => false,
            (Some(since), Channel::Bars) => {
                self.candles.replay_bars(symbol, topic.level(), since, &mut self.scratch)
            }
            (Some(since), Channel::Trades) => self.candles.replay_trades(symbol, since, &mut self.scratch),
            // These are states: the newest is all there is to recover.
            (Some(_), Channel::Quotes | Channel::Status) => {
                self.scratch.clear();
                true
            }
        };
        let recovered = recovered && self.scratch.len() + ANSWER_FRAME <= link.answer_max();
        if recovered && !link.has_room(self.scratch.len() + ANSWER_FRAME) {
            return false;
        }
        link.send(&Event::answer_begin(topic, request, recovered));
        if recovered {
            self.scratch.iter().for_each(|event| link.send(&event.answering(request)));
        }
        let level = topic.level();
        let (fact, state, sequence) = match topic.channel() {
            Channel::Bars => (
                self.candles.newest_closed(symbol, level),
                self.candles.forming(symbol, level).filter(|_| pending.states),
                self.candles.bar_sequence(symbol, level),
            ),
            Channel::Trades => (self.candles.newest_trade(symbol), None, self.candles.trade_sequence(symbol)),
            Channel::Quotes => (None, self.candles.newest_quote(symbol), 0),
            Channel::Status => (None, Some(self.candles.status(symbol, now)), 0),
        };
        for event in fact.filter(|_| !recovered).into_iter().chain(state) {
            link.send(&event.answering(request));
        }
        link.send(&Event::answer_end(topic, request, sequence));
        true
    }

    /// The last trades of a symbol, oldest first; fewer where fewer are kept, or where the ring is short.
    fn answer_trades(&mut self, at: usize, symbol: u32, pending: &link::Pending, last: u32) -> bool {
        let link = &mut self.links[at];
        let most = link.answer_max().saturating_sub(ANSWER_FRAME).min(last as usize);
        self.candles.last_trades(symbol, most, &mut self.scratch);
        if !link.has_room(self.scratch.len() + ANSWER_FRAME) {
            return false;
        }
        link.send(&Event::answer_begin(pending.topic, pending.request, true));
        self.scratch.iter().for_each(|event| link.send(&event.answering(pending.request)));
        let sequence = self.candles.trade_sequence(symbol);
        link.send(&Event::answer_end(pending.topic, pending.request, sequence));
        true
    }

    fn end_input(&mut self, now: UnixNanos) {
        self.input_ended = true;
        if self.candles.options().clock == BarClock::Event {
            self.candles.close_all(&mut Fan { links: &mut self.links, now });
        }
    }
}

/// Ticks that were read in one go.
#[derive(Default)]
struct Run {
    ts_recv: UnixNanos,
    source: u8,
    ticks: u64,
}

/// Hands every fact of bars to every gateway.
struct Fan<'a> {
    links: &'a mut [Link],
    now: UnixNanos,
}

impl Sink for Fan<'_> {
    #[inline]
    fn fact(&mut self, symbol: u32, event: &Event) {
        for link in self.links.iter_mut() {
            link.fact(event, self.now);
            link.touch(symbol);
        }
    }

    #[inline]
    fn wants_day(&self, symbol: u32, level: usize) -> bool {
        self.links.iter().any(|link| link.wants(symbol).days & (1 << level) != 0)
    }

    fn day(&mut self, symbol: u32, event: &Event) {
        for link in self.links.iter_mut() {
            if link.wants(symbol).days & (1 << event.topic.level()) != 0 {
                link.fact(event, self.now);
            }
        }
    }
}

impl Stage for Shard {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn turn(&mut self, now: UnixNanos, _ready: &[Ready]) -> Turned {
        let mut work = self.links.iter_mut().map(|link| usize::from(link.turn(now))).sum::<usize>();
        work += self.take_interests();
        let ticks = self.take_ticks(now);
        work += ticks;
        // Timers only once every tick that was received before `now` is in.
        let drained = self.ticks.iter().all(Receiver::is_empty);
        if drained && self.candles.options().clock == BarClock::Live {
            let offsets = &self.offsets;
            let offset_of = |source: u8| offsets[usize::from(source)].median();
            work += self.candles.fire(now, offset_of, &mut Fan { links: &mut self.links, now });
        }
        let held = self.links.iter().any(Link::holds_back);
        let over_or_ended = |(ring, &ended): (&Receiver<Tick>, &bool)| ended || ring.is_finished();
        let ended = self.ended.contains(&true) && self.ticks.iter().zip(&self.ended).all(over_or_ended);
        if drained && ended && !self.input_ended && !held {
            self.end_input(now);
            work += 1;
        }
        if let Some(markets) = self.candles.move_markets(now) {
            for symbol in (0..self.candles.symbols() as u32).filter(|&s| self.candles.is_among(s, markets)) {
                self.links.iter_mut().for_each(|link| link.touch_status(symbol));
            }
        }
        work += self.send_states() + self.send_statuses(now);
        let answered = self.answer(now);
        work += answered;
        let more = (!drained && !held) || answered >= ANSWERS_PER_TURN;
        self.links.iter_mut().for_each(Link::flush);
        let over = self.ticks.iter().all(Receiver::is_finished);
        let idle = self.links.iter().all(|link| link.is_idle() || link.is_abandoned());
        Turned { work, more, finished: over && idle || (over && self.stopping && !held) }
    }

    fn deadline(&self) -> Option<UnixNanos> {
        let live = self.candles.options().clock == BarClock::Live;
        let timer = self.candles.next_timer().filter(|_| live);
        self.links.iter().filter_map(Link::deadline).chain(timer).chain(self.candles.markets_due()).min()
    }

    fn has_work(&self) -> bool {
        let held = self.links.iter().any(Link::holds_back);
        let ticks = !held && self.ticks.iter().any(|ring| !ring.is_empty() || ring.is_finished());
        ticks || self.links.iter().any(Link::has_work)
    }

    fn housekeep(&mut self, _now: UnixNanos, report: &mut Report) {
        let tallies = self.candles.tallies();
        report.count("ticks_in", self.ticks_in);
        report.count("accepted", tallies.accepted);
        report.count("marks", self.skipped);
        for (name, &count) in Refusal::NAMES.into_iter().zip(&tallies.refused) {
            report.count(name, count);
        }
        report.count("unknown_conditions", tallies.unknown_conditions);
        report.count("late", tallies.late);
        report.count("bars_closed", tallies.closed);
        report.count("bars_filled", tallies.filled);
        report.count("fills_stopped", tallies.fills_stopped);
        report.count("bars_revised", tallies.revised);
        report.count("sealed_early", tallies.sealed_early);
        report.count("trades_forgotten", tallies.trades_evicted);
        tallies.known(|name, count| report.count(name, count));
        report.count("symbols", self.candles.symbols() as u64);
        report.count("rings_broken", self.links.iter().map(|link| link.broken_count).sum());
        report.count("events_discarded", self.links.iter().map(|link| link.discarded).sum());
        if let Some(difference) = self.candles.take_difference() {
            report.notes.push(format!("{}: {difference}", self.options.name));
        }
        self.recv_to_aggregated.hand_over(report);
    }

    fn stop(&mut self, _now: UnixNanos) {
        self.stopping = true;
    }
}
