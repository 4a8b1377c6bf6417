//! What a client of the public listener reads.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::auth::Denied;
use crate::control::{NotPassedOn, OnTopic, PageChangeError};
use crate::event::{Block, EventFormat, Name};
use crate::proxy::{BadRequest, ProxyError};
use crate::rate::TooFast;
use crate::server::respond::ApiProblem;
use crate::server::respond::body::ResponseBody;
use crate::server::respond::capture::nothing_recorded;
use crate::server::respond::json::{FullResponse, json, retry_after, sentence};
use crate::subscribe::Refusal;

/// What the client reads when its request could not be forwarded; the log has the cause.
pub(in crate::server) fn not_forwarded(error: &ProxyError) -> FullResponse {
    let (status, why) = match error {
        ProxyError::Connect(_) => (StatusCode::BAD_GATEWAY, "cannot be reached"),
        ProxyError::BrokeOff(_) | ProxyError::BrokeOffMidway(_) => {
            (StatusCode::BAD_GATEWAY, "broke off before it answered")
        }
        ProxyError::BadAnswer(_) => (StatusCode::BAD_GATEWAY, "gave an answer that is not valid"),
        ProxyError::ConnectTimeout(_) | ProxyError::HeadTimeout(_) => {
            (StatusCode::GATEWAY_TIMEOUT, "did not answer in time")
        }
        ProxyError::Loop => {
            let why = "the request has come around: public.backend leads back to this server";
            return sentence(StatusCode::LOOP_DETECTED, why);
        }
        ProxyError::ClientStalled(_) | ProxyError::ClientLeft(_) => {
            return sentence(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive");
        }
        ProxyError::BadRequest(why @ (BadRequest::Connect | BadRequest::TransferCoding)) => {
            return sentence(StatusCode::NOT_IMPLEMENTED, &why.to_string());
        }
        ProxyError::BadRequest(why) => return sentence(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    sentence(status, &format!("the application behind this server {why}"))
}

/// The same, with the request's id in what [`not_forwarded`] says: for people who report what they see.
pub(in crate::server) fn with_request_id(
    mut response: Response<ResponseBody>,
    id: &str,
) -> Response<ResponseBody> {
    let ResponseBody::Full(said) = response.body_mut() else { return response };
    let said = std::mem::take(said).into_inner().unwrap_or_default();
    let with_id = said.strip_suffix(b"}").map(|rest| {
        let id = serde_json::to_string(id).expect("a text is JSON");
        [rest, b",\"request_id\":", id.as_bytes(), b"}"].concat()
    });
    *response.body_mut() = ResponseBody::Full(with_id.map_or_else(|| Full::new(said.clone()), Full::from));
    response
}

/// The headers of every event stream.
pub(in crate::server) const STREAM_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// The head alone, to clients that ask whether there are streams here: nothing is opened, and nobody is verified.
pub(in crate::server) fn stream_head() -> FullResponse {
    let mut response = Response::new(Full::default());
    response.headers_mut().extend(STREAM_HEADERS);
    response
}

/// Lets an HTTP/1.1 connection end with this answer, unless it goes on under another protocol.
pub(in crate::server) fn close_connection(response: &mut Response<ResponseBody>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What a client reads whose stream is refused.
pub(in crate::server) fn refused(refusal: &Refusal, format: EventFormat) -> FullResponse {
    match refusal {
        Refusal::BadRequest(problem) => sentence(StatusCode::BAD_REQUEST, &problem.to_string()),
        Refusal::Denied { denied, terse, .. } => not_let_in(denied, *terse),
        Refusal::NoSuchStream => no_such_stream(),
        // The one answer at which an `EventSource` stops without an error.
        Refusal::Away | Refusal::Ended => nothing_recorded(),
        Refusal::Later { why, retry, as_status: true, headers, .. } => {
            let status = if why.is_the_callers() {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            let mut response = sentence(status, why.sentence());
            response.headers_mut().insert(RETRY_AFTER, retry_after(*retry));
            response.headers_mut().extend((**headers).clone());
            response
        }
        // EventSource gives up for good on any other status, and comes back after the `retry:` when this one ends.
        Refusal::Later { retry, as_status: false, why, cursor, layout, headers } => {
            let data = serde_json::json!({ "reason": why.as_str() }).to_string();
            let retry = Some(u32::try_from(retry.as_millis()).unwrap_or(u32::MAX));
            let block = Block { retry, event: Some("refused"), data: &data, id: *cursor };
            let frame = match layout {
                Some(layout) => layout.block(block, None, SystemTime::now()),
                None => format.block(block, SystemTime::now()),
            };
            let mut response = Response::new(Full::new(frame.payload_bytes()));
            response.headers_mut().extend(STREAM_HEADERS);
            response.headers_mut().extend((**headers).clone());
            response
        }
    }
}

/// What a client reads that asks for more than its address may.
pub(in crate::server) fn too_many_requests(fast: TooFast) -> FullResponse {
    let say = "this address sends more requests than it may; come back in a moment";
    let mut response = sentence(StatusCode::TOO_MANY_REQUESTS, say);
    response.headers_mut().insert(RETRY_AFTER, retry_after(fast.wait.unwrap_or_default()));
    response
}

/// What came of a new token for an open stream.
pub(in crate::server) fn renewed(expires_in: Option<Duration>, here: bool) -> FullResponse {
    let status = if here { StatusCode::OK } else { StatusCode::ACCEPTED };
    json(status, &serde_json::json!({ "expires_in": expires_in.map(|left| left.as_secs()) }))
}

/// A page's event is on its way. How many it is for is not the page's to know.
pub(in crate::server) fn published_by_page() -> FullResponse {
    preflight()
}

/// Who is on the topics of a page's own stream.
pub(in crate::server) fn page_presence(topics: &[Arc<OnTopic>]) -> FullResponse {
    #[derive(Serialize)]
    struct OnPageTopic<'a> {
        topic: &'a str,
        streams: u64,
        anonymous: u64,
        users_total: usize,
        users: &'a [String],
        complete: bool,
    }
    let topics: Vec<OnPageTopic<'_>> = topics
        .iter()
        .map(|on| OnPageTopic {
            topic: &on.topic,
            streams: on.streams,
            anonymous: on.anonymous,
            users_total: on.users_total,
            users: on.users.as_deref().unwrap_or_default(),
            complete: on.complete,
        })
        .collect();
    let mut response = json(StatusCode::OK, &serde_json::json!({ "topics": topics }));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// No instance that can be asked has that stream.
fn no_such_stream() -> FullResponse {
    ApiProblem::no_such_stream().into_response()
}

/// Why the change that a page asked for was not made, or not here.
pub(in crate::server) fn page_change_failed(error: PageChangeError) -> Result<FullResponse, ApiProblem> {
    Err(match error {
        PageChangeError::PassedOn => {
            return Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "said": error.to_string() })));
        }
        PageChangeError::NotPassedOn(NotPassedOn::Nobody) => ApiProblem::no_such_stream(),
        PageChangeError::NotPassedOn(NotPassedOn::TooOften(wait)) | PageChangeError::TooOften(wait) => {
            ApiProblem::too_often(error.to_string(), wait)
        }
        PageChangeError::Edit(bad) => ApiProblem::bad_edit(bad),
        PageChangeError::TooManyTokens | PageChangeError::Denied(_) | PageChangeError::Away => {
            ApiProblem::too_many_tokens(error.to_string())
        }
    })
}

/// To a browser that asks what a page may send: without a body, for CORS to put headers on.
pub(in crate::server) fn preflight() -> FullResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// What a caller reads who is not let in.
pub(in crate::server) fn not_let_in(denied: &Denied, terse: bool) -> FullResponse {
    if let Denied::Answered(answer) = denied {
        let mut response = Response::new(Full::new(answer.body.clone()));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        return response;
    }
    let status = if denied.is_forbidden() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
    let mut response = if terse {
        let error = if denied.is_forbidden() { "not allowed" } else { "not authenticated" };
        sentence(status, error)
    } else {
        #[derive(Serialize)]
        struct Text<'a> {
            error: String,
            reason: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            topic: Option<&'a str>,
        }
        let topic = denied.topic().map(Name::as_str);
        json(status, &Text { error: denied.to_string(), reason: denied.label(), topic })
    };
    if status == StatusCode::UNAUTHORIZED {
        // RFC 6750 § 3: without a token no error is named.
        let challenge = match denied {
            Denied::NoToken => "Bearer",
            _ if terse => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
