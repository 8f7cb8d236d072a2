//! A vendor's streaming side on the network in memory: handshake, key, subscriptions, sales, and what goes wrong with them.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};

use tickwire::runtime::transport::{End, Network, Port};
use tungstenite::handshake::derive_accept_key;

use crate::random::Random;

/// Whose language it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// A key, answers by name, too many connections put the oldest out.
    Massive,
    /// Answers by number, and trades that are numbered without a hole.
    Binance,
}

/// What becomes of a connection that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Nobody listens.
    Refuse,
    /// It is accepted, and reset at once.
    Slam,
    /// It is never answered.
    Silent,
    /// It is answered with 503.
    Unavailable,
}

/// How a connection ends, or seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Reset,
    /// The stream ends without a close.
    End,
    /// A close frame, and the end.
    Close,
    /// Half of a message, and the end.
    Half,
    /// Half of a message, and silence for good.
    HalfSilence,
    /// Silence for good.
    Silence,
}

/// A sale that was due, whoever was sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    pub symbol: usize,
    /// The venue's time, ms.
    pub ms: i64,
    /// From 1 without a hole, by symbol.
    pub id: u64,
    /// 1e-2.
    pub price: u64,
    /// Whole units.
    pub size: u64,
}

struct Wire {
    /// None once it is over: to drop an end is to end it, and what was written still arrives.
    end: Option<End>,
    inbox: Vec<u8>,
    upgraded: bool,
    /// When its key was taken.
    authorized: Option<u64>,
    subscribed: BTreeSet<String>,
    latency: i64,
    /// What is on its way, and when it is there.
    outbox: VecDeque<(i64, Vec<u8>)>,
    /// Nothing passes until then.
    stalled_until: i64,
}

impl Wire {
    fn lives(&self) -> bool {
        self.end.is_some() && self.stalled_until != i64::MAX
    }

    /// Ends it. What was on its way is lost.
    fn finish(&mut self) {
        self.end = None;
        self.subscribed.clear();
    }

    /// It serves no more, and what is on its way still comes.
    fn forget(&mut self) {
        self.authorized = None;
        self.subscribed.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.end.as_mut().is_some_and(|end| end.write_all(bytes).is_err()) {
            self.finish();
        }
    }
}

/// One address of a venue.
pub struct Venue {
    tongue: Tongue,
    network: Network,
    number: u16,
    port: Option<Port>,
    door: Door,
    wires: Vec<Wire>,
    keys_taken: u64,
    /// Subscriptions are not answered.
    pub is_deaf: bool,
    /// Connections of the account; the oldest is put out for one too many.
    pub places: usize,
}

impl Venue {
    pub fn new(tongue: Tongue, network: &Network, number: u16) -> Self {
        Self {
            tongue,
            network: network.clone(),
            number,
            port: Some(network.listen(number)),
            door: Door::Open,
            wires: Vec::new(),
            keys_taken: 0,
            is_deaf: false,
            places: usize::MAX,
        }
    }

    pub fn set_door(&mut self, door: Door) {
        self.door = door;
        // Whoever still waited before a closed door is reset.
        self.port = None;
        if door != Door::Refuse {
            self.port = Some(self.network.listen(self.number));
        }
    }

    /// Connections that are let in and live.
    pub fn alive(&self) -> Vec<usize> {
        let lives = |wire: &Wire| wire.lives() && wire.authorized.is_some();
        (0..self.wires.len()).filter(|at| lives(&self.wires[*at])).collect()
    }

    /// How many subscriptions its connections have.
    pub fn subscriptions(&self) -> usize {
        self.alive().iter().map(|at| self.wires[*at].subscribed.len()).sum()
    }

    /// When something is to be sent.
    pub fn deadline(&self) -> Option<i64> {
        let due = |wire: &Wire| wire.outbox.front().map(|(at, _)| *at.max(&wire.stalled_until));
        self.wires.iter().filter(|wire| wire.lives()).filter_map(due).min()
    }

