//! Streams of the application that several instances hear: one of them reads, and all hear what it puts into the log.

pub(super) mod destination;
pub(super) mod heard;
pub(super) mod hold;
pub(super) mod holding;
pub(super) mod leases;
pub(super) mod state;
