//! The daemon's parts: built and connected to each other first, started when nothing can fail for the configuration's
//! sake any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::app::adapters::{InternalRequests, PresencePublisher, WebhookNotifier};
use crate::app::serving::{Listeners, Running};
use crate::app::settings::{fanout_settings, reserved_events, retention};
use crate::app::stop::StopOrder;
use crate::app::watchdog;
use crate::app::watchdog::VitalParts;
use crate::auth::{FirstUse, Gates, Publisher, PublisherKeys, Revocations, Tickets};
use crate::config::{Config, HookEvent, SettingInForce};
use crate::control::{
    Cluster, Connections, Control, Instances, Presence, Surveys, TopicAssignments, TopicList,
};
use crate::dashboard::{Board, BoardIdentity, BoardRedis, DashboardKeys};
use crate::fanout::{Fanout, Watcher};
use crate::health::Health;
use crate::log::{Log, MemberBounds};
use crate::pace::Rate;
use crate::proxy::Proxy;
use crate::publish::{PublishService, Relay};
use crate::redis;
use crate::server;
use crate::server::{AcceptLimits, AcceptPulse};
use crate::shutdown::Drain;
use crate::subscribe;
use crate::subscribe::Streams;
use crate::telemetry;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;

/// How often what is too old is dropped, and histograms are kept in bounds.
const UPKEEP: Duration = Duration::from_secs(1);

/// What a daemon is made of. Nobody is served yet.
pub(super) struct Parts {
    order: StopOrder,
    health: Health,
    metrics: Metrics,
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    revocations: Arc<Revocations>,
    tickets: Option<Arc<Tickets>>,
    webhooks: Option<Arc<Webhooks>>,
    topics: Arc<TopicAssignments>,
    control: Arc<Control>,
    gates: Arc<Gates>,
    topic_list: Arc<TopicList>,
    in_force: Vec<SettingInForce>,
    public: Arc<server::Public>,
}

