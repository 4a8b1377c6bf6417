//! How an event is laid out on the wire: named, as `EventSource` dispatches it, or wrapped in an object that tells its
//! type, as many applications write their streams by hand.
//!
//! One shape for the whole log, since an event is rendered once. Time comes in as an argument.

use std::time::SystemTime;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::clock::unix_ms;
use crate::event::frame::{Block, Draft, Frame};
use crate::event::{Event, EventId, Key};

/// The layout of every event of a log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum EventFormat {
    /// `event: <name>` and the data as it was published.
    #[default]
    Named,
    /// No `event` field: the data is `{"type", "data", "timestamp"}`, and browsers call it `message`.
    Typed(Timestamps),
}

/// The form of a typed event's `timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timestamps {
    /// RFC 3339 in UTC with milliseconds, as JavaScript's `toISOString` writes it.
    Iso,
    /// Milliseconds since the Unix epoch, as JavaScript's `Date.now` counts.
    Milliseconds,
}

impl EventFormat {
    /// A published event but for its id.
    pub fn draft(self, event: &Event, now: SystemTime) -> Draft {
        let name = event.name.as_ref().map(|name| name.as_str());
        match self {
            // The application has laid it out itself.
            _ if matches!(event.audience.keys(), [Key::Upstream(_)]) => {
                Draft::of(name, event.retry, &event.data)
            }
            Self::Named => Draft::of(name, event.retry, &event.data),
            Self::Typed(timestamps) => {
                let is_json = !event.is_text && serde_json::from_str::<IgnoredAny>(&event.data).is_ok();
                let quoted;
                let data = if is_json {
                    &*event.data
                } else {
                    quoted = Value::from(&*event.data).to_string();
                    &quoted
                };
                Draft::of(None, event.retry, &timestamps.wrap(name.unwrap_or("message"), data, now))
            }
        }
    }

    /// A block of the stream's own, whose `data` is JSON.
    pub fn block(self, block: Block<'_>, now: SystemTime) -> Frame {
        match (self, block.event) {
            (Self::Typed(timestamps), Some(name)) => {
                let data = timestamps.wrap(name, block.data, now);
                Block { event: None, data: &data, ..block }.render()
            }
            _ => block.render(),
        }
    }

    /// The id, the name and the data of a frame that this shape made; None for a frame that is no event.
    pub fn read(self, frame: &Frame) -> Option<DecodedEvent> {
        let text = str::from_utf8(frame.payload()).ok()?;
        let mut read = DecodedEvent { id: None, event: None, data: String::new() };
        let mut lines = 0;
        for line in text.lines() {
            if let Some(data) = line.strip_prefix("data: ") {
                if lines > 0 {
                    read.data.push('\n');
                }
                lines += 1;
                read.data.push_str(data);
            } else if let Some(event) = line.strip_prefix("event: ") {
                read.event = Some(event.to_owned());
            } else if let Some(id) = line.strip_prefix("id: ") {
                read.id = id.parse().ok();
            }
        }
        (lines > 0).then_some(read)
    }

    /// The name of the event that a frame is; None where it has none.
    pub fn read_name(self, frame: &Frame) -> Option<String> {
        match self {
            Self::Typed(_) => self.read_event(frame)?.event,
            Self::Named => {
                // Before the data, which may be long.
                let text = str::from_utf8(frame.payload()).ok()?;
                let lines = text.lines().take_while(|line| !line.starts_with("data: "));
                lines.filter_map(|line| line.strip_prefix("event: ")).next().map(str::to_owned)
            }
        }
    }

    /// As [`read`](Self::read), with the name and the data as they were published.
    pub fn read_event(self, frame: &Frame) -> Option<DecodedEvent> {
        #[derive(serde::Deserialize)]
        struct Wrapped<'a> {
            r#type: String,
            #[serde(borrow)]
            data: &'a serde_json::value::RawValue,
        }
        let mut read = self.read(frame)?;
        if let Self::Typed(_) = self {
            let Wrapped { r#type, data } = serde_json::from_str(&read.data).ok()?;
            let data = serde_json::from_str(data.get()).unwrap_or_else(|_| data.get().to_owned());
            read.event = Some(r#type);
            read.data = data;
        }
        Some(read)
    }
}

/// An event as a client reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedEvent {
    pub id: Option<EventId>,
    pub event: Option<String>,
    pub data: String,
}

impl Timestamps {
    pub(super) fn wrap(self, name: &str, data: &str, now: SystemTime) -> String {
        let timestamp = match self {
            Self::Iso => format!("\"{}\"", humantime::format_rfc3339_millis(now)),
            Self::Milliseconds => unix_ms(now).to_string(),
        };
        format!("{{\"type\":{},\"data\":{data},\"timestamp\":{timestamp}}}", Value::from(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{EnvelopeDefaults, parse_event};

    fn wire(format: EventFormat, json: &str) -> String {
        let event = parse_event(json.as_bytes(), &EnvelopeDefaults::default()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_123);
        let frame = format.draft(&event, now).seal(Some("5-0".parse().unwrap()));
        assert_eq!(format.read(&frame).unwrap().id, Some("5-0".parse().unwrap()));
        String::from_utf8(frame.payload().to_vec()).unwrap()
    }

    #[test]
    fn a_typed_event_carries_its_name_and_time_in_its_data() {
        let iso = EventFormat::Typed(Timestamps::Iso);
        assert_eq!(
            wire(iso, r#"{"topic": "a", "event": "x", "data": {"n": 1}}"#),
            "data: {\"type\":\"x\",\"data\":{\"n\": 1},\"timestamp\":\"2025-06-15T15:06:40.123Z\"}\nid: 5-0\n\n"
        );
        let ms = EventFormat::Typed(Timestamps::Milliseconds);
        assert_eq!(
            wire(ms, r#"{"topic": "a", "data": "5"}"#),
            "data: {\"type\":\"message\",\"data\":\"5\",\"timestamp\":1750000000123}\nid: 5-0\n\n",
            "a text stays a text"
        );
        assert!(wire(ms, r#"{"topic": "a"}"#).contains("\"data\":null,"));
    }

    #[test]
    fn a_typed_event_is_read_as_it_was_published() {
        let format = EventFormat::Typed(Timestamps::Iso);
        for (data, read) in [("{\"n\": 1}", "{\"n\": 1}"), ("\"text \\\"\"", "text \"")] {
            let json = format!("{{\"topic\": \"a\", \"event\": \"x\", \"data\": {data}}}");
            let event = parse_event(json.as_bytes(), &EnvelopeDefaults::default()).unwrap();
            let frame = format.draft(&event, SystemTime::UNIX_EPOCH).seal(None);
            let event = DecodedEvent { id: None, event: Some("x".to_owned()), data: read.to_owned() };
            assert_eq!(format.read_event(&frame), Some(event));
        }
    }

    #[test]
    fn the_lines_of_a_frame_are_read_as_a_client_reads_them() {
        let event = r#"{"topic": "a", "event": "x", "data": "one\ntwo\n"}"#;
        let event = parse_event(event.as_bytes(), &EnvelopeDefaults::default()).unwrap();
        let frame = EventFormat::Named.draft(&event, SystemTime::UNIX_EPOCH).seal(None);
        let read = EventFormat::Named.read(&frame).unwrap();
        assert_eq!(
            read,
            DecodedEvent { id: None, event: Some("x".to_owned()), data: "one\ntwo\n".to_owned() }
        );
        assert_eq!(EventFormat::Named.read(&Frame::comment(": hb\n\n")), None);
    }
}
