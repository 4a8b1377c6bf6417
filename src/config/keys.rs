//! Every key once: its name, what it may hold, and how keys have to fit together. The defaults stand in `sections`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::auth_backend::AuthBackend;
use crate::config::auth_ticket::AuthTicket;
use crate::config::forms::{
    address, backend, event_name, heartbeat, host_and_port, host_name, label, log_level, network, origin,
    prefix, publish_key, redis_url, sentinel, sha256, size, stream_key, time, time_or_zero, topic_pattern,
    whole, word, yes_or_no,
};
use crate::config::jwt::Jwt;
use crate::config::names::{channel_template, covers, path, pattern, presence_template, stream_template};
use crate::config::section::Section;
use crate::config::sections::{
    Auth, Channel, ChannelFormat, Config, Cors, Drain, Fanout, Instance, Internal, Limits, Log, LogFormat,
    Presence, Proxy, Public, Publisher, PublisherKey, Redis, RedisStream, Refusals, RefuseWith, Sse, Stream,
    StreamAuth, Telemetry, Tls, Trim,
};
use crate::event::{Shape, Timestamps};

use crate::config::values::{Backend, ByteSize, Secret};
use crate::config::webhook::Webhook;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// How events may be laid out.
const SHAPES: [(&str, Shape); 3] = [
    ("named", Shape::Named),
    ("typed", Shape::Typed(Timestamps::Iso)),
    ("typed-ms", Shape::Typed(Timestamps::Milliseconds)),
];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Reads every section; what does not fit together is complained of.
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let config = Self {
            public: s.section("public", Public::read),
            internal: s.section("internal", Internal::read),
            proxy: s.section("proxy", Proxy::read),
            streams: read_streams(s),
            auth: s.section("auth", Auth::read),
            cors: s.section("cors", Cors::read),
            sse: s.section("sse", Sse::read),
            limits: s.section("limits", Limits::read),
            log: s.section("log", Log::read),
            fanout: s.section("fanout", Fanout::read),
            redis: s.section_if_there("redis", Redis::read),
            webhooks: Webhook::read_all(s),
            instance: s.section("instance", Instance::read),
            presence: s.section("presence", Presence::read),
            drain: s.section("drain", Drain::read),
            telemetry: s.section("telemetry", Telemetry::read),
        };
        check_auth(s, &config.streams, &config.auth);
        let (public, internal) = (config.public.listen, config.internal.listen);
        let same_family = public.is_ipv4() == internal.is_ipv4();
        let overlap = public.ip() == internal.ip()
            || (same_family && (public.ip().is_unspecified() || internal.ip().is_unspecified()));
        if overlap && public.port() == internal.port() && public.port() != 0 {
            s.complain(
                &["internal.listen", "public.listen"],
                format!("the public and the internal listener cannot share {internal}"),
                Some(
                    "the internal listener takes what is published: give it an address of its own".to_owned(),
                ),
            );
        }
        if let Backend::Tcp { host, port } = &config.public.backend {
            let here = host == "localhost" || host.parse() == Ok(public.ip());
            if here && *port == public.port() {
                s.complain(
                    &["public.backend", "public.listen"],
                    format!("the backend {} is sidestream's own public listener", config.public.backend),
                    Some("give the address of the application, or listen on another port".to_owned()),
                );
            }
        }
        config
    }
}

impl Public {
    fn read(s: &mut Section<'_, '_>) -> Self {
        // Never seen: without a backend there is no configuration.
        let d = Self::for_backend(Backend::Unix(PathBuf::new()));
        Self {
            listen: s.take("listen", d.listen, address),
            backend: s.required(
                "backend",
                d.backend,
                "say where the application listens: backend = \"http://127.0.0.1:3000\", or --backend",
                backend,
            ),
            trusted_proxies: s.list("trusted_proxies", d.trusted_proxies, network),
            head_timeout: s.take("head_timeout", d.head_timeout, time(MILLIS(10)..=HOUR)),
            // hyper takes no less than 8KiB.
            max_head: s.take("max_head", d.max_head, size(ByteSize(8 * KIB)..=ByteSize(MIB))),
            max_connections: s.take("max_connections", d.max_connections, whole(0..=10_000_000)),
            http2_max_streams: s.take("http2_max_streams", d.http2_max_streams, whole(1..=100_000)),
            tls: Tls::read(s),
        }
    }
}

