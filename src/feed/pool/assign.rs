//! The part of a pool that keeps cover and subscriptions at what the roster says.

use crate::feed::coverage::Coverage;
use crate::feed::field::Context;
use crate::model::{Symbol, SymbolId, Tick};

use super::member::{State, served_until};
use super::roster::{Change, Seat, homes};
use super::{FIRST_OPEN_MAX, LOOK_AGAIN, Pool};

impl Pool {
    /// Gives every symbol its home. Done once, at the first call that has a clock.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, coverage: &mut Coverage, out: &mut Vec<Tick>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.first_open_by = Some(cx.now + FIRST_OPEN_MAX);
        self.apply_universes(cx, coverage, out);
        self.roster.sort(&self.options.members);
    }

    /// Homes as members and universes say it now; what no list has any more is left, what a command asked for stays.
    pub(super) fn apply_universes(
        &mut self,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let limits = &self.options.limits;
        let has_wildcard = self.options.session.has_wildcard;
        let (homes, over) =
            homes(&self.options.members, &self.options.universes, limits.symbols_max, has_wildcard);
        self.left_out = over as u64;
        if over > 0 {
            self.note_pool(&format!("{over} symbols are more than the members may have; they are left out"));
        }
        let listed: std::collections::HashSet<_> = homes.iter().map(|(symbol, _)| *symbol).collect();
        let unlisted = |entry: &&super::roster::Entry| {
            entry.home.is_some() && !entry.pinned && !listed.contains(&entry.symbol)
        };
        let gone: Vec<_> = self.roster.entries().iter().filter(unlisted).map(|entry| entry.symbol).collect();
        for symbol in &gone {
            self.unwant(symbol, cx, coverage, out);
        }
        for (symbol, slot) in homes {
            self.want(symbol, slot, false, cx, coverage);
        }
    }

    /// Symbols that a command asks for, to a member or each to the one with the fewest.
    pub(super) fn subscribe(
        &mut self,
        symbols: &[Symbol],
        slot: Option<usize>,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
    ) {
        if self.everyone_at.is_some() || symbols.contains(&Symbol::EVERY) {
            return self
                .note_pool("every symbol is what a feed's own lists say or do not say; nothing subscribed");
        }
        let mut at_home: Vec<_> = (0..self.members.len()).map(|slot| self.roster.at_home(slot)).collect();
        for symbol in symbols {
            let known = self.roster.place(symbol).and_then(|place| self.roster.entry(place).home);
            if let Some(home) = known {
                self.want(*symbol, home, true, cx, coverage);
                continue;
            }
            let fewest = (0..at_home.len()).min_by_key(|slot| at_home[*slot]);
            match slot.or(fewest).filter(|slot| at_home[*slot] < self.options.limits.symbols_max) {
                Some(slot) => {
                    at_home[slot] += 1;
                    self.want(*symbol, slot, true, cx, coverage);
                }
                None => {
                    self.left_out += 1;
                    self.note_pool(&format!("no member has room for {symbol}"));
                }
            }
        }
    }

    fn want(
        &mut self,
        symbol: Symbol,
        slot: usize,
        pinned: bool,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
    ) {
        let known = self.roster.place(&symbol).is_some_and(|place| self.roster.entry(place).home.is_some());
        let symbols = &mut cx.symbols;
        let wild = symbol == Symbol::EVERY;
        let id = || if wild { Some(SymbolId::ANY) } else { symbols.intern(symbol.as_bytes()).ok() };
        let place = self.roster.settle(symbol, slot, pinned, id);
        if wild {
            self.everyone_at = place;
        }
        match place {
            Some(place) if !known => {
                let want = |id| coverage.want(cx.source, id, self.class, cx.now);
                self.everyone.each(self.roster.entry(place).id, want);
            }
            Some(_) => {}
            None => {
                self.left_out += 1;
                self.note_pool(&format!("{symbol} is one more symbol than symbols_max"));
            }
        }
    }

    pub(super) fn unwant(
        &mut self,
        symbol: &Symbol,
        cx: &Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        let Some(place) = self.roster.place(symbol) else { return };
        let entry = self.roster.entry(place);
        if entry.home.take().is_some() {
            entry.pinned = false;
            self.everyone_at = self.everyone_at.filter(|at| *at != place);
            let unwant = |id| coverage.unwant(cx.source, id, self.class, cx.now, out);
            self.everyone.each(entry.id, unwant);
        }
    }

    /// Asks for what members should have and leaves what they should not, where anything may have changed.
    pub(super) fn balance(&mut self, cx: &mut Context<'_>, coverage: &mut Coverage, out: &mut Vec<Tick>) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let early = self.first_open_by.is_some();
        let seats: Vec<_> = self
            .members
            .iter()
            .map(|member| Seat {
                open: member.is_ready(),
                settled: member.settled,
                leaving: member.retire_by.is_some(),
                awaited: early && !member.tried,
                symbols_max: self.options.limits.symbols_max,
                heard: member.heard.minus(self.options.limits.gap_margin),
            })
            .collect();
        let mut changes = Vec::new();
        let waits = self.roster.assign(&seats, &mut changes);
        self.look_again_at = waits.then_some(cx.now + LOOK_AGAIN);
        for change in changes {
            match change {
                Change::Ask(place, slot) => self.members[slot].to_ask.push_back((place, 0)),
                Change::Leave(place, slot) => {
                    let entry = self.roster.entry(place);
                    let asked = entry.asked.take(slot);
                    let held = entry.held.take(slot);
                    if held {
                        let until = served_until(&self.members, slot, &self.options.limits);
                        let (line, class) = ((cx.source, slot), self.class);
                        let leave = |id| coverage.leave(line, id, class, until, cx.now, out);
                        self.everyone.each(entry.id, leave);
                    }
                    if asked || held {
                        self.members[slot].to_leave.push_back(place);
                    }
                }
            }
        }
        let homeless = |entry: &&super::roster::Entry| entry.home.is_some() && entry.wanted.is_empty();
        self.homeless = self.roster.entries().iter().filter(homeless).count() as u64;
    }

    /// A connection serves nothing any more: what it alone served has a gap since it was last heard.
    pub(super) fn empty(
        &mut self,
        slot: usize,
        cx: &mut Context<'_>,
        coverage: &mut Coverage,
        out: &mut Vec<Tick>,
    ) {
        debug_assert!(!matches!(self.members[slot].state, State::Resting { .. }));
        let until = served_until(&self.members, slot, &self.options.limits);
        self.members[slot].empty();
        for place in 0..self.roster.entries().len() {
            let entry = self.roster.entry(place);
            entry.wanted.take(slot);
            entry.asked.take(slot);
            entry.refused.take(slot);
            entry.leaving.take(slot);
            if entry.held.take(slot) {
                let (line, class) = ((cx.source, slot), self.class);
                self.everyone.each(entry.id, |id| coverage.drop(line, id, class, until, cx.now, out));
            }
        }
        self.dirty = true;
    }
}
