//! The part of a pool that acts on what vendors say of keys, connections and subscriptions.

use crate::feed::coverage::Coverage;
use crate::feed::field::Context;
use crate::feed::session::Answer;
use crate::model::{Nanos, Symbol, Tick, UnixNanos};

use super::member::{State, served_until, serves_from};
use super::{NORMAL, Order, Pool};

/// Renewals of one pool are spread over this, so that one at a time is away.
const RENEWAL_SPREAD: Nanos = Nanos::from_secs(1800);

impl Pool {
    /// What changes no cover: before subscriptions are taken, or besides them.
    pub(super) fn greet(&mut self, slot: usize, answer: Answer, now: UnixNanos) {
        let member = &mut self.members[slot];
        match answer {
            Answer::Say(text) => self.orders.push_back(Order::Send { slot, text }),
            Answer::Ready if matches!(member.state, State::Authorizing { .. }) => {
                member.state = State::Ready { since: now };
                member.tried = true;
                let spread = self.jitter.between(Nanos::ZERO, RENEWAL_SPREAD);
                member.renew_at =
                    self.options.limits.lifetime.map(|life| now + Nanos((life.0 - spread.0).max(life.0 / 2)));
                self.ceiling.authorized();
                self.dirty = true;
            }
            Answer::Ending(why) => {
                self.note(slot, &format!("the vendor will end the connection: {why}"));
                self.retire(slot, now);
            }
            Answer::AuthFailed(why) => {
                member.count_error();
                let wait = self.ceiling.key_refused(&self.options.limits, now);
                let text = format!(
                    "the key was refused: {why:?}; the vendor is left alone for {} s",
                    wait.0 / 1_000_000_000
                );
                self.note(slot, &text);
                self.close(slot, NORMAL, "the key was refused");
            }
            Answer::TooMany(why) => {
                member.count_error();
                let others = self.members.iter().enumerate();
                let others = others.filter(|(other, member)| *other != slot && member.is_up());
                let others: Vec<_> = others.map(|(_, member)| member.opened_at).collect();
                let wait = self.ceiling.put_out(&others, &self.options.limits, now);
                let text = format!(
                    "put out: the account has too many connections ({why:?}); the pool keeps {} and does not ask for more for {} s",
                    self.ceiling.allowed(),
                    wait.0 / 1_000_000_000
                );
                self.note(slot, &text);
                self.close(slot, NORMAL, "the account has too many connections");
            }
            Answer::RefusedOther(why) => {
                member.count_refused();
                self.note(slot, &format!("refused: {why:?}"));
            }
            Answer::Trouble(why) => {
                member.count_error();
                self.note(slot, &format!("the vendor says {why:?}"));
            }
            Answer::Ready | Answer::Held(_) | Answer::Left(_) | Answer::Refused(..) => {}
        }
    }

    /// What a control message changes.
    pub(super) fn answer(
        &mut self,
        slot: usize,
        answer: Answer,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let (symbol, refusal) = match answer {
            Answer::Held(symbol) => (symbol, None),
            Answer::Refused(symbol, why) => (symbol, Some(why)),
            Answer::Left(symbol) => {
                self.left(slot, &symbol, cx, coverage, out);
                return;
            }
            other => {
                self.greet(slot, other, cx.now);
                if self.members[slot].state == State::Closing {
                    self.empty(slot, cx, coverage, out);
                }
                return;
            }
        };
        let Some(place) = self.roster.place(&symbol) else { return };
        let entry = self.roster.entry(place);
        if entry.leaving.has(slot) || !entry.asked.take(slot) {
            return;
        }
        match refusal {
            None if entry.wanted.has(slot) => {
                entry.held.add(slot);
                entry.taken_at = cx.now;
                let at = serves_from(&self.members, slot, cx.now, &self.options.limits);
                let (line, class) = ((cx.source, slot), self.class);
                self.everyone.each(entry.id, |id| coverage.hold(line, id, class, at, out));
            }
            // It was left before it was answered; the request to leave is under way.
            None => {}
            Some(why) => {
                entry.refused.add(slot);
                self.members[slot].count_refused();
                self.note(slot, &format!("{symbol} was refused: {why:?}"));
            }
        }
        self.dirty = true;
    }

    /// The vendor does not send a symbol any more. Where that was not our wish it is asked for again.
    fn left(
        &mut self,
        slot: usize,
        symbol: &Symbol,
        cx: &Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let Some(place) = self.roster.place(symbol) else { return };
        let entry = self.roster.entry(place);
        if !entry.leaving.take(slot) && entry.held.take(slot) {
            let until = served_until(&self.members, slot, &self.options.limits);
            let (line, class) = ((cx.source, slot), self.class);
            self.everyone.each(entry.id, |id| coverage.drop(line, id, class, until, cx.now, out));
            self.members[slot].count_error();
            self.members[slot].to_ask.push_back((place, 0));
            self.dirty = true;
        }
    }
}
