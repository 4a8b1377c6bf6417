//! The keys of an issuer, fetched from its URL: at the start, again and again in the background, and once more when a
//! token names a key that is not among them.
//!
//! Invariant: however many tokens with unknown keys come, there is one fetch for them in a cool-down. Keys that were
//! fetched stay in use until others are.

use crate::lock::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::auth::jwt::discovery;
use crate::auth::jwt::discovery::BadDiscovery;
use crate::auth::jwt::fetch::{FetchError, Fetcher};
use crate::config;
use crate::config::JwksSource;
use crate::health::Reporter;
use crate::jws::{Algorithm, BadKey, JwkSet, JwsKey, MOST_KEYS, Secrets};
use crate::net::tls;
use crate::net::tls::BadTls;
use crate::net::via::Outbound;
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry;

/// How large a set of keys may be.
const MAX: usize = 256 << 10;

/// Pauses between attempts while the URL fails: from the first to the last, each twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The fetched keys. They have to be [kept](RemoteKeys::keep) by a task.
pub(super) struct RemoteKeys {
    source: JwksSource,
    fetcher: Fetcher,
    refresh: Duration,
    cooldown: Duration,
    patience: Duration,
    /// What fetched keys may be used with; empty = whatever fits them.
    algorithms: Box<[Algorithm]>,
    /// Keys from elsewhere, which are always among them.
    own: Box<[JwsKey]>,
    fetched: Mutex<Option<Arc<[JwsKey]>>>,
    /// What the last set held beside them.
    left_out: Mutex<LeftOut>,
    asked: Mutex<RefreshRequest>,
    wake: Notify,
    /// Counts the fetches that have ended.
    done: watch::Sender<u64>,
}

/// How many keys of a set are not used.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct LeftOut {
    too_many: usize,
    unusable: usize,
}

/// Who has asked for a fetch.
struct RefreshRequest {
    /// One is about to begin or has not ended.
    pending: bool,
    last: Option<Instant>,
}

/// Why a fetch gave no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Discovery(#[from] BadDiscovery),
    #[error("the answer {0}")]
    Content(#[from] BadKey),
    #[error("none of the keys is for one of the `algorithms`")]
    Algorithms,
}

impl NoKeys {
    fn label(&self) -> &'static str {
        match self {
            Self::Fetch(why) => why.label(),
            Self::Discovery(why) => why.label(),
            Self::Content(_) | Self::Algorithms => "content",
        }
    }
}

impl RemoteKeys {
    pub(super) fn new(
        settings: &config::Jwks,
        algorithms: &[Algorithm],
        own: &[JwsKey],
        outbound: Outbound,
    ) -> Result<Self, BadTls> {
        let (source, first) = (settings.source.clone(), settings.source.first());
        if first.https {
            // An address that can never have a certificate shows at the start.
            tls::server_name(&first.host)?;
        }
        // An issuer may say that its keys are somewhere else.
        let requests = if matches!(source, JwksSource::Issuer(_)) { 3 } else { 1 };
        let secure = first.https || requests > 1;
        let fetcher = Fetcher::new(secure, settings.ca.as_deref(), settings.timeout, MAX, outbound)?;
        Ok(Self {
            source,
            fetcher,
            refresh: settings.refresh,
            cooldown: settings.cooldown,
            // A fetch that is under way, and one more.
            patience: settings.timeout * 2 * requests,
            algorithms: algorithms.into(),
            own: own.into(),
            fetched: Mutex::new(None),
            left_out: Mutex::default(),
            // A caller that comes before the first fetch has ended waits for it.
            asked: Mutex::new(RefreshRequest { pending: true, last: None }),
            wake: Notify::new(),
            done: watch::Sender::new(0),
        })
    }

    /// All keys, also those from elsewhere; None before the first fetch that gave some.
    pub(super) fn keys(&self) -> Option<Arc<[JwsKey]>> {
        self.fetched.lock().clone()
    }

