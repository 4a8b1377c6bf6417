//! The one grammar of every door: a JSON object → [`Event`].
//!
//! Strict: a field that is not known, given twice or of the wrong type refuses the event, and the refusal names the
//! field. `null` stands for "not given" everywhere but in `data`. `data` is never interpreted: JSON is passed on byte
//! for byte, a JSON string as its text, and no data at all is `null`. This file must not know where the bytes came
//! from.

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;

use crate::event::bad_envelope::{BadEnvelope, BadField};
use crate::event::half::whole_characters;
use crate::event::object::{RawField, Slots, flag, name, names, read_object, string, whole_number};
use crate::event::{Audience, BadAudience, BadName, Event, EventName, Key, Name};
use crate::trace::TraceContext;

/// Longest `retry`: a day, in milliseconds.
pub(super) const MAX_RETRY: u32 = 86_400_000;
/// Longest `ttl`: a year, in seconds.
pub(super) const MAX_TTL: u64 = 31_536_000;
/// Longest `idempotency_key` and `coalesce`, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 256;

/// What stands in for what an envelope leaves out.
#[derive(Clone, Default, Debug)]
pub struct EnvelopeDefaults {
    /// The recipients when no word of audience is given at all.
    pub audience: Vec<Key>,
    pub event: Option<EventName>,
    /// The event may be one of the stream's own: we have written it ourselves.
    pub is_own: bool,
}

/// The event that exactly one JSON object stands for.
pub fn parse_event(json: &[u8], defaults: &EnvelopeDefaults) -> Result<Event, BadEnvelope> {
    let text = str::from_utf8(json).map_err(|_| BadField::NotUtf8.of_whole())?;
    parse_text(&whole_characters(text), defaults)
}

/// Checks a key that did not come in the field `idempotency_key`.
pub fn check_idempotency_key(key: &str) -> Result<(), BadName> {
    if key.is_empty() {
        Err(BadName::Empty)
    } else if key.len() > MAX_IDEMPOTENCY_KEY {
        Err(BadName::TooLong { max: MAX_IDEMPOTENCY_KEY })
    } else if key.chars().any(char::is_control) {
        Err(BadName::Control)
    } else {
        Ok(())
    }
}

pub(super) fn parse_text(text: &str, defaults: &EnvelopeDefaults) -> Result<Event, BadEnvelope> {
    let fields: Fields<'_> = read_object(text).map_err(|bad| *bad)?;
    let mut keys = SmallVec::<[Key; 1]>::new();
    fields.audience.keys("", &mut keys)?;
    fields.target_keys(&mut keys)?;
    if fields.names_no_audience() {
        keys.extend(defaults.audience.iter().cloned());
    }
    let except = fields.except()?;
    let audience = Audience::new(keys, except).map_err(|bad| match bad {
        BadAudience::ExceptAll => BadField::from(bad).at("except.broadcast"),
        BadAudience::Nobody | BadAudience::TooMany { .. } => BadField::from(bad).of_whole(),
    })?;
    let name = match fields.event {
        Some(raw) => {
            let parse = if defaults.is_own { EventName::parse } else { EventName::parse_published };
            Some(string(raw).and_then(|text| Ok(parse(&text)?)).map_err(|bad| bad.at("event"))?)
        }
        None => defaults.event.clone(),
    };
    Ok(Event {
        audience,
        name,
        data: fields.data()?,
        is_text: fields.data.is_some_and(|raw| raw.starts_with('"')),
        coalesce: key(fields.coalesce, "coalesce")?,
        ephemeral: flag(fields.ephemeral).map_err(|bad| bad.at("ephemeral"))?,
        retry: fields.retry()?,
        ttl: fields.ttl()?,
        idempotency_key: key(fields.idempotency_key, "idempotency_key")?,
        trace: fields.trace()?,
    })
}

