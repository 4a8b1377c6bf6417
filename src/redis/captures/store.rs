//! The store between the instances that share recorded answers: what is asked of it goes over one connection, what it
//! has to tell comes over another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::capture::{
    ClaimResult, CopyFollower, CopyName, CopyUpdate, CopyWritten, FoundCopy, HolderInbox, HolderMessage,
    NewCopy, RecordingStore, StoreAway,
};
use crate::future::BoxFuture;
use crate::redis::Timing;
use crate::redis::captures::commands;
use crate::redis::captures::commands::LEASE;
use crate::redis::captures::followed::FollowedCopies;
use crate::redis::captures::follower::CaptureFollower;
use crate::redis::captures::names::CaptureKeys;
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

const PURPOSE: Purpose = Purpose {
    label: "captures",
    connected: "connected to Redis for recorded answers",
    reconnected: "connected to Redis for recorded answers again",
    failed: "recorded answers do not get into Redis",
    meanwhile: "other instances do not have them",
};
/// How many requests may wait.
const MAX_WAITING: usize = 1024;
/// How often an instance says that it lives.
const RENEW: Duration = Duration::from_secs(1);

/// The store in Redis.
pub(in crate::redis) struct CaptureStore {
    outbox: Outbox<CaptureExchange>,
    me: Box<str>,
    followed: Arc<FollowedCopies>,
    answers: Arc<AtomicBool>,
    drain: Drain,
}

/// What is asked.
enum CaptureRequest {
    Begin(NewCopy),
    Claim(NewCopy, CopyName, Option<Box<str>>),
    Look(CopyName),
    Write(CopyUpdate),
    Forget(Box<str>),
    /// With None the instance is only to look.
    Tell(Box<str>, Option<HolderMessage>),
}

/// What it comes to.
enum CaptureReply {
    Done,
    Claimed(ClaimResult),
    Found(Option<FoundCopy>),
    Written(CopyWritten),
}

struct CaptureExchange {
    keys: CaptureKeys,
    me: Box<str>,
    answers: Arc<AtomicBool>,
}

impl CaptureStore {
    /// Starts both connections' tasks; they end when `drain` starts. `inbox` hears what this instance, `me`, is told.
    pub(in crate::redis) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        keys: CaptureKeys,
        me: Box<str>,
        inbox: Arc<dyn HolderInbox>,
        drain: &Drain,
    ) -> Self {
        let answers = Arc::new(AtomicBool::new(true));
        let exchange = CaptureExchange { keys: keys.clone(), me: me.clone(), answers: Arc::clone(&answers) };
        let followed = Arc::new(FollowedCopies::new());
        let follower =
            CaptureFollower::new(Arc::clone(&endpoint), timing, keys, &me, Arc::clone(&followed), inbox);
        drain.spawn_essential("redis captures", follower.run(drain.clone()));
        let config =
            OutboxConfig { max_waiting: MAX_WAITING, ..OutboxConfig::new(endpoint, timing, &PURPOSE) };
        let outbox = Outbox::start(config, exchange, drain, Some(drain.clone()));
        Self { outbox, me, followed, answers, drain: drain.clone() }
    }

    async fn ask(&self, request: CaptureRequest) -> Result<CaptureReply, StoreAway> {
        let answered = self.outbox.ask(request).await;
        if answered.is_err() {
            self.doubt();
        }
        answered.map_err(|_| StoreAway)
    }

    async fn done(&self, request: CaptureRequest) -> Result<(), StoreAway> {
        self.ask(request).await.map(drop)
    }
}

impl RecordingStore for CaptureStore {
    fn me(&self) -> &str {
        &self.me
    }

    fn begin(&self, new: NewCopy) -> BoxFuture<'_, Result<(), StoreAway>> {
        Box::pin(self.done(CaptureRequest::Begin(new)))
    }

    fn claim(
        &self,
        new: NewCopy,
        name: CopyName,
        before: Option<Box<str>>,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreAway>> {
        Box::pin(async move {
            match self.ask(CaptureRequest::Claim(new, name, before)).await? {
                CaptureReply::Claimed(result) => Ok(result),
                _ => Err(StoreAway),
            }
        })
    }

    fn look(&self, name: CopyName) -> BoxFuture<'_, Result<Option<FoundCopy>, StoreAway>> {
        Box::pin(async move {
            match self.ask(CaptureRequest::Look(name)).await? {
                CaptureReply::Found(found) => Ok(found),
                _ => Err(StoreAway),
            }
        })
    }

    fn write(&self, update: CopyUpdate) -> BoxFuture<'_, Result<CopyWritten, StoreAway>> {
        Box::pin(async move {
            match self.ask(CaptureRequest::Write(update)).await? {
                CaptureReply::Written(written) => Ok(written),
                _ => Err(StoreAway),
            }
        })
    }

    fn forget(&self, id: Box<str>) -> BoxFuture<'_, Result<(), StoreAway>> {
        Box::pin(self.done(CaptureRequest::Forget(id)))
    }

    fn tell(&self, holder: Box<str>, message: HolderMessage) -> BoxFuture<'_, Result<(), StoreAway>> {
        Box::pin(self.done(CaptureRequest::Tell(holder, Some(message))))
    }

    fn follow(&self, id: &str, holder: &str, follower: Arc<dyn CopyFollower>) {
        self.followed.add(id, holder, follower);
        // The connection that reads waits for what it knows of.
        let (outbox, me) = (self.outbox.clone(), self.me.clone());
        self.drain.spawn(async move { outbox.ask(CaptureRequest::Tell(me, None)).await.map(drop) });
    }

    fn unfollow(&self, id: &str) {
        self.followed.remove(id);
    }

    fn heard(&self) -> Instant {
        self.followed.heard()
    }

    fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    fn doubt(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }
}

