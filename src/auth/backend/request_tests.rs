use std::net::IpAddr;

use http::Request;

use super::*;
use crate::auth::RequestOrigin;
use crate::config::AuthUrl;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: RequestOrigin = RequestOrigin { address: PEER, peer: PEER, trusted: false, https: false };
const PROXY: RequestOrigin = RequestOrigin { trusted: true, ..STRANGER };

fn settings(server: AuthServer, target: &'static str) -> AuthBackend {
    AuthBackend::at(AuthUrl { server, target: PathAndQuery::from_static(target) })
}

fn behind() -> AuthBackend {
    settings(AuthServer::PublicBackend, "/auth")
}

fn question(
    settings: &AuthBackend,
    origin: RequestOrigin,
    target: &str,
    headers: &[(&str, &str)],
    asked: &[&str],
) -> Subrequest {
    let mut request = Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap().into_parts().0;
    let asked: Vec<Name> = asked.iter().map(|name| Name::parse(name).unwrap()).collect();
    Subrequest::new(settings, &Caller { request: &request, origin, asked: &asked })
}

fn lines(question: &Subrequest) -> Vec<String> {
    let shown = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    question.headers.iter().map(shown).collect()
}

#[test]
fn the_callers_own_credentials_and_wish_go_along_and_nothing_else() {
    let headers = [
        ("host", "app.example"),
        ("accept", "text/event-stream"),
        ("authorization", "Bearer t"),
        ("connection", "keep-alive"),
        ("cookie", "sid=1"),
        ("cookie", "b=2"),
        ("last-event-id", "1-1"),
        ("origin", "https://app.example"),
        ("x-auth-token", "x"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-sidestream-topics", "[\"forged\"]"),
        ("x-tenant", "t1"),
    ];
    let question =
        question(&behind(), STRANGER, "/events?c=7&lastEventId=1-1&d=%20", &headers, &["c:7", "ü\"☂𝄞"]);
    assert_eq!(question.target, "/auth?c=7&d=%20");
    let expected = [
        "cookie: sid=1",
        "cookie: b=2",
        "authorization: Bearer t",
        "x-auth-token: x",
        "accept: application/json",
        "accept-encoding: identity",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: app.example",
        "host: app.example",
        "x-original-method: GET",
        "x-original-uri: /events?c=7&d=%20",
        "x-sidestream-topics: [\"c:7\",\"\\u00fc\\\"\\u2602\\ud834\\udd1e\"]",
    ];
    assert_eq!(lines(&question), expected);
    let mut with_tenant = behind();
    with_tenant.headers = vec![HeaderName::from_static("x-tenant")];
    let tenant = self::question(&with_tenant, STRANGER, "/events", &headers, &[]);
    assert_eq!(lines(&tenant)[0], "x-tenant: t1");
    assert!(!lines(&tenant).iter().any(|line| line.starts_with("cookie")));
}

#[test]
fn a_trusted_proxys_word_goes_along() {
    let headers = [
        ("host", "inner"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "198.51.100.2"),
        ("x-forwarded-host", "app.example"),
        ("x-forwarded-proto", "https"),
    ];
    let shown = lines(&question(&behind(), PROXY, "/events", &headers, &[]));
    for line in [
        "x-forwarded-for: 203.0.113.9, 198.51.100.2, 192.0.2.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: app.example",
        "host: inner",
    ] {
        assert!(shown.iter().any(|it| it == line), "{line} is not in {shown:?}");
    }
}

#[test]
fn the_urls_own_query_goes_before_the_callers() {
    let other = settings(AuthServer::Tcp { host: "login".to_owned(), port: 80, tls: false }, "/me?sse=1");
    let host = [("host", "app.example")];
    let both = question(&other, STRANGER, "/events?c=7", &host, &[]);
    assert_eq!(both.target, "/me?sse=1&c=7");
    // What the operator says is not the caller's to say, however it is written.
    let lax = question(&other, STRANGER, "/events?c=7&sse=0&%73se=2&sse&d", &host, &[]);
    assert_eq!(lax.target, "/me?sse=1&c=7&d");
    assert!(lines(&lax).iter().any(|line| line.contains("c=7&sse=0")), "it hears where they wanted to go");
    // Another server has a name of its own.
    assert!(!lines(&both).iter().any(|line| line.starts_with("host:")));
    assert_eq!(question(&other, STRANGER, "/events", &host, &[]).target, "/me?sse=1");
    for cursor in ["lastEventId", "last_event_id", "lastEventID", "Last-Event-ID", "evs_last_event_id"] {
        let asked = question(&other, STRANGER, &format!("/events?{cursor}=1"), &host, &[]);
        assert_eq!(asked.target, "/me?sse=1");
    }
    assert_eq!(question(&behind(), STRANGER, "/events?", &host, &[]).target, "/auth");
}

#[test]
fn a_question_is_the_same_only_when_all_of_it_is() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
    let digest = |target: &str, headers: &[(&str, &str)], origin: RequestOrigin, asked: &[&str]| {
        question(&behind(), origin, target, headers, asked).digest(&key)
    };
    let first = digest("/events?c=1", &[("cookie", "sid=1")], STRANGER, &["c:1"]);
    let same = [("cookie", "sid=1"), ("last-event-id", "5"), ("accept", "*/*")];
    assert_eq!(digest("/events?c=1&lastEventId=7", &same, STRANGER, &["c:1"]), first);
    let elsewhere = RequestOrigin { peer: IpAddr::from([192, 0, 2, 9]), ..STRANGER };
    for other in [
        digest("/events?c=2", &[("cookie", "sid=1")], STRANGER, &["c:1"]),
        digest("/other?c=1", &[("cookie", "sid=1")], STRANGER, &["c:1"]),
        digest("/events?c=1", &[("cookie", "sid=2")], STRANGER, &["c:1"]),
        digest("/events?c=1", &[("authorization", "sid=1")], STRANGER, &["c:1"]),
        digest("/events?c=1", &[("cookie", "sid="), ("cookie", "1")], STRANGER, &["c:1"]),
        digest("/events?c=1", &[], STRANGER, &["c:1"]),
        digest("/events?c=1", &[("cookie", "sid=1")], elsewhere, &["c:1"]),
        digest("/events?c=1", &[("cookie", "sid=1")], STRANGER, &["c:2"]),
        digest("/events?c=1", &[("cookie", "sid=1")], STRANGER, &[]),
    ] {
        assert_ne!(other, first);
    }
    let another_key = hmac::Key::new(hmac::HMAC_SHA256, b"K");
    let again = question(&behind(), STRANGER, "/events?c=1", &[("cookie", "sid=1")], &["c:1"]);
    assert_ne!(again.digest(&another_key), first);
}
