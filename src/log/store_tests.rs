use super::*;
use crate::event::{Block, Name, Pattern};

const MS: u64 = 1_700_000_000_000;

fn topic(text: &str) -> Key {
    Key::Topic(Name::parse(text).unwrap())
}

fn tag() -> Option<Tag> {
    Some(Tag::from_bits(42))
}

struct Clock {
    start: Instant,
    ms: u64,
}

impl Clock {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }
}

fn store(events: usize, bytes: usize, age_ms: u64) -> (Store, Clock) {
    let bounds = StoreBounds { events, bytes, age: Duration::from_millis(age_ms) };
    (Store::new(bounds, tag(), MS), Clock { start: Instant::now(), ms: 0 })
}

fn audience(keys: &[Key]) -> Audience {
    Audience::new(keys.to_vec(), vec![]).unwrap()
}

fn push(store: &mut Store, clock: &Clock, keys: &[Key], data: &str) -> Arc<Entry> {
    let id = store.next_id(MS + clock.ms);
    let frame = Block { data, id: Some(id), ..Block::default() }.render();
    store.push(Some(id), audience(keys), frame, clock.now(), Extras::default())
}

fn ids(store: &Store, clock: &Clock, keys: &[Key], after: Position) -> Vec<String> {
    let replay = store.replay(keys, after, usize::MAX, usize::MAX, clock.now()).unwrap();
    assert!(replay.complete);
    assert_eq!(replay.through, store.head().position);
    assert_eq!(store.count(keys, after, usize::MAX, clock.now()).found, replay.entries.len());
    replay.entries.iter().map(|entry| entry.id.unwrap().to_string()).collect()
}

#[test]
fn ids_grow_even_when_the_clock_steps_back() {
    let (mut store, mut clock) = store(100, usize::MAX, 1_000_000);
    let mut last = store.head().id;
    for ms in [0, 5, 5, 3, 0, 6, 6, 2] {
        clock.ms = ms;
        let id = push(&mut store, &clock, &[topic("a")], "").id.unwrap();
        assert!(id.order() > last.order(), "{id} after {last}");
        last = id;
    }
    assert_eq!(last.to_string(), format!("{}-2-{}", MS + 6, tag().unwrap()));
}

#[test]
fn a_replay_merges_the_keys_and_gives_each_event_once() {
    let (mut store, clock) = store(100, usize::MAX, 1_000_000);
    let both = push(&mut store, &clock, &[topic("a"), topic("b")], "1");
    push(&mut store, &clock, &[topic("c")], "2");
    let b = push(&mut store, &clock, &[topic("b"), topic("b")], "3");
    let a = push(&mut store, &clock, &[topic("a")], "4");
    let all: Vec<String> = [&both, &b, &a].iter().map(|entry| entry.id.unwrap().to_string()).collect();
    assert_eq!(ids(&store, &clock, &[topic("a"), topic("b")], Position(0)), all);
    assert_eq!(ids(&store, &clock, &[topic("b"), topic("a")], both.position), all[1..]);
    assert_eq!(ids(&store, &clock, &[topic("none")], Position(0)), Vec::<String>::new());
}

#[test]
fn a_replay_in_parts_is_the_whole() {
    let (mut store, clock) = store(1000, usize::MAX, 1_000_000);
    for n in 0..100 {
        push(&mut store, &clock, &[topic(["a", "b", "c"][n % 3])], "x");
    }
    let keys = [topic("a"), topic("c")];
    let whole = ids(&store, &clock, &keys, Position(0));
    for (max_events, max_bytes) in
        [(1, usize::MAX), (7, usize::MAX), (usize::MAX, 1), (usize::MAX, 200), (3, 100)]
    {
        let (mut after, mut parts) = (Position(0), Vec::new());
        loop {
            let replay = store.replay(&keys, after, max_events, max_bytes, clock.now()).unwrap();
            assert!(replay.entries.len() <= max_events);
            parts.extend(replay.entries.iter().map(|entry| entry.id.unwrap().to_string()));
            after = replay.through;
            if replay.complete {
                break;
            }
        }
        assert_eq!(parts, whole);
    }
}

