//! Who holds which key: the subscribers of one shard by key, and the keys of each subscriber.
//!
//! Both directions know their places in each other, so that leaving is as cheap as joining whatever the number of
//! holders.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use smallvec::SmallVec;

use crate::event::{Audience, Key};
use crate::log::HeldBy;

/// The number of a subscriber in its shard.
pub(super) type SubscriberSlot = u32;

#[derive(Default)]
pub(super) struct Index {
    hasher: DefaultHashBuilder,
    by_key: HashTable<u32>,
    keys: Slab<Holders>,
    /// By slot.
    held: Vec<Box<[HeldKey]>>,
    /// How many of the keys are patterns.
    patterns: usize,
}

/// Keys whose holders an event does not reach.
struct ExceptedKeys<'a> {
    numbers: Vec<u32>,
    /// Topics that patterns may match: empty where nobody holds one.
    topics: &'a [Key],
}

struct Holders {
    key: Key,
    /// Most keys have one holder: those of a user, a session, a client.
    members: SmallVec<[Member; 2]>,
}

/// A subscriber that holds a key, and which of its keys this is.
#[derive(Clone, Copy)]
struct Member {
    slot: SubscriberSlot,
    nth: u32,
}

/// A key that a subscriber holds, and its place among the key's members.
#[derive(Clone, Copy)]
struct HeldKey {
    /// The key's number, and in the lowest bits by what it is held: there is one of these for every key of every
    /// subscriber.
    key_via: u32,
    place: u32,
}

impl HeldKey {
    fn new(key: u32, via: HeldBy, place: u32) -> Self {
        assert!(key < 1 << (u32::BITS - HeldBy::BITS), "more keys than a shard can number");
        Self { key_via: key << HeldBy::BITS | via.bits(), place }
    }

    fn key(self) -> u32 {
        self.key_via >> HeldBy::BITS
    }

    fn via(self) -> HeldBy {
        HeldBy::from_bits(self.key_via)
    }
}

impl Index {
    /// Enters a subscriber with the keys of its request. Returns the keys that nobody here held before. Doubled keys
    /// count once.
    pub(super) fn join(&mut self, slot: SubscriberSlot, keys: &[Key]) -> Vec<Key> {
        let mut new = Vec::new();
        let mut held: Vec<HeldKey> = Vec::with_capacity(keys.len());
        for key in keys {
            let number = self.number_of(key);
            if held.iter().any(|held| held.key() == number) {
                continue;
            }
            let members = &mut self.keys[number as usize].members;
            if members.is_empty() {
                new.push(key.clone());
            }
            let place = members.len() as u32;
            members.push(Member { slot, nth: held.len() as u32 });
            held.push(HeldKey::new(number, HeldBy::REQUEST, place));
        }
        let at = slot as usize;
        if self.held.len() <= at {
            self.held.resize_with(at + 1, Box::default);
        }
        self.held[at] = held.into();
        new
    }

    /// Removes a subscriber. Returns the keys that nobody here holds any more.
    pub(super) fn leave(&mut self, slot: SubscriberSlot) -> Vec<Key> {
        let mut gone = Vec::new();
        for held in std::mem::take(&mut self.held[slot as usize]) {
            let (key, place) = (held.key(), held.place);
            gone.extend(self.unlist(key, place));
        }
        gone
    }

