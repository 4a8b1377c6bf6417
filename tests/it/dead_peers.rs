//! Peers that vanish without a word: no FIN, no RST, only silence. They live in a network namespace of the test's own,
//! whose address is taken away under them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{
    Authority, Daemon, eventually, eventually_within, let_time_pass, repeating, within, within_time,
};

/// A network namespace, reached over a pair of virtual interfaces.
struct Namespace {
    name: String,
    ours: String,
    theirs: String,
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("ip, of iproute2");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Namespace {
    /// `number` tells the namespaces of one test run apart; the process's id those of several.
    fn new(number: u32) -> Self {
        let process = std::process::id();
        let name = format!("ss{process}n{number}");
        let third = process % 250;
        let (ours, theirs) =
            (format!("10.201.{third}.{}", 4 * number + 1), format!("10.201.{third}.{}", 4 * number + 2));
        let namespace = Self { name, ours, theirs };
        let Self { name, ours, theirs } = &namespace;
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name}a type veth peer name {name}b netns {name}"));
        ip(&format!("addr add {ours}/30 dev {name}a"));
        ip(&format!("link set {name}a up"));
        ip(&format!("-n {name} addr add {theirs}/30 dev {name}b"));
        ip(&format!("-n {name} link set {name}b up"));
        namespace
    }

    /// A client inside, which reads its stream for as long as it can.
    fn curl(&self, flags: &[&str], url: &str) -> Client {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name, "curl", "-sNk", url])
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .expect("curl");
        Client(child)
    }

    /// What a client inside reads of a stream.
    fn reader(&self, url: &str) -> tokio::process::Child {
        tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.name, "curl", "-sN", url])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("curl")
    }

    /// Packets arrive again.
    fn restore(&self) {
        ip(&format!("-n {} addr add {}/30 dev {}b", self.name, self.theirs, self.name));
    }

    /// From here on every packet to it is swallowed.
    fn swallow(&self) {
        ip(&format!("-n {} addr del {}/30 dev {}b", self.name, self.theirs, self.name));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

struct Client(std::process::Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens a stream from a namespace, makes its peer vanish, and waits until it is closed.
async fn vanishes(number: u32, config: &str, busy: bool) -> Duration {
    vanishes_by(number, config, "http", &[], busy).await
}

/// The same of a client that speaks in another way.
async fn vanishes_by(number: u32, config: &str, scheme: &str, flags: &[&str], busy: bool) -> Duration {
    let namespace = Namespace::new(number);
    let daemon =
        Daemon::start_with(config, &[("SIDESTREAM_PUBLIC_LISTEN", &format!("{}:0", namespace.ours))]).await;
    let _client = namespace.curl(flags, &format!("{scheme}://{}/events?topic=a", daemon.public));
    let open = async || daemon.metric("sidestream_streams_open", &[]).await;
    eventually("the stream is open", async || (open().await == 1.0).then_some(())).await;
    namespace.swallow();
    let since = Instant::now();
    let gone = eventually_within(Duration::from_secs(75), "the dead peer is gone", async || {
        (open().await == 0.0).then_some(())
    });
    let publish = async || drop(daemon.publish(&json!({"topic": "a", "data": "x"})).await);
    if busy {
        repeating(Duration::from_millis(200), publish, gone).await;
    } else {
        gone.await;
    }
    since.elapsed()
}

#[tokio::test]
async fn a_dead_peer_is_gone_within_a_minute_idle_or_not() {
    let (heartbeats, silent, busy) = tokio::join!(
        vanishes(0, "", false),
        // Nothing is ever sent to it: only the kernel's own probes can tell.
        vanishes(1, "[sse]\nheartbeat = \"1h\"\n", false),
        vanishes(2, "", true),
    );
    for (what, after) in [("with heartbeats", heartbeats), ("silent", silent), ("busy", busy)] {
        assert!(after <= Duration::from_secs(60), "{what}: {after:?}");
    }
}

#[tokio::test]
async fn dead_peers_over_tls_and_http2_are_gone_within_a_minute_too() {
    let authority = Authority::new();
    let (quiet, beating) = (authority.config("", "[sse]\nheartbeat = \"1h\"\n"), authority.config("", ""));
    let plain = "[sse]\nheartbeat = \"1h\"\n";
    let (http1, http2, cleartext, busy) = tokio::join!(
        vanishes_by(3, &quiet, "https", &["--http1.1"], false),
        vanishes_by(4, &quiet, "https", &["--http2"], false),
        vanishes_by(5, plain, "http", &["--http2-prior-knowledge"], false),
        vanishes_by(6, &beating, "https", &["--http1.1"], true),
    );
    for (what, after) in
        [("HTTP/1.1 over TLS", http1), ("HTTP/2 over TLS", http2), ("HTTP/2", cleartext), ("busy", busy)]
    {
        assert!(after <= Duration::from_secs(60), "{what}: {after:?}");
    }
}

/// A stream's network is away for 12 s while events of this size are published. Gives what the client makes of it once
/// the network is back: it gets the event that is published then, or sees its stream's end.
async fn outage(number: u32, size: usize) -> &'static str {
    let namespace = Namespace::new(number);
    let listen = format!("{}:0", namespace.ours);
    let config = "[sse]\nwrite_timeout = \"4s\"\nheartbeat = \"1s\"\n";
    let daemon = Daemon::start_with(config, &[("SIDESTREAM_PUBLIC_LISTEN", &listen)]).await;
    let mut curl = namespace.reader(&format!("http://{}/events?topic=a", daemon.public));
    let mut lines = BufReader::new(curl.stdout.take().expect("its output")).lines();
    let first = within("the stream's beginning", lines.next_line()).await.expect("text");
    assert!(first.is_some());
    namespace.swallow();
    let data = "x".repeat(size);
    let publish = async || drop(daemon.publish(&json!({"topic": "a", "data": data})).await);
    let why = "the network is away";
    repeating(Duration::from_millis(300), publish, let_time_pass(why, Duration::from_secs(12))).await;
    namespace.restore();
    daemon.publish(&json!({"topic": "a", "data": "after"})).await;
    within_time(Duration::from_secs(40), "the client learns what became of its stream", async {
        loop {
            match lines.next_line().await.expect("text") {
                Some(line) if line.contains("after") => return "goes on",
                Some(_) => {}
                None => return "ends",
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_client_whose_network_was_away_goes_on_or_sees_the_end_of_its_stream() {
    let (few, many) = tokio::join!(outage(10, 10), outage(11, 200_000));
    // What is sent meanwhile fits into the kernel's buffer, or does not: then the stream has stalled.
    assert_eq!((few, many), ("goes on", "ends"));
}
