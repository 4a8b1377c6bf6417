//! Listeners: bound early, so that a taken port stops the start; then accepting until the drain.
//!
//! Accepting never fails and nothing slow happens in it: a connection's first byte is read in its own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::shutdown::Drain;

/// Connections that the kernel may hold ready for us.
const BACKLOG: u32 = 4096;
/// The pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);

/// Binds `address`. The error names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .and_then(|()| socket.listen(BACKLOG))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// A connection's own part: what is done with its socket.
pub trait ServeConnection: Send + Sync + 'static {
    /// Serves one connection to its end; heeds the drain.
    fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + Send;
}

/// Accepts until the drain starts, each connection in a task of its own under `drain`; at most `max` at once, where
/// 0 is no limit. Beyond it, connections wait in the kernel.
pub async fn serve<S: ServeConnection>(listener: TcpListener, server: Arc<S>, max: usize, drain: Drain) {
    let permits = Arc::new(Semaphore::new(if max == 0 { Semaphore::MAX_PERMITS } else { max }));
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            // A stop must not wait behind a crowd of connections.
            biased;
            () = drain.started() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let server = Arc::clone(&server);
                drain.spawn(async move {
                    let _permit = permit;
                    // Small writes go out at once; an error means that the peer is gone, which the next read says.
                    let _ = socket.set_nodelay(true);
                    server.connection(socket, peer).await;
                });
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again");
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
