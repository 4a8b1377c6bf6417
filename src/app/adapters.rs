//! Where rooms of one rank meet: each knows a trait of its own, and here another room stands behind it.
//!
//! Nothing is decided here; one vocabulary is put for another.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::auth::Publisher;
use crate::control;
use crate::control::PublishError;
use crate::publish;
use crate::redis;
use crate::server;
use crate::server::Current;
use crate::webhooks::{Notice, Webhooks};

/// Answers requests that come over Redis as the internal listener does.
pub(super) struct InternalRequests(pub(super) Arc<Current<server::Internal>>);

impl redis::RequestHandler for InternalRequests {
    fn handle(&self, request: Request<Bytes>) -> redis::Handling<'_> {
        Box::pin(async move {
            let (head, body) = self.0.get().answer_trusted(request).await.into_parts();
            let Ok(body) = body.collect().await;
            Response::from_parts(head, body.to_bytes())
        })
    }
}

/// Brings what is so on all instances together to the webhooks.
pub(super) struct WebhookNotifier(pub(super) Arc<Webhooks>);

impl control::PresenceListener for WebhookNotifier {
    fn noticed(&self, noticed: &control::PresenceChange) {
        let notice = match (noticed.kind, noticed.here) {
            (control::Kind::User, true) => Notice::UserOnline(&noticed.name),
            (control::Kind::User, false) => Notice::UserOffline(&noticed.name),
            (control::Kind::Topic, true) => Notice::TopicOccupied(&noticed.name),
            (control::Kind::Topic, false) => Notice::TopicEmpty(&noticed.name),
        };
        self.0.note(&notice, noticed.at);
    }
}

/// Publishes the control room's own events.
pub(super) struct PresencePublisher {
    pub(super) publish: publish::PublishService,
    pub(super) publisher: Publisher,
}

impl control::EventPublisher for PresencePublisher {
    fn publish(&self, body: Bytes) -> control::Publishing<'_> {
        Box::pin(async move {
            match self.publish.publish(&body, publish::PublishOptions::default(), &self.publisher).await {
                Ok(_) => Ok(()),
                Err(publish::BadPublish::Relay(_)) => Err(PublishError::Now),
                Err(_) => Err(PublishError::Ever),
            }
        })
    }
}
