//! `sidestream demo`: the page, what it sends, and the lines that are printed for a shell.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Answer, Shell, Stream, request, within};

pub(crate) struct Demo {
    shell: Shell,
    pub(crate) public: SocketAddr,
    /// The lines that are there to be pasted.
    stream_line: String,
    publish_line: String,
}

impl Demo {
    pub(crate) async fn start() -> Self {
        let mut shell =
            Shell::start(&["demo", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"]);
        let (mut public, mut stream_line) = (None, None);
        let publish_line = loop {
            let line = shell.line().await;
            let line = line.trim();
            if let Some(address) = line.strip_prefix("http://") {
                public = address.strip_suffix('/').and_then(|address| address.parse().ok());
            } else if line.starts_with("curl -N") {
                stream_line = Some(line.to_owned());
            } else if let Some(line) = line.strip_prefix("curl ") {
                let rest = shell.line().await;
                break format!("curl {}{}", line.trim_end_matches('\\'), rest.trim());
            }
        };
        let public = public.expect("the page's address");
        Self { shell, public, stream_line: stream_line.expect("a line for the stream"), publish_line }
    }

    pub(crate) async fn send(&self, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        request(self.public, "POST", "/send", &headers, body.to_string().as_bytes()).await
    }
}

#[tokio::test]
async fn the_page_is_served_and_loads_nothing_from_elsewhere() {
    let demo = Demo::start().await;
    let page = request(demo.public, "GET", "/", &[], b"").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let text = page.text();
    for id in ["state", "client", "topic", "log", "text", "send", "cut", "resume"] {
        assert!(text.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("src="), "{text}");
}

#[tokio::test]
async fn what_the_page_sends_comes_back_over_the_stream() {
    let demo = Demo::start().await;
    let mut stream = Stream::open(demo.public, "/events?topic=lobby", &[]).await;
    let connected = stream.block().await;
    let client = connected.json()["client"].clone();
    let answer = demo.send(&json!({ "topic": "lobby", "text": "hi ☂", "from": client })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["matched"], 1);
    let event = stream.event().await;
    assert!(event.is("message:new"), "{event:?}");
    assert_eq!(event.json(), json!({ "text": "hi ☂", "from": client }));
    assert_eq!(answer.json()["id"], event.id());

    // As the page does after its button: away, and back with the last id in the query.
    drop(stream);
    for text in ["one", "two"] {
        assert_eq!(demo.send(&json!({ "topic": "lobby", "text": text })).await.status, 200);
    }
    let path = format!("/events?topic=lobby&lastEventId={}", event.id());
    let mut stream = Stream::open(demo.public, &path, &[]).await;
    let connected = stream.block().await.json();
    assert_eq!((&connected["resumed"], &connected["missed"]), (&json!(true), &json!(2)));
    for text in ["one", "two"] {
        assert_eq!(stream.event().await.json()["text"], text);
    }
}

#[tokio::test]
async fn the_printed_lines_work_as_they_are() {
    let demo = Demo::start().await;
    let mut curl = tokio::process::Command::new("sh")
        .args(["-c", &format!("exec {}", demo.stream_line)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(curl.stdout.take().expect("its output")).lines();
    let mut until = async |wanted: &str| {
        within(wanted, async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if line.contains(wanted) {
                    return line;
                }
            }
            panic!("curl has ended before {wanted:?}");
        })
        .await
    };
    until("event: connected").await;
    let publish = tokio::process::Command::new("sh").args(["-c", &demo.publish_line]).output();
    let output = within("curl publishes", publish).await.expect("a shell");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["matched"], 1, "{answer}");
    assert_eq!(until("data: {\"text\"").await, "data: {\"text\": \"hello from a shell\"}");
}

#[tokio::test]
async fn what_the_page_would_not_send_is_refused_in_a_sentence() {
    let demo = Demo::start().await;
    let json = &[("content-type", "application/json")][..];
    let text = &[("content-type", "text/plain")][..];
    let long = json!({ "topic": "a", "text": "x".repeat(20_000) }).to_string();
    for (method, path, headers, body, status, say) in [
        ("POST", "/send", text, "{\"topic\":\"a\",\"text\":\"x\"}", 415, "application/json"),
        ("POST", "/send", &[], "{}", 415, "application/json"),
        ("POST", "/send", json, "{", 400, "not what the page sends"),
        ("POST", "/send", json, "{\"topic\":\"a\"}", 400, "missing field `text`"),
        ("POST", "/send", json, "{\"topic\":\"a\",\"text\":\" \"}", 400, "there is no text"),
        ("POST", "/send", json, "{\"topic\":\"\",\"text\":\"x\"}", 400, "topic"),
        ("POST", "/send", json, &long, 413, "too long"),
        ("GET", "/send", &[], "", 405, "POST"),
        ("DELETE", "/", &[], "", 405, "GET"),
        ("GET", "/nothing", &[], "", 404, "there is only"),
    ] {
        let answer = request(demo.public, method, path, headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {}", answer.text());
        assert!(answer.json()["error"].as_str().expect("a sentence").contains(say), "{}", answer.text());
    }
}

#[tokio::test]
async fn it_ends_soon_on_a_signal_even_with_a_stream_open() {
    let demo = Demo::start().await;
    let mut stream = Stream::open(demo.public, "/events?topic=lobby", &[]).await;
    stream.block().await;
    demo.shell.signal("INT");
    let closing = stream.block().await;
    assert!(closing.is("closing") && closing.json()["reason"] == "draining", "{closing:?}");
    let finished = demo.shell.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_way_out() {
    let demo = Demo::start().await;
    let taken = demo.public.to_string();
    for arguments in [
        ["demo", "--listen", &*taken, "--internal-listen", "127.0.0.1:0"],
        ["demo", "--listen", "127.0.0.1:0", "--internal-listen", &taken],
    ] {
        let finished = Shell::run(&arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(&taken) && finished.stderr.contains("--listen"), "{finished:?}");
    }
}
