//! An event as the envelope that stands for it: what [`parse_event`](crate::event::parse_event) reads, written.
//!
//! JSON data is put in byte for byte, so that what comes out of it again is what went in.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Event, Key};

/// An envelope, and what it cannot say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    pub json: String,
    /// The data stands in it as a text although it was not published as one ([`Event::is_text`]).
    pub is_quoted: bool,
}

/// The event as an envelope.
pub fn write_event(event: &Event) -> Envelope {
    let Event { audience, name, data, is_text, coalesce, ephemeral, retry, ttl, idempotency_key, trace } =
        event;
    let embedded = if *is_text { None } else { embeddable(data) };
    let fields = Fields {
        audience: AudienceFields::of(audience.keys()),
        except: Some(AudienceFields::of(audience.except())).filter(|_| !audience.except().is_empty()),
        event: name.as_ref().map(|name| name.as_str()),
        data: embedded.map_or(EnvelopeData::Text(data), EnvelopeData::Json),
        coalesce: coalesce.as_deref(),
        ephemeral: *ephemeral,
        retry: *retry,
        ttl: ttl.map(|ttl| ttl.as_secs()),
        idempotency_key: idempotency_key.as_deref(),
        traceparent: trace.as_ref().map(ToString::to_string),
    };
    let json = serde_json::to_string(&fields).expect("texts, numbers and what was parsed before");
    Envelope { json, is_quoted: !is_text && embedded.is_none() }
}

/// The data as JSON that is read back as the same text.
fn embeddable(data: &str) -> Option<&RawValue> {
    let json: &RawValue = serde_json::from_str(data).ok()?;
    // White space around it would be lost, and of a JSON string only its text is data.
    (json.get().len() == data.len() && !data.starts_with('"')).then_some(json)
}

#[derive(Serialize)]
struct Fields<'a> {
    #[serde(flatten)]
    audience: AudienceFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    except: Option<AudienceFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: EnvelopeData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coalesce: Option<&'a str>,
    #[serde(skip_serializing_if = "is_not")]
    ephemeral: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EnvelopeData<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

#[derive(Default, Serialize)]
struct AudienceFields<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topics: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_not")]
    broadcast: bool,
}

impl<'a> AudienceFields<'a> {
    fn of(keys: &'a [Key]) -> Self {
        let mut audience = Self::default();
        for key in keys {
            match key {
                Key::Topic(name) => audience.topics.push(name.as_str()),
                Key::User(name) => audience.users.push(name.as_str()),
                Key::Session(name) => audience.sessions.push(name.as_str()),
                Key::Client(name) => audience.clients.push(name.as_str()),
                // What the application's own streams hold stays in this process.
                Key::Upstream(_) => {}
                Key::Broadcast => audience.broadcast = true,
                // No audience has one.
                Key::Pattern(_) => {}
            }
        }
        audience
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_not(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Audience, EnvelopeDefaults, Name, parse_event};

    fn parse(json: &str) -> Event {
        parse_event(json.as_bytes(), &EnvelopeDefaults::default()).unwrap()
    }

    #[test]
    fn an_envelope_is_read_as_the_event_that_it_was_written_of() {
        for json in [
            r#"{"topic":"a"}"#,
            r#"{"topics":["a","b"],"user":7,"session":"s","clients":["c"],"event":"e","data":{"a": 1.0 , "b":[]}}"#,
            r#"{"broadcast":true,"except":{"users":["u","v"],"client":"c"},"data":"text \" of\nlines ☃"}"#,
            r#"{"topic":"a","data":1e400,"retry":5,"ttl":60,"coalesce":"c","idempotency_key":"k"}"#,
            r#"{"topic":"a","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
            r#"{"user":"u","ephemeral":true,"data":""}"#,
        ] {
            let event = parse(json);
            let written = write_event(&event);
            assert!(!written.is_quoted, "{json}");
            assert_eq!(format!("{:?}", parse(&written.json)), format!("{event:?}"), "{}", written.json);
        }
    }

    #[test]
    fn raw_data_keeps_every_byte() {
        for (data, is_quoted) in [
            ("{\"a\": 1}", false),
            ("12", false),
            ("plain text", true),
            ("\"a JSON string\"", true),
            (" {\"a\":1}\n", true),
            ("", true),
        ] {
            let audience = Audience::of(Key::Topic(Name::parse("a").unwrap()));
            let event = Event { audience, data: data.into(), is_text: false, ..parse(r#"{"topic":"a"}"#) };
            let written = write_event(&event);
            assert_eq!(written.is_quoted, is_quoted, "{data:?}");
            let read = parse(&written.json);
            assert_eq!(&*read.data, data);
            assert_eq!(read.is_text, is_quoted);
        }
    }
}
