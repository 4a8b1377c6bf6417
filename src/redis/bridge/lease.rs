//! The right to append what is heard on bridged channels, and up to where that has been done: a lease, whose place is
//! the *checkpoint* (a [`Checkpoint`], as text).

use std::time::Duration;

use crate::config;
use crate::redis::bridge::backlog::Checkpoint;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::lease::commands::{
    LeaseCommands, LeaseKeys, LeaseState, LeasedAppend, LeasedEntry, LeasedOutcome, read_append, read_take,
};
use crate::redis::log::entry::{BRIDGE, EVENT, QUOTED};

const DOING: &str = "the bridge's turn";

/// The lease of the instance that bridges.
pub(in crate::redis) struct BridgeLease {
    keys: LeaseKeys,
    commands: LeaseCommands,
    /// What an idempotency key's name in Redis begins with.
    once: Box<[u8]>,
    /// How long an answer may take.
    limit: Duration,
}

/// One message to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) struct BridgeEntry<'a> {
    pub(in crate::redis) json: &'a [u8],
    pub(in crate::redis) position: Checkpoint,
    pub(in crate::redis) is_quoted: bool,
    pub(in crate::redis) idempotency_key: Option<&'a str>,
}

impl BridgeLease {
    /// `once` is what an idempotency key's name in Redis begins with.
    pub(in crate::redis) fn new(
        stream: &config::RedisStream,
        prefix: &str,
        once: Box<[u8]>,
        idempotency_window: Duration,
    ) -> Self {
        Self {
            keys: LeaseKeys::new(prefix, "bridge", &stream.key, None),
            commands: LeaseCommands::new(stream, stream.bridge_lease, None, idempotency_window),
            once,
            limit: stream.timeout,
        }
    }

    /// How the lease stands and up to where messages have been appended: the text of a position, empty where nothing
    /// was ever appended. Renews our own; takes a free one if `known` is the checkpoint, and not with None.
    pub(in crate::redis) async fn take(
        &self,
        connection: &mut RedisConnection,
        known: Option<&str>,
    ) -> Result<(LeaseState, String), RedisError> {
        let mut command = Vec::new();
        self.commands.write_take(&mut command, &self.keys, known);
        let address = connection.to().to_owned();
        let place = async {
            connection.send(&command).await?;
            read_take(connection, self.limit, DOING).await
        };
        let (standing, place) = self.bounded(address, place).await?;
        Ok((standing, place.version))
    }

    /// Appends `entries` and moves the checkpoint from `from` to `to`, if the lease is ours and the checkpoint is
    /// `from`: gives back how many of them had no idempotency key that was known. None where nothing was changed.
    pub(in crate::redis) async fn append(
        &self,
        connection: &mut RedisConnection,
        from: &str,
        to: &str,
        entries: &[BridgeEntry<'_>],
    ) -> Result<Option<u64>, RedisError> {
        let positions: Vec<String> = entries.iter().map(|entry| entry.position.to_string()).collect();
        let entries: Vec<_> =
            entries.iter().zip(&positions).map(|(entry, at)| self.leased(entry, at)).collect();
        let append = LeasedAppend { from, to, state: "", leaves: false, entries: &entries };
        let mut command = Vec::new();
        self.commands.write_append(&mut command, &self.keys, &append);
        let address = connection.to().to_owned();
        let appended = async {
            connection.send(&command).await?;
            read_append(connection, self.limit, DOING).await
        };
        Ok(match self.bounded(address, appended).await? {
            LeasedOutcome::Done { count, .. } => Some(count),
            LeasedOutcome::Lost => None,
        })
    }

    fn leased<'e>(&self, entry: &BridgeEntry<'e>, position: &'e str) -> LeasedEntry<'e> {
        let mut fields = vec![EVENT, entry.json, BRIDGE, position.as_bytes()];
        if entry.is_quoted {
            fields.extend([QUOTED, b"1"]);
        }
        let once = entry.idempotency_key.map(|key| [&*self.once, key.as_bytes()].concat().into());
        LeasedEntry { fields, once }
    }

    /// Gives the lease up, if it is ours.
    pub(in crate::redis) async fn step_down(
        &self,
        connection: &mut RedisConnection,
    ) -> Result<(), RedisError> {
        let mut command = Vec::new();
        self.commands.write_leave(&mut command, &self.keys);
        self.number(connection, &command).await
    }

    /// Publishes `text` to everybody who listens to `channel`.
    pub(in crate::redis) async fn tell(
        &self,
        connection: &mut RedisConnection,
        channel: &[u8],
        text: &str,
    ) -> Result<(), RedisError> {
        let mut command = Vec::new();
        write_command(&mut command, &[b"PUBLISH", channel, text.as_bytes()]);
        self.number(connection, &command).await
    }

    /// Asks what is answered with a number.
    async fn number(&self, connection: &mut RedisConnection, command: &[u8]) -> Result<(), RedisError> {
        let address = connection.to().to_owned();
        let answered = async {
            connection.send(command).await?;
            match connection.token(self.limit, DOING).await? {
                RespToken::Error(text) => Err(RedisError::refused(DOING, &text, None)),
                RespToken::Integer(_) => Ok(()),
                _ => Err(RedisError::Unexpected),
            }
        };
        self.bounded(address, answered).await
    }

    async fn bounded<T>(
        &self,
        address: String,
        answered: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.limit, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(RedisError::Timeout { address, limit: self.limit, doing: DOING }),
        }
    }
}
