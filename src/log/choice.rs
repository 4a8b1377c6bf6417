//! What a reader wants of the events that are for its keys, where that is not all of them.
//!
//! Live delivery, replay, history and the count of what was missed all ask here, so that they agree.

use std::collections::HashMap;

use crate::event::{EventFilter, EventFormat, Key};
use crate::log::entry::{Entry, Reset};
use crate::log::position::Position;

/// Less than all.
#[derive(Clone, Debug)]
pub struct ReaderChoice {
    names: Option<EventFilter>,
    history: Option<TopicHistory>,
    /// Whether it is told of events that were taken back.
    retractions: bool,
    /// The form in which the log has its events.
    format: EventFormat,
}

/// The last events of each topic, for a stream that begins with them.
#[derive(Clone, Debug)]
pub struct TopicHistory {
    /// What stands behind it is wanted whatever its topic.
    pub until: Position,
    /// Behind which place the wanted events of each topic stand; those of all topics of a pattern together.
    pub after: HashMap<Key, Position>,
}

/// What is read of a log, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub keys: &'a [Key],
    pub choice: Option<&'a ReaderChoice>,
}

impl<'a> From<&'a [Key]> for Wanted<'a> {
    fn from(keys: &'a [Key]) -> Self {
        Self { keys, choice: None }
    }
}

impl<'a, const N: usize> From<&'a [Key; N]> for Wanted<'a> {
    fn from(keys: &'a [Key; N]) -> Self {
        Self { keys, choice: None }
    }
}

impl<'a> From<&'a Vec<Key>> for Wanted<'a> {
    fn from(keys: &'a Vec<Key>) -> Self {
        Self { keys, choice: None }
    }
}

impl Wanted<'_> {
    /// Whether an entry that is for the keys is wanted.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        self.choice.is_none_or(|choice| choice.takes(entry, self.keys))
    }
}

impl ReaderChoice {
    /// Events of these names, from a log that has them in this form.
    pub fn new(names: Option<EventFilter>, format: EventFormat) -> Self {
        Self { names, history: None, retractions: true, format }
    }

    /// A stream begins with this history.
    pub fn begin_with(&mut self, history: TopicHistory) {
        self.history = Some(history);
    }

    /// The same without what tells of events that were taken back.
    pub fn without_retractions(mut self) -> Self {
        self.retractions = false;
        self
    }

    /// Whether it wants everything.
    pub fn is_all(&self) -> bool {
        self.names.is_none() && self.history.is_none() && self.retractions
    }

    /// The history has been gone through.
    pub fn is_past(&mut self, position: Position) {
        if self.history.as_ref().is_some_and(|history| history.until <= position) {
            self.history = None;
        }
    }

    /// Whether a holder of `keys` wants the entry, which is for one of them. What says that events are missing every
    /// reader gets, and so what says that one was taken back, unless it is told of none.
    pub fn takes(&self, entry: &Entry, keys: &[Key]) -> bool {
        if entry.is_retraction() && !self.retractions {
            return false;
        }
        let is_named = self.names.as_ref().is_none_or(|names| {
            let name = entry.name(self.format);
            names.takes(&name) || name == Reset::EVENT || entry.is_retraction()
        });
        is_named && self.history.as_ref().is_none_or(|history| history.takes(entry, keys))
    }
}

impl TopicHistory {
    fn takes(&self, entry: &Entry, keys: &[Key]) -> bool {
        let is_wanted = |(key, after): (&Key, &Position)| {
            let hears = || entry.audience.keys().iter().any(|named| key.hears(named));
            entry.position > *after && keys.contains(key) && hears()
        };
        entry.position > self.until || self.after.iter().any(is_wanted)
    }
}
