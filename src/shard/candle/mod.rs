//! The life of a bar: forming, closed, revised, sealed.
//!
//! A tick touches only the finest bar of its symbol. A coarse bar is made when it closes or when someone watches: its *prefix*,
//! the sum of its sealed children, merged with the children that are not sealed and, while it forms, with what is still open.
//! All sums are of integers, so a bar is the same whatever the order in which its ticks came.

mod audit;
mod close;
mod daily;
mod day;
mod fill;
mod gap;
mod halt;
mod history;
mod market;
mod number;
mod options;
mod query;
mod rank;
mod revise;
mod state;
mod upstream;
mod usual;
mod verdict;

use std::collections::VecDeque;

use crate::model::calendar::{Calendar, Choice, Grid, Interval, MarketStatus};
use crate::model::{Event, Nanos, Price, Size, SymbolId, SymbolTable, Tick, TickKind, UnixNanos, Volume};

use crate::runtime::memory::{prefetch, prefetch_lines};

pub use audit::Difference;
pub use fill::Fill;
pub use options::{BarClock, BarsFrom, BuiltBy, CandleOptions, KeepTrades};
pub use verdict::{Audit, REFUSALS, Refusal, Tallies, Verdict};

use super::chunk::{Arena, NONE};
use super::conditions::{Conditions, Rules};
use super::missing::{Missing, Opener};
use super::numbers::Numbers;
use super::record::{Fields, Rank, Record, Sample};
use super::timers::Timers;
use super::trades::TradeLog;
use audit::Audits;
use day::Today;
use fill::Filling;
use halt::Halts;
use market::Markets;
use state::{HOT_LINES, Hot, Level, SymbolState, VendorState};

/// Bars per chunk of the history: 1,152 bytes.
const CHUNK: usize = 8;
/// How many replaced revisions a topic keeps for replay.
const SUPERSEDED_MAX: usize = 64;
/// So many open bars a symbol may always have: the one that ends, the one that begins, and a little ahead of our clock.
const OPEN_BARS_MIN: usize = 4;
/// No bar starts here.
const NO_START: UnixNanos = UnixNanos::MAX;

/// How many ticks ahead their memory is asked for.
const AHEAD: usize = 12;
/// How many ticks ahead those themselves are asked for: what a processor fetches ahead by itself ends with each page, of 64 ticks.
const FAR_AHEAD: usize = 40;

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

/// All bars of one shard's symbols.
pub struct Candles {
    options: CandleOptions,
    /// How many levels there are: the timeframes, and what daily bars are made from.
    levels: usize,
    /// How they lie in time: without a calendar, then under each.
    grids: Vec<Grid>,
    names: Option<SymbolTable>,
    /// What the market of each grid does, and when the first of them does something else.
    markets: Vec<MarketStatus>,
    markets_due: UnixNanos,
    /// Markets that have symbols which were of none before.
    regridded: Markets,
    /// Where the tick at hand came from.
    source: u8,
    /// Which trades move what, where sale conditions say.
    rules: Option<Rules>,
    /// The level that daily bars are made from, where those differ.
    daily_base: Option<usize>,
    /// Every trade moves everything of its bars, and its day by them.
    is_plain: bool,
    /// There are no bars but daily ones.
    only_daily: bool,
    /// By local number: what every trade touches, and the rest.
    hot: Vec<Hot>,
    symbols: Vec<SymbolState>,
    local: Vec<u32>,
    arena: Arena<Record, CHUNK>,
    log: TradeLog,
    timers: Timers,
    open_bars: usize,
    /// Since when the ticks of every symbol are missing; `MAX` where they are not.
    everyone_missing: UnixNanos,
    /// First halves of vendors' bars, at most one a source.
    halves: Vec<Tick>,
    audits: Audits,
    tallies: Tallies,
}

impl Candles {
    /// A shard without symbols.
    pub fn new(options: CandleOptions) -> Self {
        let timeframes = &options.timeframes;
        // Whoever made the options has checked that the timeframes nest; where they don't, no calendar is better than a wrong one.
        let plain = |_| vec![Grid::plain(timeframes); options.calendars.calendars().len() + 1];
        let mut grids = options.calendars.grids(timeframes).unwrap_or_else(plain);
        let conditions = options.conditions.as_ref().filter(|_| options.bars_from == BarsFrom::Trades);
        let differs = conditions.is_some_and(Conditions::has_daily);
        let only_daily = timeframes.get(0).is_some_and(|finest| finest.nanos() == Nanos::from_secs(86_400));
        let bases = grids.iter_mut().map(|grid| if differs { grid.split_daily() } else { None });
        // They are of the same timeframes: what one has, all have.
        let daily_base = bases.fold(None, |_, base| base);
        let levels = timeframes.len() + usize::from(daily_base.is_some());
        let rules = conditions.map(Rules::new);
        let mut arena = Arena::new(options.history_bytes_max);
        let mut log = TradeLog::new(options.trades_bytes_max, options.trades_per_symbol_max);
        if options.preallocate {
            arena.preallocate();
            log.preallocate();
        }
        Self {
            levels,
            grids,
            names: None,
            markets: Vec::new(),
            markets_due: UnixNanos::MIN,
            regridded: Markets::default(),
            source: 0,
            is_plain: options.bars_from == BarsFrom::Trades && rules.is_none() && daily_base.is_none(),
            rules,
            daily_base,
            only_daily,
            hot: Vec::new(),
            symbols: Vec::new(),
            local: Vec::new(),
            arena,
            log,
            timers: Timers::default(),
            open_bars: 0,
            everyone_missing: UnixNanos::MAX,
            halves: Vec::new(),
            audits: Audits::default(),
            tallies: Tallies::default(),
            options,
        }
    }

