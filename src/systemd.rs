//! What a service manager hands over and hears from us: listening sockets (sd_listen_fds(3)) and states (sd_notify(3)).
//! Without one, nothing is handed over, and nobody hears the states.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::debug;

/// Listening sockets that this process was started with.
#[derive(Default, Debug)]
pub struct PassedSockets {
    pub public: Option<TcpListener>,
    pub internal: Option<TcpListener>,
}

impl PassedSockets {
    /// Takes the sockets of the environment. `FileDescriptorName=public` and `=internal` say which is which; of sockets
    /// with other names the first is the public listener's. To be called before there are threads: it removes
    /// variables.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for at in 0..passed.len() {
            let socket = passed.take_tcp_listener(at).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("socket {at} that was passed is no TCP listener: {error}"),
                )
            })?;
            sockets.extend(socket);
        }
        Self::assign(sockets, &names)
    }

    fn assign(sockets: Vec<TcpListener>, names: &str) -> io::Result<Self> {
        let mut taken = Self::default();
        let mut unnamed = Vec::new();
        let mut names = names.split(':');
        for socket in sockets {
            let place = match names.next() {
                Some("public") => &mut taken.public,
                Some("internal") => &mut taken.internal,
                _ => {
                    unnamed.push(socket);
                    continue;
                }
            };
            if place.replace(socket).is_some() {
                return Err(io::Error::other(
                    "two sockets of one name were passed: `public` and `internal` take one each",
                ));
            }
        }
        for socket in unnamed {
            let place = if taken.public.is_none() { &mut taken.public } else { &mut taken.internal };
            if place.replace(socket).is_some() {
                return Err(io::Error::other(
                    "more sockets were passed than there are listeners (public and internal)",
                ));
            }
        }
        Ok(taken)
    }
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

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a port")
    }

    fn assigned(names: &str, count: usize) -> io::Result<(Option<usize>, Option<usize>)> {
        let sockets: Vec<_> = (0..count).map(|_| socket()).collect();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("its address")).collect();
        let taken = PassedSockets::assign(sockets, names)?;
        let which = |socket: Option<TcpListener>| {
            let address = socket?.local_addr().expect("its address");
            ports.iter().position(|&port| port == address)
        };
        Ok((which(taken.public), which(taken.internal)))
    }

    #[test]
    fn names_say_which_listener_a_socket_is_for_and_the_order_does_where_they_do_not() {
        for (names, count, expected) in [
            ("", 0, (None, None)),
            ("sidestream.socket", 1, (Some(0), None)),
            ("internal:public", 2, (Some(1), Some(0))),
            ("internal", 1, (None, Some(0))),
            ("sidestream.socket:sidestream.socket", 2, (Some(0), Some(1))),
            ("public:sidestream.socket", 2, (Some(0), Some(1))),
            ("unknown:internal", 2, (Some(0), Some(1))),
        ] {
            assert_eq!(assigned(names, count).expect("sound"), expected, "{names}");
        }
        assert!(assigned("public:public", 2).is_err());
        assert!(assigned("", 3).is_err());
    }
}
