//! The line of the log about a request that was answered: begun with the request, written when the last of its answer
//! is through, or when the client has left.
//!
//! No query stands in it, which may hold a token. What the client chose is bounded in length.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tracing::info;

use crate::proxy::BodyCount;
use crate::trace::RequestMarks;

/// The most of a method and of a path that a line holds.
const METHOD: usize = 32;
const PATH: usize = 512;

/// See above. Dropped before it has an answer it says that there was none.
pub(in crate::server) struct RequestLine {
    method: String,
    path: String,
    protocol: &'static str,
    address: IpAddr,
    marks: RequestMarks,
    begun: Instant,
    head: Option<AnswerHead>,
    bytes_in: Arc<AtomicU64>,
    bytes_out: u64,
    complete: bool,
    /// Somebody else writes of it.
    is_silent: bool,
}

#[derive(Clone, Copy)]
struct AnswerHead {
    status: u16,
    after: Duration,
    by: &'static str,
}

impl RequestLine {
    pub(in crate::server) fn begin<B>(request: &Request<B>, address: IpAddr, marks: RequestMarks) -> Self {
        let protocol = if request.version() > Version::HTTP_11 { "HTTP/2" } else { "HTTP/1" };
        Self {
            method: shortened(request.method().as_str(), METHOD),
            path: shortened(request.uri().path(), PATH),
            protocol,
            address,
            marks,
            begun: Instant::now(),
            head: None,
            bytes_in: Arc::default(),
            bytes_out: 0,
            complete: false,
            is_silent: false,
        }
    }

    /// Counts what is passed on of the request's body.
    pub(in crate::server) fn body_count(&self) -> BodyCount {
        BodyCount::new(Arc::clone(&self.bytes_in))
    }

    /// The request has become a stream, which has lines of its own.
    pub(in crate::server) fn forget(mut self) {
        self.is_silent = true;
    }

    /// Goes along with the body of an answer, which is `by` the backend or us.
    pub(in crate::server) fn follow<B: Body>(
        mut self,
        by: &'static str,
        response: Response<B>,
    ) -> Response<LoggedBody<B>> {
        self.head = Some(AnswerHead { status: response.status().as_u16(), after: self.begun.elapsed(), by });
        response.map(|body| {
            self.complete = body.is_end_stream();
            LoggedBody { body, line: self }
        })
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        if self.is_silent {
            return;
        }
        let Self { method, path, protocol, address, marks, bytes_out, complete, .. } = &*self;
        let (status, by) = (self.head.map(|head| head.status), self.head.map(|head| head.by));
        let head_ms = self.head.map(|head| milliseconds(head.after));
        let (bytes_in, ms) = (self.bytes_in.load(Ordering::Relaxed), milliseconds(self.begun.elapsed()));
        let (request_id, trace_id) = (marks.id(), marks.trace_id());
        info!(
            target: "sidestream::requests",
            method, path, protocol, status, by, %address, bytes_in, bytes_out, ms, head_ms, complete, request_id, trace_id,
            "request"
        );
    }
}

/// To a thousandth.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// An answer's body on its way, with its line.
pub(in crate::server) struct LoggedBody<B> {
    body: B,
    line: RequestLine,
}

impl<B: Body<Data = Bytes> + Unpin> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.line.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.line.complete = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.line.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shortened("/abc", 4), "/abc");
        assert_eq!(shortened("/abcd", 4), "/abc…");
        assert_eq!(shortened("/aü", 3), "/a…");
        assert_eq!(shortened("/äü", 3), "/ä…");
    }
}
