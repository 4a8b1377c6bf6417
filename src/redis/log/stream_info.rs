//! What Redis says of the stream as a whole, and what follows for somebody who has read it up to some id.
//!
//! The judgement is pure: it takes what was answered, and errs on the side of a gap.

use std::time::Duration;

use crate::event::EventId;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::log::entry::id_of;
use crate::redis::log::position::{BEFORE_ALL, ReadPosition};

/// What `XINFO STREAM` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct RedisStreamInfo {
    /// Entries that it holds.
    pub(in crate::redis) length: u64,
    /// The last id that it gave away.
    pub(in crate::redis) last: EventId,
    /// Entries that it ever took; not before Redis 7.
    pub(in crate::redis) added: Option<u64>,
    /// The newest entry that was deleted by its id; not before Redis 7.
    pub(in crate::redis) deleted: Option<EventId>,
}

/// How the stream stands to somebody who has everything up to some id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Verdict {
    /// What stands behind the id is all there is to read.
    Whole,
    /// Entries behind the id have been trimmed, or may have been.
    Trimmed,
    /// Redis does not know the id any more: it lost a part, or the stream is another one.
    Lost,
}

const LOOKING: &str = "the state of the stream";

/// Asks for what [`RedisConnection::info`] reads.
pub(in crate::redis) fn ask_info(commands: &mut Vec<u8>, key: &[u8]) {
    write_command(commands, &[b"XINFO", b"STREAM", key]);
}

/// How many questions [`ask_standing`] asks.
pub(in crate::redis) const QUESTIONS: usize = 3;

/// Asks for what [`RedisConnection::standing`] reads.
pub(in crate::redis) fn ask_standing(commands: &mut Vec<u8>, key: &[u8], read: EventId) {
    let id = read.to_string();
    ask_info(commands, key);
    write_command(commands, &[b"XRANGE", key, id.as_bytes(), id.as_bytes(), b"COUNT", b"1"]);
    write_command(commands, &[b"XRANGE", key, b"-", b"+", b"COUNT", b"1"]);
}

impl RedisConnection {
    /// Reads how the stream stands to a reader that has all of it up to that place.
    pub(in crate::redis) async fn standing(
        &mut self,
        ReadPosition { id: read, added, deleted, .. }: ReadPosition,
        limit: Duration,
    ) -> Result<(Verdict, Option<RedisStreamInfo>), RedisError> {
        let info = self.info(limit).await?;
        let there = self.one_id(limit).await?.is_some();
        let first = self.one_id(limit).await?;
        // Older ones are there: nothing was trimmed.
        let there = there || deleted && first.is_some_and(|first| first.order() < read.order());
        let verdict = match info {
            Some(info) => info.judge(read, added, there, first),
            None if read == BEFORE_ALL => Verdict::Whole,
            None => Verdict::Lost,
        };
        Ok((verdict, info))
    }

