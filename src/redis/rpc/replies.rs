//! What leaves answers in the lists that wait for them.
//!
//! An answer is tried again until its time is over: it is there twice at the worst, never half. A key that is something
//! else than a list stays as it is. This file must not know what is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Repeat, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::Purpose;
use crate::shutdown::Drain;
use crate::telemetry::REDIS_REQUESTS;

const PURPOSE: Purpose = Purpose {
    label: "answers",
    connected: "connected to Redis for answers to requests",
    reconnected: "connected to Redis for answers to requests again",
    failed: "cannot leave answers in Redis",
    meanwhile: "requests over Redis are not answered",
};
/// How long it is tried to leave an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// As one step: an error at the first command leaves a foreign key without an end. Of a list that nobody reads the
/// newest are kept, for a minute.
const LEAVE: &[u8] = b"redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('LTRIM', KEYS[1], -1000, -1) \
                       return redis.call('PEXPIRE', KEYS[1], 60000)";

/// Leaves answers. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct RpcReplies(Outbox<Leaving>);

/// An answer that is to be left.
struct RpcReply {
    list: String,
    text: Vec<u8>,
    until: Instant,
}

/// The script that leaves an answer, and what it says.
struct Leaving;

impl RpcReplies {
    /// Starts the task that owns the connection, among `tasks`. It ends when the last clone is dropped.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        max_waiting: usize,
        tasks: &Drain,
    ) -> Self {
        let config = OutboxConfig { max_waiting, ..OutboxConfig::new(endpoint, timing, &PURPOSE) };
        Self(Outbox::start(config, Leaving, tasks, None))
    }

    /// Leaves `text` in `list`, or gives it up.
    pub(in crate::redis) async fn reply(&self, list: String, text: Vec<u8>) {
        let until = Instant::now() + PATIENCE;
        if self.0.ask(RpcReply { list, text, until }).await.is_err() {
            metrics::counter!(REDIS_REQUESTS, "outcome" => "unanswered").increment(1);
        }
    }
}

impl Exchange for Leaving {
    type Request = RpcReply;
    type Answer = ();

    const DOING: &'static str = "leaving an answer";

    fn size(request: &RpcReply) -> usize {
        request.list.len() + request.text.len() + LEAVE.len()
    }

    fn write(&mut self, commands: &mut Vec<u8>, request: &RpcReply) {
        write_command(commands, &[b"EVAL", LEAVE, b"1", request.list.as_bytes(), &request.text]);
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        _request: &RpcReply,
    ) -> Result<Verdict<()>, RedisError> {
        Ok(match connection.token(limit, Self::DOING).await? {
            RespToken::Integer(_) => Verdict::Done(()),
            RespToken::Error(text) => Verdict::Refused(RedisError::refused("an answer", &text, None)),
            _ => return Err(RedisError::Unexpected),
        })
    }

    fn repeat(request: &RpcReply) -> Repeat {
        Repeat::Until(request.until)
    }
}
