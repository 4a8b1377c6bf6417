//! A client's socket with a limit on how long it may take nothing: a client that has stopped reading would hold an
//! answer, and the backend's connection behind it, for as long as it likes.
//!
//! Only writing is limited. A slow reader that takes something within the limit goes on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::telemetry::CLIENTS_STALLED;

/// See above.
pub(in crate::server) struct ClientSocket {
    socket: TcpStream,
    /// Zero = no limit.
    limit: Duration,
    /// Runs while the socket takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl ClientSocket {
    pub(in crate::server) fn new(socket: TcpStream, limit: Duration) -> Self {
        Self { socket, limit, blocked: None }
    }

    pub(in crate::server) fn get_ref(&self) -> &TcpStream {
        &self.socket
    }

    pub(in crate::server) fn into_inner(self) -> TcpStream {
        self.socket
    }

    /// Passes on what a write has come to, unless it has come to nothing for too long.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() || self.limit.is_zero() {
            self.blocked = None;
            return written;
        }
        let limit = self.limit;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(limit)));
        if blocked.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // For a writer that tries again although it has had an error.
        blocked.as_mut().reset(Instant::now());
        // By a reset: what is unsent would wait in the kernel, and a client that is back would see a regular end.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        metrics::counter!(CLIENTS_STALLED).increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(limit: Duration) -> (ClientSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ClientSocket::new(listener.accept().await.unwrap().0, limit), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_by_a_reset() {
        let (mut server, mut client) = pair(Duration::from_millis(200)).await;
        let began = Instant::now();
        let error = loop {
            if let Err(error) = server.write_all(&[7; 65_536]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        drop(server);
        let mut all = Vec::new();
        let error = client.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_at_a_time_is_served() {
        let (mut server, mut client) = pair(Duration::from_millis(400)).await;
        let whole = 16 << 20;
        let writing = async { server.write_all(&vec![7; whole]).await };
        let reading = async {
            let (mut buffer, mut read) = (vec![0; 256 << 10], 0);
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            while read < whole {
                pause.tick().await;
                read += client.read(&mut buffer).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
    }
}
