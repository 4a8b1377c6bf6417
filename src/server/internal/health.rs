//! `/healthz`, `/readyz`, `/readyz/events` and `/metrics`: what probes and Prometheus ask.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;

use crate::health::{Health, ReadyFor};
use crate::log::Log;
use crate::server::respond;
use crate::server::respond::FullResponse;
use crate::shutdown::Drain;
use crate::telemetry::{
    LOG_BYTES, LOG_EVENTS, Metrics, PATTERN_LOOKUPS, PATTERN_TOPICS, PATTERNS, STATE_BYTES, STATE_EVENTS,
};

/// What the answers are made of.
pub struct Probes {
    pub health: Health,
    pub metrics: Metrics,
    /// Once it has started, the daemon is not ready.
    pub drain: Drain,
}

impl Probes {
    pub(super) fn liveness() -> FullResponse {
        respond::ok(&serde_json::json!({ "status": "ok" }))
    }

    pub(super) fn readiness(&self, purpose: ReadyFor) -> FullResponse {
        let status = if self.drain.has_started() {
            "draining"
        } else if self.health.is_ready(purpose) {
            "ready"
        } else {
            "not ready"
        };
        respond::readiness(status, self.health.dependencies(purpose))
    }

    pub(super) fn metrics(&self, log: &Log) -> FullResponse {
        let (events, bytes) = log.size();
        metrics::gauge!(LOG_EVENTS).set(events as f64);
        metrics::gauge!(LOG_BYTES).set(bytes as f64);
        let (events, bytes) = log.state_size();
        metrics::gauge!(STATE_EVENTS).set(events as f64);
        metrics::gauge!(STATE_BYTES).set(bytes as f64);
        let patterns = log.pattern_counts();
        metrics::gauge!(PATTERNS).set(patterns.held as f64);
        metrics::gauge!(PATTERN_TOPICS).set(patterns.remembered as f64);
        metrics::counter!(PATTERN_LOOKUPS).absolute(patterns.found);
        let mut response = Response::new(Full::new(Bytes::from(self.metrics.render())));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
