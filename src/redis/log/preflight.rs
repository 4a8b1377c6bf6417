//! What kind of Redis it is, said once for each: its version, and what it lacks to be a log's home.

use std::time::Duration;

use tracing::{debug, warn};

use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::log::clock::Clock;

const LOOKING: &str = "what it can do";

/// What was last said about a Redis.
#[derive(Default)]
pub(in crate::redis) struct Preflight {
    said: Option<ServerInfo>,
}

/// What matters of a Redis' settings; None where it does not tell.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct ServerInfo {
    version: Option<String>,
    policy: Option<String>,
    aof: Option<bool>,
    saves: Option<bool>,
}

impl RedisConnection {
    /// How the server calls itself, differently after each start; empty where it does not tell.
    pub(in crate::redis) async fn run_id(&mut self, limit: Duration) -> Result<String, RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, &[b"INFO", b"server"]);
        self.send(&command).await?;
        Ok(match self.token(limit, LOOKING).await? {
            RespToken::Bulk(info) => {
                let info = String::from_utf8_lossy(&info);
                let id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
                id.unwrap_or_default().trim().to_owned()
            }
            _ => String::new(),
        })
    }
}

impl Preflight {
    /// Looks at the Redis behind `connection`, says what it lacks unless that was said before, and gives back its
    /// clock. Fails when it is too old.
    pub(in crate::redis) async fn take(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
    ) -> Result<Clock, RedisError> {
        let mut commands = Vec::new();
        write_command(&mut commands, &[b"TIME"]);
        write_command(&mut commands, &[b"INFO"]);
        write_command(&mut commands, &[b"CONFIG", b"GET", b"save"]);
        connection.send(&commands).await?;
        let clock = connection.read_clock(limit).await?;
        let mut found = match connection.token(limit, LOOKING).await? {
            RespToken::Bulk(info) => ServerInfo::of(&String::from_utf8_lossy(&info)),
            RespToken::Error(text) => {
                debug!(said = %String::from_utf8_lossy(&text), "Redis does not tell what it is (INFO)");
                ServerInfo::default()
            }
            other => {
                connection.pass(other, limit, LOOKING).await?;
                ServerInfo::default()
            }
        };
        found.saves = match connection.token(limit, LOOKING).await? {
            RespToken::Array(2) => {
                connection.token(limit, LOOKING).await?;
                match connection.token(limit, LOOKING).await? {
                    RespToken::Bulk(save) => Some(!save.is_empty()),
                    _ => None,
                }
            }
            RespToken::Error(_) => {
                debug!("Redis does not tell whether it saves its data (CONFIG GET)");
                None
            }
            other => {
                connection.pass(other, limit, LOOKING).await?;
                None
            }
        };
        if let Some(version) = found.version.as_ref().filter(|version| is_too_old(version)) {
            return Err(RedisError::TooOld {
                address: connection.to().to_owned(),
                version: version.chars().take(20).collect(),
            });
        }
        if self.said.as_ref() != Some(&found) {
            found.say(connection.to());
            self.said = Some(found);
        }
        Ok(clock)
    }
}

impl ServerInfo {
    /// What `INFO` tells.
    fn of(info: &str) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
        };
        Self {
            version: field("redis_version"),
            policy: field("maxmemory_policy"),
            aof: field("aof_enabled").map(|enabled| enabled == "1"),
            saves: None,
        }
    }

    fn say(&self, redis: &str) {
        let version = self.version.as_deref().unwrap_or("unknown");
        debug!(redis, version, "Redis tells what it is");
        match self.policy.as_deref() {
            Some(policy) if policy.starts_with("allkeys-") => {
                warn!(
                    redis,
                    policy,
                    "Redis may evict the stream when its memory is full: set maxmemory-policy noeviction"
                );
            }
            Some(policy) if policy.starts_with("volatile-") => {
                warn!(
                    redis,
                    policy,
                    "Redis may forget idempotency keys when its memory is full: set maxmemory-policy noeviction"
                );
            }
            _ => {}
        }
        if self.aof == Some(false) {
            if self.saves == Some(false) {
                warn!(
                    redis,
                    "Redis keeps nothing on disk: a restart of it loses the stream (appendonly, save)"
                );
            } else {
                warn!(
                    redis,
                    "Redis keeps no append-only file: a crash of it loses what came since its last snapshot (appendonly)"
                );
            }
        }
    }
}

/// Whether it is before 6.2, which brought `XADD … MINID` and open ranges.
fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    let (major, minor) = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
    (major, minor) < (6, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_tells_is_found() {
        let info = "# Endpoint\r\nredis_version:7.0.15\r\nredis_git_sha1:0\r\n# Memory\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n";
        let found = ServerInfo::of(info);
        assert_eq!(found.version.as_deref(), Some("7.0.15"));
        assert_eq!(found.policy.as_deref(), Some("allkeys-lru"));
        assert_eq!(found.aof, Some(false));
        assert_eq!(ServerInfo::of("nothing of it"), ServerInfo::default());
    }

    #[test]
    fn the_first_version_is_6_2() {
        for (version, too_old) in
            [("6.0.16", true), ("5.0", true), ("6.2.0", false), ("7.0.15", false), ("255.255.255", false)]
        {
            assert_eq!(is_too_old(version), too_old, "{version}");
        }
    }
}
