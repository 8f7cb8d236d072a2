//! The life of a bar: forming, closed, revised, sealed.
//!
//! A tick touches only the finest bar of its symbol. A coarse bar is made when it closes or when someone watches: its *prefix*,
//! the sum of its sealed children, merged with the children that are not sealed and, while it forms, with what is still open.
//! All sums are of integers, so a bar is the same whatever the order in which its ticks came.

mod day;
mod options;
mod query;
mod revise;
mod verdict;

use std::collections::VecDeque;

use crate::model::{
    BarFlags, BarState, Event, IdForm, Nanos, Price, Reason, Size, SymbolId, Tick, TickKind, Topic,
    UnixNanos, Volume,
};

use crate::runtime::memory::{prefetch, prefetch_lines};

pub use options::{BarClock, BarsFrom, CandleOptions, KeepTrades};
pub use verdict::{REFUSALS, Refusal, Tallies, Verdict};

use super::chunk::{Arena, List, NONE};
use super::record::{Rank, Record, Sample};
use super::timers::Timers;
use super::trades::{SymbolTrades, TradeLog};
use day::Today;

/// Bars per chunk of the history: 1,152 bytes.
const CHUNK: usize = 8;
/// How many replaced revisions a topic keeps for replay.
const SUPERSEDED_MAX: usize = 64;
/// So many open bars a symbol may always have: the one that ends, the one that begins, and a little ahead of our clock.
const OPEN_BARS_MIN: usize = 4;
/// No bar starts here.
const NO_START: UnixNanos = UnixNanos::MAX;
const DAY: Nanos = Nanos::from_secs(86_400);

/// How many ticks ahead each thing is asked for: the tick, then its symbol, then what its symbol leads to.
const TICK_AHEAD: usize = 32;
const SYMBOL_AHEAD: usize = 16;
const TRADES_AHEAD: usize = 8;

/// The time of one tick or timer: our clock, and how far the feed's is ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// Our clock.
    pub now: UnixNanos,
    /// What to add for the feed's.
    pub offset: Nanos,
}

impl When {
    fn feed_clock(self) -> UnixNanos {
        self.now + self.offset
    }
}

/// Where facts go.
pub trait Sink {
    /// A bar closed or was revised.
    fn fact(&mut self, symbol: u32, event: &Event);

    /// Whether facts of this timeframe are to be preceded by the symbol's day.
    fn wants_day(&self, _symbol: u32, _level: usize) -> bool {
        false
    }

    /// The symbol's day with the fact that comes next.
    fn day(&mut self, _symbol: u32, _event: &Event) {}
}

struct Level {
    bars: List,
    /// Place of the first bar that can still be revised, and how many there are.
    unsealed_at: u32,
    unsealed: u32,
    /// Sum of the sealed children of the interval that the last of them is in.
    prefix: Record,
    /// Everything before is closed, and sealed.
    closed_to: UnixNanos,
    sealed_to: UnixNanos,
    /// The topic's last fact.
    sequence: u64,
    /// Facts up to here can no longer be replayed.
    floor: u64,
    superseded: VecDeque<Record>,
}

impl Level {
    fn new() -> Self {
        Self {
            bars: List::default(),
            unsealed_at: NONE,
            unsealed: 0,
            prefix: Record::empty(UnixNanos::MIN),
            closed_to: UnixNanos::MIN,
            sealed_to: UnixNanos::MIN,
            sequence: 0,
            floor: 0,
            superseded: VecDeque::new(),
        }
    }
}

/// What every trade touches comes first and fills whole cache lines.
#[repr(C, align(64))]
struct SymbolState {
    /// The open bar that was touched last; `bar.start` is [`NO_START`] where there is none.
    current: Record,
    current_end: UnixNanos,
    newest: UnixNanos,
    /// When the next bar is due to close, by the feed's clock.
    deadline: UnixNanos,
    id: SymbolId,
    source: u8,
    /// Flags of the next bar that opens.
    next_flags: BarFlags,
    trades: SymbolTrades,
    day_volume: Volume,
    last: Price,
    day: UnixNanos,
    // From here on only what opens, closes and revises bars.
    parents_due: UnixNanos,
    /// Levels above the finest that expect nothing, and levels that have bars open to revision: bit by level, so that a close
    /// touches only the levels that it concerns.
    idle_parents: u32,
    revisable: u32,
    /// The other open bars, by start.
    others: VecDeque<Record>,
    /// By level: start of the first interval that has closed children and is not closed itself.
    pending: Box<[UnixNanos]>,
    levels: Box<[Level]>,
    quote: Option<Tick>,
    /// The day by closed bars.
    today: Today,
}

