use super::*;

impl Weigh for u64 {
    fn size(&self) -> usize {
        8
    }
}

fn backlog() -> Backlog<u64> {
    Backlog::new(1 << 20)
}

fn hear(backlog: &mut Backlog<u64>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        backlog.hear(Some(number));
    }
}

fn numbers(batch: &BacklogBatch<u64>) -> Vec<u64> {
    batch.messages.iter().map(|(number, _)| *number).collect()
}

#[test]
fn two_who_heard_a_marker_mean_the_same_message_by_it() {
    let (mut early, mut late) = (backlog(), backlog());
    early.begin();
    hear(&mut early, 0..5);
    early.mark(7);
    hear(&mut early, 5..8);
    // Came in between, set a marker of its own.
    late.begin();
    for both in [&mut early, &mut late] {
        hear(both, 8..10);
        both.mark(9);
        hear(both, 10..12);
    }
    let batch = early.batch(early.oldest().unwrap(), 11, 1000).unwrap();
    assert_eq!(batch.position, Checkpoint { marker: 9, behind: 1 });
    assert_eq!(batch.messages[0].1, Checkpoint { marker: 7, behind: -4 });
    let place = late.locate(batch.position).unwrap();
    assert!(late.is_whole_from(place));
    assert_eq!(numbers(&late.batch(place, 10, 1000).unwrap()), [11]);
    let before = Checkpoint { marker: 7, behind: 1 };
    assert_eq!(late.locate(before), None, "a marker that it never heard");
    let before = late.locate(Checkpoint { marker: 9, behind: -4 }).unwrap();
    assert!(!late.is_whole_from(before), "that was before it listened");
    assert!(late.batch(before, 10, 1000).unwrap().gap);
}

#[test]
fn a_place_may_lie_ahead() {
    let mut slow = backlog();
    slow.begin();
    slow.mark(1);
    hear(&mut slow, 0..2);
    let ahead = slow.locate(Checkpoint { marker: 1, behind: 4 }).unwrap();
    assert!(slow.is_whole_from(ahead));
    slow.forget(ahead);
    assert_eq!(slow.batch(ahead, 10, 1000).unwrap().messages, []);
    hear(&mut slow, 2..6);
    assert_eq!(numbers(&slow.batch(ahead, 10, 1000).unwrap()), [4, 5]);
}

#[test]
fn behind_a_break_there_may_be_a_gap() {
    let mut backlog = backlog();
    backlog.begin();
    backlog.mark(1);
    hear(&mut backlog, 0..3);
    backlog.end();
    hear(&mut backlog, 3..5);
    assert_eq!(backlog.locate(Checkpoint { marker: 1, behind: 4 }), None, "said while it did not listen");
    let cursor = backlog.locate(Checkpoint { marker: 1, behind: 1 }).unwrap();
    let batch = backlog.batch(cursor, 10, 1000).unwrap();
    assert_eq!((batch.gap, numbers(&batch)), (false, vec![1, 2]));
    backlog.forget(batch.to);
    assert!(backlog.is_at_break(batch.to));
    assert_eq!(backlog.batch(batch.to, 10, 1000), None, "it does not listen");
    backlog.begin();
    hear(&mut backlog, 5..7);
    assert_eq!(backlog.batch(batch.to, 10, 1000), None, "no marker says where it ends");
    backlog.mark(2);
    let batch = backlog.batch(batch.to, 10, 1000).unwrap();
    assert_eq!((batch.gap, numbers(&batch)), (true, vec![5, 6]));
    assert_eq!(batch.position, Checkpoint { marker: 2, behind: 0 });
}

#[test]
fn what_gives_way_is_a_gap() {
    let mut backlog = Backlog::new(10 * (8 + OVERHEAD));
    backlog.begin();
    backlog.mark(1);
    let dropped: usize = (0..12).map(|number| backlog.hear(Some(number))).sum();
    assert_eq!((dropped, backlog.len()), (2, 10));
    let cursor = backlog.locate(Checkpoint { marker: 1, behind: 1 }).unwrap();
    assert!(!backlog.is_whole_from(cursor));
    let batch = backlog.batch(cursor, 3, 1000).unwrap();
    assert_eq!((batch.gap, numbers(&batch)), (true, vec![2, 3, 4]));
    for _ in 0..2 * MAX_SEGMENTS {
        backlog.end();
        backlog.begin();
        backlog.hear(Some(0));
    }
    assert!(backlog.segments.len() <= MAX_SEGMENTS);
    assert!(backlog.bytes <= backlog.max_bytes);
}

