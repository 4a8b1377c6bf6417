//! The patterns that feeds hold, and which of them match a topic: found once, at the topic's first event, and
//! remembered.
//!
//! What is remembered is brought up to date at the topic's next event when patterns have come or gone since: by a look
//! at those that came, or, when they were many, by finding it anew. So neither a pattern's coming nor its going costs
//! anything in proportion to the topics, and an event nothing in proportion to the patterns.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use slab::Slab;
use smallvec::SmallVec;

use crate::event::{Audience, Key, Name, Pattern, PatternIndex};

/// The keys of patterns that match a topic, or one of several.
pub type MatchedPatterns = Arc<[Key]>;

/// How much patterns take.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PatternCounts {
    /// Different patterns that open streams hold.
    pub held: usize,
    /// Topics whose patterns are remembered.
    pub remembered: usize,
    /// How often the patterns of a topic were looked for among all.
    pub found: u64,
}

/// The patterns that an event reaches, and the feeds that hold them: one bit a feed.
#[derive(Clone, Debug)]
pub(super) struct PatternReach {
    pub(super) patterns: MatchedPatterns,
    pub(super) feeds: u64,
}

/// Patterns by which feeds hear topics.
pub(super) struct Patterns {
    index: PatternIndex<u32>,
    held: Slab<HeldPattern>,
    numbers: HashMap<Pattern, u32>,
    /// The newest patterns that came, with their versions, oldest first.
    came: VecDeque<(u64, u32)>,
    /// Counts every change of what is held.
    version: u64,
    remembered: RememberedTopics,
    /// How often the patterns of a topic were looked for among all.
    found: u64,
}

struct HeldPattern {
    key: Key,
    feeds: u64,
    /// The version with which it came.
    since: u64,
}

/// So many patterns may have come since a topic's last event for it to be brought up to date by a look at them.
const CAME: usize = 64;

