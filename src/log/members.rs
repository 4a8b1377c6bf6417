//! The topics that were given to users, sessions and clients: now, and at every position from which the log replays.
//!
//! A change has a position of its own among the events, so that a stream's topics are a matter of its cursor. The
//! changes of users and sessions are kept as long as the events before them, those of a client until its stream has
//! gone over them (`waiting.rs`); what a set was earlier is today's with the later changes undone. This file knows no
//! subscriber.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::event::{Key, Name, TopicFilter};
use crate::log::ended::{EndedTopics, end_change};
use crate::log::held_by::HeldBy;
use crate::log::position::Position;
use crate::log::sets::{Sets, UnsavedHolders, is_shared};
use crate::log::topic_edit::{AppliedEdit, BadEdit, EditBy, HeldTopics, MemberBounds, TopicEdit, cost};
use crate::log::waiting::WaitingChanges;

/// The sets, and the changes that are kept.
#[derive(Default)]
pub(super) struct Members {
    pub(super) bounds: MemberBounds,
    sets: Sets,
    /// Whose sets are to be kept elsewhere; None where nobody keeps them.
    pub(super) unsaved: Option<UnsavedHolders>,
    /// Topics that have ended: nobody is given them.
    pub(super) ended: EndedTopics,
    /// Those of clients.
    pub(super) waiting: WaitingChanges,
    /// Those of users and sessions.
    changes: VecDeque<Arc<AppliedEdit>>,
    /// The positions of each holder's changes, oldest first.
    index: HashMap<Key, VecDeque<Position>>,
    bytes: usize,
    /// The newest change that was let go of, with all events before it.
    trimmed: Position,
    /// The newest change of which nobody knows any more what it was, among events that are kept.
    newest_lost: Position,
    /// The same by the holder's hash: one that is not named here has lost none, whatever others have.
    lost: Vec<Position>,
    hasher: DefaultHashBuilder,
}

/// Places in [`Members::lost`].
const LOST: usize = 4096;

