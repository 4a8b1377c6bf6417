//! One webhook's task: takes batches from its queue and sends each until it is accepted, refused, or too old.
//!
//! Invariant: one request is under way at a time, so what arrives is in order. Nothing waits for this task.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::config;
use crate::config::Webhook;
use crate::retry::Backoff;
use crate::telemetry::{WEBHOOK_EVENTS, WEBHOOK_REQUESTS, WEBHOOK_SECONDS};
use crate::webhooks::queue::{Queue, QueueState, WebhookBatch};
use crate::webhooks::sink::{BadSink, DeliveryOutcome, WebhookTarget};

/// The longest pause between two requests while the daemon stops.
const HURRIED: Duration = Duration::from_millis(500);

/// So long a receiver that fails is tried once the daemon stops: it has been away, and will hardly come back now.
const FAILING: Duration = Duration::from_secs(2);

/// The daemon stops.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) asked: Instant,
    /// Until then what is queued may be sent.
    pub(super) until: Instant,
}

/// How a webhook is told. It may become another one between two attempts.
pub(super) struct Delivery {
    sink: WebhookTarget,
    backoff: Backoff,
    max_delay: Duration,
    give_up_after: Duration,
}

impl Delivery {
    /// Reads the system's authorities from disk for a webhook over TLS.
    pub(super) fn new(settings: &Webhook, outbound: &config::Outbound) -> Result<Self, BadSink> {
        Ok(Self {
            sink: WebhookTarget::new(settings, outbound)?,
            backoff: Backoff::new(settings.retry_min, settings.retry_max),
            max_delay: settings.max_delay,
            give_up_after: settings.give_up_after,
        })
    }
}

pub(super) struct WebhookSender {
    name: Arc<str>,
    instance: Value,
    queue: Arc<Queue>,
    delivery: watch::Receiver<Arc<Delivery>>,
    finish: watch::Receiver<Option<Finish>>,
    /// Failures since the last request that was accepted.
    failures: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BatchFate {
    Delivered,
    Refused,
    /// It was tried for long enough.
    GivenUp,
    /// The daemon stops.
    Unsent,
}

impl BatchFate {
    /// One word for a metric's label.
    fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
            Self::Unsent => "unsent",
        }
    }
}

impl WebhookSender {
    pub(super) fn new(
        name: Arc<str>,
        instance: &Value,
        queue: Arc<Queue>,
        delivery: watch::Receiver<Arc<Delivery>>,
        finish: watch::Receiver<Option<Finish>>,
    ) -> Self {
        Self { name, instance: instance.clone(), queue, delivery, finish, failures: 0 }
    }

    /// Ends when nothing is queued any more after the notice to finish, or when its time is over.
    pub(super) async fn run(mut self) {
        loop {
            self.wait_for_batch().await;
            let Some(batch) = self.queue.take() else {
                if self.finish.borrow().is_some() {
                    return;
                }
                continue;
            };
            let events = batch.events.len() as u64;
            let fate = self.deliver(&batch).await;
            self.count_events(fate, events);
            match fate {
                BatchFate::Delivered => {}
                BatchFate::Refused | BatchFate::GivenUp => self.queue.lost(batch.dropped + events),
                BatchFate::Unsent => {
                    let waiting = self.queue.len() as u64;
                    self.count_events(fate, waiting);
                    warn!(
                        webhook = %self.name,
                        events = events + waiting,
                        "stopped before a webhook took everything that was queued for it"
                    );
                    return;
                }
            }
        }
    }

    /// Waits until a batch is full or its first event has waited for long enough, or for the notice to finish.
    async fn wait_for_batch(&mut self) {
        loop {
            let standing = self.queue.standing();
            if standing == QueueState::Full || self.finish.borrow().is_some() {
                return;
            }
            let due = match standing {
                QueueState::Filling(since) => Some(since + self.delivery.borrow().max_delay),
                _ => None,
            };
            tokio::select! {
                biased;
                () = noticed(&mut self.finish) => return,
                () = sleep_until(due) => return,
                () = self.queue.changed() => {}
            }
        }
    }

