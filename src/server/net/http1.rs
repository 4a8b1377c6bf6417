//! One HTTP/1 connection with hyper: until its end, or until a stream takes its socket.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http1::{Parts, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::fanout::Framing;
use crate::proxy::MAX_FIELDS;
use crate::server::net::head_watch::{HeadWatch, WatchedIo};
use crate::server::net::on_wake::OnWake;
use crate::server::net::takeover::{Handover, SocketTaken};
use crate::server::respond::ResponseBody;
use crate::shutdown::Drain;
use crate::subscribe::Admission;

/// The limits of a connection that an operator sets.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Http1Limits {
    pub(in crate::server) head_timeout: Duration,
    pub(in crate::server) max_head: usize,
    /// Names of headers are written to the client as the backend wrote them.
    pub(in crate::server) keeps_case: bool,
}

/// A socket that a stream takes, and the stream.
pub(in crate::server) type TakenOver<I> = (I, Admission, Framing);

/// Serves until the client leaves, `left` completes, `cut` is notified, or the drain has started and the open request
/// is answered; or until an answer leaves a stream in `handover`.
pub(in crate::server) async fn serve<I, A, F>(
    io: I,
    answer: A,
    limits: Http1Limits,
    left: impl Future<Output = ()>,
    (handover, cut): (&Handover, &Notify),
    drain: &Drain,
) -> hyper::Result<Option<TakenOver<I>>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, SocketTaken>>,
{
    let watch = HeadWatch::new();
    let io = TokioIo::new(WatchedIo::new(io, &watch));
    let mut serving = builder(&watch, limits).serve_connection(io, service_fn(answer)).with_upgrades();
    let (cut, stop, left) = (pin!(cut.notified()), pin!(drain.started()), pin!(left));
    let (mut cut, mut stop, mut left) = (OnWake::new(cut), OnWake::new(stop), OnWake::new(left));
    let mut stopping = false;
    let result = loop {
        let served = poll_fn(|cx| match Pin::new(&mut serving).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if watch.has_refused() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            // Serving stops by itself when it has done enough at a time.
            biased;
            served = served => match served {
                Some(result) => break result,
                None => {
                    let Some(parts) = serving.into_parts() else { return Ok(None) };
                    serving = with_room(parts, &watch, limits);
                }
            },
            () = &mut cut => return Ok(None),
            () = &mut left => return Ok(None),
            () = &mut stop, if !stopping => stopping = true,
        }
        if stopping {
            // An idle connection ends now, a busy one after its answer.
            Pin::new(&mut serving).graceful_shutdown();
        }
    };
    if let Some((admission, framing)) = handover.take() {
        return Ok(serving
            .into_parts()
            .map(|parts| (parts.io.into_inner().into_inner(), admission, framing)));
    }
    result.map(|()| None)
}

fn builder(watch: &HeadWatch, limits: Http1Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(watch.clone())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.max_head.max(8192))
        .preserve_header_case(limits.keeps_case)
        .title_case_headers(limits.keeps_case);
    builder
}

/// The same connection, which reads a head again that was too much for hyper, with room for as many fields as one may
/// have. hyper takes such room from the allocator for each head, so that it is not there from the first.
fn with_room<I, S>(
    parts: Parts<TokioIo<WatchedIo<I>>, S>,
    watch: &HeadWatch,
    limits: Http1Limits,
) -> UpgradeableConnection<TokioIo<WatchedIo<I>>, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = ResponseBody, Error = SocketTaken>,
{
    let io = TokioIo::new(parts.io.into_inner().again(parts.read_buf));
    builder(watch, limits).max_headers(MAX_FIELDS).serve_connection(io, parts.service).with_upgrades()
}
