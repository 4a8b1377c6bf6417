//! The sets of topics themselves, by holder, and whose sets are still to be kept elsewhere.
//!
//! Whether a set of a user or a session may grow depends on such sets alone: those of clients differ from instance to
//! instance, and a change must come out alike on all. This file knows no position.

use std::collections::BTreeSet;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};

use crate::event::{Key, TopicFilter};
use crate::log::topic_edit::{BadEdit, MemberBounds, TopicEdit};

/// Sets of topics.
#[derive(Default, Debug)]
pub(super) struct Sets {
    sets: HashMap<Key, BTreeSet<TopicFilter>>,
    /// What is in the sets of users and sessions.
    shared: SetSize,
    /// What is in those of clients.
    clients: SetSize,
}

/// How much is in a set, or in several.
#[derive(Clone, Copy, Default, Debug)]
struct SetSize {
    topics: usize,
    /// How many of them are patterns.
    patterns: usize,
}

impl SetSize {
    fn of(set: &BTreeSet<TopicFilter>) -> Self {
        Self { topics: set.len(), patterns: set.iter().filter(|topic| topic.is_pattern()).count() }
    }
}

/// What is in that was not, and what was taken out before: with whether it was in.
pub(super) type Differences = (Box<[TopicFilter]>, Box<[(TopicFilter, bool)]>);

/// Whose sets have changed since they were kept elsewhere.
#[derive(Default, Debug)]
pub(super) struct UnsavedHolders {
    holders: HashSet<Key>,
    /// They were too many to be named.
    all: bool,
    /// When the first of them changed.
    since: Option<Instant>,
}

/// Holders that are named; where more have changed, all sets are kept anew.
const MAX_NAMED: usize = 10_000;

impl Sets {
    /// Changes the set of `of`. None when nothing is different then.
    pub(super) fn edit(
        &mut self,
        of: &Key,
        edit: TopicEdit,
        bounds: MemberBounds,
    ) -> Result<Option<Differences>, BadEdit> {
        let before = self.sets.get(of);
        let had = before.map(SetSize::of).unwrap_or_default();
        let mut set = before.cloned().unwrap_or_default();
        let (add, remove) = match edit {
            TopicEdit::Change { add, remove } => (add, remove),
            TopicEdit::Replace(topics) => {
                let topics: BTreeSet<TopicFilter> = topics.into_iter().collect();
                let remove = set.difference(&topics).cloned().collect();
                (topics.into_iter().collect(), remove)
            }
        };
        let remove: Box<[(TopicFilter, bool)]> = remove
            .into_iter()
            .map(|topic| {
                let was = set.remove(&topic);
                (topic, was)
            })
            .collect();
        let add: Box<[TopicFilter]> = add.into_iter().filter(|topic| set.insert(topic.clone())).collect();
        if add.is_empty() && remove.is_empty() {
            return Ok(None);
        }
        let has = SetSize::of(&set);
        let others = if is_shared(of) { SetSize::default() } else { self.clients };
        let held = self.shared.topics + others.topics - had.topics + has.topics;
        let held_patterns = self.shared.patterns + others.patterns - had.patterns + has.patterns;
        let exceeds = |max: usize, had: usize, has: usize, all: usize| max > 0 && has > had && all > max;
        if exceeds(bounds.topics, had.topics, has.topics, has.topics) {
            return Err(BadEdit::TooManyTopics { max: bounds.topics });
        }
        if exceeds(bounds.patterns, had.patterns, has.patterns, has.patterns) {
            return Err(BadEdit::TooManyPatterns { max: bounds.patterns });
        }
        if exceeds(bounds.all, had.topics, has.topics, held) {
            return Err(BadEdit::Full { max: bounds.all });
        }
        if exceeds(bounds.all_patterns, had.patterns, has.patterns, held_patterns) {
            return Err(BadEdit::FullOfPatterns { max: bounds.all_patterns });
        }
        self.put(of, set);
        Ok(Some((add, remove)))
    }

    /// Makes `set` the set of `of`, whatever the bounds are.
    pub(super) fn put(&mut self, of: &Key, set: BTreeSet<TopicFilter>) {
        let has = SetSize::of(&set);
        let before = if set.is_empty() { self.sets.remove(of) } else { self.sets.insert(of.clone(), set) };
        let had = before.as_ref().map(SetSize::of).unwrap_or_default();
        let held = if is_shared(of) { &mut self.shared } else { &mut self.clients };
        held.topics = held.topics - had.topics + has.topics;
        held.patterns = held.patterns - had.patterns + has.patterns;
    }

    /// The topics that are in the set of `of`, in order.
    pub(super) fn topics(&self, of: &Key) -> impl Iterator<Item = &TopicFilter> {
        self.sets.get(of).into_iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The users and sessions that have a set.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Key> {
        self.sets.keys().filter(|key| is_shared(key))
    }

    /// What makes the sets of users and sessions those of `other`.
    pub(super) fn towards(&self, other: &Self) -> Vec<(Key, TopicEdit)> {
        let differs = |of: &&Key| self.sets.get(*of) != other.sets.get(*of);
        let gone = self.holders().filter(|of| !other.sets.contains_key(*of));
        let all = other.holders().filter(differs).chain(gone);
        all.map(|of| (of.clone(), TopicEdit::Replace(other.topics(of).cloned().collect()))).collect()
    }
}

impl UnsavedHolders {
    /// Its set has changed, at the latest at `since`.
    pub(super) fn add(&mut self, of: &Key, since: Instant) {
        if !is_shared(of) {
            return;
        }
        self.since = Some(self.since.map_or(since, |known| known.min(since)));
        if self.all || self.holders.contains(of) {
            return;
        }
        if self.holders.len() >= MAX_NAMED {
            self.add_all(since);
        } else {
            self.holders.insert(of.clone());
        }
    }

    pub(super) fn add_all(&mut self, since: Instant) {
        self.since = Some(self.since.map_or(since, |known| known.min(since)));
        self.all = true;
        self.holders.clear();
    }

    pub(super) fn names(&self, of: &Key) -> bool {
        self.all || self.holders.contains(of)
    }

    /// Their names; None when it is all of them.
    pub(super) fn take(&mut self) -> Option<Vec<Key>> {
        let Self { holders, all, .. } = std::mem::take(self);
        (!all).then(|| holders.into_iter().collect())
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

/// Whether every instance has the same set for it.
pub(super) fn is_shared(key: &Key) -> bool {
    matches!(key, Key::User(_) | Key::Session(_))
}
