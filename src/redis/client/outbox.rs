//! Requests to Redis that others wait for: a bounded queue, one connection, and for each request its answer or what is
//! known of it without one.
//!
//! What waits is written in one go. The connection is made when it is needed, and kept. A deadline bounds each batch. A
//! request that was surely not done ([`Undone::Unreachable`], [`Undone::Refused`]) is told apart from one whose answer
//! was lost ([`Undone::Unknown`]). What is asked and what the answers mean is an [`Exchange`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::publish::RelayError;
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::{Purpose, Status};
use crate::shutdown::Drain;

/// Nothing more is added to a write that has so many bytes, or requests.
const MAX_WRITE: usize = 1 << 20;
const MAX_BATCH: usize = 256;
/// Longest text of an answer that is kept.
const MAX_ANSWER: usize = 4096;

/// One kind of request, as commands and answers.
pub(in crate::redis) trait Exchange: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// What it is doing, in errors.
    const DOING: &'static str;
    /// How often [`Exchange::upkeep`] is called, if ever.
    const UPKEEP: Option<Duration> = None;

    /// About how many bytes the commands of `request` take.
    fn size(request: &Self::Request) -> usize;

    /// Appends the commands of `request`.
    fn write(&mut self, commands: &mut Vec<u8>, request: &Self::Request);

    /// A batch is about to be sent.
    fn before_send(&mut self) {}

    /// Reads all answers to `request`.
    fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &Self::Request,
    ) -> impl Future<Output = Result<Verdict<Self::Answer>, RedisError>> + Send;

    /// When a request that may not have been done is sent again.
    fn repeat(_request: &Self::Request) -> Repeat {
        Repeat::Never
    }

    /// Does what is due now and then.
    fn upkeep(
        &mut self,
        _connection: &mut RedisConnection,
        _limit: Duration,
    ) -> impl Future<Output = Result<(), RedisError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// What the answers to a request say.
pub(in crate::redis) enum Verdict<T> {
    Done(T),
    /// Nothing of it was done.
    Refused(RedisError),
    /// Some of it was refused, and some done.
    Partly(RedisError),
}

/// When a request is sent again of which is not known whether it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Repeat {
    Never,
    /// Once, if the connection was an old one, which may have died in silence. For what may be done twice.
    OnFreshConnection,
    /// Until then, with pauses. For what may be done twice.
    Until(Instant),
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Undone {
    /// There is no connection: nothing was sent.
    Unreachable,
    /// Redis refused it, in these words: nothing was done.
    Refused(String),
    /// It was sent, and the answer did not come.
    Unknown,
}

impl From<Undone> for RelayError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Unreachable | Undone::Refused(_) => Self::Down,
            Undone::Unknown => Self::Unknown,
        }
    }
}

/// Sends requests. Cloning shares the connection.
pub(in crate::redis) struct Outbox<E: Exchange>(mpsc::Sender<Pending<E>>);

impl<E: Exchange> Clone for Outbox<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Pending<E: Exchange> {
    request: E::Request,
    answer: oneshot::Sender<Result<E::Answer, Undone>>,
}

/// How an outbox talks to Redis.
pub(in crate::redis) struct OutboxConfig {
    pub(in crate::redis) endpoint: Arc<Endpoint>,
    pub(in crate::redis) timing: Timing,
    pub(in crate::redis) purpose: &'static Purpose,
    /// How long a batch may take.
    pub(in crate::redis) limit: Duration,
    /// How many requests may wait.
    pub(in crate::redis) max_waiting: usize,
}

impl<E: Exchange> Outbox<E> {
    /// Starts the task that owns the connection. It ends when `drain` starts; without one when the last clone is
    /// dropped.
    pub(in crate::redis) fn start(
        config: OutboxConfig,
        exchange: E,
        tasks: &Drain,
        drain: Option<Drain>,
    ) -> Self {
        let (requests, waiting) = mpsc::channel(config.max_waiting);
        let OutboxConfig { endpoint, timing, purpose, limit, .. } = config;
        let status = Status::new(Arc::clone(&endpoint), purpose, timing.max_backoff);
        let owner = Owner { exchange, endpoint, timing, limit, status, connection: None };
        tasks.spawn_essential(purpose.label, owner.run(waiting, drain));
        Self(requests)
    }

