//! What is noted of connections (`meta` of a `[[stream]]`), and where it is shown: never a token.

use serde_json::{Value, json};

use crate::harness::{Backend, Daemon, KEY, Redis, Shell, Stream, eventually, listening};
use crate::jwt::{SECRET, token};

const OPEN: &str = r#"
[[stream]]
path   = "/events"
topics = ["room:{query.room}"]
user   = "{query.user?}"
meta   = ["query.*"]
"#;

async fn done(daemon: &Daemon, method: &str, path: &str) -> Value {
    let answer = daemon.command(method, path, &[], b"").await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()
}

/// What is noted of each stream that `query` chooses, by client.
async fn noted(daemon: &Daemon, query: &str) -> Vec<Value> {
    let page = done(daemon, "GET", &format!("/connections{query}")).await;
    page["connections"].as_array().expect("a page").iter().map(|one| one["meta"].clone()).collect()
}

#[tokio::test]
async fn what_a_page_says_of_itself_is_shown_and_can_be_asked_for() {
    let daemon = Daemon::start(OPEN).await;
    let _phone =
        listening(&daemon, "/events?room=a&user=u1&device=phone&app=2.1&token=s3cret&history=3").await;
    let _tablet = listening(&daemon, "/events?room=a&user=u2&device=tablet&apiKey=s3cret").await;
    let _bare = listening(&daemon, "/events?room=b").await;
    assert_eq!(
        noted(&daemon, "?meta.device=phone").await,
        [json!({ "app": "2.1", "device": "phone" })],
        "neither what makes topics and users, nor tokens"
    );
    assert_eq!(noted(&daemon, "?user=u2").await, [json!({ "device": "tablet" })]);
    assert_eq!(noted(&daemon, "?topic=room:b").await, [Value::Null], "nothing is noted of it");
    for (query, total) in
        [("?meta.device=phone&topic=room:a", 1), ("?meta.device=phone&user=u2", 0), ("?meta.os=x", 0)]
    {
        let count = done(&daemon, "GET", &format!("/connections/count{query}")).await;
        assert_eq!(count["total"], total, "{query}");
    }
    let presence = eventually("the user is online", async || {
        let presence = done(&daemon, "GET", "/presence/users/u1?meta=true").await;
        (presence["online"] == true).then_some(presence)
    })
    .await;
    assert_eq!(presence["connections_complete"], true);
    assert_eq!(presence["connections"][0]["meta"], json!({ "app": "2.1", "device": "phone" }));
    assert!(done(&daemon, "GET", "/presence/users/u1").await["connections"].is_null());
    let room = done(&daemon, "GET", "/presence/topics/room:a?meta=true").await;
    let mut there: Vec<(Value, Value)> = room["connections"]
        .as_array()
        .expect("streams")
        .iter()
        .map(|one| (one["user"].clone(), one["meta"]["device"].clone()))
        .collect();
    there.sort_by_key(|(user, _)| user.to_string());
    assert_eq!(there, [(json!("u1"), json!("phone")), (json!("u2"), json!("tablet"))]);
    let url = format!("http://{}", daemon.internal);
    let shell = async |arguments: &[&str]| {
        let all = [&["connections", "--url", &url], arguments].concat();
        let finished = Shell::run(&all, &[("SIDESTREAM_PUBLISH_KEY", KEY)], "").await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.stdout
    };
    let rows = shell(&["--meta", "device=phone"]).await;
    assert!(rows.contains("META") && rows.contains("app=2.1 device=phone"), "{rows}");
    assert!(shell(&["--count", "--meta", "device=phone", "--meta", "app=1"]).await.starts_with("0 streams"));
    for text in [daemon.log(), done(&daemon, "GET", "/connections").await.to_string()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    // By what is noted nobody is known again: they are closed, not kept out.
    let closed = done(&daemon, "DELETE", "/connections?meta.device=phone&reconnect=false").await;
    assert_eq!((&closed["closed"], &closed["until"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn claims_are_noted_beside_the_query_and_what_is_too_much_is_left_out() {
    let daemon = Daemon::start(&format!(
        r#"
[[stream]]
path   = "/events"
auth   = "jwt"
topics = ["news"]
meta   = {{ device = "{{query.device}}", plan = "{{claim.plan}}", os = "{{query.os:-unknown}}" }}

[limits]
meta_bytes = 30

[auth.jwt]
secret = "{SECRET}"
"#
    ))
    .await;
    let bearer = format!("Bearer {}", token(json!({ "plan": "pro" })));
    let open = async |query: &str| {
        let path = format!("/events?{query}");
        let mut stream = Stream::open(daemon.public, &path, &[("authorization", &bearer)]).await;
        assert_eq!(stream.status(), 200, "{}", stream.head);
        let connected = stream.block().await.json();
        (stream, connected["client"].as_str().expect("a client").to_owned())
    };
    let (_whole, client) = open("device=phone").await;
    assert_eq!(
        noted(&daemon, &format!("?client={client}")).await,
        [json!({ "device": "phone", "os": "unknown", "plan": "pro" })]
    );
    let (_long, client) = open(&format!("device={}", "x".repeat(100))).await;
    assert_eq!(
        noted(&daemon, &format!("?client={client}")).await,
        [json!({ "os": "unknown", "plan": "pro" })]
    );
    assert_eq!(daemon.metric("sidestream_meta_left_out_total", &[]).await, 1.0);
}

#[tokio::test]
async fn the_streams_of_other_instances_are_chosen_by_what_is_noted_of_them() {
    let redis = Redis::start().await;
    let config = format!("{}{OPEN}", redis.section());
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    let _here = listening(&one, "/events?room=a&user=u&device=phone").await;
    let _there = listening(&other, "/events?room=a&user=u&device=phone").await;
    let _third = listening(&other, "/events?room=a&user=u&device=tablet").await;
    eventually("both are asked", async || {
        let count = done(&one, "GET", "/connections/count?meta.device=phone").await;
        (count["total"] == 2 && count["instances"].as_array()?.len() == 2).then_some(())
    })
    .await;
    assert_eq!(noted(&one, "?meta.device=tablet").await, [json!({ "device": "tablet" })]);
    let presence = done(&one, "GET", "/presence/users/u?meta=true").await;
    assert_eq!(presence["connections"].as_array().map(Vec::len), Some(3), "{presence}");
    let closed = done(&one, "DELETE", "/connections?meta.device=phone").await;
    assert_eq!(closed["closed"], 2);
}

#[tokio::test]
async fn a_webhook_gets_what_is_noted_with_the_streams_that_come_and_go() {
    let receiver = Backend::start().await;
    let daemon = Daemon::start(&format!(
        "{OPEN}[[webhook]]\nname = \"app\"\nurl = \"{}/hooks\"\nsecret = \"a-webhook-secret-of-32-bytes-or-more\"\n\
        max_delay = \"20ms\"\nevents = [\"connected\", \"disconnected\"]\n",
        receiver.url
    ))
    .await;
    let stream = listening(&daemon, "/events?room=a&device=phone").await;
    for kind in ["connected", "disconnected"] {
        let (mut peer, head) = receiver.request().await;
        let body: Value = serde_json::from_str(&peer.body(&head).await).expect("JSON");
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert_eq!(
            (&body["events"][0]["type"], &body["events"][0]["meta"]),
            (&json!(kind), &json!({ "device": "phone" }))
        );
        if kind == "connected" {
            daemon.command("DELETE", "/connections?all=true", &[], b"").await;
        }
    }
    drop(stream);
}
