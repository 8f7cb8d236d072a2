//! Several connections to a vendor as one feed: a protocol without I/O, which tells a driver what to do with its sockets.
//!
//! The driver takes every order until there is none, then sleeps until a socket or [`Pool::deadline`]. It reports what
//! happened by `opened`, `message`, `heard` and `lost`. After each of these calls, and after `command` and `on_time`, there may
//! be orders again. Calls about a slot whose connection is already lost are ignored.

mod options;
mod order;

pub use options::{MemberOptions, PoolOptions};
pub use order::{Endpoint, FeedCommand, Loss, Order};

use crate::model::{Tick, UnixNanos};
use crate::runtime::Report;

use super::coverage::Coverage;
use super::dialect::{Dialect, parse_line};
use super::field::Context;
use super::lines::Line;

/// The pool.
pub struct Pool {
    options: PoolOptions,
    slots: Vec<Slot>,
}

struct Slot {
    dialect: Box<dyn Dialect>,
    asked: bool,
}

impl Pool {
    /// A pool that has done nothing yet. `seed` decides its jitter; the same seed and the same calls give the same orders.
    pub fn new(options: PoolOptions, _seed: u64) -> Self {
        let slot = |_: &MemberOptions| Slot { dialect: (options.dialect.open)(), asked: false };
        let slots = options.members.iter().map(slot).collect();
        Self { options, slots }
    }

    /// How many members it has: slots are numbered from 0.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Where a member connects to.
    pub fn endpoint(&self, _slot: usize) -> &Endpoint {
        &self.options.endpoint
    }

    /// What to do next, if anything. Call it until it has no more.
    pub fn next_order(&mut self, _now: UnixNanos) -> Option<Order> {
        let slot = self.slots.iter().position(|slot| !slot.asked)?;
        self.slots[slot].asked = true;
        Some(Order::Connect { slot })
    }

    /// The connection is up: TCP, TLS and the WebSocket handshake are done.
    pub fn opened(&mut self, _slot: usize, _now: UnixNanos) {}

    /// A text or binary message came. Data goes to the feed dialect, which may write into `text`.
    pub fn message(
        &mut self,
        slot: usize,
        text: &mut [u8],
        cx: &mut Context<'_>,
        _coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        if let Some(slot) = self.slots.get_mut(slot) {
            parse_line(slot.dialect.as_mut(), Line::Whole(text), cx, out);
        }
    }

    /// A ping or a pong came: the peer lives.
    pub fn heard(&mut self, _slot: usize, _now: UnixNanos) {}

    /// A connection, or an attempt at one, has ended, for whatever reason. Gaps of what it alone served go to `out`.
    pub fn lost(
        &mut self,
        slot: usize,
        _loss: &Loss,
        _cx: &mut Context<'_>,
        _coverage: &mut Coverage,
        _out: &mut Vec<Tick>,
    ) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.asked = false;
        }
    }

    /// Changes what it takes, live.
    pub fn command(
        &mut self,
        _command: FeedCommand,
        _cx: &mut Context<'_>,
        _coverage: &mut Coverage,
        _out: &mut Vec<Tick>,
    ) {
    }

    /// Does what is due at `cx.now`.
    pub fn on_time(&mut self, _cx: &mut Context<'_>, _coverage: &mut Coverage, _out: &mut Vec<Tick>) {}

    /// When it next needs [`on_time`](Self::on_time) or [`next_order`](Self::next_order) though nothing else happens.
    pub fn deadline(&self) -> Option<UnixNanos> {
        None
    }

    /// Adds the health of each member, as `feed.<source>.<member>.<figure>`, and its notes. `report.at` is now.
    pub fn hand_over(&mut self, _report: &mut Report) {}
}
