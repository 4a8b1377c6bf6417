//! The description of the internal listener, as it stands in the documentation.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;

use crate::server::respond::FullResponse;

/// OpenAPI 3.1.
pub(super) const TEXT: &str = include_str!("../../../docs/openapi.json");

pub(super) fn answer() -> FullResponse {
    let mut response = Response::new(Full::new(Bytes::from_static(TEXT.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