/// The words of audience, in an event and in its `except`.
#[derive(Default)]
struct AudienceFields<'a> {
    topic: RawField<'a>,
    topics: RawField<'a>,
    user: RawField<'a>,
    users: RawField<'a>,
    session: RawField<'a>,
    sessions: RawField<'a>,
    client: RawField<'a>,
    clients: RawField<'a>,
    broadcast: RawField<'a>,
}

#[derive(Default)]
struct Fields<'a> {
    audience: AudienceFields<'a>,
    except: RawField<'a>,
    target: RawField<'a>,
    target_id: RawField<'a>,
    target_ids: RawField<'a>,
    event: RawField<'a>,
    data: RawField<'a>,
    coalesce: RawField<'a>,
    ephemeral: RawField<'a>,
    retry: RawField<'a>,
    ttl: RawField<'a>,
    idempotency_key: RawField<'a>,
    traceparent: RawField<'a>,
}

impl<'a> Slots<'a> for AudienceFields<'a> {
    const NAMES: &'static [&'static str] =
        &["topic", "topics", "user", "users", "session", "sessions", "client", "clients", "broadcast"];

    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut RawField<'a>)> {
        Some(match name {
            "topic" => ("topic", &mut self.topic),
            "topics" => ("topics", &mut self.topics),
            "user" => ("user", &mut self.user),
            "users" => ("users", &mut self.users),
            "session" => ("session", &mut self.session),
            "sessions" => ("sessions", &mut self.sessions),
            "client" => ("client", &mut self.client),
            "clients" => ("clients", &mut self.clients),
            "broadcast" => ("broadcast", &mut self.broadcast),
            _ => return None,
        })
    }
}

impl<'a> Slots<'a> for Fields<'a> {
    const NAMES: &'static [&'static str] = &[
        "topic",
        "topics",
        "user",
        "users",
        "session",
        "sessions",
        "client",
        "clients",
        "broadcast",
        "except",
        "target",
        "targetId",
        "targetIds",
        "event",
        "data",
        "coalesce",
        "ephemeral",
        "retry",
        "ttl",
        "idempotency_key",
        "traceparent",
    ];

    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut RawField<'a>)> {
        Some(match name {
            "event" => ("event", &mut self.event),
            "data" => ("data", &mut self.data),
            "except" => ("except", &mut self.except),
            "target" => ("target", &mut self.target),
            "targetId" => ("targetId", &mut self.target_id),
            "targetIds" => ("targetIds", &mut self.target_ids),
            "coalesce" => ("coalesce", &mut self.coalesce),
            "ephemeral" => ("ephemeral", &mut self.ephemeral),
            "retry" => ("retry", &mut self.retry),
            "ttl" => ("ttl", &mut self.ttl),
            "idempotency_key" => ("idempotency_key", &mut self.idempotency_key),
            "traceparent" => ("traceparent", &mut self.traceparent),
            _ => return self.audience.slot(name),
        })
    }
}

impl AudienceFields<'_> {
    /// Adds the keys that are named; `path` stands before a field's name in a refusal.
    fn keys(&self, path: &str, keys: &mut SmallVec<[Key; 1]>) -> Result<(), BadEnvelope> {
        type Make = fn(Name) -> Key;
        for (one, one_name, many, many_name, make) in [
            (self.topic, "topic", self.topics, "topics", Key::Topic as Make),
            (self.user, "user", self.users, "users", Key::User),
            (self.session, "session", self.sessions, "sessions", Key::Session),
            (self.client, "client", self.clients, "clients", Key::Client),
        ] {
            if let Some(raw) = one {
                keys.push(make(name(raw).map_err(|bad| bad.at(join(path, one_name)))?));
            }
            if let Some(raw) = many {
                names(raw, path, many_name, |name| keys.push(make(name)))?;
            }
        }
        if flag(self.broadcast).map_err(|bad| bad.at(join(path, "broadcast")))? {
            keys.push(Key::Broadcast);
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let Self { topic, topics, user, users, session, sessions, client, clients, broadcast } = self;
        [topic, topics, user, users, session, sessions, client, clients, broadcast]
            .iter()
            .all(|raw| raw.is_none())
    }
}

