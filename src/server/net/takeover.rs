//! How a stream's socket leaves hyper: the service answers "taken", the connection is dissolved into its parts, and
//! the bare socket moves to a shard. Nothing has been written by then.

use std::sync::Arc;

use crate::fanout::Framing;
use crate::lock::Mutex;
use crate::server::net::accept::Prefixed;
use crate::server::net::client_socket::ClientSocket;
use crate::subscribe::Admission;

/// The service's error that ends hyper's part.
#[derive(Debug, thiserror::Error)]
#[error("the connection is taken over")]
pub(in crate::server) struct SocketTaken;

/// Where a connection's service leaves the stream that takes the socket.
#[derive(Clone, Default)]
pub(in crate::server) struct Handover(Arc<Mutex<Option<(Admission, Framing)>>>);

impl Handover {
    pub(in crate::server) fn put(&self, admission: Admission, framing: Framing) {
        *self.0.lock() = Some((admission, framing));
    }

    pub(in crate::server) fn take(&self) -> Option<(Admission, Framing)> {
        self.0.lock().take()
    }
}

/// The socket alone. It stays non-blocking, and tokio knows it no more: a waker left behind would keep the task.
pub(in crate::server) fn bare(io: Prefixed<ClientSocket>) -> std::io::Result<std::net::TcpStream> {
    let socket = io.into_inner().into_inner();
    socket.ok_or_else(|| std::io::Error::other("the socket is still watched"))?.into_std()
}