#[test]
fn an_excepted_holder_is_passed_over() {
    let (mut store, clock) = store(10, usize::MAX, 1_000_000);
    let user = Key::User(Name::parse("u").unwrap());
    let audience = Audience::new([topic("a")], vec![user.clone()]).unwrap();
    let id = store.next_id(MS);
    store.push(Some(id), audience, Block::default().render(), clock.now(), Extras::default());
    assert_eq!(ids(&store, &clock, &[topic("a")], Position(0)).len(), 1);
    assert_eq!(ids(&store, &clock, &[topic("a"), user], Position(0)).len(), 0);
}

#[test]
fn an_expired_event_is_passed_over_and_is_no_gap() {
    let (mut store, mut clock) = store(10, usize::MAX, 1_000_000);
    let id = store.next_id(MS);
    let ttl = Some(Duration::from_millis(10));
    store.push(
        Some(id),
        audience(&[topic("a")]),
        Block::default().render(),
        clock.now(),
        Extras { ttl, ..Extras::default() },
    );
    assert_eq!(ids(&store, &clock, &[topic("a")], Position(0)).len(), 1);
    clock.ms = 10;
    assert_eq!(ids(&store, &clock, &[topic("a")], Position(0)).len(), 0);
}

#[test]
fn an_event_without_an_id_takes_a_place_but_is_not_kept() {
    let (mut store, clock) = store(10, usize::MAX, 1_000_000);
    let first = push(&mut store, &clock, &[topic("a")], "1");
    let live =
        store.push(None, audience(&[topic("a")]), Block::default().render(), clock.now(), Extras::default());
    assert_eq!(live.position, Position(first.position.0 + 1));
    assert_eq!(store.head().position, live.position);
    assert_eq!(store.head().id, first.id.unwrap());
    assert_eq!(store.len(), 1);
    let last = push(&mut store, &clock, &[topic("a")], "2");
    assert_eq!(store.id_at(live.position), first.id.unwrap());
    assert_eq!(store.id_at(last.position), last.id.unwrap());
    assert_eq!(ids(&store, &clock, &[topic("a")], first.position), [last.id.unwrap().to_string()]);
}

#[test]
fn each_bound_trims_and_a_cursor_before_the_trim_is_too_old() {
    let frame_cost = {
        let (mut store, clock) = store(10, usize::MAX, 1_000_000);
        push(&mut store, &clock, &[topic("a")], "x");
        store.bytes()
    };
    for (events, bytes, age) in
        [(3, usize::MAX, 1_000_000), (100, 3 * frame_cost, 1_000_000), (100, usize::MAX, 29)]
    {
        let (mut store, mut clock) = store(events, bytes, age);
        let start = store.head().id;
        let mut pushed = Vec::new();
        for n in 0..10 {
            clock.ms = n * 10;
            pushed.push(push(&mut store, &clock, &[topic("a")], "x").id.unwrap());
        }
        assert_eq!(store.len(), 3, "{events} {bytes} {age}");
        assert_eq!(store.index[&topic("a")].len(), 3);
        assert!(store.bytes() <= 3 * frame_cost);
        for old in [start, pushed[0], pushed[5]] {
            assert_eq!(store.locate(&old.to_string()), Err(Reset::TooOld));
        }
        // The newest that was let go of is what a reader has who misses exactly what is kept.
        for (nth, kept) in [(6, 3), (7, 2), (8, 1), (9, 0)] {
            let cursor = store.locate(&pushed[nth].to_string()).unwrap();
            assert_eq!(ids(&store, &clock, &[topic("a")], cursor.position).len(), kept);
        }
        assert!(matches!(store.replay(&[], Position(6), 1, 1, clock.now()), Err(Reset::TooOld)));
    }
}

