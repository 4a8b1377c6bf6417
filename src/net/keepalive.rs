//! How the kernel notices a client that has vanished without a word.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// By how much the kernel's limit for bytes that nobody acknowledges is above our own.
#[cfg(target_os = "linux")]
const LATER: Duration = Duration::from_secs(5);
/// And not below this: a network may be away for as long.
#[cfg(target_os = "linux")]
const LEAST: Duration = Duration::from_secs(25);

/// Keep-alive for an idle client; for one that owes an acknowledgement a limit above `write_timeout`, of which zero is
/// none.
///
/// When the kernel's limit is over it drops the connection without a word to the client, which then waits for ever if
/// its network comes back. Our own end is sent again until it arrives, or until that limit: so ours has to be first.
pub fn notice_vanished(socket: impl AsFd, write_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(25)).with_interval(Duration::from_secs(8));
    #[cfg(target_os = "linux")]
    let keepalive = keepalive.with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    if !write_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some((write_timeout + LATER).max(LEAST)))?;
    }
    Ok(())
}
