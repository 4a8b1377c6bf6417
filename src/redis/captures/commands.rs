//! What is asked of the store of recorded answers, as scripts, and what they say.
//!
//! The bytes of an answer are a stream of which each entry's id is `<the place where its bytes end>-0`: a reader at a
//! place reads on behind that id, and what is let go of is trimmed by it. `0-1` is the head, `<end>-2` the end. All
//! that is known beside is a hash. Whatever is written names the place where the copy ends, so that what comes twice
//! changes nothing.

use std::time::Duration;

use crate::capture::{CopyName, CopyUpdate, HolderMessage, NameStep, NewCopy};
use crate::redis::captures::names::CaptureKeys;
use crate::redis::client::resp::write_command;

/// For how long an instance is believed to live that does not say so again.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How long what an instance is told is kept, and how many messages of it.
const INBOX_MS: &str = "60000";
const INBOX_LENGTH: &str = "1000";

/// The fields of a copy that begins, whose holder lives. KEYS: answer, bytes, holder. ARGV, from the one with this
/// number on: milliseconds, base, edges, route, owner, holder, for how long it is believed to live.
macro_rules! begin {
    ($answer:literal, $bytes:literal, $lives:literal, $from:literal) => {
        concat!(
            "redis.call('DEL', ",
            $answer,
            ", ",
            $bytes,
            ") ",
            "redis.call('HSET', ",
            $answer,
            ", 'base', ARGV[",
            $from,
            " + 1], 'end', ARGV[",
            $from,
            " + 1], ",
            "'edges', ARGV[",
            $from,
            " + 2], 'route', ARGV[",
            $from,
            " + 3], 'owner', ARGV[",
            $from,
            " + 4], ",
            "'holder', ARGV[",
            $from,
            " + 5], 'state', 'running') ",
            "redis.call('PEXPIRE', ",
            $answer,
            ", ARGV[",
            $from,
            "]) ",
            "redis.call('SET', ",
            $lives,
            ", '1', 'PX', ARGV[",
            $from,
            " + 6]) "
        )
    };
}

const BEGIN: &str = concat!(begin!("KEYS[1]", "KEYS[2]", "KEYS[3]", "1"), "return 1");

/// The same for the owner of a name: gives back whose it is if it is not free. KEYS: name, answer, bytes, holder.
/// ARGV: id, whose the name may be before, then as above.
const CLAIM: &str = concat!(
    "local now = redis.call('GET', KEYS[1]) \
     if now == ARGV[1] then return '' end \
     if now and now ~= ARGV[2] then return now end ",
    begin!("KEYS[2]", "KEYS[3]", "KEYS[4]", "3"),
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) \
     return ''"
);

/// What is known of the answer of a name, or of that id. KEYS: name. ARGV: what an answer's key and a holder's begin
/// with, the id.
const LOOK: &str = "local id = redis.call('GET', KEYS[1]) \
     if not id or not redis.call('HGET', ARGV[1] .. id, 'end') then id = ARGV[3] end \
     local key = ARGV[1] .. id \
     local route = redis.call('HGET', key, 'route') \
     if not route then return {'', '', '', '', 0} end \
     local holder = redis.call('HGET', key, 'holder') \
     local running = 0 \
     if redis.call('HGET', key, 'state') == 'running' and redis.call('GET', ARGV[2] .. holder) then running = 1 end \
     return {id, route, redis.call('HGET', key, 'owner'), holder, running}";

/// Adds bytes to a copy and nothing else, which is what is done all the time. KEYS: answer, bytes. ARGV: milliseconds,
/// from, to, bytes. Answers as `WRITE`.
const APPEND: &str = "local now = redis.call('HGET', KEYS[1], 'end') \
     if now ~= ARGV[2] then return now and tonumber(now) or -1 end \
     redis.call('XADD', KEYS[2], ARGV[3] .. '-0', 'bytes', ARGV[4]) \
     redis.call('HSET', KEYS[1], 'end', ARGV[3]) \
     redis.call('PEXPIRE', KEYS[1], ARGV[1]) \
     redis.call('PEXPIRE', KEYS[2], ARGV[1]) \
     return tonumber(ARGV[3])";

