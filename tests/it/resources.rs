//! Memory and descriptors that run out: who is turned away, and who goes on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Daemon, Node, Peer, Stream, eventually_within, listening};

/// A control group of a test's own, with a limit of memory. Its processes have ended before it does.
struct Group(PathBuf);

impl Group {
    /// Below the group of the tests, in the version that has the memory.
    fn with_limit(name: &str, bytes: u64) -> Self {
        let name = format!("sidestream-{name}-{}", std::process::id());
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("Linux");
        let of = |start: &str| {
            let line = own.lines().find(|line| line.contains(start))?;
            Some(line.rsplit(':').next()?.trim_start_matches('/').to_owned())
        };
        let first = Path::new("/sys/fs/cgroup/memory");
        let (folder, file) = if first.exists() {
            (first.join(of(":memory:").expect("a group of memory")).join(name), "memory.limit_in_bytes")
        } else {
            // A group that has processes gives no controllers to those below it, so it stands beside.
            let above = Path::new("/sys/fs/cgroup");
            let _ = std::fs::write(above.join("cgroup.subtree_control"), "+memory");
            (above.join(name), "memory.max")
        };
        std::fs::create_dir(&folder).expect("root, and control groups that can be written");
        std::fs::write(folder.join(file), bytes.to_string()).expect("a limit of memory");
        Self(folder)
    }

    /// Words that start a program in it.
    fn script(&self) -> String {
        format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..200 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
        eprintln!("{} is left", self.0.display());
    }
}

/// Longer than a look at the memory is away.
const LOOKS: Duration = Duration::from_secs(60);

async fn ready(daemon: &Daemon, status: u16) -> serde_json::Value {
    eventually_within(LOOKS, &format!("/readyz is {status}"), async || {
        let answer = daemon.ask("/readyz").await;
        (answer.status == status).then(|| answer.json())
    })
    .await
}

/// Publishes until the log holds so much.
async fn fill(daemon: &Daemon, mib: usize) {
    let event = json!({ "topic": "much", "data": "x".repeat(1 << 20) }).to_string();
    for _ in 0..mib {
        assert_eq!(daemon.try_publish(event.as_bytes()).await.status, 200);
    }
}

const LARGE: &str = "[internal]\nmax_body = \"2MiB\"\n[log]\nmax_bytes = \"1GiB\"\n";

#[tokio::test]
async fn before_the_kernel_kills_it_the_instance_is_not_ready_and_takes_no_new_streams() {
    let group = Group::with_limit("memory", 256 << 20);
    let script = group.script();
    let mut daemon =
        Daemon::start_through(&["sh", "-c", &script], &format!("{LARGE}[limits]\nmemory = \"50%\"\n")).await;
    ready(&daemon, 200).await;
    let most = f64::from(128 << 20);
    eventually_within(LOOKS, "the group's limit is found", async || {
        (daemon.metric("sidestream_memory_limit_bytes", &[]).await == most).then_some(())
    })
    .await;
    let mut held = listening(&daemon, "/events?topic=a").await;
    fill(&daemon, 140).await;
    let said = ready(&daemon, 503).await;
    let memory = &said["dependencies"]["memory"];
    assert_eq!((&said["status"], &memory["required"]), (&json!("not ready"), &json!(true)), "{said}");
    let why = memory["why"].as_str().expect("a reason");
    assert!(why.contains("of the 256 MiB of the control group"), "{why}");
    assert_eq!(daemon.ask("/readyz/events").await.status, 503);
    assert_eq!(daemon.ask("/healthz").await.status, 200);
    let mut refused = Stream::open(daemon.public, "/events?topic=a", &[]).await;
    assert_eq!(refused.block().await.json(), json!({ "reason": "memory" }));
    daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(held.event().await.data(), "1", "what is open goes on");
    assert!(daemon.metric("sidestream_memory_used_bytes", &[]).await >= most);
    daemon.logged("memory is short").await;
    // Its group can go when it has.
    daemon.signal("KILL");
    daemon.ended().await;
}

