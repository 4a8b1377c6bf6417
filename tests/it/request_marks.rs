//! What a request is known by: its id and its place in a trace, from the client to the backend, into the log and back.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Backend, Daemon, Head, KEY, Redis, Stream, listening, log_lines, request, start,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const BOTH: &str = "[proxy]\nrequest_id_header = \"X-Request-Id\"\ntrace_context = \"trusted\"\n";
const TRUSTED: &str = "public.trusted_proxies = [\"127.0.0.1\"]\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// A request through the daemon: its head as the backend gets it, and the answer.
async fn through(daemon: &Daemon, backend: &Backend, path: &str, fields: &[(&str, &str)]) -> (Head, Answer) {
    let answering = async {
        let (mut peer, head) = backend.request().await;
        peer.send(OK).await;
        head
    };
    tokio::join!(answering, request(daemon.public, "GET", path, fields, b""))
}

#[tokio::test]
async fn every_request_has_an_id_for_the_backend_the_client_and_the_log() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&format!("{BOTH}[telemetry]\nlog_requests = true\n"))).await;
    let lies = [("x-request-id", "chosen"), ("traceparent", PARENT), ("tracestate", "a=1")];
    let (head, answer) = through(&daemon, &backend, "/page?token=s3cret", &lies).await;
    let id = head.get("x-request-id").expect("an id");
    assert_eq!(id.len(), 32, "a stranger's id is replaced: {id}");
    assert_eq!(answer.header("x-request-id"), id);
    let trace = head.get("traceparent").expect("a traceparent");
    assert!(!trace.contains(TRACE) && trace.ends_with("-03"), "a stranger's trace is left: {trace}");
    assert_eq!(head.get("tracestate"), None);
    let line = log_lines(&daemon, "request", 1).await.remove(0);
    assert_eq!((&line["request_id"], line["trace_id"].as_str()), (&json!(id), trace.split('-').nth(1)));
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}

#[tokio::test]
async fn a_trusted_proxys_id_and_trace_go_on() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&format!("{TRUSTED}{BOTH}"))).await;
    let marks = [("x-request-id", "chosen"), ("traceparent", PARENT), ("tracestate", "a=1 , b=2")];
    let (head, answer) = through(&daemon, &backend, "/", &marks).await;
    assert_eq!((head.get("x-request-id"), answer.header("x-request-id")), (Some("chosen"), "chosen"));
    assert_eq!((head.get("traceparent"), head.get("tracestate")), (Some(PARENT), Some("a=1,b=2")));
}

#[tokio::test]
async fn without_the_keys_both_pass_as_they_came() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config("")).await;
    let marks = [("x-request-id", "a b"), ("traceparent", "what?"), ("tracestate", "?")];
    let (head, answer) = through(&daemon, &backend, "/", &marks).await;
    for (name, value) in marks {
        assert_eq!(head.get(name), Some(value));
    }
    assert_eq!(answer.header("x-request-id"), "");
    let (head, _) = through(&daemon, &backend, "/", &[]).await;
    assert_eq!((head.get("x-request-id"), head.get("traceparent")), (None, None));
}

#[tokio::test]
async fn a_client_is_told_the_id_of_a_request_that_failed_and_the_log_has_it() {
    let daemon = start(BOTH).await;
    let answer = daemon.get("/").await;
    let id = answer.header("x-request-id").to_owned();
    assert_eq!((answer.status, answer.json()["request_id"].as_str()), (502, Some(&*id)), "{}", answer.text());
    assert!(answer.text().contains("cannot be reached"));
    let line = log_lines(&daemon, "request not forwarded", 1).await.remove(0);
    assert_eq!(line["span"]["request_id"], id, "{line}");
    assert_eq!(start("").await.get("/").await.json()["request_id"], Value::Null);
}

#[tokio::test]
async fn a_stream_has_the_id_of_its_request() {
    let daemon = start(&format!("{TRUSTED}{BOTH}[telemetry]\nlog_streams = true\n")).await;
    let marks = [("x-request-id", "chosen"), ("traceparent", PARENT)];
    let stream = Stream::open(daemon.public, "/events?topic=a", &marks).await;
    assert!(stream.head.to_lowercase().contains("x-request-id: chosen\r\n"), "{}", stream.head);
    let line = log_lines(&daemon, "stream opened", 1).await.remove(0);
    assert_eq!((&line["request_id"], &line["trace_id"]), (&json!("chosen"), &json!(TRACE)));
    let refused = request(daemon.public, "GET", "/events", &marks, b"").await;
    assert_eq!((refused.status, refused.header("x-request-id")), (400, "chosen"));
}

#[tokio::test]
async fn an_event_keeps_the_trace_of_its_publisher_over_redis_too() {
    let redis = Redis::start().await;
    for section in ["", &*redis.section(), &*format!("{}[redis.stream]\n", redis.section())] {
        let config = format!("[telemetry]\nlog_publishes = true\n{section}");
        let one = start(&config).await;
        let other = if section.is_empty() { None } else { Some(start(&config).await) };
        let other = other.as_ref().unwrap_or(&one);
        let mut stream = listening(other, "/events?topic=a").await;
        for (nth, own, trace) in [
            (0, json!(null), TRACE),
            (
                1,
                json!("00-11111111111111111111111111111111-b7ad6b7169203331-00"),
                "11111111111111111111111111111111",
            ),
            (2, json!("what?"), TRACE),
        ] {
            let body = json!({ "topic": "a", "data": nth, "traceparent": own }).to_string();
            let key = format!("Bearer {KEY}");
            let fields = [("authorization", &*key), ("traceparent", PARENT)];
            let answer = request(one.internal, "POST", "/publish", &fields, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(stream.event().await.data(), nth.to_string());
            let published = log_lines(&one, "event published", nth + 1).await.swap_remove(nth);
            let delivered = log_lines(other, "event delivered", nth + 1).await.swap_remove(nth);
            assert_eq!(
                (&published["trace_id"], &delivered["trace_id"]),
                (&json!(trace), &json!(trace)),
                "{section}"
            );
        }
    }
}
