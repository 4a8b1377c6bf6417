//! Event shapes of applications that wrote their streams by hand; what a reader that comes late or anew gets.

use serde_json::{Value, json};

use crate::harness::{Daemon, Program, Stream, eventually, request};

#[tokio::test]
async fn typed_events_are_messages_that_tell_their_type() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"1s\"\nheartbeat_as = \"event:heartbeat\"\nevents = \"typed\"\nconnected_as = \"connection_established\"\n",
    )
    .await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let connected = stream.block().await;
    assert_eq!(connected.event, None);
    let data = connected.json();
    assert_eq!(data["type"], "connection_established");
    assert_eq!(data["data"]["topics"], json!(["a"]));
    daemon.publish(&json!({"topic": "a", "event": "message:new", "data": {"text": "hi"}})).await;
    daemon.publish(&json!({"topic": "a", "data": "7"})).await;
    let mut seen = Vec::new();
    while !(seen.len() >= 3 && seen.iter().any(|data: &Value| data["type"] == "heartbeat")) {
        let block = stream.block().await;
        assert_eq!(block.event, None, "{block:?}");
        let data = block.json();
        let stamp = data["timestamp"].as_str().expect("a timestamp");
        assert!(stamp.ends_with('Z') && stamp.len() == 24, "{stamp}");
        seen.push(data);
    }
    let events: Vec<_> = seen.iter().filter(|data| data["type"] != "heartbeat").collect();
    assert_eq!((&events[0]["type"], &events[0]["data"]), (&json!("message:new"), &json!({"text": "hi"})));
    assert_eq!((&events[1]["type"], &events[1]["data"]), (&json!("message"), &json!("7")));
    let mut reset = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", "?")]).await;
    reset.block().await;
    assert_eq!(reset.block().await.json()["data"], json!({"reason": "malformed"}));
}

#[tokio::test]
async fn a_fresh_stream_may_begin_with_its_topics_last_events() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\n[limits]\nhistory = 3\n").await;
    for n in 0..5 {
        daemon.publish(&json!({"topic": "a", "data": n})).await;
        daemon.publish(&json!({"topic": "b", "data": "not asked for"})).await;
    }
    for (asked, first) in [(0, 5), (2, 3), (50, 2)] {
        let mut stream = daemon.stream(&format!("/events?topic=a&history={asked}")).await;
        let connected = stream.block().await;
        assert_eq!(
            (&connected.json()["resumed"], &connected.json()["missed"]),
            (&json!(false), &json!(5 - first))
        );
        // A client that is cut here must not lose them.
        let mut again =
            Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", connected.id())]).await;
        assert_eq!(again.block().await.json()["missed"], json!(5 - first));
        for n in first..5 {
            assert_eq!(stream.event().await.data(), n.to_string());
        }
    }
    let resumed = daemon.publish(&json!({"topic": "a", "data": 5})).await["id"].as_str().unwrap().to_owned();
    let mut stream =
        Stream::open(daemon.public, "/events?topic=a&history=3", &[("last-event-id", &resumed)]).await;
    assert_eq!(stream.block().await.json()["missed"], json!(0), "a client that resumes has its history");
    let bad = request(daemon.public, "GET", "/events?topic=a&history=all", &[], b"").await;
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[tokio::test]
async fn a_client_that_comes_back_gets_only_the_newest_of_a_coalescing_key() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\n").await;
    let cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let mut live = daemon.stream("/events?topic=a").await;
    live.block().await;
    for n in 0..10 {
        daemon.publish(&json!({"topic": "a", "data": n, "coalesce": "upload:1"})).await;
        daemon.publish(&json!({"topic": "a", "data": n * 100, "coalesce": "upload:2"})).await;
        // Another audience: it does not stand for the others.
        daemon.publish(&json!({"topics": ["a", "b"], "data": "x", "coalesce": "upload:1"})).await;
        for expected in [n.to_string(), (n * 100).to_string(), "x".to_owned()] {
            assert_eq!(live.event().await.data(), expected, "a client that is up to date gets all");
        }
    }
    let mut late = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    assert_eq!(late.block().await.json()["missed"], json!(3));
    for expected in ["9", "900", "x"] {
        assert_eq!(late.event().await.data(), expected);
    }
}

/// What the next event of an EventSource in Node is: its name and its data.
async fn heard(page: &mut Program) -> (String, String) {
    loop {
        let line = page.json().await;
        if line["said"] == "event" {
            let text = |key: &str| line[key].as_str().expect("a text").to_owned();
            return (text("event"), text("data"));
        }
    }
}

/// The next event that is no heartbeat.
async fn heard_but(page: &mut Program, heartbeat: impl Fn(&(String, String)) -> bool) -> (String, String) {
    loop {
        let event = heard(page).await;
        if !heartbeat(&event) {
            return event;
        }
    }
}

