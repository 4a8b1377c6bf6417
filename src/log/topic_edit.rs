//! Changes of what is given to a user, a session or a client: asked for, made, or refused.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::event::{Key, TopicFilter};
use crate::log::held_by::HeldBy;
use crate::log::position::Position;

/// What is to become of a set of topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicEdit {
    /// These and no others.
    Replace(Vec<TopicFilter>),
    /// First some are taken out, then some put in.
    Change { add: Vec<TopicFilter>, remove: Vec<TopicFilter> },
}

/// A change of the topics of a user, a session or a client, in its place among the events.
#[derive(Debug)]
pub struct AppliedEdit {
    pub position: Position,
    pub of: Key,
    /// By what a stream holds what is added.
    pub via: HeldBy,
    /// Topics that were not in the set.
    pub add: Box<[TopicFilter]>,
    /// Topics that were taken out, before those of `add` were put in; and whether they were in the set. A stream that
    /// held one by its own request lets go of it as well.
    pub remove: Box<[(TopicFilter, bool)]>,
    pub(super) at: Instant,
}

/// Why a set is not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEdit {
    #[error("topics are given to users, sessions and clients")]
    NoHolder,
    #[error("no such stream is open here")]
    NoSuchClient,
    #[error("it would have more than {max} topics (limits.topics_per_stream)")]
    TooManyTopics { max: usize },
    #[error("it would have more than {max} patterns (limits.patterns_per_stream)")]
    TooManyPatterns { max: usize },
    #[error(
        "more than {max} topics would be held by all users, sessions and clients together (limits.given_topics)"
    )]
    Full { max: usize },
    #[error(
        "more than {max} patterns would be held by all users, sessions and clients together (limits.patterns)"
    )]
    FullOfPatterns { max: usize },
    #[error("the stream has not come to its last changes yet: ask again in a moment")]
    Behind,
}

/// Who changes a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EditBy {
    /// The backend: what it gives is its own to take away.
    Backend,
    /// The page whose stream it is: what it adds, its stream holds as if it had asked for it when it opened.
    Page,
}

/// How much is held. 0 = without a bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberBounds {
    /// Topics of one user, session or client, patterns among them.
    pub topics: usize,
    /// How many of these may be patterns.
    pub patterns: usize,
    /// Topics of all of them together, patterns among them.
    pub all: usize,
    /// Patterns of all of them together.
    pub all_patterns: usize,
}

/// Roughly what a change costs beside its names: itself and its place in the index.
const CHANGE_COST: usize = 256;
const NAME_COST: usize = 40;

/// Roughly the bytes that a change takes.
pub(super) fn cost(change: &AppliedEdit) -> usize {
    let add: usize = change.add.iter().map(|topic| topic.as_str().len() + NAME_COST).sum();
    let remove: usize = change.remove.iter().map(|(topic, _)| topic.as_str().len() + NAME_COST).sum();
    CHANGE_COST + change.of.name().len() + add + remove
}

/// Topics and patterns, and by what each is held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeldTopics(BTreeMap<TopicFilter, HeldBy>);

impl HeldTopics {
    pub(super) fn give(&mut self, topic: &TopicFilter, via: HeldBy) {
        let held = self.0.entry(topic.clone()).or_default();
        *held = *held | via;
    }

    pub(super) fn take(&mut self, topic: &TopicFilter, via: HeldBy) {
        if let Some(held) = self.0.get_mut(topic) {
            *held = held.without(via);
            if held.is_nothing() {
                self.0.remove(topic);
            }
        }
    }

    /// Goes over `change`, but for what the stream's own request asked for.
    pub(super) fn follow(&mut self, change: &AppliedEdit) {
        let via = change.via.without(HeldBy::REQUEST);
        for (topic, _) in &change.remove {
            self.take(topic, via);
        }
        for topic in &change.add {
            self.give(topic, via);
        }
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicFilter, HeldBy)> {
        self.0.iter().map(|(topic, &via)| (topic, via))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
