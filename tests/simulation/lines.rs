//! The whole engine with feeds that connect: pools of members, lines of the same data, gaps and their bars over REST, while a venue does
//! to its connections what real ones do. One seed is one run.
//!
//! What must hold is decided from the sales alone: the client's bars are theirs in the end and say nothing of gaps; a bar that is wrong
//! says so soon; and while one of two lines lives, nothing is missing for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use tickwire::config::Config;
use tickwire::feed::{Endpoint, MemberOptions, Origin, PoolOptions, SourceOptions, dialect, session};
use tickwire::model::{Nanos, Symbol, Timeframes, UnixNanos};
use tickwire::runtime::clock::{Clock, ManualClock};
use tickwire::runtime::transport::{End, Network};
use tickwire::shard::Fill;
use tickwire::topology::{Engine, Outlet};

use crate::clients::frame;
use crate::random::Random;
use crate::rest::{Aggregate, Office};
use crate::text::{field, number, units};
use crate::venue::{Cut, Door, Sale, Tongue, Venue};

const START_MS: i64 = 1_770_474_600_123;
const SYMBOLS: usize = 6;
const LABELS: [(&str, i64); 3] = [("1s", 1_000), ("5s", 5_000), ("1m", 60_000)];
const CLIENTS: u16 = 80;
const VENUES: u16 = 7_000;
/// A connection that went silent is given up 6 s after it was last heard; a bar of it closed a grace after its end.
const TOLD_MS: i64 = 8_000;
/// The vendor's averages have as many digits as a float has.
const VWAP_TOLERANCE: i128 = 2;

/// One combination to run.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    pub tongue: Tongue,
    pub lines: usize,
    pub members: usize,
    pub cycles: usize,
    /// One of two lines always lives.
    pub one_at_a_time: bool,
    /// Every symbol is subscribed to, rather than each.
    pub everyone: bool,
}

/// Faults put into a run to see that they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// No line is sent this sale, and nothing is wrong with any.
    Untold(usize),
    /// This wish for bars is lost.
    LostWish(u64),
}

/// What was tried, and what came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub sales: usize,
    /// Sales that no trade of the client's is.
    pub missed: usize,
    /// Bars that said for a while that they were incomplete.
    pub hurt: usize,
    pub healed: u64,
    pub bars: usize,
    pub flat: usize,
    pub silent_seconds: usize,
    pub digest: u64,
}

/// One fact of a bar and when it came, ms.
struct Told {
    at: i64,
    data: String,
}

/// A client that is told every fact of bars and trades, and believes no sequence.
struct Follower {
    end: End,
    inbox: Vec<u8>,
    upgraded: bool,
    sequences: BTreeMap<String, u64>,
    bars: BTreeMap<(usize, usize, i64), Vec<Told>>,
    trades: BTreeSet<(usize, u64)>,
    digest: u64,
}

struct World {
    cast: Cast,
    random: Random,
    engine: Engine,
    clock: ManualClock,
    venues: Vec<Venue>,
    office: Office,
    follower: Follower,
    sales: Vec<Sale>,
    next_sale: i64,
    /// The longest wait for the next sale, ms: a busy market or a quiet one.
    pace: u64,
    /// How far the venue's clock is ahead, ms.
    ahead: i64,
    fills: bool,
    plant: Option<Plant>,
    /// What was done to connections and when, for whoever looks into a failure.
    deeds: Vec<(i64, String)>,
}

pub fn run(cast: Cast, seed: u64, plant: Option<Plant>) -> Result<Outcome, String> {
    let mut world = World::new(cast, seed, plant);
    let described = format!("{cast:?}, seed {seed}, filled: {}", world.fills);
    let outcome = world.play();
    outcome.map_err(|problem| {
        let notes = world.office.notes();
        format!("{problem}\n  {described}\n  {}", notes.join("\n  "))
    })
}

