//! The connection that reads: what this instance is told as a holder, and the copies that are followed here, all in one
//! `XREAD`.
//!
//! A copy whose holder does not say any more that it lives ends where it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::capture::HolderInbox;
use crate::redis::Timing;
use crate::redis::captures::commands::{LEASE, told};
use crate::redis::captures::followed::{FollowedCopies, FollowedCopy};
use crate::redis::captures::names::CaptureKeys;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise, until_drain};
use crate::shutdown::Drain;

const PURPOSE: Purpose = Purpose {
    label: "captures",
    connected: "reading recorded answers from Redis",
    reconnected: "reading recorded answers from Redis again",
    failed: "recorded answers of other instances cannot be read",
    meanwhile: "readers of other instances' answers wait",
};
const READING: &str = "reading recorded answers";
/// Longest text: a piece of an answer, or its head.
const MAX_TEXT: usize = 1 << 20;
/// The longest pause between two attempts to connect: readers wait.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How long Redis waits for something new, and how often holders are looked at.
const BLOCK: Duration = Duration::from_secs(1);
/// How many entries of each stream are read at once.
const COUNT: &str = "16";
/// How long a copy is not read whose readers need a moment, and how often in a row at most.
const TURN: Duration = Duration::from_millis(1);
const TURNS: u32 = 5;
/// How often in a row a holder is looked for in vain before it counts as gone.
const MISSES: u32 = 2;

/// Reads until the daemon stops.
pub(super) struct CaptureFollower {
    endpoint: Arc<Endpoint>,
    timing: Timing,
    keys: CaptureKeys,
    inbox: Box<str>,
    /// The id of what this instance was told last.
    told: (u64, u64),
    followed: Arc<FollowedCopies>,
    handler: Arc<dyn HolderInbox>,
}

/// An entry of a stream.
struct CaptureEntry {
    id: (u64, u64),
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a read is for, in the order of its streams.
struct ReadPlan {
    command: Vec<u8>,
    copies: Vec<(Box<str>, FollowedCopy)>,
}

impl CaptureFollower {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        keys: CaptureKeys,
        me: &str,
        followed: Arc<FollowedCopies>,
        handler: Arc<dyn HolderInbox>,
    ) -> Self {
        let inbox = keys.inbox(me).into();
        let timing = Timing { max_backoff: timing.max_backoff.min(MAX_PAUSE), ..timing };
        Self { endpoint, timing, keys, inbox, told: (0, 0), followed, handler }
    }

    pub(super) async fn run(self, drain: Drain) {
        let status = ConnectionStatus::new(Arc::clone(&self.endpoint), &PURPOSE, self.timing.max_backoff);
        supervise(self, status, drain).await;
    }

    async fn read_all(&mut self, status: &mut ConnectionStatus) -> Result<Infallible, RedisError> {
        let mut connection = self.endpoint.open(self.timing.timeout, MAX_TEXT).await?;
        status.on_connected();
        let connected = Instant::now();
        let (mut looked, mut turns) = (connected, 0);
        loop {
            for (id, copy) in self.followed.all() {
                if copy.at.is_none() {
                    self.begin(&mut connection, &id, &copy).await?;
                }
            }
            let pressed = self.followed.all().iter().any(|(_, copy)| copy.follower.presses());
            turns = if pressed { turns + 1 } else { 0 };
            if (1..=TURNS).contains(&turns) {
                sleep(TURN).await;
                continue;
            }
            turns = 0;
            self.read(&mut connection, true).await?;
            self.followed.hear();
            // A Redis that has just come back may have lost what says that holders live.
            if connected.elapsed() >= LEASE && looked.elapsed() >= BLOCK {
                looked = Instant::now();
                self.look_for_holders(&mut connection).await?;
            }
        }
    }

