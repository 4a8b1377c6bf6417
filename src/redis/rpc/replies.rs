//! The connection that leaves answers in the lists that wait for them.
//!
//! An answer is tried again until its time is over: it is there twice at the worst, never half. A key that is something
//! else than a list stays as it is. This file must not know what is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::redis::Timing;
use crate::redis::client::FIRST_PAUSE;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::{Reply, write_command};
use crate::retry::Backoff;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, REDIS_REQUESTS};

/// What this connection is for, in metrics.
const PURPOSE: &str = "answers";
/// How long it is tried to leave an answer.
pub(in crate::redis) const PATIENCE: Duration = Duration::from_secs(10);
/// Longest text of Redis that is kept.
const MAX_ANSWER: usize = 4096;
/// As one step: an error at the first command leaves a foreign key without an end. Of a list that nobody reads the newest
/// are kept, for a minute.
const LEAVE: &[u8] = b"redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('LTRIM', KEYS[1], -1000, -1) \
                       return redis.call('PEXPIRE', KEYS[1], 60000)";

/// An answer that is to be left.
pub(in crate::redis) struct Answer {
    pub(in crate::redis) list: String,
    pub(in crate::redis) text: Vec<u8>,
    pub(in crate::redis) until: Instant,
    /// Given back when it is left or given up.
    pub(in crate::redis) _place: OwnedSemaphorePermit,
}

/// The owner of the connection.
pub(in crate::redis) struct Answers {
    server: Arc<Server>,
    timing: Timing,
    connection: Option<Connection>,
    told: Told,
    /// Of single answers: never forgotten, so that nobody can fill the log.
    scolded: Told,
}

impl Answers {
    pub(in crate::redis) fn new(server: Arc<Server>, timing: Timing) -> Self {
        Self { server, timing, connection: None, told: Told::default(), scolded: Told::default() }
    }

    /// Leaves what comes, until nobody can send any more.
    pub(in crate::redis) async fn run(mut self, mut waiting: mpsc::Receiver<Answer>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.timing.max_backoff);
        while let Some(answer) = waiting.recv().await {
            while let Err(failure) = self.leave(&answer).await {
                let reason = failure.word();
                metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
                if matches!(&failure, Failure::Refused { text, .. } if !is_elsewhere(text)) {
                    metrics::counter!(REDIS_REQUESTS, "outcome" => "unanswered").increment(1);
                    if self.scolded.say(reason) {
                        warn!(redis = %self.server, reason, %failure, "Redis takes no answer to a request");
                    }
                    break;
                }
                // A kept connection may have died in silence; a fresh one is tried at once.
                let fresh = self.connection.take().is_none();
                if self.told.say(reason) {
                    warn!(redis = %self.server, reason, %failure, "cannot leave answers in Redis");
                }
                if Instant::now() >= answer.until {
                    metrics::counter!(REDIS_REQUESTS, "outcome" => "unanswered").increment(1);
                    break;
                }
                if fresh {
                    sleep(backoff.pause()).await;
                }
            }
            if self.connection.is_some() {
                backoff.reset();
                self.told.forget();
            }
        }
    }

    async fn leave(&mut self, answer: &Answer) -> Result<(), Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let made = self.server.open(self.timing.timeout, MAX_ANSWER).await?;
                metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
                none.insert(made)
            }
        };
        let mut command = Vec::new();
        write_command(&mut command, &[b"EVAL", LEAVE, b"1", answer.list.as_bytes(), &answer.text]);
        let secret = self.server.secret();
        let exchange = async {
            connection.send(&command).await?;
            loop {
                match connection.next()? {
                    Some(Reply::Integer(_)) => return Ok(()),
                    Some(Reply::Error(text)) => return Err(Failure::refused("an answer", text, secret)),
                    Some(_) => return Err(Failure::Unexpected),
                    None => connection.receive().await?,
                }
            }
        };
        let limit = self.timing.timeout;
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            let address = self.server.to_string();
            Err(Failure::Timeout { address, limit, doing: "leaving an answer" })
        })
    }
}

/// Whether the refusal says that another Redis has the list, or that this one cannot take it yet.
fn is_elsewhere(text: &str) -> bool {
    ["MOVED ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN "]
        .iter()
        .any(|word| text.contains(word))
}
