//! The daemon's life: it takes its ports, serves, and stops.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use crate::app::base::build_log;
use crate::app::parts::Parts;
use crate::app::reload::ConfigSource;
use crate::app::serving::{Listeners, addresses};
use crate::app::spans::SpanCollection;
use crate::app::stop::{AFTER_DEADLINE, LAST_SPANS};
use crate::config::{self, CheckedConfig, Config, ListenAddress, listed};
use crate::log::Log;
use crate::server;
use crate::server::BindOptions;
use crate::systemd;
use crate::systemd::{PassedSocket, PassedSockets};
use crate::telemetry::Metrics;

/// A daemon that has its ports and serves nobody yet.
pub struct App {
    config: CheckedConfig,
    log: Arc<Log>,
    listeners: Listeners,
    source: Option<ConfigSource>,
    /// The service manager has taken the public addresses.
    is_given_public: bool,
}

impl App {
    /// Takes the ports, but for those that the service manager has taken already. An error names the address, and the
    /// key that chooses it.
    pub fn bind(mut config: Config, passed: PassedSockets) -> io::Result<Self> {
        let is_given_public = !passed.public.is_empty();
        let bind = |passed: Vec<PassedSocket>, addresses: &[ListenAddress], options, chosen_by: &str| {
            if !passed.is_empty() {
                return server::adopt(passed);
            }
            server::bind_all(addresses, options).map_err(|error| {
                io::Error::new(error.kind(), format!("{error}; {chosen_by} chooses another address"))
            })
        };
        let Config { public, internal, .. } = &mut config;
        let options = BindOptions { reuse_port: public.reuse_port, mode: public.socket_mode };
        let public_at = bind(passed.public, &public.listen, options, "public.listen, or --listen,")?;
        let options = BindOptions { reuse_port: false, mode: internal.socket_mode };
        let internal_at =
            bind(passed.internal, &internal.listen, options, "internal.listen, or --internal-listen,")?;
        // From now on the configuration says where they are, not where they were asked to be.
        (public.listen, internal.listen) = (addresses(&public_at), addresses(&internal_at));
        let listeners = Listeners { public: public_at, internal: internal_at };
        let log = build_log(&config);
        let config = CheckedConfig { config, warnings: Vec::new(), in_force: Vec::new() };
        Ok(Self { config, log, listeners, source: None, is_given_public })
    }

    /// The same daemon on the log of one that has stopped in this process: its ids go on.
    pub fn with_log(self, log: Arc<Log>) -> Self {
        Self { log, ..self }
    }

    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The dashboard shows these as the configuration.
    pub fn showing(mut self, in_force: Vec<config::SettingInForce>) -> Self {
        self.config.in_force = in_force;
        self
    }

    /// The same daemon, which reads its configuration anew from `source` when it is asked to.
    pub fn reloading(self, source: ConfigSource) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Where browsers reach it.
    pub fn public_addresses(&self) -> &[ListenAddress] {
        &self.config.config.public.listen
    }

    /// Where the backend and operators reach it.
    pub fn internal_addresses(&self) -> &[ListenAddress] {
        &self.config.config.internal.listen
    }

    /// Serves until `stop` completes, then drains, at the longest until the deadline.
    pub async fn run(self, metrics: Metrics, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (public, internal) = (listed(self.public_addresses()), listed(self.internal_addresses()));
        let by = (self.config.listens_at_port() && !self.is_given_public).then_some("PORT");
        info!(%public, %internal, public_by = by, "listening");
        let Self { config, log, listeners, source, is_given_public: _ } = self;
        let spans = SpanCollection::start();
        let running = Parts::build(&config.config, log, metrics)?.start(config, listeners, source)?;
        systemd::ready();
        stop.await;
        let drain = running.config.get().config.drain.clone();
        systemd::stopping(drain.delay + drain.deadline + AFTER_DEADLINE);
        running.stop(drain).await;
        // The last streams' too.
        spans.finish(Instant::now() + LAST_SPANS).await;
        info!("stopped");
        Ok(())
    }
}
