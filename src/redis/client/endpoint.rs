//! Which Redis to talk to: the one of the URL, the master that Sentinels name, or the node of a Cluster that holds a
//! key.
//!
//! Who that is is asked anew for every connection, so that a failover is followed by connecting again. This file must
//! not know what the connection is for.

use crate::lock::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::config;
use crate::net::tls;
use crate::net::tls::{Identity, Trust};
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::slot::slot_of;
use crate::redis::client::url::{Address, BadRedisUrl, HostOrSocket};

/// Longest answer to a question about where to go.
const MAX_ANSWER: usize = 64 << 10;
/// Nodes of a Cluster that are kept in mind.
const MAX_NODES: usize = 1000;

/// Where connections lead.
pub(in crate::redis) enum Endpoint {
    One(Address),
    Sentinels {
        /// Of which only user, password and database count.
        who: Address,
        master: String,
        /// The one that answered last comes first.
        sentinels: Mutex<Vec<Address>>,
    },
    Cluster {
        /// Of which only user and password count.
        who: Address,
        slot: u16,
        /// Those of the configuration, then those that were learnt; the one that answered last comes first.
        nodes: Mutex<Vec<HostOrSocket>>,
    },
}

impl Endpoint {
    /// `key` decides on the node of a Cluster.
    pub(in crate::redis) fn new(settings: &config::Redis, key: &str) -> Result<Self, BadRedisUrl> {
        let secure = std::iter::once(&settings.url).chain(&settings.sentinels).any(Address::is_secure);
        let tls = if secure { Some(tls_of(settings)?) } else { None };
        let parse = |url| Address::parse(url, tls.as_ref());
        let who = parse(&settings.url)?;
        if !settings.sentinels.is_empty() {
            let scheme = if Address::is_secure(&settings.url) { "rediss" } else { "redis" };
            let with_scheme = |sentinel: &config::Secret| match sentinel.expose() {
                text if text.contains("://") => sentinel.clone(),
                text => config::Secret::new(format!("{scheme}://{text}")),
            };
            let sentinels: Vec<_> = settings.sentinels.iter().map(with_scheme).collect();
            let sentinels = sentinels.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            let master = settings.master.clone();
            return Ok(Self::Sentinels { who, master, sentinels: Mutex::new(sentinels) });
        }
        if !settings.nodes.is_empty() {
            let location = |node: &String| {
                let (host, port) = node.rsplit_once(':')?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Some(HostOrSocket::Tcp { host, port: port.parse().ok()? })
            };
            let nodes = settings.nodes.iter().filter_map(location).collect();
            return Ok(Self::Cluster { who, slot: slot_of(key.as_bytes()), nodes: Mutex::new(nodes) });
        }
        Ok(Self::One(who))
    }

    /// A connection to whoever it is now: each step takes at the longest `limit`. Of what is received no text is kept
    /// that is longer than `max_text`.
    pub(in crate::redis) async fn open(
        &self,
        limit: Duration,
        max_text: usize,
    ) -> Result<RedisConnection, RedisError> {
        match self {
            Self::One(address) => RedisConnection::open(address, limit, max_text).await,
            Self::Sentinels { who, master, sentinels } => {
                let location = ask_sentinels(sentinels, master, limit).await?;
                let mut connection =
                    RedisConnection::open(&Address { location, ..who.clone() }, limit, max_text).await?;
                // A Sentinel may not have heard yet, and the old master may be back as a replica.
                connection.is_master(limit).await?;
                Ok(connection)
            }
            Self::Cluster { who, slot, nodes } => {
                let location = ask_nodes(nodes, who, *slot, limit).await?;
                RedisConnection::open(&Address { location, ..who.clone() }, limit, max_text).await
            }
        }
    }

    /// Whether another Redis may take the location of the one that is connected.
    pub(in crate::redis) fn may_move(&self) -> bool {
        matches!(self, Self::Sentinels { .. })
    }

