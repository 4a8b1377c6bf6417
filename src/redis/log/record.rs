//! What an entry of the stream stands for in the log.

use std::sync::Arc;

use crate::control::{TakeBacks, TopicAssignments, TopicEnds};
use crate::event::EventId;
use crate::log::{CopyOutcome, RecordKind};
use crate::redis::log::entry::{BadEntry, EntryKind, StreamMark};
use crate::upstream::{PolledTarget, Upstreams};

/// Why an entry is no place of the log.
pub(in crate::redis) enum NoPlace {
    Foreign(BadEntry),
    /// It is a mark: what stood up to `after` may be missing.
    Lost {
        after: EventId,
    },
}

/// Who reads what is asked of all instances.
#[derive(Clone)]
pub struct CommandReaders {
    pub topics: Arc<TopicAssignments>,
    pub take_backs: Arc<TakeBacks>,
    pub ends: Arc<TopicEnds>,
    pub upstreams: Arc<Upstreams>,
}

impl CommandReaders {
    /// Takes note of what the log has made of it.
    pub(in crate::redis) fn made(&self, CopyOutcome { made, taken, ended, .. }: CopyOutcome) {
        self.topics.made(made);
        self.take_backs.made(taken);
        self.ends.made(ended);
    }
}

/// What the entry at `id` stands for in the log.
pub(in crate::redis) fn understood(
    id: EventId,
    what: EntryKind,
    readers: &CommandReaders,
) -> Result<RecordKind, NoPlace> {
    match what {
        EntryKind::Upstream(name, event, theirs) => {
            readers.upstreams.heard(&name, &event, theirs.as_deref(), id);
            Ok(RecordKind::Event(event))
        }
        EntryKind::Poll(path, query) => {
            let path = String::from_utf8_lossy(&path);
            let query = query.as_deref().map(String::from_utf8_lossy);
            readers.upstreams.called(&PolledTarget::new(&path, query.as_deref()));
            Ok(RecordKind::Nothing)
        }
        EntryKind::UpstreamMark(name) => {
            readers.upstreams.marked(&name);
            Ok(RecordKind::Nothing)
        }
        EntryKind::Event(event) => Ok(RecordKind::Event(event)),
        EntryKind::Change(text) => {
            let read = readers.ends.read(&text).map_or_else(|| readers.topics.read(&text), Ok);
            read.map_err(|_| NoPlace::Foreign(BadEntry::Topics))
        }
        EntryKind::TakeBack(command, event) => {
            let read = readers.take_backs.read(&command, &event);
            read.ok_or(NoPlace::Foreign(BadEntry::TakenBack))
        }
        EntryKind::StreamMark(StreamMark::Begin | StreamMark::Deleted) => Ok(RecordKind::Nothing),
        EntryKind::StreamMark(StreamMark::Lost { after }) => Err(NoPlace::Lost { after }),
        EntryKind::Foreign(bad) => Err(NoPlace::Foreign(bad)),
    }
}
