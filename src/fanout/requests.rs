//! What is asked of open streams from outside: to end, to go on for longer, to be listed. The shards that own them do
//! it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::event::{ConnectionMeta, Key, Name};
use crate::fanout::end::CloseReason;
use crate::log::Position;
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
        Filter { keys: self.keys.to_vec(), ..Filter::default() }
    }
}

/// Which streams are meant: all that is given has to be so of each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// Each is held.
    pub keys: Vec<Key>,
    /// Where the client is.
    pub address: Option<IpAddr>,
    /// All of it is noted of the connection.
    pub meta: ConnectionMeta,
    /// The path of the route that it came by, as it is configured.
    pub route: Option<Box<str>>,
}

/// An open stream.
#[derive(Clone, Debug)]
pub struct Listed {
    pub client: Name,
    /// How it is reached.
    pub keys: Vec<Key>,
    pub address: IpAddr,
    /// The path of the route that it came by, as it is configured.
    pub route: Arc<str>,
    pub start: StreamStart,
    /// What is noted of it.
    pub meta: Option<Arc<ConnectionMeta>>,
    pub opened: SystemTime,
    pub open_for: Duration,
    /// Events that were begun.
    pub sent: u64,
    /// Everything for it up to here has been written, or is begun.
    pub cursor: Position,
    /// It has everything that there is.
    pub live: bool,
    /// Its client takes no more for now.
    pub blocked: bool,
}

/// How a stream began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamStart {
    /// Without a cursor of its client's.
    Fresh,
    /// Where its client had left off.
    Resumed,
    /// With a `reset`: the log could not serve its client's cursor.
    Reset,
}

/// A question for a page.
pub(super) struct ListQuery {
    pub(super) filter: Filter,
    /// Only clients behind this one.
    pub(super) after: Option<Name>,
    pub(super) limit: usize,
    /// Gets them by their clients.
    pub(super) answer: oneshot::Sender<Vec<Listed>>,
}

/// A question for a number.
pub(super) struct CountQuery {
    pub(super) filter: Filter,
    pub(super) answer: oneshot::Sender<usize>,
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
    /// When the client is warned that it will.
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
