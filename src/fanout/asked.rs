//! What is asked of open streams from outside: to end, or to go on for longer. The shards that own them do it.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::event::{Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::list::Filter;
use crate::pace::Pace;

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
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Renewed<T, E> {
    Yes(T),
    /// What the judge said.
    No(E),
    /// No open stream of this process has that client id.
    NotHere,
}

/// The ids of the tokens that a stream lives by.
pub type TokenIds = SmallVec<[Name; 1]>;

/// How many there may be.
pub const MAX_TOKENS: usize = 8;

/// What is shown of a stream for which a token is presented.
pub struct StreamView<'a> {
    /// The keys that it holds by its own request: what others have given it is theirs to take away.
    pub asked: &'a [Key],
    /// The path of the route that it came by, as it is configured.
    pub route: &'a Arc<str>,
    pub tokens: &'a TokenIds,
    /// How often its page has changed its topics.
    pub pace: &'a mut Pace,
}

/// How a stream is bound to a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// To this token alone: it ends when the token does.
    Renewed,
    /// As well as to those that it has: it ends when the first of them does.
    Beside,
    /// To this token in the place of the others, but no longer than they let it.
    InPlace,
}

pub(super) struct RenewRequest {
    pub(super) renewal: Renewal,
    pub(super) judge: Judge,
}

/// Looks at the stream, or learns that it is not here; answers the caller. None = the stream stays as it is. Runs on
/// the thread of the stream's shard.
pub(super) type Judge = Box<dyn FnOnce(Option<StreamView<'_>>) -> Option<Binding> + Send>;
