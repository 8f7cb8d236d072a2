//! One run: the whole engine on this thread, its feeds, its clients and a clock, all from one seed.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::ops::Range;

use tickwire::config::Config;
use tickwire::feed::{Origin, SourceOptions, dialect};
use tickwire::model::{Nanos, Price, Size, Symbol, Tick, Timeframes, TradeId, UnixNanos};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::transport::Network;
use tickwire::topology::{Engine, Outlet};

use crate::clients::{Client, Habit, INTERVAL_MS_MAX, Shared, Tamper, Way};
use crate::feeds::{Feed, Market, Meant};
use crate::model::{Model, Row, Rules};
use crate::random::Random;
use crate::text;

const START: i64 = 1_770_474_600_123_000_000;
const MS: i64 = 1_000_000;
const TRADES: u16 = 9_001;
const QUOTES: u16 = 9_002;
const CLIENTS: u16 = 80;
const LABELS: [&[&str]; 4] = [&["1s"], &["1s", "5s"], &["1s", "1m"], &["1s", "5s", "15s", "1m"]];

/// What the seed decides about the engine.
#[derive(Debug, Clone)]
pub struct Shape {
    labels: &'static [&'static str],
    symbols: usize,
    /// Every tick is taken at the moment it was sent, when all timers due are done: the model then knows each verdict. Otherwise
    /// time moves on over a busy engine, and what counts is learnt from a client that sees all trades.
    orderly: bool,
    /// Budgets of history and trades are so small that both forget. Never orderly.
    forgets: bool,
    stalls: bool,
    /// Clients ask for intervals and binary records.
    paced: bool,
    ticks: u64,
    tolerance: i64,
}

/// What became of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of all bytes that every client was sent.
    pub digest: u64,
    pub messages: u64,
    pub trades: u64,
    pub rings_broken: u64,
    pub told_of_loss: u64,
    pub recovered: u64,
    pub late: u64,
    pub taken_back: u64,
    pub checked_bars: u64,
    pub gathered: u64,
    pub binary: u64,
}

/// Faults put into a run to see that the checks find them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    pub tamper: Option<Tamper>,
    /// The model is not told of this trade.
    pub forgotten_trade: Option<u64>,
    /// No cancel and no correction reaches its shard.
    pub lost_cancels: bool,
}

struct World {
    shape: Shape,
    planted: Planted,
    random: Random,
    engine: Engine,
    clock: ManualClock,
    network: Network,
    /// Places of the gateways, behind the dealer's.
    gateways: Range<usize>,
    /// The gateway that stands still, if any does.
    stalled: usize,
    stalled_until: i64,
    trades: Feed,
    quotes: Feed,
    market: Market,
    model: Model,
    offered: u64,
    newest_quote: BTreeMap<&'static str, (i64, i64)>,
    latest_ts: i64,
    clients: Vec<Client>,
    shared: Shared,
    reports: HashMap<(String, String), u64>,
    checked_bars: u64,
    finishing: bool,
    /// All intervals of clients have ended, with nothing new.
    rested: bool,
}

