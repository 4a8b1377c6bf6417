//! `auth = "jwt"`: where tokens come from, what they open, and how a refusal is answered.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::{Daemon, Stream, eventually, request, within};

mod command;
mod foreign;
mod jwks;

/// As long as the longest hash, because some libraries ask for it.
pub(crate) const SECRET: &str = "a secret of more than sixty-four bytes, the length of the longest hash";

const CONFIG: &str = r#"
[[stream]]
path   = "/events"
auth   = "jwt"
topics = ["conversation:{query.c}"]

[[stream]]
path   = "/mine"
auth   = "jwt"
topics = ["tenant:{claim.tenant}", "news"]

[drain]
window = "0s"

[auth.jwt]
secret = "a secret of more than sixty-four bytes, the length of the longest hash"
grant  = ["conversation:{claim.tenant}-*"]
from   = ["header:Authorization", "header:X-Auth-Token", "cookie:session", "query:token"]
"#;

/// Seconds since 1970, so many from now.
pub(crate) fn at(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("before the year 292 billion") + seconds
}

/// The claims of a user, good for an hour, with `more`.
fn claims(more: Value) -> Value {
    let mut all = json!({ "sub": "u1", "exp": at(3600) });
    more.as_object().expect("claims").iter().for_each(|(name, value)| all[name] = value.clone());
    all
}

/// A token of these claims, signed with the secret.
pub(crate) fn token(more: Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims(more), &key).expect("a token")
}

/// The status and, where it is not let in, the answer of a caller with this token in a header.
async fn answer(daemon: &Daemon, path: &str, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let mut stream = Stream::open(daemon.public, path, &[("authorization", &bearer)]).await;
    match stream.status() {
        200 => (200, stream.block().await.json()),
        // Not asked for a second time: by then the answer may be another one.
        status => (status, stream.json().await),
    }
}

#[tokio::test]
async fn a_token_opens_a_stream_from_wherever_it_may_come() {
    let daemon = Daemon::start(CONFIG).await;
    let token = token(json!({ "sid": "s1", "topics": ["conversation:*"] }));
    let (bearer, cookie) = (format!("Bearer {token}"), format!("a=b; session={token}"));
    let query = format!("/events?c=42&token={token}");
    for (path, headers) in [
        ("/events?c=42", &[("authorization", bearer.as_str())][..]),
        ("/events?c=42", &[("x-auth-token", token.as_str())]),
        ("/events?c=42", &[("cookie", cookie.as_str())]),
        (query.as_str(), &[]),
        (query.as_str(), &[("authorization", "Basic dTpw")]),
    ] {
        let mut stream = Stream::open(daemon.public, path, headers).await;
        assert_eq!(stream.status(), 200, "{}", stream.head);
        let connected = stream.block().await.json();
        assert_eq!(connected["user"], "u1");
        assert_eq!(connected["session"], "s1");
        assert_eq!(connected["topics"], json!(["conversation:42"]));
    }
    assert!(!daemon.log().contains(&token), "a token in the log");
}

#[tokio::test]
async fn events_reach_the_user_and_the_session_of_the_token() {
    let daemon = Daemon::start(CONFIG).await;
    let token = token(json!({ "sub": 7, "sid": "s1", "topics": "conversation:1" }));
    let mut stream = daemon.stream(&format!("/events?c=1&token={token}")).await;
    stream.block().await;
    daemon.publish(&json!({ "users": ["8"], "data": "another's" })).await;
    daemon.publish(&json!({ "topic": "conversation:2", "data": "another" })).await;
    daemon.publish(&json!({ "user": "7", "data": "user" })).await;
    daemon.publish(&json!({ "session": "s1", "data": "session" })).await;
    daemon.publish(&json!({ "topic": "conversation:1", "data": "topic" })).await;
    assert_eq!(stream.data(3).await, ["user", "session", "topic"]);
}

