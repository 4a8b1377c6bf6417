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

fn names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

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

    /// One that is good from the beginning of a year to that of another, signed by the authority in `ca.pem`.
    pub(crate) fn valid(from: i32, to: i32) -> Self {
        let mut made = Self::new();
        let params = |names| rcgen::CertificateParams::new(names).expect("names");
        let key = || rcgen::KeyPair::generate().expect("a key");
        let mut signs = params(Vec::new());
        signs.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(signs, key()).expect("an authority");
        made.write("ca.pem", &authority.pem());
        let (mut wanted, key) = (params(names()), key());
        wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(to, 1, 1);
        made.keep(&wanted.signed_by(&key, &authority).expect("a certificate"), &key);
        made
    }

    /// Replaces certificate and key.
    pub(crate) fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(names()).expect("a certificate");
        self.keep(&made.cert, &made.signing_key);
    }

    fn keep(&mut self, certificate: &rcgen::Certificate, key: &rcgen::KeyPair) {
        self.certificate = certificate.pem();
        self.write("certificate.pem", &self.certificate);
        self.write("key.pem", &key.serialize_pem());
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
            self.shake(socket, alpn).await
        })
        .await
    }

    /// A client's handshake on a connection that is there.
    pub(crate) async fn shake(
        &self,
        socket: TcpStream,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        within("a handshake", async {
            let name = tls::server_name("localhost").expect("a name");
            TlsConnector::from(self.client(alpn)).connect(name, socket).await
        })
        .await
    }
}