    /// Completes when the keys have been fetched again, or could not be; at once when they have been asked for within
    /// the cool-down. Cancel safe.
    pub(super) async fn again(&self) {
        let mut done = self.done.subscribe();
        {
            let mut asked = self.asked.lock();
            if !asked.pending {
                if asked.last.is_some_and(|last| last.elapsed() < self.cooldown) {
                    return;
                }
                *asked = RefreshRequest { pending: true, last: Some(Instant::now()) };
                self.wake.notify_one();
            }
        }
        // The sender is ours: it cannot be gone.
        let _ = tokio::time::timeout(self.patience, done.changed()).await;
    }

    /// Fetches once, for want of a task that [keeps](RemoteKeys::keep) them: nobody waits for another fetch.
    pub(super) async fn fetch_alone(&self) -> Result<(), NoKeys> {
        *self.asked.lock() = RefreshRequest { pending: false, last: Some(Instant::now()) };
        self.fetch().await
    }

    /// Fetches once.
    pub(super) async fn fetch(&self) -> Result<(), NoKeys> {
        let url = match &self.source {
            JwksSource::Url(url) => url.clone(),
            // Again each time: it may have moved them.
            JwksSource::Issuer(issuer) => discovery::jwks_uri(&self.fetcher, issuer).await?,
        };
        let document = self.fetcher.get(&url).await?;
        let JwkSet { keys: fetched, too_many, unusable } = JwsKey::from_jwks(&document, Secrets::PassedOver)?;
        let narrow = |key: JwsKey| {
            let all = key.algorithms().iter().copied();
            let fits: Vec<_> =
                all.filter(|one| self.algorithms.is_empty() || self.algorithms.contains(one)).collect();
            if fits.is_empty() { None } else { key.only(&fits).ok() }
        };
        let fetched: Vec<JwsKey> = fetched.into_iter().filter_map(narrow).collect();
        if fetched.is_empty() {
            return Err(NoKeys::Algorithms);
        }
        let fetched_keys = fetched.len();
        let all: Arc<[JwsKey]> = fetched.into_iter().chain(self.own.iter().cloned()).collect();
        let left_out = LeftOut { too_many, unusable };
        let changed = std::mem::replace(&mut *self.left_out.lock(), left_out) != left_out;
        if changed && too_many > 0 {
            let (url, keys) = (&self.source, fetched_keys);
            warn!(%url, keys, too_many, "keys of tokens are left out: there are more than {MOST_KEYS}");
        }
        *self.fetched.lock() = Some(all);
        Ok(())
    }

    /// Keeps the keys fresh until the drain starts.
    pub(super) async fn keep(self: Arc<Self>, health: Reporter, drain: Drain) {
        let mut failures = 0_u32;
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        loop {
            let result = tokio::select! {
                biased; // a stop does not wait for an issuer
                () = drain.started() => return,
                result = self.fetch() => result,
            };
            self.note(&result, &mut failures, &health);
            // Behind the keys' change, so that those who wake find them.
            self.asked.lock().pending = false;
            self.done.send_modify(|count| *count += 1);
            let pause = if failures == 0 {
                backoff.reset();
                self.refresh
            } else {
                backoff.pause().min(self.refresh)
            };
            tokio::select! {
                biased;
                () = drain.started() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn note(&self, result: &Result<(), NoKeys>, failures: &mut u32, health: &Reporter) {
        let outcome = match result {
            Ok(()) => "ok",
            Err(why) => why.label(),
        };
        metrics::counter!(telemetry::JWKS_FETCHES, "outcome" => outcome).increment(1);
        let url = &self.source;
        match result {
            Ok(()) => {
                if *failures > 0 || self.done.borrow().eq(&0) {
                    let LeftOut { too_many, unusable } = *self.left_out.lock();
                    let keys = self.keys().map_or(0, |keys| keys.len() - self.own.len());
                    info!(%url, keys, unusable, too_many, "keys of tokens fetched");
                }
                *failures = 0;
                health.up();
                // From now on what was fetched will do.
                health.set_required(false);
            }
            Err(why) => {
                *failures = failures.saturating_add(1);
                health.down(format!("the keys of tokens cannot be fetched: {why}"));
                if *failures == 1 {
                    let stale = self.keys().is_some();
                    warn!(%url, stale, reason = why.label(), error = %why, "keys of tokens not fetched; trying again");
                }
            }
        }
    }
}
