//! The same when an instance dies, or Redis: what its readers get, and what does not wait for it.

use std::time::Duration;

use super::instances::{Shared, ask_for, daemons, has_bytes, id_of, is_known, is_shared};
use super::ways::{answer, read_chunks};
use super::{END, GET};
use crate::harness::{Peer, Redis, eventually, log_lines, request, within_time};

#[tokio::test]
async fn an_answer_whose_instance_is_killed_ends_as_one_that_broke_off() {
    let test = Shared::start("identity = [\"{query.of}\"]\n").await;
    let ask = "GET /chat?of=1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let (mut client, mut at, _) = test.ask(ask).await;
    at.send(answer(&["data: grü"])).await;
    let id = id_of(&client.head().await);
    client.chunks(10).await;
    let mut other = test.read(&format!("/chat?stream={id}")).await;
    assert_eq!(other.chunks(10).await, "data: grü");
    test.a.signal("KILL");
    let rest = within_time(Duration::from_secs(12), "the reader is cut off", other.rest_bytes()).await;
    assert!(rest.is_empty(), "{rest:?}");
    // Who comes later gets as much, and the same end.
    let mut later = test.read(&format!("/chat?stream={id}")).await;
    assert_eq!(read_chunks(&mut later).await, ("data: grü".as_bytes().to_vec(), false));
    drop(at);
    // What was under way is not any more: it is asked for anew.
    let mut next = Peer::send_to(test.b.public, ask).await;
    let (mut at, _) = test.backend.request().await;
    at.send(answer(&["data: 2\n\n"]) + END).await;
    assert_ne!(id_of(&next.head().await), id);
    assert_eq!(next.chunks(9).await, "data: 2\n\n");
}

#[tokio::test]
async fn an_answer_goes_on_for_its_reader_without_redis_and_is_there_again_when_redis_is() {
    let mut test = Shared::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = id_of(&client.head().await);
    assert_eq!(client.chunks(9).await, "data: 1\n\n");
    has_bytes(&test.redis, &id, 9).await;
    test.redis.kill().await;
    for n in 0..50 {
        let text = format!("data: {n} ü\n\n");
        at.send_chunk(&text).await;
        assert_eq!(client.chunks(text.len()).await, text);
    }
    let path = format!("/chat?stream={id}");
    let unknown = test.get(&path).await;
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, "1"));
    // Where it is held it is there all the same.
    let mut own = Peer::send_to(test.a.public, ask_for(&path)).await;
    assert_eq!(own.head().await.status(), 200);
    // So are answers that begin now.
    let (mut next, mut at_next, _) = test.ask(GET).await;
    at_next.send(answer(&["data: 3\n\n"])).await;
    let next_id = id_of(&next.head().await);
    test.redis.start_again().await;
    let texts: String = (0..50).map(|n| format!("data: {n} ü\n\n")).collect();
    let whole = format!("data: 1\n\n{texts}");
    let mut other = eventually("the other instance has it again", async || {
        let ask = ask_for(&path);
        let mut other = Peer::send_to(test.b.public, ask).await;
        (other.head().await.status() == 200).then_some(other)
    })
    .await;
    assert_eq!(other.chunks(whole.len()).await, whole);
    at.send_chunk("data: last\n\n").await;
    at.send(END).await;
    assert_eq!(other.chunks(12).await, "data: last\n\n");
    assert_eq!(other.chunk().await, "");
    at_next.send(END).await;
    is_shared(&test.redis, &next_id, "complete").await;
    assert_eq!(test.get(&format!("/chat?stream={next_id}")).await.body, "data: 3\n\n");
}