#[test]
fn trimming_everything_leaves_the_head_servable() {
    let (mut store, mut clock) = store(10, usize::MAX, 10);
    let last = push(&mut store, &clock, &[topic("a")], "x");
    clock.ms = 1000;
    store.trim(clock.now());
    assert_eq!((store.len(), store.bytes(), store.index.len()), (0, 0, 0));
    let cursor = store.locate(&last.id.unwrap().to_string()).unwrap();
    assert_eq!(cursor.position, last.position);
    assert_eq!(store.head().id, last.id.unwrap());
}

#[test]
fn a_cursor_that_cannot_be_served_says_why() {
    let (mut store, clock) = store(10, usize::MAX, 1_000_000);
    let id = push(&mut store, &clock, &[topic("a")], "x").id.unwrap();
    let spelled = |ms: u64, seq: u64, tag: Option<Tag>| EventId { ms, seq, tag }.to_string();
    assert_eq!(store.locate("no id"), Err(Reset::Malformed));
    assert_eq!(store.locate(""), Err(Reset::Malformed));
    assert_eq!(store.locate(&spelled(id.ms, id.seq, None)), Err(Reset::OtherLog));
    assert_eq!(store.locate(&spelled(id.ms, id.seq, Some(Tag::from_bits(1)))), Err(Reset::OtherLog));
    assert_eq!(store.locate(&spelled(id.ms, id.seq + 1, id.tag)), Err(Reset::TooNew));
    assert_eq!(store.locate(&spelled(MS - 1, 0, id.tag)), Err(Reset::TooOld));
    assert_eq!(store.locate(&spelled(u64::MAX, u64::MAX, id.tag)), Err(Reset::TooNew));
}

/// One of the topics, or a pattern of some.
fn asked(number: u64) -> Key {
    match number {
        4 => Key::Pattern(Pattern::parse("*").unwrap()),
        5 => Key::Pattern(Pattern::parse("*2").unwrap()),
        number => topic(&number.to_string()),
    }
}

/// The whole replay, part by part. None when it is refused.
fn replayed(store: &Store, clock: &Clock, keys: &[Key], mut after: Position) -> Option<Vec<u64>> {
    let mut given = Vec::new();
    loop {
        let replay = store.replay(keys, after, 7, usize::MAX, clock.now()).ok()?;
        given.extend(replay.entries.iter().map(|entry| entry.position.0));
        if replay.complete {
            assert_eq!(replay.through, store.head().position);
            return Some(given);
        }
        assert!(replay.through > after, "it goes on");
        after = replay.through;
    }
}

fn counted(store: &Store, clock: &Clock, keys: &[Key], after: Position) -> usize {
    let (mut count, mut rest) = (0, Some(after));
    while let Some(after) = rest {
        let part = store.count(keys, after, usize::MAX, clock.now());
        (count, rest) = (count + part.found, part.rest);
    }
    count
}

fn back(store: &Store, clock: &Clock, keys: &[Key], count: usize) -> Cursor {
    let (mut cursor, mut found, mut rest) = (store.head(), 0, Some(store.head().position));
    while let Some(until) = rest.filter(|_| found < count) {
        let part = store.back(keys, count - found, until, clock.now());
        if part.found.1 > 0 {
            (cursor, found) = (part.found.0, found + part.found.1);
        }
        rest = part.rest;
    }
    cursor
}

