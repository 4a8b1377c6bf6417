//! What happens to a stream while it is open: its grant ends, is renewed, or is taken back, here or on another
//! instance.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, let_time_pass, request, start, within};
use crate::jwt::{SECRET, at, token};

fn config(more: &str) -> String {
    format!(
        r#"
[[stream]]
path   = "/events"
auth   = "jwt"
topics = ["conversation:{{query.c}}", "news"]

[[stream]]
path   = "/open"
topics = ["{{query.topic}}"]
user   = "{{query.user}}"

[auth]
warn_before = "2s"

[auth.jwt]
secret = "{SECRET}"
leeway = 0
{more}"#
    )
}

async fn listening(daemon: &Daemon, path: &str, token: &str) -> (Stream, String) {
    let bearer = format!("Bearer {token}");
    let mut stream = Stream::open(daemon.public, path, &[("authorization", &bearer)]).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    let connected = stream.block().await;
    assert!(connected.is("connected"), "{connected:?}");
    let client = connected.json()["client"].as_str().expect("a client id").to_owned();
    (stream, client)
}

/// The status and the reason of a stream that is not let in.
async fn refused(daemon: &Daemon, path: &str, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let answer = request(daemon.public, "GET", path, &[("authorization", &bearer)], b"").await;
    (answer.status, answer.json()["reason"].clone())
}

async fn renew(daemon: &Daemon, client: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/events?client={client}");
    request(daemon.public, "POST", &path, &[("authorization", &bearer)], b"").await
}

pub(crate) async fn revoke(daemon: &Daemon, body: &Value) -> Answer {
    daemon.command("POST", "/revoke", &[], body.to_string().as_bytes()).await
}

/// Reads to the end; the `closing` event's reason, if there was one.
pub(crate) async fn ended(stream: &mut Stream) -> Option<String> {
    within("the end of a stream", async {
        let mut reason = None;
        while let Some(block) = stream.next().await {
            if block.is("closing") {
                assert!(!block.id().is_empty(), "it says where to resume: {block:?}");
                reason = Some(block.json()["reason"].as_str().expect("a reason").to_owned());
            }
        }
        reason
    })
    .await
}

fn good(more: Value) -> String {
    token(json!({ "iat": at(-10), "topics": ["conversation:*"] }).as_object().map_or(json!({}), |claims| {
        let mut all = claims.clone();
        all.extend(more.as_object().expect("claims").clone());
        Value::Object(all)
    }))
}

