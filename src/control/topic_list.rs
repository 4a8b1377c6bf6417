//! The topics of all instances: who listens, and what was published on them of late.
//!
//! Each instance counts its own readers; what was published is read from this instance's log. This file knows no HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::cluster::survey::{MAX_PARTS, Recipients, SurveyResponder, Surveys};
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
/// How many topics one part has: 256 bytes each, escaped as JSON at the worst six times as long.
const IN_PART: usize = 128;
/// The most topics that an instance tells.
const MAX_TOLD: usize = MAX_PARTS * IN_PART;
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

/// The topics that somebody holds.
#[derive(Debug)]
pub struct OccupiedTopics {
    /// With the number of open streams that hold each.
    pub topics: BTreeMap<Name, usize>,
    /// Whether there are more than an instance can tell.
    pub more: bool,
    pub from: Completeness,
}

/// A question as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
struct TopicsQuestion {
    /// A part of the name; empty = all.
    search: String,
    /// It is the part that the name begins with.
    #[serde(default)]
    prefix: bool,
    limit: usize,
}

impl TopicsQuestion {
    fn wants(&self, topic: &str) -> bool {
        if self.prefix { topic.starts_with(&self.search) } else { topic.contains(&self.search) }
    }
}

/// What the instances have answered.
struct Readers {
    streams: BTreeMap<TopicFilter, usize>,
    /// How many topics an instance has at the most.
    total: usize,
    /// Whether there are more on an instance than it has told.
    more: bool,
    from: Completeness,
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
        let question = TopicsQuestion { search: search.to_owned(), prefix: false, limit };
        let Readers { streams: readers, total, from, .. } = self.ask(&question).await;
        let mut published = published(&self.log, &question);
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

    /// The topics that open streams hold and whose names begin with `prefix`.
    pub async fn occupied(&self, prefix: &str) -> OccupiedTopics {
        let question = TopicsQuestion { search: prefix.to_owned(), prefix: true, limit: MAX_TOLD };
        let Readers { streams, more, from, .. } = self.ask(&question).await;
        // An earlier release tells of names that have the prefix elsewhere.
        let topics =
            streams.into_iter().filter(|(topic, _)| !topic.is_pattern() && question.wants(topic.as_str()));
        let topics = topics.map(|(topic, streams)| (topic.name().clone(), streams)).collect();
        OccupiedTopics { topics, more, from }
    }

    async fn ask(&self, question: &TopicsQuestion) -> Readers {
        let question = serde_json::to_value(question).expect("texts and numbers are JSON");
        let collected = self.surveys.ask(KIND, question, Recipients::All, PATIENCE).await;
        let from = Completeness::of(&collected);
        let mut readers = Readers { streams: BTreeMap::new(), total: 0, more: false, from };
        for (_, parts) in collected.answers {
            let (mut told, mut has) = (0, 0);
            for part in parts {
                let Ok(part) = serde_json::from_value::<TopicsPart>(part) else { continue };
                told += part.topics.len();
                has = has.max(part.total);
                for (topic, streams) in part.topics {
                    *readers.streams.entry(topic).or_default() += streams;
                }
            }
            // The same topic on two instances is counted twice beyond what is listed: it is a lower page's matter.
            readers.total = readers.total.max(has);
            readers.more |= told < has;
        }
        readers
    }
}

/// Events a second, and when the last one came, of the topics among the newest events.
fn published(log: &Log, of_interest: &TopicsQuestion) -> BTreeMap<TopicFilter, (f64, u64)> {
    let (now, mut of) = (Instant::now(), BTreeMap::<TopicFilter, (f64, u64)>::new());
    for entry in log.newest(NEWEST) {
        let is_recent = now.saturating_duration_since(entry.at) < WINDOW;
        for key in entry.audience.keys() {
            let Key::Topic(topic) = key else { continue };
            if !of_interest.wants(topic.as_str()) {
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
    async fn read(&self, question: &TopicsQuestion) -> Vec<(TopicFilter, usize)> {
        let mut held = self.fanout.topics(|topic| question.wants(topic.as_str())).await;
        if self.log.pattern_counts().held > 0 {
            for topic in published(&self.log, question).into_keys() {
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
            let Ok(question) = serde_json::from_value::<TopicsQuestion>(question) else {
                // Of a later release.
                return Vec::new();
            };
            let mut topics = self.read(&question).await;
            let total = topics.len();
            topics.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            topics.truncate(question.limit.min(MAX_TOLD));
            let parts = topics.chunks(IN_PART).map(|topics| TopicsPart { topics: topics.to_vec(), total });
            let parts: Vec<TopicsPart> =
                if topics.is_empty() { vec![TopicsPart::default()] } else { parts.collect() };
            parts.iter().filter_map(|part| serde_json::to_value(part).ok()).collect()
        })
    }
}
