//! What goes out over channels: `POST /publish` on the channel that every instance listens to, and changes of topics
//! on theirs.
//!
//! Each sender learns whether Redis took its messages, surely did not, or may have. This file must not know what a
//! message means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::control::{TakeBackBus, TakeBackRecord, TopicBusError};
use crate::future::BoxFuture;
use crate::health::Reporter;
use crate::publish::{Relay, Relayed, RelayedEnvelope, Relaying};
use crate::redis::Timing;
use crate::redis::channels::subscriptions::assignments_channel;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Undone, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::Purpose;
use crate::shutdown::Drain;

const PURPOSE: Purpose = Purpose {
    label: "publish",
    connected: "connected to Redis for publishing",
    reconnected: "connected to Redis for publishing again",
    failed: "cannot publish over Redis",
    meanwhile: "nothing can be published",
};

/// Publishes on the channel that every instance listens to. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct RedisPublisher(Outbox<PublishExchange>);

/// Messages of one sender.
struct Messages {
    texts: Vec<Bytes>,
    /// They are commands to all instances, not events.
    are_commands: bool,
}

/// `PUBLISH` and its answers.
struct PublishExchange {
    channel: Box<[u8]>,
    commands: Box<[u8]>,
    /// Whether this process hears what it publishes, now and when the batch was sent.
    listening: Arc<AtomicBool>,
    listened: bool,
}

impl RedisPublisher {
    /// Starts the task that owns the connection; it ends when `drain` starts. `listening` says whether this process
    /// hears what it publishes.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        channel: &str,
        listening: Arc<AtomicBool>,
        health: Reporter,
        drain: &Drain,
    ) -> Self {
        let health = Some(health);
        let config = OutboxConfig { health, ..OutboxConfig::new(endpoint, timing, &PURPOSE) };
        let publishing = PublishExchange {
            channel: channel.as_bytes().into(),
            commands: assignments_channel(channel).into(),
            listening,
            listened: false,
        };
        Self(Outbox::start(config, publishing, drain, Some(drain.clone())))
    }

    /// Tells every instance that listens, this one too, something that is asked of all.
    pub(in crate::redis) async fn tell(&self, command: Vec<u8>) -> Result<(), Undone> {
        self.0.ask(Messages { texts: vec![command.into()], are_commands: true }).await
    }
}

impl TakeBackBus for RedisPublisher {
    fn tell(&self, record: TakeBackRecord) -> BoxFuture<'_, Result<(), TopicBusError>> {
        Box::pin(async move {
            // There is nothing in Redis to be deleted.
            let Some(command) = record.command else { return Ok(()) };
            RedisPublisher::tell(self, command).await.map_err(TopicBusError::from)
        })
    }
}

impl Relay for RedisPublisher {
    /// Dropped half-way, the messages may still be sent. Takes a few times the timeout at the longest.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_> {
        Box::pin(async move {
            let count = messages.len();
            let texts = messages.into_iter().map(|message| message.json).collect();
            self.0.ask(Messages { texts, are_commands: false }).await?;
            Ok(vec![Relayed::default(); count])
        })
    }
}

impl Exchange for PublishExchange {
    type Request = Messages;
    type Answer = ();

    const DOING: &'static str = "publishing";

    fn size(request: &Messages) -> usize {
        const AROUND: usize = 64;
        request.texts.iter().map(|text| text.len() + AROUND).sum()
    }

    fn write(&mut self, commands: &mut Vec<u8>, request: &Messages) {
        let channel = if request.are_commands { &self.commands } else { &self.channel };
        for text in &request.texts {
            write_command(commands, &[b"PUBLISH", channel, text]);
        }
    }

    fn before_send(&mut self) {
        self.listened = self.listening.load(Ordering::Acquire);
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &Messages,
    ) -> Result<Verdict<()>, RedisError> {
        let (mut taken, mut refused) = (0_usize, None);
        for _ in &request.texts {
            match connection.token(limit, Self::DOING).await? {
                // Nobody heard it, and this process would have if it listened.
                RespToken::Integer(0) if !(self.listened && self.listening.load(Ordering::Acquire)) => {
                    refused = Some(RedisError::Unheard);
                }
                RespToken::Integer(_) => taken += 1,
                RespToken::Error(text) => refused = Some(RedisError::refused("to publish", &text, None)),
                _ => return Err(RedisError::Unexpected),
            }
        }
        Ok(match refused {
            None => Verdict::Done(()),
            Some(error) if taken == 0 => Verdict::Refused(error),
            Some(error) => Verdict::Partly(error),
        })
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
