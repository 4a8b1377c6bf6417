//! Spans that wait to be sent: bounded, shared by the whole process as the log and the metrics are.

use std::collections::VecDeque;
use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::lock::Mutex;
use crate::spans::record::SpanRecord;
use crate::spans::sampler::Sampler;
use crate::telemetry::SPANS;

static QUEUE: OnceLock<SpanQueue> = OnceLock::new();

pub(super) struct SpanQueue {
    waiting: Mutex<VecDeque<SpanRecord>>,
    bounds: QueueBounds,
    sampler: Sampler,
    /// Told when there is enough for a request.
    pub(super) enough: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct QueueBounds {
    /// The most that wait.
    pub(super) waiting: usize,
    /// The most in one request.
    pub(super) batch: usize,
}

/// Whether there is somebody who collects spans.
pub fn are_collected() -> bool {
    cfg!(feature = "otel") && QUEUE.get().is_some()
}

pub(super) fn sampler() -> Option<Sampler> {
    if cfg!(feature = "otel") { QUEUE.get().map(|queue| queue.sampler) } else { None }
}

/// Opens the queue of this process. One that is there already stays, and has somebody who empties it.
pub(super) fn open(bounds: QueueBounds, sampler: Sampler) -> Option<&'static SpanQueue> {
    let queue = SpanQueue { waiting: Mutex::default(), bounds, sampler, enough: Notify::new() };
    QUEUE.set(queue).ok()?;
    QUEUE.get()
}

/// Takes a span, or loses it if too many wait.
pub(super) fn take(span: SpanRecord) {
    if let Some(queue) = QUEUE.get() {
        queue.push(span);
    }
}

impl SpanQueue {
    fn push(&self, span: SpanRecord) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.bounds.waiting {
            drop(waiting);
            metrics::counter!(SPANS, "outcome" => "dropped").increment(1);
            return;
        }
        waiting.push_back(span);
        let is_enough = waiting.len() == self.bounds.batch;
        drop(waiting);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// The oldest, as many as go into one request.
    pub(super) fn batch(&self) -> Vec<SpanRecord> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(self.bounds.batch);
        waiting.drain(..count).collect()
    }

    /// Whether there is enough for a whole request.
    pub(super) fn has_enough(&self) -> bool {
        self.waiting.lock().len() >= self.bounds.batch
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}
