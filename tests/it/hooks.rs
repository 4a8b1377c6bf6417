//! Requests of other services that become events: forms, JSON and CloudEvents, who may send them, and what is answered.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Answer, Daemon, eventually, listening, request, start};

const KEY: (&str, &str) = ("Authorization", "Bearer 9f1c0a7e52d84b36");

async fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    request(to, "POST", path, headers, body.as_bytes()).await
}

/// The hexadecimal HMAC-SHA256 of a body.
fn signature(secret: &str, body: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref())
}

const CONFIG: &str = r#"
[[internal.hook]]
name            = "github"
secret          = "0d2f6ab4c1e94f70"
signature       = "github"
public_path     = "/from/github"
when            = { "header.x-github-event" = "push" }
topic           = "repository:{data.repository.full_name}"
event           = "{header.X-GitHub-Event}"
data            = "{data.after}"
idempotency_key = "{header.x-github-delivery}"

[[internal.hook]]
name  = "github"
when  = { action = ["opened", "closed"] }
topic = "issues"
event = "issue:{data.action}"
data  = { did = "{data.action}", issue = "{data.issue}", delivery = "{header.x-github-delivery?}" }

[[internal.hook]]
name  = "orders"
key   = "9f1c0a7e52d84b36"
topic = "orders:{data.order.id}"
user  = "{query.user?}"

[[internal.hook]]
name  = "form"
key   = "9f1c0a7e52d84b37"
key_query = "token"
topic = "calls"
data  = "{data.From}: {data.Body}"

[[internal.hook]]
name   = "cloud"
key    = "9f1c0a7e52d84b38"
key_header = "X-Key"
format = "cloudevents"
topic  = "{ce.source}"
event  = "{ce.type}"
idempotency_key = "{ce.id}"
"#;

