//! Requests that are made to cost, by strangers and by callers: sizes, counts, products, repetition. A request of N
//! bytes costs at most what N bytes of its dearest honest kind cost, in processor time and in memory.
//!
//! Each row of a table is a hostile request and an honest one, sent by turns to the same daemon in the same run; what
//! is bounded is the ratio of what they take a byte, so that neither the machine nor the build matters. Clients that
//! are slow are in `doors.rs`, and what a receiver or a key set answers in `webhooks/` and `jwt/jwks.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Daemon, KEY, within};

mod answers;
mod callers;
mod publishers;
mod strangers;

/// So much dearer than the honest one may a hostile request be. What is squared somewhere is a hundred times as dear.
const ROOM: f64 = 6.0;
/// What takes less than this is cheap, whatever the honest one takes.
const CHEAP: Duration = Duration::from_micros(400);
/// So much memory may come on top of what the honest one takes at its height: one request's worth many times over.
const MEMORY: u64 = 24 << 20;

/// A request as it goes over the wire.
fn request(method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{headers}{length}\r\n{body}").into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    request("GET", target, "", "")
}

/// A request to the internal listener.
fn internal(method: &str, target: &str, body: &str) -> Vec<u8> {
    request(method, target, &format!("authorization: Bearer {KEY}\r\n"), body)
}

/// As many pieces as fit into `length`, each made of its number.
fn filled(length: usize, mut piece: impl FnMut(usize) -> String) -> String {
    let (mut text, mut nth) = (String::with_capacity(length), 0);
    while text.len() < length {
        text.push_str(&piece(nth));
        nth += 1;
    }
    text
}

/// Sends it on a connection of its own; the status of the answer, whose body is not waited for.
async fn send(to: SocketAddr, request: &[u8]) -> u16 {
    within("an answer", async {
        let mut socket = TcpStream::connect(to).await.expect("a connection");
        // Answered and closed before all of it was read: the answer counts.
        let _ = socket.write_all(request).await;
        let mut head = Vec::new();
        while !head.windows(4).any(|part| part == b"\r\n\r\n") {
            match socket.read_buf(&mut head).await {
                Ok(1..) => {}
                _ => break,
            }
        }
        let status = str::from_utf8(head.get(9..12).unwrap_or_default()).unwrap_or_default();
        status.parse().unwrap_or(0)
    })
    .await
}

/// What many of one request took.
#[derive(Clone, Copy, Default)]
struct Spent {
    requests: u32,
    time: Duration,
    /// The most that its memory grew in a turn.
    memory: u64,
}

/// A number of /proc/<pid>/status, in bytes.
pub(crate) fn memory(daemon: &Daemon, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
}

impl Spent {
    /// Sends it `times` more.
    async fn add(&mut self, daemon: &Daemon, to: SocketAddr, request: &[u8], times: u32) -> u16 {
        // Makes the height that the kernel remembers today's.
        std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("its own process");
        let (time, before) = (daemon.processor_time(), memory(daemon, "VmRSS:"));
        let mut status = 0;
        for _ in 0..times {
            status = send(to, request).await;
        }
        self.requests += times;
        self.time += daemon.processor_time() - time;
        self.memory = self.memory.max(memory(daemon, "VmHWM:").saturating_sub(before));
        status
    }

    fn each(&self) -> Duration {
        self.time / self.requests
    }
}

/// A hostile request and the dearest honest one of its kind.
struct Row {
    what: &'static str,
    hostile: Vec<u8>,
    honest: Vec<u8>,
}

fn row(what: &'static str, hostile: Vec<u8>, honest: Vec<u8>) -> Row {
    Row { what, hostile, honest }
}

/// Sends all of them; complains of all that are too dear together.
async fn none_is_too_dear(daemon: &Daemon, to: SocketAddr, rows: Vec<Row>) {
    let mut dear = String::new();
    for Row { what, hostile, honest } in rows {
        let (mut good, mut bad) = (Spent::default(), Spent::default());
        let mut statuses = (0, 0);
        // Once for what is allocated only once.
        Spent::default().add(daemon, to, &honest, 2).await;
        Spent::default().add(daemon, to, &hostile, 1).await;
        for _ in 0..4 {
            statuses.0 = good.add(daemon, to, &honest, 5).await;
            // Where one is far too dear, it is not repeated.
            let times = if bad.time > Duration::from_secs(2) { 0 } else { 5 };
            statuses.1 = bad.add(daemon, to, &hostile, times).await.max(statuses.1);
        }
        let share = honest.len() as f64 / hostile.len() as f64;
        let ratio = bad.each().as_secs_f64() * share / good.each().as_secs_f64();
        let line = format!(
            "{what}: {:?} and {} KiB for {} bytes ({}), the honest one {:?} and {} KiB for {} ({}): {ratio:.1}\n",
            bad.each(),
            bad.memory >> 10,
            hostile.len(),
            statuses.1,
            good.each(),
            good.memory >> 10,
            honest.len(),
            statuses.0,
        );
        print!("{line}");
        assert!(statuses.0 != 0 && statuses.1 != 0, "not answered: {line}");
        // There is no backend; changes of topics have a rate.
        assert!(statuses.0 < 400 || [429, 502].contains(&statuses.0), "the honest one is refused: {line}");
        if (ratio > ROOM && bad.each() > CHEAP) || bad.memory > good.memory + MEMORY {
            dear.push_str(&line);
        }
    }
    assert!(dear.is_empty(), "too dear:\n{dear}");
    assert_eq!(daemon.ask("/healthz").await.status, 200);
}

/// Half of what a head may be.
const HEAD: usize = 30_000;

const STREAMS: &str = r#"
[public]
max_head = "60KiB"
trusted_proxies = ["127.0.0.1"]
[[stream]]
path = "/three"
topics = ["{query.a}:{query.b}:{query.c}"]
[[stream]]
path = "/user"
user = "{query.a}:{query.b}:{query.c}"
topics = ["t"]
[[stream]]
path = "/open"
topics = ["{query.topic}"]
[[stream]]
path = "/events"
auth = "jwt"
topics = ["{query.topic}", "own:{claim.a}:{claim.b}"]
change_topics = true
[auth.jwt]
secret = "a secret of more than sixty-four bytes, the length of the longest hash"
from = ["header:Authorization", "cookie:session", "query:token"]
[limits]
topics_per_stream = 0
streams_per_address = 0
"#;
