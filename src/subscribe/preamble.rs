//! The data of a stream's first event, in which the client learns who it is and where it starts, unless the operator
//! says what they are.

use serde::Serialize;

use crate::event::{Block, EventId, Frame, Name, TopicFilter};
use crate::subscribe::look::{COUNTED, StreamFacts};

/// The data of the `connected` event.
#[derive(Serialize)]
struct Connected<'a> {
    client: &'a str,
    user: Option<&'a str>,
    session: Option<&'a str>,
    topics: Vec<&'a str>,
    /// Whether the stream goes on where the client's last one ended.
    resumed: bool,
    /// How many events follow that the client missed, or asked for on a fresh stream; at most [`COUNTED`], then `more`
    /// is set.
    missed: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
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

/// The data as JSON.
pub(super) fn connected(facts: &StreamFacts<'_>) -> String {
    let StreamFacts { client, grant, topics, resumed, missed, .. } = *facts;
    let connected = Connected {
        client: client.as_str(),
        user: grant.user.as_ref().map(Name::as_str),
        session: grant.session.as_ref().map(Name::as_str),
        topics: topics.iter().map(TopicFilter::as_str).collect(),
        resumed,
        missed: missed.min(COUNTED),
        more: missed > COUNTED,
    };
    serde_json::to_string(&connected).expect("a struct of texts is JSON")
}
