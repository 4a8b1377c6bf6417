//! What goes out: `POST /publish` over the channel that every instance listens to.
//!
//! One connection, made when it is needed and kept. Whatever waits is written in one go, and each sender learns
//! whether Redis took its messages, surely did not, or may have. This file must not know what a message means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::publish::{Relay, RelayError, Relayed, RelayedEnvelope, Relaying};
use crate::redis::Timing;
use crate::redis::channels::mapping::given_channel;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::{Reply, write_command};
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES};

/// What this connection is for, in metrics.
const PURPOSE: &str = "publish";
/// How many senders may wait.
const MAX_WAITING: usize = 256;
/// Nothing more is added to a write that has so many bytes.
const MAX_WRITE: usize = 1 << 20;
/// Longest text of an answer that is kept.
const MAX_ANSWER: usize = 4096;

/// Publishes on the channel that every instance listens to. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct RedisPublisher {
    requests: mpsc::Sender<Request>,
}

struct Request {
    messages: Vec<Bytes>,
    /// They are commands to all instances, not events.
    are_commands: bool,
    answer: oneshot::Sender<Result<(), RelayError>>,
}

impl RedisPublisher {
    /// Starts the task that owns the connection; it ends when `drain` starts. `listening` says whether this process
    /// hears what it publishes.
    pub(in crate::redis) fn start(
        server: Arc<Server>,
        timing: Timing,
        channel: &str,
        listening: Arc<AtomicBool>,
        drain: &Drain,
    ) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let outbox = Outbox {
            server,
            timing,
            channel: channel.as_bytes().into(),
            given: given_channel(channel).into(),
            listening,
            connection: None,
            told: Told::default(),
            connects: metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE),
        };
        drain.spawn_essential("redis publish", outbox.run(waiting, drain.clone()));
        Self { requests }
    }
}

impl Relay for RedisPublisher {
    /// Dropped half-way, the messages may still be sent. Takes a few times the timeout at the longest.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_> {
        Box::pin(async move {
            let count = messages.len();
            self.send(messages.into_iter().map(|message| message.json).collect(), false).await?;
            Ok(vec![Relayed::default(); count])
        })
    }
}

impl RedisPublisher {
    /// Tells every instance that listens, this one too, something that is asked of all.
    pub(in crate::redis) async fn tell(&self, command: Vec<u8>) -> Result<(), RelayError> {
        self.send(vec![command.into()], true).await
    }

    async fn send(&self, messages: Vec<Bytes>, are_commands: bool) -> Result<(), RelayError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { messages, are_commands, answer };
        // The task has ended, or ends before it gets to this request: a request that it has begun is answered.
        self.requests.send(request).await.map_err(|_| RelayError::Down)?;
        answered.await.unwrap_or(Err(RelayError::Down))
    }
}

/// The owner of the publishing connection.
struct Outbox {
    server: Arc<Server>,
    timing: Timing,
    channel: Box<[u8]>,
    given: Box<[u8]>,
    listening: Arc<AtomicBool>,
    connection: Option<Connection>,
    told: Told,
    connects: Counter,
}

/// What happened on a connection on which nothing was asked.
enum Idle {
    Lost,
    /// Nothing, for a whole interval.
    Silent,
}

