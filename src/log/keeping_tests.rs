use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::event::{Audience, Event, Name};
use crate::log::{EditRequest, LogRecord, MemberBounds, RecordKind, Reset, Retention};

const USERS: u64 = 5;
const TOPICS: u64 = 6;

fn name(text: impl AsRef<str>) -> Name {
    Name::parse(text.as_ref()).unwrap()
}

fn user(number: u64) -> Key {
    Key::User(name(format!("u{number}")))
}

fn topic(number: u64) -> Name {
    name(format!("t{number}"))
}

/// What is given: topics, and two patterns.
fn given(number: u64) -> TopicFilter {
    match number {
        4 => TopicFilter::parse_pattern("t*1").unwrap(),
        5 => TopicFilter::parse_pattern("t*").unwrap(),
        number => topic(number).into(),
    }
}

fn patterns(set: &BTreeSet<TopicFilter>) -> usize {
    set.iter().filter(|topic| topic.is_pattern()).count()
}

fn id(ms: u64) -> EventId {
    EventId { ms, seq: 0, tag: None }
}

/// A small deterministic generator.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What stands in the stream.
#[derive(Clone)]
enum Stands {
    Event(u64),
    Change(u64, TopicEdit),
    Foreign,
}

type Model = BTreeMap<u64, BTreeSet<TopicFilter>>;

/// The stream, and what the sets are behind each of its entries.
struct World {
    bounds: MemberBounds,
    /// The entry at index n has the id n + 1.
    stream: Vec<Stands>,
    sets: Vec<Model>,
}

impl World {
    fn append(&mut self, random: &mut Random) {
        let some = |random: &mut Random| -> Vec<TopicFilter> {
            (0..random.below(3)).map(|_| given(random.below(TOPICS))).collect()
        };
        let stands = match random.below(10) {
            0..5 => Stands::Event(random.below(TOPICS)),
            5 => Stands::Foreign,
            6 => Stands::Change(random.below(USERS), TopicEdit::Replace(some(random))),
            _ => Stands::Change(
                random.below(USERS),
                TopicEdit::Change { add: some(random), remove: some(random) },
            ),
        };
        let mut sets = self.sets.last().cloned().unwrap_or_default();
        if let Stands::Change(of, edit) = &stands {
            let mut set = sets.get(of).cloned().unwrap_or_default();
            let before = (set.len(), patterns(&set));
            match edit.clone() {
                TopicEdit::Replace(topics) => set = topics.into_iter().collect(),
                TopicEdit::Change { add, remove } => {
                    set.retain(|topic| !remove.contains(topic));
                    set.extend(add);
                }
            }
            let others = sets.iter().filter(|(other, _)| *other != of).map(|(_, set)| set);
            let (all, all_patterns) = others.fold((set.len(), patterns(&set)), |(all, with_stars), set| {
                (all + set.len(), with_stars + patterns(set))
            });
            let MemberBounds { topics, patterns: most, all: all_topics, all_patterns: most_of_all } =
                self.bounds;
            let too_many = set.len() > before.0 && (set.len() > topics || all > all_topics);
            let has = patterns(&set);
            if !too_many && (has <= before.1 || has <= most && all_patterns <= most_of_all) {
                sets.insert(*of, set);
            }
        }
        self.stream.push(stands);
        self.sets.push(sets);
    }

    fn placed(&self, ms: u64) -> LogRecord {
        let what = match self.stream[ms as usize - 1].clone() {
            Stands::Event(number) => RecordKind::Event(event(number)),
            Stands::Change(of, edit) => RecordKind::Change(EditRequest { number: None, of: user(of), edit }),
            Stands::Foreign => RecordKind::Nothing,
        };
        LogRecord { id: id(ms), what, age: Duration::ZERO }
    }

    fn end(&self) -> u64 {
        self.stream.len() as u64
    }

    /// What the user gets that comes with `cursor`.
    fn expected(&self, of: u64, cursor: u64) -> Vec<u64> {
        let held = |ms: u64, topic: &Name| {
            let set = self.sets[ms as usize - 1].get(&of);
            set.is_some_and(|set| set.iter().any(|given| given.hears(topic)))
        };
        let events = (cursor + 1..=self.end()).filter(|&ms| match self.stream[ms as usize - 1] {
            Stands::Event(number) => held(ms, &topic(number)),
            _ => false,
        });
        events.collect()
    }

