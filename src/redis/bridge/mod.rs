//! Messages of channels that become entries of the stream, on one instance at a time.

pub(super) mod backlog;
pub(super) mod leader;
pub(super) mod lease;
pub(super) mod stream_end;
pub(super) mod tap;