impl Parts {
    pub(super) fn build(
        config: &Config,
        in_force: Vec<SettingInForce>,
        log: Arc<Log>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let (order, health) = (StopOrder::default(), Health::new(&config.internal.ready_requires));
        let fanout = Arc::new(Fanout::start(&log, &fanout_settings(config))?);
        let revocations = Arc::new(Revocations::new(config.auth.max_revocations));
        let tickets = build_tickets(config, &order.last)?;
        let instances = Arc::new(Instances::new(&config.instance));
        let webhooks = build_webhooks(config, &instances, &fanout)?;
        let cluster = build_cluster(config, &order, instances, &fanout, webhooks.as_ref());
        let surveys = Arc::clone(&cluster.surveys);
        let topic_list = Arc::new(TopicList::new(Arc::clone(&fanout), Arc::clone(&log), surveys));
        let connections =
            Connections::new(Arc::clone(&fanout), Arc::clone(&log), Arc::clone(&revocations), &cluster);
        let patience = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.timeout);
        let topics = Arc::new(TopicAssignments::new(Arc::clone(&log), Arc::clone(&fanout), patience));
        let control = Arc::new(Control::new(
            &config.auth,
            Rate { per_minute: u32::try_from(config.limits.topic_changes_per_minute).unwrap_or(u32::MAX) },
            Arc::clone(&fanout),
            Arc::clone(&revocations),
            Arc::clone(&topics),
            cluster,
            connections,
        ));
        let gates = Gates::start(
            &config.auth,
            (&config.public.backend, &config.proxy),
            tickets.clone(),
            &health,
            &order.serving,
        );
        let gates = Arc::new(gates.map_err(io::Error::other)?);
        let streams = Streams::new(
            subscribe::Settings {
                routes: &config.streams,
                auth: &config.auth,
                sse: &config.sse,
                limits: &config.limits,
            },
            Arc::clone(&gates),
            Arc::clone(&revocations),
            Arc::clone(&log),
            Arc::clone(&fanout),
            order.streams.clone(),
        );
        let public = build_public(config, &order, &health, Arc::new(streams), Arc::clone(&control))?;
        Ok(Self {
            order,
            health,
            metrics,
            log,
            fanout,
            revocations,
            tickets,
            webhooks,
            topics,
            control,
            gates,
            topic_list,
            in_force,
            public,
        })
    }

    /// Connects with Redis and the other instances, and serves.
    pub(super) fn start(self, config: &Config, listeners: Listeners) -> io::Result<Running> {
        let relay = self.start_redis(config)?;
        // Until the last stream has gone, so that the others learn of that, too.
        let events = PresencePublisher {
            publish: self.publish(relay.clone(), usize::MAX),
            publisher: Publisher::own("presence"),
        };
        self.control.live(Arc::new(events), &self.order.announcing);
        let internal = self.build_internal(config, relay)?;
        if let Some(redis) = config.redis.as_ref().filter(|redis| redis.requests) {
            let handler = Arc::new(InternalRequests(Arc::clone(&internal)));
            redis::start_requests(redis, max_body(config), handler, &self.order.serving)
                .map_err(io::Error::other)?;
        }
        let Self { order, metrics, log, fanout, revocations, webhooks, public, .. } = self;
        let StopOrder { serving, last, .. } = &order;
        let ((public_pulse, public_answers), (internal_pulse, internal_answers)) =
            (AcceptPulse::new(), AcceptPulse::new());
        let write_timeout = config.public.write_timeout;
        let limits =
            AcceptLimits { connections: config.internal.max_connections, descriptors: None, write_timeout };
        let serve =
            server::serve_watched((listeners.internal, internal_answers), internal, limits, last.clone());
        last.spawn_essential("internal listener", serve);
        let limits = AcceptLimits {
            connections: config.public.max_connections,
            descriptors: server::descriptors_for_strangers(),
            write_timeout,
        };
        let serve =
            server::serve_watched((listeners.public, public_answers), public, limits, serving.clone());
        serving.spawn_essential("public listener", serve);
        let vital = VitalParts {
            fanout: Arc::clone(&fanout),
            health: self.health,
            listeners: vec![public_pulse, internal_pulse],
        };
        last.spawn_essential("watchdog", watchdog::watch(vital, last.clone()));
        serving.spawn_essential("upkeep", upkeep(log, revocations, metrics, serving.clone()));
        Ok(Running { order, fanout, webhooks })
    }

    fn publish(&self, relay: Option<Arc<dyn Relay>>, max_batch: usize) -> PublishService {
        PublishService::new(Arc::clone(&self.log), Arc::clone(&self.fanout), relay, max_batch)
    }

    /// Starts what Redis is for, if there is one; gives back what `POST /publish` goes out by.
    fn start_redis(&self, config: &Config) -> io::Result<Option<Arc<dyn Relay>>> {
        let Some(redis) = &config.redis else { return Ok(None) };
        let limits = redis::RedisLimits {
            // What may be published by HTTP has to come back over Redis.
            max_message: max_body(config),
            idempotency_window: config.log.idempotency_window,
        };
        // Until everything else has ended: streams that wait for their turn in a drain miss nothing.
        let last = &self.order.last;
        let handles = redis::start_redis(redis, limits, &self.log, &self.topics, &self.health, last);
        let handles = handles.map_err(io::Error::other)?;
        self.topics.connect(handles.peers);
        let bus = redis::start_bus(redis, Arc::clone(&self.control), last).map_err(io::Error::other)?;
        self.control.connect(Arc::new(bus));
        Ok(Some(handles.relay))
    }

    fn build_internal(
        &self,
        config: &Config,
        relay: Option<Arc<dyn Relay>>,
    ) -> io::Result<Arc<server::Internal>> {
        let StopOrder { leaving, serving, last, .. } = &self.order;
        let keys = PublisherKeys::start(&config.internal, reserved_events(config), &self.health, serving)
            .map_err(io::Error::other)?;
        let dashboard = self.build_dashboard(config);
        let probes = server::Probes {
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            drain: leaving.clone(),
        };
        let internal = server::Internal::new(
            &config.internal,
            keys,
            self.publish(relay, config.internal.max_batch),
            Arc::clone(&self.log),
            Arc::clone(&self.control),
            probes,
            last.clone(),
        );
        let internal = match dashboard {
            Some(dashboard) => internal.with_dashboard(dashboard),
            None => internal,
        };
        Ok(Arc::new(match (&self.tickets, &config.auth.ticket) {
            (Some(tickets), Some(section)) => internal.with_tickets(Arc::clone(tickets), section),
            _ => internal,
        }))
    }
}

