//! `/users/{user}/topics`, `/sessions/{session}/topics` and `/clients/{client}/topics` on the internal listener.
//!
//! Whoever may change whom others hear needs a key without bounds. This file knows paths and statuses, not what becomes
//! of a change.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use crate::control::{BadTopics, Refused, Topics, parse_change, parse_set};
use crate::event::{Key, Name};
use crate::log::{BadEdit, Edit};
use crate::server::problem::Problem;
use crate::server::respond::json;

/// What a path stands for.
pub(in crate::server) struct Path {
    of: Key,
    /// The one topic that it names.
    topic: Option<Name>,
}

impl Path {
    /// None when it is no path of topics; `Err` when it names nobody.
    pub(in crate::server) fn parse(path: &str) -> Option<Result<Self, Problem>> {
        let (kind, rest) = path.strip_prefix('/')?.split_once('/')?;
        let make: fn(Name) -> Key = match kind {
            "users" => Key::User,
            "sessions" => Key::Session,
            "clients" => Key::Client,
            _ => return None,
        };
        let (name, rest) = rest.split_once('/')?;
        let topic = match rest.strip_prefix("topics")? {
            "" => None,
            // Whatever follows: a topic may hold a slash.
            more => Some(more.strip_prefix('/')?),
        };
        let parse = || {
            Ok(Self {
                of: make(decoded(kind, name)?),
                topic: topic.map(|t| decoded("topics", t)).transpose()?,
            })
        };
        Some(parse())
    }

    /// Does what the request asks.
    pub(in crate::server) async fn answer(
        self,
        topics: &Topics,
        method: &Method,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let Self { of, topic } = self;
        let edit = match (method, topic) {
            (&Method::GET | &Method::HEAD, _) => return Ok(json(StatusCode::OK, &topics.get(&of))),
            (&Method::PUT, Some(topic)) => Edit::Change { add: vec![topic], remove: vec![] },
            (_, Some(topic)) => Edit::Change { add: vec![], remove: vec![topic] },
            (&Method::PUT, None) => parse_set(body).map_err(|bad| not_understood(&bad))?,
            (&Method::DELETE, None) => Edit::Replace(vec![]),
            (_, None) => parse_change(body).map_err(|bad| not_understood(&bad))?,
        };
        match topics.edit(&of, edit).await {
            Ok(answer) => Ok(json(StatusCode::OK, &answer)),
            Err(refused @ Refused::PassedOn) => {
                Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "said": refused.to_string() })))
            }
            Err(refused) => Err(not_made(refused)),
        }
    }
}

pub(in crate::server) fn decoded(field: &str, text: &str) -> Result<Name, Problem> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    let bad = |why: String| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_name", format!("the name behind /{field}/ {why}"))
    };
    let text = text.map_err(|_| bad("is not UTF-8".to_owned()))?;
    Name::parse(&text).map_err(|why| bad(why.to_string()))
}

pub(in crate::server) fn not_understood(bad: &BadTopics) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_topics", bad.to_string())
}

pub(in crate::server) fn not_made(refused: Refused) -> Problem {
    let (status, word) = match refused {
        Refused::Edit(BadEdit::NoSuchClient) => (StatusCode::NOT_FOUND, "no_such_client"),
        Refused::NotYours => (StatusCode::FORBIDDEN, "not_yours"),
        Refused::Edit(BadEdit::TooManyTopics { .. }) => (StatusCode::CONFLICT, "too_many_topics"),
        Refused::Edit(BadEdit::Full { .. }) => (StatusCode::CONFLICT, "topics_full"),
        Refused::Edit(BadEdit::NoHolder) => (StatusCode::BAD_REQUEST, "bad_name"),
        Refused::PassedOn => (StatusCode::ACCEPTED, "passed_on"),
        Refused::NotTold => (StatusCode::SERVICE_UNAVAILABLE, "not_told"),
        Refused::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "unknown"),
    };
    let problem = Problem::new(status, word, refused.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { problem.with(RETRY_AFTER, "1") } else { problem }
}
