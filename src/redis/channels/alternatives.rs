//! What the messages of one subscription stand for: of several mappings the first whose conditions hold. A message is
//! read once, whatever it is held against; one that no mapping wants anything of is not read at all.
//!
//! This file knows no connection and no log.

use std::borrow::Cow;

use hashbrown::HashMap;

use crate::event::{BadContent, Event, FoundFields, Placeholder, WantedFields, whole_characters};
use crate::redis::channels::mapping::{BadMessage, ChannelMapping, Unmapped};

/// The mappings of a subscription; at least one.
pub(in crate::redis) struct Alternatives {
    mappings: Vec<ChannelMapping>,
    wanted: WantedFields,
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

    pub(in crate::redis) fn event(&self, channel: &[u8], message: &[u8]) -> Result<Event, Unmapped> {
        if let [mapping] = &*self.mappings
            && mapping.content.is_none()
            && mapping.when.is_empty()
        {
            return mapping.event(channel, message);
        }
        let text = str::from_utf8(message).map_err(|_| BadContent::NotUtf8)?;
        let text = whole_characters(text);
        let found = if self.wanted.is_empty() { Ok(FoundFields::default()) } else { self.wanted.find(&text) };
        let bad = |bad: &serde_json::Error| Unmapped::from(BadContent::NotJson(bad.to_string()));
        for mapping in &self.mappings {
            let fits =
                mapping.when.is_empty() || found.as_ref().is_ok_and(|found| mapping.fits(channel, found));
            if !fits {
                continue;
            }
            return match (&mapping.content, &found) {
                (Some(_), Err(why)) => Err(bad(why)),
                (Some(content), Ok(found)) => {
                    let outer = mapping.outer(channel)?;
                    let outer = |placeholder: &Placeholder| outer(placeholder).map(Cow::Borrowed);
                    Ok(content.event(found, &outer, &text)?)
                }
                (None, _) => mapping.event(channel, message),
            };
        }
        match found {
            Ok(_) => Err(Unmapped::Unmatched),
            Err(why) => Err(bad(&why)),
        }
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
