//! Where Redis is and as which user we come: the URL, taken apart.
//!
//! Invariant: neither `Display` nor `Debug` shows the user or the password, so an address may stand in any log line.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use rustls::ClientConfig;

use crate::config::Secret;

/// Why a URL is not one of Redis.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRedisUrl {
    #[error("redis.url is not the address of a Redis: redis://[user:password@]host[:port][/database]")]
    Malformed,
    #[error("there is no TLS to Redis with what is configured: {0}")]
    Tls(String),
}

/// Where Redis is and as which user we come.
#[derive(Clone)]
pub(in crate::redis) struct Address {
    pub(in crate::redis) location: HostOrSocket,
    pub(in crate::redis) user: Option<String>,
    pub(in crate::redis) password: Option<Secret>,
    pub(in crate::redis) database: i64,
    /// TLS, and with what; without it the connection is plain.
    pub(in crate::redis) tls: Option<Arc<ClientConfig>>,
    /// The name that the server's certificate must have, if it is not the host's.
    pub(in crate::redis) server_name: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum HostOrSocket {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// Whether a URL asks for TLS.
    pub(in crate::redis) fn is_secure(url: &Secret) -> bool {
        ["rediss:", "valkeys:"].iter().any(|scheme| url.expose().starts_with(scheme))
    }

    /// `tls` is for a URL that asks for it.
    pub(in crate::redis) fn parse(
        url: &Secret,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, BadRedisUrl> {
        // Redis's own client reads the rest of it, and is built without TLS.
        let text = url.expose().replacen("rediss:", "redis:", 1).replacen("valkeys:", "valkey:", 1);
        let tls = match (Self::is_secure(url), tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(Arc::clone(tls)),
            (true, None) => return Err(BadRedisUrl::Tls("nothing is".to_owned())),
        };
        let url = redis::parse_redis_url(&text).ok_or(BadRedisUrl::Malformed)?;
        let info: ConnectionInfo = url.into_connection_info().map_err(|_| BadRedisUrl::Malformed)?;
        let location = match info.addr() {
            ConnectionAddr::Tcp(host, port) => HostOrSocket::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::Unix(path) => HostOrSocket::Unix(path.clone()),
            _ => return Err(BadRedisUrl::Malformed),
        };
        let redis = info.redis_settings();
        Ok(Self {
            location,
            user: redis.username().map(str::to_owned),
            password: redis.password().map(Secret::new),
            database: redis.db(),
            tls,
            server_name: None,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            HostOrSocket::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            HostOrSocket::Tcp { host, port } => write!(f, "{host}:{port}"),
            HostOrSocket::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, BadRedisUrl> {
        Address::parse(&Secret::new(url), None)
    }

    #[test]
    fn a_url_says_where_and_as_whom() {
        for (url, shown, user, password, database) in [
            ("redis://127.0.0.1:6380", "127.0.0.1:6380", None, None, 0),
            ("redis://cache", "cache:6379", None, None, 0),
            ("valkey://[::1]:7000/3", "[::1]:7000", None, None, 3),
            ("redis://app:p%40ss@cache/1", "cache:6379", Some("app"), Some("p@ss"), 1),
            ("redis://:pw@cache", "cache:6379", None, Some("pw"), 0),
            ("unix:/run/redis.sock", "/run/redis.sock", None, None, 0),
            ("redis+unix:///run/redis.sock?db=2&user=u&pass=p", "/run/redis.sock", Some("u"), Some("p"), 2),
        ] {
            let address = parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
            assert_eq!(address.user.as_deref(), user);
            assert_eq!(address.password.as_ref().map(Secret::expose), password);
            assert_eq!(address.database, database);
        }
    }

    #[test]
    fn what_is_no_url_of_a_redis_is_refused() {
        for url in ["", "127.0.0.1:6379", "http://127.0.0.1", "redis://", "redis://h/x", "redis://h:99999"] {
            assert_eq!(parse(url).unwrap_err(), BadRedisUrl::Malformed, "{url}");
        }
        assert!(matches!(parse("rediss://h").unwrap_err(), BadRedisUrl::Tls(_)), "without what it takes");
    }

    #[test]
    fn a_secure_url_is_read_like_any_other() {
        let made = rcgen::generate_simple_self_signed(["cache".to_owned()]).unwrap();
        let trust = crate::net::tls::Trust::Only(made.cert.pem().into_bytes().leak());
        let tls = crate::net::tls::client(trust, None, &[]).unwrap();
        let address = Address::parse(&Secret::new("rediss://app:pw@cache/2"), Some(&tls)).unwrap();
        assert_eq!((address.to_string(), address.database), ("cache:6379".to_owned(), 2));
        assert!(address.tls.is_some());
        assert!(Address::parse(&Secret::new("redis://cache"), Some(&tls)).unwrap().tls.is_none());
    }
}
