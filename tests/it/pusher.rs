//! Pusher's own server libraries, with this daemon as their host.

use serde_json::{Value, json};

use crate::harness::{Daemon, Program, Redis, Stream, eventually, listening, request, start};
use crate::publish::PEOPLE;

const APP: [&str; 3] = ["123456", "278d425bdf160c739803", "7ad3773142a6692b25b8"];

fn config() -> String {
    let [id, key, secret] = APP;
    let app = format!("[[internal.pusher]]\napp_id = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n");
    format!("{PEOPLE}{app}[internal]\nmax_batch = 20\n")
}

async fn daemon() -> Daemon {
    start(&config()).await
}

#[tokio::test]
async fn nodes_pusher_publishes_as_it_is() {
    publishes(|arguments| Program::node("pusher_publisher.mjs", arguments), json!(422)).await;
}

#[tokio::test]
async fn pythons_pusher_publishes_as_it_is() {
    publishes(|arguments| Program::python("pusher_publisher.py", arguments), json!("PusherBadStatus")).await;
}

/// `refused` is what the library says of a 422.
async fn publishes(library: impl Fn(&[&str]) -> Program, refused: Value) {
    let daemon = daemon().await;
    let port = daemon.internal.port().to_string();
    let [id, key, secret] = APP;
    let mut pusher = library(&[&port, id, key, secret]);
    let mut own = daemon.stream("/events?topic=private-orders").await;
    assert!(own.block().await.is("connected"));
    let mut orders = listening(&daemon, "/events?topic=private-orders").await;
    let mut news = listening(&daemon, "/events?topic=news").await;
    let mut ask = async |line: Value| {
        pusher.tell(&line).await;
        pusher.json().await
    };

    let done = json!({ "status": 200, "body": "{}" });
    let several = json!({ "trigger": [["private-orders", "news"], "shipped", { "id": 7, "ü": "☃ & co" }] });
    assert_eq!(ask(several).await, done);
    for stream in [&mut own, &mut orders, &mut news] {
        let event = stream.event().await;
        assert_eq!(event.event.as_deref(), Some("shipped"));
        let data: Value = serde_json::from_str(event.data()).expect("JSON");
        assert_eq!(data, json!({ "id": 7, "ü": "☃ & co" }));
    }
    // Each library has its own place for it.
    let params = if refused == 422 { json!({ "socket_id": "1.1" }) } else { json!("1.1") };
    assert_eq!(ask(json!({ "trigger": ["private-orders", "paid", "text", params] })).await, done);
    for stream in [&mut own, &mut orders] {
        assert_eq!(stream.event().await.data(), "text");
    }
    let batch = json!({ "batch": [
        { "channel": "news", "name": "one", "data": { "n": 1 } },
        { "channel": "private-orders", "name": "two", "data": "2" },
    ] });
    assert_eq!(ask(batch).await, done);
    assert_eq!(news.event().await.event.as_deref(), Some("one"));
    for stream in [&mut own, &mut orders] {
        assert_eq!(stream.event().await.event.as_deref(), Some("two"));
    }
    let reserved = ask(json!({ "trigger": ["news", "reset", "x"] })).await;
    assert_eq!(reserved["status"], refused, "{reserved}");

    let mut stranger = library(&[&port, id, key, "another-secret-of-somebody"]);
    stranger.tell(&json!({ "trigger": ["news", "x", "x"] })).await;
    let said = stranger.json().await;
    assert!(said["status"] == 401 || said["status"] == "PusherBadAuth", "{said}");
    let mut other = library(&[&port, "654321", key, secret]);
    other.tell(&json!({ "trigger": ["news", "x", "x"] })).await;
    let said = other.json().await;
    assert!(said["status"] == 404 || said["status"] == "PusherBadStatus", "{said}");
    assert_eq!(daemon.metric("sidestream_publishes_total", &["pusher:123456"]).await, 3.0);
}

/// Streams of three topics: two users on one, one of them twice, and nobody in particular.
async fn readers(daemon: &Daemon) -> Vec<Stream> {
    let mut streams = Vec::new();
    for query in [
        "topic=presence-room&user=a&session=s",
        "topic=presence-room&user=b&session=s",
        "topic=presence-room&user=b&session=s",
        "topic=presence-hall&user=c&session=s",
        "topic=news&user=a&session=s",
    ] {
        streams.push(listening(daemon, &format!("/people?{query}")).await);
    }
    streams
}

