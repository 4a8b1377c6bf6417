//! Which topics and patterns are held, and by how many: a look at some keys at a time, so that neither shards nor
//! publishers wait.

use hashbrown::HashMap;

use crate::event::TopicFilter;
use crate::fanout::shards::Fanout;

/// How many keys are looked at under one lock.
const AT_ONCE: usize = 512;

impl Fanout {
    /// Every topic and pattern that an open stream of this process holds and `wanted` lets through, with how many do.
    /// What comes or goes meanwhile is counted or not.
    pub async fn topics(
        &self,
        wanted: impl Fn(&TopicFilter) -> bool + Send + Sync,
    ) -> HashMap<TopicFilter, usize> {
        let mut all = HashMap::new();
        for shard in &self.shards {
            let mut from = 0;
            loop {
                let next = shard.index.lock().held(from, AT_ONCE, |key, holders| {
                    let topic = TopicFilter::of(key).filter(&wanted);
                    if let Some(topic) = topic {
                        *all.entry(topic).or_insert(0) += holders;
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
