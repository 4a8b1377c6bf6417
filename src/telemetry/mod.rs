//! What operators see: the log, and every metric.
//!
//! No label holds what a user typed: a label's values are words of ours, or the operator's.

mod exposition;
mod lines;
mod log;
mod log_writer;
mod metrics;
mod process;
mod throttle;

pub use crate::telemetry::exposition::{Metrics, install_metrics};
pub use crate::telemetry::lines::{LineKind, are_shown};
pub(crate) use crate::telemetry::lines::{line_enabled, log_line};
pub use crate::telemetry::log::{BadLogging, flush_log, install_log, log_filter, set_log_filter};
pub use crate::telemetry::metrics::*;
pub use crate::telemetry::throttle::Throttle;
