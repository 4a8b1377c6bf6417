//! What answers requests, made of one configuration: at the start, and at each reload beside the one before, from which
//! it takes over what is configured as it was.

use std::io;
use std::sync::Arc;

use crate::app::base::Base;
use crate::app::settings::reserved_events;
use crate::app::stop::StopOrder;
use crate::auth::{Gates, Publisher, PublisherKeys, Tickets};
use crate::capture::Captures;
use crate::config;
use crate::config::CheckedConfig;
use crate::config::Config;
use crate::dashboard::DashboardKeys;
use crate::proxy::Proxy;
use crate::publish::{InboundHooks, PusherApps};
use crate::server;
use crate::server::{Certificate, CertificateOf, HookDoor, ReloadRequests};
use crate::subscribe;
use crate::subscribe::Streams;

/// How callers are verified, and the public listener's answers. Nothing of it works in the background yet that the one
/// before did not have.
pub(super) struct PublicSide {
    pub(super) tickets: Option<Arc<Tickets>>,
    pub(super) gates: Arc<Gates>,
    pub(super) public: Arc<server::Public>,
    pub(super) hooks: Option<Arc<HookDoor>>,
}

impl PublicSide {
    pub(super) fn build(config: &Config, base: &Arc<Base>, before: Option<&Self>) -> io::Result<Self> {
        let StopOrder { streams: closing, serving, .. } = &base.order;
        let tickets = match &config.auth.ticket {
            Some(section) => {
                let before = before.and_then(|before| before.tickets.as_ref());
                Some(Tickets::renewed(section, before, base.first_use(config)?))
            }
            None => None,
        };
        let backend = (&config.public.backend, &config.proxy);
        let gates = Gates::new(
            &config.auth,
            &config.outbound,
            backend,
            tickets.clone(),
            before.map(|before| &*before.gates),
            serving,
        );
        let gates = Arc::new(gates.map_err(io::Error::other)?);
        let settings = subscribe::Settings {
            routes: &config.streams,
            auth: &config.auth,
            sse: &config.sse,
            limits: &config.limits,
            rates: &base.rates,
            memory: &base.memory,
        };
        let streams = match before {
            Some(before) => before.public.streams().renewed(settings, Arc::clone(&gates)),
            None => Streams::new(
                settings,
                Arc::clone(&gates),
                Arc::clone(&base.revocations),
                Arc::clone(&base.log),
                Arc::clone(&base.fanout),
                closing.clone(),
            ),
        };
        let before = before.map(|before| &*before.public);
        let proxy = match before.map(server::Public::proxy) {
            Some(proxy) if proxy.is_of(backend.0, backend.1) => proxy.clone(),
            before => {
                let drains = (serving.clone(), base.order.no_waiting.clone());
                Proxy::new(backend.0, backend.1, base.backend.clone(), drains, before)
                    .map_err(io::Error::other)?
            }
        };
        let proxy = proxy.closing_upgrades(closing.clone(), config.drain.window);
        let kept = before.and_then(server::Public::certificate);
        let certificate = keep_certificate(CertificateOf::Public, config.public.tls.as_ref(), kept, serving)?;
        base.share_recordings(config)?;
        let verifying = (Arc::clone(&gates), Arc::clone(&base.revocations));
        let captures = Captures::new(config, &base.recordings, proxy.clone(), verifying, serving.clone());
        let public = server::Public::new(
            &config.public,
            &config.cors,
            Arc::new(streams),
            Arc::clone(&base.control),
            proxy,
            certificate,
            Arc::clone(&base.rates),
        )
        .reading(Arc::clone(&base.upstreams))
        .marking_requests(&config.proxy, config.telemetry.log_requests)
        .capturing(captures);
        let for_pages = Arc::clone(base);
        let max = usize::try_from(config.limits.page_event.0).unwrap_or(usize::MAX);
        let public = public.publishing_for_pages(move || for_pages.publish(1), max);
        let hooks = build_hooks(config, base);
        let public = public.with_hooks(hooks.clone());
        Ok(Self { tickets, gates, public: Arc::new(public), hooks })
    }
}