#[tokio::test]
async fn a_size_bounds_the_process_alone_and_it_is_ready_again_when_there_is_room() {
    let config = format!("{LARGE}max_age = \"5s\"\n[limits]\nmemory = \"150MiB\"\n");
    let daemon = Daemon::start(&config).await;
    ready(&daemon, 200).await;
    fill(&daemon, 160).await;
    let why = ready(&daemon, 503).await["dependencies"]["memory"]["why"].as_str().map(str::to_owned);
    assert!(why.as_deref().is_some_and(|why| why.contains("limits.memory allows 150")), "{why:?}");
    // The log lets go of what is old, and the allocator gives it back.
    let said = ready(&daemon, 200).await;
    assert!(said["dependencies"]["memory"].is_null(), "{said}");
    daemon.logged("memory is no longer short").await;
    listening(&daemon, "/events?topic=a").await;
}

#[tokio::test]
async fn without_a_bound_nothing_is_turned_away() {
    let daemon = Daemon::start(&format!("{LARGE}[limits]\nmemory = 0\n")).await;
    fill(&daemon, 40).await;
    assert_eq!(daemon.metric("sidestream_memory_limit_bytes", &[]).await, 0.0);
    assert_eq!(daemon.ask("/readyz").await.status, 200);
}

/// A page of the backend that takes its time, so that many need a connection at once.
const SLOW: &str = "const server = http.createServer((from, to) => setTimeout(() => to.end('page'), 100));";

#[tokio::test]
async fn pages_of_open_connections_go_on_while_a_crowd_has_all_descriptors() {
    let backend = Node::start(SLOW).await;
    let config = backend.config("public.head_timeout = \"1h\"\nlimits.streams = 5000\n");
    let daemon = Daemon::start_limited(&config, 128).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let mut visitors = Vec::new();
    for _ in 0..40 {
        visitors.push(Visitor::connect(daemon.public).await);
    }
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect(daemon.public).await.expect("a connection"));
    }
    daemon.logged("nearly all open files").await;
    for round in 0..5 {
        // More at once than there are descriptors for connections to the backend.
        for visitor in &mut visitors {
            visitor.ask().await;
        }
        for (nth, visitor) in visitors.iter_mut().enumerate() {
            assert_eq!(visitor.answer().await, 200, "visitor {nth} in round {round}");
        }
        assert_eq!(daemon.ask("/healthz").await.status, 200);
        daemon.publish(&json!({ "topic": "a", "data": round })).await;
        assert_eq!(stream.event().await.data(), round.to_string());
    }
    assert_eq!(daemon.metric("process_max_fds", &[]).await, 128.0);
    assert!(
        daemon.log().contains("descriptor limit 128 (hard): room for about 64 streams"),
        "{}",
        daemon.log()
    );
    assert!(daemon.log().contains("limits.streams is more than"), "{}", daemon.log());
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_to_the_hard_one() {
    let config = "[limits]\nstreams = 100\n";
    let daemon = Daemon::start_through(&["prlimit", "--nofile=256:2048"], config).await;
    assert_eq!(daemon.metric("process_max_fds", &[]).await, 2048.0);
    assert!(daemon.log().contains("descriptor limit 2048 (hard)"), "{}", daemon.log());
    assert!(!daemon.log().contains("limits.streams is more than"), "{}", daemon.log());
}

/// A browser's connection that is kept.
struct Visitor(Peer);

impl Visitor {
    async fn connect(to: SocketAddr) -> Self {
        let mut visitor = Self(Peer::connect(to).await);
        visitor.ask().await;
        assert_eq!(visitor.answer().await, 200);
        visitor
    }

    async fn ask(&mut self) {
        self.0.send("GET /page HTTP/1.1\r\nhost: h\r\n\r\n").await;
    }

    async fn answer(&mut self) -> u16 {
        let head = self.0.head().await;
        self.0.body(&head).await;
        head.status()
    }
}
