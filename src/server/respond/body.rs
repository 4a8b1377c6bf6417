//! The body of an answer of either listener.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{Either, Full};
use tokio::sync::mpsc;

use crate::capture::RecordedBody;
use crate::fanout::ChannelReader;
use crate::proxy::ProxyBody;
use crate::server::net::request_line::LoggedBody;
use crate::server::net::taking::WatchedBody;

/// The body of an answer of the internal listener: whole, or the dashboard's events.
pub(in crate::server) type InternalBody = Either<Full<Bytes>, EventsBody>;

/// For the body of an answer that is complete.
pub(in crate::server) fn full(body: Full<Bytes>) -> InternalBody {
    Either::Left(body)
}

/// SSE text as it comes.
pub(in crate::server) struct EventsBody(mpsc::Receiver<Bytes>);

impl EventsBody {
    pub(in crate::server) fn new(blocks: mpsc::Receiver<Bytes>) -> Self {
        Self(blocks)
    }
}

impl http_body::Body for EventsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|block| block.map(|block| Ok(Frame::data(block))))
    }
}

/// Every body that the public listener answers with.
pub(in crate::server) enum ResponseBody {
    Full(Full<Bytes>),
    Backend(WatchedBody<ProxyBody>),
    Recorded(WatchedBody<RecordedBody>),
    Stream(ChannelReader),
    /// One of the others, with a line in the log.
    Logged(Box<LoggedBody<Self>>),
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            Self::Backend(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Recorded(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Stream(reader) => reader.poll(cx).map_ok(Frame::data).map_err(Into::into),
            Self::Logged(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Backend(body) => body.is_end_stream(),
            Self::Recorded(body) => body.is_end_stream(),
            Self::Stream(_) => false,
            Self::Logged(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Backend(body) => body.size_hint(),
            Self::Recorded(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
            Self::Logged(body) => body.size_hint(),
        }
    }
}
