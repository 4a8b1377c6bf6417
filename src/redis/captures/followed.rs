//! Which copies are followed, and how far.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::capture::CopyFollower;
use crate::lock::Mutex;

/// What one connection reads for all who follow copies here.
pub(super) struct FollowedCopies {
    all: Mutex<BTreeMap<Box<str>, FollowedCopy>>,
    heard: Mutex<Instant>,
}

/// One of them.
#[derive(Clone)]
pub(super) struct FollowedCopy {
    pub(super) holder: Box<str>,
    pub(super) follower: Arc<dyn CopyFollower>,
    /// The id of the last entry that was read; None while nothing was.
    pub(super) at: Option<(u64, u64)>,
    /// How often in a row it was found to be gone, or its holder.
    pub(super) missing: u32,
}

impl FollowedCopies {
    pub(super) fn new() -> Self {
        Self { all: Mutex::default(), heard: Mutex::new(Instant::now()) }
    }

    pub(super) fn add(&self, id: &str, holder: &str, follower: Arc<dyn CopyFollower>) {
        let copy = FollowedCopy { holder: holder.into(), follower, at: None, missing: 0 };
        self.all.lock().insert(id.into(), copy);
    }

    pub(super) fn remove(&self, id: &str) {
        self.all.lock().remove(id);
    }

    /// All of them, at this moment.
    pub(super) fn all(&self) -> Vec<(Box<str>, FollowedCopy)> {
        self.all.lock().iter().map(|(id, copy)| (id.clone(), copy.clone())).collect()
    }

    /// The one with this id, if `change` was not too late for it.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut FollowedCopy)) {
        if let Some(copy) = self.all.lock().get_mut(id) {
            change(copy);
        }
    }

    /// Nothing is missing, for the moment.
    pub(super) fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }

    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock()
    }
}
