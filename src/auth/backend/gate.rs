//! `auth = "backend"`: the application says who a caller is, by one request with the caller's own credentials.
//!
//! Invariants: no more requests are under way than configured, however many callers come; callers that ask the same at
//! once share one; whatever is not a plain answer lets nobody in. Credentials are kept as a keyed hash only.

use crate::lock::Mutex;
use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use aws_lc_rs::hmac;
use http::HeaderValue;
use http::header::SET_COOKIE;
use metrics::Gauge;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::auth::backend::cache::Cache;
use crate::auth::backend::client::{BadServer, SubrequestClient};
use crate::auth::backend::request::{Digest, Subrequest};
use crate::auth::backend::response::{BackendVerdict, Granted, judge};
use crate::auth::backend::single_flight::{Joined, SingleFlight};
use crate::auth::caller::{Caller, Verified};
use crate::auth::denied::Denied;
use crate::config;
use crate::event::Name;
use crate::shutdown::Drain;
use crate::telemetry;
use crate::telemetry::Throttle;

/// Asks the application. Cloning shares.
#[derive(Clone)]
pub(in crate::auth) struct BackendGate {
    inner: Arc<BackendGateInner>,
    flights: Arc<SingleFlight<SubrequestOutcome>>,
    drain: Drain,
}

/// What requests share.
struct BackendGateInner {
    settings: config::AuthBackend,
    /// How the application is reached.
    reached: (config::Backend, config::Proxy),
    client: SubrequestClient,
    /// Of the questions' digests; drawn for this process.
    key: hmac::Key,
    turns: Semaphore,
    cache: Mutex<Cache>,
    failed: Throttle,
    under_way: Gauge,
}

/// What came of one request.
#[derive(Clone)]
struct SubrequestOutcome {
    verdict: Result<Arc<Granted>, Denied>,
    /// What the application sets is for the one caller who asked: others may have shared the question without being
    /// the same.
    cookies: Arc<[HeaderValue]>,
}

const BUSY: &str = "too many callers wait to be verified";
const UNREACHABLE: &str = "the application that could tell who you are cannot be reached";

impl BackendGate {
    pub(in crate::auth) fn new(
        settings: &config::AuthBackend,
        backend: (&config::Backend, &config::Proxy),
        drain: Drain,
    ) -> Result<Self, BadServer> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system gives random bytes");
        let inner = BackendGateInner {
            client: SubrequestClient::new(
                &settings.url.server,
                backend,
                settings.timeout,
                settings.max_concurrent,
            )?,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            turns: Semaphore::new(settings.max_concurrent),
            cache: Mutex::new(Cache::new(settings.cache, settings.max_cached)),
            failed: Throttle::default(),
            under_way: metrics::gauge!(telemetry::AUTH_REQUESTS_IN_FLIGHT),
            settings: settings.clone(),
            reached: (backend.0.clone(), backend.1.clone()),
        };
        let most = settings.max_concurrent.saturating_add(settings.max_waiting);
        Ok(Self { inner: Arc::new(inner), flights: SingleFlight::new(most), drain })
    }

    /// Whether it asks by these settings.
    pub(in crate::auth) fn is_of(
        &self,
        settings: &config::AuthBackend,
        (backend, proxy): (&config::Backend, &config::Proxy),
    ) -> bool {
        let reached = &self.inner.reached;
        self.inner.settings == *settings && reached.0 == *backend && reached.1 == *proxy
    }

    pub(in crate::auth) async fn verify(&self, caller: &Caller<'_>) -> Result<Verified, Denied> {
        let question = Subrequest::new(&self.inner.settings, caller);
        let digest = question.digest(&self.inner.key);
        let (waiting, own) = match self.flights.join(digest, || self.inner.known(&digest)) {
            Joined::Known(granted) => {
                count("cached");
                return Ok(verified(&granted, &[]));
            }
            Joined::Full => {
                count("turned_away");
                return Err(Denied::NotNow(BUSY));
            }
            Joined::Another(waiting) => {
                count("shared");
                (waiting, false)
            }
            Joined::First(waiting, flight) => {
                count("asked");
                let (inner, asked, drain) =
                    (Arc::clone(&self.inner), caller.asked.to_vec(), self.drain.clone());
                // A task of its own, so that it goes on for the others when this caller leaves.
                self.drain.spawn(async move {
                    let answering = async {
                        tokio::select! {
                            biased;
                            () = drain.started() => SubrequestOutcome::not_now(UNREACHABLE),
                            outcome = inner.ask(digest, &question, &asked) => outcome,
                        }
                    };
                    flight.fly(answering).await;
                });
                (waiting, true)
            }
        };
        let SubrequestOutcome { verdict, cookies } =
            waiting.outcome().await.unwrap_or_else(|| SubrequestOutcome::not_now(UNREACHABLE));
        let cookies = if own { &*cookies } else { &[] };
        match verdict {
            Ok(granted) => Ok(verified(&granted, cookies)),
            Err(Denied::Answered(mut answer)) => {
                set(&mut answer.headers, cookies);
                Err(Denied::Answered(answer))
            }
            Err(denied) => Err(denied),
        }
    }
}

