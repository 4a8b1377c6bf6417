//! An answer's head, or its trailers, as text that other instances read: a line with the status, then the fields as
//! they stand in HTTP/1. Cookies that the answer sets are its first reader's alone and left out.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::capture::recording::RecordedHead;

impl RecordedHead {
    pub(super) fn text(&self) -> Bytes {
        let mut text = format!("{}\r\n", self.status.as_u16()).into_bytes();
        text.extend_from_slice(&fields_text(&self.headers));
        text.into()
    }

    /// None when it is no such text.
    pub(super) fn of_text(text: &[u8]) -> Option<Self> {
        let line = text.windows(2).position(|window| window == b"\r\n")?;
        let status = StatusCode::from_bytes(&text[..line]).ok()?;
        Some(Self { status, headers: fields_of(&text[line + 2..])? })
    }
}

pub(super) fn fields_text(headers: &HeaderMap) -> Bytes {
    let mut text = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| **name != SET_COOKIE) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.into()
}

/// None when they are no fields.
pub(super) fn fields_of(text: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let name = rest[..end].windows(2).position(|window| window == b": ")?;
        let value = HeaderValue::from_bytes(&rest[name + 2..end]).ok()?;
        headers.append(HeaderName::from_bytes(&rest[..name]).ok()?, value);
        rest = &rest[end + 2..];
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_same_behind_its_text_but_for_cookies() {
        let fields: [(&'static str, &[u8]); 5] = [
            ("x-a", b"1: 2"),
            ("x-a", b"\xe4"),
            ("x-empty", b""),
            ("content-type", b"text/event-stream"),
            ("set-cookie", b"session=secret"),
        ];
        let fields = fields
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
        let head = RecordedHead { status: StatusCode::CREATED, headers: fields.into_iter().collect() };
        let again = RecordedHead::of_text(&head.text()).unwrap();
        let mut headers = head.headers;
        headers.remove(SET_COOKIE);
        assert_eq!((again.status, again.headers), (StatusCode::CREATED, headers));
        for bad in [&b""[..], b"200", b"99\r\n", b"200\r\nx\r\n", b"200\r\nx: 1", b"200\r\n x: 1\r\n"] {
            assert!(RecordedHead::of_text(bad).is_none(), "{bad:?}");
        }
    }
}
