//! The hash in Redis that keeps what users and sessions are given: one field a holder, and `@`, which says up to which
//! entry of the stream it holds.
//!
//! `@` is `<id> <life>`. Of one life of the stream all instances read the same, so it is all the same who writes. When
//! Redis has lost a part of the stream a new life begins with the mark of the loss (`claim`), and what somebody writes
//! who does not know of it yet is refused. Whatever moves `@` is one script. This file decides nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::event::{EventId, Key, Name, TopicFilter};
use crate::log::AssignedTopics;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::tag;
use crate::redis::log::entry::id_of;

const READING: &str = "reading what users and sessions are given";
const KEEPING: &str = "keeping what users and sessions are given";

/// Longest set that is read: its JSON.
pub(in crate::redis) const MAX_SET: usize = 256 << 20;
/// How much is written at once of what is no single step.
const MAX_WRITE: usize = 1 << 20;
/// How long a copy that nobody finishes is left standing.
const COPY_MS: &[u8] = b"600000";

/// The field that says up to where the hash holds.
const AT: &[u8] = b"@";

/// Whether one id is less than another: numbers of any length.
macro_rules! less {
    () => {
        "local function less(a, b) \
           local am, as = string.match(a, '^(%d+)-(%d+)$') \
           local bm, bs = string.match(b, '^(%d+)-(%d+)$') \
           if am == bm then am, bm = as, bs end \
           if #am ~= #bm then return #am < #bm end \
           return am < bm \
         end "
    };
}

/// `FOLD hash: id life from, holder set, …`: 1 when it is written, 0 when the hash was there already, -1 when there is
/// no hash, -2 when it is of another life, -3 when it lacks what came before `from`.
const FOLD: &str = concat!(
    less!(),
    "local now = redis.call('HGET', KEYS[1], '@') \
     if not now then return -1 end \
     local id, epoch = string.match(now, '^(%S+) (%S+)$') \
     if epoch ~= ARGV[2] then return -2 end \
     if less(id, ARGV[3]) then return -3 end \
     if not less(id, ARGV[1]) then return 0 end \
     for n = 4, #ARGV, 2 do \
       if ARGV[n + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[n]) \
       else redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end \
     end \
     redis.call('HSET', KEYS[1], '@', ARGV[1] .. ' ' .. ARGV[2]) \
     return 1"
);

/// `SEED hash copy: id life fields, holder set, …`: the copy, with these changes, takes the hash's place. Answers as
/// `FOLD`; -3 when the copy is not whole: Redis may have evicted it on the way.
const SEED: &str = concat!(
    less!(),
    "local now = redis.call('HGET', KEYS[1], '@') \
     if now then \
       local id, epoch = string.match(now, '^(%S+) (%S+)$') \
       if epoch ~= ARGV[2] then redis.call('DEL', KEYS[2]) return -2 end \
       if not less(id, ARGV[1]) then redis.call('DEL', KEYS[2]) return 0 end \
     end \
     if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then redis.call('DEL', KEYS[2]) return -3 end \
     for n = 4, #ARGV, 2 do \
       if ARGV[n + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[n]) \
       else redis.call('HSET', KEYS[2], ARGV[n], ARGV[n + 1]) end \
     end \
     redis.call('HSET', KEYS[2], '@', ARGV[1] .. ' ' .. ARGV[2]) \
     redis.call('PERSIST', KEYS[2]) \
     redis.call('RENAME', KEYS[2], KEYS[1]) \
     return 1"
);

/// `CLAIM hash: before after`: what `@` is, if it is what it was.
const CLAIM: &str = "if redis.call('HGET', KEYS[1], '@') ~= ARGV[1] then return 0 end \
     redis.call('HSET', KEYS[1], '@', ARGV[2]) \
     return 1";

/// `REPLACE hash copy: fields`, where the log is no stream. `@` says that the hash is whole.
const REPLACE: &str = "if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[1]) then return -3 end \
     redis.call('HSET', KEYS[2], '@', '0-0 0-0') \
     redis.call('PERSIST', KEYS[2]) \
     redis.call('RENAME', KEYS[2], KEYS[1]) \
     return 1";

/// `PUT hash: holder set, …`, where the log is no stream: -1 when there is no hash, which is never begun with a part.
const PUT: &str = "if redis.call('HEXISTS', KEYS[1], '@') == 0 then return -1 end \
     for n = 1, #ARGV, 2 do \
       if ARGV[n + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[n]) \
       else redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end \
     end \
     return 1";

/// Up to where the hash holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct StoredAt {
    pub(in crate::redis) id: EventId,
    /// The mark with which the stream's life began.
    pub(in crate::redis) epoch: EventId,
}

