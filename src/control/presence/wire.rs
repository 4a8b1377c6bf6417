//! What instances tell each other of their people, as JSON.

use serde::{Deserialize, Serialize};

use crate::control::cluster::members::InstanceId;
use crate::control::presence::view::{Entry, Kind, Piece, Says};
use crate::event::Name;

/// How many names one message has.
pub(super) const NAMES: usize = 1000;

/// A name, how many streams it has, and since when, or when it left (Unix milliseconds).
type Row = (String, u32, u64);

/// What an instance says of itself with every sign of life.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(in crate::control) struct People {
    seq: u64,
    settled: bool,
    streams: u64,
}

/// What has changed on an instance.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Changed {
    pub(super) from: InstanceId,
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<Row>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<Row>,
}

/// A piece of everything that an instance has.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Everybody {
    pub(super) from: InstanceId,
    seq: u64,
    nth: usize,
    last: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<Row>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<Row>,
}

/// An instance wants everything that another one has.
#[derive(Serialize, Deserialize)]
pub(in crate::control) struct Want {
    pub(super) of: InstanceId,
}

impl People {
    pub(super) fn new(says: Says) -> Self {
        let Says { seq, settled, streams } = says;
        Self { seq, settled, streams }
    }

    pub(super) fn read(self) -> Says {
        let Self { seq, settled, streams } = self;
        Says { seq, settled, streams }
    }
}

impl Changed {
    pub(super) fn new(from: InstanceId, seq: u64, entries: Vec<Entry>) -> Self {
        let (users, topics) = rows(entries);
        Self { from, seq, users, topics }
    }

    pub(super) fn read(self) -> Vec<Entry> {
        entries(self.users, self.topics)
    }
}

impl Everybody {
    pub(super) fn new(from: InstanceId, piece: Piece) -> Self {
        let Piece { seq, nth, last, entries } = piece;
        let (users, topics) = rows(entries);
        Self { from, seq, nth, last, users, topics }
    }

    pub(super) fn read(self) -> Piece {
        let Self { from: _, seq, nth, last, users, topics } = self;
        Piece { seq, nth, last, entries: entries(users, topics) }
    }
}

fn rows(entries: Vec<Entry>) -> (Vec<Row>, Vec<Row>) {
    let (mut users, mut topics) = (Vec::new(), Vec::new());
    for Entry { kind, name, streams, at } in entries {
        let rows = if kind == Kind::User { &mut users } else { &mut topics };
        rows.push((name.to_string(), streams, at));
    }
    (users, topics)
}

/// What is no name is passed over.
fn entries(users: Vec<Row>, topics: Vec<Row>) -> Vec<Entry> {
    let read = |kind| {
        move |(name, streams, at): Row| Some(Entry { kind, name: Name::parse(&name).ok()?, streams, at })
    };
    let users = users.into_iter().filter_map(read(Kind::User));
    users.chain(topics.into_iter().filter_map(read(Kind::Topic))).collect()
}
