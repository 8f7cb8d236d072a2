//! The stage that accepts clients and deals them to the gateways: each to the one with the fewest connections.
//!
//! It shares the first gateway's core and owns the listener, so the limits over all gateways are counted in one place. Sockets
//! go to a gateway by one ring and the news of their end comes back by another. A gateway that takes nothing keeps
//! neither the dealer nor the others waiting: once its sockets lie there for [`LATE`], newcomers go elsewhere.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::model::{Nanos, UnixNanos};
use crate::runtime::{Bell, Ready, Receiver, Registrar, Report, Sender, Stage, Stream, Turned, ring};

use super::listener::Door;
use super::options::GatewayOptions;

/// Sockets that may wait for one gateway: four turns of accepting.
pub const SOCKETS_DEPTH: usize = 256;
/// After so long without taking its sockets a gateway gets no more while another can. A turn takes well under a tenth of it.
pub const LATE: Nanos = Nanos::from_millis(100);
/// Clients above a limit that are told so at the same time; more are reset without a word.
const REFUSALS_MAX: usize = 64;
const LISTENER: usize = 0;

/// What a newcomer is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Come in.
    Admitted,
    /// `connections_max` are there already.
    Full,
    /// `connections_per_ip_max` are there already from its address.
    AddressFull,
}

/// A socket on its way to a gateway.
pub(super) struct Accepted {
    pub stream: Stream,
    pub peer: IpAddr,
    pub admission: Admission,
}

/// A connection has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    peer: IpAddr,
    admitted: bool,
}

/// The dealer's ends of the rings to and from one gateway.
pub struct Way {
    sockets: Sender<Accepted>,
    ended: Receiver<Ended>,
    connections: usize,
    /// Since when sockets wait there.
    waiting_since: Option<UnixNanos>,
}

/// The gateway's ends of them. What found the way back full waits here; it is never more than the connections there were.
pub struct Entrance {
    sockets: Receiver<Accepted>,
    ended: Sender<Ended>,
    waiting: VecDeque<Ended>,
}

/// Two rings between the cores of a dealer and of one gateway.
pub fn way(dealer: &Bell, gateway: &Bell) -> (Way, Entrance) {
    let (sockets_tx, sockets_rx) = ring(SOCKETS_DEPTH, dealer.clone(), gateway.clone());
    let (ended_tx, ended_rx) = ring(SOCKETS_DEPTH, gateway.clone(), dealer.clone());
    (
        Way { sockets: sockets_tx, ended: ended_rx, connections: 0, waiting_since: None },
        Entrance { sockets: sockets_rx, ended: ended_tx, waiting: VecDeque::new() },
    )
}

