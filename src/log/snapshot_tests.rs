use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::event::{Audience, Event, EventId, Name, Pattern};
use crate::log::memory::Retention;
use crate::log::take_back::TakeBack;

const BOUNDS: StateBounds = StateBounds { keys: 1000, bytes: 1 << 20, patterns: true };

fn log(events: usize, bounds: StateBounds) -> Log {
    let age = Duration::from_secs(600);
    let log = Log::new(Retention { events, bytes: 10 << 20, age, idempotency_window: age });
    log.keep_state(bounds);
    log
}

fn topic(text: &str) -> Key {
    Key::Topic(Name::parse(text).unwrap())
}

/// A topic, or a pattern.
fn filter(text: &str) -> Key {
    Pattern::parse(text).map_or_else(|_| topic(text), Key::Pattern)
}

fn keyed(topics: &[&str], key: &str, data: &str) -> Event {
    let audience = Audience::new(topics.iter().map(|text| topic(text)), vec![]).unwrap();
    Event { coalesce: (!key.is_empty()).then(|| key.into()), ..Event::new(audience, data) }
}

/// The data of a whole snapshot, taken in parts of `many`.
fn snapshot(log: &Log, keys: &[Key], until: Position, many: usize) -> Vec<String> {
    let (mut after, mut all) = (Position(0), Vec::new());
    loop {
        let part = log.snapshot(keys, (after, until), many, usize::MAX);
        all.extend(part.entries.iter().map(|entry| log.format().read(&entry.frame).unwrap().data));
        after = part.through;
        if part.complete {
            return all;
        }
    }
}

#[test]
fn a_snapshot_has_the_newest_of_each_key_also_where_the_log_has_let_go_of_it() {
    let log = log(3, BOUNDS);
    for (key, data) in
        [("x", "x1"), ("y", "y1"), ("", "no key"), ("x", "x2"), ("", "1"), ("", "2"), ("", "3")]
    {
        log.append(keyed(&["a"], key, data));
    }
    log.append(keyed(&["b"], "x", "other"));
    let head = log.head().position;
    assert_eq!(snapshot(&log, &[topic("a")], head, 100), ["y1", "x2"]);
    assert_eq!(snapshot(&log, &[topic("b"), topic("a")], head, 1), ["y1", "x2", "other"]);
    assert_eq!(log.state_size().0, 2);
    log.append(keyed(&["a"], "y", "y2"));
    assert_eq!(snapshot(&log, &[topic("a")], head, 100), ["x2"], "what came later stands behind the seam");
    assert_eq!(log.state_size().0, 1);
}

#[test]
fn a_snapshot_is_bounded_by_keys_and_by_bytes_the_oldest_first() {
    let few = log(100, StateBounds { keys: 2, ..BOUNDS });
    for key in ["x", "y", "z"] {
        few.append(keyed(&["a"], key, key));
    }
    assert_eq!(snapshot(&few, &[topic("a")], few.head().position, 9), ["y", "z"]);
    let small = log(1, StateBounds { bytes: 1500, ..BOUNDS });
    for n in 0..20 {
        small.append(keyed(&["a"], &n.to_string(), &n.to_string()));
    }
    let (events, bytes) = small.state_size();
    assert!(events > 1 && events < 6 && bytes <= 1500, "{events} {bytes}");
    assert_eq!(snapshot(&small, &[topic("a")], small.head().position, 9).len(), events + 1);
}

#[test]
fn what_is_taken_back_is_in_no_snapshot() {
    let log = log(2, BOUNDS);
    let old = log.append(keyed(&["a"], "x", "x")).id.unwrap();
    log.append(keyed(&["a", "b"], "y", "y"));
    let new = log.append(keyed(&["a"], "z", "z")).id.unwrap();
    log.append(keyed(&["c"], "", "more"));
    let name = |text: &str| Name::parse(text).unwrap();
    for (id, left) in [(old, ["y", "z"].as_slice()), (new, &["y"])] {
        assert_eq!(log.take_back(TakeBack::Event { topic: name("a"), id }).count, 1);
        assert_eq!(snapshot(&log, &[topic("a")], log.head().position, 9), left);
    }
    log.take_back(TakeBack::Topic(name("a")));
    for key in ["a", "a*"] {
        assert_eq!(snapshot(&log, &[filter(key)], log.head().position, 9), [""; 0]);
    }
    assert_eq!(snapshot(&log, &[topic("b")], log.head().position, 9), ["y"]);
    log.take_back(TakeBack::Topic(name("b")));
    assert_eq!(log.state_size(), (0, 0));
}

/// A small deterministic generator: the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

#[test]
fn any_schedule_gives_the_state_of_a_plain_map_and_what_follows_it() {
    const TOPICS: [&[&str]; 3] = [&["a"], &["b"], &["a", "b"]];
    for seed in 0..30 {
        let mut random = Random(seed);
        let log = log(1 + random.below(20), BOUNDS);
        // By recipients and key: the newest event, and its place.
        let mut plain: HashMap<(usize, usize), (u64, EventId, String)> = HashMap::new();
        for step in 0..200_u64 {
            let (of, key) = (random.below(3), random.below(6));
            match random.below(12) {
                0 => {
                    if let Some((_, id, _)) = plain.remove(&(of, key)) {
                        let topic = Name::parse(TOPICS[of][0]).unwrap();
                        assert_eq!(log.take_back(TakeBack::Event { topic, id }).count, 1, "{seed} {step}");
                    }
                }
                1..=4 => drop(log.append(keyed(TOPICS[of], "", "no key"))),
                _ => {
                    let data = step.to_string();
                    let id = log.append(keyed(TOPICS[of], &key.to_string(), &data)).id.unwrap();
                    plain.insert((of, key), (step, id, data));
                }
            }
            for (key, topics) in [("a", &[0, 2][..]), ("b", &[1, 2]), ("a*", &[0, 2]), ("*", &[0, 1, 2])] {
                let mut wanted: Vec<_> = plain
                    .iter()
                    .filter(|((of, _), _)| topics.contains(of))
                    .map(|(_, newest)| newest)
                    .collect();
                wanted.sort_unstable_by_key(|(step, ..)| *step);
                let wanted: Vec<&str> = wanted.into_iter().map(|(.., data)| &**data).collect();
                let many = 1 + random.below(9);
                assert_eq!(
                    snapshot(&log, &[filter(key)], log.head().position, many),
                    wanted,
                    "{seed} {step}"
                );
            }
        }
    }
}

#[test]
fn a_log_whose_state_is_kept_already_gives_snapshots_to_patterns_once_it_is_to() {
    let log = log(2, StateBounds { patterns: false, ..BOUNDS });
    for key in ["x", "y", "z"] {
        log.append(keyed(&["ab"], key, key));
    }
    let pattern = [filter("a*")];
    assert_eq!(snapshot(&log, &pattern, log.head().position, 9), [""; 0]);
    log.keep_state(BOUNDS);
    assert_eq!(snapshot(&log, &pattern, log.head().position, 9), ["x", "y", "z"]);
    log.append(keyed(&["ab"], "x", "x2"));
    assert_eq!(snapshot(&log, &pattern, log.head().position, 9), ["y", "z", "x2"]);
}
