//! The dashboard: who may see it and who may act, what it says second by second, and its page in Chromium.

mod page;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Daemon, KEY, Redis, SECRET, Stream, eventually, repository, request, start, token,
};
use crate::instances::know;

const ACT: &str = "act-0123456789abcdef0123456789";
const READ: &str = "read-0123456789abcdef0123456789";

/// With keys, a stream for anybody, and one for tokens.
fn config() -> String {
    format!(
        "[dashboard]\nkeys = [\"{ACT}\"]\nread_keys = [\"{READ}\"]\n\
         [[stream]]\npath = \"/events\"\nuser = \"{{query.userId}}\"\ntopics = [\"{{query.topic}}\"]\n\
         [[stream]]\npath = \"/private\"\nauth = \"jwt\"\ntopics = [\"{{query.topic}}\"]\n\
         [auth.jwt]\nsecret = \"{SECRET}\"\n[sse]\nheartbeat = \"1s\"\n"
    )
}

/// A request with a key of the dashboard, or none.
async fn ask(daemon: &Daemon, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("authorization", &bearer)] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(daemon.internal, method, path, headers, body.as_bytes()).await
}

/// The cookie of somebody who has signed in, and all that came with it.
async fn sign_in(to: SocketAddr, key: &str) -> (String, String) {
    let body = json!({ "key": key }).to_string();
    let headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/json")];
    let answer = request(to, "POST", "/dashboard/session", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.header("set-cookie").to_owned();
    (cookie.split(';').next().expect("a pair").to_owned(), cookie)
}

#[tokio::test]
async fn without_a_key_it_is_off_and_says_how_it_is_turned_on() {
    let daemon = Daemon::start("").await;
    for path in ["/", "/assets/app.js", "/dashboard/session", "/dashboard/api/connections"] {
        let answer = ask(&daemon, KEY, "GET", path, &Value::Null).await;
        assert_eq!(answer.status, 404, "{path}");
        let error = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(error.contains("dashboard.keys") && error.contains("sidestream key new"), "{error}");
    }
}

#[tokio::test]
async fn signing_in_gives_a_cookie_that_no_script_reads_and_no_other_page_sends() {
    let daemon = Daemon::start(&config()).await;
    let page = ask(&daemon, "", "GET", "/", &Value::Null).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert_eq!(
        ask(&daemon, "", "GET", "/dashboard/session", &Value::Null).await.json(),
        json!({ "may": null })
    );
    assert_eq!(ask(&daemon, "", "GET", "/dashboard/topics", &Value::Null).await.status, 401);

    let (pair, cookie) = sign_in(daemon.internal, ACT).await;
    for part in ["; Path=/dashboard;", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(ACT) && !cookie.contains("Secure"), "{cookie}");
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("cookie", pair.clone())];
        headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        headers
    };
    let asked = async |method: &str, path: &str, headers: &[(&'static str, String)]| {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(daemon.internal, method, path, &headers, b"").await.status
    };
    assert_eq!(
        asked("GET", "/dashboard/api/connections", &with(&[("sec-fetch-site", "same-origin")])).await,
        200
    );
    // A page on another port is the same site to a browser, and its requests would bring the cookie.
    for site in ["same-site", "cross-site"] {
        assert_eq!(asked("GET", "/dashboard/api/connections", &with(&[("sec-fetch-site", site)])).await, 403);
        let fields = [("sec-fetch-site", site), ("origin", "http://127.0.0.1:1")];
        assert_eq!(asked("DELETE", "/dashboard/api/connections?all=true", &with(&fields)).await, 403);
    }
    let close = "/dashboard/api/connections?all=true";
    assert_eq!(asked("DELETE", close, &with(&[("origin", "http://evil.example")])).await, 403);
    assert_eq!(asked("DELETE", close, &with(&[])).await, 403, "nobody says where it comes from");
    assert_eq!(asked("DELETE", close, &with(&[("sec-fetch-site", "same-origin")])).await, 200);
    assert_eq!(asked("GET", "/connections", &with(&[("sec-fetch-site", "same-origin")])).await, 401);

    let own = with(&[("sec-fetch-site", "same-origin")]);
    assert_eq!(asked("DELETE", "/dashboard/session", &own).await, 200);
    assert_eq!(asked("GET", "/dashboard/api/connections", &own).await, 401, "signed out");
    assert!(!daemon.log().contains(ACT) && !daemon.log().contains(pair.split_once('=').expect("a value").1));
}

