//! Clients that nobody here wrote, as they are installed from their registries: each receives every event whole,
//! takes no heartbeat for an event, and comes back after a cut without missing one.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Authority, Daemon, Program, Wire, eventually, repository};

const STREAM: &str = r#"
[[stream]]
path   = "/events"
auth   = "none"
topics = ["{query.topic}"]

[sse]
heartbeat = "1s"
retry_min = "100ms"
retry_max = "300ms"
"#;

/// For clients that take a comment's block for an event.
const HEARTBEAT_AS_LINE: &str = "heartbeat_as = \"line\"\n";

#[tokio::test]
async fn eventsource_receives_everything_once_across_cuts() {
    receives_everything_once_across_cuts("", |url| {
        Program::node("eventsource.mjs", &[url, "connected", "reset", "note", "chat:änderung"])
    })
    .await;
}

#[tokio::test]
async fn eventsource_client_receives_everything_once_across_cuts() {
    receives_everything_once_across_cuts("", |url| Program::node("eventsource-client.mjs", &[url])).await;
}

#[tokio::test]
async fn fetch_event_source_receives_everything_once_across_cuts() {
    receives_everything_once_across_cuts(HEARTBEAT_AS_LINE, |url| {
        Program::node("fetch-event-source.mjs", &[url])
    })
    .await;
}

#[tokio::test]
async fn httpx_sse_receives_everything_once_across_cuts() {
    receives_everything_once_across_cuts(HEARTBEAT_AS_LINE, |url| {
        Program::python("httpx_sse_client.py", &[url])
    })
    .await;
}

#[tokio::test]
async fn eventsource_receives_everything_once_across_cuts_over_tls() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", STREAM)).await;
    let wire = Wire::to(daemon.public).await;
    let url = format!("https://{}/events?topic=news", wire.address);
    let script = repository().join("tests/node/eventsource.mjs");
    let client = Program::start(
        Command::new("node")
            .arg(script)
            .args([&*url, "connected", "reset", "note", "chat:änderung"])
            .env("NODE_EXTRA_CA_CERTS", authority.file()),
    );
    receives(&daemon, &wire, client, false).await;
    assert!(daemon.metric("sidestream_connections_opened_total", &["http1", "tls=\"yes\""]).await >= 4.0);
}

async fn receives_everything_once_across_cuts(sse: &str, start: impl Fn(&str) -> Program) {
    let daemon = Daemon::start(&format!("{STREAM}{sse}")).await;
    let wire = Wire::to(daemon.public).await;
    let client = start(&format!("http://{}/events?topic=news", wire.address));
    receives(&daemon, &wire, client, true).await;
}

/// `readable`: what goes over the wire can be read there.
async fn receives(daemon: &Daemon, wire: &Wire, mut client: Program, readable: bool) {
    assert_eq!(connected(&mut client).await, json!([false, 0]));

    // Names, data of several lines, text beyond ASCII, JSON byte for byte, data that is large.
    let long = "ä".repeat(100_000);
    for (name, data, expected) in [
        (Some("note"), r#"{"b": 1,  "a":"grüße 🚀"}"#, r#"{"b": 1,  "a":"grüße 🚀"}"#),
        (Some("chat:änderung"), r#""one\ntwo\r\nthree\rfour\n\nsix""#, "one\ntwo\nthree\nfour\n\nsix"),
        (None, "\" : a\u{2028}b\u{85}c\"", " : a\u{2028}b\u{85}c"),
        (Some("note"), "[]", "[]"),
        (Some("note"), &format!("\"{long}\""), &long),
    ] {
        let id = publish(daemon, name, data).await;
        let event = next(&mut client).await;
        let expected = Event { event: name.unwrap_or("message").to_owned(), data: expected.to_owned(), id };
        assert_eq!(event, expected);
    }

    let beats = async || match readable {
        true => wire.carried(": hb") as f64,
        false => daemon.metric("sidestream_heartbeats_total", &[]).await,
    };
    let before = beats().await;
    eventually("two heartbeats", async || (beats().await >= before + 2.0).then_some(())).await;
    let after = publish(daemon, Some("note"), "0").await;
    assert_eq!(next(&mut client).await.id, after, "a heartbeat is no event");

    for cuts in [1, 2] {
        // The second time nothing but `connected` comes between two cuts: that must not cost the cursor.
        for cut in 0..cuts {
            if cut > 0 {
                wire.mend();
                assert_eq!(connected(&mut client).await, json!([true, 0]));
            }
            wire.cut();
        }
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(publish(daemon, Some("note"), &n.to_string()).await);
        }
        wire.mend();
        assert_eq!(connected(&mut client).await, json!([true, ids.len()]));
        ids.push(publish(daemon, Some("note"), "\"live\"").await);
        for id in ids {
            assert_eq!(next(&mut client).await.id, id);
        }
    }
}

/// What the next event, which is `connected`, says of the stream: whether it goes on, and how much was missed.
async fn connected(client: &mut Program) -> Value {
    let event = next(client).await;
    assert_eq!(event.event, "connected");
    let data: Value = serde_json::from_str(&event.data).expect("JSON");
    json!([data["resumed"], data["missed"]])
}

#[tokio::test]
async fn curl_shows_the_bytes_and_resumes_by_header() {
    let daemon = Daemon::start(&format!("{STREAM}[drain]\nwindow = \"0s\"\n")).await;
    let url = format!("http://{}/events?topic=news", daemon.public);
    let mut curl = Program::start(Command::new("curl").args(["-sSN", &url]));
    assert!(line(&mut curl).await.starts_with("retry: "));
    assert_eq!(line(&mut curl).await, "event: connected");
    until(&mut curl, "").await;

    let first = publish(&daemon, Some("note"), r#""one\ntwo""#).await;
    for expected in ["event: note", "data: one", "data: two", &format!("id: {first}"), "", ": hb"] {
        assert_eq!(line(&mut curl).await, expected);
    }
    let second = publish(&daemon, None, "2").await;
    until(&mut curl, &format!("id: {second}")).await;

    let header = format!("Last-Event-ID: {first}");
    let mut resumed = Program::start(Command::new("curl").args(["-sSN", "-H", &header, &url]));
    until(&mut resumed, "").await;
    for expected in ["data: 2", &format!("id: {second}"), ""] {
        assert_eq!(line(&mut resumed).await, expected);
    }

    // A drain ends the chunked answer as it should, so curl has nothing to complain about.
    daemon.signal("TERM");
    for mut curl in [curl, resumed] {
        while curl.line().await.is_some() {}
        assert!(curl.ended().await.success());
    }
}

async fn line(program: &mut Program) -> String {
    program.line().await.expect("it goes on")
}

async fn until(program: &mut Program, last: &str) {
    while line(program).await != last {}
}

#[derive(PartialEq, Eq, Debug)]
struct Event {
    event: String,
    data: String,
    id: String,
}

/// The next event that the client reports; it may lose and open its connection before.
async fn next(client: &mut Program) -> Event {
    loop {
        let said = client.json().await;
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        match said["said"].as_str() {
            Some("opened" | "lost") => {}
            Some("event") => return Event { event: text("event"), data: text("data"), id: text("id") },
            _ => panic!("what does it say? {said}"),
        }
    }
}

/// Publishes `data`, which is JSON that has to arrive as it stands; gives back the event's id.
async fn publish(daemon: &Daemon, name: Option<&str>, data: &str) -> String {
    let name = name.map_or(String::new(), |name| format!(r#""event": "{name}", "#));
    let body = format!(r#"{{"topic": "news", {name}"data": {data}}}"#);
    let answer = daemon.try_publish(body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}
