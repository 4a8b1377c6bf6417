//! `doctor`: each thing that can stand between a page and its stream is named, in front of real proxies that are set up
//! so, and of a scripted server for what real ones do not do on demand. That it finds nothing where all is well is in
//! `proxies.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{Authority, Daemon, Finished, FrontServer, KEY, SECRET, Shell, token};

/// The daemon's heartbeats come soon enough for a short look.
const QUICK_HEARTBEAT: &str = "sse.heartbeat = \"1s\"\n";

/// What the doctor says of an address.
struct Look {
    finished: Finished,
    report: Value,
}

impl Look {
    /// Looks for some seconds, unless the arguments say for how many.
    async fn at(url: &str, arguments: &[&str]) -> Self {
        let watch: &[&str] = if arguments.contains(&"--for") { &[] } else { &["--for", "4s"] };
        let arguments = [&["doctor", url, "--json", "--heartbeat", "1s"], watch, arguments].concat();
        let finished = Shell::run(&arguments, &[], "").await;
        let report =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|bad| panic!("{bad}: {finished:?}"));
        Self { finished, report }
    }

    /// The same with a publish key of `daemon`.
    async fn with_key(url: &str, daemon: &Daemon, arguments: &[&str]) -> Self {
        let internal = format!("http://{}", daemon.internal);
        Self::at(url, &[&["--url", &internal, "--key", KEY], arguments].concat()).await
    }

    /// State and words of what was found of a subject.
    fn of(&self, subject: &str) -> (&str, &str) {
        let findings = self.report["findings"].as_array().expect("a list");
        let found = findings.iter().find(|finding| finding["subject"] == subject);
        let found = found.unwrap_or_else(|| panic!("nothing of {subject}: {}", self.report));
        (found["state"].as_str().expect("text"), found["seen"].as_str().expect("text"))
    }

    /// Asserts that this stands in the way; gives the words.
    fn names(&self, subject: &str) -> &str {
        let (state, seen) = self.of(subject);
        assert_eq!(state, "bad", "{subject}: {}", self.report);
        assert_eq!(self.finished.code, Some(1));
        seen
    }

    /// The lines of configuration that it gives for a subject.
    fn lines(&self, subject: &str, proxy: &str) -> String {
        let findings = self.report["findings"].as_array().expect("a list");
        let cures = findings.iter().filter(|finding| finding["subject"] == subject).flat_map(|finding| {
            finding["cures"].as_array().expect("a list").iter().filter(|cure| cure["proxy"] == proxy)
        });
        cures.map(|cure| cure["lines"].as_str().expect("text")).collect()
    }

    /// Asserts that nothing but these subjects is wrong.
    fn names_only(&self, subjects: &[&str]) {
        let findings = self.report["findings"].as_array().expect("a list");
        let bad: Vec<&str> = findings
            .iter()
            .filter(|finding| finding["state"] == "bad")
            .filter_map(|finding| finding["subject"].as_str())
            .collect();
        assert_eq!(bad, subjects, "{}", self.report);
    }
}

/// nginx in front of `daemon` with more lines in its location, over plain HTTP.
async fn nginx(daemon: &Daemon, lines: &str) -> FrontServer {
    FrontServer::nginx(&format!(
        "server {{ listen {{listen}}; location / {{ proxy_pass http://{}; proxy_http_version 1.1; {lines} }} }}",
        daemon.public
    ))
    .await
}

/// HAProxy in front of `daemon` with more lines in its frontend.
async fn haproxy(daemon: &Daemon, lines: &str) -> FrontServer {
    FrontServer::haproxy(&format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend web\n  bind {{listen}}\n{lines}\n  default_backend sidestream\n\
         backend sidestream\n  server one {}\n",
        daemon.public
    ))
    .await
}

fn url(front: &FrontServer) -> String {
    format!("http://{}", front.address)
}

