//! Spans on their way to the collector: OTLP over HTTP, a request at a time.
//!
//! What the collector does not take in a few attempts is given up and counted; meanwhile the queue fills up to its
//! bound.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::net::outbound;
use crate::net::outbound::{HttpPool, ServerAddress, innermost};
use crate::net::tls;
use crate::net::tls::{BadTls, Identity, Trust};
use crate::retry::{Backoff, retry_after};
use crate::shutdown::Drain;
use crate::spans::encode::encode;
use crate::spans::environment::{BadCollector, CollectorSettings};
use crate::spans::queue;
use crate::spans::queue::SpanQueue;
use crate::spans::record::SpanRecord;
use crate::telemetry::{SPANS, Throttle};

/// How often one request is sent, and the pauses between.
const ATTEMPTS: u32 = 5;
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Of an answer so much is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// What sends the spans of this process.
pub struct SpanExport {
    drain: Drain,
}

struct Exporter {
    queue: &'static SpanQueue,
    settings: CollectorSettings,
    pool: HttpPool<Full<Bytes>>,
    drain: Drain,
    failures: Throttle,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("there was no answer in time")]
    Timeout,
    #[error("it answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl ExportError {
    /// Whether the same request may be taken later, as the specification has it.
    fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl SpanExport {
    /// Collects spans from now on. None when this process does already.
    pub fn start(settings: CollectorSettings) -> Result<Option<Self>, BadCollector> {
        let pool = connections(&settings).map_err(|why| BadCollector {
            variable: "OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned(),
            problem: why.to_string(),
        })?;
        let Some(queue) = queue::open(settings.queue, settings.sampler) else { return Ok(None) };
        let drain = Drain::new();
        // Without the query, which may hold a key.
        let collector = settings.endpoint.authority().map_or("", |authority| authority.as_str());
        info!(collector, "spans are sent to a collector");
        let exporter =
            Exporter { queue, settings, pool, drain: drain.clone(), failures: Throttle::default() };
        drain.spawn(exporter.run());
        Ok(Some(Self { drain }))
    }

    /// Sends what waits, as far as the collector takes it until `deadline`.
    pub async fn finish(self, deadline: Instant) {
        self.drain.start();
        let _ = timeout_at(deadline, self.drain.finished()).await;
    }
}

/// Connects to nobody yet.
fn connections(settings: &CollectorSettings) -> Result<HttpPool<Full<Bytes>>, BadTls> {
    let endpoint = &settings.endpoint;
    let https = endpoint.scheme() == Some(&Scheme::HTTPS);
    let host = endpoint.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
    let tls = if https {
        let trust = settings.authorities.as_ref().map_or(Trust::System, |text| Trust::Only(text));
        let identity = settings.identity.as_ref().map(|(chain, key)| Identity { chain, key });
        Some((tls::client(trust, identity, &[b"http/1.1"])?, tls::server_name(&host)?))
    } else {
        None
    };
    Ok(outbound::pool(ServerAddress::Tcp { host, port, tls, via: None }, settings.timeout, 1))
}

impl Exporter {
    async fn run(self) {
        loop {
            let stops = self.drain.has_started();
            let batch = self.queue.batch();
            if !batch.is_empty() {
                self.send(&batch).await;
            } else if stops {
                return;
            }
            if stops || self.queue.has_enough() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.drain.started() => {}
                () = self.queue.enough.notified() => {}
                () = sleep(self.settings.every) => {}
            }
        }
    }

    /// Sends a batch until it is taken, refused for good, or tried for long enough.
    async fn send(&self, batch: &[SpanRecord]) {
        let body = Bytes::from(encode(&self.settings.resource, batch));
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut attempt = 1;
        let rejected = loop {
            let error = match self.post(&body).await {
                Ok(rejected) => break rejected.min(batch.len() as u64),
                Err(error) => error,
            };
            let gives_up = !error.passes() || attempt == ATTEMPTS || self.drain.has_started();
            if gives_up {
                if let Some(suppressed) = self.failures.pass() {
                    let spans = batch.len();
                    warn!(%error, spans, waiting = self.queue.len(), suppressed, "the collector does not take spans: they are lost");
                }
                break batch.len() as u64;
            }
            let asked = if let ExportError::Status { retry_after, .. } = error { retry_after } else { None };
            let pause = backoff.pause().max(asked.unwrap_or_default()).min(PAUSES.1);
            tokio::select! {
                biased;
                () = self.drain.started() => {}
                () = sleep(pause) => {}
            }
            attempt += 1;
        };
        for (outcome, count) in [("exported", batch.len() as u64 - rejected), ("failed", rejected)] {
            metrics::counter!(SPANS, "outcome" => outcome).increment(count);
        }
    }

    /// How many of them the collector says that it rejects.
    async fn post(&self, body: &Bytes) -> Result<u64, ExportError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        let headers = request.headers_mut();
        headers.extend(self.settings.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("sidestream/", env!("CARGO_PKG_VERSION"))));
        let asking = async {
            let response = self.pool.request(request).await;
            let response = response.map_err(|error| ExportError::Unreachable(innermost(&error)))?;
            judge(response).await
        };
        timeout(self.settings.timeout, asking).await.unwrap_or(Err(ExportError::Timeout))
    }
}

async fn judge(response: Response<Incoming>) -> Result<u64, ExportError> {
    let status = response.status();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    if !status.is_success() {
        return Err(ExportError::Status { status, retry_after });
    }
    let said = body.map(|body| body.to_bytes()).unwrap_or_default();
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
    // A number of 64 bits is a text in this form; some write it as a number.
    let rejected = &said["partialSuccess"]["rejectedSpans"];
    Ok(rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0))
}
