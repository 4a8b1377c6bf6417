//! The request's body on its way to the backend: passed on frame by frame, and held back while the backend has yet
//! to say that it wants it.
//!
//! Asking hyper's server side for a body makes it tell the client to go on. So a body that waits for the backend's
//! `100 Continue` is not asked for before the backend has said that, or has been silent for a while.
//!
//! What the backend does not take of a body is read all the same, for a while: a client that is still sending when its
//! connection is closed loses the answer.

use crate::lock::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::shutdown::Drain;

/// How long the rest of a body is read that nobody wants.
const LINGER: Duration = Duration::from_secs(5);

/// An extension of a request: counts the bytes of its body that are passed on.
#[derive(Clone, Debug)]
pub struct BodyCount(Arc<AtomicU64>);

impl BodyCount {
    pub fn new(bytes: Arc<AtomicU64>) -> Self {
        Self(bytes)
    }
}

/// A request's body as it came from a client, for [`Proxy::forward`](crate::proxy::Proxy::forward).
pub trait ClientBody: Body<Data = Bytes, Error = hyper::Error> + Sized {
    /// How it goes on; `held` back until the backend asks for it, where nothing of it has been asked for yet.
    #[doc(hidden)]
    fn into_source(self, held: bool) -> (BodySource, Gate);
}

impl ClientBody for Incoming {
    fn into_source(self, held: bool) -> (BodySource, Gate) {
        if held {
            (BodySource::Held(self.size_hint()), Gate::Shut { body: self, sender: None })
        } else {
            (BodySource::Open(self), Gate::Open)
        }
    }
}

/// A body of which the beginning has been read, which goes on in front of the rest.
pub struct PeekedBody {
    /// In one piece, however small the pieces were in which it came.
    read: BytesMut,
    trailers: Option<Frame<Bytes>>,
    rest: Incoming,
    size: SizeHint,
}

impl PeekedBody {
    /// A body of which nothing has been read yet.
    pub fn new(body: Incoming) -> Self {
        Self { read: BytesMut::new(), trailers: None, size: body.size_hint(), rest: body }
    }

    /// Reads on, and keeps what comes to go on. False when the body is over.
    pub async fn peek(&mut self) -> Result<bool, hyper::Error> {
        let Some(frame) = self.rest.frame().await.transpose()? else { return Ok(false) };
        match frame.into_data() {
            Ok(data) => self.read.extend_from_slice(&data),
            Err(trailers) => self.trailers = Some(trailers),
        }
        Ok(true)
    }

    /// What has been read so far.
    pub fn seen(&self) -> &[u8] {
        &self.read
    }
}

impl Body for PeekedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read).freeze()))));
        }
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Some(Ok(trailers))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    /// Of the whole body: it is asked for before anything goes on.
    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl ClientBody for PeekedBody {
    fn into_source(self, _: bool) -> (BodySource, Gate) {
        (BodySource::Peeked(Box::new(self)), Gate::Open)
    }
}

/// The body that hyper's client side sends.
pub(super) struct RequestBody {
    source: BodySource,
    state: Option<Arc<RequestBodyState>>,
}

pub enum BodySource {
    Empty,
    Open(Incoming),
    Peeked(Box<PeekedBody>),
    /// Behind the gate, of which nothing is known but its size.
    Held(SizeHint),
    /// Nothing more comes.
    Ended,
}

/// What the forwarding task knows of the body that hyper has: whether it is held back, and when it last moved.
pub(super) struct RequestBodyState {
    begun: Instant,
    /// Milliseconds from `begun` to the last thing that came from the client.
    moved: AtomicU64,
    clients_turn: AtomicBool,
    broken: AtomicBool,
    gate: Mutex<Gate>,
    count: Option<BodyCount>,
    drain: Drain,
}

pub enum Gate {
    Open,
    Shut {
        body: Incoming,
        sender: Option<Waker>,
    },
    /// Opened, and not yet taken by the sender.
    Ajar(Incoming),
    /// The backend has answered without asking for the body.
    Refused,
}