/// What is in the hash.
#[derive(Debug)]
pub(in crate::redis) enum StoredTopics {
    /// With up to where it holds; None where the log is no stream.
    Sets(Option<StoredAt>, AssignedTopics),
    /// There is none.
    Nothing,
    /// We may not read it, or it is no hash.
    Unreadable,
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum StoreOutcome {
    Made,
    /// Somebody else was faster.
    Known,
    Absent,
    OtherLife,
    /// The hash has lost what it had.
    Behind,
}

/// What a holder is given, as the value of its field.
#[derive(Serialize, Deserialize)]
struct Value<T> {
    topics: Vec<T>,
}

/// The hash's name: it lies in the slot of `key`.
pub(in crate::redis) fn hash_name(prefix: &str, key: &str) -> String {
    let tag = String::from_utf8_lossy(tag(key.as_bytes())).into_owned();
    format!("{prefix}:given:{{{tag}}}")
}

fn field(of: &Key) -> Vec<u8> {
    let kind: &[u8] = if matches!(of, Key::User(_)) { b"user:" } else { b"session:" };
    [kind, of.name().as_bytes()].concat()
}

/// The holder of a field; None for what is none of ours.
fn holder(field: &[u8]) -> Option<Key> {
    let (kind, name) = str::from_utf8(field).ok()?.split_once(':')?;
    let name = Name::parse(name).ok()?;
    match kind {
        "user" => Some(Key::User(name)),
        "session" => Some(Key::Session(name)),
        _ => None,
    }
}

/// The value of a field; empty for nobody's set.
fn value(topics: &[TopicFilter]) -> Vec<u8> {
    if topics.is_empty() {
        return Vec::new();
    }
    let topics = topics.iter().collect();
    serde_json::to_vec(&Value { topics }).expect("texts are JSON")
}

fn topics(value: &[u8]) -> Option<Vec<TopicFilter>> {
    let Value { topics } = serde_json::from_slice(value).ok()?;
    Some(topics)
}

impl StoredAt {
    fn text(self) -> String {
        format!("{} {}", self.id, self.epoch)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|&byte| byte == b' ')?;
        Some(Self { id: id_of(&text[..at])?, epoch: id_of(&text[at + 1..])? })
    }
}

/// About how much `assigned` takes as text.
pub(in crate::redis) fn size(assigned: &AssignedTopics) -> usize {
    const AROUND: usize = 32;
    let topics =
        |topics: &Vec<TopicFilter>| topics.iter().map(|topic| topic.as_str().len() + 3).sum::<usize>();
    assigned.iter().map(|(of, all)| of.name().len() + topics(all) + AROUND).sum()
}

