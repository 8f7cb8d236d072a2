//! The venue: what is due goes to those who listen, faults strike on their schedule, and all of it is on record.
//!
//! It does no I/O but to its files and reads no clock: `now_ms`, ms since 1970 by the machine, is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write as _};

use serde_json::{Value, json};

use crate::binance;
use crate::clock::Clock;
use crate::event::{Event, Sale, Source, Symbols};
use crate::fault::{Kind, Plan, Schedule, Target};
use crate::frames::{self, Incoming};
use crate::lateness::Lateness;
use crate::line::{Dialect, Line, Out, Queue};
use crate::massive;
use crate::random::Random;
use crate::supply::Supply;
use crate::truth::{Bar, SECOND_MS, Truth};

/// A client that leaves so many bytes unread is too slow, and is reset.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// A client that says no key is told so after this.
const AUTH_MS_MAX: i64 = 30_000;
/// A client of Binance that answers no ping for so long is reset.
const SILENCE_MS_MAX: i64 = 60_000;
const MINUTE_MS: i64 = 60_000;
/// Streams and parameters that are told apart; a request for further ones is answered as done and brings nothing.
const TOPICS_MAX: usize = 1 << 20;

/// Which venue it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kindred {
    /// Massive, stocks.
    Massive,
    /// Binance, spot.
    Binance,
    /// Binance, USD-M futures.
    BinanceFutures,
}

/// How the venue behaves apart from its faults.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Which venue.
    pub kindred: Kindred,
    /// Keys that are let in; none: every key.
    pub keys: Vec<String>,
    /// Connections of one key; the oldest goes when there is one more.
    pub connections_max: usize,
    /// Events of Massive in a frame.
    pub per_frame: usize,
    /// Decimals of `vw`.
    pub vw_decimals: u32,
    /// Between pings, ms.
    pub ping_ms: i64,
    /// A connection is closed after so long, ms.
    pub lifetime_ms: i64,
    /// Sales begin when so many topics are listened to.
    pub wait_topics: usize,
    /// After the last tick, ms: for REST.
    pub linger_ms: i64,
    /// The n-th sale is in the file of the truth and nowhere else; 0: none. To see a test fail.
    pub plant: u64,
    /// Results on a page of REST at most.
    pub page_max: usize,
    /// Requests of REST a minute; 0: as many as come.
    pub rest_per_minute: u32,
}

/// Counts for the report.
#[derive(Debug, Default)]
pub struct Counts {
    /// Ticks that were due.
    pub ticks: u64,
    /// Frames put on their way.
    pub frames: u64,
    /// Connections that came.
    pub opened: u64,
    /// Connections of a key that were told that they were too many.
    pub evicted: u64,
    /// Connections that read too slowly.
    pub slow: u64,
    /// Keys refused.
    pub refused: u64,
    /// REST requests by status; 0: left without an answer.
    pub rest: BTreeMap<u16, u64>,
    faults: BTreeMap<&'static str, u64>,
}

/// All of it.
pub struct Venue {
    /// How it behaves.
    pub manners: Manners,
    /// All that was due.
    pub truth: Truth,
    /// All names.
    pub symbols: Symbols,
    /// What was done.
    pub counts: Counts,
    supply: Option<Supply>,
    running: Option<(Box<dyn Source>, Clock)>,
    lines: BTreeMap<u64, Line>,
    topics: HashMap<String, u32>,
    by_symbol: Vec<[u32; 5]>,
    random: Random,
    plans: Vec<Plan>,
    schedules: Vec<Schedule>,
    /// No connection is taken until then.
    refuse_until_ms: i64,
    /// No key is let in until then.
    auth_until_ms: i64,
    rest_fault: Option<(Kind, i64)>,
    rest_minute: (i64, u32),
    second_ms: i64,
    touched: BTreeSet<usize>,
    over_since_ms: Option<i64>,
    start_at_ms: Option<i64>,
    stopped: bool,
    log: Option<BufWriter<File>>,
    lateness: Lateness,
    due: Vec<Event>,
    /// The first thing that could not be written; the run ends with it.
    pub trouble: Option<std::io::Error>,
}

