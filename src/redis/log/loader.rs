//! The start of the log's copy: the newest part of the stream, read from its end backwards in pages.
//!
//! The join with what is read afterwards is exact: it starts behind the newest entry of the first page, or behind the
//! last id that was given away where there is none.

use std::time::Duration;

use crate::event::EventId;
use crate::log::{EditRequest, History, LogRecord, RecordKind};
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::log::entry::{AFTER, BEGIN, BadEntry, LOST, MARK, id_of};
use crate::redis::log::position::{BEFORE_ALL, ReadPosition, ReaderConfig};
use crate::redis::log::record::{CommandReaders, NoPlace, understood};
use crate::redis::log::stream_info::ask_info;

const LOADING: &str = "loading the stream";
const MARKING: &str = "to mark the stream";

/// Complaints that are kept.
const MAX_FOREIGN: usize = 1000;

/// What came of a load.
pub(in crate::redis) struct Loaded {
    /// Where to read on.
    pub(in crate::redis) at: ReadPosition,
    /// Why entries are no events; the first of them.
    pub(in crate::redis) foreign: Vec<BadEntry>,
}

/// Fills `history` with the newest part of the stream. A stream that is not there is begun.
pub(in crate::redis) async fn load(
    connection: &mut RedisConnection,
    reading: &ReaderConfig,
    history: &mut History,
    readers: &CommandReaders,
) -> Result<Loaded, RedisError> {
    let ReaderConfig { key, limit, batch, .. } = reading;
    let clock = connection.clock(*limit).await?;
    let mut commands = Vec::new();
    ask_info(&mut commands, key);
    connection.send(&commands).await?;
    let mut foreign = Vec::new();
    let Some(info) = connection.info(*limit).await? else {
        let begun = begin(connection, reading, None, None).await?;
        let id = begun.unwrap_or(BEFORE_ALL);
        return Ok(Loaded { at: ReadPosition::at(id), foreign });
    };
    let mut at = ReadPosition { added: info.added, ..ReadPosition::at(info.last) };
    let mut to = "+".to_owned();
    'pages: loop {
        let mut commands = Vec::new();
        let count = batch.to_string();
        write_command(&mut commands, &[b"XREVRANGE", key, to.as_bytes(), b"-", b"COUNT", count.as_bytes()]);
        let entries = ask_entries(connection, &commands, *limit).await?;
        let mut more = true;
        for _ in 0..entries {
            let entry = connection.entry(*limit, LOADING).await?;
            if !more {
                // The rest of the page has to be read off all the same.
                continue;
            }
            if to == "+" && entry.id.order() > at.id.order() {
                // Newer than what the stream said of itself.
                (at.id, at.added) = (entry.id, None);
            }
            to = format!("({}", entry.id);
            let what = match understood(entry.id, entry.what, readers) {
                Ok(place) => place,
                Err(NoPlace::Foreign(bad)) => {
                    if foreign.len() < MAX_FOREIGN {
                        foreign.push(bad);
                    }
                    RecordKind::Nothing
                }
                Err(NoPlace::Lost { .. }) => {
                    at.mark = Some(entry.id);
                    history.begin_with_loss(entry.id);
                    more = false;
                    continue;
                }
            };
            more = history.add_older(LogRecord { id: entry.id, what, age: clock.age(entry.id) });
        }
        if !more || entries < *batch {
            break 'pages;
        }
    }
    Ok(Loaded { at, foreign })
}

/// Makes the changes that stand behind `from` and in front of what `history` has in what it knows of the sets.
pub(in crate::redis) async fn advance(
    connection: &mut RedisConnection,
    reading: &ReaderConfig,
    history: &mut History,
    from: EventId,
    readers: &CommandReaders,
) -> Result<(), RedisError> {
    let ReaderConfig { key, limit, batch, .. } = reading;
    let Some(to) = history.begins_behind() else { return Ok(()) };
    let (to, mut from, count) = (to.to_string(), from, batch.to_string());
    loop {
        if from.order() >= history.begins_behind().unwrap_or(from).order() {
            return Ok(());
        }
        let after = format!("({from}");
        let mut commands = Vec::new();
        let words = [b"XRANGE", &**key, after.as_bytes(), to.as_bytes(), b"COUNT", count.as_bytes()];
        write_command(&mut commands, &words);
        let entries = ask_entries(connection, &commands, *limit).await?;
        for _ in 0..entries {
            let entry = connection.entry(*limit, LOADING).await?;
            from = entry.id;
            if let Ok(RecordKind::Change(EditRequest { of, edit, .. })) =
                understood(entry.id, entry.what, readers)
            {
                history.advance(entry.id, &of, edit);
            }
        }
        if entries < *batch {
            return Ok(());
        }
    }
}

