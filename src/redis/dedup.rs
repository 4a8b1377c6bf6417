//! What happens once on all instances: `SET <prefix>:ticket:<id> … NX`, which only the first one can.
//!
//! One connection, made when it is needed and kept. Whatever waits is written in one go. When Redis cannot tell, nobody
//! is first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::auth::FirstUse;
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::{Reply, write_command};
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES};

/// What this connection is for, in metrics.
const PURPOSE: &str = "once";
/// How many may wait.
const MAX_WAITING: usize = 1024;
/// How many are asked at once.
const MAX_BATCH: usize = 256;
/// Longest text of an answer that is kept.
const MAX_ANSWER: usize = 4096;

/// Asks Redis whether something happens for the first time. Cloning shares.
#[derive(Clone)]
pub struct RedisOnce {
    requests: mpsc::Sender<Request>,
}

struct Request {
    id: String,
    keep: Duration,
    /// None = it cannot be told.
    answer: oneshot::Sender<Option<bool>>,
}

impl RedisOnce {
    /// Starts the task that owns the connection; it ends when `drain` starts.
    pub(super) fn start(server: Arc<Server>, timing: Timing, prefix: String, drain: &Drain) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let keeper = Keeper { server, timing, prefix, connection: None, told: Told::default() };
        drain.spawn_essential("redis first use", keeper.run(waiting, drain.clone()));
        Self { requests }
    }
}

impl FirstUse for RedisOnce {
    fn first(&self, id: String, keep: Duration) -> BoxFuture<'_, Option<bool>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            // More than can wait will not be told in time either.
            self.requests.try_send(Request { id, keep, answer }).ok()?;
            answered.await.ok().flatten()
        })
    }
}

/// The owner of the connection.
struct Keeper {
    server: Arc<Server>,
    timing: Timing,
    prefix: String,
    connection: Option<Connection>,
    told: Told,
}

impl Keeper {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                // Before the requests: one that meets a connection known to be dead would not know what became of it.
                () = lost(&mut self.connection) => self.connection = None,
                request = waiting.recv() => {
                    let Some(first) = request else { return };
                    let mut requests = vec![first];
                    while requests.len() < MAX_BATCH && let Ok(next) = waiting.try_recv() {
                        requests.push(next);
                    }
                    self.serve(requests).await;
                }
            }
        }
    }

    /// Answers every one of `requests`.
    async fn serve(&mut self, requests: Vec<Request>) {
        let mut commands = Vec::new();
        for Request { id, keep, .. } in &requests {
            let (key, millis) = (format!("{}{id}", self.prefix), keep.as_millis().max(1).to_string());
            write_command(&mut commands, &[b"SET", key.as_bytes(), b"1", b"NX", b"PX", millis.as_bytes()]);
        }
        let mut requests = requests.into_iter();
        let limit = self.timing.timeout;
        let failure = match timeout(limit, self.exchange(&commands, &mut requests)).await {
            Ok(Ok(refusal)) => refusal,
            Ok(Err(failure)) => {
                self.connection = None;
                Some(failure)
            }
            Err(_) => {
                self.connection = None;
                let address = self.server.to_string();
                Some(Failure::Timeout { address, limit, doing: "redeeming tickets" })
            }
        };
        // Those that are left over are told by the end of their channel.
        drop(requests);
        if let Some(failure) = failure {
            let reason = failure.word();
            metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
            if self.told.say(reason) {
                warn!(redis = %self.server, reason, %failure, "Redis cannot tell which tickets have been used");
            }
        }
    }

    /// Gives back a refusal of Redis.
    async fn exchange(
        &mut self,
        commands: &[u8],
        requests: &mut std::vec::IntoIter<Request>,
    ) -> Result<Option<Failure>, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let made = self.server.open(self.timing.timeout, MAX_ANSWER).await?;
                self.told.forget();
                metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
                info!(redis = %self.server, "connected to Redis for tickets");
                none.insert(made)
            }
        };
        connection.send(commands).await?;
        let mut refusal = None;
        while !requests.as_slice().is_empty() {
            let first = match connection.next()? {
                Some(Reply::Status(_)) => Some(true),
                Some(Reply::Nil) => Some(false),
                Some(Reply::Error(text)) => {
                    refusal = Some(Failure::refused("to note a ticket", text, None));
                    None
                }
                Some(_) => return Err(Failure::Unexpected),
                None => {
                    connection.receive().await?;
                    continue;
                }
            };
            if let Some(request) = requests.next() {
                let _ = request.answer.send(first);
            }
        }
        Ok(refusal)
    }
}

/// Completes when a connection on which nothing was asked says something or ends; never without one. Cancel safe.
async fn lost(connection: &mut Option<Connection>) {
    match connection {
        None => std::future::pending().await,
        Some(connection) => {
            let _ = connection.receive().await;
        }
    }
}