impl Venue {
    /// A venue that waits for its first clients.
    pub fn new(
        manners: Manners,
        supply: Supply,
        symbols: Symbols,
        truth: Truth,
        plans: Vec<Plan>,
        seed: u64,
        log: Option<File>,
    ) -> Self {
        Self {
            manners,
            truth,
            symbols,
            counts: Counts::default(),
            supply: Some(supply),
            running: None,
            lines: BTreeMap::new(),
            topics: HashMap::new(),
            by_symbol: Vec::new(),
            random: Random::new(seed ^ 0xfa17),
            plans,
            schedules: Vec::new(),
            refuse_until_ms: 0,
            auth_until_ms: 0,
            rest_fault: None,
            rest_minute: (0, 0),
            second_ms: 0,
            touched: BTreeSet::new(),
            over_since_ms: None,
            start_at_ms: None,
            stopped: false,
            log: log.map(BufWriter::new),
            lateness: Lateness::default(),
            due: Vec::new(),
            trouble: None,
        }
    }

    /// Does all that is due; to be called each millisecond, though later is no harm but to punctuality.
    pub fn advance(&mut self, now_ms: i64) {
        self.start_when_asked(now_ms);
        if let Some((mut source, clock)) = self.running.take() {
            let venue_ms = clock.at(now_ms);
            self.lateness.turn(now_ms);
            let mut due = std::mem::take(&mut self.due);
            source.take_until(venue_ms, &mut due);
            for event in due.drain(..) {
                self.deal(&event, now_ms);
            }
            self.due = due;
            self.tell_bars(venue_ms, now_ms);
            if source.is_over() && self.over_since_ms.is_none() {
                self.over_since_ms = Some(now_ms);
                self.note(now_ms, "over", &[]);
            }
            self.running = Some((source, clock));
        }
        self.look_after_lines(now_ms);
        // Last: what was due before a fault has gone out before it.
        self.strike_on_schedule(now_ms);
    }

    /// All is done, and the time for late questions is over.
    pub fn is_done(&self, now_ms: i64) -> bool {
        self.stopped
            || self.trouble.is_some()
            || self.over_since_ms.is_some_and(|since| now_ms >= since + self.manners.linger_ms)
    }

    fn start_when_asked(&mut self, now_ms: i64) {
        if self.running.is_some() || self.supply.is_none() {
            return;
        }
        if self.start_at_ms.is_none() {
            let listened: usize = self.lines.values().map(|line| line.topics.len()).sum();
            if listened < self.manners.wait_topics {
                return;
            }
            self.start_at(now_ms);
        }
        if self.start_at_ms.is_none_or(|at| now_ms < at) {
            return;
        }
        let Some(supply) = self.supply.take() else { return };
        let at = self.start_at_ms.unwrap_or(now_ms);
        let (source, clock) = supply.open(&mut self.symbols, at);
        self.second_ms = clock.at(at).div_euclid(SECOND_MS) * SECOND_MS;
        self.schedules = self.plans.drain(..).map(|plan| Schedule::new(plan, at)).collect();
        self.running = Some((source, clock));
        self.note(now_ms, "start", &[]);
    }

    /// Begins with the next whole second.
    fn start_at(&mut self, now_ms: i64) {
        self.start_at_ms = Some((now_ms.div_euclid(SECOND_MS) + 1) * SECOND_MS);
    }

    // --- what is due ---

    fn topic(&mut self, name: &str) -> u32 {
        let next = self.topics.len() as u32;
        if let Some(&topic) = self.topics.get(name) {
            return topic;
        }
        if self.topics.len() >= TOPICS_MAX {
            return u32::MAX;
        }
        self.topics.insert(name.to_owned(), next);
        next
    }

