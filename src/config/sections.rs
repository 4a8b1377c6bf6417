//! The sections of the configuration file and their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::auth_backend::AuthBackend;
use crate::config::auth_ticket::AuthTicket;
use crate::config::jwt::Jwt;
use crate::config::origin::{HostName, WebOrigin};
use crate::config::values::{Backend, ByteSize, Secret};
use crate::config::webhook::Webhook;
use crate::event::{EventName, Pattern, Shape, Template};

/// The whole configuration. Only `app` sees it; every room gets its own section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub public: Public,
    pub internal: Internal,
    pub proxy: Proxy,
    pub streams: Vec<Stream>,
    pub auth: Auth,
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

/// `[public]`: the listener that browsers reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Public {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The application that gets everything that is not a stream. The only key without a default.
    pub backend: Backend,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a connection may take to a request's whole head, counted from its start or from the last answer: it
    /// bounds idle connections too, so a proxy in front should let go of its own earlier.
    pub head_timeout: Duration,
    /// How large a request's head may be.
    pub max_head: ByteSize,
    /// Connections open at once; 0 = no limit.
    pub max_connections: usize,
    /// Requests and streams open at once on one HTTP/2 connection.
    pub http2_max_streams: usize,
    /// The certificate; without one the listener speaks plain HTTP.
    pub tls: Option<Tls>,
}

/// `public.tls_certificate` and `public.tls_key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// PEM: the server's certificate, and after it those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
}

/// `[internal]`: the listener for the backend and for operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Internal {
    pub listen: SocketAddr,
    /// Keys that may publish (`Authorization: Bearer …`); several for rotation. Empty = nobody may publish over HTTP.
    pub publish_keys: Vec<Secret>,
    /// How large the body of a publish, or a message on a Redis channel, may be.
    pub max_body: ByteSize,
    /// As `public.head_timeout`: it bounds idle connections too.
    pub head_timeout: Duration,
    /// How long the body of a publish may take to arrive.
    pub body_timeout: Duration,
    /// How many events one publish may carry.
    pub max_batch: usize,
    /// Names by which the listener is asked, beside its addresses and `localhost`.
    pub hosts: Vec<HostName>,
    pub publishers: Vec<Publisher>,
    /// Tokens of publishers, whose claims say to which topics they may publish.
    pub publisher_jwt: Option<Jwt>,
}

/// `[[internal.publisher]]`: a key that may publish within bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publisher {
    /// Whose key it is, for the log and the metrics.
    pub name: String,
    pub key: PublisherKey,
    /// The topics that it may publish to.
    pub topics: Vec<Pattern>,
    /// Whether it may publish to users, sessions, single streams and everybody.
    pub users: bool,
    pub sessions: bool,
    pub clients: bool,
    pub broadcast: bool,
}

/// How a publisher's key is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublisherKey {
    Plain(Secret),
    /// The SHA-256 of the key.
    Sha256([u8; 32]),
}

/// `[proxy]`: how requests go on to the backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    pub connect_timeout: Duration,
    /// From the last of the request to the head of the answer; also how long a client may pause in its body.
    pub head_timeout: Duration,
    /// How long an idle connection to the backend is kept.
    pub idle_timeout: Duration,
    /// How many idle connections to the backend are kept.
    pub max_idle: usize,
}

/// `[[stream]]`: a path that is answered as an event stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// The path, with `{name}` for a segment that templates may use as `{path.name}`.
    pub path: String,
    pub auth: StreamAuth,
    /// Templates of topics: text with `{query.x}` and `{path.x}`, and `{claim.x}` where the caller is verified.
    pub topics: Vec<Template>,
    /// Whether a page may change its stream's topics, within its grant.
    pub change_topics: bool,
    /// Template of the user, for `auth = "none"`.
    pub user: Option<Template>,
    /// Template of the session, for `auth = "none"`.
    pub session: Option<Template>,
}

/// Who may open a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamAuth {
    /// Anyone.
    None,
    /// Whoever brings a token that `[auth.jwt]` verifies.
    Jwt,
    /// Whom the application lets in: `[auth.backend]`.
    Backend,
    /// Who brings a ticket: `[auth.ticket]`.
    Ticket,
}

/// `[auth]`: who may open a stream; each way to verify is a section below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    /// What a refused caller is told.
    pub refusals: Refusals,
    /// How long before its grant ends a stream is told so; zero = not at all.
    pub warn_before: Duration,
    /// For how long a revocation keeps out, where it does not say so itself.
    pub revoke_for: Duration,
    /// How many revocations are kept.
    pub max_revocations: usize,
    pub jwt: Option<Jwt>,
    pub backend: Option<AuthBackend>,
    pub ticket: Option<AuthTicket>,
}

