//! The machine that a run is made on: what it is, and which core does what.

use std::fs;
use std::io;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Restricts this thread, and the processes that it starts, to these cores.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores that this thread may use.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// What a result has to name.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) load_average: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        let dirty = said("git", &["status", "--porcelain", "--untracked-files=no"])
            .is_none_or(|text| !text.is_empty());
        let commit = said("git", &["rev-parse", "--short=10", "HEAD"]);
        Self {
            cpu: cpu.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: format!("{:.0} GiB", total as f64 / (1 << 20) as f64),
            kernel: said("uname", &["-r"]).unwrap_or_default(),
            commit: commit.map_or("unknown".to_owned(), |id| if dirty { id + "-dirty" } else { id }),
            date: said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
            load_average: fs::read_to_string("/proc/loadavg")
                .map(|text| text.split(' ').next().unwrap_or_default().to_owned())
                .unwrap_or_default(),
        }
    }
}

/// What a command says, in one line; `None` if it is not there or fails.
pub(crate) fn said(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| String::from_utf8_lossy(&text).trim().to_owned())
}
