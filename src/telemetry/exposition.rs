//! How all metrics are gathered and rendered.

use std::fmt::Write as _;
use std::time::SystemTime;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::telemetry::metrics::{BUILD_INFO, METRICS, MetricKind};
use crate::telemetry::process;

/// Bounds of all histograms, in seconds: from 100 µs to a minute.
const BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// Renders all metrics in Prometheus' text form. Cloning shares.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    started: SystemTime,
}

impl Metrics {
    /// All of them; those of the process, which nobody counts here, as they are now.
    pub fn render(&self) -> String {
        let mut text = self.recorder.render();
        for (name, value) in process::readings(self.started) {
            let Some(metric) = METRICS.iter().find(|metric| metric.name == name) else { continue };
            let kind = if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}\n", metric.help);
        }
        text
    }

    /// To be called every few seconds: histograms grow without it.
    pub fn upkeep(&self) {
        self.recorder.run_upkeep();
    }
}

/// Takes over the process's metrics.
///
/// # Panics
/// When called twice in a process.
pub fn install_metrics() -> Metrics {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
        .expect("the buckets are not empty")
        .install_recorder()
        .expect("metrics are installed once");
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Metrics { recorder: handle, started: SystemTime::now() }
}
