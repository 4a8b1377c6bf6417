//! What a receiver gets, and how it verifies that it is genuine.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::received::SECRET;
use super::{Receiver, Request, config};
use crate::harness::{Authority, Daemon, Node, eventually, repository, request};

#[tokio::test]
async fn a_webhook_learns_who_connected_and_how_the_stream_ended() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "", "")).await;
    let mut stream = daemon.stream("/events?topic=a&topic=b&user=u%22%C3%BC&session=s").await;
    let client = stream.block().await.json()["client"].clone();
    let request = receiver.request().await;
    assert_eq!(request.head.line, "POST /hooks?key=s3cret HTTP/1.1");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("sidestream-attempt"), "1");
    let body = request.json();
    assert_eq!(body["id"], request.header("sidestream-delivery"));
    assert_eq!(body["webhook"], "app");
    assert!(body["instance"]["id"].is_string() && body["instance"]["name"].is_string(), "{body}");
    request.answer("204 No Content").await;
    let connected = &body["events"][0];
    assert_eq!(
        (body["events"].as_array().map(Vec::len), &connected["type"], &connected["client"]),
        (Some(1), &json!("connected"), &client)
    );
    assert_eq!((&connected["user"], &connected["session"]), (&json!("u\"ü"), &json!("s")));
    assert_eq!((&connected["topics"], &connected["address"]), (&json!(["a", "b"]), &json!("127.0.0.1")));
    let at = connected["at"].as_str().expect("a time");
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");

    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    stream.event().await;
    drop(stream);
    let ended = receiver.events(1).await.remove(0);
    assert_eq!(
        (&ended["type"], &ended["client"], &ended["reason"], &ended["sent"]),
        (&json!("disconnected"), &client, &json!("client_gone"), &json!(1))
    );
    assert_eq!((&ended["user"], &ended["topics"]), (&json!("u\"ü"), &json!(["a", "b"])));
    assert!(ended["seconds"].as_f64().is_some_and(|seconds| (0.0..20.0).contains(&seconds)), "{ended}");

    let delivered = ["webhook=\"app\"", "outcome=\"delivered\""];
    eventually("two events counted", async || {
        (daemon.metric("sidestream_webhook_events_total", &delivered).await == 2.0).then_some(())
    })
    .await;
    assert_eq!(
        daemon.metric("sidestream_webhook_requests_total", &["webhook=\"app\"", "result=\"accepted\""]).await,
        2.0
    );
    for text in [daemon.log(), daemon.ask("/metrics").await.text()] {
        assert!(!text.contains("s3cret") && !text.contains(SECRET), "{text}");
    }
}

/// The first code block of docs/webhooks.md in this language.
fn documented(language: &str) -> String {
    let page = std::fs::read_to_string(repository().join("docs/webhooks.md")).expect("the page");
    let from = page.split(&format!("```{language}\n")).nth(1).expect("a code block");
    from.split("```").next().expect("its end").to_owned()
}

