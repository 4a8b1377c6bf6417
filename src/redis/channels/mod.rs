//! Redis channels as a source of events, and as the way from one instance to all.

pub(super) mod alternatives;
pub(super) mod ingest;
pub(super) mod mapping;
pub(super) mod publisher;
pub(super) mod subscriber;
pub(super) mod subscriptions;
pub(super) mod update;
