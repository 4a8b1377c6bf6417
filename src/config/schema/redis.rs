//! `[redis]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::parsers::{
    Parse as _, authorities, certificate_name, host_and_port, key_pin, master, pem, prefix, redis_url,
    redis_word, sentinel, time, yes_or_no,
};
use crate::config::problem::Severity;
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::expiry::warn_of_old_authorities;
use crate::config::schema::redis_channel::Channel;
use crate::config::schema::redis_stream::RedisStream;
use crate::config::schema::table::{key, section};
use crate::config::schema::tls::client_identity;
use crate::config::schema::units::{HOUR, MILLIS, MINUTE};
use crate::config::schema::weak_key::is_an_example;
use crate::config::secret_file;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;

section! {
    /// Events over Redis. Without this section nothing of Redis runs.
    pub struct Redis without default checked by check {
        /// Where Redis listens: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or `unix:/path`.
        /// With Sentinels or a Cluster it is needed only for TLS, user, password and database. A user and a password
        /// are percent-encoded: `%23` for #, `%2F` for /, `%3F` for ?, `%40` for @. The database does not keep channels
        /// apart, which is what `prefix` is for.
        url: Secret = secret_or("redis://127.0.0.1:6379", Secret::new("redis://127.0.0.1:6379"), redis_url);
        /// The user to log in as, where `url` names none.
        username: Option<String> = optional("sidestream", redis_word);
        /// The password, as it is, where `url` has none; nothing of it is percent-encoded. The files of `[redis]`
        /// (address, password, Sentinels, certificates) are read again for each connection, so that a new password
        /// needs no restart.
        password: Option<Secret> = secret("change-me", redis_password);
        /// Sentinels, which tell where the master is: each `host:port` (with TLS if `url` begins with `rediss://`),
        /// `redis://[user:password@]host:port`, or `rediss://` for TLS.
        sentinels: Vec<Secret> = secrets([], sentinel);
        /// The name of the master that the Sentinels watch.
        master: String = value("mymaster", master);
        /// With `rediss://` (TLS) the system's authorities vouch for the server. Here those of a file (PEM) that alone
        /// do; the server's own certificate in it is trusted whatever its name.
        authorities: Option<String> = file("redis-ca.pem", authorities) as "ca_file";
        /// With `rediss://` the public keys of which the server's must be one, each as the SHA-256 of its
        /// SubjectPublicKeyInfo in base64 (RFC 7469). They stand in the place of authorities, name and dates.
        pins: Vec<[u8; 32]> = list([], key_pin) as "pin_sha256";
        /// The name that the servers' certificates have, if it is not the one in their addresses.
        server_name: Option<String> = optional("redis.internal", certificate_name);
        /// Our own certificate and its key (PEM), for a server that asks for one.
        identity: Option<(Secret, Secret)> = by(read_identity);
        /// Some nodes of a Redis Cluster, each `host:port`; any one of them names the others.
        nodes: Vec<String> = list([], host_and_port);
        /// The first word of sidestream's own channels: "sidestream" and "sidestream:topic:name-of-the-topic" carry
        /// what `POST /publish` takes.
        prefix: String = value("sidestream", prefix);
        /// How long connecting, and every command, may take.
        timeout: Duration = value("2s", time(MILLIS(10)..=MINUTE));
        /// How often the connection that delivers is tested; one answer that does not come, and it is replaced.
        ping_interval: Duration = value("5s", time(MILLIS(100)..=HOUR));
        /// The longest pause between two attempts to connect.
        max_backoff: Duration = value("1s", time(MILLIS(100)..=HOUR));
        /// Whether requests are taken from the list "sidestream:requests" and answered in another one: everything that
        /// the internal listener has, without a key. Clients that may write to that list may then do all of it.
        requests: bool = value(false, yes_or_no);
        /// The log in a Redis stream; without it the log is in memory.
        stream: Option<RedisStream> = by(|s: &mut SectionReader<'_, '_>| RedisStream::read_below(s, &prefix));
        /// Channels of the application.
        channels: Vec<Channel> = tables("redis.channel", Channel::read) as "channel";
        /// Which of the keys above stand in files of their own.
        files: Vec<(&'static str, PathBuf)> = by(files);
    }
}

impl Redis {
    /// The defaults for a server at `url`.
    pub fn at(url: Secret) -> Self {
        Self { url, ..Self::defaults() }
    }

    /// Whether TLS is spoken to any of the servers.
    pub fn speaks_tls(&self) -> bool {
        let secure =
            |url: &Secret| ["rediss:", "valkeys:"].iter().any(|scheme| url.expose().starts_with(scheme));
        secure(&self.url) || self.sentinels.iter().any(secure)
    }

    /// Whether anything of where Redis is, and as which user we come, stands in files.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The same with what its files hold now. The error holds nothing of them.
    pub fn read_again(&self) -> Result<Self, String> {
        let mut again = self.clone();
        for (key, path) in &self.files {
            let taken = secret_file::read(path).and_then(|text| again.take(key, text));
            taken.map_err(|Rejection { message, .. }| format!("the file of redis.{key} {message}"))?;
        }
        Ok(again)
    }

    fn take(&mut self, key: &str, text: String) -> Result<(), Rejection> {
        let raw = RawValue::Text(text);
        match key {
            "url" => self.url = redis_url(&raw)?,
            "password" => self.password = Some(redis_password(&raw)?),
            "ca_file" => self.authorities = Some(authorities(&raw)?),
            "certificate_file" | "key_file" => {
                let new = pem(&raw)?;
                let slots = self.identity.as_mut().map(|(certificate, own)| (certificate, own));
                if let Some((certificate, own)) = slots {
                    *(if key == "key_file" { own } else { certificate }) = new;
                }
            }
            _ => {
                let RawValue::Text(text) = raw else { return Ok(()) };
                let line = |line: &str| sentinel.parse(&RawValue::Text(line.to_owned()));
                self.sentinels = text.lines().map(line).collect::<Result<_, _>>()?;
            }
        }
        Ok(())
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

fn redis_password(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    redis_word(raw).map(Secret::new)
}

fn files(s: &mut SectionReader<'_, '_>) -> Vec<(&'static str, PathBuf)> {
    let keys = ["url", "password", "sentinels", "ca_file", "certificate_file", "key_file"];
    keys.into_iter().filter_map(|key| Some((key, s.file_of(key)?))).collect()
}

fn read_identity(s: &mut SectionReader<'_, '_>) -> Option<(Secret, Secret)> {
    let about = "For a server that asks who we are: the file (PEM) of a certificate. Needs `key_file`.";
    let certificate = key!("certificate_file", "redis-client.pem", about);
    let about = "The file (PEM) of that certificate's key.";
    client_identity(s, certificate, key!("key_file", "redis-client.key", about))
}

fn check(redis: &Redis, s: &mut SectionReader<'_, '_>) {
    if !redis.sentinels.is_empty() && !redis.nodes.is_empty() {
        let message = "`sentinels` and `nodes` do not go together: Redis Cluster needs no Sentinels";
        s.report(&["sentinels", "nodes"], message, None);
    }
    if !s.given("url") && redis.sentinels.is_empty() && redis.nodes.is_empty() {
        s.report(
            &["url", "url_file"],
            "`url` is missing in [redis]",
            Some("say where Redis listens: url = \"redis://127.0.0.1:6379\"".to_owned()),
        );
    }
    let url = ::redis::parse_redis_url(redis.url.expose());
    let (user, password) =
        url.map(|url| (!url.username().is_empty(), url.password().is_some())).unwrap_or_default();
    for (key, twice) in
        [("username", redis.username.is_some() && user), ("password", redis.password.is_some() && password)]
    {
        if twice {
            s.report(&[key], format!("`{key}` is given, but `url` holds one, too"), None);
        }
    }
    warn_of_old_authorities(s, "ca_file", redis.authorities.as_ref());
    if redis.password.as_ref().is_some_and(|password| is_an_example(password.expose())) {
        let message = "`password` is taken from an example: others know it, too";
        s.warn(
            Severity::Warning,
            &["password", "password_file"],
            message,
            "give Redis a password of its own",
        );
    }
    if !redis.pins.is_empty() && redis.authorities.is_some() {
        let message = "`pin_sha256` and `ca_file` do not go together: a pin vouches for the server alone";
        s.report(&["pin_sha256", "ca_file"], message, None);
    }
    if !redis.pins.is_empty() && !redis.speaks_tls() {
        let tls = "with TLS `url` begins with rediss://";
        s.report(&["pin_sha256"], "`pin_sha256` is given, but nothing speaks TLS", Some(tls.to_owned()));
    }
    check_channels(redis, s);
}

/// Complains of channels that do not fit beside the rest of `[redis]`.
fn check_channels(redis: &Redis, s: &mut SectionReader<'_, '_>) {
    for (at, channel) in redis.channels.iter().enumerate() {
        let key = format!("channel[{}].pattern", at + 1);
        let own = channel.pattern == redis.prefix
            || channel
                .pattern
                .strip_prefix(&redis.prefix)
                .is_some_and(|rest| matches!(rest, ":control" | ":topics") || rest.starts_with(":topic:"));
        if own {
            s.report(
                &[&key, "prefix"],
                "`pattern` is one of sidestream's own channels, which need no mapping",
                None,
            );
        }
        if channel.bridge && redis.stream.is_none() {
            let key = format!("channel[{}].bridge", at + 1);
            s.report(
                &[&key],
                "`bridge` needs a stream to lead to",
                Some("add the section [redis.stream]".to_owned()),
            );
        }
        let same = |earlier: &Channel| earlier.pattern == channel.pattern;
        let for_all = |earlier: &Channel| same(earlier) && earlier.content.when.is_empty();
        if let Some(earlier) = redis.channels[..at].iter().position(for_all) {
            let other = format!("channel[{}].pattern", earlier + 1);
            s.report(
                &[&key, &other],
                "`pattern` is mapped by an earlier [[redis.channel]] already",
                Some("say which messages that one is for: when = { type = \"message\" }".to_owned()),
            );
        }
        let otherwise = |earlier: &Channel| same(earlier) && earlier.bridge != channel.bridge;
        if let Some(earlier) = redis.channels[..at].iter().position(otherwise) {
            let keys =
                [format!("channel[{}].bridge", at + 1), format!("channel[{}].bridge", earlier + 1), key];
            s.report(
                &keys.each_ref().map(String::as_str),
                "`bridge` is different from an earlier [[redis.channel]] with the same `pattern`",
                Some("a channel's messages go into the stream as a whole, or not at all".to_owned()),
            );
        }
    }
}
