//! Many events in one body: a JSON object, an array of objects, or NDJSON (one object a line, blank lines allowed).
//!
//! A body that is not one of these is refused as a whole. Of one that is, each event is read for itself, so that the
//! caller may take the good ones and say of the bad ones which they were.

use serde_json::value::RawValue;

use crate::event::Event;
use crate::event::bad_envelope::BadEnvelope;
use crate::event::envelope::{EnvelopeDefaults, parse_text};

/// What a body held.
#[derive(Debug)]
pub struct EventBatch<'a> {
    /// In the order in which they stand; at least one.
    pub items: Vec<Result<Item<'a>, BadBatch>>,
    /// The body was one object, neither an array nor NDJSON.
    pub single: bool,
}

/// One event and the object that it was parsed from.
#[derive(Debug)]
pub struct Item<'a> {
    /// From 0.
    pub place: usize,
    pub event: Event,
    pub json: &'a str,
}

/// Why a body is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadBatch {
    #[error("the body holds no event")]
    Nothing,
    #[error("the body holds more than {max} events (internal.max_batch)")]
    TooMany { max: usize },
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The parser's own words; they hold nothing of the input.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is one object.
    #[error("{0}")]
    Single(BadEnvelope),
    /// `item` counts the events of the body from 0.
    #[error("item {item} (counted from 0): {bad}")]
    Item { item: usize, bad: BadEnvelope },
    /// `line` counts the lines of an NDJSON body from 1, blank ones too.
    #[error("line {line}: {bad}")]
    Line { item: usize, line: usize, bad: BadEnvelope },
}

impl BadBatch {
    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::TooMany { .. } => "too_many",
            Self::NotUtf8 | Self::NotJson(_) => "json",
            Self::Single(bad) | Self::Item { bad, .. } | Self::Line { bad, .. } => bad.reason.label(),
        }
    }
}

/// The events that `body` holds, good and bad, at most `max`. `lines` says that it is known to be NDJSON; otherwise it
/// is found out.
pub fn parse_events(body: &[u8], max: usize, lines: bool) -> Result<EventBatch<'_>, BadBatch> {
    let whole = str::from_utf8(body).map_err(|_| BadBatch::NotUtf8)?;
    let text = whole.trim_ascii();
    let defaults = EnvelopeDefaults::default();
    if text.is_empty() {
        return Err(BadBatch::Nothing);
    }
    if lines {
        return parse_lines(whole, max, &defaults);
    }
    if text.starts_with('[') {
        return parse_array(text, max, &defaults);
    }
    match parse_text(text, &defaults) {
        Ok(event) => Ok(EventBatch { items: vec![Ok(Item { place: 0, event, json: text })], single: true }),
        Err(_) if is_ndjson(text) => parse_lines(whole, max, &defaults),
        Err(bad) => Err(BadBatch::Single(bad)),
    }
}

/// Whether something follows the first value.
fn is_ndjson(text: &str) -> bool {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    matches!(values.next(), Some(Ok(_))) && !text[values.byte_offset()..].trim_ascii().is_empty()
}

fn parse_array<'a>(
    text: &'a str,
    max: usize,
    defaults: &EnvelopeDefaults,
) -> Result<EventBatch<'a>, BadBatch> {
    let array: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|bad| BadBatch::NotJson(bad.to_string()))?;
    if array.is_empty() {
        return Err(BadBatch::Nothing);
    }
    if array.len() > max {
        return Err(BadBatch::TooMany { max });
    }
    let parse = |(place, raw): (usize, &'a RawValue)| {
        let json = raw.get();
        let event = parse_text(json, defaults).map_err(|bad| BadBatch::Item { item: place, bad })?;
        Ok(Item { place, event, json })
    };
    Ok(EventBatch { items: array.into_iter().enumerate().map(parse).collect(), single: false })
}