#[tokio::test]
async fn a_page_of_named_events_with_plain_data_reads_them_from_its_old_path() {
    let daemon = Daemon::start(
        "[[stream]]\npath = \"/sse/connect\"\ntopics = []\nuser = \"{query.userId}\"\nsession = \"{query.sessionId}\"\n\
         [sse]\nheartbeat = \"1s\"\nheartbeat_as = \"event:heartbeat\"\n",
    )
    .await;
    let url = format!("http://{}/sse/connect?userId=u1&sessionId=s1", daemon.public);
    let mut page =
        Program::node("eventsource.mjs", &[&url, "connected", "heartbeat", "message:new", "typing"]);
    let (name, data) = heard(&mut page).await;
    let data: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((&*name, &data["user"], &data["session"]), ("connected", &json!("u1"), &json!("s1")));
    // By each of the words that such an application sends by.
    daemon
        .publish(&json!({"target": "user", "targetId": "u1", "event": "message:new", "data": {"text": "hi"}}))
        .await;
    daemon
        .publish(&json!({"session": "s1", "event": "typing", "data": {"on": true}, "ephemeral": true}))
        .await;
    daemon.publish(&json!({"target": "all", "data": "plain"})).await;
    for (name, data) in
        [("message:new", r#"{"text":"hi"}"#), ("typing", r#"{"on":true}"#), ("message", "plain")]
    {
        let event = heard_but(&mut page, |(name, _)| name == "heartbeat").await;
        assert_eq!((&*event.0, &*event.1), (name, data));
    }
    loop {
        if heard(&mut page).await == ("heartbeat".to_owned(), "{}".to_owned()) {
            break;
        }
    }
}

#[tokio::test]
async fn a_page_of_unnamed_events_with_a_type_reads_them_from_its_old_path() {
    for (shape, iso) in [("typed", true), ("typed-ms", false)] {
        let daemon = Daemon::start(&format!(
            "[[stream]]\npath = \"/api/sse\"\ntopics = [\"room:{{query.room}}\"]\nuser = \"{{query.userId}}\"\n\
             [sse]\nheartbeat = \"1s\"\nheartbeat_as = \"event:ping\"\nevents = \"{shape}\"\nconnected_as = \"connection_established\"\n",
        ))
        .await;
        let url = format!("http://{}/api/sse?room=1&userId=u1", daemon.public);
        let mut page = Program::node("eventsource.mjs", &[&url, "connected", "ping", "note"]);
        let mut types = Vec::new();
        let mut published = false;
        while !(types.contains(&"note".to_owned()) && types.contains(&"ping".to_owned())) {
            let (name, data) = heard(&mut page).await;
            let data: Value = serde_json::from_str(&data).expect("JSON");
            assert_eq!((&*name, data.as_object().map(serde_json::Map::len)), ("message", Some(3)), "{data}");
            assert_eq!((data["timestamp"].is_string(), data["timestamp"].is_u64()), (iso, !iso), "{data}");
            let kind = data["type"].as_str().expect("a type").to_owned();
            match &*kind {
                "connection_established" => assert_eq!(data["data"]["user"], "u1"),
                "note" => assert_eq!(data["data"], json!({"n": 1})),
                _ => {}
            }
            types.push(kind);
            if !std::mem::replace(&mut published, true) {
                daemon.publish(&json!({"topic": "room:1", "event": "note", "data": {"n": 1}})).await;
            }
        }
        assert_eq!(types[0], "connection_established");
    }
}

#[tokio::test]
async fn an_application_that_wraps_its_events_itself_keeps_its_own_bytes() {
    let daemon = Daemon::start(
        "[[stream]]\npath = \"/api/chat/stream\"\ntopics = [\"conversation:{query.conversationId}\"]\n\
         [sse]\nheartbeat = \"1s\"\nconnected_as = \"message\"\n",
    )
    .await;
    let url = format!("http://{}/api/chat/stream?conversationId=42", daemon.public);
    let mut page = Program::node("eventsource.mjs", &[&url]);
    assert_eq!(heard(&mut page).await.0, "message");
    let own = r#"{"type": "message:new",  "data":{"text":"hi"}, "timestamp":1}"#;
    let answer =
        daemon.try_publish(format!(r#"{{"topic": "conversation:42", "data": {own}}}"#).as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(heard(&mut page).await, ("message".to_owned(), own.to_owned()));
    let beats = async || daemon.metric("sidestream_heartbeats_total", &[]).await;
    let before = beats().await;
    eventually("a heartbeat", async || (beats().await > before).then_some(())).await;
    daemon.publish(&json!({"topic": "conversation:42", "data": "after"})).await;
    assert_eq!(heard(&mut page).await.1, "after", "a comment is no event");
}