impl Internal {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        Self {
            listen: s.take("listen", d.listen, address),
            publish_keys: s.secrets("publish_keys", publish_key).unwrap_or(d.publish_keys),
            max_body: s.take("max_body", d.max_body, size(ByteSize(KIB)..=ByteSize(GIB))),
            head_timeout: s.take("head_timeout", d.head_timeout, time(MILLIS(10)..=HOUR)),
            body_timeout: s.take("body_timeout", d.body_timeout, time(MILLIS(10)..=HOUR)),
            max_batch: s.take("max_batch", d.max_batch, whole(1..=1_000_000)),
            hosts: s.list("hosts", d.hosts, host_name),
            publishers: read_publishers(s),
            publisher_jwt: s.subsection_if_there(
                "internal.publisher_jwt",
                "publisher_jwt",
                Jwt::read_for_publishers,
            ),
        }
    }
}

fn read_publishers(s: &mut Section<'_, '_>) -> Vec<Publisher> {
    let publishers = s.each("internal.publisher", "publisher", Publisher::read);
    for (at, publisher) in publishers.iter().enumerate() {
        let key = |at: usize, key: &str| format!("publisher[{}].{key}", at + 1);
        let earlier = &publishers[..at];
        if let Some(other) = earlier.iter().position(|earlier| earlier.name == publisher.name) {
            let keys = [key(at, "name"), key(other, "name")];
            s.complain(
                &keys.each_ref().map(String::as_str),
                format!("`name` is {} for an earlier [[internal.publisher]] too", publisher.name),
                None,
            );
        }
        if let Some(other) = earlier.iter().position(|earlier| earlier.key == publisher.key) {
            let keys = [key(at, "key"), key(at, "key_sha256"), key(at, "key_file"), key(other, "name")];
            s.complain(
                &keys.each_ref().map(String::as_str),
                "the key is that of an earlier [[internal.publisher]] too",
                Some("give each publisher a key of its own: `sidestream key new` makes one".to_owned()),
            );
        }
    }
    publishers
}

impl Publisher {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let lack = "say whose key it is, for the log and the metrics: name = \"chat\"";
        let name = s.required("name", String::new(), lack, label);
        let plain = s.secret("key", publish_key);
        let hash = s.hidden("key_sha256", sha256);
        let key = match (plain, hash) {
            (None, Some(hash)) => PublisherKey::Sha256(hash),
            (Some(key), None) => PublisherKey::Plain(key),
            (Some(key), Some(_)) => {
                let message = "the key is given as it is and by its hash: only one of the two can be";
                s.complain(&["key_sha256", "key", "key_file"], message, None);
                PublisherKey::Plain(key)
            }
            (None, None) => {
                s.complain(
                    &["key", "key_file", "key_sha256"],
                    "`key` is missing in [[internal.publisher]]",
                    Some("`sidestream key new` makes one, and its hash for `key_sha256`".to_owned()),
                );
                PublisherKey::Sha256([0; 32])
            }
        };
        let publisher = Self {
            name,
            key,
            topics: s.list("topics", Vec::new(), topic_pattern),
            users: s.take("users", false, yes_or_no),
            sessions: s.take("sessions", false, yes_or_no),
            clients: s.take("clients", false, yes_or_no),
            broadcast: s.take("broadcast", false, yes_or_no),
        };
        let people = publisher.users || publisher.sessions || publisher.clients || publisher.broadcast;
        if publisher.topics.is_empty() && !people {
            s.complain(
                &["topics", "users", "sessions", "clients", "broadcast"],
                "this publisher may publish nothing",
                Some("say to which topics it may: topics = [\"conversation:*\"]".to_owned()),
            );
        }
        publisher
    }
}

impl Proxy {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        Self {
            connect_timeout: s.take("connect_timeout", d.connect_timeout, time(MILLIS(10)..=HOUR)),
            head_timeout: s.take("head_timeout", d.head_timeout, time(MILLIS(10)..=DAY)),
            idle_timeout: s.take("idle_timeout", d.idle_timeout, time(MILLIS(10)..=DAY)),
            max_idle: s.take("max_idle", d.max_idle, whole(0..=1_000_000)),
        }
    }
}

fn read_streams(s: &mut Section<'_, '_>) -> Vec<Stream> {
    let streams = s.each("stream", "stream", Stream::read);
    for (later, stream) in streams.iter().enumerate() {
        let Some(earlier) = streams[..later].iter().position(|earlier| covers(&earlier.path, &stream.path))
        else {
            continue;
        };
        let name = |at: usize| (format!("stream[{}].path", at + 1), format!("stream[{}]", at + 1));
        let ((key, section), (other, _)) = (name(later), name(earlier));
        s.complain(
            &[&key, &section, &other],
            format!("the path {} is taken by an earlier stream", stream.path),
            Some(format!(
                "stream {} has the path {}, and the first that matches answers",
                earlier + 1,
                streams[earlier].path
            )),
        );
    }
    if streams.is_empty() { vec![Stream::default()] } else { streams }
}

