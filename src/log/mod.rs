//! The ordered log: every event gets one position, is rendered once, kept within the retention, and handed to the
//! feeds that hold a subscriber for it.
//!
//! Invariant: positions are dense and only grow; a shard that registers keys at a feed learns, under the same lock, the
//! position after which everything for these keys reaches the feed. What users, sessions and clients are given changes
//! in places of the same order. This room knows no socket and no subscriber.

mod choice;
mod cost;
mod ended;
mod ending;
mod entering;
mod entry;
mod feed;
mod feeds;
mod follow;
mod held_by;
mod held_keys;
mod keeping;
mod members;
mod memory;
mod patterns;
mod position;
mod rendering;
mod replay;
mod sets;
mod since;
mod snapshot;
mod source;
mod state;
mod store;
mod take_back;
mod taken;
mod topic_edit;
mod topic_order;
mod waiting;
mod watched;
mod watching;

pub use crate::log::choice::{ReaderChoice, TopicHistory, Wanted};
pub use crate::log::ended::EndBounds;
pub use crate::log::ending::{EndOutcome, EndRequest};
pub use crate::log::entry::{Entry, Located, Membership, Replay, Reset};
pub use crate::log::feed::{Feed, FeedBatch};
pub use crate::log::follow::{CopyOutcome, EditOutcome, EditRequest, History, LogRecord, RecordKind};
pub use crate::log::held_by::HeldBy;
pub use crate::log::keeping::{AssignedTopics, UnsavedTopics};
pub use crate::log::memory::{Appended, Edited, Log, Retention};
pub use crate::log::patterns::{MatchedPatterns, PatternCounts};
pub use crate::log::position::{Cursor, Position};
pub use crate::log::state::{StateBounds, StatePart};
pub use crate::log::take_back::{
    ContentHash, FoundEvent, TakeBack, TakeBackOutcome, TakeBackRequest, TakenBack, notice_data,
};
pub use crate::log::topic_edit::{AppliedEdit, BadEdit, EditBy, HeldTopics, MemberBounds, TopicEdit};