fn config(random: &mut Random) -> (Config, Shape) {
    let mut config = Config::from_environment(|_| None).expect("the defaults are good");
    let labels = random.pick(&LABELS);
    let orderly = !random.one_in(3);
    let forgets = !orderly && random.one_in(2);
    config.symbols_max = 64;
    config.layout.shards = 1 + random.below(3) as usize;
    config.layout.gateways = 1 + random.below(3) as usize;
    config.layout.ticks_depth = random.pick(&[2, 3, 16, 1_024]);
    config.layout.events_depth = random.pick(&[128, 128, 256, 4_096]);
    config.layout.interests_depth = random.pick(&[2, 3, 64]);
    config.layout.facts_waiting_max = random.pick(&[1, 4, 64, 65_536]);
    config.layout.facts_deadline = Nanos::from_millis(random.pick(&[50, 300, 1_000]));
    config.candles.timeframes = Timeframes::parse(&labels.join(",")).expect("constants");
    config.candles.late_tolerance = Nanos::from_secs(random.pick(&[2, 15]));
    config.feed_offset_max = if orderly { Nanos::ZERO } else { Nanos::from_secs(5) };
    let shards = config.layout.shards;
    (config.candles.history_bytes_max, config.candles.trades_bytes_max) = if forgets {
        (shards << random.pick(&[11, 13, 14]), shards << random.pick(&[12, 14]))
    } else {
        (4 << 20, 4 << 20)
    };
    config.gateway.listen = ([127, 0, 0, 1], CLIENTS).into();
    config.gateway.events_per_turn = random.pick(&[1, 7, 4_096]);
    config.gateway.outbox_facts_bytes_max = random.pick(&[1 << 20, 1 << 20, 16 << 10]);
    config.gateway.referred_bytes_min = random.pick(&[1, 500, 8 << 10]);
    config.gateway.accepts_per_turn = random.pick(&[1, 64]);
    let csv = dialect::find("csv").expect("a row of the table");
    config.sources = [("trades", TRADES), ("quotes", QUOTES)]
        .map(|(name, port)| SourceOptions::new(name, Origin::Tcp(([127, 0, 0, 1], port).into()), csv))
        .into();
    let shape = Shape {
        labels,
        symbols: 2 + random.below(3) as usize,
        orderly,
        forgets,
        stalls: !random.one_in(3),
        paced: random.one_in(2),
        ticks: 200 + random.below(200),
        tolerance: config.candles.late_tolerance.0,
    };
    // A steady client can be too slow for 16 KiB while the gateway stands still, and so much may gather in an interval.
    if shape.stalls || forgets || shape.paced {
        config.gateway.outbox_facts_bytes_max = 1 << 20;
    }
    (config, shape)
}

/// Runs one seed to its end.
pub fn run(seed: u64, planted: Planted) -> Result<Outcome, String> {
    let mut random = Random::new(seed);
    let (config, shape) = config(&mut random);
    let described = format!("{shape:?}, {:?}", config.layout);
    let mut world = World::new(config, shape, random, planted);
    world.play().map_err(|problem| format!("{problem}\n  {described}"))
}

impl World {
    fn new(config: Config, shape: Shape, mut random: Random, planted: Planted) -> Self {
        let clock = ManualClock::at(UnixNanos(START));
        let network = Network::default();
        let first = config.layout.shards + 2;
        let gateways = first..first + config.layout.gateways;
        let rules = Rules { finest: 1_000 * MS, grace: config.candles.grace.0, tolerance: shape.tolerance };
        let clocks = clock.clone();
        let engine = Engine::inline(
            config,
            Outlet::Gateway,
            None,
            "e1".to_owned(),
            &move || Clock::Manual(clocks.clone()),
            network.clone(),
        );
        let mut clients = vec![Client::new(0, Habit::Steady)];
        for name in 1..2 + random.below(5) as usize {
            let habit = random.pick(&[Habit::Steady, Habit::Slow, Habit::Flighty, Habit::Flighty]);
            clients.push(Client::new(name, habit));
        }
        Self {
            planted,
            engine: engine.expect("a good configuration on an empty network"),
            clock,
            network,
            stalled: gateways.start,
            gateways,
            stalled_until: 0,
            trades: Feed::new(TRADES, "symbol,timestamp_ms,price,size,trade_id"),
            quotes: Feed::new(QUOTES, "symbol,timestamp_ms,bid,ask"),
            market: Market::new(shape.symbols),
            model: Model::new(rules),
            offered: 0,
            newest_quote: BTreeMap::new(),
            latest_ts: START,
            clients,
            shared: Shared { forgets: shape.forgets, tamper: planted.tamper, ..Shared::default() },
            reports: HashMap::new(),
            checked_bars: 0,
            finishing: false,
            rested: false,
            random,
            shape,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    fn turn(&mut self, settling: bool) -> bool {
        let core = &mut self.engine.cores[0];
        let stalled = self.stalled_until > self.clock.now().0;
        let gateway = self.stalled;
        // Without order any stage may be the one that is late.
        let late = if self.shape.orderly { 0 } else { self.random.below(1 << self.gateways.end) };
        let late = if settling { 0 } else { late };
        let more = core.turn_some(|place| late & 1 << place == 0 && !(stalled && place == gateway));
        for report in self.engine.reports.try_iter() {
            for (name, value) in report.counters {
                self.reports.insert((report.stage.clone(), name.into_owned()), value);
            }
        }
        more
    }

    /// Turns until the stages that are not stalled have nothing left to do, steady clients reading along.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..20_000 {
            let more = self.turn(true);
            let mut read = false;
            for client in self.clients.iter_mut().filter(|client| client.habit != Habit::Slow) {
                read |= client.read(usize::MAX, &mut self.shared)?;
            }
            if !more && !read {
                return Ok(());
            }
        }
        Err("the engine never comes to rest".to_owned())
    }

