//! `sidestream demo`: what its page may ask for, the acts, and the lines that are printed for a shell.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Answer, Shell, Stream, eventually, request, within, within_time};

const JSON: (&str, &str) = ("content-type", "application/json");

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

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.public)
    }

    /// Asks for an act as the page does.
    async fn act(&self, path: &str, body: &Value) -> Answer {
        request(self.public, "POST", path, &[JSON], body.to_string().as_bytes()).await
    }

    async fn done(&self, path: &str, body: &Value) -> Value {
        let answer = self.act(path, body).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    async fn say(&self, from: &str, text: &str) -> Value {
        self.done("/api/messages", &json!({ "from": from, "text": text, "key": text })).await
    }

    async fn state(&self) -> Value {
        request(self.public, "GET", "/api/state", &[], b"").await.json()
    }

    async fn line(&self, reader: &str, cut: bool, slow: bool) {
        self.done("/api/lines", &json!({ "reader": reader, "cut": cut, "slow": slow })).await;
    }

    async fn listen(&self, path: &str) -> Stream {
        Stream::open(self.public, path, &[]).await
    }
}

#[tokio::test]
async fn the_dashboard_names_the_address_at_which_the_daemon_listens() {
    let demo = Demo::start().await;
    let said = |from: &str, to: &str| {
        let (_, rest) = demo.publish_line.split_once(from).expect("the line's form");
        rest.split_once(to).expect("the line's form").0.to_owned()
    };
    let internal: SocketAddr = said("http://", "/").parse().expect("an address");
    let key = said("authorization: ", "'");
    let who = request(internal, "GET", "/dashboard/session", &[("authorization", &key)], b"").await;
    let public = who.json()["identity"]["public"].as_str().expect("an address").to_owned();
    let public: SocketAddr = public.parse().expect("an address");
    assert_eq!(Stream::open(public, "/events?user=anna", &[]).await.status(), 200);
}

/// The next event of the chat itself, past those of who comes and goes.
async fn chat(stream: &mut Stream) -> Value {
    loop {
        let event = stream.event().await;
        if !event.is("user:online") && !event.is("user:offline") {
            return event.json();
        }
    }
}

/// Runs a line of a shell to its end.
pub(crate) async fn shell(line: &str) -> String {
    let run = tokio::process::Command::new("sh").args(["-c", line]).output();
    let output = within(line, run).await.expect("a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_may_do_nothing_elsewhere() {
    let demo = Demo::start().await;
    let page = request(demo.public, "GET", "/", &[], b"").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<style"), "{text}");
    let mut files: Vec<_> =
        text.split("=\"/").skip(1).filter_map(|rest| Some(format!("/{}", rest.split('"').next()?))).collect();
    files.retain(|path| path.contains('.'));
    assert!(files.len() > 3, "{files:?}");
    for path in files {
        let file = request(demo.public, "GET", &path, &[], b"").await;
        assert_eq!(file.status, 200, "{path}");
        let etag = file.header("etag").to_owned();
        let again = request(demo.public, "GET", &path, &[("if-none-match", &etag)], b"").await;
        assert_eq!(again.status, 304, "{path}");
    }
}

#[tokio::test]
async fn both_hear_what_one_says_and_a_message_sent_twice_counts_once() {
    let demo = Demo::start().await;
    let mut anna = demo.listen("/events?user=anna").await;
    let mut ben = demo.listen("/events?user=ben").await;
    for stream in [&mut anna, &mut ben] {
        let connected = stream.block().await.json();
        assert_eq!(connected["resumed"], false, "{connected}");
    }
    let first = demo.say("anna", "hi ☂").await;
    let second = demo.say("anna", "hi ☂").await;
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!(true)));
    demo.done("/api/typing", &json!({ "user": "ben", "on": true })).await;
    demo.done("/api/marks", &json!({ "by": "ben", "mark": "read", "id": first["id"] })).await;
    for stream in [&mut anna, &mut ben] {
        assert_eq!(chat(stream).await, json!({ "from": "anna", "text": "hi ☂", "key": "hi ☂" }));
        assert_eq!(chat(stream).await, json!({ "user": "ben", "on": true }));
        assert_eq!(chat(stream).await, json!({ "by": "ben", "id": first["id"] }));
    }
    // Typing is not kept: a page that comes later begins with the rest.
    let mut later = demo.listen("/events?user=anna&history=100").await;
    let missed = later.block().await.json()["missed"].as_u64().expect("a number");
    assert!(missed >= 2, "{missed}");
    assert_eq!(chat(&mut later).await["text"], "hi ☂");
    assert_eq!(chat(&mut later).await["by"], "ben");
}