#[tokio::test]
async fn a_caller_that_is_refused_learns_why() {
    let daemon = Daemon::start(CONFIG).await;
    let good = token(json!({}));
    let other =
        jsonwebtoken::encode(&Header::default(), &claims(json!({})), &EncodingKey::from_secret(b"other"));
    for (token, reason) in [
        ("x".to_owned(), "malformed"),
        (format!("{good}x"), "bad_signature"),
        (other.expect("a token"), "bad_signature"),
        (token(json!({ "exp": at(-60) })), "expired"),
        (token(json!({ "nbf": at(60) })), "not_yet_valid"),
        (token(json!({ "exp": null })), "missing_claim"),
        (token(json!({ "topics": 7 })), "bad_claim"),
        (token(json!({ "tenant": "*" })), "bad_claim"),
    ] {
        let (status, said) = answer(&daemon, "/events?c=1", &token).await;
        assert_eq!((status, &said["reason"]), (401, &json!(reason)), "{said}");
        assert!(!said.to_string().contains(&token) || token == "x", "{said}");
        assert!(
            daemon.metric("sidestream_streams_refused_total", &[&format!("reason=\"{reason}\"")]).await
                >= 1.0
        );
    }
    let refused = daemon.get("/events?c=1").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(refused.json()["reason"], "no_token");
    let refused = daemon.get("/events?c=1&token=").await;
    assert_eq!(refused.json()["reason"], "no_token", "an empty one is none");
    let refused = daemon.get(&format!("/events?c=1&token=x&token={good}")).await;
    assert_eq!(refused.json()["reason"], "several_tokens");
    // The log says it too, without the token.
    daemon.logged("\"reason\":\"expired\"").await;
    let signature = good.rsplit('.').next().expect("a signature");
    assert!(!daemon.log().contains(signature));
}

#[tokio::test]
async fn only_what_is_granted_may_be_asked_for() {
    let daemon = Daemon::start(CONFIG).await;
    let of_seven = token(json!({ "tenant": 7, "topics": ["conversation:public", "other:*"] }));
    for (topics, status) in [
        ("c=7-1", 200),
        ("c=7-", 200),
        ("c=public", 200),
        ("c=7-1&c=public", 200),
        ("c=8-1", 403),
        ("c=7", 403),
        ("c=*", 403),
        ("c=7-1&c=8-1", 403),
    ] {
        let (got, said) = answer(&daemon, &format!("/events?{topics}"), &of_seven).await;
        assert_eq!(got, status, "{topics}: {said}");
        if status == 403 {
            assert_eq!(said["reason"], "topic_not_granted");
            assert!(said["topic"].as_str().is_some_and(|topic| topic.starts_with("conversation:")), "{said}");
        }
    }
    let (status, said) = answer(&daemon, "/events?c=1", &token(json!({}))).await;
    assert_eq!((status, &said["topic"]), (403, &json!("conversation:1")), "nothing is granted by default");
    // What the operator and the claims make together needs no grant of its own.
    let (status, connected) = answer(&daemon, "/mine", &of_seven).await;
    assert_eq!((status, &connected["topics"]), (200, &json!(["tenant:7", "news"])));
    let (status, said) = answer(&daemon, "/mine", &token(json!({}))).await;
    assert_eq!((status, &said["reason"]), (403, &json!("no_claim")));
}

#[tokio::test]
async fn a_cursor_opens_nothing_that_the_grant_does_not() {
    let daemon = Daemon::start(CONFIG).await;
    let of_one = token(json!({ "topics": "conversation:1" }));
    let of_two = token(json!({ "sub": "u2", "topics": "conversation:2" }));
    let mut stream = daemon.stream(&format!("/events?c=1&token={of_one}")).await;
    let cursor = stream.block().await.id().to_owned();
    daemon.publish(&json!({ "topic": "conversation:1", "data": "of one" })).await;
    daemon.publish(&json!({ "user": "u1", "data": "of u1" })).await;
    daemon.publish(&json!({ "topic": "conversation:2", "data": "of two" })).await;
    assert_eq!(stream.data(2).await, ["of one", "of u1"]);

    // The cursor of one in the hands of the other: what is between is the other's own.
    let path = format!("/events?c=2&token={of_two}&lastEventId={cursor}");
    let mut resumed = daemon.stream(&path).await;
    let connected = resumed.block().await.json();
    assert_eq!((&connected["resumed"], &connected["missed"]), (&json!(true), &json!(1)));
    assert_eq!(resumed.data(1).await, ["of two"]);
    let refused = daemon.get(&format!("/events?c=1&token={of_two}&lastEventId={cursor}")).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (403, &json!("topic_not_granted")));
    let expired = token(json!({ "exp": at(-60), "topics": "conversation:1" }));
    let refused = daemon.get(&format!("/events?c=1&token={expired}&lastEventId={cursor}")).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let daemon = Daemon::start(&format!("{CONFIG}leeway = \"1s\"\n")).await;
    // For as long as the leeway it is still taken.
    let end = at(2) + 1;
    let token = token(json!({ "exp": end - 1, "topics": "conversation:1" }));
    let mut stream = daemon.stream(&format!("/events?c=1&token={token}")).await;
    within("the stream's end", async { while stream.next().await.is_some() {} }).await;
    let over = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let late = over - end as f64;
    assert!((-0.1..1.0).contains(&late), "it ended {late} s after its token");
    let refused = eventually("the token is refused", async || {
        let answer = answer(&daemon, "/events?c=1", &token).await;
        (answer.0 != 200).then_some(answer)
    });
    assert_eq!(refused.await.1["reason"], "expired");
}

