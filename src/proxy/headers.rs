//! What of a head is for the next hop only, and who the client is: RFC 9110, section 7.6.1, and `X-Forwarded-*`.
//!
//! Works on headers alone. All others go on as they are, values of one name in their order.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use smallvec::SmallVec;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// How many sidestreams a request has passed. No `Via`: backends answer that with less (nginx does not compress).
const HOPS: HeaderName = HeaderName::from_static("x-sidestream-hops");
/// As many sidestreams may stand in front of one another.
const MOST_HOPS: u32 = 4;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Who sent the request, as the `X-Forwarded-*` headers are to say it.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The socket's peer.
    peer: HeaderValue,
    /// The peer is a trusted proxy: its `X-Forwarded-*` are kept and added to. Otherwise what came is thrown away.
    trusted: bool,
    /// Our own listener spoke TLS.
    https: bool,
}

impl Forwarded {
    pub fn new(peer: IpAddr, trusted: bool, https: bool) -> Self {
        let text = bytes::Bytes::from(peer.to_canonical().to_string());
        let peer = HeaderValue::from_maybe_shared(text).expect("an address is a value");
        Self { peer, trusted, https }
    }

    /// Whether what came of `X-Forwarded-*` is believed.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The scheme that our own listener spoke.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

/// What kinds of fields a head has: one look at each name costs less than asking for every name.
#[derive(Clone, Copy, Default)]
pub(super) struct Kinds {
    /// For one hop, or named by what is.
    hop: bool,
    /// Who the client is.
    who: bool,
    /// Where the body ends.
    pub(super) framing: bool,
    pub(super) expect: bool,
    /// It has passed a sidestream before.
    hops: bool,
    /// What trailers it announces.
    trailer: bool,
}

impl Kinds {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut kinds = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection"
                | "upgrade"
                | "te"
                | "keep-alive"
                | "proxy-connection"
                | "proxy-authorization"
                | "proxy-authenticate"
                | "http2-settings" => kinds.hop = true,
                "content-length" | "transfer-encoding" => kinds.framing = true,
                "expect" => kinds.expect = true,
                "trailer" => kinds.trailer = true,
                "x-sidestream-hops" => (kinds.who, kinds.hops) = (true, true),
                _ => kinds.who |= says_who(name),
            }
        }
        kinds
    }

    /// Whether something is said already of who the client is, or of the way that the request came.
    pub(super) fn says_who(self) -> bool {
        self.who
    }

    /// Whether the client takes trailers.
    pub(super) fn takes_trailers(self, headers: &HeaderMap) -> bool {
        let asks = |value| tokens(value).any(|it| it.eq_ignore_ascii_case("trailers"));
        self.hop && headers.get_all(TE).iter().any(asks)
    }
}

/// Says to the backend who sent a request with these headers, which are of these kinds; or refuses it, as it has come
/// around.
pub(super) fn say_who(headers: &mut HeaderMap, kinds: Kinds, caller: &Forwarded) -> Result<(), ComesAround> {
    // Believed of everybody: who lies is refused, or counted from its own number.
    let said = if kinds.hops { headers.get(HOPS) } else { None };
    let hops: u32 = said.and_then(|said| said.to_str().ok()?.parse().ok()).unwrap_or(0);
    if hops >= MOST_HOPS {
        return Err(ComesAround);
    }
    forwarded(headers, kinds.who, caller);
    // Mostly the first: without a text made for it.
    let hops = if hops == 0 { HeaderValue::from_static("1") } else { HeaderValue::from(hops + 1) };
    headers.insert(HOPS, hops);
    Ok(())
}

/// The same as [`say_who`], written to the end of a head that says nothing of it yet and names this host.
pub(super) fn write_who(caller: &Forwarded, host: Option<&HeaderValue>, head: &mut Vec<u8>) {
    head.extend_from_slice(b"x-forwarded-for: ");
    head.extend_from_slice(caller.peer.as_bytes());
    head.extend_from_slice(b"\r\nx-forwarded-proto: ");
    head.extend_from_slice(caller.scheme().as_bytes());
    if let Some(host) = host {
        head.extend_from_slice(b"\r\nx-forwarded-host: ");
        head.extend_from_slice(host.as_bytes());
    }
    head.extend_from_slice(b"\r\nx-sidestream-hops: 1\r\n");
}

/// A request has been forwarded by more sidestreams than can be meant.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct ComesAround;

