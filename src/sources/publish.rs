//! Events that come as the body of a `POST /publish`: checked as a whole, then appended as a whole.
//!
//! With Redis channels and the memory log the checked events go out over Redis instead, so that every instance's
//! subscribers get them; they come back to this instance like any other's. This file knows no HTTP status.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::auth::{NotAllowed, Publisher};
use crate::event::{BadBatch, BadName, Batch, EventId, Item, check_idempotency_key, parse_events};
use crate::fanout::Fanout;
use crate::log::Log;
use crate::telemetry::{EVENTS, EVENTS_DUPLICATE, EVENTS_REFUSED};

/// The source's name in metrics.
const SOURCE: &str = "http";

/// Carries envelopes to every instance, this one included.
pub trait Relay: Send + Sync {
    /// Sends each of `messages` in order, and says of each what became of it. Bounded in time.
    fn relay(&self, messages: Vec<Outgoing>) -> Relaying<'_>;
}

/// What is relayed or not, in time.
pub type Relaying<'a> = Pin<Box<dyn Future<Output = Result<Vec<Relayed>, RelayError>> + Send + 'a>>;

/// An envelope to be relayed.
#[derive(Clone, Debug)]
pub struct Outgoing {
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    #[error("Redis cannot be reached: nothing was published")]
    Down,
    #[error("Redis was lost before it answered: the events may have been published, in part or as a whole")]
    Unknown,
}

impl RelayError {
    fn word(self) -> &'static str {
        match self {
            Self::Down => "relay_down",
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
    /// One word for a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Batch(bad) => bad.word(),
            Self::Key(_) | Self::KeysDiffer { .. } => "idempotency_key",
            Self::NotAllowed { not, .. } => not.word(),
            Self::Relay(bad) => bad.word(),
        }
    }
}

/// What became of a publish: the JSON of its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Published {
    /// The body was one object.
    One(Receipt),
    Many {
        /// In the order of the body.
        events: Vec<Receipt>,
    },
}

/// What became of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Receipt {
    /// None for an ephemeral event, and for one that was relayed: every instance gives it an id of its own.
    #[serde(serialize_with = "id_text")]
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

