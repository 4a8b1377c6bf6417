use bytes::Bytes;
use http::header::{LOCATION, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::*;
use crate::config::{AuthServer, AuthUrl};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn settings() -> AuthBackend {
    AuthBackend::at(AuthUrl { server: AuthServer::PublicBackend, target: PathAndQuery::from_static("/auth") })
}

fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> SubrequestResponse {
    let header = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut map = HeaderMap::new();
    headers.iter().map(header).for_each(|(name, value)| {
        map.append(name, value);
    });
    SubrequestResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: Some(Bytes::from_static(body.as_bytes())),
    }
}

fn json(body: &'static str) -> SubrequestResponse {
    reply(200, &[("content-type", "application/json; charset=utf-8")], body)
}

fn yes(settings: &AuthBackend, reply: &SubrequestResponse) -> Granted {
    let asked = ["c:1", "c:*"].map(|topic| Name::parse(topic).unwrap());
    match judge(settings, reply, &asked, NOW).unwrap() {
        BackendVerdict::Granted(granted) => granted,
        BackendVerdict::Denied(denied) => panic!("{denied:?}"),
    }
}

fn malformed(reply: &SubrequestResponse) -> MalformedResponse {
    match judge(&settings(), reply, &[], NOW) {
        Err(malformed) => malformed,
        Ok(verdict) => panic!("{verdict:?}"),
    }
}

fn shown(granted: &Granted) -> (Option<&str>, Option<&str>, Vec<&str>, Option<u64>) {
    let GrantedTopics::Only(patterns) = &granted.grant.topics else { panic!("all topics are granted") };
    let until = granted.grant.until.map(|until| until.duration_since(NOW).unwrap().as_secs());
    (
        granted.grant.user.as_ref().map(Name::as_str),
        granted.grant.session.as_ref().map(Name::as_str),
        patterns.iter().map(Pattern::as_str).collect(),
        until,
    )
}