fn pool(cast: Cast, line: usize) -> PoolOptions {
    let name = if cast.tongue == Tongue::Massive { "massive" } else { "binance" };
    let (dialect, session) = (dialect::find(name).expect("a row"), session::find(name).expect("a row"));
    let endpoint = Endpoint {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: VENUES + line as u16,
        path_and_query: "/stream".to_owned(),
        headers: Vec::new(),
        ca_file: None,
    };
    let each = (0..SYMBOLS).map(|n| Symbol::new(format!("S{n}").as_bytes()).expect("a name"));
    let symbols = if cast.everyone { vec![Symbol::EVERY] } else { each.collect() };
    let mut options = PoolOptions::new(["a", "b"][line], dialect, session, endpoint, symbols);
    let first = options.members.remove(0);
    options.members = (0..cast.members)
        .map(|slot| MemberOptions { name: format!("m{slot}"), share: (slot, cast.members), ..first.clone() })
        .collect();
    options.limits.eviction_cooldown = Nanos::from_secs(40);
    options
}

impl World {
    fn new(cast: Cast, seed: u64, plant: Option<Plant>) -> Self {
        // Every cast has a story of its own.
        let place =
            cast.lines as u64 * 2 + cast.members as u64 * 10 + u64::from(cast.tongue == Tongue::Massive);
        let place = place + 100 * u64::from(cast.everyone);
        let mut random = Random::new(seed * 1_000 + place);
        let clock = ManualClock::at(UnixNanos(START_MS * 1_000_000));
        let network = Network::default();
        let mut config = Config::from_environment(|_| None).expect("the defaults are good");
        let timeframes = Timeframes::parse("1s,5s,1m").expect("constants");
        let fills = random.one_in(2);
        config.symbols_max = 64;
        config.layout.shards = 1 + random.below(2) as usize;
        config.layout.ticks_depth = random.pick(&[16, 1_024]);
        config.candles.timeframes = timeframes.clone();
        config.candles.fill = fills.then(Fill::default);
        (config.candles.history_bytes_max, config.candles.trades_bytes_max) = (16 << 20, 16 << 20);
        config.gateway.listen = ([127, 0, 0, 1], CLIENTS).into();
        let source = |line: usize| {
            let pool = pool(cast, line);
            SourceOptions::new(["a", "b"][line], Origin::Connect(Box::new(pool.clone())), pool.dialect)
        };
        config.sources = (0..cast.lines).map(source).collect();
        let seal_after = config.candles.seal_after;
        let ahead = random.pick(&[0, 0, 1_230]);
        let venues = (0..cast.lines).map(|line| Venue::new(cast.tongue, &network, VENUES + line as u16));
        let venues = venues.collect();
        let clocks = clock.clone();
        let clock_of = move || Clock::Manual(clocks.clone());
        let epoch = format!("e{seed}");
        let engine = Engine::inline(config, Outlet::Gateway, None, epoch, &clock_of, network.clone());
        let mut engine = engine.expect("a good configuration on an empty network");
        let ends = engine.rest.take().expect("an inline engine has them");
        let mut office =
            Office::new(cast.tongue, cast.lines, &timeframes, (seal_after, clock.now()), ends, ahead);
        if let Some(Plant::LostWish(n)) = plant {
            office.lose_wish = Some(n);
        }
        Self {
            cast,
            pace: random.pick(&[120, 400, 1_500]),
            random,
            engine,
            clock,
            venues,
            office,
            follower: Follower::join(&network),
            sales: Vec::new(),
            next_sale: i64::MAX,
            ahead,
            fills,
            plant,
            deeds: Vec::new(),
        }
    }

    /// How many subscriptions serve everything.
    fn subscriptions(&self) -> usize {
        if self.cast.everyone { 1 } else { SYMBOLS }
    }

    fn did(&mut self, what: String) {
        self.deeds.push((self.now(), what));
    }