    /// The topics of a symbol, by kind.
    fn topics_of(&mut self, symbol: usize) -> [u32; 5] {
        while self.by_symbol.len() <= symbol {
            let name = self.symbols.name(self.by_symbol.len()).to_owned();
            let mut all = [u32::MAX; 5];
            for (kind, topic) in all.iter_mut().enumerate() {
                *topic = match self.manners.kindred {
                    Kindred::Massive if kind < massive::CHANNELS.len() => {
                        self.topic(&format!("{}.{name}", massive::CHANNELS[kind]))
                    }
                    Kindred::Massive => u32::MAX,
                    _ => self.topic(&format!("{}@{}", name.to_lowercase(), binance::STREAMS[kind])),
                };
            }
            self.by_symbol.push(all);
        }
        self.by_symbol[symbol]
    }

    fn deal(&mut self, event: &Event, now_ms: i64) {
        self.counts.ticks += 1;
        let sale = match event {
            Event::Sale(sale) | Event::Verbatim { sale: Some(sale), .. } => Some(sale),
            _ => None,
        };
        if let Some(sale) = sale
            && self.manners.plant > 0
            && self.truth.sales + 1 == self.manners.plant
        {
            // Left out everywhere but in the file: what a test has to find.
            self.manners.plant = 0;
            self.write(sale, "");
            return;
        }
        let sent = match event {
            Event::Sale(sale) => self.deal_sale(sale, now_ms),
            Event::Quote(quote) => {
                let topics = self.topics_of(quote.symbol);
                let name = self.symbols.name(quote.symbol).to_owned();
                let futures = self.manners.kindred == Kindred::BinanceFutures;
                let stream = format!("{}@bookTicker", name.to_lowercase());
                self.give(topics[1], "Q.*", now_ms, &|dialect, shift| match dialect {
                    Dialect::Massive => massive::quote(quote, &name, shift),
                    _ => Line::wrap(dialect, &stream, binance::quote(quote, &name, shift, futures)),
                })
            }
            Event::Verbatim { stream, text, .. } => {
                let topic = self.topic(stream);
                self.give(topic, "", now_ms, &|dialect, shift| {
                    let text = if shift == 0 { text.clone() } else { binance::shifted(text, shift) };
                    Line::wrap(dialect, stream, text)
                })
            }
        };
        if let Some(sale) = sale {
            self.truth.add(sale);
            self.touched.insert(sale.symbol);
            self.write(sale, &sent);
        }
    }

    fn deal_sale(&mut self, sale: &Sale, now_ms: i64) -> String {
        let topics = self.topics_of(sale.symbol);
        let name = self.symbols.name(sale.symbol).to_owned();
        if self.manners.kindred == Kindred::Massive {
            return self.give(topics[0], "T.*", now_ms, &|_, shift| massive::sale(sale, &name, shift));
        }
        let futures = self.manners.kindred == Kindred::BinanceFutures;
        let [one, many] = ["trade", "aggTrade"].map(|kind| format!("{}@{kind}", name.to_lowercase()));
        let sent = self.give(topics[0], "", now_ms, &|dialect, shift| {
            Line::wrap(dialect, &one, binance::sale(sale, &name, shift, futures))
        });
        self.give(topics[4], "", now_ms, &|dialect, shift| {
            Line::wrap(dialect, &many, binance::aggregate_sale(sale, &name, shift))
        });
        sent
    }

    /// Gives all who listen a text; what became of it, connection by connection.
    fn give(
        &mut self,
        topic: u32,
        star: &str,
        now_ms: i64,
        write: &dyn Fn(Dialect, i64) -> String,
    ) -> String {
        let star = self.topics.get(star).copied();
        let mut sent = String::new();
        for line in self.lines.values_mut().filter(|line| !line.leaving) {
            if line.topics.contains(&topic) || star.is_some_and(|star| line.topics.contains(&star)) {
                let dialect = line.dialect;
                let what = line.give(now_ms, &mut self.random, &|shift| write(dialect, shift));
                sent += &format!("{}={what} ", line.number);
            }
        }
        sent
    }