#[tokio::test]
async fn nodes_pusher_asks_which_channels_are_occupied_and_by_whom() {
    let daemon = daemon().await;
    let _streams = readers(&daemon).await;
    let [id, key, secret] = APP;
    let mut pusher =
        Program::node("pusher_publisher.mjs", &[&daemon.internal.port().to_string(), id, key, secret]);
    let mut get = async |get: Value| {
        pusher.tell(&json!({ "get": get })).await;
        let said = pusher.json().await;
        let body = said["body"].as_str().map(|body| serde_json::from_str(body).expect("JSON"));
        (said["status"].as_u64(), body.unwrap_or(Value::Null))
    };
    let all = json!({ "channels": { "news": {}, "presence-hall": {}, "presence-room": {} } });
    assert_eq!(get(json!({ "path": "/channels" })).await, (Some(200), all));
    let counted = json!({ "filter_by_prefix": "presence-", "info": "user_count" });
    let expected =
        json!({ "channels": { "presence-hall": { "user_count": 1 }, "presence-room": { "user_count": 2 } } });
    assert_eq!(get(json!({ "path": "/channels", "params": counted })).await, (Some(200), expected));
    let of_one = json!({ "filter_by_prefix": "new", "info": "subscription_count" });
    let expected = json!({ "channels": { "news": { "subscription_count": 1 } } });
    assert_eq!(get(json!({ "path": "/channels", "params": of_one })).await, (Some(200), expected));

    let both = json!({ "info": "user_count,subscription_count" });
    let room = get(json!({ "path": "/channels/presence-room", "params": both })).await;
    assert_eq!(room, (Some(200), json!({ "occupied": true, "user_count": 2, "subscription_count": 3 })));
    let empty = get(json!({ "path": "/channels/elsewhere" })).await;
    assert_eq!(empty, (Some(200), json!({ "occupied": false })));
    let users = get(json!({ "path": "/channels/presence-room/users" })).await;
    assert_eq!(users, (Some(200), json!({ "users": [{ "id": "a" }, { "id": "b" }] })));

    // What Pusher does not answer either.
    for bad in [
        json!({ "path": "/channels", "params": { "info": "user_count" } }),
        json!({ "path": "/channels", "params": { "info": "cache" } }),
        json!({ "path": "/channels/news", "params": { "info": "user_count" } }),
        json!({ "path": "/channels/news/users" }),
    ] {
        let (status, said) = get(bad.clone()).await;
        assert_eq!(status, Some(400), "{bad}: {said}");
        assert!(said["error"].is_string(), "{bad}: {said}");
    }
    assert_eq!(get(json!({ "path": "/nowhere" })).await.0, Some(404));
}

