//! A webhook's server: one signed request, and what its answer means.
//!
//! The head of an answer decides. Of its body nothing is believed, and no more is read than lets the connection be
//! used again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use crate::config;
use crate::config::Webhook;
use crate::net::outbound;
use crate::net::outbound::{HttpPool, ServerAddress, innermost};
use crate::net::tls;
use crate::net::tls::{BadTls, Trust};
use crate::retry::retry_after;
use crate::webhooks::signature::Signer;

const SIGNATURE: HeaderName = HeaderName::from_static("sidestream-signature");
const DELIVERY: HeaderName = HeaderName::from_static("sidestream-delivery");
const ATTEMPT: HeaderName = HeaderName::from_static("sidestream-attempt");

/// Of an answer's body so much is read, within so long.
const REST: (usize, Duration) = (16 << 10, Duration::from_millis(250));

pub(super) struct WebhookTarget {
    pool: HttpPool<Full<Bytes>>,
    uri: Uri,
    signer: Signer,
    timeout: Duration,
}

/// Why no request to a webhook's server can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum BadSink {
    #[error("the webhook {0} cannot be reached over TLS: its server {1}")]
    Tls(String, BadTls),
    #[error("the URL of the webhook {0} is none that a request can carry")]
    Url(String),
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum DeliveryOutcome {
    Accepted,
    /// The sink wants this batch neither now nor later.
    Refused(StatusCode),
    Failed(DeliveryError),
}

/// Why a request has to be sent again. Says nothing of the URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("it cannot be connected to: {0}")]
    Connect(String),
    #[error("the connection broke off: {0}")]
    Broken(String),
    #[error("there was no answer in time")]
    Timeout,
    #[error("it answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl DeliveryError {
    /// One word for a metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::Status { .. } => "status",
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl WebhookTarget {
    /// Connects to nobody yet.
    pub(super) fn new(settings: &Webhook, outbound: &config::Outbound) -> Result<Self, BadSink> {
        let url = &settings.url;
        let bad = |why| BadSink::Tls(settings.name.clone(), why);
        let tls = if url.https {
            let trust = settings.ca.as_ref().map_or(Trust::System, |ca| Trust::Only(ca.as_bytes()));
            let config = tls::client(trust, None, &[b"http/1.1"]).map_err(bad)?;
            Some((config, tls::server_name(&url.host).map_err(bad)?))
        } else {
            None
        };
        let via = outbound.rules().to(url.https, &url.host).cloned();
        let place = ServerAddress::Tcp { host: url.host.clone(), port: url.port, tls, via };
        let uri = Uri::builder()
            .scheme(if url.https { "https" } else { "http" })
            .authority(url.authority())
            .path_and_query(url.target.as_str())
            .build()
            .map_err(|_| BadSink::Url(settings.name.clone()))?;
        let signer =
            Signer::new([Some(&settings.secret), settings.previous_secret.as_ref()].into_iter().flatten());
        Ok(Self { pool: outbound::pool(place, settings.timeout, 1), uri, signer, timeout: settings.timeout })
    }

    /// Sends `body`, which is the same at every attempt, as is `delivery`. Dropping the future gives it up.
    pub(super) async fn post(&self, delivery: &str, attempt: u32, body: &Bytes) -> DeliveryOutcome {
        let request = self.pool.request(self.request(delivery, attempt, body));
        let response = match tokio::time::timeout(self.timeout, request).await {
            Err(_) => return DeliveryOutcome::Failed(DeliveryError::Timeout),
            Ok(Err(error)) => {
                let why = innermost(&error);
                let failure =
                    if error.is_connect() { DeliveryError::Connect(why) } else { DeliveryError::Broken(why) };
                return DeliveryOutcome::Failed(failure);
            }
            Ok(Ok(response)) => response,
        };
        let outcome = judge(&response);
        let (max, time) = REST;
        let _ = tokio::time::timeout(time, Limited::new(response.into_body(), max).collect()).await;
        outcome
    }

    fn request(&self, delivery: &str, attempt: u32, body: &Bytes) -> Request<Full<Bytes>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("sidestream/", env!("CARGO_PKG_VERSION"))));
        let plain = |text: String| HeaderValue::try_from(text).expect("digits and letters of ours");
        headers.insert(SIGNATURE, plain(self.signer.sign(now.as_secs(), body)));
        headers.insert(DELIVERY, plain(delivery.to_owned()));
        headers.insert(ATTEMPT, HeaderValue::from(attempt));
        request
    }
}

/// A 4xx is about the batch, but for those that are about the way to the sink or the moment.
fn judge(response: &Response<Incoming>) -> DeliveryOutcome {
    let status = response.status();
    let passes = matches!(status.as_u16(), 401 | 403 | 404 | 407 | 408 | 421 | 425 | 429);
    if status.is_success() {
        DeliveryOutcome::Accepted
    } else if status.is_client_error() && !passes {
        DeliveryOutcome::Refused(status)
    } else {
        let retry_after = retry_after(response.headers(), SystemTime::now());
        DeliveryOutcome::Failed(DeliveryError::Status { status, retry_after })
    }
}
