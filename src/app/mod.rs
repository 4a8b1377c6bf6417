//! The whole daemon: the only room that sees every other. Bind all, start all, stop all.

mod adapters;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::app::adapters::{Bell, Clerk, Ear, OverRedis, Telephone, Understood, Voice};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::auth::{Gates, Once, Publisher, PublisherKeys, Revocations, Tickets};
use crate::config;
use crate::config::{Config, HookEvent};
use crate::control::{Asks, Cluster, Connections, Control, Instances, Presence, Topics};
use crate::event::Frame;
use crate::fanout;
use crate::fanout::{Fanout, Heartbeat, Watcher};
use crate::health::Health;
use crate::log::{Log, MemberBounds, Retention};
use crate::proxy::Proxy;
use crate::publish;
use crate::publish::Relay;
use crate::redis;
use crate::server;
use crate::shutdown::Drain;
use crate::subscribe;
use crate::subscribe::Streams;
use crate::telemetry;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;

/// A daemon that has its ports and serves nobody yet.
pub struct App {
    config: Config,
    public: TcpListener,
    internal: TcpListener,
}

/// How often what has grown too old is let go of, and histograms are kept in bounds.
const UPKEEP: Duration = Duration::from_secs(1);

/// How long requests to the internal listener may still take when everything else has ended.
const CLOSE: Duration = Duration::from_secs(2);

/// What webhooks get at least for their last requests, when the drain has taken all of its time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long it may take to tell the other instances that this one stops.
const GOODBYE: Duration = Duration::from_secs(1);

impl App {
    /// Takes the ports. An error names the address.
    pub fn bind(config: Config) -> io::Result<Self> {
        let public = server::bind(config.public.listen)?;
        let internal = server::bind(config.internal.listen)?;
        Ok(Self { config, public, internal })
    }

    /// Where browsers reach it.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where the backend and operators reach it.
    pub fn internal_address(&self) -> io::Result<SocketAddr> {
        self.internal.local_addr()
    }