#[tokio::test]
async fn pythons_pusher_asks_which_channels_are_occupied_and_by_whom() {
    let daemon = daemon().await;
    let _streams = readers(&daemon).await;
    let port = daemon.internal.port().to_string();
    let [id, key, secret] = APP;
    let mut pusher = Program::python("pusher_publisher.py", &[&port, id, key, secret]);
    let mut ask = async |line: Value| {
        pusher.tell(&line).await;
        let said = pusher.json().await;
        (said["status"].clone(), said["body"].as_str().expect("a text").to_owned())
    };
    for (line, expected) in [
        (
            json!({ "channels_info": ["presence-", ["user_count"]] }),
            json!({ "channels": { "presence-hall": { "user_count": 1 }, "presence-room": { "user_count": 2 } } }),
        ),
        (
            json!({ "channel_info": ["presence-room", ["user_count", "subscription_count"]] }),
            json!({ "occupied": true, "user_count": 2, "subscription_count": 3 }),
        ),
        (json!({ "users_info": ["presence-hall"] }), json!({ "users": [{ "id": "c" }] })),
    ] {
        let (status, body) = ask(line.clone()).await;
        assert_eq!(status, 200, "{line}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), expected, "{line}");
    }
    let (status, said) = ask(json!({ "channels_info": ["", ["user_count"]] })).await;
    assert_eq!(
        (status, said.contains("presence channels only")),
        (json!("PusherBadRequest"), true),
        "{said}"
    );

    let mut stranger =
        Program::python("pusher_publisher.py", &[&port, id, key, "another-secret-of-somebody"]);
    stranger.tell(&json!({ "channels_info": [] })).await;
    assert_eq!(stranger.json().await["status"], "PusherBadAuth");
}

#[tokio::test]
async fn channels_of_all_instances_are_told_or_none_are() {
    let redis = Redis::start().await;
    let config = config() + &redis.section();
    let (one, two) = tokio::join!(start(&config), start(&config));
    let _here = listening(&one, "/people?topic=presence-room&user=a&session=s").await;
    let _there = listening(&two, "/people?topic=presence-room&user=b&session=s").await;
    let _both = listening(&two, "/people?topic=presence-room&user=a&session=s").await;
    let asked = "/apps/123456/channels";
    let query = "filter_by_prefix=presence-&info=user_count,subscription_count";
    let both_answer = async || {
        let answer = signed_get(&one, asked, query).await;
        let room = answer.1["channels"]["presence-room"].clone();
        (room == json!({ "user_count": 2, "subscription_count": 3 })).then_some(())
    };
    eventually("both instances are counted", both_answer).await;
    // An instance that is there and does not answer.
    two.freeze().await;
    let (status, said) = signed_get(&one, asked, query).await;
    assert_eq!(status, 503, "{said}");
    let (status, said) = signed_get(&one, "/apps/123456/channels/presence-room", "").await;
    assert_eq!(status, 503, "{said}");
}

/// The same request without a body.
async fn signed_get(daemon: &Daemon, path: &str, query: &str) -> (u16, Value) {
    let [_, key, secret] = APP;
    let now = now();
    // In the order of their names.
    let (before, after): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|one| !one.is_empty()).partition(|one| *one < "auth");
    let own = [format!("auth_key={key}"), format!("auth_timestamp={now}"), "auth_version=1.0".to_owned()];
    let all: Vec<&str> = before.into_iter().chain(own.iter().map(String::as_str)).chain(after).collect();
    let query = all.join("&");
    let signature = signature(secret, &format!("GET\n{path}\n{query}"));
    let target = format!("{path}?{query}&auth_signature={signature}");
    let answer = request(daemon.internal, "GET", &target, &[], b"").await;
    (answer.status, answer.json())
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn signature(secret: &str, text: &str) -> String {
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&hmac, text.as_bytes()).as_ref())
}

/// A request as a library signs it.
async fn signed(daemon: &Daemon, path: &str, body: &str) -> (u16, Value) {
    let [_, key, secret] = APP;
    let now = now();
    let query = format!(
        "auth_key={key}&auth_timestamp={now}&auth_version=1.0&body_md5={}",
        data_encoding::HEXLOWER.encode(&md5::compute(body).0)
    );
    let signature = signature(secret, &format!("POST\n{path}\n{query}"));
    let target = format!("{path}?{query}&auth_signature={signature}");
    let answer = request(daemon.internal, "POST", &target, &[], body.as_bytes()).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_client_is_excepted_and_what_is_wrong_is_said() {
    let daemon = daemon().await;
    let mut own = daemon.stream("/events?topic=a").await;
    let client = own.block().await.json()["client"].as_str().expect("a client's id").to_owned();
    let mut other = listening(&daemon, "/events?topic=a").await;
    let events = "/apps/123456/events";
    let body = json!({ "name": "x", "channel": "a", "data": "not for me", "socket_id": client }).to_string();
    assert_eq!(signed(&daemon, events, &body).await, (200, json!({})));
    let body = json!({ "name": "y", "channels": ["a"], "data": "for both" }).to_string();
    assert_eq!(signed(&daemon, events, &body).await, (200, json!({})));
    assert_eq!(other.event().await.data(), "not for me");
    assert_eq!(other.event().await.data(), "for both");
    assert_eq!(own.event().await.data(), "for both");

    let (status, said) = signed(&daemon, events, r#"{"name":"x","data":""}"#).await;
    assert_eq!((status, &said["field"]), (422, &json!("data.channel")), "{said}");
    assert_eq!(signed(&daemon, events, "{").await.0, 400);
    let batch = "/apps/123456/batch_events";
    let (status, said) =
        signed(&daemon, batch, r#"{"batch":[{"name":"x","channel":"a","data":""},{"name":"x"}]}"#).await;
    assert_eq!((status, &said["item"]), (422, &json!(1)), "{said}");
    let many = vec![json!({ "name": "x", "channel": "a", "data": "" }); 21];
    assert_eq!(signed(&daemon, batch, &json!({ "batch": many }).to_string()).await.0, 413);
    assert_eq!(signed(&daemon, "/apps/1/events", &body).await.0, 404);
    assert_eq!(request(daemon.internal, "POST", events, &[], b"{}").await.status, 401);
}
