//! Which symbol belongs to which member, who serves it now, and who should: decided by the same rule every time.
//!
//! A symbol has a home. While its home is open, it is served there. When that is lost, the open member with the most room takes the
//! symbol as a guest, those of a higher priority first; it goes back once its home has come to stay. It is taken at the new place
//! before it is left at the old one, and left only when the old one has shown after that that it lives: it could have been dead
//! for seconds, and then what it missed must be told. No symbol is left where it is served to make room for another.

use std::collections::{HashMap, HashSet};

use crate::feed::universe::Universes;
use crate::model::{Symbol, SymbolId, UnixNanos};

use super::options::MemberOptions;

/// A set of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots(u16);

impl Slots {
    /// Whether `slot` is in it.
    pub const fn has(self, slot: usize) -> bool {
        self.0 & (1 << slot) != 0
    }

    /// Adds `slot`.
    pub fn add(&mut self, slot: usize) {
        self.0 |= 1 << slot;
    }

    /// Takes `slot` out; `true` where it was in.
    pub fn take(&mut self, slot: usize) -> bool {
        let had = self.has(slot);
        self.0 &= !(1 << slot);
        had
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

/// One symbol.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub symbol: Symbol,
    /// Its number; [`SymbolId::ANY`] of `*`.
    pub id: SymbolId,
    /// Whose it is; `None` where it is not wanted any more.
    pub home: Option<usize>,
    /// It was asked for by a command: the universes do not decide about it.
    pub pinned: bool,
    /// Where it should be subscribed to.
    pub wanted: Slots,
    /// Where it is asked for, without an answer yet.
    pub asked: Slots,
    /// Where it is subscribed to.
    pub held: Slots,
    /// When the newest of those was taken.
    pub taken_at: UnixNanos,
    /// Where a request to leave it has not been answered yet: answers to earlier requests mean nothing there.
    pub leaving: Slots,
    /// Where the vendor refused it, since that connection opened.
    pub refused: Slots,
}

/// What a member can take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seat {
    /// It takes subscriptions.
    pub open: bool,
    /// It has come to stay.
    pub settled: bool,
    /// It is about to be renewed: what it has is to go elsewhere, if anywhere.
    pub leaving: bool,
    /// It has not opened yet for the first time and still may, shortly: what is its own waits for it.
    pub awaited: bool,
    /// How many symbols it may have.
    pub symbols_max: usize,
    /// Up to when it is certain to have served.
    pub heard: UnixNanos,
}

/// A change of what one member should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Subscribe there.
    Ask(usize, usize),
    /// Unsubscribe there. The place is first, the slot second.
    Leave(usize, usize),
}

/// All symbols of a pool.
#[derive(Debug, Default)]
pub struct Roster {
    entries: Vec<Entry>,
    by_name: HashMap<Symbol, usize>,
    /// Places in the order in which they are served where room is short.
    order: Vec<usize>,
}

impl Roster {
    /// All entries, also those that are wanted no more.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One entry.
    pub fn entry(&mut self, place: usize) -> &mut Entry {
        &mut self.entries[place]
    }

    /// Where a symbol stands.
    pub fn place(&self, symbol: &Symbol) -> Option<usize> {
        self.by_name.get(symbol).copied()
    }

    /// How many symbols are at home in a member.
    pub fn at_home(&self, slot: usize) -> usize {
        self.entries.iter().filter(|entry| entry.home == Some(slot)).count()
    }

