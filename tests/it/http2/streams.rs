//! Event streams over HTTP/2: what stands on the wire, many on one connection, and every way in which one ends.

use std::time::Instant;

use h2::Reason;
use serde_json::json;
use tokio::net::TcpStream;

use super::QUIET;
use crate::harness::{Daemon, Events, H2, eventually};
use crate::streams::ending::closed_one_by_one;

async fn open(daemon: &Daemon) -> f64 {
    daemon.metric("sidestream_streams_open", &[]).await
}

async fn closed(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric("sidestream_streams_closed_total", &[&format!("reason=\"{reason}\"")]).await
}

async fn connected(stream: &mut Events) -> crate::harness::Block {
    let block = stream.block().await;
    assert!(block.is("connected"), "{block:?}");
    block
}

#[tokio::test]
async fn a_stream_speaks_as_over_http1_but_for_what_is_of_the_connection() {
    let daemon = Daemon::start(QUIET).await;
    let mut client = H2::plain(daemon.public).await;
    let mut stream = client.stream("/events?topic=a&topic=b", &[]).await;
    assert_eq!(stream.head.status, 200);
    let mut headers: Vec<_> = stream
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    headers.retain(|(name, _)| *name != "date");
    assert_eq!(
        headers,
        [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
        ]
    );
    let block = connected(&mut stream).await;
    assert_eq!(block.json()["topics"], json!(["a", "b"]));
    assert!((1000..=4000).contains(&block.retry.expect("a retry")), "{block:?}");
    for n in 0..3 {
        let answer = daemon.publish(&json!({"topic": "a", "event": "note", "data": n})).await;
        let event = stream.block().await;
        assert_eq!((event.data(), Some(event.id())), (&*n.to_string(), answer["id"].as_str()));
        assert!(event.is("note"));
    }
    daemon.publish(&json!({"topic": "b", "data": "x".repeat(1_000_000)})).await;
    assert_eq!(stream.block().await.data().len(), 1_000_000);
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &["channel"]).await, 1.0);
    assert_eq!(
        daemon.metric("sidestream_connections_opened_total", &["protocol=\"http2\"", "tls=\"no\""]).await,
        1.0
    );
}

#[tokio::test]
async fn a_cut_stream_is_resumed_exactly_by_its_last_event_id() {
    let daemon = Daemon::start(QUIET).await;
    let mut client = H2::plain(daemon.public).await;
    let mut cursor = connected(&mut client.stream("/events?topic=a", &[]).await).await.id().to_owned();
    let mut expected = 0;
    for cut in 0..20 {
        let events: Vec<_> = (0..10).map(|n| json!({"topic": "a", "data": cut * 10 + n})).collect();
        daemon.publish(&json!(events)).await;
        let mut stream = client.stream("/events?topic=a", &[("last-event-id", &cursor)]).await;
        let block = connected(&mut stream).await;
        assert_eq!((block.id(), &block.json()["resumed"]), (&*cursor, &json!(true)));
        // Another place of the run each time.
        for _ in 0..(cut % 7 + 1) {
            let event = stream.block().await;
            assert_eq!(event.data(), expected.to_string());
            event.id().clone_into(&mut cursor);
            expected += 1;
        }
    }
    let mut stream = client.stream("/events?topic=a", &[("last-event-id", &cursor)]).await;
    connected(&mut stream).await;
    for n in expected..200 {
        assert_eq!(stream.block().await.data(), n.to_string());
    }
}

