//! Publishers with bounds: keys, hashed or not, and tokens; and by which names the internal listener is asked.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Shell, eventually, request, token_of};

const TOKENS: &str = "a-secret-of-publishers-0123456789abcdef";

/// `printf %s hashed-key | sha256sum`
const HASH: &str = "a4ae87b73fa5645e6aee415a6f72be4dcbd99d057a7b40cb1b867c181d179260";

fn config() -> String {
    format!(
        r#"
[internal]
publish_keys = ["free-key"]

[[internal.publisher]]
name = "chat"
key = "chat-key"
topics = ["chat:*", "news"]
users = true

[[internal.publisher]]
name = "ops"
key_sha256 = "{HASH}"
broadcast = true

[internal.publisher_jwt]
secret = "{TOKENS}"
audience = ["sidestream"]
"#
    )
}

async fn publish(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    let key = format!("Bearer {key}");
    request(daemon.internal, "POST", "/publish", &[("authorization", &key)], body.to_string().as_bytes())
        .await
}

#[tokio::test]
async fn a_publisher_publishes_within_its_bounds_only() {
    let daemon = Daemon::start_with(&config(), &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "debug")]).await;
    let may =
        |topics: Value| token_of(TOKENS, &json!({ "sub": "job", "aud": "sidestream", "publish": topics }));
    let job = may(json!(["chat:*"]));
    for (key, body, reason) in [
        ("free-key", json!({ "broadcast": true, "topic": "any", "session": "s" }), None),
        ("chat-key", json!({ "topics": ["chat:1", "news"], "user": "u" }), None),
        ("chat-key", json!({ "topic": "chat:1", "except": { "client": "c", "topic": "other" } }), None),
        ("chat-key", json!({ "topics": ["chat:1", "other"] }), Some("topic_not_allowed")),
        ("chat-key", json!({ "topic": "news:1" }), Some("topic_not_allowed")),
        ("chat-key", json!({ "session": "s" }), Some("session_not_allowed")),
        ("chat-key", json!({ "client": "c", "topic": "news" }), Some("client_not_allowed")),
        ("chat-key", json!({ "broadcast": true, "topic": "news" }), Some("broadcast_not_allowed")),
        ("chat-key", json!({ "target": "all" }), Some("broadcast_not_allowed")),
        ("hashed-key", json!({ "broadcast": true }), None),
        ("hashed-key", json!({ "topic": "news" }), Some("topic_not_allowed")),
        ("hashed-key", json!({ "user": "u" }), Some("user_not_allowed")),
        (&job, json!({ "topic": "chat:1" }), None),
        (&job, json!({ "topic": "news" }), Some("topic_not_allowed")),
        (&job, json!({ "user": "u" }), Some("user_not_allowed")),
        (&may(json!([])), json!({ "topic": "chat:1" }), Some("topic_not_allowed")),
    ] {
        let answer = publish(&daemon, key, &body).await;
        let said = answer.json();
        assert_eq!(answer.status, if reason.is_some() { 403 } else { 200 }, "{key} {body} {said}");
        assert_eq!(said["reason"].as_str(), reason, "{key} {body}");
    }
    let answer = publish(&daemon, "chat-key", &json!({ "topic": "other" })).await;
    let error = "this publisher may not publish to the topic `other`";
    assert_eq!(answer.json(), json!({ "error": error, "reason": "topic_not_allowed", "topic": "other" }));
    daemon.logged("\"publisher\":\"chat\"").await;
    for (name, count) in [("publish_keys", 1.0), ("chat", 2.0), ("ops", 1.0), ("publisher_jwt", 1.0)] {
        let label = format!("publisher=\"{name}\"");
        assert_eq!(daemon.metric("sidestream_publishes_total", &[&label]).await, count, "{name}");
    }
    let refused = daemon.metric("sidestream_events_refused_total", &["topic_not_allowed"]).await;
    assert_eq!(refused, 6.0);
}

#[tokio::test]
async fn of_a_batch_with_one_event_outside_nothing_is_published() {
    let daemon = Daemon::start(&config()).await;
    let mut stream = daemon.stream("/events?topic=chat:1&topic=other").await;
    stream.block().await;
    let batch = json!([{ "topic": "chat:1", "data": 1 }, { "topic": "other", "data": 2 }]);
    let answer = publish(&daemon, "chat-key", &batch).await;
    assert_eq!((answer.status, &answer.json()["item"]), (403, &json!(1)));
    assert_eq!(answer.json()["topic"], "other");
    assert_eq!(publish(&daemon, "free-key", &json!({ "topic": "chat:1", "data": "end" })).await.status, 200);
    assert_eq!(stream.event().await.data(), "end");
}