    /// Reads what there is of a copy so far.
    async fn begin(
        &mut self,
        connection: &mut RedisConnection,
        id: &str,
        copy: &FollowedCopy,
    ) -> Result<(), RedisError> {
        let key = self.keys.answer(id);
        let mut commands = Vec::new();
        for field in ["base", "edges", "head", "state"] {
            write_command(&mut commands, &[b"HGET", key.as_bytes(), field.as_bytes()]);
        }
        write_command(&mut commands, &[b"GET", self.keys.holder(&copy.holder).as_bytes()]);
        self.send(connection, &commands).await?;
        let mut fields = Vec::new();
        for _ in 0..5 {
            fields.push(self.text(connection).await?);
        }
        let [base, edges, head, state, lives] = &fields[..] else { return Err(RedisError::Unexpected) };
        let text =
            |field: &Option<Bytes>| field.as_ref().and_then(|field| String::from_utf8(field.to_vec()).ok());
        let Some(base) = text(base).and_then(|base| base.parse().ok()) else {
            copy.follower.lost();
            self.followed.remove(id);
            return Ok(());
        };
        copy.follower.begins(base, &text(edges).unwrap_or_default());
        if let Some(head) = head {
            copy.follower.head(head);
        }
        self.followed.change(id, |copy| copy.at = Some((base, 0)));
        while self.read_one(connection, id).await? {}
        let is_running = state.as_ref().is_some_and(|state| **state == *b"running");
        if is_running && lives.is_none() {
            copy.follower.lost();
            self.followed.remove(id);
        }
        copy.follower.caught_up();
        Ok(())
    }

    /// Reads on in one copy; false when there was nothing new.
    async fn read_one(&mut self, connection: &mut RedisConnection, id: &str) -> Result<bool, RedisError> {
        let Some((_, copy)) = self.followed.all().into_iter().find(|(one, _)| **one == *id) else {
            return Ok(false);
        };
        let mut command = Vec::new();
        let (key, at) = (self.keys.bytes(id), shown(copy.at.unwrap_or_default()));
        let words: [&[u8]; 6] =
            [b"XREAD", b"COUNT", COUNT.as_bytes(), b"STREAMS", key.as_bytes(), at.as_bytes()];
        write_command(&mut command, &words);
        let plan = ReadPlan { command, copies: vec![(id.into(), copy)] };
        self.take(connection, plan, self.timing.timeout).await
    }

    /// Reads on in all that is followed, and what this instance is told.
    async fn read(&mut self, connection: &mut RedisConnection, block: bool) -> Result<bool, RedisError> {
        let copies: Vec<_> = self.followed.all().into_iter().filter(|(_, copy)| copy.at.is_some()).collect();
        let keys: Vec<String> = copies.iter().map(|(id, _)| self.keys.bytes(id)).collect();
        let ids: Vec<String> = copies.iter().map(|(_, copy)| shown(copy.at.unwrap_or_default())).collect();
        let (wait, told) = (BLOCK.as_millis().to_string(), shown(self.told));
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", COUNT.as_bytes()];
        if block {
            words.extend([&b"BLOCK"[..], wait.as_bytes()]);
        }
        words.extend([&b"STREAMS"[..], self.inbox.as_bytes()]);
        words.extend(keys.iter().map(String::as_bytes));
        words.push(told.as_bytes());
        words.extend(ids.iter().map(String::as_bytes));
        let mut command = Vec::new();
        write_command(&mut command, &words);
        self.take(connection, ReadPlan { command, copies }, BLOCK + self.timing.timeout).await
    }

