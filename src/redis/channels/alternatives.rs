//! What the messages of one subscription stand for: of several mappings the first whose conditions hold. A message is
//! read once, whatever it is held against; one that no mapping wants anything of is not read at all.
//!
//! This file knows no connection and no log.

use std::borrow::Cow;

use hashbrown::HashMap;

use crate::event::{BadContent, Event, FoundFields, Placeholder, WantedFields, whole_characters};
use crate::redis::channels::mapping::{BadMessage, ChannelMapping};

/// The mappings of a subscription; at least one.
pub(in crate::redis) struct Alternatives {
    mappings: Vec<ChannelMapping>,
    wanted: WantedFields,
}

/// What a message is to the mappings of its subscription.
pub(in crate::redis) enum MappedMessage {
    Event(Event),
    /// It fits the conditions of none.
    Unmatched,
    Bad(BadMessage),
}

impl Alternatives {
    pub(super) fn add(
        all: &mut HashMap<Box<[u8]>, Self>,
        name: Box<[u8]>,
        mapping: impl FnOnce(&mut WantedFields) -> ChannelMapping,
    ) {
        let alternatives =
            all.entry(name).or_insert_with(|| Self { mappings: Vec::new(), wanted: WantedFields::default() });
        let mapping = mapping(&mut alternatives.wanted);
        alternatives.mappings.push(mapping);
    }

    /// As the operator wrote it.
    pub(in crate::redis) fn pattern(&self) -> &str {
        self.mappings.first().map_or("", |mapping| &*mapping.pattern)
    }

    /// The messages go into the stream. That is so for all mappings, or for none.
    pub(in crate::redis) fn is_bridged(&self) -> bool {
        self.mappings.first().is_some_and(|mapping| mapping.is_bridged)
    }

    pub(in crate::redis) fn event(&self, channel: &[u8], message: &[u8]) -> MappedMessage {
        if let [mapping] = &*self.mappings
            && mapping.content.is_none()
            && mapping.when.is_empty()
        {
            return mapping.event(channel, message).into();
        }
        let Ok(text) = str::from_utf8(message) else { return MappedMessage::Bad(BadContent::NotUtf8.into()) };
        let text = whole_characters(text);
        let found = if self.wanted.is_empty() { Ok(FoundFields::default()) } else { self.wanted.find(&text) };
        let bad = |bad: &serde_json::Error| BadMessage::from(BadContent::NotJson(bad.to_string()));
        for mapping in &self.mappings {
            let fits =
                mapping.when.is_empty() || found.as_ref().is_ok_and(|found| mapping.fits(channel, found));
            if !fits {
                continue;
            }
            return match (&mapping.content, &found) {
                (Some(_), Err(why)) => MappedMessage::Bad(bad(why)),
                (Some(content), Ok(found)) => {
                    let event = mapping.outer(channel).and_then(|outer| {
                        Ok(content.event(
                            found,
                            &|placeholder| outer(placeholder).map(Cow::Borrowed),
                            &text,
                        )?)
                    });
                    event.into()
                }
                (None, _) => mapping.event(channel, message).into(),
            };
        }
        match found {
            Ok(_) => MappedMessage::Unmatched,
            Err(why) => MappedMessage::Bad(bad(&why)),
        }
    }
}

impl MappedMessage {
    pub(in crate::redis) fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Unmatched | Self::Bad(_) => None,
        }
    }
}

impl From<Result<Event, BadMessage>> for MappedMessage {
    fn from(event: Result<Event, BadMessage>) -> Self {
        event.map_or_else(Self::Bad, Self::Event)
    }
}

impl ChannelMapping {
    /// What placeholders that are no fields stand for.
    fn outer<'c>(
        &'c self,
        channel: &'c [u8],
    ) -> Result<impl Fn(&Placeholder) -> Option<&'c str>, BadMessage> {
        let channel = str::from_utf8(channel).map_err(|_| BadMessage::Channel)?;
        Ok(move |placeholder: &Placeholder| self.part(channel, placeholder))
    }

    fn fits(&self, channel: &[u8], found: &FoundFields<'_>) -> bool {
        let Ok(outer) = self.outer(channel) else { return false };
        self.when.hold(found, &|placeholder| outer(placeholder).map(Cow::Borrowed))
    }
}
