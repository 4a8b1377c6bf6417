//! A daemon of a test's own: the real binary, on ports of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use super::{Answer, Stream, eventually, request, within};

/// The key that may publish, unless a test's configuration says otherwise.
pub(crate) const KEY: &str = "a-key-of-the-tests";

/// Who reads the daemon's standard error.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum LogReader {
    Reads,
    /// Has it open and takes nothing.
    Stalls,
    /// Has closed it.
    IsGone,
}

/// Starts a daemon and waits until it is ready.
pub(crate) async fn start(config: &str) -> Daemon {
    let daemon = Daemon::start(config).await;
    ready(&daemon, 200).await;
    daemon
}

/// Waits until `/readyz/events` has this status, and gives back what it says about everything that the daemon depends
/// on.
pub(crate) async fn ready(daemon: &Daemon, status: u16) -> serde_json::Value {
    eventually(&format!("/readyz/events is {status}"), async || {
        let answer = daemon.ask("/readyz/events").await;
        (answer.status == status).then(|| answer.json()["dependencies"].take())
    })
    .await
}

/// An open stream, which counts as a subscriber from now on.
pub(crate) async fn listening(daemon: &Daemon, path: &str) -> Stream {
    let mut stream = daemon.stream(path).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    assert!(stream.block().await.is("connected"));
    stream
}

/// The lines with this message in its log, once there are so many.
pub(crate) async fn log_lines(daemon: &Daemon, message: &str, count: usize) -> Vec<serde_json::Value> {
    eventually(&format!("{count} lines {message:?} in the log"), async || {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["message"] == message).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

pub(crate) struct Daemon {
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reader: watch::Sender<LogReader>,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts with this configuration file. Listens on free ports, logs JSON, takes [`KEY`]; the backend is an
    /// address where nobody listens unless the file names one.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same, with environment variables.
    pub(crate) async fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::announced(Self::spawn(&[], config, environment, Stdio::piped())).await
    }

    /// The same, with a limit of open files.
    pub(crate) async fn start_limited(config: &str, files: u32) -> Self {
        let through = ["prlimit", &format!("--nofile={files}")];
        Self::start_through(&through, config).await
    }

    /// The same by way of a program that becomes the daemon, given as words in front of its command.
    pub(crate) async fn start_through(through: &[&str], config: &str) -> Self {
        Self::announced(Self::spawn(through, config, &[], Stdio::piped())).await
    }

    /// Waits until its log says where it listens.
    async fn announced(mut daemon: Self) -> Self {
        let log = Arc::clone(&daemon.log);
        let bound = eventually("the daemon says where it listens", async || {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                panic!("the daemon ended at once with {status}");
            }
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.iter().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                // Of several the first one with a port.
                let address = |name: &str| line[name].as_str()?.split(", ").find_map(|one| one.parse().ok());
                (line["message"] == "listening").then(|| (address("public"), address("internal")))
            })
        })
        .await;
        let nowhere = daemon.public;
        daemon.public = bound.0.unwrap_or(nowhere);
        daemon.internal = bound.1.unwrap_or(nowhere);
        daemon
    }

    /// Starts one whose log goes to `stderr`. What it listens on is read from the kernel's tables.
    pub(crate) async fn start_with_stderr(
        config: &str,
        environment: &[(&str, &str)],
        stderr: std::fs::File,
    ) -> Self {
        let mut daemon = Self::spawn(&[], config, environment, stderr.into());
        let (public, internal) = eventually("the daemon listens", async || {
            // Not by asking: the public one would ask a backend that may be a script.
            let [public, internal] = listening_ports(daemon.pid())[..] else { return None };
            Some((public, internal))
        })
        .await;
        daemon.public = public;
        daemon.internal = internal;
        daemon
    }

    /// `through` is a program that becomes the daemon.
    fn spawn(through: &[&str], config: &str, environment: &[(&str, &str)], stderr: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sidestream.toml");
        std::fs::write(&file, config).expect("a file");
        let mut words = through.iter().copied().chain([env!("CARGO_BIN_EXE_sidestream")]);
        let mut child = Command::new(words.next().expect("the daemon's own name"))
            .args(words)
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .env("SIDESTREAM_PUBLIC_LISTEN", "127.0.0.1:0")
            .env("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0")
            .env("SIDESTREAM_TELEMETRY_LOG_FORMAT", "json")
            .envs((!config.contains("publish_keys")).then_some(("SIDESTREAM_INTERNAL_PUBLISH_KEYS", KEY)))
            .envs(
                (!config.contains("backend ="))
                    .then_some(("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:9")),
            )
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("the daemon's binary");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (reader, mode) = watch::channel(LogReader::Reads);
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(read_log(BufReader::new(stderr).lines(), mode, Arc::clone(&log)));
        }
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, public: nowhere, internal: nowhere, log, reader, folder }
    }

    /// Its configuration's file.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("sidestream.toml")
    }

    /// Puts another configuration in the place of its file, as a whole.
    pub(crate) fn rewrite(&self, config: &str) {
        let next = self.file().with_extension("next");
        std::fs::write(&next, config).expect("a file");
        std::fs::rename(next, self.file()).expect("a file");
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Changes who reads its log from the next line on.
    pub(crate) fn read_log_by(&self, reader: LogReader) {
        self.reader.send_replace(reader);
    }

    /// Waits until its log holds `text`.
    pub(crate) async fn logged(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), async || self.log().contains(text).then_some(())).await;
    }

    /// Opens a stream on the public listener.
    pub(crate) async fn stream(&self, path: &str) -> Stream {
        Stream::open(self.public, path, &[]).await
    }

    /// Publishes what must be accepted; gives back the answer's JSON.
    pub(crate) async fn publish(&self, body: &serde_json::Value) -> serde_json::Value {
        let answer = self.try_publish(body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Publishes with [`KEY`].
    pub(crate) async fn try_publish(&self, body: &[u8]) -> Answer {
        self.command("POST", "/publish", &[], body).await
    }

    /// A request on the internal listener with [`KEY`].
    pub(crate) async fn command(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let key = format!("Bearer {KEY}");
        let headers = [&[("authorization", key.as_str())], headers].concat();
        request(self.internal, method, path, &headers, body).await
    }

    /// A GET on the public listener.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        request(self.public, "GET", path, &[], b"").await
    }

    /// A GET on the internal listener.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        request(self.internal, "GET", path, &[], b"").await
    }

    /// The sum of a metric's series whose line holds all of `labels`; 0 when there are none.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.ask("/metrics").await.text();
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| {
                line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
            })
            .sum()
    }

    /// The processor time that its threads have taken, which a busy machine does not change.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("Linux");
        let taken = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            // A thread may have ended meanwhile.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(taken.sum())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Sends a signal by the name that kill(1) knows.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            std::process::Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill(1)").success());
    }

    /// Stops all its threads where they are, until it gets a CONT.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP");
        eventually("it stands still", async || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("Linux");
            let stat = |task: std::io::Result<std::fs::DirEntry>| {
                std::fs::read_to_string(task.expect("a task").path().join("stat")).unwrap_or_default()
            };
            tasks.map(stat).all(|stat| stat.contains(") T ")).then_some(())
        })
        .await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within("the daemon ends", self.child.wait()).await.expect("its status")
    }
}