#[tokio::test]
async fn a_publishers_token_is_verified_like_any_other() {
    let daemon = Daemon::start(&config()).await;
    let claims = json!({ "aud": "sidestream", "publish": ["*"] });
    for (token, reason) in [
        (token_of("another-secret-0123456789abcdef0123", &claims), "bad_signature"),
        (token_of(TOKENS, &json!({ "aud": "other", "publish": ["*"] })), "wrong_audience"),
        (token_of(TOKENS, &json!({ "aud": "sidestream", "publish": ["*"], "exp": 1 })), "expired"),
        (token_of(TOKENS, &json!({ "aud": "sidestream", "publish": 7 })), "bad_claim"),
        ("a.b.c".to_owned(), "malformed"),
        ("no-token".to_owned(), "wrong_key"),
    ] {
        let answer = publish(&daemon, &token, &json!({ "topic": "a" })).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, "Bearer error=\"invalid_token\"")
        );
        let label = format!("reason=\"{reason}\"");
        assert_eq!(daemon.metric("sidestream_http_refused_total", &[&label]).await, 1.0, "{reason}");
    }
    assert_eq!(publish(&daemon, &token_of(TOKENS, &claims), &json!({ "topic": "a" })).await.status, 200);
}

#[tokio::test]
async fn one_publishers_idempotency_keys_do_not_touch_anothers() {
    let redis = Redis::start().await;
    for section in [String::new(), redis.section()] {
        let daemon = Daemon::start(&format!("{}{section}", config())).await;
        eventually("the daemon is ready", async || {
            (daemon.ask("/readyz/events").await.status == 200).then_some(())
        })
        .await;
        let mut stream = daemon.stream("/events?topic=chat:1").await;
        stream.block().await;
        let job =
            |sub: &str| token_of(TOKENS, &json!({ "sub": sub, "aud": "sidestream", "publish": ["chat:*"] }));
        // Each sends the same twice.
        for (n, key) in ["chat-key", "free-key", &job("a"), &job("b")].into_iter().enumerate() {
            for _ in 0..2 {
                let body = json!({ "topic": "chat:1", "data": n, "idempotency_key": "order \"7\"" });
                assert_eq!(publish(&daemon, key, &body).await.status, 200);
            }
        }
        assert_eq!(
            publish(&daemon, "free-key", &json!({ "topic": "chat:1", "data": "end" })).await.status,
            200
        );
        assert_eq!(stream.data(5).await, ["0", "1", "2", "3", "end"]);
    }
}

#[tokio::test]
async fn the_internal_listener_is_asked_by_names_of_its_own() {
    let daemon = Daemon::start("[internal]\nhosts = [\"sidestream.internal\"]").await;
    let port = daemon.internal.port();
    let ask = async |host: &str| {
        let mut peer = crate::harness::Peer::send_to(
            daemon.internal,
            format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let head = peer.head().await;
        (head.status(), peer.body(&head).await)
    };
    for host in ["localhost", "127.0.0.1", "10.1.2.3:8081", "[::1]:8081", "sidestream.internal:8081"] {
        assert_eq!(ask(host).await.0, 200, "{host}");
    }
    let own = format!("localhost:{port}");
    assert_eq!(ask(&own).await.0, 200);
    for host in ["evil.example", "evil.example:8081", "127.0.0.1.evil.example"] {
        let (status, body) = ask(host).await;
        assert_eq!(status, 421, "{host}");
        assert!(body.contains("internal.hosts") && !body.contains("evil"), "{body}");
    }
    assert_eq!(daemon.metric("sidestream_http_refused_total", &["reason=\"host\""]).await, 3.0);
}

#[tokio::test]
async fn a_key_is_made_with_the_hash_by_which_it_is_known() {
    let made = Shell::run(&["key", "new"], &[], "").await;
    assert_eq!(made.code, Some(0));
    let value = |name: &str| {
        let line = made.stdout.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split('"').nth(1).expect("a value").to_owned()
    };
    let (key, hash) = (value("key "), value("key_sha256"));
    let hashed = Shell::run(&["key", "hash"], &[], &format!("{key}\n")).await;
    assert_eq!(hashed.stdout.trim(), hash);
    let config = format!("[[internal.publisher]]\nname = \"a\"\nkey_sha256 = \"{hash}\"\ntopics = [\"*\"]");
    let daemon = Daemon::start(&config).await;
    assert_eq!(publish(&daemon, &key, &json!({ "topic": "a" })).await.status, 200);
    assert_eq!(publish(&daemon, &hash, &json!({ "topic": "a" })).await.status, 401);
    let empty = Shell::run(&["key", "hash"], &[], "\n").await;
    assert_eq!(empty.code, Some(1));
}
