//! Several instances over a channel in memory, by seeded schedules, held against the plain truth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::control::presence::outbox::PresenceOutbox;

const GRACE: u64 = 2000;
const STEP: u64 = 50;
const DEAD: u64 = 4000;
const USERS: u64 = 40;
/// What an instance speaks so shortly before its death may not get out.
const CHOKED: u64 = 300;

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
enum Message {
    Alive(Summary),
    Changed(u64, Vec<NameCount>),
    Everybody(u64, usize, bool, Vec<NameCount>),
    Want(InstanceId),
}

struct One {
    post: PresenceOutbox,
    /// Its streams, by user.
    users: BTreeMap<Name, u32>,
    changed: BTreeSet<Name>,
    /// What has come over the channel.
    inbox: VecDeque<(InstanceId, Message)>,
    heard: BTreeMap<InstanceId, u64>,
    announced: Vec<(u64, Transition)>,
    isolated: bool,
}

struct World {
    random: Random,
    now: u64,
    started: u64,
    all: BTreeMap<InstanceId, One>,
    /// What is said in the end of each user, in its order.
    said: Vec<(u64, Transition)>,
    /// What becomes of messages, in percent: lost, twice, swapped with the next.
    faults: u64,
}

fn name(user: u64) -> Name {
    Name::parse(&format!("u{user}")).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), now: 0, started: 0, all: BTreeMap::new(), said: vec![], faults: 0 }
    }

    fn moment(&self) -> Moment {
        Moment { mono: 100_000 + self.now, wall: 1_000_000 + self.now }
    }

    fn start(&mut self) -> InstanceId {
        self.started += 1;
        let id = InstanceId::try_from(format!("i{:03}", self.started)).unwrap();
        let one = One {
            post: PresenceOutbox::new(View::new(id.clone(), GRACE, false)),
            users: BTreeMap::new(),
            changed: BTreeSet::new(),
            inbox: VecDeque::new(),
            heard: BTreeMap::new(),
            announced: Vec::new(),
            isolated: false,
        };
        self.all.insert(id.clone(), one);
        id
    }

    fn kill(&mut self, id: &InstanceId) {
        let one = self.all.remove(id).unwrap();
        self.said.extend(one.announced.into_iter().filter(|(at, _)| at + CHOKED < self.now));
    }

    fn ids(&self) -> Vec<InstanceId> {
        self.all.keys().cloned().collect()
    }

    fn count(&mut self, id: &InstanceId, user: u64, more: bool) {
        let one = self.all.get_mut(id).unwrap();
        let count = one.users.entry(name(user)).or_insert(0);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            one.users.remove(&name(user));
        }
        one.changed.insert(name(user));
    }

    /// Somebody opens or closes a stream somewhere.
    fn stir(&mut self) {
        let ids = self.ids();
        let id = ids[self.random.below(ids.len() as u64) as usize].clone();
        let (user, more) = (self.random.below(USERS), self.random.percent(50));
        self.count(&id, user, more);
    }

    fn tell(&mut self, from: &InstanceId, message: &Message) {
        for id in self.ids() {
            let times = match self.random.below(100) {
                n if n < self.faults => 0,
                n if n < 2 * self.faults => 2,
                _ => 1,
            };
            let swap = self.random.percent(self.faults);
            let one = self.all.get_mut(&id).unwrap();
            if one.isolated {
                continue;
            }
            for _ in 0..times {
                let at = one.inbox.len().saturating_sub(usize::from(swap));
                one.inbox.insert(at, (from.clone(), message.clone()));
            }
        }
    }

    /// One step of everybody.
    fn step(&mut self) {
        self.now += STEP;
        let now = self.moment();
        for id in self.ids() {
            let Some(one) = self.all.get_mut(&id) else { continue };
            let mut edges = Vec::new();
            while let Some((from, message)) = one.inbox.pop_front() {
                match message {
                    Message::Alive(summary) => {
                        one.heard.insert(from.clone(), self.now);
                        one.post.view.alive(&from, summary, now);
                    }
                    Message::Changed(seq, entries) => {
                        edges.extend(one.post.view.told(&from, seq, &entries, now));
                    }
                    Message::Everybody(seq, nth, last, entries) => {
                        edges.extend(one.post.view.piece(
                            &from,
                            SnapshotPart { seq, nth, last, entries },
                            now,
                        ));
                    }
                    Message::Want(of) => one.post.wanted |= of == id,
                }
            }
            let changed = std::mem::take(&mut one.changed).into_iter().map(|name| {
                let count = one.users.get(&name).copied().unwrap_or(0);
                (Kind::User, name, count)
            });
            edges.extend(one.post.here(changed.collect(), now));
            let mut tell = Vec::new();
            if self.now.is_multiple_of(250) {
                if !one.isolated {
                    let dead = one.heard.iter().filter(|(other, at)| **other != id && *at + DEAD <= self.now);
                    let dead: Vec<_> = dead.map(|(other, at)| (other.clone(), *at)).collect();
                    for (dead, at) in dead {
                        one.heard.remove(&dead);
                        let heard = Moment { mono: 100_000 + at, wall: 1_000_000 + at };
                        edges.extend(one.post.view.left(&dead, heard, now));
                    }
                }
                edges.extend(one.post.view.turn(!one.isolated, now));
                tell.extend(one.post.view.ask_for(now).into_iter().map(Message::Want));
            }
            if self.now.is_multiple_of(1000) || one.heard.len() < 2 {
                let summary = Summary { seq: one.post.seq, settled: one.post.view.is_settled(), streams: 0 };
                tell.push(Message::Alive(summary));
            }
            if let Some((seq, everything)) = one.post.everything(now) {
                let pieces: Vec<_> = everything.chunks(7).map(<[NameCount]>::to_vec).collect();
                let pieces = if pieces.is_empty() { vec![Vec::new()] } else { pieces };
                let count = pieces.len();
                tell.extend(
                    pieces
                        .into_iter()
                        .enumerate()
                        .map(|(nth, entries)| Message::Everybody(seq, nth, nth + 1 == count, entries)),
                );
            }
            while let Some((seq, entries)) = one.post.next(5, now) {
                tell.push(Message::Changed(seq, entries));
            }
            one.announced.extend(edges.into_iter().map(|edge| (self.now, edge)));
            if !one.isolated {
                tell.iter().for_each(|message| self.tell(&id, message));
            }
        }
    }

    fn run(&mut self, time: u64) {
        for _ in 0..time / STEP {
            self.step();
        }
    }

    /// Users and where they are, in truth.
    fn truth(&self) -> BTreeMap<Name, BTreeMap<InstanceId, u32>> {
        let mut truth: BTreeMap<Name, BTreeMap<InstanceId, u32>> = BTreeMap::new();
        for (id, one) in &self.all {
            for (name, count) in &one.users {
                truth.entry(name.clone()).or_default().insert(id.clone(), *count);
            }
        }
        truth
    }

    /// Every view is the truth, and the last that was said of each user is so.
    fn check(&mut self) {
        let truth = self.truth();
        for (id, one) in &self.all {
            let view = &one.post.view;
            assert!(view.is_complete(), "{id} at {}", self.now);
            let page = view.page(Kind::User, None, usize::MAX);
            assert_eq!(page, truth.keys().cloned().collect::<Vec<_>>(), "{id}");
            for (name, on) in &truth {
                let standing = view.standing(Kind::User, name).unwrap();
                let there: BTreeMap<_, _> = standing
                    .on
                    .iter()
                    .map(|(slot, count)| (view.at(*slot).unwrap().clone(), *count))
                    .collect();
                assert_eq!(&there, on, "{name} as {id} sees it");
            }
            assert_eq!(view.len(Kind::User), truth.len());
        }
        for one in self.all.values_mut() {
            self.said.append(&mut one.announced);
        }
        self.said.sort_by_key(|(at, _)| *at);
        for user in 0..USERS {
            let last = self.said.iter().rev().find(|(_, edge)| edge.change.name == name(user));
            let here = last.is_some_and(|(_, edge)| edge.change.here);
            assert_eq!(here, truth.contains_key(&name(user)), "what was said last of {user}: {last:?}");
        }
    }

    fn said_of(&self, user: u64) -> Vec<bool> {
        let of = self.said.iter().filter(|(_, edge)| edge.change.name == name(user));
        of.map(|(_, edge)| edge.change.here).collect()
    }
}