impl Patterns {
    /// At most so much is remembered: a topic counts for one, and for one more with each pattern that matches it.
    pub(super) fn new(remembered: usize) -> Self {
        Self {
            index: PatternIndex::default(),
            held: Slab::new(),
            numbers: HashMap::new(),
            came: VecDeque::new(),
            version: 0,
            remembered: RememberedTopics { max: remembered, ..RememberedTopics::default() },
            found: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// From now on at most so much is remembered.
    pub(super) fn bound(&mut self, remembered: usize) {
        self.remembered.max = remembered;
        self.remembered.shrink();
    }

    pub(super) fn counts(&self) -> PatternCounts {
        let Self { held, remembered, found, .. } = self;
        PatternCounts { held: held.len(), remembered: remembered.topics.len(), found: *found }
    }

    /// `feed` holds `pattern`.
    pub(super) fn hold(&mut self, pattern: &Pattern, feed: u32) {
        let number = self.numbers.get(pattern).copied();
        if number.is_some_and(|number| self.held[number as usize].feeds & 1 << feed != 0) {
            return;
        }
        self.version += 1;
        let number = number.unwrap_or_else(|| {
            let key = Key::Pattern(pattern.clone());
            let number = self.held.insert(HeldPattern { key, feeds: 0, since: self.version }) as u32;
            self.numbers.insert(pattern.clone(), number);
            self.index.insert(pattern, number);
            if self.came.len() == CAME {
                self.came.pop_front();
            }
            self.came.push_back((self.version, number));
            number
        });
        self.held[number as usize].feeds |= 1 << feed;
    }

    /// `feed` does not hold `pattern` any more.
    pub(super) fn let_go(&mut self, pattern: &Pattern, feed: u32) {
        let Some(&number) = self.numbers.get(pattern) else { return };
        self.version += 1;
        let held = &mut self.held[number as usize];
        held.feeds &= !(1 << feed);
        if held.feeds == 0 {
            self.held.remove(number as usize);
            self.numbers.remove(pattern);
            self.index.remove(pattern);
        }
        if self.held.is_empty() {
            // Nobody will ask for a while.
            self.remembered.clear();
            self.came.clear();
        }
    }

    /// `feed` holds nothing any more.
    pub(super) fn let_go_of_all(&mut self, feed: u32) {
        let all: Vec<Pattern> = self.numbers.keys().cloned().collect();
        all.iter().for_each(|pattern| self.let_go(pattern, feed));
    }

    /// What an event for `audience` reaches by patterns. None when that is nobody.
    pub(super) fn reach(&mut self, audience: &Audience) -> Option<PatternReach> {
        let mut found: SmallVec<[PatternReach; 1]> = SmallVec::new();
        for key in audience.keys() {
            let Key::Topic(topic) = key else { continue };
            if self.index.may_match(topic) {
                found.extend(self.of(topic));
            }
        }
        if found.len() < 2 {
            return found.pop();
        }
        let mut seen = HashSet::new();
        let all = found.iter().flat_map(|reach| reach.patterns.iter());
        let patterns = all.filter(|key| seen.insert(*key)).cloned().collect();
        Some(PatternReach { patterns, feeds: found.iter().fold(0, |feeds, reach| feeds | reach.feeds) })
    }

    /// The patterns that match `topic`.
    fn of(&mut self, topic: &Name) -> Option<PatternReach> {
        let Some(remembered) = self.remembered.get(topic) else {
            let reach = self.find(topic);
            self.remembered.insert(topic, reach.clone(), self.version);
            return reach;
        };
        if remembered.version == self.version {
            return remembered.reach.clone();
        }
        let (since, before) = (remembered.version, remembered.reach.clone());
        // Those that came when it was not full any more are all here.
        let reach = match self.came.front() {
            Some((first, _)) if self.came.len() == CAME && *first > since + 1 => self.find(topic),
            _ => self.follow(topic, before, since),
        };
        self.remembered.put(topic, reach.clone(), self.version);
        reach
    }

    /// Looks for the patterns of `topic` among all.
    fn find(&mut self, topic: &Name) -> Option<PatternReach> {
        self.found += 1;
        let (mut patterns, mut feeds) = (Vec::new(), 0);
        self.index.for_each(topic, |number| {
            let held = &self.held[number as usize];
            patterns.push(held.key.clone());
            feeds |= held.feeds;
        });
        PatternReach::of(patterns, feeds)
    }

    /// The patterns of `topic`, which were those of `before` at the version `since`.
    fn follow(&self, topic: &Name, before: Option<PatternReach>, since: u64) -> Option<PatternReach> {
        let (mut patterns, mut feeds) = (Vec::new(), 0);
        let stayed = before.iter().flat_map(|reach| reach.patterns.iter()).filter_map(|key| {
            let Key::Pattern(pattern) = key else { return None };
            let held = &self.held[*self.numbers.get(pattern)? as usize];
            // What came again in between is among those that came.
            (held.since <= since).then_some(held)
        });
        let newest = self.came.partition_point(|(version, _)| *version <= since);
        let came = self.came.range(newest..).filter_map(|&(version, number)| {
            let held = self.held.get(number as usize).filter(|held| held.since == version)?;
            matches!(&held.key, Key::Pattern(pattern) if pattern.matches(topic)).then_some(held)
        });
        for held in stayed.chain(came) {
            patterns.push(held.key.clone());
            feeds |= held.feeds;
        }
        PatternReach::of(patterns, feeds)
    }
}

impl PatternReach {
    fn of(patterns: Vec<Key>, feeds: u64) -> Option<Self> {
        (!patterns.is_empty()).then(|| Self { patterns: patterns.into(), feeds })
    }
}

/// Topics and the patterns that match them, as long as there is room. One that was asked for since the last look at it
/// stays before one that was not.
#[derive(Default)]
struct RememberedTopics {
    numbers: HashMap<Name, usize>,
    topics: Slab<RememberedTopic>,
    /// What all count for.
    weight: usize,
    max: usize,
    /// Where room is looked for next.
    hand: usize,
}

struct RememberedTopic {
    topic: Name,
    reach: Option<PatternReach>,
    version: u64,
    asked: bool,
}

impl RememberedTopic {
    fn weight(&self) -> usize {
        weight(self.reach.as_ref())
    }
}

fn weight(reach: Option<&PatternReach>) -> usize {
    1 + reach.map_or(0, |reach| reach.patterns.len())
}

/// How many topics that were asked for are passed over in the search for room.
const PASSED_OVER: usize = 16;

impl RememberedTopics {
    fn get(&mut self, topic: &Name) -> Option<&RememberedTopic> {
        let number = *self.numbers.get(topic)?;
        let remembered = &mut self.topics[number];
        remembered.asked = true;
        Some(remembered)
    }

    fn insert(&mut self, topic: &Name, reach: Option<PatternReach>, version: u64) {
        if weight(reach.as_ref()) > self.max {
            return;
        }
        self.weight += weight(reach.as_ref());
        let number =
            self.topics.insert(RememberedTopic { topic: topic.clone(), reach, version, asked: true });
        self.numbers.insert(topic.clone(), number);
        self.shrink();
    }

    /// What is known of `topic`, which is remembered, is now this.
    fn put(&mut self, topic: &Name, reach: Option<PatternReach>, version: u64) {
        let Some(&number) = self.numbers.get(topic) else { return };
        let remembered = &mut self.topics[number];
        self.weight -= remembered.weight();
        (remembered.reach, remembered.version) = (reach, version);
        self.weight += remembered.weight();
        self.shrink();
    }

    /// Forgets until there is room.
    fn shrink(&mut self) {
        let mut passed_over = 0;
        while self.weight > self.max && !self.topics.is_empty() {
            if self.hand >= self.topics.capacity() {
                self.hand = 0;
            }
            let at = self.hand;
            self.hand += 1;
            let Some(remembered) = self.topics.get_mut(at) else { continue };
            if remembered.asked && passed_over < PASSED_OVER {
                remembered.asked = false;
                passed_over += 1;
                continue;
            }
            let forgotten = self.topics.remove(at);
            self.weight -= forgotten.weight();
            self.numbers.remove(&forgotten.topic);
        }
    }

    fn clear(&mut self) {
        *self = Self { max: self.max, ..Self::default() };
    }
}

#[cfg(test)]
#[path = "patterns_tests.rs"]
mod tests;
