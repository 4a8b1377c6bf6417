//! The description of the internal listener, as it stands in the documentation.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;

/// OpenAPI 3.1.
pub(in crate::server) const TEXT: &str = include_str!("../../../docs/openapi.json");

pub(in crate::server) fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(TEXT.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
