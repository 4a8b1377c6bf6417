//! The recorded answers as operators see them.

use std::sync::Arc;

use serde::Serialize;

use crate::capture::recording::{Recording, RecordingEnd};
use crate::capture::recordings::Recordings;
use crate::clock;

/// The recorded answers of this instance, the oldest first.
#[derive(Serialize, Debug)]
pub struct RecordingPage {
    captures: Vec<RecordingEntry>,
    /// How many there are.
    total: usize,
}

#[derive(Serialize, Debug)]
struct RecordingEntry {
    id: Box<str>,
    /// The path of its `[[capture]]`.
    path: String,
    /// By which clients know it.
    names: Vec<Box<str>>,
    /// Whose it is, where somebody verified that.
    user: Option<Box<str>>,
    /// RFC 3339.
    began: String,
    /// `running`, or how it ended.
    state: &'static str,
    bytes: u64,
    kept_bytes: u64,
    readers: usize,
}

impl Recordings {
    /// At most `limit` of them.
    pub fn list(&self, limit: usize) -> RecordingPage {
        let all = self.all();
        let total = all.len();
        let entry = |(recording, names): (Arc<Recording>, _)| {
            let standing = recording.standing();
            RecordingEntry {
                id: recording.id.clone(),
                path: recording.route.to_string(),
                names,
                user: recording.owner.user.clone(),
                began: clock::rfc3339(clock::unix_ms(recording.began)),
                state: standing.ended.map_or("running", RecordingEnd::as_str),
                bytes: standing.bytes,
                kept_bytes: standing.kept,
                readers: standing.readers,
            }
        };
        RecordingPage { captures: all.into_iter().take(limit).map(entry).collect(), total }
    }
}