    /// Takes a member out of a key's list. Returns the key when it was the last.
    fn unlist(&mut self, key: u32, place: u32) -> Option<Key> {
        let members = &mut self.keys[key as usize].members;
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.held[moved.slot as usize][moved.nth as usize].place = place;
        } else if members.is_empty() {
            return Some(self.forget(key));
        }
        let members = &mut self.keys[key as usize].members;
        if members.capacity() > 64 && members.len() < members.capacity() / 4 {
            members.grow(members.len() * 2);
        }
        None
    }

    /// Gives a subscriber a key, by `via` beside what it may hold it by already. Whether nobody here held the key
    /// before.
    pub(super) fn give(&mut self, slot: SubscriberSlot, key: &Key, via: HeldBy) -> bool {
        let number = self.number_of(key);
        let held = &mut self.held[slot as usize];
        if let Some(held) = held.iter_mut().find(|held| held.key() == number) {
            held.key_via |= via.bits();
            return false;
        }
        let members = &mut self.keys[number as usize].members;
        let first = members.is_empty();
        let one = HeldKey::new(number, via, members.len() as u32);
        members.push(Member { slot, nth: held.len() as u32 });
        let mut more = std::mem::take(held).into_vec();
        more.push(one);
        *held = more.into();
        first
    }

    /// Takes from a subscriber what it holds of `key` by `via`; what it holds by nothing then, it does not hold any
    /// more. Returns the key when nobody here does.
    pub(super) fn take(&mut self, slot: SubscriberSlot, key: &Key, via: HeldBy) -> Option<Key> {
        let number = self.find(key)?;
        let held = &mut self.held[slot as usize];
        let nth = held.iter().position(|held| held.key() == number)?;
        let left = held[nth].via().without(via);
        let place = held[nth].place;
        if !left.is_nothing() {
            held[nth] = HeldKey::new(number, left, place);
            return None;
        }
        let mut fewer = std::mem::take(held).into_vec();
        fewer.swap_remove(nth);
        let moved = fewer.get(nth).copied();
        *held = fewer.into();
        if let Some(moved) = moved {
            self.keys[moved.key() as usize].members[moved.place as usize].nth = nth as u32;
        }
        self.unlist(number, place)
    }

    /// The topics that a subscriber holds otherwise than by its request.
    pub(super) fn given_to(&self, slot: SubscriberSlot) -> Vec<Key> {
        let assigned = self.held[slot as usize].iter().filter(|held| held.via() != HeldBy::REQUEST);
        assigned.map(|held| self.keys[held.key() as usize].key.clone()).collect()
    }

    /// The keys that a subscriber holds by its request.
    pub(super) fn asked_by(&self, slot: SubscriberSlot) -> Vec<Key> {
        let asked = self.held[slot as usize].iter().filter(|held| held.via().has(HeldBy::REQUEST));
        asked.map(|held| self.keys[held.key() as usize].key.clone()).collect()
    }

    /// How many topics a subscriber holds.
    pub(super) fn topics_of(&self, slot: SubscriberSlot) -> usize {
        let is_topic =
            |held: &&HeldKey| matches!(self.keys[held.key() as usize].key, Key::Topic(_) | Key::Pattern(_));
        self.held[slot as usize].iter().filter(is_topic).count()
    }

    /// The subscribers that hold `key`.
    pub(super) fn holders(&self, key: &Key) -> Vec<SubscriberSlot> {
        let Some(number) = self.find(key) else { return Vec::new() };
        self.keys[number as usize].members.iter().map(|member| member.slot).collect()
    }

    /// Whether the subscriber is reached by `key`, itself or by a pattern.
    pub(super) fn hears(&self, slot: SubscriberSlot, key: &Key) -> bool {
        self.held[slot as usize].iter().any(|held| self.keys[held.key() as usize].key.hears(key))
    }

    /// The keys that a subscriber holds.
    pub(super) fn keys_of(&self, slot: SubscriberSlot) -> Vec<Key> {
        self.held[slot as usize].iter().map(|held| self.keys[held.key() as usize].key.clone()).collect()
    }

    /// Calls `reach` for the subscribers of `audience`. One that holds several of its keys may be named several
    /// times in a row of calls: the caller sees that it is the same entry.
    pub(super) fn for_each(&self, audience: &Audience, reach: impl FnMut(SubscriberSlot)) {
        self.for_each_of(audience.keys(), self.excepted(audience).as_ref(), reach);
    }

    /// The same for those who hear it by one of `patterns`.
    pub(super) fn for_each_by(
        &self,
        patterns: &[Key],
        audience: &Audience,
        reach: impl FnMut(SubscriberSlot),
    ) {
        self.for_each_of(patterns, self.excepted(audience).as_ref(), reach);
    }

    fn for_each_of(
        &self,
        keys: &[Key],
        except: Option<&ExceptedKeys<'_>>,
        mut reach: impl FnMut(SubscriberSlot),
    ) {
        for key in keys {
            let Some(number) = self.find(key) else { continue };
            for member in &self.keys[number as usize].members {
                if !except.is_some_and(|except| self.is_excepted(member.slot, except)) {
                    reach(member.slot);
                }
            }
        }
    }

    fn excepted<'a>(&self, audience: &'a Audience) -> Option<ExceptedKeys<'a>> {
        let keys = audience.except();
        (!keys.is_empty()).then(|| ExceptedKeys {
            numbers: keys.iter().filter_map(|key| self.find(key)).collect(),
            topics: if self.patterns == 0 { &[] } else { keys },
        })
    }

    fn is_excepted(&self, slot: SubscriberSlot, except: &ExceptedKeys<'_>) -> bool {
        self.held[slot as usize].iter().any(|held| {
            let by_pattern = || {
                let key = &self.keys[held.key() as usize].key;
                matches!(key, Key::Pattern(_)) && except.topics.iter().any(|topic| key.hears(topic))
            };
            except.numbers.contains(&held.key()) || (!except.topics.is_empty() && by_pattern())
        })
    }

    /// How many subscribers `audience` reaches, by its keys or by one of `patterns`.
    pub(super) fn count(&self, audience: &Audience, patterns: &[Key]) -> usize {
        if let ([key], [], []) = (audience.keys(), audience.except(), patterns) {
            return self.find(key).map_or(0, |number| self.keys[number as usize].members.len());
        }
        let mut slots = Vec::new();
        self.for_each(audience, |slot| slots.push(slot));
        self.for_each_by(patterns, audience, |slot| slots.push(slot));
        slots.sort_unstable();
        slots.dedup();
        slots.len()
    }

    /// Shows `each` the keys number `from` and the `many` that follow, with how many hold them. Gives the number to go
    /// on from; None at the end.
    pub(super) fn held(&self, from: usize, many: usize, mut each: impl FnMut(&Key, usize)) -> Option<usize> {
        let to = from + many;
        for number in from..to {
            if let Some(Holders { key, members }) = self.keys.get(number) {
                each(key, members.len());
            }
        }
        (to < self.keys.capacity()).then_some(to)
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.by_key.find(hash, |&number| self.keys[number as usize].key == *key).copied()
    }

    fn number_of(&mut self, key: &Key) -> u32 {
        let hash = self.hasher.hash_one(key);
        let Self { hasher, by_key, keys, patterns, .. } = self;
        if let Some(&number) = by_key.find(hash, |&number| keys[number as usize].key == *key) {
            return number;
        }
        let number = keys.insert(Holders { key: key.clone(), members: SmallVec::new() }) as u32;
        *patterns += usize::from(matches!(key, Key::Pattern(_)));
        by_key.insert_unique(hash, number, |&number| hasher.hash_one(&keys[number as usize].key));
        number
    }

    fn forget(&mut self, number: u32) -> Key {
        let Holders { key, .. } = self.keys.remove(number as usize);
        self.patterns -= usize::from(matches!(key, Key::Pattern(_)));
        let hash = self.hasher.hash_one(&key);
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == number) {
            found.remove();
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Name;

    fn topic(text: &str) -> Key {
        Key::Topic(Name::parse(text).unwrap())
    }

    fn user(text: &str) -> Key {
        Key::User(Name::parse(text).unwrap())
    }

    fn reached(index: &Index, audience: &Audience) -> Vec<SubscriberSlot> {
        let mut slots = Vec::new();
        index.for_each(audience, |slot| slots.push(slot));
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(index.count(audience, &[]), slots.len());
        slots
    }

    #[test]
    fn an_audience_reaches_the_holders_of_its_keys_but_the_excepted() {
        let mut index = Index::default();
        assert_eq!(index.join(0, &[topic("a"), user("u"), topic("a")]), [topic("a"), user("u")]);
        assert_eq!(index.join(1, &[topic("a"), topic("b")]), [topic("b")]);
        assert_eq!(index.join(2, &[topic("u")]), [topic("u")], "a topic named like a user is another key");
        let audience = |keys: &[Key], except: &[Key]| Audience::new(keys.to_vec(), except.to_vec()).unwrap();
        assert_eq!(reached(&index, &audience(&[topic("a")], &[])), [0, 1]);
        assert_eq!(reached(&index, &audience(&[topic("a"), topic("b"), user("u")], &[])), [0, 1]);
        assert_eq!(reached(&index, &audience(&[topic("a")], &[user("u")])), [1]);
        assert_eq!(reached(&index, &audience(&[topic("a")], &[topic("b"), user("nobody")])), [0]);
        assert!(reached(&index, &audience(&[topic("none")], &[])).is_empty());
    }

    #[test]
    fn any_order_of_coming_and_going_leaves_nothing_behind() {
        // A small deterministic generator: the same run every time.
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut index = Index::default();
        let mut there: Vec<Option<Vec<(Key, HeldBy)>>> = vec![None; 50];
        let held_by = |there: &[Option<Vec<(Key, HeldBy)>>], key: &Key| -> Vec<SubscriberSlot> {
            let holds = |held: &Vec<(Key, HeldBy)>| held.iter().any(|(held, _)| held == key);
            (0..50).filter(|&slot| there[slot as usize].as_ref().is_some_and(holds)).collect()
        };
        for _ in 0..20_000 {
            let slot = random(50) as usize;
            let key = topic(&random(9).to_string());
            let via = HeldBy::from_bits(1 << random(4));
            let holders = held_by(&there, &key).len();
            match (&mut there[slot], random(6)) {
                (None, _) => {
                    let keys: Vec<Key> = (0..random(5)).map(|_| topic(&random(9).to_string())).collect();
                    index.join(slot as SubscriberSlot, &keys);
                    let mut held: Vec<(Key, HeldBy)> = Vec::new();
                    for key in keys {
                        if !held.iter().any(|(other, _)| *other == key) {
                            held.push((key, HeldBy::REQUEST));
                        }
                    }
                    there[slot] = Some(held);
                }
                (taken @ Some(_), 0) => {
                    *taken = None;
                    index.leave(slot as SubscriberSlot);
                }
                (Some(held), 1..=3) => {
                    assert_eq!(index.give(slot as SubscriberSlot, &key, via), holders == 0);
                    match held.iter_mut().find(|(other, _)| *other == key) {
                        Some((_, by)) => *by = *by | via,
                        None => held.push((key.clone(), via)),
                    }
                }
                (Some(held), _) => {
                    for (_, by) in held.iter_mut().filter(|(other, _)| *other == key) {
                        *by = by.without(via);
                    }
                    let had = held.len();
                    held.retain(|(_, by)| !by.is_nothing());
                    let last = had > held.len() && holders == 1;
                    assert_eq!(index.take(slot as SubscriberSlot, &key, via), last.then(|| key.clone()));
                }
            }
            if let Some(held) = &there[slot] {
                let mut assigned: Vec<_> =
                    held.iter().filter(|(_, by)| *by != HeldBy::REQUEST).map(|(key, _)| key.name()).collect();
                assigned.sort_unstable();
                let mut names: Vec<Key> = index.given_to(slot as SubscriberSlot);
                names.sort_unstable_by(|a, b| a.name().cmp(b.name()));
                assert_eq!(names.iter().map(Key::name).collect::<Vec<_>>(), assigned);
                assert_eq!(index.keys_of(slot as SubscriberSlot).len(), held.len());
            }
            let asked = topic(&random(9).to_string());
            let expected = held_by(&there, &asked);
            let mut holders = index.holders(&asked);
            holders.sort_unstable();
            assert_eq!(holders, expected);
            assert_eq!(reached(&index, &Audience::new([asked], vec![]).unwrap()), expected);
        }
        for slot in 0..50 {
            if there[slot as usize].is_some() {
                index.leave(slot);
            }
        }
        assert!(index.keys.is_empty() && index.by_key.is_empty());
    }
}
