//! The right of one instance to append something to the stream, as long as it holds it.

pub(super) mod commands;
pub(super) mod place;
