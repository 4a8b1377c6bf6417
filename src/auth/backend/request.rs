//! What the application is asked: the caller's own credentials, and where they want to go.
//!
//! Invariant: everything that goes along is in the digest, so that equal questions are from the same caller.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::auth::caller::Caller;
use crate::auth::strip;
use crate::config::{AuthBackend, AuthServer};
use crate::event::{Name, is_cursor_parameter};

/// Which question it is, said without its secrets.
pub(in crate::auth) type Digest = [u8; 32];

/// A request to the application.
pub(in crate::auth) struct Subrequest {
    pub(in crate::auth) target: PathAndQuery,
    pub(in crate::auth) headers: Vec<(HeaderName, HeaderValue)>,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const TOPICS: HeaderName = HeaderName::from_static("x-sidestream-topics");

impl Subrequest {
    /// What only we may read has to be out of the caller's request already.
    pub(in crate::auth) fn new(settings: &AuthBackend, caller: &Caller<'_>) -> Self {
        let request = caller.request;
        // A cursor says nothing of who one is, and would make every reconnect another question.
        let cursor = |name: &str, _: &str| is_cursor_parameter(name);
        let query = request.uri.query().and_then(|query| strip::query(query, cursor));
        let query = query.as_deref().filter(|query| !query.is_empty());
        let mut headers = Vec::with_capacity(settings.headers.len() + 9);
        for name in &settings.headers {
            headers.extend(request.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
        headers.push((ACCEPT, HeaderValue::from_static("application/json")));
        headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        forwarded(&mut headers, caller);
        // As with every other request: the application behind the public listener may have several names.
        if !matches!(settings.url.server, AuthServer::Tcp { .. })
            && let Some(host) = host(request)
        {
            headers.push((HOST, host));
        }
        headers.push((ORIGINAL_METHOD, HeaderValue::from_static("GET")));
        let original = with_query(request.uri.path(), query);
        if let Ok(original) = HeaderValue::from_bytes(original.as_bytes()) {
            headers.push((ORIGINAL_URI, original));
        }
        headers.push((TOPICS, list(caller.asked)));
        let target = &settings.url.target;
        let own = target.query().filter(|own| !own.is_empty());
        // Many an application takes the last of two: what the operator says is not the caller's to say.
        let names: Vec<_> =
            form_urlencoded::parse(own.unwrap_or_default().as_bytes()).map(|(name, _)| name).collect();
        let theirs =
            query.and_then(|query| strip::query(query, |name, _| names.iter().any(|own| own == name)));
        let both = match (own, theirs.as_deref()) {
            (Some(own), Some(query)) => Some(format!("{own}&{query}")),
            (own, query) => own.or(query).map(str::to_owned),
        };
        // Parts of targets are one.
        let target = with_query(target.path(), both.as_deref()).parse().unwrap_or_else(|_| target.clone());
        Self { target, headers }
    }

    pub(in crate::auth) fn digest(&self, key: &hmac::Key) -> Digest {
        let mut context = hmac::Context::with_key(key);
        let mut add = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(bytes);
        };
        add(self.target.as_str().as_bytes());
        for (name, value) in &self.headers {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        let tag = context.sign();
        let mut digest = Digest::default();
        digest.copy_from_slice(tag.as_ref());
        digest
    }
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// The host that the caller named, in the target or beside it.
fn host(request: &Parts) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => {
            let text = authority.as_str();
            HeaderValue::from_str(text.rsplit_once('@').map_or(text, |(_, host)| host)).ok()
        }
        None => request.headers.get(HOST).cloned(),
    }
}

/// Who the client is, as requests that are only forwarded say it: of a stranger nothing is believed.
fn forwarded(headers: &mut Vec<(HeaderName, HeaderValue)>, caller: &Caller<'_>) {
    let (request, origin) = (caller.request, caller.origin);
    let said = |name: &HeaderName| request.headers.get(name).filter(|_| origin.trusted).cloned();
    let mut chain = Vec::new();
    if origin.trusted {
        for line in request.headers.get_all(FORWARDED_FOR) {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    chain.extend_from_slice(origin.peer.to_canonical().to_string().as_bytes());
    if let Ok(chain) = HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)) {
        headers.push((FORWARDED_FOR, chain));
    }
    let scheme = HeaderValue::from_static(if origin.https { "https" } else { "http" });
    headers.push((FORWARDED_PROTO, said(&FORWARDED_PROTO).unwrap_or(scheme)));
    headers.extend(said(&FORWARDED_HOST).or_else(|| host(request)).map(|host| (FORWARDED_HOST, host)));
}

/// A JSON list in ASCII, as headers are read in more than one encoding.
fn list(names: &[Name]) -> HeaderValue {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let json = serde_json::to_string(&names).expect("texts are JSON");
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    HeaderValue::from_str(&ascii).expect("ASCII without control characters is a header's value")
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
