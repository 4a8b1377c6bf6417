//! What the log keeps of a topic, for the backend: pages of events, oldest first.
//!
//! A page reads what streams would get on a replay: what is over (`ttl`), superseded (`coalesce`) or ephemeral is not
//! in it. This file knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::event::{EventId, Key, Name};
use crate::log::{Located, Log, Reset};

/// From where a page is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Since {
    /// All that is kept.
    Origin,
    /// What came after the event with this id.
    Id(String),
    /// So many of the newest events.
    Last(usize),
}

/// Some events of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EventPage {
    pub topic: Name,
    /// Oldest first.
    pub events: Vec<StoredEvent>,
    /// Where the next page begins: behind the last of these events, or where the log ends.
    pub next: EventId,
    /// Whether there was more behind `next` already.
    pub more: bool,
    /// Why there is nothing behind the id that was given: the page begins with the oldest that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<&'static str>,
}

/// An event as a browser reads it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StoredEvent {
    pub id: EventId,
    /// None = `message`.
    pub event: Option<String>,
    pub data: String,
    /// When it was published, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Why there is no page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoPage {
    #[error("`since` is no id of an event")]
    Malformed,
    #[error("the log is not loaded yet, or the end of it could not be asked for: ask again")]
    NotNow,
}

/// How many events a page holds at most.
pub const MAX_PAGE: usize = 1000;
/// Frames of a page, but for one more.
const MAX_BYTES: usize = 4 << 20;
/// How long an id is waited for that another instance gave away a moment ago.
const AHEAD: Duration = Duration::from_secs(3);

/// At most `limit` events of `topic`.
pub async fn history(log: &Log, topic: Name, since: Since, limit: usize) -> Result<EventPage, NoPage> {
    if !log.is_loaded() {
        return Err(NoPage::NotNow);
    }
    let keys = [Key::Topic(topic.clone())];
    let (mut from, mut reset) = match since {
        Since::Origin => (log.origin().position, None),
        Since::Last(count) => (log.back(&keys, count).position, None),
        Since::Id(text) => match log.locate_soon(&text, AHEAD).await {
            Located::At(cursor) => (cursor.position, None),
            Located::Reset(Reset::Malformed) => return Err(NoPage::Malformed),
            Located::Reset(why) => (log.origin().position, Some(why)),
            Located::NotNow => return Err(NoPage::NotNow),
        },
    };
    let (limit, mut events, mut bytes) = (limit.clamp(1, MAX_PAGE), Vec::new(), 0);
    let replay = loop {
        match log.replay(&keys, from, limit - events.len(), MAX_BYTES - bytes) {
            Ok(replay) => {
                bytes += replay.entries.iter().map(|entry| entry.frame.chunk().len()).sum::<usize>();
                events.extend(replay.entries.iter().map(Arc::clone));
                match &replay.change {
                    // The topic ended there and began anew: that is nothing to its history.
                    Some(end) if events.len() < limit && bytes < MAX_BYTES => from = end.position,
                    _ => break replay,
                }
            }
            // Trimmed between the two looks.
            Err(why) => {
                (from, reset) = (log.origin().position, reset.or(Some(why)));
                (events, bytes) = (Vec::new(), 0);
            }
        }
    };
    let format = log.format();
    let told = |entry: &crate::log::Entry| {
        let (id, read) = (entry.id?, format.read(&entry.frame)?);
        Some(StoredEvent { id, event: read.event, data: read.data, at: id.ms })
    };
    let events: Vec<StoredEvent> = events.iter().filter_map(|entry| told(entry)).collect();
    let next = match events.last() {
        Some(last) if !replay.complete => last.id,
        // What is not of this topic need not be looked through again.
        _ => log.id_at(replay.through),
    };
    Ok(EventPage { topic, events, next, more: !replay.complete, reset: reset.map(Reset::as_str) })
}