    fn play(&mut self) -> Result<Outcome, String> {
        self.begin()?;
        let mut sent = 0;
        while sent < self.shape.ticks {
            self.act()?;
            sent += self.publish()?;
            self.advance()?;
            if self.random.one_in(16) {
                self.check_states()?;
            }
        }
        self.finish()
    }

    /// The client that sees everything joins before the first tick.
    fn begin(&mut self) -> Result<(), String> {
        let capacity = self.random.pick(&[64, 1_000, 1 << 20]);
        self.trades.connect(&self.network, capacity);
        self.quotes.connect(&self.network, 1 << 20);
        self.clients[0].connect(&self.network, CLIENTS, &mut self.random);
        self.settle()?;
        let labels = self.shape.labels;
        self.clients[0].subscribe("trades", &["*"], &[], (true, false), Way::default());
        self.clients[0].subscribe("bars", &["*"], labels, (true, false), Way::default());
        self.clients[0].subscribe("quotes", &["*"], &[], (true, false), Way::default());
        self.settle()
    }

    /// Clients do what clients do.
    fn act(&mut self) -> Result<(), String> {
        for at in 1..self.clients.len() {
            let random = &mut self.random;
            let client = &mut self.clients[at];
            if client.connection.is_none() {
                if random.one_in(6) {
                    client.connect(&self.network, CLIENTS, random);
                }
                continue;
            }
            if client.habit == Habit::Slow && random.one_in(6) {
                client.read(1 + random.below(700) as usize, &mut self.shared)?;
            }
            if client.habit == Habit::Flighty && random.one_in(40) {
                let reset = random.one_in(2);
                client.vanish(reset);
                continue;
            }
            // A second request before the first is answered, now and then.
            if random.one_in(if client.is_idle() { 8 } else { 40 }) {
                self.request(at);
            }
        }
        if self.shape.stalls && self.random.one_in(25) && self.stalled_until <= self.now() {
            self.stalled_until = self.now() + self.random.below(6_000) as i64 * MS;
            self.stalled = self.gateways.start + self.random.below(self.gateways.len() as u64) as usize;
        }
        Ok(())
    }

    fn request(&mut self, at: usize) {
        let random = &mut self.random;
        let client = &mut self.clients[at];
        if random.one_in(5) {
            return client.unsubscribe(random);
        }
        let all = self.market.symbols;
        let first = random.below(all.len() as u64) as usize;
        let some = &all[first..=first + random.below((all.len() - first) as u64) as usize];
        let symbols = if random.one_in(5) { &["*"][..] } else { some };
        let labels = self.shape.labels;
        let from = random.below(labels.len() as u64) as usize;
        let channel = random.pick(&["bars", "bars", "bars", "trades", "trades", "quotes"]);
        let (forming, recover) = (!random.one_in(3), !random.one_in(4));
        let way = if self.shape.paced { Way::any(random) } else { Way::default() };
        client.subscribe(channel, symbols, &labels[from..], (forming, recover), way);
    }

