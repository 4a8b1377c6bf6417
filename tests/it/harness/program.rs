//! Programs that the tests run beside the daemon: foreign clients, a browser's driver, an app in Node.
//! They speak by lines on stdout, and end when their stdin does.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::waiting::{block_on_end, within};

pub(crate) struct Program {
    name: String,
    /// None once it has been asked to end.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    // Killed when this value goes.
    child: Child,
}

impl Program {
    /// Runs a script of `tests/node`.
    pub(crate) fn node(script: &str, arguments: &[&str]) -> Self {
        let script = repository().join("tests/node").join(script);
        let installed = repository().join("tests/node/node_modules");
        assert!(installed.exists(), "the npm packages are missing; run `make setup`");
        Self::start(Command::new("node").arg(script).args(arguments))
    }

    /// Runs a script of `tests/python`.
    pub(crate) fn python(script: &str, arguments: &[&str]) -> Self {
        let python = repository().join(".cache/python/bin/python3");
        assert!(python.exists(), "the Python packages are missing; run `make setup`");
        Self::start(Command::new(python).arg(repository().join("tests/python").join(script)).args(arguments))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{:?}", command.as_std());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{name}: {error}; `make setup` installs what is missing"));
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { name, stdin, lines, child }
    }

    /// The next line that it prints; None once it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        within(&format!("a line of {}", self.name), self.lines.next_line()).await.expect("text")
    }

    /// The next line, which is JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let line = self.line().await.unwrap_or_else(|| panic!("{} has ended", self.name));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
    }

    /// Writes a line to its stdin.
    pub(crate) async fn tell(&mut self, line: &Value) {
        let stdin = self.stdin.as_mut().expect("it has not been asked to end");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it listens");
    }

    /// Lets a program end that ends with its stdin, and gives it a moment to tidy up. For a value's drop: it blocks.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
        block_on_end(&mut self.child, Duration::from_secs(5));
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within(&format!("the end of {}", self.name), self.child.wait()).await.expect("its status")
    }
}

/// The root of this repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