#[test]
fn a_yes_says_who_and_what_in_json() {
    let whole = yes(
        &settings(),
        &json(
            r#"{"user": 42, "session": "s", "topics": ["c:*", "news"], "ttl": 60, "token_id": "t", "org": {"id": 7}}"#,
        ),
    );
    assert_eq!(shown(&whole), (Some("42"), Some("s"), vec!["c:*", "news"], Some(60)));
    assert_eq!(whole.grant.token.as_ref().map(Name::as_str), Some("t"));
    assert_eq!(whole.grant.issued, Some(NOW));
    assert_eq!(whole.claims["org"]["id"], 7);
    let later = yes(&settings(), &json(r#"{"user": "u", "expires_in": "90"}"#));
    assert_eq!(shown(&later), (Some("u"), None, vec![], Some(90)));
    let nothing = yes(&settings(), &json(r#"{"user": null, "topics": null, "ttl": null}"#));
    assert_eq!(shown(&nothing), (None, None, vec![], None));
}

#[test]
fn a_yes_says_who_and_what_in_headers() {
    let headers = [
        ("x-sidestream-user", "u"),
        ("x-sidestream-session", "s"),
        ("x-sidestream-topics", "c:*, news"),
        ("x-sidestream-topics", "[\"a, b\"]"),
        ("x-sidestream-ttl", "60"),
    ];
    let granted = yes(&settings(), &reply(204, &headers, ""));
    assert_eq!(shown(&granted), (Some("u"), Some("s"), vec!["c:*", "news", "a, b"], Some(60)));
    assert_eq!(granted.claims["user"], "u");
    // What is no JSON is not looked into.
    let page = yes(&settings(), &reply(200, &[("content-type", "text/html")], "{\"user\": \"u\"}"));
    assert_eq!(shown(&page), (None, None, vec![], None));
}

#[test]
fn the_names_of_headers_and_fields_are_the_operators() {
    let mut settings = settings();
    settings.user_field = "me.id".to_owned();
    settings.topics_header = HeaderName::from_static("x-rooms");
    settings.ttl_field = "left".to_owned();
    let headers = [("content-type", "application/json"), ("x-rooms", "r:1")];
    let answer = reply(200, &headers, r#"{"me": {"id": 7}, "user": {"a": 1}, "left": 5, "topics": 3}"#);
    let granted = yes(&settings, &answer);
    assert_eq!(shown(&granted), (Some("7"), None, vec!["r:1"], Some(5)));
    // A claim that the application gave stays its own.
    assert_eq!(granted.claims["user"]["a"], 1);
}

#[test]
fn what_was_asked_for_is_granted_only_where_the_operator_says_so() {
    let answer = json(r#"{"user": "u", "topics": ["news"]}"#);
    assert_eq!(shown(&yes(&settings(), &answer)).2, ["news"]);
    let asked = AuthBackend { grants: Grants::Asked, ..settings() };
    // A page that answers every path, as applications of one page have it, is no yes.
    for html in [
        reply(200, &[("content-type", "text/html; charset=utf-8")], "<!doctype html>"),
        reply(200, &[("content-type", "text/html")], ""),
        reply(200, &[], ""),
    ] {
        assert!(matches!(judge(&asked, &html, &[], NOW), Err(MalformedResponse::NotAYes)));
        assert!(judge(&settings(), &html, &[], NOW).is_ok(), "which grants nothing");
    }
    assert_eq!(shown(&yes(&asked, &reply(204, &[], ""))).2, ["c:1"]);
    // `c:*` was asked for as a name, and would be more as a pattern.
    assert_eq!(shown(&yes(&asked, &answer)).2, ["news", "c:1"]);
}

#[test]
fn a_header_that_names_the_caller_twice_is_not_believed() {
    for header in ["x-sidestream-user", "x-sidestream-session", "x-sidestream-ttl"] {
        let twice = reply(200, &[(header, "1"), (header, "2")], "");
        assert_eq!(malformed(&twice), MalformedResponse::Twice(header.to_owned()));
    }
}

#[test]
fn a_no_is_passed_on_in_the_applications_own_words() {
    let headers = [
        ("content-type", "application/problem+json"),
        ("www-authenticate", "Session"),
        ("set-cookie", "a=b"),
        ("content-length", "9"),
        ("connection", "close"),
        ("x-powered-by", "Express"),
    ];
    for status in [400, 401, 403, 404, 410, 418] {
        let verdict = judge(&settings(), &reply(status, &headers, "{\"a\": 1}"), &[], NOW).unwrap();
        let BackendVerdict::Denied(Denied::Answered(answer)) = verdict else { panic!("{verdict:?}") };
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &b"{\"a\": 1}"[..]));
        assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.headers[WWW_AUTHENTICATE], "Session");
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
        // Cookies are for the one caller who asked, and are put on where that is known.
        assert_eq!(answer.headers.len(), 3);
        assert!(!answer.headers.contains_key(SET_COOKIE));
    }
    let mut long = reply(401, &headers, "");
    long.body = None;
    let verdict = judge(&settings(), &long, &[], NOW).unwrap();
    let BackendVerdict::Denied(Denied::Answered(answer)) = verdict else { panic!("{verdict:?}") };
    assert!(answer.body.is_empty() && !answer.headers.contains_key(CONTENT_TYPE));
}

#[test]
fn the_way_to_a_login_page_is_a_no() {
    for status in [301, 302, 303, 307, 308] {
        let mut to_login = reply(status, &[], "");
        to_login.headers.insert(LOCATION, HeaderValue::from_static("/login"));
        let verdict = judge(&settings(), &to_login, &[], NOW).unwrap();
        assert!(matches!(verdict, BackendVerdict::Denied(Denied::LoginRequired)), "{status}");
    }
}

#[test]
fn nobody_gets_in_by_an_answer_that_is_not_plain() {
    for status in [304, 408, 425, 429, 500, 502, 503, 504] {
        assert_eq!(malformed(&reply(status, &[], "")), MalformedResponse::Status(status));
    }
    let name = |field: &str| MalformedResponse::Name(field.to_owned());
    let topics = || MalformedResponse::Topics("topics".to_owned());
    let ttl = || MalformedResponse::Ttl("ttl".to_owned());
    for (body, why) in [
        ("[]", MalformedResponse::NotJson),
        ("nothing", MalformedResponse::NotJson),
        ("{\"user\": \"u\"", MalformedResponse::NotJson),
        ("{\"user\": \"\"}", name("user")),
        ("{\"user\": true}", name("user")),
        ("{\"user\": 1.5}", name("user")),
        ("{\"user\": {\"id\": 1}}", name("user")),
        ("{\"session\": [\"s\"]}", name("session")),
        ("{\"token_id\": {}}", name("token_id")),
        ("{\"user\": \"a\\nb\"}", name("user")),
        ("{\"topics\": \"news\"}", topics()),
        ("{\"topics\": [1]}", topics()),
        ("{\"topics\": [\"a*b*c*d*e*\"]}", topics()),
        ("{\"ttl\": 0}", ttl()),
        ("{\"ttl\": -1}", ttl()),
        ("{\"ttl\": \"soon\"}", ttl()),
        ("{\"ttl\": \"NaN\"}", ttl()),
        ("{\"ttl\": true}", ttl()),
    ] {
        assert_eq!(malformed(&json(body)), why, "{body}");
    }
    let many: &str =
        Box::leak(format!("{{\"topics\": [{}]}}", vec!["\"t\""; 1001].join(",")).into_boxed_str());
    assert_eq!(malformed(&json(many)), MalformedResponse::TooManyTopics);
    let mut large = json("");
    large.body = None;
    assert_eq!(malformed(&large), MalformedResponse::TooLarge);
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(malformed(&reply(200, &packed, "{}")), MalformedResponse::Compressed);
    assert_eq!(
        malformed(&reply(200, &[("x-sidestream-ttl", "x")], "")),
        MalformedResponse::Ttl("x-sidestream-ttl".to_owned())
    );
    assert_eq!(
        malformed(&reply(200, &[("x-sidestream-topics", "[")], "")),
        MalformedResponse::Topics("x-sidestream-topics".to_owned())
    );
}
