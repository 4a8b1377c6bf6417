//! Requests on a captured path that are not what clients of it send: other methods, preflights, strange bodies.

use super::{Captured, END, STREAMS, post};
use crate::harness::{Daemon, H2, Node, Peer, eventually, request, within};
use crate::hostile::memory;

/// An id that nobody has.
const NOBODYS: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn only_get_comes_back_and_other_methods_are_the_backends() {
    let test = Captured::start("").await;
    for method in ["DELETE", "PUT", "HEAD", "OPTIONS", "PROPFIND"] {
        let path = format!("/chat?stream={NOBODYS}");
        let (mut client, mut at, head) =
            test.ask(&format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(head.line, format!("{method} {path} HTTP/1.1"));
        at.send("HTTP/1.1 204 No Content\r\nx-of: backend\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.head().await.get("x-of"), Some("backend"), "{method}");
    }
}

#[tokio::test]
async fn a_browser_learns_before_whether_a_page_of_another_origin_may_come_back_or_stop() {
    let cors = "cors.origins = [\"https://page.example\"]\n";
    let test = Captured::start_with(cors, "preset = \"ai-sdk\"\n").await;
    let ask = async |path: &str, method: &str| {
        let headers = [
            ("origin", "https://page.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", "last-event-id"),
        ];
        request(test.daemon.public, "OPTIONS", path, &headers, b"").await
    };
    let by_id = format!("/chat?stream={NOBODYS}");
    for (path, method) in [(by_id.as_str(), "GET"), ("/chat/c/stream", "GET"), ("/chat/c/stop", "POST")] {
        let answer = ask(path, method).await;
        assert_eq!(answer.header("access-control-allow-origin"), "https://page.example", "{path}");
        assert!(answer.header("access-control-allow-headers").to_lowercase().contains("last-event-id"));
    }
    // What begins an answer is the backend's to allow.
    for (path, method) in [("/chat", "POST"), ("/chat/c/stream", "POST"), ("/chat/c/stop", "GET")] {
        let asked = format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: a\r\norigin: https://page.example\r\naccess-control-request-method: {method}\r\n\r\n"
        );
        let (mut client, mut at, head) = test.ask(&asked).await;
        assert_eq!(head.target(), path);
        at.send("HTTP/1.1 204 No Content\r\nx-of: backend\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.head().await.get("x-of"), Some("backend"), "{path}");
    }
}

/// Lets the backend answer with one event and no end.
async fn answered(client: &mut Peer, at: &mut Peer) {
    at.send(format!("{STREAMS}9\r\ndata: 1\n\n\r\n")).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.chunks(9).await, "data: 1\n\n");
}

/// The names of the answer that began last.
async fn names(test: &Captured) -> Vec<String> {
    let page = test.daemon.command("GET", "/captures", &[], b"").await.json();
    let last = page["captures"].as_array().and_then(|all| all.last()).expect("there is one");
    let names = last["names"].as_array().expect("names").iter();
    names.map(|name| name.as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn bodies_of_any_depth_and_size_are_forwarded_as_they_are_and_looked_at_as_far_as_allowed() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let deep = "[".repeat(60_000);
    let wide = "x".repeat(300_000);
    for (body, name) in [
        (format!("{{\"a\":{deep},\"id\":\"1\"}}"), None),
        (format!("{{\"id\":\"2\",\"a\":{deep}"), Some("2")),
        (format!("{{\"{}\":1,\"id\":\"3\"}}", "\\u0061".repeat(10_000)), Some("3")),
        (format!("{{\"a\":\"{wide}\",\"id\":\"4\"}}"), None),
        (format!("{{\"id\":\"5\",\"a\":\"{wide}\"}}"), Some("5")),
        (format!("{{\"id\":\"{}\"}}", &wide[..513]), None),
        (format!("{{\"id\":\"{wide}\"}}"), None),
        ("{\"id\":{\"id\":\"6\"}}".to_owned(), None),
        ("{\"id\":\"7\",\"id\":\"8\"}".to_owned(), Some("8")),
        ("\u{feff}{\"id\":\"9\"}".to_owned(), None),
        ("null".to_owned(), None),
        (String::new(), None),
    ] {
        let pieces = body.as_bytes().chunks(7000);
        let chunks: String = pieces
            .map(|piece| format!("{:x};ext=1\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)))
            .collect();
        let chunked = "POST /chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        for (request, framing) in [
            (post("/chat", "", &body), "content-length"),
            (format!("{chunked}{chunks}{END}"), "transfer-encoding"),
        ] {
            let of = &body[..body.len().min(40)];
            let mut client = Peer::connect(test.daemon.public).await;
            let asked = async {
                let (mut at, head) = test.backend.request().await;
                assert_eq!(at.body(&head).await, body, "{of}");
                (at, head)
            };
            let ((), (mut at, head)) = tokio::join!(client.send(&request), asked);
            for name in ["content-length", "transfer-encoding"] {
                assert_eq!(head.get(name).is_some(), name == framing, "{of}: {name}");
            }
            answered(&mut client, &mut at).await;
            assert_eq!(names(&test).await, name.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{of}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_announced_is_asked_for_and_comes() {
    // Those that look at the body, and those that do not.
    for preset in ["ai-sdk", "workflow"] {
        let test = Captured::start(&format!("preset = \"{preset}\"\n")).await;
        let ask = "POST /chat HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n";
        let mut client = Peer::send_to(test.daemon.public, ask).await;
        assert_eq!(client.head().await.status(), 100);
        client.send("{\"id\":\"c\"}").await;
        let (mut at, head) = test.backend.request().await;
        assert_eq!(at.body(&head).await, "{\"id\":\"c\"}");
        answered(&mut client, &mut at).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_leaves_nothing_recorded() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let head = "POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{\"id\":\"c\",";
    // Within what is looked at: the backend hears nothing of it.
    let client = Peer::send_to(test.daemon.public, head).await;
    drop(client);
    // Behind that.
    let client = Peer::send_to(test.daemon.public, format!("{head}\"a\":\"{}", "x".repeat(100_000))).await;
    let (mut at, head) = test.backend.request().await;
    assert_eq!(head.get("content-length"), Some("1000000"));
    at.take(90_000).await;
    drop(client);
    at.rest_bytes().await;
    let forgotten = async || (test.daemon.metric("sidestream_captures", &[]).await == 0.0).then_some(());
    eventually("nothing is recorded", forgotten).await;
    assert_eq!(test.get("/chat/c/stream").await.status, 204);
    assert!(!test.backend.is_asked().await, "the backend was asked for the first");
}

#[tokio::test]
async fn a_first_reader_over_http_2_may_reset_its_stream_and_come_back() {
    let test = Captured::start("ids = true\n").await;
    let mut h2 = H2::plain(test.daemon.public).await;
    let (answer, _) = h2.send("GET", "/chat", &[], true).await;
    let (mut at, _) = test.backend.request().await;
    at.send(format!("{STREAMS}9\r\ndata: 1\n\n\r\n")).await;
    let (head, mut body) = within("an answer", answer).await.expect("a head").into_parts();
    let id = head.headers["sidestream-stream"].to_str().expect("an id").to_owned();
    let first = within("the first event", body.data()).await.expect("there is one").expect("it is whole");
    assert!(first.starts_with(b"id: "));
    drop(body);
    let left = async || (test.daemon.metric("sidestream_capture_readers", &[]).await == 0.0).then_some(());
    eventually("its reader is gone", left).await;
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    let again = h2.ask("GET", "/chat", &[("last-event-id", &format!("{id}-1"))], b"").await;
    assert_eq!((again.status, again.text()), (200, format!("id: {id}-2\ndata: 2\n\n")));
}

#[tokio::test]
async fn what_trickles_and_what_has_no_line_end_comes_as_it_is() {
    let test = Captured::start("ids = true\nidentity = [\"{data.id}\"]\n").await;
    // Without chunks, so that a cut within a character is nobody's affair.
    let (mut client, mut at, _) = test.ask("GET /chat HTTP/1.0\r\nhost: a\r\n\r\n").await;
    at.send(STREAMS).await;
    let id = client.head().await.get("sidestream-stream").expect("its id").to_owned();
    let text = "data: {\"id\":\"é\"}\r\n\r\ndata: 2\n\n";
    for byte in text.bytes() {
        at.send([b"1\r\n".as_slice(), &[byte], b"\r\n"].concat()).await;
    }
    let with_ids = format!("id: {id}-1\ndata: {{\"id\":\"é\"}}\r\n\r\nid: {id}-2\ndata: 2\n\n");
    assert_eq!(client.take(with_ids.len()).await, with_ids.as_bytes());
    assert_eq!(names(&test).await, ["é"]);
    let long = format!("data: {}", "x".repeat(1 << 20));
    at.send_chunk(&long).await;
    let with_id = format!("id: {id}-3\n{long}");
    assert_eq!(client.take(with_id.len()).await, with_id.as_bytes());
    let mut again = Peer::send_to(
        test.daemon.public,
        format!("GET /chat HTTP/1.1\r\nhost: a\r\nlast-event-id: {id}-2\r\n\r\n"),
    )
    .await;
    assert_eq!(again.head().await.status(), 200);
    assert_eq!(again.chunks(with_id.len()).await, with_id);
    at.send_chunk("\n\n").await;
    assert_eq!(again.chunk().await, "\n\n");
    client.expect("\n\n").await;
}

#[tokio::test]
async fn another_protocol_is_spoken_through_a_captured_path() {
    let test = Captured::start("").await;
    let ask = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    let (mut client, mut at, head) = test.ask(ask).await;
    assert_eq!(head.get("upgrade"), Some("websocket"));
    at.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello")
        .await;
    assert_eq!(client.head().await.status(), 101);
    client.expect("hello").await;
    client.send("there").await;
    at.expect("there").await;
}

#[tokio::test]
async fn answers_that_others_took_the_room_of_leave_nothing_behind() {
    let app = Node::start(
        "const server = http.createServer((request, response) => request.resume().on('end', () => {
             response.writeHead(200, { 'content-type': 'text/event-stream' });
             response.end('data: 1\\n\\n');
         }));",
    )
    .await;
    let capture = "limits.captures = 10\n[[capture]]\npath = \"/chat\"\npreset = \"ai-sdk\"\nkeep = \"1h\"\n";
    let daemon = Daemon::start(&app.config(capture)).await;
    let ask = async |count: usize| {
        for n in 0..count {
            let body = format!("{{\"id\":\"{count}-{n}\"}}");
            let answer = request(daemon.public, "POST", "/chat", &[], body.as_bytes()).await;
            assert_eq!(answer.text(), "data: 1\n\n");
        }
        memory(&daemon, "VmRSS:")
    };
    let before = ask(300).await;
    let grown = ask(1500).await.saturating_sub(before);
    assert_eq!(daemon.metric("sidestream_captures", &[]).await, 10.0);
    assert!(grown < 4 << 20, "{} KiB for 1500 answers that are forgotten", grown >> 10);
}

#[tokio::test]
async fn a_body_of_the_smallest_pieces_takes_no_more_room_than_its_bytes() {
    let test = Captured::start("preset = \"ai-sdk\"\nmax_look = \"16MiB\"\n").await;
    let ask = async |pieces: usize| {
        let head = "POST /chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = Peer::send_to(test.daemon.public, format!("{head}a\r\n{{\"id\":\"c\",\r\n")).await;
        client.send("1\r\n \r\n".repeat(pieces) + END).await;
        let (mut at, head) = test.backend.request().await;
        assert_eq!(at.body(&head).await.len(), 10 + pieces);
        // The most that it has been.
        memory(&test.daemon, "VmHWM:")
    };
    let small = ask(1000).await;
    let grown = ask(200_000).await.saturating_sub(small);
    assert!(grown < 8 << 20, "{} KiB for 200 kB", grown >> 10);
}
