//! Patterns of topics: `conversation:42`, `conversation:*`. Only `*` is special: it stands for any text, the empty
//! one too. Matching takes time in proportion to the pattern's and the topic's length, whatever a token says.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use crate::event::{BadName, Name};

/// The most `*` that a pattern may have.
const STARS: usize = 4;

/// A topic's name, or several by `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pattern(Name);

/// Why a text is not a pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPattern {
    #[error("{0}")]
    Name(#[from] BadName),
    #[error("has more than {STARS} `*`")]
    Stars,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let name = Name::parse(text)?;
        if text.bytes().filter(|&byte| byte == b'*').count() > STARS {
            return Err(BadPattern::Stars);
        }
        Ok(Self(name))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The pattern as it was written.
    pub fn name(&self) -> &Name {
        &self.0
    }

    /// What every topic that it matches begins with.
    pub fn head(&self) -> &str {
        self.as_str().split('*').next().unwrap_or_default()
    }

    /// What every topic that it matches ends with.
    pub fn tail(&self) -> &str {
        self.as_str().rsplit('*').next().unwrap_or_default()
    }

    /// Whether it matches every topic that `other` matches.
    ///
    /// No pattern has a literal `*`, so a `*` in `other` taken as an ordinary character can only be matched by a `*`
    /// here, and so can any text in its place. That holds for several patterns together, too: they match everything
    /// that `other` matches only if one of them does.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    pub fn matches(&self, topic: &Name) -> bool {
        self.matches_text(topic.as_str())
    }

    /// The same of any text.
    pub fn matches_text(&self, text: &str) -> bool {
        let mut rest = text;
        let mut parts = self.as_str().split('*');
        let first = parts.next().unwrap_or_default();
        let Some(last) = parts.next_back() else { return first == rest };
        let Some(inner) = rest.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
            return false;
        };
        rest = inner;
        // The first place that fits leaves the most for those that follow.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What is not a pattern is an error.
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|bad| D::Error::custom(format_args!("a pattern {bad}")))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&Name::parse(topic).unwrap())
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, topic) in [
            ("a", "a"),
            ("*", "anything"),
            ("c:*", "c:1"),
            ("c:*", "c:"),
            ("c:*:x", "c:1:x"),
            ("c:*:x", "c:1:x:2:x"),
            ("*:x", "a:x"),
            ("a*b*c", "a1b2b3c"),
            ("ab*ba", "abba"),
        ] {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in [
            ("a", "ab"),
            ("a", "A"),
            ("c:*", "c"),
            ("c:*", "d:c:1"),
            ("c:*:x", "c:1:y"),
            ("c:*:x", "c:x"),
            ("ab*ba", "aba"),
            ("a*b*c", "a1c"),
            ("c:?", "c:1"),
            ("c:[1]", "c:1"),
        ] {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
    }

    #[test]
    fn a_pattern_is_bounded() {
        assert_eq!(Pattern::parse("*a*b*c*d*"), Err(BadPattern::Stars));
        assert!(matches!(Pattern::parse(""), Err(BadPattern::Name(_))));
        assert!(matches!(Pattern::parse("a\nb"), Err(BadPattern::Name(_))));
    }
}
