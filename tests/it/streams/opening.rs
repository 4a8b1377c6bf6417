//! How a stream begins: its head, who it is for, what comes on it while nothing happens, and requests that open none.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{QUIET, publish_run};
use crate::harness::{Daemon, Pace, Stream, eventually, request, within};

#[tokio::test]
async fn a_stream_begins_with_its_head_and_the_connected_event() {
    let daemon = Daemon::start(QUIET).await;
    let mut stream = daemon.stream("/events?topic=a&topic=b").await;
    let head = stream.head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for line in [
        "content-type: text/event-stream\r\n",
        "cache-control: no-cache, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
    let connected = stream.block().await;
    assert!(connected.is("connected"));
    assert!((1000..=4000).contains(&connected.retry.expect("a retry")), "{connected:?}");
    let data = connected.json();
    assert_eq!(data["topics"], json!(["a", "b"]));
    assert_eq!((&data["resumed"], &data["missed"]), (&json!(false), &json!(0)));
    assert_eq!(data["client"].as_str().expect("a client id").len(), 16);
    // The id is the head's: it resumes at this very point.
    let cursor = connected.id().to_owned();
    drop(stream);
    let ids = publish_run(&daemon, 0, 3).await;
    let mut again = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    let connected = again.block().await;
    assert_eq!(connected.id(), cursor, "a resumed stream is given its own cursor back");
    assert_eq!((&connected.json()["resumed"], &connected.json()["missed"]), (&json!(true), &json!(3)));
    for (n, id) in ids.iter().enumerate() {
        let event = again.event().await;
        assert_eq!((event.data(), event.id()), (&*n.to_string(), &**id));
    }
}

#[tokio::test]
async fn one_path_serves_requests_with_and_without_a_parameter() {
    let config = format!(
        "{QUIET}[[stream]]\npath = \"/one\"\nuser = \"{{query.userId?}}\"\n\
         topics = [\"news\", \"conversation:{{query.conversationId?}}\", \"room:{{query.room:-lobby}}\"]\n\
         [[stream]]\npath = \"/two\"\ntopics = [\"conversation:{{query.conversationId}}\"]\n\
         [[stream]]\npath = \"/two\"\ntopics = [\"news\"]\n"
    );
    let daemon = Daemon::start(&config).await;
    for (target, topics) in [
        ("/one", json!(["news", "room:lobby"])),
        ("/one?conversationId=&room=", json!(["news", "room:lobby"])),
        ("/one?conversationId=7&room=den", json!(["news", "conversation:7", "room:den"])),
        (
            "/one?conversationId=7&conversationId=8",
            json!(["news", "conversation:7", "conversation:8", "room:lobby"]),
        ),
        ("/two", json!(["news"])),
        ("/two?conversationId=7", json!(["conversation:7"])),
    ] {
        let mut stream = daemon.stream(target).await;
        assert_eq!(stream.block().await.json()["topics"], topics, "{target}");
    }
    // Without its parameter the route has no user; with it, the user's events arrive.
    let mut nobody = daemon.stream("/one").await;
    let mut ann = daemon.stream("/one?userId=ann").await;
    nobody.block().await;
    ann.block().await;
    daemon.publish(&json!([{"user": "ann", "data": 1}, {"topic": "news", "data": 2}])).await;
    assert_eq!(ann.event().await.data(), "1");
    assert_eq!(nobody.event().await.data(), "2");
}

#[tokio::test]
async fn an_event_reaches_the_streams_it_is_for_each_once() {
    let config = format!(
        "{QUIET}[[stream]]\npath = \"/events\"\ntopics = [\"{{query.t}}\"]\nuser = \"{{query.u}}\"\nsession = \"{{query.s}}\"\n"
    );
    let daemon = Daemon::start(&config).await;
    let mut ann = daemon.stream("/events?t=x&t=y&u=ann&s=1").await;
    let mut ann_too = daemon.stream("/events?t=z&u=ann&s=2").await;
    let mut bob = daemon.stream("/events?t=x&u=bob&s=3").await;
    let client = ann_too.block().await.json()["client"].clone();
    ann.block().await;
    bob.block().await;
    for (audience, matched, [to_ann, to_ann_too, to_bob]) in [
        (json!({"topic": "x"}), 2, [true, false, true]),
        (json!({"topics": ["x", "y"], "user": "ann", "session": 1}), 3, [true, true, true]),
        (json!({"users": ["ann"], "except": {"sessions": ["2"]}}), 1, [true, false, false]),
        (json!({"topic": "ann"}), 0, [false, false, false]),
        (json!({"client": client}), 1, [false, true, false]),
        (json!({"broadcast": true, "except": {"users": ["bob"]}}), 2, [true, true, false]),
        (json!({"target": "user", "targetIds": ["bob", "ann"]}), 3, [true, true, true]),
        (json!({"target": "all"}), 3, [true, true, true]),
    ] {
        let mut event = audience.clone();
        event["data"] = json!({ "audience": audience });
        assert_eq!(daemon.publish(&event).await["matched"], matched, "{audience}");
        daemon.publish(&json!({"broadcast": true, "event": "marker"})).await;
        for (stream, reached) in [(&mut ann, to_ann), (&mut ann_too, to_ann_too), (&mut bob, to_bob)] {
            if reached {
                assert_eq!(stream.block().await.json(), event["data"]);
            }
            assert!(stream.block().await.is("marker"), "{audience}");
        }
    }
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats_in_the_configured_form() {
    for (form, check) in
        [("comment", ": hb\n\n"), ("line", ": hb\n"), ("event:ping", "event: ping\ndata: {}\n\n")]
    {
        let daemon = Daemon::start(&format!("[sse]\nheartbeat = \"1s\"\nheartbeat_as = \"{form}\"\n")).await;
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        socket.write_all(b"GET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let chunk = format!("{:x}\r\n{check}\r\n", check.len());
        let mut got = String::new();
        within("two heartbeats", async {
            while got.matches(&chunk).count() < 2 {
                let mut buffer = [0; 1024];
                let read = socket.read(&mut buffer).await.expect("more");
                assert_ne!(read, 0);
                got.push_str(str::from_utf8(&buffer[..read]).expect("text"));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn old_clients_and_used_connections_get_their_stream_too() {
    let daemon = Daemon::start(QUIET).await;
    // HTTP/1.0 knows no chunks.
    let mut old = Stream::open_raw(daemon.public, b"GET /events?topic=a HTTP/1.0\r\n\r\n").await;
    assert!(!old.head.contains("chunked"));
    assert!(old.block().await.is("connected"));
    // A connection that has answered before, one that has carried a body, and one with a request behind the stream's.
    let get = "GET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n";
    for (first, sink) in [
        ("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", "socket"),
        ("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", "channel"),
    ] {
        let before = daemon.metric("sidestream_streams_opened_total", &[sink]).await;
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        socket.write_all(first.as_bytes()).await.expect("sent");
        within("the first answer", async {
            let mut got = Vec::new();
            while !got.ends_with(b"}") {
                assert_ne!(socket.read_buf(&mut got).await.expect("more"), 0);
            }
        })
        .await;
        socket.write_all(get.as_bytes()).await.expect("sent");
        let mut stream = within("a head", Stream::read_head(socket)).await;
        assert!(stream.block().await.is("connected"), "{sink}");
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(100_000)})).await;
        assert_eq!(stream.block().await.data().len(), 100_000);
        assert_eq!(daemon.metric("sidestream_streams_opened_total", &[sink]).await, before + 1.0);
    }
    let mut pipelined = Stream::open_raw(daemon.public, format!("{get}{get}").as_bytes()).await;
    assert!(pipelined.block().await.is("connected"));
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(pipelined.block().await.data(), "1");
}

#[tokio::test]
async fn a_stream_behind_an_answer_that_is_still_on_its_way_does_not_cut_it() {
    const LARGE: usize = 6_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = listener.local_addr().expect("its address");
    let daemon = Daemon::start(&format!("{QUIET}[public]\nbackend = \"http://{backend}\"\n")).await;
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut got).await.expect("a request"), 0);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.write_all(&vec![b'x'; LARGE]).await.expect("sent");
    });
    let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
    socket
        .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\nGET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut got = Vec::new();
    let mut part = vec![0; 32 << 10];
    let mut opened_at = None;
    within("the stream behind the answer", async {
        while !got.ends_with(b"\n\n\r\n") {
            // Slower than the backend, by a question each time: the answer's end waits in the daemon when the stream's
            // turn comes.
            if opened_at.is_none() && daemon.metric("sidestream_streams_opened_total", &[]).await == 1.0 {
                opened_at = Some(got.len());
            }
            let read = socket.read(&mut part).await.expect("more");
            assert_ne!(read, 0, "ended after {} bytes", got.len());
            got.extend_from_slice(&part[..read]);
        }
    })
    .await;
    assert!(
        opened_at.is_some_and(|at| at < LARGE),
        "{opened_at:?}: no part of the answer waited in the daemon"
    );
    let head = got.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let (body, stream) = got[head..].split_at(LARGE);
    assert!(body.iter().all(|&byte| byte == b'x'), "the answer was cut");
    assert!(
        stream.starts_with(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream"),
        "the stream's head follows"
    );
}

#[tokio::test]
async fn a_bad_request_for_a_stream_is_refused_with_a_sentence() {
    let daemon = Daemon::start("[limits]\ntopics_per_stream = 3\n").await;
    let long = format!("/events?topic={}", "x".repeat(257));
    for (path, sentence) in [
        ("/events", "the query parameter `topic` is missing"),
        ("/events?topic=", "the query parameter `topic` is missing"),
        ("/events?topic=a%0Ab", "holds a control character"),
        (&*long, "is longer than 256 bytes"),
        ("/events?topic=a&topic=b&topic=c&topic=d", "at most 3 topics (limits.topics_per_stream)"),
        ("/events?topic=a&topic=", "the query parameter `topic` is missing or empty"),
    ] {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.json()["error"].as_str().expect("a sentence").contains(sentence), "{}", answer.text());
    }
    let twice = [("last-event-id", "1-0"), ("last-event-id", "1-0")];
    let answer = request(daemon.public, "GET", "/events?topic=a", &twice, b"").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("`Last-Event-ID` is given more than once"))
    );
    // Nothing was left behind, and a good one is served.
    assert!(daemon.stream("/events?topic=a").await.block().await.is("connected"));
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["missing_query"]).await, 3.0);
}

