//! The ordered log: every event gets one position, is rendered once, kept within the retention, and handed to the
//! feeds that hold a subscriber for it.
//!
//! Invariant: positions are dense and only grow; whoever registers keys at a feed learns, under the same lock, the
//! position after which everything for these keys reaches the feed. What users, sessions and clients are given changes
//! in places of the same order. This room knows no socket and no subscriber.

mod feed;
mod follow;
mod members;
mod memory;
mod store;

pub use feed::{Feed, Taken};
pub use follow::{History, Placed};
pub use members::{BadEdit, Change, Edit, Held, MemberBounds, Via};
pub use memory::{Appended, Edited, Log, Retention};
pub use store::{Cursor, Entry, Membership, Position, Replay, Reset};