#[tokio::test]
async fn nothing_stands_between_a_page_and_the_daemon_itself() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let look = Look::with_key(&format!("http://{}", daemon.public), &daemon, &[]).await;
    look.names_only(&[]);
    assert_eq!(look.finished.code, Some(0));
    for subject in
        ["stream", "buffering", "compression", "cache_control", "one_at_a_time", "heartbeats", "open_for"]
    {
        assert_eq!(look.of(subject).0, "good", "{}", look.report);
    }
    assert_eq!(look.of("resuming").0, "good");
    // Without TLS there is no HTTP/2 for browsers, which no proxy is to blame for.
    assert_eq!(look.of("http2").0, "warn");
    assert_eq!(look.report["saw_a_stream"], true);
}

#[tokio::test]
async fn a_proxy_that_collects_the_answer_is_named_with_its_line() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    // As nginx is without `proxy_http_version 1.1`.
    let front = FrontServer::nginx(&format!(
        "server {{ listen {{listen}}; location / {{ proxy_pass http://{}; \
         proxy_ignore_headers X-Accel-Buffering; }} }}",
        daemon.public
    ))
    .await;
    let look = Look::at(&url(&front), &[]).await;
    let seen = look.names("buffering");
    assert!(seen.contains("nothing of the stream") && seen.contains("HEAD was answered"), "{seen}");
    assert!(look.lines("buffering", "nginx").contains("proxy_buffering off;"), "{}", look.report);
    assert_eq!(look.report["proxies"], serde_json::json!(["nginx"]));

    let front = haproxy(&daemon, "  http-response wait-for-body time 30s").await;
    let look = Look::at(&url(&front), &[]).await;
    look.names("buffering");
    assert!(look.lines("buffering", "haproxy").contains("wait-for-body"), "{}", look.report);
}

#[tokio::test]
async fn a_proxy_that_compresses_the_stream_is_named() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let front =
        nginx(&daemon, "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;").await;
    let look = Look::at(&url(&front), &[]).await;
    let seen = look.names("compression");
    assert!(seen.contains("gzip"), "{seen}");
    assert!(look.lines("compression", "nginx").contains("gzip off;"), "{}", look.report);
    // What is behind the compression is looked at, too.
    assert_eq!(look.of("resuming").0, "good");
}

#[tokio::test]
async fn a_limit_on_silence_is_told_from_one_on_the_whole_answer() {
    // No heartbeat comes before the limit.
    let daemon = Daemon::start("").await;
    let front = nginx(&daemon, "proxy_read_timeout 2s;").await;
    let look = Look::with_key(&url(&front), &daemon, &["--for", "6s"]).await;
    let seen = look.names("open_for");
    assert!(seen.starts_with("an idle stream is cut after 2."), "{seen}");
    assert!(look.lines("open_for", "nginx").contains("proxy_read_timeout 75s;"), "{}", look.report);
    // Without a key it may be either of the two, and both ways out are given.
    let look = Look::at(&url(&front), &[]).await;
    let seen = look.names("open_for");
    assert!(seen.starts_with("the stream is cut after 2."), "{seen}");

    let global = "servers {\n timeouts {\n write 3s\n }\n }";
    let front =
        FrontServer::caddy(global, &format!("http://{{listen}} {{\n reverse_proxy {}\n}}\n", daemon.public))
            .await;
    let look = Look::with_key(&url(&front), &daemon, &["--for", "7s"]).await;
    let seen = look.names("open_for");
    assert!(seen.starts_with("a stream on which events flow is cut after 3."), "{seen}");
    assert!(look.lines("open_for", "caddy").contains("write 0"), "{}", look.report);
}

#[tokio::test]
async fn a_bound_on_the_whole_answer_is_known_by_the_heartbeats_that_flowed_too() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let global = "servers {\n timeouts {\n write 4s\n }\n }";
    let front =
        FrontServer::caddy(global, &format!("http://{{listen}} {{\n reverse_proxy {}\n}}\n", daemon.public))
            .await;
    let look = Look::at(&url(&front), &["--for", "6s"]).await;
    let seen = look.names("open_for");
    assert!(seen.starts_with("every stream is cut after 4."), "{seen}");
}

