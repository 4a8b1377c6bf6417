//! The plain exchange: a GET without a body, answered by a head and a short body of a stated length that come at once.
//! Most requests are of this kind, and hyper's client side is half of what they would cost.
//!
//! Whatever else comes of it, hyper takes over where this has stopped (`UpstreamConnection::sender`): it hears that the
//! request has been sent, and reads the answer from its first byte. So nothing here judges an answer, and what is not
//! plain to the letter is left to hyper.

use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use crate::deadline::PooledDeadline;
use crate::proxy::connect::BackendIo;
use crate::proxy::headers;
use crate::proxy::headers::Forwarded;
use crate::proxy::request_body::RequestBody;

/// The longest answer, head and body, that is plain.
const LONGEST: usize = 16 << 10;
/// The most header fields of a plain answer.
const MOST_FIELDS: usize = 64;

/// A socket to the backend without hyper.
pub(super) struct RawConnection {
    io: BackendIo,
    /// What was read of the answer, or unasked.
    read: BytesMut,
    /// The request's head, empty when there is none.
    head: Vec<u8>,
    sent: usize,
}

/// What came of an exchange.
pub(super) enum FastPathOutcome {
    Answer(Response<Bytes>),
    /// The connection had ended, or was out of step, before anything was sent.
    Unsent,
    /// It is not plain, or has failed: hyper takes over.
    Hyper,
    /// The time was up.
    Late,
}

/// Whether a request with this head may begin a plain exchange, if it has no body, says nothing of one, and does not
/// ask to switch protocols.
pub(super) fn fits(head: &Parts) -> bool {
    head.method == Method::GET && head.uri.authority().is_none() && head.uri.path_and_query().is_some()
}

/// Whether an answer that hyper has read could have been a plain one.
pub(super) fn is_plain<B>(answer: &Response<B>) -> bool {
    let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length <= LONGEST / 2)
}

impl RawConnection {
    /// `ahead` was read from the socket before.
    pub(super) fn new(io: BackendIo, ahead: Bytes) -> Self {
        Self { io, read: ahead.into(), head: Vec::new(), sent: 0 }
    }

    /// Sends `request`, which has to fit, and waits for its answer until `late`. `unsaid`: who sent it, if its head
    /// does not say so.
    pub(super) async fn exchange(
        &mut self,
        request: &Request<RequestBody>,
        unsaid: Option<&Forwarded>,
        late: &mut PooledDeadline<'_>,
    ) -> FastPathOutcome {
        if !self.is_idle() {
            return FastPathOutcome::Unsent;
        }
        encode(request, unsaid, &mut self.head);
        poll_fn(|cx| {
            // An idle connection has nothing to say but its end.
            if self.sent == 0 && self.poll_read(cx).is_ready() {
                return Poll::Ready(FastPathOutcome::Unsent);
            }
            if let Poll::Ready(outcome) = self.poll(cx) {
                return Poll::Ready(outcome);
            }
            late.poll(cx).map(|()| FastPathOutcome::Late)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FastPathOutcome> {
        while self.sent < self.head.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.head[self.sent..])) {
                Ok(some @ 1..) => self.sent += some,
                Ok(0) | Err(_) if self.sent == 0 => return Poll::Ready(FastPathOutcome::Unsent),
                Ok(0) | Err(_) => return Poll::Ready(FastPathOutcome::Hyper),
            }
        }
        // TLS may hold the last of it back. What fails shows in reading.
        let _ = Pin::new(&mut self.io).poll_flush(cx);
        loop {
            if !matches!(ready!(self.poll_read(cx)), Ok(1..)) {
                return Poll::Ready(FastPathOutcome::Hyper);
            }
            let all = self.read.split().freeze();
            match read(&all) {
                HeadRead::Plain(answer) => {
                    self.head.clear();
                    // What was room for a long head is not kept.
                    self.head.shrink_to(LONGEST / 8);
                    self.sent = 0;
                    return Poll::Ready(FastPathOutcome::Answer(answer));
                }
                HeadRead::Partial if all.len() < LONGEST => self.read.unsplit(all.into()),
                HeadRead::Partial | HeadRead::Other => {
                    self.read = all.into();
                    return Poll::Ready(FastPathOutcome::Hyper);
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(LONGEST - self.read.len().min(LONGEST));
        pin!(self.io.read_buf(&mut self.read)).poll(cx)
    }

    /// Ready when an idle connection is of no use any more.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_idle() { self.poll_read(cx).map(drop) } else { Poll::Ready(()) }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.read.is_empty() && self.head.is_empty()
    }

    /// The socket as hyper is to find it.
    pub(super) fn into_io(self) -> BackendIo {
        self.io.begun(self.sent > 0, self.read.freeze())
    }
}

fn encode(request: &Request<RequestBody>, unsaid: Option<&Forwarded>, head: &mut Vec<u8>) {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    head.clear();
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host = None;
    // One by one: of a length that is known, each is a store and no call.
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
        if *name == HOST {
            host = Some(value);
        }
    }
    if let Some(caller) = unsaid {
        headers::write_who(caller, host, head);
    }
    head.extend_from_slice(b"\r\n");
}

enum HeadRead {
    Plain(Response<Bytes>),
    /// So far it may become one.
    Partial,
    Other,
}

/// Reads an answer of which `all` has come.
fn read(all: &Bytes) -> HeadRead {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let head = match parser.parse_response_with_uninit_headers(&mut parsed, all, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return HeadRead::Partial,
        Err(_) => return HeadRead::Other,
    };
    plain(all, head, &parsed).map_or(HeadRead::Other, HeadRead::Plain)
}

/// The answer whose head of `head` bytes has been `parsed`, if nothing about it is out of the ordinary.
fn plain(all: &Bytes, head: usize, parsed: &httparse::Response<'_, '_>) -> Option<Response<Bytes>> {
    let status = StatusCode::from_u16(parsed.code?).ok()?;
    let without_body =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // hyper keeps a reason of the backend's own.
    if without_body || parsed.version != Some(1) || parsed.reason != status.canonical_reason() {
        return None;
    }
    // hyper uses the map again for the client's next request, which needs room for some fields more.
    let mut headers = HeaderMap::with_capacity(parsed.headers.len().max(12));
    let mut length = None;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let plain = match name {
            CONTENT_LENGTH => length.replace(digits(field.value)?).is_none(),
            CONNECTION => field.value.eq_ignore_ascii_case(b"keep-alive"),
            TRANSFER_ENCODING | UPGRADE => false,
            _ => true,
        };
        if !plain {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(all.slice_ref(field.value)).ok()?);
    }
    // Neither less nor more than the answer has come.
    if all.len() - head != length? {
        return None;
    }
    let mut answer = Response::new(all.slice(head..));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Some(answer)
}

/// A short number as everybody writes it.
fn digits(text: &[u8]) -> Option<usize> {
    let sound = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if sound { str::from_utf8(text).ok()?.parse().ok() } else { None }
}