/// Adds to a copy. KEYS: answer, bytes, names. ARGV: id, milliseconds, from, to, bytes, base, base + 1, edges, head,
/// how, trailers, then what is done with each name. Gives back where the copy ends; -1 where there is none.
const WRITE: &str = "local now = redis.call('HGET', KEYS[1], 'end') \
     if not now then return -1 end \
     if now ~= ARGV[3] then return tonumber(now) end \
     if ARGV[9] ~= '' and not redis.call('HGET', KEYS[1], 'head') then \
       redis.call('HSET', KEYS[1], 'head', ARGV[9]) \
       if now == '0' then redis.call('XADD', KEYS[2], '0-1', 'head', ARGV[9]) end \
     end \
     if ARGV[5] ~= '' then \
       redis.call('XADD', KEYS[2], ARGV[4] .. '-0', 'bytes', ARGV[5]) \
       redis.call('HSET', KEYS[1], 'end', ARGV[4]) \
     end \
     if ARGV[6] ~= '' then \
       redis.call('HSET', KEYS[1], 'base', ARGV[6], 'edges', ARGV[8]) \
       redis.call('XTRIM', KEYS[2], 'MINID', ARGV[7]) \
     end \
     if ARGV[10] ~= '' and redis.call('HGET', KEYS[1], 'state') == 'running' then \
       redis.call('HSET', KEYS[1], 'state', ARGV[10]) \
       redis.call('XADD', KEYS[2], ARGV[4] .. '-2', 'end', ARGV[10], 'trailers', ARGV[11]) \
     end \
     redis.call('PEXPIRE', KEYS[1], ARGV[2]) \
     redis.call('PEXPIRE', KEYS[2], ARGV[2]) \
     for n = 3, #KEYS do \
       local step, whose = ARGV[n + 9], redis.call('GET', KEYS[n]) \
       if step == 'take' or (step == 'free' and not whose) then \
         redis.call('SET', KEYS[n], ARGV[1], 'PX', ARGV[2]) \
       elseif whose == ARGV[1] then redis.call('PEXPIRE', KEYS[n], ARGV[2]) end \
     end \
     return tonumber(ARGV[4])";

/// Tells an instance something. KEYS: inbox. ARGV: entries, milliseconds, then the fields.
const TELL: &str = "redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3)) \
     return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// Appends what begins a copy.
pub(super) fn begin(commands: &mut Vec<u8>, keys: &CaptureKeys, holder: &str, new: &NewCopy) {
    let named = [keys.answer(&new.id), keys.bytes(&new.id), keys.holder(holder)];
    eval(commands, BEGIN, &named, &beginning(new, holder));
}

pub(super) fn claim(
    commands: &mut Vec<u8>,
    keys: &CaptureKeys,
    holder: &str,
    (new, name, before): (&NewCopy, &CopyName, Option<&str>),
) {
    let named = [keys.name(name), keys.answer(&new.id), keys.bytes(&new.id), keys.holder(holder)];
    let mut words = vec![new.id.as_bytes().to_vec(), before.unwrap_or_default().into()];
    words.extend(beginning(new, holder));
    eval(commands, CLAIM, &named, &words);
}

fn beginning(new: &NewCopy, holder: &str) -> Vec<Vec<u8>> {
    let (ttl, base) = (new.ttl.as_millis().max(1).to_string(), new.base.to_string());
    let lives = LEASE.as_millis().to_string();
    [&ttl, &base, &new.edges, &*new.route, &new.owner, holder, &lives]
        .map(|word| word.as_bytes().to_vec())
        .into()
}

