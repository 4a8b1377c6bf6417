//! Two tenants on one daemon: whatever the one does with names, ids and keys of the other, nothing crosses.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, SECRET, Stream, request, token};

fn config() -> String {
    let publisher = |name: &str| {
        format!(
            "[[internal.publisher]]\nname = \"{name}\"\nkey = \"key-of-{name}\"\ntopics = [\"tenant:{name}:*\"]\n"
        )
    };
    format!(
        r#"
[internal]
publish_keys = ["key-of-the-operator"]
{}{}
[auth.jwt]
secret = "{SECRET}"
grant = ["tenant:{{claim.tenant}}:*"]
require = ["tenant"]

[[stream]]
path = "/events"
auth = "jwt"
topics = ["{{query.topic}}"]

[[stream]]
path = "/patterns"
auth = "jwt"
topics = ["{{query.topic}}"]
patterns = true
change_topics = true

[[stream]]
path = "/mine"
auth = "jwt"
topics = ["tenant:{{claim.tenant}}:all"]

[[stream]]
path = "/of/{{tenant}}"
auth = "jwt"
topics = ["tenant:{{path.tenant}}:all"]
"#,
        publisher("a"),
        publisher("b"),
    )
}

/// A user's token; both tenants' users and sessions have the same names but for their tenant's.
fn of(tenant: &str, claims: Value) -> String {
    let mut all = json!({ "tenant": tenant, "sub": format!("{tenant}:u"), "sid": format!("{tenant}:s") });
    all.as_object_mut().expect("an object").extend(claims.as_object().expect("an object").clone());
    format!("Bearer {}", token(&all))
}

async fn open(daemon: &Daemon, path: &str, token: &str, more: &[(&str, &str)]) -> Stream {
    let headers = [&[("authorization", token)], more].concat();
    Stream::open(daemon.public, path, &headers).await
}

async fn publish(daemon: &Daemon, key: &str, body: Value) -> Answer {
    let key = format!("Bearer key-of-{key}");
    request(daemon.internal, "POST", "/publish", &[("authorization", &key)], body.to_string().as_bytes())
        .await
}

/// An open stream and its client's id.
async fn connected(daemon: &Daemon, path: &str, token: &str, more: &[(&str, &str)]) -> (Stream, Value) {
    let mut stream = open(daemon, path, token, more).await;
    assert_eq!(stream.status(), 200, "{path} {}", stream.head);
    let block = stream.block().await;
    assert!(block.is("connected"));
    let mut said = block.json();
    said["id"] = json!(block.id());
    (stream, said)
}

/// The next event on the stream is the operator's marker: nothing came before it.
async fn nothing_came(daemon: &Daemon, stream: &mut Stream) {
    assert_eq!(
        publish(daemon, "the-operator", json!({ "broadcast": true, "data": "marker" })).await.status,
        200
    );
    assert_eq!(stream.event().await.data(), "marker");
}

#[tokio::test]
async fn a_tenant_hears_its_own_topics_only() {
    let daemon = Daemon::start(&config()).await;
    for (tenant, other) in [("a", "b"), ("b", "a")] {
        let token = of(tenant, json!({}));
        let own = format!("/events?topic=tenant:{tenant}:x");
        assert_eq!(open(&daemon, &own, &token, &[]).await.status(), 200);
        assert_eq!(open(&daemon, &format!("/of/{tenant}"), &token, &[]).await.status(), 200);
        for path in [
            format!("/events?topic=tenant:{other}:x"),
            format!("/events?topic=tenant:{tenant}:x&topic=tenant:{other}:x"),
            format!("/events?topic=tenant%3A{other}%3Ax"),
            format!("/events?topic=tenant:{other}:*"),
            "/events?topic=*".to_owned(),
            "/events?topic=tenant:*".to_owned(),
            format!("/events?topic=tenant:{}:x", tenant.to_uppercase()),
            format!("/events?topic=%20tenant:{tenant}:x"),
            format!("/of/{other}"),
            format!("/patterns?topic=tenant:{other}:*"),
            format!("/patterns?topic=tenant:{tenant}:x&topic=tenant:{other}:*"),
            format!("/patterns?topic=tenant:{tenant}*"),
            format!("/patterns?topic=tenant:*:{tenant}:*"),
            "/patterns?topic=*".to_owned(),
            "/patterns?topic=tenant:*".to_owned(),
            "/patterns?topic=*:all".to_owned(),
            "/patterns?topic=ten*ant:*:*".to_owned(),
            format!("/of/{tenant}:x%2F..%2F{other}").replace(&format!("{tenant}:x"), &format!("{other}:x")),
        ] {
            let answer = request(daemon.public, "GET", &path, &[("authorization", &token)], b"").await;
            assert_eq!(
                (answer.status, &answer.json()["reason"]),
                (403, &json!("topic_not_granted")),
                "{path}"
            );
        }
    }
    // Neither a claim of its own nor a second token opens another's.
    let forged = of("*", json!({}));
    assert_eq!(open(&daemon, "/events?topic=tenant:b:x", &forged, &[]).await.status(), 401);
    let none = token(&json!({ "sub": "a:u" }));
    assert_eq!(open(&daemon, "/mine", &format!("Bearer {none}"), &[]).await.status(), 401);
    let both = format!("/events?topic=tenant:b:x&token={}", of("b", json!({})).trim_start_matches("Bearer "));
    assert_eq!(open(&daemon, &both, &of("a", json!({})), &[]).await.status(), 403, "the first place counts");
}