/// The lines of [`SymbolState`] that a trade touches.
const TRADE_LINES: usize = 4;
const _: () = assert!(std::mem::offset_of!(SymbolState, parents_due) == TRADE_LINES * 64);

struct Spec {
    len: Nanos,
    child: usize,
    parents: Vec<usize>,
}

/// All bars of one shard's symbols.
pub struct Candles {
    options: CandleOptions,
    specs: Vec<Spec>,
    symbols: Vec<SymbolState>,
    local: Vec<u32>,
    arena: Arena<Record, CHUNK>,
    log: TradeLog,
    timers: Timers,
    open_bars: usize,
    tallies: Tallies,
}

impl Candles {
    /// A shard without symbols.
    pub fn new(options: CandleOptions) -> Self {
        let timeframes = &options.timeframes;
        let spec = |(level, timeframe): (usize, crate::model::Timeframe)| Spec {
            len: timeframe.nanos(),
            child: timeframes.child(level),
            parents: (level + 1..timeframes.len()).filter(|&p| timeframes.child(p) == level).collect(),
        };
        let specs = timeframes.iter().enumerate().map(spec).collect();
        let mut arena = Arena::new(options.history_bytes_max);
        let mut log = TradeLog::new(options.trades_bytes_max);
        if options.preallocate {
            arena.preallocate();
            log.preallocate();
        }
        Self {
            specs,
            symbols: Vec::new(),
            local: Vec::new(),
            arena,
            log,
            timers: Timers::default(),
            open_bars: 0,
            tallies: Tallies::default(),
            options,
        }
    }

    /// The rules.
    pub fn options(&self) -> &CandleOptions {
        &self.options
    }

    /// The totals.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// How many symbols there are; their local numbers are below it.
    pub fn symbols(&self) -> usize {
        self.symbols.len()
    }

    /// The symbol with a local number.
    pub fn symbol_id(&self, symbol: u32) -> SymbolId {
        self.symbols[symbol as usize].id
    }

    /// The local number of a symbol, if it has been seen here.
    pub fn find(&self, id: SymbolId) -> Option<u32> {
        self.local.get(id.index()).copied().filter(|&local| local != NONE)
    }

    /// The local number of a symbol, given now if need be.
    #[inline]
    pub fn local(&mut self, id: SymbolId) -> u32 {
        match self.local.get(id.index()) {
            Some(&local) if local != NONE => local,
            _ => self.add_symbol(id),
        }
    }

    #[cold]
    fn add_symbol(&mut self, id: SymbolId) -> u32 {
        let local = self.symbols.len() as u32;
        if self.local.len() <= id.index() {
            self.local.resize(id.index() + 1, NONE);
        }
        self.local[id.index()] = local;
        let joined = if self.options.joined_midway { BarFlags::INCOMPLETE } else { BarFlags::default() };
        let parents = self.all_parents();
        self.symbols.push(SymbolState {
            current: Record::empty(NO_START),
            current_end: UnixNanos::MIN,
            newest: UnixNanos::MIN,
            deadline: UnixNanos::MAX,
            parents_due: UnixNanos::MAX,
            idle_parents: parents,
            revisable: 0,
            id,
            source: 0,
            next_flags: joined,
            trades: SymbolTrades::default(),
            others: VecDeque::with_capacity(2),
            pending: vec![NO_START; self.specs.len()].into(),
            levels: (0..self.specs.len()).map(|_| Level::new()).collect(),
            quote: None,
            last: Price(0),
            day: UnixNanos::MIN,
            day_volume: Volume(0),
            today: Today::default(),
        });
        self.timers.add_symbol();
        local
    }

