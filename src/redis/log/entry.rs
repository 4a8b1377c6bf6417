//! From an entry of the stream to a place in the log.
//!
//! An entry is an event when its field `event` holds an envelope, and a change of topics when it has none and its field
//! `topics` holds one. One that takes others back says so in `taken_back`, and is the event that tells their readers.
//! The ids of entries that were deleted with it stand in `deleted`. An event of a stream of the application has the
//! field `upstream`. Sidestream's own marks have the field `sidestream`.
//! Everything else keeps its place and is nobody's event. Nothing of an entry's content stands in a reason.

use std::time::Duration;

use bytes::Bytes;

use crate::event::{EnvelopeDefaults, Event, EventId, Key, Name, parse_event};
use crate::log::Reset;
use crate::redis::channels::mapping::BadMessage;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;

/// An entry and what it means.
#[derive(Debug)]
pub(in crate::redis) struct StreamEntry {
    pub(in crate::redis) id: EventId,
    pub(in crate::redis) what: EntryKind,
    /// Entries that were deleted in the same step.
    pub(in crate::redis) deleted: Box<[EventId]>,
}

#[derive(Debug)]
pub(in crate::redis) enum EntryKind {
    Event(Event),
    /// A change of topics, as it is written.
    Change(Bytes),
    /// Others are taken back: which, as it is written, and the event that tells their readers.
    TakeBack(Bytes, Event),
    /// An event of a stream of the application, and the application's own id of it.
    Upstream(Name, Event, Option<String>),
    /// How such a stream stands may have changed.
    UpstreamMark(Name),
    /// Polled answers of this path and query are called for.
    Poll(Bytes, Option<Bytes>),
    StreamMark(StreamMark),
    /// Not ours, for this reason.
    Foreign(BadEntry),
}

/// What sidestream itself writes into the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum StreamMark {
    /// The stream was not there: it begins here.
    Begin,
    /// Redis lost its newest part: whatever stood up to `after` may be missing.
    Lost { after: EventId },
    /// Entries were deleted that had been taken back.
    Deleted,
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
    #[error("its field `taken_back` names nothing that this version knows")]
    TakenBack,
    #[error("{0}")]
    Message(#[from] BadMessage),
}

