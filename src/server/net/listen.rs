//! Accepting at a listener until the drain.
//!
//! Accepting never fails and nothing slow happens in it: a connection's first byte is read in its own task.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::net::keepalive;
use crate::server::net::listener::BoundListener;
use crate::shutdown::Drain;
use crate::telemetry::{CONNECTIONS_REFUSED, Throttle};

/// The pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);
/// The pause after one that was closed to keep descriptors free.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

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

/// How many connections listeners have at once, all together. Cloning shares.
#[derive(Clone, Debug)]
pub struct ConnectionSeats(Arc<Semaphore>);

impl ConnectionSeats {
    /// 0 is no limit. Beyond it, one connection of each listener waits here, and the others in the kernel.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(if most == 0 { Semaphore::MAX_PERMITS } else { most })))
    }
}

/// How many connections a listener takes.
#[derive(Clone, Debug)]
pub struct AcceptLimits {
    pub seats: ConnectionSeats,
    /// A connection whose descriptor is this or higher is closed at once. The kernel gives the lowest free number, so
    /// those above stay for everything else that the process opens.
    pub descriptors: Option<RawFd>,
    /// How long a peer may acknowledge nothing of what it is sent; zero is as long as the system lets it.
    pub write_timeout: Duration,
}

/// Accepts until the drain starts, each connection in a task of its own under `drain`.
pub async fn serve<S: ServeConnection>(
    listener: BoundListener,
    server: Arc<S>,
    limits: AcceptLimits,
    drain: Drain,
) {
    let (_, nobody) = AcceptPulse::new();
    serve_watched((listener, nobody), server, limits, drain).await;
}

/// As [`serve`], and tells those who ask that it still accepts.
pub async fn serve_watched<S: ServeConnection>(
    (mut listener, mut pulse): (BoundListener, PulseAnswers),
    server: Arc<S>,
    limits: AcceptLimits,
    drain: Drain,
) {
    let AcceptLimits { seats: ConnectionSeats(permits), descriptors, write_timeout } = limits;
    let address = listener.address().to_string();
    let failures = Throttle::default();
    let failed = |reason: &'static str, error: &dyn std::fmt::Display| {
        metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
        if let Some(suppressed) = failures.pass() {
            warn!(%error, listener = address, suppressed, "cannot accept connections; trying again");
        }
    };
    // When a listener that leaves its address closes.
    let mut closes: Option<Instant> = None;
    // Has come, and waits for a seat: a listener that took the seat first would keep it from the others.
    let mut come = None;
    loop {
        let seated = async {
            if come.is_none() {
                come = Some(listener.accept().await);
            }
            Arc::clone(&permits).acquire_owned().await
        };
        let permit = tokio::select! {
            // A stop must not wait behind a crowd of connections.
            biased;
            () = drain.started(), if closes.is_none() => {
                let Some(settle) = listener.leave() else { return };
                closes = Some(Instant::now() + settle);
                continue;
            }
            Some(answer) = pulse.0.recv() => {
                let _ = answer.send(());
                continue;
            }
            permit = seated => permit,
            // Behind what is ready to be accepted, which closing would reset.
            () = sleep_until(closes.unwrap_or_else(Instant::now)), if closes.is_some() => return,
        };
        let Some(accepted) = come.take() else { continue };
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

/// Whether an accept failed for the one connection's own reason.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