/// The words of `auth`.
const AUTHS: [(&str, StreamAuth); 4] = [
    ("none", StreamAuth::None),
    ("jwt", StreamAuth::Jwt),
    ("backend", StreamAuth::Backend),
    ("ticket", StreamAuth::Ticket),
];

/// Complains of streams whose `auth` has no section that says how.
fn check_auth(s: &mut Section<'_, '_>, streams: &[Stream], auth: &Auth) {
    for (at, stream) in streams.iter().enumerate() {
        let (word, suggestion) = match stream.auth {
            StreamAuth::Jwt if auth.jwt.is_none() => {
                ("jwt", "say there how tokens are verified: secret, public_key, jwks_file or jwks_url")
            }
            StreamAuth::Backend if auth.backend.is_none() => {
                ("backend", "say there where the application is asked: url = \"/internal/sse-auth\"")
            }
            StreamAuth::Ticket if auth.ticket.is_none() => {
                ("ticket", "add it; all of its keys have defaults")
            }
            _ => continue,
        };
        s.complain(
            &[&format!("stream[{}].auth", at + 1), &format!("auth.{word}")],
            format!("`auth` is \"{word}\", but there is no [auth.{word}]"),
            Some(suggestion.to_owned()),
        );
    }
}

impl Stream {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let path = s.take("path", d.path, path);
        let auth = s.take("auth", d.auth, word(AUTHS));
        let template = stream_template(&path, auth != StreamAuth::None);
        let change_topics = s.take("change_topics", d.change_topics, yes_or_no);
        if change_topics && auth == StreamAuth::None {
            s.complain(
                &["change_topics", "auth"],
                "`change_topics` needs callers who are verified: nobody else has a grant",
                Some("auth = \"jwt\"".to_owned()),
            );
        }
        let stream = Self {
            auth,
            change_topics,
            topics: s.list("topics", d.topics, &template),
            user: s.optional("user", &template),
            session: s.optional("session", &template),
            path: path.clone(),
        };
        if auth != StreamAuth::None && (stream.user.is_some() || stream.session.is_some()) {
            let (key, message) = match stream.user {
                Some(_) => {
                    ("user", "`user` is for auth = \"none\" alone: here the grant says who the caller is")
                }
                None => {
                    ("session", "`session` is for auth = \"none\" alone: here the grant says whose it is")
                }
            };
            s.complain(&[key, "auth"], message, Some("leave it out".to_owned()));
        }
        stream
    }
}

impl Auth {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let words = [("explained", Refusals::Explained), ("terse", Refusals::Terse)];
        Self {
            refusals: s.take("refusals", d.refusals, word(words)),
            warn_before: s.take("warn_before", d.warn_before, time_or_zero(SECOND..=HOUR)),
            revoke_for: s.take("revoke_for", d.revoke_for, time(SECOND..=30 * DAY)),
            max_revocations: s.take("max_revocations", d.max_revocations, whole(1..=10_000_000)),
            jwt: s.subsection_if_there("auth.jwt", "jwt", Jwt::read),
            backend: s.subsection_if_there("auth.backend", "backend", AuthBackend::read),
            ticket: s.subsection_if_there("auth.ticket", "ticket", AuthTicket::read),
        }
    }
}

impl Cors {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let cors = Self {
            origins: s.list("origins", d.origins, origin),
            credentials: s.take("credentials", d.credentials, yes_or_no),
            max_age: s.take("max_age", d.max_age, time_or_zero(SECOND..=DAY)),
        };
        // Any page can make itself one without an origin, by a sandboxed frame.
        if cors.credentials && cors.origins.iter().any(|one| one.is_any() || one.as_str() == "null") {
            s.complain(
                &["origins", "credentials"],
                "`origins` has every page (\"*\", or \"null\"), which `credentials` cannot be given to",
                Some("name each origin: origins = [\"https://app.example\"]".to_owned()),
            );
        }
        cors
    }
}

