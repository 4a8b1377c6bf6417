//! A Redis of a test's own: Debian's `redis-server`, on a port of its own and a Unix socket, keeping nothing on disk.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use redis::aio::MultiplexedConnection;
use tokio::process::{Child, Command};

use super::{eventually, within};

pub(crate) struct Redis {
    /// None while it does not run.
    child: Option<Child>,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

/// Ports below those that the system gives away by itself, so that one stays free while its Redis does not run.
fn next_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(61) % u32::from(COUNT)) as u16;
    FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        let mut redis = Self::absent();
        while !redis.try_start().await {
            // Somebody else's port.
            redis.port = next_port();
        }
        redis
    }

    /// Has a port and does not run.
    pub(crate) fn absent() -> Self {
        Self { child: None, port: next_port(), folder: tempfile::tempdir().expect("a folder") }
    }

    /// Starts it where it was, or was to be.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.try_start().await, "its port is taken");
    }

    /// Whether it came up; not when its port is taken.
    async fn try_start(&mut self) -> bool {
        let mut child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--unixsocket")
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server, which Debian has under that name");
        let came_up = eventually("Redis answers", async || {
            if child.try_wait().expect("its status").is_some() {
                return Some(false);
            }
            // By its own socket: somebody else might answer at the port.
            let client = redis::Client::open(format!("unix:{}", self.socket().display())).expect("a URL");
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<()>(&mut connection).await.ok().map(|()| true)
        })
        .await;
        self.child = came_up.then_some(child);
        came_up
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The part of a daemon's configuration that names it.
    pub(crate) fn section(&self) -> String {
        format!("[redis]\nurl = \"{}\"\n", self.url())
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        within("a connection to Redis", client.get_multiplexed_async_connection())
            .await
            .expect("a connection")
    }

    /// Runs a command and gives back its answer.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connection().await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        within(words[0], command.query_async(&mut connection)).await.expect("its answer")
    }

    /// The same on a server with a password.
    pub(crate) async fn command_as<T: redis::FromRedisValue>(&self, password: &str, words: &[&str]) -> T {
        let client =
            redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", self.port)).expect("a URL");
        let mut connection = within("a connection to Redis", client.get_multiplexed_async_connection())
            .await
            .expect("a connection");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        within(words[0], command.query_async(&mut connection)).await.expect("its answer")
    }

    /// Publishes, and gives back how many heard it.
    pub(crate) async fn publish(&self, channel: &str, message: impl AsRef<[u8]>) -> u32 {
        let mut connection = self.connection().await;
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message.as_ref());
        within("PUBLISH", command.query_async(&mut connection)).await.expect("a count")
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        within("Redis is killed", child.kill()).await.expect("killed");
        // Only a clean end removes it.
        let _ = std::fs::remove_file(self.socket());
    }

    /// Lets it stand still with all its connections open.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs");
        let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
        assert!(status.expect("kill(1)").success());
    }
}
