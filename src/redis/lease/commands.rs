//! A lease as commands to Redis, and the answers to them: two keys beside the stream, the lease and the place, which
//! change together with it in one step.
//!
//! The *place* moves in the very script that appends, and an append names the version of the place that it follows. So
//! one that comes twice, or late from an instance that has lost the lease, changes nothing. The lease only says who is
//! at it.

use std::time::Duration;

use bytes::Bytes;

use crate::config;
use crate::config::Trim;
use crate::event::EventId;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::tag;
use crate::redis::lease::place::LeasePlace;
use crate::redis::log::entry::id_of;

/// Takes or renews the lease, if the taker wants it and knows the place: gives back whose it is, the place, and for how
/// long the lease holds. KEYS: lease, place. ARGV: token, milliseconds, wanted, the version that is known, for how long
/// the place is kept (0 = for ever).
const TAKE: &[u8] = b"\
local holder = redis.call('GET', KEYS[1]) \
local place = redis.call('GET', KEYS[2]) or '' \
local version = string.match(place, '^%S*') \
local rest = '' \
if version ~= ARGV[4] then rest = string.sub(place, #version + 2) end \
local whose = 0 \
if holder == ARGV[1] then whose = 1 \
elseif holder then return {2, version, rest, redis.call('PTTL', KEYS[1])} \
elseif ARGV[3] == '1' and version == ARGV[4] then whose = 1 end \
if whose == 1 then \
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
if ARGV[5] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end \
end \
return {whose, version, rest, 0}";

/// Appends for the holder of the lease, behind the place whose version it names: gives back whether that was done, had
/// been done before, or is not to be done; how many entries it were; and the id of the last one. KEYS: lease, place,
/// stream, idempotency keys. ARGV: token, milliseconds (0 = gives the lease up), version, new version, trimming, count,
/// window, for how long the place is kept, what is kept with it, then for each entry how many texts its fields are,
/// which idempotency key it has, and its fields.
const APPEND: &[u8] = b"\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 0, ''} end \
local place = redis.call('GET', KEYS[2]) or '' \
local version, id = string.match(place, '^(%S*) ?(%S*)') \
if version == ARGV[4] and version ~= ARGV[3] then return {2, 0, id} end \
if version ~= ARGV[3] then return {0, 0, ''} end \
local count, i = 0, 10 \
while i <= #ARGV do \
local len, once = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) \
if once == 0 or not redis.call('GET', KEYS[3 + once]) then \
id = redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[5], ARGV[6], '*', unpack(ARGV, i + 2, i + 1 + len)) \
if once > 0 then redis.call('SET', KEYS[3 + once], id, 'PX', ARGV[7]) end \
count = count + 1 \
end \
i = i + 2 + len \
end \
place = ARGV[4] \
if ARGV[9] ~= '' then place = place .. ' ' .. id .. ' ' .. ARGV[9] end \
redis.call('SET', KEYS[2], place) \
if ARGV[8] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[8]) end \
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
return {1, count, id}";

/// Gives the lease up. KEYS: lease. ARGV: token.
const LEAVE: &[u8] = b"\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end \
return 0";

/// What one lease is called in Redis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::redis) struct LeaseKeys {
    pub(in crate::redis) lease: Box<[u8]>,
    pub(in crate::redis) place: Box<[u8]>,
}

/// How this instance takes leases, and appends while it has them.
pub(in crate::redis) struct LeaseCommands {
    stream: Box<[u8]>,
    trim: &'static [u8],
    max_events: Box<[u8]>,
    window_ms: Box<[u8]>,
    /// Drawn at start: nobody else's.
    token: Box<[u8]>,
    length_ms: Box<[u8]>,
    /// For how long a place is kept that nobody holds; 0 = for ever.
    keep_ms: Box<[u8]>,
}

/// How a lease stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum LeaseState {
    Free,
    /// It is ours, for its whole length.
    Ours,
    /// Another instance has it, for so long at the least.
    Others(Duration),
}

