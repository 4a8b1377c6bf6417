//! Which requests ask for the same: the one request that is made for all of them, and its name.
//!
//! Invariant: two requests of one name are the same to the application, but for what the route excuses. So nothing
//! goes into the request that does not go into the name.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::config::{SourceKind, StreamSource, VaryBy};
use crate::event::{Name, is_cursor_parameter};
use crate::proxy::Forwarded;
use crate::upstream::sharing::Unshared;

/// A request that stands for all that ask for the same.
#[derive(Clone, Debug)]
pub struct SharedRequest {
    /// The same for all of them, and for nobody else.
    pub(super) name: Name,
    pub(super) uri: Uri,
    /// An old one may name no host.
    version: Version,
    /// Who asks is told by the whole of their credentials: nobody else has this name.
    pub(super) is_own: bool,
    headers: HeaderMap,
    pub(super) caller: Forwarded,
}

/// A caller's request, as far as it matters which stream it is for.
#[derive(Clone, Copy)]
pub struct SharedRequestParts<'a> {
    pub source: &'a StreamSource,
    /// The route's path as it is configured.
    pub route: &'a str,
    /// Without the tokens that are for us.
    pub head: &'a Parts,
    /// Whether the caller was verified, and as whom.
    pub verified: bool,
    pub user: Option<&'a Name>,
    pub caller: &'a Forwarded,
}

/// What a trusted proxy says of the way to it, but for whose address it saw.
const FORWARDED: &str = "x-forwarded-";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The request for all that ask for the same as this one, or why there is none.
pub fn identify(asked: SharedRequestParts<'_>) -> Result<SharedRequest, Unshared> {
    let SharedRequestParts { source, route, head, verified, user, caller } = asked;
    // Of an answer there may be one for each caller; a stream for one alone is the application's own affair.
    let mut own = Vec::new();
    // Whom nobody has verified may say to be anybody.
    let user = user.filter(|_| verified);
    let by_user = source.vary_by.contains(&VaryBy::User);
    let anonymous = by_user && user.is_none();
    for (header, why) in [(COOKIE, Unshared::Cookie), (AUTHORIZATION, Unshared::Authorization)] {
        let named = source.names(&header) && !anonymous;
        let unnamed = head.headers.contains_key(&header) && !named && !source.despite(&header);
        if unnamed && source.kind != SourceKind::Poll {
            return Err(why);
        }
        if unnamed {
            own.push(header);
        }
    }
    let uri = target(&head.uri, source.vary_by.contains(&VaryBy::Query)).ok_or(Unshared::Answer)?;
    let mut headers = HeaderMap::new();
    let mut name = NameOfMany::new(route);
    name.add("scheme", caller.scheme().as_bytes());
    name.add("target", uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
    // HTTP/2 has the host in the target, which goes before the header and reaches the application as one.
    let host = uri.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    if let Some(host) = host {
        name.add(HOST.as_str(), host.as_bytes());
    }
    let told = |header: &HeaderName| {
        let forwarded = header.as_str().starts_with(FORWARDED) && *header != FORWARDED_FOR;
        *header == HOST && host.is_none() || forwarded && caller.is_trusted()
    };
    let mut said: Vec<&HeaderName> = head.headers.keys().filter(|header| told(header)).collect();
    said.sort_unstable_by_key(|header| header.as_str());
    for header in said {
        name.add_header(&head.headers, header, &mut headers);
    }
    for header in &own {
        name.add_header(&head.headers, header, &mut headers);
    }
    for by in &source.vary_by {
        match by {
            VaryBy::Query => {}
            VaryBy::Header(header) => name.add_header(&head.headers, header, &mut headers),
            VaryBy::Cookie(cookie) => {
                for value in cookies(&head.headers, cookie) {
                    name.add(&format!("cookie:{cookie}"), value);
                    append_cookie(&mut headers, cookie, value);
                }
            }
            VaryBy::User => name.add("user", user.map_or("", Name::as_str).as_bytes()),
        }
    }
    // Of one user, or of one caller among those who were all let in.
    let of_user = by_user && user.is_some();
    for header in [COOKIE, AUTHORIZATION] {
        if of_user || (verified && source.despite(&header)) {
            headers.remove(&header);
            copy(&head.headers, &header, &mut headers);
        }
    }
    if caller.is_trusted() {
        copy(&head.headers, &FORWARDED_FOR, &mut headers);
    }
    headers.insert(ACCEPT, HeaderValue::from_static(accepted(source.kind)));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let is_own = of_user || !own.is_empty();
    Ok(SharedRequest {
        name: name.finish(),
        is_own,
        uri,
        version: head.version,
        headers,
        caller: caller.clone(),
    })
}

impl SharedRequest {
    /// As it goes to the application, from behind the event of this id; empty = from now on.
    pub(super) fn request(&self, last_event_id: &str) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        // The specification has the id as UTF-8, and every byte of that but the controls fits into a header.
        if !last_event_id.is_empty()
            && let Ok(id) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(last_event_id.as_bytes()))
        {
            request.headers_mut().insert("last-event-id", id);
        }
        request
    }
}

/// What is asked for.
fn accepted(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Poll => "application/json, text/plain, */*",
        SourceKind::Topics | SourceKind::Backend => "text/event-stream",
    }
}

/// The target without the id that its client has last seen, and without its query where that tells nothing apart.
fn target(uri: &Uri, with_query: bool) -> Option<Uri> {
    let kept = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name);
        !is_cursor_parameter(&name)
    };
    let query = uri.query().filter(|_| with_query);
    let query: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).filter(kept).collect();
    let text = match query.join("&") {
        none if none.is_empty() => uri.path().to_owned(),
        query => format!("{}?{query}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The values of the cookies of this name.
fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.as_bytes())?.trim_ascii_start();
        rest.strip_prefix(b"=").map(<[u8]>::trim_ascii)
    })
}

fn append_cookie(headers: &mut HeaderMap, name: &str, value: &[u8]) {
    let mut line = headers.get(COOKIE).map_or_else(Vec::new, |line| [line.as_bytes(), b"; "].concat());
    line.extend_from_slice(name.as_bytes());
    line.push(b'=');
    line.extend_from_slice(value);
    // A part of a header's value is one.
    if let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(line)) {
        headers.insert(COOKIE, line);
    }
}

fn copy(from: &HeaderMap, header: &HeaderName, to: &mut HeaderMap) {
    for value in from.get_all(header) {
        to.append(header, value.clone());
    }
}

/// A name that is made of many parts, each of which could be long and be a secret.
struct NameOfMany(Context);

impl NameOfMany {
    fn new(route: &str) -> Self {
        let mut name = Self(Context::new(&SHA256));
        name.add("route", route.as_bytes());
        name
    }

    fn add(&mut self, what: &str, value: &[u8]) {
        for part in [what.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// Puts every value of `header` into the name, and into the request.
    fn add_header(&mut self, from: &HeaderMap, header: &HeaderName, to: &mut HeaderMap) {
        for value in from.get_all(header) {
            self.add(header.as_str(), value.as_bytes());
        }
        to.remove(header);
        copy(from, header, to);
    }

    fn finish(self) -> Name {
        let text = BASE32_NOPAD.encode(&self.0.finish().as_ref()[..20]).to_ascii_lowercase();
        Name::parse(&text).expect("letters and digits are a name")
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
