//! The way in for subscribers: what every request on a stream's path needs, and how it is refused.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Uri};

use crate::auth::{Denied, Gates, Revocations};
use crate::config;
use crate::event::EventId;
use crate::fanout::Fanout;
use crate::log::Log;
use crate::memory::Memory;
use crate::rate::{Rates, TooFast};
use crate::retry::random_between;
use crate::shutdown::Drain;
use crate::subscribe::meta::MetaBounds;
use crate::subscribe::pattern_seats::PatternSeats;
use crate::subscribe::refusal::{Refusal, RetryReason, TemplateError};
use crate::subscribe::route::{Route, Routes};
use crate::subscribe::seats::{SeatLimits, Seats};
use crate::telemetry;

/// The streams' sections of the configuration.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    pub routes: &'a [config::Stream],
    pub auth: &'a config::Auth,
    pub sse: &'a config::Sse,
    pub limits: &'a config::Limits,
    pub rates: &'a Arc<Rates>,
    pub memory: &'a Arc<Memory>,
}

/// The way in for subscribers.
pub struct Streams {
    pub(super) routes: Routes,
    pub(super) meta: MetaBounds,
    pub(super) gates: Arc<Gates>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) warn_before: Duration,
    /// The claim by which pages may publish.
    pub(super) publish_claim: Box<str>,
    pub(super) terse: bool,
    pub(super) sse: config::Sse,
    pub(super) topics_per_stream: usize,
    pub(super) patterns_per_stream: usize,
    pub(super) history: usize,
    pub(super) seats: Arc<Seats>,
    pub(super) pattern_seats: Arc<PatternSeats>,
    pub(super) rates: Arc<Rates>,
    pub(super) memory: Arc<Memory>,
    pub(super) log: Arc<Log>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) drain: Drain,
}

impl Streams {
    pub fn new(
        settings: Settings<'_>,
        gates: Arc<Gates>,
        revocations: Arc<Revocations>,
        log: Arc<Log>,
        fanout: Arc<Fanout>,
        drain: Drain,
    ) -> Self {
        let seats = Seats::new(SeatLimits::of(settings.limits));
        let seats = (seats, PatternSeats::new(settings.limits.patterns));
        Self::with(settings, gates, seats, (revocations, log, fanout, drain))
    }

    /// The way in by other settings to the same streams: a stream keeps its seat. The limits of seats are those from
    /// before until [`Streams::limit`].
    pub fn renewed(&self, settings: Settings<'_>, gates: Arc<Gates>) -> Self {
        let Self { revocations, log, fanout, drain, .. } = self;
        let others = (Arc::clone(revocations), Arc::clone(log), Arc::clone(fanout), drain.clone());
        let seats = (Arc::clone(&self.seats), Arc::clone(&self.pattern_seats));
        Self::with(settings, gates, seats, others)
    }

    /// From now on there may be so many streams; those that are open stay.
    pub fn limit(&self, limits: &config::Limits) {
        self.seats.limit(SeatLimits::of(limits));
        self.pattern_seats.limit(limits.patterns);
    }

    fn with(
        settings: Settings<'_>,
        gates: Arc<Gates>,
        (seats, pattern_seats): (Arc<Seats>, Arc<PatternSeats>),
        (revocations, log, fanout, drain): (Arc<Revocations>, Arc<Log>, Arc<Fanout>, Drain),
    ) -> Self {
        let routes = Routes::new(settings.routes, settings.sse);
        if routes.need_sources(log.format()) {
            log.keep_sources();
        }
        if routes.have_patterns() {
            log.order_topics();
        }
        Self {
            routes,
            meta: MetaBounds::new(settings.limits, settings.auth),
            gates,
            revocations,
            warn_before: settings.auth.warn_before,
            publish_claim: settings.auth.publish_claim.as_str().into(),
            terse: settings.auth.refusals == config::Refusals::Terse,
            sse: settings.sse.clone(),
            topics_per_stream: settings.limits.topics_per_stream,
            patterns_per_stream: settings.limits.patterns_per_stream,
            history: settings.limits.history,
            seats,
            pattern_seats,
            rates: Arc::clone(settings.rates),
            memory: Arc::clone(settings.memory),
            log,
            fanout,
            drain,
        }
    }

    /// The route of a request's target, if a `GET` there is ours.
    pub fn route(&self, target: &Uri) -> Option<Route<'_>> {
        self.routes.find(target.path(), target.query())
    }

    /// Whether clients are told no more than that they are refused.
    pub fn is_terse(&self) -> bool {
        self.terse
    }

    /// Takes out of a request that goes on to the backend what only we may read.
    pub fn strip_tokens<B>(&self, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| self.gates.strip_tokens(uri, headers));
    }

    /// Takes the token out of a request on a stream's path that goes on to the backend.
    pub fn strip_token<B>(&self, route: &Route<'_>, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| {
            self.gates.strip_token(route.auth(), uri, headers);
        });
    }

    /// Refuses a request before it is looked into further.
    pub fn turn_away(&self, denied: Denied) -> Refusal {
        let refusal = self.denied(denied);
        metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.label()).increment(1);
        refusal
    }

    pub(super) fn denied(&self, denied: Denied) -> Refusal {
        Refusal::Denied { denied, template: None, terse: self.terse }
    }

    pub(super) fn unnamed(&self, unnamed: TemplateError) -> Refusal {
        match unnamed {
            TemplateError::Request(bad) => bad.into(),
            TemplateError::Claim(name) => self.denied(Denied::NoClaim(name)),
        }
    }

    /// As [`later`](Self::later), and not before there is a token.
    pub(super) fn slower(&self, why: RetryReason, fast: TooFast, last_event_id: Option<&str>) -> Refusal {
        let mut refusal = self.later(why, last_event_id);
        if let (Refusal::Later { retry, .. }, Some(wait)) = (&mut refusal, fast.wait) {
            *retry = wait.max(*retry);
        }
        refusal
    }

    /// The same as the streams of `route` have it: a refusal that will pass looks as they do.
    pub(super) fn said_by(&self, route: &Route<'_>, mut refusal: Refusal) -> Refusal {
        if let Refusal::Later { why, retry, layout, .. } = &mut refusal {
            layout.clone_from(&route.look().route().layout);
            // When an opening may be tried again is the limit's to say.
            if !matches!(why, RetryReason::RatePerAddress | RetryReason::RatePerUser) {
                *retry = retry.mul_f64(route.look().retry_max().div_duration_f64(self.sse.retry_max));
            }
        }
        refusal
    }

    pub(super) fn later(&self, why: RetryReason, last_event_id: Option<&str>) -> Refusal {
        // Longer than after a cut: a client that is refused should not be the first to come back.
        let retry = random_ms(self.sse.retry_max, 3 * self.sse.retry_max);
        Refusal::Later {
            why,
            retry: Duration::from_millis(u64::from(retry)),
            cursor: last_event_id.and_then(|text| text.parse::<EventId>().ok()),
            as_status: self.sse.refuse_with == config::RefuseWith::Status,
            layout: None,
            headers: Box::default(),
        }
    }
}

/// Changes both at once, which a request lends only one after the other.
fn in_target_and_headers<B>(request: &mut Request<B>, act: impl FnOnce(&mut Uri, &mut HeaderMap)) {
    let mut uri = std::mem::take(request.uri_mut());
    act(&mut uri, request.headers_mut());
    *request.uri_mut() = uri;
}

/// A random number of milliseconds between two times.
pub(super) fn random_ms(min: Duration, max: Duration) -> u32 {
    u32::try_from(random_between(min, max).as_millis()).unwrap_or(u32::MAX)
}
