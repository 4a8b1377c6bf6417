//! Events that come as the body of a `POST /publish`: checked as a whole, then appended as a whole; or, if its sender
//! wishes, the good ones of them, with a word about each of the others.
//!
//! With Redis channels and the memory log the checked events go out over Redis instead, so that every instance's
//! subscribers get them; they come back to this instance like any other's. This file knows no HTTP status.

use std::sync::Arc;

use serde::Serialize;
use smallvec::SmallVec;

use crate::auth::Publisher;
use crate::event::{BadBatch, EventId, EventName, check_idempotency_key, parse_events, whole_characters};
use crate::fanout::Fanout;
use crate::log::Log;
use crate::publish::admitted::AdmittedEvent;
use crate::publish::bad_publish::BadPublish;
use crate::publish::relay::{Relay, RelayError, Relayed};
use crate::rate::{Rates, TooFast};
use crate::telemetry::{EVENTS, EVENTS_DUPLICATE, EVENTS_REFUSED, line_enabled, log_line};
use crate::trace::TraceContext;

/// The source's name in metrics.
const SOURCE: &str = "http";

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
    /// The place of the request in a trace; events that name one of their own have that.
    pub trace: Option<TraceContext>,
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
    rates: Arc<Rates>,
    taken: metrics::Counter,
    duplicates: metrics::Counter,
}

impl PublishService {
    /// With a `relay`, nothing is appended here: what was relayed comes back from it.
    pub fn new(
        log: Arc<Log>,
        fanout: Arc<Fanout>,
        relay: Option<Arc<dyn Relay>>,
        max_batch: usize,
        rates: Arc<Rates>,
    ) -> Self {
        let taken = metrics::counter!(EVENTS, "source" => SOURCE);
        let duplicates = metrics::counter!(EVENTS_DUPLICATE, "source" => SOURCE);
        Self { log, fanout, relay, max_batch, rates, taken, duplicates }
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

    /// Takes so many events from what `publisher` may do now.
    pub fn admit(&self, publisher: &Publisher, events: u32) -> Result<(), BadPublish> {
        let rated = publisher.take(&self.rates.publishes_per_key, events);
        rated.map_err(|TooFast { wait, quota }| BadPublish::TooFast { events, burst: quota.burst, wait })
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
        let events = u32::try_from(batch.items.len()).unwrap_or(u32::MAX);
        self.admit(publisher, events)?;
        let (single, key) = (batch.single, manner.key);
        let partial = manner.partial && !single;
        let mut ready: Vec<AdmittedEvent<'_>> = Vec::with_capacity(batch.items.len());
        let mut refused = Vec::new();
        for (place, item) in batch.items.into_iter().enumerate() {
            let checked = item.map_err(BadPublish::from);
            match checked.and_then(|item| AdmittedEvent::new(item, key.map(|key| (key, single)), publisher)) {
                Ok(item) => ready.push(item.traced(manner.trace)),
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

/// What the log says of an event, taken from it before it goes.
struct PublishLine {
    audience: String,
    event: Option<EventName>,
    trace_id: Option<String>,
}

impl PublishLine {
    fn new(ready: &AdmittedEvent<'_>) -> Self {
        let event = &ready.item.event;
        let trace_id = event.trace.as_ref().map(|trace| trace.trace_id());
        Self { audience: event.audience.in_short(), event: event.name.clone(), trace_id }
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
            trace_id = self.trace_id.as_deref(),
            "event published"
        );
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
