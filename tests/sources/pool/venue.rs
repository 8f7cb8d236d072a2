//! A venue that speaks Massive's side, some pools that are its clients, and the wire between them, all in one thread: time is whole
//! milliseconds of a manual clock, every message takes its connection's latency, and whatever goes wrong is scripted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use tickwire::feed::coverage::Coverage;
use tickwire::feed::{
    self, Context, Endpoint, FeedCommand, Loss, Order, Pool, PoolOptions, Tallies, session,
};
use tickwire::model::{Nanos, Symbol, SymbolCache, SymbolTable, Tick, TickKind, UnixNanos};

use super::random::Random;

/// The day all of it happens: past 2000, so that times are believed.
pub const START_MS: i64 = 1_700_000_000_000;

pub fn at(ms: i64) -> UnixNanos {
    UnixNanos::from_millis(START_MS + ms).unwrap()
}

pub fn symbols(n: usize) -> Vec<Symbol> {
    (0..n).map(|i| Symbol::new(format!("S{i}").as_bytes()).unwrap()).collect()
}

pub fn endpoint() -> Endpoint {
    Endpoint {
        tls: true,
        host: "venue.test".to_owned(),
        port: 443,
        path_and_query: "/stocks".to_owned(),
        headers: Vec::new(),
        ca_file: None,
    }
}

/// A pool of Massive's with `members` that share `symbols`.
pub fn options(name: &str, members: usize, symbols: Vec<Symbol>) -> PoolOptions {
    let dialect = feed::find("massive").unwrap();
    let mut options = PoolOptions::new(name, dialect, session::find("massive").unwrap(), endpoint(), symbols);
    let first = options.members.remove(0);
    for slot in 0..members {
        let mut member = first.clone();
        member.name = format!("m{slot}");
        member.share = (slot, members);
        options.members.push(member);
    }
    options
}

/// What the venue does with a connection that asks to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    Refuse,
    /// Says nothing at all.
    Silent,
    Http(u16),
    /// Opens and resets at once.
    Slam,
}

#[derive(Debug)]
enum Happening {
    Opened,
    ToVenue(Vec<u8>),
    PingToVenue,
    ToPool(Vec<u8>),
    PongToPool,
    Lost(Loss),
}

/// One connection as the venue sees it.
#[derive(Debug)]
pub struct Wire {
    pub line: usize,
    pub slot: usize,
    pub latency: i64,
    pub opened: Option<i64>,
    pub authorized: Option<i64>,
    pub subscribed: BTreeSet<String>,
    /// Nothing passes any more, and nobody was told.
    pub stalled: bool,
    /// Both sides know that it is over.
    pub over: bool,
}

pub struct World {
    pub now: i64,
    pub random: Random,
    pub pools: Vec<Pool>,
    pub coverage: Coverage,
    pub tallies: Vec<Tallies>,
    pub names: SymbolCache,
    /// Every connection there ever was; its number is its place.
    pub wires: Vec<Wire>,
    /// The newest connection of each (line, slot).
    pub current: BTreeMap<(usize, usize), usize>,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    queue: BTreeMap<(i64, u64), (usize, Happening)>,
    sequence: u64,
    pub door: Door,
    /// How the venue answers keys and subscriptions.
    pub key_is_good: bool,
    pub answers_subscriptions: bool,
    /// Connections the account may have; the oldest is put out for one too many.
    pub places: usize,
    /// When each pool was told of each order, in order.
    pub log: Vec<(i64, usize, Order)>,
    pub ticks: Vec<Tick>,
    /// Trades the venue made: symbol, time, number. And the numbers that arrived.
    pub made: Vec<(usize, i64, u64)>,
    pub arrived: BTreeSet<u64>,
    trades: u64,
}

