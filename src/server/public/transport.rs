//! What the public listener's connections have in common, and what the requests of one share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::sync::Notify;

use crate::config;
use crate::proxy::Forwarded;
use crate::server::net::certificate::ShownCertificate;
use crate::server::net::http1::Http1Limits;
use crate::server::net::http2::Http2Limits;
use crate::server::net::takeover::Handover;
use crate::server::public::client_addr::TrustedProxies;
use crate::telemetry;

/// What connections that begin at a time have in common.
pub(super) struct Transport {
    pub(super) certificate: Option<ShownCertificate>,
    /// Whose connections begin with a PROXY protocol header.
    pub(super) balancers: TrustedProxies,
    pub(super) http1: Http1Limits,
    pub(super) http2: Http2Limits,
    /// How long a client may take nothing of what there is for it.
    pub(super) write_timeout: Duration,
    pub(super) open: Gauge,
    pub(super) http1_opened: Counter,
    pub(super) http2_opened: Counter,
}

/// What the requests of one connection share.
pub(super) struct ConnectionContext {
    pub(super) peer: SocketAddr,
    /// It came over TLS: its socket is no use without hyper.
    pub(super) https: bool,
    /// Whose requests they are, as the backend sees it.
    pub(super) forwarded: Forwarded,
    pub(super) handover: Handover,
    /// Ends the connection. On HTTP/2 each stream has its own.
    pub(super) cut: Arc<Notify>,
    had_body: AtomicBool,
}

impl Transport {
    pub(super) fn new(
        settings: &config::Public,
        keeps_case: bool,
        certificate: Option<ShownCertificate>,
    ) -> Self {
        let tls = if settings.tls.is_some() { "yes" } else { "no" };
        let opened = |protocol: &'static str| metrics::counter!(telemetry::CONNECTIONS_OPENED, "protocol" => protocol, "tls" => tls);
        let (head_timeout, max_head) =
            (settings.head_timeout, usize::try_from(settings.max_head.0).unwrap_or(usize::MAX));
        let max_streams = u32::try_from(settings.http2_max_streams).unwrap_or(u32::MAX);
        Self {
            certificate,
            balancers: TrustedProxies::new(&settings.proxy_protocol),
            http1: Http1Limits { head_timeout, max_head, keeps_case },
            http2: Http2Limits {
                max_head,
                max_streams,
                idle: head_timeout,
                write_timeout: settings.write_timeout,
            },
            write_timeout: settings.write_timeout,
            open: metrics::gauge!(telemetry::CONNECTIONS_OPEN, "listener" => "public"),
            http1_opened: opened("http1"),
            http2_opened: opened("http2"),
        }
    }
}

impl ConnectionContext {
    pub(super) fn new(peer: SocketAddr, trusted: bool, https: bool) -> Arc<Self> {
        Arc::new(Self {
            peer,
            https,
            forwarded: Forwarded::new(peer.ip(), trusted, https),
            handover: Handover::default(),
            cut: Arc::default(),
            had_body: AtomicBool::default(),
        })
    }

    /// From now on the connection stays with hyper.
    pub(super) fn note_body(&self) {
        self.had_body.store(true, Ordering::Relaxed);
    }

    pub(super) fn had_body(&self) -> bool {
        self.had_body.load(Ordering::Relaxed)
    }
}
