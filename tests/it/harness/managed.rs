//! A service manager that listens for the daemon, starts it again when it has ended, and hears what it tells.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Program;
use super::daemon::KEY;

pub(crate) struct Managed {
    manager: Program,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    /// Where each socket is: a port or a path.
    pub(crate) sockets: Vec<Value>,
    folder: tempfile::TempDir,
}

impl Managed {
    /// A daemon with this configuration and [`KEY`], asked for signs of life every so many seconds; 0 = not at all.
    pub(crate) async fn start(config: &str, watchdog: &str) -> Self {
        Self::start_with("public=tcp,internal=tcp", config, watchdog).await
    }

    /// The same with these sockets, of which the first two have ports: `public=tcp,internal=tcp,public=unix`.
    pub(crate) async fn start_with(sockets: &str, config: &str, watchdog: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sidestream.toml");
        std::fs::write(&file, with_key(config)).expect("a file");
        let daemon = env!("CARGO_BIN_EXE_sidestream");
        let file = file.to_str().expect("a path");
        let mut manager =
            Program::python("service_manager.py", &[watchdog, sockets, daemon, "serve", "--config", file]);
        let sockets = manager.json().await["sockets"].take();
        let sockets: Vec<Value> = sockets.as_array().expect("sockets").clone();
        let address = |at: usize| {
            let port = u16::try_from(sockets[at].as_u64().expect("a port")).expect("a port");
            SocketAddr::from(([127, 0, 0, 1], port))
        };
        Self { public: address(0), internal: address(1), sockets, manager, folder }
    }

    /// Puts another configuration into its file.
    pub(crate) fn rewrite(&self, config: &str) {
        std::fs::write(self.folder.path().join("sidestream.toml"), with_key(config)).expect("a file");
    }

    /// Sends the daemon a signal.
    pub(crate) async fn signal(&mut self, name: &str) {
        self.manager.tell(&json!({ "signal": name })).await;
    }

    /// The manager's next line with `name`.
    pub(crate) async fn hears(&mut self, name: &str) -> Value {
        loop {
            let mut line = self.manager.json().await;
            if !line[name].is_null() {
                return line[name].take();
            }
        }
    }

    /// Waits for something that the daemon tells the manager.
    pub(crate) async fn is_told(&mut self, text: &str) -> String {
        loop {
            let told = self.hears("told").await.as_str().expect("text").to_owned();
            if told.contains(text) {
                return told;
            }
        }
    }
}

fn with_key(config: &str) -> String {
    format!("internal.publish_keys = [\"{KEY}\"]\n{config}")
}
