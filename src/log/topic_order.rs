//! The topics of which the log keeps events, by their names: where a pattern matches few of them, its holder finds
//! its entries without a look through all.
//!
//! Kept once some route has patterns. A topic is in it as long as the index has a list of it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ops::Bound;

use crate::event::{Key, Name, Pattern};
use crate::log::position::Position;

/// So many topics that begin as the pattern does are looked at, for all patterns of a holder together; few in tests,
/// whose logs are short.
const LOOKED_AT: usize = if cfg!(test) { 6 } else { 2048 };
/// And so many may match.
const MATCHED: usize = if cfg!(test) { 3 } else { 512 };

/// The topics, in order; None where nobody asks for patterns.
#[derive(Default)]
pub(super) struct TopicOrder(Option<BTreeSet<Name>>);

impl TopicOrder {
    /// From now on topics are kept in order, beginning with those of `keys`.
    pub(super) fn begin<'k>(&mut self, keys: impl Iterator<Item = &'k Key>) {
        let topic = |key: &'k Key| if let Key::Topic(topic) = key { Some(topic.clone()) } else { None };
        self.0.get_or_insert_with(|| keys.filter_map(topic).collect());
    }

    /// The first entry of `key` is kept.
    pub(super) fn add(&mut self, key: &Key) {
        if let (Some(topics), Key::Topic(topic)) = (&mut self.0, key) {
            topics.insert(topic.clone());
        }
    }

    /// No entry of `key` is kept any more.
    pub(super) fn remove(&mut self, key: &Key) {
        if let (Some(topics), Key::Topic(topic)) = (&mut self.0, key) {
            topics.remove(topic);
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(topics) = &mut self.0 {
            topics.clear();
        }
    }

    /// The topics that `patterns` match; None where that takes too long to find out, or they are too many.
    pub(super) fn matching(&self, patterns: &[&Pattern]) -> Option<Vec<Key>> {
        let topics = self.0.as_ref()?;
        let (mut matched, mut looked_at) = (Vec::new(), 0);
        for pattern in patterns {
            let head = pattern.head();
            let from = Name::parse(head).map_or(Bound::Unbounded, Bound::Included);
            let begin_so =
                topics.range((from, Bound::Unbounded)).take_while(|topic| topic.as_str().starts_with(head));
            for topic in begin_so {
                looked_at += 1;
                if pattern.matches(topic) {
                    matched.push(Key::Topic(topic.clone()));
                }
                if looked_at > LOOKED_AT || matched.len() > MATCHED {
                    return None;
                }
            }
        }
        Some(matched)
    }
}

/// The positions of many lists behind `after`, in order, each once.
pub(super) fn merged<'l>(
    lists: impl Iterator<Item = &'l VecDeque<Position>>,
    after: Position,
) -> impl Iterator<Item = Position> {
    let behind = |list: &'l VecDeque<Position>| list.range(list.partition_point(|&place| place <= after)..);
    let mut rests: Vec<_> = lists.map(behind).collect();
    let first = |(nth, rest): (usize, &mut std::collections::vec_deque::Iter<'l, Position>)| {
        rest.next().map(|&place| Reverse((place, nth)))
    };
    let mut next: BinaryHeap<_> = rests.iter_mut().enumerate().filter_map(first).collect();
    let mut last = None;
    std::iter::from_fn(move || {
        loop {
            let Reverse((place, nth)) = next.pop()?;
            next.extend(rests[nth].next().map(|&place| Reverse((place, nth))));
            if last.replace(place) != Some(place) {
                return Some(place);
            }
        }
    })
}