/// Whether an entry behind `at` says that `at` itself was deleted with what it takes back: then nothing is missing.
/// `at` is known to be no entry any more.
pub(in crate::redis) async fn is_taken_back(
    connection: &mut RedisConnection,
    reading: &ReaderConfig,
    at: EventId,
) -> Result<bool, RedisError> {
    /// Whose record is further away is taken for lost.
    const MAX_PAGES: usize = 200;
    let ReaderConfig { key, limit, batch, .. } = reading;
    let (mut from, count) = (at, batch.to_string());
    for _ in 0..MAX_PAGES {
        let after = format!("({from}");
        let mut commands = Vec::new();
        write_command(&mut commands, &[b"XRANGE", key, after.as_bytes(), b"+", b"COUNT", count.as_bytes()]);
        let entries = ask_entries(connection, &commands, *limit).await?;
        let mut is_named = false;
        for _ in 0..entries {
            let entry = connection.entry(*limit, LOADING).await?;
            from = entry.id;
            is_named |= entry.deleted.contains(&at);
        }
        if is_named || entries < *batch {
            return Ok(is_named);
        }
    }
    Ok(false)
}

/// Asks for entries: how many there are to be read.
async fn ask_entries(
    connection: &mut RedisConnection,
    commands: &[u8],
    limit: Duration,
) -> Result<usize, RedisError> {
    connection.send(commands).await?;
    match connection.token(limit, LOADING).await? {
        RespToken::Array(entries) => Ok(entries),
        RespToken::Error(text) => Err(RedisError::refused("to let the stream be read", &text, None)),
        _ => Err(RedisError::Unexpected),
    }
}

/// Writes a mark: of the stream's beginning, or of a loss of what stood up to `lost`, with an id behind that one
/// (`last` is the stream's own). None where we may not write.
pub(in crate::redis) async fn begin(
    connection: &mut RedisConnection,
    reading: &ReaderConfig,
    lost: Option<EventId>,
    last: Option<EventId>,
) -> Result<Option<EventId>, RedisError> {
    let ReaderConfig { key, limit, .. } = reading;
    // Ids never fall back behind those that have been seen, so that a cursor from before is known as one.
    let beyond = lost.filter(|lost| last.is_none_or(|last| last.order() <= lost.order()));
    let clock = connection.clock(*limit).await?.ms;
    let mut id = beyond.map_or("*".to_owned(), |lost| format!("{}-0", (lost.ms + 1).max(clock)));
    loop {
        let mut commands = Vec::new();
        match lost {
            None => write_command(&mut commands, &[b"XADD", key, id.as_bytes(), MARK, BEGIN]),
            Some(lost) => {
                let after = lost.to_string();
                write_command(
                    &mut commands,
                    &[b"XADD", key, id.as_bytes(), MARK, LOST, AFTER, after.as_bytes()],
                );
            }
        }
        connection.send(&commands).await?;
        match connection.token(*limit, MARKING).await? {
            RespToken::Bulk(id) => return Ok(Some(id_of(&id).ok_or(RedisError::Unexpected)?)),
            RespToken::Error(text) if text.starts_with(b"NOPERM") => return Ok(None),
            // Somebody was faster, and is beyond it.
            RespToken::Error(text) if text.starts_with(b"ERR The ID") && id != "*" => id = "*".to_owned(),
            RespToken::Error(text) => return Err(RedisError::refused(MARKING, &text, None)),
            _ => return Err(RedisError::Unexpected),
        }
    }
}
