//! A client's socket with a limit on how long it may take nothing: a client that has stopped reading would hold an
//! answer, and the backend's connection behind it, for as long as it likes.
//!
//! Only writing is limited. A slow reader that takes something within the limit goes on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::telemetry::CLIENTS_STALLED;

/// How long a client that has ended its side may wait for what it asked for before.
const LEAVES: Duration = Duration::from_secs(5);

/// See above.
pub(in crate::server) struct ClientSocket {
    /// Shared with those who wait for [`ClientSocket::left`] alone.
    socket: Arc<TcpStream>,
    /// Zero = no limit.
    limit: Duration,
    /// Runs while the socket takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl ClientSocket {
    pub(in crate::server) fn new(socket: TcpStream, limit: Duration) -> Self {
        Self { socket: Arc::new(socket), limit, blocked: None }
    }

    pub(in crate::server) fn get_ref(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket alone. `None` while somebody waits for the client to leave.
    pub(in crate::server) fn into_inner(self) -> Option<TcpStream> {
        Arc::into_inner(self.socket)
    }

    /// Completes when the client has ended its side, or vanished, some seconds ago: also when nobody reads, because
    /// bytes of a next request are there already.
    pub(in crate::server) fn left(&self) -> impl Future<Output = ()> + Send + 'static {
        let socket = Arc::clone(&self.socket);
        async move {
            // Urgent data is not asked for, so this is the end of reading and nothing else.
            #[cfg(target_os = "linux")]
            match socket.ready(Interest::PRIORITY).await {
                Ok(_) => sleep(LEAVES).await,
                Err(_) => std::future::pending().await,
            }
            #[cfg(not(target_os = "linux"))]
            {
                let _held = socket;
                std::future::pending().await
            }
        }
    }

    /// As tokio reads, but with a socket that is shared.
    fn poll_read_some(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let before = into.filled().len();
            let (room, mut some) = (into.remaining(), 0);
            let read = self.socket.try_io(Interest::READABLE, || {
                self.socket.try_read_buf(into)?;
                some = into.filled().len() - before;
                // Fewer bytes than there was room for: the next read would find nothing, as this error says.
                if (1..room).contains(&some) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match read {
                Err(error) if some == 0 && error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if some == 0 => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_some(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
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
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
        metrics::counter!(CLIENTS_STALLED).increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_read_some(cx, into)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_write_some(cx, |socket| socket.try_write(bytes));
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_write_some(cx, |socket| socket.try_write_vectored(slices));
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Write) {
            // Its end has been noticed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
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