#[tokio::test]
async fn a_last_event_id_that_is_taken_away_is_named() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let front = nginx(&daemon, "proxy_set_header Last-Event-ID \"\";").await;
    let look = Look::at(&url(&front), &[]).await;
    let seen = look.names("resuming");
    assert_eq!(seen, "Last-Event-ID does not arrive; in the query (?lastEventId=) it does");
    assert!(look.lines("resuming", "nginx").contains("$http_last_event_id"), "{}", look.report);
    look.names_only(&["resuming"]);
}

#[tokio::test]
async fn two_instances_with_logs_of_their_own_are_named() {
    let (one, other) = (Daemon::start(QUICK_HEARTBEAT).await, Daemon::start(QUICK_HEARTBEAT).await);
    let servers = format!("server one {}\n  server two {}", one.public, other.public);
    let front = FrontServer::haproxy(&format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend web\n  bind {{listen}}\n  default_backend b\nbackend b\n  balance roundrobin\n  {servers}\n"
    ))
    .await;
    // HEAD goes to the first, the stream to the second, the one that comes back to the first.
    let look = Look::at(&url(&front), &[]).await;
    assert!(look.names("resuming").contains("other_log"), "{}", look.report);
}

#[tokio::test]
async fn a_page_of_html_and_a_redirect_are_named() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let page = "types { } default_type text/html; return 200 '<!doctype html><title>App</title>';";
    let front = FrontServer::nginx(&format!("server {{ listen {{listen}}; location / {{ {page} }} }}")).await;
    let look = Look::at(&url(&front), &[]).await;
    assert!(look.names("stream").starts_with("200 with a page of HTML, by nginx"), "{}", look.report);
    assert!(look.lines("stream", "nginx").contains("location /events {"), "{}", look.report);

    let front =
        haproxy(&daemon, "  http-request redirect location /events/?topic=a code 301 if { path /old }").await;
    let moved = format!("http://{}/old?topic=a", front.address);
    let look = Look::at(&moved, &[]).await;
    let (state, seen) = look.of("redirect");
    assert_eq!(state, "warn");
    assert!(seen.starts_with("301 to http://") && seen.ends_with("/events/?topic=a"), "{seen}");
}

#[tokio::test]
async fn another_content_type_and_a_rewritten_cache_control_are_named() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let front = haproxy(&daemon, "  http-response set-header Content-Type application/octet-stream").await;
    let look = Look::at(&url(&front), &[]).await;
    assert_eq!(look.names("stream"), "200 with application/octet-stream");
    let front = haproxy(&daemon, "  http-response set-header Cache-Control max-age=60").await;
    let look = Look::at(&url(&front), &["--proxy", "haproxy"]).await;
    let (state, seen) = look.of("cache_control");
    assert_eq!(state, "warn");
    assert!(seen.starts_with("max-age=60;"), "{seen}");
    assert!(look.lines("cache_control", "haproxy").contains("Cache-Control"), "{}", look.report);
}

#[tokio::test]
async fn a_proxy_that_cannot_reach_the_daemon_is_named_by_its_own_word() {
    let front = FrontServer::nginx(
        "server { listen {listen}; location / { proxy_pass http://127.0.0.1:9; proxy_http_version 1.1; } }",
    )
    .await;
    let look = Look::at(&url(&front), &[]).await;
    assert!(look.names("stream").starts_with("502 Bad Gateway, by nginx"), "{}", look.report);
    let nobody = Look::at("http://127.0.0.1:9", &[]).await;
    assert_eq!(nobody.finished.code, Some(2), "{}", nobody.report);
    assert_eq!(nobody.of("reached").0, "not_seen");
}

