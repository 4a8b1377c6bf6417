//! The clock of a Redis: the one that makes the ids of entries, and so tells how old they are.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::EventId;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;

/// What the clock of a Redis says.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Clock {
    /// Its milliseconds since the Unix epoch at `at`.
    pub(in crate::redis) ms: u64,
    pub(in crate::redis) at: Instant,
}

impl Clock {
    /// How long ago an entry of this id was appended. A clock that stepped makes it wrong, never negative.
    pub(in crate::redis) fn age(&self, id: EventId) -> Duration {
        let now = Duration::from_millis(self.ms) + self.at.elapsed();
        now.saturating_sub(Duration::from_millis(id.ms))
    }
}

impl RedisConnection {
    /// Asks for the time by which ids are made.
    pub(in crate::redis) async fn clock(&mut self, limit: Duration) -> Result<Clock, RedisError> {
        let mut commands = Vec::new();
        write_command(&mut commands, &[b"TIME"]);
        self.send(&commands).await?;
        self.read_clock(limit).await
    }

    /// Reads the answer to `TIME`.
    pub(in crate::redis) async fn read_clock(&mut self, limit: Duration) -> Result<Clock, RedisError> {
        let number = |token| match token {
            RespToken::Bulk(text) => str::from_utf8(&text).ok().and_then(|text| text.parse::<u64>().ok()),
            _ => None,
        };
        match self.token(limit, "the time").await? {
            RespToken::Array(2) => {
                let seconds = number(self.token(limit, "the time").await?).ok_or(RedisError::Unexpected)?;
                let micros = number(self.token(limit, "the time").await?).ok_or(RedisError::Unexpected)?;
                let ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
                Ok(Clock { ms, at: Instant::now() })
            }
            RespToken::Error(text) => Err(RedisError::refused("to tell the time", &text, None)),
            _ => Err(RedisError::Unexpected),
        }
    }
}