    async fn deliver(&mut self, batch: &WebhookBatch) -> BatchFate {
        let id = delivery_id();
        let body = self.body(&id, batch);
        let mut delivery = Arc::clone(&self.delivery.borrow_and_update());
        let began_at = Instant::now();
        let mut backoff = delivery.backoff.clone();
        let mut attempt = 0;
        loop {
            if self.delivery.has_changed().unwrap_or(false) {
                delivery = Arc::clone(&self.delivery.borrow_and_update());
                backoff = delivery.backoff.clone();
            }
            attempt += 1;
            let began = Instant::now();
            let outcome = tokio::select! {
                biased;
                () = time_is_over(&mut self.finish, self.failures > 0) => return BatchFate::Unsent,
                outcome = delivery.sink.post(&id, attempt, &body) => outcome,
            };
            self.count_request(&outcome, began);
            let failure = match outcome {
                DeliveryOutcome::Accepted => {
                    if self.failures > 0 {
                        info!(webhook = %self.name, failures = self.failures, "a webhook accepts again");
                    }
                    self.failures = 0;
                    return BatchFate::Delivered;
                }
                DeliveryOutcome::Refused(status) => {
                    let events = batch.events.len();
                    warn!(webhook = %self.name, status = status.as_u16(), events, delivery = id, "a webhook refused a batch, which is dropped");
                    return BatchFate::Refused;
                }
                DeliveryOutcome::Failed(failure) => failure,
            };
            self.failures += 1;
            let left = delivery.give_up_after.saturating_sub(began_at.elapsed());
            if left.is_zero() {
                let events = batch.events.len();
                warn!(webhook = %self.name, error = %failure, attempt, events, delivery = id, "a webhook is not told of a batch that was tried for long enough");
                return BatchFate::GivenUp;
            }
            let pause = failure.retry_after().unwrap_or_default().max(backoff.pause()).min(left);
            // At first, and then ever more rarely: a sink may be away for a day.
            if self.failures.is_power_of_two() {
                warn!(webhook = %self.name, error = %failure, failures = self.failures, "a webhook was not told; it is tried again");
            } else {
                debug!(webhook = %self.name, error = %failure, attempt, "a webhook was not told; it is tried again");
            }
            self.pause(pause).await;
        }
    }

    /// Waits for so long, or until the daemon stops, when there is no time to lose, or until it is told otherwise how
    /// to deliver.
    async fn pause(&mut self, time: Duration) {
        if self.finish.borrow().is_some() {
            tokio::time::sleep(time.min(HURRIED)).await;
            return;
        }
        tokio::select! {
            biased;
            () = noticed(&mut self.finish) => {}
            () = changed(&mut self.delivery) => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// The whole of a request's body: the events are JSON already.
    fn body(&self, id: &str, batch: &WebhookBatch) -> Bytes {
        let head = serde_json::json!({ "id": id, "webhook": &*self.name, "instance": self.instance, "dropped": batch.dropped });
        let head = head.to_string();
        let size: usize = batch.events.iter().map(|event| event.len() + 1).sum();
        let mut body = BytesMut::with_capacity(head.len() + size + 16);
        body.put_slice(head.as_bytes().strip_suffix(b"}").expect("an object"));
        for (number, event) in batch.events.iter().enumerate() {
            body.put_slice(if number == 0 { b",\"events\":[" } else { b"," });
            body.put_slice(event);
        }
        body.put_slice(b"]}");
        body.freeze()
    }

    fn count_events(&self, fate: BatchFate, events: u64) {
        metrics::counter!(WEBHOOK_EVENTS, "webhook" => Arc::clone(&self.name), "outcome" => fate.label())
            .increment(events);
    }

    fn count_request(&self, outcome: &DeliveryOutcome, began: Instant) {
        let result = match outcome {
            DeliveryOutcome::Accepted => "accepted",
            DeliveryOutcome::Refused(_) => "refused",
            DeliveryOutcome::Failed(failure) => failure.label(),
        };
        metrics::counter!(WEBHOOK_REQUESTS, "webhook" => Arc::clone(&self.name), "result" => result)
            .increment(1);
        metrics::histogram!(WEBHOOK_SECONDS, "webhook" => Arc::clone(&self.name)).record(began.elapsed());
    }
}

/// 128 bits that nobody has drawn before.
fn delivery_id() -> String {
    let half = || getrandom::u64().expect("the system has random numbers");
    format!("{:016x}{:016x}", half(), half())
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Completes when the notice to finish is given. Never, when there is nobody left to give it.
async fn noticed(finish: &mut watch::Receiver<Option<Finish>>) {
    if finish.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Completes when there is another way to deliver, which is not taken up by that. Never, when nobody is left to say so.
async fn changed(delivery: &mut watch::Receiver<Arc<Delivery>>) {
    if delivery.changed().await.is_err() {
        std::future::pending().await
    }
    delivery.mark_changed();
}

/// Completes when the notice has been given and its time is over; sooner for a receiver that is `failing`.
async fn time_is_over(finish: &mut watch::Receiver<Option<Finish>>, failing: bool) {
    loop {
        let notice = *finish.borrow_and_update();
        match notice {
            Some(Finish { asked, until }) => {
                let until = if failing { until.min(asked + FAILING) } else { until };
                return tokio::time::sleep_until(until).await;
            }
            None => noticed(finish).await,
        }
    }
}
