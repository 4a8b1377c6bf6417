//! The one clock of a run: monotonic nanoseconds since it was first asked.
//!
//! Publisher and readers are one process, so a difference of two readings is a latency.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds on the run's clock.
pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    nanos(START.get_or_init(Instant::now).elapsed())
}

pub(crate) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