pub(super) fn look(commands: &mut Vec<u8>, keys: &CaptureKeys, name: &CopyName) {
    let words = [keys.answer(""), keys.holder(""), name.name.to_string()].map(String::into_bytes);
    eval(commands, LOOK, &[keys.name(name)], &words);
}

pub(super) fn write(commands: &mut Vec<u8>, keys: &CaptureKeys, update: &CopyUpdate) {
    let mut named = vec![keys.answer(&update.id), keys.bytes(&update.id)];
    let (ttl, end) =
        (update.ttl.as_millis().max(1).to_string().into_bytes(), update.from + update.bytes.len() as u64);
    let text = |number: u64| number.to_string().into_bytes();
    if update.is_plain() {
        return eval(commands, APPEND, &named, &[ttl, text(update.from), text(end), update.bytes.to_vec()]);
    }
    named.extend(update.names.iter().map(|(name, _)| keys.name(name)));
    let (base, edges) = update.base.as_ref().map_or((None, ""), |(base, edges)| (Some(*base), edges));
    let (how, trailers) =
        update.ended.as_ref().map_or((&b""[..], &b""[..]), |(how, trailers)| (how.as_bytes(), trailers));
    let mut words = vec![
        update.id.as_bytes().to_vec(),
        ttl,
        text(update.from),
        text(end),
        update.bytes.to_vec(),
        base.map(text).unwrap_or_default(),
        base.map(|base| text(base + 1)).unwrap_or_default(),
        edges.as_bytes().to_vec(),
        update.head.as_deref().unwrap_or_default().to_vec(),
        how.to_vec(),
        trailers.to_vec(),
    ];
    words.extend(update.names.iter().map(|(_, step)| match step {
        NameStep::Take => b"take".to_vec(),
        NameStep::TakeFree => b"free".to_vec(),
        NameStep::Keep => b"keep".to_vec(),
    }));
    eval(commands, WRITE, &named, &words);
}

pub(super) fn forget(commands: &mut Vec<u8>, keys: &CaptureKeys, id: &str) {
    write_command(commands, &[b"DEL", keys.answer(id).as_bytes(), keys.bytes(id).as_bytes()]);
}

/// Tells an instance `message`; with None only that it is to look.
pub(super) fn tell(
    commands: &mut Vec<u8>,
    keys: &CaptureKeys,
    instance: &str,
    message: Option<&HolderMessage>,
) {
    let mut words = vec![INBOX_LENGTH.to_owned(), INBOX_MS.to_owned()];
    words.extend(match message {
        None => vec!["look".to_owned(), String::new()],
        Some(HolderMessage::Stop(id)) => vec!["stop".to_owned(), id.to_string()],
        Some(HolderMessage::Readers { id, from, readers }) => {
            let fields =
                [("readers", id.to_string()), ("at", from.to_string()), ("count", readers.to_string())];
            fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
        }
    });
    let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
    eval(commands, TELL, &[keys.inbox(instance)], &words);
}

/// What the fields of an entry of an inbox say; None for what is only to be looked at, or is nobody's.
pub(super) fn told(fields: &[(Vec<u8>, Vec<u8>)]) -> Option<HolderMessage> {
    let text = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name == wanted.as_bytes());
        found.and_then(|(_, value)| str::from_utf8(value).ok())
    };
    if let Some(id) = text("stop") {
        return Some(HolderMessage::Stop(id.into()));
    }
    let (id, from) = (text("readers")?.into(), text("at")?.into());
    Some(HolderMessage::Readers { id, from, readers: text("count")?.parse().ok()? })
}

fn eval(commands: &mut Vec<u8>, script: &str, keys: &[String], words: &[Vec<u8>]) {
    let count = keys.len().to_string();
    let mut all: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), count.as_bytes()];
    all.extend(keys.iter().map(String::as_bytes));
    all.extend(words.iter().map(Vec::as_slice));
    write_command(commands, &all);
}
