//! The operator's file as types: one struct a room, so that no room takes more than its own section.
//!
//! Every default stands in one `impl Default` beside its struct (`sections`), every key's name and bounds once in
//! `keys`. This room knows values and their bounds, never what is done with them.

mod certificate;
mod environment;
mod forms;
mod keys;
mod load;
mod names;
mod problem;
mod raw;
mod reader;
mod secret_file;
mod section;
mod sections;
mod source;
mod suggest;
mod syntax;
mod values;

pub use problem::{BadConfig, Origin, Problem};
pub use sections::{
    Auth, Channel, ChannelFormat, Config, Drain, Fanout, Heartbeat, Internal, Limits, Log, LogFormat, Proxy,
    Public, Redis, Refusals, RefuseWith, Sse, Stream, StreamAuth, Telemetry, Tls,
};
pub use values::{Backend, BadValue, ByteSize, Secret};