/// Against the plainest model: a list of everything, filtered.
#[test]
fn any_schedule_replays_what_a_plain_list_would() {
    for seed in 1..40_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut store, mut clock) = store(20, usize::MAX, 60);
        let mut all: Vec<(Arc<Entry>, Vec<Key>)> = Vec::new();
        for step in 0..300 {
            // From the beginning, from some time on, or never.
            if step == seed % 3 * 150 {
                let Store { topics, index, .. } = &mut store;
                topics.begin(index.keys());
            }
            clock.ms += random(8);
            let keys: Vec<Key> = (0..=random(2)).map(|_| topic(&random(4).to_string())).collect();
            let coalesce = (random(4) == 0).then(|| Box::from(random(2).to_string()));
            let entry = if let Some(key) = coalesce {
                let id = store.next_id(MS + clock.ms);
                let frame = Block::default().render();
                store.push(
                    Some(id),
                    audience(&keys),
                    frame,
                    clock.now(),
                    Extras { coalesce: Some(key), ..Extras::default() },
                )
            } else if random(5) == 0 {
                store.push(None, audience(&keys), Block::default().render(), clock.now(), Extras::default())
            } else {
                push(&mut store, &clock, &keys, "x")
            };
            all.push((entry, keys));
            let asked: Vec<Key> = (0..=random(2)).map(|_| asked(random(6))).collect();
            let after = Position(all.len() as u64 - random(all.len() as u64 + 1));
            if let Some(given) = replayed(&store, &clock, &asked, after) {
                let expected: Vec<u64> = all
                    .iter()
                    .filter(|(entry, keys)| {
                        entry.position > after
                            && entry.id.is_some()
                            && keys.iter().any(|key| asked.iter().any(|asked| asked.hears(key)))
                            && !all.iter().any(|(later, of)| {
                                later.position > entry.position
                                    && entry.coalesce.is_some()
                                    && later.coalesce == entry.coalesce
                                    && of == keys
                            })
                    })
                    .map(|(entry, _)| entry.position.0)
                    .collect();
                assert_eq!(given, expected, "seed {seed}");
                assert_eq!(counted(&store, &clock, &asked, after), expected.len(), "seed {seed}");
                let count = random(5) as usize;
                let back = back(&store, &clock, &asked, count);
                let last = replayed(&store, &clock, &asked, back.position).unwrap();
                let whole = replayed(&store, &clock, &asked, store.trimmed.position).unwrap();
                assert_eq!(last, whole[whole.len().saturating_sub(count)..], "seed {seed}");
                assert_eq!(store.locate(&back.id.to_string()).map(|cursor| cursor.id), Ok(back.id));
            } else {
                let oldest = store.entries.front().map_or(store.head.0 + 1, |entry| entry.position.0);
                assert!(after.0 + 1 < oldest, "seed {seed}: refused without a gap");
            }
        }
    }
}

#[test]
fn a_pattern_that_matches_few_topics_is_served_without_a_look_at_the_other_entries() {
    let (mut store, clock) = store(1000, usize::MAX, 60);
    let places = |store: &Store, pattern: &str| {
        let keys = [Key::Pattern(Pattern::parse(pattern).unwrap())];
        let replay = store.replay(&keys, Position(0), 100, usize::MAX, clock.now()).unwrap();
        let counted = store.count(&keys, Position(0), 100, clock.now());
        assert_eq!(counted.rest.is_none(), replay.complete, "{pattern}");
        let places: Vec<u64> = replay.entries.iter().map(|entry| entry.position.0).collect();
        (places, replay.complete)
    };
    store.topics.begin(std::iter::empty());
    for n in 0..50 {
        push(&mut store, &clock, &[topic(&format!("other:{n}"))], "x");
        if n % 20 == 0 {
            push(&mut store, &clock, &[topic(&format!("room:{}", n % 2)), topic("room:both")], "x");
        }
    }
    assert_eq!(places(&store, "room:*"), (vec![2, 23, 44], true));
    assert_eq!(places(&store, "room:b*"), (vec![2, 23, 44], true));
    assert_eq!(places(&store, "room:7*"), (vec![], true));
    // Too many to be looked at one by one: a part of the entries at a time.
    assert_eq!(places(&store, "other:*"), (vec![1, 3, 4, 5, 6, 7], false));
    assert_eq!(places(&store, "o*:77"), (vec![], false));
}

#[test]
fn coalesced_entries_are_forgotten_with_the_log() {
    let (mut store, clock) = store(3, usize::MAX, 1_000_000);
    for n in 0..20 {
        let (id, key) = (store.next_id(MS), Some(Box::from((n % 7).to_string())));
        store.push(
            Some(id),
            audience(&[topic("a")]),
            Block::default().render(),
            clock.now(),
            Extras { coalesce: key, ..Extras::default() },
        );
    }
    assert_eq!((store.entries.len(), store.newest.len()), (3, 3));
}
