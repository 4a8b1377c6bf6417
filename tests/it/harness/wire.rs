//! A TCP line between a client and a server, which a test can cut, hold, mend, and lead to another server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes every connection on, byte for byte. Dropping it cuts them all.
pub(crate) struct Wire {
    /// Where the client connects to.
    pub(crate) address: SocketAddr,
    daemon: SocketAddr,
    /// Where new connections lead; None while it is cut.
    leads_to: watch::Sender<Option<SocketAddr>>,
    /// Whether bytes pass.
    flows: watch::Sender<bool>,
    carried: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (leads_to, target) = watch::channel(Some(daemon));
        let carried = Arc::new(Mutex::new(Vec::new()));
        let (flows, flow) = watch::channel(true);
        let accepting = tokio::spawn(accept(listener, target, flow, Arc::clone(&carried)));
        Self { address, daemon, leads_to, flows, carried, accepting }
    }

    /// Resets every connection in both directions, and every new one until [`Wire::mend`].
    pub(crate) fn cut(&self) {
        self.leads_to.send_replace(None);
    }

    /// Holds every byte back, on connections that stay open, until [`Wire::mend`]: as a network that swallows.
    pub(crate) fn swallow(&self) {
        self.flows.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.flows.send_replace(true);
        self.leads_to.send_replace(Some(self.daemon));
    }

    /// Cuts it, and lets new connections go to another daemon.
    pub(crate) fn lead_to(&mut self, daemon: SocketAddr) {
        self.daemon = daemon;
        self.mend();
    }

    /// How often `text` has come down from the daemon, on all connections.
    pub(crate) fn carried(&self, text: &str) -> usize {
        let carried = self.carried.lock().expect("not poisoned");
        carried.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Target = watch::Receiver<Option<SocketAddr>>;

type Flow = watch::Receiver<bool>;

async fn accept(listener: TcpListener, mut target: Target, flow: Flow, carried: Arc<Mutex<Vec<u8>>>) {
    loop {
        let (mut client, _) = listener.accept().await.expect("a connection");
        let Some(daemon) = *target.borrow_and_update() else {
            reset(&client);
            continue;
        };
        let (mut target, flow, carried) = (target.clone(), flow.clone(), Arc::clone(&carried));
        tokio::spawn(async move {
            let Ok(mut daemon) = TcpStream::connect(daemon).await else {
                return reset(&client);
            };
            tokio::select! {
                () = pass_on(&mut client, &mut daemon, flow, &carried) => {}
                // Also when it was cut and mended in between.
                _ = target.changed() => {
                    reset(&client);
                    reset(&daemon);
                }
            }
        });
    }
}

/// Both directions, until both have ended.
async fn pass_on(client: &mut TcpStream, daemon: &mut TcpStream, flow: Flow, carried: &Mutex<Vec<u8>>) {
    let (from_client, to_client) = client.split();
    let (from_daemon, to_daemon) = daemon.split();
    tokio::join!(
        copy(from_client, to_daemon, flow.clone(), |_| {}),
        copy(from_daemon, to_client, flow, |bytes| {
            carried.lock().expect("not poisoned").extend_from_slice(bytes);
        }),
    );
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flow: Flow,
    saw: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if flow.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        saw(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Lets the socket end with RST instead of FIN when it is dropped.
fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
