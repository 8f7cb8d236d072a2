//! A client that believes nothing: it checks every message against what it was told before, and against what others were told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash};
use std::io::{ErrorKind, Read, Write};

use tickwire::runtime::transport::{End, Network};

use crate::random::Random;
use crate::record::Record;
use crate::text::{field, items, number};

pub const ROOM: usize = 1 << 20;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Reads whatever is there, and stays.
    Steady,
    /// Reads seldom and little, from a small buffer.
    Slow,
    /// Drops its connection now and then, and comes back with its positions.
    Flighty,
}

/// How a client wants its messages delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    pub throttle_ms: u64,
    pub batch_ms: u64,
    pub binary: bool,
}

/// The longest interval that a client asks for.
pub const INTERVAL_MS_MAX: u64 = 400;

impl Way {
    pub fn any(random: &mut Random) -> Self {
        let intervals = [0, 0, 20, 100, INTERVAL_MS_MAX];
        let (throttle_ms, batch_ms) = (random.pick(&intervals), random.pick(&intervals));
        Self { throttle_ms, batch_ms, binary: random.one_in(3) }
    }
}

/// What all clients of a run know of each other.
#[derive(Default)]
pub struct Shared {
    /// Every fact that anybody was sent, by topic and sequence: nobody may be told anything else.
    pub facts: HashMap<(String, u64), String>,
    /// The last sequence of each topic that anybody was told of.
    pub last: HashMap<String, u64>,
    /// History is short: what a client joins may have lost its newest fact.
    pub forgets: bool,
    /// The engine was told to stop.
    pub stopping: bool,
    /// Clients that were told that facts were lost.
    pub told_of_loss: u64,
    pub recovered: u64,
    pub messages: u64,
    /// Messages of several, and binary ones.
    pub gathered: u64,
    pub binary: u64,
    /// A fault put into the messages of a client, to see that it is found.
    pub tamper: Option<Tamper>,
}

impl Shared {
    fn saw(&mut self, topic: &str, sequence: u64) {
        match self.last.get_mut(topic) {
            Some(last) => *last = sequence.max(*last),
            None => drop(self.last.insert(topic.to_owned(), sequence)),
        }
    }
}

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    DropFact,
    RepeatFact,
    ChangePrice,
    DropForming,
}

/// Where a client stands in a topic.
#[derive(Default)]
pub struct Stand {
    /// The last fact it has, `None` before it was told.
    pub at: Option<u64>,
    /// It was told that it recovers the facts up to here.
    until: Option<u64>,
    /// It gave this position, and was told that not all of its topics could go on from theirs.
    perhaps_since: Option<u64>,
    /// Bars by start: revision and data.
    pub bars: BTreeMap<i64, (u64, String)>,
    /// Start and data of the bar that forms.
    pub forming: Option<(i64, String)>,
    pub quote: Option<String>,
}

/// Whether states were asked for with a topic: by any request, and by the last.
#[derive(Debug, Clone, Copy, Default)]
struct States {
    ever: bool,
    now: bool,
}

impl States {
    fn ask(&mut self, states: bool) {
        *self = Self { ever: self.ever | states, now: states };
    }
}

struct Request {
    channel: &'static str,
    since: BTreeMap<String, u64>,
    unsubscribes: bool,
    topics: Vec<String>,
}

pub struct Connection {
    end: End,
    inbox: Vec<u8>,
    upgraded: bool,
    closed: bool,
    requests: VecDeque<(u64, Request)>,
    next_id: u64,
    pub topics: BTreeMap<String, Stand>,
    /// It has asked for an interval: its states may be so late.
    pub paced: bool,
    /// It has asked for binary records.
    binary: bool,
    /// Topics by name, and kinds by wildcard.
    named: BTreeMap<String, States>,
    wild: BTreeMap<String, States>,
}