impl Members {
    /// Changes the set of `of`, at `position`. None when that changes nothing for anybody.
    pub(super) fn edit(
        &mut self,
        of: &Key,
        edit: TopicEdit,
        by: EditBy,
        position: Position,
        at: Instant,
    ) -> Result<Option<Arc<AppliedEdit>>, BadEdit> {
        let via = HeldBy::of(of).ok_or(BadEdit::NoHolder)?;
        let via = match by {
            EditBy::Backend => via,
            EditBy::Page if self.waiting.is_full(of) => return Err(BadEdit::Behind),
            EditBy::Page => via | HeldBy::REQUEST,
        };
        let Some((add, remove)) = self.sets.edit(of, edit, self.bounds)? else { return Ok(None) };
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.add(of, at);
        }
        let change = Arc::new(AppliedEdit { position, of: of.clone(), via, add, remove, at });
        if is_shared(of) {
            self.bytes += cost(&change);
            self.index.entry_ref(of).or_default().push_back(position);
            self.changes.push_back(Arc::clone(&change));
        } else {
            self.waiting.push(&change);
        }
        Ok(Some(change))
    }

    /// Ends a topic at `position`: whoever holds it then does so no more.
    pub(super) fn end(&mut self, topic: &Name, position: Position, at: Instant) -> Arc<AppliedEdit> {
        let change = end_change(topic, position, at);
        self.bytes += cost(&change);
        self.index.entry_ref(&change.of).or_default().push_back(position);
        self.changes.push_back(Arc::clone(&change));
        self.ended.add(topic, position, at);
        change
    }

    /// Lets go of the set of a holder that is gone for good. No stream holds it, so that there is nothing to follow.
    pub(super) fn forget(&mut self, of: &Key) {
        self.sets.put(of, BTreeSet::new());
        self.waiting.forget(of);
    }

    /// The topics that are in the set of `of`, in order.
    pub(super) fn topics(&self, of: &Key) -> impl Iterator<Item = &TopicFilter> {
        self.sets.topics(of)
    }

    pub(super) fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Takes `sets` for what users and sessions are given. Nothing follows that: it is for before there are streams.
    pub(super) fn replace(&mut self, sets: Sets) {
        self.sets = sets;
    }

    /// Notes that a change of `of` stands at `position` of which nobody knows what it was.
    pub(super) fn lose(&mut self, of: &Key, position: Position) {
        self.newest_lost = self.newest_lost.max(position);
        if self.lost.is_empty() {
            self.lost = vec![Position(0); LOST];
        }
        let newest = &mut self.lost[self.hasher.hash_one(of) as usize % LOST];
        *newest = position.max(*newest);
    }

    /// Whether nobody was given anything of late.
    pub(super) fn is_idle(&self) -> bool {
        self.changes.is_empty() && self.waiting.is_empty() && self.sets.is_empty()
    }

    /// What the holders among `keys` gave at `position`: today's sets with the later changes undone.
    pub(super) fn at(&self, keys: &[Key], position: Position) -> HeldTopics {
        let mut held = HeldTopics::default();
        let has_ended = |topic: &TopicFilter| match topic {
            TopicFilter::Topic(topic) => self.ended.end_of(topic).is_some_and(|end| end <= position),
            TopicFilter::Pattern(_) => false,
        };
        for key in keys {
            let Some(via) = HeldBy::of(key) else { continue };
            for topic in self.topics(key).filter(|topic| !has_ended(topic)) {
                held.give(topic, via);
            }
            for change in self.of(key, position).rev() {
                for topic in &change.add {
                    held.take(topic, via);
                }
                for (topic, _) in change.remove.iter().filter(|(topic, was)| *was && !has_ended(topic)) {
                    held.give(topic, via);
                }
            }
        }
        held
    }

    /// The first change after `position` of a holder among `keys`.
    pub(super) fn next(&self, keys: &[Key], position: Position) -> Option<&Arc<AppliedEdit>> {
        if self.changes.is_empty() && self.waiting.is_empty() {
            return None;
        }
        keys.iter().filter_map(|key| self.of(key, position).next()).min_by_key(|change| change.position)
    }

    /// The topics that the changes after `position` took from holders among `keys`.
    pub(super) fn removed(&self, keys: &[Key], position: Position) -> Vec<TopicFilter> {
        let changes = keys.iter().flat_map(|key| self.of(key, position)).filter(|change| match &change.of {
            // It may have begun anew since.
            Key::Topic(topic) => self.ended.end_of(topic) == Some(change.position),
            _ => true,
        });
        changes.flat_map(|change| change.remove.iter().map(|(topic, _)| topic.clone())).collect()
    }

    /// Of the topics that `client` holds, those that its page has added after `position`.
    pub(super) fn added_by_page(&self, keys: &[Key], position: Position) -> Vec<TopicFilter> {
        let changes = keys.iter().flat_map(|key| self.waiting.of(key, position));
        let added = changes.filter(|change| change.via.has(HeldBy::REQUEST)).flat_map(|change| &change.add);
        let is_held =
            |topic: &&TopicFilter| keys.iter().any(|key| self.topics(key).any(|held| held == *topic));
        added.filter(is_held).cloned().collect()
    }

    /// The changes of one holder after `position`, in order.
    fn of(&self, key: &Key, position: Position) -> impl DoubleEndedIterator<Item = &Arc<AppliedEdit>> {
        let shared = self.index.get(key).into_iter().flat_map(move |places| {
            let from = places.partition_point(|&place| place <= position);
            places.range(from..).map(|&place| self.get(place))
        });
        shared.chain(self.waiting.of(key, position))
    }

    fn get(&self, position: Position) -> &Arc<AppliedEdit> {
        &self.changes[self.changes.partition_point(|change| change.position < position)]
    }

    /// Whether a change after `position` of a holder among `keys` may have been let go of.
    pub(super) fn has_lost(&self, keys: &[Key], position: Position) -> bool {
        let is_early = position < self.newest_lost || !self.waiting.is_empty();
        is_early && position < self.known_from(keys)
    }

    /// The newest change that may have been one of a holder among `keys`, and of which nobody knows what it was.
    pub(super) fn known_from(&self, keys: &[Key]) -> Position {
        let shared = |key: &Key| match self.lost.is_empty() {
            true => Position(0),
            false => self.lost[self.hasher.hash_one(key) as usize % LOST],
        };
        let is_here = |key: &Key| is_shared(key) || matches!(key, Key::Topic(_));
        let lost = |key: &Key| if is_here(key) { shared(key) } else { self.waiting.lost(key) };
        keys.iter().map(lost).max().unwrap_or_default()
    }

    /// The newest change that was let go of.
    pub(super) fn trimmed(&self) -> Position {
        self.trimmed
    }

    pub(super) fn oldest(&self) -> Option<(Position, Instant)> {
        self.changes.front().map(|change| (change.position, change.at))
    }

    /// How many changes of users and sessions are kept.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn drop_oldest(&mut self) {
        let Some(change) = self.changes.pop_front() else { return };
        self.bytes -= cost(&change);
        if let Some(places) = self.index.get_mut(&change.of) {
            places.pop_front();
            if places.is_empty() {
                self.index.remove(&change.of);
            }
        }
        self.trimmed = change.position;
        self.lose(&change.of, change.position);
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
