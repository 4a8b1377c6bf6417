//! A connection of the internal listener: HTTP/1, plain or over TLS, until its client leaves or the daemon closes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tracing::debug;

use crate::server::internal::listener::Internal;
use crate::server::net::accept;
use crate::server::net::accept::HANDSHAKE;
use crate::server::net::certificate::Certificate;
use crate::server::net::connection::{ErrorChain, OpenConnection, count_unreadable};
use crate::server::net::current::Current;
use crate::server::net::head_watch::HeadWatch;
use crate::server::net::listen::ServeConnection;
use crate::server::net::listener::UNIX_PEER;
use crate::server::net::on_wake::OnWake;
use crate::shutdown::Drain;

/// Plain, or over TLS. One type for both: for two, hyper's code is there twice, and each publish is slower for it.
type InternalSocket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl ServeConnection for Current<Internal> {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let internal = self.get();
        let (open, close) = (internal.open.clone(), internal.close.clone());
        let head_timeout = internal.head_timeout;
        // What guards a Unix socket are its file's rights.
        let certificate = internal.certificate.as_ref().filter(|_| peer != UNIX_PEER).map(Certificate::shown);
        // Each request is answered by what is current when it comes.
        drop(internal);
        let _open = OpenConnection::new(&open);
        let socket = match certificate {
            None => Either::Left(socket),
            Some(certificate) => {
                let patience = HANDSHAKE.min(head_timeout);
                let shaken = tokio::select! {
                    biased;
                    shaken = accept::handshake(certificate.get(), socket, patience, peer) => shaken,
                    () = close.started() => return,
                };
                let Some((socket, _)) = shaken else { return };
                Either::Right(Box::new(socket))
            }
        };
        self.serve(socket, peer, head_timeout, close).await;
    }
}

impl Current<Internal> {
    async fn serve(
        self: Arc<Self>,
        socket: InternalSocket,
        peer: SocketAddr,
        head_timeout: Duration,
        close: Drain,
    ) {
        let asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            asked.store(true, Ordering::Relaxed);
            Box::pin(async { Ok::<_, Infallible>(self.get().answer(request, peer.ip()).await) })
        });
        let mut serving = http1::Builder::new()
            .timer(HeadWatch::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(MAX_HEAD)
            // Answers are short: one piece is cheaper to write than two.
            .writev(false)
            .serve_connection(TokioIo::new(socket), service);
        let close = pin!(async {
            close.started().await;
            if !asked.load(Ordering::Relaxed) {
                sleep(FIRST_REQUEST).await;
            }
        });
        let close = OnWake::new(close);
        let result = tokio::select! {
            biased;
            result = poll_fn(|cx| serving.poll_without_shutdown(cx)) => result,
            () = close => {
                // An idle connection ends now, a busy one after its answer.
                Pin::new(&mut serving).graceful_shutdown();
                poll_fn(|cx| serving.poll_without_shutdown(cx)).await
            }
        };
        if let Err(error) = result {
            count_unreadable("internal", &error);
            debug!(%peer, error = %ErrorChain(&error), "connection ended with an error");
        }
        linger(serving.into_parts().io.into_inner()).await;
    }
}

/// How long a connection that has asked for nothing lives on after the notice to close: it may have been accepted just
/// before, with its request on the way.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// How large the head of a request may be.
const MAX_HEAD: usize = 64 << 10;

/// How long an answered peer may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// Closes so that the peer gets our answer to a body that we did not read: a socket that is closed with bytes unread
/// resets the connection, and the reset may overtake the answer.
async fn linger(mut socket: InternalSocket) {
    let discard = async {
        let mut buffer = [0; 4096];
        socket.shutdown().await?;
        while socket.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(LINGER, discard).await;
}
