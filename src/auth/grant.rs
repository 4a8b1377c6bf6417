//! What a caller may receive, and until when. There is no way into a stream without one.

use std::time::SystemTime;

use crate::event::{Key, Name, Pattern, TopicFilter};

/// What a verified caller may receive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub user: Option<Name>,
    pub session: Option<Name>,
    /// The token's own id (`jti`), by which it can be revoked.
    pub token: Option<Name>,
    /// The topics that the caller may ask for.
    pub topics: GrantedTopics,
    /// When the token was issued, if it says so.
    pub issued: Option<SystemTime>,
    /// When it ends; None = with the stream.
    pub until: Option<SystemTime>,
}

/// The topics that a caller may ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantedTopics {
    /// Whatever the route's templates make (`auth = "none"`).
    Any,
    /// What one of these matches; nothing when there are none.
    Only(Box<[Pattern]>),
}

impl GrantedTopics {
    /// Whether it grants the topic, or all topics that a pattern matches.
    pub fn allow(&self, topic: &TopicFilter) -> bool {
        match (self, topic) {
            (Self::Any, _) => true,
            (Self::Only(granted), TopicFilter::Topic(topic)) => {
                granted.iter().any(|pattern| pattern.matches(topic))
            }
            (Self::Only(granted), TopicFilter::Pattern(asked)) => {
                granted.iter().any(|pattern| pattern.covers(asked))
            }
        }
    }
}

impl Grant {
    /// The grant of a route that asks nobody who they are (`auth = "none"`): every topic that the route's templates
    /// name, as the user that the request names.
    pub fn open(user: Option<Name>, session: Option<Name>) -> Self {
        Self { user, session, token: None, topics: GrantedTopics::Any, issued: None, until: None }
    }

    /// The keys of a stream that asks for `topics`, but for the client's own.
    pub fn keys(&self, topics: &[TopicFilter]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(topics.len() + 4);
        keys.extend(topics.iter().map(TopicFilter::key));
        keys.extend(self.user.clone().map(Key::User));
        keys.extend(self.session.clone().map(Key::Session));
        keys.push(Key::Broadcast);
        keys
    }
}
