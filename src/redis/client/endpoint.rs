//! Which Redis to talk to: the one of the URL, the master that Sentinels name, or the node of a Cluster that holds a
//! key.
//!
//! Who that is is asked anew for every connection, so that a failover is followed by connecting again; so are the
//! operator's files of addresses, passwords and certificates. This file must not know what the connection is for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tracing::warn;

use crate::config;
use crate::lock::Mutex;
use crate::net::tls;
use crate::net::tls::{Identity, Trust};
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::discovery::{ask_nodes, ask_sentinels};
use crate::redis::client::error::RedisError;
use crate::redis::client::slot::slot_of;
use crate::redis::client::url::{Address, BadRedisUrl, HostOrSocket};
use crate::telemetry::CERTIFICATE_EXPIRY;

/// Where connections lead.
pub(in crate::redis) struct Endpoint {
    current: Mutex<Arc<RedisTarget>>,
    /// What it was made of, where some of that stands in files.
    files: Option<Mutex<RedisFiles>>,
    /// What decides on the node of a Cluster.
    key: String,
}

struct RedisFiles {
    settings: config::Redis,
    /// What was wrong when they were read last; then what was known before holds.
    problem: Option<String>,
}

struct RedisTarget {
    /// With Sentinels and in a Cluster only user, password and database of it count.
    who: Address,
    place: RedisPlace,
}

enum RedisPlace {
    Fixed,
    Sentinels {
        master: String,
        /// The one that answered last comes first.
        sentinels: Mutex<Vec<Address>>,
    },
    Cluster {
        slot: u16,
        /// Those of the configuration, then those that were learnt; the one that answered last comes first.
        nodes: Mutex<Vec<HostOrSocket>>,
    },
}

impl Endpoint {
    /// `key` decides on the node of a Cluster.
    pub(in crate::redis) fn new(settings: &config::Redis, key: &str) -> Result<Self, BadRedisUrl> {
        let current = Mutex::new(Arc::new(RedisTarget::new(settings, key)?));
        let files = || Mutex::new(RedisFiles { settings: settings.clone(), problem: None });
        Ok(Self { current, files: settings.has_files().then(files), key: key.to_owned() })
    }

    /// The one at `address`, for good.
    #[cfg(test)]
    pub(in crate::redis) fn at(who: Address) -> Self {
        let current = Mutex::new(Arc::new(RedisTarget { who, place: RedisPlace::Fixed }));
        Self { current, files: None, key: String::new() }
    }

    /// A connection to the server that it is now: each step takes at the longest `limit`. Of what is received no text
    /// is kept that is longer than `max_text`.
    pub(in crate::redis) async fn open(
        &self,
        limit: Duration,
        max_text: usize,
    ) -> Result<RedisConnection, RedisError> {
        self.read_files().await;
        let target = self.current();
        let RedisTarget { who, place } = &*target;
        match place {
            RedisPlace::Fixed => RedisConnection::open(who, limit, max_text).await,
            RedisPlace::Sentinels { master, sentinels } => {
                let location = ask_sentinels(sentinels, master, limit).await?;
                let mut connection =
                    RedisConnection::open(&Address { location, ..who.clone() }, limit, max_text).await?;
                // A Sentinel may not have heard yet, and the old master may be back as a replica.
                connection.is_master(limit).await?;
                Ok(connection)
            }
            RedisPlace::Cluster { slot, nodes } => {
                let location = ask_nodes(nodes, who, *slot, limit).await?;
                RedisConnection::open(&Address { location, ..who.clone() }, limit, max_text).await
            }
        }
    }

    /// Takes up what the files hold now. What cannot be used is logged once, and the last good state stays.
    async fn read_files(&self) {
        let Some(files) = &self.files else { return };
        let settings = files.lock().settings.clone();
        let key = self.key.clone();
        let read = move || {
            let again = settings.read_again()?;
            if again == settings {
                return Ok(None);
            }
            let target = RedisTarget::new(&again, &key).map_err(|bad| bad.to_string())?;
            Ok(Some((again, target)))
        };
        let read = tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err("unreadable".to_owned()));
        let mut files = files.lock();
        let problem = match read {
            Ok(Some((settings, target))) => {
                files.settings = settings;
                *self.current.lock() = Arc::new(target);
                None
            }
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        let is_news = files.problem != problem;
        files.problem.clone_from(&problem);
        drop(files);
        if let Some(problem) = problem.filter(|_| is_news) {
            warn!(redis = %self, problem, "files of [redis] cannot be used now; what they held before holds");
        }
    }

