//! Where rooms of one rank meet: each knows a trait of its own, and here another room stands behind it.
//!
//! Nothing is decided here; one vocabulary is put for another.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::auth::Publisher;
use crate::control;
use crate::control::{Control, PublishError, TopicAssignments, TopicBus, TopicBusError};
use crate::future::BoxFuture;
use crate::log::{EditOutcome, RecordKind};
use crate::publish;
use crate::publish::RelayError;
use crate::redis;
use crate::redis::RedisCommands;
use crate::server;
use crate::webhooks::{Notice, Webhooks};

/// Brings what other instances tell to the control room.
pub(super) struct Ear(pub(super) Arc<Control>);

impl redis::Hear for Ear {
    fn hear<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(self.0.hear(message))
    }
}

/// Brings what is asked over Redis to whoever answers on the internal listener.
pub(super) struct Clerk(pub(super) Arc<server::Internal>);

impl redis::Answering for Clerk {
    fn answer(&self, request: Request<Bytes>) -> redis::Serving<'_> {
        Box::pin(async move {
            let (head, body) = self.0.answer_trusted(request).await.into_parts();
            let Ok(body) = body.collect().await;
            Response::from_parts(head, body.to_bytes())
        })
    }
}

/// Brings what the control room tells to the other instances.
pub(super) struct Telephone(pub(super) redis::Link);

impl control::Bus for Telephone {
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> control::Sending<'_> {
        Box::pin(async move { self.0.tell(message, kept).await.map_err(|_| control::BusError) })
    }
}

/// Brings what is so on all instances together to the webhooks.
pub(super) struct Bell(pub(super) Arc<Webhooks>);

impl control::PresenceListener for Bell {
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

/// Publishes what the control room has to say.
pub(super) struct Voice {
    pub(super) publish: publish::PublishService,
    pub(super) publisher: Publisher,
}

impl control::EventPublisher for Voice {
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

/// Brings changes of topics that came over Redis to the control room.
pub(super) struct Understood(pub(super) Arc<TopicAssignments>);

impl redis::Changes for Understood {
    fn hear(&self, text: &[u8]) -> bool {
        self.0.heard(text).is_ok()
    }

    fn read(&self, text: &[u8]) -> Option<RecordKind> {
        self.0.read(text).ok()
    }

    fn made(&self, made: Vec<EditOutcome>) {
        self.0.made(made);
    }
}

/// Tells changes of topics by the way that the events take: so they come in one order everywhere.
pub(super) struct OverRedis(pub(super) RedisCommands);

impl TopicBus for OverRedis {
    fn tell(&self, command: Vec<u8>) -> BoxFuture<'_, Result<(), TopicBusError>> {
        Box::pin(async move {
            self.0.tell(command).await.map_err(|why| match why {
                RelayError::Down => TopicBusError::Nothing,
                RelayError::Unknown => TopicBusError::Perhaps,
            })
        })
    }
}