    /// Gives a symbol a home; a new one gets the number that `intern` finds. Returns its place, or `None` without a number.
    pub fn settle(
        &mut self,
        symbol: Symbol,
        home: usize,
        pinned: bool,
        intern: impl FnOnce() -> Option<SymbolId>,
    ) -> Option<usize> {
        let place = match self.place(&symbol) {
            Some(place) => place,
            None => {
                let none = Slots::default();
                let id = intern()?;
                self.entries.push(Entry {
                    symbol,
                    id,
                    home: None,
                    pinned: false,
                    wanted: none,
                    asked: none,
                    held: none,
                    taken_at: UnixNanos::MIN,
                    leaving: none,
                    refused: none,
                });
                self.by_name.insert(symbol, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        let entry = &mut self.entries[place];
        entry.home = Some(home);
        entry.pinned |= pinned;
        Some(place)
    }

    /// Sorts anew after homes have changed.
    pub fn sort(&mut self, members: &[MemberOptions]) {
        let entries = &self.entries;
        self.order = (0..entries.len()).collect();
        self.order.sort_by_key(|&place| {
            let home = entries[place].home;
            (home.map(|slot| std::cmp::Reverse(members.get(slot).map_or(0, |m| m.priority))), home)
        });
    }

    /// Decides anew where each symbol should be, and says what is to change. `true` where something is left only when the member
    /// that has it is heard again.
    pub fn assign(&mut self, seats: &[Seat], changes: &mut Vec<Change>) -> bool {
        let mut waits = false;
        let mut load = vec![0_usize; seats.len()];
        for entry in &self.entries {
            for (slot, load) in load.iter_mut().enumerate() {
                *load += usize::from(entry.wanted.has(slot));
            }
        }
        let set = |test: fn(&Seat) -> bool| {
            let mut slots = Slots::default();
            seats.iter().enumerate().filter(|(_, seat)| test(seat)).for_each(|(slot, _)| slots.add(slot));
            slots
        };
        let (open, leaving) = (set(|seat| seat.open), set(|seat| seat.leaving));
        for &place in &self.order {
            let entry = &mut self.entries[place];
            let before = entry.wanted;
            let mut wanted = before.and(open);
            match entry.home {
                None => wanted = Slots::default(),
                Some(home) => {
                    wanted = wanted.without(entry.refused);
                    let room = |slot: usize| seats[slot].symbols_max.saturating_sub(load[slot]);
                    let usable = open.without(leaving).without(entry.refused);
                    let fits = |slot: usize| usable.has(slot) && (wanted.has(slot) || room(slot) > 0);
                    let staying = wanted.and(usable);
                    if staying.is_empty() {
                        let others = (0..seats.len()).filter(|slot| fits(*slot));
                        // The first of those with the most room, so that the choice is the same every time.
                        let guest = others.max_by_key(|slot| (room(*slot), std::cmp::Reverse(*slot)));
                        let chosen = if fits(home) { Some(home) } else { guest };
                        match chosen {
                            Some(slot) if slot == home || !seats[home].awaited => wanted.add(slot),
                            _ => {}
                        }
                    } else if fits(home) && seats[home].settled {
                        wanted.add(home);
                    }
                    // One place that serves is enough: home, or else the first.
                    let serving = wanted.and(entry.held).and(usable);
                    if !serving.is_empty() {
                        let kept = if serving.has(home) { home } else { serving.first() };
                        let coming = if wanted.and(usable).has(home) { home } else { kept };
                        for slot in (0..seats.len()).filter(|slot| *slot != kept && *slot != coming) {
                            let unproven = entry.held.has(slot) && seats[slot].heard < entry.taken_at;
                            if wanted.has(slot) && unproven {
                                waits = true;
                            } else {
                                wanted.take(slot);
                            }
                        }
                    }
                }
            }
            for (slot, load) in load.iter_mut().enumerate() {
                let (had, has) = (before.has(slot), wanted.has(slot));
                if has && !had {
                    *load += 1;
                    changes.push(Change::Ask(place, slot));
                } else if had && !has {
                    *load -= 1;
                    if open.has(slot) {
                        changes.push(Change::Leave(place, slot));
                    }
                }
            }
            entry.wanted = wanted;
        }
        waits
    }
}

/// The home of each symbol as members and universes say it, each symbol once: the member of the highest priority has it, the first
/// of those. And how many symbols no member had room for. `*` takes the place of all others, where the vendor has it.
pub fn homes(
    members: &[MemberOptions],
    universes: &Universes,
    symbols_max: usize,
    has_wildcard: bool,
) -> (Vec<(Symbol, usize)>, usize) {
    let mut by_rank: Vec<_> = members.iter().enumerate().collect();
    by_rank.sort_by_key(|(slot, member)| (std::cmp::Reverse(member.priority), *slot));
    let mut seen = HashSet::new();
    let mut homes = Vec::new();
    let mut over = 0;
    for (slot, member) in by_rank {
        let (own, cut) = member.symbols(universes, symbols_max);
        over += cut;
        homes.extend(own.into_iter().filter(|symbol| seen.insert(*symbol)).map(|symbol| (symbol, slot)));
    }
    match homes.iter().position(|(symbol, _)| *symbol == Symbol::EVERY) {
        Some(at) if has_wildcard => return (vec![homes[at]], 0),
        Some(at) => {
            homes.remove(at);
            over += 1;
        }
        None => {}
    }
    (homes, over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roster(homes: &[usize]) -> (Roster, Vec<MemberOptions>) {
        let members = (0..3)
            .map(|slot| MemberOptions {
                name: slot.to_string(),
                universes: Vec::new(),
                symbols: Vec::new(),
                share: (0, 1),
                priority: [5, 9, 1][slot],
            })
            .collect::<Vec<_>>();
        let mut roster = Roster::default();
        for (n, &home) in homes.iter().enumerate() {
            let symbol = Symbol::new(format!("S{n}").as_bytes()).unwrap();
            roster.settle(symbol, home, false, || Some(SymbolId(n as u32)));
        }
        roster.sort(&members);
        (roster, members)
    }

    fn seat(open: bool) -> Seat {
        Seat { open, settled: open, leaving: false, awaited: false, symbols_max: 4, heard: UnixNanos::MAX }
    }

    /// Answers everything at once.
    fn hold_all(roster: &mut Roster) {
        for entry in &mut roster.entries {
            entry.held = entry.wanted;
        }
    }

    #[test]
    fn a_lost_members_symbols_go_to_who_has_room_the_highest_priority_first() {
        let (mut roster, _) = roster(&[0, 0, 0, 1, 1, 1, 2, 2]);
        let mut changes = Vec::new();
        roster.assign(&[seat(true); 3], &mut changes);
        assert_eq!(changes.len(), 8);
        hold_all(&mut roster);
        for entry in &mut roster.entries {
            entry.wanted.take(0);
            entry.wanted.take(1);
            entry.held.take(0);
            entry.held.take(1);
        }
        // Only two places are left, for six symbols: member 1's come first.
        roster.assign(&[seat(false), seat(false), seat(true)], &mut changes);
        let guests: Vec<_> = roster.entries.iter().map(|entry| entry.wanted.has(2)).collect();
        assert_eq!(guests, [false, false, false, true, true, false, true, true]);
    }

    #[test]
    fn a_symbol_goes_home_before_it_is_left_and_only_to_a_settled_home() {
        let (mut roster, _) = roster(&[0]);
        let mut changes = Vec::new();
        roster.assign(&[seat(false), seat(true), seat(true)], &mut changes);
        assert_eq!(changes, [Change::Ask(0, 1)]);
        hold_all(&mut roster);
        changes.clear();
        let fresh = Seat { settled: false, ..seat(true) };
        roster.assign(&[fresh, seat(true), seat(true)], &mut changes);
        assert!(changes.is_empty());
        roster.assign(&[seat(true); 3], &mut changes);
        assert_eq!(changes, [Change::Ask(0, 0)]);
        changes.clear();
        roster.assign(&[seat(true); 3], &mut changes);
        assert!(changes.is_empty(), "left before its home answered");
        hold_all(&mut roster);
        roster.assign(&[seat(true); 3], &mut changes);
        assert_eq!(changes, [Change::Leave(0, 1)]);
    }

    #[test]
    fn a_member_that_leaves_keeps_what_nobody_else_has_yet() {
        let (mut roster, _) = roster(&[0]);
        let mut changes = Vec::new();
        roster.assign(&[seat(true), seat(true), seat(false)], &mut changes);
        hold_all(&mut roster);
        changes.clear();
        let leaving = Seat { leaving: true, ..seat(true) };
        roster.assign(&[leaving, seat(true), seat(false)], &mut changes);
        assert_eq!(changes, [Change::Ask(0, 1)]);
        hold_all(&mut roster);
        changes.clear();
        roster.assign(&[leaving, seat(true), seat(false)], &mut changes);
        assert_eq!(changes, [Change::Leave(0, 0)]);
    }

    #[test]
    fn a_symbol_is_not_left_where_nobody_was_heard_since_it_was_taken_elsewhere() {
        let (mut roster, _) = roster(&[0]);
        let mut changes = Vec::new();
        roster.assign(&[seat(false), seat(true), seat(false)], &mut changes);
        hold_all(&mut roster);
        roster.assign(&[seat(true), seat(true), seat(false)], &mut changes);
        hold_all(&mut roster);
        roster.entries[0].taken_at = UnixNanos(100);
        changes.clear();
        let silent = Seat { heard: UnixNanos(99), ..seat(true) };
        assert!(roster.assign(&[seat(true), silent, seat(false)], &mut changes));
        assert_eq!(changes, []);
        let heard = Seat { heard: UnixNanos(100), ..seat(true) };
        assert!(!roster.assign(&[seat(true), heard, seat(false)], &mut changes));
        assert_eq!(changes, [Change::Leave(0, 1)]);
    }

    proptest! {
        /// Whatever seats open and close: no member has more than its bound, what is open with room serves everything, a symbol is
        /// at most at two places, and at one once all is answered.
        #[test]
        fn everything_that_can_be_served_is(
            homes in prop::collection::vec(0..3_usize, 1..12),
            rounds in prop::collection::vec(any::<([bool; 3], [bool; 3], bool)>(), 1..20),
        ) {
            let (mut roster, _) = roster(&homes);
            let mut changes = Vec::new();
            for (open, settled, answers) in rounds {
                let mut seats = [seat(false); 3];
                for slot in 0..3 {
                    seats[slot].open = open[slot];
                    seats[slot].settled = open[slot] && settled[slot];
                    if !open[slot] {
                        for entry in &mut roster.entries {
                            entry.wanted.take(slot);
                            entry.held.take(slot);
                        }
                    }
                }
                roster.assign(&seats, &mut changes);
                let room = open.iter().filter(|open| **open).count() * 4;
                let load: Vec<usize> =
                    (0..3).map(|slot| roster.entries.iter().filter(|e| e.wanted.has(slot)).count()).collect();
                prop_assert!(load.iter().all(|load| *load <= 4), "{load:?}");
                let served = roster.entries.iter().filter(|e| !e.wanted.is_empty()).count();
                let twice = roster.entries.iter().map(|e| e.wanted.0.count_ones()).max();
                prop_assert!(twice <= Some(2));
                prop_assert!(served == homes.len() || load.iter().sum::<usize>() == room, "{served} {load:?}");
                if answers {
                    hold_all(&mut roster);
                    roster.assign(&seats, &mut changes);
                    // Its home may have settled in this very round.
                    let coming =
                        |e: &Entry| e.home.is_some_and(|home| e.wanted.has(home) && !e.held.has(home));
                    let once = roster.entries.iter().all(|e| e.wanted.0.count_ones() <= 1 || coming(e));
                    prop_assert!(once, "twice though all is answered");
                }
                for entry in &mut roster.entries {
                    entry.held = entry.held.and(entry.wanted);
                }
            }
        }
    }
}
