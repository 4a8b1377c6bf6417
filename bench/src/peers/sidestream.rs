//! sidestream itself: its configuration for the run, written as an operator would write it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::dialect::{Dialect, KEY};
use super::process::{Running, command};
use super::servers::{Missing, Setup};

/// What a measurement changes of the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// 0 = as many as it has cores.
    pub(crate) shards: usize,
    pub(crate) topics: Vec<String>,
    /// A `*` in a topic stands for any text.
    pub(crate) patterns: bool,
    /// The streams are the backend's own, read once for all.
    pub(crate) collapsed: bool,
    pub(crate) user: Option<String>,
    pub(crate) log_bytes: Option<u64>,
    /// Seconds.
    pub(crate) write_timeout: Option<u32>,
    pub(crate) redis: Option<SocketAddr>,
    /// The log is a stream in that Redis.
    pub(crate) redis_stream: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 0,
            topics: vec!["{query.topic}".to_owned()],
            patterns: false,
            collapsed: false,
            user: None,
            log_bytes: None,
            write_timeout: None,
            redis: None,
            redis_stream: false,
        }
    }
}

impl Setup {
    /// The configuration file for this set-up. Limits are off, because all streams come from one address.
    pub(crate) fn toml(&self) -> String {
        let settings = &self.sidestream;
        let backend = self.backend.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut text = format!(
            "[public]\nlisten = \"127.0.0.1:0\"\nbackend = \"http://{backend}\"\n\n\
             [internal]\nlisten = \"127.0.0.1:0\"\npublish_keys = [\"{KEY}\"]\n\
             # A low rate leaves some of the kept connections idle for long.\nhead_timeout = \"1h\"\n\n\
             [limits]\nstreams = 0\nstreams_per_address = 0\nstreams_per_user = 0\n\n\
             [fanout]\nshards = {}\n\n[sse]\nheartbeat = \"{}s\"\n",
            settings.shards, self.heartbeat
        );
        if let Some(seconds) = settings.write_timeout {
            let _ = writeln!(text, "write_timeout = \"{seconds}s\"");
        }
        if let Some(bytes) = settings.log_bytes {
            let _ = write!(text, "\n[log]\nmax_bytes = {bytes}\n");
        }
        if let Some(redis) = settings.redis {
            let _ = write!(text, "\n[redis]\nurl = \"redis://{redis}\"\n");
            if settings.redis_stream {
                text.push_str("\n[redis.stream]\n");
            }
        }
        text.push_str("\n[[stream]]\npath = \"/events\"\nauth = \"none\"\n");
        if settings.collapsed {
            text.push_str("source = \"backend\"\n");
        } else {
            let _ = writeln!(text, "topics = {:?}", settings.topics);
        }
        if settings.patterns {
            text.push_str("patterns = true\n");
        }
        if let Some(user) = &settings.user {
            let _ = writeln!(text, "user = {user:?}");
        }
        text.push_str("\n[telemetry]\nlog_format = \"json\"\n");
        text
    }
}

pub(super) fn start(setup: &Setup, binary: &Path, folder: TempDir) -> Result<Running, Missing> {
    if !binary.exists() {
        return Err(Missing(format!("not built: {} (cargo build --release)", binary.display())));
    }
    let file = folder.path().join("sidestream.toml");
    fs::write(&file, setup.toml())?;
    let mut command = command(&binary.to_string_lossy());
    command.arg("serve").arg("--config").arg(file);
    let running = Running::start(command, &setup.cores, folder)?;
    Ok(running.said(Dialect::Sidestream, |line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| line[name].as_str()?.parse().ok();
        (line["message"] == "listening").then(|| Some((address("public")?, address("internal")?)))?
    })?)
}
