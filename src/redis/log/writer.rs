//! What goes out with the log in a Redis stream: `POST /publish` as `XADD`, answered when Redis has it.
//!
//! One connection, made when it is needed and kept. Whatever waits is written in one go, several events of one publish
//! as one transaction. Idempotency keys are checked and kept by Redis itself, in the same step as the append. An
//! ephemeral event goes out over the channel instead. Each sender learns whether Redis took its events, surely did
//! not, or may have. Now and then the stream is trimmed, whoever appends to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};
use tracing::{debug, info, warn};

use crate::config;
use crate::config::Trim;
use crate::event::EventId;
use crate::publish::{Heading, Relay, RelayError, Relayed, RelayedEnvelope, Relaying};
use crate::redis::Timing;
use crate::redis::channels::ingest::is_without_shards;
use crate::redis::client::connection::Connection;
use crate::redis::client::decode::Token;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::tag;
use crate::redis::log::entry::{EVENT, TOPICS, id_of};
use crate::redis::log::stream_info::ask_info;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, REDIS_STREAM_APPENDED};

/// What this connection is for, in metrics.
const PURPOSE: &str = "append";
const APPENDING: &str = "appending to the stream";
/// How many senders may wait.
const MAX_WAITING: usize = 256;
/// Nothing more is added to a write that has so many bytes.
const MAX_WRITE: usize = 1 << 20;
/// Longest text of an answer that is kept.
const MAX_ANSWER: usize = 4096;
/// How often the stream is held to its bounds, whoever appends to it.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Appends once for each idempotency key: gives back the id, and 1 when the key was known.
const ONCE: &[u8] = b"\
local known = redis.call('GET', KEYS[2]) \
if known then return {known, 1} end \
local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], ARGV[3], '*', 'event', ARGV[4]) \
redis.call('SET', KEYS[2], id, 'PX', ARGV[1]) \
return {id, 0}";

/// Appends to the stream that is the log. Cloning shares.
#[derive(Clone)]
pub(in crate::redis) struct Appender {
    requests: mpsc::Sender<Request>,
    heads: mpsc::Sender<Head>,
}

/// Somebody who asks where the stream ends.
type Head = oneshot::Sender<Result<Option<EventId>, RelayError>>;

struct Request {
    messages: Vec<RelayedEnvelope>,
    /// What they are: the field of an entry.
    field: &'static [u8],
    answer: oneshot::Sender<Result<Vec<Relayed>, RelayError>>,
}

/// How events become commands.
pub(in crate::redis) struct Commands {
    key: Box<[u8]>,
    channel: Box<[u8]>,
    /// In a Cluster: the channel that lies on the stream's shard, until Redis says that it knows none.
    sharded: Option<Box<[u8]>>,
    /// What an idempotency key's name in Redis begins with: it lies in the stream's slot.
    once: Box<[u8]>,
    window_ms: Box<[u8]>,
    max_events: Box<[u8]>,
    max_age: Duration,
    /// `~` or `=`.
    trim: &'static [u8],
}

/// What the names of idempotency keys in Redis begin with: in a Cluster they lie in the stream's slot.
pub(in crate::redis) fn once_keys(stream: &config::RedisStream, prefix: &str) -> Box<[u8]> {
    let tag = String::from_utf8_lossy(tag(stream.key.as_bytes()));
    format!("{prefix}:once:{{{tag}}}:").into_bytes().into()
}

impl Commands {
    pub(in crate::redis) fn new(
        stream: &config::RedisStream,
        prefix: &str,
        sharded: Option<String>,
        idempotency_window: Duration,
    ) -> Self {
        Self {
            key: stream.key.as_bytes().into(),
            channel: prefix.as_bytes().into(),
            sharded: sharded.map(|channel| channel.into_bytes().into()),
            once: once_keys(stream, prefix),
            window_ms: idempotency_window.as_millis().max(1).to_string().into_bytes().into(),
            max_events: stream.max_events.to_string().into_bytes().into(),
            max_age: stream.max_age,
            trim: match stream.trim {
                Trim::Approximate => b"~",
                Trim::Exact => b"=",
            },
        }
    }