pub struct Client {
    pub name: usize,
    pub habit: Habit,
    pub connection: Option<Connection>,
    /// Positions of the connection before.
    remembered: BTreeMap<String, u64>,
    pub closes: Vec<String>,
    pub digest: DefaultHasher,
}

/// `bars/1s` of `bars/A/1s`.
pub fn kind_of(topic: &str) -> String {
    let mut parts = topic.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(channel), _, Some(timeframe)) => format!("{channel}/{timeframe}"),
        (Some(channel), ..) => channel.to_owned(),
        _ => String::new(),
    }
}

impl Client {
    pub fn new(name: usize, habit: Habit) -> Self {
        Self {
            name,
            habit,
            connection: None,
            remembered: BTreeMap::new(),
            closes: Vec::new(),
            digest: DefaultHasher::new(),
        }
    }

    pub fn connect(&mut self, network: &Network, port: u16, random: &mut Random) {
        let room = if self.habit == Habit::Slow { 300 + random.below(3_000) as usize } else { ROOM };
        let Ok(mut end) = network.connect(port, ROOM) else { return };
        end.set_receive_capacity(room);
        let request = "GET /v1/stream HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        if end.write_all(request.as_bytes()).is_err() {
            return;
        }
        self.connection = Some(Connection {
            end,
            inbox: Vec::new(),
            upgraded: false,
            closed: false,
            requests: VecDeque::new(),
            next_id: 1,
            topics: BTreeMap::new(),
            paced: false,
            binary: false,
            named: BTreeMap::new(),
            wild: BTreeMap::new(),
        });
    }

    /// Goes without a word, by an end of the stream or by a reset.
    pub fn vanish(&mut self, reset: bool) {
        let Some(connection) = self.connection.take() else { return };
        if reset {
            connection.end.reset();
        }
        self.remember(&connection);
    }

    fn remember(&mut self, connection: &Connection) {
        for (topic, stand) in &connection.topics {
            // In the middle of a recovery the position is still the true one: the last fact that it has.
            if let Some(at) = stand.at.filter(|_| !topic.starts_with("quotes")) {
                self.remembered.insert(topic.clone(), at);
            }
        }
    }

    /// Reads quickly from here on.
    pub fn catch_up(&mut self) {
        if let Some(connection) = &self.connection {
            connection.end.set_receive_capacity(ROOM);
        }
    }

    pub fn is_idle(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.upgraded && c.requests.is_empty() && !c.closed)
    }

    /// Asks for topics of one channel, with the positions it remembers where `recover` says so.
    pub fn subscribe(
        &mut self,
        channel: &'static str,
        symbols: &[&str],
        timeframes: &[&str],
        (forming, recover): (bool, bool),
        way: Way,
    ) {
        let Some(connection) = self.connection.as_mut().filter(|c| !c.closed) else { return };
        if connection.requests.iter().any(|(_, request)| request.unsubscribes) {
            // What it leaves and what it joins must not be the same topic at the same time, or nobody can tell them apart.
            return;
        }
        let wild = symbols == ["*"];
        let mut topics = Vec::new();
        for symbol in symbols {
            match channel {
                "bars" => topics.extend(timeframes.iter().map(|label| format!("bars/{symbol}/{label}"))),
                _ => topics.push(format!("{channel}/{symbol}")),
            }
        }
        let mut since = BTreeMap::new();
        if recover && !wild {
            since.extend(
                topics.iter().filter_map(|topic| Some((topic.clone(), *self.remembered.get(topic)?))),
            );
        }
        let mut request = serde_json::json!({
            "id": connection.next_id, "action": "subscribe", "channel": channel, "symbols": symbols,
        });
        if channel == "bars" {
            request["timeframes"] = serde_json::json!(timeframes);
            request["forming"] = serde_json::json!(forming);
        }
        for (name, value) in [("throttle_ms", way.throttle_ms), ("batch_ms", way.batch_ms)] {
            if value > 0 {
                request[name] = serde_json::json!(value);
                connection.paced = true;
            }
        }
        if way.binary {
            request["format"] = serde_json::json!("binary");
            connection.binary = true;
        }
        if !since.is_empty() {
            let bare = |topic: &String| topic[channel.len() + 1..].to_owned();
            let sequences: BTreeMap<String, u64> = since.iter().map(|(t, &s)| (bare(t), s)).collect();
            request["since"] = serde_json::json!({"epoch": "e1", "sequences": sequences});
        }
        let states = forming || channel != "bars";
        for topic in &topics {
            if wild {
                connection.wild.entry(kind_of(topic)).or_default().ask(states);
            } else {
                connection.named.entry(topic.clone()).or_default().ask(states);
            }
        }
        let unsubscribes = false;
        connection.send(&request.to_string());
        connection.requests.push_back((connection.next_id, Request { channel, since, unsubscribes, topics }));
        connection.next_id += 1;
    }

    /// Leaves one topic that it asked for by name. Only while nothing else is asked.
    pub fn unsubscribe(&mut self, random: &mut Random) {
        let Some(connection) = self.connection.as_mut() else { return };
        let names: Vec<String> = connection.named.keys().cloned().collect();
        if names.is_empty() || !connection.requests.is_empty() {
            return;
        }
        let topic = names[random.below(names.len() as u64) as usize].clone();
        let parts: Vec<&str> = topic.split('/').collect();
        let channel = ["bars", "trades", "quotes"].into_iter().find(|&c| c == parts[0]).unwrap_or("bars");
        let mut request = serde_json::json!({
            "id": connection.next_id, "action": "unsubscribe", "channel": channel, "symbols": [parts[1]],
        });
        if let Some(label) = parts.get(2) {
            request["timeframes"] = serde_json::json!([label]);
        }
        connection.send(&request.to_string());
        let topics = vec![topic.clone()];
        let request = Request { channel, since: BTreeMap::new(), unsubscribes: true, topics };
        connection.requests.push_back((connection.next_id, request));
        connection.next_id += 1;
    }

    /// Reads up to `most` bytes and checks what they say.
    pub fn read(&mut self, most: usize, shared: &mut Shared) -> Result<bool, String> {
        let Some(mut connection) = self.connection.take() else { return Ok(false) };
        let mut chunk = [0; 4096];
        let (mut taken, mut ended) = (0, false);
        while taken < most {
            let space = (most - taken).min(chunk.len());
            match connection.end.read(&mut chunk[..space]) {
                Ok(0) => ended = true,
                Ok(n) => {
                    chunk[..n].hash(&mut self.digest);
                    connection.inbox.extend_from_slice(&chunk[..n]);
                    taken += n;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => ended = true,
            }
            break;
        }
        let result = self.take_frames(&mut connection, shared);
        let result = result.map_err(|problem| format!("client {} ({:?}): {problem}", self.name, self.habit));
        let was_closed = connection.closed;
        if ended {
            self.remember(&connection);
        } else {
            self.connection = Some(connection);
        }
        result?;
        if ended && !was_closed && self.habit != Habit::Slow && !shared.stopping {
            return Err(format!("client {}: the connection ended without a close", self.name));
        }
        Ok(taken > 0)
    }

    fn take_frames(&mut self, connection: &mut Connection, shared: &mut Shared) -> Result<(), String> {
        let inbox = std::mem::take(&mut connection.inbox);
        let mut rest = &inbox[..];
        if !connection.upgraded {
            let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") else {
                connection.inbox = inbox;
                return Ok(());
            };
            if !rest.starts_with(b"HTTP/1.1 101 ") {
                return Err(format!("no upgrade: {}", String::from_utf8_lossy(rest)));
            }
            connection.upgraded = true;
            rest = &rest[end + 4..];
        }
        while let Some((opcode, payload, length)) = frame(rest)? {
            rest = &rest[length..];
            if connection.closed {
                return Err("a frame after the close".to_owned());
            }
            match opcode {
                1 => {
                    let text = std::str::from_utf8(payload).map_err(|_| "text that is not UTF-8")?;
                    if !text.starts_with('[') {
                        shared.messages += 1;
                        self.tampered(connection, text, shared)?;
                        continue;
                    }
                    if !connection.paced {
                        return Err(format!("nobody asked for arrays: {text}"));
                    }
                    shared.gathered += 1;
                    for item in items(text) {
                        shared.messages += 1;
                        connection.on_text(item, shared)?;
                    }
                }
                2 if connection.binary => {
                    shared.binary += 1;
                    let mut rest = payload;
                    while !rest.is_empty() {
                        let (record, used) = Record::read(rest).ok_or("a record that is not whole")?;
                        rest = &rest[used..];
                        shared.messages += 1;
                        connection.on_text(&record.json(), shared)?;
                    }
                }
                8 => {
                    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or(&[])).into_owned();
                    connection.closed = true;
                    connection.control(8, payload);
                    self.on_close(code, &reason, shared)?;
                }
                9 => connection.control(10, payload),
                other => return Err(format!("opcode {other}")),
            }
        }
        connection.inbox = rest.to_vec();
        Ok(())
    }

    fn on_close(&mut self, code: u16, reason: &str, shared: &mut Shared) -> Result<(), String> {
        self.closes.push(format!("{code} {reason}"));
        let slow = self.habit == Habit::Slow;
        match code {
            1001 | 1012 if shared.stopping => Ok(()),
            4008 if reason.ends_with("were lost; subscribe again") => {
                shared.told_of_loss += 1;
                Ok(())
            }
            4008 | 4010 if slow => Ok(()),
            _ => Err(format!("closed with {code} {reason}")),
        }
    }

    /// Hands a message on, with the planted fault if it is due.
    fn tampered(&self, connection: &mut Connection, text: &str, shared: &mut Shared) -> Result<(), String> {
        let forming = text.contains("\"forming\",\"rev\"");
        let live_bar = text.starts_with(r#"{"type":"bar""#);
        let due = self.name == 0 && live_bar && shared.messages > 60;
        match shared.tamper.filter(|&t| due && forming == (t == Tamper::DropForming)) {
            None => connection.on_text(text, shared),
            Some(Tamper::DropFact | Tamper::DropForming) => {
                // Formings go on being dropped: one alone is only a skipped value.
                shared.tamper = shared.tamper.filter(|&t| t == Tamper::DropForming);
                Ok(())
            }
            Some(Tamper::RepeatFact) => {
                shared.tamper = None;
                connection.on_text(text, shared)?;
                connection.on_text(text, shared)
            }
            Some(Tamper::ChangePrice) => {
                shared.tamper = None;
                connection.on_text(&text.replace("\"high\":", "\"high\":9"), shared)
            }
        }
    }
}