    /// Reads what stands before the answers of a transaction of `commands` commands: they come next. False when there
    /// may be none: then the commands are answered one by one, and `EXEC` with an error.
    pub(in crate::redis) async fn transaction(
        &mut self,
        commands: usize,
        limit: Duration,
    ) -> Result<bool, RedisError> {
        // To MULTI, then to each command that it is queued.
        for nth in 0..=commands {
            match self.token(limit, LOOKING).await? {
                RespToken::Status(_) => {}
                RespToken::Error(text) if nth == 0 && text.starts_with(b"NOPERM") => return Ok(false),
                RespToken::Error(text) => return Err(RedisError::refused(LOOKING, &text, None)),
                _ => return Err(RedisError::Unexpected),
            }
        }
        match self.token(limit, LOOKING).await? {
            RespToken::Array(answers) if answers == commands => Ok(true),
            RespToken::Error(text) => Err(RedisError::refused(LOOKING, &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }

    /// Reads the answer to `XINFO STREAM`; None when there is no such stream.
    pub(in crate::redis) async fn info(
        &mut self,
        limit: Duration,
    ) -> Result<Option<RedisStreamInfo>, RedisError> {
        let fields = match self.token(limit, LOOKING).await? {
            RespToken::Array(fields) => fields,
            RespToken::Error(text) if text.as_ref() == b"ERR no such key" => return Ok(None),
            RespToken::Error(text) => return Err(RedisError::refused(LOOKING, &text, None)),
            _ => return Err(RedisError::Unexpected),
        };
        let (mut length, mut last, mut added, mut deleted) = (None, None, None, None);
        for _ in 0..fields / 2 {
            let name = self.token(limit, LOOKING).await?;
            let value = self.token(limit, LOOKING).await?;
            match (&name, &value) {
                (RespToken::Bulk(name), RespToken::Integer(number)) if name.as_ref() == b"length" => {
                    length = u64::try_from(*number).ok();
                }
                (RespToken::Bulk(name), RespToken::Integer(number)) if name.as_ref() == b"entries-added" => {
                    added = u64::try_from(*number).ok();
                }
                (RespToken::Bulk(name), RespToken::Bulk(id)) if name.as_ref() == b"last-generated-id" => {
                    last = id_of(id);
                }
                (RespToken::Bulk(name), RespToken::Bulk(id)) if name.as_ref() == b"max-deleted-entry-id" => {
                    deleted = id_of(id);
                }
                _ => self.pass(value, limit, LOOKING).await?,
            }
        }
        match (length, last) {
            (Some(length), Some(last)) => Ok(Some(RedisStreamInfo { length, last, added, deleted })),
            _ => Err(RedisError::Unexpected),
        }
    }

    /// Reads the answer to an `XRANGE … COUNT 1`: the entry's id, if there is one.
    pub(in crate::redis) async fn one_id(&mut self, limit: Duration) -> Result<Option<EventId>, RedisError> {
        match self.token(limit, LOOKING).await? {
            RespToken::Array(0) => Ok(None),
            RespToken::Array(1) => Ok(Some(self.entry(limit, LOOKING).await?.id)),
            RespToken::Error(text) => Err(RedisError::refused(LOOKING, &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}

impl RedisStreamInfo {
    /// Judges for somebody who has everything up to `read`, which was the `added`th entry where that is known.
    /// `there` says whether that very entry is still held, `first` is the oldest that is.
    pub(in crate::redis) fn judge(
        &self,
        read: EventId,
        added: Option<u64>,
        there: bool,
        first: Option<EventId>,
    ) -> Verdict {
        if self.last.order() < read.order() {
            return Verdict::Lost;
        }
        if self.last.order() == read.order() {
            return match added.zip(self.added) {
                // Something in front of it was added and taken away again before it could be read.
                Some((then, now)) if now > then => Verdict::Trimmed,
                Some((then, now)) if now < then => Verdict::Lost,
                _ => Verdict::Whole,
            };
        }
        if there || self.deleted == Some(read) {
            return Verdict::Whole;
        }
        if read == BEFORE_ALL {
            return match self.added {
                Some(now) if now > self.length => Verdict::Trimmed,
                _ => Verdict::Whole,
            };
        }
        if first.is_some_and(|first| first.order() < read.order()) {
            // Older ones are there: it was not trimmed away. Deleted by hand, or never known to this Redis.
            return Verdict::Lost;
        }
        match (added, self.added) {
            // All that came since is still there.
            (Some(then), Some(now)) if then.checked_add(self.length) == Some(now) => Verdict::Whole,
            // A stream that has never let go of anything cannot have trimmed: it is another one.
            (_, Some(now)) if now == self.length => Verdict::Lost,
            _ => Verdict::Trimmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0, tag: None }
    }

    #[test]
    fn a_gap_is_never_taken_for_none() {
        let read = id(50);
        let info =
            |length, last, added| RedisStreamInfo { length, last: id(last), added, deleted: Some(id(20)) };
        for (what, info, added, there, first, verdict) in [
            ("nothing new", info(3, 50, Some(9)), Some(9), true, Some(10), Verdict::Whole),
            ("nothing new, and all trimmed", info(0, 50, None), None, false, None, Verdict::Whole),
            ("passed over", info(1, 50, Some(11)), Some(9), true, Some(50), Verdict::Trimmed),
            ("another of the same id", info(1, 50, Some(1)), Some(9), true, Some(50), Verdict::Lost),
            ("something new", info(3, 60, None), None, true, Some(10), Verdict::Whole),
            ("rolled back", info(3, 40, Some(9)), Some(9), false, Some(10), Verdict::Lost),
            ("rolled back and gone on", info(3, 70, Some(9)), Some(9), false, Some(10), Verdict::Lost),
            ("begun anew", info(2, 70, Some(2)), Some(9), false, Some(60), Verdict::Lost),
            ("trimmed past it", info(2, 70, Some(19)), Some(9), false, Some(60), Verdict::Trimmed),
            ("trimmed up to it", info(2, 70, Some(11)), Some(9), false, Some(60), Verdict::Whole),
            ("trimmed, nobody knows how far", info(2, 70, None), Some(9), false, Some(60), Verdict::Trimmed),
            (
                "trimmed, nobody knows from where",
                info(2, 70, Some(11)),
                None,
                false,
                Some(60),
                Verdict::Trimmed,
            ),
            ("all trimmed past it", info(0, 70, Some(11)), Some(9), false, None, Verdict::Trimmed),
        ] {
            assert_eq!(info.judge(read, added, there, first.map(id)), verdict, "{what}");
        }
        let none = info(2, 70, Some(2));
        assert_eq!(none.judge(BEFORE_ALL, None, false, Some(id(60))), Verdict::Whole, "there was no stream");
        let none = info(1, 70, Some(2));
        assert_eq!(
            none.judge(BEFORE_ALL, None, false, Some(id(70))),
            Verdict::Trimmed,
            "nor anybody to see it"
        );
        let deleted = RedisStreamInfo { deleted: Some(read), ..info(3, 70, None) };
        assert_eq!(deleted.judge(read, None, false, Some(id(10))), Verdict::Whole, "deleted by hand");
    }
}