fn parse_lines<'a>(
    text: &'a str,
    max: usize,
    defaults: &EnvelopeDefaults,
) -> Result<EventBatch<'a>, BadBatch> {
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let json = line.trim_ascii();
        if json.is_empty() {
            continue;
        }
        let place = items.len();
        if place == max {
            return Err(BadBatch::TooMany { max });
        }
        let item = parse_text(json, defaults)
            .map(|event| Item { place, event, json })
            .map_err(|bad| BadBatch::Line { item: place, line: index + 1, bad });
        items.push(item);
    }
    Ok(EventBatch { items, single: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BadField, BadName};

    fn topics<'a>(batch: &'a EventBatch<'_>) -> Vec<&'a str> {
        let name =
            |item: &'a Result<Item<'_>, BadBatch>| item.as_ref().unwrap().event.audience.keys()[0].name();
        batch.items.iter().map(name).collect()
    }

    fn refused(body: &str) -> BadBatch {
        match parse_events(body.as_bytes(), 3, false) {
            Ok(batch) => batch.items.into_iter().find_map(Result::err).unwrap(),
            Err(bad) => bad,
        }
    }

    #[test]
    fn one_object_is_single_even_over_many_lines() {
        for body in ["{\"topic\":\"a\"}", " \r\n{\n \"topic\"\n:\n\"a\"\n}\n\n"] {
            let batch = parse_events(body.as_bytes(), 3, false).unwrap();
            assert!(batch.single);
            assert_eq!(topics(&batch), ["a"]);
            assert_eq!(batch.items[0].as_ref().unwrap().json, body.trim());
        }
    }

    #[test]
    fn arrays_and_lines_keep_their_order_and_their_text() {
        for body in [
            "[{\"topic\":\"a\"}, {\"topic\": \"b\"} ,{\"topic\":\"c\"}]\n",
            "{\"topic\":\"a\"}\n{\"topic\": \"b\"}\n{\"topic\":\"c\"}",
            "\n{\"topic\":\"a\"}\r\n\r\n  {\"topic\": \"b\"}  \r\n{\"topic\":\"c\"}\r\n\n",
        ] {
            let batch = parse_events(body.as_bytes(), 3, false).unwrap();
            assert!(!batch.single);
            assert_eq!(topics(&batch), ["a", "b", "c"], "{body:?}");
            assert_eq!(batch.items[1].as_ref().unwrap().json, "{\"topic\": \"b\"}");
        }
    }

    #[test]
    fn one_line_that_is_announced_as_ndjson_is_not_single() {
        let batch = parse_events(b"{\"topic\":\"a\"}\n", 3, true).unwrap();
        assert!(!batch.single);
        assert_eq!(topics(&batch), ["a"]);
        let bad = parse_events(b"[{\"topic\":\"a\"}]\n", 3, true).unwrap().items.remove(0).unwrap_err();
        let wanted = BadField::Type { wanted: "a JSON object", got: "a list" }.of_whole();
        assert_eq!(bad, BadBatch::Line { item: 0, line: 1, bad: wanted });
    }

    #[test]
    fn a_bad_item_is_named_by_its_place() {
        let empty = |field: &'static str| BadEnvelope {
            field: Some(field.into()),
            reason: BadField::Name(BadName::Empty),
        };
        assert_eq!(
            refused("[{\"topic\":\"a\"},{\"topic\":\"a\",\"event\":\"\"}]"),
            BadBatch::Item { item: 1, bad: empty("event") }
        );
        assert_eq!(
            refused("\n{\"topic\":\"a\"}\n\n{\"topic\":\"\"}\n"),
            BadBatch::Line { item: 1, line: 4, bad: empty("topic") }
        );
        assert_eq!(
            refused("{\"topic\":\"\"}\n{\"topic\":\"a\"}\n"),
            BadBatch::Line { item: 0, line: 1, bad: empty("topic") },
            "a bad first line does not hide that there are several"
        );
        assert_eq!(refused("{\"topic\":\"\"}"), BadBatch::Single(empty("topic")));
        let text = refused("[{\"topic\":\"a\"},{\"topic\":\"a\",\"event\":\"\"}]").to_string();
        assert_eq!(text, "item 1 (counted from 0): `event` is empty");
    }

    #[test]
    fn what_follows_an_event_has_to_be_one() {
        assert!(matches!(refused("{\"topic\":\"a\"} x"), BadBatch::Line { item: 0, line: 1, .. }));
        assert!(matches!(
            refused("{\"topic\":\"a\"}{\"topic\":\"b\"}"),
            BadBatch::Line { item: 0, line: 1, .. }
        ));
        assert!(matches!(refused("{\"topic\":\"a\"}\nx"), BadBatch::Line { item: 1, line: 2, .. }));
        assert!(matches!(
            refused("{\"topic\":\"a\"}\n[{\"topic\":\"a\"}]"),
            BadBatch::Line { item: 1, line: 2, .. }
        ));
        assert!(matches!(refused("[{\"topic\":\"a\"}] x"), BadBatch::NotJson(_)));
        assert!(matches!(refused("[{\"topic\":\"a\"},]"), BadBatch::NotJson(_)));
        assert!(matches!(refused("[{\"topic\":\"a\"}"), BadBatch::NotJson(_)));
        assert!(matches!(refused("{\"topic\":\"a\""), BadBatch::Single(_)));
        assert!(matches!(refused("topic=a&data=1"), BadBatch::Single(_)));
    }

    #[test]
    fn a_batch_is_bounded_and_not_empty() {
        for body in ["", " \r\n\t", "[]", "[ ]"] {
            assert_eq!(refused(body), BadBatch::Nothing);
        }
        let four = ["{\"topic\":\"a\"}"; 4];
        assert_eq!(refused(&format!("[{}]", four.join(","))), BadBatch::TooMany { max: 3 });
        assert_eq!(refused(&four.join("\n")), BadBatch::TooMany { max: 3 });
        assert_eq!(parse_events(b"{\"topic\":\"\xff\"}", 3, false).unwrap_err(), BadBatch::NotUtf8);
    }
}
