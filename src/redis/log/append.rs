//! How events become entries of the stream: the commands that append and trim, and the answers to them.

use std::time::Duration;

use bytes::Bytes;

use crate::config;
use crate::config::Trim;
use crate::publish::{Relayed, RelayedEnvelope};
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::tag;
use crate::redis::log::entry::id_of;
use crate::redis::log::stream_info::ask_info;
use crate::telemetry::{REDIS_STREAM_BYTES, REDIS_STREAM_ENTRIES};

const APPENDING: &str = "appending to the stream";
const TRIMMING: &str = "to trim the stream";

/// Appends once for each idempotency key: gives back the id, and 1 when the key was known.
const ONCE: &[u8] = b"\
local known = redis.call('GET', KEYS[2]) \
if known then return {known, 1} end \
local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], ARGV[3], '*', 'event', ARGV[4]) \
redis.call('SET', KEYS[2], id, 'PX', ARGV[1]) \
return {id, 0}";

/// How events become commands.
pub(in crate::redis) struct AppendCommands {
    pub(super) key: Box<[u8]>,
    channel: Box<[u8]>,
    /// In a Cluster: the channel that lies on the stream's shard, until Redis says that it knows none.
    pub(super) sharded: Option<Box<[u8]>>,
    /// What an idempotency key's name in Redis begins with: it lies in the stream's slot.
    once: Box<[u8]>,
    window_ms: Box<[u8]>,
    max_events: Box<[u8]>,
    max_age: Duration,
    /// `~` or `=`.
    trim: &'static [u8],
}

/// What the names of idempotency keys in Redis begin with: in a Cluster they lie in the stream's slot.
pub(in crate::redis) fn dedup_keys(stream: &config::RedisStream, prefix: &str) -> Box<[u8]> {
    let tag = String::from_utf8_lossy(tag(stream.key.as_bytes()));
    format!("{prefix}:once:{{{tag}}}:").into_bytes().into()
}

impl AppendCommands {
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
            once: dedup_keys(stream, prefix),
            window_ms: idempotency_window.as_millis().max(1).to_string().into_bytes().into(),
            max_events: stream.max_events.to_string().into_bytes().into(),
            max_age: stream.max_age,
            trim: match stream.trim {
                Trim::Approximate => b"~",
                Trim::Exact => b"=",
            },
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>, field: &[u8], messages: &[RelayedEnvelope]) {
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

    /// Holds the stream to its bounds.
    pub(super) async fn trim(
        &self,
        connection: &mut RedisConnection,
        limit: Duration,
    ) -> Result<(), RedisError> {
        let Self { key, trim, max_events, max_age, .. } = self;
        let mut text = Vec::new();
        write_command(&mut text, &[b"XTRIM", key, b"MAXLEN", trim, max_events]);
        connection.send(&text).await?;
        let mut reply = connection.token(limit, TRIMMING).await?;
        if !max_age.is_zero() {
            // By the clock that makes the ids.
            let clock = connection.clock(limit).await?;
            let oldest = clock.ms.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
            text.clear();
            write_command(&mut text, &[b"XTRIM", key, b"MINID", trim, oldest.to_string().as_bytes()]);
            connection.send(&text).await?;
            reply = connection.token(limit, TRIMMING).await?;
        }
        match reply {
            RespToken::Integer(_) => {}
            RespToken::Error(text) => return Err(RedisError::refused(TRIMMING, &text, None)),
            _ => return Err(RedisError::Unexpected),
        }
        text.clear();
        ask_info(&mut text, key);
        write_command(&mut text, &[b"MEMORY", b"USAGE", key]);
        connection.send(&text).await?;
        if let Some(info) = connection.info(limit).await? {
            metrics::gauge!(REDIS_STREAM_ENTRIES).set(info.length as f64);
        }
        // Where it is not allowed nobody knows.
        if let RespToken::Integer(bytes) = connection.token(limit, TRIMMING).await? {
            metrics::gauge!(REDIS_STREAM_BYTES).set(bytes as f64);
        }
        Ok(())
    }
}

/// What Redis answered to one command.
pub(super) enum AppendReply {
    Took(Relayed),
    Refused(Bytes),
}

/// Reads the answer to one command.
pub(super) async fn read_one(
    connection: &mut RedisConnection,
    limit: Duration,
) -> Result<AppendReply, RedisError> {
    let id = |token| match token {
        RespToken::Bulk(text) => id_of(&text).ok_or(RedisError::Unexpected),
        _ => Err(RedisError::Unexpected),
    };
    match connection.token(limit, APPENDING).await? {
        RespToken::Error(text) => Ok(AppendReply::Refused(text)),
        // Of PUBLISH: how many heard it, which is theirs to know.
        RespToken::Integer(_) => Ok(AppendReply::Took(Relayed::default())),
        RespToken::Array(2) => {
            let id = id(connection.token(limit, APPENDING).await?)?;
            let known = connection.token(limit, APPENDING).await?;
            Ok(AppendReply::Took(Relayed { id: Some(id), duplicate: known == RespToken::Integer(1) }))
        }
        token => Ok(AppendReply::Took(Relayed { id: Some(id(token)?), duplicate: false })),
    }
}

/// Reads the answers to a transaction of `count` commands.
pub(super) async fn read_transaction(
    connection: &mut RedisConnection,
    count: usize,
    limit: Duration,
) -> Result<Vec<AppendReply>, RedisError> {
    let mut refused = None;
    // To MULTI, then to each command that it is queued.
    for _ in 0..=count {
        match connection.token(limit, APPENDING).await? {
            RespToken::Status(_) => {}
            RespToken::Error(text) => {
                refused.get_or_insert(text);
            }
            _ => return Err(RedisError::Unexpected),
        }
    }
    match connection.token(limit, APPENDING).await? {
        RespToken::Array(answers) if answers == count => {
            let mut all = Vec::with_capacity(count);
            for _ in 0..count {
                all.push(read_one(connection, limit).await?);
            }
            Ok(all)
        }
        RespToken::Error(text) => Ok(vec![AppendReply::Refused(refused.unwrap_or(text))]),
        RespToken::Nil => Ok(vec![AppendReply::Refused(Bytes::from_static(b"EXECABORT"))]),
        _ => Err(RedisError::Unexpected),
    }
}
