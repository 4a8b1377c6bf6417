//! Which channels are listened to, and what a message on each stands for.
//!
//! Every mapping belongs to exactly one subscription, and Redis says with a message for which subscription it is. So
//! one that Redis delivers twice, because a channel and a pattern match, is published once for each mapping, never
//! twice for one. This file knows no connection and no log.

use std::borrow::Cow;

use hashbrown::HashMap;

use crate::config;
use crate::config::ChannelFormat;
use crate::event::{
    Audience, BadAudience, BadEnvelope, BadField, BadName, EnvelopeDefaults, Event, EventName, Key, Missing,
    Name, Placeholder, Template, parse_event,
};

/// The subscriptions, and what a message of each stands for.
pub(in crate::redis) struct Channels {
    /// Where instances tell each other who is given which topics: no event is published there. With a stream that
    /// stands in the stream.
    assignments: Option<Box<[u8]>>,
    /// Whether the operator mapped any whose messages are delivered live only.
    pub(in crate::redis) mapped: bool,
    /// Whether sidestream's own channels are bridged into the stream.
    own_bridged: bool,
    /// In a Cluster: the channel of the stream's own shard.
    sharded: Option<Box<[u8]>>,
    exact: HashMap<Box<[u8]>, Vec<ChannelMapping>>,
    /// By the pattern as Redis knows it.
    patterns: HashMap<Box<[u8]>, Vec<ChannelMapping>>,
}

/// What the messages of a channel, or of the channels of a pattern, stand for.
pub(in crate::redis) struct ChannelMapping {
    /// As the operator wrote it.
    pub(in crate::redis) pattern: Box<str>,
    /// The texts around each `*`; one for a channel without any.
    literals: Box<[Box<str>]>,
    topic: Option<Template>,
    user: Option<Template>,
    session: Option<Template>,
    event: Option<Template>,
    format: ChannelFormat,
    /// Its messages go into the stream.
    pub(in crate::redis) is_bridged: bool,
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
        }
    }
}

impl Channels {
    /// Sidestream's own channels and the mapped ones.
    pub(in crate::redis) fn new(settings: &config::Redis) -> Self {
        let own_bridged = settings.stream.as_ref().is_some_and(|stream| stream.bridge);
        let prefix = &settings.prefix;
        let assignments = settings.stream.is_none().then(|| assignments_channel(prefix).into());
        let mut channels = Self {
            assignments,
            mapped: settings.channels.iter().any(|channel| !channel.bridge),
            own_bridged,
            sharded: None,
            exact: HashMap::new(),
            patterns: HashMap::new(),
        };
        channels.add(ChannelMapping::envelope(&[prefix], None, own_bridged));
        let rest = Template::parse("{1}").expect("a template of our own");
        channels.add(ChannelMapping::envelope(&[&format!("{prefix}:topic:"), ""], Some(rest), own_bridged));
        for channel in &settings.channels {
            channels.add(ChannelMapping::new(channel));
        }
        channels
    }

    /// Adds the channel of a Cluster's shard, which has envelopes as `<prefix>` has.
    pub(in crate::redis) fn add_sharded(&mut self, channel: &str) {
        let mapping = ChannelMapping::envelope(&[channel], None, self.own_bridged);
        self.sharded = Some(channel.as_bytes().into());
        self.exact.entry(channel.as_bytes().into()).or_default().push(mapping);
    }

    /// Whether the messages of any subscription go into the stream.
    pub(in crate::redis) fn is_bridged(&self) -> bool {
        self.bridged().next().is_some()
    }

    /// The subscriptions whose messages go into the stream.
    pub(in crate::redis) fn bridged(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.exact.iter().chain(&self.patterns);
        all.filter(|(_, mappings)| mappings.iter().any(|mapping| mapping.is_bridged)).map(|(name, _)| &**name)
    }

    /// What to `SSUBSCRIBE` to.
    pub(in crate::redis) fn sharded(&self) -> Option<&[u8]> {
        self.sharded.as_deref()
    }

    fn add(&mut self, mapping: ChannelMapping) {
        let (subscriptions, name) = match &*mapping.literals {
            [channel] => (&mut self.exact, channel.as_bytes().into()),
            literals => (&mut self.patterns, glob(literals).into_bytes().into_boxed_slice()),
        };
        subscriptions.entry(name).or_default().push(mapping);
    }

    /// What to `SUBSCRIBE` to.
    pub(in crate::redis) fn exact(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.exact.keys().map(AsRef::as_ref).filter(|channel| Some(*channel) != self.sharded());
        others.chain(self.assignments.as_deref())
    }

    /// Whether a message on `channel` says what topics are given.
    pub(in crate::redis) fn is_given(&self, channel: &[u8]) -> bool {
        self.assignments.as_deref() == Some(channel)
    }

    /// What to `PSUBSCRIBE` to.
    pub(in crate::redis) fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.patterns.keys().map(AsRef::as_ref)
    }

    /// What a message of the subscription to `channel` stands for.
    pub(in crate::redis) fn of_channel(&self, channel: &[u8]) -> &[ChannelMapping] {
        self.exact.get(channel).map_or(&[], Vec::as_slice)
    }

    /// What a message of the subscription to `pattern` stands for.
    pub(in crate::redis) fn of_pattern(&self, pattern: &[u8]) -> &[ChannelMapping] {
        self.patterns.get(pattern).map_or(&[], Vec::as_slice)
    }
}

/// The channel on which it is said what topics are given.
pub(in crate::redis) fn assignments_channel(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), b":topics"].concat()
}

impl ChannelMapping {
    fn new(channel: &config::Channel) -> Self {
        Self {
            pattern: channel.pattern.as_str().into(),
            literals: channel.pattern.split('*').map(Into::into).collect(),
            topic: channel.topic.clone(),
            user: channel.user.clone(),
            session: channel.session.clone(),
            event: channel.event.clone(),
            format: channel.format,
            is_bridged: channel.bridge,
        }
    }

    fn envelope(literals: &[&str], topic: Option<Template>, is_bridged: bool) -> Self {
        Self {
            pattern: literals.join("*").into(),
            literals: literals.iter().copied().map(Into::into).collect(),
            topic,
            user: None,
            session: None,
            event: None,
            format: ChannelFormat::Envelope,
            is_bridged,
        }
    }

    /// The event that `message` on `channel` stands for. With templates, a channel's name that they cannot be made of
    /// refuses the message even where it names its audience itself: it came on a channel that was not meant.
    pub(in crate::redis) fn event(&self, channel: &[u8], message: &[u8]) -> Result<Event, BadMessage> {
        let (audience, name) = self.names(channel)?;
        match self.format {
            ChannelFormat::Raw => {
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
        let value = |placeholder: &Placeholder| {
            let number: usize = placeholder.name.parse().ok().filter(|_| placeholder.source.is_empty())?;
            match number.checked_sub(1) {
                None => Some(channel),
                Some(star) => captures(&self.literals, channel).nth(star),
            }
        };
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

/// The pattern in Redis's spelling, to which more than `*` is special.
fn glob(literals: &[Box<str>]) -> String {
    let mut pattern = String::new();
    for (n, literal) in literals.iter().enumerate() {
        if n > 0 {
            pattern.push('*');
        }
        for c in literal.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
    }
    pattern
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