    /// What was done in the minute before the end of a bar, and what was told of it.
    fn story(&self, (symbol, level, start): (usize, usize, i64)) -> String {
        let end = start + LABELS[level].1 - self.ahead;
        let near = self.deeds.iter().filter(|(at, _)| (end - 60_000..end + 60_000).contains(at));
        let near = near.map(|(at, what)| format!("{} {what}", at - end));
        let told = self.follower.bars.get(&(symbol, level, start)).into_iter().flatten();
        let told = told.map(|told| format!("{} {}", told.at - end, told.data));
        let sales = self
            .sales
            .iter()
            .filter(|sale| sale.symbol == symbol && (start..start + LABELS[level].1).contains(&sale.ms));
        let sales =
            sales.map(|sale| format!("{sale:?} {}", self.follower.trades.contains(&(symbol, sale.id))));
        near.chain(told).chain(sales).map(|line| format!("\n    {line}")).collect()
    }

    fn now(&self) -> i64 {
        self.clock.now().0 / 1_000_000
    }

    /// Everybody does what there is to do at this moment.
    fn settle(&mut self) -> Result<(), String> {
        let now = self.now();
        for _ in 0..50_000 {
            let mut busy = self.engine.cores[0].turn();
            for venue in &mut self.venues {
                busy |= venue.turn(now, &mut self.random);
            }
            busy |= self.office.turn(now, &self.sales, &self.engine.symbols, &mut self.random);
            busy |= self.follower.read(now)?;
            if !busy {
                return Ok(());
            }
        }
        Err("the engine never comes to rest".to_owned())
    }

    /// Lets time pass, from one thing that is due to the next.
    fn pass(&mut self, ms: i64) -> Result<(), String> {
        let end = self.now() + ms;
        self.settle()?;
        while self.now() < end {
            let engine = self.engine.cores[0].deadline();
            let engine =
                engine.map(|at| at.0.div_euclid(1_000_000) + i64::from(at.0.rem_euclid(1_000_000) != 0));
            let venues = self.venues.iter().filter_map(Venue::deadline);
            let due = engine.into_iter().chain(venues).chain(self.office.deadline()).chain([self.next_sale]);
            let next = due.min().unwrap_or(end).clamp(self.now() + 1, end);
            self.clock.set(UnixNanos(next * 1_000_000));
            if self.next_sale <= next {
                self.sell();
            }
            self.settle()?;
        }
        Ok(())
    }

    fn sell(&mut self) {
        let (now, random) = (self.now(), &mut self.random);
        let symbol = random.below(SYMBOLS as u64) as usize;
        let id = 1 + self.sales.iter().filter(|sale| sale.symbol == symbol).count() as u64;
        let (price, size) = (1_000 + random.below(4_000), 1 + random.below(9));
        let sale = Sale { symbol, ms: now + self.ahead, id, price, size };
        self.next_sale = now + 1 + random.below(self.pace) as i64;
        self.sales.push(sale);
        if self.plant == Some(Plant::Untold(self.sales.len())) {
            return;
        }
        for venue in &mut self.venues {
            venue.sell(&sale, now);
        }
    }

    fn play(&mut self) -> Result<Outcome, String> {
        self.follower.subscribe();
        self.pass(5_000)?;
        let each = self.subscriptions();
        if self.venues.iter().any(|venue| venue.subscriptions() != each) {
            return Err("not all is subscribed to".to_owned());
        }
        self.next_sale = self.now() + 1;
        self.pass(20_000)?;
        for cycle in 0..self.cast.cycles {
            if self.cast.one_at_a_time { self.kill_one(cycle)? } else { self.cycle()? }
        }
        // All is well again, when a cooldown and every retry had their time; then the market closes, and the last bars.
        self.pass(150_000)?;
        self.next_sale = i64::MAX;
        self.pass(90_000)?;
        self.check()
    }

    /// One line dies, in one way or another, and is back before the other does.
    fn kill_one(&mut self, cycle: usize) -> Result<(), String> {
        // Who was killed twice in a row waits longer before he comes back.
        let each = self.subscriptions();
        let serves = |venue: &Venue| venue.subscriptions() == each;
        for _ in 0..100 {
            if self.venues.iter().all(serves) {
                break;
            }
            self.pass(500)?;
        }
        if !self.venues.iter().all(serves) {
            return Err("a line does not come back".to_owned());
        }
        self.pass(1_000)?;
        let line = self.random.below(self.venues.len() as u64) as usize;
        let now = self.now();
        for at in self.venues[line].alive() {
            match cycle % 7 {
                0 => self.venues[line].stall(at, now + 2_500),
                n => self.venues[line].cut(at, CUTS[n - 1], now),
            }
        }
        let what = cycle.checked_rem(7).filter(|n| *n > 0).map(|n| CUTS[n - 1]);
        self.did(format!("{what:?} of line {line}"));
        self.pass(12_000)
    }

