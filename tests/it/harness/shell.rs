//! The binary's other commands, as a shell runs them.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use super::{eventually, within};

/// A command that runs. Its end is that of its value.
pub(crate) struct Shell {
    child: Child,
    /// None once nobody reads it any more.
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Arc<Mutex<Vec<String>>>,
    reading_stderr: JoinSet<()>,
}

/// What is left of a command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What of it had not been read before.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Shell {
    /// Starts `sidestream` with these arguments and nothing on standard input.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(arguments, &[], Stdio::null())
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(arguments, environment, Stdio::null())
    }

    /// Runs `sidestream` to its end, with this on standard input.
    pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Finished {
        let mut shell = Self::spawn(arguments, environment, Stdio::piped());
        let mut stdin = shell.child.stdin.take().expect("its input");
        // One that needs no input may be gone before it takes it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        shell.finish().await
    }

    fn spawn(arguments: &[&str], environment: &[(&str, &str)], stdin: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidestream"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary");
        let stdout = BufReader::new(child.stdout.take().expect("its output")).lines();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
        let to = Arc::clone(&stderr);
        let mut reading_stderr = JoinSet::new();
        reading_stderr.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                to.lock().expect("nobody panicked").push(line);
            }
        });
        Self { child, stdout: Some(stdout), stderr, reading_stderr }
    }

    /// The next line of standard output.
    pub(crate) async fn line(&mut self) -> String {
        let stdout = self.stdout.as_mut().expect("it is still read");
        match within("a line of output", stdout.next_line()).await.expect("text") {
            Some(line) => line,
            None => panic!("the output has ended; standard error:\n{}", self.errors()),
        }
    }

    /// Waits until a line of standard error holds `text`; gives that line.
    pub(crate) async fn said(&self, text: &str) -> String {
        eventually(&format!("{text:?} on standard error"), async || {
            self.stderr.lock().expect("nobody panicked").iter().find(|line| line.contains(text)).cloned()
        })
        .await
    }

    /// Everything on standard error so far.
    pub(crate) fn errors(&self) -> String {
        self.stderr.lock().expect("nobody panicked").join("\n")
    }

    /// Sends a signal by the name that kill(1) knows.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it has not been waited for").to_string();
        let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid).status();
        assert!(status.expect("kill(1)").success());
    }

    /// Closes the reading end of its standard output, as `head` does.
    pub(crate) fn stop_reading(&mut self) {
        self.stdout = None;
    }

    /// Reads the rest and waits for its end.
    pub(crate) async fn finish(mut self) -> Finished {
        let mut stdout = String::new();
        let code = within("the command ends", async {
            if let Some(lines) = &mut self.stdout {
                while let Some(line) = lines.next_line().await.expect("text") {
                    stdout.push_str(&line);
                    stdout.push('\n');
                }
            }
            let status = self.child.wait().await.expect("its status");
            while self.reading_stderr.join_next().await.is_some() {}
            status.code()
        })
        .await;
        Finished { code, stdout, stderr: self.errors() }
    }
}