impl Connection {
    fn states(&self, topic: &str) -> [States; 2] {
        let named = self.named.get(topic).copied().unwrap_or_default();
        [named, self.wild.get(&kind_of(topic)).copied().unwrap_or_default()]
    }

    /// Whether a topic's states are owed to it: its last requests count.
    pub fn wants_states(&self, topic: &str) -> bool {
        self.states(topic).iter().any(|states| states.now)
    }

    fn send(&mut self, text: &str) {
        self.control(1, text.as_bytes());
    }

    /// A masked frame. The way to the server is wide: what does not fit shows as a missing answer.
    fn control(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            n if n < 126 => bytes.push(0x80 | n as u8),
            n => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        let _ = self.end.write_all(&bytes);
    }

    fn on_text(&mut self, text: &str, shared: &mut Shared) -> Result<(), String> {
        match field(text, "type") {
            Some("bar" | "trade" | "cancel" | "correction" | "quote" | "snapshot") => {
                self.on_event(text, shared)
            }
            Some("subscribed") => self.on_subscribed(text, shared),
            Some("unsubscribed") => self.on_unsubscribed(text),
            Some("welcome" | "slow") => Ok(()),
            Some("draining") if shared.stopping => Ok(()),
            _ => Err(format!("unexpected {text}")),
        }
    }

