//! How events become entries of the stream: the commands that append and trim, and the answers to them.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::config;
use crate::config::Trim;
use crate::control::TakeBackRecord;
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

/// Deletes entries that are taken back, and says so behind them: in the event that tells their readers, or, where that
/// is told already, in a mark.
const TAKE_BACK: &[u8] = b"\
local deleted = {} \
for n = 5, #ARGV do \
if redis.call('XDEL', KEYS[1], ARGV[n]) == 1 then deleted[#deleted + 1] = ARGV[n] end \
end \
local ids = table.concat(deleted, ' ') \
if ARGV[3] == '' then \
return redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], ARGV[2], '*', 'sidestream', 'deleted', 'deleted', ids) \
end \
return redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], ARGV[2], '*', \
'event', ARGV[4], 'taken_back', ARGV[3], 'deleted', ids)";

/// How events become commands.
pub(in crate::redis) struct AppendCommands {
    pub(super) key: Box<[u8]>,
    channel: Box<[u8]>,
    /// In a Cluster: the channel that lies on the stream's shard, until Redis says that it knows none.
    pub(super) sharded: Option<Box<[u8]>>,
    /// What an idempotency key's name in Redis begins with: it lies in the stream's slot.
    once: Box<[u8]>,
    window_ms: Box<[u8]>,
    max_events: usize,
    /// 0 = there is no such bound.
    max_bytes: u64,
    /// As many entries as may stay, by their number and by what they took when that was asked last.
    may_stay: Box<[u8]>,
    /// It has been said that Redis does not tell what they take.
    is_untold: bool,
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
            max_events: stream.max_events,
            max_bytes: stream.max_bytes.0,
            may_stay: stream.max_events.to_string().into_bytes().into(),
            is_untold: false,
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
                        &self.may_stay,
                        json,
                    ],
                );
            } else {
                write_command(
                    to,
                    &[b"XADD", &self.key, b"MAXLEN", self.trim, &self.may_stay, b"*", field, json],
                );
            }
        }
        if together {
            write_command(to, &[b"EXEC"]);
        }
    }

    pub(super) fn write_take_back(&self, to: &mut Vec<u8>, record: &TakeBackRecord) {
        let TakeBackRecord { command, notice, ids } = record;
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let command = command.as_deref().unwrap_or_default();
        let mut words =
            vec![b"EVAL", TAKE_BACK, b"1", &self.key, self.trim, &self.may_stay, command, notice.as_bytes()];
        words.extend(ids.iter().map(String::as_bytes));
        write_command(to, &words);
    }

    /// Holds the stream to its bounds.
    pub(super) async fn trim(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
    ) -> Result<(), RedisError> {
        self.trim_to(connection, limit, b"MAXLEN", &self.may_stay).await?;
        if !self.max_age.is_zero() {
            // By the clock that makes the ids.
            let clock = connection.clock(limit).await?;
            let max_age = u64::try_from(self.max_age.as_millis()).unwrap_or(u64::MAX);
            let oldest = clock.ms.saturating_sub(max_age).to_string();
            self.trim_to(connection, limit, b"MINID", oldest.as_bytes()).await?;
        }
        let mut text = Vec::new();
        ask_info(&mut text, &self.key);
        write_command(&mut text, &[b"MEMORY", b"USAGE", &self.key]);
        connection.send(&text).await?;
        let entries = connection.info(limit).await?.map(|info| info.length);
        if let Some(entries) = entries {
            metrics::gauge!(REDIS_STREAM_ENTRIES).set(entries as f64);
        }
        match connection.token(limit, TRIMMING).await? {
            RespToken::Integer(bytes) => {
                let bytes = u64::try_from(bytes).unwrap_or_default();
                metrics::gauge!(REDIS_STREAM_BYTES).set(bytes as f64);
                let may_stay = stays_within(self.max_bytes, entries.unwrap_or_default(), bytes);
                let may_stay = may_stay.map_or(self.max_events, |fitting| fitting.min(self.max_events));
                self.may_stay = may_stay.to_string().into_bytes().into();
                if entries.is_some_and(|entries| entries > may_stay as u64) {
                    self.trim_to(connection, limit, b"MAXLEN", &self.may_stay).await?;
                }
            }
            // Where it is not allowed nobody knows.
            RespToken::Error(text) if self.max_bytes > 0 && !self.is_untold => {
                self.is_untold = true;
                let error = RedisError::refused("to say what the stream takes", &text, None);
                warn!(%error, "redis.stream.max_bytes does not hold: its user needs +memory|usage");
            }
            _ => {}
        }
        Ok(())
    }

    async fn trim_to(
        &self,
        connection: &mut RedisConnection,
        limit: Duration,
        bound: &[u8],
        value: &[u8],
    ) -> Result<(), RedisError> {
        let mut text = Vec::new();
        write_command(&mut text, &[b"XTRIM", &self.key, bound, self.trim, value]);
        connection.send(&text).await?;
        match connection.token(limit, TRIMMING).await? {
            RespToken::Integer(_) => Ok(()),
            RespToken::Error(text) => Err(RedisError::refused(TRIMMING, &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}

/// How many entries may stay when `entries` of them take `bytes`; None without a bound, or where nothing is known.
fn stays_within(max_bytes: u64, entries: u64, bytes: u64) -> Option<usize> {
    /// So many stay, however large they are: a reader would always be behind.
    const FEWEST: u128 = 100;
    if max_bytes == 0 || entries == 0 || bytes == 0 {
        return None;
    }
    let fitting = u128::from(entries) * u128::from(max_bytes) / u128::from(bytes);
    Some(usize::try_from(fitting.max(FEWEST)).unwrap_or(usize::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_entries_stay_as_fit_by_their_average() {
        assert_eq!(stays_within(0, 10, 10), None);
        assert_eq!(stays_within(1 << 20, 0, 0), None);
        assert_eq!(stays_within(1 << 20, 4_000, 4 << 20), Some(1_000));
        assert_eq!(stays_within(1 << 20, 1_000, 1 << 19), Some(2_000));
        assert_eq!(stays_within(1, 1_000, 1 << 30), Some(100));
        assert_eq!(stays_within(u64::MAX, u64::MAX, 1), Some(usize::MAX));
    }
}
