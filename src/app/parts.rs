//! The daemon's parts: built and connected to each other first, started when nothing can fail for the configuration's
//! sake any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::app::adapters::{InternalRequests, PresencePublisher};
use crate::app::base::{Base, max_body};
use crate::app::generation::{PublicSide, build_internal, build_keys};
use crate::app::reload::{ConfigSource, Reloader};
use crate::app::running_config::RunningConfig;
use crate::app::serving::{Listeners, Running};
use crate::app::stop::StopOrder;
use crate::app::watchdog;
use crate::app::watchdog::VitalParts;
use crate::auth::{Publisher, Revocations};
use crate::config::{CheckedConfig, Config};
use crate::log::Log;
use crate::net::descriptors::Descriptors;
use crate::redis;
use crate::server;
use crate::server::{
    AcceptLimits, AcceptPulse, BoundListener, ConnectionSeats, Current, PublicListener, ReloadRequests,
};
use crate::shutdown::Drain;
use crate::telemetry;
use crate::telemetry::Metrics;

/// How often what is too old is dropped, and histograms are kept in bounds.
const UPKEEP: Duration = Duration::from_secs(1);

/// What a daemon is made of. Nobody is served yet.
pub(super) struct Parts {
    base: Arc<Base>,
    side: PublicSide,
}

impl Parts {
    pub(super) fn build(config: &Config, log: Arc<Log>, metrics: Metrics) -> io::Result<Self> {
        let base = Arc::new(Base::build(config, log, metrics)?);
        let side = PublicSide::build(config, &base, None)?;
        side.gates.start(&base.health, &base.order.serving);
        Ok(Self { base, side })
    }

    /// Connects with Redis and the other instances, and serves. With a source the configuration can be read anew.
    pub(super) fn start(
        self,
        checked: CheckedConfig,
        listeners: Listeners,
        source: Option<ConfigSource>,
    ) -> io::Result<Running> {
        let Self { base, side } = self;
        let config = &checked.config;
        base.start_redis(config)?;
        let StopOrder { leaving, streams, serving, announcing, last, .. } = &base.order;
        // Until the last stream has gone, so that the others learn of that, too.
        let events =
            PresencePublisher { publish: base.publish(usize::MAX), publisher: Publisher::own("presence") };
        base.control.live(Arc::new(events), announcing);
        let (keys, certificate) = build_keys(config, &base, None)?;
        keys.start(&base.health, serving);
        let (requests, asked) = ReloadRequests::new();
        let reloads = source.as_ref().map(|_| requests.clone());
        let internal = build_internal(&checked, &base, &side, (keys, certificate), None, reloads);
        let internal = Arc::new(Current::new(internal));
        if let Some(redis) = config.redis.as_ref().filter(|redis| redis.requests) {
            let handler = Arc::new(InternalRequests(Arc::clone(&internal)));
            redis::start_requests(redis, max_body(config), handler, serving).map_err(io::Error::other)?;
        }
        let notices = server::PublicNotices { closing: streams.clone(), stop: serving.clone() };
        let public = Arc::new(PublicListener::new(Arc::clone(&side.public), notices));
        let pulses = listen(config, listeners, (&public, &internal), (serving, last));
        let vital =
            VitalParts { fanout: Arc::clone(&base.fanout), health: base.health.clone(), listeners: pulses };
        last.spawn_essential("watchdog", watchdog::watch(vital, last.clone()));
        let memory = Arc::clone(&base.memory);
        last.spawn_essential("memory", memory.watch(base.health.clone(), last.clone()));
        let (log, revocations) = (Arc::clone(&base.log), Arc::clone(&base.revocations));
        serving.spawn_essential("upkeep", upkeep(log, revocations, base.metrics.clone(), serving.clone()));
        let running = RunningConfig::new(checked);
        if let Some(source) = source {
            let reloader = Reloader {
                base: Arc::clone(&base),
                running: running.clone(),
                side,
                public,
                internal,
                requests,
            };
            leaving.spawn_essential("reload", reloader.run(source, asked, leaving.clone()));
        }
        Ok(Running { base, config: running })
    }
}

/// Accepts on all listeners; gives back what tells that they do.
fn listen(
    config: &Config,
    listeners: Listeners,
    (public, internal): (&Arc<PublicListener>, &Arc<Current<server::Internal>>),
    (serving, last): (&Drain, &Drain),
) -> Vec<AcceptPulse> {
    let write_timeout = config.public.write_timeout;
    let mut pulses = Vec::new();
    let mut watched = |listener: BoundListener| {
        let (pulse, answers) = AcceptPulse::new();
        pulses.push(pulse);
        (listener, answers)
    };
    let seats = ConnectionSeats::new(config.internal.max_connections);
    let limits = AcceptLimits { seats, descriptors: None, write_timeout };
    for listener in listeners.internal {
        let serve =
            server::serve_watched(watched(listener), Arc::clone(internal), limits.clone(), last.clone());
        last.spawn_essential("internal listener", serve);
    }
    let seats = ConnectionSeats::new(config.public.max_connections);
    let descriptors = Descriptors::now().map(Descriptors::for_clients);
    let limits = AcceptLimits { seats, descriptors, write_timeout };
    for listener in listeners.public {
        let serve =
            server::serve_watched(watched(listener), Arc::clone(public), limits.clone(), serving.clone());
        serving.spawn_essential("public listener", serve);
    }
    pulses
}

async fn upkeep(log: Arc<Log>, revocations: Arc<Revocations>, metrics: Metrics, drain: Drain) {
    let in_force = metrics::gauge!(telemetry::REVOCATIONS);
    let mut every = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            biased;
            () = drain.started() => return,
            _ = every.tick() => {
                log.trim();
                log.trim_ends();
                revocations.trim();
                in_force.set(revocations.len() as f64);
                metrics.upkeep();
            }
        }
    }
}
