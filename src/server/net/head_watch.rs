//! A watch over the heads that hyper reads on a connection: how long each may take, and whether one is too much for
//! hyper.
//!
//! hyper wants a timer for each head, and drops it when the head is there. All of one connection are the same deadline,
//! set anew. That also tells when hyper waits for a head, and what it writes then, with nothing of an answer left to be
//! written, is that it refuses that head. A refusal by 431 can be kept back: nothing has been written, and hyper has
//! taken no byte of such a head, so that another connection can read it again with more room. (Of other refusals it
//! has: it finds what is wrong only when it has taken the head apart.)

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Deadline;
use crate::lock::Mutex;
use crate::server::net::accept::Prefixed;

/// One connection's watch, which is also its timer, for heads and nothing else. Cloning shares.
#[derive(Clone)]
pub(in crate::server) struct HeadWatch(Arc<HeadReading>);

struct HeadReading {
    deadline: Mutex<Deadline>,
    /// hyper waits for a head, or reads one.
    reading: AtomicBool,
    /// It would refuse that head, which is to be read again.
    refused: AtomicBool,
}

/// What hyper waits for beside a head.
struct HeadDeadline(Arc<HeadReading>);

impl HeadWatch {
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(HeadReading {
            deadline: Mutex::new(Deadline::new(tokio::time::Instant::now())),
            reading: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }))
    }

    /// Whether a refusal has been kept back.
    pub(in crate::server) fn has_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Timer for HeadWatch {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        // A head that is read again has no more time than it had.
        if !self.0.refused.swap(false, Ordering::Relaxed) {
            self.0.deadline.lock().set(deadline.into());
        }
        self.0.reading.store(true, Ordering::Relaxed);
        Box::pin(HeadDeadline(Arc::clone(&self.0)))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.deadline.lock().poll(cx)
    }
}

impl Sleep for HeadDeadline {}

impl Drop for HeadDeadline {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::Relaxed);
    }
}

/// A connection's socket, on which the first refusal of a head is kept back.
pub(in crate::server) struct WatchedIo<I> {
    io: Prefixed<I>,
    /// None when refusals go out.
    keeps_back: Option<HeadWatch>,
    /// Some of what hyper has to write has not been taken yet.
    owes: bool,
}

impl<I> WatchedIo<I> {
    pub(in crate::server) fn new(io: I, watch: &HeadWatch) -> Self {
        Self { io: Prefixed::new(Bytes::new(), io), keeps_back: Some(watch.clone()), owes: false }
    }

    /// The same for one who begins with a head of which hyper has read this much, and whose refusal goes out.
    pub(in crate::server) fn again(self, read: Bytes) -> Self {
        // What was read again already is in there.
        Self { io: Prefixed::new(read, self.io.into_inner()), keeps_back: None, owes: false }
    }

    pub(in crate::server) fn into_inner(self) -> I {
        self.io.into_inner()
    }

    /// Whether what is to be written is a refusal that is kept back.
    fn keeps_back(&self, bytes: &[u8]) -> bool {
        let Some(HeadWatch(watched)) = &self.keeps_back else { return false };
        if self.owes || !watched.reading.load(Ordering::Relaxed) || bytes.get(8..12) != Some(b" 431") {
            return false;
        }
        watched.refused.store(true, Ordering::Relaxed);
        true
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>, offered: usize) {
        self.owes = !matches!(written, Poll::Ready(Ok(some)) if *some == offered);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WatchedIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WatchedIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.keeps_back(bytes) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(&written, bytes.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(slices.first().map_or(&[], |first| first)) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(&written, slices.iter().map(|slice| slice.len()).sum());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const STEP: Duration = Duration::from_millis(40);
    /// Never in a test.
    const HOUR: Duration = Duration::from_secs(3600);
    const REFUSAL: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n";
    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_head_that_is_read_again_has_the_time_that_was_left() {
        let watch = HeadWatch::new();
        let (io, mut client) = tokio::io::duplex(64);
        let mut io = WatchedIo::new(io, &watch);
        let until = watch.now() + 3 * STEP;
        let first = watch.sleep_until(until);
        assert!(timeout(STEP, io.write_all(REFUSAL)).await.is_err());
        assert!(watch.has_refused());
        drop(first);
        let again = watch.sleep_until(watch.now() + HOUR);
        assert!(!watch.has_refused());
        timeout(SOON, again).await.expect("its time is over");
        assert!(watch.now() >= until);
        // The refusal of the second time goes out, and the next head has its own time.
        let mut io = io.again(Bytes::new());
        io.write_all(REFUSAL).await.unwrap();
        let mut came = [0; REFUSAL.len()];
        client.read_exact(&mut came).await.unwrap();
        assert_eq!(came, REFUSAL);
        assert!(timeout(2 * STEP, watch.sleep_until(watch.now() + HOUR)).await.is_err());
    }

    #[tokio::test]
    async fn answers_and_other_refusals_go_out() {
        let watch = HeadWatch::new();
        let (io, mut client) = tokio::io::duplex(40);
        let mut io = WatchedIo::new(io, &watch);
        // The application's own, of which a part waits while the next head is read.
        assert_eq!(io.write(REFUSAL).await.unwrap(), 40);
        let _reading = watch.sleep_until(watch.now() + HOUR);
        let rest = [&REFUSAL[40..], b"HTTP/1.1 400 Bad Request\r\n\r\n"].concat();
        let mut came = vec![0; 40 + rest.len()];
        let (wrote, read) = tokio::join!(io.write_all(&rest), client.read_exact(&mut came));
        wrote.unwrap();
        read.unwrap();
        assert!(came.ends_with(&rest));
        assert!(timeout(STEP, io.write_all(b"HTTP/1.1 400 Bad Request\r\n")).await.is_ok());
        assert!(!watch.has_refused());
    }
}
