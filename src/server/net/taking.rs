//! Whether the client takes an answer's body: between two frames it is the client that is waited for, unless the
//! backend has nothing to give.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::lock::Mutex;

/// The watch over one answer. Cloning shares.
#[derive(Clone, Default)]
pub(in crate::server) struct Taking(Arc<Watch>);

#[derive(Default)]
struct Watch {
    /// Since when the client has a frame, and has not asked for the next one.
    since: Mutex<Option<Instant>>,
    began: Notify,
}

impl Taking {
    /// Completes when the client has taken nothing for `limit`; never when that is zero.
    pub(in crate::server) async fn stalled(&self, limit: Duration) {
        if limit.is_zero() {
            std::future::pending::<()>().await;
        }
        loop {
            let since = *self.0.since.lock();
            match since {
                None => self.0.began.notified().await,
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
            }
        }
    }

    fn waits_for_the_client(&self, waits: bool) {
        let mut since = self.0.since.lock();
        *since = waits.then(Instant::now);
        if waits {
            self.0.began.notify_one();
        }
    }
}

/// A body that is watched over.
pub(in crate::server) struct WatchedBody<B> {
    body: B,
    taking: Option<Taking>,
}

impl<B> WatchedBody<B> {
    /// Without a watch the socket's own limit is enough: on HTTP/1 an answer has it for itself.
    pub(in crate::server) fn new(body: B, taking: Option<Taking>) -> Self {
        Self { body, taking }
    }
}

impl<B: Body + Unpin> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(taking) = &self.taking {
            let is_frame = matches!(polled, Poll::Ready(Some(Ok(_))));
            taking.waits_for_the_client(is_frame && !self.body.is_end_stream());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;

    /// Frames, then nothing for now.
    struct Frames(VecDeque<Bytes>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Pending,
            }
        }
    }

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_client_that_asks_for_no_further_frame_has_stalled() {
        let taking = Taking::default();
        let mut body = WatchedBody::new(Frames([Bytes::from_static(b"a")].into()), Some(taking.clone()));
        assert!(timeout(2 * LIMIT, taking.stalled(LIMIT)).await.is_err(), "nothing has been given yet");
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(frame.is_some());
        timeout(100 * LIMIT, taking.stalled(LIMIT)).await.unwrap();
    }

    #[tokio::test]
    async fn a_backend_that_is_slow_is_not_the_clients_fault() {
        let taking = Taking::default();
        let mut body = WatchedBody::new(Frames([Bytes::from_static(b"a")].into()), Some(taking.clone()));
        for _ in 0..2 {
            let _ = timeout(Duration::ZERO, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await;
        }
        assert!(timeout(3 * LIMIT, taking.stalled(LIMIT)).await.is_err());
        assert!(timeout(2 * LIMIT, taking.stalled(Duration::ZERO)).await.is_err());
    }
}
