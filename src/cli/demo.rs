//! `sidestream demo`: the whole daemon with its memory log, in front of a small backend of its own, in one process.
//!
//! Nothing here is a short cut: the page's words go browser → network → proxy → backend → `POST /publish` → stream, as
//! they would with anybody's backend. The network is a relay, so that lines can be cut; and the daemon can be stopped
//! and started again on the log that it had.

mod backend;
mod chat;
mod daemon_api;
mod network;
mod page;
mod readers;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;

use self::backend::{DemoBackend, about};
use self::chat::{LOAD_TOPIC, TOPIC};
use self::daemon_api::DaemonApi;
use self::network::DemoNetwork;
use self::readers::{Load, READERS};
use crate::app::App;
use crate::cli::error::Error;
use crate::cli::output::{fail, note};
use crate::cli::url::reachable;
use crate::cli::{key, serve};
use crate::config;
use crate::config::{Backend, Config, ListenAddress, Secret};
use crate::event::Template;
use crate::log::Log;
use crate::net::descriptors::Descriptors;
use crate::server;
use crate::server::ConnectionSeats;
use crate::shutdown::Drain;
use crate::systemd::PassedSockets;
use crate::telemetry;

const ABOUT: &str = "\
It needs no configuration, no Redis and no application. Standard output says
where the page is, and has lines to paste into other terminals; the log goes to
standard error. Ctrl-C ends it.";

#[derive(Args, Debug)]
#[command(after_help = ABOUT)]
pub(super) struct Demo {
    /// Where the page and the streams are; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where events are published; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    internal_listen: SocketAddr,
}

/// Connections that the network and the backend take at once, each.
const CONNECTIONS: usize = 1000;
/// Nobody wants to wait for a demonstration to end.
const WINDOW: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(3);
/// How long the daemon is away when it is restarted.
const AWAY: Duration = Duration::from_secs(1);
/// Cut lines come back soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(600));
/// A reload is no absence.
const GRACE: Duration = Duration::from_secs(2);
/// How much of the chat a page begins with.
const HISTORY: usize = 500;

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        if let Err(error) = telemetry::install_log(false, "info", &[]) {
            return fail(&error);
        }
        let metrics = telemetry::install_metrics();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let result = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(self.serve(metrics)));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    }

    async fn serve(self, metrics: telemetry::Metrics) -> Result<(), Error> {
        let stop = serve::stop_signal()?;
        let files = raise_open_files();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (network, backend) = (server::bind(self.listen).map_err(taken)?, server::bind(loopback)?);
        let key = key::random();
        let mut config = demo_config(&port_of([backend.address()])?, key.clone());
        config.internal.listen = vec![ListenAddress::Tcp(self.internal_listen)];
        let app = App::bind(config.clone(), PassedSockets::default())?;
        // Where it comes back to after a restart.
        config.public.listen = app.public_addresses().to_vec();
        config.internal.listen = app.internal_addresses().to_vec();
        let daemon = port_of(&config.public.listen)?;
        let (public, internal) =
            (reachable(port_of([network.address()])?), reachable(port_of(&config.internal.listen)?));

        // The network and the backend outlive the daemon, whose last words and requests they carry.
        let drain = Drain::new();
        let (restarts, mut restart) = mpsc::channel(1);
        let api = Arc::new(DaemonApi::new(internal, &key));
        let lines = Arc::new(DemoNetwork::new(daemon, drain.clone()));
        let application = Arc::new(DemoBackend {
            api: Arc::clone(&api),
            network: Arc::clone(&lines),
            load: Arc::new(Load::new(Arc::clone(&api), daemon, files)),
            restarts,
            about: about(public, internal, &key),
            drain: drain.clone(),
        });
        let limits = || server::AcceptLimits {
            seats: ConnectionSeats::new(CONNECTIONS),
            descriptors: None,
            write_timeout: Duration::ZERO,
        };
        drain.spawn(server::serve(backend, application, limits(), drain.clone()));
        drain.spawn(server::serve(network, lines, limits(), drain.clone()));
        greet(public, internal, &key).map_err(Error::Output)?;
        warn_of_others(self.listen, self.internal_listen);
        let introduced = drain.spawn(async move { api.introduce().await });
        run_daemon(app, &config, &metrics, stop, &mut restart).await?;
        introduced.abort();
        drain.start();
        let _ = tokio::time::timeout(DEADLINE, drain.finished()).await;
        Ok(())
    }
}

