//! Which topics have ended, within a bound and for a time.
//!
//! An end is a change of what the topic's readers hold, of the kind that a change of assigned topics is, so that a
//! reader that is behind comes by it in its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::event::{Key, Name, TopicFilter};
use crate::log::held_by::HeldBy;
use crate::log::position::Position;
use crate::log::topic_edit::AppliedEdit;

/// How many ended topics are remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct EndBounds {
    pub topics: usize,
    pub age: Duration,
}

/// The topics that have ended, the ones that ended last at the end.
#[derive(Default)]
pub(super) struct EndedTopics {
    pub(super) bounds: Option<EndBounds>,
    ends: HashMap<Name, TopicEnd>,
    order: VecDeque<(Name, Position)>,
}

struct TopicEnd {
    position: Position,
    at: Instant,
}

impl EndedTopics {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Where `topic` has ended.
    pub(super) fn end_of(&self, topic: &Name) -> Option<Position> {
        if self.ends.is_empty() {
            return None;
        }
        self.ends.get(topic).map(|end| end.position)
    }

    pub(super) fn add(&mut self, topic: &Name, position: Position, at: Instant) {
        self.ends.insert(topic.clone(), TopicEnd { position, at });
        self.order.push_back((topic.clone(), position));
        if let Some(EndBounds { topics, .. }) = self.bounds {
            while self.ends.len() > topics && self.drop_oldest() {}
        }
    }

    /// Whether it had ended.
    pub(super) fn remove(&mut self, topic: &Name) -> bool {
        self.ends.remove(topic).is_some()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((topic, position)) = self.order.pop_front() else { return false };
        if self.ends.get(&topic).is_some_and(|end| end.position == position) {
            self.ends.remove(&topic);
        }
        true
    }

    /// Forgets what is too old.
    pub(super) fn trim(&mut self, now: Instant) {
        while let Some((topic, position)) = self.order.front() {
            let end = self.ends.get(topic).filter(|end| end.position == *position);
            let is_too_old = |end: &TopicEnd| {
                self.bounds.is_some_and(|bounds| now.saturating_duration_since(end.at) > bounds.age)
            };
            // One that began anew, or ended again, is not in its place any more.
            if !end.is_none_or(is_too_old) {
                return;
            }
            self.drop_oldest();
        }
    }
}

/// The change that a topic's end is for its readers, whatever they hold it by.
pub(super) fn end_change(topic: &Name, position: Position, at: Instant) -> Arc<AppliedEdit> {
    Arc::new(AppliedEdit {
        position,
        of: Key::Topic(topic.clone()),
        via: HeldBy::REQUEST | HeldBy::GIVEN,
        add: Box::default(),
        remove: [(TopicFilter::Topic(topic.clone()), true)].into(),
        at,
    })
}
