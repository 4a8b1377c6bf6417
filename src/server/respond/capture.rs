//! What a client reads that comes for a recorded answer and does not get it.

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::server::respond::json::{FullResponse, retry_after, sentence};

/// There is nothing to come back to: the one answer that clients of all kinds take for that.
pub(in crate::server) fn nothing_recorded() -> FullResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// As many as may read it do.
pub(in crate::server) fn too_many_readers() -> FullResponse {
    later(StatusCode::TOO_MANY_REQUESTS, "as many as may read this answer do; come back in a moment")
}

/// Who asks cannot be verified for the moment.
pub(in crate::server) fn not_verified_now() -> FullResponse {
    later(StatusCode::SERVICE_UNAVAILABLE, "callers cannot be verified now; come back in a moment")
}

/// Other instances cannot be asked whether they have it.
pub(in crate::server) fn not_found_now() -> FullResponse {
    later(StatusCode::SERVICE_UNAVAILABLE, "recorded answers cannot be looked up now; come back in a moment")
}

fn later(status: StatusCode, why: &str) -> FullResponse {
    let mut response = sentence(status, why);
    response.headers_mut().insert(RETRY_AFTER, retry_after(Duration::from_secs(1)));
    response
}
