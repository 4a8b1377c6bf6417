//! Which topics are held, and by how many: a look at some keys at a time, so that neither shards nor publishers wait.

use hashbrown::HashMap;

use crate::event::Name;
use crate::fanout::shards::Fanout;

/// How many keys are looked at under one lock.
const AT_ONCE: usize = 512;

impl Fanout {
    /// Every topic that an open stream of this process holds and `wanted` lets through, with how many do. What comes or
    /// goes meanwhile is counted or not.
    pub async fn topics(&self, wanted: impl Fn(&Name) -> bool + Send + Sync) -> HashMap<Name, usize> {
        let mut all = HashMap::new();
        for shard in &self.shards {
            let mut from = 0;
            loop {
                let next = shard.index.lock().topics(from, AT_ONCE, |topic, holders| {
                    if wanted(topic) {
                        *all.entry_ref(topic).or_insert(0) += holders;
                    }
                });
                let Some(next) = next else { break };
                from = next;
                tokio::task::yield_now().await;
            }
        }
        all
    }
}