    fn current(&self) -> Arc<RedisTarget> {
        Arc::clone(&self.current.lock())
    }

    /// The connection that `open` gave failed, or it gave none: the one that said where to go may not know it, and
    /// another one is asked next time.
    pub(in crate::redis) fn doubt(&self) {
        match &self.current().place {
            RedisPlace::Fixed => {}
            RedisPlace::Sentinels { sentinels, .. } => rotate(&mut sentinels.lock()),
            RedisPlace::Cluster { nodes, .. } => rotate(&mut nodes.lock()),
        }
    }

    /// Whether another Redis may take the location of the one that is connected.
    pub(in crate::redis) fn may_move(&self) -> bool {
        matches!(self.current().place, RedisPlace::Sentinels { .. })
    }

    /// In a Cluster, the slot that it is connected for.
    pub(in crate::redis) fn slot(&self) -> Option<u16> {
        match self.current().place {
            RedisPlace::Cluster { slot, .. } => Some(slot),
            _ => None,
        }
    }

    /// What must not stand in a log line.
    pub(in crate::redis) fn secret(&self) -> Option<config::Secret> {
        self.current().who.password.clone()
    }
}

fn rotate<T>(asked: &mut [T]) {
    if !asked.is_empty() {
        asked.rotate_left(1);
    }
}

impl RedisTarget {
    fn new(settings: &config::Redis, key: &str) -> Result<Self, BadRedisUrl> {
        let tls = if settings.speaks_tls() { Some(tls_of(settings)?) } else { None };
        let parse = |url| {
            let address = Address::parse(url, tls.as_ref())?;
            Ok(Address { server_name: settings.server_name.clone(), ..address })
        };
        let mut who = parse(&settings.url)?;
        who.user = settings.username.clone().or(who.user);
        who.password = settings.password.clone().or(who.password);
        if !settings.sentinels.is_empty() {
            let scheme = if Address::is_secure(&settings.url) { "rediss" } else { "redis" };
            let with_scheme = |sentinel: &config::Secret| match sentinel.expose() {
                text if text.contains("://") => sentinel.clone(),
                text => config::Secret::new(format!("{scheme}://{text}")),
            };
            let sentinels: Vec<_> = settings.sentinels.iter().map(with_scheme).collect();
            let sentinels = Mutex::new(sentinels.iter().map(parse).collect::<Result<_, _>>()?);
            return Ok(Self {
                who,
                place: RedisPlace::Sentinels { master: settings.master.clone(), sentinels },
            });
        }
        if !settings.nodes.is_empty() {
            let location = |node: &String| {
                let (host, port) = node.rsplit_once(':')?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Some(HostOrSocket::Tcp { host, port: port.parse().ok()? })
            };
            let nodes = Mutex::new(settings.nodes.iter().filter_map(location).collect());
            return Ok(Self { who, place: RedisPlace::Cluster { slot: slot_of(key.as_bytes()), nodes } });
        }
        Ok(Self { who, place: RedisPlace::Fixed })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.current();
        match &target.place {
            RedisPlace::Fixed => target.who.fmt(f),
            RedisPlace::Sentinels { master, .. } => write!(f, "the master {master} of the Sentinels"),
            RedisPlace::Cluster { slot, .. } => write!(f, "the cluster's node of slot {slot}"),
        }
    }
}

fn tls_of(settings: &config::Redis) -> Result<Arc<ClientConfig>, BadRedisUrl> {
    let trust = match &settings.authorities {
        _ if !settings.pins.is_empty() => Trust::Keys(&settings.pins),
        Some(text) => Trust::Only(text.as_bytes()),
        None => Trust::System,
    };
    let identity = settings.identity.as_ref().map(|(certificate, key)| Identity {
        chain: certificate.expose().as_bytes(),
        key: key.expose().as_bytes(),
    });
    let tls = tls::client(trust, identity, &[]).map_err(|bad| BadRedisUrl::Tls(bad.to_string()))?;
    if let Some(end) = identity.and_then(|own| config::certificate_end(own.chain)) {
        metrics::gauge!(CERTIFICATE_EXPIRY, "certificate" => "redis").set(end.as_secs_f64());
    }
    Ok(tls)
}
