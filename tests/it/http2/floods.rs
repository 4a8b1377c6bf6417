//! The known attacks on HTTP/2, byte by byte: each costs the daemon no more than honest requests of the same length,
//! holds no memory, and others are served meanwhile.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connections::{PREFACE, frame, head_of_get, memory};
use crate::harness::{Daemon, H2, Node, Pace, eventually, unless_over};

/// How many bytes an attacker would like to send.
const BYTES: usize = 4 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0x42;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The stream of the nth request.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// What an attack came to.
struct Outcome {
    sent: usize,
    cut: bool,
    /// What the daemon's threads took, others' pages included.
    cost: Duration,
    /// KiB that it held at the end.
    held: u64,
    /// The longest that somebody else waited for a page.
    others: Duration,
}

/// Sends what `frames` gives for 0, 1, 2… until so many bytes are out, or the daemon takes no more.
async fn attack(daemon: &Daemon, reads: bool, mut frames: impl FnMut(u32) -> Vec<u8>) -> Outcome {
    let (before, held) = (daemon.processor_time(), memory(daemon));
    let socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let (mut from, mut to) = socket.into_split();
    let reading = async {
        let mut bytes = vec![0; 1 << 16];
        while reads && matches!(from.read(&mut bytes).await, Ok(1..)) {}
        std::future::pending::<()>().await;
    };
    let mut sent = 0;
    let writing = async {
        let mut piece = [PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, &[])].concat();
        let mut n = 0;
        while sent < BYTES {
            if to.write_all(&piece).await.is_err() {
                return true;
            }
            sent += piece.len();
            piece.clear();
            while piece.len() < 16 << 10 {
                piece.extend(frames(n));
                n += 1;
            }
        }
        false
    };
    let mut others = Duration::ZERO;
    let asking = async {
        let mut pace = Pace::of(Duration::from_millis(50));
        loop {
            pace.next().await;
            let asked = Instant::now();
            assert_eq!(daemon.get("/").await.status, 200);
            others = others.max(asked.elapsed());
        }
    };
    // Who takes no more and does not end the connection either has stopped the attack as well.
    let ended = unless_over(Duration::from_secs(20), async {
        tokio::select! {
            cut = writing => cut,
            () = reading => unreachable!("it never ends"),
            () = asking => unreachable!("it never ends"),
        }
    });
    let cut = ended.await == Some(true);
    let held = memory(daemon).saturating_sub(held);
    Outcome { sent, cut, cost: daemon.processor_time() - before, held, others }
}

/// What a byte of honest requests costs.
async fn honest_cost(daemon: &Daemon) -> Duration {
    const REQUESTS: u32 = 400;
    let mut client = H2::plain(daemon.public).await;
    let before = daemon.processor_time();
    for _ in 0..REQUESTS {
        assert_eq!(client.ask("GET", "/", &[], b"").await.status, 200);
    }
    let request = frame(HEADERS, 0, 0, &head_of_get()).len();
    (daemon.processor_time() - before) / REQUESTS / u32::try_from(request).expect("a short request")
}

/// A head of references to one long field, which the first of them brings.
fn bomb(n: u32) -> Vec<u8> {
    let mut block = head_of_get();
    if n == 0 {
        // A new name and a value of 3,900 bytes, to be remembered.
        block.extend_from_slice(&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d]);
        block.extend_from_slice(&[b'x'; 3900]);
    }
    block.resize(16_000, 0xbe);
    frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &block)
}

#[tokio::test]
async fn floods_cost_what_honest_requests_cost_and_others_are_served() {
    type Frames = fn(u32) -> Vec<u8>;
    let attacks: [(&str, bool, Frames); 11] = [
        ("requests that are reset at once", true, |n| {
            let head = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &head_of_get());
            [head, frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat()
        }),
        ("requests that are reset while they are served", true, |n| {
            let head = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &head_of_get());
            let earlier = n.checked_sub(100);
            let reset = earlier.map(|n| frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes()));
            [head, reset.unwrap_or_default()].concat()
        }),
        ("SETTINGS", true, |_| frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS whose acknowledgements are not read", false, |_| frame(SETTINGS, 0, 0, &[])),
        ("PING", true, |_| frame(PING, 0, 0, &[7; 8])),
        ("PING whose answers are not read", false, |_| frame(PING, 0, 0, &[7; 8])),
        ("PRIORITY", true, |n| frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", true, |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("empty parts of a body", true, |n| match n {
            // POST in the place of GET.
            0 => frame(HEADERS, END_HEADERS, 1, &[&[0x83], &head_of_get()[1..]].concat()),
            _ => frame(DATA, 0, 1, &[]),
        }),
        ("CONTINUATION", true, |n| match n {
            0 => frame(HEADERS, END_STREAM, 1, &head_of_get()),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("frames that nobody knows", true, |_| frame(UNKNOWN, 0, 0, &[])),
    ];
    let backend = Node::start("const server = http.createServer((_, to) => to.end('ok'));").await;
    let daemon = Daemon::start(&backend.config("")).await;
    let honest = honest_cost(&daemon).await;
    let floods = async || daemon.metric("sidestream_http2_floods_total", &[]).await;
    for (nth, (what, reads, frames)) in attacks.into_iter().enumerate() {
        let Outcome { sent, cut, cost, held, others } = attack(&daemon, reads, frames).await;
        assert!(cut, "{what}: {sent} bytes were taken");
        let limit = honest * u32::try_from(sent).expect("no more than was to be sent");
        let beside = Duration::from_millis(300);
        assert!(cost <= limit + beside, "{what}: {cost:?} for {sent} bytes, honest ones {limit:?}");
        assert!(held < 16 << 10, "{what}: {held} KiB");
        assert!(others < Duration::from_secs(2), "{what}: a page took {others:?}");
        eventually(what, async || (floods().await == (nth + 1) as f64).then_some(())).await;
    }
}

#[tokio::test]
async fn a_head_that_unfolds_to_megabytes_costs_its_own_bytes() {
    let backend = Node::start("const server = http.createServer((_, to) => to.end('ok'));").await;
    let daemon = Daemon::start(&backend.config("")).await;
    let honest = honest_cost(&daemon).await;
    let Outcome { sent, cost, held, others, .. } = attack(&daemon, true, bomb).await;
    let limit = honest * u32::try_from(sent).expect("no more than was to be sent");
    assert!(cost <= limit, "{cost:?} for {sent} bytes, honest ones {limit:?}");
    assert!(held < 16 << 10, "{held} KiB");
    assert!(others < Duration::from_secs(2), "a page took {others:?}");
}
