//! The whole configuration, and what has to fit together between its sections.

use crate::config::problem::{BadConfig, Severity};
use crate::config::schema::capture::{check_capture_auth, read_captures};
use crate::config::schema::listeners::{check_addresses, refuse_loop, warn_of_reachable_listener};
use crate::config::schema::stream::{
    check_auth, check_events, check_meta, check_unused_verifiers, read_streams,
};
use crate::config::schema::stream_choice::check_choices;
use crate::config::schema::stream_layout::check_layouts;
use crate::config::schema::stream_rights::inherit_until;
use crate::config::schema::webhook::read_webhooks;
use crate::config::schema::{
    Auth, Capture, Cors, Dashboard, Drain, Fanout, Heartbeat, Instance, Internal, Limits, Log, Outbound,
    Presence, Proxy, Public, Redis, Sse, Stream, StreamAuth, Telemetry, Webhook,
};
use crate::config::section_reader::SectionReader;
use crate::config::values::Backend;
use crate::event::EventName;

/// The whole configuration. Only `app` sees it; every room gets its own section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub public: Public,
    pub internal: Internal,
    pub dashboard: Dashboard,
    pub proxy: Proxy,
    pub streams: Vec<Stream>,
    pub captures: Vec<Capture>,
    pub auth: Auth,
    pub outbound: Outbound,
    pub cors: Cors,
    pub sse: Sse,
    pub limits: Limits,
    pub log: Log,
    pub fanout: Fanout,
    pub redis: Option<Redis>,
    pub webhooks: Vec<Webhook>,
    pub instance: Instance,
    pub presence: Presence,
    pub drain: Drain,
    pub telemetry: Telemetry,
}

impl Config {
    /// All defaults in front of `backend`: `/events` for anyone, topics from `?topic=`.
    pub fn for_backend(backend: Backend) -> Self {
        Self {
            public: Public::for_backend(backend),
            internal: Internal::default(),
            dashboard: Dashboard::default(),
            proxy: Proxy::default(),
            streams: vec![Stream::default()],
            captures: Vec::new(),
            auth: Auth::default(),
            outbound: Outbound::default(),
            cors: Cors::default(),
            sse: Sse::default(),
            limits: Limits::default(),
            log: Log::default(),
            fanout: Fanout::default(),
            redis: None,
            webhooks: Vec::new(),
            instance: Instance::default(),
            presence: Presence::default(),
            drain: Drain::default(),
            telemetry: Telemetry::default(),
        }
    }

    /// As [`read`](Self::read), and complains of what no daemon should serve with.
    pub(in crate::config) fn read_to_serve(s: &mut SectionReader<'_, '_>) -> Self {
        let config = Self::read(s);
        let of_captures = config.captures.iter().filter_map(|capture| capture.auth.verifier());
        let used: Vec<_> = config.streams.iter().map(|stream| stream.auth).chain(of_captures).collect();
        check_unused_verifiers(s, &used, &config.auth);
        warn_of_open_doors(s, &config);
        config
    }

    /// Refuses a backend that is one of the addresses that are listened on: with those of a daemon that runs, which no
    /// reload changes.
    pub fn refuse_loop(&self) -> Result<(), BadConfig> {
        refuse_loop(&self.public, &self.internal)
    }

    /// Reads every section; what does not fit together is complained of.
    pub(in crate::config) fn read(s: &mut SectionReader<'_, '_>) -> Self {
        let mut config = Self {
            public: s.section("public", Public::read),
            internal: s.section("internal", Internal::read),
            dashboard: s.section("dashboard", Dashboard::read),
            proxy: s.section("proxy", Proxy::read),
            streams: read_streams(s),
            captures: read_captures(s),
            auth: s.section("auth", Auth::read),
            outbound: s.section("outbound", Outbound::read),
            cors: s.section("cors", Cors::read),
            sse: s.section("sse", Sse::read),
            limits: s.section("limits", Limits::read),
            log: s.section("log", Log::read),
            fanout: s.section("fanout", Fanout::read),
            redis: s.optional_section("redis", "redis", Redis::read),
            webhooks: read_webhooks(s),
            instance: s.section("instance", Instance::read),
            presence: s.section("presence", Presence::read),
            drain: s.section("drain", Drain::read),
            telemetry: s.section("telemetry", Telemetry::read),
        };
        check_auth(s, &config.streams, &config.auth);
        inherit_until(&mut config.streams, &config.auth);
        check_meta(s, &config.streams, &config.auth);
        check_events(s, &config.streams, &own_events(&config));
        check_capture_auth(s, &config.captures, &config.auth);
        check_choices(s, &config.streams);
        check_layouts(s, &config.streams, &config.sse);
        check_addresses(s, &config.public, &config.internal);
        check_backend_tls(s, &config);
        config
    }
}

/// The names of the events that the daemon itself sends, by the keys that name them.
fn own_events(config: &Config) -> Vec<(&'static str, &EventName)> {
    let (sse, presence) = (&config.sse, &config.presence);
    let mut own = vec![("sse.connected_as", &sse.connected_as)];
    if let Heartbeat::Event(name) = &sse.heartbeat_as {
        own.push(("sse.heartbeat_as", name));
    }
    own.extend(sse.retracted_as.0.iter().map(|name| ("sse.retracted_as", name)));
    for stream in &config.streams {
        own.extend(stream.connected_as.iter().map(|name| ("stream.connected_as", name)));
        if let Some(Heartbeat::Event(name)) = &stream.heartbeat_as {
            own.push(("stream.heartbeat_as", name));
        }
        let retracted = stream.retracted_as.iter().filter_map(|form| form.0.as_ref());
        own.extend(retracted.map(|name| ("stream.retracted_as", name)));
    }
    if !presence.topics.is_empty() {
        own.extend([("presence.online", &presence.online), ("presence.offline", &presence.offline)]);
    }
    own
}

/// Complains of TLS towards a backend that speaks none.
fn check_backend_tls(s: &mut SectionReader<'_, '_>, config: &Config) {
    let proxy = &config.proxy;
    let given = [
        ("proxy.ca_file", proxy.authorities.is_some()),
        ("proxy.server_name", proxy.server_name.is_some()),
        ("proxy.certificate_file", proxy.identity.is_some()),
    ];
    if matches!(config.public.backend, Backend::Tcp { tls: true, .. }) {
        return;
    }
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        s.report(
            &[key, "public.backend"],
            format!("`{key}` is for a backend with TLS, and {} has none", config.public.backend),
            Some("write the backend as https://host:port".to_owned()),
        );
    }
}

/// Warns of what is open to more people than is often meant.
fn warn_of_open_doors(s: &mut SectionReader<'_, '_>, config: &Config) {
    warn_of_reachable_listener(s, &config.internal, &config.dashboard);
    for (at, stream) in config.streams.iter().enumerate() {
        if stream.auth == StreamAuth::None {
            let key = |name: &str| format!("stream[{}]{name}", at + 1);
            s.warn(
                Severity::Advice,
                &[&key(".auth"), &key(".path")],
                format!("the stream {} is open to anyone who knows a topic's name", stream.path),
                "where topics are not for everybody: auth = \"jwt\", \"backend\" or \"ticket\"",
            );
        }
    }
}
