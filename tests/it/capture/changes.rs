//! What becomes of an answer that is recorded while the configuration is read anew, or the daemon stops.

use serde_json::json;

use super::{Captured, END, EVENT, GET, post};
use crate::harness::{Peer, eventually};

const BODY: &str = r#"{"id":"c"}"#;
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Takes up a configuration with these keys of `/chat`, or without it.
async fn reload(test: &Captured, keys: Option<&str>) {
    let capture = keys.map_or_else(String::new, |keys| format!("[[capture]]\npath = \"/chat\"\n{keys}"));
    let key = format!("internal.publish_keys = [\"{}\"]\n", crate::harness::KEY);
    test.daemon.rewrite(&test.backend.config(&format!("{key}{capture}")));
    let answer = test.daemon.command("POST", "/reload", &[], b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn come_back(test: &Captured, path: &str) -> Peer {
    let mut peer = Peer::send_to(test.daemon.public, GET.replace("/chat", path)).await;
    assert_eq!(peer.head().await.status(), 200, "{path}");
    peer
}

#[tokio::test]
async fn an_answer_goes_on_over_reloads_and_its_path_says_who_comes_back() {
    let key = format!("internal.publish_keys = [\"{}\"]\n", crate::harness::KEY);
    let test = Captured::start_with(&key, "preset = \"ai-sdk\"\n").await;
    let (mut client, mut at, id) = test.begin(&post("/chat", "", BODY)).await;
    let by_id = format!("/chat?stream={id}");
    let next = async |at: &mut Peer, readers: &mut [&mut Peer], text: &str| {
        at.send_chunk(text).await;
        for reader in readers {
            assert_eq!(reader.chunk().await, text);
        }
    };

    // The path is there still.
    reload(&test, Some("preset = \"ai-sdk\"\ndrain_for = \"1m\"\n")).await;
    let mut second = come_back(&test, "/chat/c/stream").await;
    assert_eq!(second.chunks(EVENT.len()).await, EVENT);
    next(&mut at, &mut [&mut client, &mut second], "data: 2\n\n").await;

    // Clients come back to it in another way: that is for those who come from then on.
    reload(&test, Some("ids = true\n")).await;
    let mut third = come_back(&test, &by_id).await;
    let with_ids = format!("id: {id}-1\ndata: 1\n\nid: {id}-2\ndata: 2\n\n");
    assert_eq!(third.chunks(with_ids.len()).await, with_ids);
    let (mut other, mut asked, head) = test.ask(&GET.replace("/chat", "/chat/c/stream")).await;
    assert_eq!(head.target(), "/chat/c/stream", "it is the backend's");
    asked.send(NOT_FOUND).await;
    assert_eq!(other.head().await.status(), 404);
    at.send_chunk("data: 3\n\n").await;
    for reader in [&mut client, &mut second] {
        assert_eq!(reader.chunk().await, "data: 3\n\n");
    }
    assert_eq!(third.chunk().await, format!("id: {id}-3\ndata: 3\n\n"));

    // Nothing is recorded on it any more: readers read on, nobody comes back, and operators can stop it.
    reload(&test, None).await;
    let (mut other, mut asked, head) = test.ask(&GET.replace("/chat", &by_id)).await;
    assert_eq!(head.target(), by_id);
    asked.send(NOT_FOUND).await;
    assert_eq!(other.head().await.status(), 404);
    let page = test.daemon.command("GET", "/captures", &[], b"").await.json();
    assert_eq!((&page["total"], &page["captures"][0]["readers"]), (&json!(1), &json!(3)));
    next(&mut at, &mut [&mut client, &mut second], "data: 4\n\n").await;

    // Once more as in the beginning.
    reload(&test, Some("preset = \"ai-sdk\"\n")).await;
    let mut fourth = come_back(&test, "/chat/c/stream").await;
    let all = "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n";
    assert_eq!(fourth.chunks(all.len()).await, all);
    at.send(END).await;
    for reader in [&mut client, &mut second, &mut fourth] {
        assert_eq!(reader.chunk().await, "");
    }
}

#[tokio::test]
async fn a_stop_lets_readers_read_to_the_end_and_cancels_what_nobody_reads() {
    let mut test = Captured::start_with("drain.delay = \"2s\"\ndrain.deadline = \"60s\"\n", "").await;
    let (mut client, mut at, id) = test.begin(GET).await;
    let (unread, mut unread_at, _) = test.begin(GET).await;
    drop(unread);
    test.daemon.signal("TERM");
    eventually("it is not ready", async || (test.daemon.ask("/readyz").await.status == 503).then_some(()))
        .await;
    // For the delay, readers come back.
    let mut again = come_back(&test, &format!("/chat?stream={id}")).await;
    assert_eq!(again.chunks(EVENT.len()).await, EVENT);
    unread_at.ended().await;
    eventually("no more connections are taken", async || {
        tokio::net::TcpStream::connect(test.daemon.public).await.is_err().then_some(())
    })
    .await;
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    for reader in [&mut client, &mut again] {
        assert_eq!(reader.chunk().await, "data: 2\n\n");
        assert_eq!(reader.chunk().await, "");
    }
    assert!(test.daemon.ended().await.success());
    assert!(!test.daemon.log().contains("deadline has passed"), "{}", test.daemon.log());
}

#[tokio::test]
async fn a_stop_whose_deadline_passes_breaks_off_and_does_not_end_an_answer() {
    let mut test = Captured::start_with("drain.window = \"0s\"\ndrain.deadline = \"1s\"\n", "").await;
    let (mut client, mut at, _) = test.begin(GET).await;
    test.daemon.signal("TERM");
    assert_eq!(client.rest().await, "", "not even an end of chunks");
    at.ended().await;
    assert!(test.daemon.ended().await.success());
}
