//! Which of many patterns match a topic, found without a look at those that do not begin and end as the topic does.
//!
//! Patterns are grouped by the literal text in front of their first `*`, and in each group by the one behind their last
//! `*`, read backwards. Other kinds of patterns fit in as long as they know such a text of theirs, be it an empty one.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::event::name::Name;
use crate::event::pattern::Pattern;

/// Patterns, each with a value.
#[derive(Debug)]
pub struct PatternIndex<V> {
    by_head: BTreeMap<Box<[u8]>, ByTail<V>>,
    /// How many patterns begin with each byte: most topics that no pattern is for are told by their first one.
    firsts: Box<[u32; 256]>,
    /// How many begin with a `*`.
    headless: u32,
}

/// By the literal end, backwards.
type ByTail<V> = BTreeMap<Box<[u8]>, Vec<(Pattern, V)>>;

impl<V> Default for PatternIndex<V> {
    fn default() -> Self {
        Self { by_head: BTreeMap::new(), firsts: Box::new([0; 256]), headless: 0 }
    }
}

impl<V: Copy> PatternIndex<V> {
    /// Enters a pattern that is not in it.
    pub fn insert(&mut self, pattern: &Pattern, value: V) {
        let by_tail = self.by_head.entry(pattern.head().as_bytes().into()).or_default();
        by_tail.entry(reversed(pattern.tail())).or_default().push((pattern.clone(), value));
        *self.first(pattern) += 1;
    }

    /// Takes out a pattern; one that is not in it is no matter.
    pub fn remove(&mut self, pattern: &Pattern) {
        let head = pattern.head().as_bytes();
        let tail = reversed(pattern.tail());
        let Some(by_tail) = self.by_head.get_mut(head) else { return };
        let Some(same) = by_tail.get_mut(&tail) else { return };
        let Some(at) = same.iter().position(|(other, _)| other == pattern) else { return };
        same.swap_remove(at);
        if same.is_empty() {
            by_tail.remove(&tail);
        }
        if by_tail.is_empty() {
            self.by_head.remove(head);
        }
        *self.first(pattern) -= 1;
    }

    /// Whether a pattern may match `topic`: false for most topics that none does match, and at once.
    pub fn may_match(&self, topic: &Name) -> bool {
        let first = topic.as_str().as_bytes().first().copied().unwrap_or_default();
        self.headless > 0 || self.firsts[usize::from(first)] > 0
    }

    /// Shows `each` the value of every pattern that matches `topic`, in no order.
    pub fn for_each(&self, topic: &Name, mut each: impl FnMut(V)) {
        let backwards = reversed(topic.as_str());
        beginnings(&self.by_head, topic.as_str().as_bytes(), |by_tail| {
            beginnings(by_tail, &backwards, |same| {
                same.iter().filter(|(pattern, _)| pattern.matches(topic)).for_each(|(_, value)| each(*value));
            });
        });
    }

    fn first(&mut self, pattern: &Pattern) -> &mut u32 {
        match pattern.head().as_bytes() {
            [] => &mut self.headless,
            [first, ..] => &mut self.firsts[usize::from(*first)],
        }
    }
}

fn reversed(text: &str) -> Box<[u8]> {
    text.bytes().rev().collect()
}

