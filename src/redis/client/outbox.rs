//! Requests to Redis that others wait for: a bounded queue, one connection, and for each request its answer or what is
//! known of it without one.
//!
//! What waits is written in one go. The connection is made when it is needed, and kept. A deadline bounds each batch. A
//! request that was surely not done ([`Undone::Unreachable`], [`Undone::Refused`]) is kept apart from one whose answer
//! was lost ([`Undone::Unknown`]). What is asked and what the answers mean is an [`Exchange`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::warn;

use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Repeat, Undone, Verdict};
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::ConnectionStatus;
use crate::shutdown::Drain;

/// Nothing more is added to a write that has so many bytes, or requests.
const MAX_WRITE: usize = 1 << 20;
const MAX_BATCH: usize = 256;

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
        let OutboxConfig { endpoint, timing, purpose, limit, max_answer, health, .. } = config;
        let mut status = ConnectionStatus::new(Arc::clone(&endpoint), purpose, timing.max_backoff);
        let attempt = health.is_some().then(Instant::now);
        if let Some(health) = health {
            status = status.with_optional_health(health);
        }
        let role = Role::Unknown;
        let owner = OutboxTask {
            exchange,
            endpoint,
            timing,
            limit,
            max_answer,
            status,
            connection: None,
            role,
            attempt,
        };
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
    /// The caller may have gone.
    fn answer(self, answer: Result<E::Answer, Undone>) {
        let _ = self.answer.send(answer);
    }
}

/// The owner of the connection.
struct OutboxTask<E> {
    exchange: E,
    endpoint: Arc<Endpoint>,
    timing: Timing,
    limit: Duration,
    max_answer: usize,
    status: ConnectionStatus,
    connection: Option<RedisConnection>,
    role: Role,
    /// When to connect without being asked to, if ever.
    attempt: Option<Instant>,
}

/// What is known of the server's role. One that was a master may be a replica in the next moment: what is published
/// there reaches nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Unknown,
    /// It was a master then.
    Master(Instant),
    /// It does not tell.
    Undisclosed,
}

/// What happened on a connection on which nothing was asked.
enum Quiet {
    Lost,
    /// Nothing, for a whole interval.
    Silent,
}