    fn cycle(&mut self) -> Result<(), String> {
        let line = self.random.below(self.venues.len() as u64) as usize;
        let (now, both) = (self.now(), self.random.one_in(3));
        let lines = if both { (0..self.venues.len()).collect() } else { vec![line] };
        if self.random.one_in(6) {
            // Not so long that the desk gives up.
            self.office.down_until = self.now() + self.random.below(3_000) as i64;
        }
        let deed = self.random.below(8);
        self.did(format!("deed {deed} to {lines:?}, REST down for {} ms", self.office.down_until - now));
        match deed {
            0..=2 => {
                for line in lines {
                    if let [first, ..] = self.venues[line].alive()[..] {
                        let cut = self.random.pick(&CUTS);
                        self.venues[line].cut(first, cut, now);
                    }
                }
            }
            3 => {
                // Held back for a while: no loss, as long as it is not given up.
                let until = self.now() + self.random.below(4_000) as i64;
                for line in lines {
                    for at in self.venues[line].alive() {
                        self.venues[line].stall(at, until);
                    }
                }
            }
            4 => {
                for &line in &lines {
                    for at in self.venues[line].alive() {
                        self.venues[line].cut(at, Cut::Reset, now);
                    }
                }
                for _ in 0..4 {
                    let doors = [Door::Refuse, Door::Slam, Door::Silent, Door::Unavailable, Door::Open];
                    let door = self.random.pick(&doors);
                    lines.iter().for_each(|&line| self.venues[line].set_door(door));
                    let ms = 200 + self.random.below(4_000) as i64;
                    self.pass(ms)?;
                }
                lines.iter().for_each(|&line| self.venues[line].set_door(Door::Open));
            }
            5 if self.cast.tongue == Tongue::Massive => {
                // Another program takes one of the account's places, and gives it back later.
                let venue = &mut self.venues[line];
                venue.places = venue.alive().len().saturating_sub(1);
                venue.put_out_the_oldest(now);
                let ms = 1_000 + self.random.below(6_000) as i64;
                self.pass(ms)?;
                self.venues[line].places = usize::MAX;
            }
            5 | 6 => {
                for line in lines {
                    for at in self.venues[line].alive() {
                        let now = self.now();
                        self.venues[line].cut(at, Cut::Close, now);
                        let ms = self.random.below(3_000) as i64;
                        self.pass(ms)?;
                    }
                }
            }
            _ => {
                let venue = &mut self.venues[line];
                venue.is_deaf = true;
                if let [first, ..] = venue.alive()[..] {
                    venue.cut(first, Cut::End, now);
                }
                self.pass(700)?;
                self.venues[line].is_deaf = false;
            }
        }
        let ms = 4_000 + self.random.below(14_000) as i64;
        self.pass(ms)
    }

