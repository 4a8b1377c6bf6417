//! From an entry of the stream to a place in the log.
//!
//! An entry is an event when its field `event` holds an envelope, and a change of topics when it has none and its field
//! `topics` holds one. Sidestream's own marks have the field `sidestream`.
//! Everything else keeps its place and is nobody's event. Nothing of an entry's content stands in a reason.

use std::time::Duration;

use bytes::Bytes;

use crate::event::{EnvelopeDefaults, Event, EventId, parse_event};
use crate::redis::channels::mapping::BadMessage;
use crate::redis::client::connection::Connection;
use crate::redis::client::decode::Token;
use crate::redis::client::error::Failure;

/// An entry and what it means.
#[derive(Debug)]
pub(in crate::redis) struct Entry {
    pub(in crate::redis) id: EventId,
    pub(in crate::redis) what: What,
}

#[derive(Debug)]
pub(in crate::redis) enum What {
    Event(Event),
    /// A change of topics, as it is written.
    Change(Bytes),
    Mark(Mark),
    /// Not ours, for this reason.
    Foreign(BadEntry),
}

/// What sidestream itself writes into the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Mark {
    /// The stream was not there: it begins here.
    Begin,
    /// Redis lost its newest part: whatever stood up to `after` may be missing.
    Lost { after: EventId },
}

/// Why an entry is no event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::redis) enum BadEntry {
    #[error("it has no field `event` and none `topics`")]
    NoEvent,
    #[error("what it holds is larger than internal.max_body")]
    TooLarge,
    #[error("its field `topics` is no change of topics that this version knows")]
    Topics,
    #[error("{0}")]
    Message(#[from] BadMessage),
}

impl BadEntry {
    /// One word for a metric's label.
    pub(in crate::redis) fn word(&self) -> &'static str {
        match self {
            Self::NoEvent => "no_event",
            Self::TooLarge => "too_large",
            Self::Topics => "topics",
            Self::Message(bad) => bad.word(),
        }
    }
}

/// The field that holds the envelope.
pub(in crate::redis) const EVENT: &[u8] = b"event";
/// The field that holds a change of topics, where there is no event.
pub(in crate::redis) const TOPICS: &[u8] = b"topics";
/// The field of what was bridged from a channel: its place in what was said there.
pub(in crate::redis) const BRIDGE: &[u8] = b"bridge";
/// The field that says that the data stands in the envelope as a text although it was not published as one.
const QUOTED: &[u8] = b"quoted";
/// The field of a mark, which says what it is.
pub(in crate::redis) const MARK: &[u8] = b"sidestream";
pub(in crate::redis) const BEGIN: &[u8] = b"begin";
pub(in crate::redis) const LOST: &[u8] = b"lost";
/// The field that says up to where something may be missing.
pub(in crate::redis) const AFTER: &[u8] = b"after";

impl Connection {
    /// Reads an entry: its id, then its fields.
    pub(in crate::redis) async fn entry(
        &mut self,
        limit: Duration,
        doing: &'static str,
    ) -> Result<Entry, Failure> {
        if self.token(limit, doing).await? != Token::Array(2) {
            return Err(Failure::Unexpected);
        }
        let Token::Bulk(id) = self.token(limit, doing).await? else { return Err(Failure::Unexpected) };
        let id = id_of(&id).ok_or(Failure::Unexpected)?;
        let fields = match self.token(limit, doing).await? {
            Token::Array(fields) => fields,
            Token::Nil => 0,
            _ => return Err(Failure::Unexpected),
        };
        let (mut event, mut topics, mut mark, mut after, mut quoted) = (None, None, None, None, None);
        for _ in 0..fields / 2 {
            let name = self.token(limit, doing).await?;
            let value = self.token(limit, doing).await?;
            let Token::Bulk(name) = name else { continue };
            let of = match name.as_ref() {
                EVENT => &mut event,
                TOPICS => &mut topics,
                MARK => &mut mark,
                AFTER => &mut after,
                QUOTED => &mut quoted,
                _ => continue,
            };
            // Of a field that is given twice the first counts.
            of.get_or_insert(value);
        }
        let text = |token: &Option<Token>| match token {
            Some(Token::Bulk(text)) => Some(text.clone()),
            _ => None,
        };
        let what = match (event, topics, text(&mark).as_deref()) {
            (Some(Token::Bulk(json)), ..) => match parse_event(&json, &EnvelopeDefaults::default()) {
                Ok(event) => What::Event(Event { is_text: event.is_text && quoted.is_none(), ..event }),
                Err(bad) => What::Foreign(BadEntry::Message(bad.into())),
            },
            (None, Some(Token::Bulk(json)), _) => What::Change(json),
            (Some(_), ..) | (None, Some(_), _) => What::Foreign(BadEntry::TooLarge),
            (None, None, Some(BEGIN)) => What::Mark(Mark::Begin),
            (None, None, Some(LOST)) => match text(&after).as_deref().and_then(id_of) {
                Some(after) => What::Mark(Mark::Lost { after }),
                None => What::Foreign(BadEntry::NoEvent),
            },
            (None, None, _) => What::Foreign(BadEntry::NoEvent),
        };
        Ok(Entry { id, what })
    }
}

/// The id that Redis writes so.
pub(in crate::redis) fn id_of(text: &[u8]) -> Option<EventId> {
    let id: EventId = str::from_utf8(text).ok()?.parse().ok()?;
    id.tag.is_none().then_some(id)
}