impl Entrance {
    pub(super) fn next(&mut self) -> Option<Accepted> {
        self.sockets.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Tells the dealer of an end.
    pub(super) fn ended(&mut self, peer: IpAddr, admitted: bool) {
        self.waiting.push_back(Ended { peer, admitted });
    }

    pub(super) fn flush(&mut self) {
        while let Some(&ended) = self.waiting.front() {
            if self.ended.push(ended).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.ended.flush();
    }

    pub(super) fn has_work(&self) -> bool {
        !self.sockets.is_empty() || (!self.waiting.is_empty() && self.ended.has_news())
    }
}

/// Accepts and deals.
pub struct Dealer {
    door: Door,
    ways: Vec<Way>,
    connections_max: usize,
    per_ip_max: usize,
    accepts_per_turn: u32,
    /// Connections by address. One goes as its last connection does, so there are never more than connections.
    addresses: HashMap<IpAddr, usize>,
    connections: usize,
    refusals: usize,
    /// One for which no gateway has room.
    held: Option<Accepted>,
    dealt: u64,
    refused_unanswered: u64,
}

impl Dealer {
    /// Opens the listener. `ways[k]` leads to gateway k.
    ///
    /// # Errors
    /// As the system refuses to bind or listen.
    pub fn new(options: &GatewayOptions, registrar: &Registrar, ways: Vec<Way>) -> io::Result<Self> {
        Ok(Self {
            door: Door::open(registrar, options.listen, LISTENER)?,
            ways,
            connections_max: options.connections_max,
            per_ip_max: options.connections_per_ip_max,
            accepts_per_turn: options.accepts_per_turn,
            addresses: HashMap::new(),
            connections: 0,
            refusals: 0,
            held: None,
            dealt: 0,
            refused_unanswered: 0,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.door.local_addr()
    }

    /// Takes the news of connections that have ended.
    fn take_ended(&mut self) -> usize {
        let mut taken = 0;
        for way in &mut self.ways {
            let (addresses, connections, refusals) =
                (&mut self.addresses, &mut self.connections, &mut self.refusals);
            let own = &mut way.connections;
            taken += way.ended.drain(usize::MAX, |ended| {
                *own = own.saturating_sub(1);
                if !ended.admitted {
                    *refusals = refusals.saturating_sub(1);
                    return;
                }
                *connections = connections.saturating_sub(1);
                if let Some(count) = addresses.get_mut(&ended.peer) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        addresses.remove(&ended.peer);
                    }
                }
            });
        }
        taken
    }

    fn accept(&mut self, now: UnixNanos) -> usize {
        let mut accepted = 0;
        while self.held.is_none() && accepted < self.accepts_per_turn as usize {
            let Some((stream, peer)) = self.door.accept(now) else { break };
            accepted += 1;
            let peer = counted_as(peer.ip());
            let admission = self.judge(peer);
            if admission != Admission::Admitted {
                if self.refusals >= REFUSALS_MAX {
                    self.refused_unanswered += 1;
                    stream.reset();
                    continue;
                }
                self.refusals += 1;
            }
            self.held = Some(Accepted { stream, peer, admission });
            self.deal(now);
        }
        accepted
    }

    /// Counts a newcomer, if it may come in.
    fn judge(&mut self, peer: IpAddr) -> Admission {
        if self.connections >= self.connections_max {
            return Admission::Full;
        }
        let own = self.addresses.entry(peer).or_default();
        if *own >= self.per_ip_max {
            return Admission::AddressFull;
        }
        *own += 1;
        self.connections += 1;
        Admission::Admitted
    }

    /// Hands the held socket to the gateway with the fewest connections, of those that keep up and have room.
    fn deal(&mut self, now: UnixNanos) {
        let Some(accepted) = self.held.take() else { return };
        let late = |way: &Way| way.waiting_since.is_some_and(|since| now - since >= LATE);
        let open = self.ways.iter_mut().filter(|way| !way.sockets.is_abandoned());
        let chosen = open.filter(|way| way.sockets.room() > 0).min_by_key(|way| (late(way), way.connections));
        let Some(way) = chosen else {
            if self.ways.iter().all(|way| way.sockets.is_abandoned()) {
                // The engine ends: nobody is left to serve it.
                return;
            }
            self.ways.iter_mut().for_each(|way| way.sockets.want_room(1));
            self.held = Some(accepted);
            return;
        };
        match way.sockets.push(accepted) {
            Ok(()) => {
                way.connections += 1;
                way.waiting_since.get_or_insert(now);
                self.dealt += 1;
            }
            Err(accepted) => self.held = Some(accepted),
        }
    }
}

impl Stage for Dealer {
    fn name(&self) -> &str {
        "dealer"
    }

    fn turn(&mut self, now: UnixNanos, ready: &[Ready]) -> Turned {
        ready.iter().for_each(|_| self.door.edge());
        for way in &mut self.ways {
            if way.sockets.room() == way.sockets.depth() {
                way.waiting_since = None;
            }
        }
        let mut work = ready.len() + self.take_ended();
        self.deal(now);
        work += self.accept(now);
        self.ways.iter_mut().for_each(|way| way.sockets.flush());
        let finished = self.ways.iter().all(|way| way.ended.is_finished());
        let more = self.held.is_none() && self.door.is_ready();
        Turned { work, more: more && !finished, finished }
    }

    fn deadline(&self) -> Option<UnixNanos> {
        self.door.deadline()
    }

    fn has_work(&self) -> bool {
        let news = |way: &Way| !way.ended.is_empty() || (self.held.is_some() && way.sockets.has_news());
        self.ways.iter().any(news)
            || self.ways.iter().all(|way| way.ended.is_finished())
            || (self.held.is_none() && self.door.is_ready())
    }

    fn housekeep(&mut self, _now: UnixNanos, report: &mut Report) {
        report.count("connections_all", self.connections as u64);
        report.count("addresses", self.addresses.len() as u64);
        report.count("dealt", self.dealt);
        report.count("refused_unanswered", self.refused_unanswered);
        report.count("accept_failures", self.door.failures);
    }

    /// It goes on until the gateways are gone: they tell newcomers that the engine ends.
    fn stop(&mut self, _now: UnixNanos) {}
}

/// The address that a client counts under: what one customer is given, which of IPv6 is a network of 64 bits.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(own) => IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() >> 64 << 64)),
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_counts_under_its_network_and_a_mapped_one_as_ipv4() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("10.1.2.3"), "10.1.2.3");
        assert_eq!(counted("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::1"), "::");
    }
}