/// The certificate of a listener; the one before where it is of the same files.
fn keep_certificate(
    of: CertificateOf,
    files: Option<&config::Tls>,
    before: Option<&Certificate>,
    drain: &crate::shutdown::Drain,
) -> io::Result<Option<Certificate>> {
    let Some(files) = files else { return Ok(None) };
    match before {
        Some(certificate) if certificate.is_of(files) => Ok(Some(certificate.clone())),
        _ => Certificate::keep(of, files, drain).map(Some).map_err(io::Error::other),
    }
}

/// What takes requests to hooks, on both listeners.
fn build_hooks(config: &Config, base: &Base) -> Option<Arc<HookDoor>> {
    let publish = || base.publish(config.internal.max_batch);
    let reserved = reserved_events(config);
    let hooks = InboundHooks::new(&config.internal.hooks, publish(), &reserved);
    let pusher = PusherApps::new(&config.internal.pusher, publish(), &reserved);
    let is_any = hooks.is_some() || pusher.is_some();
    is_any.then(|| Arc::new(HookDoor::new(hooks, pusher, &config.internal)))
}

/// What opens the internal listener: the keys, of which nothing works in the background yet, and the certificate.
pub(super) fn build_keys(
    config: &Config,
    base: &Base,
    before: Option<&server::Internal>,
) -> io::Result<(PublisherKeys, Option<Certificate>)> {
    let kept = before.and_then(server::Internal::certificate);
    let certificate =
        keep_certificate(CertificateOf::Internal, config.internal.tls.as_ref(), kept, &base.order.last)?;
    let before = before.map(server::Internal::keys);
    let keys = PublisherKeys::of(&config.internal, &config.outbound, reserved_events(config), before)
        .map_err(io::Error::other)?;
    Ok((keys, certificate))
}

/// The internal listener's answers.
pub(super) fn build_internal(
    CheckedConfig { config, in_force, .. }: &CheckedConfig,
    base: &Base,
    side: &PublicSide,
    (keys, certificate): (PublisherKeys, Option<Certificate>),
    before: Option<&server::Internal>,
    reloads: Option<ReloadRequests>,
) -> Arc<server::Internal> {
    let StopOrder { leaving, last, .. } = &base.order;
    let probes =
        server::Probes { health: base.health.clone(), metrics: base.metrics.clone(), drain: leaving.clone() };
    let hooks = side.hooks.clone();
    let mut internal = server::Internal::new(
        &config.internal,
        keys,
        base.publish(config.internal.max_batch),
        Arc::clone(&base.log),
        (Arc::clone(&base.control), Arc::clone(&base.topic_list), Arc::clone(&base.recordings)),
        probes,
        last.clone(),
    )
    .with_certificate(certificate)
    .with_take_backs(Arc::clone(&base.take_backs), Arc::clone(&base.ends))
    .with_polls(Arc::clone(side.public.streams()), Arc::clone(&base.upstreams));
    if config.dashboard.is_on() {
        let keys = match before.and_then(server::Internal::dashboard_keys) {
            Some(keys) => keys.renewed(&config.dashboard),
            None => DashboardKeys::new(&config.dashboard),
        };
        internal = internal.with_dashboard(server::Dashboard {
            keys,
            board: base.board(config),
            gates: Arc::clone(&side.gates),
            streams: config.streams.clone(),
            jwt: config.auth.jwt.clone(),
            in_force: in_force.clone(),
            publisher: Arc::new(Publisher::own("dashboard")),
        });
    }
    if let (Some(tickets), Some(section)) = (&side.tickets, &config.auth.ticket) {
        internal = internal.with_tickets(Arc::clone(tickets), section);
    }
    internal = internal.with_hooks(hooks);
    if let Some(reloads) = reloads {
        internal = internal.with_reload(reloads);
    }
    Arc::new(internal)
}
