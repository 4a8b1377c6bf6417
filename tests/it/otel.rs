//! Spans at a scripted collector (OTLP over HTTP, as JSON): which there are, how they hang together, and what becomes
//! of them when the collector does not take them.

use serde_json::{Value, json};

use crate::harness::{Backend, Daemon, Head, eventually, listening, request};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector that takes what it is sent, unless a test says otherwise.
struct Collector(Backend);

impl Collector {
    async fn start() -> Self {
        Self(Backend::start().await)
    }

    /// A daemon that sends it spans, five a second; `more` are further variables.
    async fn daemon(&self, config: &str, more: &[(&str, &str)]) -> Daemon {
        let mut environment = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.0.url.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_SERVICE_NAME", "front"),
        ];
        environment.extend(more);
        Daemon::start_with(config, &environment).await
    }

    /// The next request, answered with this status line and body.
    async fn take(&self, status: &str, said: &str) -> (Head, Value) {
        let (mut peer, head) = self.0.request().await;
        let body = peer.body(&head).await;
        let length = said.len();
        peer.send(format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{said}"
        ))
        .await;
        (head, serde_json::from_str(&body).expect("JSON"))
    }

    /// Spans as they come, until there are some of all these names.
    async fn spans(&self, names: &[&str]) -> Vec<Value> {
        let mut spans: Vec<Value> = Vec::new();
        while !names.iter().all(|name| spans.iter().any(|span| span["name"] == *name)) {
            let (head, body) = self.take("200 OK", "{\"partialSuccess\":{}}").await;
            assert_eq!(head.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(
                (head.get("content-type"), head.get("api-key")),
                (Some("application/json"), Some("s3cret"))
            );
            let of = &body["resourceSpans"][0];
            let service = json!({ "key": "service.name", "value": { "stringValue": "front" } });
            assert!(of["resource"]["attributes"].as_array().expect("attributes").contains(&service), "{of}");
            spans.extend(of["scopeSpans"][0]["spans"].as_array().expect("spans").iter().cloned());
        }
        spans
    }
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

/// What is said of a span under this name.
fn attribute(span: &Value, name: &str) -> Value {
    let all = span["attributes"].as_array().expect("attributes");
    let found = all.iter().find(|attribute| attribute["key"] == name);
    let value = found.unwrap_or_else(|| panic!("no {name} in {span}"))["value"].as_object().expect("a value");
    value.values().next().expect("a value").clone()
}

#[tokio::test]
async fn a_forwarded_request_is_a_span_below_its_caller_and_above_the_backend() {
    let (collector, backend) = (Collector::start().await, Backend::start().await);
    let daemon = collector.daemon(&backend.config("public.trusted_proxies = [\"127.0.0.1\"]\n"), &[]).await;
    let asked = request(daemon.public, "GET", "/page?token=s3cret", &[("traceparent", PARENT)], b"");
    let answering = async {
        let (mut peer, head) = backend.request().await;
        peer.send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        head
    };
    let (answer, head) = tokio::join!(asked, answering);
    assert_eq!(answer.status, 404);
    let spans = collector.spans(&["forward request"]).await;
    let span = named(&spans, "forward request");
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &json!("b7ad6b7169203331")));
    let parent = format!("00-{TRACE}-{}-01", span["spanId"].as_str().unwrap());
    assert_eq!(head.get("traceparent"), Some(&*parent), "the backend's parent is this span");
    assert_eq!(span["kind"], 2);
    assert_eq!(attribute(span, "http.request.method"), "GET");
    assert_eq!(attribute(span, "url.path"), "/page");
    assert_eq!(attribute(span, "http.response.status_code"), "404");
    let times = ["startTimeUnixNano", "endTimeUnixNano"]
        .map(|name| span[name].as_str().unwrap().parse::<u64>().unwrap());
    assert!(times[0] > 1_600_000_000_000_000_000 && times[0] <= times[1], "{times:?}");
    assert!(!format!("{spans:?}").contains("s3cret"));
    eventually("it is counted once the collector has answered", async || {
        (daemon.metric("sidestream_spans_total", &["outcome=\"exported\""]).await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_has_a_span_at_its_opening_and_one_at_its_end_and_none_for_what_it_is_sent() {
    let collector = Collector::start().await;
    let daemon = collector.daemon("", &[]).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let key = ("authorization", "Bearer a-key-of-the-tests");
    let body = json!({ "topic": "a", "event": "e", "data": 1 }).to_string();
    let published =
        request(daemon.internal, "POST", "/publish", &[key, ("traceparent", PARENT)], body.as_bytes()).await;
    assert_eq!(published.status, 200, "{}", published.text());
    assert_eq!(stream.event().await.data(), "1");
    drop(stream);
    let spans = collector.spans(&["open stream", "close stream", "publish"]).await;
    let (opened, closed, publish) =
        (named(&spans, "open stream"), named(&spans, "close stream"), named(&spans, "publish"));
    assert_eq!((&closed["traceId"], &closed["parentSpanId"]), (&opened["traceId"], &opened["spanId"]));
    assert_eq!(attribute(opened, "http.response.status_code"), "200");
    assert_eq!(attribute(closed, "sidestream.reason"), "client_gone");
    assert_eq!(attribute(closed, "sidestream.sent"), "1");
    assert_eq!((&publish["traceId"], &publish["parentSpanId"]), (&json!(TRACE), &json!("b7ad6b7169203331")));
    assert_eq!(attribute(publish, "messaging.message.id"), published.json()["id"]);
    assert_eq!(attribute(publish, "sidestream.matched"), "1");
    assert_eq!(spans.len(), 3, "a delivery is no span: {spans:?}");
    assert_ne!(opened["traceId"], TRACE);
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    let daemon = {
        let collector = Collector::start().await;
        let bounds = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")];
        collector.daemon("[drain]\nwindow = \"200ms\"\n", &bounds).await
    };
    eventually("spans are dropped", async || {
        for _ in 0..10 {
            assert_eq!(daemon.get("/").await.status, 502);
        }
        (daemon.metric("sidestream_spans_total", &["outcome=\"dropped\""]).await > 0.0).then_some(())
    })
    .await;
    eventually("spans are given up", async || {
        (daemon.metric("sidestream_spans_total", &["outcome=\"failed\""]).await > 0.0).then_some(())
    })
    .await;
    daemon.logged("the collector does not take spans").await;
    let mut daemon = daemon;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
    daemon.signal("TERM");
    assert!(stream.event().await.is("closing"));
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_collector_that_wants_a_pause_gets_the_same_spans_again() {
    let collector = Collector::start().await;
    let daemon = collector.daemon("", &[]).await;
    assert_eq!(daemon.get("/").await.status, 502);
    let (_, first) = collector.take("503 Service Unavailable", "").await;
    let (_, second) = collector.take("200 OK", "{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}").await;
    assert_eq!(first, second);
    eventually("the one that it rejects is counted", async || {
        (daemon.metric("sidestream_spans_total", &["outcome=\"failed\""]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_sent_before_the_process_ends() {
    let collector = Collector::start().await;
    let mut daemon = collector.daemon("", &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]).await;
    assert_eq!(daemon.get("/").await.status, 502);
    daemon.signal("TERM");
    let spans = collector.spans(&["forward request"]).await;
    assert_eq!(named(&spans, "forward request")["status"]["code"], 2, "{spans:?}");
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_passed_on_and_not_recorded() {
    let (collector, backend) = (Collector::start().await, Backend::start().await);
    let daemon = collector.daemon(&backend.config("public.trusted_proxies = [\"127.0.0.1\"]\n"), &[]).await;
    for flags in ["00", "01"] {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
        let fields = [("traceparent", &*parent)];
        let asked = request(daemon.public, "GET", "/", &fields, b"");
        let answering = async {
            let (mut peer, head) = backend.request().await;
            peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
            let said = head.get("traceparent").expect("a traceparent").to_owned();
            assert!(said.starts_with(&format!("00-{TRACE}-")) && said.ends_with(flags), "{said}");
            said
        };
        let (_, said) = tokio::join!(asked, answering);
        if flags == "01" {
            let spans = collector.spans(&["forward request"]).await;
            assert_eq!(spans.len(), 1, "{spans:?}");
            assert_eq!(said.split('-').nth(2), spans[0]["spanId"].as_str());
        }
    }
}

#[tokio::test]
async fn a_variable_that_cannot_be_used_costs_the_spans_and_is_named() {
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://s3cret@collector"), ("OTEL_TRACES_EXPORTER", "otlp")];
    let daemon = Daemon::start_with("", &environment).await;
    daemon.logged("OTEL_EXPORTER_OTLP_ENDPOINT").await;
    assert_eq!(daemon.get("/").await.status, 502);
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}
