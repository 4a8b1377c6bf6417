//! Planted secrets: whatever goes wrong, none of them is to be read anywhere but where it was put.

use serde_json::json;

use crate::harness::{
    Answer, Backend, Daemon, Peer, Redis, Shell, Stream, eventually, ready, request, start, token_of,
};

/// In every secret, so that it is found whatever was cut off around it.
const MARK: &str = "pl4nted";

struct Planted {
    publish: String,
    publisher: String,
    jwt: String,
    publisher_jwt: String,
    redis: String,
    ticket: String,
    ticket_key: String,
    webhook: String,
}

impl Planted {
    fn new() -> Self {
        let secret = |name: &str| format!("{MARK}-{name}-0123456789abcdef0123456789");
        Self {
            publish: secret("publish"),
            publisher: secret("publisher"),
            jwt: secret("jwt"),
            publisher_jwt: secret("publisher-jwt"),
            redis: secret("redis"),
            ticket: secret("ticket"),
            ticket_key: secret("ticket-key"),
            webhook: secret("webhook"),
        }
    }

    fn config(&self, redis: &Redis) -> String {
        format!(
            r#"
[telemetry]
log_level = "trace"
[internal]
publish_keys = ["{}"]
[[internal.publisher]]
name = "a"
key = "{}"
topics = ["a"]
[internal.publisher_jwt]
secret = "{}"
[auth.jwt]
secret = "{}"
from = ["header:Authorization", "header:X-Auth-Token", "cookie:session", "query:token"]
[redis]
url = "redis://:{}@127.0.0.1:{}"
[cors]
origins = ["https://app.example"]
credentials = true
[[stream]]
path = "/events"
auth = "jwt"
topics = ["{{query.topic}}"]
[auth.ticket]
secret = "{}"
keys = ["{}"]
[[stream]]
path = "/ticketed"
auth = "ticket"
topics = ["{{query.topic}}"]
[[webhook]]
name = "a"
url = "http://127.0.0.1:9/hooks?key={}"
secret = "{}"
previous_secret = "{}x"
max_delay = 0
"#,
            self.publish,
            self.publisher,
            self.publisher_jwt,
            self.jwt,
            self.redis,
            redis.port,
            self.ticket,
            self.ticket_key,
            self.webhook,
            self.webhook,
            self.webhook,
        )
    }
}

/// Nothing in it may be a secret, and no part of a token.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn answer(&mut self, place: &str, answer: &Answer) {
        self.add(place, format!("{:?}\n{}", answer.headers, answer.text()));
    }

    fn holds_none_of(&self, secrets: &[&str]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} stands in {place}:\n{text}");
            }
        }
    }
}