#[tokio::test]
async fn a_replay_with_anothers_cursor_shows_only_ones_own() {
    let daemon = Daemon::start(&config()).await;
    let (_, start) = connected(&daemon, "/mine", &of("b", json!({})), &[]).await;
    for n in 0..3 {
        for tenant in ["a", "b"] {
            let body = json!({ "topic": format!("tenant:{tenant}:all"), "data": format!("{tenant}{n}") });
            assert_eq!(publish(&daemon, tenant, body).await.status, 200);
            let user = json!({ "user": format!("{tenant}:u"), "data": format!("user {tenant}{n}") });
            assert_eq!(publish(&daemon, "the-operator", user).await.status, 200);
        }
    }
    let mut open_streams = Vec::new();
    let cursor = start["id"].as_str().expect("an id");
    for (path, more) in [
        ("/mine".to_owned(), vec![("last-event-id", cursor)]),
        (format!("/mine?lastEventId={cursor}"), vec![]),
    ] {
        let (mut stream, said) = connected(&daemon, &path, &of("a", json!({})), &more).await;
        assert_eq!(said["missed"], 6, "of one's own topic and user, and of no other's");
        let wanted = ["a0", "user a0", "a1", "user a1", "a2", "user a2"];
        assert_eq!(stream.data(6).await, wanted);
        open_streams.push(stream);
    }
    assert_eq!(
        publish(&daemon, "the-operator", json!({ "broadcast": true, "data": "end" })).await.status,
        200
    );
    for stream in &mut open_streams {
        assert_eq!(stream.event().await.data(), "end");
    }
    // What one has no grant for does not come because one has its id.
    let answer = open(&daemon, "/of/b", &of("a", json!({})), &[("last-event-id", cursor)]).await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn guessed_names_reach_nobody_and_nothing_is_heard_by_them() {
    let daemon = Daemon::start(&config()).await;
    let (mut b, said) = connected(&daemon, "/mine", &of("b", json!({})), &[]).await;
    let client = said["client"].as_str().expect("a client").to_owned();
    // A's streams that ask for B's user, session and client as if they were topics, or in the query.
    let query =
        format!("/mine?user=b:u&userId=b:u&session=b:s&sessionId=b:s&client={client}&sub=b:u&tenant=b");
    let (mut a, said) = connected(&daemon, &query, &of("a", json!({})), &[]).await;
    assert_eq!((&said["user"], &said["session"]), (&json!("a:u"), &json!("a:s")));
    assert_eq!(said["topics"], json!(["tenant:a:all"]));
    assert_ne!(said["client"], json!(client));
    for topic in ["b:u", "user:b:u", "b:s", &client] {
        let path = format!("/events?topic={topic}");
        assert_eq!(open(&daemon, &path, &of("a", json!({})), &[]).await.status(), 403, "{topic}");
    }
    for body in [
        json!({ "user": "b:u", "data": 1 }),
        json!({ "session": "b:s", "data": 2 }),
        json!({ "client": client, "data": 3 }),
        json!({ "topic": "tenant:b:all", "data": 4 }),
    ] {
        assert_eq!(publish(&daemon, "the-operator", body).await.status, 200);
    }
    assert_eq!(b.data(4).await, ["1", "2", "3", "4"]);
    nothing_came(&daemon, &mut a).await;
}

#[tokio::test]
async fn a_pattern_hears_all_topics_of_its_own_tenant_and_none_of_another() {
    let daemon = Daemon::start(&config()).await;
    let path = |tenant: &str| format!("/patterns?topic=tenant:{tenant}:*");
    let (mut a, _) = connected(&daemon, &path("a"), &of("a", json!({})), &[]).await;
    let (mut b, said) = connected(&daemon, &path("b"), &of("b", json!({})), &[]).await;
    let client = said["client"].as_str().expect("a client").to_owned();
    for topic in ["new", "all", "a:b", "tenant:a:x"] {
        for tenant in ["a", "b"] {
            let topic = format!("tenant:{tenant}:{topic}");
            let body = json!({ "topic": topic, "data": topic });
            assert_eq!(publish(&daemon, "the-operator", body).await.status, 200);
        }
    }
    // What is of both reaches both, and what excludes the one reaches the other.
    let both =
        json!({ "topics": ["tenant:a:1", "tenant:b:1"], "except": {"topic": "tenant:a:2"}, "data": "not a" });
    assert_eq!(publish(&daemon, "the-operator", both).await.status, 200);
    assert_eq!(a.data(4).await, ["new", "all", "a:b", "tenant:a:x"].map(|topic| format!("tenant:a:{topic}")));
    assert_eq!(b.data(4).await, ["new", "all", "a:b", "tenant:a:x"].map(|topic| format!("tenant:b:{topic}")));
    assert_eq!(b.event().await.data(), "not a");
    // Neither one's own stream nor the other's takes in what is not one's own.
    let (_, said) = connected(&daemon, &path("a"), &of("a", json!({})), &[]).await;
    for client in [&client, said["client"].as_str().expect("a client")] {
        for topic in ["tenant:b:*", "*", "tenant:*"] {
            let (path, body) = (format!("/patterns?client={client}"), json!({ "add": [topic] }).to_string());
            let headers = [("authorization", &*of("a", json!({})))];
            let answer = request(daemon.public, "POST", &path, &headers, body.as_bytes()).await;
            assert!([403, 404].contains(&answer.status), "{topic}: {}", answer.text());
        }
    }
    // A cursor of the one brings the other nothing but its own.
    let cursor = said["id"].as_str().expect("an id");
    let body = json!({ "topics": ["tenant:b:late"], "data": "late" });
    assert_eq!(publish(&daemon, "the-operator", body).await.status, 200);
    let (mut back, said) =
        connected(&daemon, &path("a"), &of("a", json!({})), &[("last-event-id", cursor)]).await;
    assert_eq!(said["missed"], 0);
    nothing_came(&daemon, &mut back).await;
    assert_eq!(a.event().await.data(), "marker");
    assert_eq!(b.data(2).await, ["late", "marker"]);
}

#[tokio::test]
async fn nobody_ends_or_prolongs_anothers_stream() {
    let daemon = Daemon::start(&config()).await;
    let (mut b, said) = connected(&daemon, "/mine", &of("b", json!({})), &[]).await;
    let client = said["client"].as_str().expect("a client");
    // With a good token of the other tenant, even for a user and session of the same names, and by every route.
    for token in [of("a", json!({})), of("a", json!({ "sub": "b:u", "sid": "b:s" }))] {
        for path in ["/mine", "/events", "/of/b", "/of/a"] {
            let path = format!("{path}?client={client}&topic=tenant:b:all");
            let answer = request(daemon.public, "POST", &path, &[("authorization", &token)], b"").await;
            assert_eq!(answer.status, 403, "{path} {}", answer.text());
        }
    }
    for key in ["a", "b", "nobody"] {
        let key = format!("Bearer key-of-{key}");
        for body in [&br#"{"user": "b:u"}"#[..], br#"{"topic": "tenant:b:all"}"#] {
            let answer = request(daemon.internal, "POST", "/revoke", &[("authorization", &key)], body).await;
            assert!([401, 403].contains(&answer.status), "{key} {}", answer.text());
        }
    }
    nothing_came(&daemon, &mut b).await;
    let own = format!("/mine?client={client}");
    let answer = request(daemon.public, "POST", &own, &[("authorization", &of("b", json!({})))], b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_tenants_publisher_reaches_nobody_of_another() {
    let daemon = Daemon::start(&config()).await;
    let (mut b, said) = connected(&daemon, "/mine", &of("b", json!({})), &[]).await;
    for body in [
        json!({ "topic": "tenant:b:all" }),
        json!({ "topics": ["tenant:a:all", "tenant:b:all"] }),
        json!([{ "topic": "tenant:a:all" }, { "topic": "tenant:b:all" }]),
        json!({ "target": "topic", "targetId": "tenant:b:all" }),
        json!({ "user": "b:u" }),
        json!({ "session": "b:s" }),
        json!({ "client": said["client"] }),
        json!({ "broadcast": true }),
        json!({ "target": "all" }),
    ] {
        let answer = publish(&daemon, "a", body.clone()).await;
        assert_eq!(answer.status, 403, "{body} {}", answer.text());
    }
    // And it takes nothing away that another's publisher sends, by a key that it guesses.
    let event = |tenant: &str| json!({ "topic": format!("tenant:{tenant}:all"), "data": tenant, "idempotency_key": "7" });
    assert_eq!(publish(&daemon, "a", event("a")).await.status, 200);
    let answer = publish(&daemon, "b", event("b")).await;
    assert_eq!(answer.json()["matched"], 1, "{}", answer.text());
    assert_eq!(b.event().await.data(), "b");
    nothing_came(&daemon, &mut b).await;
}
