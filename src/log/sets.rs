//! The sets of topics themselves, by holder, and whose sets are still to be kept elsewhere.
//!
//! Whether a set of a user or a session may grow depends on such sets alone: those of clients differ from instance to
//! instance, and a change must come out alike on all. This file knows no position.

use std::collections::BTreeSet;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};

use crate::event::{Key, Name};
use crate::log::topic_edit::{BadEdit, MemberBounds, TopicEdit};

/// Sets of topics.
#[derive(Default, Debug)]
pub(super) struct Sets {
    sets: HashMap<Key, BTreeSet<Name>>,
    /// Topics in the sets of users and sessions.
    shared: usize,
    /// Topics in those of clients.
    clients: usize,
}

/// What is in that was not, and what was taken out before: with whether it was in.
pub(super) type Differences = (Box<[Name]>, Box<[(Name, bool)]>);

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
        let count = before.map_or(0, BTreeSet::len);
        let mut set = before.cloned().unwrap_or_default();
        let (add, remove) = match edit {
            TopicEdit::Change { add, remove } => (add, remove),
            TopicEdit::Replace(topics) => {
                let topics: BTreeSet<Name> = topics.into_iter().collect();
                let remove = set.difference(&topics).cloned().collect();
                (topics.into_iter().collect(), remove)
            }
        };
        let remove: Box<[(Name, bool)]> = remove
            .into_iter()
            .map(|topic| {
                let was = set.remove(&topic);
                (topic, was)
            })
            .collect();
        let add: Box<[Name]> = add.into_iter().filter(|topic| set.insert(topic.clone())).collect();
        if add.is_empty() && remove.is_empty() {
            return Ok(None);
        }
        let MemberBounds { topics, all } = bounds;
        if topics > 0 && set.len() > topics && set.len() > count {
            return Err(BadEdit::TooManyTopics { max: topics });
        }
        let held = self.shared + if is_shared(of) { 0 } else { self.clients };
        if all > 0 && set.len() > count && held - count + set.len() > all {
            return Err(BadEdit::Full { max: all });
        }
        self.put(of, set);
        Ok(Some((add, remove)))
    }

    /// Makes `set` the set of `of`, whatever the bounds are.
    pub(super) fn put(&mut self, of: &Key, set: BTreeSet<Name>) {
        let count = set.len();
        let before = if set.is_empty() { self.sets.remove(of) } else { self.sets.insert(of.clone(), set) };
        let before = before.map_or(0, |set| set.len());
        let held = if is_shared(of) { &mut self.shared } else { &mut self.clients };
        *held = *held - before + count;
    }

    /// The topics that are in the set of `of`, in order.
    pub(super) fn topics(&self, of: &Key) -> impl Iterator<Item = &Name> {
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