/// Every way to bring a token, good or bad.
fn ways(token: &str) -> Vec<(String, Vec<(&'static str, String)>)> {
    let bare = || "/events?topic=a".to_owned();
    vec![
        (bare(), vec![("authorization", format!("Bearer {token}"))]),
        (bare(), vec![("x-auth-token", token.to_owned())]),
        (bare(), vec![("cookie", format!("x=1; session={token}; y=2"))]),
        (format!("/events?topic=a&token={token}&x=1"), vec![]),
        (format!("/events?topic=a&to%6ben={token}"), vec![]),
    ]
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A daemon that knows the planted secrets, the tokens that are signed with them, and all that was seen of it.
struct Watched {
    planted: Planted,
    redis: Redis,
    backend: Backend,
    daemon: Daemon,
    good: String,
    wrong: String,
    expired: String,
    broken: String,
    job: String,
    seen: Seen,
}

impl Watched {
    async fn start() -> Self {
        let planted = Planted::new();
        let redis = Redis::start().await;
        redis.command::<()>(&["CONFIG", "SET", "requirepass", &planted.redis]).await;
        let backend = Backend::start().await;
        let daemon = start(&backend.config(&planted.config(&redis))).await;
        let claims = json!({ "sub": "u", "topics": ["a"], "publish": ["a"] });
        let good = token_of(&planted.jwt, &claims);
        let wrong = token_of("another-secret-0123456789abcdef01234567", &claims);
        let expired = token_of(&planted.jwt, &json!({ "sub": "u", "topics": ["a"], "exp": 1 }));
        let broken = format!("{MARK}.{MARK}.{MARK}");
        let job = token_of(&planted.publisher_jwt, &claims);
        Self { planted, redis, backend, daemon, good, wrong, expired, broken, job, seen: Seen::default() }
    }

    /// Streams: opened, and refused in every way.
    async fn streams(&mut self) {
        let Self { daemon, seen, good, .. } = self;
        for token in [&*good, &self.wrong, &self.expired, &self.broken] {
            for (path, headers) in ways(token) {
                let mut stream = Stream::open(daemon.public, &path, &borrowed(&headers)).await;
                assert_eq!(stream.status(), if token == good { 200 } else { 401 }, "{path}");
                seen.add("a stream's head", stream.head.clone());
                if stream.status() == 200 {
                    seen.add("a stream", format!("{:?}", stream.block().await));
                }
                for path in [path.replace("topic=a", "topic=b"), path.replace("topic=a", "topic=%00")] {
                    let answer = request(daemon.public, "GET", &path, &borrowed(&headers), b"").await;
                    seen.answer("a refusal", &answer);
                }
                for extra in [("origin", "https://evil.example"), ("last-event-id", token.as_str())] {
                    let mut headers = borrowed(&headers);
                    headers.push(extra);
                    let stream = Stream::open(daemon.public, &path, &headers).await;
                    seen.add("a stream's head", stream.head);
                }
            }
        }
    }

    /// What the backend gets on a stream's path, and the answer when it breaks off.
    async fn requests_to_the_backend(&mut self) {
        let Self { daemon, backend, seen, .. } = self;
        for (path, headers) in ways(&self.good) {
            for (method, answer) in [("POST", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), ("DELETE", "")]
            {
                let headers = borrowed(&headers);
                let (got, ()) = tokio::join!(request(daemon.public, method, &path, &headers, b""), async {
                    let (mut peer, head) = backend.request().await;
                    assert!(head.target().starts_with("/events?topic=a"), "{head:?}");
                    seen.add("a request to the backend", format!("{head:?}"));
                    peer.send(answer).await;
                    peer.finish().await;
                });
                assert_eq!(got.status, if answer.is_empty() { 502 } else { 200 });
                seen.answer("a proxied answer", &got);
            }
        }
    }

    /// Publishing: the right keys and wrong ones that look like them, with a body that is no good, and one that is.
    async fn publishes(&mut self) {
        let Self { planted, daemon, seen, .. } = self;
        let near = [format!("{}x", planted.publish), format!("{}x", planted.publisher)];
        let near = near.iter().chain([&self.wrong, &self.broken]);
        for key in [&planted.publish, &planted.publisher, &self.job].into_iter().chain(near) {
            let bearer = format!("Bearer {key}");
            for (path, body) in [
                ("/publish", r#"{"topic":"a"}"#),
                ("/publish", r#"{"topic":"other"}"#),
                ("/publish", "{"),
                ("/nowhere", "{}"),
                ("/metrics", ""),
            ] {
                for more in [&[][..], &[("origin", "https://evil.example")], &[("content-encoding", "gzip")]]
                {
                    let headers = [&[("authorization", bearer.as_str())], more].concat();
                    let answer = request(daemon.internal, "POST", path, &headers, body.as_bytes()).await;
                    seen.answer("an internal answer", &answer);
                }
            }
        }
    }

    /// A ticket: made, used, used again, presented on a path of the backend's, and with its cookie. Gives the ticket
    /// and what the cookie seals, which are secrets too.
    async fn a_ticket(&mut self) -> [String; 2] {
        let Self { planted, daemon, backend, seen, .. } = self;
        let key = format!("Bearer {}", planted.ticket_key);
        let body = br#"{"user": "u", "topics": ["a"]}"#;
        let minted = request(daemon.internal, "POST", "/tickets", &[("authorization", &key)], body).await;
        let ticket = minted.json()["ticket"].as_str().expect("a ticket").to_owned();
        let path = format!("/ticketed?topic=a&ticket={ticket}");
        let stream = Stream::open(daemon.public, &path, &[]).await;
        let cookie =
            stream.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        let cookie = cookie.split(';').next().expect("its value").to_owned();
        let (_, sealed) = cookie.split_once('=').expect("a name and a value");
        seen.answer("a used ticket", &request(daemon.public, "GET", &path, &[], b"").await);
        let headers = [("cookie", cookie.as_str())];
        let (answer, ()) = tokio::join!(request(daemon.public, "DELETE", &path, &headers, b""), async {
            let (mut peer, head) = backend.request().await;
            seen.add("a request to the backend", format!("{head:?}"));
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        });
        seen.answer("a proxied answer", &answer);
        [ticket, sealed.to_owned()]
    }

    /// Grants taken back, by the right key and by none.
    async fn revocations(&mut self) {
        let Self { planted, daemon, seen, .. } = self;
        for key in [&planted.publish, &planted.publisher, &planted.ticket_key] {
            let bearer = format!("Bearer {key}");
            let headers = [("authorization", bearer.as_str())];
            let answer = request(daemon.internal, "POST", "/revoke", &headers, br#"{"user": "v"}"#).await;
            seen.answer("a revocation", &answer);
        }
    }

    /// What is not HTTP, but holds a secret.
    async fn what_is_not_http(&mut self) {
        let Self { planted, daemon, seen, good, .. } = self;
        for (to, text) in [(daemon.public, &*good), (daemon.internal, &planted.publish)] {
            let mut peer =
                Peer::send_to(to, format!("GET {text} {text}\r\nauthorization {text}\r\n\r\n")).await;
            seen.add("an answer to no HTTP", peer.rest().await);
        }
    }

    /// Redis goes, comes back with another password, and says so.
    async fn another_password_of_redis(&mut self) {
        let Self { planted, redis, daemon, seen, .. } = self;
        redis.command_as::<()>(&planted.redis, &["CONFIG", "SET", "requirepass", "another"]).await;
        redis.command_as::<()>("another", &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        ready(daemon, 503).await;
        seen.answer("readiness", &daemon.ask("/readyz/events").await);
        let bearer = format!("Bearer {}", planted.publish);
        let headers = [("authorization", bearer.as_str())];
        let answer = request(daemon.internal, "POST", "/publish", &headers, br#"{"topic":"a"}"#).await;
        seen.answer("a publish without Redis", &answer);
    }

    /// What the daemon tells of it all.
    async fn metrics_and_log(&mut self) {
        let Self { daemon, seen, .. } = self;
        eventually("a webhook fails", async || {
            (daemon.metric("sidestream_webhook_requests_total", &["result=\"connect\""]).await > 0.0)
                .then_some(())
        })
        .await;
        seen.answer("the metrics", &daemon.ask("/metrics").await);
        daemon.logged("stream refused").await;
        seen.add("the log", daemon.log());
    }
}

#[tokio::test]
async fn no_planted_secret_can_be_read_anywhere() {
    let mut watched = Watched::start().await;
    watched.streams().await;
    watched.requests_to_the_backend().await;
    watched.publishes().await;
    let [ticket, sealed] = watched.a_ticket().await;
    watched.revocations().await;
    watched.what_is_not_http().await;
    watched.another_password_of_redis().await;
    watched.metrics_and_log().await;
    let mut secrets = vec![MARK, &ticket, &sealed];
    // Of a token each part is as telling as the whole, but not the header, which is the same for all and holds nothing.
    for token in [&watched.good, &watched.wrong, &watched.expired, &watched.job] {
        secrets.extend(token.split('.').skip(1));
    }
    watched.seen.holds_none_of(&secrets);
}

#[tokio::test]
async fn check_shows_no_secret_whatever_is_wrong() {
    let planted = Planted::new();
    let redis = Redis::absent();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    let sound = format!("public.backend = \"http://127.0.0.1:9\"\n{}", planted.config(&redis));
    for (config, code) in [
        (sound.clone(), 0),
        (sound.replace("publish_keys", "publish_kyes"), 1),
        (sound.replace("key = ", "kye = "), 1),
        (sound.replace("secret = ", "secrte = "), 1),
        (sound.replace("secret = ", "public_key = "), 1),
        (sound.replace("key = ", "key_sha256 = "), 1),
        (sound.replace("url = \"redis", "url = \"http"), 1),
        (sound.replace("topics = [\"a\"]", ""), 1),
        (sound.replace("-0123456789abcdef", " 0123"), 1),
        (sound.replace("\"\n", "\n"), 1),
    ] {
        std::fs::write(&file, &config).expect("a file");
        let path = file.to_str().expect("text");
        let done = Shell::run(&["check", "--config", path], &[], "").await;
        assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(!said.contains(MARK), "{said}");
    }
}