    /// Serves until `stop` completes, then drains, at the longest until the deadline.
    pub async fn run(self, metrics: Metrics, stop: impl Future<Output = ()>) -> io::Result<()> {
        info!(public = %self.public_address()?, internal = %self.internal_address()?, "listening");
        let Self { config, public, internal } = self;
        let drain = Drain::new();
        let health = Health::new();
        let follows = config.redis.as_ref().is_some_and(|redis| redis.stream.is_some());
        let retention = retention(&config.log);
        let log = if follows { Log::following(retention) } else { Log::new(retention) };
        let given = MemberBounds { topics: config.limits.topics_per_stream, all: config.limits.given_topics };
        let log = Arc::new(log.shaped(config.sse.events).bounded(given));
        let fanout = Arc::new(Fanout::start(&log, &fanout_settings(&config))?);

        let settings = subscribe::Settings {
            routes: &config.streams,
            auth: &config.auth,
            sse: &config.sse,
            limits: &config.limits,
        };
        // What closes last, so that it can tell of the drain.
        let close = Drain::new();
        let tickets = start_tickets(&config, &close)?;
        let gates = Gates::start(&config.auth, &config.public.backend, tickets.clone(), &health, &drain);
        let gates = Arc::new(gates.map_err(io::Error::other)?);
        let revocations = Arc::new(Revocations::new(config.auth.max_revocations));
        let instances = Arc::new(Instances::new(&config.instance));
        let asks = Arc::new(Asks::new(Arc::clone(&instances), close.clone()));
        let webhooks = start_webhooks(&config, &instances, &fanout)?;
        let told_of = |event| webhooks.as_ref().is_some_and(|webhooks| webhooks.wants(event));
        let watch_topics = told_of(HookEvent::TopicOccupied) || told_of(HookEvent::TopicEmpty);
        let alone = config.redis.is_none();
        let presence = Presence::new(
            &config.presence,
            Arc::clone(&instances),
            Arc::clone(&asks),
            Arc::clone(&fanout),
            watch_topics,
            alone,
        );
        if let Some(webhooks) = &webhooks {
            presence.heed(Arc::new(Bell(Arc::clone(webhooks))));
        }
        let cluster = Cluster { instances, asks, presence: Arc::new(presence) };
        let connections =
            Connections::new(Arc::clone(&fanout), Arc::clone(&log), Arc::clone(&revocations), &cluster);
        let patience = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.timeout);
        let topics = Arc::new(Topics::new(Arc::clone(&log), Arc::clone(&fanout), patience));
        let control = Control::new(
            &config.auth,
            Arc::clone(&fanout),
            Arc::clone(&revocations),
            Arc::clone(&topics),
            cluster,
            connections,
        );
        let control = Arc::new(control);
        let streams = Arc::new(Streams::new(
            settings,
            gates,
            Arc::clone(&revocations),
            Arc::clone(&log),
            Arc::clone(&fanout),
            drain.clone(),
        ));
        let backend = health.depend_on("backend", false);
        let proxy = Proxy::new(&config.public.backend, &config.proxy, backend, drain.clone())
            .closing_upgrades_over(config.drain.window);
        let mut door = server::Public::new(
            &config.public,
            &config.cors,
            streams,
            Arc::clone(&control),
            proxy,
            drain.clone(),
        );
        if let Some(files) = &config.public.tls {
            door = door.over_tls(server::Certificate::keep(files, &drain).map_err(io::Error::other)?);
        }
        drain.spawn_essential(
            "public listener",
            server::serve(public, Arc::new(door), config.public.max_connections, drain.clone()),
        );
        let relay = start_redis(&config, &health, &log, &topics, &close)?;
        if let Some(redis) = &config.redis {
            let ear = Arc::new(Ear(Arc::clone(&control)));
            let link = redis::start_link(redis, ear, &close).map_err(io::Error::other)?;
            control.connect(Arc::new(Telephone(link)));
        }
        // Until the last stream has gone, so that the others learn of that, too.
        let life = Drain::new();
        let voice = Voice {
            publish: publish::Publish::new(Arc::clone(&log), Arc::clone(&fanout), relay.clone(), usize::MAX),
            publisher: Publisher::own("presence"),
        };
        control.live(Arc::new(voice), &life);
        let keys = PublisherKeys::start(&config.internal, &health, &drain).map_err(io::Error::other)?;
        let standing = server::Standing { health, metrics: metrics.clone(), drain: drain.clone() };
        let publish =
            publish::Publish::new(Arc::clone(&log), Arc::clone(&fanout), relay, config.internal.max_batch);
        let mut door = server::Internal::new(
            &config.internal,
            keys,
            publish,
            Arc::clone(&log),
            control,
            standing,
            close.clone(),
        );
        if let (Some(tickets), Some(section)) = (tickets, &config.auth.ticket) {
            door = door.minting(tickets, section);
        }
        let door = Arc::new(door);
        if let Some(redis) = config.redis.as_ref().filter(|redis| redis.requests) {
            let max_body = usize::try_from(config.internal.max_body.0).unwrap_or(usize::MAX);
            let clerk = Arc::new(Clerk(Arc::clone(&door)));
            redis::start_requests(redis, max_body, clerk, &drain).map_err(io::Error::other)?;
        }
        close.spawn_essential("internal listener", server::serve(internal, door, 0, close.clone()));
        drain.spawn_essential("upkeep", upkeep(Arc::clone(&log), revocations, metrics, drain.clone()));

        stop.await;
        info!(streams = fanout.open(), "draining");
        let deadline = tokio::time::Instant::now() + config.drain.deadline;
        drain.start();
        fanout.drain(config.drain.window);
        if tokio::time::timeout(config.drain.deadline, drain.finished()).await.is_err() {
            warn!(streams = fanout.open(), "the drain's deadline has passed; what is still open is cut");
        }
        life.start();
        if tokio::time::timeout(GOODBYE, life.finished()).await.is_err() {
            warn!("the other instances could not be told that this one stops");
        }
        close.start();
        if tokio::time::timeout(CLOSE, close.finished()).await.is_err() {
            warn!("requests to the internal listener are cut");
        }
        fanout.stop();
        if let Some(webhooks) = webhooks {
            webhooks.finish(deadline.max(tokio::time::Instant::now() + LAST_WORDS)).await;
        }
        info!("stopped");
        Ok(())
    }
}

