//! What the kernel says of the process, under the names that Prometheus' own clients give it. Nothing where there is no
//! /proc.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::metrics::{
    PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_MEMORY, PROCESS_START, PROCESS_THREADS,
    PROCESS_VIRTUAL,
};

/// A tick of /proc/self/stat: the same on every Linux, whatever its kernel's own.
const TICKS_A_SECOND: f64 = 100.0;

/// Name and value of each that is known. `started` is when the process was started.
pub(super) fn readings(started: SystemTime) -> Vec<(&'static str, f64)> {
    let status = read("status");
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let kib = |name: &str| number(name).map(|kib| kib * 1024.0);
    let since = started.duration_since(UNIX_EPOCH).ok();
    let all = [
        (PROCESS_CPU, processor_time(&read("stat"))),
        (PROCESS_MEMORY, kib("VmRSS:")),
        (PROCESS_VIRTUAL, kib("VmSize:")),
        (PROCESS_THREADS, number("Threads:")),
        (PROCESS_FDS, open_files()),
        (PROCESS_MAX_FDS, most_open_files(&read("limits"))),
        (PROCESS_START, since.map(|since| since.as_secs_f64().round())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// Of /proc/self/stat; the name before the last bracket may hold anything.
fn processor_time(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u64>().ok();
    let (user, system) = (ticks(fields.next())?, ticks(fields.next())?);
    Some((user + system) as f64 / TICKS_A_SECOND)
}

/// Without the one by which they are counted.
fn open_files() -> Option<f64> {
    Some((std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)) as f64)
}

fn most_open_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 2310 0 0 0 150 50 0 0 20 0 8 0 5 1 2 3";
        assert_eq!(processor_time(stat), Some(2.0));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096   files\n";
        assert_eq!(most_open_files(limits), Some(1024.0));
        assert_eq!(most_open_files("Max open files  unlimited  unlimited  files"), None);
        let names: Vec<_> = readings(SystemTime::now()).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&PROCESS_START));
        #[cfg(target_os = "linux")]
        assert_eq!(names.len(), 7, "{names:?}");
    }
}
