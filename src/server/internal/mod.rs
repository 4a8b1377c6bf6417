//! The internal listener: where backends publish and operators ask. See `service` for the way of a request.

pub(in crate::server) mod body;
mod caller;
mod captures;
mod connection;
mod connections;
mod dashboard;
mod dashboard_parts;
mod explain;
mod health;
mod history;
mod hosts;
mod listener;
mod live;
mod openapi;
mod polls;
mod presence;
mod publish;
mod pusher;
mod query;
mod reload;
mod routes;
mod service;
mod take_back;
mod tickets;
mod topics;

pub use crate::server::internal::dashboard_parts::Dashboard;
pub use crate::server::internal::health::Probes;
pub use crate::server::internal::listener::Internal;
pub use crate::server::internal::reload::{ReloadOutcome, ReloadRequests};
