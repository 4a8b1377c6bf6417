//! `sidestream demo`: the whole daemon with its memory log, in front of a small backend of its own, in one process.
//!
//! Nothing here is a short cut: the page's words go browser → proxy → backend → `POST /publish` → stream, as they
//! would with anybody's backend.

mod backend;

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use self::backend::DemoBackend;
use crate::app::App;
use crate::cli::error::Error;
use crate::cli::output::fail;
use crate::cli::{key, serve};
use crate::config::{Backend, Config, Secret};
use crate::server;
use crate::shutdown::Drain;
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

/// The topic of whoever names none.
const TOPIC: &str = "lobby";
/// Connections that the backend takes at once.
const CONNECTIONS: usize = 1000;
/// Nobody wants to wait for a demonstration to end.
const WINDOW: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(3);

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        if let Err(error) = telemetry::install_log(false, "info") {
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
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = server::bind(loopback)?;
        let key = key::random();
        let app = App::bind(self.config(&listener, key.clone())?).map_err(taken)?;
        let (public, internal) = (reachable(app.public_address()?), reachable(app.internal_address()?));

        // The backend outlives the daemon, whose last requests it answers.
        let drain = Drain::new();
        let backend = Arc::new(DemoBackend::new(internal, &key, drain.clone()));
        let limits = server::AcceptLimits {
            connections: CONNECTIONS,
            descriptors: None,
            write_timeout: Duration::ZERO,
        };
        drain.spawn(server::serve(listener, backend, limits, drain.clone()));
        greet(public, internal, &key).map_err(Error::Output)?;
        app.run(metrics, stop).await?;
        drain.start();
        let _ = tokio::time::timeout(DEADLINE, drain.finished()).await;
        Ok(())
    }

    fn config(&self, backend: &TcpListener, key: Secret) -> io::Result<Config> {
        let backend = backend.local_addr()?;
        let backend = Backend::Tcp { host: backend.ip().to_string(), port: backend.port() };
        let mut config = Config::for_backend(backend);
        config.public.listen = self.listen;
        config.internal.listen = self.internal_listen;
        config.internal.publish_keys = vec![key];
        config.drain.window = WINDOW;
        config.drain.deadline = DEADLINE;
        Ok(config)
    }
}

fn taken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::Taken(error),
        _ => Error::Io(error),
    }
}

/// An address of this machine for one that stands for all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

/// Says where everything is. A standard output that is closed is no reason to stop.
fn greet(public: SocketAddr, internal: SocketAddr, key: &Secret) -> io::Result<()> {
    let text = format!(
        "\
sidestream demo. Open this page, best in two windows:

  http://{public}/

See what the page sees, in a terminal:

  curl -N 'http://{public}/events?topic={TOPIC}'

Publish as a backend would, from another one:

  curl http://{internal}/publish -H 'authorization: Bearer {key}' \\
    -d '{{\"topic\": \"{TOPIC}\", \"event\": \"message:new\", \"data\": {{\"text\": \"hello from a shell\"}}}}'

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
