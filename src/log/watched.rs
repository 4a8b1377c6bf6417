//! The keys of which somebody wants to know that something was published to them, and nothing of what it was.
//!
//! An event costs a look at each of its keys, however many wait for it: nobody is called under the log's lock.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::{Audience, Key};

/// What is watched, and what of it was published to since somebody looked.
pub(super) struct WatchedKeys {
    pub(super) keys: HashSet<Key>,
    pub(super) published: HashSet<Key>,
    told: Arc<Notify>,
}

impl WatchedKeys {
    /// None at first. `told` is told when there is something to look at.
    pub(super) fn new(told: Arc<Notify>) -> Self {
        Self { keys: HashSet::new(), published: HashSet::new(), told }
    }

    /// Notes that something is published to `audience`.
    pub(super) fn note(&mut self, audience: &Audience) {
        let before = self.published.len();
        let watched = audience.keys().iter().filter(|key| self.keys.contains(key));
        self.published.extend(watched.cloned());
        if before == 0 && !self.published.is_empty() {
            self.told.notify_one();
        }
    }
}
