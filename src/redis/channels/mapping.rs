//! What a message on a channel stands for, by one `[[redis.channel]]` or by our own rules.
//!
//! This file knows no connection and no log.

use std::borrow::Cow;

use crate::config;
use crate::config::ChannelFormat;
use crate::event::{
    Audience, BadAudience, BadContent, BadEnvelope, BadField, BadName, ContentConditions, ContentMapping,
    ContentTemplates, EnvelopeDefaults, Event, EventName, Key, Missing, Name, Placeholder, Template,
    WantedFields, content_path, parse_event,
};

/// What the messages of a channel, or of the channels of a pattern, stand for.
pub(super) struct ChannelMapping {
    /// As the operator wrote it.
    pub(super) pattern: Box<str>,
    /// The texts around each `*`; one for a channel without any.
    literals: Box<[Box<str>]>,
    topic: Option<Template>,
    user: Option<Template>,
    session: Option<Template>,
    event: Option<Template>,
    format: ChannelFormat,
    /// What is made of the message's content, if anything is.
    pub(super) content: Option<Box<ContentMapping>>,
    pub(super) when: ContentConditions,
    /// Its messages go into the stream.
    pub(super) is_bridged: bool,
}

/// Why a message is not an event. The text holds nothing of the message or the channel.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::redis) enum BadMessage {
    #[error("{} {reason}", field.unwrap_or("it"))]
    Envelope { field: Option<&'static str>, reason: BadField },
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("the channel's name is not UTF-8")]
    Channel,
    #[error("the channel's name leaves a template without a value: {0}")]
    Missing(#[from] Missing),
    #[error("a name made of the channel's name {0}")]
    Name(#[from] BadName),
    #[error("it {0}")]
    Audience(#[from] BadAudience),
    #[error("{0}")]
    Content(#[from] BadContent),
}

/// Why a message is no event to the mappings of its subscription.
pub(in crate::redis) enum Unmapped {
    /// It fits the conditions of none.
    Unmatched,
    Bad(BadMessage),
}

impl<B: Into<BadMessage>> From<B> for Unmapped {
    fn from(bad: B) -> Self {
        Self::Bad(bad.into())
    }
}

impl From<BadEnvelope> for BadMessage {
    fn from(bad: BadEnvelope) -> Self {
        let field = match (bad.field, &bad.reason) {
            (None, _) | (_, BadField::Audience(_)) => None,
            (Some(Cow::Borrowed(field)), _) => Some(field),
            // It may be a word of the message's own.
            (Some(Cow::Owned(_)), _) => Some("one of its fields"),
        };
        Self::Envelope { field, reason: bad.reason }
    }
}

impl BadMessage {
    /// One word for a metric's label.
    pub(in crate::redis) fn label(&self) -> &'static str {
        match self {
            Self::Envelope { reason, .. } => reason.label(),
            Self::NotUtf8 => "utf8",
            Self::Channel | Self::Missing(_) | Self::Name(_) => "channel",
            Self::Audience(_) => "audience",
            Self::Content(bad) => bad.label(),
        }
    }

    /// The field that does not fit, by the operator's word for it.
    pub(in crate::redis) fn field(&self) -> Option<String> {
        match self {
            Self::Content(bad) => bad.field(),
            _ => None,
        }
    }
}

impl ChannelMapping {
    /// `wanted` learns which fields of a message it has to find.
    pub(super) fn new(channel: &config::Channel, wanted: &mut WantedFields) -> Self {
        let templates = &channel.content;
        let is_of_content = match channel.format {
            ChannelFormat::Envelope => false,
            ChannelFormat::Raw => is_of_content(templates),
            ChannelFormat::Laravel | ChannelFormat::ActionCable | ChannelFormat::FlaskSse => true,
        };
        Self {
            pattern: channel.pattern.as_str().into(),
            literals: channel.pattern.split('*').map(Into::into).collect(),
            topic: templates.topic.clone(),
            user: templates.user.clone(),
            session: templates.session.clone(),
            event: templates.event.clone(),
            format: channel.format,
            content: is_of_content.then(|| Box::new(ContentMapping::new(templates, wanted))),
            when: ContentConditions::new(&templates.when, wanted),
            is_bridged: channel.bridge,
        }
    }

    pub(super) fn envelope(literals: &[&str], topic: Option<Template>, is_bridged: bool) -> Self {
        Self {
            pattern: literals.join("*").into(),
            literals: literals.iter().copied().map(Into::into).collect(),
            topic,
            user: None,
            session: None,
            event: None,
            format: ChannelFormat::Envelope,
            content: None,
            when: ContentConditions::default(),
            is_bridged,
        }
    }

    /// The event that `message` on `channel` stands for. With templates, a channel's name that they cannot be made of
    /// refuses the message even where it names its audience itself: it came on a channel that was not meant.
    pub(super) fn event(&self, channel: &[u8], message: &[u8]) -> Result<Event, Unmapped> {
        let (audience, name) = self.names(channel)?;
        match self.format {
            // Of frameworks' messages an event is made by their content.
            ChannelFormat::Raw
            | ChannelFormat::Laravel
            | ChannelFormat::ActionCable
            | ChannelFormat::FlaskSse => {
                let audience = Audience::new(audience, Vec::new())?;
                let data = str::from_utf8(message).map_err(|_| BadMessage::NotUtf8)?;
                Ok(Event { name, ..Event::new(audience, data) })
            }
            ChannelFormat::Envelope => {
                let defaults = EnvelopeDefaults { audience, event: name, is_own: false };
                Ok(parse_event(message, &defaults)?)
            }
        }
    }

    /// Audience and event's name by the templates.
    fn names(&self, channel: &[u8]) -> Result<(Vec<Key>, Option<EventName>), BadMessage> {
        let Self { topic, user, session, event, .. } = self;
        if [topic, user, session, event].iter().all(|template| template.is_none()) {
            return Ok((Vec::new(), None));
        }
        let channel = str::from_utf8(channel).map_err(|_| BadMessage::Channel)?;
        let value = |placeholder: &Placeholder| self.part(channel, placeholder);
        type Make = fn(Name) -> Key;
        let mut audience = Vec::new();
        for (template, make) in [(topic, Key::Topic as Make), (user, Key::User), (session, Key::Session)] {
            if let Some(template) = template {
                audience.push(make(Name::parse(&template.render(value)?)?));
            }
        }
        let event = match event {
            Some(template) => Some(EventName::parse_published(&template.render(value)?)?),
            None => None,
        };
        Ok((audience, event))
    }

    /// The part of the channel's name that a placeholder stands for.
    pub(super) fn part<'c>(&self, channel: &'c str, placeholder: &Placeholder) -> Option<&'c str> {
        let number: usize = placeholder.name.parse().ok().filter(|_| placeholder.source.is_empty())?;
        match number.checked_sub(1) {
            None => Some(channel),
            Some(star) => captures(&self.literals, channel).nth(star),
        }
    }
}

