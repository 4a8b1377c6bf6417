//! The first block of a stream, in which the client learns who it is and where it starts.

use std::time::SystemTime;

use serde::Serialize;

use crate::event::{Block, EventFormat, EventId, EventName, Frame, Name};

/// The data of the `connected` event.
#[derive(Serialize)]
pub(super) struct Connected<'a> {
    pub(super) client: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) topics: Vec<&'a str>,
    /// Whether the stream goes on where the client's last one ended.
    pub(super) resumed: bool,
    /// How many events follow that the client missed, or asked for on a fresh stream; at most [`COUNTED`], then `more`
    /// is set.
    pub(super) missed: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) more: bool,
}

/// Up to where missed events are counted.
pub(super) const COUNTED: usize = 1000;

impl Connected<'_> {
    /// The block, with a `retry:` and the cursor of the stream as its id.
    pub(super) fn frame(
        &self,
        name: &EventName,
        format: EventFormat,
        retry_ms: u32,
        id: Option<EventId>,
    ) -> Frame {
        let data = serde_json::to_string(self).expect("a struct of texts is JSON");
        let block = Block { retry: Some(retry_ms), event: Some(name.as_str()), data: &data, id };
        format.block(block, SystemTime::now())
    }
}

/// What a stream begins with that has no first event of ours: lines that a browser heeds and no page sees.
pub(super) fn bare(retry_ms: u32, id: Option<EventId>) -> Frame {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    Frame::comment(&format!("retry: {retry_ms}\n{id}\n"))
}

/// The same with these events behind it, whose names and data they are.
pub(super) fn followed_by(
    frame: Frame,
    events: &[(Option<&'static str>, String)],
    id: Option<EventId>,
) -> Frame {
    if events.is_empty() {
        return frame;
    }
    let block = |(event, data): &(Option<&'static str>, String)| {
        Block { retry: None, event: *event, data, id }.render()
    };
    let frames: Vec<Frame> = std::iter::once(frame).chain(events.iter().map(block)).collect();
    Frame::joined(&frames)
}

pub(super) fn names(topics: &[Name]) -> Vec<&str> {
    topics.iter().map(Name::as_str).collect()
}