    /// Sends `request`, waiting for a place in the queue. Dropped half-way, it may still be done.
    pub(in crate::redis) async fn ask(&self, request: E::Request) -> Result<E::Answer, Undone> {
        let (answer, answered) = oneshot::channel();
        // The task has ended, or ends before it gets to this request: a request that it has begun is answered.
        self.0.send(Pending { request, answer }).await.map_err(|_| Undone::Unreachable)?;
        answered.await.unwrap_or(Err(Undone::Unreachable))
    }

    /// Sends `request` if the queue has a place.
    pub(in crate::redis) async fn try_ask(&self, request: E::Request) -> Result<E::Answer, Undone> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Pending { request, answer }).map_err(|_| Undone::Unreachable)?;
        answered.await.unwrap_or(Err(Undone::Unreachable))
    }
}

impl<E: Exchange> Pending<E> {
    /// Whoever asked may have gone.
    fn answer(self, answer: Result<E::Answer, Undone>) {
        let _ = self.answer.send(answer);
    }
}

/// The owner of the connection.
struct Owner<E> {
    exchange: E,
    endpoint: Arc<Endpoint>,
    timing: Timing,
    limit: Duration,
    status: Status,
    connection: Option<RedisConnection>,
}

/// What happened on a connection on which nothing was asked.
enum Quiet {
    Lost,
    /// Nothing, for a whole interval.
    Silent,
}

impl<E: Exchange> Owner<E> {
    async fn run(mut self, mut waiting: mpsc::Receiver<Pending<E>>, drain: Option<Drain>) {
        let mut upkeep = interval(E::UPKEEP.unwrap_or(Duration::from_secs(3600)));
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopped = async {
                match &drain {
                    Some(drain) => drain.started().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped => return,
                // Before the requests: one that meets a connection known to be dead would not know what became of it.
                quiet = quiet(&mut self.connection, self.timing.ping_interval) => match quiet {
                    Quiet::Lost => self.drop_connection(),
                    Quiet::Silent => self.ping().await,
                },
                _ = upkeep.tick(), if E::UPKEEP.is_some() => self.upkeep().await,
                first = waiting.recv() => {
                    let Some(first) = first else { return };
                    let batch = gather(first, &mut waiting);
                    self.serve(batch, &mut waiting).await;
                }
            }
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.status.on_idle_lost();
    }

    /// Keeps an idle connection from being forgotten on the way, and finds out whether it is still there.
    async fn ping(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut ping = Vec::new();
        write_command(&mut ping, &[b"PING"]);
        let limit = self.timing.timeout;
        let exchange = async {
            connection.send(&ping).await?;
            match connection.token(limit, "a ping").await? {
                RespToken::Status(_) => Ok(()),
                _ => Err(RedisError::Unexpected),
            }
        };
        if !matches!(timeout(limit, exchange).await, Ok(Ok(()))) {
            self.drop_connection();
        }
    }

    async fn upkeep(&mut self) {
        if self.connect().await.is_err() {
            return;
        }
        let Some(connection) = &mut self.connection else { return };
        let upkeep = self.exchange.upkeep(connection, self.limit);
        match timeout(self.limit * 3, upkeep).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(redis = %self.endpoint, %error, "what is due now and then was not done");
                // A node that refuses may be no master any more.
                self.drop_connection();
            }
            Err(_) => self.drop_connection(),
        }
    }

    /// Answers every one of `batch`.
    async fn serve(&mut self, mut batch: Vec<Pending<E>>, waiting: &mut mpsc::Receiver<Pending<E>>) {
        let mut moved_before = false;
        while !batch.is_empty() {
            let was_there = self.connection.is_some();
            let mut at_once = was_there;
            if let Err(error) = self.connect().await {
                self.status.on_disconnected(&error, Instant::now());
                batch = keep(batch, false, &Undone::Unreachable);
                if batch.is_empty() {
                    // Those that came meanwhile would wait as long for the same outcome.
                    let others = std::iter::from_fn(|| waiting.try_recv().ok()).collect();
                    batch = keep(others, false, &Undone::Unreachable);
                }
            } else {
                let (left, mut moved) = self.exchange(batch).await;
                batch = keep(left, was_there, &Undone::Unknown);
                if std::mem::replace(&mut moved_before, !moved.is_empty()) {
                    moved = keep(moved, false, &Undone::Unreachable);
                } else {
                    // Whoever has it now is asked.
                    at_once |= !moved.is_empty();
                }
                batch.extend(moved);
            }
            if !batch.is_empty() && !at_once {
                sleep(self.status.pause()).await;
            }
        }
    }

    /// Sends what `batch` asks for and answers it, but for those that are given back: what has no answer because the
    /// connection failed, and what this Redis surely did not do because it is not the one to ask.
    async fn exchange(&mut self, batch: Vec<Pending<E>>) -> (Vec<Pending<E>>, Vec<Pending<E>>) {
        let Some(connection) = &mut self.connection else { return (batch, Vec::new()) };
        let mut commands =
            Vec::with_capacity(batch.iter().map(|pending| E::size(&pending.request)).sum::<usize>());
        for pending in &batch {
            self.exchange.write(&mut commands, &pending.request);
        }
        let (exchange, limit) = (&mut self.exchange, self.limit);
        let (mut left, mut moved, mut refusal) = (batch.into_iter(), Vec::new(), None);
        let work = async {
            exchange.before_send();
            connection.send(&commands).await?;
            // A request leaves the line only when all of its answers are here.
            while let Some(first) = left.as_slice().first() {
                let verdict = exchange.read(connection, limit, &first.request).await?;
                let Some(pending) = left.next() else { break };
                match verdict {
                    Verdict::Done(answer) => pending.answer(Ok(answer)),
                    Verdict::Refused(error) if error.is_elsewhere() => {
                        moved.push(pending);
                        refusal = Some(error);
                    }
                    Verdict::Refused(error) => {
                        pending.answer(Err(Undone::Refused(error.to_string())));
                        refusal = Some(error);
                    }
                    Verdict::Partly(error) => {
                        pending.answer(Err(Undone::Unknown));
                        refusal = Some(error);
                    }
                }
            }
            Ok(())
        };
        match timeout(limit, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.lost(&error),
            Err(_) => {
                let address = self.endpoint.to_string();
                self.lost(&RedisError::Timeout { address, limit, doing: E::DOING });
            }
        }
        if let Some(error) = refusal {
            self.status.on_refused(&error);
        }
        if !moved.is_empty() && self.connection.is_some() {
            self.drop_connection();
        }
        (left.collect(), moved)
    }

    fn lost(&mut self, error: &RedisError) {
        self.connection = None;
        self.status.on_disconnected(error, Instant::now());
    }

    /// Sees that there is a connection.
    async fn connect(&mut self) -> Result<(), RedisError> {
        if self.connection.is_none() {
            self.connection = Some(self.endpoint.open(self.timing.timeout, MAX_ANSWER).await?);
            self.status.on_connected();
        }
        Ok(())
    }
}