    /// Accepts, reads and sends what is due; `true` where anything was.
    pub fn turn(&mut self, now: i64, random: &mut Random) -> bool {
        let mut busy = false;
        while self.door != Door::Silent
            && let Some(Ok((end, _))) = self.port.as_ref().map(Port::accept)
        {
            busy = true;
            match self.door {
                Door::Slam => end.reset(),
                _ => self.wires.push(Wire {
                    end: Some(end),
                    inbox: Vec::new(),
                    upgraded: false,
                    authorized: None,
                    subscribed: BTreeSet::new(),
                    latency: 1 + random.below(20) as i64,
                    outbox: VecDeque::new(),
                    stalled_until: 0,
                }),
            }
        }
        for at in 0..self.wires.len() {
            busy |= self.read(at, now);
            let wire = &mut self.wires[at];
            while let Some((due, _)) = wire.outbox.front()
                && now >= *due.max(&wire.stalled_until)
                && wire.lives()
                && let Some((_, bytes)) = wire.outbox.pop_front()
            {
                busy = true;
                wire.write(&bytes);
                // After a close nothing comes.
                if bytes[0] == 0x88 {
                    wire.finish();
                }
            }
        }
        busy
    }

    fn read(&mut self, at: usize, now: i64) -> bool {
        let wire = &mut self.wires[at];
        let Some(end) = wire.end.as_mut().filter(|_| wire.stalled_until <= now) else { return false };
        let mut chunk = [0; 4096];
        let mut busy = false;
        loop {
            match end.read(&mut chunk) {
                Ok(n) if n > 0 => wire.inbox.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                _ => {
                    wire.finish();
                    return true;
                }
            }
            busy = true;
        }
        if !wire.upgraded {
            let text = String::from_utf8_lossy(&wire.inbox).into_owned();
            let Some((head, _)) = text.split_once("\r\n\r\n") else { return busy };
            let name = "sec-websocket-key:";
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            let key = derive_accept_key(line.map_or("", |line| line[name.len()..].trim()).as_bytes());
            wire.inbox.drain(..head.len() + 4);
            if self.door == Door::Unavailable {
                wire.write(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n");
                wire.finish();
                return true;
            }
            wire.upgraded = true;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
            );
            wire.outbox.push_back((now + wire.latency, answer.into_bytes()));
            match self.tongue {
                Tongue::Massive => self.say(at, now, &status("connected", "Connected Successfully")),
                Tongue::Binance => wire.authorized = Some(0),
            }
        }
        while let Some((opcode, payload)) = take_frame(&mut self.wires[at].inbox) {
            match opcode {
                1 => self.hear(at, now, &payload),
                8 => self.wires[at].finish(),
                9 => self.push(at, now, 10, &payload),
                _ => {}
            }
        }
        busy
    }

