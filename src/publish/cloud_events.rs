//! CloudEvents 1.0 as they come over HTTP: structured, as a batch, and binary with the attributes in headers. Their
//! data is what is mapped; an attribute is a text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::whole_characters;

/// How many events a batch may hold.
const MAX_EVENTS: usize = 1000;

/// The attributes of an event.
#[derive(Debug)]
pub(super) struct CloudEvent<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Why a body holds no CloudEvents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCloudEvent {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error(
        "the body is not a CloudEvent: neither an object in JSON with its attributes, nor are they in headers"
    )]
    Shape,
    #[error("the CloudEvent has no `{0}`")]
    Missing(&'static str),
    #[error("the CloudEvent's specversion is not 1.0")]
    Version,
    #[error("`data_base64` is not base64 of a text")]
    Base64,
    #[error("the batch holds none, or more than {MAX_EVENTS}")]
    Batch,
}

type CloudFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Events with their data as JSON; whether there is one alone.
type ParsedEvents<'a> = (Vec<(CloudEvent<'a>, Cow<'a, str>)>, bool);

impl<'a> CloudEvent<'a> {
    /// The events of a request.
    pub(super) fn all(headers: &HeaderMap, body: &'a [u8]) -> Result<ParsedEvents<'a>, BadCloudEvent> {
        let text = str::from_utf8(body).map_err(|_| BadCloudEvent::NotUtf8)?;
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind.starts_with("application/cloudevents-batch") {
            let all: Vec<CloudFields<'a>> = serde_json::from_str(text).map_err(|_| BadCloudEvent::Shape)?;
            if all.is_empty() || all.len() > MAX_EVENTS {
                return Err(BadCloudEvent::Batch);
            }
            return Ok((all.into_iter().map(Self::structured).collect::<Result<_, _>>()?, false));
        }
        if kind.starts_with("application/cloudevents") || !headers.contains_key("ce-specversion") {
            let fields: CloudFields<'a> = serde_json::from_str(text).map_err(|_| BadCloudEvent::Shape)?;
            return Ok((vec![Self::structured(fields)?], true));
        }
        let attributes = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("ce-")?;
            let value = percent_encoding::percent_decode(value.as_bytes()).decode_utf8().ok()?;
            Some((Cow::Owned(name.to_owned()), Cow::Owned(value.into_owned())))
        });
        let event = Self(attributes.collect());
        event.check()?;
        Ok((vec![(event, json_of(text))], true))
    }

    fn structured(fields: CloudFields<'a>) -> Result<(Self, Cow<'a, str>), BadCloudEvent> {
        let mut event = Self(Vec::new());
        let mut data = Cow::Borrowed("null");
        for (name, raw) in fields {
            let raw = raw.get();
            match &*name {
                "data" => data = whole_characters(raw),
                "data_base64" => {
                    let text: String = serde_json::from_str(raw).map_err(|_| BadCloudEvent::Base64)?;
                    let bytes = BASE64_STANDARD.decode(text).map_err(|_| BadCloudEvent::Base64)?;
                    let text = String::from_utf8(bytes).map_err(|_| BadCloudEvent::Base64)?;
                    data = json_of(&text).into_owned().into();
                }
                _ => {
                    let value = match serde_json::from_str(&whole_characters(raw)) {
                        Ok(Value::String(text)) => text,
                        Ok(Value::Bool(_) | Value::Number(_)) => raw.to_owned(),
                        _ => continue,
                    };
                    event.0.push((name, value.into()));
                }
            }
        }
        event.check()?;
        Ok((event, data))
    }

    fn check(&self) -> Result<(), BadCloudEvent> {
        for name in ["specversion", "id", "source", "type"] {
            self.attribute(name).filter(|value| !value.is_empty()).ok_or(BadCloudEvent::Missing(name))?;
        }
        if self.attribute("specversion") == Some("1.0") { Ok(()) } else { Err(BadCloudEvent::Version) }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| *other == *name).map(|(_, value)| &**value)
    }
}

/// What is JSON as it is, any other text as a JSON string, and nothing as `null`.
fn json_of(text: &str) -> Cow<'_, str> {
    let whole = whole_characters(text);
    if whole.trim_ascii().is_empty() {
        return "null".into();
    }
    if serde_json::from_str::<&RawValue>(&whole).is_ok() {
        whole
    } else {
        Value::from(text).to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> Result<ParsedEvents<'static>, BadCloudEvent> {
        let all =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        CloudEvent::all(&all.collect(), body.as_bytes())
    }

    #[test]
    fn each_mode_gives_the_same_attributes_and_data() {
        let structured =
            r#"{"specversion":"1.0","id":"1","source":"/a","type":"t é","n":7,"data":{"x" : 1}}"#;
        let batch = format!("[{structured}]");
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/a"),
            ("ce-type", "t%20%C3%A9"),
            ("ce-n", "7"),
        ];
        for (headers, body) in [
            (&[("content-type", "application/cloudevents+json; charset=utf-8")][..], structured),
            (&[("content-type", "application/json")], structured),
            (&[("content-type", "application/cloudevents-batch+json")], &*batch.leak()),
            (&binary, r#"{"x" : 1}"#),
        ] {
            let (events, _) = parsed(headers, body).unwrap();
            let (event, data) = &events[0];
            assert_eq!((event.attribute("type"), event.attribute("n")), (Some("t é"), Some("7")), "{body}");
            assert_eq!(data, r#"{"x" : 1}"#);
        }
        let (events, single) = parsed(&binary, "plain \"text\"").unwrap();
        assert_eq!((&*events[0].1, single), (r#""plain \"text\"""#, true));
        let (events, _) = parsed(
            &[],
            r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"eyJ4IjoxfQ=="}"#,
        )
        .unwrap();
        assert_eq!(events[0].1, r#"{"x":1}"#);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for (body, why) in [
            ("", BadCloudEvent::Shape),
            ("[]", BadCloudEvent::Shape),
            (r#"{"specversion":"1.0","id":"1","source":"/a"}"#, BadCloudEvent::Missing("type")),
            (r#"{"specversion":"0.3","id":"1","source":"/a","type":"t"}"#, BadCloudEvent::Version),
            (
                r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"%"}"#,
                BadCloudEvent::Base64,
            ),
        ] {
            assert_eq!(parsed(&[], body).unwrap_err(), why, "{body}");
        }
        let batch = [("content-type", "application/cloudevents-batch+json")];
        assert_eq!(parsed(&batch, "[]").unwrap_err(), BadCloudEvent::Batch);
    }
}
