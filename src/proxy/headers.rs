//! What of a head is for the next hop only, and who the client is: RFC 9110, section 7.6.1, and `X-Forwarded-*`.
//!
//! Works on headers alone. All others go on as they are, values of one name in their order.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use smallvec::SmallVec;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
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
                _ => kinds.who |= says_who(name),
            }
        }
        kinds
    }
}

/// Leaves what the backend is to see of the client's headers, which are of these kinds. Returns the protocol that the
/// client asks to switch to.
pub(super) fn to_backend(headers: &mut HeaderMap, kinds: Kinds, caller: &Forwarded) -> Option<HeaderValue> {
    let upgrade = if kinds.hop { hop_to_backend(headers) } else { None };
    forwarded(headers, kinds.who, caller);
    upgrade
}

fn hop_to_backend(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named = take_connection(headers);
    let upgrade =
        headers.remove(UPGRADE).filter(|protocol| has_token(&named, "upgrade") && !is_h2c(protocol));
    let trailers =
        headers.get_all(TE).iter().any(|value| tokens(value).any(|it| it.eq_ignore_ascii_case("trailers")));
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
/// that is switched to.
pub(super) fn to_client(headers: &mut HeaderMap, kinds: Kinds, upgrading: bool) {
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
    begins(b"x-forwarded-")
        || begins(b"x-sidestream-")
        || [&b"forwarded"[..], b"x-real-ip", b"x-original-uri"].iter().any(|known| spells(name, known))
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
        headers
            .insert(FORWARDED_PROTO, HeaderValue::from_static(if caller.https { "https" } else { "http" }));
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
mod tests {
    use super::*;

    fn to_backend(headers: &mut HeaderMap, trusted: bool) -> Option<HeaderValue> {
        let caller = Forwarded::new("192.0.2.1".parse().unwrap(), trusted, false);
        super::to_backend(headers, Kinds::of(headers), &caller)
    }

    fn to_client(headers: &mut HeaderMap, upgrading: bool) {
        super::to_client(headers, Kinds::of(headers), upgrading);
    }

    fn map(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        // Different names have no order; a stable sort keeps that of one name's values.
        lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
        lines
    }

    /// What reaches the backend, but for what is said of the client.
    fn request(sent: &[&str]) -> Vec<String> {
        let mut headers = map(sent);
        to_backend(&mut headers, false);
        lines(&headers).into_iter().filter(|line| !line.starts_with("x-forwarded-")).collect()
    }

    fn response(sent: &[&str]) -> Vec<String> {
        let mut headers = map(sent);
        to_client(&mut headers, false);
        lines(&headers)
    }

    #[test]
    fn what_is_for_one_hop_goes_no_further() {
        let none: [&str; 0] = [];
        for line in [
            "connection: close",
            "connection: keep-alive",
            "keep-alive: timeout=5",
            "proxy-connection: keep-alive",
            "te: gzip",
            "upgrade: websocket",
        ] {
            assert_eq!(request(&[line]), none, "{line}");
        }
        assert_eq!(request(&["proxy-authorization: Basic eA=="]), none);
        assert_eq!(response(&["proxy-authenticate: Basic"]), none);
        for line in
            ["connection: close", "keep-alive: timeout=5", "proxy-connection: close", "upgrade: h2,h2c"]
        {
            assert_eq!(response(&[line]), none, "{line}");
        }
        assert_eq!(
            request(&["connection: x-a , X-B", "connection: x-c", "x-a: 1", "x-b: 1", "x-b: 2", "x-c: 3"]),
            none
        );
        assert_eq!(response(&["connection: x-a", "x-a: 1", "x-b: 2"]), ["x-b: 2"]);
    }

    #[test]
    fn everything_else_goes_on_in_its_order() {
        let sent = [
            "accept: */*",
            "authorization: Bearer t",
            "cookie: a=1",
            "cookie: b=2",
            "expect: 100-continue",
            "trailer: x-sum",
            "via: 1.1 somewhere",
            "x-n: 2",
            "x-n: 1",
        ];
        assert_eq!(request(&sent), sent);
        assert_eq!(
            response(&["set-cookie: b", "set-cookie: a", "trailer: x"]),
            ["set-cookie: b", "set-cookie: a", "trailer: x"]
        );
    }

    #[test]
    fn connection_cannot_remove_what_frames_or_names_the_request() {
        let mut headers = map(&[
            "connection: host, content-length, transfer-encoding, x-forwarded-for, x-forwarded-proto",
            "content-length: 5",
            "host: h",
            "transfer-encoding: chunked",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-proto: https",
        ]);
        to_backend(&mut headers, true);
        let kept = [
            "content-length: 5",
            "host: h",
            "transfer-encoding: chunked",
            "x-forwarded-for: 203.0.113.9, 192.0.2.1",
            "x-forwarded-host: h",
            "x-forwarded-proto: https",
        ];
        assert_eq!(lines(&headers), kept);
    }

    #[test]
    fn trailers_are_asked_for_when_the_client_takes_them() {
        let asked = ["connection: te", "te: trailers"];
        assert_eq!(request(&["connection: TE", "te: gzip;q=0.5, Trailers"]), asked);
        assert_eq!(request(&["te: trailers"]), asked);
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_is_never_h2c() {
        let asked = |sent: &[&str]| to_backend(&mut map(sent), false);
        assert_eq!(asked(&["connection: keep-alive, Upgrade", "upgrade: websocket"]).unwrap(), "websocket");
        assert_eq!(asked(&["upgrade: websocket"]), None);
        assert_eq!(asked(&["connection: upgrade"]), None);
        let sent = ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"];
        assert_eq!(asked(&sent), None);
        let none: [&str; 0] = [];
        assert_eq!(request(&sent), none);
        let both = ["connection: upgrade", "upgrade: websocket"];
        assert_eq!(request(&both), both);
        let mut headers = map(&["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: x"]);
        to_client(&mut headers, true);
        assert_eq!(lines(&headers), ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket"]);
    }

    #[test]
    fn of_a_stranger_nothing_is_believed() {
        let mut headers = map(&[
            "forwarded: for=10.0.0.1",
            "host: shop.example",
            "x-forwarded-for: 10.0.0.1",
            "x-forwarded-for: 10.0.0.2",
            "x-forwarded-host: evil.example",
            "x-forwarded-port: 1",
            "x-forwarded-proto: https",
            "x-real-ip: 10.0.0.1",
            // WSGI, CGI and Rack read these as the ones above.
            "x_forwarded_for: 10.0.0.1",
            "x_real-ip: 10.0.0.1",
            "x-forwarded_proto: https",
            // The endpoint that the daemon asks may be reached through it as well.
            "x-sidestream-user: admin",
            "x-original-uri: /admin",
        ]);
        to_backend(&mut headers, false);
        let said = [
            "host: shop.example",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: http",
        ];
        assert_eq!(lines(&headers), said);
        let mut headers = map(&[]);
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        let kinds = Kinds::of(&headers);
        super::to_backend(&mut headers, kinds, &Forwarded::new(mapped, false, true));
        assert_eq!(lines(&headers), ["x-forwarded-for: 192.0.2.7", "x-forwarded-proto: https"]);
    }

    #[test]
    fn a_trusted_proxys_word_is_kept_and_added_to() {
        let mut headers = map(&[
            "x_forwarded_for: 6.6.6.6",
            "forwarded: for=203.0.113.9",
            "host: inner",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-for: 198.51.100.2",
            "x-forwarded-host: shop.example",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
        ]);
        to_backend(&mut headers, true);
        let said = [
            "forwarded: for=203.0.113.9",
            "host: inner",
            "x-forwarded-for: 203.0.113.9, 198.51.100.2, 192.0.2.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
        ];
        assert_eq!(lines(&headers), said);
    }

    #[test]
    fn the_backend_may_say_how_long_it_keeps_a_connection() {
        let said = |value: &str| {
            let headers = map(&[&format!("keep-alive: {value}")]);
            keep_alive_timeout(&headers, Kinds::of(&headers))
        };
        assert_eq!(said("timeout=5"), Some(5));
        assert_eq!(said("max=100, Timeout = \"15\""), Some(15));
        assert_eq!(said("timeout=soon"), None);
        assert_eq!(said("max=100"), None);
        assert_eq!(keep_alive_timeout(&HeaderMap::new(), Kinds::default()), None);
    }
}
