//! The daemon's life: it takes its ports, serves, and stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::info;

use crate::app::parts::{Parts, build_log};
use crate::app::serving::Listeners;
use crate::app::stop::AFTER_DEADLINE;
use crate::config::{self, Config};
use crate::log::Log;
use crate::server;
use crate::systemd;
use crate::systemd::PassedSockets;
use crate::telemetry::Metrics;

/// A daemon that has its ports and serves nobody yet.
pub struct App {
    config: Config,
    in_force: Vec<config::SettingInForce>,
    log: Arc<Log>,
    listeners: Listeners,
}

impl App {
    /// Takes the ports, but for those that the service manager has taken already. An error names the address, and the key
    /// that chooses it.
    pub fn bind(config: Config, passed: PassedSockets) -> io::Result<Self> {
        let bind = |address, chosen_by: &str| {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{error}; {chosen_by} chooses another address"))
            };
            server::bind(address).map_err(named)
        };
        let public = passed
            .public
            .map_or_else(|| bind(config.public.listen, "public.listen, or --listen,"), server::adopt)?;
        let internal = passed.internal.map_or_else(
            || bind(config.internal.listen, "internal.listen, or --internal-listen,"),
            server::adopt,
        )?;
        let log = build_log(&config);
        Ok(Self { config, in_force: Vec::new(), log, listeners: Listeners { public, internal } })
    }

    /// The same daemon on the log of one that has stopped in this process: its ids go on.
    pub fn with_log(self, log: Arc<Log>) -> Self {
        Self { log, ..self }
    }

    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The dashboard shows these as the configuration.
    pub fn showing(self, in_force: Vec<config::SettingInForce>) -> Self {
        Self { in_force, ..self }
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
        let Self { config, in_force, log, listeners } = self;
        let running = Parts::build(&config, in_force, log, metrics)?.start(&config, listeners)?;
        systemd::ready();
        stop.await;
        systemd::stopping(config.drain.delay + config.drain.deadline + AFTER_DEADLINE);
        running.stop(config.drain).await;
        Ok(())
    }
}
