//! What outlives a reload: the log, the streams that are open, what other instances are told, and the notices to stop.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::app::adapters::WebhookNotifier;
use crate::app::settings::{
    end_bounds, fanout_settings, member_bounds, page_changes, rate_settings, retention, state_bounds,
};
use crate::app::stop::StopOrder;
use crate::auth::{FirstUse, Revocations};
use crate::capture::{HolderInbox, Recordings};
use crate::config::{Config, HookEvent, ListenAddress, StreamSource};
use crate::control::{
    Cluster, Connections, Control, Instances, Presence, Surveys, TakeBacks, TopicAssignments, TopicEnds,
    TopicList,
};
use crate::dashboard::{Board, BoardIdentity, BoardRedis};
use crate::fanout::{Fanout, Watcher};
use crate::health::{Health, Reporter};
use crate::log::Log;
use crate::memory::Memory;
use crate::publish::{PublishService, Relay};
use crate::rate::Rates;
use crate::redis;
use crate::redis::{ChannelUpdates, CommandReaders};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;
use crate::webhooks::Webhooks;

/// Everything that there is one of in a daemon's life.
pub(super) struct Base {
    pub(super) order: StopOrder,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) log: Arc<Log>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) topics: Arc<TopicAssignments>,
    pub(super) take_backs: Arc<TakeBacks>,
    pub(super) ends: Arc<TopicEnds>,
    pub(super) control: Arc<Control>,
    pub(super) topic_list: Arc<TopicList>,
    pub(super) rates: Arc<Rates>,
    pub(super) memory: Arc<Memory>,
    /// The application's streams that are read here.
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) recordings: Arc<Recordings>,
    /// Whoever forwards to the backend says how it stands.
    pub(super) backend: Reporter,
    /// Whether topics are counted, so that webhooks can be told of them.
    pub(super) counts_topics: bool,
    /// What `POST /publish` goes out by, and the channels that are listened to; there once Redis is started.
    pub(super) redis: OnceLock<(Arc<dyn Relay>, ChannelUpdates)>,
    first_use: OnceLock<Arc<dyn FirstUse>>,
    board: OnceLock<Arc<Board>>,
}