/// The IPv4 addresses at which a process listens (proc(5), `/proc/<pid>/net/tcp`), in the order in which it bound them.
fn listening_ports(pid: u32) -> Vec<SocketAddr> {
    const LISTEN: &str = "0A";
    let sockets: HashMap<String, u32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((std::fs::read_link(path).ok()?.to_str()?.to_owned(), number))
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("its sockets");
    let mut found = Vec::new();
    for row in table.lines().skip(1) {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let own = sockets.get(&format!("socket:[{}]", fields[9]));
        if let (LISTEN, Some(number), Some((ip, port))) = (fields[3], own, fields[1].split_once(':')) {
            let ip = u32::from_str_radix(ip, 16).expect("an address").to_ne_bytes();
            found.push((number, (ip, u16::from_str_radix(port, 16).expect("a port")).into()));
        }
    }
    found.sort_unstable_by_key(|&(number, _)| number);
    found.into_iter().map(|(_, address)| address).collect()
}

async fn read_log(
    mut lines: Lines<BufReader<ChildStderr>>,
    mut mode: watch::Receiver<LogReader>,
    to: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let now = *mode.borrow_and_update();
        tokio::select! {
            biased;
            _ = mode.changed() => {}
            line = lines.next_line(), if now == LogReader::Reads => match line {
                Ok(Some(line)) => to.lock().unwrap_or_else(PoisonError::into_inner).push(line),
                _ => return,
            },
            () = std::future::ready(()), if now == LogReader::IsGone => return,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}
