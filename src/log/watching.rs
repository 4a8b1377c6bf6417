//! Watched keys: who wants to know that something was published to a topic, without being a subscriber.
//!
//! Invariant: where nothing is watched, an event costs a look at an `Option`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::event::Key;
use crate::log::memory::Log;
use crate::log::watched::WatchedKeys;

impl Log {
    /// From now on it is told that something was published to `key`.
    pub fn watch(&self, key: Key) {
        let mut state = self.lock();
        let none = || Box::new(WatchedKeys::new(Arc::clone(&self.published)));
        state.watched.get_or_insert_with(none).keys.insert(key);
    }

    /// The same is told no more.
    pub fn unwatch(&self, key: &Key) {
        let mut state = self.lock();
        let Some(watched) = &mut state.watched else { return };
        watched.keys.remove(key);
        if watched.keys.is_empty() {
            state.watched = None;
        }
    }

    /// Waits until something was published to keys that are watched, and says to which. For one caller at a time.
    pub async fn published(&self) -> HashSet<Key> {
        loop {
            let published =
                self.lock().watched.as_mut().map(|watched| std::mem::take(&mut watched.published));
            if let Some(published) = published.filter(|published| !published.is_empty()) {
                return published;
            }
            self.published.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Audience, Event, Name};
    use crate::log::Retention;

    fn topic(name: &str) -> Key {
        Key::Topic(Name::parse(name).unwrap())
    }

    #[tokio::test]
    async fn what_is_published_to_a_watched_key_is_told_once_with_all_others() {
        let (minute, most) = (Duration::from_secs(60), 100);
        let log =
            Log::new(Retention { events: most, bytes: 1 << 20, age: minute, idempotency_window: minute });
        let publish = |keys: &[&str]| {
            let audience = Audience::new(keys.iter().map(|name| topic(name)), vec![]).unwrap();
            log.append(Event::new(audience, "1"));
        };
        publish(&["a"]);
        assert!(log.lock().watched.is_none(), "nobody pays for what nobody watches");
        log.watch(topic("a"));
        log.watch(topic("b"));
        for keys in [&["a", "c"][..], &["b"], &["a"]] {
            publish(keys);
        }
        assert_eq!(log.published().await, HashSet::from([topic("a"), topic("b")]));
        log.unwatch(&topic("a"));
        publish(&["a"]);
        publish(&["b"]);
        assert_eq!(log.published().await, HashSet::from([topic("b")]));
        log.unwatch(&topic("b"));
        assert!(log.lock().watched.is_none());
    }
}