    fn write(&self, to: &mut Vec<u8>, field: &[u8], messages: &[RelayedEnvelope]) {
        let together = messages.len() > 1;
        if together {
            // All or nothing, and nothing of anybody else in between.
            write_command(to, &[b"MULTI"]);
        }
        for RelayedEnvelope { json, idempotency_key, ephemeral } in messages {
            if *ephemeral {
                match &self.sharded {
                    Some(channel) => write_command(to, &[b"SPUBLISH", channel, json]),
                    None => write_command(to, &[b"PUBLISH", &self.channel, json]),
                }
            } else if let Some(key) = idempotency_key {
                let once = [&self.once, key.as_bytes()].concat();
                write_command(
                    to,
                    &[
                        b"EVAL",
                        ONCE,
                        b"2",
                        &self.key,
                        &once,
                        &self.window_ms,
                        self.trim,
                        &self.max_events,
                        json,
                    ],
                );
            } else {
                write_command(
                    to,
                    &[b"XADD", &self.key, b"MAXLEN", self.trim, &self.max_events, b"*", field, json],
                );
            }
        }
        if together {
            write_command(to, &[b"EXEC"]);
        }
    }
}

impl Appender {
    /// Starts the task that owns the connection; it ends when `drain` starts.
    pub(in crate::redis) fn start(
        server: Arc<Server>,
        timing: Timing,
        limit: Duration,
        commands: Commands,
        drain: &Drain,
    ) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let (heads, asking) = mpsc::channel(MAX_WAITING);
        let outbox = Outbox {
            server,
            timing,
            limit,
            commands,
            connection: None,
            told: Told::default(),
            connects: metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE),
            appended: metrics::counter!(REDIS_STREAM_APPENDED),
        };
        drain.spawn_essential("redis append", outbox.run(waiting, asking, drain.clone()));
        Self { requests, heads }
    }
}

impl Relay for Appender {
    /// Dropped half-way, the events may still be appended. Takes a few times the timeout at the longest.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_> {
        Box::pin(self.send(EVENT, messages))
    }

    fn head(&self) -> Heading<'_> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.heads.send(answer).await.map_err(|_| RelayError::Down)?;
            answered.await.unwrap_or(Err(RelayError::Down))
        })
    }
}

impl Appender {
    /// Appends what is asked of all instances: they do it where it stands among the events.
    pub(in crate::redis) async fn tell(&self, command: Bytes) -> Result<(), RelayError> {
        let message = RelayedEnvelope { json: command, idempotency_key: None, ephemeral: false };
        self.send(TOPICS, vec![message]).await.map(drop)
    }

    async fn send(
        &self,
        field: &'static [u8],
        messages: Vec<RelayedEnvelope>,
    ) -> Result<Vec<Relayed>, RelayError> {
        let (answer, answered) = oneshot::channel();
        // The task has ended, or ends before it gets to this request: a request that it has begun is answered.
        self.requests.send(Request { messages, field, answer }).await.map_err(|_| RelayError::Down)?;
        answered.await.unwrap_or(Err(RelayError::Down))
    }
}

/// The owner of the appending connection.
struct Outbox {
    server: Arc<Server>,
    timing: Timing,
    /// How long an append may take.
    limit: Duration,
    commands: Commands,
    connection: Option<Connection>,
    told: Told,
    connects: Counter,
    appended: Counter,
}

