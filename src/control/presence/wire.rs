//! What instances tell each other of their people, as JSON.

use serde::{Deserialize, Serialize};

use crate::control::cluster::members::InstanceId;
use crate::control::presence::view::{Kind, NameCount, SnapshotPart, Summary};
use crate::event::Name;

/// How many names one message has.
pub(super) const NAMES: usize = 1000;

/// A name, how many streams it has, and since when, or when it left (Unix milliseconds).
type NameRow = (String, u32, u64);

/// What an instance says of itself with every sign of life.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(in crate::control) struct PresenceSummary {
    seq: u64,
    settled: bool,
    streams: u64,
}

/// What has changed on an instance.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct PresenceDelta {
    pub(super) from: InstanceId,
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<NameRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<NameRow>,
}

/// A piece of everything that an instance has.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct PresenceSnapshot {
    pub(super) from: InstanceId,
    seq: u64,
    nth: usize,
    last: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<NameRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<NameRow>,
}

/// An instance wants everything that another one has.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct SnapshotRequest {
    pub(super) of: InstanceId,
}

impl PresenceSummary {
    pub(super) fn new(summary: Summary) -> Self {
        let Summary { seq, settled, streams } = summary;
        Self { seq, settled, streams }
    }

    pub(super) fn read(self) -> Summary {
        let Self { seq, settled, streams } = self;
        Summary { seq, settled, streams }
    }
}

impl PresenceDelta {
    pub(super) fn new(from: InstanceId, seq: u64, entries: Vec<NameCount>) -> Self {
        let (users, topics) = rows(entries);
        Self { from, seq, users, topics }
    }

    pub(super) fn read(self) -> Vec<NameCount> {
        entries(self.users, self.topics)
    }
}

impl PresenceSnapshot {
    pub(super) fn new(from: InstanceId, piece: SnapshotPart) -> Self {
        let SnapshotPart { seq, nth, last, entries } = piece;
        let (users, topics) = rows(entries);
        Self { from, seq, nth, last, users, topics }
    }

    pub(super) fn read(self) -> SnapshotPart {
        let Self { from: _, seq, nth, last, users, topics } = self;
        SnapshotPart { seq, nth, last, entries: entries(users, topics) }
    }
}

fn rows(entries: Vec<NameCount>) -> (Vec<NameRow>, Vec<NameRow>) {
    let (mut users, mut topics) = (Vec::new(), Vec::new());
    for NameCount { kind, name, streams, at } in entries {
        let rows = if kind == Kind::User { &mut users } else { &mut topics };
        rows.push((name.to_string(), streams, at));
    }
    (users, topics)
}

/// What is no name is passed over.
fn entries(users: Vec<NameRow>, topics: Vec<NameRow>) -> Vec<NameCount> {
    let read = |kind| {
        move |(name, streams, at): NameRow| {
            Some(NameCount { kind, name: Name::parse(&name).ok()?, streams, at })
        }
    };
    let users = users.into_iter().filter_map(read(Kind::User));
    users.chain(topics.into_iter().filter_map(read(Kind::Topic))).collect()
}
