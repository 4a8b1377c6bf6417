//! Listeners: bound early, so that a taken port stops the start; then accepting until the drain.
//!
//! Accepting never fails and nothing slow happens in it: a connection's first byte is read in its own task.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::net::keepalive;
use crate::shutdown::Drain;
use crate::telemetry::{CONNECTIONS_REFUSED, Throttle};

/// Connections that the kernel may hold ready for us.
const BACKLOG: u32 = 4096;
/// The pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);
/// The pause after one that was closed to keep descriptors free.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// How long handshakes that have begun may take to end before a listener that leaves its port to another one closes.
const SETTLE: Duration = Duration::from_millis(500);

/// Binds `address`. The error names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_with(address, false)
}

/// As [`bind`]; with `shared` others may listen there, too, if they say so as well.
pub fn bind_with(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    if shared {
        socket.set_reuseport(true)?;
    }
    socket
        .bind(address)
        .and_then(|()| socket.listen(BACKLOG))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// A listener that the service manager has bound.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// A connection's own part: what is done with its socket.
pub trait ServeConnection: Send + Sync + 'static {
    /// Serves one connection to its end; heeds the drain.
    fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + Send;

    /// How long a peer may acknowledge nothing, where that is not for the listener's limits to say.
    fn write_timeout(&self) -> Option<Duration> {
        None
    }
}

/// Asks a listener whether it still accepts. Cloning shares.
#[derive(Clone, Debug)]
pub struct AcceptPulse(mpsc::Sender<oneshot::Sender<()>>);

/// The listener's end of an [`AcceptPulse`].
#[derive(Debug)]
pub struct PulseAnswers(mpsc::Receiver<oneshot::Sender<()>>);

impl AcceptPulse {
    pub fn new() -> (Self, PulseAnswers) {
        let (ask, asked) = mpsc::channel(1);
        (Self(ask), PulseAnswers(asked))
    }

    /// Completes when the listener has gone round once more, or has ended.
    pub async fn beats(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(answer).await.is_ok() {
            let _ = answered.await;
        }
    }
}

/// How many connections a listener takes.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// At once; 0 is no limit. Beyond it, connections wait in the kernel.
    pub connections: usize,
    /// A connection whose descriptor is this or higher is closed at once. The kernel gives the lowest free number, so
    /// those above stay for everything else that the process opens.
    pub descriptors: Option<RawFd>,
    /// How long a peer may acknowledge nothing of what it is sent; zero is as long as the system lets it.
    pub write_timeout: Duration,
    /// Another listener may be at the same port: what comes at the end is left to it, and nothing is reset.
    pub shares_port: bool,
}

/// Accepts until the drain starts, each connection in a task of its own under `drain`.
pub async fn serve<S: ServeConnection>(
    listener: TcpListener,
    server: Arc<S>,
    limits: AcceptLimits,
    drain: Drain,
) {
    let (_, nobody) = AcceptPulse::new();
    serve_watched((listener, nobody), server, limits, drain).await;
}

/// As [`serve`], and tells those who ask that it still accepts.
pub async fn serve_watched<S: ServeConnection>(
    (listener, mut pulse): (TcpListener, PulseAnswers),
    server: Arc<S>,
    limits: AcceptLimits,
    drain: Drain,
) {
    let AcceptLimits { connections, descriptors, write_timeout, shares_port } = limits;
    let permits =
        Arc::new(Semaphore::new(if connections == 0 { Semaphore::MAX_PERMITS } else { connections }));
    let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    let failures = Throttle::default();
    let failed = |reason: &'static str, error: &dyn std::fmt::Display| {
        metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
        if let Some(suppressed) = failures.pass() {
            warn!(%error, listener = address, suppressed, "cannot accept connections; trying again");
        }
    };
    // When a listener that leaves its port closes.
    let mut closes: Option<Instant> = None;
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            // A stop must not wait behind a crowd of connections.
            biased;
            () = drain.started(), if closes.is_none() => {
                if !shares_port || turn_away_new(&listener).is_err() {
                    return;
                }
                closes = Some(Instant::now() + SETTLE);
                continue;
            }
            Some(answer) = pulse.0.recv() => {
                let _ = answer.send(());
                continue;
            }
            accepted = accepted => accepted,
            // Behind what is ready to be accepted, which closing would reset.
            () = sleep_until(closes.unwrap_or_else(Instant::now)), if closes.is_some() => return,
        };
        match accepted {
            Ok((socket, _)) if descriptors.is_some_and(|end| socket.as_raw_fd() >= end) => {
                drop(socket);
                failed("descriptors", &"nearly all open files that the process may have are in use");
                tokio::time::sleep(SHORT_PAUSE).await;
            }
            Ok((socket, peer)) => {
                let server = Arc::clone(&server);
                drain.spawn(async move {
                    let _permit = permit;
                    // Small writes go out at once; an error means that the peer is gone, which the next read says.
                    let _ = socket.set_nodelay(true);
                    let patience = server.write_timeout().unwrap_or(write_timeout);
                    let _ = keepalive::notice_vanished(&socket, patience);
                    server.connection(socket, peer).await;
                });
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                failed("failed", &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// From now on no handshake begins at `listener`: its first segment is dropped, and the client's next attempt, a
/// second later, finds the other listener, or none. A handshake that has begun goes on.
#[cfg(target_os = "linux")]
fn turn_away_new(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // In the words of a classic BPF program (linux/bpf_common.h), which the kernel runs on the TCP header.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Where the flags are; SYN and ACK among them.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

#[cfg(not(target_os = "linux"))]
fn turn_away_new(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether an accept failed for the one connection's own reason.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
