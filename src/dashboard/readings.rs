//! One look at the metrics, and what happened between two of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry;

/// The series that the dashboard shows, by their names in the metrics without the common first word.
pub(super) type Series = BTreeMap<String, f64>;

/// What the metrics said at one moment.
#[derive(Clone, Default, Debug)]
pub struct Readings {
    pub(super) series: Series,
    /// Upper bounds in seconds with how many writes took so long at most, growing.
    latency: Vec<(f64, f64)>,
}

/// A second.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When it ended, in seconds since the Unix epoch.
    pub(super) t: u64,
    pub streams: f64,
    pub behind: f64,
    /// Events taken in, and written to streams, a second.
    #[serde(rename = "in")]
    pub taken: f64,
    pub out: f64,
    /// From publish to write, in milliseconds; none when nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Streams that were refused, closed or reset, by why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<String, f64>,
}

/// What the metrics' names begin with.
const PREFIX: &str = "sidestream_";

/// The metrics that are shown, beside those of latency.
const SHOWN: &[&str] = &[
    telemetry::STREAMS_OPEN,
    telemetry::STREAMS_OPENED,
    telemetry::STREAMS_CLOSED,
    telemetry::STREAMS_REFUSED,
    telemetry::STREAMS_BEHIND,
    telemetry::REPLAYS,
    telemetry::RESETS,
    telemetry::EVENTS,
    telemetry::EVENTS_REFUSED,
    telemetry::EVENTS_DUPLICATE,
    telemetry::DELIVERIES,
    telemetry::BYTES_WRITTEN,
    telemetry::REDIS_GAPS,
    telemetry::REDIS_FAILURES,
    telemetry::INSTANCES,
    telemetry::PRESENCE_USERS,
    telemetry::WEBHOOK_WAITING,
    telemetry::WEBHOOK_EVENTS,
    telemetry::AUTH_REQUESTS,
    telemetry::PROXY_REQUESTS,
    telemetry::PROXY_IN_FLIGHT,
    telemetry::HTTP_REFUSED,
    telemetry::LOG_LINES_LOST,
];

impl Readings {
    /// Reads them from Prometheus' text.
    pub fn parse(text: &str) -> Self {
        let mut readings = Self::default();
        for line in text.lines().filter(|line| line.starts_with(PREFIX)) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            if let Some(rest) = name.strip_prefix(telemetry::PUBLISH_TO_WRITE) {
                if rest == "_bucket"
                    && let Some(bound) = label(labels, "le").and_then(|bound| bound.parse().ok())
                {
                    readings.latency.push((bound, value));
                }
            } else if SHOWN.contains(&name) {
                readings.series.insert(series[PREFIX.len()..].to_owned(), value);
            }
        }
        readings.latency.sort_by(|one, other| one.0.total_cmp(&other.0));
        readings
    }

    /// What happened since `before`, `seconds` ago.
    pub fn since(&self, before: &Self, seconds: f64, t: u64) -> Sample {
        let rate = |metric: &str| {
            let all = self.of(metric).map(|(series, value)| value - before.value(series));
            all.sum::<f64>().max(0.0) / seconds
        };
        let mut why = Series::new();
        for (metric, word, by) in [
            (telemetry::STREAMS_REFUSED, "refused", "reason"),
            (telemetry::STREAMS_CLOSED, "closed", "reason"),
            (telemetry::REPLAYS, "replayed", "outcome"),
            (telemetry::EVENTS_REFUSED, "event refused", "reason"),
        ] {
            for (series, value) in self.of(metric) {
                let more = value - before.value(series);
                if more > 0.0 {
                    let labels = series.split_once('{').map_or("", |(_, labels)| labels);
                    let reason = label(labels, by).unwrap_or_default();
                    *why.entry(format!("{word}: {reason}")).or_default() += more;
                }
            }
        }
        let quantile = |q| self.quantile(before, q).map(|seconds| (seconds * 1e6).round() / 1e3);
        Sample {
            t,
            streams: self.of(telemetry::STREAMS_OPEN).map(|(_, value)| value).sum(),
            behind: self.of(telemetry::STREAMS_BEHIND).map(|(_, value)| value).sum(),
            taken: round(rate(telemetry::EVENTS)),
            out: round(rate(telemetry::DELIVERIES)),
            p50: quantile(0.5),
            p99: quantile(0.99),
            why,
        }
    }

    /// The series of a metric.
    fn of(&self, metric: &str) -> impl Iterator<Item = (&str, f64)> {
        let name = metric.strip_prefix(PREFIX).unwrap_or(metric).to_owned();
        let from = self.series.range(name.clone()..);
        let own = from.take_while(move |(series, _)| series.starts_with(&name)).filter({
            let name = metric.len() - PREFIX.len();
            move |(series, _)| matches!(series.as_bytes().get(name), None | Some(b'{'))
        });
        own.map(|(series, value)| (series.as_str(), *value))
    }

    fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The time below which the share `q` of the writes since `before` stayed: within its bucket as if they were spread
    /// evenly.
    fn quantile(&self, before: &Self, q: f64) -> Option<f64> {
        let had = |bound: f64| before.latency.iter().find(|had| had.0 == bound).map_or(0.0, |had| had.1);
        let buckets: Vec<(f64, f64)> =
            self.latency.iter().map(|(bound, count)| (*bound, count - had(*bound))).collect();
        let all = buckets.last().filter(|last| last.1 > 0.0)?.1;
        let mut below = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= q * all {
                let (from, width) = (below.0, if bound.is_finite() { bound - below.0 } else { 0.0 });
                return Some(from + width * (q * all - below.1) / (count - below.1).max(1.0));
            }
            below = (bound, count);
        }
        None
    }
}

