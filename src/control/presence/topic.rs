//! Who is on a topic: every instance is asked, as topics are many and seldom asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::cluster::survey::{MAX_PARTS, Recipients, SurveyResponder};
use crate::control::presence::users::Presence;
use crate::event::{Key, Name};
use crate::future::BoxFuture;

/// The question's name between instances.
const KIND: &str = "topic";
/// How long the others are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many users one part has: 256 bytes each, escaped as JSON at the worst six times as long.
const IN_PART: usize = 150;
/// How many users an instance tells at the most.
const MAX_USERS: usize = MAX_PARTS * IN_PART;

/// Who is on a topic.
#[derive(Debug, Serialize)]
pub struct OnTopic {
    pub topic: String,
    /// Open streams that hold it, on all instances.
    pub streams: u64,
    /// Of these, those of nobody.
    pub anonymous: u64,
    /// How many users they are; with `more` behind a page, at least so many.
    pub users_total: usize,
    /// In the order of their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// The cursor of the next page, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether every living instance answered, and all of what there is was counted.
    pub complete: bool,
    /// The instances that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct TopicQuestion {
    topic: String,
    after: Option<String>,
    limit: usize,
}

/// What one instance has.
#[derive(Default, Serialize, Deserialize)]
struct TopicPart {
    streams: u64,
    anonymous: u64,
    /// All of its users, those that are not named, too.
    users: usize,
    names: Vec<String>,
    /// There are more behind these.
    more: bool,
}

/// Answers other instances.
struct TopicResponder(Weak<Presence>);

impl Presence {
    /// From now on this instance answers who is on a topic.
    pub fn tell_topics(self: &Arc<Self>) {
        self.surveys.register(KIND, Arc::new(TopicResponder(Arc::downgrade(self))));
    }

    /// Who is on `topic`: `limit` users after `after`, in the order of their names; without a limit only their number.
    pub async fn on_topic(&self, topic: &Name, after: Option<&Name>, limit: Option<usize>) -> OnTopic {
        let wanted = limit.unwrap_or(MAX_USERS).min(MAX_USERS);
        let question =
            TopicQuestion { topic: topic.to_string(), after: after.map(ToString::to_string), limit: wanted };
        let question = serde_json::to_value(question).expect("a question is JSON");
        let collected = self.surveys.ask(KIND, question, Recipients::All, PATIENCE).await;
        let mut complete = collected.is_complete() && self.hears_all();
        let (mut streams, mut anonymous) = (0, 0);
        let mut names = BTreeSet::new();
        let (mut most, mut all_named) = (0, true);
        // Behind the last name of who has more, others may be missing.
        let mut until: Option<String> = None;
        for (_, parts) in collected.answers {
            let mut users = 0;
            for part in parts {
                let Ok(part) = serde_json::from_value::<TopicPart>(part) else {
                    complete = false;
                    continue;
                };
                streams += part.streams;
                anonymous += part.anonymous;
                users += part.users;
                if part.more {
                    all_named = false;
                    let last = part.names.last().cloned().unwrap_or_default();
                    until = Some(until.map_or(last.clone(), |until| until.min(last)));
                }
                names.extend(part.names);
            }
            most = most.max(users);
        }
        if let Some(until) = &until {
            names.retain(|name| name <= until);
        }
        let users = names.len().max(most);
        let mut names: Vec<String> = names.into_iter().collect();
        let more = !all_named || names.len() > wanted;
        names.truncate(wanted);
        OnTopic {
            topic: topic.to_string(),
            streams,
            anonymous,
            users_total: users,
            next: names.last().filter(|_| more && limit.is_some()).cloned(),
            complete: complete && (limit.is_some() || all_named),
            users: limit.map(|_| names),
            silent: collected.silent.into_iter().map(|one| one.id.to_string()).collect(),
        }
    }

    async fn here_on_topic(&self, question: TopicQuestion) -> Vec<TopicPart> {
        let Ok(topic) = Name::parse(&question.topic) else { return Vec::new() };
        let mut part = TopicPart::default();
        // The same name is counted once, however many streams it has.
        let mut users: BTreeMap<Name, ()> = BTreeMap::new();
        self.fanout
            .holders(&Key::Topic(topic), |keys| {
                part.streams += 1;
                match keys.iter().find_map(|key| if let Key::User(user) = key { Some(user) } else { None }) {
                    Some(user) => drop(users.insert(user.clone(), ())),
                    None => part.anonymous += 1,
                }
            })
            .await;
        part.users = users.len();
        let after = question.after.as_deref();
        let mut names = users.into_keys().map(|name| name.to_string());
        let mut names: Vec<String> =
            names.by_ref().filter(|name| after.is_none_or(|after| name.as_str() > after)).collect();
        let limit = question.limit.min(MAX_USERS);
        part.more = names.len() > limit;
        names.truncate(limit);
        let more = part.more;
        let mut chunks = names.chunks(IN_PART);
        part.names = chunks.next().unwrap_or_default().to_vec();
        let mut parts = vec![part];
        parts.extend(chunks.map(|names| TopicPart { names: names.to_vec(), ..TopicPart::default() }));
        // What comes behind the last one is what is missing.
        parts[0].more = false;
        if let Some(last) = parts.last_mut() {
            last.more = more;
        }
        parts
    }
}

impl SurveyResponder for TopicResponder {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            let (Some(presence), Ok(question)) = (self.0.upgrade(), serde_json::from_value(question)) else {
                return Vec::new();
            };
            let parts = presence.here_on_topic(question).await;
            parts.iter().filter_map(|part| serde_json::to_value(part).ok()).collect()
        })
    }
}
