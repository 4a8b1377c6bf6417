//! The limit of open files: raised as far as the process may, and what of it is kept for whom.
//!
//! The kernel gives the lowest number that is free, so a high one says that the process has nearly as many as it may.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// At most so many are kept from clients.
const MOST_KEPT: u64 = 1024;
/// At least so many are: the daemon's own files, Redis, the internal listener, a few connections to the backend.
const LEAST_KEPT: u64 = 32;
/// What the daemon has open without any client, or nearly so.
const OWN: u64 = 32;

/// How many files this process may have open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    pub limit: u64,
    /// Whether it can go no higher without the system's leave.
    pub hard: bool,
}

impl Descriptors {
    /// Raises the limit to the hard one, or to `most` if that is lower, and says what holds then. None where there is
    /// no limit.
    pub fn raise(most: u64) -> Option<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // macOS names no limit, and has one all the same.
        let wanted = maximum.unwrap_or(10_240).min(most);
        if current.is_some_and(|current| current < wanted) {
            // What cannot be raised shows in what holds.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        }
        Self::now()
    }

    /// What holds. None where there is no limit.
    pub fn now() -> Option<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        current.map(|limit| Self { limit, hard: maximum == Some(limit) })
    }

    /// The number from which on descriptors are not for clients: an eighth stays for everything else, within bounds.
    pub fn for_clients(self) -> RawFd {
        let kept = (self.limit / 8).clamp(LEAST_KEPT, MOST_KEPT).min(self.limit / 2);
        number(self.limit - kept)
    }

    /// The number from which on they are not for connections to the backend either: a quarter of what is kept stays for
    /// the internal listener and what it needs.
    pub fn for_backend(self) -> RawFd {
        let clients = self.for_clients();
        number(self.limit) - (number(self.limit) - clients) / 4
    }

    /// For about so many streams there is room.
    pub fn streams(self) -> u64 {
        u64::try_from(self.for_clients()).unwrap_or(0).saturating_sub(OWN)
    }
}

fn number(count: u64) -> RawFd {
    RawFd::try_from(count).unwrap_or(RawFd::MAX)
}

/// What the kernel would say if the limit were lower.
pub fn used_up() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

/// Whether something failed because the process, or the system, has no descriptor to spare.
pub fn are_used_up(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_kept_for_the_backend_and_less_for_the_rest() {
        for (limit, clients, backend, streams) in [
            (64, 32, 56, 0),
            (128, 96, 120, 64),
            (256, 224, 248, 192),
            (1024, 896, 992, 864),
            (65_536, 64_512, 65_280, 64_480),
        ] {
            let files = Descriptors { limit, hard: true };
            assert_eq!(
                (files.for_clients(), files.for_backend(), files.streams()),
                (clients, backend, streams),
                "{limit}"
            );
        }
        assert_eq!(Descriptors { limit: 1 << 40, hard: true }.for_clients(), RawFd::MAX);
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        assert!(are_used_up(&used_up()));
        assert!(!are_used_up(&io::Error::from_raw_os_error(111)));
        assert!(!are_used_up(&io::Error::other("x")));
    }
}
