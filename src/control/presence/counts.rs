//! Who is somewhere: for each name how many streams it has on which instance, and what has been said of it.
//!
//! The names are users, or topics: a user is online while it has a stream, a topic occupied while it has one.
//! Invariant: the edges of one name alternate, beginning with its coming. This file must not know where the numbers
//! come from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use smallvec::SmallVec;

use crate::event::Name;

/// The number of an instance in the view of one of them.
pub(super) type InstanceSlot = u16;

/// A time twice: by a clock that nobody sets, and by the one on the wall. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    pub(super) mono: u64,
    pub(super) wall: u64,
}

/// Who says it when somebody comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announcer {
    /// This view finds the edges.
    Ours,
    /// It has just begun, and others who know more say it.
    Others,
    /// Nobody can: it is found out later.
    Nobodys,
}

/// Somebody has come, or gone for longer than the grace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CountChange {
    pub(super) name: Name,
    pub(super) here: bool,
    /// When the first stream was opened, or the last one ended, by the wall's clock.
    pub(super) at: u64,
}

#[derive(Default)]
pub(super) struct NameCounts {
    people: BTreeMap<Name, NameState>,
    /// Who may be gone at which time. What has been overtaken is found out then.
    leaving: BinaryHeap<Reverse<(u64, u32, Name)>>,
    turn: u32,
}

struct NameState {
    since: u64,
    /// When the last stream ended.
    left: u64,
    /// Which entry of `leaving` counts; 0 = none.
    turn: u32,
    /// That it is here has been said, and not yet that it is gone.
    said: bool,
    on: SmallVec<[(InstanceSlot, u32); 1]>,
}

/// What one name is known for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NameSummary {
    pub(super) since: u64,
    pub(super) on: Vec<(InstanceSlot, u32)>,
}

impl NameCounts {
    /// Sets how many streams `name` has on an instance; `at` says since when it is there, or when it left.
    pub(super) fn set(
        &mut self,
        name: &Name,
        (slot, streams, at): (InstanceSlot, u32, u64),
        gone_at: u64,
        word: Announcer,
    ) -> Option<CountChange> {
        if streams == 0 {
            self.leave(name, slot, at, gone_at, word);
            return None;
        }
        if !self.people.contains_key(name) {
            let person = NameState { since: at, left: 0, turn: 0, said: false, on: SmallVec::new() };
            self.people.insert(name.clone(), person);
        }
        let person = self.people.get_mut(name).expect("it was put there");
        match person.on.iter_mut().find(|(other, _)| *other == slot) {
            Some((_, count)) => *count = streams,
            None => person.on.push((slot, streams)),
        }
        person.turn = 0;
        person.say(name, word)
    }

    fn leave(&mut self, name: &Name, slot: InstanceSlot, at: u64, gone_at: u64, word: Announcer) {
        let Some(person) = self.people.get_mut(name) else { return };
        let had = person.on.len();
        person.on.retain(|(other, _)| *other != slot);
        if !person.on.is_empty() || had == 0 {
            return;
        }
        person.left = at;
        // By now they have said that it was here.
        person.said |= word == Announcer::Others;
        if !person.said {
            self.people.remove(name);
        } else if word == Announcer::Ours {
            person.turn = next(&mut self.turn);
            self.leaving.push(Reverse((gone_at, person.turn, name.clone())));
        }
    }

    /// Takes an instance away from everybody. Their grace ends at `gone_at`.
    pub(super) fn remove(&mut self, slot: InstanceSlot, at: u64, gone_at: u64, word: Announcer) {
        for name in self.on(slot) {
            self.leave(&name, slot, at, gone_at, word);
        }
    }

    /// Everybody who is gone for good at `mono`.
    pub(super) fn gone(&mut self, mono: u64, changes: &mut Vec<CountChange>) {
        while let Some(Reverse((gone_at, ..))) = self.leaving.peek()
            && *gone_at <= mono
        {
            let Some(Reverse((_, turn, name))) = self.leaving.pop() else { return };
            if self.people.get(&name).is_some_and(|person| person.turn == turn) {
                let left = self.people.remove(&name).map_or(0, |person| person.left);
                changes.push(CountChange { name, here: false, at: left });
            }
        }
    }

    /// From now on things are said: first who has come meanwhile; who has gone meanwhile gets the grace until
    /// `gone_at`. With `known`, a user on another instance than the first was said by others.
    pub(super) fn thaw(&mut self, gone_at: u64, known: bool, changes: &mut Vec<CountChange>) {
        for (name, person) in &mut self.people {
            if person.on.is_empty() {
                person.turn = next(&mut self.turn);
                self.leaving.push(Reverse((gone_at, person.turn, name.clone())));
            } else if known && person.on.iter().any(|(slot, _)| *slot != 0) {
                person.said = true;
            } else {
                changes.extend(person.say(name, Announcer::Ours));
            }
        }
    }

    /// Whether `name` is here, or away for no longer than the grace.
    pub(super) fn is_here(&self, name: &Name, frozen: bool) -> bool {
        self.people.get(name).is_some_and(|person| person.is_here(frozen))
    }

    /// None for a name that is not here.
    pub(super) fn standing(&self, name: &Name, frozen: bool) -> Option<NameSummary> {
        let person = self.people.get(name).filter(|person| person.is_here(frozen))?;
        Some(NameSummary { since: person.since, on: person.on.to_vec() })
    }

    /// How many streams `name` has on an instance, and since when it is here, or when it left; None for who is not
    /// there, but elsewhere.
    pub(super) fn entry(&self, name: &Name, slot: InstanceSlot) -> Option<(u32, u64)> {
        let person = self.people.get(name)?;
        if person.on.is_empty() {
            return Some((0, person.left));
        }
        let on = person.on.iter().find(|(other, _)| *other == slot)?;
        Some((on.1, person.since))
    }

    /// Everybody on an instance.
    pub(super) fn on(&self, slot: InstanceSlot) -> Vec<Name> {
        let there = |person: &NameState| person.on.iter().any(|(other, _)| *other == slot);
        self.people.iter().filter(|(_, person)| there(person)).map(|(name, _)| name.clone()).collect()
    }

    /// Those who are here, in the order of their names, `limit` at most, after `after`.
    pub(super) fn page(&self, after: Option<&Name>, limit: usize, frozen: bool) -> Vec<Name> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let here = self.people.range::<Name, _>(from).filter(|(_, person)| person.is_here(frozen));
        here.take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    /// How many are on each instance.
    pub(super) fn by_slot(&self) -> BTreeMap<InstanceSlot, usize> {
        let mut counts = BTreeMap::new();
        for (slot, _) in self.people.values().flat_map(|person| &person.on) {
            *counts.entry(*slot).or_insert(0) += 1;
        }
        counts
    }
}

impl NameState {
    fn is_here(&self, frozen: bool) -> bool {
        !self.on.is_empty() || (self.said && !frozen)
    }

    fn say(&mut self, name: &Name, word: Announcer) -> Option<CountChange> {
        if self.said || word == Announcer::Nobodys {
            return None;
        }
        self.said = true;
        (word == Announcer::Ours).then(|| CountChange { name: name.clone(), here: true, at: self.since })
    }
}

/// The next turn; never 0.
fn next(turn: &mut u32) -> u32 {
    *turn = turn.wrapping_add(1).max(1);
    *turn
}
