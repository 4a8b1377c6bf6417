//! What the application's answer means: a grant, a refusal, or nothing that one could rely on.
//!
//! Fails closed: whatever is not a plain yes or no is an error, and nobody gets in by it.

use std::time::{Duration, SystemTime};

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::auth::backend::client::SubrequestResponse;
use crate::auth::claims;
use crate::auth::denied::{Denied, DeniedResponse};
use crate::auth::grant::{Grant, GrantedTopics};
use crate::config::{AuthBackend, Grants};
use crate::event::{Name, Pattern};

/// The most patterns that one answer may name.
const MAX_TOPICS: usize = 1000;

/// The longest time to live that is taken at its word.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A caller that the application knows.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Granted {
    pub(in crate::auth) grant: Grant,
    /// The fields of its JSON.
    pub(in crate::auth) claims: Map<String, Value>,
    /// How large its body was: what keeping this costs.
    pub(in crate::auth) size: usize,
}

/// What a plain answer says of a caller.
#[derive(Debug)]
pub(in crate::auth) enum BackendVerdict {
    Granted(Granted),
    Denied(Denied),
}

/// What is wrong with an answer. Says nothing of what it held.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::auth) enum MalformedResponse {
    #[error("its status is {0}")]
    Status(u16),
    #[error("its body is too large")]
    TooLarge,
    #[error("its body is compressed, although nobody asked for that")]
    Compressed,
    #[error("its body says that it is JSON and is none, or no object")]
    NotJson,
    /// As of a page that answers whatever path is asked for.
    #[error("with `grants = \"asked\"` a yes has to be a JSON object, or 204 without a body")]
    NotAYes,
    #[error("`{0}` is there twice")]
    Twice(String),
    #[error("`{0}` is neither a name nor a number that could be one")]
    Name(String),
    #[error("`{0}` is no list of topics and patterns")]
    Topics(String),
    #[error("it names more than {MAX_TOPICS} topics")]
    TooManyTopics,
    #[error("`{0}` is no number of seconds above 0")]
    Ttl(String),
}

/// What `reply` says about a caller who asked for `asked`.
pub(in crate::auth) fn judge(
    settings: &AuthBackend,
    reply: &SubrequestResponse,
    asked: &[Name],
    now: SystemTime,
) -> Result<BackendVerdict, MalformedResponse> {
    match reply.status {
        status if status.is_success() => granted(settings, reply, asked, now).map(BackendVerdict::Granted),
        status if is_final(status) => Ok(BackendVerdict::Denied(refused(reply))),
        // The way to a login page, which no stream can go.
        status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            Ok(BackendVerdict::Denied(Denied::LoginRequired))
        }
        status => Err(MalformedResponse::Status(status.as_u16())),
    }
}

/// Whether an answer says that the same request will never do. What says "not now" is none: the client comes back.
fn is_final(status: StatusCode) -> bool {
    let not_now =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    status.is_client_error() && !not_now
}

/// The application's own words, to be passed on.
fn refused(reply: &SubrequestResponse) -> Denied {
    let mut headers = HeaderMap::new();
    let whole = reply.body.is_some();
    let about_the_body = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE];
    let about_the_body = about_the_body.iter().filter(|_| whole);
    for name in about_the_body.chain(&[WWW_AUTHENTICATE, RETRY_AFTER, CACHE_CONTROL]) {
        for value in reply.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    }
    let body = reply.body.clone().unwrap_or_default();
    Denied::Answered(Box::new(DeniedResponse { status: reply.status, headers, body, retry_after: None }))
}