/// A body that goes on as it comes, or is held back when `held`. Empty bodies have no state to speak of.
pub(super) fn new(
    body: impl ClientBody,
    held: bool,
    count: Option<BodyCount>,
    drain: &Drain,
) -> (RequestBody, Option<Arc<RequestBodyState>>) {
    if body.is_end_stream() {
        return (RequestBody::empty(), None);
    }
    let (source, gate) = body.into_source(held);
    let state = Arc::new(RequestBodyState {
        begun: Instant::now(),
        moved: AtomicU64::new(0),
        clients_turn: AtomicBool::new(false),
        broken: AtomicBool::new(false),
        gate: Mutex::new(gate),
        count,
        drain: drain.clone(),
    });
    (RequestBody { source, state: Some(Arc::clone(&state)) }, Some(state))
}

impl RequestBodyState {
    /// Whether the body waits for the backend to ask for it.
    pub(super) fn is_held(&self) -> bool {
        matches!(*self.gate.lock(), Gate::Shut { .. })
    }

    /// Lets a held body go. Otherwise without effect.
    pub(super) fn open(&self) {
        let mut gate = self.gate.lock();
        let sender = match std::mem::replace(&mut *gate, Gate::Open) {
            Gate::Shut { body, sender } => {
                *gate = Gate::Ajar(body);
                self.has_moved();
                sender
            }
            other => {
                *gate = other;
                None
            }
        };
        drop(gate);
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Gives up a body that is still held, so that the client is never asked for it. `false` when it was not held.
    pub(super) fn refuse(&self) -> bool {
        let mut gate = self.gate.lock();
        if !matches!(*gate, Gate::Shut { .. }) {
            return false;
        }
        let refused = std::mem::replace(&mut *gate, Gate::Refused);
        drop(gate);
        drop(refused);
        true
    }

    /// The time since the last thing that came from the client, or since the beginning.
    pub(super) fn quiet_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }

    /// Whether it is the client that is to send something.
    pub(super) fn waits_for_client(&self) -> bool {
        self.clients_turn.load(Ordering::Relaxed)
    }

    /// Whether the client broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn has_moved(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    fn poll_gate(&self, cx: &Context<'_>) -> Poll<Incoming> {
        let mut gate = self.gate.lock();
        match std::mem::replace(&mut *gate, Gate::Open) {
            Gate::Ajar(body) => Poll::Ready(body),
            Gate::Shut { body, .. } => {
                *gate = Gate::Shut { body, sender: Some(cx.waker().clone()) };
                Poll::Pending
            }
            other => {
                *gate = other;
                Poll::Pending
            }
        }
    }
}

impl RequestBody {
    pub(super) fn empty() -> Self {
        Self { source: BodySource::Empty, state: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(state) = &this.state else { return Poll::Ready(None) };
        if let BodySource::Held(_) = this.source {
            this.source = BodySource::Open(ready!(state.poll_gate(cx)));
        }
        let polled = match &mut this.source {
            BodySource::Open(body) => Pin::new(body).poll_frame(cx),
            BodySource::Peeked(body) => Pin::new(&mut **body).poll_frame(cx),
            _ => return Poll::Ready(None),
        };
        state.clients_turn.store(polled.is_pending(), Ordering::Relaxed);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                state.has_moved();
                if let (Some(BodyCount(count)), Some(bytes)) = (&state.count, frame.data_ref()) {
                    count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            }
            Poll::Ready(Some(Err(_))) => {
                state.broken.store(true, Ordering::Relaxed);
                this.source = BodySource::Ended;
            }
            Poll::Ready(None) => {
                state.has_moved();
                this.source = BodySource::Ended;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Empty | BodySource::Ended => true,
            BodySource::Open(body) => body.is_end_stream(),
            BodySource::Peeked(body) => body.is_end_stream(),
            BodySource::Held(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Empty | BodySource::Ended => SizeHint::with_exact(0),
            BodySource::Open(body) => body.size_hint(),
            BodySource::Peeked(body) => body.size_hint(),
            BodySource::Held(hint) => *hint,
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let rest = match std::mem::replace(&mut self.source, BodySource::Ended) {
            BodySource::Open(rest) => rest,
            BodySource::Peeked(body) => body.rest,
            _ => return,
        };
        if let (mut rest, Some(state)) = (rest, &self.state)
            && !rest.is_end_stream()
        {
            state.drain.spawn(async move {
                let read = async { while let Some(Ok(_)) = rest.frame().await {} };
                let _ = tokio::time::timeout(LINGER, read).await;
            });
        }
    }
}