/// Whether the message's content is looked into.
fn is_of_content(templates: &ContentTemplates) -> bool {
    let ContentTemplates { topic, user, session, event, when: _, retry: _, .. } = templates;
    let ContentTemplates { client, broadcast, except_client, data, idempotency_key, coalesce, ttl, .. } =
        templates;
    let further = [client, except_client, idempotency_key, coalesce, ttl];
    let mut fields = [topic, user, session, event].into_iter().flatten().flat_map(Template::placeholders);
    *broadcast
        || data.is_some()
        || further.iter().any(|template| template.is_some())
        || fields.any(|one| content_path(one).is_some())
}

/// What each `*` between `literals` stands for in `channel`, which matches: as little as it can, the last what is left.
fn captures<'c>(literals: &[Box<str>], channel: &'c str) -> impl Iterator<Item = &'c str> {
    let (first, rest) = literals.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut text = channel.strip_prefix(first);
    let mut rest = rest.iter();
    std::iter::from_fn(move || {
        let literal = rest.next()?;
        let here = text?;
        let at =
            if rest.len() == 0 { here.len().checked_sub(literal.len())? } else { here.find(&**literal)? };
        text = here.get(at + literal.len()..);
        here.get(..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_star_takes_as_little_as_it_can_and_the_last_what_is_left() {
        for (pattern, channel, expected) in [
            ("chat:*", "chat:42", &["42"][..]),
            ("chat:*", "chat:", &[""]),
            ("*", "any:thing", &["any:thing"]),
            ("*:chat", "a:b:chat", &["a:b"]),
            ("*:*", "a:b:c", &["a", "b:c"]),
            ("a*b*c", "a-b-b-c", &["-", "-b-"]),
            ("a*b*b", "abb", &["", ""]),
            ("a**z", "abcz", &["", "bc"]),
            ("räume:*:☂", "räume:zwölf:☂", &["zwölf"]),
            ("news", "news", &[]),
        ] {
            let literals: Vec<Box<str>> = pattern.split('*').map(Into::into).collect();
            assert_eq!(captures(&literals, channel).collect::<Vec<_>>(), expected, "{pattern} {channel}");
        }
    }
}
