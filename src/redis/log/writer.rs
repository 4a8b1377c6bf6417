//! What goes out with the log in a Redis stream: `POST /publish` as `XADD`, answered when Redis has it.
//!
//! Several events of one publish go as one transaction. Idempotency keys are checked and kept by Redis itself, in the
//! same step as the append. An ephemeral event goes out over the channel instead. Each sender learns whether Redis took
//! its events, surely did not, or may have. Now and then the stream is trimmed, no matter who appends to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;

use crate::control::{TakeBackBus, TakeBackRecord, TopicBusError};
use crate::event::EventId;
use crate::future::BoxFuture;
use crate::health::Reporter;
use crate::publish::{Heading, Relay, RelayError, Relayed, RelayedEnvelope, Relaying};
use crate::redis::Timing;
use crate::redis::channels::ingest::is_without_shards;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Repeat, Undone, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::supervise::Purpose;
use crate::redis::log::append::{AppendCommands, AppendReply, read_one, read_transaction};
use crate::redis::log::entry::{EVENT, TOPICS};
use crate::redis::log::stream_info::ask_info;
use crate::shutdown::Drain;
use crate::telemetry::REDIS_STREAM_APPENDED;

const PURPOSE: Purpose = Purpose {
    label: "append",
    connected: "connected to Redis for appending",
    reconnected: "connected to Redis for appending again",
    failed: "cannot append to the stream in Redis",
    meanwhile: "nothing can be published",
};
/// How often the stream is held to its bounds, no matter who appends to it.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Appends to the stream that is the log. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct StreamWriter(Outbox<Appending>);

/// What is asked of the stream.
enum StreamRequest {
    Append {
        messages: Vec<RelayedEnvelope>,
        /// What they are: the field of an entry.
        field: &'static [u8],
    },
    TakeBack(TakeBackRecord),
    /// Where it ends.
    End,
}

enum StreamAnswer {
    Appended(Vec<Relayed>),
    /// The last id that the stream gave away; None where there is no stream yet.
    End(Option<EventId>),
}

/// Commands on the stream, and what the answers to them say.
struct Appending {
    commands: AppendCommands,
    appended: Counter,
}

impl StreamWriter {
    /// Starts the task that owns the connection; it ends when `drain` starts. An append may take `limit`.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        limit: Duration,
        commands: AppendCommands,
        health: Reporter,
        drain: &Drain,
    ) -> Self {
        let health = Some(health);
        let config = OutboxConfig { limit, health, ..OutboxConfig::new(endpoint, timing, &PURPOSE) };
        let appending = Appending { commands, appended: metrics::counter!(REDIS_STREAM_APPENDED) };
        Self(Outbox::start(config, appending, drain, Some(drain.clone())))
    }

    /// Appends what is asked of all instances: they do it where it stands among the events.
    pub(in crate::redis) async fn tell(&self, command: Bytes) -> Result<(), Undone> {
        let message = RelayedEnvelope { json: command, idempotency_key: None, ephemeral: false };
        self.0.ask(StreamRequest::Append { messages: vec![message], field: TOPICS }).await.map(drop)
    }
}

impl TakeBackBus for StreamWriter {
    fn tell(&self, record: TakeBackRecord) -> BoxFuture<'_, Result<(), TopicBusError>> {
        Box::pin(async move {
            self.0.ask(StreamRequest::TakeBack(record)).await.map(drop).map_err(TopicBusError::from)
        })
    }
}

impl Relay for StreamWriter {
    /// Dropped half-way, the events may still be appended. Takes a few times the timeout at the longest.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_> {
        Box::pin(async move {
            match self.0.ask(StreamRequest::Append { messages, field: EVENT }).await? {
                StreamAnswer::Appended(relayed) => Ok(relayed),
                StreamAnswer::End(_) => Err(RelayError::Unknown),
            }
        })
    }

    fn head(&self) -> Heading<'_> {
        Box::pin(async move {
            match self.0.ask(StreamRequest::End).await {
                Ok(StreamAnswer::End(id)) => Ok(id),
                // Nothing was published, whatever became of the question.
                Ok(StreamAnswer::Appended(_)) | Err(_) => Err(RelayError::Down),
            }
        })
    }
}

impl Exchange for Appending {
    type Request = StreamRequest;
    type Answer = StreamAnswer;

    const DOING: &'static str = "appending to the stream";
    const UPKEEP: Option<Duration> = Some(TRIM_EVERY);

    fn size(request: &StreamRequest) -> usize {
        const AROUND: usize = 600;
        match request {
            StreamRequest::Append { messages, .. } => {
                messages.iter().map(|message| message.json.len() + AROUND).sum()
            }
            StreamRequest::TakeBack(TakeBackRecord { command, notice, ids }) => {
                AROUND + command.as_ref().map_or(0, Vec::len) + notice.len() + ids.len() * 48
            }
            StreamRequest::End => AROUND,
        }
    }

    fn write(&mut self, commands: &mut Vec<u8>, request: &StreamRequest) {
        match request {
            StreamRequest::Append { messages, field } => self.commands.write(commands, field, messages),
            StreamRequest::TakeBack(record) => self.commands.write_take_back(commands, record),
            StreamRequest::End => ask_info(commands, &self.commands.key),
        }
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &StreamRequest,
    ) -> Result<Verdict<StreamAnswer>, RedisError> {
        let replies = match request {
            StreamRequest::End => {
                return match connection.info(limit).await {
                    Ok(info) => Ok(Verdict::Done(StreamAnswer::End(info.map(|info| info.last)))),
                    Err(error @ RedisError::Refused { .. }) => Ok(Verdict::Refused(error)),
                    Err(error) => Err(error),
                };
            }
            StreamRequest::Append { messages, .. } if messages.len() != 1 => {
                read_transaction(connection, messages.len(), limit).await?
            }
            StreamRequest::Append { .. } | StreamRequest::TakeBack(_) => {
                vec![read_one(connection, limit).await?]
            }
        };
        let (mut taken, mut refused) = (Vec::with_capacity(replies.len()), None);
        for reply in replies {
            match reply {
                AppendReply::Took(relayed) => taken.push(relayed),
                AppendReply::Refused(text) => {
                    if is_without_shards(&text) {
                        self.commands.sharded = None;
                    }
                    refused = Some(RedisError::refused("to append to the stream", &text, None));
                }
            }
        }
        let new = taken.iter().filter(|relayed| relayed.id.is_some() && !relayed.duplicate).count();
        self.appended.increment(new as u64);
        Ok(match refused {
            None => Verdict::Done(StreamAnswer::Appended(taken)),
            Some(error) if taken.is_empty() => Verdict::Refused(error),
            Some(error) => Verdict::Partly(error),
        })
    }

    fn repeat(request: &StreamRequest) -> Repeat {
        match request {
            StreamRequest::Append { .. } | StreamRequest::TakeBack(_) => Repeat::Never,
            StreamRequest::End => Repeat::OnFreshConnection,
        }
    }

    async fn upkeep(&mut self, connection: &mut RedisConnection, limit: Duration) -> Result<(), RedisError> {
        self.commands.trim(connection, limit).await
    }
}