    /// Every level but the finest, bit by level.
    fn all_parents(&self) -> u32 {
        (u32::MAX >> (32 - self.specs.len())) & !1
    }

    /// Asks for the memory that ticks soon to come will touch, so that it is there by then. `next` are those after the one at hand.
    #[inline]
    pub fn foresee(&self, next: &[Tick]) {
        let state_of = |tick: &Tick| self.symbols.get(*self.local.get(tick.symbol.index())? as usize);
        if let Some(tick) = next.get(TICK_AHEAD) {
            prefetch(tick);
        }
        if let Some(state) = next.get(SYMBOL_AHEAD).and_then(state_of) {
            prefetch_lines::<_, TRADE_LINES>(state);
        }
        if self.options.keep_trades != KeepTrades::No
            && let Some(tick) = next.get(TRADES_AHEAD)
            && let Some(state) = state_of(tick)
        {
            self.log.foresee(&state.trades, tick);
        }
    }

    /// Takes one tick of the symbol with this local number.
    #[inline]
    pub fn apply(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Verdict {
        let verdict = match tick.kind() {
            TickKind::Trade => self.trade(symbol, tick, when, sink),
            TickKind::Quote => self.quote(symbol, tick, when, sink),
            TickKind::Cancel | TickKind::Correction => self.take_back(symbol, tick, sink),
            TickKind::Gap => {
                self.mark_gap(symbol);
                Verdict::Accepted
            }
            TickKind::Halt
            | TickKind::Watermark
            | TickKind::AggregatedTrade
            | TickKind::BarHead
            | TickKind::BarTail => Verdict::Refused(Refusal::Unsupported),
        };
        match verdict {
            Verdict::Accepted => self.tallies.accepted += 1,
            Verdict::Refused(refusal) => self.tallies.refused[refusal as usize] += 1,
        }
        verdict
    }

    #[inline]
    fn trade(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Verdict {
        let id = tick.id();
        let kept = match self.options.keep_trades {
            KeepTrades::All => true,
            KeepTrades::WithId => id.form != IdForm::None,
            KeepTrades::No => false,
        };
        if kept && id.form != IdForm::None && self.find_trade(symbol, tick) {
            return Verdict::Refused(Refusal::Duplicate);
        }
        if self.options.bars_from == BarsFrom::Trades {
            let rank = Rank { ts_event: tick.ts_event, sequence: tick.rank() };
            let sample = Sample { rank, price: tick.price, size: tick.size, ts_recv: tick.ts_recv };
            let verdict = self.add(symbol, &sample, when, sink);
            if verdict != Verdict::Accepted {
                return verdict;
            }
        }
        if kept {
            self.keep(symbol, tick);
        } else {
            self.log.skip(&mut self.symbols[symbol as usize].trades);
        }
        let state = &mut self.symbols[symbol as usize];
        state.source = tick.source;
        state.last = tick.price;
        if tick.ts_event >= state.day + DAY || state.day == UnixNanos::MIN {
            state.day = tick.ts_event.floor(DAY);
            state.day_volume = Volume(0);
        }
        if tick.ts_event >= state.day {
            state.day_volume.0 += u128::from(tick.size.0);
        }
        Verdict::Accepted
    }

    #[inline]
    fn find_trade(&mut self, symbol: u32, tick: &Tick) -> bool {
        self.log.find(&mut self.symbols[symbol as usize].trades, tick, tick.id()).is_some()
    }

    #[inline]
    fn keep(&mut self, symbol: u32, tick: &Tick) {
        while self.log.must_evict(&self.symbols[symbol as usize].trades) {
            let Some(owner) = self.log.oldest_owner() else { break };
            let gone = self.log.evict(&mut self.symbols[owner as usize].trades);
            self.tallies.trades_evicted += gone as u64;
        }
        let trades = &mut self.symbols[symbol as usize].trades;
        self.log.append(symbol, trades, tick);
        if self.log.exceeds(trades, self.options.trades_per_symbol_max) {
            self.tallies.trades_evicted += self.log.evict(trades) as u64;
        }
    }

    fn quote(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Verdict {
        let price = match self.options.bars_from {
            BarsFrom::Trades => None,
            BarsFrom::Bid => Some(tick.price),
            BarsFrom::Ask => Some(tick.ask()),
            BarsFrom::Mid if tick.price.0 > 0 && tick.ask().0 > 0 => Some(Price::mid(tick.price, tick.ask())),
            BarsFrom::Mid => None,
        };
        if let Some(price) = price.filter(|price| price.0 > 0) {
            let rank = Rank { ts_event: tick.ts_event, sequence: 0 };
            let sample = Sample { rank, price, size: Size(0), ts_recv: tick.ts_recv };
            let verdict = self.add(symbol, &sample, when, sink);
            if verdict != Verdict::Accepted {
                return verdict;
            }
        }
        let state = &mut self.symbols[symbol as usize];
        state.source = tick.source;
        // An older quote that comes late is no longer the top of the book.
        if state.quote.is_none_or(|newest| tick.ts_event >= newest.ts_event) {
            state.quote = Some(*tick);
        }
        Verdict::Accepted
    }

    /// The O(1) path: the finest open bar, and one comparison for the clock.
    #[inline]
    fn add(&mut self, symbol: u32, sample: &Sample, when: When, sink: &mut impl Sink) -> Verdict {
        let ts = sample.rank.ts_event;
        let state = &mut self.symbols[symbol as usize];
        state.newest = state.newest.max(ts);
        if ts >= state.current.bar.start && ts < state.current_end {
            state.current.add(sample);
        } else {
            let verdict = self.add_elsewhere(symbol, sample, when, sink);
            if verdict != Verdict::Accepted {
                return verdict;
            }
        }
        if self.options.clock == BarClock::Event {
            let state = &self.symbols[symbol as usize];
            if state.newest >= state.deadline {
                self.close_due(symbol, state.newest, sink);
            }
        }
        Verdict::Accepted
    }

    /// The clock that closes a symbol's bars.
    fn clock_of(&self, symbol: u32, when: When) -> UnixNanos {
        match self.options.clock {
            BarClock::Live => when.feed_clock(),
            BarClock::Event => self.symbols[symbol as usize].newest,
        }
    }

    #[inline(never)]
    fn add_elsewhere(&mut self, symbol: u32, sample: &Sample, when: When, sink: &mut impl Sink) -> Verdict {
        let start = sample.rank.ts_event.floor(self.specs[0].len);
        // An interval that is over without a trade is closed too, though nothing was published of it.
        let over = start + self.specs[0].len + self.options.grace;
        if over <= self.clock_of(symbol, when) {
            if start >= self.symbols[symbol as usize].levels[0].closed_to {
                self.close_due(symbol, over, sink);
            }
            return self.add_late(symbol, sample, when, sink);
        }
        let state = &mut self.symbols[symbol as usize];
        if start < state.levels[0].closed_to {
            return self.add_late(symbol, sample, when, sink);
        }
        let mut is_new = false;
        let record = match state.others.binary_search_by_key(&start, |record| record.bar.start) {
            Ok(at) => {
                let mut record = state.others.remove(at).unwrap_or(Record::empty(start));
                record.add(sample);
                record
            }
            Err(_)
                if state.others.len() + 1 >= self.options.open_bars_max
                    || (self.open_bars >= self.options.open_bars_total_max
                        && state.others.len() >= OPEN_BARS_MIN) =>
            {
                return Verdict::Refused(Refusal::TooFarAhead);
            }
            Err(_) => {
                let mut record = Record::first(start, sample);
                record.flags = std::mem::take(&mut state.next_flags);
                is_new = true;
                record
            }
        };
        let previous = std::mem::replace(&mut state.current, record);
        self.open_bars += usize::from(is_new);
        state.current_end = start + self.specs[0].len;
        if previous.bar.start != NO_START {
            let at = state.others.partition_point(|record| record.bar.start < previous.bar.start);
            state.others.insert(at, previous);
        }
        let due = state.current_end + self.options.grace;
        if due < state.deadline {
            state.deadline = due;
            self.schedule(symbol, when.offset);
        }
        Verdict::Accepted
    }

    /// Sets the symbol's timer by our own clock. With the event clock there are no timers.
    fn schedule(&mut self, symbol: u32, offset: Nanos) {
        if self.options.clock == BarClock::Live {
            match self.symbols[symbol as usize].deadline {
                UnixNanos::MAX => self.timers.remove(symbol),
                deadline => self.timers.set(symbol, deadline.minus(offset)),
            }
        }
    }

    /// Publishes a new closed bar and files it by its start.
    #[inline]
    fn append(&mut self, symbol: u32, level: usize, mut record: Record, sink: &mut impl Sink) {
        while self.arena.must_evict(&self.symbols[symbol as usize].levels[level].bars) {
            if !self.evict_oldest() {
                break;
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let at = &mut state.levels[level];
        at.sequence += 1;
        record.sequence = at.sequence;
        let owner = symbol * self.specs.len() as u32 + level as u32;
        if let Some(mut place) = self.arena.push(&mut at.bars, owner, record) {
            if at.unsealed == 0 {
                at.unsealed_at = place;
            }
            at.unsealed += 1;
            state.revisable |= 1 << level;
            // Only a late tick's bar has any before it that are newer.
            while let Some(before) = self.arena.before(&at.bars, place) {
                let earlier = *self.arena.get(before);
                if earlier.bar.start < record.bar.start {
                    break;
                }
                *self.arena.get_mut(place) = earlier;
                *self.arena.get_mut(before) = record;
                place = before;
            }
        }
        if level == 0 {
            state.today.add(&record);
        }
        self.tallies.closed += 1;
        let event = fact(Topic::bars(state.id, level), &record);
        if sink.wants_day(symbol, level) {
            sink.day(symbol, &state.today.event(&event));
        }
        sink.fact(symbol, &event);
    }

    /// Gives up the oldest chunk of bars. What was still open to revision is sealed first, so parents stay exact.
    fn evict_oldest(&mut self) -> bool {
        let Some(owner) = self.arena.oldest_owner() else { return false };
        let (symbol, level) = (owner / self.specs.len() as u32, owner as usize % self.specs.len());
        let count = self.arena.head_len(&self.symbols[symbol as usize].levels[level].bars);
        for _ in 0..count {
            let at = &self.symbols[symbol as usize].levels[level];
            if at.unsealed > 0 && self.arena.front(&at.bars) == Some(at.unsealed_at) {
                self.seal_first(symbol, level);
                self.tallies.sealed_early += 1;
            }
            let at = &mut self.symbols[symbol as usize].levels[level];
            if let Some(gone) = self.arena.pop_front(&mut at.bars) {
                at.floor = at.floor.max(gone.sequence);
            }
        }
        count > 0
    }

    /// Moves the first unsealed bar of a level into its parents' prefixes.
    fn seal_first(&mut self, symbol: u32, level: usize) {
        let state = &mut self.symbols[symbol as usize];
        let at = &mut state.levels[level];
        let record = *self.arena.get(at.unsealed_at);
        at.unsealed_at = self.arena.after(&at.bars, at.unsealed_at).unwrap_or(NONE);
        at.unsealed -= 1;
        if at.unsealed == 0 {
            state.revisable &= !(1 << level);
        }
        at.sealed_to = record.bar.start + self.specs[level].len;
        for &parent in &self.specs[level].parents {
            let start = record.bar.start.floor(self.specs[parent].len);
            let prefix = &mut state.levels[parent].prefix;
            if prefix.bar.start != start {
                *prefix = Record::empty(start);
            }
            prefix.merge(&record);
        }
    }

    /// Seals what is due, finest first, so that a parent's children are in its prefix before it is sealed itself.
    fn seal(&mut self, symbol: u32, clock: UnixNanos) {
        for level in bits(self.symbols[symbol as usize].revisable) {
            let horizon = clock.minus(self.options.seal_after).minus(self.specs[level].len);
            loop {
                let at = &self.symbols[symbol as usize].levels[level];
                if at.unsealed == 0 || self.arena.get(at.unsealed_at).bar.start > horizon {
                    break;
                }
                self.seal_first(symbol, level);
            }
        }
    }

    /// Closes everything whose end and grace are past, in order of time, children before parents.
    fn close_due(&mut self, symbol: u32, clock: UnixNanos, sink: &mut impl Sink) {
        let limit = clock.minus(self.options.grace);
        let finest = self.specs[0].len;
        loop {
            let state = &mut self.symbols[symbol as usize];
            let current = state.current.bar.start;
            let first = state.others.front().map_or(current, |other| other.bar.start.min(current));
            if first == NO_START || first + finest > limit {
                break;
            }
            if state.parents_due <= first {
                self.close_parents(symbol, first, sink);
            }
            let state = &mut self.symbols[symbol as usize];
            let record = if first == current {
                state.current_end = UnixNanos::MIN;
                std::mem::replace(&mut state.current, Record::empty(NO_START))
            } else {
                state.others.pop_front().unwrap_or(Record::empty(first))
            };
            self.open_bars -= 1;
            state.levels[0].closed_to = first + finest;
            self.append(symbol, 0, record, sink);
            if self.options.seal_after == Nanos::ZERO {
                self.seal(symbol, clock);
            }
            for level in bits(self.symbols[symbol as usize].idle_parents) {
                self.expect_parent(symbol, level, first.floor(self.specs[level].len));
            }
        }
        if self.symbols[symbol as usize].parents_due <= limit {
            self.close_parents(symbol, limit, sink);
        }
        let closed_to = &mut self.symbols[symbol as usize].levels[0].closed_to;
        *closed_to = limit.floor(finest).max(*closed_to);
        if self.options.seal_after != Nanos::MAX {
            self.seal(symbol, clock);
        }
        self.set_deadline(symbol);
    }

    /// Notes that a coarse interval has data and is to be closed at its end.
    #[inline]
    fn expect_parent(&mut self, symbol: u32, level: usize, start: UnixNanos) {
        if level > 0 {
            let state = &mut self.symbols[symbol as usize];
            debug_assert!(start >= state.levels[level].closed_to, "a closed interval closes once");
            state.idle_parents &= !(1 << level);
            let pending = &mut state.pending[level];
            *pending = start.min(*pending);
            state.parents_due = state.parents_due.min(*pending + self.specs[level].len);
        }
    }

    /// Closes the coarse bars that end at `limit` or before, finer ones first.
    fn close_parents(&mut self, symbol: u32, limit: UnixNanos, sink: &mut impl Sink) {
        let parents = self.all_parents();
        for level in bits(parents & !self.symbols[symbol as usize].idle_parents) {
            let len = self.specs[level].len;
            loop {
                let start = self.symbols[symbol as usize].pending[level];
                if start == NO_START || start + len > limit {
                    break;
                }
                let mut record = Record::empty(start);
                self.gather(symbol, level, start, start + len, &mut record);
                let next = self.next_pending(symbol, level, start + len);
                let state = &mut self.symbols[symbol as usize];
                if next == NO_START {
                    state.idle_parents |= 1 << level;
                }
                state.pending[level] = next;
                state.levels[level].closed_to = start + len;
                // All its trades may have been cancelled before it closed.
                if record.bar.trades > 0 {
                    self.append(symbol, level, record, sink);
                }
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let expecting = bits(parents & !state.idle_parents);
        let ends = expecting.map(|level| state.pending[level] + self.specs[level].len);
        state.parents_due = ends.min().unwrap_or(UnixNanos::MAX);
    }

    /// The first interval of `level` from `from` on that has closed data.
    fn next_pending(&self, symbol: u32, level: usize, from: UnixNanos) -> UnixNanos {
        let state = &self.symbols[symbol as usize];
        let below = self.specs[level].child;
        let (at, child) = (&state.levels[level], &state.levels[below]);
        let newer = self.arena.backward(&child.bars).take(child.unsealed as usize);
        let closed = newer.map(|(_, record)| record.bar.start).take_while(|&start| start >= from).last();
        let sealed = (at.prefix.bar.start >= from).then_some(at.prefix.bar.start);
        let due = Some(state.pending[below]).filter(|&start| start != NO_START && start >= from);
        let first = [closed, sealed, due].into_iter().flatten().min();
        first.map_or(NO_START, |start| start.floor(self.specs[level].len))
    }

    /// Merges into `sum` everything of `[start, end)` that is not in a closed bar of `level` itself.
    fn gather(&self, symbol: u32, level: usize, start: UnixNanos, end: UnixNanos, sum: &mut Record) {
        let state = &self.symbols[symbol as usize];
        let inside = |record: &Record| record.bar.start >= start && record.bar.start < end;
        if level == 0 {
            state
                .others
                .iter()
                .chain([&state.current])
                .filter(|record| inside(record))
                .for_each(|r| sum.merge(r));
            return;
        }
        let (at, child_level) = (&state.levels[level], self.specs[level].child);
        let child = &state.levels[child_level];
        if inside(&at.prefix) {
            sum.merge(&at.prefix);
        }
        let newer = self.arena.backward(&child.bars).take(child.unsealed as usize).map(|(_, record)| record);
        for record in newer.skip_while(|r| r.bar.start >= end).take_while(|r| r.bar.start >= start) {
            sum.merge(record);
        }
        self.gather(symbol, child_level, start.max(child.closed_to), end, sum);
    }

    fn set_deadline(&mut self, symbol: u32) {
        let state = &mut self.symbols[symbol as usize];
        let current = state.current.bar.start;
        let first = state.others.front().map_or(current, |other| other.bar.start.min(current));
        let open = if first == NO_START { UnixNanos::MAX } else { first + self.specs[0].len };
        let due = open.min(state.parents_due);
        state.deadline = due + self.options.grace;
    }

    /// Closes what is due by the clock: `now`, and each feed's offset by its source number.
    pub fn fire(&mut self, now: UnixNanos, offset_of: impl Fn(u8) -> Nanos, sink: &mut impl Sink) -> usize {
        let mut fired = 0;
        while let Some(symbol) = self.timers.pop_due(now) {
            let state = &self.symbols[symbol as usize];
            let offset = offset_of(state.source);
            let clock = now + offset;
            if state.deadline <= clock {
                self.close_due(symbol, clock, sink);
            }
            self.schedule(symbol, offset);
            fired += 1;
        }
        fired
    }

    /// When the next timer is due, by our clock.
    pub fn next_timer(&self) -> Option<UnixNanos> {
        self.timers.first()
    }

    /// The end of input: closes every bar of every symbol.
    pub fn close_all(&mut self, sink: &mut impl Sink) {
        for symbol in 0..self.symbols.len() as u32 {
            self.close_due(symbol, UnixNanos::MAX, sink);
            self.schedule(symbol, Nanos::ZERO);
        }
    }

    /// A source lost ticks, and nobody knows whose: one accepted tick that marks every symbol.
    pub fn gap_everywhere(&mut self) {
        (0..self.symbols.len() as u32).for_each(|symbol| self.mark_gap(symbol));
        self.tallies.accepted += 1;
    }

    fn mark_gap(&mut self, symbol: u32) {
        let state = &mut self.symbols[symbol as usize];
        if state.current.bar.start == NO_START && state.others.is_empty() {
            state.next_flags = state.next_flags.with(BarFlags::INCOMPLETE);
        }
        for record in state.others.iter_mut().chain([&mut state.current]) {
            if record.bar.start != NO_START {
                record.flags = record.flags.with(BarFlags::INCOMPLETE);
            }
        }
    }

    /// Bytes allocated for bars and trades.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.log.bytes()
    }
}

/// The levels whose bits are set, finest first.
fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let level = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (level < 32).then_some(level)
    })
}

/// The event that publishes a closed or revised bar.
#[inline]
fn fact(topic: Topic, record: &Record) -> Event {
    let (state, reason) = match (record.rev, record.reason) {
        (0, _) => (BarState::Closed, Reason::None),
        (_, 2) => (BarState::Revised, Reason::Cancel),
        (_, 3) => (BarState::Revised, Reason::Correct),
        (_, 4) => (BarState::Revised, Reason::Backfill),
        _ => (BarState::Revised, Reason::Late),
    };
    Event::bar(topic, state, record.sequence, &record.bar)
        .at(record.closed.ts_event, record.ts_recv)
        .revision(record.rev, reason, record.flags)
}
