//! What a request to the internal listener is refused with: the status, one sentence, and where in the body it was.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::auth::BadKey;
use crate::control::{BadRevoke, Revoked};
use crate::event::{BadBatch, Name};
use crate::publish::{BadPublish, Published, Receipt, RelayError};
use crate::server::respond::json;

/// The JSON of a problem.
#[derive(Serialize, Default)]
struct Words<'a> {
    error: String,
    /// Which event of several, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<usize>,
    /// Which line of an NDJSON body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// What a publisher was not allowed, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    /// What is known of the fate of a publish that was to be relayed: `nothing` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<&'static str>,
}

/// Why a request is not answered as it wished.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// For the metric's label.
    pub(super) word: &'static str,
    say: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, word: &'static str, say: impl Into<String>) -> Self {
        Self { status, word, say: say.into(), header: None }
    }

    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = json(self.status, &Words { error: self.say, ..Words::default() });
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What the publisher of a body reads.
pub(super) fn published<'a>(published: &'a Published) -> Response<Full<Bytes>> {
    /// One event of several, of which each has its own answer.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Outcome<'a> {
        Receipt(&'a Receipt),
        Refused {
            /// The status that it would have had alone.
            status: u16,
            #[serde(flatten)]
            words: Words<'a>,
        },
    }
    match published {
        Published::One(receipt) => json(StatusCode::OK, receipt),
        Published::Many(events) => json(StatusCode::OK, &serde_json::json!({ "events": events })),
        Published::Each(events) => {
            let refused = events.iter().filter(|event| event.is_err()).count();
            let outcome = |event: &'a Result<Receipt, BadPublish>| match event {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(bad) => {
                    let (status, words) = say_of(bad);
                    Outcome::Refused { status: status.as_u16(), words }
                }
            };
            let events: Vec<Outcome<'_>> = events.iter().map(outcome).collect();
            json(StatusCode::OK, &serde_json::json!({ "events": events, "refused": refused }))
        }
    }
}

/// What the publisher of a refused body reads.
pub(super) fn refused_publish(bad: &BadPublish) -> Response<Full<Bytes>> {
    let (status, words) = say_of(bad);
    let mut response = json(status, &words);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn say_of(bad: &BadPublish) -> (StatusCode, Words<'_>) {
    let error = bad.to_string();
    let mut words = Words { error, ..Words::default() };
    let mut status = StatusCode::BAD_REQUEST;
    match bad {
        BadPublish::Batch(BadBatch::TooMany { .. }) => status = StatusCode::PAYLOAD_TOO_LARGE,
        BadPublish::Batch(BadBatch::Single(bad)) => words.field = bad.field.as_deref(),
        BadPublish::Batch(BadBatch::Item { item, bad }) => {
            words.item = Some(*item);
            words.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Line { item, line, bad }) => {
            words.item = Some(*item);
            words.line = Some(*line);
            words.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Nothing | BadBatch::NotUtf8 | BadBatch::NotJson(_))
        | BadPublish::Key(_) => {}
        BadPublish::KeysDiffer { item } => {
            words.item = Some(*item);
            words.field = Some("idempotency_key");
        }
        BadPublish::NotAllowed { item, not } => {
            status = StatusCode::FORBIDDEN;
            words.item = *item;
            words.reason = Some(not.word());
            words.topic = not.topic().map(Name::as_str);
        }
        BadPublish::Relay(bad) => {
            status = StatusCode::SERVICE_UNAVAILABLE;
            words.published = Some(match bad {
                RelayError::Down => "nothing",
                RelayError::Unknown => "unknown",
            });
        }
    }
    (status, words)
}

/// What somebody reads who may not publish.
pub(super) fn refused_key(bad: &BadKey) -> Problem {
    let status = match bad {
        BadKey::Off | BadKey::Bounded => StatusCode::FORBIDDEN,
        BadKey::Missing | BadKey::Wrong | BadKey::Token { .. } => StatusCode::UNAUTHORIZED,
        BadKey::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, bad.word(), bad.to_string());
    match bad {
        BadKey::Off | BadKey::Bounded => problem,
        BadKey::Missing => problem.with(WWW_AUTHENTICATE, "Bearer"),
        BadKey::NotNow(_) => problem.with(RETRY_AFTER, "1"),
        BadKey::Wrong | BadKey::Token { .. } => {
            problem.with(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
        }
    }
}

/// What came of a revocation.
pub(super) fn revoked(outcome: Result<Revoked, BadRevoke>) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Done {
        ended: usize,
        /// Whether the other instances know; absent when there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        told: Option<bool>,
        until: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    let Revoked { ended, told, until } = match outcome {
        Ok(revoked) => revoked,
        Err(bad) => {
            let words = Words { error: bad.to_string(), ..Words::default() };
            return json(StatusCode::BAD_REQUEST, &words);
        }
    };
    let error = told.and_then(Result::err).map(|not| not.to_string());
    let status = if error.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let until = humantime::format_rfc3339_seconds(until).to_string();
    let mut response = json(status, &Done { ended, told: told.map(|told| told.is_ok()), until, error });
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