fn round(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// The value of a label in `a="1",b="2"}`.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = labels.trim_end_matches('}').split("\",");
    parts
        .find_map(|part| part.strip_prefix(name)?.strip_prefix("=\""))
        .map(|value| value.trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE sidestream_events_total counter
sidestream_events_total{source=\"http\"} 10
sidestream_events_total{source=\"redis\"} 5
sidestream_streams_open 3
sidestream_publish_to_write_seconds_bucket{le=\"0.001\"} 10
sidestream_publish_to_write_seconds_bucket{le=\"0.01\"} 10
sidestream_publish_to_write_seconds_bucket{le=\"+Inf\"} 10
sidestream_log_events 7
";
    const AFTER: &str = "\
sidestream_events_total{source=\"http\"} 30
sidestream_events_total{source=\"redis\"} 5
sidestream_events_refused_total{source=\"http\",reason=\"bad_json\"} 2
sidestream_streams_open 4
sidestream_streams_refused_total{reason=\"bad_signature\"} 1
sidestream_streams_closed_total{reason=\"client_gone\"} 0
sidestream_publish_to_write_seconds_bucket{le=\"0.001\"} 60
sidestream_publish_to_write_seconds_bucket{le=\"0.01\"} 110
sidestream_publish_to_write_seconds_bucket{le=\"+Inf\"} 110
";

    #[test]
    fn a_sample_is_what_happened_between_two_looks() {
        let sample = Readings::parse(AFTER).since(&Readings::parse(BEFORE), 2.0, 7);
        assert_eq!((sample.t, sample.streams, sample.taken, sample.out), (7, 4.0, 10.0, 0.0));
        assert_eq!(sample.p50, Some(1.0), "half of the 100 took a millisecond at most");
        assert_eq!(sample.p99, Some(9.82));
        let why: Vec<_> = sample.why.iter().map(|(why, count)| (why.as_str(), *count)).collect();
        assert_eq!(why, [("event refused: bad_json", 2.0), ("refused: bad_signature", 1.0)]);
    }

    #[test]
    fn a_second_without_events_has_no_latency_and_what_is_not_shown_is_not_kept() {
        let readings = Readings::parse(BEFORE);
        let sample = readings.since(&readings, 1.0, 7);
        assert_eq!((sample.p50, sample.taken, sample.why.len()), (None, 0.0, 0));
        assert!(!readings.series.contains_key("log_events"));
    }
}