    fn publish(&mut self) -> Result<u64, String> {
        let now = self.now();
        // A burst in a stall is what breaks a ring.
        let bursts = if self.stalled_until > now { 3 } else { 12 };
        let n = if self.random.one_in(bursts) { 40 } else { self.random.below(5) };
        let mut made = 0;
        for _ in 0..n {
            match self.random.below(10) {
                0 => self.trades.nonsense(now, &mut self.random),
                1 | 2 => {
                    let symbol = self.random.pick(self.market.symbols);
                    let bid = 10_000_000 * (1 + self.random.below(1_000) as i64);
                    self.quotes.quote(symbol, now, bid, bid + 10_000_000);
                }
                _ => {
                    let row = self.market.next(now, &mut self.random);
                    self.trades.trade(&row);
                    made += 1;
                }
            }
        }
        self.deliver(false)?;
        if self.shape.orderly && self.random.one_in(6) {
            self.take_back()?;
        }
        if self.random.one_in(50) {
            self.deliver(true)?;
            self.trades.disconnect();
            self.settle()?;
            let capacity = self.random.pick(&[64, 1_000, 1 << 20]);
            self.trades.connect(&self.network, capacity);
        }
        Ok(made)
    }

    /// Cancels or corrects a trade. No feed dialect can say so yet, so these ticks go straight to their shard.
    fn take_back(&mut self) -> Result<(), String> {
        let name = self.random.pick(self.market.symbols);
        let Some(old) = self.model.takeable(name, self.random.below(1 << 20)).cloned() else { return Ok(()) };
        let symbol = Symbol::new(name.as_bytes()).expect("a constant");
        let id = self.engine.symbols.find(&symbol).ok_or("a symbol with trades is not in the table")?;
        let to = (10_000_000 * (1 + self.random.below(40_000) as i64), 25_000_000 * self.random.below(9));
        let to = Some(to).filter(|_| self.random.one_in(2));
        let (at, now, trade) = (UnixNanos(old.ts), self.clock.now(), TradeId::from_u64(old.id));
        let tick = match to {
            Some((price, size)) => Tick::correction(id, at, now, trade, 0, (Price(price), Size(size))),
            None => Tick::cancel(id, at, now, trade),
        };
        let shard = symbol.shard(self.engine.inlets.len());
        if !self.planted.lost_cancels {
            self.engine.inlets[shard].push(tick).map_err(|_| "an inlet is full")?;
        }
        self.model.take_back(&old, to);
        self.settle()
    }

    /// Writes what the feeds have, cut anywhere. What ends in the middle of a line stays for later, unless `all` is asked.
    fn deliver(&mut self, all: bool) -> Result<(), String> {
        let mut done = Vec::new();
        for _ in 0..1_000_000 {
            let most = 1 + self.random.below(400) as usize;
            let written = self.trades.write(most, &mut done) + self.quotes.write(most, &mut done);
            for meant in std::mem::take(&mut done) {
                self.offer(meant);
            }
            let over = self.trades.is_written() && self.quotes.is_written();
            if over || (!all && self.random.one_in(5)) {
                break;
            }
            // Between two writes anything from nothing to a rest.
            if written == 0 || self.random.one_in(3) {
                self.settle()?;
            } else if self.random.one_in(2) {
                self.turn(false);
            }
        }
        if self.shape.orderly || all { self.settle() } else { Ok(()) }
    }

    fn offer(&mut self, meant: Meant) {
        let now = self.now();
        match meant {
            Meant::Trade(row) => {
                self.latest_ts = self.latest_ts.max(row.ts);
                self.offered += 1;
                if self.shape.orderly && self.planted.forgotten_trade != Some(self.offered) {
                    self.model.trade(&row, now);
                }
            }
            Meant::Quote { symbol, bid, ask } => {
                self.newest_quote.insert(symbol, (bid, ask));
            }
            Meant::Header | Meant::Bad(_) => {}
        }
    }

    fn advance(&mut self) -> Result<(), String> {
        let step = match self.random.below(8) {
            0 => 0,
            1 => self.random.below(3_000) as i64 * MS,
            _ => self.random.below(400) as i64 * MS,
        };
        self.pass(step)?;
        if !self.shape.orderly {
            for _ in 0..self.random.below(4) {
                self.turn(false);
            }
        }
        Ok(())
    }

