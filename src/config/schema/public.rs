//! `[public]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::listen_address::{ListenAddress, PeerRange};
use crate::config::parsers::{
    backend, listen_address, peer_range, size, socket_mode, time, time_or_zero, whole, yes_or_no,
};
use crate::config::schema::table::section;
use crate::config::schema::tls::Tls;
use crate::config::schema::units::{HOUR, KIB, MIB, MILLIS};
use crate::config::values::{Backend, ByteSize};

section! {
    /// The listener that browsers reach.
    pub struct Public without default {
        /// The address to listen on, or an array of several; "0.0.0.0:8080" or "[::]:8080" for every interface, port 0
        /// for a free one, "unix:/path" for a Unix socket. Without it, the variable PORT means "0.0.0.0:$PORT".
        listen: Vec<ListenAddress> = one_or_more("127.0.0.1:8080", listen_address);
        /// The rights of a Unix socket's file, in octal: those that may write to it may connect.
        socket_mode: u32 = value("0660", socket_mode);
        /// Whether another process may listen at the same address, too, if it says so as well: a successor is started
        /// first, and takes over when this one is stopped. A Unix socket's path it takes at once. Not for sockets that
        /// a service manager passes.
        reuse_port: bool = value(false, yes_or_no);
        /// The application behind sidestream, which gets everything that is not a stream: `http://host:port`,
        /// `https://host:port` (TLS; see `proxy.ca_file` and the following keys) or `unix:/path`.
        backend: Backend = required(
            "http://127.0.0.1:3000",
            "say where the application listens: backend = \"http://127.0.0.1:3000\", or --backend",
            Backend::Unix(PathBuf::new()),
            backend
        );
        /// Proxies in front (addresses or networks such as "10.0.0.0/8"; "unix" for all that come over a Unix socket)
        /// whose X-Forwarded-* headers are believed.
        trusted_proxies: Vec<PeerRange> = list([], peer_range);
        /// Balancers of connections in front (addresses or networks, or "unix") that begin each one with a PROXY
        /// protocol header, version 1 or 2, such as HAProxy with `send-proxy-v2`: the client's address is the one in
        /// it. Without a header a connection of theirs is closed; from all others it is not read.
        proxy_protocol: Vec<PeerRange> = list([], peer_range);
        /// How long a connection may take to a request's whole head, counted from its start or from the last answer. It
        /// bounds idle connections too, so a proxy in front should let go of its own earlier.
        head_timeout: Duration = value("75s", time(MILLIS(10)..=HOUR));
        /// How large a request's head may be.
        // hyper takes no less than 8KiB.
        max_head: ByteSize = value("32KiB", size(8 * KIB..=MIB));
        /// How long a client may take nothing of an answer or of an upgraded connection; 0 = for ever. Streams have
        /// sse.write_timeout.
        write_timeout: Duration = value("45s", time_or_zero(MILLIS(100)..=HOUR));
        /// Connections open at once; 0 = as many as the limit of open files leaves room for.
        max_connections: usize = value(0, whole(0..=10_000_000));
        /// Requests and streams open at once on one HTTP/2 connection.
        http2_max_streams: usize = value(256, whole(1..=100_000));
        /// The certificate; without one the listener speaks plain HTTP.
        tls: Option<Tls> = by(Tls::read);
    }
}

impl Public {
    /// All defaults in front of `backend`.
    pub fn for_backend(backend: Backend) -> Self {
        Self { backend, ..Self::defaults() }
    }
}
