//! Spans: what took how long, and for whom, sent to an OpenTelemetry collector (the feature `otel`).
//!
//! Invariant: code that makes spans never waits and never fails; a collector that is gone costs spans, which are
//! counted. Without the feature, or without a collector in the environment, there are none. This room must not know
//! what they are about.

#[cfg(feature = "otel")]
mod encode;
#[cfg(feature = "otel")]
mod environment;
#[cfg(feature = "otel")]
mod export;
mod queue;
mod record;
mod sampler;
mod span;

#[cfg(feature = "otel")]
pub use crate::spans::environment::{BadCollector, CollectorSettings};
#[cfg(feature = "otel")]
pub use crate::spans::export::SpanExport;
pub use crate::spans::queue::are_collected;
pub use crate::spans::record::{AttributeValue, SpanKind};
pub use crate::spans::span::TraceSpan;
