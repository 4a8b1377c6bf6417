//! Lines about single streams, requests and publishes: what they say, at which level, and what they never say.

use serde_json::{Value, json};

use crate::harness::{
    Backend, Daemon, Peer, Redis, Stream, eventually, listening, log_lines, request, start,
};

const PEOPLE: &str =
    "[[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\nuser = \"{query.user}\"\n";

#[tokio::test]
async fn a_stream_has_a_line_when_it_opens_and_one_when_it_closes() {
    let daemon = start(&format!(
        "[telemetry]\nlog_level = \"warn,sidestream::app=info\"\nlog_streams = true\n{PEOPLE}"
    ))
    .await;
    let mut stream = listening(&daemon, "/events?topic=a&topic=b&user=u%20sent%3D9").await;
    let opened = log_lines(&daemon, "stream opened", 1).await.remove(0);
    assert_eq!(opened["level"], "INFO", "{opened}");
    assert_eq!((&opened["user"], &opened["route"]), (&json!("u sent=9"), &json!("/events")), "{opened}");
    assert_eq!((&opened["topics"], &opened["resumed"]), (&json!(2), &json!(false)), "{opened}");
    assert_eq!((&opened["address"], &opened["reset"]), (&json!("127.0.0.1"), &Value::Null), "{opened}");
    let id = daemon.publish(&json!({ "topic": "a", "data": 1 })).await["id"].as_str().unwrap().to_owned();
    assert_eq!(stream.event().await.data(), "1");
    drop(stream);
    let closed = log_lines(&daemon, "stream closed", 1).await.remove(0);
    for field in ["client", "user", "route", "topics", "address", "level"] {
        assert_eq!(closed[field], opened[field], "{field}: {closed}");
    }
    assert_eq!((&closed["sent"], &closed["reason"]), (&json!(1), &json!("client_gone")), "{closed}");
    // The head of the answer, `connected`, and the event.
    assert!(closed["bytes"].as_u64().is_some_and(|bytes| (200..1000).contains(&bytes)), "{closed}");
    let cursor = [("last-event-id", &*id)];
    let _resumed = Stream::open(daemon.public, "/events?topic=a&user=u", &cursor).await;
    let _reset = Stream::open(daemon.public, "/events?topic=a&user=u", &[("last-event-id", "x")]).await;
    let opened = log_lines(&daemon, "stream opened", 3).await;
    assert_eq!((&opened[1]["resumed"], &opened[1]["reset"]), (&json!(true), &Value::Null));
    assert_eq!((&opened[2]["resumed"], &opened[2]["reset"]), (&json!(false), &json!("malformed")));
}

#[tokio::test]
async fn lines_of_streams_and_publishes_are_at_debug_unless_they_are_asked_for() {
    let quiet = start("").await;
    let debug = Daemon::start_with(
        "",
        &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "info,sidestream::streams=debug,sidestream::publishes=debug")],
    )
    .await;
    for daemon in [&quiet, &debug] {
        let mut stream = listening(daemon, "/events?topic=a").await;
        daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
        assert_eq!(stream.event().await.data(), "1");
    }
    for message in ["stream opened", "stream closed", "event published", "event delivered"] {
        assert_eq!(log_lines(&debug, message, 1).await[0]["level"], "DEBUG");
        assert!(!quiet.log().contains(message), "{}", quiet.log());
    }
}

#[tokio::test]
async fn an_event_can_be_followed_to_the_sockets_that_it_was_written_to() {
    let daemon = start("[telemetry]\nlog_publishes = true\n[fanout]\nshards = 1\n").await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(listening(&daemon, "/events?topic=a").await);
    }
    let body = json!([{ "topics": ["a", "b"], "event": "type", "data": "s3cret" }, { "user": "u", "ephemeral": true }]);
    let answer = daemon.publish(&body).await;
    let published = log_lines(&daemon, "event published", 2).await;
    let [first, second] = &published[..] else { panic!("{published:?}") };
    assert_eq!(first["id"], answer["events"][0]["id"]);
    assert_eq!((&first["audience"], &first["event"]), (&json!("topic:a,topic:b"), &json!("type")));
    assert_eq!((&first["matched"], &first["publisher"]), (&json!(3), &json!("publish_keys")));
    assert_eq!((&first["duplicate"], &first["relayed"]), (&json!(false), &json!(false)));
    assert_eq!(
        (&second["id"], &second["audience"], &second["matched"]),
        (&Value::Null, &json!("user:u"), &json!(0))
    );
    let delivered = log_lines(&daemon, "event delivered", 1).await;
    assert_eq!((&delivered[0]["id"], &delivered[0]["delivered"]), (&first["id"], &json!(3)));
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}

#[tokio::test]
async fn an_event_can_be_followed_on_the_instance_that_delivers_it() {
    let redis = Redis::start().await;
    let config = format!("[telemetry]\nlog_publishes = true\n{}", redis.section());
    let (one, other) = (start(&config).await, start(&config).await);
    let mut stream = listening(&other, "/events?topic=a").await;
    one.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
    let published = log_lines(&one, "event published", 1).await;
    assert_eq!((&published[0]["relayed"], &published[0]["matched"]), (&json!(true), &json!(0)));
    let taken = log_lines(&other, "event taken from a channel", 1).await;
    let delivered = log_lines(&other, "event delivered", 1).await;
    assert_eq!((&taken[0]["id"], &taken[0]["audience"]), (&delivered[0]["id"], &json!("topic:a")));
    assert_eq!(delivered[0]["delivered"], json!(1));
    assert!(!one.log().contains("event delivered"));
}

