//! What a shard counts: plain numbers while it works, handed to the metrics once a pass.

use crate::fanout::end::CloseReason;
use crate::telemetry;

/// What a shard counts, flushed once a pass.
#[derive(Default)]
pub(super) struct ShardCounts {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    pub(super) heartbeats: u64,
    pub(super) resets: u64,
}

/// Handles of the metrics that shards write, looked up once.
pub(super) struct ShardMetrics {
    open: metrics::Gauge,
    opened: [metrics::Counter; 2],
    closed: [metrics::Counter; CloseReason::ALL.len()],
    deliveries: metrics::Counter,
    bytes: metrics::Counter,
    heartbeats: metrics::Counter,
    resets: metrics::Counter,
    behind_now: metrics::Gauge,
    pub(super) publish_to_write: metrics::Histogram,
    /// Since the last flush.
    pub(super) behind: i64,
}

impl ShardMetrics {
    pub(super) fn new() -> Self {
        Self {
            open: metrics::gauge!(telemetry::STREAMS_OPEN),
            opened: ["socket", "channel"]
                .map(|sink| metrics::counter!(telemetry::STREAMS_OPENED, "sink" => sink)),
            closed: CloseReason::ALL
                .map(|end| metrics::counter!(telemetry::STREAMS_CLOSED, "reason" => end.as_str())),
            deliveries: metrics::counter!(telemetry::DELIVERIES),
            bytes: metrics::counter!(telemetry::BYTES_WRITTEN),
            heartbeats: metrics::counter!(telemetry::HEARTBEATS),
            resets: metrics::counter!(telemetry::RESETS),
            behind_now: metrics::gauge!(telemetry::STREAMS_BEHIND),
            publish_to_write: metrics::histogram!(telemetry::PUBLISH_TO_WRITE),
            behind: 0,
        }
    }

    pub(super) fn opened(&self, channel: bool) {
        self.open.increment(1.0);
        self.opened[usize::from(channel)].increment(1);
    }

    pub(super) fn closed(&self, end: CloseReason) {
        self.open.decrement(1.0);
        if let Some(nth) = CloseReason::ALL.iter().position(|other| *other == end) {
            self.closed[nth].increment(1);
        }
    }

    pub(super) fn flush(&mut self, counts: &mut ShardCounts) {
        let ShardCounts { deliveries, bytes, heartbeats, resets } = std::mem::take(counts);
        for (counter, value) in [
            (&self.deliveries, deliveries),
            (&self.bytes, bytes),
            (&self.heartbeats, heartbeats),
            (&self.resets, resets),
        ] {
            if value > 0 {
                counter.increment(value);
            }
        }
        if self.behind != 0 {
            self.behind_now.increment(self.behind as f64);
            self.behind = 0;
        }
    }
}
