//! One connection to Redis: where it is, its protocol, what goes wrong, and how it is kept.

pub(super) mod connection;
pub(super) mod decode;
mod discovery;
pub(super) mod endpoint;
pub(super) mod error;
pub(super) mod exchange;
pub(super) mod outbox;
pub(super) mod outbox_config;
pub(super) mod resp;
pub(super) mod slot;
pub(super) mod supervise;
pub(super) mod url;
