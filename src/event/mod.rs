//! The vocabulary: what an event is, its recipients, and its bytes on the wire.
//!
//! Everything here is a value: parsed at the door, trusted inside. This room knows no socket, no log, no clock.

mod audience;
mod batch;
mod envelope;
mod format;
mod frame;
mod half;
mod id;
mod name;
mod object;
mod pattern;
pub mod sse;
mod template;
mod write;

pub use crate::event::audience::{Audience, BadAudience, Key};
pub use crate::event::batch::{BadBatch, EventBatch, Item, parse_events};
pub use crate::event::envelope::{
    BadEnvelope, BadField, EnvelopeDefaults, check_idempotency_key, parse_event,
};
pub use crate::event::format::{DecodedEvent, EventFormat, Timestamps};
pub use crate::event::frame::{Block, Draft, Frame};
pub use crate::event::half::whole_characters;
pub use crate::event::id::{BadId, EventId, Tag, is_cursor_parameter};
pub use crate::event::name::{BadName, EventName, Name};
pub use crate::event::pattern::{BadPattern, Pattern};
pub use crate::event::template::{BadTemplate, Missing, Placeholder, Template};
pub use crate::event::write::{Envelope, write_event};

use std::time::Duration;

/// One event as published, before it has a place in the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub audience: Audience,
    /// The SSE `event` field; without one the browser calls it `message`.
    pub name: Option<EventName>,
    /// The text of the SSE `data` field. Line ends of any kind become line ends of the wire.
    pub data: Box<str>,
    /// The data was published as a text, not as JSON.
    pub is_text: bool,
    /// Of stored events with the same key and audience only the newest need reach a reader who is behind.
    pub coalesce: Option<Box<str>>,
    /// Delivered live, without an id, and never stored.
    pub ephemeral: bool,
    /// The SSE `retry` field, in milliseconds.
    pub retry: Option<u32>,
    /// For how long the event may be replayed; the log's own bounds hold besides.
    pub ttl: Option<Duration>,
    /// A second event with the same key within the log's window is not appended.
    pub idempotency_key: Option<Box<str>>,
}
