//! One connection to Redis: where it is, its protocol, what goes wrong.

pub(super) mod connection;
pub(super) mod decode;
pub(super) mod endpoint;
pub(super) mod error;
pub(super) mod resp;
pub(super) mod slot;
pub(super) mod url;

/// The pause before the second attempt to connect.
pub(super) const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
