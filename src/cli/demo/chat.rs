//! The demo's application: what two people's pages send, as the events that become of it.
//!
//! Everything that a page shows is in these events; the application keeps nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The topic of the chat.
pub(super) const TOPIC: &str = "chat";
/// The topic of the load's readers.
pub(super) const LOAD_TOPIC: &str = "load";

/// The two people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Person {
    Anna,
    Ben,
}

/// How far a message has come with the other one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Delivered,
    Read,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    from: Person,
    text: String,
    /// The page's own, under which it may send this again.
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typing {
    user: Person,
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMark {
    by: Person,
    mark: Mark,
    /// The id of the last message that it is for, and with it all before.
    id: String,
}

impl Person {
    pub(super) const ALL: [Self; 2] = [Self::Anna, Self::Ben];

    pub(super) fn parse(user: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reader| reader.user() == user)
    }

    pub(super) fn user(self) -> &'static str {
        match self {
            Self::Anna => "anna",
            Self::Ben => "ben",
        }
    }

    /// Where it is published that this one comes and goes; the other one holds it.
    pub(super) fn presence_topic(self) -> String {
        format!("friends-of:{}", self.user())
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Anna => Self::Ben,
            Self::Ben => Self::Anna,
        }
    }
}

impl NewMessage {
    /// An error is a sentence for the page.
    pub(super) fn event(&self) -> Result<Value, &'static str> {
        let Self { from, text, key } = self;
        if text.trim().is_empty() {
            return Err("there is no text");
        }
        Ok(json!({
            "topic": TOPIC,
            "event": "message:new",
            "data": { "from": from, "text": text, "key": key },
            "idempotency_key": key,
        }))
    }
}

impl Typing {
    pub(super) fn event(&self) -> Value {
        let Self { user, on } = self;
        json!({ "topic": TOPIC, "event": "typing", "data": { "user": user, "on": on }, "ephemeral": true })
    }
}

impl NewMark {
    /// Of several that a reader has missed, the newest is enough.
    pub(super) fn event(&self) -> Value {
        let event = match self.mark {
            Mark::Delivered => "message:delivered",
            Mark::Read => "message:read",
        };
        json!({
            "topic": TOPIC,
            "event": event,
            "data": { "by": self.by, "id": self.id },
            "coalesce": format!("{event}:{}", self.by.user()),
        })
    }
}