    fn write(&mut self, sale: &Sale, sent: &str) {
        let done = self.truth.write(sale, &self.symbols, sent);
        self.keep(done);
    }

    fn keep(&mut self, done: std::io::Result<()>) {
        if let Err(error) = done {
            self.trouble.get_or_insert(error);
        }
    }

    /// Tells the bars of each second that is over by the venue's clock, and of each minute.
    fn tell_bars(&mut self, venue_ms: i64, now_ms: i64) {
        while self.second_ms + SECOND_MS <= venue_ms {
            let second = self.second_ms;
            self.second_ms += SECOND_MS;
            let minute = second.div_euclid(MINUTE_MS) * MINUTE_MS;
            let minute_over = self.second_ms % MINUTE_MS == 0;
            // Those of whom a minute is still to be told stay.
            let touched = std::mem::take(&mut self.touched);
            for &symbol in &touched {
                if let Some(bar) = self.truth.bar(symbol, SECOND_MS, second) {
                    self.tell_bar(symbol, &bar, SECOND_MS, true, now_ms);
                }
                let told = minute_over || self.manners.kindred != Kindred::Massive;
                if let Some(bar) = self.truth.bar(symbol, MINUTE_MS, minute).filter(|_| told) {
                    self.tell_bar(symbol, &bar, MINUTE_MS, minute_over, now_ms);
                }
            }
            if !minute_over {
                self.touched = touched;
            }
        }
    }

    fn tell_bar(&mut self, symbol: usize, bar: &Bar, length_ms: i64, closed: bool, now_ms: i64) {
        let kind = if length_ms == SECOND_MS { 2 } else { 3 };
        let topic = self.topics_of(symbol)[kind];
        let name = self.symbols.name(symbol).to_owned();
        if self.manners.kindred == Kindred::Massive {
            let day = self.truth.day(symbol).unwrap_or(bar).clone();
            let text = massive::aggregate(kind, bar, length_ms, &day, &name, self.manners.vw_decimals);
            let star = format!("{}.*", massive::CHANNELS[kind]);
            self.give(topic, &star, now_ms, &|_, _| text.clone());
            return;
        }
        let stream = binance::STREAMS[kind];
        let interval = stream.trim_start_matches("kline_");
        let text = binance::kline(bar, &name, interval, length_ms, closed, now_ms);
        let stream = format!("{}@{stream}", name.to_lowercase());
        self.give(topic, "", now_ms, &|dialect, _| Line::wrap(dialect, &stream, text.clone()));
    }

    fn look_after_lines(&mut self, now_ms: i64) {
        let is_massive = self.manners.kindred == Kindred::Massive;
        for line in self.lines.values_mut() {
            self.counts.frames += line.flush(now_ms, self.manners.per_frame, &mut self.random);
            if line.leaving {
                continue;
            }
            if line.queue.waiting.load(std::sync::atomic::Ordering::Relaxed) > WAITING_BYTES_MAX {
                self.counts.slow += 1;
                line.reset();
            } else if !line.admitted && now_ms - line.since_ms > AUTH_MS_MAX {
                line.say(&format!("[{}]", massive::status("auth_timeout", "authentication timed out")));
                line.close(1008, "auth timeout");
            } else if now_ms - line.since_ms > self.manners.lifetime_ms {
                line.close(1001, "a connection lives no longer");
            } else if now_ms - line.pinged_ms > self.manners.ping_ms {
                line.pinged_ms = now_ms;
                line.queue.push(Out::Bytes(frames::frame(frames::PING, now_ms.to_string().as_bytes())));
            } else if !is_massive && now_ms - line.heard_ms > SILENCE_MS_MAX + self.manners.ping_ms {
                line.reset();
            }
        }
    }

    // --- clients ---

    /// Whether a connection is taken at all.
    pub fn takes(&self, now_ms: i64) -> bool {
        now_ms >= self.refuse_until_ms
    }

