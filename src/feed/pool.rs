//! Several connections to a vendor as one feed: a protocol without I/O, which tells a driver what to do with its sockets.
//!
//! The driver takes every order until there is none, then sleeps until a socket or [`Pool::deadline`]. It reports what
//! happened by `opened`, `message`, `heard` and `lost`. After each of these calls, and after `command` and `on_time`, there may
//! be orders again. Where the deadline has passed, `on_time` comes before the orders; that of a new pool has. Calls about a slot
//! whose connection is already lost are ignored.
//!
//! - A connection opens, shows its key, subscribes in pieces of `params_max` at the vendor's pace, and pings who is silent.
//! - Back-off: the first attempt within 500 ms, then doubling; it begins anew once a connection has lived `settle_after`.
//! - A vendor that refuses the key is left alone for a while, by all members. One that has too many connections of the account has
//!   put this one out for a newer one: it does not come back before its cooldown, unless another member's place is free.
//! - What a lost member served goes to the survivors at once, and back when it has come to stay: `roster.rs`.

mod answer;
mod assign;
mod backoff;
mod ceiling;
mod everyone;
mod member;
mod options;
mod order;
mod roster;

pub use options::{COOLDOWN_MAX, MEMBERS_MAX, MemberOptions, PoolLimits, PoolOptions};
pub use order::{Endpoint, FeedCommand, Loss, Order};

use std::collections::VecDeque;

use crate::model::{Nanos, Tick, UnixNanos};
use crate::runtime::Report;

use super::coverage::Coverage;
use super::dialect::parse_line;
use super::field::Context;
use super::lines::Line;
use super::session::{Answer, Ask, Class};
use backoff::Jitter;
use ceiling::Ceiling;
use everyone::Everyone;
use member::{Member, Next, RETIRE_MAX, State};
use roster::Roster;

/// Notes that may wait for the next report.
const NOTES_MAX: usize = 64;
/// How long that is.
const FIRST_OPEN_MAX: Nanos = Nanos::from_secs(2);
/// How long before it is looked again whether a member was heard that is to leave something.
const LOOK_AGAIN: Nanos = Nanos::from_millis(100);
/// How long before it is put off a renewal that would leave too few members.
const RENEW_LATER: Nanos = Nanos::from_secs(60);
/// The close code for goodbyes of ours.
const NORMAL: u16 = 1000;

/// The pool.
pub struct Pool {
    options: PoolOptions,
    class: Class,
    members: Vec<Member>,
    roster: Roster,
    everyone: Everyone,
    /// The place of `*` in the roster, while it is wanted.
    everyone_at: Option<usize>,
    ceiling: Ceiling,
    jitter: Jitter,
    orders: VecDeque<Order>,
    answers: Vec<Answer>,
    started: bool,
    /// Until when symbols wait for the first attempt of their own member, rather than be guests elsewhere for seconds.
    first_open_by: Option<UnixNanos>,
    look_again_at: Option<UnixNanos>,
    /// What members should have may have changed.
    dirty: bool,
    /// Which member is looked at first, so that none is always last.
    first: usize,
    notes: Vec<String>,
    notes_left_out: u64,
    /// Symbols that are wanted and for which no open member has room.
    homeless: u64,
    /// Symbols that the members' bounds, or the table of symbols, left out.
    left_out: u64,
}

impl Pool {
    /// A pool that has done nothing yet. `seed` decides its jitter; the same seed and the same calls give the same orders.
    pub fn new(options: PoolOptions, seed: u64) -> Self {
        let members =
            options.members.iter().take(MEMBERS_MAX).map(|member| Member::new(&options, member)).collect();
        Self {
            class: options.asks.class(),
            members,
            roster: Roster::default(),
            everyone: Everyone::default(),
            everyone_at: None,
            ceiling: Ceiling::default(),
            jitter: Jitter::new(seed),
            orders: VecDeque::new(),
            answers: Vec::new(),
            started: false,
            first_open_by: None,
            look_again_at: None,
            dirty: false,
            first: 0,
            notes: Vec::new(),
            notes_left_out: 0,
            homeless: 0,
            left_out: 0,
            options,
        }
    }

    /// How many members it has: slots are numbered from 0.
    pub fn slots(&self) -> usize {
        self.members.len()
    }