    /// What the client was told, against the sales.
    fn check(&self) -> Result<Outcome, String> {
        let follower = &self.follower;
        let mut outcome = Outcome {
            sales: self.sales.len(),
            healed: self.office.healed,
            digest: follower.digest,
            ..Outcome::default()
        };
        let known = |sale: &&Sale| !follower.trades.contains(&(sale.symbol, sale.id));
        outcome.missed = self.sales.iter().filter(known).count();
        if self.cast.one_at_a_time && outcome.missed > 0 {
            return Err(format!(
                "{} of {} sales never came, though a line lived",
                outcome.missed, outcome.sales
            ));
        }
        let mut expected: BTreeMap<(usize, usize, i64), Aggregate> = BTreeMap::new();
        let mut firsts: BTreeMap<usize, i64> = BTreeMap::new();
        for sale in &self.sales {
            firsts.entry(sale.symbol).or_insert(sale.ms);
            for (level, (_, len)) in LABELS.iter().enumerate() {
                let start = sale.ms.div_euclid(*len) * len;
                expected.entry((sale.symbol, level, start)).or_default().add(sale);
            }
        }
        let mut close = BTreeMap::new();
        let keys: BTreeSet<_> = expected.keys().chain(follower.bars.keys()).copied().collect();
        for key in keys {
            let (symbol, level, start) = key;
            let (label, len) = LABELS[level];
            let name = format!("S{symbol}/{label} at {start}");
            let last = follower.bars.get(&key).and_then(|told| told.last());
            let Some(last) = last else { return Err(format!("{name} is missing: {:?}", expected.get(&key))) };
            let told = &follower.bars[&key];
            let is_first = firsts[&symbol].div_euclid(len) * len >= start;
            let is_hurt = told.iter().any(|told| told.data.contains("\"incomplete\""));
            if self.cast.one_at_a_time && is_hurt && !is_first {
                return Err(format!("{name} was incomplete, though a line lived:{}", self.story(key)));
            }
            outcome.bars += 1;
            outcome.hurt += usize::from(is_hurt && !is_first);
            let flags = last.data.split("\"flags\":").nth(1).unwrap_or("");
            // What was before a symbol's first sale nobody knows; the vendor's word for it was never asked for as a whole.
            let allowed = is_first && !flags.contains("synthetic");
            let wrong = |data: &str| match expected.get(&key) {
                Some(bar) => differs(bar, data),
                None => (!data.contains("\"synthetic\"")).then(|| "should not be".to_owned()),
            };
            if let Some(problem) = wrong(&last.data) {
                return Err(format!("{name} {problem}:{}", self.story(key)));
            }
            if expected.contains_key(&key) {
                if !flags.starts_with("[]") && !allowed {
                    return Err(format!("{name} still says {flags}:{}", self.story(key)));
                }
            } else {
                outcome.flat += 1;
                if !self.fills || !flags.starts_with("[\"synthetic\"]") {
                    return Err(format!("{name} should not be:{}", self.story(key)));
                }
                if field(&last.data, "open") != close.get(&(symbol, level)).map(String::as_str) {
                    return Err(format!("{name} does not go on at the last close: {}", last.data));
                }
            }
            close.insert((symbol, level), field(&last.data, "close").unwrap_or("").to_owned());
            // While it was wrong it said so, but for the time that it takes to notice.
            let ends = told.iter().skip(1).map(|next| next.at).chain([self.now()]);
            for (told, until) in told.iter().zip(ends) {
                let says = ["incomplete", "polled"].iter().any(|flag| told.data.contains(flag));
                let noticed = told.at.max(start + len - self.ahead) + TOLD_MS;
                if until > noticed && !says && !is_first && wrong(&told.data).is_some() {
                    return Err(format!(
                        "{name} was wrong until {until} and did not say so:{}",
                        self.story(key)
                    ));
                }
            }
        }
        for symbol in 0..SYMBOLS {
            let seconds: BTreeSet<i64> =
                self.sales.iter().filter(|sale| sale.symbol == symbol).map(|sale| sale.ms / 1_000).collect();
            let span = seconds.last().zip(seconds.first()).map_or(0, |(last, first)| last - first);
            outcome.silent_seconds += span as usize - seconds.len().saturating_sub(1);
        }
        Ok(outcome)
    }
}

const CUTS: [Cut; 6] = [Cut::Reset, Cut::End, Cut::Close, Cut::Half, Cut::HalfSilence, Cut::Silence];