    fn given_at(&self, ms: u64) -> HashMap<Key, Vec<TopicFilter>> {
        let Some(at) = ms.checked_sub(1) else { return HashMap::new() };
        let sets = self.sets[at as usize].iter().filter(|(_, set)| !set.is_empty());
        sets.map(|(&of, set)| (user(of), set.iter().cloned().collect())).collect()
    }
}

fn event(number: u64) -> Event {
    Event::new(Audience::new([Key::Topic(topic(number))], vec![]).unwrap(), "x")
}

/// The hash: what is kept, and up to where.
#[derive(Default)]
struct Hash {
    at: u64,
    sets: HashMap<Key, Vec<TopicFilter>>,
}

impl Hash {
    /// As the script does it.
    fn fold(&mut self, from: u64, UnsavedTopics { at, sets, .. }: &UnsavedTopics) {
        assert!(self.at >= from, "what came before is there");
        if at.ms <= self.at {
            return;
        }
        for (of, topics) in sets.as_ref().expect("few") {
            if topics.is_empty() {
                self.sets.remove(of);
            } else {
                self.sets.insert(of.clone(), topics.clone());
            }
        }
        self.at = at.ms;
    }
}

/// An instance: its log, up to where it has read, and up to where it knows the hash to be.
struct Instance {
    log: Log,
    read: u64,
    from: u64,
}

impl Instance {
    fn start(world: &World, hash: &Hash, events: usize) -> Self {
        let age = Duration::from_secs(600);
        let retention = Retention { events, bytes: 1 << 20, age, idempotency_window: age };
        let log = Log::following(retention).bounded(world.bounds);
        log.keep();
        let mut instance = Self { log, read: 0, from: 0 };
        instance.load(world, hash, None);
        instance
    }

    fn load(&mut self, world: &World, hash: &Hash, told: Option<Reset>) {
        let mut history = self.log.history();
        history.known_at(id(hash.at));
        for (of, topics) in &hash.sets {
            history.give(of, topics.clone());
        }
        let end = world.end();
        let _enough = (1..=end).rev().all(|ms| history.add_older(world.placed(ms)));
        let first = history.begins_behind().map_or(end, |first| first.ms);
        for ms in hash.at + 1..=first {
            if let RecordKind::Change(EditRequest { of, edit, .. }) = world.placed(ms).what {
                history.advance(id(ms), &of, edit);
            }
        }
        self.log.restart(history, id(end), told);
        (self.read, self.from) = (end, hash.at);
    }

    fn follow(&mut self, world: &World, count: u64) {
        let to = world.end().min(self.read.saturating_add(count));
        let placed = (self.read + 1..=to).map(|ms| world.placed(ms)).collect();
        assert_eq!(self.log.append_at(placed).refused, 0);
        self.read = to;
    }

    /// What a stream of the user gets that comes with `cursor`, and what it holds in the end.
    fn replay(&self, of: u64, cursor: u64) -> Result<(Vec<u64>, Vec<TopicFilter>), Reset> {
        let keys = [user(of)];
        let cursor = self.log.locate(&id(cursor).to_string())?;
        let (mut held, mut after) = self.log.enter(&keys, cursor.position);
        let mut got = Vec::new();
        loop {
            let assigned = held.iter().map(|(topic, _)| topic.key());
            let all: Vec<Key> = keys.iter().cloned().chain(assigned).collect();
            let replay = self.log.replay(&all, after, 7, usize::MAX)?;
            got.extend(replay.entries.iter().map(|entry| entry.id.unwrap().ms));
            after = replay.through;
            if let Some(change) = replay.change {
                held.follow(&change);
                after = change.position;
            } else if replay.complete {
                return Ok((got, held.iter().map(|(topic, _)| topic.clone()).collect()));
            }
        }
    }
}

