//! A listener's certificate: read at the start, and again when its files change or SIGHUP comes.
//!
//! There is always one that works: a bad one is logged, and the old one stays. Connections keep the one that they
//! began with.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::config;
use crate::config::TlsTexts;
use crate::lock::RwLock;
use crate::net::tls;
use crate::net::tls::{BadTls, Identity, IdentityPart};
use crate::server::net::accept::ALPN;
use crate::shutdown::{Drain, DrainGuard};
use crate::telemetry::CERTIFICATE_EXPIRY;

/// How often the files are looked at: certificates are renewed days before they end.
const EVERY: Duration = Duration::from_secs(10);

/// The certificate that is shown to clients. Cloning shares; its files are looked at until the last clone is dropped.
#[derive(Clone)]
pub struct Certificate {
    files: Arc<config::Tls>,
    shown: ShownCertificate,
    look: Arc<Notify>,
    _watch: Arc<DrainGuard>,
}

/// The certificate as it is now, for connections. Cloning shares.
#[derive(Clone)]
pub(in crate::server) struct ShownCertificate(Arc<RwLock<Arc<ServerConfig>>>);

/// Which listener shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateOf {
    Public,
    Internal,
}

/// Looks at the files again and again.
struct CertificateWatch {
    of: CertificateOf,
    files: Arc<config::Tls>,
    shown: ShownCertificate,
    look: Arc<Notify>,
    hangup: Option<Signal>,
}

/// Why the files are no certificate.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    #[error("cannot read {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("{} {why}", path.display())]
    Unusable { path: PathBuf, why: BadTls },
}

impl Certificate {
    /// Reads the files, which have to be sound, and keeps to them until the drain: what they become later is used for
    /// new connections when it is sound.
    pub fn keep(of: CertificateOf, files: &config::Tls, drain: &Drain) -> Result<Self, BadCertificate> {
        let texts = read(files)?;
        let shown = ShownCertificate(Arc::new(RwLock::new(of.build(&texts, files)?)));
        let (files, look) = (Arc::new(files.clone()), Arc::new(Notify::new()));
        // From here on SIGHUP does not end the process.
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| warn!(%error, "SIGHUP will not renew the certificate"))
            .ok();
        let (drain, guard) = drain.part();
        let watch = CertificateWatch {
            of,
            files: Arc::clone(&files),
            shown: shown.clone(),
            look: Arc::clone(&look),
            hangup,
        };
        drain.spawn_essential("certificate", watch.run(texts, drain.clone()));
        Ok(Self { files, shown, look, _watch: Arc::new(guard) })
    }

    /// Whether it is the one in these files.
    pub fn is_of(&self, files: &config::Tls) -> bool {
        *self.files == *files
    }

    /// Looks at its files now.
    pub fn look(&self) {
        self.look.notify_one();
    }

    pub(in crate::server) fn shown(&self) -> ShownCertificate {
        self.shown.clone()
    }
}

impl ShownCertificate {
    pub(in crate::server) fn get(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read())
    }
}

impl CertificateWatch {
    async fn run(mut self, mut used: TlsTexts, drain: Drain) {
        // What was last found to be no good, so that it is logged once.
        let mut bad: Option<String> = None;
        loop {
            let asked = tokio::select! {
                biased;
                () = drain.started() => return,
                () = next(&mut self.hangup) => true,
                () = self.look.notified() => false,
                () = tokio::time::sleep(EVERY) => false,
            };
            let files = Arc::clone(&self.files);
            let Ok(read) = tokio::task::spawn_blocking(move || read(&files)).await else { return };
            let renewed = match read {
                Ok(texts) if texts == used => {
                    bad = None;
                    if asked {
                        info!("SIGHUP: the certificate's files have not changed");
                    }
                    continue;
                }
                Ok(texts) => self.of.build(&texts, &self.files).map(|config| (texts, config)),
                Err(why) => Err(why),
            };
            match renewed {
                Ok((texts, config)) => {
                    used = texts;
                    bad = None;
                    *self.shown.0.write() = config;
                    let file = self.files.certificate.display();
                    info!(%file, "the certificate has changed; new connections get the new one");
                }
                Err(why) => {
                    let error = why.to_string();
                    if asked || bad.as_ref() != Some(&error) {
                        warn!(%error, "the certificate's files have changed and are no good; the old one stays");
                    }
                    bad = Some(error);
                }
            }
        }
    }
}

fn read(files: &config::Tls) -> Result<TlsTexts, BadCertificate> {
    files.texts().map_err(|(path, why)| BadCertificate::Unreadable { path, why })
}

impl CertificateOf {
    fn build(self, texts: &TlsTexts, files: &config::Tls) -> Result<Arc<ServerConfig>, BadCertificate> {
        let (name, alpn) = match self {
            Self::Public => ("public", &ALPN[..]),
            Self::Internal => ("internal", &[&b"http/1.1"[..]][..]),
        };
        let identity = Identity { chain: &texts.chain, key: &texts.key };
        let built = tls::server(identity, texts.client_ca.as_deref(), alpn).map_err(|why| {
            let path = match (why.part(), &files.client_ca) {
                (IdentityPart::Key, _) => &files.key,
                (IdentityPart::ClientAuthorities, Some(path)) => path,
                _ => &files.certificate,
            };
            BadCertificate::Unusable { path: path.clone(), why }
        })?;
        if let Some(end) = config::certificate_end(&texts.chain) {
            metrics::gauge!(CERTIFICATE_EXPIRY, "certificate" => name).set(end.as_secs_f64());
        }
        Ok(built)
    }
}

async fn next(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
