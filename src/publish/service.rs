//! Events that come as the body of a `POST /publish`: checked as a whole, then appended as a whole; or, if its sender
//! wishes, the good ones of them, with a word about each of the others.
//!
//! With Redis channels and the memory log the checked events go out over Redis instead, so that every instance's
//! subscribers get them; they come back to this instance like any other's. This file knows no HTTP status.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::auth::{NotAllowed, Publisher};
use crate::event::{
    BadBatch, BadName, EventId, EventName, Item, check_idempotency_key, parse_events, whole_characters,
};
use crate::fanout::Fanout;
use crate::future::BoxFuture;
use crate::log::Log;
use crate::telemetry::{EVENTS, EVENTS_DUPLICATE, EVENTS_REFUSED, line_enabled, log_line};

/// The source's name in metrics.
const SOURCE: &str = "http";

/// Carries envelopes to every instance, this one included.
pub trait Relay: Send + Sync {
    /// Sends each of `messages` in order, and says of each what became of it. Bounded in time.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_>;

    /// The id at or before which everything stands that was published before the question; None where every instance
    /// has a log of its own.
    fn head(&self) -> Heading<'_> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What is relayed or not, in time.
pub type Relaying<'a> = BoxFuture<'a, Result<Vec<Relayed>, RelayError>>;

/// Where the log ends, in time.
pub type Heading<'a> = BoxFuture<'a, Result<Option<EventId>, RelayError>>;

/// An envelope to be relayed.
#[derive(Clone, Debug)]
pub struct RelayedEnvelope {
    /// With its idempotency key inside.
    pub json: Bytes,
    pub idempotency_key: Option<Box<str>>,
    pub ephemeral: bool,
}

/// What became of an envelope that was relayed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Relayed {
    /// None where every instance gives it an id of its own, or it has none.
    pub id: Option<EventId>,
    /// The idempotency key was known: it was not relayed again, and `id` is the first one's.
    pub duplicate: bool,
}

/// Why messages were not relayed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    #[error("Redis cannot be reached: nothing was published")]
    Down,
    /// Redis answered, with this.
    #[error("{0}: nothing was published")]
    Refused(Box<str>),
    #[error("Redis was lost before it answered: the events may have been published, in part or as a whole")]
    Unknown,
}

impl RelayError {
    fn label(&self) -> &'static str {
        match self {
            Self::Down => "relay_down",
            Self::Refused(_) => "relay_refused",
            Self::Unknown => "relay_unknown",
        }
    }
}

/// Why a publish is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPublish {
    #[error("{0}")]
    Batch(#[from] BadBatch),
    #[error("the header Idempotency-Key {0}")]
    Key(BadName),
    #[error("item {item}: its idempotency_key is not the one of the header Idempotency-Key")]
    KeysDiffer { item: usize },
    /// `item` counts the events of a body from 0; none when it is the only one.
    #[error("{}{not}", item.map_or(String::new(), |item| format!("item {item} (counted from 0): ")))]
    NotAllowed { item: Option<usize>, not: NotAllowed },
    #[error("{0}")]
    Relay(#[from] RelayError),
}

impl BadPublish {
    /// The same, said of the only event of a body where it is.
    fn of(self, single: bool) -> Self {
        match self {
            Self::NotAllowed { not, .. } if single => Self::NotAllowed { item: None, not },
            bad => bad,
        }
    }

    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Batch(bad) => bad.label(),
            Self::Key(_) | Self::KeysDiffer { .. } => "idempotency_key",
            Self::NotAllowed { not, .. } => not.label(),
            Self::Relay(bad) => bad.label(),
        }
    }
}

/// How a body is to be published.
#[derive(Clone, Copy, Default, Debug)]
pub struct PublishOptions<'a> {
    /// The request's idempotency key: of a single event it is the key, of the nth of several (from 0) the key with `/n`
    /// behind it.
    pub key: Option<&'a str>,
    /// The body is NDJSON; otherwise it is found out.
    pub lines: bool,
    /// Of several events the good ones are published, and what is wrong with the others is said of each. Otherwise one
    /// bad event refuses all.
    pub partial: bool,
}

/// What became of a publish: the JSON of its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    /// The body was one object.
    One(Receipt),
    /// In the order of the body.
    Many(Vec<Receipt>),
    /// The same, when the good ones of several were to be published.
    Each(Vec<Result<Receipt, BadPublish>>),
}

/// What became of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Receipt {
    /// None for an ephemeral event, and for one that was relayed: every instance gives it an id of its own.
    pub id: Option<EventId>,
    /// How many open streams of this instance the event was for. None of a duplicate's.
    pub matched: usize,
    /// The idempotency key was known: nothing was appended, and `id` is the first one's.
    #[serde(skip_serializing_if = "is_false")]
    pub duplicate: bool,
    /// The event went out over Redis, to every instance.
    #[serde(skip_serializing_if = "is_false")]
    pub relayed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The door for published bodies.