/// An append, which moves the place from one version to another.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct LeasedAppend<'a> {
    pub(in crate::redis) from: &'a str,
    pub(in crate::redis) to: &'a str,
    /// What is kept for the next holder; empty = nothing.
    pub(in crate::redis) state: &'a str,
    /// Whether the lease is given up in the same step.
    pub(in crate::redis) leaves: bool,
    pub(in crate::redis) entries: &'a [LeasedEntry<'a>],
}

/// One entry to be appended.
#[derive(Clone, Debug)]
pub(in crate::redis) struct LeasedEntry<'a> {
    /// Names and values in turn.
    pub(in crate::redis) fields: Vec<&'a [u8]>,
    /// The name of its idempotency key in Redis.
    pub(in crate::redis) once: Option<Box<[u8]>>,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum LeasedOutcome {
    /// So many entries had no idempotency key that was known; and the id of the last one that was ever appended so.
    Done { count: u64, last: Option<EventId> },
    /// Nothing was changed: the lease is not ours, or another instance has gone on.
    Lost,
}

impl LeaseKeys {
    /// Beside the stream at `stream`, whose slot they lie in; `name` tells leases of one `purpose` apart.
    pub(in crate::redis) fn new(prefix: &str, purpose: &str, stream: &str, name: Option<&str>) -> Self {
        let tag = String::from_utf8_lossy(tag(stream.as_bytes()));
        let name = name.map(|name| format!("{name}:")).unwrap_or_default();
        let key = |what: &str| format!("{prefix}:{purpose}:{{{tag}}}:{name}{what}").into_bytes().into();
        Self { lease: key("lease"), place: key("place") }
    }
}

impl LeaseCommands {
    /// A lease holds for `length` unless it is renewed, and a place is kept for `keep` then.
    pub(in crate::redis) fn new(
        stream: &config::RedisStream,
        length: Duration,
        keep: Option<Duration>,
        idempotency_window: Duration,
    ) -> Self {
        let ms = |time: Duration| time.as_millis().max(1).to_string().into_bytes().into();
        Self {
            stream: stream.key.as_bytes().into(),
            trim: match stream.trim {
                Trim::Approximate => b"~",
                Trim::Exact => b"=",
            },
            max_events: stream.max_events.to_string().into_bytes().into(),
            window_ms: ms(idempotency_window),
            token: format!("{:016x}{:016x}", random(), random()).into_bytes().into(),
            length_ms: ms(length),
            keep_ms: keep.map_or_else(|| b"0"[..].into(), ms),
        }
    }

    /// Asks how the lease stands. Renews our own; takes a free one if `known` is the version of its place, and not with
    /// None.
    pub(in crate::redis) fn write_take(&self, to: &mut Vec<u8>, keys: &LeaseKeys, known: Option<&str>) {
        let wanted: &[u8] = if known.is_some() { b"1" } else { b"0" };
        let known = known.unwrap_or_default().as_bytes();
        let Self { token, length_ms, keep_ms, .. } = self;
        write_command(
            to,
            &[b"EVAL", TAKE, b"2", &keys.lease, &keys.place, token, length_ms, wanted, known, keep_ms],
        );
    }

