//! How an [`Outbox`](crate::redis::client::outbox::Outbox) talks to Redis: where, in which time, and how much of it.

use std::sync::Arc;
use std::time::Duration;

use crate::health::Reporter;
use crate::redis::Timing;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::supervise::Purpose;

/// How an outbox talks to Redis.
pub(in crate::redis) struct OutboxConfig {
    pub(in crate::redis) endpoint: Arc<Endpoint>,
    pub(in crate::redis) timing: Timing,
    pub(in crate::redis) purpose: &'static Purpose,
    /// How long a batch may take.
    pub(in crate::redis) limit: Duration,
    /// How many requests may wait.
    pub(in crate::redis) max_waiting: usize,
    /// Longest text of an answer that is kept.
    pub(in crate::redis) max_answer: usize,
    /// Where its state is reported. With one, the connection is made without being asked for.
    pub(in crate::redis) health: Option<Reporter>,
}

/// How many requests may wait unless it is said.
const MAX_WAITING: usize = 256;
/// Longest text of an answer that is kept unless it is said.
const MAX_ANSWER: usize = 4096;

impl OutboxConfig {
    /// Without a health of its own; a batch may take as long as any answer.
    pub(in crate::redis) fn new(endpoint: Arc<Endpoint>, timing: Timing, purpose: &'static Purpose) -> Self {
        let limit = timing.timeout;
        Self {
            endpoint,
            timing,
            purpose,
            limit,
            max_waiting: MAX_WAITING,
            max_answer: MAX_ANSWER,
            health: None,
        }
    }
}