impl Exchange for CaptureExchange {
    type Request = CaptureRequest;
    type Answer = CaptureReply;

    const DOING: &'static str = "sharing recorded answers";
    const UPKEEP: Option<Duration> = Some(RENEW);

    fn size(request: &CaptureRequest) -> usize {
        const AROUND: usize = 1024;
        const SCRIPT: usize = 2048;
        let more = match request {
            CaptureRequest::Write(update) if update.is_plain() => update.bytes.len(),
            CaptureRequest::Write(update) => {
                update.bytes.len() + update.head.as_ref().map_or(0, |head| 2 * head.len()) + SCRIPT
            }
            _ => SCRIPT,
        };
        more + AROUND
    }

    fn write(&mut self, text: &mut Vec<u8>, request: &CaptureRequest) {
        let Self { keys, me, .. } = self;
        match request {
            CaptureRequest::Begin(new) => commands::begin(text, keys, me, new),
            CaptureRequest::Claim(new, name, before) => {
                commands::claim(text, keys, me, (new, name, before.as_deref()));
            }
            CaptureRequest::Look(name) => commands::look(text, keys, name),
            CaptureRequest::Write(update) => commands::write(text, keys, update),
            CaptureRequest::Forget(id) => commands::forget(text, keys, id),
            CaptureRequest::Tell(instance, message) => commands::tell(text, keys, instance, message.as_ref()),
        }
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &CaptureRequest,
    ) -> Result<Verdict<CaptureReply>, RedisError> {
        let first = connection.token(limit, Self::DOING).await?;
        let reply = match (request, first) {
            (_, RespToken::Error(text)) => {
                return Ok(Verdict::Refused(RedisError::refused("to share recorded answers", &text, None)));
            }
            (CaptureRequest::Claim(new, ..), RespToken::Bulk(id)) => {
                let id = String::from_utf8_lossy(&id);
                let is_ours = id.is_empty() || *id == *new.id;
                CaptureReply::Claimed(if is_ours {
                    ClaimResult::Ours
                } else {
                    ClaimResult::Of((&*id).into())
                })
            }
            (CaptureRequest::Look(_), RespToken::Array(5)) => {
                CaptureReply::Found(found(connection, limit).await?)
            }
            (CaptureRequest::Write(_), RespToken::Integer(end)) => {
                CaptureReply::Written(u64::try_from(end).map_or(CopyWritten::Unknown, CopyWritten::EndsAt))
            }
            (
                CaptureRequest::Begin(_) | CaptureRequest::Forget(_) | CaptureRequest::Tell(..),
                RespToken::Integer(_),
            ) => CaptureReply::Done,
            _ => return Err(RedisError::Unexpected),
        };
        self.answers.store(true, Ordering::Relaxed);
        Ok(Verdict::Done(reply))
    }

    /// All of it may be done twice.
    fn repeat(_request: &CaptureRequest) -> Repeat {
        Repeat::OnFreshConnection
    }

    /// Says that this instance lives.
    async fn upkeep(&mut self, connection: &mut RedisConnection, limit: Duration) -> Result<(), RedisError> {
        let (key, ms) = (self.keys.holder(&self.me), LEASE.as_millis().to_string());
        let mut command = Vec::new();
        write_command(&mut command, &[b"SET", key.as_bytes(), b"1", b"PX", ms.as_bytes()]);
        connection.send(&command).await?;
        match connection.token(limit, Self::DOING).await? {
            RespToken::Status(_) => {
                self.answers.store(true, Ordering::Relaxed);
                Ok(())
            }
            // So is all else that is asked, which says so.
            RespToken::Error(text) if text.starts_with(b"NOPERM") => Ok(()),
            RespToken::Error(text) => Err(RedisError::refused("to share recorded answers", &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}

/// The five elements of what is known of a copy.
async fn found(connection: &mut RedisConnection, limit: Duration) -> Result<Option<FoundCopy>, RedisError> {
    let mut texts = Vec::new();
    for _ in 0..4 {
        match connection.token(limit, CaptureExchange::DOING).await? {
            RespToken::Bulk(text) => texts.push(String::from_utf8_lossy(&text).into_owned()),
            // Nothing of ours: it is evicted in part, or somebody else's.
            RespToken::Nil | RespToken::TooLarge => texts.push(String::new()),
            _ => return Err(RedisError::Unexpected),
        }
    }
    let RespToken::Integer(running) = connection.token(limit, CaptureExchange::DOING).await? else {
        return Err(RedisError::Unexpected);
    };
    let [id, route, owner, holder] = <[String; 4]>::try_from(texts).map_err(|_| RedisError::Unexpected)?;
    let copy = FoundCopy { id: id.into(), route, owner, holder: holder.into(), is_running: running == 1 };
    Ok(Some(copy).filter(|copy| !copy.id.is_empty()))
}
