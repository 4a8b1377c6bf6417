//! Who is there, on all instances: users with a stream, and topics that somebody listens to.
//!
//! Each instance counts its own, tells the others what changes, and so has the whole in memory: it answers without
//! asking around. One of them speaks of who comes and goes.

mod announce;
mod answers;
mod counts;
mod local;
mod outbox;
mod topic;
mod users;
mod view;
mod wire;

pub use crate::control::presence::announce::{EventPublisher, PublishError, Publishing};
pub use crate::control::presence::answers::{
    BadUserList, OnInstance, OnlineUsers, PresencePage, Totals, UserPresence,
};
pub use crate::control::presence::topic::OnTopic;
pub use crate::control::presence::users::{Presence, PresenceChange, PresenceListener};
pub use crate::control::presence::view::Kind;

pub(super) use crate::control::presence::wire::{
    PresenceDelta, PresenceSnapshot, PresenceSummary, SnapshotRequest,
};
