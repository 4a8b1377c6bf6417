//! The way of published events over Redis, to every instance.

use bytes::Bytes;

use crate::event::EventId;
use crate::future::BoxFuture;

/// Carries envelopes to every instance, this one included.
pub trait Relay: Send + Sync {
    /// Sends each of `messages` in order, and says of each what became of it. Bounded in time.
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_>;

    /// The id at or before which everything stands that was published before the question; None where every instance
    /// has a log of its own.
    fn head(&self) -> Heading<'_> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What is relayed or not, in time.
pub type Relaying<'a> = BoxFuture<'a, Result<Vec<Relayed>, RelayError>>;

/// Where the log ends, in time.
pub type Heading<'a> = BoxFuture<'a, Result<Option<EventId>, RelayError>>;

/// An envelope to be relayed.
#[derive(Clone, Debug)]
pub struct RelayedEnvelope {
    /// With its idempotency key inside.
    pub json: Bytes,
    pub idempotency_key: Option<Box<str>>,
    pub ephemeral: bool,
}

/// What became of an envelope that was relayed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Relayed {
    /// None where every instance gives it an id of its own, or it has none.
    pub id: Option<EventId>,
    /// The idempotency key was known: it was not relayed again, and `id` is the first one's.
    pub duplicate: bool,
}

/// Why messages were not relayed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    #[error("Redis cannot be reached: nothing was published")]
    Down,
    /// Redis answered, with this.
    #[error("{0}: nothing was published")]
    Refused(Box<str>),
    #[error("Redis was lost before it answered: the events may have been published, in part or as a whole")]
    Unknown,
}

impl RelayError {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Down => "relay_down",
            Self::Refused(_) => "relay_refused",
            Self::Unknown => "relay_unknown",
        }
    }
}
