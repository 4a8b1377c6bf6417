//! The right to read a stream of the application for all instances, as this room needs it. Must not know where it is
//! kept.
//!
//! Each stream has a lease and a *place*: a version, which every append replaces, and a state for whoever holds the
//! lease next. An append is done by the holder alone, behind the version that it names, and once however often it is
//! sent.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::{EventId, Name};
use crate::future::BoxFuture;

/// Where leases are.
pub trait StreamLeases: Send + Sync {
    /// For how long a lease holds that is not renewed.
    fn length(&self) -> Duration;

    /// How long the text of one entry may be.
    fn max_entry(&self) -> usize;

    /// How the lease of a stream stands. Renews our own, and takes a free one if `known` is the version of its place;
    /// not with None.
    fn take<'a>(
        &'a self,
        name: &'a Name,
        known: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LeaseLook, LeasesAway>>;

    /// Tells all instances, this one too, that answers to this path and query are called for.
    fn call<'a>(&'a self, path: &'a str, query: Option<&'a str>) -> BoxFuture<'a, Result<(), LeasesAway>>;

    /// Appends, if the lease is ours and the place is the one that is named.
    fn append(&self, append: SharedAppend) -> BoxFuture<'_, Result<SharedOutcome, LeasesAway>>;
}

/// How a lease stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseLook {
    pub standing: LeaseStanding,
    /// Of its place; empty where nothing was ever appended.
    pub version: String,
    /// None where there is none, or the version is the one that was known.
    pub kept: Option<KeptState>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseStanding {
    Free,
    Ours,
    /// Another instance has it, for so long at the least.
    Others(Duration),
}

/// What the last holder has kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptState {
    /// The newest entry that was appended before.
    pub id: Option<EventId>,
    pub text: String,
}

/// What is appended in one step.
#[derive(Clone, Debug)]
pub struct SharedAppend {
    pub name: Name,
    /// The version that it follows, and the one that it makes.
    pub from: String,
    pub to: String,
    /// What is kept for the next holder.
    pub state: String,
    /// The lease is given up in the same step.
    pub leaves: bool,
    pub entries: Vec<SharedEntry>,
    /// Until when it is tried.
    pub until: Instant,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SharedEntry {
    /// An event, as an envelope without its audience, and the application's own id of it.
    Event { json: String, theirs: Option<String> },
    /// The state has changed so that other instances have to look at it.
    Mark,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SharedOutcome {
    /// It is done; and the id of the newest entry that was appended so.
    Done(Option<EventId>),
    /// Nothing was changed: the lease is not ours any more.
    Lost,
}

/// The leases cannot be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeasesAway;