/// What a bar's text says that the sums of its sales do not.
fn differs(bar: &Aggregate, data: &str) -> Option<String> {
    let read = |name: &str, places| field(data, name).and_then(|text| units(text, places)).unwrap_or(-1);
    let Aggregate { open, high, low, close, size, worth, trades } = *bar;
    let prices = [("open", open), ("high", high), ("low", low), ("close", close)];
    let whole = [("volume", size), ("trades", trades)];
    let wrong = prices.iter().find(|(name, value)| read(name, 2) != i128::from(*value));
    let wrong = wrong.or_else(|| whole.iter().find(|(name, value)| read(name, 0) != i128::from(*value)));
    if let Some((name, value)) = wrong {
        return Some(format!("has another {name} than {value}"));
    }
    let vwap = i128::from(worth) * 10_000_000 / i128::from(size);
    let off = (read("vwap", 9) - vwap).abs();
    (off > VWAP_TOLERANCE).then(|| format!("has another vwap than {vwap}"))
}

impl Follower {
    fn join(network: &Network) -> Self {
        let mut end = network.connect(CLIENTS, 1 << 20).expect("the gateway listens");
        let request = "GET /v1/stream HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        end.write_all(request.as_bytes()).expect("there is room");
        Self {
            end,
            inbox: Vec::new(),
            upgraded: false,
            sequences: BTreeMap::new(),
            bars: BTreeMap::new(),
            trades: BTreeSet::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn subscribe(&mut self) {
        for request in [
            r#"{"action":"subscribe","channel":"bars","symbols":["*"],"timeframes":["1s","5s","1m"],"forming":false}"#,
            r#"{"action":"subscribe","channel":"trades","symbols":["*"]}"#,
        ] {
            self.send(1, request.as_bytes());
        }
    }

    /// A frame, masked with zeros.
    fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            n if n < 126 => bytes.push(0x80 | n as u8),
            n => bytes.extend([&[0x80 | 126], &(n as u16).to_be_bytes()[..]].concat()),
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        self.end.write_all(&bytes).expect("there is room");
    }

    fn read(&mut self, now: i64) -> Result<bool, String> {
        let mut chunk = [0; 4096];
        let before = self.inbox.len();
        while let Ok(n) = self.end.read(&mut chunk) {
            if n == 0 {
                return Err("the engine ended the client".to_owned());
            }
            self.inbox.extend_from_slice(&chunk[..n]);
        }
        if self.inbox.len() == before {
            return Ok(false);
        }
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = &inbox[..];
        if !self.upgraded {
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n").ok_or("half of an answer")?;
            self.upgraded = true;
            rest = &rest[end + 4..];
        }
        while let Some((opcode, payload, length)) = frame(rest)? {
            rest = &rest[length..];
            match opcode {
                1 => self.take(std::str::from_utf8(payload).map_err(|_| "text that is none")?, now)?,
                9 => self.send(10, payload),
                other => return Err(format!("a frame of opcode {other}")),
            }
        }
        self.inbox = rest.to_vec();
        Ok(true)
    }

    fn take(&mut self, text: &str, now: i64) -> Result<(), String> {
        let kind = field(text, "type").unwrap_or("");
        let Some((head, data)) = text.split_once("\"data\":").filter(|_| matches!(kind, "bar" | "trade"))
        else {
            let fine = matches!(kind, "welcome" | "subscribed" | "snapshot");
            return if fine { Ok(()) } else { Err(format!("unexpected {text}")) };
        };
        for byte in data.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let name = field(data, "symbol").ok_or("no symbol")?;
        let symbol: usize = name[1..].parse().map_err(|_| format!("{name} is no symbol of ours"))?;
        let label = field(data, "timeframe").unwrap_or("");
        let sequence = number(head, "sequence")?;
        let last = self.sequences.insert(format!("{kind}/{name}/{label}"), sequence);
        if last.is_some_and(|last| last + 1 != sequence) {
            return Err(format!("{sequence} follows {last:?}: {text}"));
        }
        if kind == "trade" {
            let id = number(data, "trade_id")?;
            return if self.trades.insert((symbol, id)) { Ok(()) } else { Err(format!("twice: {text}")) };
        }
        let level = LABELS.iter().position(|(known, _)| *known == label).ok_or("no such timeframe")?;
        let start = number(data, "start")? as i64 / 1_000;
        let told = Told { at: now, data: data.to_owned() };
        self.bars.entry((symbol, level, start)).or_default().push(told);
        Ok(())
    }
}
