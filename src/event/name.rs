//! Names that come from outside: of topics, users, sessions and clients, and of events.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

/// Why a name is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadName {
    #[error("is empty")]
    Empty,
    #[error("is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("holds a control character (CR, LF and NUL among them)")]
    Control,
    #[error("is one of the stream's own events: connected, reset, token_expired, closing and refused")]
    Reserved,
}

/// The events that only the stream itself has.
const RESERVED: [&str; 5] = ["connected", "reset", "token_expired", "closing", "refused"];

/// The name of a topic, a user, a session or a client: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    pub const MAX: usize = 256;

    pub fn parse(text: &str) -> Result<Self, BadName> {
        check(text, Self::MAX)?;
        Ok(Self(text.into()))
    }

    /// A name that nobody guesses: 80 random bits in lower-case letters and digits (RFC 4648, base32).
    ///
    /// # Panics
    /// When the system gives no random bytes.
    pub fn random() -> Self {
        let mut bytes = [0; 10];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        Self(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase().into())
    }

    /// One that [`random`](Self::random) may have made; None for any other text.
    pub fn parse_random(text: &str) -> Option<Self> {
        let is_made_so = text.len() == 16 && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'));
        is_made_so.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What is not a name is an error.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|bad| D::Error::custom(format_args!("a name {bad}")))
    }
}

/// The SSE `event` field: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventName(Box<str>);

impl EventName {
    pub const MAX: usize = 256;

    pub fn parse(text: &str) -> Result<Self, BadName> {
        check(text, Self::MAX)?;
        Ok(Self(text.into()))
    }

    /// The same, but for the names that only the stream itself may use.
    pub fn parse_published(text: &str) -> Result<Self, BadName> {
        if RESERVED.contains(&text) { Err(BadName::Reserved) } else { Self::parse(text) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn check(text: &str, max: usize) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty);
    }
    if text.len() > max {
        return Err(BadName::TooLong { max });
    }
    if text.chars().any(char::is_control) {
        return Err(BadName::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_and_free_of_control_characters() {
        assert!(Name::parse("conversation:42").is_ok());
        assert!(Name::parse("räume/7 ☂").is_ok());
        assert!(Name::parse(&"x".repeat(Name::MAX)).is_ok());
        assert_eq!(Name::parse("").unwrap_err(), BadName::Empty);
        assert_eq!(Name::parse(&"x".repeat(Name::MAX + 1)).unwrap_err(), BadName::TooLong { max: Name::MAX });
        for bad in ["a\rb", "a\nb", "a\0b", "a\u{85}b", "a\u{7f}"] {
            assert_eq!(Name::parse(bad).unwrap_err(), BadName::Control, "{bad:?}");
            assert_eq!(EventName::parse(bad).unwrap_err(), BadName::Control, "{bad:?}");
        }
    }

    #[test]
    fn json_holds_a_name_as_its_text_and_nothing_that_is_no_name() {
        let name = Name::parse("räume/7").unwrap();
        let text = serde_json::to_string(&name).unwrap();
        assert_eq!(text, r#""räume/7""#);
        assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), name);
        let refused = serde_json::from_str::<Name>(r#""""#).unwrap_err().to_string();
        assert!(refused.starts_with("a name is empty"), "{refused}");
    }
}
