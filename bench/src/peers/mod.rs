//! The servers under test: how each is started, asked for a stream, and published to.

mod dialect;
mod go_peers;
mod process;
mod servers;
mod sidestream;

pub(crate) use dialect::{Target, redis_add, redis_command, redis_publish};
pub(crate) use process::{Running, free_port};
pub(crate) use servers::{Missing, Server, Setup, start_backend, start_redis, start_redis_in, versions};
pub(crate) use sidestream::Settings;