#[tokio::test]
async fn who_guesses_keys_is_stopped_and_who_is_signed_in_is_not() {
    let daemon = Daemon::start(&config()).await;
    let (pair, _) = sign_in(daemon.internal, READ).await;
    for nth in 0..10 {
        let answer = ask(&daemon, &format!("wrong-{nth}"), "GET", "/dashboard/topics", &Value::Null).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    let answer = ask(&daemon, ACT, "GET", "/dashboard/topics", &Value::Null).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "60"));
    let headers = [("cookie", pair.as_str())];
    assert_eq!(request(daemon.internal, "GET", "/dashboard/topics", &headers, b"").await.status, 200);
    let answer = daemon.command("GET", "/connections", &[], b"").await;
    assert_eq!(answer.status, 200, "publish keys are no matter of the dashboard");
}

#[tokio::test]
async fn a_read_key_looks_and_an_act_key_acts_and_neither_is_a_publish_key() {
    let daemon = Daemon::start(&config()).await;
    let mut stream = Stream::open(daemon.public, "/events?userId=u1&topic=a", &[]).await;
    let client = stream.block().await.json()["client"].as_str().expect("a client").to_owned();
    let event = json!({ "topic": "a", "event": "x", "data": { "n": 1 } });
    for (method, path) in [
        ("POST", "/dashboard/api/publish".to_owned()),
        ("DELETE", format!("/dashboard/api/connections/{client}")),
        ("PUT", "/dashboard/api/users/u1/topics/b".to_owned()),
        ("POST", "/dashboard/api/revoke".to_owned()),
    ] {
        let answer = ask(&daemon, READ, method, &path, &event).await;
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(answer.text().contains("may only look"), "{}", answer.text());
    }
    let seen = ask(&daemon, READ, "GET", "/dashboard/api/connections?user=u1", &Value::Null).await.json();
    assert_eq!(seen["connections"][0]["client"], json!(client));

    let answer = ask(&daemon, ACT, "POST", "/dashboard/api/publish", &event).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (200, &json!(1)), "{}", answer.text());
    assert_eq!(stream.event().await.json(), json!({ "n": 1 }));
    let answer = ask(&daemon, ACT, "POST", "/dashboard/api/tickets", &json!({ "user": "u1" })).await;
    assert_eq!(answer.status, 404, "nobody is given another identity from here");
    let path = format!("/dashboard/api/connections/{client}?reconnect=false&for=1m");
    assert_eq!(ask(&daemon, ACT, "DELETE", &path, &Value::Null).await.json()["closed"], 1);
    assert_eq!(stream.event().await.json()["reason"], "sent_away");

    for key in [ACT, READ] {
        assert_eq!(ask(&daemon, key, "GET", "/connections", &Value::Null).await.status, 401);
        assert_eq!(ask(&daemon, key, "POST", "/publish", &event).await.status, 401);
    }
    assert_eq!(ask(&daemon, KEY, "GET", "/dashboard/topics", &Value::Null).await.status, 401);
}

#[tokio::test]
async fn numbers_move_while_somebody_watches() {
    let daemon = Daemon::start(&config()).await;
    let bearer = format!("Bearer {READ}");
    let mut board = Stream::open(daemon.internal, "/dashboard/events", &[("authorization", &bearer)]).await;
    assert!(board.head.contains("text/event-stream"), "{}", board.head);
    let history = board.block().await;
    assert!(history.is("history") && history.json().is_array(), "{history:?}");
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(daemon.stream("/events?userId=u1&topic=a").await);
    }
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    let refused = request(daemon.public, "GET", "/private?topic=a", &[], b"").await;
    assert_eq!(refused.status, 401);
    let (mut seen, mut latency, mut why) = (false, false, false);
    while !(seen && latency && why) {
        let snapshot = board.block().await;
        assert!(snapshot.is("snapshot"), "{snapshot:?}");
        let snapshot = snapshot.json();
        let sample = &snapshot["sample"];
        seen |= sample["streams"] == json!(3.0);
        latency |= sample["p99"].as_f64().is_some_and(|p99| p99 > 0.0);
        why |= sample["why"]["refused: no_token"] == json!(1.0);
        assert_eq!(snapshot["identity"]["streams"], json!(["/events", "/private"]));
        assert_eq!(snapshot["dependencies"]["backend"]["state"], "unknown");
    }
    // Who comes later has all of it at once.
    let mut later = Stream::open(daemon.internal, "/dashboard/events", &[("authorization", &bearer)]).await;
    let history = later.block().await.json();
    assert!(
        history.as_array().expect("samples").iter().any(|sample| sample["streams"] == json!(3.0)),
        "{history}"
    );
}

