//! `[internal]`

use std::time::Duration;

use crate::config::listen_address::ListenAddress;
use crate::config::origin::HostName;
use crate::config::parsers::{
    dependency, host_name, listen_address, publish_key, size, socket_mode, time, whole,
};
use crate::config::schema::inbound_hook::{InboundHook, read_hooks};
use crate::config::schema::jwt::Jwt;
use crate::config::schema::publisher::{Publisher, read_publishers};
use crate::config::schema::pusher_app::{PusherApp, read_pusher_apps};
use crate::config::schema::table::section;
use crate::config::schema::tls::Tls;
use crate::config::schema::units::{GIB, HOUR, KIB, MILLIS};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::{ByteSize, Secret};

section! {
    /// The listener for the backend and for operators: POST /publish, /healthz, /readyz, /metrics. Keep it off the
    /// internet.
    pub struct Internal checked by check {
        /// The address to listen on, or an array of several; "unix:/path" for a Unix socket.
        listen: Vec<ListenAddress> = one_or_more("127.0.0.1:8081", listen_address);
        /// The rights of a Unix socket's file, in octal: those that may write to it may connect.
        socket_mode: u32 = value("0660", socket_mode);
        /// Keys that may publish (`Authorization: Bearer <key>`), several while one is replaced. Without any, nobody
        /// may publish over HTTP. `openssl rand -hex 32` makes a good one.
        publish_keys: Vec<Secret> = secrets([], publish_key);
        /// How large the body of a publish, or a message on a Redis channel, may be.
        max_body: ByteSize = value("1MiB", size(KIB..=GIB));
        /// How long a connection may take to a request's whole head; it bounds idle connections too.
        head_timeout: Duration = value("75s", time(MILLIS(10)..=HOUR));
        /// How long the body of a publish may take to arrive.
        body_timeout: Duration = value("10s", time(MILLIS(10)..=HOUR));
        /// How many events one publish may carry.
        max_batch: usize = value(1000, whole(1..=1_000_000));
        /// Connections open at once; 0 = no limit. Beyond it, they wait.
        max_connections: usize = value(4096, whole(0..=10_000_000));
        /// Without which dependencies /readyz is 503: "backend", "redis", "redis_stream" and others that it names. A
        /// load balancer then sends no more requests here, not even for pages. /readyz/events looks at all of them.
        ready_requires: Vec<String> = list([], dependency);
        /// Names by which this listener is asked, such as "sidestream.internal", beside its addresses and "localhost".
        /// Requests by another name are refused, because a web page can make its own name mean this address.
        hosts: Vec<HostName> = list([], host_name);
        /// The certificate; without one the listener speaks plain HTTP.
        tls: Option<Tls> = by(Tls::read_internal);
        publishers: Vec<Publisher> = by(read_publishers);
        hooks: Vec<InboundHook> = by(read_hooks);
        pusher: Vec<PusherApp> = by(read_pusher_apps);
        /// Tokens of publishers, whose claims say to which topics they may publish.
        publisher_jwt: Option<Jwt> = optional_section("internal.publisher_jwt", Jwt::read_for_publishers) as "publisher_jwt";
    }
}

fn check(internal: &Internal, s: &mut SectionReader<'_, '_>) {
    warn_of_weak_keys(s, &["publish_keys", "publish_keys_file"], &internal.publish_keys);
}
