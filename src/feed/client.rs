//! The sockets of a pool: does what it orders, and tells it what happened. Each step towards a connection has its deadline, no
//! step waits, and whatever ends a connection or an attempt becomes one [`Loss`].

mod connection;

use std::net::SocketAddr;
use std::time::Duration;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Bytes, Message, Utf8Bytes};

use crate::model::{Nanos, Tick, UnixNanos};
use crate::runtime::Registrar;
use crate::runtime::resolver::{Answer, Name, Resolver, literal};
use crate::runtime::tls::{Socket, Trust, TrustError};
use crate::runtime::websocket::client::{Opening, Target};

use super::coverage::Coverage;
use super::field::Context;
use super::frames::{Frames, Inbound};
use super::pool::{FeedCommand, Loss, Order, Pool};
use super::tcp::After;

use connection::{Asking, Member, Open, Phase, UNSENT_BYTES_MAX, loss_of, not_connected};

/// Orders of one pool that are done in one turn.
const ORDERS_PER_TURN: usize = 256;
/// A peer that acknowledges nothing of what we sent for so long is gone. Half of what a pool waits for a sign of life.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// The limits of a client's connections.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// The longest message, in bytes; a longer one ends its connection.
    pub message_bytes_max: usize,
    /// The name, the connection, TLS, the upgrade and the peer's close may each take so long.
    pub step_max: Nanos,
}

/// What a client does its work with, lent for a call.
pub struct Means<'a> {
    /// Makes and watches sockets.
    pub registrar: &'a Registrar,
    /// Knows names; without one only addresses can be connected to.
    pub resolver: Option<&'a mut Resolver>,
    /// What is covered, shared by all pools.
    pub coverage: &'a mut Coverage,
    /// Where ticks go.
    pub out: &'a mut Vec<Tick>,
}

/// The connections of one pool.
pub struct Client {
    pool: Pool,
    members: Vec<Member>,
    trust: Option<Trust>,
    limits: ClientLimits,
    /// The token of the first slot; the others follow.
    token: usize,
    /// The state of the generator of handshake keys.
    keys: u64,
}

/// What a step left behind.
enum Step {
    Drained,
    More,
    Lost(Loss),
}

impl Client {
    /// The connections of a pool, none of them begun. Its sockets report under `token` and the numbers after it, one a slot.
    /// `seed` decides the keys of its handshakes.
    ///
    /// # Errors
    /// Where the pool goes over TLS and the authorities it trusts cannot be read.
    pub fn new(pool: Pool, limits: ClientLimits, token: usize, seed: u64) -> Result<Self, TrustError> {
        let members = (0..pool.slots()).map(|_| Member::default()).collect::<Vec<_>>();
        let secured = (0..pool.slots()).map(|slot| pool.endpoint(slot)).find(|endpoint| endpoint.tls);
        let trust = secured.map(|endpoint| Trust::new(endpoint.ca_file.as_deref())).transpose()?;
        Ok(Self { pool, members, trust, limits, token, keys: seed })
    }

    /// How many slots it has.
    pub fn slots(&self) -> usize {
        self.members.len()
    }

    /// The pool, to ask and to report.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// A slot's socket became ready.
    pub fn on_edge(&mut self, slot: usize) {
        if let Some(member) = self.members.get_mut(slot) {
            member.ready = true;
        }
    }