    /// A client came; its number.
    pub fn opened(&mut self, dialect: Dialect, streams: &[String], now_ms: i64, queue: Queue) -> u64 {
        self.counts.opened += 1;
        let number = self.counts.opened;
        let mut line = Line::new(number, dialect, now_ms, queue);
        line.topics = streams.iter().map(|stream| self.topic(stream)).collect();
        if dialect == Dialect::Massive {
            line.say(&format!("[{}]", massive::status("connected", "Connected Successfully")));
        }
        self.lines.insert(number, line);
        self.note(now_ms, "opened", &[number]);
        number
    }

    /// A client went, or its socket broke.
    pub fn closed(&mut self, number: u64, now_ms: i64) {
        self.note(now_ms, "closed", &[number]);
        self.lines.remove(&number);
    }

    /// A client said something.
    pub fn heard(&mut self, number: u64, incoming: Incoming, now_ms: i64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        line.heard_ms = now_ms;
        match incoming {
            Incoming::Pong => {}
            Incoming::Ping(payload) => line.queue.push(Out::Bytes(frames::frame(frames::PONG, &payload))),
            Incoming::Close => line.close(1000, ""),
            Incoming::Text(text) if line.dialect == Dialect::Massive => {
                self.massive_request(number, &text, now_ms)
            }
            Incoming::Text(text) => self.binance_request(number, &text, now_ms),
        }
    }

