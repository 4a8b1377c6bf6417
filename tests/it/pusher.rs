//! Pusher's own server libraries, with this daemon as their host.

use serde_json::{Value, json};

use crate::harness::{Daemon, Program, listening, request, start};

const APP: [&str; 3] = ["123456", "278d425bdf160c739803", "7ad3773142a6692b25b8"];

async fn daemon() -> Daemon {
    let [id, key, secret] = APP;
    let app = format!("[[internal.pusher]]\napp_id = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n");
    start(&format!("{app}[internal]\nmax_batch = 20\n")).await
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

/// A request as a library signs it.
async fn signed(daemon: &Daemon, path: &str, body: &str) -> (u16, Value) {
    let [_, key, secret] = APP;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let query = format!(
        "auth_key={key}&auth_timestamp={now}&auth_version=1.0&body_md5={}",
        data_encoding::HEXLOWER.encode(&md5::compute(body).0)
    );
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&hmac, format!("POST\n{path}\n{query}").as_bytes());
    let signature = data_encoding::HEXLOWER.encode(signature.as_ref());
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
