use std::net::IpAddr;

use super::*;
use crate::config::{Despite, Stream};

fn source(vary_by: &[VaryBy]) -> StreamSource {
    StreamSource { vary_by: vary_by.to_vec(), ..Stream::default().source }
}

fn header(name: &'static str) -> VaryBy {
    VaryBy::Header(HeaderName::from_static(name))
}

/// A request as it comes: its target, its headers, and who the caller is.
struct Asked<'a> {
    target: &'a str,
    headers: &'a [(&'static str, &'a str)],
    user: Option<&'a str>,
    verified: bool,
    trusted: bool,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { target: "/e", headers: &[("host", "h")], user: None, verified: false, trusted: false }
    }
}

impl Asked<'_> {
    fn identify(&self, source: &StreamSource) -> Result<SharedRequest, Unshared> {
        let mut request = Request::builder().uri(self.target);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let user = self.user.map(|user| Name::parse(user).unwrap());
        let caller = Forwarded::new(IpAddr::from([192, 0, 2, 1]), self.trusted, false);
        let (verified, user) = (self.verified, user.as_ref());
        identify(SharedRequestParts { source, route: "/e", head: &head, verified, user, caller: &caller })
    }

    fn name(&self, source: &StreamSource) -> Name {
        self.identify(source).unwrap().name
    }
}

fn target<'a>(target: &'a str) -> Asked<'a> {
    Asked { target, ..Asked::default() }
}

fn headers<'a>(headers: &'a [(&'static str, &'a str)]) -> Asked<'a> {
    Asked { headers, ..Asked::default() }
}

#[test]
fn path_query_and_host_tell_streams_apart() {
    let source = source(&[VaryBy::Query]);
    let one = target("/e?a=1").name(&source);
    assert_eq!(target("/e?a=1").name(&source), one);
    assert_eq!(
        target("/e?a=1&lastEventId=7").name(&source),
        one,
        "which event comes next is not which stream"
    );
    for other in ["/e", "/e?a=2", "/e?a=1&b", "/f?a=1"] {
        assert_ne!(target(other).name(&source), one, "{other}");
    }
    let hosts = [("host", "other")];
    assert_ne!(Asked { target: "/e?a=1", ..headers(&hosts) }.name(&source), one);
    for absolute in ["http://h/e?a=1", "http://u@h/e?a=1"] {
        assert_eq!(target(absolute).name(&source), one, "HTTP/2 says the host so");
        assert_eq!(
            Asked { target: absolute, ..headers(&hosts) }.name(&source),
            one,
            "whatever the header says"
        );
    }
    assert_ne!(target("http://other/e?a=1").name(&source), one);
    let bare = StreamSource { vary_by: Vec::new(), ..source.clone() };
    assert_eq!(target("/e?a=1").name(&bare), target("/e?a=2").name(&bare));
    let request = target("/e?a=1").identify(&bare).unwrap().request("");
    assert_eq!(request.uri(), "/e", "what tells nothing apart is not asked");
}

#[test]
fn only_what_tells_streams_apart_reaches_the_application() {
    let source = source(&[VaryBy::Query, header("x-tenant"), VaryBy::Cookie("org".into())]);
    let all = [
        ("host", "h"),
        ("x-tenant", "t"),
        ("cookie", "sid=secret; org=7;orga=8"),
        ("cookie", "a=b; org = 9"),
        ("x-api-key", "secret"),
        ("accept-language", "de"),
        ("x-forwarded-host", "evil"),
        ("last-event-id", "5"),
    ];
    let shared = headers(&all).identify(&source).unwrap();
    let request = shared.request("ü7");
    let mut sent: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    sent.sort();
    assert_eq!(
        sent,
        [
            "accept-encoding: identity",
            "accept: text/event-stream",
            "cache-control: no-cache",
            "cookie: org=7; org=9",
            "host: h",
            "last-event-id: ü7",
            "x-tenant: t",
        ]
    );
    let others = [("host", "h"), ("x-tenant", "t"), ("cookie", "org=7; org=9"), ("x-api-key", "another")];
    assert_eq!(headers(&others).name(&source), shared.name);
    for other in [
        [("host", "h"), ("x-tenant", "u"), ("cookie", "org=7; org=9")],
        [("host", "h"), ("x-tenant", "t"), ("cookie", "org=7")],
        [("host", "h"), ("x-tenant", "t"), ("cookie", "org=9; org=7")],
    ] {
        assert_ne!(headers(&other).name(&source), shared.name, "{other:?}");
    }
}

