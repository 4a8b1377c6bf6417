//! What waits to be sent to one webhook: bounded in number and memory, in order, never waited for.
//!
//! Invariant: what was dropped is counted, and the count goes out with the first batch behind the gap.

use crate::lock::Mutex;
use std::collections::VecDeque;

use bytes::Bytes;
use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config;
use crate::telemetry::WEBHOOK_WAITING;

/// What an event costs beside its text.
const OVERHEAD: usize = 64;

pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    /// How many wait, for operators.
    waiting: Gauge,
}

struct Inner {
    limits: QueueLimits,
    waiting: VecDeque<(Bytes, Instant)>,
    bytes: usize,
    /// Dropped in front of the first that waits.
    dropped: u64,
}

#[derive(Clone, Copy)]
struct QueueLimits {
    max: usize,
    max_bytes: usize,
    max_batch: usize,
    max_body: usize,
}

impl QueueLimits {
    fn of(settings: &config::Webhook) -> Self {
        let bytes = |size: config::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        Self {
            max: settings.max_queue,
            max_bytes: bytes(settings.max_queue_bytes),
            max_batch: settings.max_batch,
            max_body: bytes(settings.max_body),
        }
    }
}

/// Events that go out together.
pub(super) struct WebhookBatch {
    pub(super) events: Vec<Bytes>,
    /// How many were dropped in front of them.
    pub(super) dropped: u64,
}

/// Whether there is a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum QueueState {
    Empty,
    /// The first has waited since then, and there is room for others to go with it.
    Filling(Instant),
    Full,
}

impl Queue {
    pub(super) fn new(settings: &config::Webhook) -> Self {
        let limits = QueueLimits::of(settings);
        Self {
            inner: Mutex::new(Inner { limits, waiting: VecDeque::new(), bytes: 0, dropped: 0 }),
            changed: Notify::new(),
            waiting: metrics::gauge!(WEBHOOK_WAITING, "webhook" => settings.name.clone()),
        }
    }

    /// From now on these bounds hold; what waits beyond them is dropped when the next comes.
    pub(super) fn limit(&self, settings: &config::Webhook) {
        self.inner.lock().limits = QueueLimits::of(settings);
        self.changed.notify_one();
    }

    /// Puts `event` behind the others; gives back how many had to be dropped.
    pub(super) fn push(&self, event: Bytes) -> u64 {
        let cost = event.len() + OVERHEAD;
        let mut inner = self.inner.lock();
        let before = inner.standing();
        let mut dropped = 0;
        while inner.waiting.len() >= inner.limits.max || inner.bytes + cost > inner.limits.max_bytes {
            let Some((oldest, _)) = inner.waiting.pop_front() else { break };
            inner.bytes -= oldest.len() + OVERHEAD;
            dropped += 1;
        }
        if cost > inner.limits.max_bytes {
            dropped += 1;
        } else {
            inner.bytes += cost;
            inner.waiting.push_back((event, Instant::now()));
        }
        inner.dropped += dropped;
        self.waiting.set(inner.waiting.len() as f64);
        let after = inner.standing();
        drop(inner);
        // Else its sender is at work, or knows already.
        if before == QueueState::Empty || (after == QueueState::Full && before != after) {
            self.changed.notify_one();
        }
        dropped
    }

    /// Counts events of a batch that will never arrive.
    pub(super) fn lost(&self, events: u64) {
        self.inner.lock().dropped += events;
    }

    pub(super) fn standing(&self) -> QueueState {
        self.inner.lock().standing()
    }

    /// Completes when the queue may stand otherwise than before. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The oldest that fit into one request; None when nothing waits.
    pub(super) fn take(&self) -> Option<WebhookBatch> {
        let mut inner = self.inner.lock();
        let mut events = Vec::new();
        let mut size = 0;
        while let Some((event, _)) = inner.waiting.front() {
            size += event.len() + 1;
            if events.len() == inner.limits.max_batch || (size > inner.limits.max_body && !events.is_empty())
            {
                break;
            }
            inner.bytes -= event.len() + OVERHEAD;
            events.extend(inner.waiting.pop_front().map(|(event, _)| event));
        }
        if events.is_empty() {
            return None;
        }
        if inner.waiting.is_empty() {
            // A crowd's room is given back.
            inner.waiting = VecDeque::new();
        }
        self.waiting.set(inner.waiting.len() as f64);
        Some(WebhookBatch { events, dropped: std::mem::take(&mut inner.dropped) })
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }
}

impl Inner {
    fn standing(&self) -> QueueState {
        match self.waiting.front() {
            None => QueueState::Empty,
            Some(_) if self.waiting.len() >= self.limits.max_batch || self.bytes >= self.limits.max_body => {
                QueueState::Full
            }
            Some((_, since)) => QueueState::Filling(*since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, Secret, Webhook};

    fn queue(change: impl FnOnce(&mut Webhook)) -> Queue {
        let url = "http://127.0.0.1/".parse().unwrap();
        let mut settings = Webhook::at("test".to_owned(), url, Secret::new("secret"));
        change(&mut settings);
        Queue::new(&settings)
    }

    fn batch(queue: &Queue) -> Option<(Vec<String>, u64)> {
        let batch = queue.take()?;
        let text = |event: &Bytes| String::from_utf8(event.to_vec()).unwrap();
        Some((batch.events.iter().map(text).collect(), batch.dropped))
    }

    fn push(queue: &Queue, number: usize) -> u64 {
        queue.push(number.to_string().into())
    }

    #[test]
    fn batches_are_taken_in_order_and_within_their_bound() {
        let queue = queue(|settings| settings.max_batch = 3);
        assert_eq!(queue.standing(), QueueState::Empty);
        (0..5).for_each(|number| assert_eq!(push(&queue, number), 0));
        assert_eq!(queue.standing(), QueueState::Full);
        assert_eq!(batch(&queue), Some((vec!["0".to_owned(), "1".to_owned(), "2".to_owned()], 0)));
        assert!(matches!(queue.standing(), QueueState::Filling(_)));
        assert_eq!(batch(&queue), Some((vec!["3".to_owned(), "4".to_owned()], 0)));
        assert_eq!(batch(&queue), None);
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_the_next_batch_says_so() {
        let queue = queue(|settings| settings.max_queue = 3);
        let dropped: u64 = (0..10).map(|number| push(&queue, number)).sum();
        assert_eq!(dropped, 7);
        queue.lost(2);
        assert_eq!(batch(&queue), Some((vec!["7".to_owned(), "8".to_owned(), "9".to_owned()], 9)));
        push(&queue, 10);
        assert_eq!(batch(&queue), Some((vec!["10".to_owned()], 0)), "it is said once");
    }

    #[test]
    fn memory_is_a_bound_as_well() {
        let queue = queue(|settings| settings.max_queue_bytes = ByteSize(64 << 10));
        for _ in 0..1000 {
            queue.push(vec![b'x'; 1000].into());
            assert!(queue.inner.lock().bytes <= 64 << 10);
        }
        assert_eq!(queue.push(vec![b'x'; 64 << 10].into()), 62, "those that wait, and itself");
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_event_that_is_larger_than_a_body_goes_alone() {
        let queue = queue(|settings| settings.max_body = ByteSize(4 << 10));
        for size in [10, 5000, 10, 4000, 100] {
            queue.push(vec![b'x'; size].into());
        }
        let sizes: Vec<Vec<usize>> =
            std::iter::from_fn(|| queue.take().map(|batch| batch.events.iter().map(Bytes::len).collect()))
                .collect();
        assert_eq!(sizes, [vec![10], vec![5000], vec![10, 4000], vec![100]]);
    }
}
