use std::time::Duration;

use super::*;
use crate::event::Timestamps;
use crate::log::entry::Reset;
use crate::log::follow::{LogRecord, RecordKind};
use crate::log::memory::Retention;

fn retention() -> Retention {
    let age = Duration::from_secs(600);
    Retention { events: 10_000, bytes: 10 << 20, age, idempotency_window: age }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn topic(text: &str) -> Key {
    Key::Topic(name(text))
}

fn audience(topics: &[&str]) -> Audience {
    Audience::new(topics.iter().map(|text| topic(text)), vec![]).unwrap()
}

fn notices() -> Option<EventName> {
    Some(EventName::parse("gone").unwrap())
}

/// What a holder of `key` reads behind `cursor`: names and data.
fn read(log: &Log, key: &Key, cursor: &str) -> Vec<(String, String)> {
    let after = log.locate(cursor).expect("a cursor").position;
    let replay = log.replay(std::slice::from_ref(key), after, usize::MAX, usize::MAX).expect("a replay");
    let read = |entry: &Arc<Entry>| {
        let read = log.format().read(&entry.frame).expect("an event");
        (read.event.unwrap_or_default(), read.data)
    };
    replay.entries.iter().map(read).collect()
}

#[test]
fn what_is_taken_back_is_in_no_replay_and_its_place_stays() {
    let log = Log::new(retention()).retracted_as(notices());
    let ids: Vec<EventId> =
        (0..4).map(|n| log.append(Event::new(audience(&["a"]), n.to_string())).id.unwrap()).collect();
    let origin = log.origin().id.to_string();
    assert!(matches!(log.find(&name("a"), ids[2]), FoundEvent::Kept { .. }));
    assert_eq!(log.find(&name("b"), ids[2]), FoundEvent::Unknown, "it is no event of that topic");
    let what = TakeBack::Event { topic: name("a"), id: ids[2] };
    assert_eq!(log.take_back(what.clone()).count, 1);
    assert_eq!(log.find(&name("a"), ids[2]), FoundEvent::TakenBack);
    let told = (String::from("gone"), format!(r#"{{"id":"{}","topic":"a"}}"#, ids[2]));
    let plain = |data: &str| (String::new(), data.to_owned());
    let all = [plain("0"), plain("1"), plain("3"), told.clone()];
    assert_eq!(read(&log, &topic("a"), &origin), all);
    assert_eq!(read(&log, &topic("a"), &ids[2].to_string()), all[2..], "the cursor is served exactly");
    assert_eq!(log.take_back(what).count, 0);
    assert_eq!(read(&log, &topic("a"), &origin).len(), 4, "nobody is told twice");
}

#[test]
fn nobody_is_told_where_that_is_off() {
    let log = Log::new(retention());
    let id = log.append(Event::new(audience(&["a"]), "x")).id.unwrap();
    let origin = log.origin().id.to_string();
    assert_eq!(log.take_back(TakeBack::Event { topic: name("a"), id }).count, 1);
    assert_eq!(read(&log, &topic("a"), &origin), []);
    assert_eq!(log.find(&name("a"), id), FoundEvent::TakenBack);
}

#[test]
fn a_topic_that_is_taken_back_leaves_others_what_is_theirs() {
    let log = Log::new(retention()).retracted_as(notices());
    for (topics, data) in [(&["a"][..], "only a"), (&["a", "b"], "both"), (&["b"], "only b")] {
        log.append(Event::new(audience(topics), data));
    }
    let origin = log.origin().id.to_string();
    assert_eq!(log.ids_of(&name("a")).len(), 1);
    assert_eq!(log.take_back(TakeBack::Topic(name("a"))).count, 2);
    let (told, plain) = ((String::from("gone"), String::from(r#"{"topic":"a"}"#)), |data: &str| {
        (String::new(), data.to_owned())
    });
    assert_eq!(read(&log, &topic("a"), &origin), std::slice::from_ref(&told));
    assert_eq!(read(&log, &topic("b"), &origin), [plain("both"), plain("only b")]);
    // Whom nobody can be sent any more, is let go of.
    log.take_back(TakeBack::Topic(name("b")));
    let empty = log.newest(10).iter().filter(|entry| log.format().read(&entry.frame).is_none()).count();
    assert_eq!(empty, 3);
}

#[test]
fn what_is_taken_back_is_in_no_replay_of_a_pattern_either() {
    let log = Log::new(retention()).retracted_as(notices());
    log.order_topics();
    let pattern = |text: &str| Key::Pattern(crate::event::Pattern::parse(text).unwrap());
    let start = log.head().id.to_string();
    for (topics, data) in [(&["a1", "b1"][..], "both"), (&["a1"], "a"), (&["a2"], "other"), (&["b1"], "b")] {
        log.append(Event::new(audience(topics), data));
    }
    let all = |key: &Key| read(&log, key, &start).into_iter().map(|(_, data)| data).collect::<Vec<_>>();
    assert_eq!(all(&pattern("a*")), ["both", "a", "other"]);
    log.take_back(TakeBack::Topic(name("a1")));
    assert_eq!(all(&pattern("a*")), ["other", r#"{"topic":"a1"}"#]);
    assert_eq!(all(&pattern("b*")), ["both", "b"]);
}

#[test]
fn an_event_is_known_in_another_log_by_what_it_says() {
    // Times differ from log to log.
    let [one, other] = [Timestamps::Milliseconds, Timestamps::Iso]
        .map(|times| Log::new(retention()).with_format(EventFormat::Typed(times)).retracted_as(notices()));
    let event = |data: &str| Event { name: EventName::parse("e").ok(), ..Event::new(audience(&["a"]), data) };
    let id = one.append(event("{\"n\":1}")).id.unwrap();
    for data in ["{\"n\":1}", "{\"n\":2}", "{\"n\":1}"] {
        other.append(event(data));
    }
    assert!(!other.is_own(id));
    let FoundEvent::Kept { print, .. } = one.find(&name("a"), id) else { panic!("it is there") };
    let taken = other.take_back(TakeBack::Alike { topic: name("a"), print: print.clone() });
    assert_eq!(taken.count, 2, "those that say the same");
    assert_eq!(other.take_back(TakeBack::Alike { topic: name("a"), print }).count, 0);
    assert_eq!(read(&other, &topic("a"), &other.origin().id.to_string()).len(), 3);
}

#[test]
fn what_was_taken_back_is_remembered_as_long_as_the_event_that_tells_of_it() {
    let log = Log::new(Retention { events: 4, ..retention() }).retracted_as(notices());
    let id = log.append(Event::new(audience(&["a"]), "x")).id.unwrap();
    let cursor = log.append(Event::new(audience(&["a"]), "y")).id.unwrap();
    log.take_back(TakeBack::Event { topic: name("a"), id });
    for n in 0..3 {
        log.append(Event::new(audience(&["a"]), n.to_string()));
        assert_eq!(log.find(&name("a"), id), FoundEvent::TakenBack);
    }
    assert_eq!(read(&log, &topic("a"), &cursor.to_string()).len(), 4);
    for n in 0..4 {
        log.append(Event::new(audience(&["a"]), n.to_string()));
    }
    assert_eq!(log.find(&name("a"), id), FoundEvent::Unknown);
    assert_eq!(log.locate(&id.to_string()), Err(Reset::TooOld));
    assert_eq!(log.size().0, 4);
}

#[test]
fn what_a_lost_event_had_superseded_does_not_come_back_in_a_copy_without_it() {
    let log = Log::following(retention()).retracted_as(notices());
    log.restart(log.history(), id_of(0), None);
    log.keep_state(crate::log::StateBounds { keys: 10, bytes: 1 << 20, patterns: false });
    let event = |key: &str| Event { coalesce: Some(key.into()), ..Event::new(audience(&["a"]), key) };
    let place = |at: usize, what: RecordKind| LogRecord { id: id_of(at), what, age: Duration::ZERO };
    let take_back = |at: usize, coalesce: &str| {
        let what = TakeBack::Event { topic: name("a"), id: id_of(at) };
        let coalesce = Some(coalesce.into());
        RecordKind::TakeBack(TakeBackRequest {
            number: None,
            what,
            audience: Some(audience(&["a"])),
            coalesce,
        })
    };
    // Behind each of the first two stood another of its key, which was deleted.
    let places = [
        (1, RecordKind::Event(event("old"))),
        (3, RecordKind::Event(event("new"))),
        (5, take_back(2, "old")),
        (6, take_back(2, "new")),
    ];
    log.append_at(places.into_iter().map(|(at, what)| place(at, what)).collect());
    let read = |(name, data): (String, String)| if name.is_empty() { data } else { name };
    let replayed: Vec<String> = self::read(&log, &topic("a"), "2-0").into_iter().map(read).collect();
    assert_eq!(replayed, ["new", "gone"]);
    let all = (Position(0), log.head().position);
    assert_eq!(log.snapshot(&[topic("a")], all, 9, usize::MAX).entries.len(), 1);
}

/// A place of the stream in Redis.
#[derive(Clone)]
enum Place {
    Event {
        topics: Vec<&'static str>,
        data: String,
    },
    /// It was deleted; what it was is known to those that had read it before.
    Deleted {
        topics: Vec<&'static str>,
        data: String,
    },
    TakeBack(TakeBack, Vec<&'static str>),
}

fn record(id: EventId, place: &Place) -> Option<LogRecord> {
    let what = match place {
        Place::Event { topics, data } => RecordKind::Event(Event::new(audience(topics), data.clone())),
        Place::Deleted { .. } => return None,
        Place::TakeBack(what, topics) => RecordKind::TakeBack(TakeBackRequest {
            number: None,
            what: what.clone(),
            audience: Some(audience(topics)),
            coalesce: None,
        }),
    };
    Some(LogRecord { id, what, age: Duration::ZERO })
}

/// A small deterministic generator: the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// The id of the nth place, from 0. The first one of all is nobody's.
fn id_of(place: usize) -> EventId {
    EventId { ms: place as u64 + 2, seq: 0, tag: None }
}

/// What a reader of `key` gets who has the first `after` places, by the plainest means.
fn expected(stream: &[Place], key: &str, after: usize) -> Vec<(String, String)> {
    let mut kept: Vec<(usize, String, String)> = Vec::new();
    for (at, place) in stream.iter().enumerate() {
        match place {
            Place::Event { topics, data } | Place::Deleted { topics, data } => {
                if topics.contains(&key) {
                    kept.push((at, String::new(), data.clone()));
                }
            }
            Place::TakeBack(TakeBack::Event { topic, id }, topics) => {
                kept.retain(|(place, name, _)| !name.is_empty() || id_of(*place) != *id);
                if topics.contains(&key) {
                    kept.push((at, "gone".to_owned(), format!(r#"{{"id":"{id}","topic":"{topic}"}}"#)));
                }
            }
            Place::TakeBack(what, _) => {
                if what.topic().as_str() == key {
                    kept.clear();
                    kept.push((at, "gone".to_owned(), format!(r#"{{"topic":"{key}"}}"#)));
                }
            }
        }
    }
    kept.into_iter().filter(|(at, ..)| *at >= after).map(|(_, name, data)| (name, data)).collect()
}

/// One event of the stream is taken back, or all of a topic, in the memory log as well; or an event is published.
fn next_place(
    random: &mut Random,
    stream: &mut [Place],
    memory: &Log,
    own: &[EventId],
    data: String,
) -> Place {
    const TOPICS: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["c"]];
    let at = random.below(stream.len().max(1));
    match (random.below(6), stream.get(at).cloned()) {
        (0, Some(Place::Event { topics, data })) => {
            let by = name(topics[0]);
            // Whoever asks has looked.
            if !matches!(memory.find(&by, own[at]), FoundEvent::Kept { .. }) {
                return Place::TakeBack(TakeBack::Topic(name("nobody's")), vec!["nobody's"]);
            }
            assert_eq!(memory.take_back(TakeBack::Event { topic: by.clone(), id: own[at] }).count, 1);
            stream[at] = Place::Deleted { topics: topics.clone(), data };
            Place::TakeBack(TakeBack::Event { topic: by, id: id_of(at) }, topics)
        }
        (1, _) if random.below(4) == 0 => {
            let key = ["a", "b", "c"][random.below(3)];
            memory.take_back(TakeBack::Topic(name(key)));
            for place in stream {
                // Not all of them can be deleted at once.
                if let Place::Event { topics, data } = place
                    && *topics == [key]
                    && random.below(2) == 0
                {
                    *place = Place::Deleted { topics: topics.clone(), data: data.clone() };
                }
            }
            Place::TakeBack(TakeBack::Topic(name(key)), vec![key])
        }
        _ => {
            let topics = TOPICS[random.below(4)].to_vec();
            memory.append(Event::new(audience(&topics), data.clone()));
            Place::Event { topics, data }
        }
    }
}

#[test]
fn any_schedule_leaves_every_copy_with_what_a_plain_list_would() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut stream: Vec<Place> = Vec::new();
        let follower = Log::following(retention()).retracted_as(notices());
        follower.restart(follower.history(), EventId { ms: 1, seq: 0, tag: None }, None);
        let memory = Log::new(retention()).retracted_as(notices());
        let mut own: Vec<EventId> = Vec::new();
        let origin = memory.origin().id;
        for step in 0..120 {
            let next = next_place(&mut random, &mut stream, &memory, &own, step.to_string());
            stream.push(next.clone());
            own.push(memory.head().id);
            follower.append_at(vec![record(id_of(step), &next).expect("it is new")]);
            if step % 17 != 0 {
                continue;
            }
            // One that loads now finds no deleted entries.
            let late = Log::following(retention()).retracted_as(notices());
            let mut history = late.history();
            let places = stream.iter().enumerate().rev();
            let first = LogRecord {
                id: EventId { ms: 1, seq: 0, tag: None },
                what: RecordKind::Nothing,
                age: Duration::ZERO,
            };
            for record in places.filter_map(|(at, there)| record(id_of(at), there)).chain([first]) {
                assert!(history.add_older(record));
            }
            late.restart(history, id_of(step), None);
            for key in ["a", "b", "c"] {
                for after in 0..=stream.len() {
                    let (wanted, about) =
                        (expected(&stream, key, after), format!("{seed} {step} {key} {after}"));
                    let cursor = format!("{}-0", after + 1);
                    assert_eq!(read(&follower, &topic(key), &cursor), wanted, "{about}");
                    assert_eq!(read(&late, &topic(key), &cursor), wanted, "late: {about}");
                    let id = if after == 0 { origin } else { own[after - 1] };
                    let here = read(&memory, &topic(key), &id.to_string());
                    // Ids are its own, and what is told of them.
                    let comparable = |all: Vec<(String, String)>| -> Vec<(String, String)> {
                        let one = |(name, data): (String, String)| {
                            let data = if name.is_empty() { data } else { String::new() };
                            (name, data)
                        };
                        all.into_iter().map(one).collect()
                    };
                    assert_eq!(comparable(here), comparable(wanted), "memory: {about}");
                }
            }
        }
    }
}
