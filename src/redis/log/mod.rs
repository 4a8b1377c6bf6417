//! The log that lives in a Redis stream: reading, writing, and what became of it.

pub(super) mod append;
pub(super) mod clock;
pub(super) mod entry;
pub(super) mod loader;
pub(super) mod position;
pub(super) mod preflight;
pub(super) mod reader;
pub(super) mod record;
mod rejoin;
pub(super) mod stream_info;
pub(super) mod writer;
