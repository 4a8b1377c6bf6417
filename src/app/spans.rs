//! Spans of this process, from its start to its end: where the environment names a collector, and the build can speak
//! to it.

use tokio::time::Instant;

#[cfg(feature = "otel")]
use crate::spans::{CollectorSettings, SpanExport};

/// What sends spans, if anything does.
pub(super) struct SpanCollection {
    #[cfg(feature = "otel")]
    export: Option<SpanExport>,
}

#[cfg(feature = "otel")]
impl SpanCollection {
    /// Collects spans if the environment says so. What is wrong with it costs the spans, and is said.
    pub(super) fn start() -> Self {
        let started = CollectorSettings::of_environment().and_then(|settings| match settings {
            Some(settings) => SpanExport::start(settings),
            None => Ok(None),
        });
        let export = started.unwrap_or_else(|error| {
            tracing::warn!(%error, "no spans are sent to a collector");
            None
        });
        Self { export }
    }

    /// Sends what waits, as far as the collector takes it until `deadline`.
    pub(super) async fn finish(self, deadline: Instant) {
        if let Some(export) = self.export {
            export.finish(deadline).await;
        }
    }
}

#[cfg(not(feature = "otel"))]
impl SpanCollection {
    pub(super) fn start() -> Self {
        if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
            tracing::info!("no spans are sent to a collector: this build is without the feature `otel`");
        }
        Self {}
    }

    pub(super) async fn finish(self, _: Instant) {}
}