#[tokio::test]
async fn a_redis_that_stands_still_keeps_no_first_reader_waiting() {
    let test = Shared::start("identity = [\"{query.of}\"]\n").await;
    let (mut early, mut at_early, _) = test.ask(GET).await;
    at_early.send(answer(&["data: 1\n\n"])).await;
    let mut other = test.read(&format!("/chat?stream={}", id_of(&early.head().await))).await;
    assert_eq!(other.chunks(9).await, "data: 1\n\n");
    test.redis.freeze();
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let begun = std::time::Instant::now();
        let (mut client, mut at, _) =
            test.ask(&format!("GET /chat?of={n} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        at.send(answer(&["data: 1\n\n"])).await;
        client.head().await;
        client.chunks(9).await;
        if n > 0 {
            // The first one has found out.
            slowest = slowest.max(begun.elapsed());
        }
        let text = format!("data: {}\n\n", "x".repeat(1000));
        for _ in 0..200 {
            at.send_chunk(&text).await;
            assert_eq!(client.chunks(text.len()).await, text);
        }
        at.send(END).await;
        assert_eq!(client.chunk().await, "");
    }
    // A reader elsewhere does not wait for ever.
    assert!(other.rest_bytes().await.is_empty());
    at_early.send_chunk("data: 2\n\n").await;
    assert_eq!(early.chunks(18).await, "data: 1\n\ndata: 2\n\n");
    test.redis.thaw();
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
}

#[tokio::test]
async fn connections_that_are_cut_all_the_time_lose_no_byte() {
    let test = Shared::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 0\n\n"])).await;
    let id = id_of(&client.head().await);
    let mut other = test.read(&format!("/chat?stream={id}")).await;
    let mut whole = "data: 0\n\n".to_owned();
    for n in 1..300 {
        let text = format!("data: {} grüße {n}\n\n", "x".repeat(n * 7 % 500));
        at.send_chunk(&text).await;
        whole.push_str(&text);
        if n % 10 == 0 {
            // In the middle of what is written and read.
            let _: u64 = test.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        }
    }
    at.send(END).await;
    assert_eq!(client.chunks(whole.len()).await, whole);
    assert_eq!(read_chunks(&mut other).await, (whole.clone().into_bytes(), true));
    is_shared(&test.redis, &id, "complete").await;
    assert_eq!(test.get(&format!("/chat?stream={id}")).await.body, whole);
}

#[tokio::test]
async fn what_redis_did_not_get_is_counted_and_logged() {
    let mut test = Shared::start("keep = \"1s\"\n").await;
    test.redis.kill().await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"]) + END).await;
    let id = id_of(&client.head().await);
    assert_eq!(client.chunks(9).await, "data: 1\n\n");
    let line = log_lines(&test.a, "a recorded answer did not get into Redis as a whole", 1).await.remove(0);
    assert_eq!((&line["id"], &line["bytes"], &line["copied"]), (&id.into(), &9.into(), &0.into()));
    assert_eq!(test.a.metric("sidestream_captures_shared_total", &["lost"]).await, 1.0);
    assert_eq!(test.a.metric("sidestream_captures", &[]).await, 0.0);
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough_and_without_them_an_answer_is_one_instances() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).expect("it");
    let rights = page.lines().find(|line| line.starts_with("ACL SETUSER sidestream on")).expect("the rights");
    let rights = rights.replace(">…", ">secret");
    for allowed in [true, false] {
        let redis = Redis::start().await;
        let rights = if allowed { rights.clone() } else { rights.replace("~sidestream:capture:* ", "") };
        redis.command::<()>(&rights.split(' ').collect::<Vec<_>>()).await;
        let section = redis.section().replace("redis://", "redis://sidestream:secret@");
        let (backend, a, b) = daemons(&[&section, &section], "preset = \"ai-sdk\"\n").await;
        let mut client = Peer::send_to(a.public, GET).await;
        let (mut at, _) = backend.request().await;
        at.send(answer(&["data: 1\n\n"])).await;
        let id = id_of(&client.head().await);
        assert_eq!(client.chunks(9).await, "data: 1\n\n");
        let path = format!("/chat?stream={id}");
        if allowed {
            is_known(&redis, &id).await;
            let mut other = Peer::send_to(b.public, ask_for(&path)).await;
            assert_eq!(other.head().await.status(), 200);
            assert_eq!(other.chunks(9).await, "data: 1\n\n");
            let stopped = request(b.public, "POST", &format!("/chat/{id}/stop"), &[], b"").await;
            assert_eq!(stopped.status, 204);
            at.ended().await;
            assert_eq!(client.chunk().await, "");
        } else {
            assert_eq!(request(b.public, "GET", &path, &[], b"").await.status, 503);
            let mut again = Peer::send_to(a.public, ask_for(&path)).await;
            assert_eq!(again.head().await.status(), 200);
            at.send(END).await;
            assert_eq!(read_chunks(&mut again).await, (b"data: 1\n\n".to_vec(), true));
        }
        assert_eq!(a.log().contains("NOPERM"), !allowed, "{}", a.log());
    }
}
