//! What instances that share recordings ask of the store between them. It is another room's.
//!
//! The *holder* of a recording is the instance that reads it from the backend. The store has a copy of it, which other
//! instances follow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::future::BoxFuture;

/// A store that several instances reach.
pub trait RecordingStore: Send + Sync {
    /// By which name the other instances know this one.
    fn me(&self) -> &str;

    /// Begins a copy; one of the same id is gone.
    fn begin(&self, new: NewCopy) -> BoxFuture<'_, Result<(), StoreAway>>;

    /// The same, if `name` is nobody's or `before`'s. The name is this copy's then; otherwise it is the answer's.
    fn claim(
        &self,
        new: NewCopy,
        name: CopyName,
        before: Option<Box<str>>,
    ) -> BoxFuture<'_, Result<ClaimResult, StoreAway>>;

    /// The copy with this name; where it is nobody's name, with this id.
    fn look(&self, name: CopyName) -> BoxFuture<'_, Result<Option<FoundCopy>, StoreAway>>;

    /// Adds to a copy.
    fn write(&self, update: CopyUpdate) -> BoxFuture<'_, Result<CopyWritten, StoreAway>>;

    /// Forgets a copy.
    fn forget(&self, id: Box<str>) -> BoxFuture<'_, Result<(), StoreAway>>;

    /// Tells a holder something. It hears of it soon, if it lives.
    fn tell(&self, holder: Box<str>, message: HolderMessage) -> BoxFuture<'_, Result<(), StoreAway>>;

    /// From now on `follower` gets all of a copy that there is, and then what comes.
    fn follow(&self, id: &str, holder: &str, follower: Arc<dyn CopyFollower>);

    fn unfollow(&self, id: &str);

    /// When it was last known that nothing is missing of what is followed.
    fn heard(&self) -> Instant;

    /// Whether it answered when it was asked last.
    fn answers(&self) -> bool;

    /// It has kept somebody waiting for too long.
    fn doubt(&self);
}

/// What goes wrong: the store cannot be reached, or refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store of recordings does not answer")]
pub struct StoreAway;

/// A copy that is to be.
#[derive(Clone, Debug)]
pub struct NewCopy {
    pub id: Box<str>,
    /// The path of its route.
    pub route: Arc<str>,
    /// The mark of its owner.
    pub owner: String,
    /// Where it begins, and how the text stands there.
    pub base: u64,
    pub edges: String,
    /// How long it is kept without being written to.
    pub ttl: Duration,
}

/// A name on a route, which is each owner's own.
#[derive(Clone)]
pub struct CopyName {
    pub route: Arc<str>,
    /// Tells owners apart. It is made of credentials.
    pub scope: Arc<[u8]>,
    pub name: Box<str>,
}

/// What came of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimResult {
    Ours,
    /// It is the name of the recording with this id.
    Of(Box<str>),
}

/// A copy that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundCopy {
    pub id: Box<str>,
    pub route: String,
    pub owner: String,
    pub holder: Box<str>,
    /// It has not ended, and its holder lives.
    pub is_running: bool,
}

/// What is done with a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameStep {
    /// It becomes this recording's, whosever it was.
    Take,
    /// So it does if it is nobody's.
    TakeFree,
    /// It stays this one's for longer, if it is.
    Keep,
}

/// What is new of a recording.
#[derive(Clone)]
pub struct CopyUpdate {
    pub id: Box<str>,
    pub ttl: Duration,
    /// Where the bytes stand in the recording.
    pub from: u64,
    pub bytes: Bytes,
    /// What is in front of that is let go of; how the text stands there.
    pub base: Option<(u64, String)>,
    pub head: Option<Bytes>,
    /// All of its names, now and then.
    pub names: Vec<(CopyName, NameStep)>,
    /// How it ended, and its trailers.
    pub ended: Option<(&'static str, Bytes)>,
}

impl CopyUpdate {
    /// Whether there are bytes and nothing else.
    pub fn is_plain(&self) -> bool {
        let Self { base, head, names, ended, bytes, .. } = self;
        base.is_none() && head.is_none() && names.is_empty() && ended.is_none() && !bytes.is_empty()
    }
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyWritten {
    /// The copy now ends there. Where that is not the update's end, the update was not for it.
    EndsAt(u64),
    /// There is no such copy.
    Unknown,
}

/// What a holder is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HolderMessage {
    /// The recording is not to be read on.
    Stop(Box<str>),
    /// So many read it at the instance `from`.
    Readers { id: Box<str>, from: Box<str>, readers: usize },
}

/// Who hears what this instance is told as a holder.
pub trait HolderInbox: Send + Sync {
    fn told(&self, message: HolderMessage);
}

/// Who follows a copy. What it gets is in order.
pub trait CopyFollower: Send + Sync {
    /// The copy begins there.
    fn begins(&self, base: u64, edges: &str);

    /// The answer's head.
    fn head(&self, head: &[u8]);

    /// More bytes, up to that place. False when there is a gap before them.
    fn bytes(&self, end: u64, bytes: &[u8]) -> bool;

    /// This is all that there is so far.
    fn caught_up(&self);

    fn ends(&self, how: &[u8], trailers: &[u8]);

    /// There will be nothing more: the copy is gone, or its holder is.
    fn lost(&self);

    /// Whether its readers need a moment.
    fn presses(&self) -> bool;
}