impl Sse {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let sse = Self {
            events: s.take("events", d.events, word(SHAPES)),
            connected_as: s.take("connected_as", d.connected_as, event_name),
            heartbeat: s.take("heartbeat", d.heartbeat, time_or_zero(SECOND..=HOUR)),
            heartbeat_as: s.take("heartbeat_as", d.heartbeat_as, heartbeat),
            retry_min: s.take("retry_min", d.retry_min, time(MILLIS(10)..=HOUR)),
            retry_max: s.take("retry_max", d.retry_max, time(MILLIS(10)..=HOUR)),
            max_age: s.take("max_age", d.max_age, time_or_zero(SECOND..=30 * DAY)),
            write_timeout: s.take("write_timeout", d.write_timeout, time(MILLIS(100)..=HOUR)),
            refuse_with: s.take(
                "refuse_with",
                d.refuse_with,
                word([("retry", RefuseWith::Retry), ("status", RefuseWith::Status)]),
            ),
        };
        if sse.retry_min > sse.retry_max {
            s.complain(&["retry_min", "retry_max"], "`retry_min` is longer than `retry_max`", None);
        }
        sse
    }
}

impl Limits {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let most = 100_000_000;
        Self {
            streams: s.take("streams", d.streams, whole(0..=most)),
            streams_per_address: s.take("streams_per_address", d.streams_per_address, whole(0..=most)),
            streams_per_user: s.take("streams_per_user", d.streams_per_user, whole(0..=most)),
            topics_per_stream: s.take("topics_per_stream", d.topics_per_stream, whole(0..=most)),
            given_topics: s.take("given_topics", d.given_topics, whole(0..=most)),
            history: s.take("history", d.history, whole(0..=100_000)),
        }
    }
}

impl Log {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        Self {
            max_events: s.take("max_events", d.max_events, whole(1..=100_000_000)),
            max_bytes: s.take("max_bytes", d.max_bytes, size(ByteSize(4 * KIB)..=ByteSize(1024 * GIB))),
            max_age: s.take("max_age", d.max_age, time(MILLIS(100)..=30 * DAY)),
            idempotency_window: s.take("idempotency_window", d.idempotency_window, time(MILLIS(100)..=DAY)),
        }
    }
}

impl Fanout {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        Self { shards: s.take("shards", d.shards, whole(0..=64)) }
    }
}

impl Redis {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let url = s.secret("url", redis_url);
        let sentinels = s.secrets("sentinels", sentinel).unwrap_or_default();
        let nodes = s.list("nodes", Vec::new(), host_and_port);
        if !sentinels.is_empty() && !nodes.is_empty() {
            let message = "`sentinels` and `nodes` do not go together: Redis Cluster needs no Sentinels";
            s.complain(&["sentinels", "nodes"], message, None);
        }
        if url.is_none() && sentinels.is_empty() && nodes.is_empty() {
            s.complain(
                &["url", "url_file"],
                "`url` is missing in [redis]",
                Some("say where Redis listens: url = \"redis://127.0.0.1:6379\"".to_owned()),
            );
        }
        let authorities = s.file("ca_file", crate::config::jwt::authorities);
        let certificate = s.file("certificate_file", crate::config::forms::pem);
        let identity = match (certificate, s.file("key_file", crate::config::forms::pem)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let message = "`certificate_file` and `key_file` are given together or not at all";
                s.complain(&["certificate_file", "key_file"], message, None);
                None
            }
        };
        if let Some((certificate, key)) = &identity {
            let own = crate::net::tls::Identity {
                chain: certificate.expose().as_bytes(),
                key: key.expose().as_bytes(),
            };
            let anyone = crate::net::tls::Trust::Only(own.chain);
            if let Err(bad) = crate::net::tls::client(anyone, Some(own), &[]) {
                let key = match bad.part() {
                    crate::net::tls::Part::Key => "key_file",
                    _ => "certificate_file",
                };
                s.complain(&[key], format!("the file of `{key}` {bad}"), None);
            }
        }
        let d = Self::at(url.unwrap_or_else(|| Secret::new("redis://127.0.0.1:6379")));
        let prefix = s.take("prefix", d.prefix, prefix);
        let redis = Self {
            url: d.url,
            sentinels,
            authorities,
            identity,
            master: s.take("master", d.master, crate::config::forms::master),
            nodes,
            stream: s.subsection_if_there("redis.stream", "stream", |s| RedisStream::read(s, &prefix)),
            prefix,
            timeout: s.take("timeout", d.timeout, time(MILLIS(10)..=MINUTE)),
            ping_interval: s.take("ping_interval", d.ping_interval, time(MILLIS(100)..=HOUR)),
            max_backoff: s.take("max_backoff", d.max_backoff, time(MILLIS(100)..=HOUR)),
            requests: s.take("requests", d.requests, yes_or_no),
            channels: s.each("redis.channel", "channel", Channel::read),
        };
        for (at, channel) in redis.channels.iter().enumerate() {
            let key = format!("channel[{}].pattern", at + 1);
            let own = channel.pattern == redis.prefix
                || channel.pattern.strip_prefix(&redis.prefix).is_some_and(|rest| {
                    matches!(rest, ":control" | ":topics") || rest.starts_with(":topic:")
                });
            if own {
                s.complain(
                    &[&key, "prefix"],
                    "`pattern` is one of sidestream's own channels, which need no mapping",
                    None,
                );
            }
            if channel.bridge && redis.stream.is_none() {
                let key = format!("channel[{}].bridge", at + 1);
                s.complain(
                    &[&key],
                    "`bridge` needs a stream to lead to",
                    Some("add the section [redis.stream]".to_owned()),
                );
            }
            let same = |earlier: &Channel| earlier.pattern == channel.pattern;
            if let Some(earlier) = redis.channels[..at].iter().position(same) {
                let other = format!("channel[{}].pattern", earlier + 1);
                s.complain(
                    &[&key, &other],
                    "`pattern` is mapped by an earlier [[redis.channel]] already",
                    None,
                );
            }
        }
        redis
    }
}

