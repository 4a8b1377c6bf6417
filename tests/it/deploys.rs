//! Reloads and a restart under load: streams, pages, uploads, WebSockets and a real browser, none of which may notice.
//!
//! `SIDESTREAM_DEPLOY_STREAMS` says how many streams are open (200); `make deploys` runs it with 5,000.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{
    Browser, KEY, Managed, Node, Pace, Redis, Stream, eventually, eventually_within, let_time_pass, request,
    within_time,
};

/// Pages, uploads that are counted, WebSockets that send back what they get, and a page with a stream.
const APP: &str = r#"
const page = `<!doctype html><title>deploys</title><script>
  window.got = []; window.lost = 0;
  const source = new EventSource('/events?topic=a');
  source.addEventListener('n', (event) => window.got.push(JSON.parse(event.data)));
  source.addEventListener('reset', () => window.lost++);
</script>`;
const server = http.createServer((req, res) => {
  if (req.url === '/') { res.setHeader('content-type', 'text/html'); return res.end(page); }
  let size = 0;
  req.on('data', (data) => size += data.length);
  req.on('end', () => setTimeout(() => res.end(String(size)), 2));
});
server.on('upgrade', (req, socket) => {
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
  socket.on('data', (data) => socket.write(data));
});
"#;

/// The last event.
const END: i32 = -1;
const UPLOAD: usize = 64 << 10;
/// So many of each kind go on at the same time.
const CLIENTS: usize = 8;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    pages: AtomicUsize,
    uploads: AtomicUsize,
    echoes: AtomicUsize,
    reconnects: AtomicUsize,
    slowest_ms: AtomicUsize,
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn took(&self, began: Instant) {
        let ms = usize::try_from(began.elapsed().as_millis()).unwrap_or(usize::MAX);
        self.slowest_ms.fetch_max(ms, Ordering::Relaxed);
    }
}