/// What a program says of the body that it reads.
async fn judged(command: &mut Command, body: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(body.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn node_says(secret: &str, request: &Request, body: &str) -> String {
    let script = format!(
        "{}\nconst [secret, header] = process.argv.slice(1);\nconsole.log(verify(secret, header, require('fs').readFileSync(0)));",
        documented("js")
    );
    let mut command = Command::new("node");
    judged(command.args(["-e", &script, secret, request.header("sidestream-signature")]), body).await
}

async fn python_says(secret: &str, request: &Request, body: &str) -> String {
    let script = format!(
        "{}\nimport sys\nprint(str(verify(sys.argv[1], sys.argv[2], sys.stdin.buffer.read())).lower())",
        documented("python")
    );
    let mut command = Command::new("python3");
    judged(command.args(["-c", &script, secret, request.header("sidestream-signature")]), body).await
}

#[tokio::test]
async fn the_documented_code_accepts_both_secrets_signatures_and_nothing_else() {
    let receiver = Receiver::start().await;
    let old = "the-webhook-secret-of-the-day-before";
    let daemon = Daemon::start(&config(&receiver.url(), &format!("previous_secret = \"{old}\"\n"), "")).await;
    let _stream = daemon.stream("/events?topic=%C3%A4&user=u&session=s").await;
    let request = receiver.request().await;
    let forged = request.body.replace("\"u\"", "\"x\"");
    assert_ne!(forged, request.body);
    for (secret, body, verdict) in [
        (SECRET, &request.body, "true"),
        (old, &request.body, "true"),
        ("another-secret-of-thirty-two-bytes-x", &request.body, "false"),
        (SECRET, &forged, "false"),
    ] {
        assert_eq!(node_says(secret, &request, body).await, verdict, "{secret} {body}");
        assert_eq!(python_says(secret, &request, body).await, verdict, "{secret} {body}");
    }
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_and_holds_what_happened_in_order() {
    let receiver = Receiver::start().await;
    let config =
        config(&receiver.url(), "max_batch = 4\n", "").replace("\"20ms\"\nretry_min", "\"1m\"\nretry_min");
    let daemon = Daemon::start(&config).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut stream = daemon.stream("/plain?topic=a").await;
        clients.push(stream.block().await.json()["client"].clone());
        drop(stream);
        let ended = format!("{}", clients.len());
        eventually("the stream's end", async || {
            (daemon.metric("sidestream_streams_closed_total", &[]).await >= ended.parse().unwrap())
                .then_some(())
        })
        .await;
    }
    let mut seen: Vec<Value> = Vec::new();
    for _ in 0..4 {
        let body = receiver.accept().await;
        assert_eq!(body["events"].as_array().map(Vec::len), Some(4), "{body}");
        seen.extend(body["events"].as_array().expect("events").iter().cloned());
    }
    for (number, client) in clients.iter().enumerate() {
        let words: Vec<&Value> =
            seen.iter().filter(|event| event["client"] == *client).map(|event| &event["type"]).collect();
        assert_eq!(words, ["connected", "disconnected"], "{number}");
    }
    let order: Vec<&Value> =
        seen.iter().filter(|event| event["type"] == "connected").map(|event| &event["client"]).collect();
    assert!(order.into_iter().eq(clients.iter()));
}

#[tokio::test]
async fn a_webhook_gets_only_what_it_asked_for() {
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    let second = format!(
        "events = [\"connected\", \"disconnected\"]\n[[webhook]]\nname = \"some\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\nmax_delay = 0\nevents = [\"disconnected\"]\ntopics = [\"room:*\"]\n",
        some.url()
    );
    let daemon = Daemon::start(&config(&all.url(), &second, "")).await;
    for topic in ["a", "room:1", "b"] {
        drop(daemon.stream(&format!("/plain?topic={topic}")).await);
    }
    let mut events = Vec::new();
    while events.len() < 6 {
        events.extend(all.accept().await["events"].as_array().expect("events").iter().cloned());
    }
    let body = some.accept().await;
    assert_eq!(body["webhook"], "some");
    assert_eq!(body["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&body["events"][0]["type"], &body["events"][0]["topics"]),
        (&json!("disconnected"), &json!(["room:1"]))
    );
    assert!(!some.0.is_asked().await);
}

#[tokio::test]
async fn each_way_to_end_a_stream_has_its_reason() {
    let receiver = Receiver::start().await;
    let more = "[sse]\nmax_age = \"1s\"\n[drain]\nwindow = \"10ms\"\n";
    let keys = "events = [\"disconnected\"]\n";
    let mut daemon = Daemon::start(&config(&receiver.url(), keys, more)).await;
    let _old = daemon.stream("/plain?topic=a").await;
    assert_eq!(receiver.events(1).await[0]["reason"], "max_age");
    let _revoked = daemon.stream("/events?topic=a&user=u&session=s").await;
    let answer = daemon.command("POST", "/revoke", &[], br#"{"user": "u"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(receiver.events(1).await[0]["reason"], "revoked");
    let _open = daemon.stream("/plain?topic=a").await;
    daemon.signal("TERM");
    assert_eq!(receiver.events(1).await[0]["reason"], "draining");
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_queued_at_a_stop_is_sent_before_the_end() {
    let receiver = Receiver::start().await;
    let config = config(&receiver.url(), "", "[drain]\nwindow = \"100ms\"\n")
        .replace("\"20ms\"\nretry_min", "\"1m\"\nretry_min");
    let mut daemon = Daemon::start(&config).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(daemon.stream("/plain?topic=a").await);
    }
    daemon.signal("TERM");
    let events = receiver.events(40).await;
    let count = |word: &str| events.iter().filter(|event| event["type"] == word).count();
    assert_eq!((count("connected"), count("disconnected")), (20, 20));
    assert!(
        events
            .iter()
            .filter(|event| event["type"] == "disconnected")
            .all(|event| event["reason"] == "draining")
    );
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_receiver_in_node_is_called_over_one_connection() {
    let node = Node::start(
        "const sockets = new Set();
         const seen = { connections: 0, requests: 0, events: [] };
         const server = http.createServer((req, res) => {
           const parts = [];
           req.on('data', (part) => parts.push(part)).on('end', () => {
             if (req.method === 'POST') {
               seen.requests += 1;
               seen.connections = sockets.add(req.socket).size;
               seen.events.push(...JSON.parse(Buffer.concat(parts)).events.map((event) => event.type));
             }
             res.end(JSON.stringify(seen));
           });
         });",
    )
    .await;
    let daemon = Daemon::start(&config(&node.url, "", "")).await;
    let address = node.url.trim_start_matches("http://").parse().expect("an address");
    for count in [2, 4, 6] {
        drop(daemon.stream("/plain?topic=a").await);
        let seen = eventually("what Node has seen", async || {
            let seen = request(address, "GET", "/", &[], b"").await.json();
            (seen["events"].as_array().map(Vec::len) == Some(count)).then_some(seen)
        })
        .await;
        assert_eq!(seen["connections"], 1, "{seen}");
    }
    assert_eq!(daemon.metric("sidestream_webhook_requests_total", &["result=\"broken\""]).await, 0.0);
}

#[tokio::test]
async fn a_receiver_over_tls_is_believed_by_the_configured_authorities_only() {
    let authority = Authority::new();
    let node = Node::start(&format!(
        "const seen = [];
         const fs = require('fs');
         const server = http.createServer((req, res) => res.end(JSON.stringify(seen)));
         const tls = require('https').createServer({{ cert: fs.readFileSync({:?}), key: fs.readFileSync({:?}) }}, (req, res) => {{
           seen.push(req.headers.host);
           req.resume().on('end', () => res.end());
         }}).listen(0, '127.0.0.1', () => seen.push(tls.address().port));",
        authority.file(),
        authority.path("key.pem"),
    ))
    .await;
    let address = node.url.trim_start_matches("http://").parse().expect("an address");
    let seen = async || request(address, "GET", "/", &[], b"").await.json();
    let port = eventually("the port over TLS", async || seen().await[0].as_u64()).await;
    let url = format!("https://localhost:{port}/");

    let stranger = Daemon::start(&config(&url, "", "")).await;
    let _stream = stranger.stream("/plain?topic=a").await;
    eventually("a failure", async || {
        let failed = stranger.metric("sidestream_webhook_requests_total", &["result=\"connect\""]).await;
        (failed >= 1.0).then_some(())
    })
    .await;
    assert_eq!(seen().await, json!([port]), "it got nothing");

    let ca = format!("ca_file = {:?}\n", authority.file());
    let friend = Daemon::start(&config(&url, &ca, "")).await;
    let _stream = friend.stream("/plain?topic=a").await;
    eventually("a request", async || {
        (seen().await == json!([port, format!("localhost:{port}")])).then_some(())
    })
    .await;
}
