//! A reload: the configuration is read anew and seen through as a whole; only then what has changed takes the place of
//! what was.
//!
//! Nothing changes by a configuration that is refused. A caller that asks while one is under way gets the outcome of
//! the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::app::base::Base;
use crate::app::generation::{PublicSide, build_internal, build_keys};
use crate::app::running_config::RunningConfig;
use crate::app::settings::{
    end_bounds, member_bounds, page_changes, rate_settings, shown_lines, state_bounds,
};
use crate::config::{BadConfig, CheckedConfig, Config, ConfigChanges, HookEvent, Problem, Severity};
use crate::fanout::Watcher;
use crate::health::Reporter;
use crate::server;
use crate::server::{Current, PublicListener, ReloadOutcome, ReloadRequests};
use crate::shutdown::Drain;
use crate::systemd;
use crate::telemetry::{RELOAD_OK, RELOADS, set_log_filter};

/// How long reading the configuration and its files may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many problems have a line in the log.
const LINES: usize = 10;

/// Where a configuration is read anew, and the signal that asks for it.
pub struct ConfigSource {
    read: Arc<dyn Fn() -> Result<CheckedConfig, BadConfig> + Send + Sync>,
    hangup: Signal,
}

impl ConfigSource {
    pub fn new(
        read: impl Fn() -> Result<CheckedConfig, BadConfig> + Send + Sync + 'static,
        hangup: Signal,
    ) -> Self {
        Self { read: Arc::new(read), hangup }
    }
}

/// Does reloads.
pub(super) struct Reloader {
    pub(super) base: Arc<Base>,
    pub(super) running: RunningConfig,
    pub(super) side: PublicSide,
    pub(super) public: Arc<PublicListener>,
    pub(super) internal: Arc<Current<server::Internal>>,
    pub(super) requests: ReloadRequests,
}

/// A configuration that can take the place of the one in force.
struct NextGeneration {
    config: CheckedConfig,
    side: PublicSide,
    internal: Arc<server::Internal>,
    webhooks: crate::webhooks::PreparedHooks,
}

/// Reads the configuration without waiting for a file for ever.
struct ConfigReader {
    read: Arc<dyn Fn() -> Result<CheckedConfig, BadConfig> + Send + Sync>,
    /// A reading that has not ended in time, and holds a thread.
    stuck: Option<JoinHandle<Result<CheckedConfig, BadConfig>>>,
}

impl ConfigReader {
    async fn read(&mut self) -> Result<CheckedConfig, BadConfig> {
        let late = || BadConfig::unusable("", "the configuration's files could not be read in time");
        if let Some(stuck) = self.stuck.take_if(|stuck| !stuck.is_finished()) {
            self.stuck = Some(stuck);
            return Err(late());
        }
        let read = Arc::clone(&self.read);
        let mut reading = tokio::task::spawn_blocking(move || read());
        match timeout(PATIENCE, &mut reading).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(BadConfig::unusable("", "reading the configuration failed")),
            Err(_) => {
                self.stuck = Some(reading);
                Err(late())
            }
        }
    }
}

impl Reloader {
    /// Reloads when it is asked to, until the drain starts.
    pub(super) async fn run(
        mut self,
        source: ConfigSource,
        mut asked: mpsc::Receiver<oneshot::Sender<ReloadOutcome>>,
        drain: Drain,
    ) {
        let ConfigSource { read, mut hangup } = source;
        let mut reader = ConfigReader { read, stuck: None };
        let mut health = None;
        metrics::gauge!(RELOAD_OK).set(1.0);
        loop {
            let mut waiting = Vec::new();
            let by = tokio::select! {
                biased;
                () = drain.started() => return,
                Some(one) = asked.recv() => {
                    waiting.push(one);
                    "POST /reload"
                }
                Some(()) = hangup.recv() => "SIGHUP",
            };
            while let Ok(one) = asked.try_recv() {
                waiting.push(one);
            }
            systemd::reloading();
            let outcome = self.reload(&mut reader, by).await;
            self.note(&outcome, by, &mut health);
            // What comes behind the notice to stop would take that back.
            if !drain.has_started() {
                systemd::ready();
            }
            for one in waiting {
                let _ = one.send(outcome.clone());
            }
        }
    }

    async fn reload(&mut self, reader: &mut ConfigReader, by: &str) -> ReloadOutcome {
        let loaded = reader.read().await?;
        let running = self.running.get();
        let (next, mut changes) = loaded.taken_up_by(&running);
        for Problem { key, message, severity, .. } in &next.warnings {
            if *severity == Severity::Warning {
                warn!(key, "configuration: {message}");
            }
        }
        // A signal is for the certificate's own watch, too.
        let internal = self.internal.get();
        for certificate in [self.side.public.certificate(), internal.certificate()] {
            if let Some(certificate) = certificate.filter(|_| by != "SIGHUP") {
                certificate.look();
            }
        }
        next.config.refuse_loop()?;
        if next.config != running.config {
            let next = self.prepare(next).await?;
            self.uncounted_topics(&next.config, &mut changes);
            self.take_up(next, &running.config).await;
        }
        Ok(changes)
    }

