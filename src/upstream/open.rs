//! Streams that are counted, from the first moment to the last.

use metrics::Gauge;

/// One that is counted until this is dropped.
pub(super) struct OpenGuard {
    name: &'static str,
    gauge: Gauge,
}

impl OpenGuard {
    /// Counts one more in the gauge of this name.
    pub(super) fn of(name: &'static str) -> Self {
        let gauge = metrics::gauge!(name);
        gauge.increment(1.0);
        Self { name, gauge }
    }

    /// From now on it is counted in the gauge of this name, and in no other.
    pub(super) fn count_as(&mut self, name: &'static str) {
        if self.name != name {
            *self = Self::of(name);
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}