#[tokio::test]
async fn each_learns_when_the_other_comes_and_goes() {
    let demo = Demo::start().await;
    // The application gives the two each other's topic as it starts.
    let mut anna = eventually("anna holds ben's topic", async || {
        let mut anna = demo.listen("/events?user=anna").await;
        let topics = anna.block().await.json()["topics"].take();
        (topics == json!(["chat", "friends-of:ben"])).then_some(anna)
    })
    .await;
    let ben = demo.listen("/events?user=ben").await;
    let event = anna.event().await;
    assert!(event.is("user:online") && event.json()["user"] == "ben", "{event:?}");
    assert_eq!(demo.state().await["online"], json!(["anna", "ben"]));
    drop(ben);
    let event = anna.event().await;
    assert!(event.is("user:offline") && event.json()["user"] == "ben", "{event:?}");
}

#[tokio::test]
async fn a_cut_line_lets_nothing_through_until_it_is_mended_and_then_everything_in_order() {
    let demo = Demo::start().await;
    let mut anna = demo.listen("/events?user=anna").await;
    let mut ben = demo.listen("/events?user=ben").await;
    let (_, _) = (anna.block().await, ben.block().await);
    let first = demo.say("anna", "before").await;
    assert_eq!(
        (chat(&mut anna).await["text"].take(), chat(&mut ben).await["text"].take()),
        (json!("before"), json!("before"))
    );
    demo.line("ben", true, false).await;
    while let Some(event) = ben.next().await {
        assert!(event.is("user:online"), "{event:?}");
    }
    assert_eq!(
        demo.state().await["lines"],
        json!({"anna": {"cut": false, "slow": false}, "ben": {"cut": true, "slow": false}})
    );
    let path = format!("/events?user=ben&lastEventId={}", first["id"].as_str().expect("an id"));
    assert!(Stream::try_open(demo.public, &path, &[]).await.is_none(), "the line is cut");
    for n in 0..4 {
        demo.say("anna", &n.to_string()).await;
        assert_eq!(chat(&mut anna).await["text"], n.to_string());
    }
    demo.line("ben", false, false).await;
    let mut ben = demo.listen(&path).await;
    let connected = ben.block().await.json();
    assert_eq!(connected["resumed"], true);
    // On a busy machine it is published only now that anna is online.
    let mut missed = Vec::new();
    for _ in 0..connected["missed"].as_u64().expect("a number") {
        missed.push(ben.event().await);
    }
    missed.retain(|event| !event.is("user:online"));
    let missed: Vec<_> = missed.iter().map(|event| event.json()["text"].take()).collect();
    assert_eq!(missed, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_gets_all_in_order() {
    let demo = Demo::start().await;
    let mut anna = demo.listen("/events?user=anna").await;
    let mut ben = demo.listen("/events?user=ben").await;
    let (_, _) = (anna.block().await, ben.block().await);
    demo.line("ben", false, true).await;
    let receipts = demo.done("/api/burst", &json!({})).await;
    let count = receipts["events"].as_array().expect("receipts").len();
    for n in 1..=count {
        assert_eq!(chat(&mut anna).await["n"], n);
    }
    let asked = json!({ "reader": "ben", "cut": false, "slow": true });
    let behind = demo.done("/api/behind", &asked).await["behind"].as_u64().expect("a number");
    assert!(behind > 100, "anna has all {count}, and ben is only {behind} behind");
    demo.line("ben", false, false).await;
    for n in 1..=count {
        assert_eq!(chat(&mut ben).await["n"], n);
    }
}

#[tokio::test]
async fn streams_survive_a_restart_by_their_ids_as_often_as_it_is_done() {
    let demo = Demo::start().await;
    let mut last = demo.say("anna", "first").await["id"].take();
    for round in ["one", "two", "three"] {
        let path = format!("/events?user=ben&lastEventId={}", last.as_str().expect("an id"));
        let mut ben = demo.listen(&path).await;
        assert_eq!(ben.block().await.json()["resumed"], true, "{round}");
        demo.done("/api/restart", &json!({})).await;
        loop {
            let block = ben.block().await;
            if block.is("closing") {
                assert_eq!(block.json()["reason"], "draining");
                break;
            }
        }
        assert_eq!(ben.next().await, None);
        // While it stops and is away, a stream is refused and a request fails; a page asks again.
        let (mut ben, connected) = eventually("it is back", async || {
            let mut ben = Stream::try_open(demo.public, &path, &[]).await?;
            let block = ben.next().await?;
            block.is("connected").then(|| (ben, block.json()))
        })
        .await;
        assert_eq!(connected["resumed"], true);
        last = demo.say("anna", round).await["id"].take();
        assert_eq!(chat(&mut ben).await["text"], round);
    }
}

#[tokio::test]
async fn the_load_is_bounded_counts_what_arrives_and_ends() {
    let demo = Demo::start().await;
    let mut anna = demo.listen("/events?user=anna").await;
    anna.block().await;
    demo.done("/api/load", &json!({ "on": true })).await;
    // There is one at a time.
    demo.done("/api/load", &json!({ "on": true })).await;
    let mut most = 0;
    let last = within_time(Duration::from_secs(60), "the load's last report", async {
        loop {
            let report = chat(&mut anna).await;
            most = most.max(report["open"].as_u64().expect("a number"));
            if report["done"] == true {
                break report;
            }
        }
    })
    .await;
    let wanted = last["wanted"].as_u64().expect("a number");
    assert!(wanted > 0 && most == wanted, "{most} streams: {last}");
    assert_eq!((&last["sent"], &last["received"]), (&json!(120), &last["expected"]), "{last}");
    assert_eq!(last["expected"], 120 * wanted);
    eventually("it has ended", async || (demo.state().await["loading"] == false).then_some(())).await;

    demo.done("/api/load", &json!({ "on": true })).await;
    chat(&mut anna).await;
    demo.done("/api/load", &json!({ "on": false })).await;
    eventually("it was ended", async || (demo.state().await["loading"] == false).then_some(())).await;
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
    let answer: Value = serde_json::from_str(&shell(&demo.publish_line).await).expect("JSON");
    assert_eq!(answer["matched"], 1, "{answer}");
    let data = until("data: {\"from\"").await;
    assert_eq!(data, "data: {\"from\": \"terminal\", \"text\": \"Hello from a terminal\"}");
}

#[tokio::test]
async fn what_the_page_would_not_send_is_refused_in_a_sentence() {
    let demo = Demo::start().await;
    let text = [("content-type", "text/plain")];
    let long = json!({ "from": "anna", "text": "x".repeat(20_000), "key": "k" }).to_string();
    let say = "{\"from\":\"anna\",\"text\":\"x\",\"key\":\"k\"}";
    for (method, path, headers, body, status, sentence) in [
        ("POST", "/api/messages", &text[..], say, 415, "application/json"),
        ("POST", "/api/messages", &[], say, 415, "application/json"),
        ("POST", "/api/messages", &[JSON], "{", 400, "not what the page sends"),
        (
            "POST",
            "/api/messages",
            &[JSON],
            "{\"from\":\"eve\",\"text\":\"x\",\"key\":\"k\"}",
            400,
            "unknown variant",
        ),
        (
            "POST",
            "/api/messages",
            &[JSON],
            "{\"from\":\"anna\",\"text\":\" \",\"key\":\"k\"}",
            400,
            "there is no text",
        ),
        ("POST", "/api/messages", &[JSON], &long, 413, "too long"),
        ("POST", "/api/restart", &[JSON], "{\"now\":1}", 400, "unknown field"),
        ("GET", "/api/messages", &[], "", 404, "no such path"),
        ("DELETE", "/api/load", &[], "", 405, "POST"),
        ("DELETE", "/", &[], "", 405, "GET"),
        ("GET", "/nothing", &[], "", 404, "no such path"),
    ] {
        let answer = request(demo.public, method, path, headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {}", answer.text());
        assert!(answer.json()["error"].as_str().expect("a sentence").contains(sentence), "{}", answer.text());
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_neither_shown_the_key_nor_obeyed() {
    let demo = Demo::start().await;
    let own = format!("http://{}", demo.public);
    for (origin, site, status) in [
        (&*own, "same-origin", 200),
        ("http://evil.example", "cross-site", 403),
        ("http://evil.example", "same-origin", 403),
        (&*own, "same-site", 403),
        ("null", "cross-site", 403),
    ] {
        let headers = [JSON, ("origin", origin), ("sec-fetch-site", site)];
        let answer =
            request(demo.public, "POST", "/api/typing", &headers, b"{\"user\":\"ben\",\"on\":true}").await;
        assert_eq!(answer.status, status, "{origin} {site}: {}", answer.text());
    }
    // A name of theirs that leads here.
    for (host, status) in
        [("evil.example", 421), ("127.0.0.1.evil.example:80", 421), ("localhost:1", 200), ("[::1]:1", 200)]
    {
        let answer = request(demo.public, "GET", "/api/state", &[("host", host)], b"").await;
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.text().contains("key"), status == 200, "{host}");
    }
}

#[tokio::test]
async fn it_ends_soon_on_a_signal_even_with_a_stream_open() {
    let demo = Demo::start().await;
    let mut stream = demo.listen("/events?user=anna").await;
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
    for (arguments, option) in [
        (["demo", "--listen", &*taken, "--internal-listen", "127.0.0.1:0"], " --listen"),
        (["demo", "--listen", "127.0.0.1:0", "--internal-listen", &taken], " --internal-listen"),
    ] {
        let finished = Shell::run(&arguments, &[], "").await;
        assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
        assert!(finished.stderr.contains(&taken) && finished.stderr.contains(option), "{finished:?}");
    }
}

#[tokio::test]
async fn it_says_what_other_machines_can_do_where_they_reach_it() {
    let open = Shell::start(&["demo", "--listen", "0.0.0.0:0", "--internal-listen", "[::]:0"]);
    open.said("WARNING: --listen 0.0.0.0:0 is reached by other machines").await;
    open.said("WARNING: --internal-listen [::]:0 is reached by other machines").await;
    let demo = Demo::start().await;
    // It is up, so all that is said at the start has been said.
    demo.state().await;
    assert!(!demo.shell.errors().contains("WARNING"), "{}", demo.shell.errors());
}