impl BackendGateInner {
    fn known(&self, digest: &Digest) -> Option<Arc<Granted>> {
        self.cache().get(digest, Instant::now())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock()
    }

    /// Waits for a turn and asks. What comes of it is kept before anybody hears of it.
    async fn ask(&self, digest: Digest, question: &Subrequest, asked: &[Name]) -> SubrequestOutcome {
        // Turns are given in the order in which they are asked for.
        let Ok(Ok(_turn)) = timeout(self.settings.max_wait, self.turns.acquire()).await else {
            result("waited_too_long");
            return SubrequestOutcome::not_now(BUSY);
        };
        let _under_way = UnderWay::new(&self.under_way);
        let began = Instant::now();
        let headers = question.headers.iter().cloned();
        let asking = self.client.ask(&self.settings.method, &question.target, headers);
        let reply = match timeout(self.settings.timeout, asking).await {
            Err(_) => {
                return self.failed("timeout", &format!("no answer within {:?}", self.settings.timeout));
            }
            Ok(Err(failure)) => return self.failed("unreachable", &failure.to_string()),
            Ok(Ok(reply)) => reply,
        };
        metrics::histogram!(telemetry::AUTH_SECONDS).record(began.elapsed().as_secs_f64());
        let cookies: Arc<[HeaderValue]> = reply.headers.get_all(SET_COOKIE).iter().cloned().collect();
        let now = SystemTime::now();
        match judge(&self.settings, &reply, asked, now) {
            Err(malformed) => self.failed("malformed", &malformed.to_string()),
            Ok(BackendVerdict::Denied(denied)) => {
                result("refused");
                SubrequestOutcome { verdict: Err(denied), cookies }
            }
            Ok(BackendVerdict::Granted(granted)) => {
                result("granted");
                let granted = Arc::new(granted);
                let left = granted.grant.until.map(|until| until.duration_since(now).unwrap_or_default());
                self.cache().put(digest, Arc::clone(&granted), left, Instant::now());
                SubrequestOutcome { verdict: Ok(granted), cookies }
            }
        }
    }

    /// Nobody gets in by this, and it is logged.
    fn failed(&self, reason: &'static str, error: &str) -> SubrequestOutcome {
        result(reason);
        if let Some(suppressed) = self.failed.pass() {
            warn!(reason, error, suppressed, "the application could not tell who a caller is");
        }
        SubrequestOutcome::not_now(UNREACHABLE)
    }
}

impl SubrequestOutcome {
    fn not_now(why: &'static str) -> Self {
        Self { verdict: Err(Denied::NotNow(why)), cookies: Arc::new([]) }
    }
}

fn verified(granted: &Granted, cookies: &[HeaderValue]) -> Verified {
    let mut verified = Verified::new(granted.grant.clone());
    verified.claims = granted.claims.clone();
    set(&mut verified.headers, cookies);
    verified
}

fn set(headers: &mut http::HeaderMap, cookies: &[HeaderValue]) {
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie.clone());
    }
}

fn count(way: &'static str) {
    metrics::counter!(telemetry::AUTH_CALLERS, "way" => way).increment(1);
}

fn result(result: &'static str) {
    metrics::counter!(telemetry::AUTH_REQUESTS, "result" => result).increment(1);
}

/// Counts a request that is under way until it is dropped.
struct UnderWay<'a>(&'a Gauge);

impl<'a> UnderWay<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
