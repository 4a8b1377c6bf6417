//! What a service manager hands over and hears from us: listening sockets (sd_listen_fds(3)) and states (sd_notify(3)).
//! Without one, nothing is handed over, and nobody hears the states.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::debug;

/// A socket that listens already.
#[derive(Debug)]
pub enum PassedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Listening sockets that this process was started with.
#[derive(Default, Debug)]
pub struct PassedSockets {
    pub public: Vec<PassedSocket>,
    pub internal: Vec<PassedSocket>,
}

/// Why passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadPassedSockets {
    #[error("socket {at} that was passed is no listener of TCP or of a Unix stream socket: {why}")]
    NoListener { at: usize, why: io::Error },
    #[error(
        "a socket was passed by the name `{0}` (LISTEN_FDNAMES, FileDescriptorName=); the names are `public` and \
         `internal`, several sockets of each"
    )]
    UnknownName(String),
    #[error(
        "{0} sockets were passed without names: the first is the public listener's, the second the internal one's; \
         name more of them `public` or `internal` (FileDescriptorName=)"
    )]
    Unnamed(usize),
}

impl PassedSockets {
    /// Takes the sockets of the environment. `FileDescriptorName=public` and `=internal` say which is which; of sockets
    /// without a name the first is the public listener's. To be called before there are threads: it removes variables.
    pub fn take() -> Result<Self, BadPassedSockets> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for at in 0..passed.len() {
            let socket = match passed.take_unix_listener(at) {
                Ok(socket) => socket.map(PassedSocket::Unix),
                Err(_) => {
                    let socket = passed.take_tcp_listener(at);
                    socket.map_err(|why| BadPassedSockets::NoListener { at, why })?.map(PassedSocket::Tcp)
                }
            };
            sockets.extend(socket);
        }
        Self::assign(sockets, &names)
    }

    fn assign(sockets: Vec<PassedSocket>, names: &str) -> Result<Self, BadPassedSockets> {
        let mut taken = Self::default();
        let mut unnamed = Vec::new();
        let mut names = names.split(':');
        for socket in sockets {
            match names.next().unwrap_or_default() {
                "public" => taken.public.push(socket),
                "internal" => taken.internal.push(socket),
                name if is_nobodys(name) => unnamed.push(socket),
                name => return Err(BadPassedSockets::UnknownName(name.to_owned())),
            }
        }
        let count = unnamed.len();
        for socket in unnamed {
            let place = [&mut taken.public, &mut taken.internal].into_iter().find(|place| place.is_empty());
            place.ok_or(BadPassedSockets::Unnamed(count))?.push(socket);
        }
        Ok(taken)
    }
}

/// Whether nobody has given this name: systemd says the unit's, or `unknown`.
fn is_nobodys(name: &str) -> bool {
    name.is_empty() || name == "unknown" || name.ends_with(".socket")
}

/// The daemon serves.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The daemon reads its configuration anew, until it is [`ready`] again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "the service manager could not be told"),
    }
}

/// The daemon stops, and may take this long.
pub fn stopping(within: Duration) {
    let micros = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// How often [`alive`] has to be called, if it has to (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// What the daemon is for still works.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager could not be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `count` sockets are whose, by their places.
    fn assigned(names: &str, count: usize) -> Result<(Vec<usize>, Vec<usize>), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |at: usize| folder.path().join(at.to_string());
        let sockets =
            (0..count).map(|at| PassedSocket::Unix(UnixListener::bind(path(at)).expect("a socket")));
        let taken = PassedSockets::assign(sockets.collect(), names).map_err(|bad| bad.to_string())?;
        let which = |sockets: Vec<PassedSocket>| {
            let place = |socket: PassedSocket| {
                let PassedSocket::Unix(socket) = socket else { panic!("{socket:?}") };
                let address = socket.local_addr().expect("its address");
                (0..count).find(|at| address.as_pathname() == Some(&path(*at))).expect("one of them")
            };
            sockets.into_iter().map(place).collect()
        };
        Ok((which(taken.public), which(taken.internal)))
    }

    #[test]
    fn names_say_which_listener_a_socket_is_for_and_the_order_does_where_there_are_none() {
        for (names, count, public, internal) in [
            ("", 0, &[][..], &[][..]),
            ("sidestream.socket", 1, &[0], &[]),
            ("internal:public", 2, &[1], &[0]),
            ("internal", 1, &[], &[0]),
            ("public:internal:public:internal:public", 5, &[0, 2, 4], &[1, 3]),
            ("sidestream.socket:sidestream.socket", 2, &[0], &[1]),
            ("public:sidestream.socket", 2, &[0], &[1]),
            ("unknown:internal", 2, &[0], &[1]),
            ("", 2, &[0], &[1]),
        ] {
            assert_eq!(assigned(names, count), Ok((public.to_vec(), internal.to_vec())), "{names}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused_with_those_that_do() {
        let unknown = assigned("public:web", 2).expect_err("no such name");
        assert!(unknown.contains("`web`") && unknown.contains("`public` and `internal`"), "{unknown}");
        let many = assigned("", 3).expect_err("nobody knows the third");
        assert!(many.starts_with("3 sockets were passed without names"), "{many}");
    }
}
