//! What an [`Outbox`](crate::redis::client::outbox::Outbox) carries: one kind of request as commands, what the answers
//! to them mean, and what is known of a request without an answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::publish::RelayError;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::error::RedisError;

/// One kind of request, as commands and answers.
pub(in crate::redis) trait Exchange: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// What it is doing, in errors.
    const DOING: &'static str;
    /// How often [`Exchange::upkeep`] is called, if ever.
    const UPKEEP: Option<Duration> = None;

    /// About how many bytes the commands of `request` take.
    fn size(request: &Self::Request) -> usize;

    /// Appends the commands of `request`.
    fn write(&mut self, commands: &mut Vec<u8>, request: &Self::Request);

    /// A batch is about to be sent.
    fn before_send(&mut self) {}

    /// Reads all answers to `request`.
    fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &Self::Request,
    ) -> impl Future<Output = Result<Verdict<Self::Answer>, RedisError>> + Send;

    /// When a request that may not have been done is sent again.
    fn repeat(_request: &Self::Request) -> Repeat {
        Repeat::Never
    }

    /// Does what is due now and then.
    fn upkeep(
        &mut self,
        _connection: &mut RedisConnection,
        _limit: Duration,
    ) -> impl Future<Output = Result<(), RedisError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// What the answers to a request say.
pub(in crate::redis) enum Verdict<T> {
    Done(T),
    /// Nothing of it was done.
    Refused(RedisError),
    /// Some of it was refused, and some done.
    Partly(RedisError),
}

/// When a request is sent again of which is not known whether it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Repeat {
    Never,
    /// Once, if the connection was an old one, which may have died in silence. For what may be done twice.
    OnFreshConnection,
    /// Until then, with pauses. For what may be done twice.
    Until(Instant),
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum Undone {
    /// There is no connection: nothing was sent.
    Unreachable,
    /// Redis refused it, in these words: nothing was done.
    Refused(String),
    /// It was sent, and the answer did not come.
    Unknown,
}

impl From<Undone> for RelayError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Unreachable => Self::Down,
            Undone::Refused(error) => Self::Refused(error.into()),
            Undone::Unknown => Self::Unknown,
        }
    }
}
