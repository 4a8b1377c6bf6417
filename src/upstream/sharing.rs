//! Whether an answer of the application may be given to several callers, and what it means if not.
//!
//! Works on heads alone. In doubt an answer is for the one who asked.

use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST,
    ORIGIN, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::config::{Despite, StreamSource, VaryBy};
use crate::retry::retry_after;

/// Why a request goes to the application by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unshared {
    /// It has cookies, and the route does not say by what of them streams differ.
    Cookie,
    /// The same of `Authorization`.
    Authorization,
    /// The answer depends on a header that the route does not name.
    Vary,
    /// The answer sets a cookie.
    SetCookie,
    /// The answer is for one caller, or not to be kept.
    CacheControl,
    /// The answer is compressed although nobody asked for that.
    Encoded,
    /// The answer is no event stream.
    Answer,
    /// There are as many shared streams as there may be.
    Limit,
    /// The request has a body.
    Body,
}

impl Unshared {
    /// The word in the metric and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::SetCookie => "set_cookie",
            Self::CacheControl => "cache_control",
            Self::Encoded => "encoded",
            Self::Answer => "answer",
            Self::Limit => "limit",
            Self::Body => "body",
        }
    }
}

/// What the head of an answer means for a shared stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AnswerKind {
    /// An event stream for everybody who asks the same.
    Shared,
    /// One that is for its caller alone.
    Unshared(Unshared),
    /// The application's word, which it has for each caller.
    Final(StatusCode),
    /// It will be different soon; in so long, if the answer says that.
    Away(Option<Duration>),
}

/// Judges the answer to a request that was made for all.
pub(super) fn judge<B>(source: &StreamSource, answer: &Response<B>) -> AnswerKind {
    let (status, headers) = (answer.status(), answer.headers());
    if is_away(status) {
        return AnswerKind::Away(retry_after(headers, SystemTime::now()));
    }
    if status != StatusCode::OK || !is_event_stream(headers) {
        return AnswerKind::Final(status);
    }
    match forbids(source, headers) {
        Some(why) => AnswerKind::Unshared(why),
        None => AnswerKind::Shared,
    }
}

/// The same of an answer that is no stream. `is_own`: nobody shares it who has other credentials.
pub(super) fn judge_whole<B>(source: &StreamSource, is_own: bool, answer: &Response<B>) -> AnswerKind {
    let (status, headers) = (answer.status(), answer.headers());
    if is_away(status) {
        return AnswerKind::Away(retry_after(headers, SystemTime::now()));
    }
    if status != StatusCode::OK || is_event_stream(headers) {
        return AnswerKind::Final(status);
    }
    match forbids(source, headers) {
        Some(Unshared::SetCookie | Unshared::CacheControl) if is_own => AnswerKind::Shared,
        Some(why) => AnswerKind::Unshared(why),
        None => AnswerKind::Shared,
    }
}

fn is_away(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// What in an answer's head says that it is for one caller alone.
pub(super) fn forbids(source: &StreamSource, headers: &HeaderMap) -> Option<Unshared> {
    let plain = items(headers, &CONTENT_ENCODING).all(|coding| coding.eq_ignore_ascii_case("identity"));
    let kept = |directive: &str| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        !(name.eq_ignore_ascii_case("private")
            || name.eq_ignore_ascii_case("no-store") && !source.shared_despite.contains(&Despite::NoStore))
    };
    if headers.contains_key(SET_COOKIE) {
        Some(Unshared::SetCookie)
    } else if !items(headers, &CACHE_CONTROL).all(kept) {
        Some(Unshared::CacheControl)
    } else if !items(headers, &VARY).all(|name| may_vary_by(source, name)) {
        Some(Unshared::Vary)
    } else if !plain {
        Some(Unshared::Encoded)
    } else {
        None
    }
}

/// Whether all who share a stream are the same in the header of this name, as far as the application can see.
fn may_vary_by(source: &StreamSource, name: &str) -> bool {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return false };
    if name == COOKIE || name == AUTHORIZATION {
        // What is not named and not excused is in no request that is shared.
        return source.names(&name) || !source.despite(&name);
    }
    // The same in every request of ours; and what depends on the origin is said by [cors].
    [ACCEPT, ACCEPT_ENCODING, ORIGIN, HOST].contains(&name) || source.vary_by.contains(&VaryBy::Header(name))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// The items of a header that is a list. What is not text is an item that is nothing known.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("*"));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