#[tokio::test]
async fn a_terse_daemon_says_no_more_than_that_it_is_so() {
    let daemon = Daemon::start(&format!("{CONFIG}\n[auth]\nrefusals = \"terse\"\n")).await;
    let (status, said) = answer(&daemon, "/events?c=1", "x.y.z").await;
    assert_eq!((status, said), (401, json!({ "error": "not authenticated" })));
    daemon.logged("\"reason\":\"malformed\"").await;
}

#[tokio::test]
async fn a_token_that_is_too_long_is_not_looked_at() {
    let daemon = Daemon::start(CONFIG).await;
    let long = token(json!({ "topics": "conversation:1", "x": "x".repeat(9000) }));
    let refused = daemon.get(&format!("/events?c=1&token={long}")).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!("malformed")));
}

#[tokio::test]
async fn of_two_cookies_of_one_name_the_first_that_is_good_counts() {
    let daemon = Daemon::start(CONFIG).await;
    let good = token(json!({ "sub": "good", "topics": ["conversation:*"] }));
    let also = token(json!({ "sub": "also", "topics": ["conversation:*"] }));
    let old = token(json!({ "sub": "old", "exp": at(-60) }));
    for (cookies, user) in [
        (vec![&good, &old], "good"),
        (vec![&old, &good], "good"),
        (vec![&also, &good], "also"),
        (vec![&old, &old, &good], "good"),
    ] {
        let line = cookies.iter().map(|token| format!("session={token}")).collect::<Vec<_>>().join("; ");
        let mut stream = Stream::open(daemon.public, "/events?c=1", &[("cookie", &line)]).await;
        assert_eq!(stream.status(), 200, "{user}");
        assert_eq!(stream.block().await.json()["user"], user);
    }
    let none = format!("session={old}; session=x");
    let answer = request(daemon.public, "GET", "/events?c=1", &[("cookie", &none)], b"").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!("expired")), "what the first one is");
}

#[tokio::test]
async fn a_token_whose_end_is_in_milliseconds_is_refused_with_the_reason() {
    let daemon = Daemon::start(CONFIG).await;
    let (status, said) = answer(&daemon, "/events?c=1", &token(json!({ "exp": at(60) * 1000 }))).await;
    assert_eq!((status, &said["reason"]), (401, &json!("bad_claim")));
    assert!(said["error"].as_str().expect("a sentence").contains("not milliseconds"), "{said}");
}

#[tokio::test]
async fn no_line_of_the_log_holds_what_a_caller_asked_for() {
    let daemon = Daemon::start_with(CONFIG, &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "debug")]).await;
    let asked = "/events?c=pl4nted-%E2%80%A8-%E2%80%AE-value";
    let (status, said) = answer(&daemon, asked, &token(json!({ "topics": ["other"] }))).await;
    assert_eq!((status, &said["reason"]), (403, &json!("topic_not_granted")));
    assert!(said["topic"].as_str().expect("the caller's own").contains("pl4nted"));
    daemon.logged("a topic of `conversation:{query.c}` is not granted").await;
    assert!(!daemon.log().contains("pl4nted"), "{}", daemon.log());
}