impl Outbox {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                // Before the requests: one that meets a connection known to be dead would not know what became of it.
                idle = idle(&mut self.connection, self.timing.ping_interval) => match idle {
                    Idle::Lost => self.connection = None,
                    Idle::Silent => self.ping().await,
                },
                request = waiting.recv() => {
                    let Some(first) = request else { return };
                    let requests = gather(first, &mut waiting);
                    self.serve(requests, &mut waiting).await;
                }
            }
        }
    }

    /// Keeps an idle connection from being forgotten on the way.
    async fn ping(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut ping = Vec::new();
        write_command(&mut ping, &[b"PING"]);
        let exchange = async {
            connection.send(&ping).await?;
            loop {
                match connection.next()? {
                    Some(Reply::Status(_)) => return Ok(()),
                    Some(_) => return Err(Failure::Unexpected),
                    None => connection.receive().await?,
                }
            }
        };
        if let Ok(Ok(())) = timeout(self.timing.timeout, exchange).await {
            return;
        }
        debug!(redis = %self.server, "the idle connection for publishing is gone");
        self.connection = None;
    }

    /// Answers every one of `requests`.
    async fn serve(&mut self, requests: Vec<Request>, waiting: &mut mpsc::Receiver<Request>) {
        if let Err(failure) = self.connect().await {
            self.note(&failure);
            // Those who came meanwhile would wait as long for the same outcome.
            for request in requests.into_iter().chain(std::iter::from_fn(|| waiting.try_recv().ok())) {
                let _ = request.answer.send(Err(RelayError::Down));
            }
            return;
        }
        let Some(connection) = &mut self.connection else { return };
        let mut commands = Vec::with_capacity(requests.iter().map(Request::size).sum());
        for request in &requests {
            let channel = if request.are_commands { &self.given } else { &self.channel };
            for message in &request.messages {
                write_command(&mut commands, &[b"PUBLISH", channel, message]);
            }
        }
        let mut requests = requests.into_iter();
        let exchange = exchange(connection, &commands, &mut requests, &self.listening);
        let refusal = match timeout(self.timing.timeout, exchange).await {
            Ok(Ok(refusal)) => refusal,
            Ok(Err(failure)) => {
                self.connection = None;
                Some(failure)
            }
            Err(_) => {
                self.connection = None;
                let address = self.server.to_string();
                Some(Failure::Timeout { address, limit: self.timing.timeout, doing: "publishing" })
            }
        };
        for request in requests {
            let _ = request.answer.send(Err(RelayError::Unknown));
        }
        if let Some(failure) = refusal {
            self.note(&failure);
        }
    }

    /// Sees that there is a connection.
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            let connection = self.server.open(self.timing.timeout, MAX_ANSWER).await?;
            self.connection = Some(connection);
            self.told.forget();
            self.connects.increment(1);
            info!(redis = %self.server, "connected to Redis for publishing");
        }
        Ok(())
    }

    fn note(&mut self, failure: &Failure) {
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        if self.told.say(reason) {
            warn!(redis = %self.server, reason, %failure, "cannot publish over Redis");
        }
    }
}

impl Request {
    fn size(&self) -> usize {
        const AROUND: usize = 64;
        self.messages.iter().map(|message| message.len() + AROUND).sum()
    }
}

/// Completes when the connection says something, ends, or has been silent for `interval`; never without one.
/// Cancel safe.
async fn idle(connection: &mut Option<Connection>, interval: Duration) -> Idle {
    match connection {
        None => std::future::pending().await,
        Some(connection) => match timeout(interval, connection.receive()).await {
            // Nobody asked, so whatever it says it is out of step.
            Ok(_) => Idle::Lost,
            Err(_) => Idle::Silent,
        },
    }
}

/// `first` and what waits behind it, up to the size of one write.
fn gather(first: Request, waiting: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut size = first.size();
    let mut requests = vec![first];
    while size < MAX_WRITE
        && let Ok(request) = waiting.try_recv()
    {
        size += request.size();
        requests.push(request);
    }
    requests
}

/// Sends `commands` and answers the requests that they are of, in order; those that are left over when it fails are
/// still in `requests`. Gives back a refusal of Redis.
async fn exchange(
    connection: &mut Connection,
    commands: &[u8],
    requests: &mut std::vec::IntoIter<Request>,
    listening: &AtomicBool,
) -> Result<Option<Failure>, Failure> {
    let mut refusal = None;
    let listened = listening.load(Ordering::Acquire);
    connection.send(commands).await?;
    // A request leaves the line only when all of its answers are here.
    while let Some(request) = requests.as_slice().first() {
        let (mut taken, mut not_taken) = (0, 0);
        while taken + not_taken < request.messages.len() {
            match connection.next()? {
                // Nobody heard it, and this process would have if it listened.
                Some(Reply::Integer(0)) if !(listened && listening.load(Ordering::Acquire)) => not_taken += 1,
                Some(Reply::Integer(_)) => taken += 1,
                Some(Reply::Error(text)) => {
                    not_taken += 1;
                    refusal = Some(Failure::refused("to publish", text, None));
                }
                Some(_) => return Err(Failure::Unexpected),
                None => connection.receive().await?,
            }
        }
        let answer = match (taken, not_taken) {
            (_, 0) => Ok(()),
            (0, _) => Err(RelayError::Down),
            _ => Err(RelayError::Unknown),
        };
        if let Some(request) = requests.next() {
            let _ = request.answer.send(answer);
        }
    }
    Ok(refusal)
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