    /// Appends and moves the place, if the lease is ours and the place is the one that is named.
    pub(in crate::redis) fn write_append(
        &self,
        to: &mut Vec<u8>,
        keys: &LeaseKeys,
        append: &LeasedAppend<'_>,
    ) {
        let LeasedAppend { from, to: version, state, leaves, entries } = *append;
        let once: Vec<&[u8]> = entries.iter().filter_map(|entry| entry.once.as_deref()).collect();
        let mut nth = 0;
        let numbers: Vec<_> = entries
            .iter()
            .map(|entry| {
                nth += usize::from(entry.once.is_some());
                let once = if entry.once.is_some() { nth } else { 0 };
                (entry.fields.len().to_string(), once.to_string())
            })
            .collect();
        let count = (3 + once.len()).to_string();
        let length: &[u8] = if leaves { b"0" } else { &self.length_ms };
        let Self { stream, token, trim, max_events, window_ms, keep_ms, .. } = self;
        let mut words: Vec<&[u8]> = vec![b"EVAL", APPEND, count.as_bytes(), &keys.lease, &keys.place, stream];
        words.extend(once);
        words.extend([&**token, length, from.as_bytes(), version.as_bytes()]);
        words.extend([trim, &**max_events, &**window_ms, &**keep_ms, state.as_bytes()]);
        for (entry, (len, once)) in entries.iter().zip(&numbers) {
            words.extend([len.as_bytes(), once.as_bytes()]);
            words.extend(&entry.fields);
        }
        write_command(to, &words);
    }

    /// Appends an entry that needs no lease.
    pub(in crate::redis) fn write_entry(&self, to: &mut Vec<u8>, fields: &[&[u8]]) {
        let Self { stream, trim, max_events, .. } = self;
        let mut words: Vec<&[u8]> = vec![b"XADD", stream, b"MAXLEN", trim, max_events, b"*"];
        words.extend(fields);
        write_command(to, &words);
    }

    /// Gives the lease up, if it is ours.
    pub(in crate::redis) fn write_leave(&self, to: &mut Vec<u8>, keys: &LeaseKeys) {
        write_command(to, &[b"EVAL", LEAVE, b"1", &keys.lease, &self.token]);
    }
}

/// Reads the answer to [`LeaseCommands::write_take`].
pub(in crate::redis) async fn read_take(
    connection: &mut RedisConnection,
    limit: Duration,
    doing: &'static str,
) -> Result<(LeaseState, LeasePlace), RedisError> {
    let [whose, version, rest, left] = read_array(connection, limit, doing).await?;
    let (RespToken::Integer(whose), RespToken::Bulk(version), RespToken::Integer(left)) =
        (whose, version, left)
    else {
        return Err(RedisError::Unexpected);
    };
    let rest = match rest {
        RespToken::Bulk(rest) => rest,
        // What is too large to be kept is as good as nothing.
        _ => Bytes::new(),
    };
    let state = match whose {
        0 => LeaseState::Free,
        1 => LeaseState::Ours,
        _ => LeaseState::Others(Duration::from_millis(u64::try_from(left).unwrap_or_default())),
    };
    Ok((state, LeasePlace::read(&version, &rest)))
}

/// Reads the answer to [`LeaseCommands::write_append`].
pub(in crate::redis) async fn read_append(
    connection: &mut RedisConnection,
    limit: Duration,
    doing: &'static str,
) -> Result<LeasedOutcome, RedisError> {
    match read_array(connection, limit, doing).await? {
        [RespToken::Integer(0), _, _] => Ok(LeasedOutcome::Lost),
        [RespToken::Integer(_), RespToken::Integer(count), RespToken::Bulk(last)] => {
            Ok(LeasedOutcome::Done { count: u64::try_from(count).unwrap_or_default(), last: id_of(&last) })
        }
        _ => Err(RedisError::Unexpected),
    }
}

/// Reads an array of so many plain values.
async fn read_array<const N: usize>(
    connection: &mut RedisConnection,
    limit: Duration,
    doing: &'static str,
) -> Result<[RespToken; N], RedisError> {
    match connection.token(limit, doing).await? {
        RespToken::Error(text) => return Err(RedisError::refused(doing, &text, None)),
        RespToken::Array(len) if len == N => {}
        _ => return Err(RedisError::Unexpected),
    }
    let mut tokens = Vec::with_capacity(N);
    for _ in 0..N {
        tokens.push(connection.token(limit, doing).await?);
    }
    tokens.try_into().map_err(|_| RedisError::Unexpected)
}

/// Sixty-four bits that nobody else draws.
pub(in crate::redis) fn random() -> u64 {
    getrandom::u64().expect("the system has random bytes")
}