pub struct PublishService {
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    relay: Option<Arc<dyn Relay>>,
    max_batch: usize,
    taken: metrics::Counter,
    duplicates: metrics::Counter,
}

impl PublishService {
    /// With a `relay`, nothing is appended here: what was relayed comes back from it.
    pub fn new(log: Arc<Log>, fanout: Arc<Fanout>, relay: Option<Arc<dyn Relay>>, max_batch: usize) -> Self {
        let taken = metrics::counter!(EVENTS, "source" => SOURCE);
        let duplicates = metrics::counter!(EVENTS_DUPLICATE, "source" => SOURCE);
        Self { log, fanout, relay, max_batch, taken, duplicates }
    }

    /// Where the log ends: everything published before the call stands at or before it, if Redis or this instance has
    /// said so to the publisher.
    pub async fn head(&self) -> Result<EventId, RelayError> {
        let elsewhere = match &self.relay {
            Some(relay) => relay.head().await?,
            None => None,
        };
        if elsewhere.is_none() && !self.log.is_loaded() {
            return Err(RelayError::Down);
        }
        Ok(elsewhere.unwrap_or_else(|| self.log.head().id))
    }

    /// Publishes the events of `body` in their order: all, or none if one of them is bad or not within the bounds of
    /// `publisher`, unless the manner is another.
    ///
    /// Dropped half-way, a relayed publish may have been sent; one that is appended here happens at once.
    pub async fn publish(
        &self,
        body: &[u8],
        manner: PublishOptions<'_>,
        publisher: &Publisher,
    ) -> Result<Published, BadPublish> {
        let refused = |bad: &BadPublish| {
            metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => bad.label()).increment(1);
        };
        let published = self.try_publish(body, manner, publisher).await;
        match &published {
            Ok(published) => {
                publisher.count();
                if let Published::Each(events) = published {
                    events.iter().filter_map(|event| event.as_ref().err()).for_each(refused);
                }
            }
            Err(bad) => {
                refused(bad);
                tracing::debug!(publisher = publisher.name(), reason = bad.label(), "publish refused");
            }
        }
        published
    }

    async fn try_publish(
        &self,
        body: &[u8],
        manner: PublishOptions<'_>,
        publisher: &Publisher,
    ) -> Result<Published, BadPublish> {
        manner.key.map_or(Ok(()), check_idempotency_key).map_err(BadPublish::Key)?;
        let body = whole_characters(str::from_utf8(body).map_err(|_| BadBatch::NotUtf8)?);
        let batch = parse_events(body.as_bytes(), self.max_batch, manner.lines)?;
        let (single, key) = (batch.single, manner.key);
        let partial = manner.partial && !single;
        let mut ready: Vec<AdmittedEvent<'_>> = Vec::with_capacity(batch.items.len());
        let mut refused = Vec::new();
        for (place, item) in batch.items.into_iter().enumerate() {
            let checked = item.map_err(BadPublish::from);
            match checked.and_then(|item| AdmittedEvent::new(item, key.map(|key| (key, single)), publisher)) {
                Ok(item) => ready.push(item),
                // A bad key of the request is nothing of an event's own.
                Err(bad) if partial && !matches!(bad, BadPublish::Key(_)) => refused.push((place, bad)),
                Err(bad) => return Err(bad.of(single)),
            }
        }
        let lines: Vec<PublishLine> =
            if line_enabled!(publishes) { ready.iter().map(PublishLine::new).collect() } else { Vec::new() };
        let receipts = if ready.is_empty() { Vec::new() } else { self.send(ready).await? };
        for (line, receipt) in lines.iter().zip(&receipts) {
            line.log(receipt, publisher);
        }
        let duplicates = receipts.iter().filter(|receipt| receipt.duplicate).count();
        self.taken.increment((receipts.len() - duplicates) as u64);
        self.duplicates.increment(duplicates as u64);
        Ok(match receipts[..] {
            [receipt] if single => Published::One(receipt),
            _ if partial => {
                let mut each: Vec<_> = receipts.into_iter().map(Ok).collect();
                for (place, bad) in refused {
                    // In ascending order: all that stand before it are there.
                    each.insert(place, Err(bad));
                }
                Published::Each(each)
            }
            _ => Published::Many(receipts),
        })
    }

    /// Brings checked events to where they are published.
    async fn send(&self, ready: Vec<AdmittedEvent<'_>>) -> Result<Vec<Receipt>, BadPublish> {
        let reach = |item: &AdmittedEvent<'_>| self.fanout.reach(&item.item.event.audience);
        let matched: SmallVec<[usize; 1]> = ready.iter().map(reach).collect();
        let Some(relay) = &self.relay else { return Ok(self.append(ready, &matched)) };
        let messages = ready.iter().map(AdmittedEvent::outgoing).collect();
        let relayed = relay.relay(messages).await?.into_iter().zip(matched);
        let receipt = |(Relayed { id, duplicate }, matched)| Receipt {
            id,
            matched: if duplicate { 0 } else { matched },
            duplicate,
            relayed: id.is_none(),
        };
        Ok(relayed.map(receipt).collect())
    }

    fn append(&self, ready: Vec<AdmittedEvent<'_>>, matched: &[usize]) -> Vec<Receipt> {
        let appended = match <[AdmittedEvent<'_>; 1]>::try_from(ready) {
            Ok([ready]) => vec![self.log.append(ready.item.event)],
            Err(ready) => self.log.append_all(ready.into_iter().map(|ready| ready.item.event).collect()),
        };
        let appended = appended.into_iter().zip(matched);
        appended
            .map(|(appended, &matched)| Receipt {
                id: appended.id,
                matched: if appended.duplicate { 0 } else { matched },
                duplicate: appended.duplicate,
                relayed: false,
            })
            .collect()
    }
}

