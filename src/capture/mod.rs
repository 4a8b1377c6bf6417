//! Answers that are recorded while they stream, so that readers who were cut off get the rest.
//!
//! The backend is asked once, and what it says is read by a task of its own: readers come and go beside it. A reader
//! gets the backend's bytes, and nothing but added ids between them. This room knows requests, not sockets.

mod anywhere;
mod attendance;
mod blocks;
mod captures;
mod copy;
mod head_text;
mod identity;
mod listing;
mod mirror;
mod owner;
mod path;
mod position;
mod pump;
mod reader;
mod recording;
mod recordings;
mod route;
mod shared;

pub use crate::capture::anywhere::StopOutcome;
pub use crate::capture::captures::{CaptureAnswer, Captures};
pub use crate::capture::listing::RecordingPage;
pub use crate::capture::reader::{ReaderCut, RecordedBody};
pub use crate::capture::recordings::Recordings;
pub use crate::capture::route::CaptureMatch;
pub use crate::capture::shared::{
    ClaimResult, CopyFollower, CopyName, CopyUpdate, CopyWritten, FoundCopy, HolderInbox, HolderMessage,
    NameStep, NewCopy, RecordingStore, StoreAway,
};
