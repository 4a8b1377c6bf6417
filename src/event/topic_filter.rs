//! What a stream asks to hear: one topic, or all topics that a pattern matches.
//!
//! Invariant: what is a [`TopicFilter::Pattern`] has a `*`; a pattern without one is the topic of that name. A topic
//! whose own name has a `*` is a [`TopicFilter::Topic`] and stands for itself alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use crate::event::audience::Key;
use crate::event::name::Name;
use crate::event::pattern::{BadPattern, Pattern};

/// One topic, or all that a pattern matches. In JSON a topic is its name, and a pattern `{"pattern": "room:*"}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TopicFilter {
    Topic(Name),
    Pattern(Pattern),
}

impl TopicFilter {
    /// What `text` stands for where `*` is any text.
    pub fn parse_pattern(text: &str) -> Result<Self, BadPattern> {
        if text.contains('*') {
            return Pattern::parse(text).map(Self::Pattern);
        }
        Ok(Self::Topic(Name::parse(text)?))
    }

    pub fn as_str(&self) -> &str {
        self.name().as_str()
    }

    /// The topic's name, or the pattern as it was written.
    pub fn name(&self) -> &Name {
        match self {
            Self::Topic(name) => name,
            Self::Pattern(pattern) => pattern.name(),
        }
    }

    /// By what a subscriber that asks for this is reached.
    pub fn key(&self) -> Key {
        match self {
            Self::Topic(name) => Key::Topic(name.clone()),
            Self::Pattern(pattern) => Key::Pattern(pattern.clone()),
        }
    }

    /// None for a key that is neither of a topic nor of a pattern.
    pub fn of(key: &Key) -> Option<Self> {
        match key {
            Key::Topic(name) => Some(Self::Topic(name.clone())),
            Key::Pattern(pattern) => Some(Self::Pattern(pattern.clone())),
            Key::User(_) | Key::Session(_) | Key::Client(_) | Key::Upstream(_) | Key::Broadcast => None,
        }
    }

    /// Whether events on `topic` are heard by it.
    pub fn hears(&self, topic: &Name) -> bool {
        match self {
            Self::Topic(name) => name == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }

    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern(_))
    }
}

/// As it was written: `news`, `room:*`.
impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Name> for TopicFilter {
    fn from(topic: Name) -> Self {
        Self::Topic(topic)
    }
}

/// The JSON of one, before its name is looked at.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum WrittenTopic {
    Topic(String),
    Pattern(WrittenPattern),
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenPattern {
    pattern: String,
}

impl WrittenTopic {
    /// What is meant where a text is a topic's name, whatever it has in it.
    pub fn read(&self) -> Result<TopicFilter, BadPattern> {
        match self {
            Self::Topic(text) => Ok(TopicFilter::Topic(Name::parse(text)?)),
            Self::Pattern(WrittenPattern { pattern }) => TopicFilter::parse_pattern(pattern),
        }
    }

    /// What is meant where a text with a `*` is a pattern.
    pub fn read_pattern(&self) -> Result<TopicFilter, BadPattern> {
        let (Self::Topic(text) | Self::Pattern(WrittenPattern { pattern: text })) = self;
        TopicFilter::parse_pattern(text)
    }
}

impl From<&TopicFilter> for WrittenTopic {
    fn from(topic: &TopicFilter) -> Self {
        let text = topic.as_str().to_owned();
        if topic.is_pattern() { Self::Pattern(WrittenPattern { pattern: text }) } else { Self::Topic(text) }
    }
}

impl Serialize for TopicFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WrittenTopic::from(self).serialize(serializer)
    }
}

/// What is neither a topic nor a pattern is an error.
impl<'de> Deserialize<'de> for TopicFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenTopic::deserialize(deserializer)?;
        written.read().map_err(|bad| D::Error::custom(format_args!("a topic {bad}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_tells_a_pattern_from_a_topic_with_a_star_in_its_name() {
        let topic = TopicFilter::Topic(Name::parse("room:*").unwrap());
        let pattern = TopicFilter::parse_pattern("room:*").unwrap();
        assert_ne!(topic, pattern);
        for (filter, text) in [(topic, r#""room:*""#), (pattern, r#"{"pattern":"room:*"}"#)] {
            assert_eq!(serde_json::to_string(&filter).unwrap(), text);
            assert_eq!(serde_json::from_str::<TopicFilter>(text).unwrap(), filter);
            assert_eq!(TopicFilter::of(&filter.key()), Some(filter));
        }
        let plain: TopicFilter = serde_json::from_str(r#"{"pattern":"room"}"#).unwrap();
        assert_eq!(plain, TopicFilter::Topic(Name::parse("room").unwrap()));
        for bad in [r#""""#, "7", r#"{"pattern":"******"}"#, r#"{"pattern":"a*","x":1}"#] {
            assert!(serde_json::from_str::<TopicFilter>(bad).is_err(), "{bad}");
        }
    }
}