#[test]
fn without_faults_each_coming_and_going_is_said_once() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.start();
            world.run(200);
        }
        for _ in 0..600 {
            if world.random.percent(30) {
                world.stir();
            }
            world.step();
        }
        world.start();
        world.run(12_000);
        world.check();
        for user in 0..USERS {
            let said = world.said_of(user);
            assert!(said.iter().enumerate().all(|(nth, here)| *here == (nth % 2 == 0)), "{user}: {said:?}");
        }
    }
}

#[test]
fn what_is_lost_doubled_or_swapped_is_made_good() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        (0..4).for_each(|_| drop(world.start()));
        world.faults = 5;
        for _ in 0..600 {
            if world.random.percent(30) {
                world.stir();
            }
            world.step();
        }
        world.faults = 0;
        world.run(15_000);
        world.check();
    }
}

#[test]
fn who_dies_takes_its_users_along_and_what_it_did_not_say_is_said() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        (0..4).for_each(|_| drop(world.start()));
        world.run(5000);
        world.faults = 3;
        for step in 0..1200 {
            if world.random.percent(30) {
                world.stir();
            }
            if step % 200 == 150 {
                // The first one is the one that speaks.
                let ids = world.ids();
                let nth = if world.random.percent(50) { 0 } else { world.random.below(ids.len() as u64) };
                world.kill(&ids[nth as usize]);
                world.start();
            }
            world.step();
        }
        world.faults = 0;
        world.run(20_000);
        world.check();
    }
}

