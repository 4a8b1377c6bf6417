//! The daemon's life: it takes its ports, serves, and stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use crate::app::base::build_log;
use crate::app::parts::Parts;
use crate::app::reload::ConfigSource;
use crate::app::serving::Listeners;
use crate::app::spans::SpanCollection;
use crate::app::stop::{AFTER_DEADLINE, LAST_SPANS};
use crate::config::{self, CheckedConfig, Config};
use crate::log::Log;
use crate::server;
use crate::systemd;
use crate::systemd::PassedSockets;
use crate::telemetry::Metrics;

/// A daemon that has its ports and serves nobody yet.
pub struct App {
    config: CheckedConfig,
    log: Arc<Log>,
    listeners: Listeners,
    source: Option<ConfigSource>,
}

impl App {
    /// Takes the ports, but for those that the service manager has taken already. An error names the address, and the
    /// key that chooses it.
    pub fn bind(config: Config, passed: PassedSockets) -> io::Result<Self> {
        let bind = |address, shared, chosen_by: &str| {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{error}; {chosen_by} chooses another address"))
            };
            server::bind_with(address, shared).map_err(named)
        };
        let shared = config.public.reuse_port;
        let public = passed.public.map_or_else(
            || bind(config.public.listen, shared, "public.listen, or --listen,"),
            server::adopt,
        )?;
        let internal = passed.internal.map_or_else(
            || bind(config.internal.listen, false, "internal.listen, or --internal-listen,"),
            server::adopt,
        )?;
        let log = build_log(&config);
        let config = CheckedConfig { config, warnings: Vec::new(), in_force: Vec::new() };
        Ok(Self { config, log, listeners: Listeners { public, internal }, source: None })
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
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.listeners.public.local_addr()
    }

    /// Where the backend and operators reach it.
    pub fn internal_address(&self) -> io::Result<SocketAddr> {
        self.listeners.internal.local_addr()
    }

    /// Serves until `stop` completes, then drains, at the longest until the deadline.
    pub async fn run(self, metrics: Metrics, stop: impl Future<Output = ()>) -> io::Result<()> {
        info!(public = %self.public_address()?, internal = %self.internal_address()?, "listening");
        let Self { config, log, listeners, source } = self;
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