    /// In a Cluster, the slot that it is connected for.
    pub(in crate::redis) fn slot(&self) -> Option<u16> {
        match self {
            Self::Cluster { slot, .. } => Some(*slot),
            _ => None,
        }
    }

    /// What must not stand in a log line.
    pub(in crate::redis) fn secret(&self) -> Option<&config::Secret> {
        let (Self::One(who) | Self::Sentinels { who, .. } | Self::Cluster { who, .. }) = self;
        who.password.as_ref()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Sentinels { master, .. } => write!(f, "the master {master} of the Sentinels"),
            Self::Cluster { slot, .. } => write!(f, "the cluster's node of slot {slot}"),
        }
    }
}

fn tls_of(settings: &config::Redis) -> Result<Arc<ClientConfig>, BadRedisUrl> {
    let trust = settings.authorities.as_ref().map_or(Trust::System, |text| Trust::Only(text.as_bytes()));
    let identity = settings.identity.as_ref().map(|(certificate, key)| Identity {
        chain: certificate.expose().as_bytes(),
        key: key.expose().as_bytes(),
    });
    tls::client(trust, identity, &[]).map_err(|bad| BadRedisUrl::Tls(bad.to_string()))
}

const ASKING: &str = "asking where to go";

impl RedisConnection {
    /// Asks for the role.
    pub(in crate::redis) async fn is_master(&mut self, limit: Duration) -> Result<(), RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, &[b"ROLE"]);
        self.send(&command).await?;
        self.role(limit).await
    }

    /// Reads the answer to `ROLE`.
    pub(in crate::redis) async fn role(&mut self, limit: Duration) -> Result<(), RedisError> {
        match self.token(limit, ASKING).await? {
            RespToken::Array(len) if len > 0 => {
                let role = self.token(limit, ASKING).await?;
                for _ in 1..len {
                    let token = self.token(limit, ASKING).await?;
                    self.pass(token, limit, ASKING).await?;
                }
                match role {
                    RespToken::Bulk(role) if role.as_ref() == b"master" => Ok(()),
                    RespToken::Bulk(role) => Err(RedisError::NotMaster {
                        address: self.to().to_owned(),
                        role: String::from_utf8_lossy(&role).chars().take(20).collect(),
                    }),
                    _ => Err(RedisError::Unexpected),
                }
            }
            RespToken::Error(text) => Err(RedisError::refused("the question for its role", &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}

async fn ask_sentinels(
    sentinels: &Mutex<Vec<Address>>,
    master: &str,
    limit: Duration,
) -> Result<HostOrSocket, RedisError> {
    let all = sentinels.lock().clone();
    let mut last = String::new();
    for sentinel in &all {
        match ask_sentinel(sentinel, master, limit).await {
            Ok(Some(location)) => {
                let mut sentinels = sentinels.lock();
                if let Some(at) = sentinels.iter().position(|other| other.location == sentinel.location) {
                    sentinels.swap(0, at);
                }
                return Ok(location);
            }
            Ok(None) => last = format!("{sentinel} does not know it"),
            Err(error) => last = error.to_string(),
        }
    }
    Err(RedisError::NoMaster { name: master.to_owned(), last })
}

async fn ask_sentinel(
    sentinel: &Address,
    master: &str,
    limit: Duration,
) -> Result<Option<HostOrSocket>, RedisError> {
    let mut connection = RedisConnection::open(sentinel, limit, MAX_ANSWER).await?;
    let mut command = Vec::new();
    write_command(&mut command, &[b"SENTINEL", b"get-master-addr-by-name", master.as_bytes()]);
    connection.send(&command).await?;
    match connection.token(limit, ASKING).await? {
        RespToken::Nil => Ok(None),
        RespToken::Array(2) => {
            let (host, port) =
                (connection.token(limit, ASKING).await?, connection.token(limit, ASKING).await?);
            let (RespToken::Bulk(host), RespToken::Bulk(port)) = (host, port) else {
                return Err(RedisError::Unexpected);
            };
            let port = str::from_utf8(&port).ok().and_then(|port| port.parse().ok());
            let port = port.ok_or(RedisError::Unexpected)?;
            Ok(Some(HostOrSocket::Tcp { host: String::from_utf8_lossy(&host).into_owned(), port }))
        }
        RespToken::Error(text) => {
            Err(RedisError::refused("to say who is master", &text, sentinel.password.as_ref()))
        }
        _ => Err(RedisError::Unexpected),
    }
}

async fn ask_nodes(
    nodes: &Mutex<Vec<HostOrSocket>>,
    who: &Address,
    slot: u16,
    limit: Duration,
) -> Result<HostOrSocket, RedisError> {
    let all = nodes.lock().clone();
    let mut last = String::new();
    for node in &all {
        match ask_node(&Address { location: node.clone(), ..who.clone() }, slot, limit).await {
            Ok((Some(location), masters)) => {
                let mut nodes = nodes.lock();
                for known in masters {
                    if nodes.len() < MAX_NODES && !nodes.contains(&known) {
                        nodes.push(known);
                    }
                }
                if let Some(at) = nodes.iter().position(|other| other == node) {
                    nodes.swap(0, at);
                }
                return Ok(location);
            }
            Ok((None, _)) => last = "nobody holds it".to_owned(),
            Err(error) => last = error.to_string(),
        }
    }
    Err(RedisError::NoNode { slot, last })
}

/// Who holds the slot, and who else there is.
async fn ask_node(
    node: &Address,
    slot: u16,
    limit: Duration,
) -> Result<(Option<HostOrSocket>, Vec<HostOrSocket>), RedisError> {
    let mut connection = RedisConnection::open(node, limit, MAX_ANSWER).await?;
    let mut command = Vec::new();
    write_command(&mut command, &[b"CLUSTER", b"SLOTS"]);
    connection.send(&command).await?;
    let ranges = match connection.token(limit, ASKING).await? {
        RespToken::Array(ranges) => ranges,
        RespToken::Error(text) => {
            return Err(RedisError::refused("to say who holds what", &text, node.password.as_ref()));
        }
        _ => return Err(RedisError::Unexpected),
    };
    let (mut holder, mut all) = (None, Vec::new());
    for _ in 0..ranges {
        let RespToken::Array(parts @ 2..) = connection.token(limit, ASKING).await? else {
            return Err(RedisError::Unexpected);
        };
        let (first, last) = (connection.token(limit, ASKING).await?, connection.token(limit, ASKING).await?);
        let (RespToken::Integer(first), RespToken::Integer(last)) = (first, last) else {
            return Err(RedisError::Unexpected);
        };
        // The master comes first, then its replicas.
        for nth in 2..parts {
            let RespToken::Array(fields @ 2..) = connection.token(limit, ASKING).await? else {
                return Err(RedisError::Unexpected);
            };
            let (host, port) =
                (connection.token(limit, ASKING).await?, connection.token(limit, ASKING).await?);
            for _ in 2..fields {
                let token = connection.token(limit, ASKING).await?;
                connection.pass(token, limit, ASKING).await?;
            }
            let RespToken::Integer(port) = port else { return Err(RedisError::Unexpected) };
            let port = u16::try_from(port).map_err(|_| RedisError::Unexpected)?;
            let host = match (host, &node.location) {
                (RespToken::Bulk(host), _) if !host.is_empty() && host.as_ref() != b"?" => {
                    String::from_utf8_lossy(&host).into_owned()
                }
                // A node that does not know its own address: it has the one that it was asked at.
                (_, HostOrSocket::Tcp { host, .. }) => host.clone(),
                _ => continue,
            };
            let location = HostOrSocket::Tcp { host, port };
            if nth == 2 && (first..=last).contains(&i64::from(slot)) {
                holder = Some(location.clone());
            }
            all.push(location);
        }
    }
    Ok((holder, all))
}