#[test]
fn nobody_comes_or_goes_because_the_channel_was_away() {
    let mut world = World::new(7);
    let ids: Vec<_> = (0..3).map(|_| world.start()).collect();
    (0..10).for_each(|user| world.count(&ids[user as usize % 3], user, true));
    world.run(8000);
    world.check();
    world.all.values_mut().for_each(|one| one.isolated = true);
    world.count(&ids[0], 0, false);
    world.count(&ids[1], 20, true);
    world.run(20_000);
    world.all.values_mut().for_each(|one| one.isolated = false);
    for one in world.all.values_mut() {
        one.heard.values_mut().for_each(|at| *at = world.now);
    }
    world.run(10_000);
    world.check();
    for user in 1..10 {
        assert_eq!(world.said_of(user), [true], "{user}");
    }
    assert_eq!((world.said_of(0), world.said_of(20)), (vec![true, false], vec![true]));
}

#[test]
fn who_goes_with_the_one_that_speaks_while_the_next_has_just_begun_is_said_to_be_gone() {
    for wait in [1350, 1400, 1450, 1600] {
        let mut world = World::new(5);
        let first = world.start();
        (0..3).for_each(|user| world.count(&first, user, true));
        world.run(5000);
        world.start();
        world.run(wait);
        world.count(&first, 0, false);
        world.run(1000);
        world.kill(&first);
        world.run(15_000);
        world.check();
        assert_eq!(world.said_of(0), [true, false], "{wait}");
    }
}

#[test]
fn who_is_back_within_the_grace_on_any_instance_was_never_gone() {
    let mut world = World::new(3);
    let ids: Vec<_> = (0..3).map(|_| world.start()).collect();
    world.count(&ids[0], 1, true);
    world.run(6000);
    for turn in 0..6 {
        world.count(&ids[turn % 3], 1, false);
        world.run(GRACE - 500);
        world.count(&ids[(turn + 1) % 3], 1, true);
        world.run(1000);
    }
    world.check();
    assert_eq!(world.said_of(1), [true]);
    world.count(&ids[0], 1, false);
    world.run(GRACE + 500);
    world.check();
    assert_eq!(world.said_of(1), [true, false]);
}

#[test]
fn a_hundred_thousand_users_are_cheap() {
    let now = Moment { mono: 1_000_000, wall: 1_000_000 };
    let ids = ["a", "b"].map(|id| InstanceId::try_from(id.to_owned()).unwrap());
    let [mut here, mut there] = ids.clone().map(|id| PresenceOutbox::new(View::new(id, GRACE, true)));
    for (post, other) in [(&mut here, &ids[1]), (&mut there, &ids[0])] {
        post.view.alive(other, Summary { seq: 0, settled: true, streams: 0 }, now);
    }
    let users = (0..100_000u32).map(|n| (Kind::User, Name::parse(&format!("user-{n:06}")).unwrap(), 1));
    here.here(users.collect(), now);
    let (mut messages, mut bytes) = (0, 0);
    while let Some((seq, entries)) = here.next(crate::control::presence::wire::NAMES, now) {
        let message = serde_json::to_vec(&crate::control::presence::wire::PresenceDelta::new(
            ids[0].clone(),
            seq,
            entries,
        ))
        .unwrap();
        (messages, bytes) = (messages + 1, bytes + message.len());
        let changed: crate::control::presence::wire::PresenceDelta =
            serde_json::from_slice(&message).unwrap();
        there.view.told(&ids[0], seq, &changed.read(), now);
    }
    assert_eq!(there.view.len(Kind::User), 100_000);
    assert_eq!(messages, 100, "a thousand names each");
    assert!(bytes < 4_000_000, "{bytes} bytes");
}
