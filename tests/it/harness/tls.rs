//! Certificates of a test's own, the daemon's configuration for them, and a client's side of TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use sidestream::net::tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::within;

/// A certificate for `localhost` and 127.0.0.1 that vouches for itself, in files that can be replaced.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    certificate: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut authority = Self { folder, certificate: String::new() };
        authority.renew();
        authority
    }

    /// Replaces certificate and key.
    pub(crate) fn renew(&mut self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        self.certificate = made.cert.pem();
        self.write("certificate.pem", &self.certificate);
        self.write("key.pem", &made.signing_key.serialize_pem());
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What clients trust.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    /// A daemon's configuration; `public` are more keys of that section, `more` comes after.
    pub(crate) fn config(&self, public: &str, more: &str) -> String {
        let quoted = |path: &Path| format!("{:?}", path.to_str().expect("text"));
        format!(
            "[public]\n{public}\ntls_certificate = {}\ntls_key = {}\n{more}",
            quoted(&self.file()),
            quoted(&self.path("key.pem"))
        )
    }

    fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        tls::client(tls::Trust::Only(self.certificate.as_bytes()), None, alpn).expect("a configuration")
    }

    /// A client's connection that speaks one of these protocols.
    pub(crate) async fn connect(&self, to: SocketAddr, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        self.try_connect(to, alpn).await.expect("a handshake")
    }

    pub(crate) async fn try_connect(
        &self,
        to: SocketAddr,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        within("a handshake", async {
            let socket = TcpStream::connect(to).await.expect("a connection");
            socket.set_nodelay(true).expect("an option set");
            let name = tls::server_name("localhost").expect("a name");
            TlsConnector::from(self.client(alpn)).connect(name, socket).await
        })
        .await
    }
}
