//! A request as it stands in the list, and its answer: from text to an HTTP request, and from an HTTP response to text.
//!
//! A body that is JSON goes on as it is written, byte for byte. This file knows no connection and no route.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::redis::client::slot::slot_of;

/// Longest name of a list that an answer is left in.
const MAX_REPLY: usize = 512;

/// A request that was taken from the list.
#[derive(Debug)]
pub(in crate::redis) struct RpcRequest {
    pub(in crate::redis) request: Request<Bytes>,
    /// The list that waits for the answer.
    pub(in crate::redis) reply: Option<String>,
    /// From when on it is not to be done any more, in milliseconds since the Unix epoch.
    pub(in crate::redis) expires: Option<u64>,
}

/// A text that is no request.
#[derive(Debug)]
pub(in crate::redis) struct MalformedRequest {
    pub(in crate::redis) why: BadRpcRequest,
    /// Where the answer goes, as far as that can be read.
    pub(in crate::redis) reply: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum BadRpcRequest {
    #[error("a request is a JSON object of `method`, `path`, `headers`, `body`, `reply` and `expires`: {0}")]
    Json(serde_json::Error),
    #[error("`path` has to begin with a slash")]
    Path,
    #[error("`method`, `path` or `headers` cannot stand in a request: {0}")]
    Request(http::Error),
    #[error(
        "`reply` has to be a key of 1 to {MAX_REPLY} bytes, under {prefix}:answers: if it is under {prefix}:"
    )]
    Reply { prefix: String },
    #[error("`reply` has to lie in the slot of {list}, as {prefix}:answers:{{{list}}}:1 does")]
    Slot { list: String, prefix: String },
}

impl BadRpcRequest {
    /// One word for the log.
    pub(in crate::redis) fn label(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Path => "path",
            Self::Request(_) => "request",
            Self::Reply { .. } => "reply",
            Self::Slot { .. } => "slot",
        }
    }
}

/// What keys are ours.
pub(in crate::redis) struct RpcKeys {
    prefix: String,
    list: String,
    /// In a Cluster, where answers must lie.
    slot: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RpcFields<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    reply: Option<String>,
    expires: Option<u64>,
}

/// What is read of a text that is no request.
#[derive(Deserialize)]
struct ReplyOnly {
    reply: Option<String>,
}

impl RpcKeys {
    /// The list that requests are taken from.
    pub(in crate::redis) fn list(prefix: &str) -> String {
        format!("{prefix}:requests")
    }

    pub(in crate::redis) fn new(prefix: &str, slot: Option<u16>) -> Self {
        Self { prefix: prefix.to_owned(), list: Self::list(prefix), slot }
    }

    /// The request that `text` is. A `reply` that no answer may be left in is nobody's.
    pub(in crate::redis) fn read(&self, text: &[u8]) -> Result<RpcRequest, MalformedRequest> {
        let words: RpcFields<'_> = serde_json::from_slice(text).map_err(|bad| {
            let read: Option<ReplyOnly> = serde_json::from_slice(text).ok();
            let reply = read.and_then(|read| read.reply).filter(|reply| self.check(reply).is_ok());
            MalformedRequest { why: BadRpcRequest::Json(bad), reply }
        })?;
        if let Some(Err(why)) = words.reply.as_deref().map(|reply| self.check(reply)) {
            return Err(MalformedRequest { why, reply: None });
        }
        match request(&words) {
            Ok(request) => Ok(RpcRequest { request, reply: words.reply, expires: words.expires }),
            Err(why) => Err(MalformedRequest { why, reply: words.reply }),
        }
    }

    /// Whether an answer may be left there. What is under our prefix is ours, but for answers.
    fn check(&self, reply: &str) -> Result<(), BadRpcRequest> {
        let Self { prefix, list, slot } = self;
        let own = reply
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':') && !rest.starts_with(":answers:"));
        if own || reply.is_empty() || reply.len() > MAX_REPLY {
            return Err(BadRpcRequest::Reply { prefix: prefix.clone() });
        }
        if slot.is_some_and(|slot| slot != slot_of(reply.as_bytes())) {
            return Err(BadRpcRequest::Slot { list: list.clone(), prefix: prefix.clone() });
        }
        Ok(())
    }
}

fn request(words: &RpcFields<'_>) -> Result<Request<Bytes>, BadRpcRequest> {
    if !words.path.starts_with('/') {
        return Err(BadRpcRequest::Path);
    }
    let body = match words.body.map(RawValue::get) {
        None => Bytes::new(),
        // Text stands for itself: several lines of NDJSON, say.
        Some(raw) if raw.starts_with('"') => {
            Bytes::from(serde_json::from_str::<String>(raw).map_err(BadRpcRequest::Json)?)
        }
        Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
    };
    let mut request = Request::builder().method(&*words.method).uri(&*words.path);
    for (name, value) in &words.headers {
        request = request.header(name, value);
    }
    request.body(body).map_err(BadRpcRequest::Request)
}