#[tokio::test]
async fn a_star_in_a_topic_is_a_letter_like_any_other() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a*").await;
    assert_eq!(stream.block().await.json()["topics"], json!(["a*"]));
    for topic in ["a", "ab", "a*"] {
        daemon.publish(&json!({ "topic": topic, "data": topic })).await;
    }
    assert_eq!(stream.data(1).await, ["a*"]);
}

#[tokio::test]
async fn a_window_or_a_websocket_on_a_streams_path_gets_the_backends_answer() {
    let backend = crate::harness::Backend::start().await;
    let daemon = Daemon::start(&backend.config("")).await;
    let html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for headers in [
        &[("accept", html)][..],
        &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")],
    ] {
        let asked = tokio::spawn({
            let (public, headers) = (daemon.public, headers.to_vec());
            async move { request(public, "GET", "/events?topic=a", &headers, b"").await }
        });
        let (mut peer, head) = backend.request().await;
        assert_eq!(head.target(), "/events?topic=a");
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage").await;
        assert_eq!(asked.await.expect("an answer").text(), "page");
    }
    for accept in ["text/event-stream", "*/*"] {
        let mut stream = Stream::open(daemon.public, "/events?topic=a", &[("accept", accept)]).await;
        assert!(stream.block().await.is("connected"), "{accept}");
    }
}