const LOGS: &str = "[telemetry]\nlog_level = \"warn,sidestream::app=info\"\nlog_requests = true\n";

#[tokio::test]
async fn a_forwarded_request_has_a_line_without_its_query() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&format!("public.trusted_proxies = [\"127.0.0.1\"]\n{LOGS}"))).await;
    let fields = [("x-forwarded-for", "192.0.2.7"), ("authorization", "Bearer s3cret")];
    let asked = request(daemon.public, "PUT", "/a%20status%3D1?token=s3cret", &fields, b"s3cret");
    let answering = async {
        let (mut peer, head) = backend.request().await;
        peer.body(&head).await;
        peer.send("HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 11\r\n\r\nhello world").await;
    };
    tokio::join!(asked, answering);
    let line = log_lines(&daemon, "request", 1).await.remove(0);
    assert_eq!((&line["level"], &line["target"]), (&json!("INFO"), &json!("sidestream::requests")), "{line}");
    assert_eq!((&line["method"], &line["path"]), (&json!("PUT"), &json!("/a%20status%3D1")), "{line}");
    assert_eq!(
        (&line["status"], &line["by"], &line["complete"]),
        (&json!(201), &json!("backend"), &json!(true)),
        "{line}"
    );
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&json!(6), &json!(11)), "{line}");
    assert_eq!((&line["address"], &line["protocol"]), (&json!("192.0.2.7"), &json!("HTTP/1")), "{line}");
    let (ms, head_ms) = (line["ms"].as_f64().unwrap(), line["head_ms"].as_f64().unwrap());
    assert!(0.0 < head_ms && head_ms <= ms && ms < 20_000.0, "{line}");
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}

#[tokio::test]
async fn answers_of_our_own_and_clients_that_leave_have_lines_too() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(LOGS)).await;
    // It leaves before there is an answer,
    let client = Peer::send_to(daemon.public, "GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (peer, _) = backend.request().await;
    drop(client);
    let line = log_lines(&daemon, "request", 1).await.swap_remove(0);
    assert_eq!((&line["path"], &line["complete"]), (&json!("/early"), &json!(false)), "{line}");
    assert_eq!((&line["status"], &line["by"]), (&Value::Null, &Value::Null), "{line}");
    drop(peer);
    // or in the middle of it.
    let mut client = Peer::send_to(daemon.public, "GET /midway HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut peer, _) = backend.request().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await;
    client.until("hello").await;
    drop(client);
    let line = log_lines(&daemon, "request", 2).await.swap_remove(1);
    assert_eq!(
        (&line["path"], &line["status"], &line["complete"]),
        (&json!("/midway"), &json!(200), &json!(false)),
        "{line}"
    );
    assert_eq!(line["bytes_out"], 5, "{line}");
    drop(peer);
    let refused = daemon.get("/events").await;
    assert_eq!(refused.status, 400);
    let line = log_lines(&daemon, "request", 3).await.swap_remove(2);
    assert_eq!(
        (&line["path"], &line["status"], &line["by"]),
        (&json!("/events"), &json!(400), &json!("sidestream")),
        "{line}"
    );
    // An open stream has lines of its own.
    drop(listening(&daemon, "/events?topic=a").await);
    assert_eq!(daemon.get("/events").await.status, 400);
    let lines = log_lines(&daemon, "request", 4).await;
    assert_eq!((lines.len(), &lines[3]["status"]), (4, &json!(400)), "{lines:?}");
}

#[tokio::test]
async fn nobody_can_forge_a_line_of_the_log() {
    let (backend, file) = (Backend::start().await, tempfile::NamedTempFile::new().expect("a file"));
    let config = backend.config(&format!("{LOGS}log_streams = true\nlog_publishes = true\n{PEOPLE}"));
    let text = [("SIDESTREAM_TELEMETRY_LOG_FORMAT", "text")];
    let daemon = Daemon::start_with_stderr(&config, &text, file.reopen().expect("the file")).await;
    // What a terminal obeys, what ends a line, what looks like further fields, and much of it.
    let path = format!("/x\u{202e}y\"_status=1{}", "z".repeat(2000));
    let client = Peer::send_to(daemon.public, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    let (mut peer, _) = backend.request().await;
    peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let mut stream = listening(&daemon, "/events?topic=a&user=u%22%20reason%3Dmine").await;
    daemon.publish(&json!({ "topic": "a", "event": "e\" matched=9", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
    drop((stream, client));
    let read = || std::fs::read_to_string(file.path()).expect("text");
    let log = eventually("all lines", async || {
        let log = read();
        let all = ["sidestream::requests", "stream closed", "event delivered"]
            .iter()
            .all(|text| log.contains(text));
        all.then_some(log)
    })
    .await;
    let request = log.lines().find(|line| line.contains("sidestream::requests")).expect("a line");
    assert!(request.len() < 1200 && request.contains("z…\""), "{request}");
    assert!(!log.contains('\u{202e}'), "{log}");
    assert_eq!(request.matches(" status=").count(), 1, "{request}");
    let closed = log.lines().find(|line| line.contains("stream closed")).expect("a line");
    assert!(closed.contains(r#"user="u\" reason=mine""#), "{closed}");
    let published = log.lines().find(|line| line.contains("event published")).expect("a line");
    assert!(published.contains(r#"event="e\" matched=9""#), "{published}");
}