/// What a caller reads who is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusals {
    /// The reason, and the topic that it was about.
    Explained,
    /// That it is so.
    Terse,
}

/// `[cors]`: which pages of other origins may open streams and read them. Without origins nothing is said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    pub origins: Vec<WebOrigin>,
    /// Whether they may do so with the browser's own credentials: cookies.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// `[sse]`: what every stream speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sse {
    /// How events are laid out.
    pub events: Shape,
    /// The name of a stream's first event.
    pub connected_as: EventName,
    /// A stream that has been silent for so long gets a heartbeat; zero = none.
    pub heartbeat: Duration,
    pub heartbeat_as: Heartbeat,
    /// The `retry:` of a stream is drawn at random from `retry_min..=retry_max`.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// A stream is closed after about so long (spread by a tenth); zero = never.
    pub max_age: Duration,
    /// A stream whose socket takes nothing for so long is closed.
    pub write_timeout: Duration,
    /// How a refusal that will pass is said.
    pub refuse_with: RefuseWith,
}

/// The form of a heartbeat on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    /// `: hb` and a blank line.
    Comment,
    /// `: hb` without a blank line, for clients that take a comment block for an event.
    Line,
    /// An event of this name with the data `{}`.
    Event(EventName),
}

/// How a refusal that will pass (a limit, a drain) is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseWith {
    /// 200, a `retry:`, and close: `EventSource` comes back.
    Retry,
    /// 429 or 503, for clients that are not `EventSource`.
    Status,
}

/// `[limits]`: 0 = no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    pub streams: usize,
    pub streams_per_address: usize,
    pub streams_per_user: usize,
    /// Topics that one stream may hold.
    pub topics_per_stream: usize,
    /// Topics that all users, sessions and clients together may be given.
    pub given_topics: usize,
    /// How many of its topics' last events a fresh stream may ask for; here 0 = none.
    pub history: usize,
}

/// `[log]`: how much is kept for replay. Whatever bound is met first trims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    pub max_events: usize,
    pub max_bytes: ByteSize,
    pub max_age: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
}

/// `[fanout]`
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Fanout {
    /// Threads that own the subscribers' sockets; 0 = one a core.
    pub shards: usize,
}

/// `[redis]`: events over Redis. Without it nothing of Redis runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redis {
    /// `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS; secret for its password. With Sentinels or a Cluster it says
    /// only as whom we come, and to which database.
    pub url: Secret,
    /// Sentinels, each as a URL; secret for their passwords. They tell where `master` is.
    pub sentinels: Vec<Secret>,
    /// The name of the master that the Sentinels watch.
    pub master: String,
    /// Authorities (PEM) that alone vouch for the server; without them the system's do.
    pub authorities: Option<String>,
    /// Our own certificate and its key (PEM), for a server that asks for one.
    pub identity: Option<(Secret, Secret)>,
    /// Some nodes of a Redis Cluster, each `host:port`; any one tells of the others.
    pub nodes: Vec<String>,
    /// First word of sidestream's own channels: `<prefix>` and `<prefix>:topic:*`.
    pub prefix: String,
    /// Bound of connecting and of every command.
    pub timeout: Duration,
    /// How often the delivering connection is pinged; one missed answer and it is replaced.
    pub ping_interval: Duration,
    /// Longest pause between two attempts to connect.
    pub max_backoff: Duration,
    /// Whether requests are taken from the list `<prefix>:requests`: whoever may write to it may do everything.
    pub requests: bool,
    /// The log in a Redis stream; without it the log is in memory.
    pub stream: Option<RedisStream>,
    pub channels: Vec<Channel>,
}

/// `[redis.stream]`: the log in a Redis stream, the same for every instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisStream {
    /// The stream's key.
    pub key: String,
    /// Events that the stream holds before the oldest are trimmed.
    pub max_events: usize,
    /// Events that are older are trimmed; zero = none for their age.
    pub max_age: Duration,
    pub trim: Trim,
    /// How long an append may take.
    pub timeout: Duration,
    /// How many entries are read at once.
    pub batch: usize,
    /// Whether what is published on sidestream's own channels goes into the stream, too.
    pub bridge: bool,
    /// For how long one instance has the right to bridge channels into the stream, unless it renews it.
    pub bridge_lease: Duration,
    /// How much of bridged channels is kept that is not known to be in the stream.
    pub bridge_buffer: ByteSize,
}

/// How exactly the stream is held to its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trim {
    /// As Redis finds it cheap: some hundred entries more may stay.
    Approximate,
    Exact,
}

