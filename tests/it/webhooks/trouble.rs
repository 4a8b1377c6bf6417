//! Receivers that fail, hang and lie: what is sent again, what is lost, and that streams go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Receiver, config};
use crate::harness::{Daemon, eventually, repeating};

/// Opens a stream and closes it again, `count` times, while `others` are open; each makes two events.
async fn come_and_go(daemon: &Daemon, count: usize, others: usize) {
    for _ in 0..count {
        drop(daemon.stream("/plain?topic=a").await);
    }
    eventually("the streams' ends", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == others as f64).then_some(())
    })
    .await;
}

fn count(body: &Value) -> usize {
    body["events"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_failed_request_is_sent_again_with_the_same_id_and_body() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "", "")).await;
    let _stream = daemon.stream("/plain?topic=a").await;
    let first = receiver.request().await;
    let (id, body) = (first.header("sidestream-delivery").to_owned(), first.body.clone());
    first.answer("500 Internal Server Error").await;
    let statuses = [
        "503 Service Unavailable",
        "404 Not Found",
        "429 Too Many Requests",
        "302 Found\r\nlocation: /elsewhere",
    ];
    for (attempt, status) in (2..).zip(statuses) {
        let again = receiver.request().await;
        assert_eq!(again.head.target(), "/hooks?key=s3cret", "redirects are not followed");
        assert_eq!(again.header("sidestream-delivery"), id);
        assert_eq!(again.header("sidestream-attempt"), attempt.to_string());
        assert_eq!(again.body, body);
        again.answer(status).await;
    }
    // The sink's own word counts.
    let again = receiver.request().await;
    let asked = Instant::now();
    again.answer("503 Service Unavailable\r\nretry-after: 1").await;
    let last = receiver.request().await;
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    assert_eq!(last.header("sidestream-delivery"), id);
    last.answer("200 OK").await;
    daemon.logged("a webhook accepts again").await;
    let failed = daemon.metric("sidestream_webhook_requests_total", &["result=\"status\""]).await;
    assert_eq!(failed, 6.0);
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}

#[tokio::test]
async fn a_refused_batch_is_dropped_and_the_next_request_says_how_much_it_was() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "", "")).await;
    for (turn, status) in [(0, "422 Unprocessable Content"), (1, "410 Gone")] {
        let _stream = daemon.stream("/plain?topic=a").await;
        let refused = receiver.request().await;
        assert_eq!((count(&refused.json()), &refused.json()["dropped"]), (1, &json!(turn)));
        refused.answer(status).await;
        daemon.logged(&status[..3]).await;
        std::mem::forget(_stream);
    }
    let _stream = daemon.stream("/plain?topic=a").await;
    let next = receiver.accept().await;
    assert_eq!((count(&next), &next["dropped"]), (1, &json!(2)));
    let outcome = ["outcome=\"refused\""];
    assert_eq!(daemon.metric("sidestream_webhook_events_total", &outcome).await, 2.0);
}

#[tokio::test]
async fn a_batch_is_given_up_after_its_time() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "give_up_after = \"1s\"\n", "")).await;
    let _stream = daemon.stream("/plain?topic=a").await;
    let first = receiver.request().await;
    let id = first.header("sidestream-delivery").to_owned();
    // Nobody is waited for beyond that time, whatever they ask.
    first.answer("503 Service Unavailable\r\nretry-after: 3600").await;
    let last = receiver.request().await;
    assert_eq!(last.header("sidestream-delivery"), id);
    last.answer("503 Service Unavailable\r\nretry-after: 3600").await;
    daemon.logged("tried for long enough").await;
    let _another = daemon.stream("/plain?topic=a").await;
    let next = receiver.accept().await;
    assert_eq!((count(&next), &next["dropped"]), (1, &json!(1)));
}

#[tokio::test]
async fn streams_go_on_while_the_receiver_hangs() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "timeout = \"2s\"\n", "")).await;
    let mut stream = daemon.stream("/plain?topic=a").await;
    stream.block().await;
    let hanging = receiver.request().await;
    for n in 0..200 {
        daemon.publish(&json!({"topic": "a", "data": n})).await;
        assert_eq!(stream.event().await.data(), n.to_string());
    }
    come_and_go(&daemon, 20, 1).await;
    // It is given up, and sent again on another connection; whatever was sent again has the id that it had.
    let hanging = hanging.header("sidestream-delivery").to_owned();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while seen.values().sum::<usize>() < 41 {
        let request = receiver.request().await;
        let id = request.header("sidestream-delivery").to_owned();
        assert_eq!(id == hanging, request.header("sidestream-attempt") != "1", "{id}");
        assert_eq!(request.json()["dropped"], 0);
        seen.insert(id, count(&request.json()));
        request.answer("200 OK").await;
    }
    assert_eq!((seen.values().sum::<usize>(), seen.get(&hanging)), (41, Some(&1)));
    assert!(daemon.metric("sidestream_webhook_requests_total", &["result=\"timeout\""]).await >= 1.0);
}