impl Outbox {
    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<Request>,
        mut asking: mpsc::Receiver<Head>,
        drain: Drain,
    ) {
        let mut upkeep = interval(TRIM_EVERY);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                // Before the requests: one that meets a connection known to be dead would not know what became of it.
                () = broken(&mut self.connection) => {
                    debug!(redis = %self.server, "the idle connection for appending is gone");
                    self.connection = None;
                }
                _ = upkeep.tick() => self.trim().await,
                request = waiting.recv() => {
                    let Some(first) = request else { return };
                    let requests = gather(first, &mut waiting);
                    self.serve(requests, &mut waiting).await;
                }
                first = asking.recv() => {
                    let Some(first) = first else { return };
                    // All who ask now are served by one look, which comes after their questions.
                    let all: Vec<Head> =
                        std::iter::once(first).chain(std::iter::from_fn(|| asking.try_recv().ok())).collect();
                    let head = self.tell_head().await;
                    for asked in all {
                        let _ = asked.send(head);
                    }
                }
            }
        }
    }

    /// The last id that the stream gave away; None where there is no stream yet.
    async fn tell_head(&mut self) -> Result<Option<EventId>, RelayError> {
        for _ in 0..2 {
            if let Err(failure) = self.connect().await {
                self.note(&failure);
                return Err(RelayError::Down);
            }
            let Some(connection) = &mut self.connection else { break };
            let mut command = Vec::new();
            ask_info(&mut command, &self.commands.key);
            let limit = self.limit;
            let look = async {
                connection.send(&command).await?;
                connection.info(limit).await
            };
            match timeout(limit, look).await {
                Ok(Ok(info)) => return Ok(info.map(|info| info.last)),
                Ok(Err(failure)) => self.note(&failure),
                Err(_) => {}
            }
            // Gone, out of step, or another one has the stream now: whoever has it is asked once more.
            self.connection = None;
        }
        Err(RelayError::Down)
    }

    /// Holds the stream to its bounds, and keeps the connection from being forgotten on the way.
    async fn trim(&mut self) {
        if self.connect().await.is_err() {
            return;
        }
        let (limit, commands) = (self.limit, &self.commands);
        let Some(connection) = &mut self.connection else { return };
        let work = async {
            let mut text = Vec::new();
            let Commands { key, trim, max_events, max_age, .. } = commands;
            write_command(&mut text, &[b"XTRIM", key, b"MAXLEN", trim, max_events]);
            connection.send(&text).await?;
            let mut said = connection.token(limit, APPENDING).await?;
            if !max_age.is_zero() {
                // By the clock that makes the ids.
                let clock = connection.clock(limit).await?;
                let oldest = clock.ms.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
                text.clear();
                write_command(&mut text, &[b"XTRIM", key, b"MINID", trim, oldest.to_string().as_bytes()]);
                connection.send(&text).await?;
                said = connection.token(limit, APPENDING).await?;
            }
            match said {
                Token::Integer(_) => Ok(()),
                Token::Error(text) => Err(Failure::refused("to trim the stream", &text, None)),
                _ => Err(Failure::Unexpected),
            }
        };
        match timeout(limit * 3, work).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                debug!(redis = %self.server, %failure, "the stream was not trimmed");
                // A node that refuses may be no master any more.
                self.connection = None;
            }
            Err(_) => self.connection = None,
        }
    }

    /// Answers every one of `requests`. Those that a Redis surely did not take, because the stream is another's now,
    /// are brought there.
    async fn serve(&mut self, mut requests: Vec<Request>, waiting: &mut mpsc::Receiver<Request>) {
        for last in [false, true] {
            if let Err(failure) = self.connect().await {
                self.note(&failure);
                // Those who came meanwhile would wait as long for the same outcome.
                for request in requests.into_iter().chain(std::iter::from_fn(|| waiting.try_recv().ok())) {
                    let _ = request.answer.send(Err(RelayError::Down));
                }
                return;
            }
            let mut moved = Vec::new();
            self.exchange(requests, &mut moved).await;
            if moved.is_empty() {
                return;
            }
            self.connection = None;
            if last {
                for request in moved {
                    let _ = request.answer.send(Err(RelayError::Down));
                }
                return;
            }
            requests = moved;
        }
    }

    /// Sends what `requests` ask for and answers them, but for those that go to `moved`.
    async fn exchange(&mut self, requests: Vec<Request>, moved: &mut Vec<Request>) {
        let Some(connection) = &mut self.connection else { return };
        let mut commands = Vec::with_capacity(requests.iter().map(Request::size).sum());
        for request in &requests {
            self.commands.write(&mut commands, request.field, &request.messages);
        }
        let mut requests = requests.into_iter();
        let exchange = exchange(connection, &commands, &mut requests, moved, self.limit, &self.appended);
        let refusal = match timeout(self.limit, exchange).await {
            Ok(Ok(refusal)) => refusal,
            Ok(Err(failure)) => {
                self.connection = None;
                Some(failure)
            }
            Err(_) => {
                self.connection = None;
                let address = self.server.to_string();
                Some(Failure::Timeout { address, limit: self.limit, doing: APPENDING })
            }
        };
        for request in requests {
            let _ = request.answer.send(Err(RelayError::Unknown));
        }
        if let Some(failure) = refusal {
            if let Failure::Refused { text, .. } = &failure
                && is_without_shards(text.as_bytes())
            {
                self.commands.sharded = None;
            }
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
            info!(redis = %self.server, "connected to Redis for appending");
        }
        Ok(())
    }

    fn note(&mut self, failure: &Failure) {
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        if self.told.say(reason) {
            warn!(redis = %self.server, reason, %failure, "cannot append to the stream in Redis");
        }
    }
}

