//! How a stream ends: at a limit, by its client, by its age, by a stop.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{QUIET, publish_run};
use crate::harness::{Daemon, eventually, request, within};

#[tokio::test]
async fn at_a_limit_a_client_is_asked_to_come_back_and_a_seat_is_given_back() {
    let config = |limit: &str, refuse: &str| {
        format!(
            "{QUIET}refuse_with = \"{refuse}\"\n[limits]\n{limit} = 1\n[[stream]]\npath = \"/events\"\ntopics = [\"a\"]\nuser = \"u\"\n"
        )
    };
    for (limit, status) in [("streams", 503), ("streams_per_address", 429), ("streams_per_user", 429)] {
        let daemon = Daemon::start(&config(limit, "retry")).await;
        let mut first = daemon.stream("/events").await;
        first.block().await;
        let answer = request(daemon.public, "GET", "/events", &[("last-event-id", "5-0")], b"").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        let text = answer.text();
        let retry: u64 =
            text.strip_prefix("retry: ").and_then(|rest| rest.lines().next()?.parse().ok()).expect("a retry");
        assert!((4000..=12000).contains(&retry), "{retry}");
        assert!(
            text.ends_with(&format!("event: refused\ndata: {{\"reason\":\"limit_{limit}\"}}\nid: 5-0\n\n")),
            "{text}"
        );
        drop(first);
        let mut next = eventually("the seat is given back", async || {
            let mut stream = daemon.stream("/events").await;
            stream.block().await.is("connected").then_some(stream)
        })
        .await;
        daemon.publish(&json!({"topic": "a", "data": 1})).await;
        assert_eq!(next.block().await.data(), "1");

        let daemon = Daemon::start(&config(limit, "status")).await;
        let _first = daemon.stream("/events").await;
        let answer = daemon.get("/events").await;
        assert_eq!(answer.status, status);
        assert!(answer.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let daemon = Daemon::start(QUIET).await;
    let mut gone = daemon.stream("/events?topic=a").await;
    gone.block().await;
    // A client has nothing to say on its stream; what it says all the same does not hide its leaving.
    gone.socket().write_all(b"nine bytes").await.expect("sent");
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 1.0);
    drop(gone);
    eventually("the stream is closed", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_closed_total", &["client_gone"]).await, 1.0);
    assert_eq!(daemon.publish(&json!({"topic": "a"})).await["matched"], 0);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_after_the_write_timeout() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\nwrite_timeout = \"1s\"\n").await;
    let mut stalled = daemon.stream("/events?topic=a").await;
    stalled.block().await;
    let mut reading = daemon.stream("/events?topic=a").await;
    reading.block().await;
    for n in 0..100 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(100_000)})).await;
        assert_eq!(reading.block().await.data().len(), 100_000, "{n}");
    }
    eventually("the stalled stream is closed", async || {
        (daemon.metric("sidestream_streams_closed_total", &["stalled"]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_streams_behind", &[]).await, 0.0);
}

#[tokio::test]
async fn a_stream_ends_at_its_age_and_can_be_resumed_there() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"10m\"\nmax_age = \"1s\"\nretry_min = \"70ms\"\nretry_max = \"80ms\"\n",
    )
    .await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let ids = publish_run(&daemon, 0, 2).await;
    stream.event().await;
    stream.event().await;
    let closing = stream.event().await;
    assert!(closing.is("closing"), "{closing:?}");
    assert_eq!((closing.data(), closing.id()), ("{\"reason\":\"max_age\"}", &*ids[1]));
    assert!((70..=80).contains(&closing.retry.expect("a retry")));
    assert_eq!(stream.next().await, None);
    assert!(stream.ended_cleanly);
    // The client may see the end before the shard has counted it.
    eventually("it is counted", async || {
        (daemon.metric("sidestream_streams_closed_total", &["max_age"]).await == 1.0).then_some(())
    })
    .await;
}

/// Streams that were closed within `took` were closed over a window and not at once, and more than `least` of them have
/// a retry of their own.
pub(crate) fn closed_one_by_one(took: Duration, mut retries: Vec<u64>, least: usize) {
    assert!(took > Duration::from_millis(300), "all were closed at once");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > least, "each has a retry of its own: {retries:?}");
}

#[tokio::test]
async fn a_stop_drains_streams_over_the_window_and_exits_with_success() {
    let mut daemon = Daemon::start(&format!("{QUIET}[drain]\nwindow = \"1s\"\ndeadline = \"20s\"\n")).await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        let mut stream = daemon.stream("/events?topic=a").await;
        stream.block().await;
        streams.push(stream);
    }
    assert_eq!(daemon.ask("/readyz").await.status, 200);
    daemon.signal("TERM");
    eventually("not ready", async || (daemon.ask("/readyz").await.status == 503).then_some(())).await;
    let begun = std::time::Instant::now();
    let mut retries = Vec::new();
    for stream in &mut streams {
        let closing = stream.block().await;
        assert!(closing.is("closing"), "{closing:?}");
        assert_eq!(closing.data(), "{\"reason\":\"draining\"}");
        retries.push(closing.retry.expect("a retry"));
        assert_eq!(stream.next().await, None);
        assert!(stream.ended_cleanly);
    }
    closed_one_by_one(begun.elapsed(), retries, 15);
    assert!(daemon.ended().await.success());
    daemon.logged("\"message\":\"stopped\"").await;
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let mut daemon = Daemon::start(&format!("{QUIET}[drain]\nwindow = \"10m\"\ndeadline = \"10m\"\n")).await;
    let mut stream = daemon.stream("/events?topic=a").await;
    stream.block().await;
    daemon.signal("TERM");
    daemon.logged("draining").await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(1));
}

#[tokio::test]
async fn the_deadline_cuts_what_the_drain_leaves() {
    // A backend that takes requests and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = silent.local_addr().expect("its address");
    let mut daemon = Daemon::start(&format!(
        "[public]\nbackend = \"http://{backend}\"\n[drain]\nwindow = \"100ms\"\ndeadline = \"500ms\"\n"
    ))
    .await;
    let mut waiting = TcpStream::connect(daemon.public).await.expect("a connection");
    waiting.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let (_held, _) = within("the backend is asked", silent.accept()).await.expect("a connection");
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    let mut got = Vec::new();
    let _ = within("the request is cut", waiting.read_to_end(&mut got)).await;
    daemon.logged("the drain's deadline has passed").await;
}
