//! What is published, as all the rest of the daemon sees it.

use std::time::Duration;

use crate::trace::TraceContext;

use crate::event::audience::Audience;
use crate::event::name::EventName;

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
    /// The place of its publishing in a trace.
    pub trace: Option<Box<TraceContext>>,
}

impl Event {
    /// An event with these bytes as its data, and nothing else: no name, kept as long as any other.
    pub fn new(audience: Audience, data: impl Into<Box<str>>) -> Self {
        Self {
            audience,
            name: None,
            data: data.into(),
            is_text: false,
            coalesce: None,
            ephemeral: false,
            retry: None,
            ttl: None,
            idempotency_key: None,
            trace: None,
        }
    }
}
