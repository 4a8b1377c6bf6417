//! `[sse]`

use std::time::Duration;

use crate::config::parsers::json_templates::{connected_data, heartbeat_data, typed_data};
use crate::config::parsers::{first_event_name, not_one_of, published_event_name, time, time_or_zero, word};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, HOUR, MILLIS, SECOND};
use crate::config::section_reader::SectionReader;
use crate::event::{EventFormat, EventName, JsonTemplate, Timestamps, TopicAs};

/// The form of a heartbeat on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    /// `: hb` and a blank line.
    Comment,
    /// `: hb` without a blank line, for clients that take a comment block for an event.
    Line,
    /// An event of this name with the data `{}`.
    Event(EventName),
}

/// The name of the event that tells of one that was taken back; None = there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetractedAs(pub Option<EventName>);

/// How a refusal that will pass (a limit, a drain) is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseWith {
    /// 200, a `retry:`, and close: `EventSource` comes back.
    Retry,
    /// 429 or 503, for clients that are not `EventSource`.
    Status,
}

/// The words of `refuse_with`.
pub(super) const REFUSALS: [(&str, RefuseWith); 2] =
    [("retry", RefuseWith::Retry), ("status", RefuseWith::Status)];

/// How events may be laid out.
pub(super) const SHAPES: [(&str, EventFormat); 3] = [
    ("named", EventFormat::Named),
    ("typed", EventFormat::Typed(Timestamps::Iso)),
    ("typed-ms", EventFormat::Typed(Timestamps::Milliseconds)),
];

section! {
    /// What every stream speaks.
    pub struct Sse checked by check {
        /// How events are laid out: "named" (the SSE event field, and the data as published), "typed" (no event field;
        /// the data is {"type", "data", "timestamp"}, as many applications write it by hand) or "typed-ms" (the same
        /// with a timestamp in milliseconds).
        events: EventFormat = value("named", word(SHAPES));
        /// The name of a stream's first event.
        connected_as: EventName = value("connected", first_event_name);
        /// The name of the event that tells of another one that was taken back (docs/taking-back.md); "off" = none.
        retracted_as: RetractedAs = value("retracted", retracted_form);
        /// The data of a stream's first event: a table of JSON's values and of texts with {client}, {user}, {session},
        /// {topics}, {resumed}, {missed}, {id}, {now} (milliseconds), {now.iso}, {query.name} and {claim.name}. A text
        /// that is one placeholder and nothing else keeps the type of its value; null where there is none.
        connected_data: Option<JsonTemplate> = optional({ type = "connected", clientId = "{client}" }, connected_data(None));
        /// A stream that has been silent for so long gets a heartbeat; 0 = none.
        heartbeat: Duration = value("20s", time_or_zero(SECOND..=HOUR));
        /// The heartbeat's form: "comment" (": hb" and a blank line), "line" (without the blank line, for clients that
        /// take a comment for an event) or "event:name" (an event of that name).
        heartbeat_as: Heartbeat = value("comment", heartbeat_form);
        /// The data of heartbeats that are events, which are {} otherwise: a table as for `connected_data`, with
        /// {client}, {user}, {session}, {topics}, {now}, {now.iso}, {query.name} and {claim.name}.
        heartbeat_data: Option<JsonTemplate> = optional({ timestamp = "{now}" }, heartbeat_data(None));
        /// The object that a typed event is, in place of {"type", "data", "timestamp"}: a table as for
        /// `connected_data`, with {event} (its name), {data}, {now} and {now.iso} (when it was published), {user} and
        /// {topic} (by which of its users and topics it reaches this stream) and {id}.
        typed_data: Option<JsonTemplate> =
            optional({ type = "{event}", data = "{data}", timestamp = "{now.iso}", userId = "{user}" }, typed_data());
        /// How an event's topic is told, of several the first that the stream has: "nothing", "comment" (a line
        /// ": topic name" before it) or "prefix:/" (before the event's name, with this text between the two).
        topic_as: TopicAs = value("nothing", topic_form);
        /// Each stream tells its client to come back after a time drawn at random from `retry_min` to `retry_max`.
        retry_min: Duration = value("1s", time(MILLIS(10)..=HOUR));
        /// The longest of these times.
        retry_max: Duration = value("4s", time(MILLIS(10)..=HOUR));
        /// A stream is closed after about so long (spread by a tenth), and its client comes back; 0 = never.
        max_age: Duration = value(0, time_or_zero(SECOND..=30 * DAY));
        /// A stream that was sent nothing but heartbeats for so long is closed (up to a tenth later, so that not all
        /// come back at once); EventSource comes back. 0 = never.
        idle_timeout: Duration = value(0, time_or_zero(SECOND..=30 * DAY));
        /// A stream whose socket takes nothing for so long is closed.
        write_timeout: Duration = value("30s", time(MILLIS(100)..=HOUR));
        /// How a refusal that will pass is said: "retry" (200 and "come back", as EventSource needs it) or "status"
        /// (429 or 503).
        refuse_with: RefuseWith = value("retry", word(REFUSALS));
    }
}

fn check(sse: &Sse, s: &mut SectionReader<'_, '_>) {
    if sse.retry_min > sse.retry_max {
        s.report(&["retry_min", "retry_max"], "`retry_min` is longer than `retry_max`", None);
    }
}

/// The name of an event, or none.
pub(super) fn retracted_form(raw: &RawValue<'_>) -> Result<RetractedAs, Rejection> {
    match raw.text("an event's name, or `off`")? {
        "off" => Ok(RetractedAs(None)),
        _ => published_event_name(raw).map(|name| RetractedAs(Some(name))),
    }
}

/// The form in which a topic is told.
pub(super) fn topic_form(raw: &RawValue<'_>) -> Result<TopicAs, Rejection> {
    const WANTED: &str = "`nothing`, `comment` or `prefix:<text>`";
    const MAX: usize = 16;
    let text = raw.text(WANTED)?;
    if let Some(between) = text.strip_prefix("prefix:") {
        if between.is_empty() || between.len() > MAX || between.chars().any(char::is_control) {
            return Err(
                format!("must have 1 to {MAX} bytes without control characters behind `prefix:`").into()
            );
        }
        return Ok(TopicAs::Prefix(between.into()));
    }
    match text {
        "nothing" => Ok(TopicAs::Nothing),
        "comment" => Ok(TopicAs::Comment),
        other => Err(not_one_of(WANTED, other, ["nothing", "comment", "prefix:/"])),
    }
}

/// The form of a heartbeat.
pub(super) fn heartbeat_form(raw: &RawValue<'_>) -> Result<Heartbeat, Rejection> {
    const WANTED: &str = "`comment`, `line` or `event:<name>`";
    let text = raw.text(WANTED)?;
    if let Some(name) = text.strip_prefix("event:") {
        let name =
            EventName::parse_published(name).map_err(|why| format!("names an event whose name {why}"))?;
        return Ok(Heartbeat::Event(name));
    }
    match text {
        "comment" => Ok(Heartbeat::Comment),
        "line" => Ok(Heartbeat::Line),
        other => Err(not_one_of(WANTED, other, ["comment", "line", "event:ping"])),
    }
}
