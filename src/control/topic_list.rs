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
use crate::event::{Audience, Key, Name, TopicFilter};
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
/// How many topics' readers are counted between two pauses.
const AT_ONCE: usize = 256;

/// A topic that somebody reads, or on which something was published of late; or a pattern by which topics are read.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ListedTopic {
    pub topic: Name,
    /// Whether it is a pattern.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pattern: bool,
    /// Open streams that hold it, on all instances: themselves, or by a pattern.
    pub streams: usize,
    /// Events a second, over the last ten seconds.
    pub rate: f64,
    /// When the last event came that the log still has, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

impl ListedTopic {
    fn new(topic: &TopicFilter, streams: usize, rate: f64, last: u64) -> Self {
        let (pattern, last) = (topic.is_pattern(), Some(last).filter(|last| *last > 0));
        Self { topic: topic.name().clone(), pattern, streams, rate, last }
    }
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
    topics: Vec<(TopicFilter, usize)>,
    total: usize,
}

/// This instance's answers.
struct LocalTopics {
    fanout: Arc<Fanout>,
    log: Arc<Log>,
}

/// The topics of all instances.
pub struct TopicList {
    surveys: Arc<Surveys>,
    log: Arc<Log>,
}

impl TopicList {
    /// Answers for the streams of `fanout` from now on.
    pub fn new(fanout: Arc<Fanout>, log: Arc<Log>, surveys: Arc<Surveys>) -> Self {
        surveys.register(KIND, Arc::new(LocalTopics { fanout, log: Arc::clone(&log) }));
        Self { surveys, log }
    }

    /// At most `limit` topics with `search` in their names.
    pub async fn page(&self, search: &str, limit: usize) -> TopicPage {
        let question = TopicsQuestion { search: search.to_owned(), limit };
        let question = serde_json::to_value(question).expect("texts and numbers are JSON");
        let collected = self.surveys.ask(KIND, question, Recipients::All, PATIENCE).await;
        let from = Completeness::of(&collected);
        let (mut readers, mut total): (BTreeMap<TopicFilter, usize>, usize) = Default::default();
        for part in collected.answers.into_iter().flat_map(|(_, parts)| parts) {
            let Ok(part) = serde_json::from_value::<TopicsPart>(part) else { continue };
            // The same topic on two instances is counted twice beyond what is listed: it is a lower page's matter.
            total = total.max(part.total);
            for (topic, streams) in part.topics {
                *readers.entry(topic).or_default() += streams;
            }
        }
        let mut published = published(&self.log, search);
        let mut topics: Vec<ListedTopic> = readers
            .into_iter()
            .map(|(topic, streams)| {
                let (rate, last) = published.remove(&topic).unwrap_or_default();
                ListedTopic::new(&topic, streams, rate, last)
            })
            .collect();
        let unread = published.into_iter();
        topics.extend(unread.map(|(topic, (rate, last))| ListedTopic::new(&topic, 0, rate, last)));
        topics
            .sort_by(|a, b| b.streams.cmp(&a.streams).then(b.last.cmp(&a.last)).then(a.topic.cmp(&b.topic)));
        let total = total.max(topics.len());
        topics.truncate(limit);
        TopicPage { topics, total, from }
    }
}

/// Events a second, and when the last one came, of the topics among the newest events.
fn published(log: &Log, search: &str) -> BTreeMap<TopicFilter, (f64, u64)> {
    let (now, mut of) = (Instant::now(), BTreeMap::<TopicFilter, (f64, u64)>::new());
    for entry in log.newest(NEWEST) {
        let is_recent = now.saturating_duration_since(entry.at) < WINDOW;
        for key in entry.audience.keys() {
            let Key::Topic(topic) = key else { continue };
            if !topic.as_str().contains(search) {
                continue;
            }
            let known = of.entry(TopicFilter::Topic(topic.clone())).or_default();
            known.0 += if is_recent { 1.0 / WINDOW.as_secs_f64() } else { 0.0 };
            known.1 = known.1.max(entry.id.map_or(0, |id| id.ms));
        }
    }
    of
}

impl LocalTopics {
    /// What open streams hold, with how many do; and, where patterns are held, the topics of the newest events that
    /// they match.
    async fn read(&self, search: &str) -> Vec<(TopicFilter, usize)> {
        let mut held = self.fanout.topics(|topic| topic.as_str().contains(search)).await;
        if self.log.pattern_counts().held > 0 {
            for topic in published(&self.log, search).into_keys() {
                held.entry(topic).or_default();
            }
            for (at, (topic, streams)) in held.iter_mut().enumerate() {
                let audience = Audience::of(topic.key());
                *streams = (*streams).max(self.fanout.reach(&audience));
                if at % AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            held.retain(|_, streams| *streams > 0);
        }
        held.into_iter().collect()
    }
}

impl SurveyResponder for LocalTopics {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            let Ok(TopicsQuestion { search, limit }) = serde_json::from_value(question) else {
                // Of a later release.
                return Vec::new();
            };
            let mut topics = self.read(&search).await;
            let total = topics.len();
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
