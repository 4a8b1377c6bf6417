//! What the internal listener has to answer with.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;

use crate::auth::{Publisher, PublisherKeys, Tickets};
use crate::capture::Recordings;
use crate::config;
use crate::control::{Control, TakeBacks, TopicEnds, TopicList};
use crate::dashboard::DashboardKeys;
use crate::log::Log;
use crate::publish::PublishService;
use crate::server::hooks::HookDoor;
use crate::server::internal::body::BodyLimits;
use crate::server::internal::dashboard_parts::Dashboard;
use crate::server::internal::health::Probes;
use crate::server::internal::hosts::Hosts;
use crate::server::internal::polls::Polls;
use crate::server::internal::reload::ReloadRequests;
use crate::server::internal::tickets::TicketMint;
use crate::server::net::certificate::Certificate;
use crate::shutdown::Drain;
use crate::subscribe::Streams;
use crate::telemetry::CONNECTIONS_OPEN;
use crate::upstream::Upstreams;

/// What serves the internal listener's connections.
pub struct Internal {
    pub(super) hosts: Hosts,
    pub(super) keys: PublisherKeys,
    /// The publisher of requests that come over Redis.
    pub(super) trusted: Arc<Publisher>,
    pub(super) mint: Option<TicketMint>,
    pub(super) publish: PublishService,
    pub(super) hooks: Option<Arc<HookDoor>>,
    pub(super) control: Arc<Control>,
    pub(super) topics: Arc<TopicList>,
    pub(super) take_backs: Option<(Arc<TakeBacks>, Arc<TopicEnds>)>,
    pub(super) recordings: Arc<Recordings>,
    pub(super) polls: Option<Polls>,
    pub(super) head_timeout: Duration,
    pub(super) body: BodyLimits,
    pub(super) log: Arc<Log>,
    pub(super) probes: Probes,
    pub(super) dashboard: Option<Dashboard>,
    pub(super) reload: Option<ReloadRequests>,
    pub(super) certificate: Option<Certificate>,
    pub(super) close: Drain,
    pub(super) open: Gauge,
}

impl Internal {
    /// `close` is the notice to end the listener's own connections; it comes after the drain, so that `/readyz`
    /// can tell of that.
    pub fn new(
        section: &config::Internal,
        keys: PublisherKeys,
        publish: PublishService,
        log: Arc<Log>,
        (control, topics, recordings): (Arc<Control>, Arc<TopicList>, Arc<Recordings>),
        probes: Probes,
        close: Drain,
    ) -> Self {
        Self {
            hosts: Hosts::new(&section.hosts),
            keys,
            trusted: Arc::new(Publisher::own("redis")),
            mint: None,
            publish,
            hooks: None,
            control,
            topics,
            take_backs: None,
            recordings,
            polls: None,
            head_timeout: section.head_timeout,
            body: BodyLimits::new(section.max_body.0, section.body_timeout),
            log,
            probes,
            dashboard: None,
            reload: None,
            certificate: None,
            close,
            open: metrics::gauge!(CONNECTIONS_OPEN, "listener" => "internal"),
        }
    }

    /// Answers `POST /tickets`, too.
    pub fn with_tickets(mut self, tickets: Arc<Tickets>, section: &config::AuthTicket) -> Self {
        self.mint = Some(TicketMint::new(tickets, section));
        self
    }

    /// Takes events back, and ends topics, too.
    pub fn with_take_backs(self, take_backs: Arc<TakeBacks>, ends: Arc<TopicEnds>) -> Self {
        Self { take_backs: Some((take_backs, ends)), ..self }
    }

    /// Answers `POST /poll/{path}`, too.
    pub fn with_polls(self, streams: Arc<Streams>, upstreams: Arc<Upstreams>) -> Self {
        Self { polls: Some(Polls { streams, upstreams }), ..self }
    }

    /// Answers `POST /hooks/{name}`, too.
    pub fn with_hooks(self, hooks: Option<Arc<HookDoor>>) -> Self {
        Self { hooks, ..self }
    }

    /// Answers `POST /reload`, too.
    pub fn with_reload(self, requests: ReloadRequests) -> Self {
        Self { reload: Some(requests), ..self }
    }

    /// Takes TLS only but over Unix sockets, and shows this certificate.
    pub fn with_certificate(self, certificate: Option<Certificate>) -> Self {
        Self { certificate, ..self }
    }

    /// What clients are shown.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Who may publish, and ask.
    pub fn keys(&self) -> &PublisherKeys {
        &self.keys
    }

    /// Who may see the dashboard, if there is one.
    pub fn dashboard_keys(&self) -> Option<&DashboardKeys> {
        self.dashboard.as_ref().map(|dashboard| &dashboard.keys)
    }

    /// The same listener with a dashboard.
    pub fn with_dashboard(self, dashboard: Dashboard) -> Self {
        Self { dashboard: Some(dashboard), ..self }
    }
}