    /// Makes all of it that can fail, and changes nothing that serves; but the channels of Redis, which are the last
    /// that can fail.
    async fn prepare(&self, next: CheckedConfig) -> Result<NextGeneration, BadConfig> {
        let unusable = |why: std::io::Error| BadConfig::unusable("", why.to_string());
        let config = &next.config;
        let side = PublicSide::build(config, &self.base, Some(&self.side)).map_err(unusable)?;
        let before = self.internal.get();
        let (keys, certificate) = build_keys(config, &self.base, Some(&before)).map_err(unusable)?;
        let tried = tokio::try_join!(side.gates.try_out(), keys.try_out());
        tried.map_err(|why| {
            let (key, why) = why.split_once(": ").unwrap_or(("", &why));
            BadConfig::unusable(key, why)
        })?;
        let webhooks = self.base.webhooks.prepare(&config.webhooks, &config.outbound);
        let webhooks = webhooks.map_err(|why| BadConfig::unusable("webhook", why.to_string()))?;
        let requests = Some(self.requests.clone());
        let internal = build_internal(&next, &self.base, &side, (keys, certificate), Some(&before), requests);
        let channels = |config: &Config| config.redis.as_ref().map(|redis| redis.channels.clone());
        let (had, wanted) = (channels(&self.running.get().config), channels(config));
        if let (Some((_, updates)), Some(wanted)) = (self.base.redis.get(), wanted)
            && had.as_ref() != Some(&wanted)
        {
            let refused = |why: String| BadConfig::unusable("redis.channel", format!("Redis refuses: {why}"));
            updates.listen_to(&wanted).await.map_err(refused)?;
        }
        Ok(NextGeneration { config: next, side, internal, webhooks })
    }

    /// From now on it is in force.
    async fn take_up(&mut self, next: NextGeneration, before: &Config) {
        let NextGeneration { config: next, side, internal, webhooks } = next;
        let (base, config) = (&self.base, &next.config);
        let serving = &base.order.serving;
        side.gates.start(&base.health, serving);
        internal.keys().start(&base.health, serving);
        let fetches = |jwt: &Option<crate::config::Jwt>| jwt.as_ref().is_some_and(|jwt| jwt.jwks.is_some());
        for (name, needed) in
            [("jwks", fetches(&config.auth.jwt)), ("publisher_jwks", fetches(&config.internal.publisher_jwt))]
        {
            if !needed {
                base.health.forget(name);
            }
        }
        if let Some(bounds) = state_bounds(config) {
            base.log.keep_state(bounds);
        }
        if config.limits != before.limits {
            side.public.streams().limit(&config.limits);
            base.recordings.limit(&config.limits);
            base.log.bound(member_bounds(&config.limits));
            base.log.remember_ends(end_bounds(&config.limits));
            base.log.remember_topics(config.limits.remembered_topics);
            base.rates.set(&rate_settings(&config.limits));
            base.memory.set(config.limits.memory);
        }
        base.revocations.bound(config.auth.max_revocations);
        base.control.set(&config.auth, page_changes(&config.limits));
        if config.webhooks != before.webhooks {
            if !config.webhooks.is_empty() && !base.webhooks.watches() {
                let watcher: Arc<dyn Watcher> = Arc::clone(&base.webhooks) as _;
                base.fanout.watch(&watcher);
                // So that nobody is told of the streams that are open already as if they had just come.
                base.fanout.passes().await;
            }
            base.webhooks.tell(webhooks);
        }
        let telemetry = &config.telemetry;
        if *telemetry != before.telemetry
            && let Err(error) = set_log_filter(&telemetry.log_level, &shown_lines(telemetry))
        {
            // It has been read already.
            warn!(%error, "the log's level stays as it was");
        }
        base.identify(config);
        self.public.current().replace(Arc::clone(&side.public));
        side.public.proxy().in_force();
        self.internal.replace(internal);
        self.side = side;
        self.running.set(next);
    }

    /// Topics are counted from the start or not at all.
    fn uncounted_topics(&self, next: &CheckedConfig, changes: &mut ConfigChanges) {
        let of_topics = |event: &HookEvent| matches!(event, HookEvent::TopicOccupied | HookEvent::TopicEmpty);
        let webhooks = next.config.webhooks.iter().enumerate();
        for (at, _) in webhooks.filter(|(_, hook)| hook.events.iter().any(of_topics)) {
            let key = format!("webhook[{}].events", at + 1);
            if !self.base.counts_topics && !changes.needs_restart.contains(&key) {
                changes.applied.retain(|applied| *applied != key);
                changes.needs_restart.push(key);
            }
        }
    }

    /// Says what came of it, to everybody who looks.
    fn note(&self, outcome: &ReloadOutcome, by: &str, health: &mut Option<Reporter>) {
        let word = match outcome {
            Ok(changes) if *changes == ConfigChanges::default() => "unchanged",
            Ok(_) => "applied",
            Err(_) => "refused",
        };
        metrics::counter!(RELOADS, "outcome" => word).increment(1);
        metrics::gauge!(RELOAD_OK).set(if outcome.is_ok() { 1.0 } else { 0.0 });
        match outcome {
            Ok(ConfigChanges { applied, needs_restart }) => {
                if let Some(health) = health {
                    health.up();
                }
                let (applied, needs_restart) = (applied.join(", "), needs_restart.join(", "));
                info!(by, applied, needs_restart, "configuration reloaded");
            }
            Err(BadConfig { problems }) => {
                for Problem { key, message, origin, .. } in problems.iter().take(LINES) {
                    error!(key, place = %origin, "configuration refused: {message}");
                }
                let count = problems.len();
                error!(by, problems = count, "the configuration is not reloaded: what was in force stays");
                let first = problems.first().map_or("", |problem| &*problem.message);
                // Events flow and pages are served as before: no readiness requires it.
                let health = health.get_or_insert_with(|| self.base.health.depend_on("configuration", false));
                health.down(format!("the last reload was refused: {first}"));
            }
        }
    }
}
