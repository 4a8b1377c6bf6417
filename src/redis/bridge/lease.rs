//! The right to append what is heard on bridged channels, and up to where that has been done: two keys beside the
//! stream, changed together with it in one step.
//!
//! The *checkpoint* (a [`Checkpoint`], as text) moves in the very script that appends, and an append
//! names the checkpoint that it follows. So one that comes twice, or late from an instance that has lost the lease,
//! changes nothing. The lease only says who is at it.

use std::time::Duration;

use crate::config;
use crate::config::Trim;
use crate::redis::bridge::backlog::Checkpoint;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::tag;

const DOING: &str = "the bridge's turn";

/// Takes or renews the lease, if the taker wants it and knows the checkpoint: gives back whose it is, the checkpoint,
/// and for how long the lease holds. KEYS: lease, checkpoint. ARGV: token, milliseconds, wanted, the checkpoint that is
/// known.
const TAKE: &[u8] = b"\
local holder = redis.call('GET', KEYS[1]) \
local place = redis.call('GET', KEYS[2]) or '' \
if holder == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return {1, place, 0} end \
if holder then return {2, place, redis.call('PTTL', KEYS[1])} end \
if ARGV[3] == '1' and place == ARGV[4] then \
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return {1, place, 0} end \
return {0, place, 0}";

/// Appends for the holder of the lease, behind the checkpoint that it names. KEYS: lease, checkpoint, stream,
/// idempotency keys. ARGV: token, milliseconds, checkpoint, new checkpoint, trimming, count, window, then for each
/// message its envelope, its checkpoint, whether its data is quoted, and which idempotency key it has.
const APPEND: &[u8] = b"\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 0} end \
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return {0, 0} end \
redis.call('PEXPIRE', KEYS[1], ARGV[2]) \
local count = 0 \
for i = 8, #ARGV, 4 do \
local once = tonumber(ARGV[i + 3]) \
if once == 0 or not redis.call('GET', KEYS[3 + once]) then \
local id \
if ARGV[i + 2] == '1' then \
id = redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[5], ARGV[6], '*', 'event', ARGV[i], 'bridge', ARGV[i + 1], 'quoted', '1') \
else \
id = redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[5], ARGV[6], '*', 'event', ARGV[i], 'bridge', ARGV[i + 1]) \
end \
if once > 0 then redis.call('SET', KEYS[3 + once], id, 'PX', ARGV[7]) end \
count = count + 1 \
end end \
redis.call('SET', KEYS[2], ARGV[4]) \
return {1, count}";

/// Gives the lease up. KEYS: lease. ARGV: token.
const LEAVE: &[u8] = b"\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end \
return 0";

/// The keys, and who asks.
pub(in crate::redis) struct Lease {
    lease: Box<[u8]>,
    checkpoint: Box<[u8]>,
    stream: Box<[u8]>,
    /// What an idempotency key's name in Redis begins with.
    once: Box<[u8]>,
    window_ms: Box<[u8]>,
    trim: &'static [u8],
    max_events: Box<[u8]>,
    /// Drawn at start: nobody else's.
    token: Box<[u8]>,
    length_ms: Box<[u8]>,
    /// How long an answer may take.
    limit: Duration,
}

/// How the lease stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum LeaseState {
    Free,
    /// It is ours, for its whole length.
    Ours,
    /// Another instance has it, for so long at the least.
    Others(Duration),
}

/// One message to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) struct BridgeEntry<'a> {
    pub(in crate::redis) json: &'a [u8],
    pub(in crate::redis) position: Checkpoint,
    pub(in crate::redis) is_quoted: bool,
    pub(in crate::redis) idempotency_key: Option<&'a str>,
}

impl Lease {
    /// `once` is what an idempotency key's name in Redis begins with.
    pub(in crate::redis) fn new(
        stream: &config::RedisStream,
        prefix: &str,
        once: Box<[u8]>,
        idempotency_window: Duration,
    ) -> Self {
        // In a Cluster all of them lie in the stream's slot.
        let tag = String::from_utf8_lossy(tag(stream.key.as_bytes())).into_owned();
        let token = format!("{:016x}{:016x}", random(), random());
        Self {
            lease: format!("{prefix}:bridge:{{{tag}}}:lease").into_bytes().into(),
            checkpoint: format!("{prefix}:bridge:{{{tag}}}:place").into_bytes().into(),
            stream: stream.key.as_bytes().into(),
            once,
            window_ms: idempotency_window.as_millis().max(1).to_string().into_bytes().into(),
            trim: match stream.trim {
                Trim::Approximate => b"~",
                Trim::Exact => b"=",
            },
            max_events: stream.max_events.to_string().into_bytes().into(),
            token: token.into_bytes().into(),
            length_ms: stream.bridge_lease.as_millis().to_string().into_bytes().into(),
            limit: stream.timeout,
        }
    }

