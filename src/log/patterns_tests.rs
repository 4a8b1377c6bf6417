//! The patterns of topics against a look at every pattern.

use super::*;

/// A small deterministic generator: the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % below as u64) as usize
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn topic(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn audience(topics: &[Name]) -> Audience {
    Audience::new(topics.iter().cloned().map(Key::Topic), vec![]).unwrap()
}

fn reached(patterns: &mut Patterns, topics: &[Name]) -> (Vec<String>, u64) {
    let Some(reach) = patterns.reach(&audience(topics)) else { return (vec![], 0) };
    let mut names: Vec<String> = reach.patterns.iter().map(|key| key.name().to_owned()).collect();
    names.sort_unstable();
    (names, reach.feeds)
}

/// Random comings, goings and events, with room for `remembered`.
fn run(seed: u64, remembered: usize) {
    let mut random = Random(seed);
    let mut patterns = Patterns::new(remembered);
    // Feeds by pattern.
    let mut model: Vec<(Pattern, u64)> = (0..200)
        .map(|n| match n % 4 {
            0 => pattern(&format!("r:{}*", n / 4)),
            1 => pattern(&format!("*:{}", n / 4)),
            2 => pattern(&format!("r:{}*{}", n / 40, n / 4 % 10)),
            _ => pattern(&format!("{}*", &"r:1234"[..n / 4 % 6])),
        })
        .map(|pattern| (pattern, 0))
        .collect();
    model.sort_unstable();
    model.dedup();
    for _ in 0..20_000 {
        match random.below(8) {
            0..=2 => {
                let at = random.below(model.len());
                let feed = random.below(3) as u32;
                model[at].1 |= 1 << feed;
                patterns.hold(&model[at].0, feed);
            }
            3..=4 => {
                let at = random.below(model.len());
                let feed = random.below(3) as u32;
                model[at].1 &= !(1 << feed);
                patterns.let_go(&model[at].0, feed);
            }
            // Now and then nobody is there any more.
            5 if random.below(200) == 0 => {
                model.iter_mut().for_each(|(_, feeds)| *feeds = 0);
                (0..3).for_each(|feed| patterns.let_go_of_all(feed));
            }
            _ => {
                let topics: Vec<Name> =
                    (0..=random.below(3)).map(|_| topic(&format!("r:{}", random.below(60)))).collect();
                let held = model.iter().filter(|(_, feeds)| *feeds != 0);
                let matching: Vec<_> =
                    held.filter(|(pattern, _)| topics.iter().any(|topic| pattern.matches(topic))).collect();
                let names = matching.iter().map(|(pattern, _)| pattern.to_string()).collect::<Vec<_>>();
                let feeds = matching.iter().fold(0, |all, (_, feeds)| all | feeds);
                assert_eq!(reached(&mut patterns, &topics), (names, feeds), "{topics:?}");
            }
        }
        assert_eq!(patterns.counts().held, model.iter().filter(|(_, feeds)| *feeds != 0).count());
        let weights = patterns.remembered.topics.iter().map(|(_, topic)| topic.weight());
        assert_eq!(patterns.remembered.weight, weights.sum::<usize>());
        assert!(patterns.remembered.weight <= remembered);
        assert_eq!(patterns.remembered.numbers.len(), patterns.remembered.topics.len());
    }
}

#[test]
fn any_order_of_comings_and_goings_reaches_whom_a_look_at_every_pattern_reaches() {
    for (seed, remembered) in [(1, 1_000_000), (2, 100), (3, 7), (4, 0)] {
        run(seed, remembered);
    }
}

#[test]
fn a_topic_is_matched_once_while_patterns_come_and_go() {
    let mut patterns = Patterns::new(1000);
    (0..500).for_each(|n| patterns.hold(&pattern(&format!("room:{n}:*")), 0));
    for _ in 0..3 {
        for n in 0..100 {
            assert_eq!(reached(&mut patterns, &[topic(&format!("room:{n}:x"))]).0.len(), 1);
        }
        // One goes and one comes: what is remembered follows.
        patterns.let_go(&pattern("room:499:*"), 0);
        patterns.hold(&pattern("room:499:*"), 0);
    }
    assert_eq!(patterns.counts(), PatternCounts { held: 500, remembered: 100, found: 100 });
    // A topic that begins otherwise is not even remembered.
    assert_eq!(reached(&mut patterns, &[topic("chat:1")]), (vec![], 0));
    assert_eq!(patterns.counts(), PatternCounts { held: 500, remembered: 100, found: 100 });
}

#[test]
fn what_is_asked_for_again_and_again_is_remembered_whatever_else_passes_by() {
    let mut patterns = Patterns::new(100);
    patterns.hold(&pattern("t:*"), 0);
    let mut asked = 0;
    for n in 0..10_000 {
        reached(&mut patterns, &[topic(&format!("t:new:{n}"))]);
        reached(&mut patterns, &[topic("t:busy")]);
        asked += 1;
    }
    let PatternCounts { remembered, found, .. } = patterns.counts();
    assert_eq!(remembered, 50, "each counts for itself and its pattern");
    assert!(found < asked + asked / 10, "{found}");
}
