//! A Redis of a test's own: Debian's `redis-server`, on a port of its own and a Unix socket, keeping nothing on disk
//! unless it is asked to.

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
    /// More arguments; the later one of a name counts.
    arguments: Vec<String>,
}

/// The server's program: Redis as the system has it, or another one that `SIDESTREAM_TEST_REDIS` names.
pub(super) fn server() -> String {
    std::env::var("SIDESTREAM_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Ports below those that the system gives away by itself, so that one stays free while its Redis does not run.
pub(super) fn next_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(61) % u32::from(COUNT)) as u16;
    FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments, such as `--appendonly yes`.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::absent();
        redis.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        while !redis.try_start().await {
            // Somebody else's port.
            redis.port = next_port();
        }
        redis
    }

    /// Starts one that speaks TLS alone, and asks clients for a certificate. The paths are those of PEM files.
    pub(crate) async fn start_tls(certificate: &str, key: &str, authority: &str) -> Self {
        let mut redis = Self::absent();
        let port = redis.port.to_string();
        let arguments =
            ["--port", "0", "--tls-port", &port, "--tls-cert-file", certificate, "--tls-key-file", key];
        let authority = ["--tls-ca-cert-file", authority, "--tls-auth-clients", "yes"];
        redis.arguments = arguments.into_iter().chain(authority).map(str::to_owned).collect();
        assert!(redis.try_start().await, "its port is taken");
        redis
    }

    /// Starts one that may be a node of a Cluster, and gives its port for the other nodes.
    pub(super) async fn start_node() -> (Self, String) {
        let mut redis = Self::absent();
        loop {
            let bus = next_port().to_string();
            let arguments =
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
            redis.arguments = arguments.map(str::to_owned).into();
            if redis.try_start().await {
                return (redis, bus);
            }
            // Either port may be somebody else's.
            redis.port = next_port();
        }
    }

    /// Starts one that speaks TLS alone, with a certificate that only itself vouches for.
    pub(crate) async fn start_own_tls(certificate: &str, key: &str) -> Self {
        let mut redis = Self::absent();
        let port = redis.port.to_string();
        let arguments =
            ["--port", "0", "--tls-port", &port, "--tls-cert-file", certificate, "--tls-key-file", key];
        let others = ["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"];
        redis.arguments = arguments.into_iter().chain(others).map(str::to_owned).collect();
        assert!(redis.try_start().await, "its port is taken");
        redis
    }

    /// Has a port and does not run.
    pub(crate) fn absent() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { child: None, port: next_port(), folder, arguments: Vec::new() }
    }

    /// Starts it where it was, or was to be.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.try_start().await, "its port is taken");
    }

    /// Whether it came up; not when its port is taken.
    async fn try_start(&mut self) -> bool {
        let mut child = Command::new(server())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--unixsocket")
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
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

    /// How often clients have had a command carried out, whatever its subcommand.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.command(&["INFO", "commandstats"]).await;
        let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command));
        let lines = lines.filter(|rest| rest.starts_with([':', '|']));
        lines.filter_map(|rest| rest.split(['=', ',']).nth(1)?.parse::<u64>().ok()).sum()
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

    /// A copy of what it has on disk, to be given to [`Redis::kill_and_restore`].
    pub(crate) fn copy_of_disk(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        copy_files(self.folder.path(), copy.path());
        copy
    }

    /// Ends it as a crash would and gives it an earlier disk: an empty one, or a copy of its own.
    pub(crate) async fn kill_and_restore(&mut self, disk: Option<&tempfile::TempDir>) {
        self.kill().await;
        for entry in std::fs::read_dir(self.folder.path()).expect("its folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).expect("removed");
            } else {
                std::fs::remove_file(path).expect("removed");
            }
        }
        if let Some(disk) = disk {
            copy_files(disk.path(), self.folder.path());
        }
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

/// Copies files and folders; a socket is neither.
fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            std::fs::create_dir(&target).expect("a folder");
            copy_files(&path, &target);
        } else if path.is_file() {
            // One that is just being replaced is missing from the copy, as from a crashed disk.
            let _ = std::fs::copy(&path, &target);
        }
    }
}
