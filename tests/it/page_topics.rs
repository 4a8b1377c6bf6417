//! Topics that pages change of their own streams: what that costs others, how often, and by whose token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, holds_for, request, start, within};
use crate::jwt::{SECRET, at, token};
use crate::while_open::{ended, revoke};

fn config(more: &str) -> String {
    format!(
        r#"{more}
[[stream]]
path   = "/events"
auth   = "jwt"
topics = ["{{query.topic}}"]
change_topics = true

[[stream]]
path   = "/others"
auth   = "jwt"
topics = ["news"]

[[stream]]
path   = "/open"
topics = []
user   = "{{query.user}}"

[auth.jwt]
secret = "{SECRET}"
leeway = 0
"#
    )
}

fn bearer(claims: &Value) -> String {
    let mut all = json!({ "iat": at(-10), "topics": ["room:*"] });
    claims.as_object().expect("claims").iter().for_each(|(name, value)| all[name] = value.clone());
    format!("Bearer {}", token(all))
}

/// A stream and the name of its client.
async fn open(daemon: &Daemon, path: &str, bearer: &str) -> (Stream, String) {
    let mut stream = Stream::open(daemon.public, path, &[("authorization", bearer)]).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    let connected = stream.block().await.json();
    (stream, connected["client"].as_str().expect("its id").to_owned())
}

async fn change(daemon: &Daemon, client: &str, bearer: &str, body: Value) -> Answer {
    let (path, body) = (format!("/events?client={client}"), body.to_string());
    request(daemon.public, "POST", &path, &[("authorization", bearer)], body.as_bytes()).await
}

async fn add(daemon: &Daemon, client: &str, bearer: &str, topic: &str) -> u16 {
    change(daemon, client, bearer, json!({ "add": [topic] })).await.status
}

/// As soon as the stream has come to its shard.
async fn added(daemon: &Daemon, client: &str, bearer: &str, topic: &str) {
    eventually("its shard has taken it in", async || {
        let status = add(daemon, client, bearer, topic).await;
        assert!([200, 404].contains(&status), "{status}");
        (status == 200).then_some(())
    })
    .await;
}

async fn renewed(daemon: &Daemon, client: &str, bearer: &str) -> Answer {
    request(daemon.public, "POST", &format!("/events?client={client}"), &[("authorization", bearer)], b"")
        .await
}

#[tokio::test]
async fn a_page_that_toggles_a_topic_takes_nothing_from_what_others_resume_from() {
    let daemon = Daemon::start(&config("[log]\nmax_events = 80\n")).await;
    let first = daemon.publish(&json!({ "topic": "room:1", "data": "0" })).await;
    for n in 1..50 {
        daemon.publish(&json!({ "topic": "room:1", "data": n.to_string() })).await;
    }
    let me = bearer(&json!({}));
    let (mut stream, client) = open(&daemon, "/events?topic=room:2", &me).await;
    added(&daemon, &client, &me, "room:9").await;
    for _ in 0..25 {
        for body in [json!({ "remove": ["room:9"] }), json!({ "add": ["room:9"] })] {
            assert_eq!(change(&daemon, &client, &me, body).await.status, 200);
        }
    }
    let last = first["id"].as_str().expect("an id");
    let headers = [("authorization", &*me), ("last-event-id", last)];
    let mut victim = Stream::open(daemon.public, "/events?topic=room:1", &headers).await;
    assert_eq!(victim.block().await.json()["missed"], 49);
    let expected: Vec<String> = (1..50).map(|n| n.to_string()).collect();
    assert_eq!(victim.data(49).await, expected);
    daemon.publish(&json!({ "topic": "room:9", "data": "to the page" })).await;
    assert_eq!(stream.data(1).await, ["to the page"]);
}

