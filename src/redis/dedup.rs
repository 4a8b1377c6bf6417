//! What happens once on all instances: `SET <prefix>:ticket:<id> … NX`, which only the first one can.
//!
//! When Redis cannot tell, nobody is first.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::FirstUse;
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::Purpose;
use crate::shutdown::Drain;

const PURPOSE: Purpose = Purpose {
    label: "once",
    connected: "connected to Redis for tickets",
    reconnected: "connected to Redis for tickets again",
    failed: "Redis cannot tell which tickets have been used",
    meanwhile: "no ticket can be redeemed",
};
/// How many may wait.
const MAX_WAITING: usize = 1024;

/// Asks Redis whether an id is used for the first time. Cloning shares.
#[derive(Clone)]
pub struct RedisFirstUse(Outbox<SetIfAbsent>);

struct Use {
    id: String,
    keep: Duration,
}

/// `SET … NX` and its answer.
struct SetIfAbsent {
    prefix: String,
}

impl RedisFirstUse {
    /// Starts the task that owns the connection; it ends when `drain` starts.
    pub(super) fn start(endpoint: Arc<Endpoint>, timing: Timing, prefix: String, drain: &Drain) -> Self {
        let max_waiting = MAX_WAITING;
        let config = OutboxConfig { max_waiting, ..OutboxConfig::new(endpoint, timing, &PURPOSE) };
        Self(Outbox::start(config, SetIfAbsent { prefix }, drain, Some(drain.clone())))
    }
}

impl FirstUse for RedisFirstUse {
    fn first(&self, id: String, keep: Duration) -> BoxFuture<'_, Option<bool>> {
        // More than can wait will not be answered in time either.
        Box::pin(async move { self.0.try_ask(Use { id, keep }).await.ok() })
    }
}

impl Exchange for SetIfAbsent {
    type Request = Use;
    /// Whether it was the first.
    type Answer = bool;

    const DOING: &'static str = "redeeming tickets";

    fn size(request: &Use) -> usize {
        const AROUND: usize = 128;
        request.id.len() + AROUND
    }

    fn write(&mut self, commands: &mut Vec<u8>, Use { id, keep }: &Use) {
        let (key, ms) = (format!("{}{id}", self.prefix), keep.as_millis().max(1).to_string());
        write_command(commands, &[b"SET", key.as_bytes(), b"1", b"NX", b"PX", ms.as_bytes()]);
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        _request: &Use,
    ) -> Result<Verdict<bool>, RedisError> {
        Ok(match connection.token(limit, Self::DOING).await? {
            RespToken::Status(_) => Verdict::Done(true),
            RespToken::Nil => Verdict::Done(false),
            RespToken::Error(text) => Verdict::Refused(RedisError::refused("to note a ticket", &text, None)),
            _ => return Err(RedisError::Unexpected),
        })
    }
}
