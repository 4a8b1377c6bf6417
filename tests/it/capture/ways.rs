//! The wire itself: every byte of the backend's, from every place, to everybody whose it is.

use std::time::Duration;

use super::{Captured, END, GET, STREAMS, post};
use crate::harness::{Peer, eventually, request, unless_over, within};

/// Blocks of all kinds, with characters of several bytes.
pub(super) const TEXT: &str =
    "\u{feff}data: grüße 👋\n\n: note\r\n\r\nevent: x\ndata: 1\ndata: 2\n\nid: own\rdata: é\r\rrest";

pub(super) fn answer(chunks: &[&str]) -> String {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("{STREAMS}{chunks}")
}

#[tokio::test]
async fn a_reader_who_comes_back_gets_the_rest_from_any_byte_and_the_backend_is_asked_once() {
    let test = Captured::start("").await;
    let (mut client, mut at, head) = test.ask(GET).await;
    assert_eq!(head.get("accept-encoding"), Some("identity"));
    let (first, second) = TEXT.split_at(TEXT.find("note").expect("it is there"));
    at.send(answer(&[first])).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("x-of")), (200, Some("backend")));
    let id = head.get("sidestream-stream").expect("its id").to_owned();
    assert_eq!(client.chunks(first.len()).await, first);
    // It is gone in the middle, and the backend does not notice.
    drop(client);
    let mut other =
        Peer::send_to(test.daemon.public, format!("GET /chat?stream={id} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert_eq!(other.head().await.get("x-of"), Some("backend"));
    assert_eq!(other.chunks(first.len()).await, first);
    at.send_chunk(second).await;
    at.send(END).await;
    assert_eq!(other.chunks(second.len()).await, second);
    assert_eq!(other.chunk().await, "");
    for cut in 0..TEXT.len() {
        let again = test.get(&format!("/chat?stream={id}&offset={cut}")).await;
        assert_eq!((again.status, &again.body[..]), (200, &TEXT.as_bytes()[cut..]), "{cut}");
    }
    for nothing in [TEXT.len(), TEXT.len() + 1] {
        assert_eq!(test.get(&format!("/chat?stream={id}&offset={nothing}")).await.status, 204, "{nothing}");
    }
    assert_eq!(test.get(&format!("/chat?stream={id}&lastEventId=own")).await.body, "rest");
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn a_cut_at_any_byte_of_the_backends_answer_stays_a_cut_for_everybody() {
    let test = Captured::start("").await;
    for cut in 0..=TEXT.len() {
        let (mut client, mut at, _) = test.ask(GET).await;
        let before = &TEXT.as_bytes()[..cut];
        at.send(STREAMS).await;
        let id = client.head().await.get("sidestream-stream").expect("its id").to_owned();
        at.send([format!("{:x}\r\n", TEXT.len()).as_bytes(), before].concat()).await;
        drop(at);
        let ask = format!("GET /chat?stream={id} HTTP/1.0\r\nhost: a\r\n\r\n");
        let mut again = Peer::send_to(test.daemon.public, ask).await;
        let first = read_chunks(&mut client).await;
        assert_eq!((first.0.as_slice(), first.1), (before, false), "{cut}");
        if cut == 0 {
            continue;
        }
        // Without chunks, so that a cut is a reset or nothing; the bytes are the same.
        let head = again.head().await;
        assert_eq!(head.status(), 200);
        assert_eq!(again.take(cut).await, before, "{cut}");
    }
}

/// The data of chunks, and whether they came to their end.
pub(super) async fn read_chunks(peer: &mut Peer) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    let raw = peer.rest_bytes().await;
    let mut rest = &raw[..];
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(str::from_utf8(&rest[..line]).expect("a size"), 16).expect("a size");
        if size == 0 {
            return (data, true);
        }
        data.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
    (data, false)
}

#[tokio::test]
async fn an_answer_is_read_to_its_end_although_its_readers_leave() {
    let test = Captured::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = client.head().await.get("sidestream-stream").expect("its id").to_owned();
    drop(client);
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    let ended = eventually("the recorded answer has ended", async || {
        let ended = test.daemon.metric("sidestream_captures_ended_total", &["complete"]).await;
        (ended == 1.0).then_some(())
    });
    ended.await;
    assert_eq!(test.get(&format!("/chat?stream={id}")).await.body, "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_begins_finds_it_all_the_same() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let body = r#"{"id":"c-1","messages":[]}"#;
    let (client, mut at, head) = test.ask(&post("/chat", "", body)).await;
    assert_eq!(at.body(&head).await, body);
    drop(client);
    let mut again =
        Peer::send_to(test.daemon.public, "GET /chat/c-1/stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    at.send(answer(&["data: 1\n\n"])).await;
    assert_eq!(again.head().await.status(), 200);
    assert_eq!(again.chunks(9).await, "data: 1\n\n");
}

#[tokio::test]
async fn what_a_disconnect_means_is_the_routes_to_say() {
    for (keys, path, cancels) in [
        ("", "/chat", false),
        ("", "/other", true),
        ("on_disconnect = \"cancel\"\n", "/chat", true),
        ("on_disconnect = \"shield\"\n", "/chat", false),
        ("drain_for = \"1s\"\n", "/chat", true),
    ] {
        let test = Captured::start(keys).await;
        let (mut client, mut at, _) = test.ask(&GET.replace("/chat", path)).await;
        at.send(answer(&["data: 1\n\n"])).await;
        client.head().await;
        assert_eq!(client.chunks(9).await, "data: 1\n\n");
        drop(client);
        if cancels {
            at.ended().await;
        } else {
            let ended = unless_over(Duration::from_millis(1500), at.ended()).await;
            assert!(ended.is_none(), "{keys:?}: the backend was cancelled");
        }
    }
}

#[tokio::test]
async fn a_reload_of_the_ai_sdk_gets_the_stream_that_is_under_way_and_then_nothing() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    assert_eq!(test.get("/chat/c-1/stream").await.status, 204, "nothing has begun");
    let body = r#"{"messages":[{"id":"m","parts":[{"type":"text","text":"hé"}]}],"id":"c-1"}"#;
    let (mut client, mut at, head) = test.ask(&post("/chat", "", body)).await;
    assert_eq!(at.body(&head).await, body);
    at.send(answer(&["data: 1\n\n"])).await;
    client.head().await;
    let tab = "GET /chat/c-1/stream HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut tabs = Vec::new();
    for _ in 0..2 {
        let mut tab = Peer::send_to(test.daemon.public, tab).await;
        assert_eq!(tab.head().await.get("x-of"), Some("backend"));
        assert_eq!(tab.chunks(9).await, "data: 1\n\n");
        tabs.push(tab);
    }
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    assert_eq!(client.chunks(18).await, "data: 1\n\ndata: 2\n\n");
    for tab in &mut tabs {
        assert_eq!(tab.chunks(9).await, "data: 2\n\n");
        assert_eq!(tab.chunk().await, "");
    }
    assert_eq!(test.get("/chat/c-1/stream").await.status, 204, "it has ended");
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn a_client_of_responses_goes_on_behind_a_number_and_asks_the_backend_for_what_is_not_recorded() {
    let test = Captured::start("preset = \"openai\"\nmethods = [\"POST\"]\n").await;
    let (mut client, mut at, head) = test.ask(&post("/chat", "", r#"{"stream":true}"#)).await;
    at.body(&head).await;
    let event = |n: u32| {
        format!("event: e\ndata: {{\"sequence_number\":{n},\"response\":{{\"id\":\"resp_1\"}}}}\n\n")
    };
    at.send(answer(&[&event(0), &event(1)])).await;
    client.head().await;
    assert_eq!(client.chunks(2 * event(0).len()).await, event(0) + &event(1));
    let ask = "GET /chat/resp_1?stream=true&starting_after=0 HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut again = Peer::send_to(test.daemon.public, ask).await;
    assert_eq!(again.head().await.status(), 200);
    assert_eq!(again.chunks(event(1).len()).await, event(1));
    for path in ["/chat/resp_1", "/chat/resp_2?stream=true"] {
        let (mut other, mut at, head) = test.ask(&GET.replace("/chat", path)).await;
        assert_eq!(head.target(), path);
        at.send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(other.head().await.status(), 404);
    }
    // Of one that has ended, too: the backend may have more than what is behind its end here.
    at.send(END).await;
    assert_eq!(again.chunk().await, "");
    let ask = "GET /chat/resp_1?stream=true&starting_after=1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut other = Peer::send_to(test.daemon.public, ask).await;
    assert_eq!(at.head().await.target(), "/chat/resp_1?stream=true&starting_after=1");
    at.send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(other.head().await.status(), 404);
}

#[tokio::test]
async fn tanstacks_client_that_asks_again_at_the_end_gets_an_empty_stream() {
    let test = Captured::start("preset = \"tanstack\"\n").await;
    let body = r#"{"runId":"r"}"#;
    let (mut client, mut at, head) = test.ask(&post("/chat", "", body)).await;
    at.body(&head).await;
    at.send(answer(&["data: 1\n\n"]) + END).await;
    let head = client.head().await;
    let id = head.get("sidestream-stream").expect("its id").to_owned();
    assert_eq!(client.body(&head).await, format!("id: {id}-1\ndata: 1\n\n"));
    let nobodys = "0".repeat(32);
    for last in [format!("{id}-1"), format!("{nobodys}-1"), "other".to_owned()] {
        let body = body.replace("\"r\"", if last == "other" { "\"s\"" } else { "\"r\"" });
        let headers = format!("last-event-id: {last}\r\n");
        let mut again = Peer::send_to(test.daemon.public, post("/chat", &headers, &body)).await;
        let head = again.head().await;
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")), "{last}");
        assert_eq!(again.body(&head).await, "", "{last}");
    }
    // Those who join are told that there is nothing, and forget it.
    assert_eq!(test.get("/chat?runId=s&offset=-1").await.status, 204);
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn a_workflows_run_is_named_in_the_answer_and_goes_on_behind_so_many_chunks() {
    let test = Captured::start("preset = \"workflow\"\nmethods = [\"POST\"]\n").await;
    let named = STREAMS.replace("x-of: backend", "x-workflow-run-id: run-1");
    for (head, run) in [(named.as_str(), Some("run-1")), (STREAMS, None)] {
        let (mut client, mut at, request) = test.ask(&post("/chat", "", "{}")).await;
        at.body(&request).await;
        let text = "data: 0\n\n: note\n\ndata: 1\n\n";
        at.send(format!("{head}{:x}\r\n{text}\r\n{END}", text.len())).await;
        let head = client.head().await;
        let id = head.get("x-workflow-run-id").expect("a run's id");
        assert_eq!(id, run.unwrap_or_else(|| head.get("sidestream-stream").expect("its id")));
        client.chunks(text.len()).await;
        let rest = async |index: &str| test.get(&format!("/chat/{id}/stream?startIndex={index}")).await;
        assert_eq!(rest("1").await.body, "data: 1\n\n");
        assert_eq!(rest("-1").await.body, "data: 1\n\n");
        assert_eq!(rest("0").await.body, text);
        assert_eq!(rest("2").await.status, 204);
        // The next is asked over a connection of its own.
        drop(at);
    }
}

#[tokio::test]
async fn with_ids_a_plain_client_comes_back_to_the_same_path() {
    let test = Captured::start("ids = true\n").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\nda", "ta: 2\n\n"]) + END).await;
    let head = client.head().await;
    let id = head.get("sidestream-stream").expect("its id").to_owned();
    assert_eq!(client.body(&head).await, format!("id: {id}-1\ndata: 1\n\nid: {id}-2\ndata: 2\n\n"));
    let last = |n: u32| format!("{id}-{n}");
    let again = test.get_with("/chat", &[("last-event-id", &last(1))]).await;
    assert_eq!(again.text(), format!("id: {id}-2\ndata: 2\n\n"));
    // There is nothing more, at which an `EventSource` stops.
    assert_eq!(test.get_with("/chat", &[("last-event-id", &last(2))]).await.status, 204);
    let other = [("last-event-id", last(1)), ("cookie", "a=b".to_owned())];
    let other = other.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(test.get_with("/chat", &other).await.status, 204);
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn operators_see_and_stop_what_is_recorded() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let (mut client, mut at, _) = test.begin(&post("/chat", "", r#"{"id":"c"}"#)).await;
    let page = test.daemon.command("GET", "/captures", &[], b"").await.json();
    let one = &page["captures"][0];
    assert_eq!((&page["total"], &one["state"], &one["bytes"]), (&1.into(), &"running".into(), &9.into()));
    assert_eq!((&one["path"], &one["names"][0], &one["readers"]), (&"/chat".into(), &"c".into(), &1.into()));
    let path = format!("/captures/{}", one["id"].as_str().expect("its id"));
    assert_eq!(test.daemon.command("DELETE", "/captures/none", &[], b"").await.status, 404);
    assert_eq!(test.daemon.command("DELETE", &path, &[], b"").await.status, 200);
    at.ended().await;
    assert_eq!(client.chunk().await, "");
}

#[tokio::test]
async fn a_stop_cancels_at_the_backend_and_ends_the_readers_answers() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let (mut client, mut at, _) = test.begin(&post("/chat", "", r#"{"id":"c"}"#)).await;
    let stop = |id: &str| format!("/chat/{id}/stop");
    let stopped = request(test.daemon.public, "POST", &stop("other"), &[], b"").await;
    assert_eq!(stopped.status, 204);
    at.send_chunk("data: 2\n\n").await;
    assert_eq!(client.chunks(9).await, "data: 2\n\n");
    // A page of another site cannot.
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(request(test.daemon.public, "POST", &stop("c"), &evil, b"").await.status, 403);
    assert_eq!(request(test.daemon.public, "POST", &stop("c"), &[], b"").await.status, 204);
    at.ended().await;
    assert_eq!(client.chunk().await, "");
    assert_eq!(test.get("/chat/c/stream").await.status, 204);
}

#[tokio::test]
async fn an_id_opens_nothing_to_others() {
    let test = Captured::start("owner_cookies = [\"session\"]\n").await;
    let of = |cookie: &str| format!("GET /chat HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n");
    let (mut client, mut at, _) = test.ask(&of("session=1; seen=2")).await;
    at.send(answer(&["data: 1\n\n"]) + END).await;
    let id = client.head().await.get("sidestream-stream").expect("its id").to_owned();
    client.chunks(9).await;
    let path = format!("/chat?stream={id}");
    for other in ["session=2; seen=2", "seen=2", "session=1; session=2"] {
        assert_eq!(test.get_with(&path, &[("cookie", other)]).await.status, 204, "{other}");
    }
    assert_eq!(
        test.get_with(&path, &[("cookie", "session=1"), ("authorization", "Bearer x")]).await.status,
        204
    );
    assert_eq!(test.get_with(&path, &[("cookie", "seen=3; session=1")]).await.body, "data: 1\n\n");
}

#[tokio::test]
async fn answers_that_are_no_streams_pass_by_and_are_counted() {
    let test = Captured::start("").await;
    let streams = "content-type: text/event-stream\r\n";
    for (head, outcome) in [
        ("200 OK\r\ncontent-type: text/html\r\n".to_owned(), "type"),
        (format!("200 OK\r\n{streams}content-encoding: gzip\r\n"), "encoded"),
        (format!("500 Oops\r\n{streams}"), "status"),
    ] {
        let (mut client, mut at, _) = test.ask(GET).await;
        at.send(format!("HTTP/1.1 {head}content-length: 3\r\n\r\nabc")).await;
        let head = client.head().await;
        assert_eq!(head.get("sidestream-stream"), None);
        assert_eq!(client.body(&head).await, "abc");
        let counted = test.daemon.metric("sidestream_captures_total", &[&format!("\"{outcome}\"")]).await;
        assert_eq!(counted, 1.0, "{outcome}");
    }
    let (mut client, at, _) = test.ask(GET).await;
    drop(at);
    assert_eq!(client.head().await.status(), 502);
    assert_eq!(test.daemon.metric("sidestream_captures", &[]).await, 0.0);
}

#[tokio::test]
async fn a_reader_who_takes_nothing_slows_down_nobody_and_is_cut_off() {
    let test = Captured::start("max_bytes = \"64KiB\"\n").await;
    let (slow, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    // More than the sockets between them hold.
    let piece = format!("data: {}\n\n", "x".repeat(64 << 10));
    for _ in 0..400 {
        at.send_chunk(&piece).await;
    }
    let mut slow = slow;
    let head = slow.head().await;
    let id = head.get("sidestream-stream").expect("its id");
    assert_eq!(test.get(&format!("/chat?stream={id}")).await.status, 204, "its beginning is gone");
    let cut = within("the slow reader is cut off", slow.rest_bytes()).await;
    assert!(cut.len() < 400 * piece.len() && !cut.ends_with(END.as_bytes()), "{}", cut.len());
    assert_eq!(test.daemon.metric("sidestream_capture_readers_cut_total", &[]).await, 1.0);
    let kept = test.daemon.metric("sidestream_capture_bytes", &[]).await;
    assert!(kept <= f64::from(64 << 10), "{kept}");
}

#[tokio::test]
async fn recordings_are_bounded_in_number_and_readers() {
    let test = Captured::start_with("limits.captures = 1\n", "max_readers = 2\n").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = client.head().await.get("sidestream-stream").expect("its id").to_owned();
    let again = format!("GET /chat?stream={id} HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut second = Peer::send_to(test.daemon.public, &again).await;
    assert_eq!(second.head().await.status(), 200);
    let third = test.get(&format!("/chat?stream={id}")).await;
    assert_eq!((third.status, third.header("retry-after")), (429, "1"));
    // There is no room for another: it passes by.
    let (mut other, mut at_other, _) = test.ask(GET).await;
    at_other.send(answer(&["data: 2\n\n"])).await;
    assert_eq!(other.head().await.get("sidestream-stream"), None);
    assert_eq!(other.chunks(9).await, "data: 2\n\n");
    // What has ended makes room.
    at.send(END).await;
    assert_eq!(client.chunks(9).await, "data: 1\n\n");
    assert_eq!(client.chunk().await, "");
    let ended = async || {
        let ended = test.daemon.metric("sidestream_captures_ended_total", &["complete"]).await;
        (ended == 1.0).then_some(())
    };
    eventually("the recorded answer has ended", ended).await;
    let mut next = Peer::send_to(test.daemon.public, GET).await;
    at.head().await;
    at.send(answer(&["data: 3\n\n"])).await;
    assert!(next.head().await.get("sidestream-stream").is_some());
    assert_eq!(test.get(&format!("/chat?stream={id}")).await.status, 204);
}

#[tokio::test]
async fn a_path_that_is_not_captured_is_as_it_was() {
    let test = Captured::start("methods = [\"POST\"]\n").await;
    for path in ["/chat", "/chat/", "/chats"] {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
        let (mut client, mut at, head) = test.ask(&ask).await;
        assert_eq!(head.get("accept-encoding"), Some("gzip"), "{path}");
        at.send(answer(&["data: 1\n\n"]) + END).await;
        let head = client.head().await;
        let names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "x-of", "transfer-encoding", "date"], "{path}");
        assert_eq!(client.body(&head).await, "data: 1\n\n");
    }
}