#[test]
fn sets_survive_restarts_and_are_exact_at_every_place_or_said_not_to_be_known() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let bounds = MemberBounds { topics: 3, patterns: 1, all: 8, all_patterns: 3 };
        let mut world = World { bounds, stream: Vec::new(), sets: Vec::new() };
        let mut hash = Hash::default();
        let mut instances: Vec<Instance> = (0..2).map(|_| Instance::start(&world, &hash, 40)).collect();
        let (mut exact, mut unknown) = (0, 0);
        for _ in 0..300 {
            let one = random.below(2) as usize;
            match random.below(12) {
                0 => {
                    let events = 10 + random.below(60) as usize;
                    instances[one] = Instance::start(&world, &hash, events);
                }
                // As after a gap: it held something already.
                1 if random.below(4) == 0 => {
                    instances[one].load(&world, &hash, Some(Reset::LogTrimmed));
                }
                2 | 3 => {
                    let Instance { log, from, .. } = &mut instances[one];
                    let to_keep = log.to_keep();
                    match random.below(3) {
                        // Not written, and noted again.
                        0 => log.not_kept(&to_keep),
                        1 => {
                            hash.fold(*from, &to_keep);
                            *from = to_keep.at.ms;
                        }
                        // Written, but the answer was lost.
                        _ => {
                            hash.fold(*from, &to_keep);
                            log.not_kept(&to_keep);
                        }
                    }
                    assert_eq!(hash.sets, world.given_at(hash.at), "seed {seed}");
                }
                4..8 => (0..random.below(6)).for_each(|_| world.append(&mut random)),
                _ => instances[one].follow(&world, random.below(8)),
            }
            let instance = &mut instances[one];
            instance.follow(&world, u64::MAX);
            let (of, cursor) = (random.below(USERS), random.below(world.end() + 1));
            match instance.replay(of, cursor) {
                Ok((got, held)) => {
                    assert_eq!(got, world.expected(of, cursor), "seed {seed}: u{of} from {cursor}");
                    let now = world.given_at(world.end()).remove(&user(of)).unwrap_or_default();
                    assert_eq!(held, now, "seed {seed}: u{of}");
                    exact += 1;
                }
                Err(Reset::TooOld | Reset::LogTrimmed) => unknown += 1,
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!(exact > 40 && unknown > 0, "seed {seed}: {exact} exact, {unknown} not known");
    }
}

#[test]
fn too_many_changed_sets_are_all_kept_anew() {
    let age = Duration::from_secs(600);
    let log = Log::following(Retention { events: 10, bytes: 1 << 20, age, idempotency_window: age });
    log.keep();
    log.restart(log.history(), id(1), None);
    let many = 10_001;
    let change = |n: u64| LogRecord {
        id: id(n + 2),
        what: RecordKind::Change(EditRequest {
            number: None,
            of: Key::Session(name(format!("s{n}"))),
            edit: TopicEdit::Replace(vec![given(1)]),
        }),
        age: Duration::ZERO,
    };
    log.append_at((0..many).map(change).collect());
    let to_keep = log.to_keep();
    assert!(to_keep.sets.is_none());
    assert_eq!(log.holders().len() as u64, many);
    assert_eq!(log.to_keep().sets.expect("none").len(), 0, "all is being kept");
    log.not_kept(&to_keep);
    let again = log.to_keep();
    assert!(again.sets.is_none(), "or not");
    assert_eq!((again.since, again.since.is_some()), (to_keep.since, true), "it has been waiting since then");
    assert_eq!(log.unsaved_for(), Duration::ZERO);
}

#[test]
fn what_is_kept_elsewhere_is_taken_over_but_for_what_has_changed_here() {
    let age = Duration::from_secs(600);
    let log = Log::new(Retention { events: 10, bytes: 1 << 20, age, idempotency_window: age });
    log.keep();
    log.edit(&user(1), TopicEdit::Replace(vec![given(1)])).unwrap();
    assert_eq!(log.to_keep().sets, Some(vec![(user(1), vec![given(1)])]));
    log.edit(&user(2), TopicEdit::Replace(vec![given(2)])).unwrap();
    let before = log.head();
    log.adopt(vec![(user(2), vec![]), (user(3), vec![given(3)])]);
    let now = |of| log.topics(&user(of)).topics;
    assert_eq!((now(1), now(2), now(3)), (vec![], vec![given(2)], vec![given(3)]));
    assert_eq!(log.to_keep().sets, Some(vec![(user(2), vec![given(2)])]), "the rest is kept there");
    assert_eq!(log.enter(&[user(1)], before.position).0.iter().count(), 1, "streams go over it");
}