impl World {
    pub fn new(seed: u64, pools: Vec<PoolOptions>) -> Self {
        let tallies = pools.iter().map(|options| Tallies::new(&options.name)).collect();
        let pools = pools.into_iter().enumerate().map(|(n, it)| Pool::new(it, seed ^ n as u64)).collect();
        Self {
            now: 0,
            random: Random::new(seed),
            pools,
            coverage: Coverage::default(),
            tallies,
            names: SymbolCache::new(SymbolTable::new(1 << 16)),
            wires: Vec::new(),
            current: BTreeMap::new(),
            events: BinaryHeap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            door: Door::Open,
            key_is_good: true,
            answers_subscriptions: true,
            places: usize::MAX,
            log: Vec::new(),
            ticks: Vec::new(),
            made: Vec::new(),
            arrived: BTreeSet::new(),
            trades: 0,
        }
    }

    fn post(&mut self, wire: usize, delay: i64, what: Happening) {
        let key = (self.now + delay, self.sequence);
        self.sequence += 1;
        self.events.push(Reverse(key));
        self.queue.insert(key, (wire, what));
    }

    /// Calls a pool with everything it needs.
    fn with<R>(
        &mut self,
        line: usize,
        call: impl FnOnce(&mut Pool, &mut Context<'_>, &mut Coverage, &mut Vec<Tick>) -> R,
    ) -> R {
        let Self { pools, coverage, tallies, names, ticks, now, .. } = self;
        let (now, recorded) = (at(*now), false);
        let tallies = &mut tallies[line];
        let mut cx = Context { now, source: line as u8, recorded, symbols: names, tallies };
        let before = ticks.len();
        let result = call(&mut pools[line], &mut cx, coverage, ticks);
        for tick in &ticks[before..] {
            if tick.kind() == TickKind::Trade {
                self.arrived.insert(tick.id().bits as u64);
            }
        }
        result
    }

    /// Lets one pool look at the clock, and nothing else happen.
    pub fn tick(&mut self, line: usize) {
        self.with(line, |pool, cx, coverage, out| pool.on_time(cx, coverage, out));
    }

    pub fn command(&mut self, line: usize, command: FeedCommand) {
        self.with(line, |pool, cx, coverage, out| pool.command(command, cx, coverage, out));
        self.pump();
    }

    /// Lets every pool say what it wants, until none wants anything more at this moment.
    fn pump(&mut self) {
        let now = at(self.now);
        for line in 0..self.pools.len() {
            for round in 0.. {
                assert!(round < 1_000, "a pool that always has something to do never lets its core rest");
                if self.pools[line].deadline().is_some_and(|due| due <= now) {
                    self.with(line, |pool, cx, coverage, out| pool.on_time(cx, coverage, out));
                }
                let mut quiet = true;
                while let Some(order) = self.pools[line].next_order(now) {
                    quiet = false;
                    self.log.push((self.now, line, order.clone()));
                    self.obey(line, order);
                }
                if quiet && self.pools[line].deadline().is_none_or(|due| due > now) {
                    break;
                }
            }
        }
        self.coverage.on_time(now);
    }

    fn obey(&mut self, line: usize, order: Order) {
        match order {
            Order::Connect { slot } => {
                let latency = 1 + self.random.below(20) as i64;
                let wire = self.wires.len();
                self.wires.push(Wire {
                    line,
                    slot,
                    latency,
                    opened: None,
                    authorized: None,
                    subscribed: BTreeSet::new(),
                    stalled: false,
                    over: false,
                });
                let old = self.current.insert((line, slot), wire);
                assert!(old.is_none_or(|old| self.wires[old].over), "a second connection of one member");
                match self.door {
                    Door::Open => self.post(wire, 3 * latency, Happening::Opened),
                    Door::Refuse => self.post(wire, 2 * latency, Happening::Lost(Loss::Refused)),
                    Door::Silent => {}
                    Door::Http(status) => {
                        let loss = Loss::Http { status, retry_after: None };
                        self.post(wire, 3 * latency, Happening::Lost(loss));
                    }
                    Door::Slam => {
                        self.post(wire, 3 * latency, Happening::Opened);
                        self.post(wire, 3 * latency + 1, Happening::Lost(Loss::Reset));
                    }
                }
            }
            Order::Send { slot, text } => {
                let wire = self.current[&(line, slot)];
                self.post(wire, self.wires[wire].latency, Happening::ToVenue(text));
            }
            Order::Ping { slot } => {
                let wire = self.current[&(line, slot)];
                self.post(wire, self.wires[wire].latency, Happening::PingToVenue);
            }
            Order::Close { slot, code, reason } => {
                let wire = self.current[&(line, slot)];
                let loss = Loss::Closed { code: Some(code), reason: reason.to_owned() };
                // The venue hears of it; a dead wire is given up by the driver.
                self.wires[wire].subscribed.clear();
                self.wires[wire].authorized = None;
                self.wires[wire].stalled = true;
                self.post(wire, 2 * self.wires[wire].latency, Happening::Lost(loss));
            }
        }
    }

    /// Lets time pass until `until`.
    pub fn run(&mut self, until: i64) {
        self.pump();
        loop {
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let due = self.pools.iter().filter_map(Pool::deadline).min();
            let due =
                due.map(|due| due.0.div_euclid(1_000_000) - START_MS + i64::from(due.0 % 1_000_000 != 0));
            let next = event.into_iter().chain(due).min().unwrap_or(until).max(self.now);
            if next > until {
                break;
            }
            self.now = next;
            while let Some(&Reverse(key)) = self.events.peek()
                && key.0 <= self.now
            {
                self.events.pop();
                let (wire, what) = self.queue.remove(&key).unwrap();
                self.happen(wire, what);
                self.pump();
            }
            self.pump();
        }
        self.now = until;
        self.pump();
    }

    fn happen(&mut self, wire: usize, what: Happening) {
        let Wire { line, slot, stalled, over, .. } = self.wires[wire];
        if over {
            return;
        }
        let now = at(self.now);
        match what {
            Happening::Lost(loss) => {
                self.wires[wire].over = true;
                self.with(line, |pool, cx, coverage, out| pool.lost(slot, &loss, cx, coverage, out));
            }
            _ if stalled => {}
            Happening::Opened => {
                self.wires[wire].opened = Some(self.now);
                self.pools[line].opened(slot, now);
                self.say(wire, status("connected", "Connected Successfully"));
            }
            Happening::ToVenue(text) => self.hear(wire, &text),
            Happening::PingToVenue => self.post(wire, self.wires[wire].latency, Happening::PongToPool),
            Happening::PongToPool => self.pools[line].heard(slot, now),
            Happening::ToPool(mut text) => {
                self.with(line, |pool, cx, coverage, out| pool.message(slot, &mut text, cx, coverage, out));
            }
        }
    }

    pub fn say(&mut self, wire: usize, text: String) {
        self.post(wire, self.wires[wire].latency, Happening::ToPool(text.into_bytes()));
    }

    fn hear(&mut self, wire: usize, text: &[u8]) {
        let message: serde_json::Value = serde_json::from_slice(text).unwrap();
        let params = message["params"].as_str().unwrap().to_owned();
        match message["action"].as_str().unwrap() {
            "auth" if self.key_is_good => {
                self.wires[wire].authorized = Some(self.now);
                self.say(wire, status("auth_success", "authenticated"));
                self.put_out_the_oldest();
            }
            "auth" => self.say(wire, status("auth_failed", "authentication failed")),
            action => {
                assert!(self.wires[wire].authorized.is_some(), "{action} before the key was taken");
                assert!(params.split(',').count() <= 100, "{} parameters at once", params.split(',').count());
                if !self.answers_subscriptions {
                    return;
                }
                for param in params.split(',') {
                    let subscribed = &mut self.wires[wire].subscribed;
                    let word = if action == "subscribe" {
                        subscribed.insert(param.to_owned());
                        "subscribed"
                    } else {
                        subscribed.remove(param);
                        "unsubscribed"
                    };
                    self.say(wire, status("success", &format!("{word} to: {param}")));
                }
            }
        }
    }

    /// Where the account has one too many, its oldest connection goes.
    pub fn put_out_the_oldest(&mut self) {
        let mut up: Vec<_> = (0..self.wires.len())
            .filter(|wire| self.wires[*wire].authorized.is_some() && !self.wires[*wire].over)
            .collect();
        up.sort_by_key(|wire| (self.wires[*wire].authorized, *wire));
        while up.len() > self.places {
            let wire = up.remove(0);
            self.say(wire, status("max_connections", "Maximum number of connections exceeded."));
            self.wires[wire].authorized = None;
            self.wires[wire].subscribed.clear();
            let loss = Loss::Closed { code: Some(1008), reason: "max_connections".to_owned() };
            self.post(wire, self.wires[wire].latency + 1, Happening::Lost(loss));
        }
    }

    /// The wire breaks: both sides find out after its latency, and what was on it is gone.
    pub fn cut(&mut self, wire: usize, loss: Loss) {
        self.wires[wire].stalled = true;
        self.wires[wire].subscribed.clear();
        self.wires[wire].authorized = None;
        self.post(wire, self.wires[wire].latency, Happening::Lost(loss));
    }

    /// The newest connections that are open and alive.
    pub fn alive(&self) -> Vec<usize> {
        let lives = |wire: &&usize| {
            let wire = &self.wires[**wire];
            wire.authorized.is_some() && !wire.stalled && !wire.over
        };
        self.current.values().filter(lives).copied().collect()
    }

    /// One trade of a symbol, to every connection that subscribes to it.
    pub fn trade(&mut self, symbol: usize) {
        self.trades += 1;
        let (id, ms) = (self.trades, START_MS + self.now);
        self.made.push((symbol, self.now, id));
        let param = format!("T.S{symbol}");
        let text = format!(
            r#"[{{"ev":"T","sym":"S{symbol}","x":4,"i":"{id}","z":3,"p":10.5,"s":1,"c":[0],"t":{ms},"q":{id}}}]"#
        );
        for wire in 0..self.wires.len() {
            let it = &self.wires[wire];
            let subscribes = it.subscribed.contains(&param) || it.subscribed.contains("T.*");
            if !it.over && !it.stalled && subscribes {
                self.say(wire, text.clone());
            }
        }
    }

    /// The gaps that were told of a symbol, as (from, to) in ms of this world; one that is still open ends at `i64::MAX`.
    pub fn gaps(&mut self, symbol: usize) -> Vec<(i64, i64)> {
        let id = self.names.intern(format!("S{symbol}").as_bytes()).unwrap();
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        let ms = |at: UnixNanos| {
            if at == UnixNanos::MAX { i64::MAX } else { at.0.div_euclid(1_000_000) - START_MS }
        };
        for tick in &self.ticks {
            if tick.kind() == TickKind::Gap && tick.symbol == id {
                let gap = (ms(tick.gap_start()), ms(tick.ts_event));
                match gaps.last_mut() {
                    Some(last) if last.1 == i64::MAX => {
                        assert_eq!(last.0, gap.0, "the end of a gap names its beginning");
                        *last = gap;
                    }
                    _ => gaps.push(gap),
                }
            }
        }
        gaps
    }

    pub fn is_served(&mut self, symbol: usize) -> bool {
        let id = self.names.intern(format!("S{symbol}").as_bytes()).unwrap();
        self.coverage.is_served(id)
    }

    /// When each (line, slot) was told to connect.
    pub fn attempts(&self, line: usize, slot: usize) -> Vec<i64> {
        let wanted = |(ms, l, order): &(i64, usize, Order)| {
            (*l == line && matches!(order, Order::Connect { slot: s } if *s == slot)).then_some(*ms)
        };
        self.log.iter().filter_map(wanted).collect()
    }

    /// Every text that was sent, with its time and slot.
    pub fn sent(&self, line: usize) -> Vec<(i64, usize, String)> {
        let text = |(ms, l, order): &(i64, usize, Order)| match order {
            Order::Send { slot, text } if *l == line => {
                Some((*ms, *slot, String::from_utf8(text.clone()).unwrap()))
            }
            _ => None,
        };
        self.log.iter().filter_map(text).collect()
    }
}

pub fn status(status: &str, message: &str) -> String {
    format!(r#"[{{"ev":"status","status":"{status}","message":"{message}"}}]"#)
}

pub const fn seconds(s: i64) -> Nanos {
    Nanos::from_secs(s)
}
