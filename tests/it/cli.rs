//! The commands as a shell runs them: `publish` and `tail` here, the others in files of their own.

mod generated;
mod health;
mod init;
mod operating;
mod over_tls;
mod serving;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Daemon, Finished, KEY, Shell, within};

const KEY_VARIABLE: &str = "SIDESTREAM_PUBLISH_KEY";

/// Runs `sidestream publish` against this daemon with its key.
async fn publish(daemon: &Daemon, arguments: &[&str], input: &str) -> Finished {
    let url = format!("http://{}", daemon.internal);
    let arguments = [&["publish", "--url", &url], arguments].concat();
    Shell::run(&arguments, &[(KEY_VARIABLE, KEY)], input).await
}

/// The same, which must succeed; gives the line that it prints.
async fn published(daemon: &Daemon, arguments: &[&str]) -> String {
    let finished = publish(daemon, arguments, "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

/// Starts `sidestream tail` on this daemon and waits until its stream is open.
async fn tail(daemon: &Daemon, path: &str, arguments: &[&str]) -> Shell {
    let url = format!("http://{}{path}", daemon.public);
    let shell = Shell::start(&[&["tail", &url], arguments].concat());
    shell.said("connected as client").await;
    shell
}

#[tokio::test]
async fn what_is_published_in_one_shell_is_seen_in_another() {
    let daemon = Daemon::start("").await;
    let mut tail = tail(&daemon, "/events?topic=a&topic=b", &[]).await;
    let line = published(&daemon, &["--topic", "a", "--event", "message:new", r#"{"text": "hi"}"#]).await;
    let id = line.strip_prefix("id=").and_then(|rest| rest.strip_suffix(" matched=1\n")).expect(&line);
    assert_eq!(tail.line().await, format!(r#"{id}  message:new  {{"text": "hi"}}"#));

    let line = published(&daemon, &["--broadcast", "--ephemeral", "two\nlines"]).await;
    assert_eq!(line, "id=none matched=1\n");
    assert_eq!(tail.line().await, "-  message  two");
    assert_eq!(tail.line().await, "    lines");

    let line = published(&daemon, &["--topic", "elsewhere", "x"]).await;
    assert!(line.ends_with(" matched=0\n"), "{line}");
}

#[tokio::test]
async fn tail_as_json_is_a_line_for_each_event_and_ends_after_the_count() {
    let daemon = Daemon::start("").await;
    let mut tail = tail(&daemon, "/events?topic=a", &["--output", "json", "--count", "2"]).await;
    let answer = publish(&daemon, &["--topic", "a", "--output", "json", "--text", "{\"x\":1}"], "").await;
    let answer: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(answer["matched"], 1);
    let line: serde_json::Value = serde_json::from_str(&tail.line().await).expect("JSON");
    assert_eq!(line, json!({ "id": answer["id"], "event": "message", "data": "{\"x\":1}" }));

    published(&daemon, &["--topic", "a", "--ephemeral", "--event", "e", "line\nline"]).await;
    let rest = tail.finish().await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    assert_eq!(rest.stdout, "{\"id\":null,\"event\":\"e\",\"data\":\"line\\nline\"}\n");
}

#[tokio::test]
async fn tail_since_an_id_begins_with_what_came_later() {
    let daemon = Daemon::start("").await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let event = json!({ "topic": "a", "data": n });
        ids.push(daemon.publish(&event).await["id"].as_str().expect("an id").to_owned());
    }
    let tail = tail(&daemon, "/events?topic=a", &["--since", &ids[1], "--count", "2"]).await;
    tail.said("resumed, missed 2").await;
    let finished = tail.finish().await;
    assert_eq!(finished.stdout, format!("{}  message  2\n{}  message  3\n", ids[2], ids[3]));
}

#[tokio::test]
async fn tail_says_a_reset() {
    let daemon = Daemon::start("").await;
    let tail = tail(&daemon, "/events?topic=a", &["--since", "1-0-abcdef", "--all", "--count", "2"]).await;
    tail.said("reset (other_log): events were missed").await;
    let finished = tail.finish().await;
    assert!(finished.stdout.contains("  connected  {"), "{finished:?}");
    assert!(finished.stdout.contains(r#"  reset  {"reason":"other_log"}"#), "{finished:?}");
}

#[tokio::test]
async fn data_comes_from_standard_input_too() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a").await;
    for arguments in [&["--topic", "a"][..], &["--topic", "a", "-"]] {
        let finished = publish(&daemon, arguments, "from a pipe\n").await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(stream.event().await.data(), "from a pipe");
    }
    let finished = publish(&daemon, &["--topic", "a"], "").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("no data"), "{finished:?}");
}

#[tokio::test]
async fn envelopes_are_published_all_or_none() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let bad = "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"dada\":2}\n";
    let finished = publish(&daemon, &["--envelopes"], bad).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("400") && finished.stderr.contains("dada"), "{finished:?}");

    let good = "{\"topic\":\"a\",\"data\":{\"n\" : 3}}\n{\"topic\":\"b\",\"data\":4}\n";
    let finished = publish(&daemon, &["--envelopes", "--idempotency-key", "k"], good).await;
    let matched: Vec<_> = finished.stdout.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(matched, ["matched=1", "matched=0"], "{finished:?}");
    assert_eq!(stream.event().await.data(), "{\"n\" : 3}");
    let again = publish(&daemon, &["--envelopes", "--idempotency-key", "k"], good).await;
    assert_eq!(again.stdout.matches(" duplicate\n").count(), 2, "{again:?}");
}

#[tokio::test]
async fn a_refused_publish_prints_the_daemons_own_sentence() {
    let daemon = Daemon::start("").await;
    let url = format!("http://{}", daemon.internal);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, "wrong\n").expect("a file");
    let file = file.to_str().expect("text");
    for (arguments, environment) in
        [(&["--key", "wrong"][..], &[][..]), (&["--key-file", file], &[]), (&[], &[(KEY_VARIABLE, "wrong")])]
    {
        let arguments = [&["publish", "--topic", "a", "--url", &url, "hi"], arguments].concat();
        let finished = Shell::run(&arguments, environment, "").await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("the publish key is wrong"), "{finished:?}");
        assert!(finished.stdout.is_empty() && !finished.stderr.contains(KEY), "{finished:?}");
    }
    let finished = publish(&daemon, &["--topic", "a", "--event", "a\nb", "hi"], "").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("event") && finished.stderr.contains("control character"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_published_at_all_says_why() {
    let url = format!("http://{}", nobody().await);
    for (arguments, code, say) in [
        (&["--topic", "a", "--url", &url, "--key", "k", "hi"][..], 1, "cannot reach 127.0.0.1"),
        (&["--topic", "a", "--url", &url, "hi"], 1, "no publish key"),
        (
            &["--topic", "a", "--url", &url, "--key-file", "/nonexistent/key", "hi"],
            1,
            "/nonexistent/key cannot be read",
        ),
        (&["--topic", "a", "--url", &url, "--key", "a\nb", "hi"], 1, "no HTTP header can carry"),
        (&["--topic", "a", "--url", "http://", "--key", "k", "hi"], 2, "is not of the form"),
        (&["--topic", "a", "--json", "--key", "k", "{"], 1, "the data is not JSON"),
        (&["hi"], 2, "--topic"),
    ] {
        let finished = Shell::run(&[&["publish"], arguments].concat(), &[], "").await;
        assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(say), "{arguments:?}: {finished:?}");
    }
}

#[tokio::test]
async fn tail_that_cannot_begin_says_why() {
    let url = format!("http://{}/events", nobody().await);
    for (url, code, say) in [
        (&*url, 1, "cannot reach 127.0.0.1"),
        ("ftp://localhost/events", 2, "has to begin with http://, https:// or unix:"),
        ("http://localhost:99999/events", 2, "has a port that is not"),
    ] {
        let finished = Shell::run(&["tail", url], &[], "").await;
        assert_eq!(finished.code, Some(code), "{url}: {finished:?}");
        assert!(finished.stderr.contains(say), "{url}: {finished:?}");
    }
}

#[tokio::test]
async fn tail_says_the_daemons_sentence_when_a_stream_is_refused() {
    let daemon = Daemon::start("").await;
    let url = format!("http://{}/events", daemon.public);
    let finished = Shell::run(&["tail", &url], &[], "").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the query parameter `topic` is missing"), "{finished:?}");
}

#[tokio::test]
async fn tail_ends_with_a_signal() {
    let daemon = Daemon::start("").await;
    for signal in ["INT", "TERM"] {
        let tail = tail(&daemon, "/events?topic=a", &[]).await;
        tail.signal(signal);
        let finished = tail.finish().await;
        assert_eq!((finished.code, &*finished.stdout), (Some(0), ""), "{signal}: {finished:?}");
    }
}

#[tokio::test]
async fn tail_ends_when_nobody_reads_it_any_more() {
    let daemon = Daemon::start("").await;
    let mut tail = tail(&daemon, "/events?topic=a", &[]).await;
    tail.stop_reading();
    published(&daemon, &["--topic", "a", "hi"]).await;
    let finished = tail.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_tail_that_is_cut_comes_back_with_its_last_id_after_the_servers_pause() {
    let (listener, url) = scripted().await;
    let mut tail = Shell::start(&["tail", &url, "--header", "X-Auth-Token: t0ken", "--count", "4"]);

    let (mut socket, head) = accept(&listener).await;
    assert!(!head.contains("last-event-id"), "{head}");
    assert!(head.contains("accept: text/event-stream") && head.contains("x-auth-token: t0ken"), "{head}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    // Cut in the middle of a block, whose id therefore does not count.
    let text = format!("{head}\u{feff}retry: 120\ndata: 1\nid: 7-0\n\nid: 8-0\ndata: half");
    socket.write_all(text.as_bytes()).await.expect("sent");
    assert_eq!(tail.line().await, "7-0  message  1");
    drop(socket);
    let closed = std::time::Instant::now();
    tail.said("the stream has ended; again in 0.1 s").await;

    let (mut socket, head) = accept(&listener).await;
    assert!(closed.elapsed() >= Duration::from_millis(100), "{:?}", closed.elapsed());
    assert!(head.contains("last-event-id: 7-0\r\n"), "{head}");
    // Chunked, with a chunk that ends within a character, and broken off.
    let text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(text.as_bytes()).await.expect("sent");
    for chunk in [&b"id: 9-0\r\ndata: gr\xc3"[..], b"\xbcn\r\n\r", b"\ndata: 3\r\n\r\n"] {
        socket.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.expect("sent");
        socket.write_all(&[chunk, b"\r\n"].concat()).await.expect("sent");
    }
    assert_eq!(tail.line().await, "9-0  message  grün");
    assert_eq!(tail.line().await, "-  message  3");
    drop(socket);

    // A server that is being replaced: no answer, then one that says later.
    let (socket, head) = accept(&listener).await;
    assert!(head.contains("last-event-id: 9-0\r\n"), "{head}");
    drop(socket);
    answer(&listener, "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
    answer(&listener, "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\nno")
        .await;
    let head =
        answer(&listener, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 4\n\n").await;
    assert!(head.contains("last-event-id: 9-0\r\n"), "{head}");
    let finished = tail.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "-  message  4\n"), "{finished:?}");
    assert!(finished.stderr.contains("503 Service Unavailable: no; again in"), "{finished:?}");
    assert!(!finished.stderr.contains("t0ken"), "{finished:?}");
}

#[tokio::test]
async fn tail_ends_on_an_answer_that_is_final() {
    for (response, code, say) in [
        ("204 No Content\r\n\r\n", 0, "nothing more will come (204)"),
        (
            "401 Unauthorized\r\ncontent-length: 24\r\n\r\n{\"error\":\"who are you?\"}",
            1,
            "401 Unauthorized: who are you?",
        ),
        ("403 Forbidden\r\ncontent-length: 0\r\n\r\n", 1, "403 Forbidden"),
        ("301 Moved Permanently\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 1, "301 Moved Permanently"),
        ("500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", 1, "500 Internal Server Error"),
        (
            "200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
            1,
            "with text/html, not with an event stream",
        ),
        ("200 OK\r\ncontent-length: 0\r\n\r\n", 1, "with no content type, not"),
    ] {
        let (listener, url) = scripted().await;
        let tail = Shell::start(&["tail", &url]);
        answer(&listener, &format!("HTTP/1.1 {response}")).await;
        let finished = tail.finish().await;
        assert_eq!((finished.code, &*finished.stdout), (Some(code), ""), "{response}: {finished:?}");
        assert!(finished.stderr.contains(say), "{response}: {finished:?}");
    }
}

#[tokio::test]
async fn tail_ends_with_the_stream_if_asked_to() {
    let stream = "200 OK\r\ncontent-type: text/event-stream\r\n";
    for (response, code, stdout) in [
        (format!("{stream}\r\ndata: 1\n\n"), 0, "-  message  1\n"),
        (format!("{stream}content-length: 100\r\n\r\ndata: 1\n\n"), 1, "-  message  1\n"),
        ("503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned(), 1, ""),
    ] {
        let (listener, url) = scripted().await;
        let tail = Shell::start(&["tail", &url, "--no-reconnect"]);
        answer(&listener, &format!("HTTP/1.1 {response}")).await;
        let finished = tail.finish().await;
        assert_eq!((finished.code, &*finished.stdout), (Some(code), stdout), "{response}: {finished:?}");
    }
}

#[tokio::test]
async fn tail_takes_headers_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("headers");
    std::fs::write(&file, "Authorization: Bearer t0ken\n\nX-A: b: c\n").expect("a file");
    let (listener, url) = scripted().await;
    let tail = Shell::start(&["tail", &url, "--header", &format!("@{}", file.display())]);
    let head = answer(&listener, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(head.contains("authorization: Bearer t0ken\r\n") && head.contains("x-a: b: c\r\n"), "{head}");
    assert_eq!(tail.finish().await.code, Some(0));
    for (header, say) in [
        ("@/nonexistent/headers", "/nonexistent/headers"),
        ("no colon", "'Name: value'"),
        ("Last-Event-ID: 1", "--since"),
        ("Connection: close", "belongs to the connection"),
    ] {
        let finished = Shell::run(&["tail", &url, "--header", header], &[], "").await;
        assert_eq!(finished.code, Some(2), "{header}: {finished:?}");
        assert!(finished.stderr.contains(say), "{header}: {finished:?}");
    }
}

#[tokio::test]
async fn serve_without_a_file_prints_the_key_that_it_made() {
    let mut serve = Shell::start_with(
        &["serve", "--backend", "http://127.0.0.1:9"],
        &[
            ("SIDESTREAM_PUBLIC_LISTEN", "127.0.0.1:0"),
            ("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0"),
            ("SIDESTREAM_TELEMETRY_LOG_FORMAT", "json"),
            // Of `publish`, and nothing to `serve`.
            (KEY_VARIABLE, "another"),
        ],
    );
    let line = serve.line().await;
    let key = line.strip_prefix("publish key: ").expect(&line);
    assert!(key.len() >= 32, "{line}");
    let listening: serde_json::Value = serde_json::from_str(&serve.said("listening").await).expect("JSON");
    let address = |name: &str| listening[name].as_str().expect("an address").to_owned();

    let url = format!("http://{}/events?topic=a", address("public"));
    let mut tail = Shell::start(&["tail", &url]);
    tail.said("connected as client").await;
    let url = format!("http://{}", address("internal"));
    let arguments = ["publish", "--topic", "a", "--url", &url, "hi"];
    let finished = Shell::run(&arguments, &[(KEY_VARIABLE, key)], "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(tail.line().await.ends_with("  message  hi"));
    assert!(!serve.errors().contains(key), "the log holds the key");
    serve.signal("TERM");
    let finished = serve.finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), ""), "{finished:?}");
}

#[tokio::test]
async fn every_command_has_help_that_shows_how() {
    for (arguments, words) in [
        (&["--help"][..], &["serve", "demo", "publish", "tail", "Examples:", "--config"][..]),
        (&["serve", "--help"], &["Examples:", "--backend", "SIDESTREAM_"]),
        (&["demo", "--help"], &["--listen", "--internal-listen", "Redis"]),
        (&["publish", "--help"], &["Examples:", "--topic", "--envelopes", KEY_VARIABLE]),
        (&["tail", "--help"], &["Examples:", "--since", "--header", "reset", "--insecure"]),
        (&["init", "--help"], &["Examples:", "--force", "package.json"]),
        (&["status", "--help"], &["Examples:", "--watch", "--json", "--url"]),
        (&["health", "--help"], &["Examples:", "--ready", "HEALTHCHECK", "Ends with 0"]),
        (&["connections", "--help"], &["Examples:", "--topic", "--address", "Ends with 1"]),
        (&["kick", "--help"], &["kick <WHICH>... [OPTIONS]", "--stay-away", "Ends with 1"]),
        (&["revoke", "--help"], &["revoke <WHOSE>... [OPTIONS]", "--token", "Ends with 1"]),
        (&["presence", "--help"], &["Examples:", "--users", "--topic"]),
        (&["completions", "--help"], &["Examples:", "bash"]),
        (&["man", "--help"], &["Examples:", "--out"]),
        (&["token", "mint", "--help"], &["Examples:", "--publisher"]),
        (&["token", "verify", "--help"], &["Examples:", "--publisher"]),
        (&["token", "explain", "--help"], &["Examples:", "the next step"]),
    ] {
        let finished = Shell::run(arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{arguments:?}");
        for word in words {
            assert!(finished.stdout.contains(word), "{arguments:?} without {word}:\n{}", finished.stdout);
        }
        let long = finished.stdout.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{arguments:?}");
    }
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    // Bound and let go of: nobody else gets it so soon.
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address")
}

/// A server whose every byte is the test's.
async fn scripted() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/events?topic=a", listener.local_addr().expect("its address"));
    (listener, url)
}

/// The next connection, and the head of its request in lower case but for the values.
async fn accept(listener: &TcpListener) -> (TcpStream, String) {
    within("a request", async {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut head).await.expect("a head"), 0, "no request");
        }
        (socket, String::from_utf8(head).expect("text"))
    })
    .await
}

/// Answers the next request and closes; gives the request's head.
async fn answer(listener: &TcpListener, response: &str) -> String {
    let (mut socket, head) = accept(listener).await;
    socket.write_all(response.as_bytes()).await.expect("sent");
    head
}
