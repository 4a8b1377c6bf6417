//! A reader of a recorded answer: a body that begins at any place, and waits where the answer has not come further.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::capture::blocks::{BlockEdges, Edge};
use crate::capture::recording::{ReadStep, Recording};
use crate::telemetry;

/// Why a body ends before the answer does; it cuts the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReaderCut {
    #[error("the recorded answer broke off")]
    BrokeOff,
    #[error("the reader is further behind than the answer is kept")]
    TooSlow,
}

/// A place among the readers of an answer, given back on drop.
pub(super) struct ReaderSeat {
    pub(super) recording: Arc<Recording>,
    reader: u64,
}

impl ReaderSeat {
    /// None when there are too many.
    pub(super) fn take(recording: &Arc<Recording>) -> Option<Self> {
        let reader = recording.enter()?;
        metrics::gauge!(telemetry::CAPTURE_READERS).increment(1);
        Some(Self { recording: Arc::clone(recording), reader })
    }
}

impl Drop for ReaderSeat {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::CAPTURE_READERS).decrement(1);
        self.recording.leave(self.reader);
    }
}

/// The body of an answer that is recorded, from some place to its end.
pub struct RecordedBody {
    seat: ReaderSeat,
    at: u64,
    /// Where ids are added: how far the blocks have been followed.
    ids: Option<BlockEdges>,
    over: bool,
    /// It is cut off, which is told when hyper has written what came before.
    cut: Option<ReaderCut>,
}

impl RecordedBody {
    pub(super) fn new(seat: ReaderSeat, at: u64, ids: Option<BlockEdges>) -> Self {
        Self { seat, at, ids, over: false, cut: None }
    }

    fn cut_off<T>(&mut self, why: ReaderCut, cx: &Context<'_>) -> Poll<T> {
        self.cut = Some(why);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `bytes` with an id in front of each block that begins in them.
    fn with_ids(&mut self, bytes: Bytes) -> Bytes {
        let Some(edges) = &mut self.ids else { return bytes };
        let mut text = BytesMut::with_capacity(bytes.len() + 64);
        let (mut written, mut at) = (0, 0);
        while let Some((step, edge)) = edges.next(&bytes[at..]) {
            at += step;
            if edge == Edge::Begins {
                text.put_slice(&bytes[written..at]);
                written = at;
                text.put_slice(format!("id: {}-{}\n", self.seat.recording.id, edges.begun()).as_bytes());
                at += 1;
            }
        }
        text.put_slice(&bytes[written..]);
        text.freeze()
    }
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = ReaderCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReaderCut>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(this.cut.take().map(Err));
        }
        let step = this.seat.recording.read(this.seat.reader, this.at, cx);
        this.over = !matches!(step, ReadStep::Data(_) | ReadStep::Pending);
        match step {
            ReadStep::Data(bytes) => {
                this.at += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(this.with_ids(bytes)))))
            }
            ReadStep::Pending => Poll::Pending,
            ReadStep::End(how, _) if !how.is_orderly() => this.cut_off(ReaderCut::BrokeOff, cx),
            ReadStep::End(_, trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            ReadStep::Lost => {
                metrics::counter!(telemetry::CAPTURE_READERS_CUT).increment(1);
                this.cut_off(ReaderCut::TooSlow, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