fn streams() -> usize {
    std::env::var("SIDESTREAM_DEPLOY_STREAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

fn config(app: &Node, redis: &Redis, more: &str) -> String {
    format!(
        "public.backend = \"{}\"\n{}[redis.stream]\n[drain]\nwindow = \"2s\"\ndeadline = \"60s\"\n\
         [sse]\nretry_min = \"50ms\"\nretry_max = \"1s\"\n[limits]\nstreams_per_address = 0\n{more}",
        app.url,
        redis.section()
    )
}

/// Reads `stream` and those that follow it, as EventSource does, until it has read [`END`]; gives the events.
async fn read_on(public: SocketAddr, seen: Arc<Seen>) -> Vec<Value> {
    let mut got = Vec::new();
    let (mut last, mut retry) = (None::<String>, Duration::ZERO);
    loop {
        let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", &**id)).collect();
        let stream = Stream::try_open(public, "/events?topic=a", &headers).await;
        let mut stream = stream.expect("a connection that is neither refused nor reset");
        while let Some(block) = stream.next().await {
            assert!(!block.is("reset"), "{block:?}");
            if let Some(id) = &block.id {
                last = Some(id.clone());
            }
            if block.is("n") {
                got.push(block.json());
            }
            if got.last() == Some(&json!(END)) {
                return got;
            }
            if let Some(ms) = block.retry {
                retry = Duration::from_millis(ms);
            }
            if block.is("refused") {
                break;
            }
        }
        let_time_pass("a browser waits so long, too", retry).await;
        seen.reconnects.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for pages, each on a connection of its own.
async fn pages(public: SocketAddr, seen: Arc<Seen>) {
    while seen.goes_on() {
        let began = Instant::now();
        let answer = request(public, "GET", "/page", &[("connection", "close")], b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "0"));
        seen.took(began);
        seen.pages.fetch_add(1, Ordering::Relaxed);
    }
}

async fn uploads(public: SocketAddr, seen: Arc<Seen>) {
    let body = vec![b'x'; UPLOAD];
    while seen.goes_on() {
        let began = Instant::now();
        let answer = request(public, "POST", "/upload", &[("connection", "close")], &body).await;
        assert_eq!((answer.status, answer.text()), (200, UPLOAD.to_string()));
        seen.took(began);
        seen.uploads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens WebSockets, one after the other, and has each word sent back until the connection is closed.
async fn websockets(public: SocketAddr, seen: Arc<Seen>) {
    const OPEN: &str = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    let mut pace = Pace::of(Duration::from_millis(5));
    while seen.goes_on() {
        let mut socket = TcpStream::connect(public).await.expect("a connection that is not refused");
        socket.write_all(OPEN.as_bytes()).await.expect("it is open");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        while seen.goes_on() {
            // It may be closed at any moment while the daemon stops.
            if socket.write_all(b"word").await.is_err() {
                break;
            }
            let mut word = [0; 4];
            if socket.read_exact(&mut word).await.is_err() {
                break;
            }
            assert_eq!(&word, b"word");
            seen.echoes.fetch_add(1, Ordering::Relaxed);
            pace.next().await;
        }
    }
}

async fn publish(internal: SocketAddr, data: Value) {
    let key = format!("Bearer {KEY}");
    let body = json!({ "topic": "a", "event": "n", "data": data, "idempotency_key": data.to_string() });
    let body = body.to_string();
    let mut pace = Pace::of(Duration::from_millis(20));
    let published = async {
        while request(internal, "POST", "/publish", &[("authorization", &key)], body.as_bytes()).await.status
            != 200
        {
            pace.next().await;
        }
    };
    within_time(Duration::from_secs(60), "it is published", published).await;
}

/// Publishes numbers until it is over; gives how many.
async fn publish_on(internal: SocketAddr, streams: usize, seen: Arc<Seen>) -> usize {
    // Every stream gets each event.
    let every =
        Duration::from_millis(40).max(Duration::from_micros(100) * u32::try_from(streams).unwrap_or(1));
    let mut pace = Pace::of(every);
    let mut count = 0;
    while seen.goes_on() {
        publish(internal, json!(count)).await;
        count += 1;
        pace.next().await;
    }
    publish(internal, json!(END)).await;
    count
}

async fn open_streams(internal: SocketAddr) -> usize {
    let text = request(internal, "GET", "/metrics", &[], b"").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("sidestream_streams_open "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// A stream and its test's end of it are two files; the system's own limit is often lower.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_and_a_restart_under_load_are_noticed_by_nobody() {
    raise_open_files();
    let (count, began) = (streams(), Instant::now());
    let app = Node::start(APP).await;
    let redis = Redis::start().await;
    let mut managed = Managed::start(&config(&app, &redis, ""), "0").await;
    let (public, internal) = (managed.public, managed.internal);
    managed.is_told("READY=1").await;
    eventually("the log is loaded", async || {
        (request(internal, "GET", "/readyz/events", &[], b"").await.status == 200).then_some(())
    })
    .await;
    let seen = Arc::new(Seen::default());
    let mut readers = JoinSet::new();
    for _ in 0..count {
        readers.spawn(read_on(public, Arc::clone(&seen)));
    }
    let mut browser = Browser::start();
    browser.open(&format!("http://{public}/")).await;
    let limit = Duration::from_secs(120);
    eventually_within(limit, "all streams are open", async || {
        (open_streams(internal).await == count + 1).then_some(())
    })
    .await;

    let mut others = JoinSet::new();
    for _ in 0..CLIENTS {
        others.spawn(pages(public, Arc::clone(&seen)));
        others.spawn(uploads(public, Arc::clone(&seen)));
        others.spawn(websockets(public, Arc::clone(&seen)));
    }
    let publishing = tokio::spawn(publish_on(internal, count, Arc::clone(&seen)));
    let loaded = Instant::now();
    within_time(Duration::from_secs(180), "the reloads and the restart", async {
        for round in 0..5 {
            let routes = format!("[[stream]]\npath = \"/events\"\ntopics = [\"{{query.topic}}\"]\n[[stream]]\npath = \"/{round}\"\n");
            managed.rewrite(&config(&app, &redis, &routes));
            managed.signal("HUP").await;
            managed.is_told("RELOADING=1").await;
            managed.is_told("READY=1").await;
        }
        assert_eq!(open_streams(internal).await, count + 1, "no stream ends by a reload");
        managed.signal("TERM").await;
        assert_eq!(managed.hears("ended").await, 0);
        managed.is_told("READY=1").await;
        eventually_within(limit, "all streams are back", async || {
            (open_streams(internal).await == count + 1).then_some(())
        })
        .await;
    })
    .await;
    let took = loaded.elapsed();
    seen.over.store(true, Ordering::Relaxed);
    while let Some(ended) = others.join_next().await {
        ended.expect("nobody was refused, reset or answered otherwise");
    }
    let published = publishing.await.expect("all is published");
    let expected: Vec<Value> = (0..published).map(|n| json!(n)).chain([json!(END)]).collect();
    let mut read = 0;
    let all = within_time(limit, "everybody has read to the end", async {
        while let Some(got) = readers.join_next().await {
            assert_eq!(got.expect("no stream was refused or lost anything"), expected);
            read += 1;
        }
    });
    all.await;
    browser.until("window.got.at(-1) === -1").await;
    assert_eq!(browser.evaluate("window.got").await, json!(expected), "the browser, too");
    assert_eq!(browser.evaluate("window.lost").await, 0);
    let number = |counted: &AtomicUsize| counted.load(Ordering::Relaxed);
    let (pages, uploads, echoes) = (number(&seen.pages), number(&seen.uploads), number(&seen.echoes));
    assert!(pages > 0 && uploads > 0 && echoes > 0);
    println!(
        "{read} streams and a browser read {} events each, none lost; {pages} pages, {uploads} uploads, {echoes} words \
         over WebSockets, none refused; slowest answer {} ms; {} streams came back; 5 reloads and a restart in {:.1} s, {:.1} s in all",
        expected.len(),
        number(&seen.slowest_ms),
        number(&seen.reconnects),
        took.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
}