/// `[[redis.channel]]`: a legacy channel, mapped without touching its publisher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// A channel, or a pattern with `*`; what each `*` matched is `{1}`, `{2}` …, the whole channel `{0}`.
    pub pattern: String,
    /// Templates of the audience; at least one of the three for `raw`.
    pub topic: Option<Template>,
    pub user: Option<Template>,
    pub session: Option<Template>,
    /// Template of the event's name.
    pub event: Option<Template>,
    pub format: ChannelFormat,
    /// Whether its messages go into the stream.
    pub bridge: bool,
}

/// What a message on a mapped channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelFormat {
    /// The message is the data.
    Raw,
    /// The message is the JSON that `POST /publish` takes.
    Envelope,
}

/// `[instance]`: this daemon among those that share a Redis.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Instance {
    /// What operators call it; None = by the machine's name. Nothing depends on it: every start has an id of its own.
    pub name: Option<String>,
}

/// `[presence]`: who is there, on all instances.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Who comes back within this time was never gone.
    pub grace: Duration,
    /// Templates of the topics on which it is published that a user comes online or goes offline; none = nowhere.
    pub topics: Vec<Template>,
    /// The names of these events.
    pub online: EventName,
    pub offline: EventName,
}

/// `[drain]`: the notice to stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Streams are closed spread over this time.
    pub window: Duration,
    /// After this time whatever is still open is cut.
    pub deadline: Duration,
}

/// `[telemetry]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telemetry {
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,sidestream::proxy=debug`.
    pub log_level: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Config {
    /// All defaults in front of `backend`: `/events` for anyone, topics from `?topic=`.
    pub fn for_backend(backend: Backend) -> Self {
        Self {
            public: Public::for_backend(backend),
            internal: Internal::default(),
            proxy: Proxy::default(),
            streams: vec![Stream::default()],
            auth: Auth::default(),
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
}

impl Public {
    pub fn for_backend(backend: Backend) -> Self {
        Self {
            listen: loopback(8080),
            backend,
            trusted_proxies: Vec::new(),
            head_timeout: Duration::from_secs(75),
            max_head: ByteSize(32 << 10),
            max_connections: 0,
            http2_max_streams: 256,
            tls: None,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        let name = |text| EventName::parse(text).expect("the default is a name");
        Self {
            grace: Duration::from_secs(10),
            topics: Vec::new(),
            online: name("user:online"),
            offline: name("user:offline"),
        }
    }
}

impl Default for Internal {
    fn default() -> Self {
        Self {
            listen: loopback(8081),
            publish_keys: Vec::new(),
            max_body: ByteSize(1 << 20),
            head_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            max_batch: 1000,
            hosts: Vec::new(),
            publishers: Vec::new(),
            publisher_jwt: None,
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            max_idle: 256,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            path: "/events".to_owned(),
            auth: StreamAuth::None,
            topics: vec![Template::parse("{query.topic}").expect("a template of our own")],
            change_topics: false,
            user: None,
            session: None,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            refusals: Refusals::Explained,
            warn_before: Duration::from_secs(30),
            revoke_for: Duration::from_secs(3600),
            max_revocations: 100_000,
            jwt: None,
            backend: None,
            ticket: None,
        }
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self { origins: Vec::new(), credentials: false, max_age: Duration::from_secs(600) }
    }
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            events: Shape::Named,
            connected_as: EventName::parse("connected").expect("a name of our own"),
            heartbeat: Duration::from_secs(20),
            heartbeat_as: Heartbeat::Comment,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(4),
            max_age: Duration::ZERO,
            write_timeout: Duration::from_secs(30),
            refuse_with: RefuseWith::Retry,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 100_000,
            streams_per_address: 1000,
            streams_per_user: 20,
            topics_per_stream: 100,
            given_topics: 1_000_000,
            history: 100,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            max_events: 100_000,
            max_bytes: ByteSize(256 << 20),
            max_age: Duration::from_secs(600),
            idempotency_window: Duration::from_secs(600),
        }
    }
}

impl Redis {
    /// The defaults for a server at `url`.
    pub fn at(url: Secret) -> Self {
        Self {
            url,
            sentinels: Vec::new(),
            master: "mymaster".to_owned(),
            authorities: None,
            identity: None,
            nodes: Vec::new(),
            prefix: "sidestream".to_owned(),
            timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(5),
            max_backoff: Duration::from_secs(1),
            requests: false,
            stream: None,
            channels: Vec::new(),
        }
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
        url.into()
    }
}

impl RedisStream {
    /// The defaults for a stream at `key`.
    pub fn at(key: String) -> Self {
        Self {
            key,
            max_events: 1_000_000,
            max_age: Duration::ZERO,
            trim: Trim::Approximate,
            timeout: Duration::from_secs(2),
            batch: 1000,
            bridge: false,
            bridge_lease: Duration::from_secs(5),
            bridge_buffer: ByteSize(64 << 20),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { window: Duration::from_secs(10), deadline: Duration::from_secs(30) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_level: "info".to_owned() }
    }
}