#[tokio::test]
async fn a_client_that_sends_junk_is_cut_whatever_its_pieces_are() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a").await;
    assert!(stream.block().await.is("connected"));
    let mut pace = Pace::of(Duration::from_millis(2));
    for _ in 0..96 {
        // It may have been cut already.
        let _ = stream.socket().write_all(&[b'x'; 1 << 10]).await;
        pace.next().await;
    }
    eventually("it is gone", async || {
        (daemon.metric("sidestream_streams_closed_total", &["client_gone"]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_head_is_cut_and_an_oversized_one_refused() {
    let daemon = Daemon::start("[public]\nhead_timeout = \"500ms\"\nmax_head = \"8KiB\"\n").await;
    let mut slow = TcpStream::connect(daemon.public).await.expect("a connection");
    slow.write_all(b"GET /events?topic=a HTTP/1.1\r\nhost:").await.expect("sent");
    let mut got = Vec::new();
    // Cut, whether with an answer or without.
    let _ = within("the slow head is cut", slow.read_to_end(&mut got)).await;
    assert!(!String::from_utf8_lossy(&got).contains("200 OK"));

    let mut large = TcpStream::connect(daemon.public).await.expect("a connection");
    let head = format!("GET /events?topic=a HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let _ = large.write_all(head.as_bytes()).await;
    let mut got = Vec::new();
    let _ = within("an answer", large.read_to_end(&mut got)).await;
    assert!(String::from_utf8_lossy(&got).starts_with("HTTP/1.1 431"), "{}", String::from_utf8_lossy(&got));

    let mut broken = TcpStream::connect(daemon.public).await.expect("a connection");
    broken.write_all(b"GET /events?topic=a HTTP/1.1\r\nno colon here\r\n\r\n").await.expect("sent");
    let mut got = Vec::new();
    let _ = within("an answer", broken.read_to_end(&mut got)).await;
    assert!(String::from_utf8_lossy(&got).starts_with("HTTP/1.1 400"));
}
