//! The topics of all instances: who listens, and what was published on them of late.
//!
//! Each instance counts its own readers; what was published is read from this instance's log. This file knows no HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::cluster::survey::{Recipients, SurveyResponder, Surveys};
use crate::control::connections::Completeness;
use crate::event::{Key, Name};
use crate::fanout::Fanout;
use crate::future::BoxFuture;
use crate::log::Log;

/// The most topics on a page.
pub const MAX_TOPICS: usize = 1000;

/// The kind of these questions.
const KIND: &str = "topics";
/// How long the other instances are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Over how long events are counted, and how many of the newest are looked at for it.
const WINDOW: Duration = Duration::from_secs(10);
const NEWEST: usize = 10_000;

/// A topic that somebody reads, or on which something was published of late.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ListedTopic {
    pub topic: Name,
    /// Open streams that hold it, on all instances.
    pub streams: usize,
    /// Events a second, over the last ten seconds.
    pub rate: f64,
    /// When the last event came that the log still has, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

/// Some topics: those with the most readers first.
#[derive(Debug, Serialize)]
pub struct TopicPage {
    pub topics: Vec<ListedTopic>,
    /// How many there are, of those that are asked for.
    pub total: usize,
    #[serde(flatten)]
    pub from: Completeness,
}

/// A question as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
struct TopicsQuestion {
    /// A part of the name; empty = all.
    search: String,
    limit: usize,
}

/// What one instance has: the topics with the most readers.
#[derive(Default, Serialize, Deserialize)]
struct TopicsPart {
    topics: Vec<(Name, usize)>,
    total: usize,
}

/// This instance's answers.
struct LocalTopics(Arc<Fanout>);

/// The topics of all instances.
pub struct TopicList {
    surveys: Arc<Surveys>,
    log: Arc<Log>,
}

impl TopicList {
    /// Answers for the streams of `fanout` from now on.
    pub fn new(fanout: Arc<Fanout>, log: Arc<Log>, surveys: Arc<Surveys>) -> Self {
        surveys.register(KIND, Arc::new(LocalTopics(fanout)));
        Self { surveys, log }
    }

    /// At most `limit` topics with `search` in their names.
    pub async fn page(&self, search: &str, limit: usize) -> TopicPage {
        let question = TopicsQuestion { search: search.to_owned(), limit };
        let question = serde_json::to_value(question).expect("texts and numbers are JSON");
        let collected = self.surveys.ask(KIND, question, Recipients::All, PATIENCE).await;
        let from = Completeness::of(&collected);
        let (mut readers, mut total): (BTreeMap<Name, usize>, usize) = Default::default();
        for part in collected.answers.into_iter().flat_map(|(_, parts)| parts) {
            let Ok(part) = serde_json::from_value::<TopicsPart>(part) else { continue };
            // The same topic on two instances is counted twice beyond what is listed: it is a lower page's matter.
            total = total.max(part.total);
            for (topic, streams) in part.topics {
                *readers.entry(topic).or_default() += streams;
            }
        }
        let mut published = self.published(search);
        let mut topics: Vec<ListedTopic> = readers
            .into_iter()
            .map(|(topic, streams)| {
                let (rate, last) = published.remove(&topic).unwrap_or_default();
                ListedTopic { topic, streams, rate, last: Some(last).filter(|last| *last > 0) }
            })
            .collect();
        let unread = published.into_iter();
        topics.extend(unread.map(|(topic, (rate, last))| ListedTopic {
            topic,
            streams: 0,
            rate,
            last: Some(last),
        }));
        topics
            .sort_by(|a, b| b.streams.cmp(&a.streams).then(b.last.cmp(&a.last)).then(a.topic.cmp(&b.topic)));
        let total = total.max(topics.len());
        topics.truncate(limit);
        TopicPage { topics, total, from }
    }

    /// Events a second, and when the last one came, of the topics among the newest events.
    fn published(&self, search: &str) -> BTreeMap<Name, (f64, u64)> {
        let (now, mut of) = (Instant::now(), BTreeMap::<Name, (f64, u64)>::new());
        for entry in self.log.newest(NEWEST) {
            let is_recent = now.saturating_duration_since(entry.at) < WINDOW;
            for key in entry.audience.keys() {
                let Key::Topic(topic) = key else { continue };
                if !topic.as_str().contains(search) {
                    continue;
                }
                let known = of.entry(topic.clone()).or_default();
                known.0 += if is_recent { 1.0 / WINDOW.as_secs_f64() } else { 0.0 };
                known.1 = known.1.max(entry.id.map_or(0, |id| id.ms));
            }
        }
        of
    }
}

impl SurveyResponder for LocalTopics {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            let Ok(TopicsQuestion { search, limit }) = serde_json::from_value(question) else {
                // Of a later release.
                return Vec::new();
            };
            let held = self.0.topics(|topic| topic.as_str().contains(&search)).await;
            let total = held.len();
            let mut topics: Vec<(Name, usize)> = held.into_iter().collect();
            topics.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            topics.truncate(limit.min(MAX_TOPICS));
            // In pieces that fit into a message, whatever the names: 256 bytes each, escaped six times as long at
            // worst.
            let parts = topics.chunks(128).map(|topics| TopicsPart { topics: topics.to_vec(), total });
            let parts: Vec<TopicsPart> =
                if topics.is_empty() { vec![TopicsPart::default()] } else { parts.collect() };
            parts.iter().filter_map(|part| serde_json::to_value(part).ok()).collect()
        })
    }
}