#[tokio::test]
async fn what_a_page_of_another_origin_meets_is_named() {
    const PAGE: &str = "https://pages.example";
    let listed = Daemon::start(&format!("{QUICK_HEARTBEAT}cors.origins = [\"{PAGE}\"]\n")).await;
    let front = nginx(&listed, "").await;
    let look = Look::at(&url(&front), &["--origin", PAGE]).await;
    look.names_only(&[]);
    assert_eq!((look.of("cors").0, look.of("preflight").0), ("good", "good"), "{}", look.report);

    let twice = nginx(&listed, "add_header Access-Control-Allow-Origin '*';").await;
    let look = Look::at(&url(&twice), &["--origin", PAGE]).await;
    assert!(look.names("cors").contains("more than once"), "{}", look.report);
    assert!(look.lines("cors", "nginx").contains("proxy_hide_header"), "{}", look.report);

    let refusing = nginx(&listed, "if ($request_method = OPTIONS) { return 405; }").await;
    let look = Look::at(&url(&refusing), &["--origin", PAGE]).await;
    assert_eq!(look.of("preflight"), ("warn", "OPTIONS is answered 405 Method Not Allowed"));

    let look = Look::at(&url(&front), &["--origin", "https://elsewhere.example"]).await;
    assert!(look.names("cors").starts_with("no access-control-allow-origin"), "{}", look.report);
}

#[tokio::test]
async fn a_token_that_does_not_arrive_is_told_from_one_that_is_missing() {
    let config = format!(
        "{QUICK_HEARTBEAT}[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"{{query.topic}}\"]\n\
         [auth.jwt]\nsecret = \"{SECRET}\"\n"
    );
    let daemon = Daemon::start(&config).await;
    let token = token(&serde_json::json!({ "sub": "u1", "topics": ["*"] }));
    let (good, bad) =
        (nginx(&daemon, "").await, nginx(&daemon, "proxy_set_header Authorization \"\";").await);
    Look::at(&url(&good), &["--token", &token]).await.names_only(&[]);
    let look = Look::at(&url(&bad), &["--token", &token]).await;
    assert!(look.names("authorization").contains("a token is needed"), "{}", look.report);
    assert!(look.lines("authorization", "nginx").contains("$http_authorization"), "{}", look.report);
    let without = Look::at(&url(&good), &[]).await;
    assert_eq!(without.finished.code, Some(2), "{}", without.report);
    assert!(without.of("stream").1.contains("a token is needed"), "{}", without.report);
}

#[tokio::test]
async fn certificates_and_http_2_are_looked_at() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let authority = Authority::new();
    let tls = format!(
        "ssl_certificate {}; ssl_certificate_key {};",
        authority.file().display(),
        authority.path("key.pem").display()
    );
    let front = FrontServer::nginx(&format!(
        "server {{ listen {{listen}} ssl; {tls} location / {{ proxy_pass http://{}; proxy_http_version 1.1; }} }}",
        daemon.public
    ))
    .await;
    let address = format!("https://{}", front.address);
    let ca = authority.file().display().to_string();
    let look = Look::at(&address, &["--ca", &ca]).await;
    look.names_only(&[]);
    assert_eq!(look.of("certificate").0, "good");
    assert_eq!(look.of("http2"), ("warn", "not offered"));
    assert!(look.lines("http2", "nginx").contains("http2"), "{}", look.report);

    let untrusted = Look::at(&address, &[]).await;
    assert!(untrusted.names("certificate").starts_with("signed by nobody"), "{}", untrusted.report);
    let misnamed = Look::at(&address.replace("127.0.0.1", "ip6-localhost.localdomain"), &["--ca", &ca]).await;
    assert_ne!(misnamed.finished.code, Some(0), "{}", misnamed.report);
}

#[tokio::test]
async fn a_certificate_that_is_over_and_one_that_is_to_come_are_told_apart() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    for (from, to, says) in [(2000, 2001, "expired"), (2400, 2401, "not valid yet")] {
        let authority = Authority::valid(from, to);
        let tls = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            authority.file().display(),
            authority.path("key.pem").display()
        );
        let front = FrontServer::nginx(&format!(
            "server {{ listen {{listen}} ssl; {tls} location / {{ proxy_pass http://{}; }} }}",
            daemon.public
        ))
        .await;
        let address = format!("https://{}", front.address);
        // Also where the certificate itself is what is trusted, which browsers do not do.
        for trusted in ["ca.pem", "certificate.pem"] {
            let trusted = authority.path(trusted).display().to_string();
            let look = Look::at(&address, &["--ca", &trusted]).await;
            assert_eq!(look.names("certificate"), says, "{trusted}: {}", look.report);
        }
    }
}

