//! Questions about where to go: Sentinels for the master, nodes of a Cluster for who holds a slot, servers for their
//! role.
//!
//! The one that answered last is asked first. This file must not know what the connection that follows is for.

use std::time::Duration;

use crate::lock::Mutex;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::url::{Address, HostOrSocket};

/// Longest answer to a question about where to go.
const MAX_ANSWER: usize = 64 << 10;
/// Nodes of a Cluster that are kept in mind.
const MAX_NODES: usize = 1000;

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

pub(super) async fn ask_sentinels(
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

pub(super) async fn ask_nodes(
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::config;
    use crate::redis::client::endpoint::Endpoint;
    use crate::redis::client::supervise::{ConnectionStatus, Purpose};
    use crate::redis::double::{Double, nobody, within};

    const LIMIT: Duration = Duration::from_secs(20);

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// A node that answers the question who holds all slots with the port `holder`.
    async fn node(double: &Double, holder: u16) {
        let mut asked = double.accept().await;
        asked.welcome().await;
        asked.expect("CLUSTER").await;
        let node = format!("*2\r\n{}:{holder}\r\n", bulk("127.0.0.1"));
        asked.say(format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}").as_bytes()).await;
    }

    async fn sentinel(double: &Double, master: u16) {
        let mut asked = double.accept().await;
        asked.welcome().await;
        asked.expect("SENTINEL").await;
        asked.say(format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&master.to_string())).as_bytes()).await;
    }

    /// The connection could not be made, and its owner says so.
    fn is_told(endpoint: &Arc<Endpoint>, opened: Result<RedisConnection, RedisError>) {
        const PURPOSE: Purpose =
            Purpose { label: "test", connected: "", reconnected: "", failed: "", meanwhile: "" };
        let Err(error @ RedisError::Connect { .. }) = opened else { panic!("nobody is there") };
        ConnectionStatus::new(Arc::clone(endpoint), &PURPOSE, LIMIT).on_disconnected(&error, Instant::now());
    }

    #[tokio::test]
    async fn a_sentinel_that_sent_us_to_nobody_is_not_the_first_to_be_asked_again() {
        let (_socket, nobody) = nobody();
        let HostOrSocket::Tcp { port: gone, .. } = nobody.location else { panic!("a port") };
        let (stale, knows, holder) = (Double::start().await, Double::start().await, Double::start().await);
        let names = |doubles: [&Double; 2]| doubles.map(|double| double.address("").to_string());
        let HostOrSocket::Tcp { port, .. } = holder.address("").location else { panic!("a port") };

        let url = config::Secret::new("redis://ignored");
        let cluster =
            config::Redis { nodes: names([&stale, &knows]).to_vec(), ..config::Redis::at(url.clone()) };
        let endpoint = Arc::new(Endpoint::new(&cluster, "key").unwrap());
        let (opened, ()) = tokio::join!(endpoint.open(LIMIT, 100), node(&stale, gone));
        is_told(&endpoint, opened);
        let welcome = async { holder.accept().await.welcome().await };
        let work = async { tokio::join!(endpoint.open(LIMIT, 100), node(&knows, port), welcome) };
        assert!(within("the other node is asked", work).await.0.is_ok());

        let sentinels = names([&stale, &knows]).map(config::Secret::new).to_vec();
        let settings = config::Redis { sentinels, ..config::Redis::at(url) };
        let endpoint = Arc::new(Endpoint::new(&settings, "").unwrap());
        let (opened, ()) = tokio::join!(endpoint.open(LIMIT, 100), sentinel(&stale, gone));
        is_told(&endpoint, opened);
        let welcome = async { holder.accept().await.welcome_master().await };
        let work = async { tokio::join!(endpoint.open(LIMIT, 100), sentinel(&knows, port), welcome) };
        assert!(within("the other Sentinel is asked", work).await.0.is_ok());
    }
}