impl BadEntry {
    /// One word for a metric's label.
    pub(in crate::redis) fn label(&self) -> &'static str {
        match self {
            Self::NoEvent => "no_event",
            Self::TooLarge => "too_large",
            Self::Topics => "topics",
            Self::TakenBack => "taken_back",
            Self::Message(bad) => bad.label(),
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
pub(in crate::redis) const QUOTED: &[u8] = b"quoted";
/// The field that says what is taken back, beside the event that tells of it.
pub(in crate::redis) const TAKEN_BACK: &[u8] = b"taken_back";
/// The ids of entries that were deleted in the same step, with spaces in between.
pub(in crate::redis) const DELETED: &[u8] = b"deleted";
/// The field of a mark, which says what it is.
pub(in crate::redis) const MARK: &[u8] = b"sidestream";
pub(in crate::redis) const BEGIN: &[u8] = b"begin";
pub(in crate::redis) const LOST: &[u8] = b"lost";
/// The field that names the stream of the application that an entry is of; an event's envelope names nobody then. Also
/// the mark of such a stream.
pub(in crate::redis) const UPSTREAM: &[u8] = b"upstream";
/// The field with the application's own id of the event.
pub(in crate::redis) const UPSTREAM_ID: &[u8] = b"upstream_id";
/// The mark of polled answers that are called for, and the fields with their path and query.
pub(in crate::redis) const POLL: &[u8] = b"poll";
pub(in crate::redis) const PATH: &[u8] = b"path";
pub(in crate::redis) const QUERY: &[u8] = b"query";
/// The field that says up to where something may be missing.
pub(in crate::redis) const AFTER: &[u8] = b"after";

impl RedisConnection {
    /// Reads an entry: its id, then its fields.
    pub(in crate::redis) async fn entry(
        &mut self,
        limit: Duration,
        doing: &'static str,
    ) -> Result<StreamEntry, RedisError> {
        if self.token(limit, doing).await? != RespToken::Array(2) {
            return Err(RedisError::Unexpected);
        }
        let RespToken::Bulk(id) = self.token(limit, doing).await? else { return Err(RedisError::Unexpected) };
        let id = id_of(&id).ok_or(RedisError::Unexpected)?;
        let fields = match self.token(limit, doing).await? {
            RespToken::Array(fields) => fields,
            RespToken::Nil => 0,
            _ => return Err(RedisError::Unexpected),
        };
        let (mut event, mut topics, mut mark, mut after, mut quoted) = (None, None, None, None, None);
        let (mut taken_back, mut deleted) = (None, None);
        let (mut upstream, mut upstream_id, mut path, mut query) = (None, None, None, None);
        for _ in 0..fields / 2 {
            let name = self.token(limit, doing).await?;
            let value = self.token(limit, doing).await?;
            let RespToken::Bulk(name) = name else { continue };
            let of = match name.as_ref() {
                EVENT => &mut event,
                TOPICS => &mut topics,
                MARK => &mut mark,
                AFTER => &mut after,
                QUOTED => &mut quoted,
                TAKEN_BACK => &mut taken_back,
                DELETED => &mut deleted,
                UPSTREAM => &mut upstream,
                UPSTREAM_ID => &mut upstream_id,
                PATH => &mut path,
                QUERY => &mut query,
                _ => continue,
            };
            // Of a field that is given twice the first counts.
            of.get_or_insert(value);
        }
        let text = |token: &Option<RespToken>| match token {
            Some(RespToken::Bulk(text)) => Some(text.clone()),
            _ => None,
        };
        let upstream = text(&upstream).and_then(|name| name_of(&name));
        let what = match (event, topics, text(&mark).as_deref()) {
            (Some(RespToken::Bulk(json)), ..)
                if let Some(name) = &upstream
                    && let Some(event) = of_upstream(name.clone(), &json) =>
            {
                let theirs = text(&upstream_id).and_then(|theirs| String::from_utf8(theirs.into()).ok());
                EntryKind::Upstream(name.clone(), event, theirs)
            }
            (None, None, Some(POLL)) => EntryKind::Poll(text(&path).unwrap_or_default(), text(&query)),
            (None, None, Some(UPSTREAM)) => {
                upstream.map_or(EntryKind::Foreign(BadEntry::NoEvent), EntryKind::UpstreamMark)
            }
            (Some(RespToken::Bulk(json)), ..) => match parse_event(&json, &defaults_of(&json)) {
                Ok(event) if let Some(command) = text(&taken_back) => EntryKind::TakeBack(command, event),
                Ok(event) => EntryKind::Event(Event { is_text: event.is_text && quoted.is_none(), ..event }),
                Err(bad) => EntryKind::Foreign(BadEntry::Message(bad.into())),
            },
            (None, Some(RespToken::Bulk(json)), _) => EntryKind::Change(json),
            (Some(_), ..) | (None, Some(_), _) => EntryKind::Foreign(BadEntry::TooLarge),
            (None, None, Some(DELETED)) => EntryKind::StreamMark(StreamMark::Deleted),
            (None, None, Some(BEGIN)) => EntryKind::StreamMark(StreamMark::Begin),
            (None, None, Some(LOST)) => match text(&after).as_deref().and_then(id_of) {
                Some(after) => EntryKind::StreamMark(StreamMark::Lost { after }),
                None => EntryKind::Foreign(BadEntry::NoEvent),
            },
            (None, None, _) => EntryKind::Foreign(BadEntry::NoEvent),
        };
        let deleted = text(&deleted).unwrap_or_default();
        let deleted = deleted.split(|&b| b == b' ').filter_map(id_of).collect();
        Ok(StreamEntry { id, what, deleted })
    }
}

fn name_of(text: &[u8]) -> Option<Name> {
    Name::parse(str::from_utf8(text).ok()?).ok()
}

/// The event for the stream of this name, if the envelope names nobody else. It may be one of the stream's own: an
/// instance has written it.
fn of_upstream(name: Name, json: &[u8]) -> Option<Event> {
    let key = Key::Upstream(name);
    let defaults = EnvelopeDefaults { audience: vec![key.clone()], is_own: true, event: None };
    parse_event(json, &defaults).ok().filter(|event| *event.audience.keys() == [key])
}

/// A gap in what was bridged is reported by an event of the stream's own, and by nothing else.
fn defaults_of(json: &[u8]) -> EnvelopeDefaults {
    let is_own =
        json.starts_with(br#"{"broadcast":true,"event":"reset""#) && *json == *gap_event().as_bytes();
    EnvelopeDefaults { is_own, ..EnvelopeDefaults::default() }
}

/// What stands in the stream where bridged messages may be missing: an event for everybody.
pub(in crate::redis) fn gap_event() -> String {
    format!(r#"{{"broadcast":true,"event":"{}","data":{}}}"#, Reset::EVENT, Reset::SourceGap.data())
}

/// The id that Redis writes so.
pub(in crate::redis) fn id_of(text: &[u8]) -> Option<EventId> {
    let id: EventId = str::from_utf8(text).ok()?.parse().ok()?;
    id.tag.is_none().then_some(id)
}