    /// Reads what a plan asks for and hands it out; false when there was nothing.
    async fn take(
        &mut self,
        connection: &mut RedisConnection,
        plan: ReadPlan,
        limit: Duration,
    ) -> Result<bool, RedisError> {
        self.send(connection, &plan.command).await?;
        let streams = match connection.token(limit, READING).await? {
            RespToken::Nil => return Ok(false),
            RespToken::Array(streams) => streams,
            RespToken::Error(text) => return Err(self.refused(&text)),
            _ => return Err(RedisError::Unexpected),
        };
        for _ in 0..streams {
            let RespToken::Array(2) = self.token(connection).await? else {
                return Err(RedisError::Unexpected);
            };
            let key = self.text(connection).await?.ok_or(RedisError::Unexpected)?;
            let RespToken::Array(entries) = self.token(connection).await? else {
                return Err(RedisError::Unexpected);
            };
            let copy = plan.copies.iter().find(|(id, _)| self.keys.bytes(id).as_bytes() == &*key);
            for _ in 0..entries {
                let entry = self.entry(connection).await?;
                match copy {
                    Some((id, copy)) => self.apply(id, copy, &entry),
                    None => {
                        self.told = entry.id;
                        if let Some(message) = told(&entry.fields) {
                            self.handler.told(message);
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    fn apply(&self, id: &str, copy: &FollowedCopy, entry: &CaptureEntry) {
        self.followed.change(id, |copy| (copy.at, copy.missing) = (Some(entry.id), 0));
        let of = |wanted: &[u8]| entry.fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        if let Some(bytes) = of(b"bytes")
            && !copy.follower.bytes(entry.id.0, bytes)
        {
            copy.follower.lost();
            self.followed.remove(id);
        }
        if let Some(head) = of(b"head") {
            copy.follower.head(head);
        }
        if let Some(how) = of(b"end") {
            copy.follower.ends(how, of(b"trailers").map_or(&b""[..], Vec::as_slice));
            self.followed.remove(id);
        }
    }

    /// Ends copies that are gone, or whose holder is.
    async fn look_for_holders(&mut self, connection: &mut RedisConnection) -> Result<(), RedisError> {
        let copies = self.followed.all();
        let mut commands = Vec::new();
        for (id, copy) in &copies {
            write_command(&mut commands, &[b"GET", self.keys.holder(&copy.holder).as_bytes()]);
            write_command(&mut commands, &[b"HGET", self.keys.answer(id).as_bytes(), b"end"]);
        }
        self.send(connection, &commands).await?;
        for (id, copy) in copies {
            let (lives, end) = (self.text(connection).await?, self.text(connection).await?);
            if lives.is_some() && end.is_some() {
                self.followed.change(&id, |copy| copy.missing = 0);
            } else if copy.missing + 1 < MISSES {
                self.followed.change(&id, |copy| copy.missing += 1);
            } else {
                copy.follower.lost();
                self.followed.remove(&id);
            }
        }
        Ok(())
    }

    async fn send(&self, connection: &mut RedisConnection, commands: &[u8]) -> Result<(), RedisError> {
        let limit = self.timing.timeout;
        match tokio::time::timeout(limit, connection.send(commands)).await {
            Ok(sent) => sent,
            Err(_) => {
                let address = self.endpoint.to_string();
                Err(RedisError::Timeout { address, limit, doing: READING })
            }
        }
    }

    async fn token(&self, connection: &mut RedisConnection) -> Result<RespToken, RedisError> {
        connection.token(self.timing.timeout, READING).await
    }

    /// The text that comes next; None where there is none.
    async fn text(&self, connection: &mut RedisConnection) -> Result<Option<Bytes>, RedisError> {
        match self.token(connection).await? {
            RespToken::Bulk(text) => Ok(Some(text)),
            RespToken::Nil | RespToken::TooLarge => Ok(None),
            RespToken::Error(text) => Err(self.refused(&text)),
            _ => Err(RedisError::Unexpected),
        }
    }

    async fn entry(&self, connection: &mut RedisConnection) -> Result<CaptureEntry, RedisError> {
        let RespToken::Array(2) = self.token(connection).await? else { return Err(RedisError::Unexpected) };
        let id = self.text(connection).await?.and_then(|id| read(&id)).ok_or(RedisError::Unexpected)?;
        let RespToken::Array(parts) = self.token(connection).await? else {
            return Err(RedisError::Unexpected);
        };
        let mut fields = Vec::new();
        for _ in 0..parts / 2 {
            let name = self.text(connection).await?.unwrap_or_default().to_vec();
            let value = self.text(connection).await?.unwrap_or_default().to_vec();
            fields.push((name, value));
        }
        Ok(CaptureEntry { id, fields })
    }

    fn refused(&self, text: &[u8]) -> RedisError {
        RedisError::refused("to let recorded answers be read", text, self.endpoint.secret().as_ref())
    }
}

impl Supervised for CaptureFollower {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        until_drain(drain, self.read_all(status)).await
    }
}

fn shown((ms, sequence): (u64, u64)) -> String {
    format!("{ms}-{sequence}")
}

fn read(id: &[u8]) -> Option<(u64, u64)> {
    let (ms, sequence) = str::from_utf8(id).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}