#[tokio::test]
async fn what_pages_ask_for_does_not_enter_the_stream_in_redis() {
    let redis = Redis::start().await;
    let config = config(&format!("{}[redis.stream]\n", redis.section()));
    let (a, b) = tokio::join!(start(&config), start(&config));
    let me = bearer(&json!({}));
    let (mut stream, client) = open(&a, "/events?topic=room:1", &me).await;
    let last = async || a.publish(&json!({ "topic": "room:1", "data": "between" })).await["id"].clone();
    last().await;
    let length = async || redis.command::<u64>(&["XLEN", "sidestream:log"]).await;
    let before = length().await;
    added(&a, &client, &me, "room:2").await;
    // By the other instance, and for a stream that nobody has.
    for name in [&*client, "aaaaaaaaaaaaaaaa"] {
        let answer = change(&b, name, &me, json!({ "add": ["room:3"], "remove": ["room:2"] })).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    eventually("the change is made", async || {
        let of = a.command("GET", &format!("/clients/{client}/topics"), &[], b"").await.json();
        (of["topics"] == json!(["room:3"])).then_some(())
    })
    .await;
    assert_eq!(length().await, before);
    for topic in ["room:2", "room:3"] {
        b.publish(&json!({ "topic": topic, "data": topic })).await;
    }
    assert_eq!(stream.data(2).await, ["between", "room:3"]);
}

#[tokio::test]
async fn a_page_that_changes_its_topics_too_often_is_asked_to_wait() {
    let redis = Redis::start().await;
    let config = config(&format!("{}[limits]\ntopic_changes_per_minute = 2\n", redis.section()));
    let (daemon, other) = tokio::join!(start(&config), start(&config));
    let (me, you) = (bearer(&json!({})), bearer(&json!({ "sub": "u2" })));
    let (_stream, client) = open(&daemon, "/events?topic=room:1", &me).await;
    let (_theirs, theirs) = open(&daemon, "/events?topic=room:1", &you).await;
    // Somebody else's attempts are not counted.
    for _ in 0..3 {
        eventually("its shard has taken it in", async || {
            (add(&daemon, &client, &you, "room:2").await == 403).then_some(())
        })
        .await;
    }
    assert_eq!(add(&daemon, &client, &me, "room:2").await, 200);
    assert_eq!(add(&daemon, &client, &me, "room:3").await, 200);
    let refused = change(&daemon, &client, &me, json!({ "add": ["room:4"] })).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((20..=30).contains(&wait), "{wait}");
    assert!(refused.text().contains("limits.topic_changes_per_minute"), "{}", refused.text());
    added(&daemon, &theirs, &you, "room:2").await;
    // Ten times as many by another instance, whatever stream is named.
    for n in 0..20 {
        let status = add(&other, "bbbbbbbbbbbbbbbb", &me, "room:2").await;
        assert_eq!(status, 202, "{n}");
    }
    assert_eq!(add(&other, "cccccccccccccccc", &me, "room:2").await, 429);
    assert_eq!(renewed(&other, &client, &me).await.status, 429, "it costs the others as much");
    assert_eq!(add(&other, "cccccccccccccccc", &you, "room:2").await, 202);
}

#[tokio::test]
async fn a_reload_changes_how_often_pages_may_change_topics() {
    let limits = |rate: u32| config(&format!("[limits]\ntopic_changes_per_minute = {rate}\n"));
    let daemon = start(&limits(1)).await;
    let me = bearer(&json!({}));
    let (_stream, client) = open(&daemon, "/events?topic=room:1", &me).await;
    added(&daemon, &client, &me, "room:2").await;
    assert_eq!(add(&daemon, &client, &me, "room:3").await, 429);
    daemon.rewrite(&limits(600));
    let answer = daemon.command("POST", "/reload", &[], b"").await;
    assert_eq!(answer.json()["applied"], json!(["limits.topic_changes_per_minute"]), "{}", answer.text());
    // The minute of the one before is over: what is left of it at the new rate is a tenth of a second.
    eventually("the new rate holds", async || {
        (add(&daemon, &client, &me, "room:3").await == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_that_no_stream_can_have_is_refused_at_once() {
    let redis = Redis::start().await;
    let daemon = start(&config(&redis.section())).await;
    let me = bearer(&json!({}));
    for name in ["nobody", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaa1"] {
        assert_eq!(add(&daemon, name, &me, "room:1").await, 404, "{name}");
        let answer = renewed(&daemon, name, &me).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (404, &json!("no_such_stream")), "{name}");
        let given = daemon.command("PUT", &format!("/clients/{name}/topics/a"), &[], b"").await;
        assert_eq!(given.status, 404, "{name}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_first_of_the_tokens_that_gave_it_its_topics() {
    let daemon = Daemon::start(&config("")).await;
    let long = bearer(&json!({ "jti": "long" }));
    let short = bearer(&json!({ "jti": "short", "exp": at(4), "topics": ["admin:*"] }));
    let (mut stream, client) = open(&daemon, "/events?topic=room:1", &long).await;
    added(&daemon, &client, &short, "admin:x").await;
    daemon.publish(&json!({ "topic": "admin:x", "data": "as long as it may" })).await;
    assert_eq!(stream.data(1).await, ["as long as it may"]);
    // The token that it opened with does not grant what the other one added.
    let renewal = renewed(&daemon, &client, &long).await;
    assert_eq!((renewal.status, &renewal.json()["topic"]), (403, &json!("admin:x")), "{}", renewal.text());
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));

    // It lives by both: each can be taken back.
    for (first, second, taken_back) in [("1", "2", "1"), ("3", "4", "4")] {
        let (mut stream, client) =
            open(&daemon, "/events?topic=room:1", &bearer(&json!({ "jti": first }))).await;
        let second = bearer(&json!({ "jti": second, "topics": ["admin:*"] }));
        added(&daemon, &client, &second, "admin:x").await;
        let revoked = revoke(&daemon, &json!({ "token": taken_back })).await;
        assert_eq!(revoked.json()["ended"], 1, "{}", revoked.text());
        assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    }
}

#[tokio::test]
async fn a_token_that_grants_all_takes_the_place_of_the_first_one_but_moves_no_end_away() {
    let daemon = Daemon::start(&config("")).await;
    let first = bearer(&json!({ "jti": "first", "exp": at(4) }));
    let (mut stream, client) = open(&daemon, "/events?topic=room:1", &first).await;
    added(&daemon, &client, &bearer(&json!({ "jti": "later" })), "room:2").await;
    let revoked = revoke(&daemon, &json!({ "token": "first" })).await;
    assert_eq!(revoked.json()["ended"], 0, "{}", revoked.text());
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));

    let (_stream, client) = open(&daemon, "/events?topic=room:1", &bearer(&json!({ "jti": "0" }))).await;
    for n in 1..8 {
        let one = bearer(&json!({ "jti": n.to_string(), "topics": ["admin:*"] }));
        added(&daemon, &client, &one, &format!("admin:{n}")).await;
    }
    let ninth = bearer(&json!({ "jti": "8", "topics": ["admin:*"] }));
    let refused = change(&daemon, &client, &ninth, json!({ "add": ["admin:8"] })).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(renewed(&daemon, &client, &bearer(&json!({ "topics": ["*"] }))).await.status, 200);
    added(&daemon, &client, &ninth, "admin:8").await;
}

#[tokio::test]
async fn only_streams_of_the_same_verified_path_can_be_changed() {
    let daemon = Daemon::start(&config("")).await;
    let me = bearer(&json!({}));
    let (mut unverified, client) = open(&daemon, "/open?user=u1", &me).await;
    let (mut other, others) = open(&daemon, "/others", &me).await;
    for client in [&client, &others] {
        let answer = eventually("its shard has taken it in", async || {
            let answer = change(&daemon, client, &me, json!({ "add": ["room:1"] })).await;
            (answer.status != 404).then_some(answer)
        })
        .await;
        assert_eq!((answer.status, &answer.json()["reason"]), (403, &json!("not_your_stream")));
    }
    daemon.publish(&json!({ "topic": "room:1", "data": "not theirs" })).await;
    daemon.publish(&json!({ "broadcast": true, "data": "end" })).await;
    assert_eq!(unverified.data(1).await, ["end"]);
    assert_eq!(other.data(1).await, ["end"]);
}

#[tokio::test]
async fn a_change_from_another_instance_is_judged_where_the_stream_is() {
    let redis = Redis::start().await;
    let config = config(&redis.section());
    let (a, b) = tokio::join!(start(&config), start(&config));
    let me = bearer(&json!({}));
    let (mut stream, client) = open(&a, "/events?topic=room:1", &me).await;
    eventually("the other one is followed", async || {
        add(&b, &client, &me, "room:2").await;
        let of = a.command("GET", &format!("/clients/{client}/topics"), &[], b"").await.json();
        (of["topics"] == json!(["room:2"])).then_some(())
    })
    .await;
    let revoked = revoke(&a, &json!({ "user": "u1", "topic": "room:7" })).await;
    assert_eq!((revoked.status, &revoked.json()["ended"]), (200, &json!(0)), "{}", revoked.text());
    let away = "/connections?user=u1&topic=room:9&reconnect=false";
    assert_eq!(a.command("DELETE", away, &[], b"").await.status, 200);
    for topic in ["room:7", "room:9", "room:3"] {
        assert_eq!(add(&b, &client, &me, topic).await, 202, "{topic}");
    }
    eventually("what may be is made", async || {
        let of = a.command("GET", &format!("/clients/{client}/topics"), &[], b"").await.json();
        (of["topics"] == json!(["room:2", "room:3"])).then_some(())
    })
    .await;
    for topic in ["room:7", "room:9", "room:3"] {
        b.publish(&json!({ "topic": topic, "data": topic })).await;
    }
    assert_eq!(stream.data(1).await, ["room:3"]);
}

#[tokio::test]
async fn a_renewal_that_another_instance_lets_in_is_held_against_the_revocations_here() {
    let redis = Redis::start().await;
    let daemon = start(&config(&redis.section())).await;
    let (mut stream, client) =
        open(&daemon, "/events?topic=room:1", &bearer(&json!({ "exp": at(4), "jti": "old" }))).await;
    assert_eq!(revoke(&daemon, &json!({ "token": "new" })).await.status, 200);
    // As an instance says it that has not heard of the revocation yet.
    let until = u64::try_from(at(600)).expect("after 1970") * 1000;
    let renew = json!({ "v": 1, "renew": {
        "client": client, "token": "new", "expires": until, "warns": null, "user": "u1", "session": null,
        "topics": ["room:*"], "of_route": [], "issued": 1_700_000_000_000_u64,
    }});
    eventually("it is heard", async || {
        redis.publish("sidestream:control", renew.to_string()).await;
        (daemon.metric("sidestream_commands_total", &["renew"]).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));
}

#[tokio::test]
async fn a_stalled_page_waits_with_its_changes_and_a_revocation_finds_what_it_is_about_to_hold() {
    let limits = "[limits]\ntopic_changes_per_minute = 0\n[log]\nmax_events = 1000\n";
    let daemon = Daemon::start(&config(limits)).await;
    let me = bearer(&json!({}));
    let (mut stream, client) = open(&daemon, "/events?topic=room:1", &me).await;
    added(&daemon, &client, &me, "room:2").await;
    let large = "x".repeat(512 << 10);
    eventually("the stream takes nothing more", async || {
        daemon.publish(&json!({ "topic": "room:1", "data": large })).await;
        let of = daemon.command("GET", &format!("/connections/{client}"), &[], b"").await.json();
        (of["blocked"] == json!(true)).then_some(())
    })
    .await;
    let mut made = 0;
    let refused = loop {
        let answer = change(&daemon, &client, &me, json!({ "add": [format!("room:{}", made + 10)] })).await;
        if answer.status != 200 {
            break answer;
        }
        made += 1;
    };
    assert_eq!((made, refused.status, refused.header("retry-after")), (64, 429, "1"), "{}", refused.text());
    // Not theirs, and nobody's: the stream holds it when it has come so far.
    for topic in ["room:200", "room:10"] {
        let revoked = revoke(&daemon, &json!({ "user": "u2", "topic": topic })).await;
        assert_eq!(revoked.json()["ended"], 0, "{topic}");
    }
    daemon.publish(&json!({ "topic": "room:73", "data": "the last one" })).await;
    within("all that was published", async { while stream.block().await.data() != "the last one" {} }).await;
    eventually("it has come to all of its changes", async || {
        (add(&daemon, &client, &me, "room:74").await == 200).then_some(())
    })
    .await;
    eventually("the stream takes nothing more", async || {
        daemon.publish(&json!({ "topic": "room:1", "data": large })).await;
        let of = daemon.command("GET", &format!("/connections/{client}"), &[], b"").await.json();
        (of["blocked"] == json!(true)).then_some(())
    })
    .await;
    assert_eq!(add(&daemon, &client, &me, "room:75").await, 200);
    let held = daemon.command("GET", "/connections/count?topic=room:75", &[], b"").await.json();
    assert_eq!(held["total"], 0, "it has not come so far");
    let revoked = revoke(&daemon, &json!({ "user": "u1", "topic": "room:75" })).await;
    assert_eq!(revoked.json()["ended"], 1, "{}", revoked.text());
    holds_for(Duration::from_millis(10), "it is gone", async || {
        daemon.command("GET", "/connections/count", &[], b"").await.json()["total"] == 0
    })
    .await;
}

#[tokio::test]
async fn every_refusal_of_a_page_is_counted_by_its_reason() {
    let daemon = start(&config("[limits]\ntopic_changes_per_minute = 1\n")).await;
    let me = bearer(&json!({ "sub": "me", "exp": at(600) }));
    let (_stream, client) = open(&daemon, "/events?topic=room:1", &me).await;
    let counted = async |reason: &str| {
        let labels = ["listener=\"public\"", &format!("reason=\"{reason}\"")];
        daemon.metric("sidestream_http_refused_total", &labels).await
    };
    let body = |body: &str| (client.clone(), me.clone(), body.as_bytes().to_vec());
    let nobody = ("cccccccccccccccc".to_owned(), me.clone(), br#"{"add":["room:1"]}"#.to_vec());
    let stranger = (client.clone(), "Bearer x".to_owned(), b"{}".to_vec());
    for ((client, bearer, body), status, reason) in [
        (body("{"), 400, "bad_topics"),
        (body(&" ".repeat(65 << 10)), 413, "body_too_large"),
        (nobody, 404, "no_such_stream"),
        (stranger, 401, "malformed"),
    ] {
        let path = format!("/events?client={client}");
        let answer = request(daemon.public, "POST", &path, &[("authorization", &bearer)], &body).await;
        assert_eq!(answer.status, status, "{reason}: {}", answer.text());
        assert_eq!(counted(reason).await, 1.0, "{reason}: {}", answer.text());
    }
    let mut again = 0;
    eventually("it is too often", async || {
        again += 1;
        (add(&daemon, &client, &me, &format!("room:{again}")).await == 429).then_some(())
    })
    .await;
    assert_eq!(counted("too_often").await, 1.0);
}