    fn answered(&mut self, reply: &serde_json::Value) -> Result<Request, String> {
        match self.requests.pop_front() {
            Some((id, request)) if reply["id"].as_u64() == Some(id) => Ok(request),
            _ => Err(format!("an answer out of order: {reply}")),
        }
    }

    fn on_subscribed(&mut self, text: &str, shared: &mut Shared) -> Result<(), String> {
        let reply: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Request { channel, since, topics, .. } = self.answered(&reply)?;
        let recovered = reply["recovered"].as_bool();
        if recovered.is_some() == since.is_empty() {
            return Err(format!("says of a recovery what was not asked: {text}"));
        }
        let Some(sequences) = reply["sequences"].as_object() else {
            return if topics[0].contains("/*") { Ok(()) } else { Err(format!("no sequences: {text}")) };
        };
        if sequences.len() != topics.len() {
            return Err(format!("other topics than asked for: {text}"));
        }
        for (name, sequence) in sequences {
            let topic = format!("{channel}/{name}");
            let at = sequence.as_u64().ok_or("a sequence that is no number")?;
            if !topics.contains(&topic) {
                return Err(format!("{topic} was not asked for"));
            }
            shared.saw(&topic, at);
            let stand = self.topics.entry(topic.clone()).or_default();
            if let Some(before) = stand.at.filter(|&before| before != at) {
                return Err(format!("{topic} joined at {at} in the middle of a stream that was at {before}"));
            }
            stand.at = Some(at);
            if channel == "quotes" {
                continue;
            }
            match since.get(&topic) {
                None => {}
                Some(&from) if from > at => return Err(format!("{topic} fell from {from} back to {at}")),
                Some(&from) => {
                    stand.bars.clear();
                    if recovered == Some(true) {
                        (stand.at, stand.until) = (Some(from), Some(at).filter(|_| from < at));
                        shared.recovered += at - from;
                    } else if from < at {
                        stand.perhaps_since = Some(from);
                    }
                }
            }
        }
        Ok(())
    }

