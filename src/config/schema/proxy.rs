//! `[proxy]`

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::parsers::{
    authorities, certificate_name, id_header, size, time, time_or_zero, whole, word, yes_or_no,
};
use crate::config::schema::expiry::warn_of_old_authorities;
use crate::config::schema::table::{key, section};
use crate::config::schema::tls::client_identity;
use crate::config::schema::units::{DAY, GIB, HOUR, KIB, MILLIS};
use crate::config::section_reader::SectionReader;
use crate::config::values::{ByteSize, Secret};
use crate::net::tls;
use crate::net::tls::{BadTls, Identity, Trust};

/// Whose word on the trace that a request belongs to counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceFrom {
    Off,
    Trusted,
    Anyone,
}

section! {
    /// How requests go on to the backend.
    pub struct Proxy checked by check {
        /// How long connecting to the backend may take.
        connect_timeout: Duration = value("5s", time(MILLIS(10)..=HOUR));
        /// How long the backend may take from the last of a request to the head of its answer, and a client may pause
        /// in its body.
        head_timeout: Duration = value("60s", time(MILLIS(10)..=DAY));
        /// How long an idle connection to the backend is kept; choose less than the backend's own keep-alive.
        idle_timeout: Duration = value("30s", time(MILLIS(10)..=DAY));
        /// How long a connection to the backend is used again at all, so that a name's new address is followed; 0 = for
        /// as long as it is not idle for too long.
        max_age: Duration = value("5m", time_or_zero(MILLIS(10)..=DAY));
        /// How long a request waits while the backend refuses connections, as it does while it is started again; 0 = it
        /// is answered with 502 at once. Nothing of it has been sent by then, so that it is safe for every request.
        wait: Duration = value("0s", time_or_zero(MILLIS(10)..=HOUR));
        /// How many requests may wait so at the same time; others are answered with 502 at once.
        wait_requests: usize = value(1000, whole(0..=1_000_000));
        /// How much memory they may take together: their heads, and what may have been read of their bodies.
        wait_bytes: ByteSize = value("64MiB", size(KIB..=64 * GIB));
        /// Whether header names keep their capital letters (HTTP/1), for servers and clients that compare them letter
        /// by letter; otherwise they are written in lower case. It costs some time for each request.
        keep_header_case: bool = value(false, yes_or_no);
        /// The header by which every request has an id, which is made here (128 random bits) and goes to the backend,
        /// into the answer and into the log; the id of a trusted proxy (`public.trusted_proxies`) is kept. Without it
        /// nothing is made.
        request_id_header: Option<HeaderName> = optional("X-Request-Id", id_header);
        /// Whose `traceparent` and `tracestate` (W3C Trace Context) are passed on to the backend: "trusted" (those of
        /// `public.trusted_proxies`) or "anyone"; a request without one begins a trace. "off" passes both on unread.
        trace_context: TraceFrom = value("off", word([
            ("off", TraceFrom::Off),
            ("trusted", TraceFrom::Trusted),
            ("anyone", TraceFrom::Anyone),
        ]));
        /// How many idle connections to the backend are kept.
        max_idle: usize = value(256, whole(0..=1_000_000));
        /// With a backend at `https://` the system's authorities vouch for it. Here those of a file (PEM) that alone
        /// do; the backend's own certificate in it is trusted whatever its name.
        authorities: Option<String> = file("backend-ca.pem", authorities) as "ca_file";
        /// The name that the backend's certificate has and that it is asked for (SNI), if it is not the one in
        /// `public.backend`.
        server_name: Option<String> = optional("app.internal", certificate_name);
        /// Our own certificate and its key (PEM), for a backend that asks for one.
        identity: Option<(Secret, Secret)> = by(read_identity);
    }
}

/// What TLS to a server is opened with: the settings, and the name that its certificate must have.
pub type ClientTls = (Arc<ClientConfig>, ServerName<'static>);

impl Proxy {
    /// What TLS to the backend at `host` is opened with. Reads the system's authorities from disk: call it once.
    pub fn tls(&self, host: &str) -> Result<ClientTls, BadTls> {
        let trust = self.authorities.as_ref().map_or(Trust::System, |text| Trust::Only(text.as_bytes()));
        let identity = self.identity.as_ref().map(|(certificate, key)| Identity {
            chain: certificate.expose().as_bytes(),
            key: key.expose().as_bytes(),
        });
        let config = tls::client(trust, identity, &[b"http/1.1"])?;
        Ok((config, tls::server_name(self.server_name.as_deref().unwrap_or(host))?))
    }
}

fn check(proxy: &Proxy, s: &mut SectionReader<'_, '_>) {
    warn_of_old_authorities(s, "ca_file", proxy.authorities.as_ref());
}

fn read_identity(s: &mut SectionReader<'_, '_>) -> Option<(Secret, Secret)> {
    let about = "For a backend that asks who we are: the file (PEM) of a certificate. Needs `key_file`.";
    let certificate = key!("certificate_file", "backend-client.pem", about);
    let about = "The file (PEM) of that certificate's key.";
    client_identity(s, certificate, key!("key_file", "backend-client.key", about))
}