#[tokio::test]
async fn a_stream_is_warned_and_ends_within_a_second_of_its_tokens_end() {
    let daemon = Daemon::start(&config("")).await;
    let exp = at(3);
    let (mut stream, client) = listening(&daemon, "/events?c=1", &good(json!({ "exp": exp }))).await;
    let warning = stream.event().await;
    assert!(warning.is("token_expired"), "{warning:?}");
    assert_eq!(warning.json()["client"], json!(client));
    assert!(warning.json()["expires_in"].as_u64().expect("seconds") <= 2);
    assert!(!warning.id().is_empty(), "some clients forget their id at a block without one");
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));
    let late = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH + Duration::from_secs(exp.cast_unsigned()))
        .expect("not before its time");
    assert!(late < Duration::from_secs(1), "{late:?}");
    eventually("it is counted", async || {
        (daemon.metric("sidestream_streams_closed_total", &["expired"]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_token_moves_the_end_and_only_the_streams_own_user_can_bring_it() {
    let daemon = Daemon::start(&config("")).await;
    let first_end = at(3);
    let (mut stream, client) = listening(&daemon, "/events?c=1", &good(json!({ "exp": first_end }))).await;
    let reason = async |token: &str| {
        let answer = renew(&daemon, &client, token).await;
        (answer.status, answer.json()["reason"].clone())
    };
    assert_eq!(reason(&good(json!({ "sub": "u2" }))).await, (403, json!("not_your_stream")));
    assert_eq!(reason(&good(json!({ "sid": "s" }))).await, (403, json!("not_your_stream")));
    assert_eq!(
        reason(&token(json!({ "topics": ["conversation:2"] }))).await,
        (403, json!("topic_not_granted"))
    );
    assert_eq!(reason(&good(json!({ "exp": at(-5) }))).await, (401, json!("expired")));
    assert_eq!(reason("nonsense").await, (401, json!("malformed")));
    let unknown = renew(&daemon, "nobody", &good(json!({}))).await;
    assert_eq!((unknown.status, &unknown.json()["reason"]), (404, &json!("no_such_stream")));
    // The end is where it was: none of these moved it.
    let renewed = renew(&daemon, &client, &good(json!({ "exp": at(30) }))).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let left = renewed.json()["expires_in"].as_u64().expect("seconds");
    assert!((25..=30).contains(&left), "{left}");
    let left = u64::try_from(first_end + 2 - at(0)).expect("it is still to come");
    let_time_pass("the first token's end", Duration::from_secs(left)).await;
    daemon.publish(&json!({"topic": "conversation:1", "data": "still here"})).await;
    loop {
        let event = stream.event().await;
        if event.data() == "still here" {
            break;
        }
        assert!(event.is("token_expired"), "the old warning may have been under way: {event:?}");
    }
    let shorter = renew(&daemon, &client, &good(json!({ "exp": at(2) }))).await;
    assert_eq!(shorter.status, 200);
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));
}

#[tokio::test]
async fn a_post_that_renews_nothing_goes_to_the_backend() {
    let backend = crate::harness::Backend::start().await;
    let daemon = Daemon::start(&backend.config(&config(""))).await;
    for path in ["/events?c=1", "/open?topic=a&user=u&client=x"] {
        let asked = tokio::spawn({
            let (public, path) = (daemon.public, path.to_owned());
            async move { request(public, "POST", &path, &[], b"body").await.status }
        });
        let (mut peer, head) = backend.request().await;
        assert_eq!(head.target(), path);
        peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(asked.await.expect("an answer"), 204);
    }
}

#[tokio::test]
async fn a_revocation_ends_what_it_names_and_keeps_it_out() {
    let daemon = Daemon::start(&config("")).await;
    for (whose, hit) in [
        (json!({"user": "u1"}), [true, true, false]),
        (json!({"session": "s1"}), [true, false, false]),
        (json!({"token": "t2"}), [false, true, false]),
        (json!({"topic": "conversation:3"}), [false, false, true]),
        (json!({"user": "u1", "topic": "conversation:1"}), [true, false, false]),
        (json!({"user": "u2", "topic": "conversation:1"}), [false, false, false]),
    ] {
        let daemon = Daemon::start(&config("")).await;
        let tokens = [
            good(json!({ "sub": "u1", "sid": "s1", "jti": "t1" })),
            good(json!({ "sub": "u1", "sid": "s2", "jti": "t2" })),
            good(json!({ "sub": "u3", "jti": "t3" })),
        ];
        let mut streams = Vec::new();
        for (n, token) in tokens.iter().enumerate() {
            streams.push(listening(&daemon, &format!("/events?c={}", n + 1), token).await.0);
        }
        let answer = revoke(&daemon, &whose).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["ended"], json!(hit.iter().filter(|hit| **hit).count()), "{whose}");
        assert_eq!(answer.json().get("told"), None, "there is no other instance");
        for (n, (stream, hit)) in streams.iter_mut().zip(hit).enumerate() {
            let path = format!("/events?c={}", n + 1);
            if hit {
                assert_eq!(ended(stream).await.as_deref(), Some("revoked"), "{whose}");
                assert_eq!(refused(&daemon, &path, &tokens[n]).await, (401, json!("revoked")));
            } else {
                drop(listening(&daemon, &path, &tokens[n]).await);
            }
        }
    }
    // A user that is kept out gets in with a later grant.
    let (mut stream, client) = listening(&daemon, "/events?c=1", &good(json!({ "jti": "old" }))).await;
    revoke(&daemon, &json!({"user": "u1", "for": "1h"})).await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    assert_eq!(refused(&daemon, "/events?c=1", &good(json!({ "iat": null }))).await.0, 401);
    assert_eq!(renew(&daemon, &client, &good(json!({}))).await.status, 401);
    drop(listening(&daemon, "/events?c=1", &good(json!({ "iat": at(2) }))).await);
    eventually("it is counted", async || {
        (daemon.metric("sidestream_revocations", &[]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_needs_a_key_of_full_rights_and_a_name() {
    let daemon = Daemon::start(&config("")).await;
    let none = request(daemon.internal, "POST", "/revoke", &[], br#"{"user": "u"}"#).await;
    assert_eq!(none.status, 401);
    for body in [json!({}), json!({"users": ["u"]}), json!({"user": "u", "for": "soon"}), json!({"user": ""})]
    {
        let answer = revoke(&daemon, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    let public = request(daemon.public, "POST", "/revoke", &[], br#"{"user": "u"}"#).await;
    assert_ne!(public.status, 200, "the public listener has no such route");
}

#[tokio::test]
async fn a_revocation_on_one_instance_reaches_all_and_those_that_come_later() {
    let redis = Redis::start().await;
    let with_redis =
        config(&format!("[redis]\nurl = \"{}\"\n[telemetry]\nlog_level = \"debug\"\n", redis.url()));
    let a = start(&with_redis).await;
    let b = start(&with_redis).await;
    let old = good(json!({ "sub": "u1" }));
    let (mut stream, client) = listening(&b, "/events?c=1", &old).await;
    // The control channel has its own connection, which may come a little later.
    let renewed = eventually("a renewal through the other instance", async || {
        let answer = renew(&a, &client, &old).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    assert!(renewed.json()["expires_in"].as_u64().expect("seconds") > 3000);
    eventually("it is heard", async || {
        (b.metric("sidestream_commands_total", &["renew"]).await >= 1.0).then_some(())
    })
    .await;

    let began = Instant::now();
    let answer = revoke(&a, &json!({"user": "u1", "for": "1h"})).await;
    assert_eq!((answer.status, &answer.json()["told"]), (200, &json!(true)), "{}", answer.text());
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for daemon in [&a, &b] {
        assert_eq!(refused(daemon, "/events?c=1", &old).await, (401, json!("revoked")));
    }
    drop(b);
    let c = start(&with_redis).await;
    eventually("an instance that starts later keeps them out, too", async || {
        (c.metric("sidestream_revocations", &[]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(refused(&c, "/events?c=1", &old).await, (401, json!("revoked")));
    drop(listening(&c, "/events?c=1", &good(json!({ "iat": at(5) }))).await);
}

#[tokio::test]
async fn a_revocation_while_redis_is_away_says_so_and_is_learnt_of_when_it_is_back() {
    let mut redis = Redis::start().await;
    let with_redis = config(&format!("[redis]\nurl = \"{}\"\ntimeout = \"500ms\"\n", redis.url()));
    let a = start(&with_redis).await;
    redis.kill().await;
    let answer = revoke(&a, &json!({"user": "u1"})).await;
    assert_eq!((answer.status, &answer.json()["told"]), (503, &json!(false)), "{}", answer.text());
    assert_eq!(refused(&a, "/events?c=1", &good(json!({}))).await, (401, json!("revoked")), "it holds here");
    redis.start_again().await;
    let told = eventually("the others hear it", async || {
        let answer = revoke(&a, &json!({"user": "u1"})).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(told.json()["told"], json!(true));
    let b = start(&with_redis).await;
    eventually("an instance that comes later learns of it", async || {
        (b.metric("sidestream_revocations", &[]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wall_clock_that_goes_wrong_for_a_while_lets_nobody_in_again() {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    assert!(std::path::Path::new(&library).exists(), "libfaketime is missing; run `make setup`");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ahead");
    let ahead = |by: &str| std::fs::write(&file, by).expect("a file");
    ahead("+0");
    let environment = [
        ("LD_PRELOAD", &*library),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("its name")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let daemon = Daemon::start_with(&config(""), &environment).await;
    assert_eq!(revoke(&daemon, &json!({"user": "u", "for": "60s"})).await.status, 200);
    let status = async || request(daemon.public, "GET", "/open?topic=a&user=u", &[], b"").await.status;
    assert_eq!(status().await, 401);
    ahead("+2h");
    let_time_pass("what is over is forgotten every second", Duration::from_millis(2200)).await;
    assert_eq!(status().await, 401);
    ahead("+0");
    assert_eq!(status().await, 401);
    assert_eq!(daemon.metric("sidestream_revocations", &[]).await, 1.0);
}