#[test]
fn a_batch_is_bounded_and_what_is_nothing_counts() {
    let mut backlog = backlog();
    backlog.begin();
    backlog.mark(1);
    for number in 0..6 {
        backlog.hear((number % 2 == 0).then_some(number));
    }
    let start = backlog.oldest().unwrap();
    let batch = backlog.batch(start, 2, 1000).unwrap();
    assert_eq!((numbers(&batch), batch.position.behind), (vec![0, 2], 3));
    let batch = backlog.batch(start, 10, 1).unwrap();
    assert_eq!(numbers(&batch), [0]);
    assert_eq!(backlog.behind(2), backlog.locate(Checkpoint { marker: 1, behind: 3 }));
    assert_eq!(backlog.behind(0), Some(start));
    assert_eq!(backlog.behind(4), None);
}

#[test]
fn an_overlap_is_the_longest() {
    let overlap = |tail: &str, backlog: &str, cut| overlap(tail.as_bytes(), cut, backlog.as_bytes());
    for (tail, backlog, len) in [
        ("", "abc", 0),
        ("abc", "", 0),
        ("abc", "xyz", 0),
        ("xxabc", "abcde", 3),
        ("abab", "abab", 4),
        ("xaba", "abab", 3),
        ("aaaa", "aab", 2),
        ("aab", "aabaaab", 3),
        ("abcabd", "abcabc", 0),
        ("abcab", "abcabc", 5),
        ("ba", "aaa", 1),
    ] {
        assert_eq!(overlap(tail, backlog, false), len, "{tail} {backlog}");
    }
    for (tail, backlog, len) in [("cd", "abcde", 4), ("", "abc", 0), ("cdx", "abcde", 0), ("xa", "abc", 1)] {
        assert_eq!(overlap(tail, backlog, true), len, "{tail} {backlog}");
    }
    assert_eq!(overlap("cd", "abcde", false), 0, "an instance that had heard of it would have begun with it");
}

#[test]
fn a_position_is_a_text() {
    for position in [Checkpoint { marker: u64::MAX, behind: -3 }, Checkpoint { marker: 0, behind: i64::MAX }]
    {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    for text in ["", ":", "1", "x:1", "1:x", "1:9223372036854775808"] {
        assert_eq!(text.parse::<Checkpoint>(), Err(BadCheckpoint), "{text}");
    }
}

/// What stands in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    Gap,
    BridgedMessage(u64),
}

/// A Redis and the instances that listen to it.
struct World {
    random: u64,
    instances: Vec<Backlog<u64>>,
    /// Messages said.
    said: u64,
    markers: u64,
    place: Option<Checkpoint>,
    stream: Vec<Written>,
    /// Appends that are still on their way: the place that each follows, and what it would write.
    late: Vec<(Option<Checkpoint>, BacklogBatch<u64>)>,
}