#[tokio::test]
async fn no_more_watch_than_may_and_all_of_them_end_with_the_daemon() {
    let mut daemon = Daemon::start(&config()).await;
    let bearer = format!("Bearer {READ}");
    let headers = [("authorization", bearer.as_str())];
    let mut watching = Vec::new();
    for _ in 0..32 {
        watching.push(Stream::open(daemon.internal, "/dashboard/events", &headers).await);
    }
    let refused = request(daemon.internal, "GET", "/dashboard/events", &headers, b"").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    watching.pop();
    let next = eventually("a place is free again", async || {
        let stream = Stream::open(daemon.internal, "/dashboard/events", &headers).await;
        (stream.status() == 200).then_some(stream)
    });
    watching.push(next.await);
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_topic_is_listed_with_its_readers_and_followed_as_its_events_come() {
    let daemon = Daemon::start(&config()).await;
    let _readers =
        [daemon.stream("/events?userId=u1&topic=a").await, daemon.stream("/events?userId=u2&topic=a").await];
    let id = daemon.publish(&json!({ "topic": "a", "event": "x", "data": { "n": 1 } })).await["id"].clone();
    daemon.publish(&json!({ "topic": "nobody", "data": 1 })).await;
    let list = ask(&daemon, READ, "GET", "/dashboard/topics", &Value::Null).await.json();
    let topics: Vec<_> = list["topics"]
        .as_array()
        .expect("topics")
        .iter()
        .map(|one| (&one["topic"], &one["streams"]))
        .collect();
    assert_eq!(topics, [(&json!("a"), &json!(2)), (&json!("nobody"), &json!(0))]);
    assert_eq!(list["topics"][0]["rate"], json!(0.1));
    let found = ask(&daemon, READ, "GET", "/dashboard/topics?search=nob", &Value::Null).await.json();
    assert_eq!(found["topics"].as_array().map(Vec::len), Some(1));

    let bearer = format!("Bearer {READ}");
    let mut live = Stream::open(daemon.internal, "/dashboard/live/a", &[("authorization", &bearer)]).await;
    assert!(live.block().await.is("live"));
    let first = live.block().await.json();
    assert_eq!((&first["events"][0]["id"], &first["readers"]), (&id, &json!(2)));
    let long = "x".repeat(100_000);
    daemon.publish(&json!({ "topic": "a", "event": "<b>", "data": long })).await;
    let next = live.block().await.json();
    let event = &next["events"][0];
    assert_eq!((&event["event"], &event["size"]), (&json!("<b>"), &json!(100_000)));
    assert_eq!(event["data"].as_str().map(str::len), Some(64 << 10));
}

#[tokio::test]
async fn a_token_is_explained_and_read_nowhere_else() {
    let daemon = Daemon::start(&config()).await;
    let explain = async |body: Value| {
        let answer = ask(&daemon, READ, "POST", "/dashboard/explain", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let good = token(&json!({ "sub": "u1", "topics": ["chat:*"] }));
    let said = explain(json!({ "token": format!("Bearer {good}") })).await;
    assert_eq!((&said["good"], &said["user"], &said["kept_out"]), (&json!(true), &json!("u1"), &json!(null)));
    assert_eq!(said["opens"][0]["verdict"], "open to anyone; no token is looked at");
    assert_eq!(said["opens"][1]["topics"][0]["say"], "for a {query.topic} that makes it one of chat:*");
    let bad = explain(json!({ "token": token(&json!({ "sub": "u1", "exp": 1 })) })).await;
    assert_eq!((&bad["good"], &bad["reason"]), (&json!(false), &json!("expired")));
    assert!(
        bad["checks"].as_array().is_some_and(|checks| checks.iter().any(|check| check["name"] == "exp")),
        "{bad}"
    );
    assert_eq!(explain(json!({ "user": "u1" })).await["kept_out"], json!(null));
    daemon.command("DELETE", "/users/u1/connections?reconnect=false&for=1m", &[], b"").await;
    assert_eq!(explain(json!({ "user": "u1" })).await["kept_out"], "sent_away");
    let twice =
        ask(&daemon, READ, "POST", "/dashboard/explain", &json!({ "user": "a", "token": good })).await;
    assert_eq!(twice.status, 400);
    assert!(!daemon.log().contains(&good[..20]), "{}", daemon.log());
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let daemon = Daemon::start(&config()).await;
    let answer = ask(&daemon, READ, "GET", "/dashboard/configuration", &Value::Null).await;
    let text = answer.text();
    for secret in [ACT, READ, KEY, SECRET] {
        assert!(!text.contains(secret), "{secret}");
    }
    let settings = answer.json()["settings"].as_array().expect("settings").clone();
    let find = |section: &str, key: &str| {
        settings.iter().find(|one| one["section"] == section && one["key"] == key).expect("a setting").clone()
    };
    assert_eq!(find("stream[2]", "path")["value"], "\"/private\"");
    assert_eq!(find("dashboard", "keys")["value"], "set, and hidden");
    assert_eq!(find("log", "max_age")["from"], "default");
}

#[test]
fn the_charts_library_is_the_package_that_the_registry_has() {
    for (own, packaged) in [("uPlot.iife.min.js", "dist/uPlot.iife.min.js"), ("uPlot.LICENSE", "LICENSE")] {
        let package = repository().join("tests/node/node_modules/uplot").join(packaged);
        let package = std::fs::read(&package).expect("the npm packages are missing; run `make setup`");
        assert!(std::fs::read(repository().join("src/web/vendor").join(own)).expect(own) == package, "{own}");
    }
}

#[tokio::test]
async fn the_dashboard_of_either_instance_shows_what_is_on_both() {
    let redis = Redis::start().await;
    let both = format!("{}{}", redis.section(), config());
    let (a, b) = tokio::join!(start(&both), start(&both));
    know(&[&a, &b], 2).await;
    let _streams = [
        a.stream("/events?userId=u1&topic=shared").await,
        b.stream("/events?userId=u2&topic=shared").await,
        b.stream("/events?userId=u2&topic=other").await,
    ];
    for daemon in [&a, &b] {
        let topics = eventually("both instances' topics", async || {
            let list = ask(daemon, READ, "GET", "/dashboard/topics", &Value::Null).await.json();
            let topics = list["topics"].as_array().expect("topics").iter();
            let topics: Vec<_> = topics.map(|one| (one["topic"].clone(), one["streams"].clone())).collect();
            (list["complete"] == true && topics.len() == 2).then_some(topics)
        })
        .await;
        assert_eq!(topics, [(json!("shared"), json!(2)), (json!("other"), json!(1))]);
        let found = ask(daemon, READ, "GET", "/dashboard/topics?search=oth", &Value::Null).await.json();
        assert_eq!((&found["total"], &found["topics"][0]["streams"]), (&json!(1), &json!(1)));

        let listed = ask(daemon, READ, "GET", "/dashboard/api/connections", &Value::Null).await.json();
        let listed = listed["connections"].as_array().expect("connections");
        let instances: BTreeSet<&str> =
            listed.iter().map(|one| one["instance"]["id"].as_str().expect("an id")).collect();
        assert_eq!((listed.len(), instances.len()), (3, 2), "{listed:?}");

        let online = eventually("both instances' users", async || {
            let online = ask(daemon, READ, "GET", "/dashboard/api/presence/users", &Value::Null).await.json();
            (online["complete"] == true).then_some(online)
        })
        .await;
        assert_eq!(online["users"], json!(["u1", "u2"]));
    }
}
