//! What the room counts: requests by outcome, the time to an answer's head, and what is with the backend now.
//!
//! Every way out of a request is counted by dropping its [`RequestMetrics`].

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram};
use tracing::debug;

use crate::proxy::error::ProxyError;
use crate::telemetry;

/// The room's metrics, looked up once.
pub(super) struct ProxyMetrics {
    /// By the first digit of the status.
    classes: [Counter; 5],
    refused: Counter,
    timeout: Counter,
    broken: Counter,
    bad_answer: Counter,
    stalled: Counter,
    cancelled: Counter,
    looped: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl ProxyMetrics {
    pub(super) fn new() -> Self {
        let outcome = |word: &'static str| metrics::counter!(telemetry::PROXY_REQUESTS, "outcome" => word);
        Self {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(outcome),
            refused: outcome("refused"),
            timeout: outcome("timeout"),
            broken: outcome("broken"),
            bad_answer: outcome("bad_answer"),
            stalled: outcome("stalled"),
            cancelled: outcome("cancelled"),
            looped: outcome("loop"),
            seconds: metrics::histogram!(telemetry::PROXY_SECONDS),
            in_flight: metrics::gauge!(telemetry::PROXY_IN_FLIGHT),
        }
    }

    fn of(&self, error: &ProxyError) -> &Counter {
        match error {
            ProxyError::Connect(_) => &self.refused,
            ProxyError::ConnectTimeout(_) | ProxyError::HeadTimeout(_) => &self.timeout,
            ProxyError::BrokeOff(_) | ProxyError::BrokeOffMidway(_) => &self.broken,
            ProxyError::BadAnswer(_) => &self.bad_answer,
            ProxyError::ClientStalled(_) => &self.stalled,
            ProxyError::Loop => &self.looped,
            ProxyError::ClientLeft(_) | ProxyError::BadRequest(_) => &self.cancelled,
        }
    }
}

/// One request that is with the backend, counted as in flight until it is dropped. Dropped without a word on how it
/// ended, it was cancelled: the client has left.
pub(super) struct RequestMetrics {
    metrics: Arc<ProxyMetrics>,
    begun: Instant,
    outcome: Option<Counter>,
}

impl RequestMetrics {
    pub(super) fn new(metrics: &Arc<ProxyMetrics>) -> Self {
        metrics.in_flight.increment(1.0);
        Self { metrics: Arc::clone(metrics), begun: Instant::now(), outcome: None }
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// The head of the answer is here.
    pub(super) fn answered(&self) {
        self.metrics.seconds.record(self.begun.elapsed());
    }

    /// The answer was complete.
    pub(super) fn complete(&mut self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.outcome = Some(self.metrics.classes[class - 1].clone());
    }

    pub(super) fn failed(&mut self, error: &ProxyError) {
        self.outcome = Some(self.metrics.of(error).clone());
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        self.metrics.in_flight.decrement(1.0);
        match &self.outcome {
            Some(outcome) => outcome.increment(1),
            None => {
                debug!(after = ?self.begun.elapsed(), "the client left before its answer was complete");
                self.metrics.cancelled.increment(1);
            }
        }
    }
}