    /// When a phase is given up, or the pool needs the clock.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let phases = self.members.iter().filter_map(|member| member.deadline);
        phases.chain(self.pool.deadline()).min()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.members.iter().filter(|member| matches!(member.phase, Phase::Open(_))).count()
    }

    /// Does what the pool orders; `true` where more is ordered than one turn does.
    pub fn obey(&mut self, cx: &mut Context<'_>, means: &mut Means<'_>) -> bool {
        for _ in 0..ORDERS_PER_TURN {
            let Some(order) = self.pool.next_order(cx.now) else { return false };
            let (slot, loss) = match order {
                Order::Connect { slot } => (slot, self.connect(slot, cx, means)),
                Order::Send { slot, text } => (slot, self.send(slot, text)),
                Order::Ping { slot } => (slot, self.send_frame(slot, Message::Ping(Bytes::new()))),
                Order::Close { slot, code, reason } => (slot, self.close(slot, code, reason, cx.now)),
            };
            if let Some(loss) = loss {
                self.lose(slot, &loss, cx, means);
            }
        }
        true
    }

    /// Hands a command to the pool.
    pub fn command(&mut self, command: FeedCommand, cx: &mut Context<'_>, means: &mut Means<'_>) {
        self.pool.command(command, cx, means.coverage, means.out);
    }

    /// An answer to a name, for all who wait for it.
    pub fn on_answer(&mut self, answer: &Answer, cx: &mut Context<'_>, means: &mut Means<'_>) {
        for slot in 0..self.members.len() {
            let member = &mut self.members[slot];
            if !matches!(&member.phase, Phase::Naming(name) if *name == answer.name) {
                continue;
            }
            member.phase = Phase::Idle;
            let loss = match &answer.addresses {
                Ok(addresses) if !addresses.is_empty() => {
                    member.untried = addresses.iter().rev().copied().collect();
                    // One that worked before goes first: it is stable, so the others keep their order.
                    member.untried.sort_by_key(|addr| member.proven == Some(*addr));
                    self.connect_next(slot, cx, means)
                }
                Ok(_) => Some(Loss::Unresolved),
                Err(error) => {
                    cx.tallies.note(
                        cx.now,
                        "name not found",
                        format!("{}: {error}", answer.name.host).as_bytes(),
                    );
                    Some(Loss::Unresolved)
                }
            };
            if let Some(loss) = loss {
                self.lose(slot, &loss, cx, means);
            }
        }
    }

    /// Moves one slot on by a step: of an open connection, one message.
    pub fn read(&mut self, slot: usize, cx: &mut Context<'_>, means: &mut Means<'_>) -> After {
        let Some(member) = self.members.get_mut(slot).filter(|member| member.ready) else {
            return After::Drained;
        };
        let step = match &mut member.phase {
            Phase::Idle | Phase::Naming(_) => Step::Drained,
            Phase::Connecting(..) => self.connected(slot, cx),
            Phase::Securing(socket) => match socket.handshake() {
                Ok(true) => self.ask(slot, cx.now),
                Ok(false) => Step::Drained,
                Err(error) => Step::Lost(loss_of(&error)),
            },
            Phase::Asking(asking) => match asking.step(cx.now) {
                Ok(Some(tail)) => self.opened(slot, tail, cx),
                Ok(None) => Step::Drained,
                Err(loss) => Step::Lost(loss),
            },
            Phase::Open(open) => match open.read() {
                Inbound::Message => {
                    self.pool.message(slot, open.frames.message(), cx, means.coverage, means.out);
                    Step::More
                }
                Inbound::Control => {
                    self.pool.heard(slot, cx.now);
                    Step::More
                }
                Inbound::Part => Step::More,
                Inbound::Drained => Step::Drained,
                ended => Step::Lost(open.end(ended, cx)),
            },
        };
        match step {
            Step::More => After::More,
            Step::Drained => {
                self.members[slot].ready = false;
                After::Drained
            }
            Step::Lost(loss) => {
                self.lose(slot, &loss, cx, means);
                After::Ended
            }
        }
    }

    /// Gives up what took too long, and lets the pool do what is due. Call it when all that came has been read: what waited
    /// here unread is no silence of the peer.
    pub fn on_time(&mut self, cx: &mut Context<'_>, means: &mut Means<'_>) {
        for slot in 0..self.members.len() {
            if self.members[slot].deadline.is_some_and(|at| cx.now >= at) {
                self.lose(slot, &Loss::TimedOut, cx, means);
            }
        }
        if self.pool.deadline().is_some_and(|at| cx.now >= at) {
            self.pool.on_time(cx, means.coverage, means.out);
        }
    }

    /// Says goodbye to every peer and drops all connections; the pool is told nothing more.
    pub fn go_away(&mut self, registrar: &Registrar) {
        for member in &mut self.members {
            if let Phase::Open(open) = &mut member.phase {
                let frame = CloseFrame { code: CloseCode::Away, reason: "the engine stops".into() };
                // A peer that is gone needs no word.
                let _ = open.frames.close(&mut open.socket, frame);
                open.socket.say_end();
            }
            member.drop_socket(registrar);
        }
    }

    // Orders.

    fn connect(&mut self, slot: usize, cx: &mut Context<'_>, means: &mut Means<'_>) -> Option<Loss> {
        let endpoint = self.pool.endpoint(slot);
        let name = || Name { host: endpoint.host.clone(), port: endpoint.port };
        let member = self.members.get_mut(slot)?;
        if !matches!(member.phase, Phase::Idle) {
            return None;
        }
        if !member.untried.is_empty() {
            return self.connect_next(slot, cx, means);
        }
        if let Some(ip) = literal(&endpoint.host) {
            member.untried.push(SocketAddr::new(ip, endpoint.port));
            return self.connect_next(slot, cx, means);
        }
        let name = name();
        if !means.resolver.as_mut().is_some_and(|resolver| resolver.ask(&name)) {
            return Some(Loss::Unresolved);
        }
        member.phase = Phase::Naming(name);
        member.deadline = Some(cx.now + self.limits.step_max);
        None
    }

    /// Tries the next address: one an attempt.
    fn connect_next(&mut self, slot: usize, cx: &mut Context<'_>, means: &Means<'_>) -> Option<Loss> {
        let member = self.members.get_mut(slot)?;
        let addr = member.untried.pop()?;
        match means.registrar.connect(addr, self.token + slot) {
            Ok(stream) => {
                member.phase = Phase::Connecting(stream, addr);
                member.ready = true;
                member.deadline = Some(cx.now + self.limits.step_max);
                None
            }
            Err(error) => Some(not_connected(addr, &error, cx)),
        }
    }

    fn send(&mut self, slot: usize, text: Vec<u8>) -> Option<Loss> {
        match Utf8Bytes::try_from(text) {
            Ok(text) => self.send_frame(slot, Message::Text(text)),
            Err(_) => Some(Loss::Protocol("we had a text to send that is not UTF-8".to_owned())),
        }
    }

    fn send_frame(&mut self, slot: usize, message: Message) -> Option<Loss> {
        let Some(Member { phase: Phase::Open(open), .. }) = self.members.get_mut(slot) else { return None };
        if !open.frames.can_write() {
            return None;
        }
        let written = open.frames.write(&mut open.socket, message);
        open.after_write(written)
    }

    fn close(&mut self, slot: usize, code: u16, reason: &'static str, now: UnixNanos) -> Option<Loss> {
        let member = self.members.get_mut(slot)?;
        let Phase::Open(open) = &mut member.phase else {
            let idle = matches!(member.phase, Phase::Idle);
            return (!idle).then(|| Loss::Closed { code: None, reason: reason.to_owned() });
        };
        if !open.frames.can_write() {
            return None;
        }
        member.deadline = Some(now + self.limits.step_max);
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let sent = open.frames.close(&mut open.socket, frame);
        open.after_write(sent)
    }

    // Steps towards a connection.

    fn connected(&mut self, slot: usize, cx: &mut Context<'_>) -> Step {
        let endpoint = self.pool.endpoint(slot);
        let member = &mut self.members[slot];
        let (stream, addr) = match std::mem::take(&mut member.phase) {
            Phase::Connecting(stream, addr) => (stream, addr),
            other => {
                member.phase = other;
                return Step::Drained;
            }
        };
        match stream.is_connected() {
            Ok(true) => {}
            Ok(false) => {
                member.phase = Phase::Connecting(stream, addr);
                return Step::Drained;
            }
            Err(error) => {
                member.phase = Phase::Connecting(stream, addr);
                return Step::Lost(not_connected(addr, &error, cx));
            }
        }
        stream.send_at_once();
        stream.watch_peer(Some(UNACKNOWLEDGED_MAX));
        member.proven = Some(addr);
        let secured = match &self.trust {
            Some(trust) if endpoint.tls => Socket::secure(stream, &endpoint.host, trust),
            _ => Ok(Socket::Plain(stream)),
        };
        match secured {
            Ok(socket) => {
                member.phase = Phase::Securing(socket);
                member.deadline = Some(cx.now + self.limits.step_max);
                Step::More
            }
            Err(why) => Step::Lost(Loss::Tls(why)),
        }
    }

    /// TLS is done, or none is wanted: asks for the upgrade.
    fn ask(&mut self, slot: usize, now: UnixNanos) -> Step {
        let key = self.next_key();
        let endpoint = self.pool.endpoint(slot);
        let target = Target {
            tls: endpoint.tls,
            host: &endpoint.host,
            port: endpoint.port,
            path_and_query: &endpoint.path_and_query,
            headers: &endpoint.headers,
        };
        let opening = match Opening::new(&target, key) {
            Ok(opening) => opening,
            Err(why) => return Step::Lost(Loss::Protocol(why)),
        };
        let member = &mut self.members[slot];
        if let Phase::Securing(socket) = std::mem::take(&mut member.phase) {
            member.phase = Phase::Asking(Box::new(Asking { socket, opening, sent: 0, head: Vec::new() }));
            member.deadline = Some(now + self.limits.step_max);
        }
        Step::More
    }

    fn opened(&mut self, slot: usize, tail: Vec<u8>, cx: &mut Context<'_>) -> Step {
        let member = &mut self.members[slot];
        if let Phase::Asking(asking) = std::mem::take(&mut member.phase) {
            let frames = Frames::new(&tail, Role::Client, self.limits.message_bytes_max, UNSENT_BYTES_MAX);
            member.phase = Phase::Open(Box::new(Open { socket: asking.socket, frames, unsent: false }));
            member.deadline = None;
            // The next attempt asks for the addresses anew.
            member.untried.clear();
            cx.tallies.connections += 1;
            self.pool.opened(slot, cx.now);
        }
        Step::More
    }

    fn lose(&mut self, slot: usize, loss: &Loss, cx: &mut Context<'_>, means: &mut Means<'_>) {
        if let Some(member) = self.members.get_mut(slot) {
            member.drop_socket(means.registrar);
            self.pool.lost(slot, loss, cx, means.coverage, means.out);
        }
    }

    /// 16 bytes that no other handshake of this client has: two steps of SplitMix64.
    fn next_key(&mut self) -> u128 {
        let mut step = || {
            self.keys = self.keys.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.keys ^ (self.keys >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        u128::from(step()) << 64 | u128::from(step())
    }
}