    /// How the lease stands and up to where messages have been appended: the text of a position, empty where nothing
    /// was ever appended. Renews our own; takes a free one if `known` is the checkpoint, and not with None.
    pub(in crate::redis) async fn take(
        &self,
        connection: &mut RedisConnection,
        known: Option<&str>,
    ) -> Result<(LeaseState, String), RedisError> {
        let Self { lease, checkpoint, token, length_ms, .. } = self;
        let wanted: &[u8] = if known.is_some() { b"1" } else { b"0" };
        let known = known.unwrap_or_default().as_bytes();
        let words: [&[u8]; 9] = [b"EVAL", TAKE, b"2", lease, checkpoint, token, length_ms, wanted, known];
        let answer = self.ask(connection, &words, 3).await?;
        let [RespToken::Integer(whose), RespToken::Bulk(checkpoint), RespToken::Integer(left)] = &*answer
        else {
            return Err(RedisError::Unexpected);
        };
        let standing = match whose {
            0 => LeaseState::Free,
            1 => LeaseState::Ours,
            _ => LeaseState::Others(Duration::from_millis(u64::try_from(*left).unwrap_or_default())),
        };
        Ok((standing, String::from_utf8_lossy(checkpoint).into_owned()))
    }

    /// Appends `entries` and moves the checkpoint from `from` to `to`, if the lease is ours and the checkpoint is
    /// `from`: gives back how many of them had no idempotency key that was known. None where nothing was changed.
    pub(in crate::redis) async fn append(
        &self,
        connection: &mut RedisConnection,
        from: &str,
        to: &str,
        entries: &[BridgeEntry<'_>],
    ) -> Result<Option<u64>, RedisError> {
        let keys = entries.iter().filter_map(|entry| entry.idempotency_key);
        let once: Vec<Vec<u8>> = keys.map(|key| [&*self.once, key.as_bytes()].concat()).collect();
        let keys = (3 + once.len()).to_string();
        let mut nth = 0;
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| {
                nth += usize::from(entry.idempotency_key.is_some());
                let key = if entry.idempotency_key.is_some() { nth } else { 0 };
                (entry.position.to_string(), key.to_string())
            })
            .collect();
        let Self { lease, checkpoint, stream, token, length_ms, trim, max_events, window_ms, .. } = self;
        let mut words: Vec<&[u8]> = vec![b"EVAL", APPEND, keys.as_bytes(), lease, checkpoint, stream];
        words.extend(once.iter().map(Vec::as_slice));
        words.extend([&**token, &**length_ms, from.as_bytes(), to.as_bytes()]);
        words.extend([trim, &**max_events, &**window_ms]);
        for (entry, (position, key)) in entries.iter().zip(&texts) {
            let quoted: &[u8] = if entry.is_quoted { b"1" } else { b"0" };
            words.extend([entry.json, position.as_bytes(), quoted, key.as_bytes()]);
        }
        match &*self.ask(connection, &words, 2).await? {
            [RespToken::Integer(0), _] => Ok(None),
            [RespToken::Integer(1), RespToken::Integer(count)] => {
                Ok(Some(u64::try_from(*count).unwrap_or_default()))
            }
            _ => Err(RedisError::Unexpected),
        }
    }

    /// Gives the lease up, if it is ours.
    pub(in crate::redis) async fn step_down(
        &self,
        connection: &mut RedisConnection,
    ) -> Result<(), RedisError> {
        self.ask(connection, &[b"EVAL", LEAVE, b"1", &self.lease, &self.token], 0).await.map(drop)
    }

    /// Publishes `text` to everybody who listens to `channel`.
    pub(in crate::redis) async fn tell(
        &self,
        connection: &mut RedisConnection,
        channel: &[u8],
        text: &str,
    ) -> Result<(), RedisError> {
        self.ask(connection, &[b"PUBLISH", channel, text.as_bytes()], 0).await.map(drop)
    }

    /// Asks, and reads an array of `len` or, with 0, a number.
    async fn ask(
        &self,
        connection: &mut RedisConnection,
        words: &[&[u8]],
        len: usize,
    ) -> Result<Vec<RespToken>, RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, words);
        let address = connection.to().to_owned();
        let exchange = async {
            connection.send(&command).await?;
            match connection.token(self.limit, DOING).await? {
                RespToken::Error(text) => Err(RedisError::refused(DOING, &text, None)),
                RespToken::Integer(_) if len == 0 => Ok(Vec::new()),
                RespToken::Array(found) if found == len && len > 0 => {
                    let mut tokens = Vec::with_capacity(len);
                    for _ in 0..len {
                        tokens.push(connection.token(self.limit, DOING).await?);
                    }
                    Ok(tokens)
                }
                _ => Err(RedisError::Unexpected),
            }
        };
        match tokio::time::timeout(self.limit, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(RedisError::Timeout { address, limit: self.limit, doing: DOING }),
        }
    }
}

/// Sixty-four bits that nobody else draws.
pub(in crate::redis) fn random() -> u64 {
    getrandom::u64().expect("the system has random bytes")
}
