//! The answer's body on its way to the client, frame by frame as the backend sends it.
//!
//! It drives the backend's connection, and gives it back to the pool as soon as the answer has been read.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::proxy::error::ProxyError;
use crate::proxy::metrics::RequestMetrics;
use crate::proxy::pool::ConnectionPool;
use crate::proxy::request_body::RequestBodyState;
use crate::proxy::upstream::UpstreamConnection;
use crate::shutdown::Drain;
use crate::telemetry::Throttle;

/// Clients choose what they ask a broken backend for, and how often.
static BROKE_OFF: LazyLock<Throttle> = LazyLock::new(Throttle::default);

/// The body of a forwarded answer. Dropping it before its end closes the connection that it comes from. An error is
/// logged here, as the client has the head by then; it must cut the client's connection.
pub struct ProxyBody {
    content: BodyContent,
    /// It ended well.
    complete: bool,
    /// hyper must not learn that there is no body: it would correct the head's length.
    bare_length: bool,
    status: StatusCode,
    source: BodyDriver,
    /// It ended badly, which is told when hyper has written what came before.
    failure: Option<ProxyError>,
    /// None for an answer that has none.
    metrics: Option<RequestMetrics>,
}

/// What the body is made of.
pub(super) enum BodyContent {
    Incoming(Incoming),
    /// Here in whole.
    Whole(Bytes),
}

impl BodyContent {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(cx),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// What drives the backend's connection.
pub(super) enum BodyDriver {
    /// Nothing needs to: the whole answer has been read.
    Read,
    /// This body.
    Here(Box<UpstreamConnection>, ConnectionPool),
    /// A task, as the request is still being sent: that must not wait for the client to read the answer.
    Task(AbortHandle, Arc<RequestBodyState>),
}

impl BodyDriver {
    /// `request_body` is one that the backend may not have in whole yet.
    pub(super) fn new(
        upstream: Option<Box<UpstreamConnection>>,
        request_body: Option<Arc<RequestBodyState>>,
        pool: &ConnectionPool,
        drain: &Drain,
    ) -> Self {
        match (upstream, request_body) {
            (Some(upstream), _) if upstream.is_over() || upstream.is_idle() => {
                pool.put(upstream);
                Self::Read
            }
            (Some(upstream), Some(request_body)) => {
                Self::Task(drain.spawn(finish(upstream, pool.clone())).abort_handle(), request_body)
            }
            (Some(upstream), None) => Self::Here(upstream, pool.clone()),
            (None, _) => Self::Read,
        }
    }
}

impl ProxyBody {
    /// `bare_length`: the head names a length that is not this body's (304).
    pub(super) fn new(
        content: BodyContent,
        status: StatusCode,
        bare_length: bool,
        source: BodyDriver,
        metrics: RequestMetrics,
    ) -> Self {
        Self {
            complete: content.is_end_stream(),
            content,
            bare_length,
            status,
            source,
            failure: None,
            metrics: Some(metrics),
        }
    }

    /// The body of an answer that switches protocols: none.
    pub(super) fn empty(content: BodyContent) -> Self {
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let source = BodyDriver::Read;
        Self { content, complete: true, bare_length: false, status, source, failure: None, metrics: None }
    }

    fn fail(&mut self, error: hyper::Error) -> ProxyError {
        let error = match &self.source {
            BodyDriver::Task(_, request_body) if request_body.is_broken() => ProxyError::ClientLeft(error),
            _ => {
                if let Some(suppressed) = BROKE_OFF.pass() {
                    let status = self.status.as_u16();
                    warn!(status, ?error, suppressed, "the backend broke off in the middle of its answer");
                }
                ProxyError::BrokeOffMidway(error)
            }
        };
        if let Some(metrics) = &mut self.metrics {
            metrics.failed(&error);
        }
        error
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        let BodyDriver::Here(upstream, _) = &mut self.source else { return };
        if (upstream.poll(cx).is_ready() || upstream.is_idle())
            && let BodyDriver::Here(upstream, pool) = std::mem::replace(&mut self.source, BodyDriver::Read)
        {
            pool.put(upstream);
        }
    }
}

/// Drives a connection until both the request and its answer are through.
async fn finish(upstream: Box<UpstreamConnection>, pool: ConnectionPool) {
    let mut upstream = Some(upstream);
    poll_fn(|cx| {
        let Some(mut driven) = upstream.take() else { return Poll::Ready(()) };
        if driven.poll(cx).is_ready() || driven.is_idle() {
            pool.put(driven);
            return Poll::Ready(());
        }
        upstream = Some(driven);
        Poll::Pending
    })
    .await;
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let this = self.get_mut();
        if let Some(failure) = this.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        this.drive(cx);
        // What this body drives itself cannot be ready at any other time than now.
        let mut nobody = Context::from_waker(Waker::noop());
        let waker = if matches!(this.source, BodyDriver::Here(..)) { &mut nobody } else { &mut *cx };
        match ready!(this.content.poll_frame(waker)) {
            Some(Ok(frame)) => {
                this.complete = this.content.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.failure = Some(this.fail(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                this.complete = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream() && !self.bare_length
    }

    fn size_hint(&self) -> SizeHint {
        if self.bare_length { SizeHint::default() } else { self.content.size_hint() }
    }
}

impl Drop for ProxyBody {
    fn drop(&mut self) {
        if self.complete {
            if let Some(metrics) = &mut self.metrics {
                metrics.complete(self.status);
            }
        } else if let BodyDriver::Task(task, _) = &self.source {
            task.abort();
        }
    }
}
