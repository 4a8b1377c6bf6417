//! Recorded answers that instances share: a copy of each, the names that clients know them by, who lives, and what
//! holders are told.

pub(super) mod commands;
mod followed;
pub(super) mod follower;
pub(super) mod names;
pub(super) mod store;
