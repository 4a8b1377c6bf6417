//! One HTTP/2 connection: its bounds, its end, and what becomes of each request's task.
//!
//! Nothing on it is unbounded: requests open at once, heads, what waits to be sent, time without a request, and time
//! without a sign of life. What is answered is the caller's affair.

use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::server::net::frame_budget::{FrameBudget, FramesExceeded};
use crate::server::net::taking::Taking;
use crate::server::respond::ResponseBody;
use crate::shutdown::Drain;
use crate::telemetry::CLIENTS_STALLED;

/// A peer that has been silent for so long is asked for a sign of life, and has as long again to give it.
const PING: Duration = Duration::from_secs(20);
/// How much of one answer waits for the client's window or the socket.
const SEND_BUFFER: usize = 32 << 10;
/// How much of one request's body, and of all on one connection, may be on its way to us unread.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How long a connection that got a GOAWAY may take when nothing is open on it.
const GOING: Duration = Duration::from_secs(2);

/// The limits of a connection that an operator sets.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Http2Limits {
    /// How large the head of a request may be.
    pub(in crate::server) max_head: usize,
    /// Requests open at once.
    pub(in crate::server) max_streams: u32,
    /// How long a connection may be open without a request.
    pub(in crate::server) idle: Duration,
    /// How long an answer may stand still because the client takes nothing; zero = for ever.
    pub(in crate::server) write_timeout: Duration,
}

tokio::task_local! {
    /// Ends the task of the request that is being answered.
    static CUT: Arc<Notify>;
    /// Watches over the answer of the request that is being answered.
    static TAKING: Taking;
}

/// What ends the HTTP/2 stream of the request that is being answered, by resetting it; `None` on HTTP/1.
pub(in crate::server) fn cut_of_this_stream() -> Option<Arc<Notify>> {
    CUT.try_with(Arc::clone).ok()
}

/// An answer's body that is watched over: on HTTP/2 the client's window can hold it back for ever.
pub(in crate::server) fn taking_of_this_stream() -> Option<Taking> {
    TAKING.try_with(Taking::clone).ok()
}

/// Serves until the client leaves, nothing has been asked for a while, or `goaway` has been given and all is answered.
/// Each request's task belongs to `tasks`; `refused` hears of requests that are refused here, because of their heads.
pub(in crate::server) async fn serve<I, A, F, E>(
    io: I,
    answer: A,
    limits: Http2Limits,
    (goaway, tasks): (&Drain, &Drain),
    refused: Box<dyn Fn() + Send>,
) -> Result<(), Http2Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let open = Arc::new(OpenRequests::default());
    // Boxed, so that a stream that lives for hours does not keep the room of its opening.
    let service = service_fn(move |mut request: Request<Incoming>| {
        join_cookies(request.headers_mut());
        Box::pin(answer(request))
    });
    let tasks = Tasks { drain: tasks.clone(), open: Arc::clone(&open), write_timeout: limits.write_timeout };
    let io = FrameBudget::new(io, refused);
    let frames = io.exceeded();
    let serving = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = pin!(serving);
    let mut going = false;
    loop {
        tokio::select! {
            biased;
            result = serving.as_mut() => return result.map_err(|error| Http2Error::new(error, &frames)),
            () = goaway.started(), if !going => {}
            () = open.idle_for(if going { GOING } else { limits.idle }) => {
                if going {
                    // It had its GOAWAY, and nothing is open: a client that does not leave is cut.
                    return Ok(());
                }
            }
        }
        going = true;
        // No new requests from now on; what is open goes on to its end.
        serving.as_mut().graceful_shutdown();
    }
}

/// Why a connection ended badly.
#[derive(Debug)]
pub(in crate::server) struct Http2Error {
    pub(in crate::server) error: hyper::Error,
    /// Its client sent more than anybody needs; in one word by whose count.
    pub(in crate::server) flood: Option<&'static str>,
}

impl Http2Error {
    fn new(error: hyper::Error, frames: &FramesExceeded) -> Self {
        let http2 = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        let calm = http2.and_then(h2::Error::reason) == Some(h2::Reason::ENHANCE_YOUR_CALM);
        let flood = if frames.get() { Some("frames") } else { calm.then_some("protocol") };
        Self { error, flood }
    }
}

/// One field, as HTTP/1.1 has it, of the pieces that HTTP/2 may send: RFC 9113, section 8.2.3.
fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece.as_bytes());
    }
    headers.insert(COOKIE, HeaderValue::from_bytes(&joined).expect("what came in pieces is a value whole"));
}

/// Runs the requests of one connection, each in a task of its own that can be ended from outside.
#[derive(Clone)]
struct Tasks {
    drain: Drain,
    open: Arc<OpenRequests>,
    write_timeout: Duration,
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let counted = Counted::new(&self.open);
        let cut = Arc::new(Notify::new());
        let (taking, limit) = (Taking::default(), self.write_timeout);
        let answering = TAKING.scope(taking.clone(), CUT.scope(Arc::clone(&cut), task));
        self.drain.spawn(async move {
            let _counted = counted;
            tokio::select! {
                biased;
                () = answering => {}
                // Dropping the task resets the stream, and throws away what the client's window holds back.
                () = cut.notified() => {}
                () = taking.stalled(limit) => metrics::counter!(CLIENTS_STALLED).increment(1),
            }
        });
    }
}

/// How many requests are open on a connection.
#[derive(Default)]
struct OpenRequests {
    requests: AtomicUsize,
    changed: Notify,
}

impl OpenRequests {
    /// Completes when nothing has been open for `time`.
    async fn idle_for(&self, time: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.requests.load(Ordering::SeqCst) > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep(time) => return,
            }
        }
    }
}

/// One open request, until it is dropped.
struct Counted(Arc<OpenRequests>);

impl Counted {
    fn new(open: &Arc<OpenRequests>) -> Self {
        open.requests.fetch_add(1, Ordering::SeqCst);
        open.changed.notify_one();
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_in_pieces_become_one_field() {
        let joined = |pieces: &[&str]| {
            let mut headers = HeaderMap::new();
            for piece in pieces {
                headers.append(COOKIE, piece.parse().unwrap());
            }
            join_cookies(&mut headers);
            let lines: Vec<_> =
                headers.get_all(COOKIE).iter().map(|it| it.to_str().unwrap().to_owned()).collect();
            lines
        };
        assert!(joined(&[]).is_empty());
        assert_eq!(joined(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(joined(&["a=1", "b=2", "c=3; d=4"]), ["a=1; b=2; c=3; d=4"]);
    }
}