    fn hear(&mut self, at: usize, now: i64, text: &[u8]) {
        let message: serde_json::Value = serde_json::from_slice(text).expect("the engine sends JSON");
        if self.tongue == Tongue::Binance {
            let params = message["params"].as_array().expect("a list").iter();
            let streams: Vec<String> = params.map(|name| name.as_str().expect("a name").to_owned()).collect();
            if self.is_deaf {
                return;
            }
            let subscribed = &mut self.wires[at].subscribed;
            for stream in streams {
                if message["method"] == "SUBSCRIBE" {
                    subscribed.insert(stream);
                } else {
                    subscribed.remove(&stream);
                }
            }
            return self.say(at, now, &format!(r#"{{"result":null,"id":{}}}"#, message["id"]));
        }
        let params = message["params"].as_str().expect("a text").to_owned();
        match message["action"].as_str() {
            Some("auth") => {
                self.keys_taken += 1;
                self.wires[at].authorized = Some(self.keys_taken);
                self.say(at, now, &status("auth_success", "authenticated"));
                self.put_out_the_oldest(now);
            }
            Some(action) if !self.is_deaf => {
                for param in params.split(',') {
                    let subscribed = &mut self.wires[at].subscribed;
                    let word = if action == "subscribe" {
                        subscribed.insert(param.to_owned());
                        "subscribed"
                    } else {
                        subscribed.remove(param);
                        "unsubscribed"
                    };
                    self.say(at, now, &status("success", &format!("{word} to: {param}")));
                }
            }
            _ => {}
        }
    }

    pub fn put_out_the_oldest(&mut self, now: i64) {
        let mut up = self.alive();
        up.sort_by_key(|at| self.wires[*at].authorized);
        while up.len() > self.places {
            let at = up.remove(0);
            self.say(at, now, &status("max_connections", "Maximum number of connections exceeded."));
            self.push(at, now, 8, &1008_u16.to_be_bytes());
            self.wires[at].forget();
        }
    }

    /// A sale, to every connection that subscribes to it. Returns whether any did.
    pub fn sell(&mut self, sale: &Sale, now: i64) -> bool {
        let Sale { symbol, ms, id, size, .. } = *sale;
        let price = decimal(sale.price);
        let (name, text) = match self.tongue {
            Tongue::Massive => (
                format!("T.S{symbol}"),
                format!(
                    r#"[{{"ev":"T","sym":"S{symbol}","x":4,"i":"{id}","z":3,"p":{price},"s":{size},"c":[0],"t":{ms},"q":{id}}}]"#
                ),
            ),
            Tongue::Binance => (
                format!("s{symbol}@trade"),
                format!(
                    r#"{{"stream":"s{symbol}@trade","data":{{"e":"trade","E":{ms},"s":"S{symbol}","t":{id},"p":"{price}","q":"{size}","T":{ms},"m":false,"M":true}}}}"#
                ),
            ),
        };
        let mut sent = false;
        for at in 0..self.wires.len() {
            let subscribed = &self.wires[at].subscribed;
            if self.wires[at].lives() && (subscribed.contains(&name) || subscribed.contains("T.*")) {
                self.say(at, now, &text);
                sent = true;
            }
        }
        sent
    }

    /// Holds everything of a connection back for a while, after which all of it follows.
    pub fn stall(&mut self, at: usize, until: i64) {
        self.wires[at].stalled_until = until;
    }

    pub fn cut(&mut self, at: usize, how: Cut, now: i64) {
        let wire = &mut self.wires[at];
        if matches!(how, Cut::Half | Cut::HalfSilence) {
            let half = frame(1, status("success", "half of this is on its way").as_bytes());
            wire.write(&half[..half.len() / 2]);
        }
        match how {
            Cut::Silence | Cut::HalfSilence => wire.stalled_until = i64::MAX,
            Cut::Reset => {
                wire.end.iter().for_each(End::reset);
                wire.finish();
            }
            Cut::Half | Cut::End => wire.finish(),
            Cut::Close => {
                self.push(at, now, 8, &1012_u16.to_be_bytes());
                self.wires[at].forget();
            }
        }
    }

    fn say(&mut self, at: usize, now: i64, text: &str) {
        self.push(at, now, 1, text.as_bytes());
    }

    fn push(&mut self, at: usize, now: i64, opcode: u8, payload: &[u8]) {
        let wire = &mut self.wires[at];
        wire.outbox.push_back((now + wire.latency, frame(opcode, payload)));
    }
}

fn status(status: &str, message: &str) -> String {
    format!(r#"[{{"ev":"status","status":"{status}","message":"{message}"}}]"#)
}

/// Cents as a decimal number.
pub fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A frame as servers send it: not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        n if n < 126 => bytes.push(n as u8),
        n => {
            bytes.push(126);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes the first whole frame of a client, unmasked.
fn take_frame(inbox: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (inbox.first()?, inbox.get(1)?);
    let (length, header) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*inbox.get(2)?, *inbox.get(3)?])), 4),
        short => (usize::from(short), 2),
    };
    let mask: [u8; 4] = inbox.get(header..header + 4)?.try_into().ok()?;
    let masked = inbox.get(header + 4..header + 4 + length)?;
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    inbox.drain(..header + 4 + length);
    Some((first & 15, payload))
}
