//! `sidestream serve`: the daemon itself.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::{App, ConfigSource, shown_lines};
use crate::cli::key;
use crate::cli::output::{fail, note_lines};
use crate::config;
use crate::config::{
    BadConfig, CheckedConfig, CommandLine, Config, LogFormat, Problem, Secret, SettingInForce, Severity,
};
use crate::net::descriptors::Descriptors;
use crate::systemd::PassedSockets;
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  sidestream serve --backend http://127.0.0.1:3000
  sidestream serve --config sidestream.toml
  sidestream serve --backend unix:/run/app --listen 0.0.0.0:80 --redis redis://127.0.0.1

Without a file it listens on 127.0.0.1:8080, answers /events?topic=NAME to
anyone there, takes POST /publish on 127.0.0.1:8081, and prints the publish key
that it made. Everything else goes to the backend. `sidestream init` writes a
file for the application in this folder.

Every key of the file is a variable of the environment too: `listen` of
[public] is SIDESTREAM_PUBLIC_LISTEN. The command line goes before the
environment, and that before the file. `sidestream check` says what is wrong
with them; config.example.toml has every key with its default.

SIGHUP, `sidestream reload` or POST /reload reads the configuration anew. The
log goes to standard error. SIGTERM or SIGINT (Ctrl-C) drains: requests are
finished, streams are closed spread over some seconds, and their clients come
back. A second signal ends it at once.";

/// How long the end of the process waits for the last lines of the log.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    options: ServeOptions,
}

// What stands here is taken without the command's name, too: `sidestream --backend URL`.
#[derive(Args, Debug)]
pub(super) struct ServeOptions {
    /// The configuration file; config.example.toml explains every key
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The application behind this daemon, as http(s)://host:port or unix:/path; like the following, before the file's
    #[arg(long, value_name = "URL")]
    backend: Option<String>,
    /// Where browsers come to: host:port or unix:/path, several with commas between [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The same for the application, which publishes there, and for you: health, metrics, control [default:
    /// 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    internal_listen: Option<String>,
    /// A Redis whose channels are heard; a password in it can be read by everyone on this machine
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

impl ServeCommand {
    pub(super) fn run(self) -> ExitCode {
        self.options.run()
    }
}

impl ServeOptions {
    pub(super) fn run(self) -> ExitCode {
        let Self { config: file, backend, listen, internal_listen, redis } = self;
        let line = CommandLine { backend, listen, internal_listen, redis };
        let written = file.is_some() || std::env::var_os("SIDESTREAM_CONFIG").is_some();
        let load = move || Config::load_to_serve(file.as_deref(), std::env::vars_os(), &line);
        let CheckedConfig { mut config, warnings, in_force } = match load() {
            Ok(loaded) => loaded,
            Err(bad) => {
                note_lines(bad);
                return ExitCode::FAILURE;
            }
        };
        if let Err(error) = install_log(&config.telemetry) {
            return fail(&error);
        }
        // A file says who may publish and listen; a first try should not end at a refusal, nor be open without a word.
        let is_said = |one: &Problem| match one.severity {
            Severity::Warning => true,
            Severity::Advice => !written && one.key.starts_with("stream"),
            Severity::Error => false,
        };
        for Problem { key, message, .. } in warnings.into_iter().filter(is_said) {
            warn!(key, "configuration: {message}");
        }
        let made = (!written && config.internal.publish_keys.is_empty()).then(key::random);
        config.internal.publish_keys.extend(made.clone());
        // It lasts as long as the process, whatever is read anew.
        let kept = made.clone();
        let read = move || {
            let mut loaded = load()?;
            loaded.config.internal.publish_keys.extend(kept.clone());
            Ok(loaded)
        };
        run_daemon(config, in_force, made, read)
    }
}

fn install_log(settings: &config::Telemetry) -> Result<(), telemetry::BadLogging> {
    let json = settings.log_format == LogFormat::Json;
    telemetry::install_log(json, &settings.log_level, &shown_lines(settings))
}

/// Runs the daemon until a signal stops it. Prints the key that was made for it once it has its ports. `read` reads its
/// configuration anew.
fn run_daemon(
    config: Config,
    in_force: Vec<SettingInForce>,
    made: Option<Secret>,
    read: impl Fn() -> Result<CheckedConfig, BadConfig> + Send + Sync + 'static,
) -> ExitCode {
    let metrics = telemetry::install_metrics();
    report_descriptors(Descriptors::raise(u64::MAX), config.limits.streams);
    // Before there are threads.
    let passed = match PassedSockets::take() {
        Ok(passed) => passed,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(async {
        let stop = stop_signal()?;
        let source = ConfigSource::new(read, signal(SignalKind::hangup())?);
        let app = App::bind(config, passed)?;
        if let Some(key) = made {
            // To the terminal, not into the log, which others may read.
            let _ = writeln!(io::stdout().lock(), "publish key: {}", key.expose());
        }
        app.showing(in_force).reloading(source).run(metrics, stop).await
    });
    telemetry::flush_log(LAST_LINES);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Says what the limit of open files means.
fn report_descriptors(files: Option<Descriptors>, streams: usize) {
    let Some(files) = files else { return };
    let (limit, room, kind) = (files.limit, files.streams(), if files.hard { "hard" } else { "soft" });
    info!(
        limit,
        room,
        "descriptor limit {limit} ({kind}): room for about {room} streams, or half as many requests at once"
    );
    // The default is no wish of anybody's.
    if streams as u64 > room && streams != config::Limits::default().streams {
        warn!(
            limit,
            room,
            streams,
            "limits.streams is more than the descriptor limit has room for: raise LimitNOFILE, or lower it"
        );
    }
}

/// Completes at the first SIGTERM or SIGINT. The second ends the process at once.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Terminals and log rotation send it to processes that have no use for it: it never ends the daemon.
    let mut hangup = signal(SignalKind::hangup())?;
    let (first, stopped) = tokio::sync::oneshot::channel();
    // Not under the drain: it has to outlive it.
    #[expect(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let mut next = async || loop {
            tokio::select! {
                _ = terminate.recv() => return "SIGTERM",
                _ = interrupt.recv() => return "SIGINT",
                // Heeded elsewhere.
                _ = hangup.recv() => {}
            }
        };
        let signal = next().await;
        info!(signal, "asked to stop");
        let _ = first.send(());
        let signal = next().await;
        warn!(signal, "asked to stop a second time; ending at once");
        telemetry::flush_log(LAST_LINES);
        std::process::exit(1);
    });
    Ok(async {
        let _ = stopped.await;
    })
}