impl RedisConnection {
    /// Reads the whole hash, in one step of Redis. The connection has to take texts of [`MAX_SET`].
    pub(in crate::redis) async fn assigned(
        &mut self,
        hash: &str,
        limit: Duration,
    ) -> Result<StoredTopics, RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, &[b"HGETALL", hash.as_bytes()]);
        self.send(&command).await?;
        let fields = match self.token(limit, READING).await? {
            RespToken::Array(0) => return Ok(StoredTopics::Nothing),
            RespToken::Array(fields) => fields / 2,
            RespToken::Error(text)
                if [&b"NOPERM"[..], b"WRONGTYPE"].iter().any(|word| text.starts_with(word)) =>
            {
                return Ok(StoredTopics::Unreadable);
            }
            RespToken::Error(text) => return Err(RedisError::refused(READING, &text, None)),
            _ => return Err(RedisError::Unexpected),
        };
        let (mut at, mut assigned, mut strange) = (None, AssignedTopics::new(), 0_usize);
        for _ in 0..fields {
            let (name, text) = (self.token(limit, READING).await?, self.token(limit, READING).await?);
            match (name, text) {
                (RespToken::Bulk(name), RespToken::Bulk(text)) if name == AT => at = StoredAt::parse(&text),
                (RespToken::Bulk(name), RespToken::Bulk(text)) => match (holder(&name), topics(&text)) {
                    (Some(of), Some(topics)) => assigned.push((of, topics)),
                    _ => strange += 1,
                },
                _ => strange += 1,
            }
        }
        if strange > 0 {
            warn!(
                strange,
                "fields of the hash of given topics were passed over: they are none of sidestream's"
            );
        }
        Ok(StoredTopics::Sets(at, assigned))
    }

    /// Reads up to where the hash holds, and of which life it is.
    pub(in crate::redis) async fn given_at(
        &mut self,
        hash: &str,
        limit: Duration,
    ) -> Result<Option<StoredAt>, RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, &[b"HGET", hash.as_bytes(), AT]);
        self.send(&command).await?;
        match self.token(limit, READING).await? {
            RespToken::Bulk(text) => Ok(StoredAt::parse(&text)),
            RespToken::Nil => Ok(None),
            RespToken::Error(text) => Err(RedisError::refused(READING, &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }

    /// Moves the hash from `before` to `after`, if it is still there.
    pub(in crate::redis) async fn claim_assigned(
        &mut self,
        hash: &str,
        before: StoredAt,
        after: StoredAt,
        limit: Duration,
    ) -> Result<StoreOutcome, RedisError> {
        let (before, after) = (before.text(), after.text());
        let words = [b"EVAL", CLAIM.as_bytes(), b"1", hash.as_bytes(), before.as_bytes(), after.as_bytes()];
        let mut command = Vec::new();
        write_command(&mut command, &words);
        self.step(&command, limit).await
    }

    /// Writes what the holders in `assigned` have at `at`, which is all that has changed behind `from`.
    pub(in crate::redis) async fn fold_assigned(
        &mut self,
        hash: &str,
        at: StoredAt,
        from: EventId,
        assigned: &AssignedTopics,
        limit: Duration,
    ) -> Result<StoreOutcome, RedisError> {
        let words = [at.id.to_string(), at.epoch.to_string(), from.to_string()];
        self.step(&eval(FOLD, &[hash], &words, assigned), limit).await
    }

    /// Writes what the holders in `assigned` have, where the log is no stream.
    pub(in crate::redis) async fn put_assigned(
        &mut self,
        hash: &str,
        assigned: &AssignedTopics,
        limit: Duration,
    ) -> Result<StoreOutcome, RedisError> {
        self.step(&eval(PUT, &[hash], &[], assigned), limit).await
    }

    /// Puts the copy in the place of the hash, where the log is no stream.
    pub(in crate::redis) async fn replace_assigned(
        &mut self,
        hash: &str,
        (copy, copied): (&str, u64),
        limit: Duration,
    ) -> Result<StoreOutcome, RedisError> {
        self.step(&eval(REPLACE, &[hash, copy], &[copied.to_string()], &AssignedTopics::new()), limit).await
    }

    /// Adds to a copy of the hash, which nobody else sees; gives back how many fields.
    pub(in crate::redis) async fn copy_assigned(
        &mut self,
        copy: &str,
        assigned: &AssignedTopics,
        limit: Duration,
    ) -> Result<u64, RedisError> {
        let mut copied = 0;
        let mut rest = assigned.as_slice();
        while !rest.is_empty() {
            let mut count = 0;
            let mut words: Vec<Vec<u8>> = vec![b"HSET".to_vec(), copy.as_bytes().to_vec()];
            let mut bytes = 0;
            for (of, all) in rest {
                count += 1;
                if all.is_empty() {
                    continue;
                }
                words.extend([field(of), value(all)]);
                bytes += words[words.len() - 1].len();
                if bytes > MAX_WRITE {
                    break;
                }
            }
            rest = &rest[count..];
            if words.len() == 2 {
                continue;
            }
            let mut commands = Vec::new();
            write_command(&mut commands, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            write_command(&mut commands, &[b"PEXPIRE", copy.as_bytes(), COPY_MS]);
            self.send(&commands).await?;
            for _ in 0..2 {
                match self.token(limit, KEEPING).await? {
                    RespToken::Integer(_) => {}
                    RespToken::Error(text) => return Err(RedisError::refused(KEEPING, &text, None)),
                    _ => return Err(RedisError::Unexpected),
                }
            }
            copied += words.len() as u64 / 2 - 1;
        }
        Ok(copied)
    }

    /// Puts the copy, with what has changed since it was begun, in the place of the hash.
    pub(in crate::redis) async fn seed_assigned(
        &mut self,
        hash: &str,
        (copy, copied): (&str, u64),
        at: StoredAt,
        assigned: &AssignedTopics,
        limit: Duration,
    ) -> Result<StoreOutcome, RedisError> {
        let words = [at.id.to_string(), at.epoch.to_string(), copied.to_string()];
        self.step(&eval(SEED, &[hash, copy], &words, assigned), limit).await
    }

    async fn step(&mut self, command: &[u8], limit: Duration) -> Result<StoreOutcome, RedisError> {
        match tokio::time::timeout(limit, self.send(command)).await {
            Ok(sent) => sent?,
            Err(_) => {
                let address = self.to().to_owned();
                return Err(RedisError::Timeout { address, limit, doing: KEEPING });
            }
        }
        match self.token(limit, KEEPING).await? {
            RespToken::Integer(1) => Ok(StoreOutcome::Made),
            RespToken::Integer(0) => Ok(StoreOutcome::Known),
            RespToken::Integer(-1) => Ok(StoreOutcome::Absent),
            RespToken::Integer(-2) => Ok(StoreOutcome::OtherLife),
            RespToken::Integer(-3) => Ok(StoreOutcome::Behind),
            RespToken::Error(text) => Err(RedisError::refused(KEEPING, &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}

fn eval(script: &str, keys: &[&str], words: &[String], assigned: &AssignedTopics) -> Vec<u8> {
    let count = keys.len().to_string();
    let texts: Vec<Vec<u8>> = assigned.iter().flat_map(|(of, all)| [field(of), value(all)]).collect();
    let mut all: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), count.as_bytes()];
    all.extend(keys.iter().map(|key| key.as_bytes()));
    all.extend(words.iter().map(String::as_bytes));
    all.extend(texts.iter().map(Vec::as_slice));
    let mut command = Vec::new();
    write_command(&mut command, &all);
    command
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