fn granted(
    settings: &AuthBackend,
    reply: &SubrequestResponse,
    asked: &[Name],
    now: SystemTime,
) -> Result<Granted, MalformedResponse> {
    if settings.grants == Grants::Asked && reply.status != StatusCode::NO_CONTENT && !is_json(&reply.headers)
    {
        return Err(MalformedResponse::NotAYes);
    }
    for header in [&settings.user_header, &settings.session_header, &settings.ttl_header] {
        if reply.headers.get_all(header).iter().nth(1).is_some() {
            return Err(MalformedResponse::Twice(header.as_str().to_owned()));
        }
    }
    let (mut claims, size) = object(reply)?;
    let name = |header: &http::HeaderName, field: &str| -> Result<Option<Name>, MalformedResponse> {
        let bad = |which: &str| MalformedResponse::Name(which.to_owned());
        if let Some(text) = reply.headers.get(header) {
            let text = str::from_utf8(text.as_bytes()).map_err(|_| bad(header.as_str()))?;
            return if text.is_empty() {
                Ok(None)
            } else {
                Name::parse(text).map(Some).map_err(|_| bad(header.as_str()))
            };
        }
        match claims::find(&claims, field) {
            None => Ok(None),
            Some(value) => claims::id_of(value).map(Some).ok_or_else(|| bad(field)),
        }
    };
    let user = name(&settings.user_header, &settings.user_field)?;
    let session = name(&settings.session_header, &settings.session_field)?;
    let token = match claims::find(&claims, "token_id") {
        None => None,
        Some(value) => {
            Some(claims::id_of(value).ok_or_else(|| MalformedResponse::Name("token_id".to_owned()))?)
        }
    };
    let mut patterns = topics(settings, &reply.headers, &claims)?;
    if settings.grants == Grants::Asked {
        // What was asked for is a name; as a pattern a `*` in it would be more than that.
        let literal = asked.iter().filter(|topic| !topic.as_str().contains('*'));
        patterns.extend(literal.filter_map(|topic| Pattern::parse(topic.as_str()).ok()));
    }
    let until = ttl(settings, &reply.headers, &claims)?.and_then(|ttl| now.checked_add(ttl));
    // Templates find the caller there, whichever way the answer named them.
    for (key, name) in [("user", &user), ("session", &session)] {
        if let Some(name) = name
            && !claims.contains_key(key)
        {
            claims.insert(key.to_owned(), Value::String(name.as_str().to_owned()));
        }
    }
    let topics = GrantedTopics::Only(patterns.into());
    let grant = Grant { user, session, token, topics, issued: Some(now), until };
    Ok(Granted { grant, claims, size })
}

/// The answer's JSON object; an empty one when it holds something else.
fn object(reply: &SubrequestResponse) -> Result<(Map<String, Value>, usize), MalformedResponse> {
    if !is_json(&reply.headers) {
        return Ok((Map::new(), 0));
    }
    let body = reply.body.as_ref().ok_or(MalformedResponse::TooLarge)?;
    if reply.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(MalformedResponse::Compressed);
    }
    // An answer to HEAD says what it would have held.
    if body.is_empty() {
        return Ok((Map::new(), 0));
    }
    let object = serde_json::from_slice(body).map_err(|_| MalformedResponse::NotJson)?;
    Ok((object, body.len()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn topics(
    settings: &AuthBackend,
    headers: &HeaderMap,
    claims: &Map<String, Value>,
) -> Result<Vec<Pattern>, MalformedResponse> {
    let header = &settings.topics_header;
    let mut all = Vec::new();
    if headers.contains_key(header) {
        let bad = || MalformedResponse::Topics(header.as_str().to_owned());
        for line in headers.get_all(header) {
            let line = str::from_utf8(line.as_bytes()).map_err(|_| bad())?.trim();
            if line.starts_with('[') {
                let list: Value = serde_json::from_str(line).map_err(|_| bad())?;
                all.extend(claims::patterns(&list).ok_or_else(bad)?);
            } else {
                let each = line.split(',').map(str::trim).filter(|text| !text.is_empty());
                all.extend(each.map(Pattern::parse).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?);
            }
        }
    } else {
        match claims::find(claims, &settings.topics_field) {
            None => {}
            Some(value) => {
                all = claims::patterns(value)
                    .ok_or_else(|| MalformedResponse::Topics(settings.topics_field.clone()))?;
            }
        }
    }
    if all.len() > MAX_TOPICS { Err(MalformedResponse::TooManyTopics) } else { Ok(all) }
}

fn ttl(
    settings: &AuthBackend,
    headers: &HeaderMap,
    claims: &Map<String, Value>,
) -> Result<Option<Duration>, MalformedResponse> {
    if let Some(text) = headers.get(&settings.ttl_header) {
        let parsed = text.to_str().ok().and_then(seconds);
        return parsed
            .map(Some)
            .ok_or_else(|| MalformedResponse::Ttl(settings.ttl_header.as_str().to_owned()));
    }
    for field in [settings.ttl_field.as_str(), "expires_in"] {
        let parsed = match claims::find(claims, field) {
            None => continue,
            Some(Value::Number(number)) => seconds(&number.to_string()),
            Some(Value::String(text)) => seconds(text),
            Some(_) => None,
        };
        return parsed.map(Some).ok_or_else(|| MalformedResponse::Ttl(field.to_owned()));
    }
    Ok(None)
}

/// A number of seconds above 0.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    if seconds > 0.0 {
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_TTL).min(MAX_TTL))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