impl Request {
    fn size(&self) -> usize {
        const AROUND: usize = 600;
        self.messages.iter().map(|message| message.json.len() + AROUND).sum()
    }
}

/// Completes when a connection on which nothing was asked says something or ends; never without one. Cancel safe.
async fn broken(connection: &mut Option<Connection>) {
    match connection {
        None => std::future::pending().await,
        // Whatever it says it is out of step.
        Some(connection) => drop(connection.receive().await),
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

/// Whether the refusal says that another Redis has the stream.
fn is_elsewhere(text: &[u8]) -> bool {
    [&b"MOVED "[..], b"READONLY "].iter().any(|word| text.starts_with(word))
}

/// What Redis answered to one command.
enum Answer {
    Took(Relayed),
    Refused(Bytes),
}

/// Sends `commands` and answers the requests that they are of, in order; those that are left over when it fails are
/// still in `requests`, and those that this Redis surely did not take because another one has the stream are in
/// `moved`. Gives back a refusal of Redis.
async fn exchange(
    connection: &mut Connection,
    commands: &[u8],
    requests: &mut std::vec::IntoIter<Request>,
    moved: &mut Vec<Request>,
    limit: Duration,
    appended: &Counter,
) -> Result<Option<Failure>, Failure> {
    let mut refusal = None;
    connection.send(commands).await?;
    // A request leaves the line only when all of its answers are here.
    while let Some(request) = requests.as_slice().first() {
        let count = request.messages.len();
        let answers = if count == 1 {
            vec![answer(connection, limit).await?]
        } else {
            transaction(connection, count, limit).await?
        };
        if answers.iter().all(|answer| matches!(answer, Answer::Refused(text) if is_elsewhere(text))) {
            moved.extend(requests.next());
            continue;
        }
        let mut taken = Vec::with_capacity(count);
        for answer in answers {
            match answer {
                Answer::Took(relayed) => taken.push(relayed),
                Answer::Refused(text) => {
                    refusal = Some(Failure::refused("to append to the stream", &text, None));
                }
            }
        }
        appended.increment(
            taken.iter().filter(|relayed| relayed.id.is_some() && !relayed.duplicate).count() as u64
        );
        let answer = match taken.len() {
            all if all == count => Ok(taken),
            0 => Err(RelayError::Down),
            _ => Err(RelayError::Unknown),
        };
        if let Some(request) = requests.next() {
            let _ = request.answer.send(answer);
        }
    }
    Ok(refusal)
}

/// Reads the answer to one command.
async fn answer(connection: &mut Connection, limit: Duration) -> Result<Answer, Failure> {
    let id = |token| match token {
        Token::Bulk(text) => id_of(&text).ok_or(Failure::Unexpected),
        _ => Err(Failure::Unexpected),
    };
    match connection.token(limit, APPENDING).await? {
        Token::Error(text) => Ok(Answer::Refused(text)),
        // Of PUBLISH: how many heard it, which is theirs to know.
        Token::Integer(_) => Ok(Answer::Took(Relayed::default())),
        Token::Array(2) => {
            let id = id(connection.token(limit, APPENDING).await?)?;
            let known = connection.token(limit, APPENDING).await?;
            Ok(Answer::Took(Relayed { id: Some(id), duplicate: known == Token::Integer(1) }))
        }
        token => Ok(Answer::Took(Relayed { id: Some(id(token)?), duplicate: false })),
    }
}

/// Reads the answers to a transaction of `count` commands.
async fn transaction(
    connection: &mut Connection,
    count: usize,
    limit: Duration,
) -> Result<Vec<Answer>, Failure> {
    let mut refused = None;
    // To MULTI, then to each command that it is queued.
    for _ in 0..=count {
        match connection.token(limit, APPENDING).await? {
            Token::Status(_) => {}
            Token::Error(text) => {
                refused.get_or_insert(text);
            }
            _ => return Err(Failure::Unexpected),
        }
    }
    match connection.token(limit, APPENDING).await? {
        Token::Array(answers) if answers == count => {
            let mut all = Vec::with_capacity(count);
            for _ in 0..count {
                all.push(answer(connection, limit).await?);
            }
            Ok(all)
        }
        Token::Error(text) => Ok(vec![Answer::Refused(refused.unwrap_or(text))]),
        Token::Nil => Ok(vec![Answer::Refused(Bytes::from_static(b"EXECABORT"))]),
        _ => Err(Failure::Unexpected),
    }
}
