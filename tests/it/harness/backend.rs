//! Backends for the proxy's tests: a scripted one, whose every byte is the test's, and a real one, which is Node.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::process::{Child, Command};

use super::peer::{Head, Peer};
use super::within;

/// A backend that does only what the test says: it accepts when asked to, and then bytes go as they are written.
pub(crate) struct Backend {
    listener: Listener,
    /// As the configuration names it.
    pub(crate) url: String,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        Self { listener: Listener::Tcp(listener), url }
    }

    pub(crate) fn start_at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        Self { listener: Listener::Unix(listener), url: format!("unix:{}", path.display()) }
    }

    /// A configuration with this backend; `more` comes after.
    pub(crate) fn config(&self, more: &str) -> String {
        format!("public.backend = \"{}\"\n{more}", self.url)
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Peer {
        within("a connection to the backend", async {
            match &self.listener {
                Listener::Tcp(listener) => Peer::new(listener.accept().await.expect("a connection").0),
                Listener::Unix(listener) => Peer::new(listener.accept().await.expect("a connection").0),
            }
        })
        .await
    }

    /// The next connection and the head of its first request.
    pub(crate) async fn request(&self) -> (Peer, Head) {
        let mut peer = self.accept().await;
        let head = peer.head().await;
        (peer, head)
    }

    /// Whether a connection waits to be accepted, now.
    pub(crate) async fn is_asked(&self) -> bool {
        let accept = async {
            match &self.listener {
                Listener::Tcp(listener) => drop(listener.accept().await),
                Listener::Unix(listener) => drop(listener.accept().await),
            }
        };
        tokio::select! { biased; () = accept => true, () = std::future::ready(()) => false }
    }
}

/// A Node process that serves what its script says.
pub(crate) struct Node {
    _child: Child,
    pub(crate) url: String,
}

impl Node {
    /// Runs `script`, in which `http` is there and `server` is to be made; it is put on a free port.
    pub(crate) async fn start(script: &str) -> Self {
        let whole = format!(
            "const http = require('http');\n{script}\nserver.listen(0, '127.0.0.1', () => console.log(server.address().port));"
        );
        let mut child = Command::new("node")
            .args(["-e", &whole])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node must be installed");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let port = within("node's port", lines.next_line()).await.expect("its output").expect("a line");
        Self { _child: child, url: format!("http://127.0.0.1:{port}") }
    }

    /// A configuration with this backend; `more` comes after.
    pub(crate) fn config(&self, more: &str) -> String {
        format!("public.backend = \"{}\"\n{more}", self.url)
    }
}
