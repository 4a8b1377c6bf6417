//! One HTTP/1 connection with hyper: until its end, or until a stream takes its socket.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::fanout::Framing;
use crate::proxy::MAX_FIELDS;
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
pub(in crate::server) type TakenOver<I> = (TokioIo<I>, Admission, Framing);

/// Serves until the client leaves, `left` completes, `cut` is notified, or the drain has started and the open request is answered; or until
/// an answer leaves a stream in `handover`.
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
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.max_head.max(8192))
        .max_headers(MAX_FIELDS)
        .preserve_header_case(limits.keeps_case)
        .title_case_headers(limits.keeps_case)
        .serve_connection(TokioIo::new(io), service_fn(answer))
        .with_upgrades();
    let (cut, stop, left) = (pin!(cut.notified()), pin!(drain.started()), pin!(left));
    let (mut cut, mut stop, mut left) = (OnWake::new(cut), OnWake::new(stop), OnWake::new(left));
    let result = tokio::select! {
        // Serving stops by itself when it has done enough at a time.
        biased;
        result = &mut serving => result,
        () = &mut cut => return Ok(None),
        () = &mut left => return Ok(None),
        () = &mut stop => {
            // An idle connection ends now, a busy one after its answer.
            Pin::new(&mut serving).graceful_shutdown();
            tokio::select! {
                result = &mut serving => result,
                () = cut => return Ok(None),
                () = left => return Ok(None),
            }
        }
    };
    if let Some((admission, framing)) = handover.take() {
        return Ok(serving.into_parts().map(|parts| (parts.io, admission, framing)));
    }
    result.map(|()| None)
}
