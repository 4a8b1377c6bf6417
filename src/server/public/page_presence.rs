//! `GET <a stream's path>/presence` on the public listener: who is on the topics of a page's own stream.
//!
//! Every page of a room may ask, and asking goes to all instances: what was found holds for a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{Control, OnTopic};
use crate::event::Name;
use crate::expiring::ExpiringMap;
use crate::lock::Mutex;

/// For how long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// How many topics are remembered for that long.
const REMEMBERED: usize = 4096;
/// How many users are named of each topic.
const USERS: usize = 100;

/// What was found lately.
pub(super) struct PagePresence {
    found: Mutex<ExpiringMap<Name, Arc<OnTopic>>>,
}

impl Default for PagePresence {
    fn default() -> Self {
        Self { found: Mutex::new(ExpiringMap::new(REMEMBERED)) }
    }
}

impl PagePresence {
    /// Who is on each of `topics`.
    pub(super) async fn of(&self, control: &Control, topics: &[Name]) -> Vec<Arc<OnTopic>> {
        let mut all = Vec::with_capacity(topics.len());
        for topic in topics {
            let known = self.found.lock().get(topic, Instant::now()).cloned();
            let found = match known {
                Some(found) => found,
                None => {
                    let found = Arc::new(control.presence().on_topic(topic, None, Some(USERS)).await);
                    let now = Instant::now();
                    self.found.lock().insert(topic.clone(), Arc::clone(&found), now + FRESH, now);
                    found
                }
            };
            all.push(found);
        }
        all
    }
}