/// Takes from a client's headers, which are of these kinds, what is for one hop. Returns the protocol that it asks to
/// switch to.
pub(super) fn end_hop(headers: &mut HeaderMap, kinds: Kinds) -> Option<HeaderValue> {
    if !kinds.hop {
        return None;
    }
    let named = take_connection(headers);
    let upgrade =
        headers.remove(UPGRADE).filter(|protocol| has_token(&named, "upgrade") && !is_h2c(protocol));
    let trailers = kinds.takes_trailers(headers);
    remove_named(headers, &named);
    // A proxy's own credentials: as far as the client is concerned there is no proxy here.
    for name in [TE, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHORIZATION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    match (&upgrade, trailers) {
        (Some(protocol), _) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        (None, true) => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        (None, false) => {}
    }
    upgrade
}

/// Leaves what the client is to see of the backend's headers, which are of these kinds; `upgrading` keeps the protocol
/// that is switched to, `trailers` says whether the client gets those.
pub(super) fn to_client(headers: &mut HeaderMap, kinds: Kinds, upgrading: bool, trailers: bool) {
    if kinds.trailer && !trailers {
        headers.remove(TRAILER);
    }
    if !kinds.hop {
        return;
    }
    let named = take_connection(headers);
    let upgrade = headers.remove(UPGRADE);
    remove_named(headers, &named);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE] {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade.filter(|_| upgrading) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// How long the backend says that it keeps an idle connection, in seconds.
pub(super) fn keep_alive_timeout(headers: &HeaderMap, kinds: Kinds) -> Option<u64> {
    if !kinds.hop {
        return None;
    }
    let seconds = tokens(headers.get(KEEP_ALIVE)?).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("timeout") { Some(value.trim().trim_matches('"')) } else { None }
    })?;
    seconds.parse().ok()
}

type Lines = SmallVec<[HeaderValue; 2]>;

fn take_connection(headers: &mut HeaderMap) -> Lines {
    if !headers.contains_key(CONNECTION) {
        return Lines::new();
    }
    let lines = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    lines
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(lines: &Lines, token: &str) -> bool {
    lines.iter().flat_map(tokens).any(|it| it.eq_ignore_ascii_case(token))
}

/// Removes what `Connection` names, but for what nobody may have removed on the way: how long the body is, the host,
/// and who the client is.
fn remove_named(headers: &mut HeaderMap, connection: &Lines) {
    for token in connection.iter().flat_map(tokens) {
        let Ok(name) = HeaderName::from_bytes(token.as_bytes()) else { continue };
        if ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) && !says_who(&name) {
            headers.remove(name);
        }
    }
}

/// HTTP/2 without TLS would be a tunnel past every rule of this server, and RFC 9113 has given it up; the request goes
/// on as the HTTP/1.1 that it also is.
fn is_h2c(protocol: &HeaderValue) -> bool {
    tokens(protocol).any(|it| it.eq_ignore_ascii_case("h2c"))
}

/// Whether backends read from this header who the client is, or what this daemon says of it. WSGI, CGI and Rack make
/// one variable of `-` and `_`, so that a name counts however it is spelled.
fn says_who(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let begins = |with: &[u8]| name.len() >= with.len() && spells(&name[..with.len()], with);
    // By its first byte at once, since every name of every head is asked about.
    match name.first() {
        Some(b'x') => {
            begins(b"x-forwarded-")
                || begins(b"x-sidestream-")
                || spells(name, b"x-real-ip")
                || spells(name, b"x-original-uri")
        }
        Some(b'f') => spells(name, b"forwarded"),
        _ => false,
    }
}

/// Whether a name is `known`, with `_` read as `-`.
fn spells(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name
            .iter()
            .zip(known)
            .all(|(&byte, &of_known)| byte == of_known || (byte == b'_' && of_known == b'-'))
}

/// Says who the client is. Of a stranger nothing is believed, so nothing of it reaches the backend. `claims`: something
/// is said already.
fn forwarded(headers: &mut HeaderMap, claims: bool, caller: &Forwarded) {
    if claims {
        // A trusted proxy writes names with `-`; those with `_` are its client's.
        let strange = |name: &&HeaderName| says_who(name) && (!caller.trusted || name.as_str().contains('_'));
        let strange: SmallVec<[HeaderName; 4]> = headers.keys().filter(strange).cloned().collect();
        for name in strange {
            headers.remove(name);
        }
    }
    let claims = claims && caller.trusted;
    let peer = if claims { peer_after(headers, &caller.peer) } else { caller.peer.clone() };
    headers.insert(FORWARDED_FOR, peer);
    if !(claims && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(caller.scheme()));
    }
    if !(claims && headers.contains_key(FORWARDED_HOST))
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// The `X-Forwarded-For` that came, in one line, and the peer behind it.
fn peer_after(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut text = Vec::with_capacity(40);
    for line in headers.get_all(FORWARDED_FOR) {
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(peer.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).expect("values and an address are a value")
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
