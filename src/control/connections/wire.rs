//! What is said of open streams, to those who ask and from instance to instance.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::control::cluster::members::Instance;
use crate::control::cluster::survey::Collected;
use crate::control::connections::filter::StreamFilter;
use crate::event::{ConnectionMeta, Name};
use crate::fanout::StreamStart;

/// Connections on a page, at most and unless it is said.
pub const MAX_CONNECTIONS: usize = 1000;
pub const CONNECTIONS: usize = 100;

/// An open stream, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionInfo {
    pub client: String,
    pub user: Option<String>,
    pub session: Option<String>,
    /// In the order of their names; not all when there are very many.
    pub topics: Vec<String>,
    /// How many topics it holds.
    pub topics_total: usize,
    /// Patterns of topics, in the order of their names; not all when there are very many.
    #[serde(default)]
    pub patterns: Vec<String>,
    pub address: IpAddr,
    /// The path of its route, as it is configured.
    pub path: String,
    /// What is noted of it, if its route notes anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<ConnectionMeta>,
    pub instance: Instance,
    /// None = its instance does not say, being older than this field.
    pub start: Option<StreamStart>,
    /// RFC 3339.
    pub opened: String,
    pub age_seconds: u64,
    /// Events.
    pub sent: u64,
    /// The id up to which it has everything.
    pub position: String,
    pub behind: Behind,
    /// Its client takes no more for now.
    pub blocked: bool,
}

/// How many events are stored for a stream that it has not got.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Behind {
    pub events: usize,
    /// There are more; they were not counted.
    pub more: bool,
}

/// Some of the connections, by their clients.
#[derive(Debug, Serialize)]
pub struct ConnectionPage {
    pub connections: Vec<ConnectionInfo>,
    /// What the next page begins behind; none when there is none.
    pub next: Option<String>,
    #[serde(flatten)]
    pub from: Completeness,
}

/// How many streams there are, or were closed.
#[derive(Debug, Serialize)]
pub struct StreamCount {
    pub total: usize,
    pub instances: Vec<InstanceCount>,
    #[serde(flatten)]
    pub from: Completeness,
}

/// The same of one instance.
#[derive(Debug, Serialize)]
pub struct InstanceCount {
    #[serde(flatten)]
    pub instance: Instance,
    pub streams: usize,
}

/// Whether every living instance has answered.
#[derive(Debug, Serialize)]
pub struct Completeness {
    pub complete: bool,
    /// Who has not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<Instance>,
}

/// A question as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConnectionsQuestion {
    List {
        which: StreamFilter,
        after: Option<Name>,
        limit: usize,
    },
    Count {
        which: StreamFilter,
    },
    /// `away` is in milliseconds since the Unix epoch; None = they may come back.
    Close {
        which: StreamFilter,
        away: Option<u64>,
    },
}

/// A part of an instance's page.
#[derive(Serialize, Deserialize)]
pub(super) struct ConnectionsPart {
    pub(super) connections: Vec<ConnectionInfo>,
    /// It has more behind the last of the last part.
    pub(super) more: bool,
}

impl Completeness {
    pub(in crate::control) fn of(collected: &Collected) -> Self {
        Self { complete: collected.is_complete(), silent: collected.silent.clone() }
    }
}