#[tokio::test]
async fn a_hundred_streams_and_requests_share_one_connection() {
    let daemon = Daemon::start(QUIET).await;
    let mut client = H2::plain(daemon.public).await;
    let mut streams = Vec::new();
    for n in 0..100 {
        let mut stream = client.stream(&format!("/events?topic=all&topic=t{n}"), &[]).await;
        connected(&mut stream).await;
        streams.push(stream);
    }
    // Nobody listens at the backend: the answer is ours, and comes all the same.
    assert_eq!(client.ask("POST", "/x", &[], b"body").await.status, 502);
    for n in 0..5 {
        daemon.publish(&json!({"topic": "all", "data": n})).await;
    }
    daemon.publish(&json!({"topic": "t42", "data": "yours"})).await;
    for (n, stream) in streams.iter_mut().enumerate() {
        for wanted in 0..5 {
            assert_eq!(stream.block().await.data(), wanted.to_string());
        }
        if n == 42 {
            assert_eq!(stream.block().await.data(), "yours");
        }
    }
    assert_eq!(daemon.metric("sidestream_connections_open", &["public"]).await, 1.0);
    assert_eq!(open(&daemon).await, 100.0);
    drop((streams, client));
    eventually("all are gone", async || (open(&daemon).await == 0.0).then_some(())).await;
    eventually("the connection is gone", async || {
        (daemon.metric("sidestream_connections_open", &["public"]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_resets_its_stream_is_gone_at_once_and_the_connection_stays() {
    let daemon = Daemon::start(QUIET).await;
    let mut client = H2::plain(daemon.public).await;
    let mut kept = client.stream("/events?topic=a", &[]).await;
    connected(&mut kept).await;
    let (answer, mut sending) = client.send("GET", "/events?topic=a", &[], true).await;
    let body = answer.await.expect("an answer").into_body();
    eventually("two are open", async || (open(&daemon).await == 2.0).then_some(())).await;
    sending.send_reset(Reason::CANCEL);
    eventually("one is gone", async || (open(&daemon).await == 1.0).then_some(())).await;
    assert_eq!(closed(&daemon, "client_gone").await, 1.0);
    assert_eq!(daemon.publish(&json!({"topic": "a", "data": 1})).await["matched"], 1);
    assert_eq!(kept.block().await.data(), "1");
    drop(body);
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_reset_after_the_write_timeout_and_others_go_on() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\nwrite_timeout = \"1s\"\n").await;
    let mut settings = h2::client::Builder::new();
    // Room on the connection, so that the one stream cannot hold up the other.
    settings.initial_window_size(64 << 10).initial_connection_window_size(16 << 20);
    let socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let mut client = H2::over(socket, daemon.public, "http", &settings).await;
    let mut stalled = client.stream("/events?topic=a", &[]).await;
    connected(&mut stalled).await;
    let mut reading = client.stream("/events?topic=a", &[]).await;
    connected(&mut reading).await;
    for n in 0..20 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(50_000)})).await;
        assert_eq!(reading.block().await.data().len(), 50_000, "{n}");
    }
    eventually("it is closed", async || (closed(&daemon, "stalled").await == 1.0).then_some(())).await;
    assert_eq!(open(&daemon).await, 1.0);
    // Not an end that could be taken for one: what was in its window, then a reset.
    let error = loop {
        match stalled.body.data().await.expect("a reset, not an end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    daemon.publish(&json!({"topic": "a", "data": "after"})).await;
    assert_eq!(reading.block().await.data(), "after");
}

#[tokio::test]
async fn a_slow_reader_gets_everything_in_order() {
    let daemon = Daemon::start(QUIET).await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1000);
    let socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let mut client = H2::over(socket, daemon.public, "http", &settings).await;
    let mut stream = client.stream("/events?topic=a", &[]).await;
    connected(&mut stream).await;
    for part in 0..4 {
        let events: Vec<_> = (0..500).map(|n| json!({"topic": "a", "data": part * 500 + n})).collect();
        daemon.publish(&json!(events)).await;
    }
    for n in 0..2000 {
        assert_eq!(stream.block().await.data(), n.to_string());
    }
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats_and_ends_at_its_age() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"1s\"\nmax_age = \"4s\"\nretry_min = \"70ms\"\nretry_max = \"80ms\"\n",
    )
    .await;
    let mut client = H2::plain(daemon.public).await;
    let mut stream = client.stream("/events?topic=a", &[]).await;
    let cursor = connected(&mut stream).await.id().to_owned();
    let beat = stream.block().await;
    assert_eq!(beat.comments[0], "hb");
    let closing = loop {
        let block = stream.block().await;
        if block.event.is_some() {
            break block;
        }
    };
    assert!(closing.is("closing"), "{closing:?}");
    assert_eq!((closing.data(), closing.id()), ("{\"reason\":\"max_age\"}", &*cursor));
    assert!(stream.next().await.is_none(), "a clean end");
    // The connection is as good as before.
    assert!(connected(&mut client.stream("/events?topic=a", &[]).await).await.is("connected"));
}

#[tokio::test]
async fn a_stop_closes_streams_over_the_window_and_then_the_connection() {
    let mut daemon = Daemon::start(&format!("{QUIET}[drain]\nwindow = \"1s\"\ndeadline = \"20s\"\n")).await;
    let mut client = H2::plain(daemon.public).await;
    let idle = H2::plain(daemon.public).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = client.stream("/events?topic=a", &[]).await;
        connected(&mut stream).await;
        streams.push(stream);
    }
    daemon.signal("TERM");
    let begun = Instant::now();
    idle.ended().await.expect("a clean end");
    let mut retries = Vec::new();
    for stream in &mut streams {
        let closing = stream.block().await;
        assert!(closing.is("closing"), "{closing:?}");
        assert_eq!(closing.data(), "{\"reason\":\"draining\"}");
        retries.push(closing.retry.expect("a retry"));
        assert!(stream.next().await.is_none(), "a clean end");
    }
    closed_one_by_one(begun.elapsed(), retries, 10);
    client.ended().await.expect("a clean end");
    assert!(daemon.ended().await.success());
    assert!(!daemon.log().contains("deadline has passed"), "{}", daemon.log());
}

#[tokio::test]
async fn a_refusal_that_will_pass_is_answered_as_over_http1() {
    let daemon = Daemon::start("[limits]\nstreams = 1\n").await;
    let mut client = H2::plain(daemon.public).await;
    let bad = client.ask("GET", "/events", &[], b"").await;
    assert_eq!((bad.status, bad.header("content-type")), (400, "application/json"));
    let mut first = client.stream("/events?topic=a", &[]).await;
    connected(&mut first).await;
    let mut refused = client.stream("/events?topic=a", &[]).await;
    assert_eq!(refused.head.status, 200);
    let block = refused.block().await;
    assert!(block.is("refused"), "{block:?}");
    assert!(block.retry.is_some());
    assert!(refused.next().await.is_none());
}