/// The answer's text. A body that is no JSON stands in a string.
pub(in crate::redis) fn answer(response: &Response<Bytes>) -> Vec<u8> {
    let body = response.body();
    let kind = response.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let mut text = format!("{{\"status\":{},\"body\":", response.status().as_u16()).into_bytes();
    if body.is_empty() {
        text.extend_from_slice(b"null");
    } else if is_json {
        text.extend_from_slice(body);
    } else {
        let quoted = serde_json::to_vec(&String::from_utf8_lossy(body)).expect("texts are JSON");
        text.extend_from_slice(&quoted);
    }
    text.push(b'}');
    text
}

/// The answer to what is refused here already.
pub(in crate::redis) fn refusal(status: u16, why: &str) -> Vec<u8> {
    let answer = serde_json::json!({ "status": status, "body": { "error": why } });
    serde_json::to_vec(&answer).expect("our own answers are JSON")
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn read(text: &str) -> Result<RpcRequest, MalformedRequest> {
        RpcKeys::new("side", None).read(text.as_bytes())
    }

    #[test]
    fn a_request_is_what_its_text_says() {
        let text = r#"{"method":"POST","path":"/publish?partial=true","headers":{"Idempotency-Key":"k"},
            "body":{"data":{"n":1.50,"big":123456789012345678901234567890}},"reply":"answers:1","expires":7}"#;
        let question = read(text).unwrap();
        assert_eq!((question.reply.as_deref(), question.expires), (Some("answers:1"), Some(7)));
        let request = question.request;
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/publish"));
        assert_eq!(request.uri().query(), Some("partial=true"));
        assert_eq!(request.headers()["idempotency-key"], "k");
        assert_eq!(request.body(), r#"{"data":{"n":1.50,"big":123456789012345678901234567890}}"#);
        let lines = read(r#"{"method":"POST","path":"/publish","body":"{}\n{}"}"#).unwrap();
        assert_eq!(lines.request.body(), "{}\n{}");
        let short = read(r#"{"method":"GET","path":"/position","body":null}"#).unwrap();
        assert!(short.request.body().is_empty() && short.reply.is_none() && short.expires.is_none());
    }

    #[test]
    fn what_is_no_request_is_answered_where_a_reply_list_can_be_read() {
        for (text, reply) in [
            ("", None),
            ("\u{1}", None),
            ("[]", None),
            (r#"{"path":"/position"}"#, None),
            (r#"{"path":"/position","reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"/position","reply":"a","more":1}"#, Some("a")),
            (r#"{"method":"GET","path":"/position","reply":7}"#, None),
            (r#"{"method":"GET","path":"position","reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"http://a/position","reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"/a b","reply":"a"}"#, Some("a")),
            (r#"{"method":"G T","path":"/position","reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"/","headers":{"a b":"c"},"reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"/","headers":{"a":"\n"},"reply":"a"}"#, Some("a")),
            (r#"{"method":"GET","path":"/position","reply":"a","expires":"soon"}"#, Some("a")),
        ] {
            assert_eq!(read(text).unwrap_err().reply.as_deref(), reply, "{text}");
        }
    }

    #[test]
    fn no_answer_is_left_in_a_key_of_our_own_nor_in_another_slot() {
        let ask = |reply: &str| {
            serde_json::json!({ "method": "GET", "path": "/position", "reply": reply }).to_string()
        };
        for reply in ["", "side", "side:requests", "side:revocations", "side:answers", &"x".repeat(513)] {
            let malformed = read(&ask(reply)).unwrap_err();
            assert!(matches!(malformed.why, BadRpcRequest::Reply { .. }), "{reply}");
            assert_eq!(malformed.reply, None);
        }
        for reply in ["side:answers:1", "answers:1", "sidecar:1", "{side:requests}:1"] {
            assert!(read(&ask(reply)).is_ok(), "{reply}");
        }
        let keys = RpcKeys::new("side", Some(slot_of(b"side:requests")));
        assert!(keys.read(ask("side:answers:{side:requests}:1").as_bytes()).is_ok());
        let malformed = keys.read(ask("side:answers:1").as_bytes()).unwrap_err();
        assert!(matches!(malformed.why, BadRpcRequest::Slot { .. }));
    }

    #[test]
    fn an_answer_is_one_json_object_whatever_its_body_is() {
        let json = |response: &Response<Bytes>| -> serde_json::Value {
            serde_json::from_slice(&answer(response)).unwrap()
        };
        let mut response = Response::new(Bytes::from_static(b"a \"metric\" \xff\n"));
        assert_eq!(json(&response), serde_json::json!({ "status": 200, "body": "a \"metric\" \u{fffd}\n" }));
        *response.body_mut() = Bytes::from_static(b"{\"n\":1.50}");
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(answer(&response), br#"{"status":404,"body":{"n":1.50}}"#);
        *response.body_mut() = Bytes::new();
        assert_eq!(answer(&response), br#"{"status":404,"body":null}"#);
        assert_eq!(refusal(400, "no"), br#"{"body":{"error":"no"},"status":400}"#);
    }
}