/// A server that answers every request with these bytes, and then keeps the connection open.
async fn scripted(answer: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let listener = Arc::new(listener);
        let mut open = JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            open.spawn(async move {
                let mut asked = [0; 4096];
                while socket.read(&mut asked).await.is_ok_and(|read| read > 0) {
                    // What a HEAD must not have costs its reader nothing.
                    let head = asked.starts_with(b"HEAD");
                    let end = answer.find("\r\n\r\n").expect("a head") + 4;
                    let bytes = if head { &answer[..end] } else { answer };
                    let _ = socket.write_all(bytes.as_bytes()).await;
                }
            });
        }
    });
    (address, serving)
}

/// The first event of a stream, in one chunk; the same for everybody.
const GREETING: &str =
    "event: connected\ndata: {\"client\":\"c1\",\"topics\":[],\"resumed\":false,\"missed\":0}\nid: 1-0-a\n\n";

#[tokio::test]
async fn a_cache_that_gives_one_stream_to_several_readers_is_named() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
         x-cache: HIT\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{GREETING}\r\n",
        GREETING.len()
    );
    let (address, _serving) = scripted(answer.leak()).await;
    let look = Look::at(&format!("http://{address}"), &["--proxy", "varnish"]).await;
    let seen = look.names("caching");
    assert!(seen.contains("cache"), "{seen}");
    assert!(look.lines("caching", "varnish").contains("return (pass)"), "{}", look.report);
    let findings = look.report["findings"].to_string();
    assert!(findings.contains("two requests got the same stream"), "{findings}");
    // Nothing came for four seconds, and heartbeats come each second.
    assert!(look.names("heartbeats").starts_with("nothing came for"), "{}", look.report);
}

#[tokio::test]
async fn an_answer_with_a_length_and_a_clock_that_is_wrong_are_named() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
         date: Fri, 01 Nov 2024 10:00:00 GMT\r\ncontent-length: {}\r\n\r\n{GREETING}",
        GREETING.len()
    );
    let (address, _serving) = scripted(answer.leak()).await;
    let look = Look::at(&format!("http://{address}"), &[]).await;
    assert!(look.names("buffering").contains("content-length"), "{}", look.report);
    let (state, seen) = look.of("clock");
    assert!(state == "warn" && seen.contains("behind"), "{seen}");
}

#[tokio::test]
async fn a_stream_of_the_applications_own_is_told_from_one_of_sidestreams() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\r\ndata: hello\n\n";
    let (address, _serving) = scripted(answer).await;
    let look = Look::at(&format!("http://{address}"), &[]).await;
    assert!(look.names("stream").contains("not one of sidestream's"), "{}", look.report);
}

#[tokio::test]
async fn the_report_for_people_names_the_lines_and_ends_with_the_verdict() {
    let daemon = Daemon::start(QUICK_HEARTBEAT).await;
    let front = nginx(&daemon, "proxy_set_header Last-Event-ID \"\";").await;
    let arguments = ["doctor", &url(&front), "--for", "2s", "--heartbeat", "1s"];
    let finished = Shell::run(&arguments, &[], "").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let text = finished.stdout;
    assert!(text.contains("  behind nginx\n"), "{text}");
    assert!(text.contains("  ▲ resuming        Last-Event-ID does not arrive"), "{text}");
    assert!(text.contains("proxy_set_header Last-Event-ID $http_last_event_id;"), "{text}");
    assert!(text.contains("▲ in the way: resuming\n") && !text.contains('\u{1b}'), "{text}");
}
