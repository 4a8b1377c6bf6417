//! Who is there, on all instances: users with a stream, and topics that somebody listens to.
//!
//! Each instance counts its own, tells the others what changes, and so has the whole in memory: it answers without
//! asking around. One of them speaks of who comes and goes.

mod answers;
mod crowd;
mod herald;
mod local;
mod people;
mod post;
mod topic;
mod view;
mod wire;

pub use answers::{BadWhom, Here, OnInstance, Page, Totals, Where};
pub use herald::{NotSpoken, Speaking, Voice};
pub use people::{Heed, Noticed, Presence};
pub use topic::OnTopic;
pub use view::Kind;

pub(super) use wire::{Changed, Everybody, People, Want};