fn id_text<S: serde::Serializer>(id: &Option<EventId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(id),
        None => to.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The door for published bodies.
pub struct Publish {
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    relay: Option<Arc<dyn Relay>>,
    max_batch: usize,
    taken: metrics::Counter,
    duplicates: metrics::Counter,
}

impl Publish {
    /// With a `relay`, nothing is appended here: what was relayed comes back from it.
    pub fn new(log: Arc<Log>, fanout: Arc<Fanout>, relay: Option<Arc<dyn Relay>>, max_batch: usize) -> Self {
        let taken = metrics::counter!(EVENTS, "source" => SOURCE);
        let duplicates = metrics::counter!(EVENTS_DUPLICATE, "source" => SOURCE);
        Self { log, fanout, relay, max_batch, taken, duplicates }
    }

    /// Publishes all events of `body` in their order, or none. `lines` says that the body is NDJSON; otherwise it is
    /// found out. `key` is the request's idempotency key: of a single event it is the key, of the nth of several
    /// (from 0) the key with `/n` behind it.
    ///
    /// All of it has to be within the bounds of `publisher`.
    ///
    /// Dropped half-way, a relayed publish may have been sent; one that is appended here happens at once.
    pub async fn publish(
        &self,
        body: &[u8],
        key: Option<&str>,
        lines: bool,
        publisher: &Publisher,
    ) -> Result<Published, BadPublish> {
        let published = self.try_publish(body, key, lines, publisher).await;
        match &published {
            Ok(_) => publisher.count(),
            Err(bad) => {
                metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => bad.word()).increment(1);
                tracing::debug!(publisher = publisher.name(), reason = bad.word(), "publish refused");
            }
        }
        published
    }

    async fn try_publish(
        &self,
        body: &[u8],
        key: Option<&str>,
        lines: bool,
        publisher: &Publisher,
    ) -> Result<Published, BadPublish> {
        let mut batch = parse_events(body, self.max_batch, lines)?;
        check_bounds(&batch, publisher)?;
        // What to write into the envelopes is known before the events take their keys.
        let own_keys: SmallVec<[bool; 1]> =
            batch.items.iter().map(|item| item.event.idempotency_key.is_some()).collect();
        if let Some(key) = key {
            give_key(&mut batch, key)?;
        }
        let renamed = keep_keys_apart(&mut batch, publisher);
        let matched: SmallVec<[usize; 1]> =
            batch.items.iter().map(|item| self.fanout.reach(&item.event.audience)).collect();
        let single = batch.single;
        let receipts = match &self.relay {
            None => self.append(batch, &matched),
            Some(relay) => {
                let messages = outgoing(&batch, &own_keys, renamed);
                let relayed = relay.relay(messages).await?.into_iter().zip(matched);
                let receipt = |(Relayed { id, duplicate }, matched)| Receipt {
                    id,
                    matched: if duplicate { 0 } else { matched },
                    duplicate,
                    relayed: id.is_none(),
                };
                relayed.map(receipt).collect()
            }
        };
        let duplicates = receipts.iter().filter(|receipt| receipt.duplicate).count();
        self.taken.increment((receipts.len() - duplicates) as u64);
        self.duplicates.increment(duplicates as u64);
        tracing::debug!(events = receipts.len(), duplicates, relayed = self.relay.is_some(), "published");
        Ok(match receipts[..] {
            [receipt] if single => Published::One(receipt),
            _ => Published::Many { events: receipts },
        })
    }

    fn append(&self, batch: Batch<'_>, matched: &[usize]) -> Vec<Receipt> {
        let appended = match <[Item<'_>; 1]>::try_from(batch.items) {
            Ok([item]) => vec![self.log.append(item.event)],
            Err(items) => self.log.append_all(items.into_iter().map(|item| item.event).collect()),
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

/// Gives every event the request's key. A key of its own has to be the same.
fn give_key(batch: &mut Batch<'_>, key: &str) -> Result<(), BadPublish> {
    let single = batch.single;
    for (item, Item { event, .. }) in batch.items.iter_mut().enumerate() {
        let key: Box<str> = if single { key.into() } else { format!("{key}/{item}").into() };
        check_idempotency_key(&key).map_err(BadPublish::Key)?;
        match &event.idempotency_key {
            Some(own) if *own != key => return Err(BadPublish::KeysDiffer { item }),
            _ => event.idempotency_key = Some(key),
        }
    }
    Ok(())
}

/// Nothing is published of what is not within the publisher's bounds as a whole.
fn check_bounds(batch: &Batch<'_>, publisher: &Publisher) -> Result<(), BadPublish> {
    let single = batch.single;
    batch.items.iter().enumerate().try_for_each(|(item, Item { event, .. })| {
        let refuse = |not| BadPublish::NotAllowed { item: (!single).then_some(item), not };
        publisher.may_reach(&event.audience).map_err(refuse)
    })
}

/// Whether the events' idempotency keys have become the publisher's own.
fn keep_keys_apart(batch: &mut Batch<'_>, publisher: &Publisher) -> bool {
    let mut renamed = false;
    for key in batch.items.iter_mut().filter_map(|item| item.event.idempotency_key.as_mut()) {
        if let Some(own) = publisher.own_idempotency_key(key) {
            *key = own;
            renamed = true;
        }
    }
    renamed
}

/// What is relayed of `batch`, where `own_keys` says which events brought a key, and `renamed` that it is another now.
fn outgoing(batch: &Batch<'_>, own_keys: &[bool], renamed: bool) -> Vec<Outgoing> {
    let written = |own: &bool| match (own, renamed) {
        (false, _) => Written::No,
        (true, false) => Written::AsItIs,
        (true, true) => Written::Otherwise,
    };
    let outgoing = |(item, own): (&Item<'_>, &bool)| Outgoing {
        json: envelope(item, written(own)),
        idempotency_key: item.event.idempotency_key.clone(),
        ephemeral: item.event.ephemeral,
    };
    batch.items.iter().zip(own_keys).map(outgoing).collect()
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
#[path = "publish_tests.rs"]
mod tests;
