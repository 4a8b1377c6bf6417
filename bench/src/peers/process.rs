//! A server's process: started on its cores, found by what it says or by its port, ended with all that it started.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::dialect::{Dialect, Target};
use crate::{machine, proc};

/// A server that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) target: Target,
    child: Child,
    folder: TempDir,
}

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(15);

impl Running {
    /// Starts `command` on `cores`; what it says goes to a file in `folder`.
    pub(super) fn start(mut command: Command, cores: &[usize], folder: TempDir) -> io::Result<Self> {
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A child inherits the cores of the thread that starts it.
        let own = machine::cores()?;
        machine::pin(cores)?;
        let child = command.spawn();
        machine::pin(&own)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let target = Target { streams: nowhere, publish: nowhere, dialect: Dialect::Paths };
        Ok(Self { target, child: child?, folder })
    }

    /// Waits until the server says where it listens; `find` finds it in a line.
    pub(super) fn said(
        mut self,
        dialect: Dialect,
        find: impl Fn(&str) -> Option<(SocketAddr, SocketAddr)>,
    ) -> io::Result<Self> {
        let (streams, publish) = self.wait(|log| log.lines().find_map(&find))?;
        self.target = Target { streams, publish, dialect };
        Ok(self)
    }

    /// Waits until somebody listens there.
    pub(super) fn at(mut self, address: SocketAddr, dialect: Dialect) -> io::Result<Self> {
        self.wait(|_| TcpStream::connect(address).ok())?;
        self.target = Target { streams: address, publish: address, dialect };
        Ok(self)
    }

    fn wait<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> io::Result<T> {
        let deadline = Instant::now() + START;
        loop {
            let log = self.log();
            if let Some(found) = find(&log) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "ended with {status} at its start: {}",
                    last_lines(&log)
                )));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("did not listen in time: {}", last_lines(&log))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It and its children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        proc::tree(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Parents first, so that none replaces a child that is gone.
        for pid in self.pids() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// `command`, told to end when this process does, where the system has a way to say so.
pub(super) fn command(program: &str) -> Command {
    if machine::said("setpriv", &["--version"]).is_some() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", program]);
        return command;
    }
    Command::new(program)
}

/// A port that is free now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// `listening <streams> <publish>`, as the floor and the Node servers say it.
pub(super) fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("listening ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
