//! Tells the watchers of the streams that come, change and go.
//!
//! Invariant: a stream is opened once and ended once for every watcher, whatever becomes of it in between.

use std::sync::Arc;
use std::time::SystemTime;

use crate::event::Key;
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::shard::state::Shard;
use crate::fanout::watcher::{StreamEnd, Watched, Watcher};
use crate::fanout::wheel::Wheel;

impl Shard {
    /// From now on `watcher` is called, first for the streams that are open already.
    pub(super) fn watch(&mut self, watcher: Arc<dyn Watcher>) {
        for (slot, _) in &self.subscribers {
            self.show(slot as SubscriberSlot, |stream| watcher.opened(stream));
        }
        self.watchers.push(watcher);
    }

    /// Tells that the subscriber has joined.
    pub(super) fn tell_opened(&self, slot: SubscriberSlot) {
        if !self.watchers.is_empty() {
            self.show(slot, |stream| self.watchers.iter().for_each(|watcher| watcher.opened(stream)));
        }
    }

    /// What the subscriber holds before its topics change, where somebody watches.
    pub(super) fn held_before(&self, slot: SubscriberSlot) -> Option<Vec<Key>> {
        (!self.watchers.is_empty()).then(|| self.held(slot))
    }

    /// Tells what has become of what the subscriber held `before`.
    pub(super) fn tell_changed(&self, slot: SubscriberSlot, before: Option<Vec<Key>>) {
        let Some(before) = before else { return };
        self.show(slot, |stream| {
            let lacks = |keys: &[Key], key: &&Key| !keys.contains(key);
            let gained: Vec<Key> = stream.keys.iter().filter(|key| lacks(&before, key)).cloned().collect();
            let lost: Vec<Key> = before.iter().filter(|key| lacks(stream.keys, key)).cloned().collect();
            if !gained.is_empty() || !lost.is_empty() {
                self.watchers.iter().for_each(|watcher| watcher.changed(stream, &gained, &lost));
            }
        });
    }

    /// Tells that the subscriber is about to be removed.
    pub(super) fn tell_ended(&self, slot: SubscriberSlot, why: CloseReason) {
        let Some(subscriber) = self.subscribers.get(slot as usize).filter(|_| !self.watchers.is_empty())
        else {
            return;
        };
        let open_for = Wheel::time(self.now - subscriber.about.opened);
        let how = StreamEnd { why, open_for, sent: subscriber.sent };
        self.show(slot, |stream| self.watchers.iter().for_each(|watcher| watcher.ended(stream, how)));
    }

    fn show(&self, slot: SubscriberSlot, tell: impl FnOnce(&Watched<'_>)) {
        let Some(subscriber) = self.subscribers.get(slot as usize) else { return };
        // The lock is not held while watchers are called.
        let keys = self.held(slot);
        let about = &subscriber.about;
        let opened = SystemTime::now() - Wheel::time(self.now - about.opened);
        let meta = about.meta.as_deref();
        tell(&Watched { client: &about.client, keys: &keys, address: about.address, meta, opened });
    }

    pub(super) fn held(&self, slot: SubscriberSlot) -> Vec<Key> {
        self.mailbox.index.lock().keys_of(slot)
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
