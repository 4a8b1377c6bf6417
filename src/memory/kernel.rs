//! What the kernel says of memory: the limits of the process's control groups (version 2 or 1), what counts against
//! them, and what the machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel's files are.
pub(super) struct Kernel {
    root: PathBuf,
}

/// A control group with a limit, or what stands for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MemoryUse {
    pub(super) used: u64,
    pub(super) limit: u64,
    pub(super) of: Limited,
}

/// Whose limit it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limited {
    Group,
    Machine,
    /// The configuration's own.
    Process,
}

/// Version 1 writes "no limit" as the largest number of whole pages.
const NONE: u64 = 1 << 62;

/// How a version of control groups names its files.
struct Version {
    limit: &'static str,
    current: &'static str,
    /// Pages of files that nobody has used of late: given back before anybody is killed.
    spare: &'static str,
}

const V2: Version = Version { limit: "memory.max", current: "memory.current", spare: "inactive_file " };
const V1: Version = Version {
    limit: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    spare: "total_inactive_file ",
};

impl Kernel {
    /// `root` is `/` but for tests.
    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The nearest limit: of the group that is used most, among the process's own and all above it; without any, the
    /// machine's memory against the process's.
    pub(super) fn nearest(&self) -> Option<MemoryUse> {
        let groups = [(true, &V2), (false, &V1)];
        let groups = groups.into_iter().flat_map(|(second, version)| {
            let dirs = self.groups(second).unwrap_or_default();
            dirs.into_iter().filter_map(|dir| version.read(&dir))
        });
        let fullest =
            groups.max_by_key(|one| u128::from(one.used) * 1_000_000 / u128::from(one.limit.max(1)));
        fullest.or_else(|| {
            let limit = kib(&self.read("proc/meminfo")?, "MemTotal:")?;
            Some(MemoryUse { used: self.resident()?, limit, of: Limited::Machine })
        })
    }

    /// What the process itself has in memory.
    pub(super) fn resident(&self) -> Option<u64> {
        kib(&self.read("proc/self/status")?, "VmRSS:")
    }

    /// The process's group and all above it, as far as they can be seen.
    fn groups(&self, second: bool) -> Option<Vec<PathBuf>> {
        let (root, point) = self.mount(second)?;
        let lines = self.read("proc/self/cgroup")?;
        let own = lines.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, kinds, path) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = if second { number == "0" } else { kinds.split(',').any(|kind| kind == "memory") };
            fits.then_some(path)
        })?;
        // A container may see its own group as the root of what is mounted, and still be told its path outside.
        let own = Path::new(own).strip_prefix(&root).unwrap_or(Path::new(""));
        let dirs = own.ancestors().map(|path| point.join(path.strip_prefix("/").unwrap_or(path)));
        Some(dirs.collect())
    }

    /// What is mounted of the groups of memory, and where: from /proc/self/mountinfo (proc(5)).
    fn mount(&self, second: bool) -> Option<(PathBuf, PathBuf)> {
        let mounts = self.read("proc/self/mountinfo")?;
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
            let (root, point) = (before.next()?, before.next()?);
            let (kind, options) = (after.next()?, after.nth(1)?);
            let fits = if second {
                kind == "cgroup2"
            } else {
                kind == "cgroup" && options.split(',').any(|option| option == "memory")
            };
            fits.then(|| (PathBuf::from(root), self.root.join(point.trim_start_matches('/'))))
        })
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

impl Version {
    fn read(&self, group: &Path) -> Option<MemoryUse> {
        let text = |name: &str| fs::read_to_string(group.join(name)).ok();
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        // "max" is no number.
        let limit = number(self.limit).filter(|limit| *limit < NONE)?;
        let current = number(self.current)?;
        let stat = text("memory.stat").unwrap_or_default();
        let spare = stat.lines().find_map(|line| line.strip_prefix(self.spare)?.trim().parse::<u64>().ok());
        Some(MemoryUse { used: current.saturating_sub(spare.unwrap_or(0)), limit, of: Limited::Group })
    }
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn of(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = tree.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            tree
        }

        fn nearest(&self) -> Option<MemoryUse> {
            Kernel::at(self.0.path()).nearest()
        }
    }

    const PROCESS: [(&str, &str); 2] = [
        ("proc/meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\n"),
        ("proc/self/status", "VmPeak: 1 kB\nVmRSS:\t   100 kB\n"),
    ];
    const SECOND: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const FIRST: &str = "31 23 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";

    #[test]
    fn the_fullest_of_the_groups_above_counts() {
        let files = [
            ("proc/self/mountinfo", SECOND),
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/app/memory.current", "400\n"),
            ("sys/fs/cgroup/pod/memory.max", "1000\n"),
            ("sys/fs/cgroup/pod/memory.current", "900\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 300\nactive_file 7\n"),
            ("sys/fs/cgroup/memory.max", "9000\n"),
            ("sys/fs/cgroup/memory.current", "5000\n"),
        ];
        let tree = Tree::of(&[&PROCESS[..], &files].concat());
        assert_eq!(tree.nearest(), Some(MemoryUse { used: 600, limit: 1000, of: Limited::Group }));
    }

    #[test]
    fn groups_of_the_first_version_are_found_where_a_container_sees_them() {
        let files = [
            ("proc/self/mountinfo", FIRST),
            ("proc/self/cgroup", "4:cpu:/docker/abc\n3:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
        ];
        let tree = Tree::of(&[&PROCESS[..], &files].concat());
        assert_eq!(tree.nearest(), Some(MemoryUse { used: 1000, limit: 2000, of: Limited::Group }));
    }

    #[test]
    fn without_a_limit_the_machines_memory_counts() {
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let files = [("proc/self/mountinfo", FIRST), ("proc/self/cgroup", "3:memory:/\n"), none];
        let machine = Some(MemoryUse { used: 100 << 10, limit: 1000 << 10, of: Limited::Machine });
        assert_eq!(Tree::of(&[&PROCESS[..], &files].concat()).nearest(), machine);
        assert_eq!(Tree::of(&PROCESS).nearest(), machine);
        assert_eq!(Tree::of(&[]).nearest(), None);
        #[cfg(target_os = "linux")]
        assert!(Kernel::at("/").nearest().is_some());
    }
}