    /// Where a member connects to.
    pub fn endpoint(&self, _slot: usize) -> &Endpoint {
        &self.options.endpoint
    }

    /// What to do next, if anything. Call it until it has no more.
    pub fn next_order(&mut self, now: UnixNanos) -> Option<Order> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order);
        }
        if !self.started {
            return None;
        }
        let n = self.members.len();
        for step in 0..n {
            let slot = (self.first + step) % n;
            let order = match self.members[slot].state {
                State::Resting { .. } if self.due(slot).is_some_and(|at| at <= now) => {
                    let up = self.up();
                    self.ceiling.count_attempt(up, now);
                    self.members[slot].connect(now + self.options.limits.connect_max);
                    Some(Order::Connect { slot })
                }
                State::Ready { .. } if self.members[slot].free_at <= now => self.word(slot, now),
                _ => None,
            };
            if order.is_some() {
                self.first = (slot + 1) % n;
                return order;
            }
        }
        None
    }

    /// The next message to an open connection, or a ping.
    fn word(&mut self, slot: usize, now: UnixNanos) -> Option<Order> {
        let Self { members, roster, options, .. } = self;
        let limits = &options.limits;
        let member = &mut members[slot];
        let most = (limits.params_max / options.asks.channels.len().max(1)).max(1);
        let mut symbols = Vec::new();
        let mut ask = Ask::Subscribe;
        while symbols.len() < most
            && let Some((place, tries)) = member.to_ask.pop_front()
        {
            let entry = roster.entry(place);
            // It may have been decided otherwise since.
            if entry.wanted.has(slot) && !entry.held.has(slot) && !entry.asked.has(slot) {
                entry.asked.add(slot);
                symbols.push(entry.symbol);
                member.await_answer(place, tries, now, limits);
            }
        }
        if symbols.is_empty() {
            ask = Ask::Unsubscribe;
            while symbols.len() < most
                && let Some(place) = member.to_leave.pop_front()
            {
                let entry = roster.entry(place);
                if !entry.wanted.has(slot) {
                    entry.leaving.add(slot);
                    symbols.push(entry.symbol);
                }
            }
        }
        if !symbols.is_empty() {
            member.free_at = now + options.session.spacing;
            return Some(Order::Send { slot, text: member.session.request(ask, &symbols) });
        }
        if member.ping_at(limits) <= now {
            member.ping(now);
            member.free_at = now + options.session.spacing;
            return Some(Order::Ping { slot });
        }
        None
    }

    /// The connection is up: TCP, TLS and the WebSocket handshake are done.
    pub fn opened(&mut self, slot: usize, now: UnixNanos) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if !matches!(member.state, State::Connecting { .. }) {
            return;
        }
        let mut answers = std::mem::take(&mut self.answers);
        member.open(&self.options, now, &mut answers);
        for answer in answers.drain(..) {
            self.greet(slot, answer, now);
        }
        self.answers = answers;
    }

    /// A text or binary message came. Data goes to the feed dialect, which may write into `text`.
    pub fn message(
        &mut self,
        slot: usize,
        text: &mut [u8],
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if matches!(member.state, State::Resting { .. } | State::Connecting { .. }) {
            return;
        }
        member.count_message(text.len(), cx.now);
        let before = out.len();
        // What a connection says of itself after we have given it up changes nothing; its data is as good as any.
        if member.session.is_control(text) && member.state != State::Closing {
            let mut answers = std::mem::take(&mut self.answers);
            if member.session.control(text, &mut answers) {
                parse_line(member.dialect.as_mut(), Line::Whole(text), cx, out);
            } else {
                cx.tallies.lines += 1;
                cx.tallies.bytes += text.len() as u64 + 1;
                cx.tallies.record();
                cx.tallies.skip("control");
            }
            for answer in answers.drain(..) {
                self.answer(slot, answer, cx, coverage, out);
            }
            self.answers = answers;
            self.balance(cx, coverage, out);
        } else {
            parse_line(member.dialect.as_mut(), Line::Whole(text), cx, out);
            member.note_data(&out[before..], cx.now);
        }
        self.meet(before, cx, coverage, out);
    }

    /// A ping or a pong came: the peer lives.
    pub fn heard(&mut self, slot: usize, now: UnixNanos) {
        if let Some(member) = self.members.get_mut(slot) {
            member.heard = member.heard.max(now);
        }
    }

    /// A connection, or an attempt at one, has ended, for whatever reason. Gaps of what it alone served go to `out`.
    pub fn lost(
        &mut self,
        slot: usize,
        loss: &Loss,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if matches!(member.state, State::Resting { .. }) {
            return;
        }
        let now = cx.now;
        let ours = member.state == State::Closing;
        if !ours {
            self.empty(slot, cx, coverage, out);
        }
        let limits = &self.options.limits;
        let member = &mut self.members[slot];
        member.count_loss();
        let mut wait = match member.next {
            Next::AtOnce => Nanos::ZERO,
            Next::Backoff => member.backoff.next(limits.backoff_max, &mut self.jitter),
        };
        if let Loss::Http { status, retry_after } = loss {
            match status {
                401 | 403 => {
                    self.ceiling.key_refused(limits, now);
                }
                429 | 418 => wait = wait.max(retry_after.unwrap_or(limits.eviction_cooldown)),
                _ => wait = wait.max(retry_after.unwrap_or(Nanos::ZERO)),
            }
        }
        let until = now + wait.min(COOLDOWN_MAX);
        member.state = State::Resting { until };
        let due = self.due(slot).unwrap_or(until);
        let wait = due.since(now).0.max(0) / 1_000_000;
        self.note(slot, &format!("lost: {loss}; next attempt in {wait} ms"));
        self.dirty = true;
        self.balance(cx, coverage, out);
    }

    /// Changes what it takes, live.
    pub fn command(
        &mut self,
        command: FeedCommand,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        self.start(cx, coverage, out);
        match command {
            FeedCommand::Subscribe { symbols, member } => {
                let slot =
                    member.as_ref().map(|name| self.members.iter().position(|m| m.options.name == *name));
                match slot {
                    Some(None) => {
                        self.note_pool(&format!("no member is called {member:?}; nothing subscribed"))
                    }
                    Some(slot) => self.subscribe(&symbols, slot, cx, coverage),
                    None => self.subscribe(&symbols, None, cx, coverage),
                }
            }
            FeedCommand::Unsubscribe { symbols } => {
                for symbol in &symbols {
                    self.unwant(symbol, cx, coverage, out);
                }
            }
            FeedCommand::Reload(universes) => {
                self.options.universes = universes;
                self.apply_universes(cx, coverage, out);
            }
        }
        self.roster.sort(&self.options.members);
        self.dirty = true;
        self.balance(cx, coverage, out);
    }

    /// Does what is due at `cx.now`.
    pub fn on_time(&mut self, cx: &mut Context<'_>, coverage: &mut Coverage, out: &mut Vec<Tick>) {
        self.start(cx, coverage, out);
        let now = cx.now;
        for slot in 0..self.members.len() {
            let limits = &self.options.limits;
            let member = &mut self.members[slot];
            match member.state {
                State::Connecting { give_up } if give_up <= now => {
                    self.give_up(slot, "it took too long to connect", cx, coverage, out);
                }
                State::Authorizing { give_up } if give_up <= now => {
                    self.give_up(slot, "the key was not answered", cx, coverage, out);
                }
                State::Authorizing { .. } | State::Ready { .. }
                    if member.heard + limits.silence_max <= now =>
                {
                    self.give_up(slot, "it was silent for too long", cx, coverage, out);
                }
                State::Ready { since } => {
                    if !member.settled && since + limits.settle_after <= now {
                        member.settled = true;
                        member.backoff.reset();
                        let up = self.up();
                        self.ceiling.settled(up);
                        self.dirty = true;
                    }
                    self.look_after(slot, cx, coverage, out);
                }
                _ => {}
            }
        }
        if self.first_open_by.is_some_and(|by| by <= now || self.members.iter().all(|member| member.tried)) {
            self.first_open_by = None;
            self.dirty = true;
        }
        if self.look_again_at.is_some_and(|at| at <= now) {
            self.dirty = true;
        }
        self.balance(cx, coverage, out);
    }

    /// What is due on an open connection.
    fn look_after(
        &mut self,
        slot: usize,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let now = cx.now;
        let member = &mut self.members[slot];
        while let Some((place, tries)) = member.overdue(now) {
            let entry = self.roster.entry(place);
            if entry.asked.has(slot) && entry.wanted.has(slot) {
                entry.asked.take(slot);
                entry.leaving.take(slot);
                member.count_unanswered();
                member.to_ask.push_back((place, tries));
            }
        }
        if member.falls_stale(now, &self.options.limits) {
            let held = self.held(slot, |_| true);
            if held > 0 {
                let seconds = self.options.limits.stale_after.0 / 1_000_000_000;
                self.note(slot, &format!("no data of its {held} symbols for {seconds} s, though it lives"));
            }
        }
        if self.members[slot].renew_at.is_some_and(|at| at <= now) {
            let others = self.members.iter().enumerate().filter(|(other, _)| *other != slot);
            if others.clone().all(|(_, other)| other.settled && other.retire_by.is_none()) {
                self.note(slot, "it is renewed before the vendor ends it");
                self.retire(slot, now);
            } else {
                self.members[slot].renew_at = Some(now + RENEW_LATER);
            }
        }
        if let Some(by) = self.members[slot].retire_by {
            let empty = !self.roster.entries().iter().any(|entry| entry.wanted.has(slot));
            if empty || by <= now || self.members.len() == 1 {
                self.close(slot, NORMAL, "renewed");
                self.members[slot].next = Next::AtOnce;
                self.empty(slot, cx, coverage, out);
            }
        }
    }

    fn retire(&mut self, slot: usize, now: UnixNanos) {
        let member = &mut self.members[slot];
        member.renew_at = None;
        if member.retire_by.is_none() {
            member.retire_by = Some(now + RETIRE_MAX);
            self.dirty = true;
        }
    }

    /// When it next needs [`on_time`](Self::on_time) or [`next_order`](Self::next_order) though nothing else happens.
    pub fn deadline(&self) -> Option<UnixNanos> {
        if !self.started || self.dirty || !self.orders.is_empty() {
            return Some(UnixNanos::MIN);
        }
        let of = |slot: usize| self.members[slot].deadline(&self.options.limits).or_else(|| self.due(slot));
        (0..self.members.len()).filter_map(of).chain(self.first_open_by).chain(self.look_again_at).min()
    }

    /// Adds the health of each member, as `feed.<source>.<member>.<figure>`, and its notes. `report.at` is now.
    pub fn hand_over(&mut self, report: &mut Report) {
        let pool = &self.options.name;
        for (slot, member) in self.members.iter().enumerate() {
            let (held, guests) = (self.held(slot, |_| true), self.held(slot, |home| home != Some(slot)));
            member.hand_over(pool, held, guests, report);
        }
        report.count(format!("feed.{pool}.symbols_homeless"), self.homeless);
        report.count(format!("feed.{pool}.symbols_left_out"), self.left_out);
        report.count(format!("feed.{pool}.pool_notes_left_out"), self.notes_left_out);
        report.notes.append(&mut self.notes);
    }

    /// How many symbols a member serves whose home is like that.
    fn held(&self, slot: usize, is_counted: impl Fn(Option<usize>) -> bool) -> usize {
        let held =
            self.roster.entries().iter().filter(|entry| entry.held.has(slot) && is_counted(entry.home));
        held.map(|entry| self.everyone.count(entry.id)).sum()
    }

    /// When a member that rests may be tried; `None` where it does not rest, or as long as others fill the account.
    fn due(&self, slot: usize) -> Option<UnixNanos> {
        match self.members[slot].state {
            State::Resting { until } => Some(self.ceiling.due(until, self.up())),
            _ => None,
        }
    }

    /// How many connections the vendor may count.
    fn up(&self) -> usize {
        self.members.iter().filter(|member| member.is_up()).count()
    }

    fn close(&mut self, slot: usize, code: u16, reason: &'static str) {
        self.members[slot].state = State::Closing;
        self.orders.push_back(Order::Close { slot, code, reason });
    }

    fn give_up(
        &mut self,
        slot: usize,
        reason: &'static str,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        self.note(slot, &format!("given up: {reason}"));
        self.members[slot].count_error();
        self.close(slot, NORMAL, reason);
        self.empty(slot, cx, coverage, out);
    }

    fn note(&mut self, slot: usize, text: &str) {
        let member = &self.members[slot].options.name;
        self.note_pool(&format!("{member}: {text}"));
    }

    fn note_pool(&mut self, text: &str) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(format!("{}: {text}", self.options.name));
        } else {
            self.notes_left_out += 1;
        }
    }
}