    /// Says where symbols' names are, for calendars that are chosen by name. Symbols seen before keep what they have.
    pub fn know_names(&mut self, names: SymbolTable) {
        self.names = Some(names);
    }

    /// How a symbol's bars lie in time.
    #[inline]
    fn grid(&self, symbol: u32) -> &Grid {
        &self.grids[usize::from(self.symbols[symbol as usize].grid)]
    }

    /// A symbol's calendar.
    pub fn calendar(&self, symbol: u32) -> Option<&Calendar> {
        self.grid(symbol).calendar().map(|calendar| &**calendar)
    }

    /// The calendar's number of a symbol, and whether it depends on where its ticks come from.
    fn choose_grid(&self, id: SymbolId, source: Option<u8>) -> (u8, bool) {
        let name = self.names.as_ref().and_then(|names| names.name(id));
        let name = name.as_ref().map_or(&b""[..], |name| name.as_bytes());
        match self.options.calendars.choose(name, source) {
            Choice::Calendar(number) => (number, false),
            Choice::BySource => (0, true),
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
        let mut missing = Missing::default();
        if self.options.joined_midway {
            missing.open(Opener::Joined, UnixNanos::MIN);
        }
        if self.everyone_missing != UnixNanos::MAX {
            missing.open(Opener::Everyone, self.everyone_missing);
        }
        let parents = self.all_parents();
        let (grid, grid_by_source) = self.choose_grid(id, None);
        self.hot.push(Hot::new());
        self.symbols.push(SymbolState {
            deadline: UnixNanos::MAX,
            parents_due: UnixNanos::MAX,
            idle_parents: parents,
            revisable: 0,
            id,
            missing,
            numbers: Numbers::default(),
            vendor: VendorState::new(),
            others: VecDeque::with_capacity(2),
            open_daily: VecDeque::with_capacity(if self.daily_base.is_some() { 2 } else { 0 }),
            pending: vec![Interval::NEVER; self.levels].into(),
            levels: (0..self.levels).map(|_| Level::new()).collect(),
            quote: None,
            day: Interval { start: UnixNanos::MIN, end: UnixNanos::MIN },
            today: Today::default(),
            grid,
            grid_by_source,
            filling: Filling::new(self.levels, self.options.fill.is_some()),
            halts: Halts::default(),
        });
        self.timers.add_symbol();
        local
    }

    /// Every level but the finest, bit by level.
    fn all_parents(&self) -> u64 {
        (u64::MAX >> (64 - self.options.timeframes.len())) & !1
    }

    /// Asks for the memory that ticks soon to come will touch, so that it is there by then. `next` are those after the one at hand.
    #[inline]
    pub fn foresee(&self, next: &[Tick]) {
        if let Some(far) = next.get(FAR_AHEAD) {
            prefetch(far);
        }
        let Some(tick) = next.get(AHEAD) else { return };
        if let Some(&local) = self.local.get(tick.symbol.index())
            && let Some(hot) = self.hot.get(local as usize)
        {
            prefetch_lines::<_, { HOT_LINES.start }, { HOT_LINES.end }>(hot);
        }
        self.log.foresee(tick);
    }

    /// Takes one tick of the symbol with this local number.
    #[inline(always)]
    pub fn apply(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Verdict {
        if self.take_usual(symbol, tick) { Verdict::Accepted } else { self.take(symbol, tick, when, sink) }
    }

    /// Takes a tick of any kind, the long way.
    #[inline(never)]
    fn take(&mut self, symbol: u32, tick: &Tick, when: When, sink: &mut impl Sink) -> Verdict {
        self.source = tick.source;
        if let Some(hot) = self.hot.get_mut(symbol as usize) {
            hot.move_on(UnixNanos::MIN);
        }
        let verdict = match tick.kind() {
            TickKind::Trade => self.trade(symbol, tick, BuiltBy::Trades, when, sink),
            TickKind::AggregatedTrade => self.trade(symbol, tick, BuiltBy::Aggregated, when, sink),
            TickKind::Quote => self.quote(symbol, tick, when, sink),
            TickKind::Cancel | TickKind::Correction => self.take_back(symbol, tick, sink),
            TickKind::Gap => self.gap(symbol, tick, sink),
            // Counted when both halves are there.
            TickKind::BarHead => return self.first_half(tick),
            TickKind::BarTail => return self.second_half(symbol, tick, when, sink),
            TickKind::Halt => {
                self.halt(symbol, tick, sink);
                Verdict::Accepted
            }
            TickKind::Watermark => Verdict::Refused(Refusal::Unsupported),
        };
        self.count(verdict, 1);
        verdict
    }

    #[inline]
    fn count(&mut self, verdict: Verdict, ticks: u64) {
        match verdict {
            Verdict::Accepted => self.tallies.accepted += ticks,
            Verdict::Refused(refusal) => self.tallies.refused[refusal as usize] += ticks,
        }
    }

    fn trade(
        &mut self,
        symbol: u32,
        tick: &Tick,
        kind: BuiltBy,
        when: When,
        sink: &mut impl Sink,
    ) -> Verdict {
        let kept = self.options.keep_trades.keeps(tick);
        if kept && tick.has_id() {
            if self.find_trade(symbol, tick) {
                return Verdict::Refused(Refusal::Duplicate);
            }
            if self.log.may_be_forgotten(&self.hot[symbol as usize].trades, tick) {
                self.flag_refused(symbol, tick.ts_event);
                return Verdict::Refused(Refusal::Unverifiable);
            }
        }
        let from_trades = self.options.bars_from == BarsFrom::Trades;
        let builds = from_trades
            && (self.hot[symbol as usize].built_by == kind || self.promote(symbol, kind, tick.ts_event));
        let mut leaves = Fields::NONE;
        if builds {
            let filled = if tick.is_contiguous() { self.number(symbol, tick, when, sink) } else { None };
            let rank = Rank { ts_event: tick.ts_event, sequence: tick.rank() };
            let (price, size, ts_recv) = (tick.price, tick.size, tick.ts_recv);
            let mut sample = Sample { rank, price, size, ts_recv, leaves, leaves_daily: Fields::NONE };
            if self.rules.is_some() {
                (sample.leaves, sample.leaves_daily) = self.judge(tick);
                leaves = sample.leaves;
            }
            let verdict = self.add(symbol, &sample, when, sink);
            if let Some(hole) = filled {
                self.settle_hole(symbol, hole, tick.ts_event, verdict, sink);
            }
            if verdict != Verdict::Accepted {
                return verdict;
            }
        } else if kind == BuiltBy::Aggregated {
            // It repeats trades that came one by one.
            return Verdict::Refused(Refusal::Outranked);
        } else {
            self.tallies.beside_bars += u64::from(from_trades);
            leaves = self.judge(tick).0;
        }
        if kept {
            self.keep(symbol, tick);
        } else {
            self.log.skip(&mut self.hot[symbol as usize].trades);
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        hot.source = tick.source;
        if !leaves.has(Fields::CLOSE) {
            hot.last = tick.price;
        }
        if tick.ts_event >= state.day.end {
            state.day = self.grids[usize::from(state.grid)].day(tick.ts_event);
            hot.day_volume = Volume(0);
        }
        if tick.ts_event >= state.day.start && !leaves.has(Fields::VOLUME) {
            hot.day_volume.0 += u128::from(tick.size.0);
        }
        self.expect_usual(symbol, tick);
        Verdict::Accepted
    }

    /// What a trade leaves alone by its conditions, in bars of less than a day and of a day. Codes that no table knows are counted.
    fn judge(&mut self, tick: &Tick) -> (Fields, Fields) {
        let Some(rules) = &self.rules else { return (Fields::NONE, Fields::NONE) };
        let leaves = rules.of(tick);
        self.tallies.unknown_conditions += u64::from(leaves.unknown);
        (if self.only_daily { leaves.daily } else { leaves.intraday }, leaves.daily)
    }

    #[inline]
    fn find_trade(&mut self, symbol: u32, tick: &Tick) -> bool {
        self.log.find(&mut self.hot[symbol as usize].trades, tick, tick.id()).is_some()
    }

    #[inline]
    fn keep(&mut self, symbol: u32, tick: &Tick) {
        if self.hot[symbol as usize].trades.is_chunk_full() {
            self.make_room_for_trades();
        }
        let trades = &mut self.hot[symbol as usize].trades;
        self.log.append(symbol, trades, tick);
        if self.log.exceeds(trades) {
            self.tallies.trades_evicted += self.log.evict(trades) as u64;
        }
    }

    /// Sees to it that there is a chunk for the next trade.
    #[inline(never)]
    fn make_room_for_trades(&mut self) {
        if self.log.is_exhausted() {
            while self.log.is_short() {
                let Some(owner) = self.log.oldest_owner() else { break };
                let gone = self.log.evict(&mut self.hot[owner as usize].trades);
                self.tallies.trades_evicted += gone as u64;
            }
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
            if self.hot[symbol as usize].built_by != BuiltBy::Quotes {
                self.promote(symbol, BuiltBy::Quotes, tick.ts_event);
            }
            let rank = Rank { ts_event: tick.ts_event, sequence: 0 };
            let (size, ts_recv, leaves) = (Size(0), tick.ts_recv, Fields::NONE);
            let sample = Sample { rank, price, size, ts_recv, leaves, leaves_daily: leaves };
            let verdict = self.add(symbol, &sample, when, sink);
            if verdict != Verdict::Accepted {
                return verdict;
            }
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
        hot.source = tick.source;
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
        let hot = &mut self.hot[symbol as usize];
        hot.move_on(ts);
        if ts >= hot.current.bar.start && ts < hot.current_end {
            hot.current.add(sample);
            if self.daily_base.is_some() {
                self.add_daily(symbol, sample);
            }
        } else {
            let verdict = self.add_elsewhere(symbol, sample, when, sink);
            if verdict != Verdict::Accepted {
                return verdict;
            }
        }
        self.close_by_event(symbol, sink);
        Verdict::Accepted
    }

    /// By the event clock: closes what is due by the symbol's newest tick.
    #[inline]
    pub(super) fn close_by_event(&mut self, symbol: u32, sink: &mut impl Sink) {
        if self.options.clock == BarClock::Event {
            let newest = self.hot[symbol as usize].newest();
            if newest >= self.symbols[symbol as usize].deadline {
                self.close_due(symbol, newest, sink);
            }
        }
    }

    /// The clock that closes a symbol's bars.
    fn clock_of(&self, symbol: u32, when: When) -> UnixNanos {
        match self.options.clock {
            BarClock::Live => when.feed_clock(),
            BarClock::Event => self.hot[symbol as usize].newest(),
        }
    }

    /// The first tick that makes a bar says which source it is, and so which calendar.
    #[cold]
    fn settle_grid(&mut self, symbol: u32) {
        let state = &self.symbols[symbol as usize];
        let (grid, _) = self.choose_grid(state.id, Some(self.source));
        let state = &mut self.symbols[symbol as usize];
        (state.grid, state.grid_by_source) = (grid, false);
        self.note_grid_change(grid);
    }

    #[inline(never)]
    fn add_elsewhere(&mut self, symbol: u32, sample: &Sample, when: When, sink: &mut impl Sink) -> Verdict {
        // All at once: most of it is touched, and would be waited for line by line.
        let state = &self.symbols[symbol as usize];
        prefetch_lines::<_, 0, { size_of::<SymbolState>().div_ceil(64) }>(state);
        prefetch_lines::<_, 0, { size_of::<Level>().div_ceil(64) }>(&state.levels[0]);
        if self.symbols[symbol as usize].grid_by_source {
            self.settle_grid(symbol);
        }
        if sample.rank.ts_event < self.symbols[symbol as usize].vendor.since {
            return Verdict::Refused(Refusal::Backfilled);
        }
        // What it closes by its time is closed before there is one more open bar.
        self.close_by_event(symbol, sink);
        let interval = self.grid(symbol).interval(0, sample.rank.ts_event);
        let start = interval.start;
        // An interval that is over without a trade is closed too, though nothing was published of it.
        let over = interval.end + self.options.grace;
        if over <= self.clock_of(symbol, when) {
            if start >= self.symbols[symbol as usize].levels[0].closed_to {
                self.close_due(symbol, over, sink);
            }
            return self.add_late(symbol, sample, when, sink);
        }
        let state = &mut self.symbols[symbol as usize];
        let hot = &mut self.hot[symbol as usize];
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
                record.flags = state.halts.flags(interval);
                is_new = true;
                record
            }
        };
        let previous = std::mem::replace(&mut hot.current, record);
        self.open_bars += usize::from(is_new);
        hot.current_end = interval.end;
        if previous.bar.start != NO_START {
            let at = state.others.partition_point(|record| record.bar.start < previous.bar.start);
            state.others.insert(at, previous);
        }
        let due = hot.current_end + self.options.grace;
        if due < state.deadline {
            state.deadline = due;
            self.schedule(symbol, when.offset);
        }
        if self.daily_base.is_some() {
            self.add_daily(symbol, sample);
        }
        Verdict::Accepted
    }

    /// Bytes allocated for bars and trades.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.log.bytes()
    }
}
