//! `sidestream serve`: the daemon itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::App;
use crate::config::{Config, LogFormat};
use crate::telemetry;

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The configuration file; see config.example.toml
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The application behind this daemon, as http://host:port or unix:/path; instead of, or over, the file's
    #[arg(long, value_name = "URL")]
    backend: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let loaded = Config::load(self.config.as_deref(), std::env::vars_os(), self.backend.as_deref());
        let config = match loaded {
            Ok(config) => config,
            Err(bad) => {
                eprintln!("{bad}");
                return ExitCode::FAILURE;
            }
        };
        if let Err(error) = telemetry::install_log(
            config.telemetry.log_format == LogFormat::Json,
            &config.telemetry.log_level,
        ) {
            return super::fail(&error);
        }
        run_daemon(config)
    }
}

/// Runs the daemon until a signal stops it.
pub(super) fn run_daemon(config: Config) -> ExitCode {
    let metrics = telemetry::install_metrics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(&error),
    };
    let result = runtime.block_on(async {
        let stop = stop_signal()?;
        App::bind(config)?.run(metrics, stop).await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

/// Completes at the first SIGTERM or SIGINT. The second ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, stopped) = tokio::sync::oneshot::channel();
    // Not under the drain: it has to outlive it.
    #[expect(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = next().await;
        info!(signal, "asked to stop");
        let _ = first.send(());
        let signal = next().await;
        warn!(signal, "asked to stop a second time; ending at once");
        std::process::exit(1);
    });
    Ok(async {
        let _ = stopped.await;
    })
}
