//! The operator's file as types: one struct a room, so that no room takes more than its own section.
//!
//! Every default stands in one `impl Default` beside its struct. This room knows values and their bounds, never
//! what is done with them.

mod sections;
mod values;

pub use sections::{
    Channel, ChannelFormat, Config, Drain, Fanout, Heartbeat, Internal, Limits, Log, LogFormat, Proxy,
    Public, Redis, RefuseWith, Sse, Stream, StreamAuth, Telemetry,
};
pub use values::{Backend, ByteSize, Secret};
