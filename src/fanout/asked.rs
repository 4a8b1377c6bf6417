//! What is asked of open streams from outside: to end, or to go on for longer. The shards that own them do it.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::event::{Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::list::Filter;

/// Which streams are meant: those that hold all of the keys, and came with the token where one is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// At least one of these, or a token.
    pub keys: Box<[Key]>,
    /// The id of a token.
    pub token: Option<Name>,
}

impl Selector {
    pub(super) fn filter(&self) -> Filter {
        Filter { keys: self.keys.to_vec(), address: None }
    }
}

/// The end of some streams.
pub(super) struct CloseRequest {
    pub(super) filter: Filter,
    /// The id of the token that they came with.
    pub(super) token: Option<Name>,
    pub(super) end: CloseReason,
    /// Gets how many it were.
    pub(super) count: oneshot::Sender<usize>,
}

/// A stream's new time.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub client: Name,
    pub times: Times,
    /// The new token's id.
    pub token: Option<Name>,
}

/// When a stream ends for its grant's sake.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Times {
    /// None = it does not.
    pub expires: Option<Instant>,
    /// When the client is told that it will.
    pub warns: Option<Instant>,
}

/// What became of a renewal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Renewed<E> {
    Yes,
    /// What the judge said.
    No(E),
    /// No open stream of this process has that client id.
    NotHere,
}

pub(super) struct RenewRequest {
    pub(super) renewal: Renewal,
    /// Looks at the keys that the stream holds, or is told that it is not here; answers whoever asked. Whether the
    /// stream gets its new time.
    pub(super) judge: Judge,
}

pub(super) type Judge = Box<dyn FnOnce(Option<&[Key]>) -> bool + Send>;