impl World {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }

    fn say(&mut self) {
        let number = self.said;
        self.said += 1;
        for instance in &mut self.instances {
            // Some are nothing to be appended.
            instance.hear((!number.is_multiple_of(7)).then_some(number));
        }
    }

    fn mark(&mut self) {
        self.markers += 1;
        for instance in &mut self.instances {
            instance.mark(self.markers);
        }
    }

    /// What `which` does when it has the lease.
    fn lead(&mut self, which: usize) {
        let whole = |instance: &Backlog<u64>, place: Option<Checkpoint>| {
            place.is_none_or(|place| instance.locate(place).is_some_and(|at| instance.is_whole_from(at)))
        };
        let place = self.place;
        let alone = !self.instances.iter().any(|instance| whole(instance, place));
        let (max, answered) = (1 + self.below(20) as usize, self.below(5));
        let messages: Vec<u64> = self
            .stream
            .iter()
            .filter_map(|written| match written {
                Written::BridgedMessage(number) => Some(*number),
                Written::Gap => None,
            })
            .collect();
        let instance = &mut self.instances[which];
        let found = place.and_then(|place| instance.locate(place));
        let cursor = match (place, found) {
            (Some(_), Some(found)) => Some(found),
            (Some(_), None) if !alone || !instance.is_listening() => None,
            (Some(_), None) => {
                instance.keep_last_segment();
                let backlog: Vec<u64> = instance.all().copied().collect();
                instance.behind(overlap(&messages, false, &backlog))
            }
            (None, _) => instance.oldest(),
        };
        let Some(cursor) = cursor else { return };
        if instance.is_at_break(cursor) && !alone {
            return;
        }
        let Some(mut batch) = instance.batch(cursor, max, 1000) else { return };
        batch.gap |= place.is_some() && found.is_none();
        if answered == 0 {
            self.late.push((place, batch));
            return;
        }
        if answered > 1 {
            instance.forget(batch.to);
        }
        self.write(place, batch);
    }

    fn write(&mut self, follows: Option<Checkpoint>, batch: BacklogBatch<u64>) {
        if self.place != follows {
            return;
        }
        self.place = Some(batch.position);
        self.stream.extend(batch.gap.then_some(Written::Gap));
        self.stream.extend(batch.messages.into_iter().map(|(number, _)| Written::BridgedMessage(number)));
    }

    fn run(seed: u64, steady: bool) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            instances: (0..3).map(|_| backlog()).collect(),
            said: 0,
            markers: 0,
            place: None,
            stream: Vec::new(),
            late: Vec::new(),
        };
        world.instances[0].begin();
        world.mark();
        // An instance is ready only then.
        while world.place.is_none() {
            world.lead(0);
        }
        world.late.clear();
        for _ in 0..400 {
            let which = world.below(3) as usize;
            match world.below(16) {
                0..6 => world.say(),
                6..10 => world.lead(which),
                10 => world.mark(),
                11 if which > 0 || !steady => world.instances[which].end(),
                12 => {
                    world.instances[which].begin();
                    world.mark();
                }
                13 if !world.late.is_empty() => {
                    let (follows, batch) = world.late.remove(0);
                    world.write(follows, batch);
                }
                14 if which > 0 || !steady => {
                    // Another process takes its place.
                    world.instances[which] = backlog();
                }
                _ => {
                    if let Some(at) = world.place.and_then(|place| world.instances[which].locate(place)) {
                        world.instances[which].forget(at);
                    }
                }
            }
        }
        for which in 0..3 {
            world.instances[which].begin();
            world.mark();
        }
        for _ in 0..2000 {
            let which = world.below(3) as usize;
            world.lead(which);
        }
        world
    }
}

#[test]
fn under_any_leader_and_any_change_of_it_nothing_is_lost_or_written_twice_without_a_reset() {
    for seed in 1..3000 {
        let world = World::run(seed, false);
        let mut next = 0;
        let mut gap = false;
        for written in &world.stream {
            match written {
                Written::Gap => gap = true,
                Written::BridgedMessage(number) => {
                    let missing = (next..*number).any(|number| !number.is_multiple_of(7));
                    assert!(*number >= next, "seed {seed}: {number} twice: {:?}", world.stream);
                    assert!(
                        !missing || gap,
                        "seed {seed}: something before {number} was lost: {:?}",
                        world.stream
                    );
                    (next, gap) = (number + 1, false);
                }
            }
        }
        let missing = (next..world.said).any(|number| !number.is_multiple_of(7));
        assert!(!missing || gap, "seed {seed}: the end from {next} on was lost of {}", world.said);
    }
}

#[test]
fn while_one_of_them_listens_there_is_no_gap_under_any_leader() {
    for seed in 1..3000 {
        let world = World::run(seed, true);
        let all = (0..world.said).filter(|number| !number.is_multiple_of(7)).map(Written::BridgedMessage);
        assert_eq!(world.stream, all.collect::<Vec<_>>(), "seed {seed}");
    }
}