    /// A client broke the protocol.
    pub fn broke(&mut self, number: u64, code: u16) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.close(code, "protocol error");
        }
    }

    fn massive_request(&mut self, number: u64, text: &str, now_ms: i64) {
        let request = massive::request(text);
        let admitted = self.lines.get(&number).is_some_and(|line| line.admitted);
        let answer = match request {
            Err(message) => massive::status("error", &message),
            Ok(massive::Request::Auth(key)) => return self.let_in(number, key, now_ms),
            Ok(_) if !admitted => massive::status("error", "not authorized: authenticate first"),
            Ok(massive::Request::Subscribe(params)) => self.listen(number, &params, true),
            Ok(massive::Request::Unsubscribe(params)) => self.listen(number, &params, false),
        };
        if let Some(line) = self.lines.get_mut(&number) {
            line.say(&format!("[{answer}]"));
        }
    }

    fn let_in(&mut self, number: u64, key: String, now_ms: i64) {
        let known = self.manners.keys.is_empty() || self.manners.keys.contains(&key);
        let Some(line) = self.lines.get_mut(&number) else { return };
        if !known || now_ms < self.auth_until_ms {
            self.counts.refused += 1;
            line.say(&format!("[{}]", massive::status("auth_failed", "authentication failed")));
            line.close(1008, "authentication failed");
            self.note(now_ms, "auth_failed", &[number]);
            return;
        }
        line.key.clone_from(&key);
        line.admitted = true;
        line.say(&format!("[{}]", massive::status("auth_success", "authenticated")));
        let of_key: Vec<u64> = self
            .lines
            .values()
            .filter(|line| line.admitted && !line.leaving && line.key == key)
            .map(|line| line.number)
            .collect();
        // The older ones go, never the newcomer.
        for &older in of_key.iter().take(of_key.len().saturating_sub(self.manners.connections_max)) {
            self.evict(older, now_ms);
        }
    }

    fn evict(&mut self, number: u64, now_ms: i64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        self.counts.evicted += 1;
        if line.dialect == Dialect::Massive {
            let message = "Maximum number of websocket connections exceeded.";
            line.say(&format!("[{}]", massive::status("max_connections", message)));
        }
        line.close(1008, "maximum connections");
        self.note(now_ms, "evicted", &[number]);
    }

    /// One status for each parameter, in their order.
    fn listen(&mut self, number: u64, params: &[String], on: bool) -> String {
        let mut answers = Vec::with_capacity(params.len());
        for param in params {
            if massive::channel(param).is_none() {
                answers.push(massive::status("error", &format!("not found: {param}")));
                continue;
            }
            let topic = self.topic(param);
            if let Some(line) = self.lines.get_mut(&number) {
                if on {
                    line.topics.insert(topic)
                } else {
                    line.topics.remove(&topic)
                };
            }
            let done = if on { "subscribed to: " } else { "unsubscribed to: " };
            answers.push(massive::status("success", &format!("{done}{param}")));
        }
        answers.join(",")
    }

    fn binance_request(&mut self, number: u64, text: &str, now_ms: i64) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        if now_ms - line.requests.0 >= 1_000 {
            line.requests = (now_ms, 0);
        }
        line.requests.1 += 1;
        if line.requests.1 > binance::REQUESTS_PER_S_MAX {
            line.close(1008, "Too many requests");
            return;
        }
        let (streams, on, id) = match binance::request(text) {
            Err(answer) => return line.say(&answer),
            Ok(binance::Request::List(id)) => {
                let listened = line.topics.clone();
                let names = self.topics.iter().filter(|(_, topic)| listened.contains(topic));
                let mut names: Vec<&String> = names.map(|(name, _)| name).collect();
                names.sort();
                let answer = format!(r#"{{"result":{},"id":{id}}}"#, json!(names));
                return line.say(&answer);
            }
            Ok(binance::Request::Subscribe(streams, id)) => (streams, true, id),
            Ok(binance::Request::Unsubscribe(streams, id)) => (streams, false, id),
        };
        if on && line.topics.len() + streams.len() > binance::STREAMS_MAX {
            let what = r#"{"code":2,"msg":"Invalid request: too many streams"}"#;
            return line.say(&format!(r#"{{"error":{what},"id":{id}}}"#));
        }
        for stream in &streams {
            let topic = self.topic(stream);
            if let Some(line) = self.lines.get_mut(&number) {
                if on {
                    line.topics.insert(topic)
                } else {
                    line.topics.remove(&topic)
                };
            }
        }
        if let Some(line) = self.lines.get_mut(&number) {
            line.say(&binance::done(&id));
        }
    }

    // --- faults ---

    fn strike_on_schedule(&mut self, now_ms: i64) {
        if self.over_since_ms.is_some() {
            return;
        }
        let mut schedules = std::mem::take(&mut self.schedules);
        for schedule in &mut schedules {
            if let Some(kind) = schedule.strike(now_ms, &mut self.random) {
                self.strike(kind, schedule, now_ms);
            }
        }
        self.schedules = schedules;
    }

    fn strike(&mut self, kind: Kind, schedule: &mut Schedule, now_ms: i64) -> Vec<u64> {
        let plan = schedule.plan.clone();
        let until_ms = now_ms + plan.for_ms;
        if kind.is_rest() {
            self.rest_fault = Some((kind, until_ms));
        }
        // In order of keys, and of age within each; those that listen to nothing yet have nothing to lose.
        let mut able: Vec<(u64, String)> = self
            .lines
            .values()
            .filter(|line| !line.leaving && !line.topics.is_empty())
            .map(|line| (line.number, line.key.clone()))
            .collect();
        able.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
        let struck = if kind.is_rest() { Vec::new() } else { schedule.struck(&able, &mut self.random) };
        match kind {
            Kind::Refuse => self.refuse_until_ms = until_ms,
            Kind::Auth => self.auth_until_ms = until_ms,
            _ => {}
        }
        for &number in &struck {
            if kind == Kind::Evict {
                self.evict(number, now_ms);
            } else if let Some(line) = self.lines.get_mut(&number) {
                line.strike(kind, &plan, now_ms);
            }
        }
        *self.counts.faults.entry(kind.name()).or_default() += 1;
        let keys: Vec<_> =
            struck.iter().filter_map(|number| Some(self.lines.get(number)?.key.clone())).collect();
        let listened =
            |topic: &u32| struck.iter().any(|n| self.lines.get(n).is_some_and(|l| l.topics.contains(topic)));
        let names = self.topics.iter().filter(|(_, topic)| listened(topic)).map(|(name, _)| name);
        let topics: BTreeSet<_> = names.cloned().collect();
        self.record(&json!({
            "at_ms": now_ms, "fault": kind.name(), "for_ms": plan.for_ms, "connections": struck, "keys": keys, "topics": topics,
        }));
        struck
    }

    /// What REST does instead of answering, and until when.
    pub fn rest_fault(&self, now_ms: i64) -> Option<(Kind, i64)> {
        self.rest_fault.filter(|(_, until)| now_ms < *until)
    }

    /// Counts a request of this minute; how long to wait where there were too many, ms.
    pub fn rest_budget(&mut self, now_ms: i64) -> Result<u32, i64> {
        let minute = now_ms.div_euclid(MINUTE_MS);
        if self.rest_minute.0 != minute {
            self.rest_minute = (minute, 0);
        }
        self.rest_minute.1 += 1;
        match self.manners.rest_per_minute {
            max if max > 0 && self.rest_minute.1 > max => Err((minute + 1) * MINUTE_MS - now_ms),
            _ => Ok(self.rest_minute.1),
        }
    }

    // --- orders and records ---

    /// Does what a line of the control port says, and answers it.
    pub fn order(&mut self, text: &str, now_ms: i64) -> String {
        let order: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let answer = match order.get("do").and_then(Value::as_str) {
            Some("fault") => match order.get("plan").and_then(Value::as_str).unwrap_or("").parse::<Plan>() {
                Err(error) => json!({"error": error.to_string()}),
                Ok(plan) => {
                    let kind = plan.kinds[self.random.index(plan.kinds.len())];
                    let named = matches!(plan.on, Target::Connection(_) | Target::Key(_));
                    let struck = self.strike(kind, &mut Schedule::new(plan, now_ms), now_ms);
                    match struck.is_empty() && named {
                        true => json!({"error": "no such connection listens"}),
                        false => json!({"fault": kind.name(), "connections": struck}),
                    }
                }
            },
            Some("start") => {
                self.start_at(now_ms);
                json!({"start_ms": self.start_at_ms})
            }
            Some("stop") => {
                self.stopped = true;
                json!({"stopped": true})
            }
            Some("counts") => self.report(),
            _ => json!({"error": "it takes {\"do\":\"fault\",\"plan\":…}, start, stop or counts"}),
        };
        let flushed = self.flush();
        self.keep(flushed);
        answer.to_string()
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.truth.flush()?;
        self.log.as_mut().map_or(Ok(()), |log| log.flush())
    }

    /// All counts.
    pub fn report(&self) -> Value {
        let lines: Vec<_> = self.lines.values().map(|line| {
            json!({"connection": line.number, "key": line.key, "topics": line.topics.len(), "sent": line.sent, "leaving": line.leaving})
        }).collect();
        let state = match (&self.running, self.over_since_ms) {
            (None, _) => "waiting",
            (_, None) => "running",
            _ => "over",
        };
        json!({
            "state": state, "ticks": self.counts.ticks, "sales": self.truth.sales, "frames": self.counts.frames,
            "symbols": self.symbols.count(), "opened": self.counts.opened, "evicted": self.counts.evicted,
            "slow": self.counts.slow, "auth_refused": self.counts.refused, "rest": self.counts.rest,
            "faults": self.counts.faults, "late_ms": self.lateness.report(), "connections": lines,
        })
    }

    /// Closes all connections.
    pub fn end(&mut self) {
        self.lines.values_mut().for_each(|line| line.close(1001, "the venue closes"));
    }

    fn note(&mut self, now_ms: i64, what: &str, connections: &[u64]) {
        let keys: Vec<_> =
            connections.iter().filter_map(|number| Some(self.lines.get(number)?.key.clone())).collect();
        self.record(&json!({"at_ms": now_ms, "event": what, "connections": connections, "keys": keys}));
    }

    fn record(&mut self, line: &Value) {
        let done = self.log.as_mut().map_or(Ok(()), |log| writeln!(log, "{line}").and_then(|()| log.flush()));
        self.keep(done);
    }
}

#[cfg(test)]
mod tests;