/// Those that are sent again; the others are answered with `undone`.
fn keep<E: Exchange>(batch: Vec<Pending<E>>, was_there: bool, undone: &Undone) -> Vec<Pending<E>> {
    let mut kept = Vec::new();
    for pending in batch {
        let again = match E::repeat(&pending.request) {
            Repeat::Never => false,
            Repeat::OnFreshConnection => was_there,
            Repeat::Until(until) => Instant::now() < until,
        };
        if again {
            kept.push(pending);
        } else {
            pending.answer(Err(undone.clone()));
        }
    }
    kept
}

/// Completes when the connection says something, ends, or has been silent for `interval`; never without one. Cancel
/// safe.
async fn quiet(connection: &mut Option<RedisConnection>, interval: Duration) -> Quiet {
    match connection {
        None => std::future::pending().await,
        Some(connection) => match timeout(interval, connection.receive()).await {
            // Nobody asked, so whatever it says it is out of step.
            Ok(_) => Quiet::Lost,
            Err(_) => Quiet::Silent,
        },
    }
}

/// `first` and what waits behind it, up to the size of one write.
fn gather<E: Exchange>(first: Pending<E>, waiting: &mut mpsc::Receiver<Pending<E>>) -> Vec<Pending<E>> {
    let mut size = E::size(&first.request);
    let mut batch = vec![first];
    while size < MAX_WRITE
        && batch.len() < MAX_BATCH
        && let Ok(pending) = waiting.try_recv()
    {
        size += E::size(&pending.request);
        batch.push(pending);
    }
    batch
}
