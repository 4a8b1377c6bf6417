//! Who holds a key, while streams come and go: a look at some of them at a time, so that no shard waits for it.

use crate::event::{Audience, Key};
use crate::fanout::index::SubscriberSlot;
use crate::fanout::shards::Fanout;

/// How many are looked at under one lock.
const AT_ONCE: usize = 256;

impl Fanout {
    /// Shows `each` the keys of every open stream of this process that holds `key`, or a pattern that matches it. A
    /// stream that comes or goes meanwhile is shown or not.
    pub async fn holders(&self, key: &Key, mut each: impl FnMut(&[Key]) + Send) {
        let audience = Audience::of(key.clone());
        let patterns = self.log.patterns_of(&audience);
        for shard in &self.shards {
            let mut slots: Vec<SubscriberSlot> = Vec::new();
            {
                let index = shard.index.lock();
                index.for_each(&audience, |slot| slots.push(slot));
                if let Some(patterns) = &patterns {
                    index.for_each_by(patterns, &audience, |slot| slots.push(slot));
                    slots.sort_unstable();
                    slots.dedup();
                }
            }
            for some in slots.chunks(AT_ONCE) {
                let held: Vec<Vec<Key>> = {
                    let index = shard.index.lock();
                    // The slot may be another stream's by now.
                    let still = some.iter().filter(|slot| index.hears(**slot, key));
                    still.map(|slot| index.keys_of(*slot)).collect()
                };
                held.iter().for_each(|keys| each(keys));
                tokio::task::yield_now().await;
            }
        }
    }
}