impl<E: Exchange> OutboxTask<E> {
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
            let attempt = self.attempt.filter(|_| self.connection.is_none());
            tokio::select! {
                biased;
                () = stopped => return,
                // Before the requests: one that meets a connection known to be dead would not know what became of it.
                quiet = quiet(&mut self.connection, self.timing.ping_interval) => match quiet {
                    Quiet::Lost => self.drop_connection(),
                    Quiet::Silent => self.ping().await,
                },
                () = sleep_until(attempt.unwrap_or_else(Instant::now)), if attempt.is_some() => {
                    if let Err(error) = self.connect().await {
                        self.lost(&error);
                        self.attempt = Some(Instant::now() + self.status.pause());
                    }
                }
                _ = upkeep.tick(), if E::UPKEEP.is_some() => self.upkeep().await,
                first = waiting.recv() => {
                    let Some(first) = first else {
                        // Nobody can ask any more.
                        if let Some(drain) = &drain {
                            drain.started().await;
                        }
                        return;
                    };
                    let batch = gather(first, &mut waiting);
                    self.serve(batch, &mut waiting).await;
                }
            }
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.status.on_idle_lost();
        self.attempt = self.attempt.map(|_| Instant::now());
    }

    /// Keeps an idle connection from being forgotten on the way, and finds out whether it is still there.
    async fn ping(&mut self) {
        if matches!(self.role, Role::Master(_)) {
            match self.ask_role().await {
                Ok(()) => {}
                Err(error @ RedisError::NotMaster { .. }) => self.lost(&error),
                Err(_) => self.drop_connection(),
            }
            return;
        }
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
            let mut undone = Undone::Unreachable;
            if let Err(error) = self.connect().await {
                self.lost(&error);
                if matches!(error, RedisError::NotMaster { .. }) {
                    undone = Undone::Refused(error.to_string());
                }
                batch = keep(batch, false, &undone);
                if batch.is_empty() {
                    // Those that came meanwhile would wait as long for the same outcome.
                    let others = std::iter::from_fn(|| waiting.try_recv().ok()).collect();
                    batch = keep(others, false, &undone);
                }
            } else {
                let (left, mut moved, elsewhere) = self.exchange(batch).await;
                batch = keep(left, was_there, &Undone::Unknown);
                if std::mem::replace(&mut moved_before, !moved.is_empty()) {
                    moved = keep(moved, false, &elsewhere);
                } else {
                    // The node that has it now is asked.
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
    /// Of the latter it says with what they were refused.
    async fn exchange(&mut self, batch: Vec<Pending<E>>) -> (Vec<Pending<E>>, Vec<Pending<E>>, Undone) {
        let mut elsewhere = Undone::Unreachable;
        let Some(connection) = &mut self.connection else { return (batch, Vec::new(), elsewhere) };
        let mut commands =
            Vec::with_capacity(batch.iter().map(|pending| E::size(&pending.request)).sum::<usize>());
        for pending in &batch {
            self.exchange.write(&mut commands, &pending.request);
        }
        let (exchange, limit) = (&mut self.exchange, self.limit);
        let (mut left, mut moved, mut refusal) = (batch.into_iter(), Vec::new(), None);
        let mut done = false;
        let work = async {
            exchange.before_send();
            connection.send(&commands).await?;
            // A request leaves the line only when all of its answers are here.
            while let Some(first) = left.as_slice().first() {
                let verdict = exchange.read(connection, limit, &first.request).await?;
                let Some(pending) = left.next() else { break };
                match verdict {
                    Verdict::Done(answer) => {
                        done = true;
                        pending.answer(Ok(answer));
                    }
                    Verdict::Refused(error @ RedisError::Unheard) => {
                        pending.answer(Err(Undone::Unreachable));
                        refusal = Some(error);
                    }
                    Verdict::Refused(error) if error.is_elsewhere() => {
                        moved.push(pending);
                        elsewhere = Undone::Refused(error.to_string());
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
        match refusal {
            Some(error) => self.status.on_refused(&error),
            None if done => self.status.healthy(),
            None => {}
        }
        if !moved.is_empty() && self.connection.is_some() {
            self.drop_connection();
        }
        (left.collect(), moved, elsewhere)
    }

    fn lost(&mut self, error: &RedisError) {
        self.connection = None;
        self.status.on_disconnected(error, Instant::now());
        self.attempt = self.attempt.map(|_| Instant::now());
    }

    /// Sees that there is a connection, to a master.
    async fn connect(&mut self) -> Result<(), RedisError> {
        let is_due = match self.role {
            Role::Unknown => true,
            Role::Master(at) => at.elapsed() >= self.timing.ping_interval,
            Role::Undisclosed => false,
        };
        if self.connection.is_some() && is_due && self.ask_role().await.is_err() {
            // Demoted, or gone: nothing was sent yet, and the node that is there now is asked instead.
            self.drop_connection();
        }
        if self.connection.is_none() {
            self.connection = Some(self.endpoint.open(self.timing.timeout, self.max_answer).await?);
            if self.role != Role::Undisclosed {
                self.ask_role().await.inspect_err(|_| self.connection = None)?;
            }
            self.status.on_connected();
            self.status.healthy();
        }
        Ok(())
    }

    /// Asks the server for its role; an error if it is not a master's.
    async fn ask_role(&mut self) -> Result<(), RedisError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let limit = self.timing.timeout;
        let asked = timeout(limit, connection.is_master(limit)).await.unwrap_or_else(|_| {
            let address = self.endpoint.to_string();
            Err(RedisError::Timeout { address, limit, doing: "the question for its role" })
        });
        match asked {
            Ok(()) => self.role = Role::Master(Instant::now()),
            Err(error @ RedisError::Refused { .. }) => {
                self.role = Role::Undisclosed;
                if !ROLE_REFUSED.swap(true, Ordering::Relaxed) {
                    warn!(redis = %self.endpoint, %error, "a demoted Redis may not be noticed, because it does not tell its role");
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether it was logged that Redis does not tell its role.
static ROLE_REFUSED: AtomicBool = AtomicBool::new(false);

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