    /// Lets time pass, from deadline to deadline.
    fn pass(&mut self, span: i64) -> Result<(), String> {
        let end = self.now() + span;
        loop {
            let due = self.engine.cores[0].deadline().map_or(end, |at| at.0);
            let next = due.min(end).max(self.now());
            // A deadline of the stalled gateway stays where it is.
            let next = if next == self.now() { end.min(next + 100 * MS) } else { next };
            self.clock.set(UnixNanos(next));
            if self.shape.orderly || self.random.one_in(2) {
                self.settle()?;
            } else {
                self.turn(false);
            }
            if next >= end {
                return Ok(());
            }
        }
    }

    /// After a rest the states that a quick client holds are those of the model.
    fn check_states(&mut self) -> Result<(), String> {
        if !self.shape.orderly || self.stalled_until > self.now() {
            return Ok(());
        }
        self.settle()?;
        let paced = self.clients.iter().any(|client| client.connection.as_ref().is_some_and(|c| c.paced));
        self.rested = paced && (self.finishing || self.random.one_in(2));
        if self.rested {
            // Nothing happens for so long that every interval ends.
            self.pass(INTERVAL_MS_MAX as i64 * MS)?;
            if self.finishing { self.read_all()? } else { self.settle()? }
        }
        (0..self.clients.len()).try_for_each(|at| self.check_states_of(at))
    }

