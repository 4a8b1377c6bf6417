//! What the system knows of a process and its children: CPU time and proportional memory.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// A process and all that descend from it, as of now.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) =
            stat(pid).ok().as_deref().and_then(|text| fields(text).nth(1)?.parse::<u32>().ok())
        {
            parents.push((pid, parent));
        }
    }
    let mut tree = vec![root];
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at];
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        at += 1;
    }
    tree
}

/// User and system time of all threads of these processes.
pub(crate) fn cpu(pids: &[u32]) -> io::Result<Duration> {
    let mut ticks = 0;
    for &pid in pids {
        ticks += ticks_of(&stat(pid)?).ok_or_else(|| io::Error::other("an unknown /proc/PID/stat"))?;
    }
    Ok(from_ticks(ticks))
}

/// Proportional set size of these processes, in bytes.
pub(crate) fn pss(pids: &[u32]) -> io::Result<u64> {
    let mut bytes = 0;
    for &pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        bytes += pss_of(&text).ok_or_else(|| io::Error::other("an unknown /proc/PID/smaps_rollup"))?;
    }
    Ok(bytes)
}

/// Open descriptors of these processes.
pub(crate) fn descriptors(pids: &[u32]) -> usize {
    pids.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

/// Time that all cores together were not idle, since boot.
pub(crate) fn machine_busy() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what guests take is in user already.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum();
    Ok(from_ticks(busy))
}

fn stat(pid: u32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
}

/// The fields behind the command's name, which may hold anything: state, parent, …
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn ticks_of(stat: &str) -> Option<u64> {
    let mut times = fields(stat).skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

fn pss_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_nanos(ticks * (1_000_000_000 / clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 90 0 0 0 150 25 0 0 20 0 1 0 100 1 1";
        assert_eq!(fields(line).nth(1), Some("3"));
        assert_eq!(ticks_of(line), Some(175));
    }

    #[test]
    fn the_proportional_size_is_in_bytes() {
        assert_eq!(pss_of("Rss:  100 kB\nPss:            64 kB\nPss_Anon: 1 kB\n"), Some(64 << 10));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let this = tree(std::process::id());
        assert_eq!(this[0], std::process::id());
        assert!(pss(&this[..1]).unwrap() > 0);
        assert!(descriptors(&this[..1]) > 0);
        assert!(machine_busy().unwrap() > cpu(&this[..1]).unwrap());
    }
}
