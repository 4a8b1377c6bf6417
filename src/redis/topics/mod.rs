//! The topics that a backend assigned to users and sessions, kept in a hash.

pub(super) mod epoch;
pub(super) mod store;
pub(super) mod writer;