impl RedisStream {
    fn read(s: &mut Section<'_, '_>, prefix: &str) -> Self {
        let d = Self::at(format!("{prefix}:log"));
        Self {
            key: s.take("key", d.key, stream_key),
            // Fewer, and what is read could be trimmed before it is.
            max_events: s.take("max_events", d.max_events, whole(1000..=1_000_000_000)),
            max_age: s.take("max_age", d.max_age, time_or_zero(MINUTE..=30 * DAY)),
            trim: s.take("trim", d.trim, word([("approximate", Trim::Approximate), ("exact", Trim::Exact)])),
            timeout: s.take("timeout", d.timeout, time(MILLIS(10)..=MINUTE)),
            batch: s.take("batch", d.batch, whole(1..=10_000)),
            bridge: s.take("bridge", d.bridge, yes_or_no),
            bridge_lease: s.take("bridge_lease", d.bridge_lease, time(MILLIS(500)..=MINUTE)),
            bridge_buffer: s.take(
                "bridge_buffer",
                d.bridge_buffer,
                size(ByteSize(64 * KIB)..=ByteSize(16 * GIB)),
            ),
        }
    }
}

impl Channel {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let example = "name a channel, or several by a `*`: pattern = \"chat:*\"";
        let pattern = s.required("pattern", String::new(), example, pattern);
        let audience = channel_template(&pattern, false);
        let channel = Self {
            topic: s.optional("topic", &audience),
            user: s.optional("user", &audience),
            session: s.optional("session", &audience),
            event: s.optional("event", channel_template(&pattern, true)),
            format: s.take(
                "format",
                ChannelFormat::Raw,
                word([("raw", ChannelFormat::Raw), ("envelope", ChannelFormat::Envelope)]),
            ),
            bridge: s.take("bridge", false, yes_or_no),
            pattern: pattern.clone(),
        };
        let nobody = channel.topic.is_none() && channel.user.is_none() && channel.session.is_none();
        if channel.format == ChannelFormat::Raw && nobody {
            s.complain(
                &["topic", "user", "session", "format"],
                "a raw channel does not say whom its messages are for",
                Some("give it a topic, a user or a session: topic = \"conversation:{1}\"".to_owned()),
            );
        }
        channel
    }
}

impl Instance {
    fn read(s: &mut Section<'_, '_>) -> Self {
        Self { name: s.optional("name", label) }
    }
}

impl Presence {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        Self {
            grace: s.take("grace", d.grace, time_or_zero(MILLIS(10)..=HOUR)),
            topics: s.list("topics", d.topics, presence_template),
            online: s.take("online", d.online, event_name),
            offline: s.take("offline", d.offline, event_name),
        }
    }
}

impl Drain {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let drain = Self {
            window: s.take("window", d.window, time_or_zero(MILLIS(10)..=HOUR)),
            deadline: s.take("deadline", d.deadline, time_or_zero(MILLIS(10)..=HOUR)),
        };
        if drain.window > drain.deadline {
            let message = "the drain's `window` is longer than its `deadline`, which would cut it short";
            s.complain(&["window", "deadline"], message, None);
        }
        drain
    }
}

impl Telemetry {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            log_format: s.take("log_format", d.log_format, word(formats)),
            log_level: s.take("log_level", d.log_level, log_level),
        }
    }
}