impl Fields<'_> {
    fn names_no_audience(&self) -> bool {
        self.audience.is_empty() && self.target.is_none()
    }

    /// Adds what the shorthand names: `target` with `targetId` or `targetIds`.
    fn target_keys(&self, keys: &mut SmallVec<[Key; 1]>) -> Result<(), BadEnvelope> {
        let given = match (self.target_id, self.target_ids) {
            (Some(_), _) => Some("targetId"),
            (None, Some(_)) => Some("targetIds"),
            (None, None) => None,
        };
        let Some(target) = self.target else {
            return given.map_or(Ok(()), |field| Err(BadField::IdWithoutTarget.at(field)));
        };
        let target = string(target).map_err(|bad| bad.at("target"))?;
        let make = match &*target {
            "user" => Key::User,
            "session" => Key::Session,
            "client" => Key::Client,
            "topic" => Key::Topic,
            "all" => {
                keys.push(Key::Broadcast);
                return given.map_or(Ok(()), |field| Err(BadField::IdWithTargetAll.at(field)));
            }
            _ => return Err(BadField::Target.at("target")),
        };
        if given.is_none() {
            return Err(BadField::TargetWithoutId.at("target"));
        }
        if let Some(raw) = self.target_id {
            keys.push(make(name(raw).map_err(|bad| bad.at("targetId"))?));
        }
        if let Some(raw) = self.target_ids {
            names(raw, "", "targetIds", |name| keys.push(make(name)))?;
        }
        Ok(())
    }

    fn except(&self) -> Result<Vec<Key>, BadEnvelope> {
        let Some(raw) = self.except else { return Ok(Vec::new()) };
        let audience: AudienceFields<'_> = read_object(raw).map_err(|bad| match bad.field {
            Some(field) => bad.reason.at(format!("except.{field}")),
            None => bad.reason.at("except"),
        })?;
        let mut keys = SmallVec::new();
        audience.keys("except.", &mut keys)?;
        Ok(keys.into_vec())
    }

    fn data(&self) -> Result<Box<str>, BadEnvelope> {
        match self.data {
            None => Ok("null".into()),
            Some(raw) if raw.starts_with('"') => Ok(string(raw).map_err(|bad| bad.at("data"))?.into()),
            Some(raw) => Ok(raw.into()),
        }
    }

    fn retry(&self) -> Result<Option<u32>, BadEnvelope> {
        let Some(raw) = self.retry else { return Ok(None) };
        whole_number(raw, "milliseconds", 0, MAX_RETRY.into())
            .map(|retry| u32::try_from(retry).ok())
            .map_err(|bad| bad.at("retry"))
    }

    /// A text that is none is passed over: an event is not refused for the sake of its trace.
    fn trace(&self) -> Result<Option<Box<TraceContext>>, BadEnvelope> {
        let Some(raw) = self.traceparent else { return Ok(None) };
        let text = string(raw).map_err(|bad| bad.at("traceparent"))?;
        Ok(TraceContext::parse(text.as_bytes()).map(Box::new))
    }

    fn ttl(&self) -> Result<Option<Duration>, BadEnvelope> {
        let Some(raw) = self.ttl else { return Ok(None) };
        whole_number(raw, "seconds", 1, MAX_TTL)
            .map(|ttl| Some(Duration::from_secs(ttl)))
            .map_err(|bad| bad.at("ttl"))
    }
}

/// A key of the publisher's own.
fn key(raw: RawField<'_>, field: &'static str) -> Result<Option<Box<str>>, BadEnvelope> {
    let Some(raw) = raw else { return Ok(None) };
    let key = string(raw).and_then(|key| check_idempotency_key(&key).map(|()| key).map_err(BadField::from));
    Ok(Some(key.map_err(|bad| bad.at(field))?.into()))
}

fn join(path: &str, field: &'static str) -> Cow<'static, str> {
    if path.is_empty() { field.into() } else { format!("{path}{field}").into() }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
