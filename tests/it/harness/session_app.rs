//! The notes of `examples/express-session`, started as its README says, on a port of its own.

use tokio::process::Command;

use super::{Daemon, KEY, Program, Wire, program::repository};

pub(crate) struct SessionApp {
    url: String,
    /// The way to its daemon, which comes later.
    to_daemon: tokio::sync::Mutex<Wire>,
    _program: Program,
}

impl SessionApp {
    pub(crate) async fn start() -> Self {
        let folder = repository().join("examples/express-session");
        let installed = folder.join("node_modules").exists();
        assert!(installed, "the example's npm packages are missing; run `make setup`");
        let wire = Wire::to(([127, 0, 0, 1], 9).into()).await;
        let mut program = Program::start(
            Command::new("node")
                .arg("server.js")
                .current_dir(folder)
                .env("PORT", "0")
                .env("SIDESTREAM_URL", format!("http://{}", wire.address))
                .env("SIDESTREAM_KEY", KEY),
        );
        let line = program.line().await.expect("it says where it listens");
        let url = line.split(' ').next_back().expect("an address").to_owned();
        Self { url, to_daemon: tokio::sync::Mutex::new(wire), _program: program }
    }

    /// A daemon in front of it, with the example's own file; only its addresses and its key are other ones, and a page
    /// comes back sooner.
    pub(crate) async fn daemon(&self) -> Daemon {
        let daemon = Daemon::start_with(
            include_str!("../../../examples/express-session/sidestream.toml"),
            &[
                ("SIDESTREAM_PUBLIC_BACKEND", &self.url),
                ("SIDESTREAM_INTERNAL_PUBLISH_KEYS", KEY),
                ("SIDESTREAM_SSE_RETRY_MIN", "100ms"),
                ("SIDESTREAM_SSE_RETRY_MAX", "500ms"),
            ],
        )
        .await;
        self.to_daemon.lock().await.lead_to(daemon.internal);
        daemon
    }
}