    fn check_states_of(&mut self, at: usize) -> Result<(), String> {
        let client = &self.clients[at];
        let Some(connection) = client.connection.as_ref().filter(|_| client.is_idle()) else { return Ok(()) };
        if client.habit == Habit::Slow && !self.finishing {
            return Ok(());
        }
        if connection.paced && !self.rested {
            return Ok(());
        }
        let now = self.now();
        for symbol in self.model.symbols() {
            let Some(open) = self.model.forming(symbol, now) else { continue };
            for label in self.shape.labels {
                let topic = format!("bars/{symbol}/{label}");
                let len = nanos(label);
                let start = open.div_euclid(len) * len;
                if !connection.wants_states(&topic) {
                    continue;
                }
                let Some((held, data)) = connection.topics.get(&topic).and_then(|s| s.forming.clone()) else {
                    return Err(format!("client {at}: no bar of {topic} forms, and {start} should"));
                };
                let want = self.model.bars(symbol, len).remove(&start);
                if held != start / 1_000 || text::bar(&data).ok() != want {
                    return Err(format!("client {at}: {topic} forms {data}; should be {start}: {want:?}"));
                }
                self.checked_bars += 1;
            }
        }
        for (symbol, want) in &self.newest_quote {
            let topic = format!("quotes/{symbol}");
            if !connection.wants_states(&topic) {
                continue;
            }
            let held = connection.topics.get(&topic).and_then(|s| s.quote.as_deref());
            let side = |name| text::field(held.unwrap_or(""), name).and_then(|text| text::units(text, 9));
            if (side("bid"), side("ask")) != (Some(i128::from(want.0)), Some(i128::from(want.1))) {
                return Err(format!(
                    "client {at}: the quote of {symbol} is {held:?}, and should be {want:?}"
                ));
            }
            let last = self.model.last_price(symbol).map(i128::from);
            if side("last") != last {
                return Err(format!(
                    "client {at}: the last price of {symbol} is {held:?}, and should be {last:?}"
                ));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Outcome, String> {
        self.stalled_until = 0;
        self.deliver(true)?;
        for client in &mut self.clients {
            client.catch_up();
            if client.habit == Habit::Slow && client.connection.is_some() {
                // It may still hear that it was too slow; from here on it is not.
                client.read(usize::MAX, &mut self.shared)?;
            }
        }
        self.read_all()?;
        self.finishing = true;
        self.check_states()?;
        let longest = self.shape.labels.iter().map(|label| nanos(label)).max().unwrap_or(0);
        let end = self.latest_ts.max(self.now()) + longest + 12_000 * MS;
        while self.now() < end {
            self.pass(5_000 * MS)?;
            self.read_all()?;
        }
        self.settle()?;
        self.read_all()?;
        self.check_ledger()?;
        self.check_clients()?;
        self.stop()?;
        let mut digest = std::hash::DefaultHasher::new();
        self.clients.iter().for_each(|client| digest.write_u64(client.digest.finish()));
        Ok(Outcome {
            digest: digest.finish(),
            messages: self.shared.messages,
            trades: self.model.counts.accepted,
            rings_broken: self.total("rings_broken"),
            told_of_loss: self.shared.told_of_loss,
            recovered: self.shared.recovered,
            late: self.total("late"),
            taken_back: self.model.counts.taken_back,
            checked_bars: self.checked_bars,
            gathered: self.shared.gathered,
            binary: self.shared.binary,
        })
    }

    fn read_all(&mut self) -> Result<(), String> {
        for _ in 0..10_000 {
            let mut read = false;
            for client in &mut self.clients {
                read |= client.read(usize::MAX, &mut self.shared)?;
            }
            if !self.turn(true) && !read {
                return Ok(());
            }
        }
        Err("clients are never done reading".to_owned())
    }

    /// A counter summed over all stages.
    fn total(&self, name: &str) -> u64 {
        self.reports.iter().filter(|((_, counter), _)| counter == name).map(|(_, value)| value).sum()
    }

    fn check_ledger(&mut self) -> Result<(), String> {
        let same = |what: &str, a: u64, b: u64| {
            if a == b { Ok(()) } else { Err(format!("{what}: {a} is not {b}")) }
        };
        let of = |world: &Self, name: String| world.total(&name);
        let mut accepted = 0;
        for (name, feed) in [("trades", &self.trades), ("quotes", &self.quotes)] {
            let count = |what: &str| of(self, format!("feed.{name}.{what}"));
            same(&format!("records of {name}"), count("records"), feed.records)?;
            let bad = feed.bad.values().sum::<u64>();
            same(&format!("accepted {name}"), count("accepted"), feed.records - bad)?;
            for (reason, &n) in &feed.bad {
                same(reason, count(&format!("rejected.{reason}")), n)?;
            }
            same("verdicts", count("records"), count("accepted") + count("rejected") + count("skipped"))?;
            accepted += count("accepted");
        }
        let sent = self.total("ingest.sent");
        same("ticks sent", sent + self.total("ingest.quotes_conflated"), accepted)?;
        same("ticks in", self.total("ticks_in"), sent + self.model.counts.taken_back)?;
        let refusals = tickwire::shard::Refusal::NAMES;
        let refused: u64 = refusals
            .iter()
            .flat_map(|&reason| {
                self.reports.iter().filter(move |((s, n), _)| s.starts_with("shard") && n == reason)
            })
            .map(|(_, value)| value)
            .sum();
        let shards = |name: &str| {
            let own = self.reports.iter().filter(|((s, n), _)| s.starts_with("shard") && n == name);
            own.map(|(_, value)| value).sum::<u64>()
        };
        same("verdicts of shards", shards("ticks_in"), shards("accepted") + refused + shards("marks"))?;
        if self.shape.orderly {
            let quotes = self.quotes.records - self.total("ingest.quotes_conflated");
            let counts = &self.model.counts;
            same("ticks that count", shards("accepted"), counts.accepted + counts.taken_back + quotes)?;
            same("duplicates", shards("duplicate"), self.model.counts.duplicate)?;
            same("too late", shards("too_late"), self.model.counts.too_late)?;
        }
        // A shard says what it lost: a gateway that finds a loss by itself was sent too little.
        same("silent losses", self.total("gaps"), 0)?;
        same("facts sent twice", self.total("duplicates"), 0)?;
        if self.shared.told_of_loss > 0 && self.total("rings_broken") == 0 {
            return Err("clients were told of a loss, and no ring broke".to_owned());
        }
        Ok(())
    }

    /// What every client holds is what the model says; the one that saw everything holds all of it.
    fn check_clients(&mut self) -> Result<(), String> {
        let complete = self.clients[0].connection.is_some() && self.clients[0].closes.is_empty();
        if !self.shape.orderly {
            if !complete {
                return Ok(());
            }
            self.learn_from_trades()?;
        }
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            let Some(connection) = client.connection.as_ref() else { continue };
            for (topic, stand) in &connection.topics {
                let failed = |problem: String| Err(format!("client {at}, {topic}: {problem}"));
                if !stand.is_whole() {
                    return failed("a recovery that was promised never ended".to_owned());
                }
                let parts: Vec<&str> = topic.split('/').collect();
                let &[_, symbol, label] = &parts[..] else { continue };
                let want = self.model.bars(symbol, nanos(label));
                for (start, (_, data)) in &stand.bars {
                    self.checked_bars += 1;
                    let (held, want) = (text::bar(data)?, want.get(&(start * 1_000)));
                    if Some(&held) != want {
                        return failed(format!("holds {data}, and should hold {want:?}"));
                    }
                }
                if let Some((start, data)) = &stand.forming {
                    return failed(format!("{start} still forms: {data}"));
                }
                let last = self.last_fact(topic);
                if stand.at.is_some_and(|at| at != last) {
                    return failed(format!("stands at {:?} of {last}", stand.at));
                }
                if at == 0 && stand.bars.len() != want.len() {
                    return failed(format!("holds {} bars of {}", stand.bars.len(), want.len()));
                }
            }
            if at == 0 && complete {
                for symbol in self.model.symbols() {
                    let trades = connection.topics.get(&format!("trades/{symbol}")).and_then(|s| s.at);
                    if trades != Some(self.model.trades(symbol)) {
                        return Err(format!("client 0 has {trades:?} trades of {symbol}"));
                    }
                    for label in self.shape.labels {
                        if !connection.topics.contains_key(&format!("bars/{symbol}/{label}")) {
                            return Err(format!("client 0 knows nothing of {symbol}/{label}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn last_fact(&self, topic: &str) -> u64 {
        self.shared.last.get(topic).copied().unwrap_or(0)
    }

    /// In a run without order the trades that the complete client was sent are those that count.
    fn learn_from_trades(&mut self) -> Result<(), String> {
        for symbol in self.market.symbols {
            let topic = format!("trades/{symbol}");
            for sequence in 1..=self.last_fact(&topic) {
                let data = &self.shared.facts[&(topic.clone(), sequence)];
                let read = |name: &str, places| {
                    let value = text::field(data, name).and_then(|text| text::units(text, places));
                    value.ok_or_else(|| format!("no {name} in {data}"))
                };
                let row = Row {
                    symbol,
                    ts: read("timestamp", 3)? as i64,
                    price: read("price", 9)? as i64,
                    size: read("size", 8)? as u64,
                    id: 0,
                };
                self.model.count(row);
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), String> {
        self.shared.stopping = true;
        if self.random.one_in(2) {
            // Clients are seen off first.
            let now = self.clock.now();
            self.engine.cores[0].begin_drain(now);
            for _ in 0..12 {
                self.pass(100 * MS)?;
                self.read_all()?;
            }
            let gateways = self.gateways.len() + 1;
            if self.engine.cores[0].live_stages() + gateways != self.gateways.end {
                return Err("a drained gateway does not end".to_owned());
            }
        }
        let now = self.clock.now();
        self.engine.inlets.clear();
        self.engine.cores[0].begin_stop(now);
        for _ in 0..60 {
            self.pass(100 * MS)?;
            self.read_all()?;
        }
        match self.engine.cores[0].live_stages() {
            0 => Ok(()),
            left => Err(format!("{left} stages do not end")),
        }
    }
}

fn nanos(label: &str) -> i64 {
    let (number, unit) = label.split_at(label.len() - 1);
    let second = 1_000 * MS;
    number.parse::<i64>().unwrap_or(1) * if unit == "m" { 60 * second } else { second }
}