/// An event that may be published, with the idempotency key that it is known by.
struct AdmittedEvent<'a> {
    item: Item<'a>,
    written: Written,
}

impl<'a> AdmittedEvent<'a> {
    /// Checks an event against the publisher's bounds and gives it its key: the request's, which goes along with
    /// whether the event is its only one. A key of its own has to be the same.
    fn new(
        mut item: Item<'a>,
        request: Option<(&str, bool)>,
        publisher: &Publisher,
    ) -> Result<Self, BadPublish> {
        let Item { place, event, .. } = &mut item;
        let place = *place;
        let refuse = |not| BadPublish::NotAllowed { item: Some(place), not };
        publisher.may_send(event).map_err(refuse)?;
        let own = event.idempotency_key.is_some();
        if let Some((key, single)) = request {
            let key: Box<str> = if single { key.into() } else { format!("{key}/{place}").into() };
            check_idempotency_key(&key).map_err(BadPublish::Key)?;
            match &event.idempotency_key {
                Some(own) if *own != key => return Err(BadPublish::KeysDiffer { item: place }),
                _ => event.idempotency_key = Some(key),
            }
        }
        let mut written = if own { Written::AsItIs } else { Written::No };
        // Its keys are the publisher's own.
        if let Some(key) = &event.idempotency_key
            && let Some(apart) = publisher.own_idempotency_key(key)
        {
            event.idempotency_key = Some(apart);
            written = if own { Written::Otherwise } else { Written::No };
        }
        Ok(Self { item, written })
    }

    fn outgoing(&self) -> RelayedEnvelope {
        RelayedEnvelope {
            json: envelope(&self.item, self.written),
            idempotency_key: self.item.event.idempotency_key.clone(),
            ephemeral: self.item.event.ephemeral,
        }
    }
}

/// What the log says of an event, taken from it before it goes.
struct PublishLine {
    audience: String,
    event: Option<EventName>,
}

impl PublishLine {
    fn new(ready: &AdmittedEvent<'_>) -> Self {
        let event = &ready.item.event;
        Self { audience: event.audience.in_short(), event: event.name.clone() }
    }

    fn log(&self, receipt: &Receipt, publisher: &Publisher) {
        let Receipt { id, matched, duplicate, relayed } = receipt;
        let id = id.map(|id| id.to_string());
        let (audience, event) = (&*self.audience, self.event.as_ref().map(EventName::as_str));
        log_line!(
            publishes,
            id,
            audience,
            event,
            matched,
            duplicate,
            relayed,
            publisher = publisher.name(),
            "event published"
        );
    }
}

/// Whether an event's idempotency key stands in its text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    AsItIs,
    /// It has become another one.
    Otherwise,
    No,
}

/// The JSON that is relayed: the item's own text, with the key that the event has.
fn envelope(item: &Item<'_>, key: Written) -> Bytes {
    const FIELD: &str = "idempotency_key";
    let own = || Bytes::copy_from_slice(item.json.as_bytes());
    let key = match (item.event.idempotency_key.as_deref(), key) {
        (Some(key), Written::No) => serde_json::Value::from(key),
        (Some(key), Written::Otherwise) => {
            let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
                serde_json::from_str(item.json).expect("an item is an object");
            let key = serde_json::value::to_raw_value(key).expect("a text is JSON");
            fields.insert(FIELD.into(), &key);
            return serde_json::to_vec(&fields).expect("what was JSON is JSON").into();
        }
        (None, _) | (Some(_), Written::AsItIs) => return own(),
    };
    // An event has at least one field, its audience, so a comma always belongs between; and where the field
    // stands with null it counts as not given, so it is not given twice.
    let rest = item.json.strip_prefix('{').expect("an item is an object");
    Bytes::from(format!("{{\"{FIELD}\":{key},{rest}"))
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