impl Base {
    pub(super) fn build(config: &Config, log: Arc<Log>, metrics: Metrics) -> io::Result<Self> {
        let (order, health) = (StopOrder::default(), Health::new(&config.internal.ready_requires));
        let fanout = Arc::new(Fanout::start(&log, &fanout_settings(config))?);
        let revocations = Arc::new(Revocations::new(config.auth.max_revocations));
        let instances = Arc::new(Instances::new(&config.instance));
        let webhooks = build_webhooks(config, &instances, &fanout)?;
        let counts_topics = webhooks.wants(HookEvent::TopicOccupied) || webhooks.wants(HookEvent::TopicEmpty);
        let cluster = build_cluster(config, &order, instances, &fanout, &webhooks, counts_topics);
        let surveys = Arc::clone(&cluster.surveys);
        let topic_list = Arc::new(TopicList::new(Arc::clone(&fanout), Arc::clone(&log), surveys));
        let connections =
            Connections::new(Arc::clone(&fanout), Arc::clone(&log), Arc::clone(&revocations), &cluster);
        let patience = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.timeout);
        let topics = Arc::new(TopicAssignments::new(Arc::clone(&log), Arc::clone(&fanout), patience));
        let take_backs = Arc::new(TakeBacks::new(Arc::clone(&log), patience, order.last.clone()));
        let ends = Arc::new(TopicEnds::new(Arc::clone(&log), patience));
        let control = Arc::new(Control::new(
            &config.auth,
            page_changes(&config.limits),
            Arc::clone(&fanout),
            Arc::clone(&revocations),
            Arc::clone(&topics),
            cluster,
            connections,
        ));
        let upstreams = Upstreams::new(Arc::clone(&log), Arc::clone(&fanout), order.serving.clone());
        let backend = health.depend_on("backend", false);
        Ok(Self {
            order,
            health,
            metrics,
            log,
            fanout,
            revocations,
            webhooks,
            topics,
            take_backs,
            ends,
            control,
            topic_list,
            rates: Arc::new(Rates::new(&rate_settings(&config.limits))),
            memory: Memory::new(config.limits.memory),
            upstreams: Arc::new(upstreams),
            recordings: Recordings::new(&config.limits),
            backend,
            counts_topics,
            redis: OnceLock::new(),
            first_use: OnceLock::new(),
            board: OnceLock::new(),
        })
    }

    /// Publishes to the log, or over Redis where that is shared.
    pub(super) fn publish(&self, max_batch: usize) -> PublishService {
        let relay = self.redis.get().map(|(relay, _)| Arc::clone(relay));
        let rates = Arc::clone(&self.rates);
        PublishService::new(Arc::clone(&self.log), Arc::clone(&self.fanout), relay, max_batch, rates)
    }

    /// Starts what Redis is for, if there is one.
    pub(super) fn start_redis(&self, config: &Config) -> io::Result<()> {
        let Some(redis) = &config.redis else { return Ok(()) };
        let limits = redis::RedisLimits {
            // What may be published by HTTP has to come back over Redis.
            max_message: max_body(config),
            idempotency_window: config.log.idempotency_window,
            max_source_event: config
                .streams
                .iter()
                .map(|stream| max_event(&stream.source))
                .max()
                .unwrap_or(0),
        };
        // Until everything else has ended: streams that wait for their turn in a drain miss nothing.
        let last = &self.order.last;
        let readers = CommandReaders {
            topics: Arc::clone(&self.topics),
            take_backs: Arc::clone(&self.take_backs),
            ends: Arc::clone(&self.ends),
            upstreams: Arc::clone(&self.upstreams),
        };
        let handles = redis::start_redis(redis, limits, &self.log, &readers, &self.health, last);
        let handles = handles.map_err(io::Error::other)?;
        self.topics.connect(Arc::clone(&handles.peers));
        self.ends.connect(handles.peers);
        self.take_backs.connect(handles.take_backs);
        let bus = redis::start_bus(redis, Arc::clone(&self.control), last).map_err(io::Error::other)?;
        self.control.connect(Arc::new(bus));
        if let Some(leases) = handles.leases {
            self.upstreams.share(leases);
        }
        let _ = self.redis.set((handles.relay, handles.channels));
        Ok(())
    }

    /// With Redis each ticket is good once on all instances: who tells. Started when tickets are first configured.
    pub(super) fn first_use(&self, config: &Config) -> io::Result<Option<Arc<dyn FirstUse>>> {
        let Some(redis) = &config.redis else { return Ok(None) };
        if self.first_use.get().is_none() {
            let once = redis::start_first_use(redis, &self.order.last).map_err(io::Error::other)?;
            let _ = self.first_use.set(Arc::new(once));
        }
        Ok(self.first_use.get().cloned())
    }

    /// With the log in a Redis stream, recorded answers are in Redis, too. Started when they are first configured.
    pub(super) fn share_recordings(&self, config: &Config) -> io::Result<()> {
        let redis = config.redis.as_ref().filter(|redis| redis.stream.is_some());
        let Some(redis) = redis.filter(|_| !config.captures.is_empty() && !self.recordings.is_shared())
        else {
            return Ok(());
        };
        let me = self.control.instances().me().id.to_string();
        let inbox = Arc::clone(&self.recordings) as Arc<dyn HolderInbox>;
        let store = redis::start_captures(redis, &me, inbox, &self.order.last).map_err(io::Error::other)?;
        self.recordings.share_by(store);
        Ok(())
    }

    /// What the dashboard shows. Started when it is first configured.
    pub(super) fn board(&self, config: &Config) -> Arc<Board> {
        let StopOrder { serving, last, .. } = &self.order;
        let start = || {
            let (metrics, health) = (self.metrics.clone(), self.health.clone());
            let identity = self.identity(config);
            let board =
                Arc::new(Board::new(identity, metrics, health, Arc::clone(&self.log), serving.clone()));
            last.spawn_essential("dashboard", Arc::clone(&board).run(last.clone()));
            board
        };
        Arc::clone(self.board.get_or_init(start))
    }

    /// What the daemon says of itself from now on.
    pub(super) fn identify(&self, config: &Config) {
        if let Some(board) = self.board.get() {
            board.identify(self.identity(config));
        }
    }

    fn identity(&self, config: &Config) -> BoardIdentity {
        let me = self.control.instances().me();
        BoardIdentity {
            id: me.id.to_string(),
            name: me.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            public: reached_at(&config.public.listen),
            tls: config.public.tls.is_some(),
            streams: config.streams.iter().map(|stream| stream.path.clone()).collect(),
            redis: config.redis.as_ref().map(|redis| BoardRedis {
                address: redis.place(),
                prefix: redis.prefix.clone(),
                stream: redis.stream.as_ref().map(|stream| stream.key.clone()),
            }),
        }
    }
}

