//! Answers as JSON, never cached.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// An answer whose body is complete.
pub(in crate::server) type FullResponse = Response<Full<Bytes>>;

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> FullResponse {
    let text = serde_json::to_vec(value).expect("our own answers are JSON");
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What was asked for.
pub(in crate::server) fn ok(value: &impl Serialize) -> FullResponse {
    json(StatusCode::OK, value)
}

/// 200, or 503 with `Retry-After: 1` for what was done in part.
pub(super) fn ok_or_unavailable(is_ok: bool, value: &impl Serialize) -> FullResponse {
    if is_ok {
        return ok(value);
    }
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, value);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The value of `Retry-After`: whole seconds, not earlier than `wait`.
pub(super) fn retry_after(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// One plain sentence about what is wrong.
pub(super) fn sentence(status: StatusCode, error: &str) -> FullResponse {
    json(status, &serde_json::json!({ "error": error }))
}