/// Makes what makes tickets, if they are configured. With Redis each is good once on all instances.
fn start_tickets(config: &Config, close: &Drain) -> io::Result<Option<Arc<Tickets>>> {
    let Some(section) = &config.auth.ticket else { return Ok(None) };
    let once = match &config.redis {
        Some(redis) => Some(redis::start_once(redis, close).map_err(io::Error::other)?),
        None => None,
    };
    let once = once.map(|once| Arc::new(once) as Arc<dyn Once>);
    Ok(Some(Arc::new(Tickets::new(section, once))))
}

/// Starts what tells other servers of streams, if there is anybody to tell.
fn start_webhooks(
    config: &Config,
    instances: &Instances,
    fanout: &Fanout,
) -> io::Result<Option<Arc<Webhooks>>> {
    if config.webhooks.is_empty() {
        return Ok(None);
    }
    let me = serde_json::to_value(instances.me()).expect("texts are JSON");
    let webhooks = Arc::new(Webhooks::start(&config.webhooks, &me).map_err(io::Error::other)?);
    let watcher: Arc<dyn Watcher> = webhooks.clone();
    fanout.watch(&watcher);
    Ok(Some(webhooks))
}

/// Starts what Redis is for, if there is one; gives back what `POST /publish` goes out by.
fn start_redis(
    config: &Config,
    health: &Health,
    log: &Arc<Log>,
    topics: &Arc<Topics>,
    close: &Drain,
) -> io::Result<Option<Arc<dyn Relay>>> {
    let Some(redis) = &config.redis else { return Ok(None) };
    let duty = redis::RedisDuty {
        // What may be published by HTTP has to come back over Redis.
        max_message: usize::try_from(config.internal.max_body.0).unwrap_or(usize::MAX),
        idempotency_window: config.log.idempotency_window,
    };
    // Until everything else has ended: streams that wait for their turn in a drain miss nothing.
    let changes = Arc::new(Understood(Arc::clone(topics)));
    let ways = redis::start_redis(redis, duty, log, changes, health, close).map_err(io::Error::other)?;
    topics.connect(Arc::new(OverRedis(ways.commands)));
    Ok(Some(ways.relay))
}

async fn upkeep(log: Arc<Log>, revocations: Arc<Revocations>, metrics: Metrics, drain: Drain) {
    let in_force = metrics::gauge!(telemetry::REVOCATIONS);
    let mut every = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            biased;
            () = drain.started() => return,
            _ = every.tick() => {
                log.trim();
                revocations.trim();
                in_force.set(revocations.len() as f64);
                metrics.upkeep();
            }
        }
    }
}

fn retention(log: &config::Log) -> Retention {
    Retention {
        events: log.max_events,
        bytes: usize::try_from(log.max_bytes.0).unwrap_or(usize::MAX),
        age: log.max_age,
        idempotency_window: log.idempotency_window,
    }
}

fn fanout_settings(config: &Config) -> fanout::Settings {
    let sse = &config.sse;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    fanout::Settings {
        shards: if config.fanout.shards == 0 { cores.min(64) } else { config.fanout.shards },
        heartbeat: (!sse.heartbeat.is_zero()).then_some(sse.heartbeat),
        heartbeat_as: match &sse.heartbeat_as {
            config::Heartbeat::Comment => Heartbeat::Fixed(Frame::comment(": hb\n\n")),
            config::Heartbeat::Line => Heartbeat::Fixed(Frame::comment(": hb\n")),
            config::Heartbeat::Event(name) => Heartbeat::Event(name.clone()),
        },
        write_timeout: sse.write_timeout,
        retry_ms: (ms(sse.retry_min), ms(sse.retry_max)),
    }
}