/// The first address of a listener that has only addresses with ports.
fn port_of<'a>(addresses: impl IntoIterator<Item = &'a ListenAddress>) -> io::Result<SocketAddr> {
    addresses.into_iter().find_map(ListenAddress::tcp).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Says what other machines can do where they reach the demo.
fn warn_of_others(public: SocketAddr, internal: SocketAddr) {
    let reached = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    if reached(public) {
        note(format_args!(
            "WARNING: --listen {public} is reached by other machines: anybody there can write as Anna and Ben, cut \
             lines, restart the daemon, and read the publish key, which the page shows"
        ));
    }
    if reached(internal) {
        note(format_args!(
            "WARNING: --internal-listen {internal} is reached by other machines: with the key that the page shows, \
             anybody there can publish and use the dashboard"
        ));
    }
}

/// Runs the daemon until `stop` completes, and again after each message of `restart`: everything of it but its log.
async fn run_daemon(
    mut app: App,
    config: &Config,
    metrics: &telemetry::Metrics,
    stop: impl Future<Output = ()>,
    restart: &mut mpsc::Receiver<()>,
) -> Result<(), Error> {
    let mut stop = pin!(stop);
    let log: Arc<Log> = app.log();
    loop {
        let mut stopped = false;
        let until = async {
            tokio::select! {
                () = stop.as_mut() => stopped = true,
                // The sender is the backend's, which outlives the daemon.
                _ = restart.recv() => {}
            }
        };
        app.run(metrics.clone(), until).await?;
        if stopped {
            return Ok(());
        }
        tokio::select! {
            () = stop.as_mut() => return Ok(()),
            () = tokio::time::sleep(AWAY) => {}
        }
        app = App::bind(config.clone(), PassedSockets::default())?.with_log(Arc::clone(&log));
    }
}

/// What the page shows as `sidestream.toml`, and what is for a demonstration only.
fn demo_config(backend: &SocketAddr, key: Secret) -> Config {
    let template = |text: &str| Template::parse(text).expect("a template of ours");
    let backend = Backend::Tcp { host: backend.ip().to_string(), port: backend.port(), tls: false };
    let mut config = Config::for_backend(backend);
    config.public.listen = vec![ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))];
    config.dashboard.keys = vec![key.clone()];
    config.internal.publish_keys = vec![key];
    config.streams = vec![
        config::Stream {
            topics: vec![template(TOPIC)],
            user: Some(template("{query.user}")),
            ..config::Stream::default()
        },
        config::Stream {
            path: "/load".to_owned(),
            topics: vec![template(LOAD_TOPIC)],
            ..config::Stream::default()
        },
    ];
    config.presence.topics = vec![template("friends-of:{user}")];
    config.presence.grace = GRACE;
    (config.sse.retry_min, config.sse.retry_max) = RETRY;
    config.limits.history = HISTORY;
    // The load comes from one address.
    config.limits.streams_per_address = 2 * READERS;
    config.drain.window = WINDOW;
    config.drain.deadline = DEADLINE;
    config
}

/// Lets this process have as many files open as the system allows, and says how many those are: a reader of the load
/// has two, and some shells allow 256.
fn raise_open_files() -> usize {
    const ENOUGH: u64 = 10_240;
    let now = Descriptors::raise(ENOUGH).map_or(ENOUGH, |files| files.limit);
    usize::try_from(now).unwrap_or(usize::MAX)
}

fn taken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::Taken(error),
        _ => Error::Io(error),
    }
}

/// Says where everything is. A standard output that is closed is no reason to stop.
fn greet(public: SocketAddr, internal: SocketAddr, key: &Secret) -> io::Result<()> {
    let text = format!(
        "\
sidestream demo. Open this page, in two windows if you like:

  http://{public}/

See what Anna's page sees, in a terminal:

  curl -N 'http://{public}/events?user=anna'

Publish as a backend would, from another one:

  curl http://{internal}/publish -H 'authorization: Bearer {key}' \\
    -d '{{\"topic\": \"{TOPIC}\", \"event\": \"message:new\", \"data\": {{\"from\": \"terminal\", \"text\": \"Hello from a terminal\"}}}}'

Watch its streams and topics in the dashboard, signed in with the key {key}:

  http://{internal}/

Ctrl-C ends it.

",
        key = key.expose(),
    );
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
