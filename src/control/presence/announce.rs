//! Announces who comes and goes: to its listeners here, and as events on the operator's topics.
//!
//! At least once: what may not have been published is published again, with the same idempotency key. What waits has a
//! bound, so that a Redis that is away for long costs events and no memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tracing::warn;

use crate::control::presence::users::{Presence, PresenceChange};
use crate::control::presence::view::Kind;
use crate::event::{Name, TemplateValue};
use crate::future::BoxFuture;
use crate::shutdown::Drain;
use crate::telemetry::{PRESENCE_DROPPED, PRESENCE_EVENTS};

/// Publishes a body as `POST /publish` does: an array of envelopes.
pub trait EventPublisher: Send + Sync {
    fn publish(&self, body: Bytes) -> Publishing<'_>;
}

/// Events on their way.
pub type Publishing<'a> = BoxFuture<'a, Result<(), PublishError>>;

/// Why events were not published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// They may be later; and they may have been already.
    Now,
    /// They never will be.
    Ever,
}

/// How many events may wait to be published: those of all users of a large instance that dies.
const MAX_WAITING: usize = 200_000;
/// How many are published in one go.
const AT_ONCE: usize = 100;
/// The pause before what was not published is tried again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct PresenceEnvelope<'a> {
    topics: Vec<String>,
    event: &'a str,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct PresenceData<'a> {
    user: &'a str,
    at: String,
}

impl Presence {
    /// Speaks, by tasks of `drain`; what is left when it starts is spoken then.
    pub(in crate::control) fn announce_all(self: &Arc<Self>, voice: Arc<dyn EventPublisher>, drain: &Drain) {
        let (waiting, to_publish) = mpsc::channel(MAX_WAITING);
        drain.spawn_essential("presence notes", Arc::clone(self).note_all(waiting, drain.clone()));
        drain.spawn_essential(
            "presence events",
            Arc::clone(self).publish_all(voice, to_publish, drain.clone()),
        );
    }

    async fn note_all(self: Arc<Self>, waiting: mpsc::Sender<PresenceChange>, drain: Drain) {
        loop {
            let last = tokio::select! {
                biased;
                () = self.to_announce.notified() => false,
                () = drain.started() => true,
            };
            loop {
                let announced = self.announced(AT_ONCE);
                if announced.is_empty() {
                    break;
                }
                for noticed in announced {
                    if let Some(heeds) = self.heeds.get() {
                        heeds.noticed(&noticed);
                    }
                    let published = noticed.kind == Kind::User && !self.settings.topics.is_empty();
                    if published && waiting.try_send(noticed).is_err() {
                        metrics::counter!(PRESENCE_DROPPED).increment(1);
                    }
                }
                tokio::task::yield_now().await;
            }
            if last {
                return;
            }
        }
    }

    /// The event's JSON; None where nobody is to hear of it.
    fn envelope(&self, noticed: &PresenceChange) -> Option<Bytes> {
        let user = noticed.name.as_str();
        let topics = self.settings.topics.iter().filter_map(|template| template.render(|_| Some(user)).ok());
        // A long user may make a name that is none.
        let topics: Vec<String> = topics.filter(|topic| Name::parse(topic).is_ok()).collect();
        if topics.is_empty() {
            return None;
        }
        let (word, event) = match noticed.here {
            true => ("on", &self.settings.online),
            false => ("off", &self.settings.offline),
        };
        let at = humantime::format_rfc3339_millis(noticed.at).to_string();
        let key = format!("presence:{word}:{at}:{user}");
        let envelope = PresenceEnvelope {
            topics,
            event: event.as_str(),
            data: self.data(noticed, event.as_str(), at)?,
            idempotency_key: (key.len() <= Name::MAX).then_some(key),
        };
        serde_json::to_vec(&envelope).ok().map(Bytes::from)
    }

    /// What the event says, as JSON.
    fn data(&self, noticed: &PresenceChange, event: &str, at: String) -> Option<Box<RawValue>> {
        let user = noticed.name.as_str();
        let json = match &self.settings.data {
            None => serde_json::to_string(&PresenceData { user, at }).ok()?,
            Some(data) => data.render(|placeholder| match &*placeholder.name {
                "user" => Some(TemplateValue::Text(user.into())),
                "event" => Some(TemplateValue::Text(event.into())),
                "online" => Some(TemplateValue::Json(noticed.here.to_string().into())),
                _ => TemplateValue::of_time(placeholder, noticed.at),
            }),
        };
        RawValue::from_string(json).ok()
    }

    async fn publish_all(
        self: Arc<Self>,
        voice: Arc<dyn EventPublisher>,
        mut to_publish: mpsc::Receiver<PresenceChange>,
        drain: Drain,
    ) {
        let mut batch: Vec<PresenceChange> = Vec::new();
        // Ends when who notes has ended, and everything is published.
        while to_publish.recv_many(&mut batch, AT_ONCE).await > 0 {
            let envelopes: Vec<Bytes> =
                batch.drain(..).filter_map(|noticed| self.envelope(&noticed)).collect();
            let count = envelopes.len() as u64;
            if count == 0 {
                continue;
            }
            let body: Bytes = [b"[".as_slice(), &envelopes.join(&b","[..]), b"]"].concat().into();
            let mut failed = false;
            loop {
                match voice.publish(body.clone()).await {
                    Ok(()) => {
                        metrics::counter!(PRESENCE_EVENTS).increment(count);
                        break;
                    }
                    Err(PublishError::Now) if !drain.has_started() => {
                        if !std::mem::replace(&mut failed, true) {
                            warn!("who comes and goes cannot be published now; it is tried again");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(_) => {
                        metrics::counter!(PRESENCE_DROPPED).increment(count);
                        warn!(events = count, "who came and went could not be published");
                        break;
                    }
                }
            }
        }
    }
}