    fn on_unsubscribed(&mut self, text: &str) -> Result<(), String> {
        let reply: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let request = self.answered(&reply)?;
        if !request.unsubscribes {
            return Err(format!("nobody left: {text}"));
        }
        for topic in request.topics {
            self.named.remove(&topic);
            if !self.wild.contains_key(&kind_of(&topic)) {
                self.topics.remove(&topic);
            }
        }
        Ok(())
    }

    fn on_event(&mut self, text: &str, shared: &mut Shared) -> Result<(), String> {
        let at = text.find("\"data\":").ok_or("an event without data")?;
        let (head, data) = text.split_at(at + 7);
        let missing = || format!("a field is missing: {text}");
        let channel = field(head, "channel").ok_or_else(missing)?;
        let sequence = number(head, "sequence")?;
        let snapshot = head.starts_with(r#"{"type":"snapshot""#);
        let symbol = field(data, "symbol").ok_or_else(missing)?;
        let timeframe = field(data, "timeframe");
        let topic = match timeframe {
            Some(timeframe) => format!("{channel}/{symbol}/{timeframe}"),
            None => format!("{channel}/{symbol}"),
        };
        let kind = kind_of(&topic);
        let fresh = !self.topics.contains_key(&topic);
        if fresh && !self.wild.contains_key(&kind) {
            return Err(format!("{topic} was not asked for: {text}"));
        }
        let wants_states = self.states(&topic).iter().any(|states| states.ever);
        let stand = self.topics.entry(topic.clone()).or_default();
        let state = field(data, "state");
        match (channel, state) {
            ("quotes", _) => {
                stand.quote = Some(data.to_owned());
                Ok(())
            }
            ("bars", Some("forming")) => {
                if !wants_states {
                    return Err(format!("forming bars were not asked for: {text}"));
                }
                stand
                    .on_forming(sequence, snapshot, data)
                    .map_err(|problem| format!("{topic}: {problem}: {text}"))
            }
            _ => {
                let told = stand.at;
                shared.saw(&topic, sequence);
                stand
                    .on_fact(sequence, snapshot, data, shared)
                    .map_err(|problem| format!("{topic}, standing at {told:?}: {problem}: {text}"))?;
                if snapshot {
                    return Ok(());
                }
                // A refusal may flag a bar later: flags alone may differ between a fact and its replay.
                let said = data.split(",\"flags\"").next().unwrap_or(data);
                match shared.facts.get(&(topic.clone(), sequence)) {
                    Some(other) if other == said => Ok(()),
                    Some(other) => Err(format!("{topic}@{sequence} was {other} and is {said}")),
                    None => {
                        shared.facts.insert((topic, sequence), said.to_owned());
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Stand {
    fn on_forming(&mut self, sequence: u64, snapshot: bool, data: &str) -> Result<(), String> {
        let start = number(data, "start")? as i64;
        let at = *self.at.get_or_insert(sequence);
        if sequence > at || (snapshot && sequence != at) {
            return Err(format!("a state of {sequence} after the fact {at}"));
        }
        if self.bars.contains_key(&start) {
            return Err("forming after it closed".to_owned());
        }
        self.forming = Some((start, data.to_owned()));
        Ok(())
    }

    fn on_fact(&mut self, sequence: u64, snapshot: bool, data: &str, shared: &Shared) -> Result<(), String> {
        if snapshot {
            // The newest fact as it stands: the topic is at this sequence, and says so once more.
            if self.until.is_some() {
                return Err("a snapshot instead of the facts that were promised".to_owned());
            }
            let at = *self.at.get_or_insert(sequence);
            if at != sequence {
                return Err("a snapshot of another moment".to_owned());
            }
            self.perhaps_since = None;
        } else {
            if let Some(from) = self.perhaps_since.take()
                && sequence == from + 1
            {
                (self.at, self.until) = (Some(from), self.at);
            }
            let first_known = self.at.is_some() || !shared.forgets;
            if first_known && sequence != self.at.unwrap_or(0) + 1 {
                return Err("a gap or a repeat".to_owned());
            }
            self.at = Some(sequence);
            self.until = self.until.filter(|&until| until > sequence);
        }
        let Some(start) = field(data, "start") else { return Ok(()) };
        let start: i64 = start.parse().map_err(|_| "a start that is no number")?;
        let rev = number(data, "rev")?;
        let closes = field(data, "state") == Some("closed");
        let before = self.bars.insert(start, (rev, data.to_owned())).map(|(rev, _)| rev);
        match before {
            Some(before) if !snapshot && rev != before + 1 => {
                return Err(format!("revision {rev} after {before}"));
            }
            None if !snapshot && closes != (rev == 0) => return Err("a revision says it closes".to_owned()),
            _ => {}
        }
        if self.forming.as_ref().is_some_and(|(forming, _)| *forming <= start && closes) {
            self.forming = None;
        }
        Ok(())
    }

    /// Nothing that was promised is missing.
    pub fn is_whole(&self) -> bool {
        self.until.is_none()
    }
}

/// Opcode, payload, and the length of the whole.
type Frame<'a> = (u8, &'a [u8], usize);

/// The server's next frame, once all of it is there.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err(format!("a frame that begins {first:#x} {second:#x}"));
    }
    let (length, header) = match second {
        126 => match bytes.get(2..4) {
            Some(long) => (usize::from(u16::from_be_bytes([long[0], long[1]])), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|long| long.try_into().ok()) {
            Some(long) => (u64::from_be_bytes(long) as usize, 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    Ok(bytes.get(header..header + length).map(|payload| (first & 15, payload, header + length)))
}