#[test]
fn credentials_that_the_route_does_not_name_are_never_shared() {
    let plain = source(&[VaryBy::Query]);
    let cookie = [("host", "h"), ("cookie", "a=b")];
    let authorization = [("host", "h"), ("authorization", "Bearer x")];
    assert_eq!(headers(&cookie).identify(&plain).unwrap_err(), Unshared::Cookie);
    assert_eq!(headers(&authorization).identify(&plain).unwrap_err(), Unshared::Authorization);
    let by_cookie = source(&[VaryBy::Cookie("org".into())]);
    assert!(headers(&cookie).identify(&by_cookie).is_ok());
    assert_eq!(headers(&authorization).identify(&by_cookie).unwrap_err(), Unshared::Authorization);
    let by_header = source(&[header("authorization")]);
    let other = [("host", "h"), ("authorization", "Bearer y")];
    assert_ne!(headers(&authorization).name(&by_header), headers(&other).name(&by_header));
}

#[test]
fn users_share_with_themselves_alone() {
    let source = source(&[VaryBy::User]);
    let asked = |user, cookie| {
        let headers = [("host", "h"), ("cookie", cookie)];
        let asked = Asked { headers: &headers, user: Some(user), verified: true, ..Asked::default() };
        asked.identify(&source).unwrap()
    };
    let (one, again, other) = (asked("a", "s=1"), asked("a", "s=2"), asked("b", "s=1"));
    assert_eq!(one.name, again.name);
    assert_ne!(one.name, other.name);
    assert_eq!(again.request("").headers()["cookie"], "s=2", "a user's own cookies go along");
}

#[test]
fn whom_nobody_has_verified_is_no_user() {
    let source = source(&[VaryBy::User]);
    let cookie = [("host", "h"), ("cookie", "s=1")];
    let claimed = Asked { user: Some("a"), ..headers(&cookie) };
    assert_eq!(claimed.identify(&source).unwrap_err(), Unshared::Cookie);
    let nameless = Asked { verified: true, ..headers(&cookie) };
    assert_eq!(nameless.identify(&source).unwrap_err(), Unshared::Cookie);
    let bare = Asked { user: Some("a"), ..Asked::default() }.identify(&source).unwrap();
    assert_eq!(bare.name, Asked::default().name(&source), "what is claimed tells nothing apart");
}

#[test]
fn an_answer_is_asked_for_with_credentials_that_only_their_owner_shares() {
    let polled = StreamSource { kind: SourceKind::Poll, ..source(&[VaryBy::Query]) };
    let asked = |cookie: &str| headers(&[("host", "h"), ("cookie", cookie)]).identify(&polled).unwrap();
    let (one, other) = (asked("sid=1"), asked("sid=2"));
    assert_ne!(one.name, other.name);
    assert_eq!(one.name, asked("sid=1").name);
    assert!(one.is_own);
    assert_eq!(one.request("").headers()["cookie"], "sid=1");
    let anybody = Asked::default().identify(&polled).unwrap();
    assert!(!anybody.is_own && anybody.name != one.name);
}

#[test]
fn what_callers_may_differ_in_goes_along_only_where_they_are_verified() {
    let mut source = source(&[VaryBy::Query]);
    source.shared_despite = vec![Despite::Cookie];
    let cookie = [("host", "h"), ("cookie", "sid=1")];
    let stranger = headers(&cookie).identify(&source).unwrap();
    assert!(!stranger.request("").headers().contains_key(COOKIE), "a stranger's is nobody else's");
    let verified = Asked { verified: true, ..headers(&cookie) }.identify(&source).unwrap();
    assert_eq!(verified.request("").headers()["cookie"], "sid=1");
    assert_eq!(verified.name, stranger.name);
}

#[test]
fn of_the_way_to_us_only_trusted_proxies_are_believed() {
    let source = source(&[]);
    let said = [("host", "h"), ("x-forwarded-host", "a.example"), ("x-forwarded-for", "203.0.113.9")];
    let stranger = headers(&said).identify(&source).unwrap();
    assert_eq!(stranger.name, Asked::default().name(&source));
    let trusted = Asked { trusted: true, ..headers(&said) }.identify(&source).unwrap();
    assert_ne!(trusted.name, stranger.name);
    let request = trusted.request("");
    assert_eq!(request.headers()["x-forwarded-host"], "a.example");
    let nearer = [("host", "h"), ("x-forwarded-host", "a.example"), ("x-forwarded-for", "203.0.113.10")];
    let nearer = Asked { trusted: true, ..headers(&nearer) }.name(&source);
    assert_eq!(nearer, trusted.name, "where a client is does not tell streams apart");
}
