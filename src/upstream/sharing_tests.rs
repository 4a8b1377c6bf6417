use http::HeaderValue;

use super::*;
use crate::config::Stream;

fn source() -> StreamSource {
    Stream::default().source
}

fn found(source: &StreamSource, headers: &[(&'static str, &'static str)]) -> Option<Unshared> {
    let headers =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    forbids(source, &headers.collect())
}

#[test]
fn an_answer_for_one_caller_is_not_shared() {
    for (name, value, why) in [
        ("set-cookie", "a=b", Unshared::SetCookie),
        ("cache-control", "private", Unshared::CacheControl),
        ("cache-control", "no-cache, Private=\"x\"", Unshared::CacheControl),
        ("cache-control", "No-Store", Unshared::CacheControl),
        ("vary", "*", Unshared::Vary),
        ("vary", "Accept-Language", Unshared::Vary),
        ("vary", "Accept-Encoding, X-Tenant", Unshared::Vary),
        ("vary", "\u{1}", Unshared::Vary),
        ("content-encoding", "gzip", Unshared::Encoded),
    ] {
        let Ok(_) = HeaderValue::from_str(value) else { continue };
        assert_eq!(found(&source(), &[(name, value)]), Some(why), "{name}: {value}");
    }
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0, no-transform"),
        ("vary", "Accept-Encoding, accept"),
        ("vary", "Origin"),
        ("content-encoding", "identity"),
        ("x-anything", "private"),
    ] {
        assert_eq!(found(&source(), &[(name, value)]), None, "{name}: {value}");
    }
}

#[test]
fn what_the_route_names_an_answer_may_vary_by() {
    let mut by_header = source();
    by_header.vary_by.push(VaryBy::Header(HeaderName::from_static("x-tenant")));
    assert_eq!(found(&by_header, &[("vary", "X-Tenant")]), None);
    assert_eq!(found(&by_header, &[("vary", "X-Tenant, X-Other")]), Some(Unshared::Vary));
    // Nobody who shares has a cookie; or those who do, may differ in it.
    assert_eq!(found(&source(), &[("vary", "Cookie")]), None);
    let mut despite = source();
    despite.shared_despite.push(Despite::Cookie);
    assert_eq!(found(&despite, &[("vary", "Cookie")]), Some(Unshared::Vary));
    despite.vary_by.push(VaryBy::Cookie("org".into()));
    assert_eq!(found(&despite, &[("vary", "Cookie")]), None);
    despite.shared_despite.push(Despite::NoStore);
    assert_eq!(found(&despite, &[("cache-control", "no-store")]), None);
    assert_eq!(found(&despite, &[("cache-control", "no-store, private")]), Some(Unshared::CacheControl));
}

#[test]
fn only_an_event_stream_is_one() {
    let answer = |status: u16, kind: &'static str| {
        let answer = Response::builder().status(status).header("content-type", kind);
        judge(&source(), &answer.header("retry-after", "7").body(()).unwrap())
    };
    assert_eq!(answer(200, "text/event-stream"), AnswerKind::Shared);
    assert_eq!(answer(200, "Text/Event-Stream; charset=utf-8"), AnswerKind::Shared);
    for (status, kind) in [
        (200, "application/json"),
        (200, "text/event-streams"),
        (201, "text/event-stream"),
        (204, "text/event-stream"),
        (302, "text/html"),
        (401, "text/event-stream"),
        (404, "text/html"),
    ] {
        let expected = AnswerKind::Final(StatusCode::from_u16(status).unwrap());
        assert_eq!(answer(status, kind), expected, "{status} {kind}");
    }
    for status in [408, 429, 500, 502, 503] {
        let away = AnswerKind::Away(Some(Duration::from_secs(7)));
        assert_eq!(answer(status, "text/event-stream"), away, "{status}");
    }
}