#[tokio::test]
async fn a_lie_is_taken_for_a_failure_and_an_endless_body_for_nothing() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&config(&receiver.url(), "timeout = \"1s\"\n", "")).await;
    let _stream = daemon.stream("/plain?topic=a").await;
    let mut ids = Vec::new();
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "x".repeat(1 << 20));
    for lie in ["", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nx", "HTTP/1.1 2000 OK\r\n\r\n", &endless_head] {
        let mut request = receiver.request().await;
        ids.push(request.header("sidestream-delivery").to_owned());
        // It may be cut before it has said all.
        let _ = request.peer.try_send(lie).await;
        drop(request);
    }
    // A head that comes byte by byte is no head in time.
    let mut slow = receiver.request().await;
    ids.push(slow.header("sidestream-delivery").to_owned());
    let send = async || drop(slow.peer.try_send("H").await);
    let again = repeating(Duration::from_millis(50), send, receiver.request()).await;
    ids.push(again.header("sidestream-delivery").to_owned());
    // Accepted by its head; of the body no more is read than some.
    let mut endless = again;
    endless.peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let piece = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    let mut taken = 0;
    while endless.peer.try_send(&piece).await.is_ok() {
        taken += 1;
        assert!(taken < 1000, "an endless body is read");
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let _another = daemon.stream("/plain?topic=a").await;
    let next = receiver.request().await;
    assert_ne!(next.header("sidestream-delivery"), ids[0]);
    assert_eq!(next.json()["dropped"], 0);
    // What breaks off behind the head was accepted.
    let mut next = next;
    next.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    drop(next);
    drop(daemon.stream("/plain?topic=a").await);
    let after = receiver.accept().await;
    assert_eq!((count(&after) > 0, &after["dropped"]), (true, &json!(0)));
}

#[tokio::test]
async fn a_full_queue_drops_its_oldest_and_says_how_many() {
    let receiver = Receiver::start().await;
    let keys = "max_queue = 10\nmax_batch = 5\n";
    let daemon = Daemon::start(&config(&receiver.url(), keys, "")).await;
    come_and_go(&daemon, 1, 0).await;
    let hanging = receiver.request().await;
    come_and_go(&daemon, 50, 0).await;
    let mut total = count(&hanging.json());
    assert_eq!(daemon.metric("sidestream_webhook_waiting", &[]).await, 10.0);
    hanging.answer("200 OK").await;
    let (mut dropped, mut gaps) = (0, 0);
    while total + dropped < 102 {
        let body = receiver.accept().await;
        total += count(&body);
        let missing = body["dropped"].as_u64().expect("a number") as usize;
        dropped += missing;
        gaps += usize::from(missing > 0);
    }
    assert_eq!(total + dropped, 102);
    assert_eq!(gaps, 1, "the gap is reported once, where it is");
    assert!(dropped >= 85, "{dropped}");
    let counted = daemon.metric("sidestream_webhook_events_total", &["outcome=\"dropped\""]).await;
    assert_eq!(counted, dropped as f64);
    daemon.logged("a webhook's queue is full").await;
}

#[tokio::test]
async fn a_receiver_that_is_away_hardly_holds_up_the_stop() {
    let receiver = Receiver::start().await;
    let mut daemon = Daemon::start(&config(&receiver.url(), "", "[drain]\nwindow = \"100ms\"\n")).await;
    let _stream = daemon.stream("/plain?topic=a").await;
    receiver.request().await.answer("500 Internal Server Error").await;
    let refuses = async {
        loop {
            receiver.request().await.answer("503 Service Unavailable").await;
        }
    };
    let asked = Instant::now();
    daemon.signal("TERM");
    tokio::select! {
        status = daemon.ended() => assert_eq!(status.code(), Some(0)),
        () = refuses => unreachable!("it never completes"),
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    daemon.logged("stopped before a webhook took everything").await;
}

#[tokio::test]
async fn what_waits_for_a_receiver_that_hangs_is_bounded_in_memory() {
    let receiver = Receiver::start().await;
    let keys = "max_queue = 1000000\nmax_queue_bytes = \"64KiB\"\n";
    let daemon = Daemon::start(&config(&receiver.url(), keys, "")).await;
    come_and_go(&daemon, 1, 0).await;
    let _hanging = receiver.request().await;
    come_and_go(&daemon, 400, 0).await;
    let waiting = daemon.metric("sidestream_webhook_waiting", &[]).await;
    // None of them takes less than 150 bytes.
    assert!((10.0..440.0).contains(&waiting), "{waiting}");
    let dropped = daemon.metric("sidestream_webhook_events_total", &["outcome=\"dropped\""]).await;
    assert!(dropped >= 360.0, "{dropped}");
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_hold_up_the_stop_beyond_its_deadline() {
    let receiver = Receiver::start().await;
    let more = "[drain]\nwindow = \"100ms\"\ndeadline = \"1s\"\n";
    let mut daemon = Daemon::start(&config(&receiver.url(), "", more)).await;
    let _stream = daemon.stream("/plain?topic=a").await;
    let _hanging = receiver.request().await;
    let asked = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    daemon.logged("stopped before a webhook took everything").await;
}