impl Parts {
    /// What the dashboard needs, where it is on.
    fn build_dashboard(&self, config: &Config) -> Option<server::Dashboard> {
        if !config.dashboard.is_on() {
            return None;
        }
        let me = self.control.instances().me();
        let identity = BoardIdentity {
            id: me.id.to_string(),
            name: me.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            public: config.public.listen.to_string(),
            tls: config.public.tls.is_some(),
            streams: config.streams.iter().map(|stream| stream.path.clone()).collect(),
            redis: config.redis.as_ref().map(|redis| BoardRedis {
                address: redis.place(),
                prefix: redis.prefix.clone(),
                stream: redis.stream.as_ref().map(|stream| stream.key.clone()),
            }),
        };
        let StopOrder { serving, last, .. } = &self.order;
        let (metrics, health) = (self.metrics.clone(), self.health.clone());
        let board = Board::new(identity, metrics, health, Arc::clone(&self.log), serving.clone());
        let board = Arc::new(board);
        last.spawn_essential("dashboard", Arc::clone(&board).run(last.clone()));
        Some(server::Dashboard {
            keys: DashboardKeys::new(&config.dashboard),
            board,
            topics: Arc::clone(&self.topic_list),
            gates: Arc::clone(&self.gates),
            streams: config.streams.clone(),
            jwt: config.auth.jwt.clone(),
            in_force: self.in_force.clone(),
            publisher: Arc::new(Publisher::own("dashboard")),
        })
    }
}

pub(super) fn build_log(config: &Config) -> Arc<Log> {
    let follows = config.redis.as_ref().is_some_and(|redis| redis.stream.is_some());
    let retention = retention(&config.log);
    let log = if follows { Log::following(retention) } else { Log::new(retention) };
    let given = MemberBounds { topics: config.limits.topics_per_stream, all: config.limits.given_topics };
    Arc::new(log.with_format(config.sse.events).bounded(given))
}

/// Makes what makes tickets, if they are configured. With Redis each is good once on all instances.
fn build_tickets(config: &Config, last: &Drain) -> io::Result<Option<Arc<Tickets>>> {
    let Some(section) = &config.auth.ticket else { return Ok(None) };
    let once = match &config.redis {
        Some(redis) => Some(redis::start_first_use(redis, last).map_err(io::Error::other)?),
        None => None,
    };
    let once = once.map(|once| Arc::new(once) as Arc<dyn FirstUse>);
    Ok(Some(Arc::new(Tickets::new(section, once))))
}

/// Makes what tells other servers of streams, if there is anybody to tell.
fn build_webhooks(
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

fn build_cluster(
    config: &Config,
    order: &StopOrder,
    instances: Arc<Instances>,
    fanout: &Arc<Fanout>,
    webhooks: Option<&Arc<Webhooks>>,
) -> Cluster {
    let surveys = Arc::new(Surveys::new(Arc::clone(&instances), order.last.clone()));
    let wants = |event| webhooks.is_some_and(|webhooks| webhooks.wants(event));
    let presence = Presence::new(
        &config.presence,
        Arc::clone(&instances),
        Arc::clone(&surveys),
        Arc::clone(fanout),
        wants(HookEvent::TopicOccupied) || wants(HookEvent::TopicEmpty),
        config.redis.is_none(),
    );
    if let Some(webhooks) = webhooks {
        presence.heed(Arc::new(WebhookNotifier(Arc::clone(webhooks))));
    }
    Cluster { instances, surveys, presence: Arc::new(presence) }
}

fn build_public(
    config: &Config,
    order: &StopOrder,
    health: &Health,
    streams: Arc<Streams>,
    control: Arc<Control>,
) -> io::Result<Arc<server::Public>> {
    let backend = health.depend_on("backend", false);
    let StopOrder { streams: closing, serving, .. } = order;
    let proxy = Proxy::new(&config.public.backend, &config.proxy, backend, serving.clone())
        .map_err(io::Error::other)?
        .closing_upgrades(closing.clone(), config.drain.window);
    let notices = server::PublicNotices { closing: closing.clone(), stop: serving.clone() };
    let public = server::Public::new(&config.public, &config.cors, streams, control, proxy, notices)
        .marking_requests(&config.proxy, config.telemetry.log_requests);
    Ok(Arc::new(match &config.public.tls {
        Some(files) => {
            public.with_certificate(server::Certificate::keep(files, serving).map_err(io::Error::other)?)
        }
        None => public,
    }))
}

/// The largest message: what may be published by HTTP, and is asked over Redis.
fn max_body(config: &Config) -> usize {
    usize::try_from(config.internal.max_body.0).unwrap_or(usize::MAX)
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
