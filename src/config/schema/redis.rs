//! `[redis]`

use std::time::Duration;

use crate::config::parsers::{
    authorities, host_and_port, master, pem, prefix, redis_url, sentinel, time, yes_or_no,
};
use crate::config::schema::redis_channel::{Channel, check_channels};
use crate::config::schema::redis_stream::RedisStream;
use crate::config::schema::table::{key, section};
use crate::config::schema::units::{HOUR, MILLIS, MINUTE};
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;
use crate::net::tls::{self, Identity, IdentityPart, Trust};

section! {
    /// Events over Redis. Without this section nothing of Redis runs.
    pub struct Redis without default checked by check {
        /// Where Redis listens: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or `unix:/path`. With
        /// Sentinels or a Cluster it is needed only for TLS, user, password and database. A user and a password are
        /// percent-encoded: `%23` for #, `%2F` for /, `%3F` for ?, `%40` for @. The database does not keep channels apart,
        /// which is what `prefix` is for.
        url: Secret = secret_or("redis://127.0.0.1:6379", Secret::new("redis://127.0.0.1:6379"), redis_url);
        /// Sentinels, which tell where the master is: each `host:port` (with TLS if `url` begins with `rediss://`),
        /// `redis://[user:password@]host:port`, or `rediss://` for TLS.
        sentinels: Vec<Secret> = secrets([], sentinel);
        /// The name of the master that the Sentinels watch.
        master: String = value("mymaster", master);
        /// With `rediss://` (TLS) the system's authorities vouch for the server. Here those of a file (PEM) that alone do;
        /// the server's own certificate in it is trusted whatever its name.
        authorities: Option<String> = file("redis-ca.pem", authorities) as "ca_file";
        /// Our own certificate and its key (PEM), for a server that asks for one.
        identity: Option<(Secret, Secret)> = by(read_identity);
        /// Some nodes of a Redis Cluster, each `host:port`; any one of them tells of the others.
        nodes: Vec<String> = list([], host_and_port);
        /// The first word of sidestream's own channels: "sidestream" and "sidestream:topic:name-of-the-topic" carry what
        /// `POST /publish` takes.
        prefix: String = value("sidestream", prefix);
        /// How long connecting, and every command, may take.
        timeout: Duration = value("2s", time(MILLIS(10)..=MINUTE));
        /// How often the connection that delivers is tested; one answer that does not come, and it is replaced.
        ping_interval: Duration = value("5s", time(MILLIS(100)..=HOUR));
        /// The longest pause between two attempts to connect.
        max_backoff: Duration = value("1s", time(MILLIS(100)..=HOUR));
        /// Whether requests are taken from the list "sidestream:requests" and answered in another one: everything that the
        /// internal listener has, without a key. Clients that may write to that list may then do all of it.
        requests: bool = value(false, yes_or_no);
        /// The log in a Redis stream; without it the log is in memory.
        stream: Option<RedisStream> = by(|s: &mut SectionReader<'_, '_>| RedisStream::read_below(s, &prefix));
        /// Channels of the application.
        channels: Vec<Channel> = tables("redis.channel", Channel::read) as "channel";
    }
}

impl Redis {
    /// The defaults for a server at `url`.
    pub fn at(url: Secret) -> Self {
        Self { url, ..Self::defaults() }
    }

    /// Where Redis is found and what of it is the log, to be shown.
    pub fn place(&self) -> String {
        let mut place = if !self.sentinels.is_empty() {
            format!("the master {} of {} Sentinels", self.master, self.sentinels.len())
        } else if !self.nodes.is_empty() {
            format!("the cluster of {}", self.nodes.join(", "))
        } else {
            self.address()
        };
        if let Some(stream) = &self.stream {
            place.push_str(", the log in the stream ");
            place.push_str(&stream.key);
        }
        place
    }

    /// The address without what is secret in it, to be shown.
    pub fn address(&self) -> String {
        let Some(mut url) = redis::parse_redis_url(self.url.expose()) else { return String::new() };
        // Neither fails where there is nothing to take away.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }
}

fn read_identity(s: &mut SectionReader<'_, '_>) -> Option<(Secret, Secret)> {
    let about = "For a server that asks who we are: the file (PEM) of a certificate. Needs `key_file`.";
    let certificate = s.file(key!("certificate_file", "redis-client.pem", about), pem);
    let about = "The file (PEM) of that certificate's key.";
    let (certificate, key) = match (certificate, s.file(key!("key_file", "redis-client.key", about), pem)) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        _ => {
            let message = "`certificate_file` and `key_file` are given together or not at all";
            s.complain(&["certificate_file", "key_file"], message, None);
            return None;
        }
    };
    let own = Identity { chain: certificate.expose().as_bytes(), key: key.expose().as_bytes() };
    if let Err(bad) = tls::client(Trust::Only(own.chain), Some(own), &[]) {
        let name = if bad.part() == IdentityPart::Key { "key_file" } else { "certificate_file" };
        s.complain(&[name], format!("the file of `{name}` {bad}"), None);
    }
    Some((certificate, key))
}

fn check(redis: &Redis, s: &mut SectionReader<'_, '_>) {
    if !redis.sentinels.is_empty() && !redis.nodes.is_empty() {
        let message = "`sentinels` and `nodes` do not go together: Redis Cluster needs no Sentinels";
        s.complain(&["sentinels", "nodes"], message, None);
    }
    if !s.given("url") && redis.sentinels.is_empty() && redis.nodes.is_empty() {
        s.complain(
            &["url", "url_file"],
            "`url` is missing in [redis]",
            Some("say where Redis listens: url = \"redis://127.0.0.1:6379\"".to_owned()),
        );
    }
    check_channels(redis, s);
}
