//! Where a page may publish: what its token, its ticket or the application's answer says, beside what it may hear.

use serde_json::{Map, Value};

use crate::auth::claims;
use crate::event::{Name, Pattern};

/// The topics that a page may publish to, of those that it may hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishGrant {
    /// All of them.
    Heard,
    /// What one of these matches; none when there are none.
    Only(Box<[Pattern]>),
}

impl PublishGrant {
    /// What the claim `name` says: `true`, a list of topics and patterns, or one text with spaces between them.
    /// Anything else grants nothing.
    pub fn of(all: &Map<String, Value>, name: &str) -> Self {
        let patterns = match claims::find(all, name) {
            Some(Value::Bool(true)) => return Self::Heard,
            Some(Value::String(text)) => text.split_ascii_whitespace().map(Pattern::parse).collect(),
            Some(list) => return Self::Only(claims::patterns(list).unwrap_or_default().into()),
            None => Ok(Vec::new()),
        };
        Self::Only(patterns.unwrap_or_default().into())
    }

    pub fn allows(&self, topic: &Name) -> bool {
        match self {
            Self::Heard => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(topic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_grants_what_it_lists_and_nonsense_grants_nothing() {
        let topic = Name::parse("room:1").unwrap();
        let allows = |claims: Value| PublishGrant::of(claims.as_object().unwrap(), "publish").allows(&topic);
        for good in [json!(true), json!(["room:*"]), json!(["a", "room:1"]), json!("a room:*")] {
            assert!(allows(json!({ "publish": good })), "{good}");
        }
        for bad in [
            json!(false),
            json!(null),
            json!([]),
            json!(["other"]),
            json!(["room:*", 7]),
            json!(1),
            json!(""),
        ] {
            assert!(!allows(json!({ "publish": bad })), "{bad}");
        }
        assert!(!allows(json!({ "topics": ["room:*"] })), "to hear is not to speak");
    }
}