pub(super) fn build_log(config: &Config) -> Arc<Log> {
    let follows = config.redis.as_ref().is_some_and(|redis| redis.stream.is_some());
    let retention = retention(&config.log);
    let log = if follows { Log::following(retention) } else { Log::new(retention) };
    let retracted = config.sse.retracted_as.0.clone();
    if let Some(bounds) = state_bounds(config) {
        log.keep_state(bounds);
    }
    log.remember_topics(config.limits.remembered_topics);
    log.remember_ends(end_bounds(&config.limits));
    Arc::new(
        log.with_format(config.sse.events).bounded(member_bounds(&config.limits)).retracted_as(retracted),
    )
}

/// One address of several, if it can be one with a port.
fn reached_at(addresses: &[ListenAddress]) -> String {
    let with_port = addresses.iter().find(|address| address.tcp().is_some());
    with_port.or(addresses.first()).map(ToString::to_string).unwrap_or_default()
}

/// The largest message: what may be published by HTTP, and is asked over Redis.
pub(super) fn max_body(config: &Config) -> usize {
    usize::try_from(config.internal.max_body.0).unwrap_or(usize::MAX)
}

/// The largest event that is read of the application for a route.
fn max_event(source: &StreamSource) -> usize {
    if source.is_upstream() { usize::try_from(source.max_event.0).unwrap_or(usize::MAX) } else { 0 }
}

/// Makes what tells other servers of streams.
fn build_webhooks(config: &Config, instances: &Instances, fanout: &Fanout) -> io::Result<Arc<Webhooks>> {
    let me = serde_json::to_value(instances.me()).expect("texts are JSON");
    let webhooks = Arc::new(Webhooks::new(me));
    webhooks.tell(webhooks.prepare(&config.webhooks, &config.outbound).map_err(io::Error::other)?);
    // Streams are looked at only if there is anybody to tell.
    if webhooks.are_told() && !webhooks.watches() {
        fanout.watch(&(Arc::clone(&webhooks) as Arc<dyn Watcher>));
    }
    Ok(webhooks)
}

fn build_cluster(
    config: &Config,
    order: &StopOrder,
    instances: Arc<Instances>,
    fanout: &Arc<Fanout>,
    webhooks: &Arc<Webhooks>,
    counts_topics: bool,
) -> Cluster {
    let surveys = Arc::new(Surveys::new(Arc::clone(&instances), order.last.clone()));
    let presence = Presence::new(
        &config.presence,
        Arc::clone(&instances),
        Arc::clone(&surveys),
        Arc::clone(fanout),
        counts_topics,
        config.redis.is_none(),
    );
    presence.heed(Arc::new(WebhookNotifier(Arc::clone(webhooks))));
    Cluster { instances, surveys, presence: Arc::new(presence) }
}
