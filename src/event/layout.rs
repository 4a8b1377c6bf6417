//! The layout of a route's streams, where it is more than one of the forms that a whole log may have: an object of the
//! operator's own around the data, the topic on the wire.
//!
//! Made of an event when the first stream with this layout is to get it; time and the reader come in as arguments.

use std::time::SystemTime;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::frame::{Block, Draft, Frame};
use crate::event::json_template::{JsonTemplate, TemplateValue};
use crate::event::{EventFormat, EventId, EventName, Key, Name, Placeholder};

/// How the streams of a route lay out their events.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EventLayout {
    pub format: EventFormat,
    /// The object that a typed event is, where it is not the usual one.
    pub typed_data: Option<JsonTemplate>,
    pub topic_as: TopicAs,
    /// The name of its events, whatever their own.
    pub renamed: Option<EventName>,
}

/// How a stream tells the topic of an event.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum TopicAs {
    #[default]
    Nothing,
    /// `: topic <name>` before the event.
    Comment,
    /// The topic and this text before the event's name.
    Prefix(Box<str>),
}

/// What a layout is made of.
#[derive(Clone, Copy, Debug)]
pub struct LaidOut<'a> {
    pub name: Option<&'a str>,
    /// Text of the SSE `data` field, and whether it was published as one.
    pub data: &'a str,
    pub is_text: bool,
    pub retry: Option<u32>,
    pub id: Option<EventId>,
    /// When it was published.
    pub at: SystemTime,
    pub via: Via<'a>,
}

/// By what an event reaches a reader.
#[derive(Clone, Copy, Default, Debug)]
pub struct Via<'a> {
    pub topic: Option<&'a Name>,
    pub user: Option<&'a Name>,
}

impl<'a> Via<'a> {
    /// The first topic and the first user of an event's `keys` that the reader holds.
    pub fn of(keys: &'a [Key], holds: impl Fn(&Key) -> bool) -> Self {
        let held = || keys.iter().filter(|key| holds(key));
        Self {
            topic: held().find_map(|key| if let Key::Topic(name) = key { Some(name) } else { None }),
            user: held().find_map(|key| if let Key::User(name) = key { Some(name) } else { None }),
        }
    }
}

impl EventLayout {
    /// Whether it is what a log renders for all.
    pub fn is_plain(&self) -> bool {
        self.typed_data.is_none() && self.topic_as == TopicAs::Nothing
    }

    /// Whether what is written depends on the key by which an event reaches its reader.
    pub fn tells_via(&self) -> bool {
        let tells = |placeholder: &Placeholder| {
            placeholder.source.is_empty() && matches!(&*placeholder.name, "topic" | "user")
        };
        self.topic_as != TopicAs::Nothing
            || self.typed_data.as_ref().is_some_and(|data| data.placeholders().any(tells))
    }

    /// A published event.
    pub fn event(&self, event: LaidOut<'_>) -> Frame {
        let LaidOut { name, data, is_text, retry, id, at, via } = event;
        let name = self.renamed.as_ref().map(EventName::as_str).or(name);
        let prefixed = match (&self.topic_as, via.topic) {
            (TopicAs::Prefix(between), Some(topic)) => {
                Some(format!("{topic}{between}{}", name.unwrap_or("message")))
            }
            _ => None,
        };
        let name = prefixed.as_deref().or(name);
        let text = match self.format {
            EventFormat::Named => None,
            EventFormat::Typed(timestamps) => {
                let data = json_of(data, is_text);
                Some(match &self.typed_data {
                    None => timestamps.wrap(name.unwrap_or("message"), &data, at),
                    Some(template) => wrapped(template, name.unwrap_or("message"), &data, id, at, via),
                })
            }
        };
        let name = if text.is_some() { None } else { name };
        let comment = match (&self.topic_as, via.topic) {
            (TopicAs::Comment, Some(topic)) => Some(topic.as_str()),
            _ => None,
        };
        let draft = Draft::of(name, retry, text.as_deref().unwrap_or(data));
        match comment {
            Some(topic) => draft.behind_comment(&format!(" topic {topic}")).seal(id),
            None => draft.seal(id),
        }
    }

    /// A block of the stream's own, whose `data` is JSON, for a stream of `user`.
    pub fn block(&self, block: Block<'_>, user: Option<&Name>, now: SystemTime) -> Frame {
        match (&self.typed_data, self.format, block.event) {
            (Some(template), EventFormat::Typed(_), Some(name)) => {
                let via = Via { topic: None, user };
                let data = wrapped(template, name, block.data, block.id, now, via);
                Block { event: None, data: &data, ..block }.render()
            }
            _ => self.format.block(block, now),
        }
    }
}

impl From<EventFormat> for EventLayout {
    fn from(format: EventFormat) -> Self {
        Self { format, ..Self::default() }
    }
}

fn wrapped(
    template: &JsonTemplate,
    name: &str,
    data: &str,
    id: Option<EventId>,
    at: SystemTime,
    via: Via<'_>,
) -> String {
    template.render(|placeholder| {
        let value = match (&*placeholder.source, &*placeholder.name) {
            ("", "event") => TemplateValue::Text(name.into()),
            ("", "data") => TemplateValue::Json(data.into()),
            ("", "id") => id.map_or(TemplateValue::Nothing, |id| TemplateValue::Text(id.to_string().into())),
            ("", "topic") => TemplateValue::of(via.topic.map(Name::as_str)),
            ("", "user") => TemplateValue::of(via.user.map(Name::as_str)),
            _ => return TemplateValue::of_time(placeholder, at),
        };
        Some(value)
    })
}

/// An event's data as JSON within JSON.
fn json_of(data: &str, is_text: bool) -> std::borrow::Cow<'_, str> {
    let is_json = !is_text && serde_json::from_str::<&RawValue>(data).is_ok();
    if is_json { data.into() } else { Value::from(data).to_string().into() }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