/// Shows `each` the values of all keys of `map` that `text` begins with: one look for each of them, and at most one
/// for each byte of `text`.
fn beginnings<'m, V>(map: &'m BTreeMap<Box<[u8]>, V>, text: &[u8], mut each: impl FnMut(&'m V)) {
    let mut text = text;
    while let Some((key, value)) = map.range::<[u8], _>((Bound::Unbounded, Bound::Included(text))).next_back()
    {
        let same = key.iter().zip(text).take_while(|(a, b)| a == b).count();
        if same < key.len() {
            // It stands between all longer beginnings and `text`, so that there are none.
            text = &text[..same];
            continue;
        }
        each(value);
        let Some(shorter) = key.len().checked_sub(1) else { return };
        text = &text[..shorter];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small deterministic generator: the same run every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) % below as u64) as usize
        }

        /// Of few letters, so that much matches.
        fn text(&mut self, letters: &[&str], most: usize) -> String {
            (0..self.below(most) + 1).map(|_| letters[self.below(letters.len())]).collect()
        }

        fn pattern(&mut self) -> Pattern {
            loop {
                if let Ok(pattern) = Pattern::parse(&self.text(&["a", "b", "ü", "*"], 6)) {
                    return pattern;
                }
            }
        }

        fn topic(&mut self) -> Name {
            Name::parse(&self.text(&["a", "b", "ü"], 6)).unwrap()
        }
    }

    /// What a pattern means, in the plainest words.
    fn matches(pattern: &[char], topic: &[char]) -> bool {
        match pattern {
            [] => topic.is_empty(),
            ['*', rest @ ..] => (0..=topic.len()).any(|skip| matches(rest, &topic[skip..])),
            [one, rest @ ..] => topic.first() == Some(one) && matches(rest, &topic[1..]),
        }
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn a_pattern_matches_as_its_plain_meaning_says() {
        let mut random = Random(1);
        for _ in 0..50_000 {
            let (pattern, topic) = (random.pattern(), random.topic());
            let expected = matches(&chars(pattern.as_str()), &chars(topic.as_str()));
            assert_eq!(pattern.matches(&topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn what_covers_another_matches_all_that_it_matches_and_nothing_else_covers_it() {
        let mut random = Random(2);
        // Every text of up to five of four letters, one of which no pattern has.
        let mut all: Vec<String> = vec![String::new()];
        for at in 0.. {
            if all[at].chars().count() == 5 {
                break;
            }
            for letter in ["a", "b", "ü", "z"] {
                all.push(format!("{}{letter}", all[at]));
            }
        }
        let all: Vec<Name> = all.iter().filter_map(|text| Name::parse(text).ok()).collect();
        let mut covered = 0;
        for _ in 0..3_000 {
            let (grant, asked) = (random.pattern(), random.pattern());
            // Longer ones match texts that are not among all.
            if grant.as_str().chars().count() > 4 || asked.as_str().chars().count() > 4 {
                continue;
            }
            let expected = all.iter().all(|topic| grant.matches(topic) || !asked.matches(topic));
            assert_eq!(grant.covers(&asked), expected, "{grant} {asked}");
            covered += usize::from(expected);
        }
        assert!(covered > 50, "{covered}");
    }

    #[test]
    fn the_index_finds_what_a_look_at_every_pattern_finds() {
        let mut random = Random(3);
        let mut index = PatternIndex::default();
        let mut there: Vec<(Pattern, usize)> = Vec::new();
        for step in 0..30_000 {
            if there.len() < 60 && random.below(2) == 0 {
                let pattern = random.pattern();
                if there.iter().all(|(other, _)| *other != pattern) {
                    index.insert(&pattern, step);
                    there.push((pattern, step));
                }
            } else if !there.is_empty() {
                let (pattern, _) = there.swap_remove(random.below(there.len()));
                index.remove(&pattern);
                index.remove(&pattern);
            }
            let topic = random.topic();
            let mut found = Vec::new();
            index.for_each(&topic, |value| found.push(value));
            found.sort_unstable();
            let mut expected: Vec<usize> = there
                .iter()
                .filter(|(pattern, _)| pattern.matches(&topic))
                .map(|(_, value)| *value)
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{topic} {there:?}");
            assert!(expected.is_empty() || index.may_match(&topic));
        }
        there.iter().for_each(|(pattern, _)| index.remove(pattern));
        assert!(
            index.by_head.is_empty() && index.headless == 0 && index.firsts.iter().all(|&count| count == 0)
        );
    }

    #[test]
    fn patterns_that_begin_or_end_otherwise_are_not_looked_at() {
        let mut index = PatternIndex::default();
        for n in 0..10_000 {
            index.insert(&Pattern::parse(&format!("room:{n}:*")).unwrap(), n);
            index.insert(&Pattern::parse(&format!("org:*:user:{n}")).unwrap(), n);
        }
        // With a look at every pattern this would be two thousand million looks.
        for n in 0..100_000 {
            let mut found = Vec::new();
            index.for_each(&Name::parse(&format!("room:{n}:x")).unwrap(), |value| found.push(value));
            index.for_each(&Name::parse(&format!("org:x:user:{n}")).unwrap(), |value| found.push(value));
            assert_eq!(found, if n < 10_000 { vec![n, n] } else { vec![] });
        }
        assert!(!index.may_match(&Name::parse("chat:1").unwrap()));
    }
}