#[tokio::test]
async fn a_signed_request_becomes_an_event_once_on_either_listener() {
    let daemon = start(CONFIG).await;
    let mut stream = listening(&daemon, "/events?topic=repository:a/b").await;
    let mut issues = listening(&daemon, "/events?topic=issues").await;
    let body = r#"{"after":"4f2c","repository":{"full_name":"a/b"}}"#;
    let signed = format!("sha256={}", signature("0d2f6ab4c1e94f70", body));
    let headers = |delivery: &'static str| {
        [
            ("X-Hub-Signature-256", signed.as_str()),
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", delivery),
            ("Content-Type", "application/json"),
        ]
    };
    let first = post(daemon.internal, "/hooks/github", &headers("d1"), body).await;
    assert_eq!((first.status, first.json()["matched"].as_u64()), (200, Some(1)), "{}", first.text());
    let event = stream.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("push"), "4f2c"));

    let again = post(daemon.public, "/from/github", &headers("d1"), body).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)));
    let outside = post(daemon.public, "/from/github", &headers("d2"), body).await;
    assert_eq!(outside.status, 200);
    assert_eq!(stream.event().await.data(), "4f2c");

    // Not signed, signed otherwise, and another body.
    for (headers, body, reason) in [
        (vec![], body, "not_signed"),
        (vec![("X-Hub-Signature-256", "sha256=00")], body, "bad_signature"),
        (vec![("X-Hub-Signature-256", signed.as_str())], "{}", "bad_signature"),
    ] {
        for (to, path) in [(daemon.internal, "/hooks/github"), (daemon.public, "/from/github")] {
            assert_eq!(post(to, path, &headers, body).await.status, 401, "{reason}");
        }
        let refused = async || {
            let count = daemon.metric("sidestream_events_refused_total", &["\"hook\"", reason]).await;
            (count >= 2.0).then_some(())
        };
        eventually(reason, refused).await;
    }

    // Other conditions: the second table, and none.
    for (action, status) in [("opened", 200), ("labeled", 202)] {
        let body = json!({ "action": action, "issue": 7 }).to_string();
        let signed = format!("sha256={}", signature("0d2f6ab4c1e94f70", &body));
        let answer = post(daemon.internal, "/hooks/github", &[("X-Hub-Signature-256", &signed)], &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 202 {
            assert_eq!(answer.json(), json!({ "ignored": "when" }));
        }
    }
    let event = issues.event().await;
    assert_eq!(
        (event.event.as_deref(), event.data()),
        (Some("issue:opened"), r#"{"did":"opened","issue":7,"delivery":null}"#)
    );
}

#[tokio::test]
async fn json_forms_and_cloud_events_are_mapped_by_the_same_templates() {
    let daemon = start(CONFIG).await;
    let mut orders = listening(&daemon, "/events?topic=orders:7").await;
    let body = r#"{ "order": {"id": 7, "total": 1.50} }"#;
    assert_eq!(post(daemon.internal, "/hooks/orders?user=u1", &[KEY], body).await.status, 200);
    assert_eq!(orders.event().await.data(), body);

    let mut calls = listening(&daemon, "/events?topic=calls").await;
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")];
    let sent =
        post(daemon.internal, "/hooks/form?token=9f1c0a7e52d84b37", &form, "From=%2B49+1&Body=hi+%26+bye")
            .await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(calls.event().await.data(), "+49 1: hi & bye");

    let mut cloud = listening(&daemon, "/events?topic=/shop").await;
    let binary = [
        ("X-Key", "9f1c0a7e52d84b38"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.created"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(post(daemon.internal, "/hooks/cloud", &binary, r#"{"n":1}"#).await.status, 200);
    let structured = r#"{"specversion":"1.0","id":"2","source":"/shop","type":"order.paid","data":{"n":2}}"#;
    let kind = [("X-Key", "9f1c0a7e52d84b38"), ("Content-Type", "application/cloudevents+json")];
    assert_eq!(post(daemon.internal, "/hooks/cloud", &kind, structured).await.status, 200);
    let kind = [("X-Key", "9f1c0a7e52d84b38"), ("Content-Type", "application/cloudevents-batch+json")];
    let batch =
        format!("[{structured},{}]", structured.replace("\"2\"", "\"3\"").replace("\"n\":2", "\"n\":3"));
    let sent = post(daemon.internal, "/hooks/cloud", &kind, &batch).await;
    assert_eq!((sent.status, &sent.json()["events"][0]["duplicate"]), (200, &json!(true)), "{}", sent.text());
    for (name, data) in
        [("order.created", r#"{"n":1}"#), ("order.paid", r#"{"n":2}"#), ("order.paid", r#"{"n":3}"#)]
    {
        let event = cloud.event().await;
        assert_eq!((event.event.as_deref(), event.data()), (Some(name), data));
    }
}

#[tokio::test]
async fn what_makes_no_event_is_answered_by_what_is_wrong_and_nothing_of_it_is_logged() {
    let daemon = start(&format!("{CONFIG}[limits]\npublishes_per_key = \"1/h burst=3\"\n")).await;
    let say = async |path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = post(daemon.internal, path, headers, body).await;
        (answer.status, answer.text())
    };
    assert_eq!(say("/hooks/none", &[KEY], "{}").await.0, 404);
    assert_eq!(say("/hooks/orders", &[], "{}").await.0, 401);
    assert_eq!(say("/hooks/orders", &[("Authorization", "Bearer x")], "{}").await.0, 401);
    let (status, said) = say("/hooks/orders", &[KEY], r#"{"order":{"secret":1}}"#).await;
    let expected = json!({
        "error": "there is no value for {data.order.id}", "field": "data.order.id", "reason": "field_missing"
    });
    assert_eq!((status, serde_json::from_str::<serde_json::Value>(&said).unwrap()), (422, expected));
    let (status, said) = say("/hooks/orders", &[KEY], "secret").await;
    assert!(status == 400 && said.contains("not JSON"), "{status} {said}");
    let (status, said) = say("/hooks/cloud", &[("X-Key", "9f1c0a7e52d84b38")], r#"{"id":"secret"}"#).await;
    assert!(status == 400 && said.contains("specversion"), "{status} {said}");
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    assert_eq!(say("/hooks/orders", &[KEY], &large).await.0, 413);
    assert_eq!(say("/hooks/orders", &[KEY, ("Content-Encoding", "gzip")], "{}").await.0, 415);
    assert_eq!(request(daemon.internal, "GET", "/hooks/orders", &[KEY], b"").await.status, 405);
    daemon.logged("a request to a hook made no event").await;
    assert!(!daemon.log().contains("secret"), "{}", daemon.log());
    assert_eq!(unfit(&daemon, "orders", "data.order.id").await, 1.0);

    for status in [200, 200, 200, 429] {
        assert_eq!(say("/hooks/orders", &[KEY], r#"{"order":{"id":1}}"#).await.0, status);
    }
}

async fn unfit(daemon: &Daemon, hook: &str, field: &str) -> f64 {
    daemon.metric("sidestream_messages_unfit_total", &["\"hook\"", hook, field]).await
}
