//! The instances: who is a member, what they tell and ask each other.

pub(super) mod heartbeat;
pub(super) mod members;
pub(super) mod message;
pub(super) mod others;
pub(super) mod survey;
mod wire;
